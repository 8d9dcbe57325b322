"""When the console itself ends a game: after some eighteen minutes many show their attract mode, whatever is played.

From then on there is nothing to see or to win that belongs to the game, and memory that the emulator takes for a score
may change: such a game has to end before (`max_frames` in system.toml).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from envs.actions import Discrete
from envs.backends.atari import AtariCore, find_system
from envs.backends.atari_protocols import MOST_FRAMES, PROTOCOLS
from envs.spec import EnvSpec
from triune.commands import common
from triune.console import Console, table
from triune.errors import UsageError

AGAIN = 256  # frames later the ground still has a new colour: a flash is no end
HELD = 60  # frames between two writes of the bytes that keep the game going
BEFORE = 1000  # frames before the change in which a reward of a new size belongs to it
ROOM = 10  # frames at least between what is measured and the limit


def end_of(env: EnvSpec, protocol: str, seed: int, hold: dict[int, int], most: int = MOST_FRAMES) -> dict[str, Any]:
    """One game of random actions that `hold` keeps going. `colours_at`: the frame from which on the commonest colour
    of the picture is one that never was it before; `reward_at`: the first reward of a new size shortly before.
    None: did not come."""
    core = AtariCore(replace(env, max_score=None, options={}), PROTOCOLS[protocol])
    core.reset(seed)
    names = env.actions.names if isinstance(env.actions, Discrete) else ()
    rng, action, score, suspect = np.random.default_rng(seed), 0, 0, 0
    grounds: set[int] = set()
    first: dict[int, int] = {}  # when a reward of that size came first
    while core.frames < most:
        if core.frames % HELD == 0:
            core.poke(hold)
        if core.frames % 8 == 0:
            action = int(rng.integers(len(names)))
        core.advance(action)
        first.setdefault(core.score - score, core.frames)
        score = core.score
        ground = int(np.bincount(core.palette_frame().ravel()).argmax())
        if core.frames <= AGAIN or ground in grounds:
            suspect = 0
            grounds.add(ground)
        elif not suspect:
            suspect = core.frames
        elif core.frames == suspect + AGAIN:
            odd = [at for at in first.values() if suspect - BEFORE <= at <= suspect]
            return {"protocol": protocol, "seed": seed, "colours_at": suspect, "reward_at": min(odd, default=None)}
    return {"protocol": protocol, "seed": seed, "colours_at": None, "reward_at": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench console`."""
    parser.add_argument("task", help="a task of the backend atari, or a game such as ALE/Freeway-v5")
    parser.add_argument(
        "--hold", nargs="*", default=[], metavar="BYTE=VALUE", help="bytes of memory that keep it going, such as lives"
    )
    parser.add_argument("--games", type=common.positive, default=4, metavar="N", help="games (default 4)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `games`, and the `max_frames` that follows (None: the console plays on)."""
    env, hold = find_system(args.task).env, _bytes(args.hold)
    if env.backend != "atari":
        raise UsageError(f"{args.task} is no game of a console, so none ends it")
    games = []
    for i in range(args.games):
        console.progress(i, args.games, "games")
        games.append(end_of(env, ("seed", "seed-sticky")[i % 2], i, hold))
    console.clear()
    ends = [at for game in games for at in (game["colours_at"], game["reward_at"]) if at is not None]
    limit = (min(ends) - ROOM) // 10 * 10 if ends else None
    rows = [[str(v) for v in game.values()] for game in games]
    console.say(table(rows, ["protocol", "seed", "other colours from", "odd reward at"], {1, 2, 3}))
    console.say(f"max_frames = {limit}" if limit else f"plays on until frame {MOST_FRAMES}")
    return {"task": args.task, "games": games, "max_frames": limit}


def _bytes(words: list[str]) -> dict[int, int]:
    """{address: value} of "13=3"; UsageError for anything else."""
    held = {}
    for word in words:
        address, _, value = word.partition("=")
        if not (address.isdecimal() and value.isdecimal() and int(address) < 128 and int(value) < 256):
            raise UsageError(f"--hold {word}: write BYTE=VALUE, a byte from 0 to 127 and a value from 0 to 255")
        held[int(address)] = int(value)
    return held
