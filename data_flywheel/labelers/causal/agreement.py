"""How far labels from memory agree with annotators that do not know of them: a teacher, causal masks, colours."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.colours import teachers_of
from data_flywheel.labelers.causal.masks import Catalogue
from data_flywheel.labelers.causal.probe import Probe, ProbeDied
from data_flywheel.storage.files import atomic_write
from envs.backends.atari import find_system
from envs.spec import SystemSpec, load_spec

# ----------------------------------------------------------------------------------------------------
# How far the teacher's labels and causal masks agree: two annotators that do not know of each other.
#
# A raw causal mask misses a thing now and then (a collision hides the effect), so `differ` and `unlabelled` count
# against the labels, `unseen` against the masks.


FRAMES_PER_GAME = 50


@dataclass(frozen=True)
class AuditReport:
    """things: schema name -> {"as": catalogue name, "agree", "unseen", "unlabelled", "differ": shares}.

    cells: grid name -> share of cells whose label equals the memory's bits; deaths: games lost to a crashed child.
    """

    frames: int
    things: dict[str, dict[str, Any]]
    cells: dict[str, float]
    deaths: int

    def record(self) -> dict[str, Any]:
        """JSON form for a manifest."""
        return asdict(self)


def audit(
    system: str | Path | SystemSpec, catalogue: Catalogue, frames: int = 200, seed: int = 0, timeout: float = 120.0,
    command: Sequence[str] | None = None,
) -> AuditReport:  # fmt: skip
    """Compare over `frames` frames of scripted and poked play on training seeds. DataError: no game survived."""
    spec = system if isinstance(system, SystemSpec) else load_spec(system)
    things = [{"name": t.name, "addresses": t.addresses, "horizon": t.horizon} for t in catalogue.things]
    question = {"do": "audit", "things": things, "cells": [asdict(cell) for cell in catalogue.cells]}
    verdicts: dict[str, Counter[str]] = {}
    cells: dict[str, list[int]] = {}
    done = 0
    with Probe({"system": str(spec.folder)}, timeout, command) as probe:
        for game in range(-(-frames // FRAMES_PER_GAME)):
            wanted = min(FRAMES_PER_GAME, frames - game * FRAMES_PER_GAME)
            try:
                found = probe.ask({**question, "seed": (seed + game) % 800, "frames": wanted})
            except ProbeDied:
                continue
            done += wanted
            for name, counts in found["things"].items():
                verdicts.setdefault(name, Counter()).update(counts)
            for name, (equal, total) in found["cells"].items():
                sums = cells.setdefault(name, [0, 0])
                cells[name] = [sums[0] + equal, sums[1] + total]
        deaths = probe.deaths
    if not done:
        raise DataError(f"the audit of {spec.name} finished no game ({deaths} crashes)")
    return AuditReport(done, _match(verdicts), {name: e / n for name, (e, n) in cells.items() if n}, deaths)


def _match(verdicts: dict[str, Counter[str]]) -> dict[str, dict[str, Any]]:
    """For every thing of the schema, the catalogue's thing that agrees with it most often."""
    best: dict[str, tuple[int, str]] = {}
    for pair, counts in verdicts.items():
        name, found = pair.split("|")
        best[name] = max(best.get(name, (-1, "")), (counts["agree"], found))
    summary: dict[str, dict[str, Any]] = {}
    for name, (_, found) in best.items():
        counts = verdicts[f"{name}|{found}"]
        shares = {verdict: round(counts[verdict] / counts.total(), 4) for verdict in _VERDICTS}
        summary[name] = {"as": found, **shares}
    return summary


_VERDICTS = ("agree", "unseen", "unlabelled", "differ")


# ----------------------------------------------------------------------------------------------------
# Do causal labels agree with a teacher that only knows colours? Precision, recall and F1 on play unseen by
# discovery.


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
    atomic_write(path, cv2.imencode(".png", np.vstack(rows))[1].tobytes())
    return path
