"""What each training on labelled films came to, so that the next hour of labelling goes where it still helps.

`rounds.jsonl` beside the labels: a line a training, only ever added to. What was held out differs from round to round,
because it is the end of what was labelled then; so figures are compared with their own chance, and nothing is promised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.storage.files import canonical_json
from data_flywheel.storage.log import append, read_lines
from envs import shape
from envs.files import loads

KIND, VERSION = "triune round", 1
FILE = "rounds.jsonl"
MORE = 1.2  # times as many labels before two rounds say what more of them did
CHANCE = 2.0  # standard errors of a difference that mean nothing
GOAL = 200  # labels of a thing that are a good beginning

_THING = shape.table({
    "learned": shape.whole(0), "held": shape.whole(0), "precision": shape.maybe(shape.number(0, 1)),
    "recall": shape.maybe(shape.number(0, 1)),
})  # fmt: skip
_ROUND = shape.table({
    "kind": shape.one_of(KIND), "version": shape.whole(VERSION, VERSION), "at": shape.number(),
    "things": shape.named(_THING),
})  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Of one thing in one round: labels learned from, labels held out, and how those were seen (None: nothing said)."""

    learned: int
    held: int
    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where nothing was held out."""
        if self.precision is None or self.recall is None or not self.held:
            return None
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def error(self) -> float:
        """Standard error of `f1`, as of a share of so many labels; never 0, as few that are all right prove little."""
        share = ((self.f1 or 0.0) * self.held + 1) / (self.held + 2)
        return math.sqrt(share * (1 - share) / max(1, self.held))


def note_round(folder: str | Path, learned: Mapping[str, int], things: Mapping[str, Mapping[str, Any]]) -> None:
    """Add what a training came to. `things`: of each, `labels` held out, `precision` and `recall`."""
    told = {
        name: {"learned": n, "held": int(things[name]["labels"]) if name in things else 0,
               **{key: things[name][key] if name in things else None for key in ("precision", "recall")}}
        for name, n in learned.items()
    }  # fmt: skip
    record = {"kind": KIND, "version": VERSION, "at": round(time.time(), 3), "things": told}
    append(Path(folder) / FILE, canonical_json(record).encode() + b"\n")


def read_rounds(folder: str | Path) -> list[dict[str, Outcome]]:
    """Every training's outcomes by thing, oldest first. Lines that make no sense are left out."""
    found = []
    for line in read_lines(Path(folder) / FILE, DataError)[0]:
        try:
            record = loads(line)
            _ROUND(record, "")
            found.append({name: Outcome(**said) for name, said in record["things"].items()})
        except Exception:  # whatever a damaged line raises
            continue
    return found


def advice(rounds: Sequence[Mapping[str, Outcome]], counts: Mapping[str, int]) -> dict[str, str]:
    """A few words a thing: whether more labels helped, where two rounds tell; else what there is to say. `counts`:
    labels there are now."""
    return {name: _advice([r[name] for r in rounds if name in r], n) for name, n in counts.items()}


def _advice(seen: Sequence[Outcome], now: int) -> str:
    told = [outcome for outcome in seen if outcome.f1 is not None]
    if not told:
        return "" if now >= GOAL else f"{GOAL - now} more make a good beginning"
    last = told[-1]
    assert last.f1 is not None
    figure = f"F1 {last.f1:.2f} on {last.held} held out, learned from {last.learned}"
    earlier = [o for o in told[:-1] if o.learned * MORE <= last.learned]
    if not earlier:
        return figure
    first = earlier[-1]
    assert first.f1 is not None
    change, chance = last.f1 - first.f1, CHANCE * math.hypot(first.error, last.error)
    steps = f"{first.learned} → {last.learned} labels: F1 {first.f1:.2f} → {last.f1:.2f} on {last.held} held out"
    if change > chance:
        return f"{steps}; more helped"
    if last.f1 >= 0.9:
        return f"{steps}, no more than chance; more of the same help little"
    return f"{steps}, no more than chance; try other looks, or look at the labels"
