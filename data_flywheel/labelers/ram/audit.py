"""How far the teacher's labels and causal masks agree: two annotators that do not know of each other.

Knows how to ask the probing child and to sum up. A raw causal mask misses a thing now and then (a collision hides the
effect), so `differ` and `unlabelled` count against the labels, `unseen` against the masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_flywheel.errors import DataError
from data_flywheel.labelers.ram.catalogue import Catalogue
from data_flywheel.labelers.ram.probe import Probe, ProbeDied
from envs.spec import SystemSpec, load_spec

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
