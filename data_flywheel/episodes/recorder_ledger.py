"""What a recording folder holds by its log, and what must go when the disk budget is full.

Knows log records and sizes. Does not know files, frames or games. The order of going is that of worth: first the frames
of the oldest uninteresting episode, its record of scenes and decisions when no such frames are left; then the same of
episodes with failures. What a label or data set wants never goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

RECORDED, EVICTED, WANTED, CUT = "recorded", "evicted", "wanted", "frames cut"
EPISODE, FRAMES = "episode", "frames"
LINE = 400  # bytes of the log that a game, or its going, takes at most


@dataclass
class Entry:
    """One episode. Sizes in bytes; `kept` frames; `failures`: steps of each kind; `wanted`: by whom."""

    name: str
    size: int
    steps: int
    frame_size: int = 0
    kept: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    at: float = 0.0

    @property
    def interesting(self) -> bool:
        """Whether something went wrong in it, or somebody wants it."""
        return bool(self.wanted) or any(self.failures.values())

    def record(self) -> dict[str, Any]:
        """For the log."""
        names = ("size", "steps", "frame_size", "kept", "failures", "at")
        return {"kind": RECORDED, "episode": self.name, **{name: getattr(self, name) for name in names}}


class Ledger:
    """The episodes of a folder, oldest first, as the log tells."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.gone: set[str] = set()  # episodes that were evicted
        self.frames_gone: set[str] = set()
        self._wanted: dict[str, set[str]] = {}

    def apply(self, record: dict[str, Any]) -> None:
        """One record of the log. KeyError, TypeError or ValueError when it makes no sense."""
        name = str(record["episode"])
        if record["kind"] == RECORDED:
            failures = {str(kind): int(count) for kind, count in record["failures"].items()}
            sizes = {key: int(record[key]) for key in ("size", "steps", "frame_size", "kept")}
            self.entries.pop(name, None)
            self.entries[name] = Entry(
                name, **sizes, failures=failures, wanted=self.wanted(name), at=float(record["at"])
            )
            self.gone.discard(name)
            if sizes["frame_size"]:
                self.frames_gone.discard(name)
        elif record["kind"] == WANTED:
            self.wanted(name).add(str(record["by"]))
        elif record["kind"] == EVICTED:
            self._evict(name, record["what"])

    def _evict(self, name: str, what: str) -> None:
        self.frames_gone.add(name)
        if what == EPISODE:
            self.gone.add(name)
            self.entries.pop(name, None)
        elif name in self.entries:
            self.entries[name].frame_size = self.entries[name].kept = 0

    @property
    def size(self) -> int:
        """Bytes of all episodes and frames."""
        return sum(entry.size + entry.frame_size for entry in self.entries.values())

    def wanted(self, name: str) -> set[str]:
        """Who wants an episode, present or not."""
        return self._wanted.setdefault(name, set())

    def evictions(self, new: Entry, budget: int) -> Iterator[tuple[Entry, str]]:
        """What must go, "frames" or "episode" of which entry, so that `new` fits into so many bytes.

        It may be the new one itself: always where it is larger than the whole budget.
        """
        large = [what for what, size in ((FRAMES, new.size + new.frame_size), (EPISODE, new.size)) if size > budget]
        yield from ((new, what) for what in large)
        if EPISODE in large:
            return
        over = self.size + new.size + LINE - budget + (0 if large else new.frame_size)
        for entry, what in self._by_worth(new):
            freed = (entry.frame_size if what == FRAMES else entry.size) - LINE
            if over > 0 and freed > 0 and not (large and entry is new and what == FRAMES):
                over -= freed
                yield entry, what
        if over > 0 and new.wanted:
            yield new, EPISODE

    def _by_worth(self, new: Entry) -> Iterator[tuple[Entry, str]]:
        """Everything that nobody wants, least worth first."""
        entries = [entry for entry in (*self.entries.values(), new) if not entry.wanted]
        for interesting in (False, True):
            for what in (FRAMES, EPISODE):
                yield from ((entry, what) for entry in entries if entry.interesting == interesting)
