"""`triune discover`: find the bytes of memory that draw things, with evidence, for a game nobody has described.

Knows the order of questions and what to do when a question kills the child. Does not know any game: only the
environment and its actions are read, from `system.toml` or, for a ROM without a folder, from the emulator.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_flywheel.labelers.ram.catalogue import CATALOGUES, FILE, Catalogue, Formula, FoundThing
from data_flywheel.labelers.ram.classify import cells_of, describe, fit, fit_mirrors, group, kind_of
from data_flywheel.labelers.ram.probe import Probe, ProbeDied
from envs.backends.rom import find_system
from envs.spec import SystemSpec

BYTES = 128
GOOD = 0.95  # share of exact places with which a formula needs no rival
USABLE = 0.75  # share of places within 1.5 px below which a formula is no use
Progress = Callable[[int, int, float], None]  # bytes done, bytes in all, seconds


def discover(
    system: str | Path | SystemSpec, out: str | Path | None = None, states: int = 12, seed: int = 0,
    timeout: float = 60.0, progress: Progress | None = None, command: Sequence[str] | None = None,
) -> Catalogue:  # fmt: skip
    """Probe every byte, write the catalogue to `out` (default: `default_path`), and return it.

    timeout: seconds for one byte; a byte that kills or hangs the game is named in `crashed`, the rest goes on.
    command: another child than `probe_child` (tests).
    """
    spec = system if isinstance(system, SystemSpec) else find_system(system)
    began, show = time.monotonic(), progress or _bar()
    job = {"system": str(spec.folder), "states": states, "seed": seed}
    evidence: dict[int, dict[str, Any]] = {}
    crashed: dict[str, str] = {}
    with Probe(job, timeout, command) as probe:
        for address in range(BYTES):
            try:
                evidence[address] = probe.ask({"do": "byte", "byte": address})
            except ProbeDied as death:
                crashed[str(address)] = str(death)
            show(address + 1, BYTES, time.monotonic() - began)
        pixels = spec.env.height * spec.env.width
        kinds = {address: kind_of(found, pixels) for address, found in evidence.items()}
        things = _things(probe, evidence, kinds)
    by_kind: dict[str, list[int]] = {}
    for address, kind in kinds.items():
        if kind != "none":
            by_kind.setdefault(kind, []).append(address)
    cells = tuple(cell for a in by_kind.get("cells", ()) for cell in cells_of(a, evidence[a], pixels))
    seconds = round(time.monotonic() - began, 1)
    catalogue = Catalogue(spec.name, spec.env.id, states, seconds, things, cells, by_kind, crashed)
    catalogue.save(default_path(spec) if out is None else out)
    return catalogue


def default_path(spec: SystemSpec) -> Path:
    """Where a catalogue is kept: in the task's folder; for a ROM without one, with the others of this program."""
    return spec.folder / FILE if spec.scene else CATALOGUES / f"{spec.name}.json"


def _things(probe: Probe, evidence: dict[int, dict[str, Any]], kinds: dict[int, str]) -> tuple[FoundThing, ...]:
    """Each group of bytes that moves the same pixels, with the best formula per axis."""
    found: list[FoundThing] = []
    for addresses in group(evidence, kinds):
        best = {axis: _formula(probe, evidence, [a for a in addresses if kinds[a] == axis], axis) for axis in "xy"}
        if any(best.values()):
            effects = _joint(probe, [f for f in best.values() if f], evidence)
            found.append(describe(f"thing{len(found) + 1}", best["x"], best["y"], effects, evidence, kinds))
    return tuple(found)


def _joint(probe: Probe, formulas: list[Formula], evidence: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """What changing all drivers of a thing does; of one of them where that kills the child."""
    question = {"do": "joint", "bytes": [f.driver for f in formulas], "horizon": max(f.horizon for f in formulas)}
    try:
        return list(probe.ask(question))
    except ProbeDied:
        return list(evidence[formulas[0].driver]["effects"])


def _formula(probe: Probe, evidence: dict[int, dict[str, Any]], addresses: list[int], axis: str) -> Formula | None:
    """The best formula of one axis; bytes that merely follow the thing are tried when the movers do not fit."""
    fits = [f for f in (fit(a, evidence[a], axis) for a in addresses) if f]
    best = max(fits, key=lambda f: f.exact, default=None)
    if best and best.exact >= GOOD:
        return best
    for address in addresses:
        horizon = evidence[address]["horizon"]
        try:
            seen = probe.ask({"do": "mirror", "byte": address, "horizon": horizon})
        except ProbeDied:
            continue
        mirror = fit_mirrors(seen, axis, address, horizon) if seen else None
        fits += [mirror] if mirror else []
    best = max(fits, key=lambda f: (f.exact, f.near), default=None)
    return best if best and best.near >= USABLE else None


def _bar() -> Progress:
    """A progress bar on stderr; silent when that is not a terminal."""

    def show(done: int, wanted: int, seconds: float) -> None:
        if sys.stderr.isatty():
            text = f"\rdiscover [{'#' * (30 * done // wanted):.<30}] byte {done}/{wanted}, {seconds:.0f} s"
            print(text, end="\n" if done >= wanted else "", file=sys.stderr, flush=True)

    return show
