"""Failures found, grouped, and told: a few typical ones from different groups, each with the steps that led to it.

Knows: episodes and their schema, windows and groups. Does not know: pictures, the rest of the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from data_flywheel.episodes.episode import Episode
from supervisor.evidence.clusters import Cluster, clusters
from supervisor.evidence.context import Context
from supervisor.evidence.moments import LASTING, SEVERITY, moments, usual
from supervisor.evidence.rows import steps_table
from supervisor.evidence.text import clean, quoted, signed
from supervisor.evidence.things import cast
from supervisor.evidence.windows import Window, window

LEGEND = (
    "Tables: a thing is `x,y` in px, then its speed in px per step if it moves; ~ not seen but carried on by the "
    "tracker, ?p seen with certainty p, - not there. Score and lives are those after the action; what is said stands "
    "where it changes. The step marked * is the last one before the failure at which everything was seen."
)


@dataclass(frozen=True)
class Failure:
    """One failure to be told. `blame`: whose it was, in words; "" when nobody has looked into it."""

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
        c, normal = self.context, usual(self.episodes, self.context.span)
        found = moments(self.episodes, c.span, normal, c.protocol.max_frames)
        return [window(m, self.episodes[m.episode], c.schema, self.cast, normal, c.span) for m in found]

    @cached_property
    def clusters(self) -> list[Cluster]:
        """The groups, the weightiest first."""
        return clusters(self.windows, self.context.limits.clusters)

    @cached_property
    def shown(self) -> list[Failure]:
        """A typical failure of each of the weightiest groups."""
        told = []
        for i, cluster in enumerate(self.clusters[: self.context.limits.shown], 1):
            w = cluster.typical
            episode = self.episodes[w.moment.episode]
            blame = self.context.blame(episode, w.last) if self.context.blame else ""
            told.append(Failure(f"F{i}", cluster, w, episode, blame))
        return told

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
        kinds = {c.kind for c in self.clusters}
        severity = ", ".join(f"{kind} {n}" for kind, n in SEVERITY.items() if kind in kinds)
        labels = {id(f.cluster): f"  <- {f.label} below" for f in self.shown}
        return "\n".join([
            f"{head} {len(self.windows)} failures in {len(self.clusters)} groups by likely cause, ordered by their "
            f"number times severity ({severity}):",
            *(f"  {len(c.members)} x {c.name}{labels.get(id(c), '')}" for c in self.clusters),
            LEGEND,
        ])  # fmt: skip

    def _told(self, f: Failure, pictures: bool) -> str:
        w, e = f.window, f.episode
        after = f"score {int(e.scores[w.last])}" + (f", lives {int(e.lives[w.last])}" if e.lives.any() else "")
        lines = [f"\n{f.label}: {w.moment.kind} at step {w.last} of seed {e.meta.get('seed')} ({after} after it)"]
        lines[0] += "".join(f", also {kind}" for kind in w.moment.also) + _extent(w)
        lines.append(f"group: {f.cluster.name}")
        if f.cluster.shared:
            few = len(f.cluster.members) == 1
            lines.append(f"{'more' if few else 'most have in common'}: {'; '.join(f.cluster.shared)}")
        if w.meeting and self.cast.own:
            names = f"{w.meeting.slot.name} minus {self.cast.own.name}"
            lines.append(f"nearest at step {w.meeting.step}: {names} = {signed(w.gap[0])},{signed(w.gap[1])} px")
        lines += [f"blame: {quoted(f.blame)}"] if f.blame else []
        lines += [f"picture: {f.label}"] if pictures else []
        return clean("\n".join([*lines, *steps_table(w, e, self.context, self.cast)]))


def _extent(w: Window) -> str:
    if w.moment.kind in LASTING:
        return f", from step {w.first} on"
    return f", {w.moment.size} in a row or close together" if w.moment.size > 1 else ""
