"""`triune discover`: find the bytes of memory that draw things, with evidence, for a game that nobody has described."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.labelers.causal.masks import CATALOGUES, FILE, Catalogue, Cell, Formula, FoundThing, decode
from data_flywheel.labelers.causal.probe import Probe, ProbeDied
from envs.backends.atari import find_system
from envs.spec import SystemSpec

# ----------------------------------------------------------------------------------------------------
# From the evidence about each byte to what it does: moves a thing along x or y, draws cells, changes a shape.
#
# Pure functions of the evidence that `probe_child.py` gathers (see there for its form).


Evidence = dict[str, Any]

SCALES = (1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 0.25, -0.25)
LARGE = 0.12  # share of the screen; a mask this large is the background's, not a thing's
RARE = 0.2  # a byte that shows in fewer states is left alone
DISTINCT = 6  # fewer different places do not show a line
COMMON = 0.03  # a colour of fewer of a thing's pixels is something that passed by
FLAP = 4  # px by which the edge of a thing that stays may differ with its shape
STILL = 0.8  # share of the states in which an edge must be the same for the thing not to move along that axis
SAME = 0.5  # two bytes whose masks overlap this much draw the same thing
CROSSED = 0.35  # ... when one moves it along x, the other along y: a large thing covers part of its old place


def kind_of(evidence: Evidence, pixels: int) -> str:
    """One of none, cells, x, y, velocity, shape, screen, other. `pixels`: size of the screen."""
    if evidence.get("shows", 0) < RARE:
        return "none"
    if cells_of(0, evidence, pixels):
        return "cells"
    masks = [len(effect["mask"]) for effect in evidence["effects"] if effect["box"]]
    if not masks:
        return "other"
    if np.median(masks) > LARGE * pixels:
        return "screen"
    axis = axis_of(evidence)
    if not axis:
        return "shape" if len(masks) >= 0.5 * len(evidence["effects"]) else "other"
    now, later = evidence["slopes"]
    return "velocity" if later > 1.5 * now else axis


def axis_of(evidence: Evidence) -> str:
    """Axis "x" or "y" when changing the byte displaces the whole thing along that axis only; "" otherwise."""
    sideways: list[bool] = []
    upright: list[bool] = []
    for effect in evidence["effects"]:
        home = effect["box"]
        boxes = [box for _, _, box in effect["outcomes"] if home and box and _size(box) == _size(home)]
        if len(boxes) < 3:
            continue
        lefts, tops = ({box[side] for box in boxes} for side in ("left", "top"))
        sideways.append(bool(np.mean([box["top"] == home["top"] for box in boxes]) >= 0.6 and len(lefts) > 2))
        upright.append(bool(np.mean([box["left"] == home["left"] for box in boxes]) >= 0.6 and len(tops) > 2))
    if len(sideways) < 2 or max(np.mean(sideways), np.mean(upright)) < 0.6:
        return ""
    return "x" if np.mean(sideways) > np.mean(upright) else "y"


def _size(box: dict[str, int]) -> tuple[int, int]:
    return box["width"], box["height"]


def fit(address: int, evidence: Evidence, axis: str) -> Formula | None:
    """The formula from a byte to the edge of the thing it moves: from the byte as it is once the picture is drawn.

    Where the game resets the byte every frame, from the byte as it was written.
    """
    for which in (1, 0):
        points = []
        for effect in evidence["effects"]:
            here = [[effect["written"], effect["value"], effect["box"]], *effect["outcomes"]]
            points += [(row[which], row[2]) for row in here if row[2]]
        formula = fit_points(points, axis, address, address, evidence["horizon"])
        if formula:
            return formula if which else replace(formula, lag=formula.horizon)
    return None


def fit_mirrors(seen: list[list[Any]], axis: str, driver: int, horizon: int) -> Formula | None:
    """The best formula from any byte, given [ram, box] of many futures in which `driver` was changed."""
    found = [fit_points([(ram[b], box) for ram, box in seen], axis, b, driver, horizon) for b in range(len(seen[0][0]))]
    return max((f for f in found if f), key=lambda f: (f.exact, f.near), default=None)


def fit_points(
    points: list[tuple[int, dict[str, int]]], axis: str, byte: int, driver: int, horizon: int
) -> Formula | None:
    """The formula that most whole sightings obey; None with too few different places to tell."""
    side = "left" if axis == "x" else "top"
    if not points:
        return None
    usual, _ = Counter(_size(box) for _, box in points).most_common(1)[0]
    places = sorted({(value, box[side]) for value, box in points if _size(box) == usual})
    if len({value for value, _ in places}) < DISTINCT or len({edge for _, edge in places}) < DISTINCT:
        return None
    values, edges = np.array(places, float).T
    best = (0.0, 0.0, 0.0, 0.0, "byte")
    for code, scale in (*(("byte", scale) for scale in SCALES), ("nibbles", 1.0)):
        rest = edges - scale * np.array([decode(int(value), code) for value in values])
        offset, _ = Counter(rest.tolist()).most_common(1)[0]
        gap = np.abs(rest - offset)
        best = max(best, (float((gap < 0.75).mean()), float((gap < 1.75).mean()), scale, offset, code))
    exact, near, scale, offset, code = best
    spread = len(set(edges.tolist()))
    return Formula(byte, driver, scale, offset, round(exact, 4), round(near, 4), spread, horizon, code=code)


def cells_of(address: int, evidence: Evidence, pixels: int) -> list[Cell]:
    """The bits of a byte that each draw one small fixed rectangle of their own; [] when it is no such byte."""
    found: list[Cell] = []
    for bit in range(8):
        boxes = [tuple(boxes[bit].values()) for boxes in evidence["flips"] if boxes[bit]]
        if not boxes:
            continue
        (left, top, width, height), times = Counter(boxes).most_common(1)[0]
        if times < 0.6 * len(evidence["flips"]) or width * height > 0.01 * pixels:
            return []
        found.append(Cell(address, bit, left, top, width, height))
    apart = len({(cell.left, cell.top) for cell in found}) == len(found) and not _overlapping(found)
    alike = len({(cell.width, cell.height) for cell in found}) == 1
    return found if len(found) >= 2 and apart and alike else []


def _overlapping(cells: list[Cell]) -> bool:
    for i, a in enumerate(cells):
        for b in cells[:i]:
            if abs(a.left - b.left) < a.width and abs(a.top - b.top) < a.height:
                return True
    return False


def overlap(a: Evidence, b: Evidence) -> float:
    """Median share of common pixels over the states in which both bytes have a mask; 0 when there are none."""
    shares = []
    for first, second in zip(a["effects"], b["effects"], strict=True):
        one, two = set(first["mask"]), set(second["mask"])
        if one and two:
            shares.append(len(one & two) / len(one | two))
    return float(np.median(shares)) if shares else 0.0


def group(evidence: dict[int, Evidence], kinds: dict[int, str]) -> list[list[int]]:
    """Bytes that move the same pixels, together."""
    groups: list[list[int]] = []

    def alike(a: int, b: int) -> bool:
        return overlap(evidence[a], evidence[b]) > (SAME if kinds[a] == kinds[b] else CROSSED)

    for address in (address for address, kind in kinds.items() if kind in ("x", "y")):
        home = next((g for g in groups if any(alike(a, address) for a in g)), None)
        if home is None:
            groups.append([address])
        else:
            home.append(address)
    return groups


def describe(
    name: str, x: Formula | None, y: Formula | None, effects: list[Evidence], evidence: dict[int, Evidence],
    kinds: dict[int, str],
) -> FoundThing:  # fmt: skip
    """The record of a thing placed by these formulas, with its sizes and the other bytes that act on its pixels.

    effects: of changing all its drivers, in every state.
    """
    best = [formula for formula in (x, y) if formula]
    lead = evidence[max(best, key=lambda f: f.exact).driver]
    used = {f.driver for f in best} | {f.byte for f in best}
    also: dict[str, list[int]] = {}
    for address, kind in kinds.items():
        acts = address not in used and kind in ("x", "y", "velocity", "shape")
        if acts and overlap(lead, evidence[address]) > SAME:
            also.setdefault(kind, []).append(address)
    boxes = [effect["box"] for effect in effects if effect["box"]]
    sizes = tuple((w, h, n) for (w, h), n in Counter(_size(box) for box in boxes).most_common(6))
    colours: Counter[int] = Counter()
    for effect in effects:
        colours.update(dict(effect["colours"]))
    own = tuple(sorted(colour for colour, n in colours.items() if n >= COMMON * colours.total()))
    fixed = {axis: edge for axis, f in (("x", x), ("y", y)) if not f and (edge := _still(boxes, axis)) is not None}
    return FoundThing(name, x, y, sizes, round(len(boxes) / len(effects), 3), also, own, fixed)


def _still(boxes: list[dict[str, int]], axis: str) -> int | None:
    """The edge that the thing has in nearly every state, the least one if it flaps a little; None where it moves."""
    edges = [box["left" if axis == "x" else "top"] for box in boxes]
    usual = [edge for edge, n in Counter(edges).items() if n >= 0.1 * len(edges)]
    near = [edge for edge in usual if edge - min(usual) <= FLAP]
    return min(near) if near and sum(edge in near for edge in edges) >= STILL * len(edges) else None


# ----------------------------------------------------------------------------------------------------
# `triune discover`: find the bytes of memory that draw things, with evidence, for a game nobody has described.


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
    command: module and arguments of another child than `probe_child` (tests).
    """
    spec = system if isinstance(system, SystemSpec) else find_system(system)
    began = time.monotonic()
    job = {"system": str(spec.folder), "states": states, "seed": seed}
    evidence: dict[int, dict[str, Any]] = {}
    crashed: dict[str, str] = {}
    with Probe(job, timeout, command) as probe:
        for address in range(BYTES):
            try:
                evidence[address] = probe.ask({"do": "byte", "byte": address})
            except ProbeDied as death:
                crashed[str(address)] = str(death)
            if progress:
                progress(address + 1, BYTES, time.monotonic() - began)
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
