"""Failures grouped by cause: a small tree of plain questions, so that every group can be named by its answers.

Knows: windows and their features. Does not know: episodes, scenes, how a group is told.

Failures are first split by kind. Then, again and again, the group and the feature are taken whose split tells most:
entropy of the answers, times the number of failures, times how much the feature hints at the cause. Ties go to the
earlier feature and the earlier group, so the same failures always give the same groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.evidence.moments import SEVERITY
from supervisor.evidence.text import quoted
from supervisor.evidence.windows import WEIGHTS, Window

SMALLEST = 5  # failures in a group that may be split
FEWEST = 3  # groups below which smaller ones are split too, so that there is more than one thing to look at
RARE = 0.15  # share of a group below which an answer goes to "other"
COMMON = 0.8  # share of a group from which on an answer describes it
OTHER = "other"
QUOTED = ("fault", "rule", "reason")  # features that are texts from logs


@dataclass(frozen=True)
class Cluster:
    """Failures of one kind with the same answers. `typical` is a member; `shared` holds what most have in common."""

    kind: str
    answers: tuple[tuple[str, str], ...]  # (feature, value) of every split on the way here
    members: tuple[Window, ...]

    @property
    def name(self) -> str:
        """Plain words."""
        return "; ".join([self.kind, *(said(feature, value) for feature, value in self.answers)])

    @property
    def weight(self) -> int:
        """Its size times the severity of its kind."""
        return len(self.members) * SEVERITY[self.kind]

    @property
    def shared(self) -> list[str]:
        """What at least COMMON of the members have beyond the name, in plain words."""
        known = {feature for feature, _ in self.answers}
        found = []
        for feature in WEIGHTS:
            value, n = Counter(w.features[feature] for w in self.members).most_common(1)[0]
            if feature not in known and value and n >= COMMON * len(self.members):
                found.append(said(feature, value))
        return found

    @property
    def typical(self) -> Window:
        """The member most like the others: the medoid under weighted disagreement, then the least unusual gap."""
        counts = {f: Counter(w.features[f] for w in self.members) for f in WEIGHTS}
        like = {id(w): sum(WEIGHTS[f] * counts[f][w.features[f]] for f in WEIGHTS) for w in self.members}
        middle = [sorted(w.gap[axis] for w in self.members)[len(self.members) // 2] for axis in (0, 1)]

        def order(w: Window) -> tuple[float, float, int, int]:
            off = abs(w.gap[0] - middle[0]) + abs(w.gap[1] - middle[1])
            return -like[id(w)], off if math.isfinite(off) else math.inf, w.moment.episode, w.moment.step

        return min(self.members, key=order)


def said(feature: str, value: str) -> str:
    """A feature's value in plain words; texts from logs are quoted."""
    if value == OTHER:
        return f"{feature}: {OTHER}"
    if feature in QUOTED:
        return f"{feature} {quoted(value, 70)}" if value else f"no {feature}"
    return value or f"{feature}: nothing to note"


def clusters(windows: Sequence[Window], most: int) -> list[Cluster]:
    """At most `most` groups (more only when there are more kinds), the weightiest first."""
    kinds = sorted({w.moment.kind for w in windows}, key=list(SEVERITY).index)
    found = [Cluster(k, (), tuple(w for w in windows if w.moment.kind == k)) for k in kinds]
    while len(found) < most:
        room, smallest = most - len(found) + 1, SMALLEST if len(found) >= FEWEST else 2
        best = max(
            ((gain, -i, -j, feature) for i, c in enumerate(found) for j, feature in enumerate(WEIGHTS)
             if (gain := _gain(c, feature, room, smallest)) > 0),
            default=None,
        )  # fmt: skip
        if best is None:
            break
        at = -best[1]
        found[at : at + 1] = _split(found[at], best[3])
    return sorted(found, key=lambda c: -c.weight)


def _parts(cluster: Cluster, feature: str) -> dict[str, list[Window]]:
    """Members by answer, rare answers together, the most frequent first."""
    members = cluster.members
    counts = Counter(w.features[feature] for w in members)
    parts: dict[str, list[Window]] = {}
    for w in members:
        value = w.features[feature]
        parts.setdefault(value if counts[value] >= RARE * len(members) else OTHER, []).append(w)
    return dict(sorted(parts.items(), key=lambda item: -len(item[1])))


def _gain(cluster: Cluster, feature: str, room: int, smallest: int) -> float:
    """How much a split would tell; 0 when it is not allowed. `room`: groups that may take this one's place."""
    if len(cluster.members) < smallest or feature in dict(cluster.answers):
        return 0.0
    sizes = [len(part) for part in _parts(cluster, feature).values()]
    if not 1 < len(sizes) <= room:
        return 0.0
    n = sum(sizes)
    return WEIGHTS[feature] * sum(k * math.log2(n / k) for k in sizes)


def _split(cluster: Cluster, feature: str) -> list[Cluster]:
    return [
        Cluster(cluster.kind, (*cluster.answers, (feature, value)), tuple(part))
        for value, part in _parts(cluster, feature).items()
    ]
