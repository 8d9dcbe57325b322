"""A small conveyor under a fixed camera, drawn: boxes and discs ride by, now and then a hand reaches in.

320 x 240 at 30 pictures a second. The belt's texture moves with what lies on it; the sensor is noisy, the light
drifts, a hand covers what is below it. Everything follows from the seed, and the true boxes come with every frame, in
COCO form too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT, FPS = 320, 240, 30
CLASSES = ("box", "disc", "hand")
BELT = (56, 188)  # rows of the belt
MOST = {"box": 3, "disc": 3, "hand": 1}
SHOWN = 0.35  # a thing is there for a person from this share of its whole outline on
SHIFT = 4  # bits below a pixel that OpenCV draws with
CARDBOARD = ((176, 122, 70), (194, 146, 92), (150, 98, 54), (182, 132, 96))
STEEL = ((92, 120, 158), (122, 140, 160), (70, 104, 142), (100, 142, 150))
SKIN = ((224, 178, 150), (196, 140, 108), (150, 100, 74), (104, 70, 52))
SLEEVE = ((60, 70, 110), (180, 60, 60), (70, 110, 70), (220, 190, 60))


@dataclass(frozen=True)
class Thing:
    """What is really there: its box in pixels of the frame, cut at the frame's edge. `shown`: the share of its outline
    that neither the edge nor a hand hides."""

    name: str
    id: int
    x: float  # left edge
    y: float  # upper edge
    w: float
    h: float
    shown: float = 1.0


@dataclass
class _Rider:
    """A box or a disc on the belt. `outline`: float[N, 2] around its own centre."""

    name: str
    id: int
    x: float
    y: float
    outline: np.ndarray
    colour: np.ndarray
    detail: float


@dataclass
class _Hand:
    """A hand that reaches in from the upper (`side` -1) or lower edge: in, stay, out."""

    id: int
    side: int
    x: float
    reach: float
    steps: tuple[int, int, int]
    skin: np.ndarray
    sleeve: np.ndarray
    size: float
    age: int = 0

    @property
    def over(self) -> bool:
        return self.age > sum(self.steps)

    @property
    def depth(self) -> float:
        """How far the fingertips are in, in pixels."""
        come, stay, go = self.steps
        share = (
            self.age / come if self.age < come else 1.0 if self.age < come + stay else 1 - (self.age - come - stay) / go
        )
        share = float(np.clip(share, 0, 1))
        return self.reach * share * share * (3 - 2 * share)


@dataclass
class Conveyor:
    """The scene, frame by frame. `hands`: mean number of frames between two hands, 0 for none."""

    seed: int
    hands: int = 240
    noise: float = 4.0
    width: int = WIDTH
    height: int = HEIGHT
    riders: list[_Rider] = field(default_factory=list)
    hand: _Hand | None = None
    index: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([20_26, self.seed])
        rng = self._rng
        self._ids, self._gap, self._wait = 0, 0.0, float(rng.uniform(0.3, 1.0)) * self.hands
        self._belt = _cloth(rng, BELT[1] - BELT[0], 512, (74, 76, 72))
        self._room = _room(rng, self.height, self.width)
        self._grain = rng.normal(0, self.noise, (9, self.height, self.width, 3)).astype(np.float32)
        self._light = rng.uniform(0, 2 * np.pi, 4)
        across = np.linspace(-1, 1, self.width, dtype=np.float32)[None, :, None]
        down = np.linspace(-1, 1, self.height, dtype=np.float32)[:, None, None]
        self._shade = 1 - 0.10 * (across * np.float32(rng.uniform(-1, 1)) + down * np.float32(rng.uniform(-1, 1)))
        self._travelled = 0.0
        for _ in range(200):  # the belt is not empty when the film begins
            self._move()

    def step(self) -> tuple[np.ndarray, list[Thing]]:
        """The next frame, uint8[height, width, 3] in RGB, and what is there for a person to see."""
        self._move()
        self._reach()
        picture, things = self._draw()
        self.index += 1
        return picture, things

    def frames(self, count: int) -> Iterator[tuple[np.ndarray, list[Thing]]]:
        """The next `count` of them."""
        for _ in range(count):
            yield self.step()

    def _move(self) -> None:
        speed = 2.4 + 0.5 * np.sin(self._light[3] + self.index / 400)
        self._travelled += speed
        for rider in self.riders:
            rider.x += speed
        self.riders = [r for r in self.riders if r.x < self.width + 40]
        self._gap -= speed
        if self._gap <= 0:
            self._gap = float(self._rng.uniform(52, 120))
            name = str(self._rng.choice(("box", "disc")))
            if sum(r.name == name for r in self.riders) < MOST[name]:
                self.riders.append(self._rider(name))

    def _rider(self, name: str) -> _Rider:
        rng, size = self._rng, float(self._rng.uniform(11, 15))
        if name == "box":
            half = np.array([size, size * rng.uniform(0.75, 1.1)])
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
            turn = rng.uniform(-0.25, 0.25)
            outline = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        else:
            around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            outline = size * np.stack([np.cos(around), np.sin(around)], axis=1)
        paints = CARDBOARD if name == "box" else STEEL
        colour = np.array(paints[rng.integers(len(paints))], float) + rng.uniform(-10, 10)
        self._ids += 1
        lane = float(rng.uniform(BELT[0] + 22, BELT[1] - 22))
        return _Rider(name, self._ids, -24.0, lane, outline, colour, float(rng.uniform(-0.3, 0.3)))

    def _reach(self) -> None:
        rng = self._rng
        if self.hand:
            self.hand.age += 1
            self.hand = None if self.hand.over else self.hand
        elif self.hands:
            self._wait -= 1
            if self._wait <= 0:
                self._wait = float(rng.uniform(0.6, 1.4)) * self.hands
                self._ids += 1
                steps = (int(rng.integers(8, 18)), int(rng.integers(12, 50)), int(rng.integers(8, 18)))
                self.hand = _Hand(
                    self._ids, int(rng.choice((-1, 1))), float(rng.uniform(60, self.width - 60)),
                    float(rng.uniform(80, 140)), steps, np.array(SKIN[rng.integers(len(SKIN))], float),
                    np.array(SLEEVE[rng.integers(len(SLEEVE))], float), float(rng.uniform(0.9, 1.15)),
                )  # fmt: skip

    def _draw(self) -> tuple[np.ndarray, list[Thing]]:
        picture = self._room.copy()
        offset = int(round(self._travelled)) % self._belt.shape[1]
        picture[BELT[0] : BELT[1]] = np.roll(self._belt, offset, axis=1)[:, : self.width]
        found: list[tuple[str, int, np.ndarray, np.ndarray]] = []
        for rider in self.riders:
            _shadow(picture, rider.outline + (rider.x + 3, rider.y + 4))
            whole = rider.outline + (rider.x, rider.y)
            _fill(picture, whole, rider.colour)
            if rider.name == "box":
                a, b = (whole[0] + whole[1]) / 2, (whole[2] + whole[3]) / 2
                tape = np.array([a - (2.5, 0), a + (2.5, 0), b + (2.5, 0), b - (2.5, 0)])
                _fill(picture, tape, rider.colour * (1.18 + rider.detail / 4))
            else:
                _fill(picture, rider.outline * 0.55 + (rider.x, rider.y), rider.colour * (0.72 + rider.detail / 4))
                _fill(picture, rider.outline * 0.18 + (rider.x, rider.y), np.array((30.0, 30, 34)))
            found.append((rider.name, rider.id, whole, _mask(whole, self.height, self.width)))
        cover = None
        if self.hand and self.hand.depth > 0:
            parts = _hand(self.hand, self.height, self.index)
            for outline, _ in parts:
                _shadow(picture, outline + (5, 5), 0.9)
            for outline, colour in parts:
                _fill(picture, outline, colour)
            cover = np.maximum.reduce([_mask(outline, self.height, self.width) for outline, _ in parts])
        things = [t for name, i, outline, mask in found if (t := _thing(name, i, outline, mask, cover)).shown >= SHOWN]
        if cover is not None and self.hand:
            rows, cols = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
            if len(rows) >= 8:
                box = (float(cols[0]), float(rows[0]), float(cols[-1] - cols[0] + 1), float(rows[-1] - rows[0] + 1))
                things.append(Thing("hand", self.hand.id, *box))
        return self._expose(picture), things

    def _expose(self, picture: np.ndarray) -> np.ndarray:
        """Light that drifts, then the sensor's noise."""
        t, a = self.index / FPS, self._light
        gain = 1 + 0.10 * np.sin(a[0] + t / 9) + 0.03 * np.sin(a[1] + t / 2.3)
        warmth = 0.04 * np.sin(a[2] + t / 13)
        colour = (gain * np.array([1 + warmth, 1, 1 - warmth])).astype(np.float32)
        grain = self._grain[self._rng.integers(len(self._grain))]
        rolled = np.roll(grain, tuple(self._rng.integers(0, 200, 2)), axis=(0, 1))
        lit = picture * self._shade * colour + rolled
        return np.clip(lit, 0, 255).astype(np.uint8)


