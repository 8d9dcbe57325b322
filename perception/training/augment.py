"""The same game under another light, for training: every frame of a batch gets its own look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from perception.scene import SLOT, SceneSchema
from perception.training.layout import Layout

COVERED = 0.5  # share of a thing's area behind an occluder from which it counts as unseen
TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
FROM_YIQ = np.linalg.inv(TO_YIQ).astype(np.float32)

Colours = np.ndarray  # float32[..., 3], 0..255
Recolour = Callable[[Colours], Colours]


@dataclass(frozen=True)
class Augmentation:
    """How often each change is applied; the share `clean` of the frames stays exactly as it was."""

    clean: float = 0.35
    recolour: float = 0.75
    light: float = 0.5
    noise: float = 0.3
    blur: float = 0.08
    lines: float = 0.08
    vignette: float = 0.1
    shake: float = 0.3
    cover: float = 0.3
    blank: float = 0.25


def hue_matrix(degrees: float) -> np.ndarray:
    """float32[3, 3] that rotates hues in YIQ: `colours @ matrix`."""
    a = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]], np.float32)
    matrix: np.ndarray = (FROM_YIQ @ turn @ TO_YIQ).T
    return matrix


def _mix(matrix: np.ndarray) -> Recolour:
    return lambda c: c @ matrix


def _recolour(rng: np.random.Generator) -> Recolour:
    """One random colour table: hue rotation, channel permutation, inversion, grey, tint, or a wild mix."""
    kind = rng.choice(6, p=[0.35, 0.2, 0.12, 0.15, 0.08, 0.1])
    if kind == 0:
        return _mix(hue_matrix(float(rng.uniform(20, 340))))
    if kind == 1:
        order = rng.permutation(3)
        return lambda c: c[..., order]
    if kind == 2:
        return lambda c: 255 - c
    if kind == 3:
        weights = np.array([0.299, 0.587, 0.114], np.float32) + rng.uniform(-0.05, 0.05, 3).astype(np.float32)
        return lambda c: np.repeat((c @ weights)[..., None], 3, -1)
    if kind == 4:
        gains = rng.uniform(0.6, 1.3, 3).astype(np.float32)
        return lambda c: c * gains
    wild = rng.normal(0, 0.45, (3, 3)).astype(np.float32) + np.eye(3, dtype=np.float32) * 0.4
    shift = rng.uniform(-20, 90, 3).astype(np.float32)
    return lambda c: c @ wild + shift


def _light(rng: np.random.Generator) -> Recolour:
    """Brightness, lift, gamma."""
    kind = rng.integers(4)
    if kind == 0:
        return _mix(np.eye(3, dtype=np.float32) * np.float32(rng.uniform(0.3, 0.8)))
    if kind == 1:
        lift = np.float32(rng.uniform(10, 75))
        return lambda c: c + lift
    if kind == 2:
        gain, lift = np.float32(rng.uniform(0.5, 1.4)), np.float32(rng.uniform(-30, 40))
        return lambda c: c * gain + lift
    gamma = float(rng.uniform(0.6, 1.6))
    return lambda c: 255 * (np.clip(c, 0, 255) / 255) ** gamma


class Augmenter:
    """Turns (frames, labels) into what the network is trained on. `schema` tells where the boxes stand."""

    def __init__(self, schema: SceneSchema, palette: np.ndarray | None, look: Augmentation | None = None) -> None:
        self.schema, self.palette, self.look = schema, palette, look or Augmentation()
        if schema.readings:  # no label says how a shaken picture changes what is read
            self.look = replace(self.look, shake=0.0)
        self._slots = [schema.slot(r.name) for r in schema.readings]
        self._corner = (0, 0)  # of the part of the frame that is changed
        names = [(t.name, i) for t in schema.things for i in range(t.count)]
        self.starts = np.array([schema.slot(*n).start for n in names], int)

    def __call__(
        self, frames: np.ndarray, scenes: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uint8[B, H, W(, 3)], float32[B, size] -> RGB uint8[B, H, W, 3], labels, camera float32[B, 2] (y, x px)."""
        n = len(frames)
        window = self._window(frames.shape[1:3])
        self._corner = window[0].start, window[1].start
        whole = np.zeros((*frames.shape[:3], 3), np.uint8)
        frames, out = frames[:, *window], whole[:, *window]
        scenes, camera = scenes.copy(), np.zeros((n, 2), np.float32)
        for b in range(n):
            change = rng.random() >= self.look.clean
            out[b] = self._coloured(frames[b], change, rng)
            if change:
                self._disturb(out[b], scenes[b], camera[b], rng)
            if change and self._slots and rng.random() < self.look.blank:
                self._blank(out[b], scenes[b], rng)
        return whole, scenes, camera

    def _window(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """The part of a frame that the network reads, with a margin for whole cells: all of it where parts of the scene
        may lie outside the crop."""
        if not self.schema.readings or self.schema.grids or self.schema.gauges:
            return slice(0, shape[0]), slice(0, shape[1])
        top, left, height, width = Layout(self.schema, (shape[0], shape[1])).view
        return slice(top, top + height), slice(left, left + width)

    def _blank(self, frame: np.ndarray, scene: np.ndarray, rng: np.random.Generator) -> None:
        """A picture that shows nothing of the task: one colour, noise, or its own pieces in disorder."""
        kind = rng.integers(3)
        if kind == 0:
            dark_or_bright = int(255.99 * rng.beta(0.5, 0.5))
            frame[:] = rng.integers(0, 256, 3) if rng.random() < 0.5 else dark_or_bright
        elif kind == 1:
            frame[:] = rng.integers(0, 256, frame.shape, np.uint8)
        else:
            rows = np.array_split(np.arange(frame.shape[0]), 8)
            cols = np.array_split(np.arange(frame.shape[1]), 8)
            order = [np.concatenate([parts[k] for k in rng.permutation(8)]) for parts in (rows, cols)]
            frame[:] = frame[order[0]][:, order[1]]
        for slot in self._slots:
            scene[slot] = 0.0

    def _coloured(self, frame: np.ndarray, change: bool, rng: np.random.Generator) -> np.ndarray:
        """RGB of one frame under a random colour table (on the palette where there is one)."""
        recolour = _recolour(rng) if change and rng.random() < self.look.recolour else None
        light = _light(rng) if change and rng.random() < self.look.light else None
        if self.palette is not None:
            return looked_up(_changed(self.palette, recolour, light), frame)
        if recolour is None and light is not None:  # every level has one new level, whatever the colour
            return np.take(_changed(np.repeat(LEVELS[:, None], 3, 1), light)[:, 0], frame)
        return _changed(frame, recolour, light)

    def _disturb(self, frame: np.ndarray, scene: np.ndarray, camera: np.ndarray, rng: np.random.Generator) -> None:
        """Cover, shake, blur, vignette, scan lines and noise, in place."""
        draw = rng.random(6)
        look = self.look
        if draw[0] < look.cover:
            self._cover(frame, scene, rng)
        if draw[1] < look.shake:
            camera[:] = rng.integers(-2, 3, 2)
            frame[:] = shaken(frame, int(camera[0]), int(camera[1]))
        if draw[2] < look.blur:
            frame[:] = blurred(frame)
        if draw[3] < look.vignette:
            frame[:] = (frame * vignette(frame.shape[:2], float(rng.uniform(0.2, 0.6)))).astype(np.uint8)
        if draw[4] < look.lines:
            rows = frame[int(rng.integers(2)) :: 2]
            rows[:] = (rows * np.float32(rng.uniform(0.6, 0.9))).astype(np.uint8)
        if draw[5] < look.noise:
            frame[:] = noisy(frame, float(rng.uniform(3, 18)), rng)

    def _cover(self, frame: np.ndarray, scene: np.ndarray, rng: np.random.Generator) -> None:
        """One or two boxes of one colour; half of the time the first is aimed at a thing."""
        top, left, bottom, right = self.schema.crop
        largest = max(18, (bottom - top) // 8) if self._slots else 18
        boxes = scene[self.starts[:, None] + np.arange(SLOT)] if len(self.starts) else np.zeros((0, SLOT))
        for nth in range(int(rng.integers(1, 3))):
            h, w = (int(v) for v in rng.integers(6, largest, 2))
            y, x = int(rng.integers(top - 2, bottom - 4)), int(rng.integers(left - 2, right - 4))
            seen = boxes[boxes[:, 0] > 0.5] if len(boxes) else boxes
            if nth == 0 and len(seen) and rng.random() < 0.5:
                aim = seen[rng.integers(len(seen))]
                y, x = (int(aim[i] - s / 2 + rng.integers(-6, 7)) for i, s in ((2, h), (1, w)))
            y, x = max(y, 0), max(x, 0)
            at_y, at_x = max(y - self._corner[0], 0), max(x - self._corner[1], 0)
            frame[at_y : at_y + h, at_x : at_x + w] = rng.integers(0, 256, 3 if rng.random() < 0.5 else 1)
            for start, box in zip(self.starts, boxes, strict=True):
                if box[0] > 0.5 and _covered(box, y, x, h, w) > COVERED:
                    scene[start : start + SLOT] = 0


LEVELS = np.arange(256, dtype=np.uint8)


def _changed(colours: np.ndarray, *changes: Recolour | None) -> np.ndarray:
    """uint8[..., 3] after one change and the next; None changes nothing."""
    if not any(changes):
        return colours
    table = colours.astype(np.float32)
    for change in filter(None, changes):
        table = change(table)
    return np.clip(table, 0, 255).astype(np.uint8)


def looked_up(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """uint8[256, 3] at uint8[H, W] -> uint8[H, W, 3]; one gather of 4 bytes a pixel is five times as fast as of 3."""
    packed = np.zeros((256, 4), np.uint8)
    packed[:, :3] = table
    wide = np.take(packed.view(np.uint32)[:, 0], indices)
    return wide.view(np.uint8).reshape(*indices.shape, 4)[..., :3]


def _covered(box: np.ndarray, y: int, x: int, h: int, w: int) -> float:
    """Share of a slot's box behind the rectangle at (y, x)."""
    _, cx, cy, bw, bh = box[:5]
    wide = min(cx + bw / 2, x + w) - max(cx - bw / 2, x)
    high = min(cy + bh / 2, y + h) - max(cy - bh / 2, y)
    return max(wide, 0.0) * max(high, 0.0) / max(bw * bh, 1e-6)


def shaken(frame: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The picture moved by (dy, dx) px, the rim repeated."""
    high, wide = frame.shape[:2]
    rim = np.pad(frame, ((max(dy, 0), max(-dy, 0)), (max(dx, 0), max(-dx, 0)), (0, 0)), mode="edge")
    return rim[max(-dy, 0) :][:high, max(-dx, 0) :][:, :wide]


def blurred(frame: np.ndarray) -> np.ndarray:
    """A 3x3 binomial blur."""
    x = frame.astype(np.uint16)
    x[1:-1] = (x[:-2] + 2 * x[1:-1] + x[2:]) >> 2
    x[:, 1:-1] = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]) >> 2
    return x.astype(np.uint8)


@cache
def _far(shape: tuple[int, int]) -> np.ndarray:
    """float64[H, W]: 0 in the middle, 1 in the corners."""
    y, x = np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None]
    return np.asarray((y * y + x * x) / 2)


def vignette(shape: tuple[int, int], depth: float) -> np.ndarray:
    """float32[H, W, 1]: 1 in the middle, 1 - depth in the corners."""
    dark: np.ndarray = (1 - depth * _far(shape))[..., None].astype(np.float32)
    return dark


def noisy(frame: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of `sigma` grey levels, drawn from a bank (a fresh field costs ten times as much)."""
    start = int(rng.integers(max(1, len(_NOISE) - frame.size)))
    field = np.resize(_NOISE[start : start + frame.size], frame.shape)  # of a very large frame, over and over
    field = (field * int(sigma * 8)) >> 8
    return np.clip(frame + field, 0, 255).astype(np.uint8)


_NOISE = (np.random.default_rng(0).normal(0, 32, 1 << 20)).astype(np.int16)
