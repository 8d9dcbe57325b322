"""`triune new TASK --env ID`: the texts of a task folder for an Atari game. What moves at random play is drafted as
things with `[labels]`, to be named and corrected; the policy does nothing yet."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np

from triune.console import Console, table

if TYPE_CHECKING:
    from data_flywheel.labelers.draft import Patches
    from envs.spec import SystemSpec

STEPS = 1500  # of random play; an action is held for some
HELD = 4
HUES = ("red", "orange", "yellow", "lime", "green", "teal", "cyan", "azure", "blue", "violet", "magenta", "pink")
SIDE = 8  # px: the network reads a crop of whole cells


def drafted(name: str, env_id: str, console: Console) -> tuple[dict[str, str], dict[str, Any]]:
    """The files by name, and things, actions, fallback, rules for the payload; EnvError names the nearest game."""
    from data_flywheel.labelers.draft import draft
    from envs.backends.atari import game_spec

    spec = game_spec(env_id)
    console.log(f"playing {env_id} at random")
    found = draft(_pictures(spec))
    things = dict(zip(_names(found), found, strict=True))
    rows = []
    for thing, patches in things.items():
        low, usual, high = np.percentile(patches.sizes, (5, 50, 95), axis=0).astype(int).tolist()
        sizes = [f"{w} x {h}" for w, h in (low, usual, high)]
        colours = " ".join(_code(colour) for colour in patches.colours[:6])
        rows.append([thing, colours, str(patches.count), *sizes, str(patches.region)])
    heads = ["draft", "colours", "at once", "small", "usual", "large", "top, left, bottom, right"]
    console.say(table(rows, heads, {2}))
    actions = list(spec.env.actions.names)
    told = {"things": list(things), "actions": actions, "fallback": actions[spec.env.fallback], "rules": []}
    return {"system.toml": _system(name, spec, things), "policy.py": _policy(name, spec)}, told


def _pictures(spec: SystemSpec) -> list[np.ndarray]:
    """Of random play, game after game."""
    from envs.env import protocol_of, simulator

    world, rng = simulator(spec.env, protocol_of(spec.env, "sticky")), np.random.default_rng(0)
    world.reset(0)
    pictures, action = [], spec.env.fallback
    for step in range(STEPS):
        if step % HELD == 0:
            action = spec.env.actions.sample(rng)
        if world.done:
            world.reset(step)
        world.advance(action)
        pictures.append(world.frame())
    return pictures


def _names(found: list[Patches]) -> list[str]:
    """Of each its colour, numbered where there are several of it."""
    plain = [_called(patches.colours[0]) for patches in found]
    return [name if plain.count(name) == 1 else f"{name}_{plain[:i].count(name) + 1}" for i, name in enumerate(plain)]


def _called(colour: int) -> str:
    hue, light, vivid = colorsys.rgb_to_hls(*(((colour >> shift) & 255) / 255 for shift in (16, 8, 0)))
    if light < 0.1 or light > 0.9 or vivid < 0.15:
        return "black" if light < 0.25 else "white" if light > 0.75 else "grey"
    return HUES[round(hue * len(HUES)) % len(HUES)]


def _code(colour: int) -> str:
    return f"{colour:06X}"


def _system(name: str, spec: SystemSpec, things: dict[str, Patches]) -> str:
    height, width = spec.env.height, spec.env.width
    actions = ", ".join(f'"{action}"' for action in spec.env.actions.names)
    regions = np.array([patches.region for patches in things.values()] or [(0, 0, height, width)])
    top, bottom = int(regions[:, 0].min()), int(regions[:, 2].max())
    rows = min(-(-(bottom - top + 2 * SIDE) // SIDE) * SIDE, height // SIDE * SIDE)
    top = max(0, min(top - SIDE, height - rows))
    parts = "".join(_thing(thing, patches) for thing, patches in things.items())
    labels = "".join(_label(thing, patches) for thing, patches in things.items())
    return f"""# Drafted from random play: name the things, take out what matters to nobody, correct the labels.
format = 1
name = "{name}"
title = "{spec.title}"

[env]
id = "{spec.env.id}"
height = {height}
width = {width}
actions = [{actions}]
fallback = "NOOP"
protocol = "sticky"

[safety]
lost_after = 8
deadline_ms = 1000

[train]
keep_colours = true                   # colours tell things apart: training does not repaint the pictures

[scene]
crop = [{top}, 0, {top + rows}, {width // SIDE * SIDE}]              # top, left, bottom, right: what the network reads
{parts}{labels}"""


def _thing(name: str, patches: Patches) -> str:
    usual = np.median(patches.sizes, 0).astype(int).tolist()
    return f"\n[scene.things.{name}]\ncount = {patches.count}\nsize = {usual}\n"


def _label(name: str, patches: Patches) -> str:
    low, high = (np.percentile(patches.sizes, share, axis=0).astype(int).tolist() for share in (5, 100))
    colours = ", ".join(f'"{_code(colour)}"' for colour in patches.colours)
    return (
        f"\n[labels.things.{name}]\ncolours = [{colours}]\nregion = {list(patches.region)}\n"
        f"smallest = {low}\nlargest = {high}\n"
    )


def _policy(name: str, spec: SystemSpec) -> str:
    action = "FIRE" if "FIRE" in spec.env.actions.names else "NOOP"
    return f'''"""{name.capitalize()}: a first policy, made by `triune new`, that does nothing yet: edit it."""


def act(scene, memory):
    return {action}, "nothing is decided yet"
'''
