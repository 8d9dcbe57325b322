"""Do causal labels agree with a teacher that only knows colours? Precision, recall and F1 on play unseen by discovery.

Knows how to ask the probing child, to pair the things of both and to sum up; writes a sheet of the frames that differ.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.errors import DataError
from data_flywheel.labelers.declared import teachers_of
from data_flywheel.labelers.ram.catalogue import Catalogue
from data_flywheel.labelers.ram.probe import Probe, ProbeDied
from envs.backends.rom import find_system

SEED = 500  # discovery plays seeds 0 to 39
PAIRING = 40  # frames of the game that pairs the things; they are not counted
PER_GAME = 60  # frames looked at in one game
COLUMNS = 8
WAYS = ("formula", "all")


@dataclass(frozen=True)
class Agreement:
    """things: teacher's name -> {"as": catalogue's name or None, "f1", "precision", "recall", "n", ...}; n: frames.

    f1: over all things together, in frames where label and mask agree; f1_formula: there, with the bare formula and the
    usual size as the label; f1_all: without dropping any frame.
    """

    env: str
    frames: int
    f1: float
    f1_all: float
    things: dict[str, dict[str, Any]]
    sheet: str | None
    deaths: int

    def record(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def agree(
    catalogue: Catalogue, frames: int = 360, sheets: Path | None = None, timeout: float = 120.0,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:  # fmt: skip
    """Compare over `frames` frames. DataError: no colour teacher for this game, or no game was finished."""
    teachers = teachers_of(catalogue.env)
    counts: dict[str, Counter[str]] = {name: Counter() for name in teachers}
    tiles: list[dict[str, Any]] = []
    question: dict[str, Any] = {"do": "agree", "catalogue": catalogue.record()}
    done = 0
    with Probe({"system": catalogue.env}, timeout) as probe:
        pairs = _pairs(probe.ask({**question, "do": "pairs", "seed": SEED - 1, "frames": PAIRING}), list(teachers))
        for start in range(0, frames, PER_GAME):
            wanted = min(PER_GAME, frames - start)
            try:
                found = probe.ask({**question, "pairs": pairs, "seed": SEED + start // PER_GAME, "frames": wanted})
            except ProbeDied:
                continue
            done += wanted
            tiles += found["tiles"]
            for name, seen in found["things"].items():
                counts[name].update(seen)
            if progress:
                progress(start + wanted, frames)
        deaths = probe.deaths
    if not done:
        raise DataError(f"no game of {catalogue.env} was finished ({deaths} crashes)")
    things = {name: {"as": pairs.get(name), **_figures(counts[name])} for name in teachers}
    total = _figures(sum((counts[name] for name in pairs), Counter()))
    sheet = str(_sheet(tiles, sheets / f"{find_system(catalogue.env).name}.png")) if sheets and tiles else None
    return Agreement(catalogue.env, done, total["f1"], total["f1_all"], things, sheet, deaths)


def _pairs(seen: dict[str, int], names: list[str]) -> dict[str, str]:
    """For each thing of the teacher, the catalogue's that was most often at its place; none where none ever was."""
    pairs = {}
    for name in names:
        times, found = max(((n, pair.split("|")[1]) for pair, n in seen.items() if pair.split("|")[0] == name),
                           default=(0, ""))  # fmt: skip
        if times:
            pairs[name] = found
    return pairs


def _figures(c: Counter[str]) -> dict[str, Any]:
    """Shares from counts; `dropped` and `unsure` are shares of the frames looked at."""
    judged = c["tp"] + c["tn"] + max(c["fp"], c["fn"])
    return {
        "f1": _share(2 * c["tp"], 2 * c["tp"] + c["fp"] + c["fn"]),
        "precision": _share(c["tp"], c["tp"] + c["fp"]),
        "recall": _share(c["tp"], c["tp"] + c["fn"]),
        **{f"f1_{w}": _share(2 * c[f"{w}_tp"], 2 * c[f"{w}_tp"] + c[f"{w}_fp"] + c[f"{w}_fn"]) for w in WAYS},
        **{name: c[name] for name in ("tp", "fp", "fn", "tn", "dropped", "unsure")},
        "n": judged,
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _sheet(tiles: list[dict[str, Any]], path: Path) -> Path:
    """One picture of all disagreements, the thing's name on each: teacher green, label magenta, mask yellow."""
    import cv2

    cells = []
    for tile in tiles:
        raw = np.frombuffer(base64.b64decode(tile["png"]), np.uint8)
        cell = cv2.imdecode(raw, cv2.IMREAD_COLOR)
        assert cell is not None
        cells.append(cv2.putText(cell, f"{tile['thing']}: {tile['what']}", (3, 12), 0, 0.4, (255, 255, 255), 1))
    blank = np.zeros_like(cells[0])
    cells += [blank] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))
    return path
