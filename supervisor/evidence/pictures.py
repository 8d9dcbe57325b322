"""Contact sheets: some steps of an episode side by side, with what was detected, done and why."""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.frames import Frames
from perception.scene import GridSpec, SceneSchema
from supervisor.errors import SupervisorError
from supervisor.evidence.moments import Body, body, finite, lost_lives, rewards, slots_of

# ----------------------------------------------------------------------------------------------------
# Letters for pictures: one small alphabet, drawn by itself, so that a picture has the same pixels on every machine.


Array = NDArray[Any]
HEIGHT = 9  # rows of a letter: seven above the line and two below
UP = 7
# All characters from " " to "~", 19 in a band, a blank column between them.
_ART = """
... # #.# ..... ..#.. ##... .##.. # ..# #.. ..... ..... .. .... . ....# .###. .#. .###.
... # #.# .#.#. .#### ##..# #..#. # .#. .#. ..#.. ..#.. .. .... . ...#. #...# ##. #...#
... # ... ##### #.#.. ...#. #.#.. . #.. ..# #.#.# ..#.. .. .... . ...#. #..## .#. ....#
... # ... .#.#. .###. ..#.. .#... . #.. ..# .###. ##### .. #### . ..#.. #.#.# .#. ..##.
... # ... ##### ..#.# .#... #.#.# . #.. ..# #.#.# ..#.. .. .... . .#... ##..# .#. .#...
... . ... .#.#. ####. #..## #..#. . .#. .#. ..#.. ..#.. .# .... . .#... #...# .#. #....
... # ... ..... ..#.. ...## .##.# . ..# #.. ..... ..... .# .... # #.... .###. ### #####
... . ... ..... ..... ..... ..... . ... ... ..... ..... #. .... . ..... ..... ... .....
... . ... ..... ..... ..... ..... . ... ... ..... ..... .. .... . ..... ..... ... .....

####. #..#. ##### .###. ##### .###. .###. . .. ...# .... #... .###. .###. .###. ####. .###. ####. #####
....# #..#. #.... #.... ....# #...# #...# . .. ..#. .... .#.. #...# #...# #...# #...# #...# #...# #....
....# #..#. ####. #.... ...#. #...# #...# # .# .#.. #### ..#. ....# #.### #...# #...# #.... #...# #....
.###. ##### ....# ####. ...#. .###. .#### . .. #... .... ...# ..##. #.#.# ##### ####. #.... #...# ####.
....# ...#. ....# #...# ..#.. #...# ....# . .. .#.. #### ..#. ..#.. #.### #...# #...# #.... #...# #....
....# ...#. #...# #...# ..#.. #...# ....# # .# ..#. .... .#.. ..... #.... #...# #...# #...# #...# #....
####. ...#. .###. .###. ..#.. .###. .###. . .# ...# .... #... ..#.. .#### #...# ####. .###. ####. #####
..... ..... ..... ..... ..... ..... ..... . #. .... .... .... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... . .. .... .... .... ..... ..... ..... ..... ..... ..... .....

##### .###. #...# ### ..### #...# #.... #...# #...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...#
#.... #...# #...# .#. ...#. #..#. #.... ##.## ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...#
#.... #.... #...# .#. ...#. #.#.. #.... #.#.# ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#.
####. #.### ##### .#. ...#. ##... #.... #.#.# #.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#..
#.... #...# #...# .#. ...#. #.#.. #.... #...# #..## #...# #.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#.
#.... #...# #...# .#. #..#. #..#. #.... #...# #..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...#
#.... .#### #...# ### .##.. #...# ##### #...# #...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...#
..... ..... ..... ... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

#...# ##### ### #.... ### ..#.. ..... #. .... #... .... ...# .... ..## .... #... # ..# #...
#...# ....# #.. .#... ..# .#.#. ..... .# .... #... .... ...# .... .#.. .... #... . ... #...
.#.#. ...#. #.. .#... ..# #...# ..... .. .##. ###. .### .### .##. #### .### ###. # ..# #..#
..#.. ..#.. #.. ..#.. ..# ..... ..... .. ...# #..# #... #..# #..# .#.. #..# #..# # ..# #.#.
..#.. .#... #.. ...#. ..# ..... ..... .. .### #..# #... #..# #### .#.. #..# #..# # ..# ##..
..#.. #.... #.. ...#. ..# ..... ..... .. #..# #..# #... #..# #... .#.. #..# #..# # ..# #.#.
..#.. ##### ### ....# ### ..... ..... .. .### ###. .### .### .### .#.. .### #..# # ..# #..#
..... ..... ... ..... ... ..... ##### .. .... .... .... .... .... .... ...# .... . #.# ....
..... ..... ... ..... ... ..... ..... .. .... .... .... .... .... .... .##. .... . .#. ....

#. ..... .... .... .... .... .... .... .#.. .... ..... ..... ..... .... .... ..## # ##.. .....
#. ..... .... .... .... .... .... .... .#.. .... ..... ..... ..... .... .... .#.. # ..#. .....
#. ##.#. ###. .##. ###. .### #.## .### #### #..# #...# #.#.# #...# #..# #### .#.. # ..#. .#...
#. #.#.# #..# #..# #..# #..# ##.. #... .#.. #..# #...# #.#.# .#.#. #..# ...# #... # ...# #.#.#
#. #.#.# #..# #..# #..# #..# #... .##. .#.. #..# .#.#. #.#.# ..#.. #..# .##. .#.. # ..#. ...#.
#. #.#.# #..# #..# #..# #..# #... ...# .#.. #..# .#.#. #.#.# .#.#. #..# #... .#.. # ..#. .....
.# #.#.# #..# .##. ###. .### #... ###. ..## .### ..#.. .#.#. #...# .### #### ..## # ##.. .....
.. ..... .... .... #... ...# .... .... .... .... ..... ..... ..... ...# .... .... # .... .....
.. ..... .... .... #... ...# .... .... .... .... ..... ..... ..... .##. .... .... . .... .....
"""


