"""The same task under another light: visual shifts that change frames and leave the dynamics alone. Each is seeded per
episode, so that a run is reproducible to the byte.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import cv2
import numpy as np

from envs.errors import EnvError

# ----------------------------------------------------------------------------------------------------
# Whole other looks of the same game: static repaints that no training has seen, and some that move.
#
# `make_look("random7")` draws one of endlessly many from a generator that shares no operation with the augmentation
# of training augmentation by design: colour tables are per colour, not per channel; textures, dithers and codecs
# are not in it at all.


Paint = Callable[[np.ndarray], np.ndarray]  # uint8[H, W, 3] -> uint8[H, W, 3], never in place
Shape = tuple[int, ...]
Maker = Callable[[np.random.Generator, Shape], Paint]

SMALL = 20  # px of area up to which a connected part is a small one (a ball, a shot)
LEVELS = 12  # grey levels that camouflage leaves between things and the field
RANDOM = "random"
CONTRAST = 60.0  # grey levels that a new colour keeps from the field's


def _invert(rng: np.random.Generator, shape: Shape) -> Paint:
    """Negative."""
    return lambda frame: 255 - frame


def _permute(rng: np.random.Generator, shape: Shape) -> Paint:
    """Channels exchanged, one of them turned around."""
    order = rng.permutation([1, 2, 0]).tolist()
    flip = np.zeros(3, np.uint8)
    flip[int(rng.integers(3))] = 255
    return lambda frame: frame[:, :, order] ^ flip


def _palette(rng: np.random.Generator, shape: Shape) -> Paint:
    """Every colour of the frame becomes another one, unrelated, that still differs from the field's."""
    inks, seed = [rng.integers(0, 256, 3).astype(np.uint8)], int(rng.integers(1 << 31))
    known = np.full(1 << 24, -1, np.int16)  # colour -> index of its ink; the field's is 0

    def ink(code: int) -> np.ndarray:
        draw = np.random.default_rng([seed, code])
        while True:
            made = draw.integers(0, 256, 3)
            if abs(float(made.mean() - inks[0].mean())) > CONTRAST:
                return made.astype(np.uint8)

    def paint(frame: np.ndarray) -> np.ndarray:
        codes = _codes(frame)
        if len(inks) == 1:
            known[_field(frame)] = 0
        for code in np.unique(codes[known[codes] < 0]).tolist():
            known[code] = len(inks)
            inks.append(ink(code))
        return np.take(np.stack(inks), known[codes], 0)

    return paint


def _sprites(rng: np.random.Generator, shape: Shape) -> Paint:
    """Small parts in one new colour, large ones in another, each against what it was."""
    small, large = (rng.permutation([230, 120, 40]).astype(np.uint8) for _ in range(2))

    def paint(frame: np.ndarray) -> np.ndarray:
        _, labels, stats, _ = _parts(frame)
        area = stats[:, cv2.CC_STAT_AREA]
        kind = np.where(area <= SMALL, 1, np.where(area <= 8 * SMALL, 2, 0))
        kind[0] = 0
        where = kind[labels]
        out = frame.copy()
        out[where == 1], out[where == 2] = small, large
        return out

    return paint


def _camouflage(rng: np.random.Generator, shape: Shape) -> Paint:
    """Everything nearly as grey as the field: a few levels are left."""
    base = float(rng.integers(90, 150))
    tint = rng.uniform(0.9, 1.1, 3)
    table = np.clip((base - LEVELS / 2 + np.arange(256)[:, None] * LEVELS / 200.0) * tint, 0, 255).astype(np.uint8)
    return lambda frame: table[_grey(frame)]


