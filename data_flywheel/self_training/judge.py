"""Which of two detectors to keep, without anybody's labels of the new look: pure functions of Scene vectors.

On the new look, a detector is right about a frame's thing when it sees it within NEAR px of where motion has it. A
flying thing that it sees at one place for STILL frames is a ghost: nothing that flies rests. On the old look, frames of
the frozen test set on which anything is wrong are counted; a new detector may not have more of them than the old one
beyond chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.labelers.motion import Floats, Motion, Prior, slots
from perception.scene import SLOT, SceneSchema

NEAR = 2.0  # px
STILL = 8  # frames at one place
GOOD = 0.995  # score from which nothing needs to be learned
SEES = 0.5  # score below which detectors that learned still cannot be said to see
GAIN = 0.2  # share of what is wrong that new detectors must see right
SLACK = 0.01  # by which they may be worse where they lead by themselves
OLD_LOSS = 0.01  # share of the old look's frames that may newly be wrong
FORGETS = "the old look suffers"
FALL = 0.02
CHANCE = 0.05  # p-value from which more wrong frames are no accident


@dataclass(frozen=True)
class Sight:
    """How well detectors agree with motion. `score` is the worst of the things (hits without ghosts) and grids."""

    hits: dict[str, float]  # share of trusted rows, by slot
    ghosts: float  # share of frames with a flying thing that rests
    cells: float | None  # share of cells that change agrees with
    rows: int  # trusted rows of the rarest thing

    @property
    def score(self) -> float:
        """0 to 1."""
        worst = min(self.hits.values(), default=0.0)
        return max(0.0, min(worst - self.ghosts, 1.0 if self.cells is None else self.cells))

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "score": round(self.score, 4)}


def coverage(motion: Motion, known: Sequence[Prior]) -> float:
    """Share of the frames on which motion knows where the flying things are; the rarest counts, 1 without any."""
    flying = [k for k, p in enumerate(known) if p.fixed == (None, None)]
    return min((float(motion.trust[:, k].mean()) for k in flying), default=1.0)


def sight(
    seen: Floats, episodes: NDArray[np.int64], motion: Motion, known: Sequence[Prior], schema: SceneSchema,
    cells: Floats | None = None,
) -> Sight:  # fmt: skip
    """Scenes float32[N, size] of frames in order, beside motion's; `cells` float32[N, cells] by change."""
    hits, ghosts, rows = {}, np.zeros(len(seen), bool), len(seen)
    for k, (spec, start) in enumerate(slots(schema)):
        mine, theirs, trust = seen[:, start : start + SLOT], motion.scenes[:, start : start + SLOT], motion.trust[:, k]
        away = np.abs(mine[:, 1:3] - theirs[:, 1:3]).max(1)
        right = (mine[:, 0] > 0.5) & (away <= NEAR)
        name = spec.name if spec.count == 1 else f"{spec.name}{k}"
        hits[name] = round(float(right[trust].mean()), 4) if trust.any() else 0.0
        rows = min(rows, int(trust.sum()))
        if known[k].fixed == (None, None):
            ghosts |= _resting(mine, episodes)
    agree = None
    if cells is not None and schema.grids:
        said = np.concatenate([seen[:, schema.grid(g.name)] for g in schema.grids], 1)
        agree = round(float(((said > 0.5) == (cells > 0.5)).mean()), 4)
    return Sight(hits, round(float(ghosts.mean()), 4), agree, rows)


