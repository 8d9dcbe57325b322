"""Bodies: what their policies score, nominal and with dynamics changed unknown to them, against the steps of a model
that a decision takes; and the search for their constants.

`triune improve` races a handful of constants; a gait has dozens that matter only together, and takes thousands of
episodes. `--search` is CMA-ES over everything that a policy declares `tunable`: the compiled policy and its rules play
in this process, beside the simulator, on training seeds only, and never for a score that is told. The best setting is
written as it is found; a search that was stopped goes on from it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.storage.files import atomic_write
from envs.backends.dynamics import SHIFTS
from envs.env import simulator
from envs.files import read_json
from envs.spec import EnvSpec, load_spec, task_names
from logic.runtime.engine import fast_controller, fast_tracker
from supervisor.edits.tunables import with_constants
from supervisor.gate.seeds import TRAIN
from supervisor.proposers.race import Space
from supervisor.proposers.search import library
from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError, UsageError
from triune.play.evaluation import ci95
from triune.play.loop import Pipeline, Rollout, steps
from triune.system import System, Texts, build_controller, load

FORMAT = 1
SPREAD = 0.03  # of a range: a policy that walks is near one that walks better
JUDGED = 5  # generations between two looks at the middle of what is searched
SCALING = 0.1  # standard deviation of the logarithm of a group's factor
LOOK = 8  # training seeds of such a look


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench mujoco`."""
    parser.add_argument("task", nargs="?", help="default: every body of the zoo")
    parser.add_argument("--seeds", default="1000:1010", metavar="A:B", help="of the measurement (default 1000:1010)")
    parser.add_argument("--search", type=common.finite, metavar="M", help="instead: search the constants for M minutes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the best constants (default: TASK.constants.json)")
    parser.add_argument("--population", type=common.positive, default=16, metavar="N")
    parser.add_argument("--games", type=common.positive, default=3, metavar="N", help="seeds that a setting plays")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="of an episode while searching, at most")
    parser.add_argument("--spread", type=common.finite, default=SPREAD, metavar="S", help="at first, of each range")
    parser.add_argument("--scale", action="store_true", help="instead of CMA-ES: scale groups of constants")
    parser.add_argument("--shifted", action="store_true", help="search on the changed bodies too, in turns")
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: of a measurement, by task and dynamics, `mean, ci95, worst, falls, n, share, model_steps`; of a search
    `task, constants, games, mean, worst, start_mean, start_worst`, on LOOK training seeds."""
    if args.search is not None:
        if not args.task:
            raise UsageError("whose constants are searched? name the task")
        return search(args, console)
    seeds = common.parse_seeds(args.seeds)
    tasks = [args.task] if args.task else [name for name in task_names() if load_spec(name).env.observed]
    found: dict[str, Any] = {}
    for task in tasks:
        rows = found[task] = {}
        for name, changed in {"nominal": {}, **SHIFTS}.items():
            row = rows[name] = measured(load(task), changed, seeds)
            row["share"] = row["mean"] / rows["nominal"]["mean"] if rows["nominal"]["mean"] else None
            console.say(
                f"{task}, {name}: {row['mean']:.0f} (worst {row['worst']:.0f}), {row['falls']} of {row['n']} fell"
            )
    console.say(
        table([_row(t, name, row) for t, rows in found.items() for name, row in rows.items()], HEADS, {2, 3, 4, 5, 6})
    )
    return found


HEADS = ["task", "dynamics", "model steps a decision", "mean [95 %]", "worst", "fell", "of nominal"]


def _row(task: str, name: str, row: dict[str, Any]) -> list[str]:
    low, high = row["ci95"] or (row["mean"], row["mean"])
    mean, share = f"{row['mean']:.0f} [{low:.0f}, {high:.0f}]", "" if row["share"] is None else f"{row['share']:.0%}"
    return [task, name, str(row["model_steps"]), mean, f"{row['worst']:.0f}", f"{row['falls']}/{row['n']}", share]


def measured(system: System, dynamics: Mapping[str, float], seeds: Sequence[int]) -> dict[str, Any]:
    """Whole episodes through the wall, with `dynamics` that nobody who decides is told of. A fall is an episode that
    ended by the environment's own rules."""
    changed = with_dynamics(system.spec.env, dynamics)
    with Rollout(System(replace(system.spec, env=changed))) as rollout:
        games = [rollout.record(seed) for seed in seeds]
    scores = [float(game.meta["score"]) for game in games]
    falls = sum(not game.meta.get("truncated", False) for game in games)
    interval = list(ci95(scores)) if len(scores) > 1 else None
    mean = float(np.mean(scores))
    return {
        "mean": mean, "ci95": interval, "worst": min(scores), "falls": falls, "n": len(scores), "model_steps": 0,
        "scores": scores,
    }  # fmt: skip


