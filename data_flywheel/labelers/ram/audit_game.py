"""Play one game and set the teacher's labels beside causal masks, frame by frame. Runs in the probing child.

Knows the emulator, the teacher and the masks. Draws no conclusions: `audit.py` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.ram.causal import Box, Prober
from data_flywheel.labelers.teachers import Teacher, load_teacher
from envs.backends.atari import AtariCore
from envs.protocol import get_protocol
from envs.spec import SystemSpec

STEPS = 7  # frames between two audited ones
POKE_EVERY = 6  # audited frames between two pokes
TOLERANCE = 1.0  # px by which an edge of the two boxes may differ


def audit_game(
    spec: SystemSpec, things: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]], seed: int, frames: int
) -> dict[str, Any]:
    """Counts of verdicts: {"things": {"ball|thing2": {"agree": 90, ...}}, "cells": {"bricks": [equal, all]}}.

    things: {"name", "addresses", "horizon"} of the catalogue. Verdicts: agree (same box, or absent in both),
    unseen (label but no mask: a collision or a clamped motion hid the effect), unlabelled (mask but no label), differ.
    """
    core = AtariCore(spec.env, get_protocol("seed"), seed)
    prober, teacher = Prober(core), load_teacher(spec.folder)
    rng = np.random.default_rng(seed)
    verdicts: dict[str, Counter[str]] = {}
    equal: dict[str, list[int]] = {grid.name: [0, 0] for grid in teacher.schema.grids}
    core.reset(seed)
    for number in range(frames):
        _advance(core, teacher, rng, poke=number % POKE_EVERY == POKE_EVERY - 1)
        state = core.clone()
        for thing in things:
            effect = prober.effect(state, thing["addresses"], thing["horizon"])
            _, ram = prober.future(state, {}, thing["horizon"])
            vector = teacher.label(ram, core.frame())
            for name, box in _labels(teacher, vector).items():
                counts = verdicts.setdefault(f"{name}|{thing['name']}", Counter())
                counts[_verdict(box, effect.box)] += 1
        _, ram = prober.future(state, {}, 1)
        _count_cells(equal, teacher, cells, ram, teacher.label(ram, core.frame()))
        core.restore(state)
    return {"things": {name: dict(counts) for name, counts in verdicts.items()}, "cells": equal}


def _advance(core: AtariCore, teacher: Teacher, rng: np.random.Generator, poke: bool) -> None:
    """Play on, sometimes from a rare state; a new episode when one is over."""
    if poke:
        core.poke(teacher.poke(core.ram(), rng))
    for _ in range(STEPS):
        acts_randomly = rng.random() < 0.2
        core.advance(int(rng.integers(len(core.env.actions))) if acts_randomly else teacher.scripted(core.ram(), rng))
        if core.done:
            core.reset()


def _labels(teacher: Teacher, vector: NDArray[np.float32]) -> dict[str, tuple[float, float, float, float] | None]:
    """Edges of every labelled thing (left, top, right, bottom); None where it is absent. First slots only."""
    found: dict[str, tuple[float, float, float, float] | None] = {}
    for thing in teacher.schema.things:
        seen, x, y, w, h = vector[teacher.schema.slot(thing.name)][:5].tolist()
        found[thing.name] = (x - w / 2, y - h / 2, x + w / 2, y + h / 2) if seen else None
    return found


def _verdict(label: tuple[float, float, float, float] | None, mask: Box | None) -> str:
    if label is None or mask is None:
        return "agree" if label is None and mask is None else "unseen" if mask is None else "unlabelled"
    edges = (mask.left, mask.top, mask.left + mask.width, mask.top + mask.height)
    return "agree" if all(abs(a - b) <= TOLERANCE for a, b in zip(label, edges, strict=True)) else "differ"


def _count_cells(
    equal: dict[str, list[int]], teacher: Teacher, cells: Sequence[dict[str, Any]], ram: NDArray[np.uint8],
    vector: NDArray[np.float32],
) -> None:  # fmt: skip
    """Compare every cell of every grid with the bits that draw inside it (all of them must be set)."""
    for grid in teacher.schema.grids:
        labels = vector[teacher.schema.grid(grid.name)].reshape(grid.rows, grid.cols) > 0.5
        bits: dict[tuple[int, int], bool] = {}
        for cell in cells:
            row = (cell["top"] + cell["height"] / 2 - grid.top) // grid.cell[1]
            column = (cell["left"] + cell["width"] / 2 - grid.left) // grid.cell[0]
            if 0 <= row < grid.rows and 0 <= column < grid.cols:
                place, there = (int(row), int(column)), bool(ram[cell["byte"]] >> cell["bit"] & 1)
                bits[place] = bits.get(place, True) and there
        equal[grid.name][0] += sum(bool(labels[place]) == there for place, there in bits.items())
        equal[grid.name][1] += len(bits)
