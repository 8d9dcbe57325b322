"""How much of the score is left in another look, and how much the wheel brings back from play alone.

Scores are read only here, by the referee's sheet, after the wheel has decided; the wheel itself reads none. Every
figure is a share of the unshifted score of the same eyes on the same seeds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.storage.files import atomic_write
from envs.visual_shifts import RANDOM, STATIC
from triune.play.evaluation import HOME, evaluate
from triune.play.self_training import Request, Wheel, with_eyes
from triune.system import load

if TYPE_CHECKING:
    from triune.system import System

LIMIT = 9000  # decisions; a perfect game of Breakout takes about 7500
SHORT = 3000  # decisions after which a game that has nearly nothing is not played further
NOTHING = 0.05  # share of the unshifted score that is nearly nothing
LOST = 0.5  # looks on which the first eyes keep at most this count as shifted
RANDOM_LOOKS = 24

Say = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """What is measured: `limit` cuts games after so many decisions, in every condition alike."""

    seeds: tuple[int, ...]
    protocol: str
    limit: int = LIMIT
    rounds: int = 3
    frames: int = 3000
    colour: bool = True


def all_looks(randoms: int = RANDOM_LOOKS) -> list[str]:
    """The named static looks, then the first of the generator's."""
    return [*STATIC, *(f"{RANDOM}{i}" for i in range(randoms))]


class Bench:
    """One task. `home` keeps a JSON file per look: what is there is not measured again."""

    def __init__(self, task: str, plan: Plan, home: Path | None = None, say: Say = print) -> None:
        self.system, self.plan, self.say = load(task), plan, say
        self.home = (home or HOME / "bench" / "shift") / self.system.name
        self.plain = self._kept("none", lambda: {"mean": self._score(self.system, None)})["mean"]

    def measure(self, looks: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The row of each look, in order."""
        for look in looks:
            yield self._kept(look, lambda look=look: self._row(look))  # type: ignore[misc]

    def _kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.home / f"{name}.json"
        key = {"plan": {**vars(self.plan), "seeds": list(self.plan.seeds)}, "hashes": self.system.hashes()}
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if found["key"] == key:
                return found["row"]
        row = make()
        atomic_write(path, json.dumps({"key": key, "row": row}, indent=1).encode())
        return row

    def _row(self, look: str) -> dict[str, Any]:
        ask = Request(self.system.name, look, self.plan.protocol, self.plan.rounds, self.plan.frames)
        run = self.home / "wheels" / look
        began = time.monotonic()
        told = Wheel(self.system, ask, run, self.say).run()
        wall = time.monotonic() - began
        row: dict[str, Any] = {
            "look": look, "outcome": told["outcome"], "rounds": len(told["rounds"]), "wall_s": round(wall, 1),
            "coverage": told["rounds"][0]["lesson"]["coverage"], "reasons": [r["reason"] for r in told["rounds"]],
            "before": self._share(self.system, look),
        }  # fmt: skip
        if told["outcome"] == "promoted":
            adapted = with_eyes(self.system, Path(told["eyes"]), run / "task")
            row |= {"after": self._share(adapted, look), "old_look_after": self._share(adapted, None)}
        else:
            row |= {"after": row["before"], "old_look_after": 1.0}
        if self.plan.colour:
            row["colour"] = self._share(self.system, look, "colour")
        self.say(json.dumps(row))
        return row

    def _share(self, system: System, shift: str | None, eyes: str = "cnn") -> float:
        """Of the unshifted score, over the score of doing nothing."""
        score = self._score(system, shift, eyes, SHORT)
        if (score - self.system.lowest) > NOTHING * (self.plain - self.system.lowest):
            score = self._score(system, shift, eyes)
        return round((score - self.system.lowest) / (self.plain - self.system.lowest), 4)

    def _score(self, system: System, shift: str | None, eyes: str = "cnn", most: int | None = None) -> float:
        limit = min(most or self.plan.limit, self.plan.limit)
        found = evaluate(system, self.plan.protocol, self.plan.seeds, shift, eyes, limit=limit)
        return float(found.mean or 0.0)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the looks on which the first eyes keep at most half, named and random apart."""

    def means(chosen: Sequence[dict[str, Any]]) -> dict[str, Any]:
        lost = [r for r in chosen if r["before"] <= LOST]
        return {
            "n": len(chosen), "shifted": len(lost),
            "shifted_fraction": _mean([r["before"] for r in lost]),
            "recovered_fraction": _mean([r["after"] for r in lost]),
            "old_look_after": _mean([r["old_look_after"] for r in chosen]),
            "worse": [r["look"] for r in chosen if r["after"] < r["before"] - 0.02],
        }  # fmt: skip

    named = [r for r in rows if not r["look"].startswith(RANDOM)]
    return {**means(named), "random": means([r for r in rows if r["look"].startswith(RANDOM)])}


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
