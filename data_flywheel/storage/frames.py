"""A stack of frames kept losslessly and small: palette indices where there are at most 256 colours, else RGB.

Consecutive frames are XORed before they go to disk (the container's deflate window is smaller than one frame, so it
could not see that they are alike).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """`pixels` uint8[N, H, W] indices into `palette` uint8[P, 3], or uint8[N, H, W, 3] RGB when palette is None."""

    pixels: U8
    palette: U8 | None

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be decoded."""
        wanted = 4 if self.palette is None else 3
        if self.pixels.ndim != wanted or self.pixels.dtype != np.uint8:
            raise DataError(f"frames must be uint8 of {wanted} axes, got {self.pixels.dtype} {self.pixels.shape}")
        colours = self.pixels.shape[3:] if self.palette is None else self.palette.shape[1:]
        if colours != (3,) or self.palette is not None and self.palette.dtype != np.uint8:
            raise DataError("frames have three channels, and a palette is uint8[P, 3]")
        if self.palette is not None and self.pixels.size and int(self.pixels.max()) >= len(self.palette):
            raise DataError(f"frames use colour {int(self.pixels.max())} but the palette has {len(self.palette)}")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.pixels)

    def rgb(self, which: int | slice | Sequence[int] | NDArray[Any] = slice(None)) -> U8:
        """RGB of the chosen frames: uint8[..., H, W, 3]."""
        return self.pixels[which] if self.palette is None else self.palette[self.pixels[which]]

    @staticmethod
    def from_rgb(rgb: U8) -> Frames:
        """Encode uint8[N, H, W, 3]; the palette is sorted, so equal frames give equal encodings."""
        if len(rgb) and len(np.unique(pack_rgb(rgb[0]))) > 256:  # of a camera: no need to look at the others
            return Frames(np.ascontiguousarray(rgb), None)
        packed = [pack_rgb(frame) for frame in rgb]  # frame by frame: little memory at a time
        used = np.zeros(1 << 24, bool)
        for frame in packed:
            used[frame] = True
        colours = np.flatnonzero(used)
        if len(colours) > 256:
            return Frames(np.ascontiguousarray(rgb), None)
        index = np.zeros(1 << 24, np.uint8)
        index[colours] = np.arange(len(colours), dtype=np.uint8)
        pixels = np.stack([index[frame] for frame in packed]) if packed else np.zeros(rgb.shape[:3], np.uint8)
        return Frames(pixels, unpack_rgb(colours))

    def to_arrays(self) -> dict[str, U8]:
        """Arrays for a container: XOR of each frame with the one before."""
        delta = self.pixels.copy()
        delta[1:] ^= self.pixels[:-1]
        return {"delta": delta} if self.palette is None else {"delta": delta, "palette": self.palette}

    @staticmethod
    def from_arrays(arrays: Mapping[str, U8]) -> Frames:
        """Inverse of `to_arrays`, in place: `delta` becomes the pixels."""
        pixels, palette = arrays.get("delta"), arrays.get("palette")
        if pixels is None or pixels.ndim not in (3, 4) or pixels.dtype != np.uint8:
            raise DataError("stored frames are no pictures; record them again")
        for before, frame in zip(pixels, pixels[1:], strict=False):  # `accumulate` is slow
            frame ^= before
        return Frames(pixels, palette)


def pack_rgb(rgb: U8) -> NDArray[np.uint32]:
    """uint8[..., 3] to one integer a pixel."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return np.bitwise_or(np.left_shift(red, np.uint32(16)), np.bitwise_or(np.left_shift(green, np.uint32(8)), blue))


def unpack_rgb(colours: NDArray[Any]) -> U8:
    """Inverse of `pack_rgb` for a list of colours: uint8[P, 3]."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
