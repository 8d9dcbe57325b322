"""`triune new TASK --camera`: a task folder for a camera, with a policy and a safety rule that already pass `check`;
with `--env` one for a game (`new_game.py`)."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.env import nearest
from envs.repeat import command_line
from envs.shape import is_name
from triune.commands import common
from triune.console import Console
from triune.errors import UsageError

if TYPE_CHECKING:
    from triune.system import Texts

REST = ("NOOP", "IDLE", "WAIT", "NONE")  # what an action that does nothing is likely to be called
STOPS = ("STOP", "HALT", "BRAKE", "OFF", "HOLD")  # and one that is safe whatever happens
GUARDED = ("hand", "person", "people", "arm", "finger", "face", "human", "child", "animal")
SIDES = (32, 4096)  # pixels of a frame's width and height


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder, picture, things, actions."""
    parser.add_argument("task", help="the folder to make; its last part is the task's name")
    parser.add_argument("--camera", action="store_true", help="pictures come from a camera, a stream or a film")
    parser.add_argument("--env", metavar="ID", help="the id of an Atari game; its labels are drafted")
    parser.add_argument("--size", metavar="WxH", help="of a picture, in pixels: 320x240")
    parser.add_argument("--fps", type=common.amount, default=30.0, metavar="N", help="pictures a second, default 30")
    parser.add_argument(
        "--thing", action="append", default=[], metavar="NAME[:COUNT[:WxH]]",
        help="what is to be seen, how many at once at most, how large about (may be repeated): box:3 disc:3:24x24 hand",
    )  # fmt: skip
    parser.add_argument("--action", action="append", default=[], metavar="NAME", help="what can be done (repeat it)")
    parser.add_argument(
        "--fallback", metavar="NAME",
        help=f"the action when pictures or decisions fail (default: {', '.join(STOPS[:2])}, else the first)",
    )  # fmt: skip
    parser.add_argument(
        "--stop-for", action="append", metavar="THING",
        help="things whose sight means the fallback (default: those called hand, person, ...)",
    )  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """A thing as it was asked for. `size`: usual width and height in pixels."""

    name: str
    count: int
    size: tuple[int, int]


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: folder, files, things, actions, fallback, rules."""
    folder = Path(args.task)
    if args.camera == bool(args.env):
        raise UsageError("which kind of task? add --camera, or --env with the id of a game (docs/new-task.md)")
    if not is_name(folder.name):
        raise UsageError(
            f"{args.task!r}: the folder's last part names the task, a word without / \\ : and no dot first"
        )
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name another folder")
    if args.env:
        from triune.commands.new_game import drafted

        texts, told = drafted(folder.name, args.env, console)
        _write(folder, texts)
        console.say(f"made       {folder}: {', '.join(texts)}")
        console.say(f"next       {command_line('look', folder)} --labels --sheet {folder.name}.png")
        console.say("           then name the things in system.toml, and correct what is wrong")
        return {"task": folder.name, "folder": str(folder), "files": list(texts), **told}
    wide, high = _size(args.size, "--size") if args.size else (0, 0)
    if not args.size or not all(SIDES[0] <= side <= SIDES[1] for side in (wide, high)):
        raise UsageError(f"--size is the width and height of a picture, each {SIDES[0]} to {SIDES[1]}: --size 320x240")
    things = [_thing(text, wide, high) for text in args.thing]
    if not things:
        raise UsageError("what is to be seen? name at least one thing: --thing box:3")
    if not args.action:
        raise UsageError("what can be done? name the actions: --action NOOP --action STOP")
    fallback = _named(args.fallback, args.action, "--fallback") or _first(STOPS, args.action) or args.action[0]
    rest = _first(REST, args.action) or fallback
    names = [thing.name for thing in things]
    guards = [_named(name, names, "--stop-for") for name in args.stop_for or ()]
    guards = guards or [name for name in names if name.lower() in GUARDED]
    texts = {
        "system.toml": _system(folder.name, wide, high, args.fps, things, args.action, fallback),
        "policy.py": _policy(folder.name, wide, things, guards, args.action, rest, fallback),
        "safety.py": _safety(things, guards, fallback),
    }
    rules = _write(folder, texts)
    console.say(f"made       {folder}: {', '.join(texts)}")
    console.say(f"fallback   {fallback}: what is done when pictures or decisions fail")
    for rule in rules:
        console.say(f"rule       {rule}")
    console.say(f"next       {command_line('record', folder)} --source FILE, device number or address")
    return {
        "task": folder.name, "folder": str(folder), "files": list(texts), "things": names, "actions": args.action,
        "fallback": fallback, "rules": rules,
    }  # fmt: skip


def _size(text: str, what: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if not found or "0" in (found[1].lstrip("0") or "0", found[2].lstrip("0") or "0"):
        raise UsageError(f"{what}: a size is written WIDTHxHEIGHT, such as 320x240; got {text!r:.60}")
    return int(found[1]), int(found[2])


def _thing(text: str, wide: int, high: int) -> Wish:
    """NAME[:COUNT[:WxH]]; a thing whose size is not said is a tenth of the picture."""
    name, *rest = text.split(":")
    count = rest[0] if rest else "1"
    if len(rest) > 2 or not re.fullmatch(r"[1-9]\d{0,2}", count):
        raise UsageError(f"--thing {text!r:.60}: written NAME, NAME:COUNT or NAME:COUNT:WxH, such as box:3:24x24")
    side = max(4, min(wide, high) // 10)
    return Wish(name, int(count), _size(rest[1], f"--thing {text}") if len(rest) == 2 else (side, side))


def _named(name: str | None, known: list[str], option: str) -> str:
    """The name; "" without one; UsageError with the nearest when there is none such."""
    if name is not None and name not in known:
        raise UsageError(f"{option} {name} is not among them{nearest(name, known)}")
    return name or ""


def _first(wanted: tuple[str, ...], there: list[str]) -> str:
    return next((name for name in there if name.upper() in wanted), "")


def _write(folder: Path, texts: dict[str, str]) -> list[str]:
    """Put the files there once they are known to be sound; titles of the rules. CompileError or EnvError else."""
    from envs.env import protocol_of
    from envs.spec import parse_spec
    from envs.writing import atomic_write, whole
    from perception.scene import SceneError, SceneSchema
    from triune.system import Texts, build_logic

    spec = parse_spec(texts["system.toml"], folder / "system.toml")
    try:
        schema = SceneSchema.from_config(spec.scene)
    except SceneError as error:
        raise UsageError(f"--thing: {error}") from None
    found: Texts = Texts(texts["policy.py"], texts.get("safety.py", ""))
    logic = build_logic(spec, schema, found, protocol_of(spec.env))
    with whole(folder) as partial:
        partial.mkdir()
        for name, text in texts.items():
            atomic_write(partial / name, text.encode())
    return list(logic.rules)


# ----------------------------------------------------------------------------------------------------
# The three texts.


def _system(name: str, wide: int, high: int, fps: float, things: list[Wish], actions: list[str], fallback: str) -> str:
    listed = ", ".join(f'"{action}"' for action in actions)
    parts = [
        f"\n[scene.things.{t.name}]\ncount = {t.count}\nsize = [{t.size[0]}, {t.size[1]}]{SIZE_NOTE if not i else ''}\n"
        for i, t in enumerate(things)
    ]
    return f"""format = 1
