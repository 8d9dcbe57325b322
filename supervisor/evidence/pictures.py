"""Contact sheets: some steps of an episode side by side, with what was detected, done and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from envs.actions import ActionSpace
from perception.scene import GridSpec, SceneSchema
from supervisor.errors import SupervisorError
from supervisor.evidence.context import number, signed
from supervisor.evidence.moments import Body, body, finite, lost_lives, numbers_of, slots_of

Array = NDArray[Any]
FONT, FONT_SCALE, FONT_ROWS = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 11  # px of a capital letter


def text_width(words: str) -> int:
    """px that `write` needs."""
    return int(cv2.getTextSize(words, FONT, FONT_SCALE, 1)[0][0]) if words else 0


def write(image: Array, words: str, x: int, y: int, colour: tuple[int, int, int], bold: bool = False) -> int:
    """Write one line into uint8[H, W, 3] with its top left at (x, y), cut at the edges. Returns x after it."""
    shown = "".join(c if " " <= c <= "~" else "?" for c in words)
    cv2.putText(image, shown, (x, y + FONT_ROWS), FONT, FONT_SCALE, colour, 2 if bold else 1, cv2.LINE_AA)
    return x + text_width(shown)


def paint(image: Array, mask: Array, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Colour the pixels of a mask bool[h, w] placed at (x, y); what lies outside is left out."""
    top, left = max(0, -y), max(0, -x)
    seen = mask[top : max(top, image.shape[0] - y), left : max(left, image.shape[1] - x)]
    part = image[y + top : y + top + seen.shape[0], x + left : x + left + seen.shape[1]]
    part[seen] = colour


def wrapped(words: str, room: int, lines: int) -> list[str]:
    """At most `lines` lines no wider than `room` px; the last one ends in "..." when there was more."""
    out = [""]
    for word in words.split():
        longer = f"{out[-1]} {word}".strip()
        if text_width(longer) <= room or not out[-1]:
            out[-1] = longer
        else:
            out.append(word)
    more = len(out) > lines
    out = [_cut(line, room, more and i == lines - 1) for i, line in enumerate(out[:lines])]
    return [line for line in out if line]


def _cut(line: str, room: int, more: bool) -> str:
    if not more and text_width(line) <= room:
        return line
    while line and text_width(line + "...") > room:
        line = line[:-1]
    return line + "..."


def encode(image: Array) -> bytes:
    """PNG of uint8[H, W, 3]."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise SupervisorError("a picture could not be written as PNG")
    return bytes(data)


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in px of a PNG; (0, 0) for anything else."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


# ----------------------------------------------------------------------------------------------------
# One frame with what was detected in it: boxes with names, arrows of movement, dots on grid cells.


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
        wide, high = text_width(words) + 6, FONT_ROWS + 9
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
    actions: ActionSpace,
) -> bytes:  # fmt: skip
    """PNG of about 1000 px width. `frames`: uint8[H, W, 3] for each of `steps`; SupervisorError when they are not."""
    if len(frames) != len(steps):
        raise SupervisorError(f"{len(steps)} frames were asked for and {len(frames)} came; play the episode again")
    change, lives = episode.rewards(), lost_lives(episode)
    pictures = [Canvas(_checked(f), schema).draw(episode.scenes[i]) for i, f in zip(steps, frames, strict=True)]
    words = [
        _readings(episode.scenes[step], schema, picture.shape[1] - 4) + _words(episode, step, picture.shape[1] - 4)
        for step, picture in zip(steps, pictures, strict=True)
    ]
    most = max(map(len, words))
    cells = [
        _cell(picture, episode, step, _badge(change[step].item(), int(lives[step])), actions, said, most)
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


def _readings(vector: Array, schema: SceneSchema, room: int) -> Words:
    """What was read: the picture itself cannot show it."""
    told = (f"{n.name} {number(float(vector[n.at]), 3) if vector[n.seen] > 0.5 else '-'}" for n in numbers_of(schema))
    return [(line, WHITE) for line in wrapped(", ".join(told), room, WORDS)]


def _words(e: Episode, step: int, room: int) -> Words:
    """The reason, and in red the fault or the rule that changed the action."""
    alert = e.fault(step) or e.overruled_by(step)
    lines = [(line, ACCENT) for line in wrapped(e.reason(step), room, WORDS - bool(alert))]
    return lines + [(line, BAD) for line in wrapped(alert, room, WORDS - len(lines))]


def _cell(
    picture: Array, e: Episode, step: int, badge: str, actions: ActionSpace, words: Words, most: int
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
    did, wanted = actions.tell(e.actions[step]), actions.tell(e.proposed[step])
    said = did if did == wanted else f"{did}, wanted {wanted}"
    space = EDGE + room - text_width(badge) - at - 20
    write(image, (wrapped(said, space, 1) or [""])[0], at + 8, y, DIM)
    for i, (line, colour) in enumerate(words, 1):
        write(image, line, EDGE + 2, y + i * LINE, colour)
    return image


def _badge(change: float, lives: int) -> str:
    """What a step won or lost: "+4", "-1 life"."""
    said = [signed(change, 2)] if change else []
    said += [f"-{lives} {'life' if lives == 1 else 'lives'}"] if lives else []
    return " ".join(said)
