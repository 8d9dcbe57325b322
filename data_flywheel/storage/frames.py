"""A stack of frames kept losslessly and small: palette indices where there are at most 256 colours, else RGB. Those of
a camera may be kept as JPEG instead, by choice.

Consecutive frames are XORed before they go to disk (the container's deflate window is smaller than one frame, so it
could not see that they are alike).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError

U8 = NDArray[np.uint8]
MOST_SIDE = 4096  # pixels of a frame


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


@dataclass(frozen=True)
class CodedFrames:
    """The same as JPEG pictures, one after the other in `data` uint8[B], `sizes` uint32[N] bytes each: small, and not
    quite what was seen. Decoded when asked for; the same file gives the same pixels."""

    data: U8
    sizes: NDArray[np.uint32]

    def __post_init__(self) -> None:
        """Refuse sizes that are not those of the data."""
        good = self.data.ndim == self.sizes.ndim == 1 and self.data.dtype == np.uint8 and self.sizes.dtype == np.uint32
        if not good or int(self.sizes.astype(np.uint64).sum()) != len(self.data):
            raise DataError("coded frames do not fit their sizes")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.sizes)

    def rgb(self, which: int | slice | Sequence[int] | NDArray[Any] = slice(None)) -> U8:
        """RGB of the chosen frames: uint8[..., H, W, 3]; DataError for one that is damaged."""
        if isinstance(which, (int, np.integer)):
            return self._decoded(int(which))
        chosen = np.arange(len(self))[which]
        return np.stack([self._decoded(int(i)) for i in chosen])

    def _decoded(self, index: int) -> U8:
        index += len(self) if index < 0 else 0
        begin = int(self.sizes[:index].astype(np.uint64).sum())
        data = self.data[begin : begin + int(self.sizes[index])]
        good = max(_jpeg_size(data.tobytes())) <= MOST_SIDE
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if good else None
        if picture is None:
            raise DataError(f"frame {index} cannot be decoded; record it again")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    @staticmethod
    def from_pictures(pictures: Sequence[U8]) -> CodedFrames:
        """From what `coded` gave."""
        sizes = np.array([len(picture) for picture in pictures], np.uint32)
        return CodedFrames(np.concatenate([*pictures, np.zeros(0, np.uint8)]), sizes)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a container."""
        return {"coded": self.data, "sizes": self.sizes}


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width that a JPEG file says it has; more than any frame has where it says none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return MOST_SIDE + 1, MOST_SIDE + 1


def coded(rgb: U8, quality: int) -> U8:
    """A frame uint8[H, W, 3] as JPEG, uint8[B]; `quality` from 1 to 100."""
    good, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise DataError("a frame cannot be coded as JPEG")
    return data.reshape(-1)


def stored_frames(arrays: Mapping[str, NDArray[Any]]) -> Frames | CodedFrames:
    """What `to_arrays` of either gave; DataError when it is neither."""
    if "coded" in arrays:
        return CodedFrames(arrays["coded"], arrays["sizes"])
    return Frames.from_arrays(arrays)


def pack_rgb(rgb: U8) -> NDArray[np.uint32]:
    """uint8[..., 3] to one integer a pixel."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return np.bitwise_or(np.left_shift(red, np.uint32(16)), np.bitwise_or(np.left_shift(green, np.uint32(8)), blue))


def unpack_rgb(colours: NDArray[Any]) -> U8:
    """Inverse of `pack_rgb` for a list of colours: uint8[P, 3]."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