def _resting(boxes: Floats, episodes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[N]: seen at one place since STILL frames."""
    out, since = np.zeros(len(boxes), bool), 0
    for i in range(1, len(boxes)):
        a, b = boxes[i - 1], boxes[i]
        same = episodes[i] == episodes[i - 1] and a[0] > 0.5 and b[0] > 0.5 and np.abs(a[1:3] - b[1:3]).max() < 0.5
        since = since + 1 if same else 0
        out[i] = since >= STILL
    return out


def wrong(found: Floats, truth: Floats, schema: SceneSchema) -> NDArray[np.bool_]:
    """bool[N]: labelled frames on which any thing is missed, made up or misplaced, or any cell is wrong."""
    bad = np.zeros(len(truth), bool)
    for _, start in slots(schema):
        a, b = found[:, start : start + SLOT], truth[:, start : start + SLOT]
        bad |= (a[:, 0] > 0.5) != (b[:, 0] > 0.5)
        bad |= (b[:, 0] > 0.5) & (np.abs(a[:, 1:3] - b[:, 1:3]).max(1) > NEAR)
    for grid in schema.grids:
        at = schema.grid(grid.name)
        bad |= ((found[:, at] > 0.5) != (truth[:, at] > 0.5)).any(1)
    return bad


@dataclass(frozen=True)
class Verdict:
    """`promote`, and why in words; the figures it rests on."""

    promote: bool
    reason: str
    figures: dict[str, Any]

    @property
    def forgets(self) -> bool:
        """Was it refused for what it did to the old look?"""
        return self.reason.startswith(FORGETS)


def judge(old: Sight, new: Sight, old_wrong: NDArray[np.bool_], new_wrong: NDArray[np.bool_]) -> Verdict:
    """Promote the new one? `old`, `new`: on frames nobody learned from; `old_wrong`, `new_wrong`: on the frozen set."""
    worse, better = int((new_wrong & ~old_wrong).sum()), int((old_wrong & ~new_wrong).sum())
    figures: dict[str, Any] = {
        "old": old.record(), "new": new.record(),
        "frozen": {"frames": len(old_wrong), "wrong_before": int(old_wrong.sum()), "wrong_after": int(new_wrong.sum()),
                   "newly_wrong": worse, "newly_right": better, "p": round(_sign_test(worse, better), 5)},
    }  # fmt: skip
    return Verdict(*_decide(old, new, figures), figures)


def led(verdict: Verdict, old: Sight, new: Sight) -> Verdict:
    """The verdict, unless new detectors are worse than old ones on frames to which their own play led."""
    figures = {**verdict.figures, "played": {"old": old.record(), "new": new.record()}}
    if new.score + SLACK < old.score:
        return Verdict(False, f"worse where it leads by itself: {old.score:.3f} -> {new.score:.3f}", figures)
    return Verdict(verdict.promote, verdict.reason, figures)


def with_scores(verdict: Verdict, old: Sequence[float], new: Sequence[float]) -> Verdict:
    """The verdict, unless the score falls by more than FALL of itself on the same games; as it is without any."""
    if not old:
        return verdict
    before, after = float(np.mean(old)), float(np.mean(new))
    told = Verdict(verdict.promote, verdict.reason, {**verdict.figures, "scores": {"old": list(old), "new": list(new)}})
    if after < before - FALL * abs(before):
        return Verdict(False, f"the score falls: {before:.1f} -> {after:.1f}", told.figures)
    return told


def _decide(old: Sight, new: Sight, figures: dict[str, Any]) -> tuple[bool, str]:
    frozen = figures["frozen"]
    if not frozen["frames"]:
        return False, "no frame of the old look is frozen, so nobody can tell whether it suffers"
    lost = (frozen["newly_wrong"] - frozen["newly_right"]) / max(1, frozen["frames"])
    if lost > OLD_LOSS and frozen["p"] < CHANCE:
        return False, f"{FORGETS}: {frozen['newly_wrong']} of {frozen['frames']} frozen frames newly wrong"
    if 1.0 - new.score > (1.0 - GAIN) * (1.0 - old.score):
        return False, f"not better on unseen play: {old.score:.3f} -> {new.score:.3f}"
    return True, f"better on unseen play: {old.score:.3f} -> {new.score:.3f}"


def _sign_test(worse: int, better: int) -> float:
    """Chance of at least `worse` of all changed frames being for the worse if either way is as likely."""
    n = worse + better
    return sum(math.comb(n, k) for k in range(worse, n + 1)) / 2.0**n if n else 1.0
