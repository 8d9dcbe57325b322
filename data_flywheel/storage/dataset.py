"""A data set on disk: a folder with one manifest and many shards, each a fragment of one episode.

The manifest states what every shard must agree with; a shard describes itself, so several writers may add shards at
once (each file appears whole or not at all). A damaged shard is named in a DataError, never skipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.splits import SPLITS, split_of
from data_flywheel.storage.container import Arrays, array_digest, pack, read_bytes, sound, unpack
from data_flywheel.storage.files import atomic_write, canonical_json
from data_flywheel.storage.frames import Frames
from envs import shape
from envs.files import read_json

KIND, SHARD_KIND, VERSION = "triune dataset", "triune shard", 2
MANIFEST = "manifest.json"
_COLUMNS = ("scenes", "actions")
_MANIFEST = shape.table(
    {
        "task": shape.name, "schema": shape.named(shape.anything), "fingerprint": shape.text, "teacher": shape.text,
        "triune": shape.text, "shards": shape.whole(0, 1_000_000),
    },
    {"extra": shape.named(shape.anything)},
)  # fmt: skip
_FIELDS = shape.table({
    "number": shape.whole(0), "episode": shape.whole(0), "seed": shape.whole(0), "split": shape.one_of(*SPLITS),
    "meta": shape.named(shape.anything), "length": shape.whole(0), "fingerprint": shape.text, "teacher": shape.text,
})  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """N labelled frames of one episode. `actions[i]` led to frame i (of a written state: the task's fallback).

    truth: what the simulator told beside each frame, by name, for audits and relabelling
    meta: JSON values about how it was made (player, protocol, frames dropped...)
    """

    number: int
    episode: int
    seed: int
    frames: Frames
    scenes: NDArray[np.float32]  # [N, schema.size]
    actions: NDArray[Any]  # uint8[N], or float32[N, n] for n controls
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # each [N, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def split(self) -> str:
        """Which part of the data set the whole episode belongs to."""
        return split_of(self.seed)


@dataclass(frozen=True)
class Manifest:
    """What all shards of a data set share. `extra` holds what the collector wants to remember (plan, figures)."""

    task: str
    schema: dict[str, Any]
    fingerprint: str
    teacher: str
    triune: str
    shards: int  # how many a complete data set has
    extra: dict[str, Any] = field(default_factory=dict)


class Dataset:
    """A data set folder. `Dataset(folder)` opens one; `Dataset.create(folder, manifest)` starts one."""

    def __init__(self, folder: str | Path, manifest: str | Path | None = None) -> None:
        """`manifest`: where that is when it is not in the folder. DataError: there is none, or of another kind or
        version."""
        self.folder = Path(folder)
        self.manifest = _read_manifest(Path(manifest or self.folder / MANIFEST))

    @staticmethod
    def create(folder: str | Path, manifest: Manifest) -> Dataset:
        """Write the manifest of a new data set (or replace that of an existing one)."""
        record = {"kind": KIND, "version": VERSION, **vars(manifest)}
        record["sha256"] = hashlib.sha256(canonical_json(record).encode()).hexdigest()
        atomic_write(Path(folder) / MANIFEST, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        return Dataset(folder)

    def path(self, number: int) -> Path:
        """Where shard `number` stands."""
        return self.folder / f"shard-{number:06d}.npz"

    def numbers(self) -> list[int]:
        """The shards that are there, in order."""
        return sorted(int(path.stem[6:]) for path in self.folder.glob("shard-[0-9]*.npz"))

    def missing(self) -> list[int]:
        """The shards that a complete data set would have and this one has not."""
        return sorted(set(range(self.manifest.shards)) - set(self.numbers()))

    def write(self, shard: Shard) -> Path:
        """Add or replace a shard, atomically."""
        lengths = {name: len(getattr(shard, name)) for name in ("frames", *_COLUMNS)}
        lengths |= {name: len(array) for name, array in shard.truth.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"shard {shard.number}: columns differ in length: {lengths}")
        fields = {name: getattr(shard, name) for name in ("number", "episode", "seed", "split", "meta")}
        fields |= {"length": len(shard), "fingerprint": self.manifest.fingerprint, "teacher": self.manifest.teacher}
        arrays: Arrays = {name: getattr(shard, name) for name in _COLUMNS}
        arrays |= {f"truth.{name}": array for name, array in shard.truth.items()}
        arrays |= {f"frames.{name}": array for name, array in shard.frames.to_arrays().items()}
        atomic_write(self.path(shard.number), pack(SHARD_KIND, VERSION, fields, arrays))
        return self.path(shard.number)

    def read(self, number: int) -> Shard:
        """Read and verify one shard; DataError names it when it is missing, damaged or foreign."""
        path = self.path(number)
        remedy = f"delete {path} and collect again: only missing shards are made"
        payload = read_bytes(path, SHARD_KIND)
        fields, arrays = unpack(payload, SHARD_KIND, (1, VERSION), str(path), remedy)
        arrays = {_now(name): array for name, array in arrays.items()}
        with sound(str(path), SHARD_KIND, remedy):
            return self._shard(number, path, fields, arrays, remedy)

    def _shard(self, number: int, path: Path, fields: dict[str, Any], arrays: Arrays, remedy: str) -> Shard:
        _FIELDS(fields, "")
        if fields["fingerprint"] != self.manifest.fingerprint:
            raise DataError(f"{path}: labelled under another scene schema than {self.folder / MANIFEST}; {remedy}")
        if fields["teacher"] != self.manifest.teacher:
            raise DataError(f"{path}: labelled by another teacher than {self.folder / MANIFEST} names; {remedy}")
        stored = {name[7:]: array for name, array in arrays.items() if name.startswith("frames.")}
        columns: dict[str, Any] = {name: arrays[name] for name in _COLUMNS}
        columns["truth"] = {name[6:]: array for name, array in arrays.items() if name.startswith("truth.")}
        identity = (fields["number"], fields["episode"], fields["seed"])
        shard = Shard(*identity, Frames.from_arrays(stored), **columns, meta=fields["meta"])
        told = (shard.scenes, shard.actions, *shard.truth.values())
        kinds = [shard.scenes.dtype.kind, shard.scenes.ndim, *(array.dtype.kind in "biuf" for array in told)]
        if kinds != ["f", 2, *[True] * len(told)]:
            raise DataError(f"{path}: its columns hold no numbers, or those of no scene; {remedy}")
        lengths = {len(shard), fields["length"], *map(len, told)}
        if len(lengths) > 1 or shard.number != number or shard.split != fields["split"]:
            raise DataError(f"{path}: header and content disagree (lengths {sorted(lengths)}); {remedy}")
        return shard

    def __iter__(self) -> Iterator[Shard]:
        """Every shard in order, verified."""
        for number in self.numbers():
            yield self.read(number)

    def check(self) -> dict[str, Any]:
        """Verify everything: frames and episodes per split, content hash. DataError names every bad shard at once."""
        counts = dict.fromkeys(SPLITS, 0)
        episodes: dict[str, set[int]] = {name: set() for name in SPLITS}
        digest = hashlib.sha256(f"{KIND} 1 {self.manifest.fingerprint}".encode())  # 1: as older manifests have it
        problems: list[str] = []
        for number in self.numbers():
            try:
                shard = self.read(number)
            except DataError as error:
                problems.append(str(error))
                continue
            counts[shard.split] += len(shard)
            episodes[shard.split].add(shard.episode)
            digest.update(f"{number} {shard_digest(shard)}".encode())
        problems += _shared(episodes)
        if problems:
            raise DataError(f"{len(problems)} problem(s) in {self.folder}:\n" + "\n".join(problems))
        numbers = {name: len(ids) for name, ids in episodes.items()}
        return {"frames": counts, "episodes": numbers, "hash": digest.hexdigest(), "missing": self.missing()}

    def content_hash(self) -> str:
        """sha256 over every frame, label and origin: equal for equal content, however it was written."""
        return str(self.check()["hash"])


def _now(name: str) -> str:
    """What an array of a shard is called today: format 1 had its one array of truth in the plural and no prefix."""
    known = name in _COLUMNS or name.startswith(("frames.", "truth."))
    return name if known else f"truth.{name.removesuffix('s')}"


def shard_digest(shard: Shard) -> str:
    """sha256 of a shard's content."""
    head = canonical_json([shard.number, shard.episode, shard.seed, shard.split, shard.meta])
    digest = hashlib.sha256(head.encode())
    columns: list[NDArray[Any]] = [*shard.frames.to_arrays().values(), shard.scenes, shard.actions]
    for array in (*columns, *(shard.truth[name] for name in sorted(shard.truth))):
        digest.update(array_digest(array).encode())
    return digest.hexdigest()


def _shared(episodes: Mapping[str, set[int]]) -> list[str]:
    """Episodes that stand in two splits."""
    found = []
    for i, first in enumerate(SPLITS):
        for second in SPLITS[i + 1 :]:
            both = sorted(episodes[first] & episodes[second])
            found += [f"episode {number} is in both {first} and {second}" for number in both]
    return found


def _read_manifest(path: Path) -> Manifest:
    """Parse and verify the manifest; DataError says what is wrong with it and how to go on."""
    fix = f"delete {path} and run the same `triune collect` again: whole shards stay (or curate into a new folder)"
    record = read_json(path, "data set manifest", DataError, fix)
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise DataError(f"{path}: not the manifest of a {KIND}")
    if record.get("version") not in (1, VERSION):
        versions = f"format version {record.get('version')}, but this program reads version {VERSION}"
        raise DataError(f"{path}: {KIND} {versions}; collect anew")
    with sound(str(path), KIND, fix):
        _MANIFEST(record, "")
    wanted = record.pop("sha256", None)
    if hashlib.sha256(canonical_json(record).encode()).hexdigest() != wanted:
        raise DataError(f"{path}: checksum mismatch: the manifest was changed by hand or damaged; {fix}")
    del record["kind"], record["version"]
    with sound(str(path), KIND, fix):  # a key that nobody knows
        return Manifest(**record)
