"""What lies before a reviewer: the queue, what is known of each frame, and how a decision becomes a label.

Every action is one record in the store, on disk before it is acknowledged; undo takes back the reviewer's newest, and
redo says it again. Of films, any picture can be opened besides those of the queue; it then follows them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from data_flywheel.errors import DataError
from data_flywheel.labels.frames import FrameSource
from data_flywheel.labels.label import FrameRef, Label, Retraction, Values, values_of
from data_flywheel.labels.resolve import Part, resolve
from data_flywheel.labels.review_queue import Item, ReviewQueue, progress
from data_flywheel.labels.store import Entry, LabelStore, StaleLabels
from perception.scene import SceneSchema
from triune.review.strip import Strip
from triune.version import __version__

SURE = 7  # where a slot's `sure` stands
MOST_OPENED = 20_000  # pictures opened besides the queue


class ReviewSession:
    """One reviewer at work on one queue. Thread-safe, as the store is."""

    def __init__(
        self, queue: ReviewQueue, store: LabelStore, frames: FrameSource, who: str = "reviewer", title: str = "",
        strip: Strip | None = None,
    ) -> None:  # fmt: skip
        """`strip`: the films that the queue is of. DataError when queue and store are of different tasks, or the queue
        is empty."""
        if (queue.task, queue.fingerprint) != (store.task, store.schema.fingerprint):
            raise DataError(
                f"the queue is of {queue.task} under another scene schema than {store.folder}; make it again"
            )
        if not queue.items:
            why = ", ".join(f"{count} left out: {reason}" for reason, count in queue.left_out.items())
            raise DataError(f"the queue holds no frame{f' ({why})' if why else ''}; there is nothing to review")
        if not queue.films and any(item.frame.split == "test" for item in queue.items):
            raise DataError("the queue holds frames of the frozen test set, which nobody reviews; make it again")
        self.queue, self.store, self.frames, self.who = queue, store, frames, who
        self.strip = strip
        self._opened: list[Item] = []
        self._undone: list[tuple[Label, str]] = []  # with the revision that the frame then had
        self._reading, self._opening = threading.Lock(), threading.Lock()
        self.title = title or queue.task

    @property
    def schema(self) -> SceneSchema:
        """The scene's parts."""
        return self.store.schema

    def state(self) -> dict[str, Any]:
        """What the page needs once: parts, items, progress, where to start, what is damaged."""
        self.store.sync()
        height, width = self.store.size
        things = [{"name": t.name, "count": t.count, "size": list(t.size)} for t in self.schema.things]
        grids = [vars(g) | {"cell": list(g.cell)} for g in self.schema.grids]
        gauges = [{"name": g.name, "low": g.low, "high": g.high} for g in self.schema.gauges]
        readings = [{"name": r.name, "fields": [vars(f) for f in r.fields]} for r in self.schema.readings]
        return {
            "task": self.queue.task, "title": self.title, "who": self.who, "width": width, "height": height,
            "things": things, "grids": grids, "gauges": gauges, "readings": readings, "problems": self.store.problems,
            "films": self.strip.told() if self.strip else [], **self._progress(),
        }  # fmt: skip

    def _progress(self) -> dict[str, Any]:
        found = progress(self.queue, self.store)
        opened = [resolve(self.schema, self.store.standing(item.frame)).status for item in self._opened]
        last = self._last()
        return {
            "statuses": [*found.statuses, *opened], "counts": found.counts, "first": found.first,
            "last": last.id if last else "", "undone": self._undone[-1][0].id if self._undone else "",
            "labelled": self.strip.tally() if self.strip else None,
        }  # fmt: skip

    @property
    def items(self) -> tuple[Item, ...]:
        """The frames of the queue, then those that were opened besides."""
        return (*self.queue.items, *self._opened)

    def open(self, film: int, at: int) -> dict[str, Any]:
        """The index of a film's picture: the film's place in `state`, and the picture's place in the film. DataError
        where there is none."""
        if self.strip is None:
            raise DataError("this review is not of films; there is only the queue")
        with self._reading:
            ref = self.strip.ref(film, at)
        with self._opening:
            for index, item in enumerate(self.items):
                if item.frame == ref:
                    return {"index": index}
            if len(self._opened) >= MOST_OPENED:
                raise DataError(f"{MOST_OPENED} pictures are open besides the queue; start triune review again")
            self._opened.append(Item(ref, 0.0, ()))
            return {"index": len(self.items) - 1}

    def item(self, index: int) -> Item:
        """One frame of the queue; DataError when there is no such."""
        items = self.items
        if not 0 <= index < len(items):
            raise DataError(f"the queue has frames 0 to {len(items) - 1}, asked for {index}")
        return items[index]

    def frame(self, index: int) -> dict[str, Any]:
        """Everything known of one frame."""
        item = self.item(index)
        self.store.sync()
        found = resolve(self.schema, self.store.standing(item.frame))
        with self._reading:
            film = self.strip.about(item.frame) if self.strip else None
        reasons = [{"reason": reason, "score": score, "detail": detail} for reason, score, detail in item.reasons]
        return {
            "index": index, "episode": item.frame.episode, "step": item.frame.step, "score": item.score,
            "split": item.frame.split, "reasons": reasons, "status": found.status,
            "revision": self.store.revision(item.frame),
            "parts": {name: self._part(part) for name, part in found.parts.items()},
            "belief": self._belief(item),
            "history": [self._entry(entry) for entry in self.store.history(item.frame)],
            "film": film,
        }  # fmt: skip

    def _part(self, part: Part) -> dict[str, Any]:
        rivals = [self._said(label, part.name) for label in (part.label, *part.rivals)] if part.rivals else []
        return {**self._said(part.label, part.name), "rivals": rivals}

    def _said(self, label: Label, part: str) -> dict[str, Any]:
        rest = {name: getattr(label, name) for name in ("id", "at", "source", "who", "version", "trust")}
        return {**rest, "value": label.values[part]}

    def _belief(self, item: Item) -> dict[str, Any] | None:
        """What the detector saw, and how sure it was of every slot."""
        if item.belief is None:
            return None
        vector = np.array(item.belief, np.float32)
        sure = {
            thing.name: [round(float(vector[self.schema.slot(thing.name, i)][SURE]), 4) for i in range(thing.count)]
            for thing in self.schema.things
        }
        sure |= {r.name: [round(float(vector[self.schema.slot(r.name)][-1]), 4)] for r in self.schema.readings}
        return {"values": self._drawable(values_of(self.schema, vector)), "sure": sure}

    def _drawable(self, values: Values) -> Values:
        """A detector may see past the frame's edge; a label may not."""
        height, width = self.store.size
        for thing in self.schema.things:
            values[thing.name] = [box and _cut(box, width, height) for box in values[thing.name]]
        for gauge in self.schema.gauges:
            values[gauge.name] = min(max(values[gauge.name], gauge.low), gauge.high)
        for reading in self.schema.readings:
            said = values[reading.name]
            values[reading.name] = said and {f.name: min(max(said[f.name], f.low), f.high) for f in reading.fields}
        return values

    def _entry(self, entry: Entry) -> dict[str, Any]:
        """One line of a frame's history."""
        line = {"id": entry.id, "at": entry.at, "who": entry.who}
        if isinstance(entry, Retraction):
            return {**line, "kind": "retract", "of": entry.of}
        more = {"source": entry.source, "version": entry.version, "trust": entry.trust, "verdict": entry.verdict}
        return {**line, **more, "kind": "label", "parts": list(entry.values), "gone": self.store.retracted(entry.id)}

    def png(self, index: int) -> bytes:
        """The frame, losslessly; DataError when it is gone."""
        with self._reading:
            rgb = self.frames.rgb(self.item(index).frame)
        good, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        assert good
        return data.tobytes()

    def save(self, index: int, revision: str, verdict: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """One action of the reviewer: corrected parts or a verdict. StaleLabels: the frame changed since `revision`."""
        label = Label(self.item(index).frame, "person", self.who, dict(values), 1.0, f"triune {__version__}", verdict)
        self.store.add([label], after=revision)
        self._undone.clear()
        return {"frame": self.frame(index), **self._progress()}

    def undo(self, last: str) -> dict[str, Any]:
        """Take back the reviewer's newest action in this queue, which the page believes to be `last`."""
        self.store.sync()
        found = self._last()
        if found is None:
            raise DataError("there is nothing to undo")
        if found.id != last:
            raise StaleLabels(found.frame, [found])
        before = self.store.revision(found.frame)
        self.store.retract(found.id, self.who, "undo", after=None)
        self._follow(found.frame, before)
        self._undone.append((found, self.store.revision(found.frame)))
        return self._answer(found.frame)

    def redo(self, undone: str) -> dict[str, Any]:
        """Say again what was undone last, which the page believes to be `undone`. StaleLabels: the frame changed since
        then."""
        if not self._undone or self._undone[-1][0].id != undone:
            raise DataError("there is nothing to redo")
        label, revision = self._undone[-1]
        self.store.add([replace(label, id="", at=0.0)], after=revision)
        self._undone.pop()
        self._follow(label.frame, revision)
        return self._answer(label.frame)

    def _follow(self, frame: FrameRef, before: str) -> None:
        """What was undone of this frame, when it was at the revision `before`, may be redone at the present one."""
        now = self.store.revision(frame)
        self._undone = [(la, now if (la.frame, r) == (frame, before) else r) for la, r in self._undone]

    def _answer(self, frame: FrameRef) -> dict[str, Any]:
        index = next(i for i, item in enumerate(self.items) if item.frame == frame)
        return {"frame": self.frame(index), **self._progress()}

    def _last(self) -> Label | None:
        """The reviewer's newest standing label of a frame that is open here; what was imported has a note, and is not
        undone picture by picture."""
        mine = (
            label
            for item in self.items
            for label in self.store.standing(item.frame)
            if (label.source, label.who, label.note) == ("person", self.who, "")
        )
        return max(mine, key=lambda label: label.id, default=None)

    def summary(self) -> dict[str, Any]:
        """What came of it, for the end."""
        self.store.sync()
        conflicts = sum(bool(resolve(self.schema, self.store.standing(i.frame)).conflicts) for i in self.queue.items)
        return {**progress(self.queue, self.store).counts, "conflicts": conflicts, "problems": self.store.problems}


def _cut(box: list[float], width: int, height: int) -> list[float] | None:
    """The part of a box inside the frame; None when hardly any is."""
    x, y, w, h = box
    left, right = max(0.0, x - w / 2), min(float(width), x + w / 2)
    top, bottom = max(0.0, y - h / 2), min(float(height), y + h / 2)
    if right - left < 0.5 or bottom - top < 0.5:
        return None
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