def _patchwork(rng: np.random.Generator, shape: Shape) -> Paint:
    """The field is a quilt of coloured patches that never move; things stay as they are."""
    size = int(rng.integers(7, 14))
    small = rng.integers(0, 110, (shape[0] // size + 2, shape[1] // size + 2, 3)).astype(np.uint8)
    quilt = small.repeat(size, 0).repeat(size, 1)[: shape[0], : shape[1]]
    return lambda frame: _over(quilt, frame)


def _stripes(rng: np.random.Generator, shape: Shape) -> Paint:
    """The field is hatched diagonally."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = ((x * int(rng.integers(1, 3)) + y) % int(rng.integers(9, 15)) < 5)[..., None]
    hatch = np.where(wave, rng.integers(60, 120, 3), rng.integers(0, 50, 3)).astype(np.uint8)
    return lambda frame: _over(hatch, frame)


def _tube(rng: np.random.Generator, shape: Shape) -> Paint:
    """An old television: soft beam, dark lines, snow."""
    bank = rng.normal(0, 14, (8, *shape)).astype(np.int16)
    dark = np.ones((shape[0], 1, 1), np.float32)
    dark[1::2] = 0.55
    step = 0

    def paint(frame: np.ndarray) -> np.ndarray:
        nonlocal step
        step += 1
        soft = cv2.GaussianBlur(frame, (0, 0), 0.9)
        return np.clip(soft * dark + bank[step * 5 % 8], 0, 255).astype(np.uint8)

    return paint


def _codec(rng: np.random.Generator, shape: Shape) -> Paint:
    """Saved as a very small JPEG and opened again."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 7]
    return lambda frame: np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR))


def _heat(rng: np.random.Generator, shape: Shape) -> Paint:
    """False colours for brightness."""
    maps = (cv2.COLORMAP_JET, cv2.COLORMAP_HSV, cv2.COLORMAP_OCEAN)
    chosen = int(maps[int(rng.integers(len(maps)))])
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], chosen)[:, 0]
    return lambda frame: table[_grey(frame)]


