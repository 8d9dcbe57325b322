"""Frames of play in order, for learning from motion: seeds and actions on disk, pixels played again when needed.

Environments are deterministic, so three thousand frames of any look take a few kilobytes and seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labelers.motion import Floats
from data_flywheel.storage.container import Arrays, pack, read_bytes, sound, unpack
from data_flywheel.storage.files import atomic_write
from envs import shape
from envs.env import SEEDS, Rules
from envs.remote import PixelEnv
from envs.spec import EnvSpec

KIND, VERSION = "triune capture", 1
_REMEDY = "delete the file and run the command again; it is played anew"
U8 = NDArray[np.uint8]


_FIELDS = shape.table({"seeds": shape.each(shape.whole(0, SEEDS - 1)), "meta": shape.named(shape.anything)})


@dataclass
class Capture:
    """N frames. `seen` what the detector of that time said, float32[N, size]; `actions[i]` followed frame i; `episodes`
    counts games from 0, game k was started with `seeds[k]`. `digests` uint8[N, 16] of the pixels."""

    frames: U8  # [N, H, W, 3]
    seen: Floats
    actions: NDArray[Any]  # uint8[N] named, or float32[N, n] controls
    episodes: NDArray[np.int64]
    seeds: tuple[int, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames)

    def digests(self) -> U8:
        """First 16 bytes of sha256 of each frame."""
        return np.stack([np.frombuffer(hashlib.sha256(f.tobytes()).digest()[:16], np.uint8) for f in self.frames])

    def save(self, path: Path) -> None:
        """Everything but the pixels, atomically."""
        arrays: Arrays = {
            "seen": self.seen,
            "actions": self.actions,
            "episodes": self.episodes,
            "digests": self.digests(),
        }
        atomic_write(path, pack(KIND, VERSION, {"seeds": list(self.seeds), "meta": self.meta}, arrays))

    @staticmethod
    def load(path: Path, env: EnvSpec, protocol: Rules, shift: str | None) -> Capture:
        """Read and play again. DataError: damaged, or the game now shows something else."""
        fields, arrays = unpack(read_bytes(path, KIND), KIND, VERSION, str(path), _REMEDY)
        with sound(str(path), KIND, _REMEDY):
            _FIELDS(fields, "")
            seeds, episodes = tuple(fields["seeds"]), arrays["episodes"]
            lengths = {len(arrays[name]) for name in ("seen", "actions", "episodes", "digests")}
            of = episodes.ndim == 1 and episodes.dtype.kind in "iu" and len(lengths) == 1
            if not of or len(episodes) and not 0 <= int(episodes.min()) <= int(episodes.max()) < len(seeds):
                raise DataError("its rows are of no game")
        frames = replayed(env, protocol, shift, seeds, arrays["actions"], episodes)
        made = Capture(frames, arrays["seen"], arrays["actions"], episodes, seeds, fields["meta"])
        if not np.array_equal(made.digests(), arrays["digests"]):
            raise DataError(f"{path}: the game shows other frames than it did (another simulator?); {_REMEDY}")
        return made

    @staticmethod
    def join(parts: list[Capture]) -> Capture:
        """One after the other, games renumbered."""
        starts = np.cumsum([0, *(len(p.seeds) for p in parts)])
        return Capture(
            np.concatenate([p.frames for p in parts]), np.concatenate([p.seen for p in parts]),
            np.concatenate([p.actions for p in parts]),
            np.concatenate([p.episodes + start for p, start in zip(parts, starts, strict=False)]),
            tuple(s for p in parts for s in p.seeds), parts[-1].meta,
        )  # fmt: skip


def replayed(
    env: EnvSpec, protocol: Rules, shift: str | None, seeds: tuple[int, ...], actions: NDArray[Any],
    episodes: NDArray[np.int64],
) -> U8:  # fmt: skip
    """The frames uint8[N, H, W, 3] before each action."""
    out = np.empty((len(actions), env.height, env.width, 3), np.uint8)
    with PixelEnv(env, protocol, shift) as game:
        for i, (action, episode) in enumerate(zip(actions, episodes.tolist(), strict=True)):
            if i == 0 or episode != episodes[i - 1]:
                frame = game.reset(seeds[episode])
            out[i] = frame
            frame = game.step(action)
    return out