def _cloth(rng: np.random.Generator, height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    """float32[height, width, 3]: a woven belt with stains and seams, that can be rolled sideways."""
    weave = rng.normal(0, 6, (height, width)).astype(np.float32)
    stains = cv2.resize(rng.normal(0, 7, (6, 16)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    value = weave + stains
    value[:, ::64] -= 14
    return np.array(colour, np.float32) + value[..., None]


def _room(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """float32[height, width, 3]: table and rails around the belt."""
    blotches = cv2.resize(rng.normal(0, 9, (8, 10)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    room = np.array((128, 124, 116), np.float32) + (blotches + rng.normal(0, 3, (height, width)))[..., None]
    for row in (BELT[0] - 8, BELT[1]):
        room[row : row + 8] = np.array((168, 170, 174), np.float32) + rng.normal(0, 3, (8, width, 1))
    return room.astype(np.float32)


def _points(outline: np.ndarray) -> np.ndarray:
    """Pixel column i covers [i, i + 1), while OpenCV's pixel i is centred on i."""
    return np.rint((outline - 0.5) * (1 << SHIFT)).astype(np.int32)


def _fill(picture: np.ndarray, outline: np.ndarray, colour: np.ndarray) -> None:
    mask = np.zeros(picture.shape[:2], np.uint8)
    (left, top), (right, bottom) = np.floor(outline.min(axis=0)) - 2, np.ceil(outline.max(axis=0)) + 2
    rows = slice(max(int(top), 0), max(int(bottom), 0))
    cols = slice(max(int(left), 0), max(int(right), 0))
    cv2.fillPoly(mask, [_points(outline)], 255, cv2.LINE_AA, SHIFT)
    share = mask[rows, cols, None].astype(np.float32) / 255
    picture[rows, cols] += share * (colour.astype(np.float32) - picture[rows, cols])


def _shadow(picture: np.ndarray, outline: np.ndarray, strength: float = 0.78) -> None:
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [_points(outline)], 255, cv2.LINE_AA, SHIFT)
    mask = cv2.blur(mask, (5, 5))
    picture *= 1 - (1 - strength) * (mask[..., None].astype(np.float32) / 255)


def _mask(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [_points(outline)], 1, cv2.LINE_8, SHIFT)
    return mask


def _thing(name: str, number: int, outline: np.ndarray, mask: np.ndarray, cover: np.ndarray | None) -> Thing:
    height, width = mask.shape
    low = np.clip(outline.min(axis=0), 0, (width, height))
    high = np.clip(outline.max(axis=0), 0, (width, height))
    x, y = outline[:, 0], outline[:, 1]
    whole = 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
    there = mask if cover is None else mask & (1 - cover)
    shown = min(float(there.sum()) / max(whole, 1.0), 1.0)
    return Thing(name, number, *(round(float(v), 2) for v in (*low, *(high - low))), shown=round(shown, 3))


def _hand(hand: _Hand, height: int, index: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sleeve, palm and fingers, farthest first: outlines float[N, 2] in pixels with their colours."""
    sway = 2.5 * np.sin(index / 4 + hand.id)
    size, tip = hand.size, hand.depth
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(around), np.sin(around)], axis=1)

    def place(points: np.ndarray) -> np.ndarray:
        """From (across, distance behind the fingertips) to pixels."""
        y = tip - points[:, 1]
        return np.stack([hand.x + sway + points[:, 0], y if hand.side < 0 else height - y], axis=1)

    parts = [(place(np.array([[-13.0, 52], [13, 52], [17, 220], [-17, 220]]) * (size, 1)), hand.sleeve)]
    parts.append((place(ring * (15 * size, 19 * size) + (0, 36 * size)), hand.skin))
    for k, (across, ahead) in enumerate(((-11, 6), (-4, 0), (4, 1), (11, 5))):
        middle = (across * size, (ahead + 13) * size)
        parts.append((place(ring * (3.6 * size, 13 * size) + middle), hand.skin * (1.0 if k % 2 else 0.94)))
    return parts


# ----------------------------------------------------------------------------------------------------
# Films with their labels.


def coco(things: list[list[Thing]], width: int = WIDTH, height: int = HEIGHT, start: int = 0) -> dict[str, Any]:
    """COCO's form of the true boxes of frames `start`, `start + 1`, ...; named as CVAT names a video's pictures."""
    images = [
        {"id": k + 1, "file_name": f"frame_{start + k:06d}.png", "width": width, "height": height}
        for k in range(len(things))
    ]
    rows = [(k + 1, thing) for k, there in enumerate(things) for thing in there]
    annotations = [
        {
            "id": n + 1, "image_id": image, "category_id": 1 + CLASSES.index(t.name), "bbox": [t.x, t.y, t.w, t.h],
            "area": t.w * t.h, "iscrowd": 0, "attributes": {"track_id": t.id},
        }
        for n, (image, t) in enumerate(rows)
    ]  # fmt: skip
    categories = [{"id": 1 + k, "name": name} for k, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_film(
    path: Path, count: int, seed: int = 0, labels: Path | None = None, fourcc: str = "mp4v", **how: Any
) -> list[list[Thing]]:
    """A film of `count` frames; what is there on each. `labels`: a file for the same in COCO form."""
    scene, writer, found = Conveyor(seed, **how), None, []
    for picture, things in scene.frames(count):
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), FPS, picture.shape[1::-1])
            assert writer.isOpened(), f"OpenCV writes no {fourcc} here"
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        found.append(things)
    if writer:
        writer.release()
    if labels:
        labels.write_text(json.dumps(coco(found)))
    return found


def hands_of(things: list[list[Thing]]) -> list[tuple[int, int]]:
    """First and last frame of every stretch with a hand."""
    there = np.array([False, *(any(t.name == "hand" for t in now) for now in things), False])
    edges = np.flatnonzero(there[1:] != there[:-1])
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]