def _dither(rng: np.random.Generator, shape: Shape) -> Paint:
    """Printed: two inks and a screen of dots."""
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 16 + 8
    screen = np.tile(bayer, (shape[0] // 4 + 1, shape[1] // 4 + 1))[: shape[0], : shape[1]]
    inks = np.stack([rng.integers(180, 256, 3), rng.integers(0, 70, 3)]).astype(np.uint8)
    return lambda frame: inks[(_grey(frame).astype(np.int16) * 2 > screen).astype(np.uint8)]


def _outline(rng: np.random.Generator, shape: Shape) -> Paint:
    """Only the edges of things, drawn on paper."""
    paper, pen = rng.integers(200, 256, 3), rng.integers(0, 80, 3)
    table = np.linspace(paper, pen, 256).astype(np.uint8)
    kernel = np.ones((2, 2), np.uint8)
    return lambda frame: table[cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, kernel).max(2)]


def _shade(rng: np.random.Generator, shape: Shape) -> Paint:
    """Lit from one corner: dark at the other."""
    y, x = np.linspace(0, 1, shape[0])[:, None], np.linspace(0, 1, shape[1])[None]
    light = (1.15 - 0.85 * np.abs(rng.integers(2) - (x + y) / 2))[..., None].astype(np.float32)
    return lambda frame: np.clip(frame * light + 12, 0, 255).astype(np.uint8)


def _drift(rng: np.random.Generator, shape: Shape) -> Paint:
    """Coloured clouds move behind the things."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    phase, step = rng.uniform(0, 6.3, 3).tolist(), 0

    def wave(c: int) -> np.ndarray:
        return np.asarray(np.sin(x / (17 + 5 * c) + step / 9 + phase[c]) + np.sin(y / 23 - step / (11 + c)))

    def paint(frame: np.ndarray) -> np.ndarray:
        nonlocal step
        step += 1
        return _over(np.stack([50 + 25 * wave(c) for c in range(3)], 2).astype(np.uint8), frame)

    return paint


def _decoys(rng: np.random.Generator, shape: Shape) -> Paint:
    """Six specks of a ball's size and colour that fly about."""
    low, high = np.array(shape[:2]) * 0.25, np.array(shape[:2]) * 0.85
    place = rng.uniform(low, high, (6, 2))
    speed = rng.uniform(1.0, 3.0, (6, 2)) * rng.choice([-1, 1], (6, 2))
    colour = np.full(3, 220, np.uint8)

    def paint(frame: np.ndarray) -> np.ndarray:
        place[:] += speed
        out_of = (place < low) | (place > high)
        speed[out_of] *= -1
        _, _, stats, centres = _parts(frame)
        for at in np.flatnonzero(np.abs(stats[:, cv2.CC_STAT_AREA] - 8) < 5)[:1]:
            colour[:] = frame[int(centres[at][1]), int(centres[at][0])]
        out = frame.copy()
        for y, x in place.astype(int):
            out[y : y + 4, x : x + 2] = colour
        return out

    return paint


STATIC: dict[str, tuple[Maker, ...]] = {
    "negative": (_invert,), "exchanged": (_permute,), "newcolours": (_palette,), "sprites": (_sprites,),
    "camouflage": (_camouflage,), "patchwork": (_patchwork,), "stripes": (_stripes,), "television": (_tube,),
    "codec": (_codec,), "heat": (_heat,), "print": (_dither,), "drawing": (_outline,), "lamp": (_shade,),
    "oldtape": (_palette, _tube, _codec), "nightprint": (_invert, _shade, _dither), "quilttape": (_patchwork, _tube),
}  # fmt: skip
MOVING: dict[str, tuple[Maker, ...]] = {"clouds": (_drift,), "decoys": (_decoys,)}
_PARTS: tuple[tuple[Maker, ...], ...] = (  # at most one of each row, in this order
    (_invert, _permute, _palette, _sprites, _camouflage, _heat), (_patchwork, _stripes), (_shade, _outline, _dither),
    (_tube, _codec),
)  # fmt: skip


def is_look(name: str) -> bool:
    """Is it one of the named looks, or `randomN`?"""
    return name in STATIC or name in MOVING or (name.startswith(RANDOM) and name[len(RANDOM) :].isdigit())


def make_look(name: str, shape: Shape) -> Paint:
    """The look called `name` for frames of `shape` (H, W, 3), from its first step; EnvError when there is none."""
    if not is_look(name):
        raise EnvError(f"unknown look {name!r}; choose from {', '.join((*STATIC, *MOVING))}, {RANDOM}0, {RANDOM}1, ...")
    rng = np.random.default_rng([ord(c) for c in name])
    makers = {**STATIC, **MOVING}.get(name) or _drawn(rng)
    paints = [maker(rng, shape) for maker in makers]

    def apply(frame: np.ndarray) -> np.ndarray:
        for paint in paints:
            frame = paint(frame)
        return np.ascontiguousarray(frame)

    return apply


def _drawn(rng: np.random.Generator) -> tuple[Maker, ...]:
    """Two or three operations, no two of a kind."""
    rows = sorted(rng.permutation(len(_PARTS))[: int(rng.integers(2, 4))].tolist())
    return tuple(_PARTS[r][int(rng.integers(len(_PARTS[r])))] for r in rows)


def _codes(frame: np.ndarray) -> np.ndarray:
    """int32[H, W]: one number a colour."""
    wide = frame.astype(np.int32)
    codes: np.ndarray = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return codes


def _field(frame: np.ndarray) -> int:
    """The number of the most frequent colour."""
    found, counts = np.unique(_codes(frame[::7, ::5]), return_counts=True)
    return int(found[counts.argmax()])


def _parts(frame: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Connected parts that are not field: number, labels int32[H, W], stats, centres (x, y)."""
    solid = (_codes(frame) != _field(frame)).astype(np.uint8)
    n, labels, stats, centres = cv2.connectedComponentsWithStats(solid, connectivity=4)
    return n, np.asarray(labels), np.asarray(stats), np.asarray(centres)


def _over(field: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The frame with its field replaced."""
    things = (_codes(frame) != _field(frame)).astype(np.uint8)
    return np.asarray(cv2.copyTo(frame, things, field.copy()))


def _grey(frame: np.ndarray) -> np.ndarray:
    """uint8[H, W] luminance."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


# ----------------------------------------------------------------------------------------------------
# The same game under another light: visual shifts that leave the dynamics alone.
#
# The named looks of `envs.visual_shifts`, the same in every episode, count as shifts too. `a+b` applies a, then b.
# Coordinates keep meaning the unshifted world: under `jitter` the camera moves, the things do not.


Shift = Callable[[np.ndarray], np.ndarray]
OCCLUDER = 12  # px, side of the patch that hides a part of the field


def _repaint(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Rotate hues by 40 to 320 degrees in YIQ, or permute the channels."""
    if rng.random() < 0.5:
        order = [[1, 2, 0], [2, 0, 1], [2, 1, 0], [1, 0, 2], [0, 2, 1]][int(rng.integers(5))]
        return lambda frame: np.ascontiguousarray(frame[:, :, order])
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)
    a = np.deg2rad(rng.uniform(40, 320))
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]], np.float32)
    matrix = (np.linalg.inv(to_yiq) @ turn @ to_yiq).T.astype(np.float32)
    return lambda frame: np.clip(frame @ matrix, 0, 255).astype(np.uint8)


