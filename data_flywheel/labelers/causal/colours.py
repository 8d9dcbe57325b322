"""Labels from declared colours alone: a thing is the largest patch of its colours in its region of the frame."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.storage.frames import pack_rgb
from envs.files import read_text

U8 = NDArray[np.uint8]
FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Box:
    """Left, top, width, height in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class ColourTeacher:
    """colours: RGB; region: left, top, right, bottom in px, the last two not included; least: pixels of the thing;
    most: more pixels are two things that touch; gap: px of other colours that do not part a thing; open: the region
    ends where nothing in the game does, so a patch that its edge cuts goes on."""

    colours: tuple[tuple[int, int, int], ...]
    region: tuple[int, int, int, int]
    least: int
    most: int = 1 << 16
    gap: int = 1
    open: bool = False

    def look(self, rgb: U8) -> tuple[Box | None, bool]:
        """The thing in uint8[H, W, 3], and whether that is sure: a cut patch or one too large is not."""
        import cv2

        left, top, right, bottom = self.region
        part = pack_rgb(rgb[top:bottom, left:right])
        own = np.isin(part, pack_rgb(np.array(self.colours, np.uint8)))
        closed = cv2.dilate(own.astype(np.uint8), np.ones((2 * self.gap + 1,) * 2, np.uint8)) if self.gap else own
        _, patches = cv2.connectedComponents(closed.astype(np.uint8), connectivity=8)
        counts = np.bincount(patches[own], minlength=2)
        number = int(counts.argmax())
        if counts[number] < self.least:
            return None, True
        ys, xs = np.nonzero(own & (patches == number))
        box = Box(left + int(xs.min()), top + int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
        return box, int(counts[number]) <= self.most and not (self.open and self._cut(box))

    def inside(self, box: Box) -> bool:
        """Whether the teacher would see a thing there: the box's centre is in the region."""
        x, y = box.left + box.width / 2, box.top + box.height / 2
        return self.region[0] <= x < self.region[2] and self.region[1] <= y < self.region[3]

    def _cut(self, box: Box) -> bool:
        left, top, right, bottom = self.region
        return box.left == left or box.top == top or box.left + box.width == right or box.top + box.height == bottom


def colour_teachers(path: Path = FILE) -> dict[str, dict[str, ColourTeacher]]:
    """Environment id -> thing -> teacher. DataError: the file cannot be read."""
    try:
        table = tomllib.loads(read_text(path, "colour teachers", ValueError))
        return {game: {name: _teacher(row) for name, row in rows.items()} for game, rows in table.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no colour teachers can be read from it ({type(error).__name__}: {error})") from error


def teachers_of(env_id: str) -> dict[str, ColourTeacher]:
    """The teachers of one game. DataError with the nearest game when there are none."""
    known = colour_teachers()
    if env_id in known:
        return known[env_id]
    close = difflib.get_close_matches(env_id, known, 1, 0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"there are some for {', '.join(sorted(known))}"
    raise DataError(f"no colour teacher for {env_id!r} in {FILE.name}; {hint}")


def _teacher(row: dict[str, object]) -> ColourTeacher:
    colours = tuple(tuple(colour) for colour in row.pop("colours"))  # type: ignore[attr-defined]
    return ColourTeacher(colours, tuple(row.pop("region")), **row)  # type: ignore[call-overload, arg-type, no-any-return]
