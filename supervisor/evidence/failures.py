"""Failures found, grouped by cause, and told: a few typical ones from different groups, each with what led to it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from data_flywheel.episodes.episode import Episode
from supervisor.evidence.context import Context, clean, number, quoted, signed
from supervisor.evidence.meetings import AXES, Meeting, meetings, passed
from supervisor.evidence.moments import (
    COSTLY,
    DROUGHT,
    FAULT,
    LASTING,
    LIFE,
    POINTS,
    RULES,
    SEVERITY,
    SUDDEN,
    TIMEOUT,
    WEIGHTS,
    Window,
    cast,
    moments,
    rounds,
    usual,
    window,
)
from supervisor.evidence.tables import steps_table

# ----------------------------------------------------------------------------------------------------
# Failures grouped by cause: a small tree of plain questions, so that every group can be named by its answers.
#
# Failures are first split by kind. Then, again and again, the group and the feature are taken whose split tells
# most: entropy of the answers, times the number of failures, times how much the feature hints at the cause. Ties go
# to the earlier feature and the earlier group, so the same failures always give the same groups.


SMALLEST = 5  # failures in a group that may be split
FEWEST = 3  # groups below which smaller ones are split too, so that there is more than one thing to look at
RARE = 0.15  # share of a group below which an answer goes to "other"
COMMON = 0.8  # share of a group from which on an answer describes it
OTHER = "other"
WASTED = (TIMEOUT, DROUGHT, FAULT, RULES)  # kinds whose steps bring nothing
QUOTED = ("fault", "rule", "reason")  # features that are texts from logs


@dataclass(frozen=True)
class Cluster:
    """Failures of one kind with the same answers. `typical` is a member; `shared` holds what most have in common."""

    kind: str
    answers: tuple[tuple[str, str], ...]  # (feature, value) of every split on the way here
    members: tuple[Window, ...]
    lost: float = 0.0  # share of all that was lost in the batch: number times severity, points by how many
    time: float = 0.0  # share of all steps that it lasted

    @property
    def cost(self) -> float:
        """What it costs: losses and time alike."""
        return self.lost + self.time

    @property
    def name(self) -> str:
        """Plain words."""
        return "; ".join([self.kind, *(said(feature, value) for feature, value in self.answers)])

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


def clusters(windows: Sequence[Window], most: int, steps: int = 0) -> list[Cluster]:
    """At most `most` groups (more only when there are more kinds), the costliest first. `steps`: of the whole batch."""
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
    return sorted(_priced(found, steps), key=lambda c: -c.cost)


def _priced(found: Sequence[Cluster], steps: int) -> list[Cluster]:
    """The groups with what they cost. A failure counts by the severity of its kind; points and lives besides by how
    many they were, next to what is usual."""
    sizes = {kind: [w.moment.size for c in found if c.kind == kind for w in c.members] for kind in (LIFE, POINTS)}
    worth = []
    for c in found:
        size = sum(w.moment.size for w in c.members)
        of = sizes.get(c.kind) or [1] * len(c.members)
        many = size * len(of) / max(1, sum(of)) if c.kind in sizes else len(c.members)
        worth.append(SEVERITY[c.kind] * many)
    wasted = [sum(w.moment.size for w in c.members) if c.kind in WASTED else 0 for c in found]
    return [
        replace(c, lost=value / math.fsum(worth), time=waste / steps if steps else 0.0)
        for c, value, waste in zip(found, worth, wasted, strict=True)
    ]


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


# ----------------------------------------------------------------------------------------------------
# Failures found, grouped, and told: a few typical ones from different groups, each with the steps that led to it.


READ = (
    "Tables: a number that was read, then its change since the step before; - not read. Score (and lives) are those "
    "after the action; what is said stands where it changes. The step marked * is the last one before the failure at "
    "which everything was read."
)
LEGEND = (
    "Tables: a thing is `x,y` in px, then its speed in px per step if it moves; ~ not seen but carried on by the "
    "tracker, ?p seen with certainty p, - not there. Score and lives are those after the action; what is said stands "
    "where it changes. The step marked * is the last one before the failure at which everything was seen."
)


@dataclass(frozen=True)
class Failure:
    """One failure to be told. `blame`: whose it was, in words; "" where nobody can surely tell."""

    label: str
    cluster: Cluster
    window: Window
    episode: Episode
    blame: str = ""

    @property
    def title(self) -> str:
        """One line for a caption: plain words and numbers."""
        return f"{self.label}: step {self.window.last}, seed {self.episode.meta.get('seed')}: {self.cluster.name}"


class Findings:
    """All failures of a context's episodes, taken in order of their seeds."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.episodes = sorted((e for e in context.episodes if len(e)), key=lambda e: int(e.meta.get("seed", 0)))
        self.cast = cast(context.schema, self.episodes)

    @cached_property
    def windows(self) -> list[Window]:
        """One for each failure."""
        c, normal = self.context, usual(self.episodes, self.context.span, self.context.schema)
        found = moments(self.episodes, c.span, normal, c.protocol.frame_limit)
        return [window(m, self.episodes[m.episode], c.schema, self.cast, normal, c.span) for m in found]

    @cached_property
    def clusters(self) -> list[Cluster]:
        """The groups, the costliest first."""
        return clusters(self.windows, self.context.limits.clusters, sum(map(len, self.episodes)))

    @cached_property
    def meetings(self) -> list[Meeting]:
        """Where things were when they came to one's own."""
        return meetings(self.context.schema, self.cast, self.episodes)

    @property
    def losses(self) -> list[Window]:
        """Windows of what was lost at one step."""
        return [w for w in self.windows if w.moment.kind in SUDDEN]

    @cached_property
    def shown(self) -> list[Failure]:
        """A typical failure of each of the costliest groups."""
        told = []
        for i, cluster in enumerate(self.clusters[: self.context.limits.shown], 1):
            w = cluster.typical
            told.append(Failure(f"F{i}", cluster, w, self.episodes[w.moment.episode]))
        if self.context.blame is None:
            return told
        blamed = self.context.blame([(f.episode, f.window.last) for f in told])
        return [replace(f, blame=blame) for f, blame in zip(told, blamed, strict=True)]

    def blocks(self, pictures: bool) -> list[str]:
        """Text: the overview, then each failure."""
        if not self.episodes:
            return ["No episode was recorded for this trial."]
        return [self._overview(), *(self._told(failure, pictures) for failure in self.shown)]

    def _overview(self) -> str:
        seeds = ", ".join(str(e.meta.get("seed")) for e in self.episodes)
        steps = sum(len(e) for e in self.episodes)
        head = f"{len(self.episodes)} episodes of training seeds {seeds}; {steps} steps."
        if not self.windows:
            return f"{head} No failure was found."
        labels = {id(f.cluster): f"  <- {f.label} below" for f in self.shown}
        return "\n".join([
            f"{head} {len(self.windows)} failures in {len(self.clusters)} groups by likely cause, ordered by what they "
            "cost, in shares of all that was lost and of all steps:",
            *(f"  {len(c.members)} x {c.name} ({_price(c)}){labels.get(id(c), '')}" for c in self.clusters),
            *[LEGEND] * (bool(self.context.schema.things) or not self.context.schema.readings),
            *[READ] * bool(self.context.schema.readings),
        ])  # fmt: skip

    def _told(self, f: Failure, pictures: bool) -> str:
        w, e = f.window, f.episode
        score = number(e.scores[w.last].item(), 2)
        after = f"score {score}" + (f", lives {int(e.lives[w.last])}" if e.lives.any() else "")
        lines = [f"\n{f.label}: {w.moment.kind} at step {w.last} of seed {e.meta.get('seed')} ({after} after it)"]
        lines[0] += "".join(f", also {kind}" for kind in w.moment.also) + _extent(w)
        lines.append(f"group: {f.cluster.name}")
        if f.cluster.shared:
            few = len(f.cluster.members) == 1
            lines.append(f"{'more' if few else 'most have in common'}: {'; '.join(f.cluster.shared)}")
        if w.meeting and self.cast.own:
            names = f"{w.meeting.slot.name} minus {self.cast.own.name}"
            lines.append(f"nearest at step {w.meeting.step}: {names} = {signed(w.gap[0])},{signed(w.gap[1])} px")
            if m := passed(self.meetings, w):
                lines[-1] += f"; passed at step {number(m.step)}: {signed(m.gap)} px along {AXES[self.cast.axes[0]]}"
                lines[-1] += f", {number(m.missed)} beyond reach"
        if w.moment.kind == COSTLY:
            before = e.scores[w.first - 1].item() if w.first else 0
            change, all_ = signed(e.scores[w.last].item() - before, 2), signed(e.scores[-1].item(), 2)
            lines.append(f"score over these {w.moment.size} steps {change}, of {all_} in {len(e)} steps")
        if w.moment.kind in (TIMEOUT, DROUGHT) and (turn := rounds(e.scenes[w.first : w.last + 1], self.cast)):
            lines.append(f"all goes round there: every {turn} steps the same again")
        lines += [f"cause: {quoted(f.blame)}"] if f.blame else []
        lines += [f"picture: {f.label}"] if pictures else []
        return clean("\n".join([*lines, *steps_table(w, e, self.context, self.cast)]))


def _price(c: Cluster) -> str:
    time = f", {number(100 * c.time)} % of the steps" if c.time else ""
    return f"{number(100 * c.lost)} % of what was lost{time}"


def _extent(w: Window) -> str:
    if w.moment.kind in LASTING:
        return f", from step {w.first} on"
    return f", {w.moment.size} in a row or close together" if w.moment.size > 1 else ""
