"""Labelled frames as the trainer wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.arrays import ARRAY_ERRORS, arrays_of
from envs.files import read_file
from envs.writing import whole
from perception.errors import SampleError
from perception.scene import SceneSchema

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Samples:
    """N labelled frames of one task.

    `frames` uint8[N, H, W] palette indices or uint8[N, H, W, 3] RGB, native size; `palette` uint8[256, 3] or None;
    `scenes` float32[N, schema.size] (velocities 0, `sure` = `seen`); `episodes` int64[N]; `splits` uint8[N] index
    into SPLITS, constant within an episode; `source` names the data set in the provenance of the weights.
    """

    frames: np.ndarray
    palette: np.ndarray | None
    scenes: np.ndarray
    episodes: np.ndarray
    splits: np.ndarray
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.frames)
        wanted = 3 if self.palette is not None else 4
        if self.frames.dtype != np.uint8 or self.frames.ndim != wanted:
            raise SampleError(
                f"frames are uint8 with {wanted} axes {'and a palette' if wanted == 3 else '(RGB) without a palette'}, "
                f"got {self.frames.dtype}{list(self.frames.shape)}"
            )
        if self.palette is not None and (self.palette.shape != (256, 3) or self.palette.dtype != np.uint8):
            raise SampleError(f"palette is uint8[256, 3], got {self.palette.dtype}{list(self.palette.shape)}")
        for name in ("scenes", "episodes", "splits"):
            if len(getattr(self, name)) != n:
                raise SampleError(f"{n} frames need {n} {name}, got {len(getattr(self, name))}")
        pairs = np.unique(np.stack([self.episodes.astype(np.int64), self.splits.astype(np.int64)], 1), axis=0)
        ids, counts = np.unique(pairs[:, 0], return_counts=True)
        if (counts > 1).any():
            raise SampleError(f"episode {ids[counts > 1][0]} stands in two splits; split by episode")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the native frame."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def check(self, schema: SceneSchema) -> None:
        """SampleError unless the labels have the schema's layout and finite values."""
        if self.scenes.ndim != 2 or self.scenes.shape[1] != schema.size:
            raise SampleError(
                f"labels have shape {list(self.scenes.shape)}, the schema wants {schema.size} fields; label again"
            )
        if not np.isfinite(self.scenes).all():
            raise SampleError("labels hold NaN or infinity; drop those frames")

    def rows(self, split: str) -> np.ndarray:
        """Where the samples of one split stand: `train`, `val` or `test`."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def of(self, split: str) -> Samples:
        """A copy of the samples of one split."""
        return self.take(self.rows(split))

    def take(self, rows: np.ndarray) -> Samples:
        """The samples at `rows`, in that order."""
        return Samples(
            self.frames[rows], self.palette, self.scenes[rows], self.episodes[rows], self.splits[rows], self.source
        )

    def rgb(self, row: int) -> np.ndarray:
        """Frame `row` as the environment gives it, uint8[H, W, 3]."""
        frame: np.ndarray = self.frames[row]
        return np.ascontiguousarray(frame if self.palette is None else self.palette[frame])

    def fingerprint(self) -> str:
        """sha256 over pixels, palette, labels and splits."""
        digest = hashlib.sha256()
        for part in (self.frames, self.palette, self.scenes, self.episodes, self.splits):
            if part is not None:
                digest.update(str((part.dtype, part.shape)).encode())
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    @staticmethod
    def join(parts: Sequence[Samples]) -> Samples:
        """Several sets as one; their palettes must be equal."""
        if not parts:
            raise SampleError("nothing to join: collect frames first")
        first = parts[0].palette
        for part in parts[1:]:
            both = first is not None and part.palette is not None and np.array_equal(first, part.palette)
            if not both and (first is not None or part.palette is not None):
                raise SampleError("sets with different palettes cannot be joined; store them as RGB")
        arrays = [np.concatenate([getattr(p, k) for p in parts]) for k in ("frames", "scenes", "episodes", "splits")]
        frames, scenes, episodes, splits = arrays
        return Samples(frames, first, scenes, episodes, splits, "+".join(p.source for p in parts))

    def save(self, path: str | Path) -> None:
        """One compressed .npz, for scratch use."""
        parts = {k: getattr(self, k) for k in ("frames", "scenes", "episodes", "splits")}
        if self.palette is not None:
            parts["palette"] = self.palette
        with whole(Path(path), suffix=".npz") as partial:
            np.savez_compressed(partial, source=np.array(self.source), **parts)

    @staticmethod
    def load(path: str | Path) -> Samples:
        """Read what `save` wrote."""
        try:
            z = arrays_of(read_file(Path(path), "samples", SampleError))
            source = str(z["source"]) if "source" in z else Path(path).name
            columns = z["frames"], z.get("palette"), z["scenes"], z["episodes"].astype(np.int64), z["splits"]
        except ARRAY_ERRORS as error:
            raise SampleError(f"{path}: damaged or no samples ({error}); save them again") from None
        return Samples(*columns, source)