def _dim(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Brightness between 40 and 60 %."""
    table = (np.arange(256) * rng.uniform(0.4, 0.6)).astype(np.uint8)
    return lambda frame: table[frame]


def _bright(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """30 to 60 grey levels added."""
    table = np.clip(np.arange(256) + rng.integers(30, 61), 0, 255).astype(np.uint8)
    return lambda frame: table[frame]


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Gaussian noise of 12 grey levels, fresh every step (a bank of 16 fields at random offsets)."""
    bank = rng.normal(0, 12, (16, *shape)).astype(np.int16)

    def apply(frame: np.ndarray) -> np.ndarray:
        field = np.roll(bank[rng.integers(16)], int(rng.integers(shape[0])), 0)
        return np.clip(frame + field, 0, 255).astype(np.uint8)

    return apply


def _jitter(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """The camera shakes: up to 2 px each way, redrawn every step; the rim repeats."""

    def apply(frame: np.ndarray) -> np.ndarray:
        dy, dx = (int(v) for v in rng.integers(-2, 3, 2))
        padded = np.pad(frame, ((2, 2), (2, 2), (0, 0)), "edge")
        return np.ascontiguousarray(padded[2 - dy : 2 - dy + shape[0], 2 - dx : 2 - dx + shape[1]])

    return apply


def _luminance_only(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """Luminance only."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return lambda frame: np.repeat((frame @ weights).astype(np.uint8)[:, :, None], 3, 2)


def _occlude(rng: np.random.Generator, shape: tuple[int, ...]) -> Shift:
    """A grey patch hides a fixed part of the middle of the field."""
    top = int(rng.integers(shape[0] * 45 // 100, shape[0] * 75 // 100))
    left = int(rng.integers(shape[1] // 5, shape[1] * 4 // 5 - OCCLUDER))
    grey = int(rng.integers(60, 200))

    def apply(frame: np.ndarray) -> np.ndarray:
        out = frame.copy()
        out[top : top + OCCLUDER, left : left + OCCLUDER] = grey
        return out

    return apply


SHIFTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Shift]] = {
    "repaint": _repaint, "dim": _dim, "bright": _bright, "noise": _noise, "jitter": _jitter, "grey": _luminance_only,
    "occlude": _occlude,
}  # fmt: skip


def check_shift(name: str | None) -> None:
    """EnvError with the nearest name unless every part of `a+b` is a known shift (or there is none)."""
    for part in name.split("+") if name else ():
        if part not in SHIFTS and not is_look(part):
            known = [*SHIFTS, *STATIC, *MOVING]
            close = difflib.get_close_matches(part, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
            raise EnvError(f"unknown shift {part!r}; {hint}")


def make_shift(name: str | None, seed: int, shape: tuple[int, ...]) -> Shift:
    """The shift of one episode for frames of `shape` (H, W, 3). It never writes into the frame it is given."""
    check_shift(name)
    parts = name.split("+") if name else []
    made = [
        SHIFTS[p](np.random.default_rng([seed, i, len(p)]), shape) if p in SHIFTS else make_look(p, shape)
        for i, p in enumerate(parts)
    ]

    def apply(frame: np.ndarray) -> np.ndarray:
        for shift in made:
            frame = shift(frame)
        return frame

    return apply