@cache
def _glyphs() -> dict[str, Array]:
    """Every character as bool[HEIGHT, width]."""
    found: dict[str, Array] = {}
    for band in _ART.strip("\n").split("\n\n"):
        rows = [line.split(" ") for line in band.split("\n")]
        for letter in zip(*rows, strict=True):
            found[chr(32 + len(found))] = np.array([[c == "#" for c in row] for row in letter])
    return found


def _glyph(character: str) -> Array:
    known = _glyphs()
    return known[character] if character in known else known["?"]


def text_width(words: str, scale: int = 2) -> int:
    """px that `write` needs."""
    return scale * max(0, sum(_glyph(c).shape[1] + 1 for c in words) - 1)


def write(
    image: Array, words: str, x: int, y: int, colour: tuple[int, int, int], scale: int = 2, bold: bool = False
) -> int:  # fmt: skip
    """Write one line into uint8[H, W, 3] with its top left at (x, y), cut at the edges. Returns x after it."""
    for character in words:
        shape = np.repeat(np.repeat(_glyph(character), scale, 0), scale, 1)
        for shift in range(1 + bold):
            paint(image, shape, x + shift, y, colour)
        x += shape.shape[1] + scale
    return x


def paint(image: Array, mask: Array, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Colour the pixels of a mask bool[h, w] placed at (x, y); what lies outside is left out."""
    top, left = max(0, -y), max(0, -x)
    seen = mask[top : max(top, image.shape[0] - y), left : max(left, image.shape[1] - x)]
    part = image[y + top : y + top + seen.shape[0], x + left : x + left + seen.shape[1]]
    part[seen] = colour


def wrapped(words: str, room: int, lines: int, scale: int = 2) -> list[str]:
    """At most `lines` lines no wider than `room` px; the last one ends in "..." when there was more."""
    out = [""]
    for word in words.split():
        longer = f"{out[-1]} {word}".strip()
        if text_width(longer, scale) <= room or not out[-1]:
            out[-1] = longer
        else:
            out.append(word)
    more = len(out) > lines
    out = [_cut(line, room, scale, more and i == lines - 1) for i, line in enumerate(out[:lines])]
    return [line for line in out if line]


def _cut(line: str, room: int, scale: int, more: bool) -> str:
    if not more and text_width(line, scale) <= room:
        return line
    while line and text_width(line + "...", scale) > room:
        line = line[:-1]
    return line + "..."


# ----------------------------------------------------------------------------------------------------
# Pictures as PNG whose bytes depend on the pixels alone, on every machine and with every version of every library.
#
# A request's key is a hash over its pictures too, and a recorded answer is found again by that key; a compression
# library promises the pixels, not the bytes. So the stream is written here: fixed Huffman codes, and matches only
# with the pixel to the left and the pixel above, which is nearly all there is to gain in enlarged frames and flat
# areas.


SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LONGEST, _SHORTEST, _FARTHEST = 258, 3, 32768
_LENGTH_BITS = (0,) * 8 + (1,) * 4 + (2,) * 4 + (3,) * 4 + (4,) * 4 + (5,) * 4 + (0,)
_LENGTHS = (*(3 + sum(2**bits for bits in _LENGTH_BITS[:i]) for i in range(28)), _LONGEST)
_DISTANCES = (1, 2, 3, 4) + tuple((2 + half) * 2**bits + 1 for bits in range(1, 14) for half in (0, 1))


def encode(image: Array) -> bytes:
    """PNG of uint8[H, W, 3]: palette colours where there are at most 256, else RGB."""
    height, wide = image.shape[:2]
    coded = Frames.from_rgb(image[None])
    few = coded.palette is not None
    pixels = coded.pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # each row begins with "no filter"
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", wide, height, 8, 3 if few else 2, 0, 0, 0))]
    if coded.palette is not None:
        parts.append(_chunk(b"PLTE", coded.palette.tobytes()))
    parts.append(_chunk(b"IDAT", deflated(raw.tobytes(), 1 if few else 3, raw.shape[1])))
    return b"".join([SIGNATURE, *parts, _chunk(b"IEND", b"")])


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in px of a PNG; (0, 0) for anything else."""
    if data[:8] != SIGNATURE or len(data) < 24:
        return 0, 0
    wide, height = struct.unpack(">II", data[16:24])
    return wide, height


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deflated(data: bytes, *distances: int) -> bytes:
    """A zlib stream of `data` with matches at the given distances only, the first preferred."""
    near = [d for d in distances if d <= _FARTHEST]
    runs = [_runs(data, d) for d in near]
    steps = [_distance(d) for d in near]
    bits = _Bits()
    bits.add(0b011, 3)  # one last block with fixed codes
    i, n = 0, len(data)
    while i < n:
        length, step = 0, (0, 0)
        for run, far in zip(runs, steps, strict=True):
            if run[i] > length:
                length, step = run[i], far
        if length < _SHORTEST:
            bits.add(*_LITERALS[data[i]])
            i += 1
        else:
            length = min(length, _LONGEST)
            bits.add(*_MATCHES[length])
            bits.add(*step)
            i += length
    bits.add(*_LITERALS[256])  # end of the block
    return b"\x78\x01" + bits.done() + struct.pack(">I", zlib.adler32(data))


def _runs(data: bytes, distance: int) -> list[int]:
    """For each byte, how many from there on equal the byte `distance` before."""
    values = np.frombuffer(data, np.uint8)
    same = np.zeros(len(values), bool)
    same[distance:] = values[distance:] == values[: len(values) - distance] if distance < len(values) else False
    ends = np.where(same, len(values), np.arange(len(values)))
    runs: list[int] = (np.minimum.accumulate(ends[::-1])[::-1] - np.arange(len(values))).tolist()
    return runs


def _turned(code: int, bits: int) -> int:
    """Huffman codes stand in the stream with their highest bit first."""
    return int(f"{code:0{bits}b}"[::-1], 2)


def _symbol(value: int) -> tuple[int, int]:
    """(bits in stream order, how many) of a literal or length symbol in the fixed code."""
    for first, code, bits in ((280, 0b11000000, 8), (256, 0, 7), (144, 0b110010000, 9), (0, 0b00110000, 8)):
        if value >= first:
            return _turned(code + value - first, bits), bits
    raise AssertionError("symbols are not negative")


def _length(length: int) -> tuple[int, int]:
    at = bisect_right(_LENGTHS, length) - 1
    code, bits = _symbol(257 + at)
    return code | (length - _LENGTHS[at]) << bits, bits + _LENGTH_BITS[at]


def _distance(distance: int) -> tuple[int, int]:
    at = bisect_right(_DISTANCES, distance) - 1
    return _turned(at, 5) | (distance - _DISTANCES[at]) << 5, 5 + max(0, at // 2 - 1)


class _Bits:
    """Bits one after the other, lowest first."""

    def __init__(self) -> None:
        self._out, self._held, self._count = bytearray(), 0, 0

    def add(self, value: int, count: int) -> None:
        self._held |= value << self._count
        self._count += count
        if self._count >= 64:
            self._out += (self._held & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            self._held >>= 64
            self._count -= 64

    def done(self) -> bytes:
        return bytes(self._out) + self._held.to_bytes((self._count + 7) // 8, "little")


_LITERALS = [_symbol(value) for value in range(257)]
_MATCHES = [(0, 0)] * _SHORTEST + [_length(length) for length in range(_SHORTEST, _LONGEST + 1)]


# ----------------------------------------------------------------------------------------------------
# One frame with what was detected in it: boxes with names, arrows of movement, dots on grid cells.
#
# Whole numbers and numpy only, so that the same step gives the same pixels everywhere.


Colour = tuple[int, int, int]
BACK: Colour = (18, 20, 28)
WHITE: Colour = (255, 255, 255)
THINGS: tuple[Colour, ...] = ((255, 214, 64), (94, 200, 255), (255, 120, 200), (130, 240, 130), (255, 160, 90))
CELL_WIDTH, CELL_HEIGHT = 325, 400  # px that a picture may take
RIM = 8  # px of the frame around the part that is looked at: things that leave it are still worth seeing
AHEAD = 2.0  # agent steps that an arrow looks ahead
SLOW = 0.3  # px per step below which there is no arrow
UNSURE = 0.9  # below it the label tells how sure
LABELS = 10  # more names than this hide the picture
MOST_SLOTS = 40


class Rect(NamedTuple):
    """Pixels `left` to `right`, `top` to `bottom`, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def meets(self, other: Rect) -> bool:
        """Whether they share a pixel."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


class Canvas:
    """The looked-at part of one frame, enlarged or shrunk by a whole number."""

    def __init__(self, frame: Array, schema: SceneSchema) -> None:
        """frame: uint8[H, W, 3]."""
        top, left = max(0, schema.crop[0] - RIM), max(0, schema.crop[1] - RIM)
        part = frame[top : schema.crop[2] + RIM, left : schema.crop[3] + RIM]
        self.schema, self.left, self.top = schema, left, top
        self.zoom, self.shrink = fitting(part.shape[1], part.shape[0])
        self.image = np.repeat(np.repeat(_shrunk(part, self.shrink), self.zoom, 0), self.zoom, 1).copy()
        self._taken: list[Rect] = []

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Where a place of the frame is on the canvas, kept near it."""
        scale = self.zoom / self.shrink
        limit = 4 * (CELL_WIDTH + CELL_HEIGHT)
        across, down = (x - self.left) * scale, (y - self.top) * scale
        return int(np.clip(np.rint(across), -limit, limit)), int(np.clip(np.rint(down), -limit, limit))

    def draw(self, vector: Array) -> Array:
        """All that the scene vector says; the picture uint8[h, w, 3]."""
        vector = finite(vector)
        for grid in self.schema.grids:
            self._dots(vector[self.schema.grid(grid.name)].reshape(grid.rows, grid.cols), grid)
        order = [t.name for t in self.schema.things]
        found: list[tuple[str, Body, Colour, Rect]] = []
        for slot in slots_of(self.schema):
            b = body(vector, slot)
            if b.there and len(found) < MOST_SLOTS:
                colour = THINGS[order.index(slot.name.split("[")[0]) % len(THINGS)]
                found.append((slot.name, b, colour, self._box(b, colour)))
        self._taken = [rect for *_, rect in found]
        for name, b, colour, rect in found[:LABELS]:
            self._label(_name(name, b), colour, rect)
        return self.image

    def _dots(self, cells: Array, grid: GridSpec) -> None:
        for row, col in zip(*np.nonzero(cells > 0.5), strict=True):
            centre = grid.left + (float(col) + 0.5) * grid.cell[0], grid.top + (float(row) + 0.5) * grid.cell[1]
            x, y = self.point(*centre)
            self._fill(Rect(x - 1, y - 1, x + 1, y + 1), WHITE)

    def _fill(self, rect: Rect, colour: Colour) -> None:
        self.image[max(0, rect.top) : max(0, rect.bottom), max(0, rect.left) : max(0, rect.right)] = colour

    def _box(self, b: Body, colour: Colour) -> Rect:
        """A frame two pixels wide around a thing, broken while it is only carried on, and an arrow where it goes."""
        left, top = self.point(b.x - b.w / 2, b.y - b.h / 2)
        right, bottom = self.point(b.x + b.w / 2, b.y + b.h / 2)
        rect = Rect(left - 3, top - 3, right + 3, bottom + 3)
        mask = np.zeros((max(1, rect.bottom - rect.top), max(1, rect.right - rect.left)), bool)
        mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = True, True, True, True
        if not b.seen:
            rows, cols = np.indices(mask.shape)
            mask &= (rows + cols) // 3 % 2 == 0
        paint(self.image, mask, rect.left, rect.top, colour)
        if abs(b.vx) + abs(b.vy) > SLOW:
            self._line(self.point(b.x, b.y), self.point(b.x + b.vx * AHEAD, b.y + b.vy * AHEAD), colour)
        return rect

    def _line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        """Two pixels wide, with a knob at its end."""
        n = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for i in range(n + 1):
            x, y = start[0] + (end[0] - start[0]) * i // n, start[1] + (end[1] - start[1]) * i // n
            self._fill(Rect(x, y, x + 2, y + 2), colour)
        self._fill(Rect(end[0] - 2, end[1] - 2, end[0] + 4, end[1] + 4), colour)

    def _label(self, words: str, colour: Colour, box: Rect) -> None:
        """The name beside the box, or farther above it, where it hides nothing."""
        wide, high = text_width(words) + 6, 2 * HEIGHT + 4
        height, width = self.image.shape[:2]
        level = min(max(0, (box.top + box.bottom - high) // 2), height - high)
        start = min(max(0, (box.left + box.right - wide) // 2), width - wide)
        above = [Rect(start, box.top - (i + 1) * high - 1, start + wide, box.top - i * high - 1) for i in range(6)]
        under = Rect(start, box.bottom + 1, start + wide, box.bottom + high + 1)
        right = Rect(box.right + 2, level, box.right + wide + 2, level + high)
        left = Rect(box.left - wide - 2, level, box.left - 2, level + high)
        whole = Rect(0, 0, width, height)
        inside = [p for p in (above[0], under, right, left, *above[1:]) if _inside(p, whole)]
        free = [p for p in inside if not any(p.meets(other) for other in self._taken)]
        if not free:
            return  # too crowded: a name that hides things is worth less than the things
        self._taken.append(free[0])
        self._fill(free[0], BACK)
        write(self.image, words, free[0].left + 3, free[0].top + 2, colour)


def _inside(rect: Rect, whole: Rect) -> bool:
    return rect.left >= 0 and rect.top >= 0 and rect.right <= whole.right and rect.bottom <= whole.bottom


def _name(name: str, b: Body) -> str:
    if not b.seen:
        return f"{name} unseen"
    return name if b.sure >= UNSURE else f"{name} {b.sure:.2f}"


def fitting(width: int, height: int) -> tuple[int, int]:
    """(zoom, shrink) at which a picture of this size fits a cell; one of them is 1."""
    zoom = min(CELL_WIDTH // max(1, width), CELL_HEIGHT // max(1, height))
    if zoom >= 1:
        return zoom, 1
    return 1, max(-(-width // CELL_WIDTH), -(-height // CELL_HEIGHT))


def _shrunk(image: Array, n: int) -> Array:
    """Means over squares of n x n pixels."""
    height, width = image.shape[0] // n * n, image.shape[1] // n * n
    blocks = image[:height, :width].astype(np.int64).reshape(height // n, n, width // n, n, 3)
    return (blocks.sum(axis=(1, 3)) // (n * n)).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------
# Contact sheets: some steps of an episode side by side, with what was detected, done and why.


Words = list[tuple[str, Colour]]
COLUMNS = 3
GAP, EDGE, LINE = 6, 3, 21  # px between cells, around a picture, per line of words
WORDS = 2  # lines of reasons and alerts under a picture
CARD: Colour = (34, 37, 48)
DIM: Colour = (160, 166, 180)
ACCENT: Colour = (94, 200, 255)
GOOD: Colour = (110, 230, 120)
BAD: Colour = (255, 92, 92)


def sheet(
    title: str, episode: Episode, steps: Sequence[int], frames: Sequence[Any], schema: SceneSchema,
    actions: Sequence[str],
) -> bytes:  # fmt: skip
    """PNG of about 1000 px width. `frames`: uint8[H, W, 3] for each of `steps`; SupervisorError when they are not."""
    if len(frames) != len(steps):
        raise SupervisorError(f"{len(steps)} frames were asked for and {len(frames)} came; play the episode again")
    change, lives = rewards(episode), lost_lives(episode)
    pictures = [Canvas(_checked(f), schema).draw(episode.scenes[i]) for i, f in zip(steps, frames, strict=True)]
    words = [_words(episode, step, picture.shape[1] - 4) for step, picture in zip(steps, pictures, strict=True)]
    most = max(map(len, words))
    cells = [
        _cell(picture, episode, step, _badge(int(change[step]), int(lives[step])), actions, said, most)
        for picture, step, said in zip(pictures, steps, words, strict=True)
    ]
    high, wide = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    image = np.full((LINE + GAP + rows * (high + GAP), GAP + columns * (wide + GAP), 3), BACK, np.uint8)
    write(image, (wrapped(title, image.shape[1] - 2 * GAP, 1) or [""])[0], GAP, GAP, WHITE)
    for i, cell in enumerate(cells):
        y, x = LINE + GAP + i // columns * (high + GAP), GAP + i % columns * (wide + GAP)
        image[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return encode(image)


def _checked(frame: Any) -> Array:
    image = np.asarray(frame)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise SupervisorError(f"a frame is uint8[H, W, 3], not {image.dtype}{list(image.shape)}")
    return image


def _words(e: Episode, step: int, room: int) -> Words:
    """The reason, and in red the fault or the rule that changed the action."""
    alert = e.fault(step) or e.overruled_by(step)
    lines = [(line, ACCENT) for line in wrapped(e.reason(step), room, WORDS - bool(alert))]
    return lines + [(line, BAD) for line in wrapped(alert, room, WORDS - len(lines))]


def _cell(
    picture: Array, e: Episode, step: int, badge: str, actions: Sequence[str], words: Words, most: int
) -> Array:  # fmt: skip
    """The picture in a border that tells loss and gain; below it step, action, badge and at most `most` lines."""
    border = (BAD if "-" in badge else GOOD) if badge else CARD
    height, width = picture.shape[:2]
    image = np.full((height + 2 * EDGE + (1 + most) * LINE + 5, width + 2 * EDGE, 3), CARD, np.uint8)
    image[: height + 2 * EDGE] = border
    image[EDGE : EDGE + height, EDGE : EDGE + width] = picture
    y, room = height + 2 * EDGE + 4, width - 4
    at = write(image, str(step), EDGE + 2, y, WHITE, bold=True)
    if badge:
        write(image, badge, EDGE + room - text_width(badge), y, border, bold=True)
    did, wanted = _action(actions, int(e.actions[step])), _action(actions, int(e.proposed[step]))
    said = did if did == wanted else f"{did}, wanted {wanted}"
    space = EDGE + room - text_width(badge) - at - 20
    write(image, (wrapped(said, space, 1) or [""])[0], at + 8, y, DIM)
    for i, (line, colour) in enumerate(words, 1):
        write(image, line, EDGE + 2, y + i * LINE, colour)
    return image


def _badge(change: int, lives: int) -> str:
    """What a step won or lost: "+4", "-1 life"."""
    said = [f"{change:+d}"] if change else []
    said += [f"-{lives} {'life' if lives == 1 else 'lives'}"] if lives else []
    return " ".join(said)


def _action(actions: Sequence[str], index: int) -> str:
    return actions[index] if index < len(actions) else f"action {index}"