name = "{name}"
title = "{name.capitalize()}"

[env]
backend = "video"
id = "camera"
height = {high}
width = {wide}
fps = {fps:g}                              # pictures a second that are decided on
actions = [{listed}]
fallback = "{fallback}"                     # what is done when pictures or decisions fail

[safety]
lost_after = 8
deadline_ms = 100
stall_ms = 250                        # no picture for so long (or for 3 pictures): the fallback; 0 is off
frozen_ms = 500                       # the same picture for so long
black_level = 10                      # a picture whose mean is below this (of 255) is black
flat_level = 2                        # one whose levels spread less than this is flat

[scene]
crop = [0, 0, {high // 8 * 8}, {wide // 8 * 8}]              # top, left, bottom, right of what the network reads
exclusive = true                      # one place belongs to one thing: of two that are seen there, the surer one
{"".join(parts)}
[train]
keep_colours = true                   # colours tell things apart: training does not repaint the pictures
"""


SIZE_NOTE = "                       # usual width and height in pixels"


def _policy(
    name: str, wide: int, things: list[Wish], guards: list[str], actions: list[str], rest: str, fallback: str
) -> str:
    """Every thing that is not guarded has one of the acting actions, and gets it at the line."""
    acting = [action for action in actions if action not in (rest, fallback)] or [rest]
    handled = [thing for thing in things if thing.name not in guards]
    body = "".join(_at_line(thing, acting[min(i, len(acting) - 1)]) for i, thing in enumerate(handled))
    return f'''"""{name.capitalize()}: act on what crosses the line. A first policy, made by `triune new`: edit it."""

LINE = tunable({wide / 2:.1f}, 0.0, {wide:.1f})  # px from the left: where things are acted on
REACH = tunable({max(4.0, wide / 40):.1f}, 1.0, {max(8.0, wide / 8):.1f})  # px to either side of it


def act(scene, memory):
{body}    return {rest}, "nothing at the line"
'''


def _at_line(thing: Wish, action: str) -> str:
    why = f"a {thing.name} is at the line"
    if thing.count == 1:
        it = f"scene.{thing.name}"
        return f'    if {it}.seen and abs({it}.x - LINE) < REACH:\n        return {action}, "{why}"\n'
    return f'''    for i in range({thing.count}):
        if scene.{thing.name}[i].seen and abs(scene.{thing.name}[i].x - LINE) < REACH:
            return {action}, "{why}"
'''


def _safety(things: list[Wish], guards: list[str], fallback: str) -> str:
    head = '"""Rules that stand above the policy, whoever wrote it. Edited by people only (docs/language.md)."""\n'
    chosen = [thing for thing in things if thing.name in guards]
    if not chosen:
        return head + _crowded(things[0], fallback)
    fields = "".join(f"    {thing.name}_gone: int = 1000  # pictures since one was seen\n" for thing in chosen)
    memory = f"\nAFTER = int(FPS / 2.0)  # pictures that are waited for once it is gone\n\n\nclass Memory:\n{fields}"
    return head + memory + "".join(_stop_for(thing, fallback) for thing in chosen)


def _stop_for(thing: Wish, fallback: str) -> str:
    seen = " or ".join(f"scene.{thing.name}[{i}].seen" for i in range(thing.count))
    seen = f"scene.{thing.name}.seen" if thing.count == 1 else seen
    return f'''

def stop_for_{thing.name}(scene, memory, action):
    """{fallback} while a {thing.name} is in view, and for half a second after."""
    memory.{thing.name}_gone = 0 if {seen} else min(memory.{thing.name}_gone + 1, 1000)
    return {fallback} if memory.{thing.name}_gone < AFTER else action
'''


def _crowded(thing: Wish, fallback: str) -> str:
    """For a task that nobody reaches into: more things than can be told apart, or one that is hardly recognised."""
    if thing.count == 1:
        return f'''

def hardly_seen(scene, memory, action):
    """{fallback} while the {thing.name} is hardly recognised."""
    return {fallback} if scene.{thing.name}.seen and scene.{thing.name}.sure < 0.3 else action
'''
    every = " and ".join(f"scene.{thing.name}[{i}].seen" for i in range(thing.count))
    return f'''

def crowded(scene, memory, action):
    """{fallback} while every place for a {thing.name} is taken: there may be more of them."""
    return {fallback} if {every} else action
'''
