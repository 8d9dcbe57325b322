"""The labels of one task, from everybody, for good: added, taken back, never changed.

Any number of processes may write; each sees what the others wrote at its next call. What a damaged file cost is listed
in `problems`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_flywheel.episodes.recording import Recording
from data_flywheel.errors import DataError
from data_flywheel.labels.label import FRAME, FrameRef, Label, Retraction, check_label
from data_flywheel.storage.container import sound
from data_flywheel.storage.files import atomic_write, canonical_json
from data_flywheel.storage.log import VERSION, Log, Record
from envs import shape
from envs.files import read_json
from perception.scene import SceneError, SceneSchema

KIND = "triune labels"
MANIFEST = "labels.json"
BATCH = 1000  # labels a write

Entry = Label | Retraction
Key = tuple[str, int, str]


class StaleLabels(DataError):
    """Somebody else wrote about this frame first. `news`: what they wrote, oldest first."""

    def __init__(self, frame: FrameRef, news: Sequence[Entry]) -> None:
        who = ", ".join(sorted({entry.who for entry in news})) or "somebody"
        super().__init__(f"{frame} was changed meanwhile by {who}; look at it again, then save")
        self.news = tuple(news)


@dataclass
class _Frame:
    """All that was said about one frame, oldest first."""

    ref: FrameRef
    entries: list[Entry] = field(default_factory=list)


class LabelStore:
    """A folder of labels. `LabelStore(folder)` opens one, `LabelStore.create` starts (or continues) one."""

    def __init__(self, folder: str | Path, now: Callable[[], float] = time.time) -> None:
        """DataError: no store there, one of another kind or version, a damaged manifest."""
        self.folder, self._now = Path(folder), now
        record = _read_manifest(self.folder / MANIFEST)
        self.task: str = record["task"]
        self.size: tuple[int, int] = tuple(record["size"])
        self.schema = SceneSchema.from_config(record["schema"])
        self._log = Log(self.folder, KIND, {"fingerprint": self.schema.fingerprint})
        self._frames: dict[Key, _Frame] = {}
        self._labels: dict[str, Label] = {}
        self._gone: set[str] = set()
        self._seeds: dict[str, int | None] = {}
        self._odd: list[str] = []
        self.sync()

    @staticmethod
    def create(
        folder: str | Path, task: str, schema: SceneSchema, size: tuple[int, int], now: Callable[[], float] = time.time
    ) -> LabelStore:
        """Start a store, or open the one there; DataError when that belongs to another task, schema or frame size."""
        path = Path(folder) / MANIFEST
        schema = SceneSchema.from_config(schema.to_config())  # as it reads from a file: 0 for a float is 0.0
        if not path.exists():
            record = {"kind": KIND, "version": VERSION, "task": task, "schema": schema.to_config(), "size": list(size)}
            record["sha256"] = _digest(record)
            atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())  # unsorted: the order of things counts
        store = LabelStore(folder, now)
        mine, theirs = ((s.fingerprint, *z) for s, z in ((schema, size), (store.schema, store.size)))
        if store.task != task or mine != theirs:
            what = f"of {store.task}" if store.task != task else "under another scene schema or frame size"
            raise DataError(f"{folder} holds labels {what}; name another folder")
        return store

    @property
    def problems(self) -> list[str]:
        """What is damaged, one sentence each; everything else was read."""
        return self._log.problems + self._odd

    def sync(self) -> None:
        """Read what others have written."""
        with self._log.mutex:
            for record in self._log.news():
                self._index(record)

    def _index(self, record: Record) -> None:
        try:
            entry = _entry(record, self._labels)
            if isinstance(entry, Label):
                check_label(entry, self.schema, self.size)
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            self._odd.append(f"{self.folder}: record {record.get('id')} makes no sense ({reason}) and is left out")
            return
        if isinstance(entry, Label):
            self._labels[entry.id] = entry
        else:
            self._gone.add(entry.of)
        if entry.frame is not None:
            self._seeds.setdefault(entry.frame.episode, entry.frame.seed)
            self._frames.setdefault(_key(entry.frame), _Frame(entry.frame)).entries.append(entry)

    def add(self, labels: Sequence[Label], after: str | None = None) -> list[Label]:
        """Check and write labels; once this returns they are on disk for good. The labels with id and time.

        after: the revision of the frame (of the first label) that the writer has seen. DataError: a label is not valid
        (none of them is written), the disk is full; StaleLabels: the frame has another revision by now.
        """
        checked = [check_label(label, self.schema, self.size) for label in labels]
        written: list[Label] = []
        with self._log.held():
            self.sync()
            self._refuse_torn(checked)
            if checked and after is not None:
                self._refuse_stale(checked[0].frame, after)
            for start in range(0, len(checked), BATCH):
                batch = checked[start : start + BATCH]
                for record in self._log.append([_label_record(label, self._time()) for label in batch]):
                    self._index(record)
                    written.append(self._labels[record["id"]])
        return written

    def retract(self, of: str, who: str, note: str = "", after: str | None = None) -> Retraction:
        """Take back one label. DataError: there is no such label, or it was taken back already; `after` as in `add`."""
        with self._log.held():
            self.sync()
            label = self._labels.get(of)
            if label is None or not who:
                raise DataError(f"{self.folder}: no label {of!r} to take back, or nobody who does")
            if after is not None:
                self._refuse_stale(label.frame, after)
            if of in self._gone:
                raise DataError(f"{self.folder}: label {of} was taken back already")
            record = {"kind": "retract", "of": of, "who": who, "note": note, "at": self._time()}
            self._index(self._log.append([record])[0])
            last = self.history(label.frame)[-1]
            assert isinstance(last, Retraction)
            return last

    def _time(self) -> float:
        return round(self._now(), 3)

    def _refuse_torn(self, labels: Sequence[Label]) -> None:
        """An episode has one seed, which puts all its frames on the same side of the split."""
        seeds: dict[str, int | None] = {}
        for frame in (label.frame for label in labels):
            first = seeds.setdefault(frame.episode, frame.seed)
            known = self._seeds.get(frame.episode, first)
            if frame.seed != known:
                raise DataError(f"{frame}: labelled as seed {frame.seed}, other frames of this episode as seed {known}")

    def _refuse_stale(self, frame: FrameRef, after: str) -> None:
        if self.revision(frame) != after:
            raise StaleLabels(frame, [entry for entry in self.history(frame) if entry.id > after])

    def revision(self, frame: FrameRef) -> str:
        """Id of the last that was said about a frame; "" when nothing was."""
        entries = self.history(frame)
        return entries[-1].id if entries else ""

    def history(self, frame: FrameRef) -> tuple[Entry, ...]:
        """All labels and retractions of a frame, oldest first."""
        found = self._frames.get(_key(frame))
        return tuple(found.entries) if found else ()

    def standing(self, frame: FrameRef) -> tuple[Label, ...]:
        """The labels of a frame that were not taken back, oldest first."""
        return tuple(e for e in self.history(frame) if isinstance(e, Label) and e.id not in self._gone)

    def retracted(self, of: str) -> bool:
        """Whether the label with this id was taken back."""
        return of in self._gone

    def label(self, of: str) -> Label:
        """The label with this id; DataError when there is none."""
        if of not in self._labels:
            raise DataError(f"{self.folder}: no label {of!r}")
        return self._labels[of]

    def frames(self) -> list[FrameRef]:
        """Every frame that somebody has spoken of, in a fixed order."""
        return sorted(frame.ref for frame in list(self._frames.values()))

    def __iter__(self) -> Iterator[Label]:
        """Every label, also those taken back, in the order of writing."""
        return iter(list(self._labels.values()))


_SIDE = shape.whole(1, 4096)
_MANIFEST = shape.table({
    "task": shape.name, "size": shape.row(_SIDE, _SIDE), "schema": shape.named(shape.anything)
})  # fmt: skip
_WORDS = dict.fromkeys(("version", "verdict", "note"), shape.words)
_LABEL = shape.table(
    {
        "frame": FRAME, "source": shape.text, "who": shape.words, "trust": shape.number(0, 1), "id": shape.text,
        "values": shape.named(shape.anything), "at": shape.number(),
    },
    _WORDS,
)  # fmt: skip
_RETRACTION = shape.table({"of": shape.text, "who": shape.words, "id": shape.text, "at": shape.number()}, _WORDS)


def _key(frame: FrameRef) -> Key:
    return frame.episode, frame.step, frame.digest


def _label_record(label: Label, at: float) -> Record:
    frame = {**vars(label.frame), "size": list(label.frame.size)}
    rest = {name: getattr(label, name) for name in ("source", "who", "version", "trust", "values", "verdict", "note")}
    return {"kind": "label", "at": at, "frame": frame, **rest}


def _entry(record: Record, labels: dict[str, Label]) -> Entry:
    """A record as it was before it was written."""
    (_LABEL if record["kind"] == "label" else _RETRACTION)(record, "")
    fields = dict(record)
    kind = fields.pop("kind")
    if kind == "label":
        frame = fields.pop("frame")
        return Label(frame=FrameRef(**{**frame, "size": tuple(frame["size"])}), **fields)
    if kind != "retract":
        raise ValueError(f"unknown kind {kind!r}")
    label = labels.get(fields["of"])  # None when its line was damaged
    return Retraction(frame=label.frame if label else None, **fields)


def _digest(record: dict[str, Any]) -> str:
    """Over the manifest as it reads: the schema's order counts."""
    body = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256((canonical_json(body) + json.dumps(body["schema"])).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Parse and verify; DataError says what is wrong and how to go on."""
    fix = f"delete {path} and open the folder again as before: the labels stay"
    record = read_json(path, "labels manifest", DataError, fix)
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise DataError(f"{path}: not the manifest of {KIND}")
    if record.get("version") != VERSION:
        versions = f"format version {record.get('version')}, but this program reads version {VERSION}"
        raise DataError(f"{path}: {KIND} of {versions}; update Triune")
    if "schema" not in record or record.get("sha256") != _digest(record):
        raise DataError(f"{path}: changed by hand or damaged (checksum); {fix}")
    with sound(str(path), KIND, fix):
        _MANIFEST(record, "")
    try:
        SceneSchema.from_config(record["schema"])
    except SceneError as error:
        raise DataError(f"{path}: holds a broken scene schema ({error})") from error
    return record


def want_labelled(recording: Recording, labels: str) -> list[str]:
    """Let the episodes stay that a folder of labels speaks of; their names. Without such labels, none."""
    try:
        store = LabelStore(labels)
    except DataError:
        return []
    return recording.want((ref.episode for ref in store.frames()), f"{MANIFEST} in {labels}")