def with_dynamics(env: EnvSpec, dynamics: Mapping[str, float]) -> EnvSpec:
    """The same environment with another body."""
    return replace(env, options={**env.options, "dynamics": dict(dynamics)})


# ----------------------------------------------------------------------------------------------------
# The search.


def search(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """For `args.search` minutes; the payload."""
    cma = library()
    if cma is None:
        raise TriuneError('the search needs the package cma: pip install "triune[supervisor]"')
    system = load(args.task)
    space = Space(system.texts.policy)
    if not len(space):
        raise UsageError(f"{system.name} has no tunable constant; declare one, for example tunable(2.5, 1.0, 8.0)")
    out = args.out or Path(f"{system.name}.constants.json")
    stage = Stage(system, space, args.shifted)
    look = [int(seed) for seed in np.random.default_rng(args.seed).choice(len(TRAIN), LOOK, replace=False)]
    start = space.unit(space.start)
    found = _resumed(out, space) if out.exists() else start
    first, best = stage.scores(start, look), stage.scores(found, look)
    console.say(f"{system.name}: {len(space)} constants, at first {_told(first)}, going on from {_told(best)}")
    draw, end, games, generation = np.random.default_rng(args.seed), time.monotonic() + 60 * args.search, 0, 0

    def keep(unit: Sequence[float], scores: list[float]) -> None:
        nonlocal best, found
        best, found = scores, list(unit)
        told = {"format": FORMAT, "task": system.name, "constants": constants(space, found), "scores": best}
        atomic_write(out, (json.dumps(told, indent=1) + "\n").encode())

    together = list(groups(space.names).items()) if args.scale else []
    while together and time.monotonic() < end:
        name, members = together[int(draw.integers(len(together)))]
        factor = float(np.exp(SCALING * draw.standard_normal()))
        unit = scaled(space, found, members, factor)
        seeds = [int(s) for s in draw.choice(len(TRAIN), args.games, replace=False)]
        games += 2 * len(seeds)
        if _worth(stage.scores(unit, seeds, args.steps)) > _worth(stage.scores(found, seeds, args.steps)):
            games += LOOK
            if _worth(looked := stage.scores(unit, look)) > _worth(best):
                keep(unit, looked)
                console.say(f"{name} × {factor:.3f}, {games} games: best {_told(best)}")
    options = {"popsize": args.population, "bounds": [0, 1], "verbose": -9, "seed": args.seed + 1}
    strategy = cma.CMAEvolutionStrategy(found, args.spread, options)
    while not together and time.monotonic() < end and not strategy.stop():
        asked = strategy.ask()
        seeds = [int(s) for s in draw.choice(len(TRAIN), args.games, replace=False)]
        strategy.tell(asked, [-_worth(stage.scores(unit, seeds, args.steps)) for unit in asked])
        games, generation = games + len(asked) * len(seeds), generation + 1
        if generation % JUDGED == 0:
            middle = stage.scores(strategy.result.xfavorite, look)
            if _worth(middle) > _worth(best):
                keep(strategy.result.xfavorite, middle)
            console.say(f"generation {generation}, {games} games: middle {_told(middle)}, best {_told(best)}")
    return {
        "task": system.name, "constants": constants(space, found), "games": games,
        "mean": float(np.mean(best)), "worst": min(best),
        "start_mean": float(np.mean(first)), "start_worst": min(first),
    }  # fmt: skip


def groups(names: Sequence[str]) -> dict[str, list[int]]:
    """What constants have in common by their names, and which they are: `_DAMPING`, the same number of several joints;
    `BACK_THIGH_`, all numbers of one joint. Without such names, all together."""
    made: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        first, _, last = name.rpartition("_")
        for key in (f"{first}_", f"_{last}") if first else ():
            made.setdefault(key, []).append(i)
    return {key: members for key, members in made.items() if len(members) > 1} or {"all": list(range(len(names)))}


def constants(space: Space, unit: Sequence[float]) -> dict[str, float]:
    """The constants at `unit` by name, to four digits: a gait feels what Space.point rounds away, a thousandth of a
    range being much of a small number."""
    made = {}
    for name, t, share in zip(space.names, space.tunables, unit, strict=True):
        value = t.low + min(1.0, max(0.0, float(share))) * (t.high - t.low)
        made[name] = float(round(value)) if t.whole else min(t.high, max(t.low, float(f"{value:.4g}")))
    return made


def scaled(space: Space, unit: Sequence[float], members: Sequence[int], factor: float) -> list[float]:
    """`unit` with the values of `members` multiplied by `factor`, within their ranges."""
    made = list(unit)
    for i in members:
        low, high = space.tunables[i].low, space.tunables[i].high
        made[i] = float(np.clip((factor * (low + made[i] * (high - low)) - low) / (high - low), 0.0, 1.0))
    return made


class Stage:
    """Plays settings of a policy's constants. `shifted`: the nominal body and those of SHIFTS play in turns."""

    def __init__(self, system: System, space: Space, shifted: bool = False) -> None:
        self._system, self._space, self._rules = system, space, system.protocol()
        envs = [with_dynamics(system.spec.env, d) for d in ({}, *(SHIFTS.values() if shifted else ()))]
        self._cores: list[Any] = [simulator(env, self._rules) for env in envs]
        self._detector, self._tracker = system.detector(), fast_tracker(system.schema, 0)

    def scores(self, unit: Any, seeds: list[int], limit: int | None = None) -> list[float]:
        """The score of each seed with the constants at `unit`, of its first `limit` steps; the bodies take turns."""
        text = with_constants(self._space.text, constants(self._space, unit))
        texts = Texts(text, self._system.texts.safety)
        made = build_controller(self._system.spec, self._system.schema, texts, self._rules, clock=lambda: 0)
        player = Pipeline(self._system.schema, self._detector, fast_controller(made, 0), tracker=self._tracker)
        return [_score(self._cores[i % len(self._cores)], player, seed, limit) for i, seed in enumerate(seeds)]


def _score(core: Any, player: Pipeline, seed: int, limit: int | None) -> float:
    player.reset()
    for _ in steps(core, player, core.reset(seed), limit):
        pass
    return float(core.score)


def _worth(scores: list[float]) -> float:
    """What a setting is searched for: half the mean, half the worst, so that none falls."""
    return 0.5 * float(np.mean(scores)) + 0.5 * min(scores)


def _told(scores: list[float]) -> str:
    return f"{np.mean(scores):.0f} (worst {min(scores):.0f})"


def _resumed(path: Path, space: Space) -> list[float]:
    """The constants of an earlier search of the same policy; UsageError for another's."""
    told = read_json(path, "constants", UsageError)
    values = told.get("constants") if isinstance(told, dict) and told.get("format") == FORMAT else None
    if not isinstance(values, dict) or set(values) != set(space.names):
        raise UsageError(f"{path} holds no constants of this policy; name another file with --out")
    return space.unit(tuple(float(values[name]) for name in space.names))
