"""Play one game and set causal labels beside a colour teacher's, frame by frame. Runs in the probing child.

Knows the emulator, catalogues and colour teachers. Draws no conclusions: `agree.py` does.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.declared import ColourTeacher, teachers_of
from data_flywheel.labelers.ram.catalogue import Catalogue
from data_flywheel.labelers.ram.causal import Box, Prober
from data_flywheel.labelers.ram.causal_labels import CausalLabel, Moment, audited, label, placeable, same, unroll
from envs.backends.atari import AtariCore
from envs.protocol import get_protocol
from envs.spec import SystemSpec

STEPS = 7  # frames between two looks
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
    verdict = _verdict(box, seen.box)
    judged = {f"all_{v}" for v in verdict}
    if not seen.trusted:
        return judged | {"dropped"}
    return judged | verdict | {f"formula_{v}" for v in _verdict(box, seen.plain)}


def _verdict(box: Box | None, labelled: Box | None) -> set[str]:
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
            action = int(rng.integers(len(spec.env.actions)))
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
