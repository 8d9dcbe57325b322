"""Which of several labels of one frame holds, and where people must look: shown, never averaged.

Knows: the order of trust, when two values differ, when two labels are of comparable trust. Does not know files or
pixels. Each part of the scene is settled by itself, so that a person may correct the ball where the teacher's bricks
are right. Of one annotator (source and who), the newest label that speaks of a part counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from data_flywheel.labels.label import RANK, Label, Values, parts_of, spec_of
from data_flywheel.labels.store import LabelStore
from perception.scene import GridSpec, SceneSchema, ThingSpec

COMPARABLE_RANKS = 1  # steps apart in the order of trust
COMPARABLE_TRUST = 0.3  # difference of two trusts
EDGE = 0.5  # px by which an edge may differ ...
EDGE_SHARE = 0.05  # ... and the share of the box's side that comes on top
GAUGE_SHARE = 0.01  # of a gauge's range
OPEN, EDITED, ACCEPTED, REJECTED = "open", "edited", "accepted", "rejected"


@dataclass(frozen=True)
class Part:
    """What holds of one part. `rivals`: labels of comparable trust that say something else."""

    name: str
    label: Label
    rivals: tuple[Label, ...] = ()

    @property
    def value(self) -> Any:
        """What the label says of this part."""
        return self.label.values[self.name]


@dataclass(frozen=True)
class Resolution:
    """What holds of one frame. status: open, edited, accepted or rejected (the last word of a person)."""

    status: str
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def values(self) -> Values:
        """Values of every part that somebody spoke of."""
        return {name: part.value for name, part in self.parts.items()}

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Parts on which annotators of comparable trust disagree."""
        return tuple(name for name, part in self.parts.items() if part.rivals)


def resolve(schema: SceneSchema, labels: Sequence[Label]) -> Resolution:
    """Settle the standing labels of one frame, oldest first (`LabelStore.standing`)."""
    said: dict[str, dict[tuple[str, str], Label]] = {}
    status = OPEN
    for label in labels:
        if label.source == "person":
            status = {"accept": ACCEPTED, "reject": REJECTED}.get(label.verdict, EDITED)
        for name in label.values:
            said.setdefault(name, {})[label.source, label.who] = label
    known = (name for name in parts_of(schema) if name in said)
    return Resolution(status, {name: _settle(schema, name, list(said[name].values())) for name in known})


def resolve_all(store: LabelStore) -> dict[Any, Resolution]:
    """Of every frame in the store, in a fixed order: FrameRef -> Resolution."""
    return {frame: resolve(store.schema, store.standing(frame)) for frame in store.frames()}


def _settle(schema: SceneSchema, name: str, labels: list[Label]) -> Part:
    best = max(labels, key=lambda label: (RANK[label.source], label.trust, label.id))
    others = sorted((label for label in labels if label is not best), key=lambda label: (-RANK[label.source], label.id))
    rivals = (o for o in others if _comparable(best, o) and differs(schema, name, best.values[name], o.values[name]))
    return Part(name, best, tuple(rivals))


def _comparable(best: Label, other: Label) -> bool:
    """A person settles the matter, except against another person."""
    if "person" in (best.source, other.source):
        return best.source == other.source
    near = abs(RANK[best.source] - RANK[other.source]) <= COMPARABLE_RANKS
    return near and abs(best.trust - other.trust) <= COMPARABLE_TRUST


def differs(schema: SceneSchema, name: str, one: Any, other: Any) -> bool:
    """Whether two values of a part say different things; slots of a thing have no order."""
    spec = spec_of(schema, name)
    if isinstance(spec, ThingSpec):
        return not _same_boxes([b for b in one if b], [b for b in other if b])
    if isinstance(spec, GridSpec):
        return bool(one != other)
    return bool(abs(one - other) > GAUGE_SHARE * (spec.high - spec.low))


def _same_boxes(ones: list[list[float]], others: list[list[float]]) -> bool:
    """Each box of one side has its own partner on the other: pairs are found closest first."""
    left, right = set(range(len(ones))), set(range(len(others)))
    pairs = sorted((_distance(a, b), i, k) for i, a in enumerate(ones) for k, b in enumerate(others))
    for _, i, k in pairs:
        if i in left and k in right and _close(ones[i], others[k]):
            left.discard(i)
            right.discard(k)
    return not left and not right


def _distance(a: list[float], b: list[float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _close(a: list[float], b: list[float]) -> bool:
    """All four edges within the tolerance."""
    for centre, side in ((0, 2), (1, 3)):
        allowed = EDGE + EDGE_SHARE * max(a[side], b[side])
        shift, growth = a[centre] - b[centre], (a[side] - b[side]) / 2
        if max(abs(shift - growth), abs(shift + growth)) > allowed:
            return False
    return True
