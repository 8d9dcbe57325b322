"""The process that perturbs memory: `python -m data_flywheel.labelers.causal.probe_child JOB`, questions as JSON lines
on stdin.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.causal.colours import Box, ColourTeacher, teachers_of
from data_flywheel.labelers.causal.masks import (
    Catalogue,
    CausalLabel,
    Effect,
    Moment,
    Prober,
    audited,
    label,
    placeable,
    same,
    unroll,
)
from data_flywheel.labelers.teacher import Teacher, load_teacher
from envs.backends.atari import AtariCore, find_system
from envs.backends.atari_protocols import get_protocol
from envs.spec import SystemSpec
from envs.terminal import guard

# ----------------------------------------------------------------------------------------------------
# Play one game and set the teacher's labels beside causal masks, frame by frame. Runs in the probing child.
#
# Draws no conclusions: `audit.py` does.


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
            vector = teacher.label({"ram": ram}, core.frame())
            for name, box in _labels(teacher, vector).items():
                counts = verdicts.setdefault(f"{name}|{thing['name']}", Counter())
                counts[_verdict(box, effect.box)] += 1
        _, ram = prober.future(state, {}, 1)
        _count_cells(equal, teacher, cells, ram, teacher.label({"ram": ram}, core.frame()))
        core.restore(state)
    return {"things": {name: dict(counts) for name, counts in verdicts.items()}, "cells": equal}


def _advance(core: AtariCore, teacher: Teacher, rng: np.random.Generator, poke: bool) -> None:
    """Play on, sometimes from a rare state; a new episode when one is over."""
    if poke and teacher.poke:
        core.write(teacher.poke(core.truth(), rng))
    for _ in range(STEPS):
        if rng.random() < 0.2 or teacher.scripted is None:
            core.advance(int(rng.integers(len(core.env.actions.names))))
        else:
            core.advance(int(teacher.scripted(core.truth(), rng)))
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


# ----------------------------------------------------------------------------------------------------
# Play one game and set causal labels beside a colour teacher's, frame by frame. Runs in the probing child.
#
# Draws no conclusions: `agree.py` does.


HOLD = 6  # frames for which a random action is kept
TILES = 4  # pictures of disagreement per thing and game
AROUND = 24  # px around the boxes in such a picture
LABEL, TEACHER, MASK = (255, 0, 255), (0, 255, 0), (255, 255, 0)


def pairs_in_game(spec: SystemSpec, catalogue: Catalogue, seed: int, frames: int) -> dict[str, int]:
    """How often "thing of the teacher|thing of the catalogue" were both seen at the same place."""
    found: Counter[str] = Counter()
    things = [thing for thing in catalogue.things if placeable(thing)]
    longest = max((thing.horizon for thing in things), default=0)
    for prober, state in _looks(spec, seed, frames):
        moments = unroll(prober, state, longest)
        for name, teacher in teachers_of(spec.env.id).items():
            for thing in things:
                seen = moments[: thing.horizon + 1]
                box = label(thing, [m.ram for m in seen], seen[-1].palette)
                found[f"{name}|{thing.name}"] += bool(box) and same(box, teacher.look(seen[-1].rgb)[0])
    return dict(found)


def agree_in_game(
    spec: SystemSpec, catalogue: Catalogue, pairs: dict[str, str], seed: int, frames: int
) -> dict[str, Any]:
    """{"things": {"ball": {"tp": 40, ...}}, "tiles": [{"thing", "what", "frame", "png"}]}; pairs: here -> catalogue.

    Counts: tp, fp, fn, tn over the frames where label and mask agree; unsure: the teacher cannot tell; dropped: label
    and mask disagree; all_tp, all_fp, all_fn: the same without dropping; formula_tp ...: of the bare formula. A box
    elsewhere is one fp and one fn.
    """
    things = {thing.name: thing for thing in catalogue.things}
    counts: dict[str, Counter[str]] = {name: Counter() for name in pairs}
    tiles: list[dict[str, Any]] = []
    longest = max((things[found].horizon for found in pairs.values()), default=0)
    for number, (prober, state) in enumerate(_looks(spec, seed, frames)):
        moments = unroll(prober, state, longest)
        for name, found in pairs.items():
            thing, teacher = things[found], teachers_of(spec.env.id)[name]
            moment = moments[thing.horizon]
            box, sure = teacher.look(moment.rgb)
            seen = audited(prober, state, thing, moments)
            verdict = _judge(teacher, box, sure, seen)
            counts[name].update(verdict)
            what = _matter(verdict)
            if what and sum((tile["thing"], tile["what"]) == (name, what) for tile in tiles) < TILES:
                tiles.append({"thing": name, "what": what, "frame": number, "png": _tile(moment, box, seen)})
    return {"things": {name: dict(found) for name, found in counts.items()}, "tiles": tiles}


def _judge(teacher: ColourTeacher, box: Box | None, sure: bool, seen: CausalLabel) -> set[str]:
    """The counts to raise by one."""
    if not sure or (box is None and seen.box is not None and not teacher.inside(seen.box)):
        return {"unsure"}
    verdict = _agreement(box, seen.box)
    judged = {f"all_{v}" for v in verdict}
    if not seen.trusted:
        return judged | {"dropped"}
    return judged | verdict | {f"formula_{v}" for v in _agreement(box, seen.plain)}


def _agreement(box: Box | None, labelled: Box | None) -> set[str]:
    if same(box, labelled):
        return {"tp"} if box else {"tn"}
    return ({"fn"} if box else set()) | ({"fp"} if labelled else set())


def _matter(verdict: set[str]) -> str:
    """Why a frame is worth a look: "" for none."""
    if verdict & {"fp", "fn"}:
        return "differs"
    if "dropped" in verdict:
        return "dropped, differs" if verdict & {"all_fp", "all_fn"} else "dropped, agrees"
    return ""


def _looks(spec: SystemSpec, seed: int, frames: int) -> Iterator[tuple[Prober, Any]]:
    """`frames` states of random play, STEPS frames apart."""
    core = AtariCore(spec.env, get_protocol("seed"), seed)
    prober, rng = Prober(core), np.random.default_rng(seed)
    core.reset(seed)
    action = 0
    for step in range(frames * STEPS):
        if step % HOLD == 0:
            action = int(rng.integers(len(spec.env.actions.names)))
        core.advance(action)
        if core.done:
            core.reset()
        if step % STEPS == STEPS - 1:
            state = core.clone()
            yield prober, state
            core.restore(state)


def _tile(moment: Moment, box: Box | None, seen: CausalLabel) -> str:
    """A PNG (base64) of the surroundings, four times as large, with all boxes."""
    import cv2

    marks = [(box, TEACHER), (seen.box, LABEL), (seen.mask, MASK)]
    boxes: Sequence[Box] = [mark for mark, _ in marks if mark]
    picture: NDArray[np.uint8] = cv2.resize(moment.rgb, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    for mark, colour in marks:
        if mark:
            corner = (4 * (mark.left + mark.width), 4 * (mark.top + mark.height))
            cv2.rectangle(picture, (4 * mark.left - 1, 4 * mark.top - 1), corner, colour, 1)
    x = sum(b.left + b.width / 2 for b in boxes) / len(boxes)
    y = sum(b.top + b.height / 2 for b in boxes) / len(boxes)
    left = int(min(max(x - AROUND, 0), moment.rgb.shape[1] - 2 * AROUND)) * 4
    top = int(min(max(y - AROUND, 0), moment.rgb.shape[0] - 2 * AROUND)) * 4
    part = picture[top : top + 8 * AROUND, left : left + 8 * AROUND, ::-1]
    return base64.b64encode(cv2.imencode(".png", part)[1].tobytes()).decode()


# ----------------------------------------------------------------------------------------------------
# The process that perturbs memory.
#
# Job: {"system", "states", "seed"}. Questions: {"do": "byte", "byte": 72}, {"do": "mirror", "byte": 60, "horizon":
# 1}, {"do": "joint", "bytes": [99, 101], "horizon": 2}, {"do": "audit", "things", "cells", "seed", "frames"},
# {"do": "pairs", "catalogue", "seed", "frames"}, {"do": "agree", "catalogue", "pairs", "seed", "frames"}. Does not
# draw conclusions: `discover.py`, `audit.py` and `agree.py` do.


HORIZONS = (1, 2, 3)
PREFILTER = (10, -10)


def sample_states(core: AtariCore, wanted: int, seed: int) -> list[Any]:
    """Saved states spread over games of random play, alive and with something moving in most of them."""
    rng = np.random.default_rng(seed)
    moving: list[Any] = []
    still: list[Any] = []
    core.reset(seed % 1000)
    for game in range(40):
        if core.done or game % 4 == 3:  # loading a game takes as long as 1000 frames of it
            core.reset((seed + game) % 1000)
        action = 0
        for step in range(int(rng.integers(60, 400))):
            if step % 6 == 0:
                action = int(rng.integers(len(core.env.actions.names)))
            core.advance(action)
            if core.done:
                break
        if core.done or len(np.unique(core.palette_frame())) < 2:
            continue
        state, before = core.clone(), core.palette_frame()
        for _ in range(4):
            core.advance(int(core.env.fallback))
        (moving if (core.palette_frame() != before).any() else still).append(state)
        if len(moving) >= wanted:
            break
    return (moving + still)[:wanted]


class Examiner:
    """Evidence about bytes over a fixed set of states."""

    def __init__(self, spec: SystemSpec, states: int, seed: int) -> None:
        self.spec = spec
        self.core = AtariCore(spec.env, get_protocol("seed"))
        self.states = sample_states(self.core, states, seed)
        self.prober = Prober(self.core)
        self._plain = [self.prober.futures(state, {}, len(HORIZONS)) for state in self.states]

    def byte(self, address: int) -> dict[str, Any]:
        """Where and when changing the byte shows; its effect in every state; what its single bits do."""
        shows = self._shows(address)
        if max(shows) == 0:
            return {"shows": 0.0}
        horizon = next(h for h, share in zip(HORIZONS, shows, strict=True) if share >= 0.5 * max(shows))
        effects = [self.prober.effect(state, [address], horizon) for state in self.states]
        moved = any(effect.box for effect in effects)
        later = [self.prober.effect(state, [address], horizon + 2) for state in self.states[:4] if moved]
        flips = [self.prober.flips(state, address, horizon) for state in self.states[::2]]
        return {
            "shows": max(shows),
            "horizon": horizon,
            "effects": [_record(effect) for effect in effects],
            "slopes": [_slope(effects[:4]), _slope(later)],
            "flips": [[box and asdict(box) for box in boxes] for boxes in flips],
        }

    def joint(self, addresses: list[int], horizon: int) -> list[dict[str, Any]]:
        """The effect of changing several bytes, each in turn, in every state: the whole thing that they place."""
        return [_record(self.prober.effect(state, addresses, horizon)) for state in self.states]

    def mirror(self, address: int, horizon: int) -> list[list[Any]]:
        """[ram, box] of many futures in which a byte was changed: which bytes follow the thing it moves?"""
        found: list[list[Any]] = []
        for state in self.states:
            effect = self.prober.effect(state, [address], horizon)
            futures = {outcome.written: outcome.box for outcome in effect.outcomes} | {effect.written: effect.box}
            for written, box in futures.items():
                if box:
                    _, ram = self.prober.future(state, {address: written}, horizon)
                    found.append([ram.tolist(), asdict(box)])
        return found

    def _shows(self, address: int) -> list[float]:
        """Share of the states in which a change of the byte is visible after 1, 2 and 3 frames."""
        found = np.zeros(len(HORIZONS))
        for state, base in zip(self.states, self._plain, strict=True):
            value = int(self.prober.ram_of(state)[address])
            different = np.zeros(len(HORIZONS), bool)
            for delta in PREFILTER:
                frames = self.prober.futures(state, {address: (value + delta) % 256}, len(HORIZONS))
                different |= [not np.array_equal(a, b) for a, b in zip(frames, base, strict=True)]
            found += different
        return (found / len(self.states)).tolist()


def _record(effect: Effect) -> dict[str, Any]:
    return {
        "written": effect.written,
        "value": effect.value,
        "mask": effect.mask.tolist(),
        "box": effect.box and asdict(effect.box),
        "colours": effect.colours,
        "outcomes": [[o.written, o.value, o.box and asdict(o.box)] for o in effect.outcomes],
    }


def _slope(effects: list[Effect]) -> float:
    """Median distance in px by which the thing moves per unit of the byte (as it is in the future looked at)."""
    slopes = []
    for effect in effects:
        for outcome in effect.outcomes:
            pair = (outcome.value, effect.value) if outcome.value != effect.value else (outcome.written, effect.written)
            change = abs((pair[0] - pair[1] + 128) % 256 - 128)
            if not (effect.box and outcome.box and change):
                continue
            if (outcome.box.width, outcome.box.height) == (effect.box.width, effect.box.height):
                distance = abs(outcome.box.left - effect.box.left) + abs(outcome.box.top - effect.box.top)
                slopes.append(distance / change)
    return float(np.median(slopes)) if slopes else 0.0


def answer(examiner: Examiner, question: dict[str, Any]) -> Any:
    """Dispatch one question about a byte."""
    if question["do"] == "byte":
        return examiner.byte(int(question["byte"]))
    if question["do"] == "joint":
        return examiner.joint(question["bytes"], int(question["horizon"]))
    return examiner.mirror(int(question["byte"]), int(question["horizon"]))


def answer_game(spec: SystemSpec, question: dict[str, Any]) -> dict[str, Any]:
    """Answer a question about a game of its own, which needs no states."""
    if question["do"] == "pairs":
        return pairs_in_game(spec, Catalogue.from_record(question["catalogue"]), question["seed"], question["frames"])
    if question["do"] == "agree":
        catalogue = Catalogue.from_record(question["catalogue"])
        return agree_in_game(spec, catalogue, question["pairs"], question["seed"], question["frames"])
    return audit_game(spec, question["things"], question["cells"], question["seed"], question["frames"])


def main() -> int:
    """Answer questions until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    guard()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the emulator prints about illegal instructions
    job = json.loads(sys.argv[1])
    examiner: Examiner | None = None
    for line in sys.stdin:
        try:
            reply: dict[str, Any] = {}
            question = json.loads(line)
            if question["do"] in ("audit", "pairs", "agree"):
                reply = {"answer": answer_game(find_system(job["system"]), question)}
            else:
                examiner = examiner or Examiner(find_system(job["system"]), job["states"], job["seed"])
                reply = {"answer": answer(examiner, question)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(reply), file=answers, flush=True)
        except BrokenPipeError:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
