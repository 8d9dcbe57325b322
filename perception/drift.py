"""Does play still look as it did in training, and does the detector still see as it did? Ranges measured once, and a
watch that speaks early.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

# ----------------------------------------------------------------------------------------------------
# Does play still look as it did in training, and does the detector still see as it did? A watch that says so early.
#
# Two levels: `changed`, the picture is not what it was, and `failing`, the detector does not see as it did.


FORMAT = 2  # of the ranges: changes with every statistic
EVERY = 8  # steps between two samples of what was seen
LOOK = 32  # steps between two looks: the picture is sampled, the windows are compared with their ranges
PICTURE_WINDOW, SCENE_WINDOW = 2, 16  # samples in a running window
PATIENCE = 2  # looks in a row that must find one out of range
SLACK = 0.25  # of a range's width that is tolerated beyond its ends
PAIR = 28  # px between two pairs of rows that are sampled
CELLS = 8  # px of a row in one cell of the coarse picture
SLOT = 8  # values of a thing's slot in a Scene vector: seen, x, y, w, h, vx, vy, sure
OK, CHANGED, FAILING = "ok", "changed", "failing"

PICTURE = (
    "red", "green", "blue", "red contrast", "green contrast", "blue contrast", "detail along", "detail across",
    "layout", "tones", "new colours",
)  # fmt: skip
# Least that is tolerated beyond a range: grey levels, and shares for tones and new colours.
_PICTURE_FLOOR = (6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 2.0, 2.0, 6.0, 0.1, 0.02)
# Of a thing: share of the frames, probability, px, px a step. Of a grid: share of the steps on which cells come back.
_THING = (("presence", 0.15), ("confidence", 0.15), ("misses", 2.0), ("speed", 0.5))
_GRID = (("returns", 0.2),)
_READING = _THING[:2]
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_CODE = np.array([256, 16, 1], np.float32)
_TONES = 8

Ranges = dict[str, Any]


def scene_parts(schema: Any) -> dict[str, Any]:
    """What a watch must know of a `SceneSchema`: crop, where things and grids stand in the vector."""
    things = [[t.name, schema.slot(t.name, i).start] for t in schema.things for i in range(t.count)]
    grids = [[g.name, schema.grid(g.name).start, schema.grid(g.name).stop] for g in schema.grids]
    readings = [[r.name, schema.slot(r.name).start, schema.slot(r.name).stop] for r in schema.readings]
    found = {"crop": list(schema.crop), "things": things, "grids": grids}
    return found | ({"readings": readings} if readings else {})


def scene_names(parts: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(part of the scene, statistic, what is tolerated at least) for every statistic of what was seen."""
    things = [(name, stat, floor) for name, _ in parts["things"] for stat, floor in _THING]
    grids = [(name, stat, floor) for name, *_ in parts["grids"] for stat, floor in _GRID]
    return things + grids + [(name, stat, floor) for name, *_ in parts.get("readings", ()) for stat, floor in _READING]


def palette(seen: np.ndarray) -> np.ndarray:
    """int[4096]: tone of a colour code (4 bits a channel, 0 to 7 from dark to light), 8 more for a colour not seen."""
    codes = np.arange(4096)
    channels = np.stack([codes >> 8, codes >> 4 & 15, codes & 15], 1) * 16 + 8
    tones = (channels @ _GREY).astype(np.intp) * _TONES // 256
    return np.asarray(tones + _TONES * ~seen)


class Sampler:
    """A frame in, a row of statistics out; two Scene vectors in, another row out. Buffers are used again and again:
    in play, what counts is how little is allocated and how few calls there are."""

    def __init__(self, parts: dict[str, Any]) -> None:
        top, left, bottom, right = parts["crop"]
        width = (right - left) // CELLS * CELLS
        self._columns = slice(left, left + width)
        self._upper, self._lower = slice(top, bottom - 1, PAIR), slice(top + 1, bottom, PAIR)
        rows = len(range(top, bottom - 1, PAIR))
        self._pixels = np.empty((2, rows, width, 3), np.float32)
        self._squares = np.empty((2 * rows * width, 3), np.float32)
        self._grey = np.empty((2, rows, width), np.float32)
        self._along, self._across = np.empty((2, rows, width - 1), np.float32), np.empty((rows, width), np.float32)
        self._ones = np.ones(2 * rows * width, np.float32)
        self._gather = np.kron(np.eye(width // CELLS), np.full((CELLS, 1), 1 / (2 * CELLS))).astype(np.float32)
        self.cells = rows, width // CELLS
        self._slots = [start for _, start in parts["things"]]
        self._grids = [slice(first, last) for _, first, last in parts["grids"]]
        self._readings = [(first, last - 1) for _, first, last in parts.get("readings", ())]

    def pairs(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two views uint8[R, W, 3]: every PAIR-th row of the frame, and the rows below them."""
        return frame[self._upper, self._columns], frame[self._lower, self._columns]

    def coarse(self, upper: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells, grey [R, W/CELLS], and colour codes int[N]. Leaves channels and grey in their buffers."""
        self._pixels[0], self._pixels[1] = upper, lower
        np.dot(self._pixels.reshape(-1, 3), _GREY, out=self._grey.reshape(-1))
        cells = (self._grey[0] + self._grey[1]) @ self._gather
        return cells, ((upper >> 4).reshape(-1, 3) @ _CODE).astype(np.intp)

    def picture(self, upper: np.ndarray, lower: np.ndarray, known: dict[str, np.ndarray]) -> list[float]:
        """Values of PICTURE. known: "cells", "tones" (means of training), "palette" (of the colours of training)."""
        cells, codes = self.coarse(upper, lower)
        grey, channels, ones, n = self._grey, self._pixels.reshape(-1, 3), self._ones, self._ones.size
        level = (ones @ channels / n).tolist()
        squares = (ones @ np.multiply(channels, channels, self._squares)).tolist()
        spread = [math.sqrt(max(0.0, q / n - mean * mean)) for q, mean in zip(squares, level, strict=True)]
        np.abs(np.subtract(grey[:, :, 1:], grey[:, :, :-1], self._along), self._along)
        np.abs(np.subtract(grey[0], grey[1], self._across), self._across)
        along = float(self._along.ravel() @ ones[: self._along.size]) / n
        across = float(self._across.ravel() @ ones[: self._across.size]) / self._across.size
        away = (cells - known["cells"]).ravel()
        counts = np.bincount(known["palette"][codes], minlength=2 * _TONES).tolist()
        tones = zip(counts[:_TONES], counts[_TONES:], known["tones"], strict=True)
        other = sum(abs((old + new) / len(codes) - usual) for old, new, usual in tones)
        new = sum(counts[_TONES:]) / len(codes)
        return [*level, *spread, along, across, math.sqrt(float(away @ away) / away.size), other, new]

    def scene(self, before: np.ndarray, now: np.ndarray) -> list[float]:
        """Values of `eyes_names`; NaN where a thing was not seen. Vectors of two steps that follow each other."""
        found: list[float] = []
        for start in self._slots:
            seen, x, y, _, _, _, _, sure = now[start : start + SLOT].tolist()
            known, x0, y0, _, _, vx, vy, _ = before[start : start + SLOT].tolist()
            found += ((seen + known) / 2, sure if seen > 0.5 else math.nan)  # both steps: some things flicker
            if seen > 0.5 and known > 0.5:
                found += (max(abs(x - x0 - vx), abs(y - y0 - vy)), max(abs(x - x0), abs(y - y0)))
            else:
                found += (math.nan, math.nan)
        found += [float((now[g] - before[g]).max() > 0.5) for g in self._grids]
        for at, sure in self._readings:
            found += ((float(now[at]) + float(before[at])) / 2, float(now[sure]) if now[at] > 0.5 else math.nan)
        return found


class Watch:
    """Looks at play beside the detector. `see` every step; `level` and `words` say what is the matter."""

    def __init__(self, ranges: Ranges) -> None:
        if ranges["format"] != FORMAT:
            raise ValueError(f"ranges of format {ranges['format']}, not {FORMAT}")
        parts = ranges["scene"]
        self._sampler = Sampler(parts)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(ranges["colours"]), np.uint8)).astype(bool)
        cells = np.array(ranges["cells"], np.float32)
        self._known = {"cells": cells, "palette": palette(bits), "tones": ranges["tones"]}
        names = [("picture", name, floor) for name, floor in zip(PICTURE, _PICTURE_FLOOR, strict=True)]
        self._picture = _Limits(names, ranges["picture"], PICTURE_WINDOW)
        self._scene = _Limits(scene_names(parts), ranges["eyes"], SCENE_WINDOW)
        self.start()

    def start(self) -> None:
        """A new episode: everything is forgotten."""
        self.steps = 0
        self.since: dict[str, int] = {}  # level -> step of its alarm
        self.words: tuple[str, ...] = ()
        self._before: np.ndarray | None = None
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._picture.clear()
        self._scene.clear()

    @property
    def level(self) -> str:
        """OK, CHANGED or FAILING; an alarm stays until the next episode."""
        return FAILING if FAILING in self.since else CHANGED if CHANGED in self.since else OK

    @property
    def out_of_range(self) -> bool:
        """Whether it is so now; unlike an alarm, that passes once play looks again as it did."""
        return max(self._picture.out, self._scene.out) >= PATIENCE

    def see(self, frame: np.ndarray, vector: np.ndarray) -> bool:
        """One step: the frame and the tracked Scene vector of it. Whether an alarm was raised just now."""
        before, self._before = self._before, vector
        step = self.steps
        self.steps = step + 1
        if step % EVERY or before is None:
            return False
        self._seen.append((before, vector))
        if step % LOOK:
            return False
        for pair in self._seen:  # together: code that has not run for a while is slow the first time
            self._scene.add(self._sampler.scene(*pair))
        self._seen.clear()
        self._picture.add(self._sampler.picture(*self._sampler.pairs(frame), self._known))
        return self._look(step)

    def _look(self, step: int) -> bool:
        raised = False
        for level, limits in ((CHANGED, self._picture), (FAILING, self._scene)):
            limits.look()
            if limits.out >= PATIENCE and level not in self.since:
                self.since[level] = step
                raised = True
        if raised:
            self.words = (*self._scene.told(), *self._picture.told())
        return raised

    def report(self) -> dict[str, Any]:
        """JSON value: level, step of each alarm, words."""
        return {"level": self.level, "since": dict(self.since), "words": list(self.words), "steps": self.steps}


class _Limits:
    """A running window of statistics beside their ranges."""

    def __init__(self, names: list[tuple[str, str, float]], ends: list[list[float] | None], size: int) -> None:
        self.names, self.size = names, size
        known = np.array([e or [np.nan] * 3 for e in ends], float).reshape(-1, 3)
        floor = np.array([f for *_, f in names])
        low, self.usual, high = known.T
        self.low = low - np.maximum(floor, SLACK * (self.usual - low))
        self.high = high + np.maximum(floor, SLACK * (high - self.usual))
        self.clear()

    def clear(self) -> None:
        self._rows = np.zeros((2, self.size, len(self.names)))  # values, and 1 where there is one
        self._count = self.out = 0

    def add(self, row: list[float]) -> None:
        """One sample; NaN where there is no value."""
        at = self._count % self.size
        self._rows[0, at] = [v if v == v else 0.0 for v in row]
        self._rows[1, at] = [v == v for v in row]
        self._count += 1

    def look(self) -> None:
        """Compare the window with its ranges; `out` counts the looks in a row at which it was out of range. The first
        look needs three quarters of a window: a game played blindly can be over soon after the first full one."""
        if 4 * self._count >= 3 * self.size:
            self.out = self.out + 1 if self._outside().any() else 0

    def _outside(self) -> np.ndarray:
        """Statistics whose mean is out of range; one without a value is not, nor one without a range."""
        sums, counts = self._rows.sum(1)
        beyond: np.ndarray = (sums < self.low * counts) | (sums > self.high * counts)
        return beyond

    def told(self) -> list[str]:
        """In words, what is out of range now."""
        found: list[str] = []
        sums, counts = self._rows.sum(1)
        for i in np.flatnonzero(self._outside()):
            part, stat, _ = self.names[i]
            text = _words(part, stat, float(self.usual[i]), float(sums[i] / counts[i]))
            if text not in found:
                found.append(text)
        return found


def _words(part: str, stat: str, usual: float, now: float) -> str:
    more = now > usual
    if part == "picture":
        if stat in ("red", "green", "blue"):
            return f"the picture's {stat} {'rose' if more else 'fell'} from {usual:.0f} to {now:.0f}"
        if "contrast" in stat:
            return f"the picture has {'more' if more else 'less'} contrast than in training"
        if "detail" in stat:
            return f"the picture is {'busier or noisier' if more else 'smoother'} than in training"
        if stat == "new colours":
            return f"{100 * now:.0f} % of the picture has colours that training never showed"
        return "light and dark stand elsewhere than in training" if stat == "layout" else "its tones are others"
    if stat == "returns":
        return f"{part} that were gone come back on {100 * now:.0f} % of the steps"
    text = {
        "presence": " is seen in {1:.0f} % of the frames, in training in {0:.0f} %",
        "confidence": "'s confidence {2} from {0:.2f} to {1:.2f}", "speed": " moves {1:.1f} px a step, usually {0:.1f}",
        "misses": " is {1:.1f} px away from where its motion leads, usually {0:.1f}",
    }[stat]  # fmt: skip
    share = 100 if stat == "presence" else 1
    return f"the {part}" + text.format(share * usual, share * now, "rose" if more else "fell")


# ----------------------------------------------------------------------------------------------------
# The ranges that a drift watch compares play with: made of play under training conditions, kept beside the weights.


FILE = "ranges.json"


def window_means(rows: np.ndarray, size: int) -> np.ndarray:
    """float[N - size + 1, S]: the mean over every window, leaving NaN out (NaN where a window has nothing else)."""
    good = ~np.isnan(rows)
    sums = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), np.where(good, rows, 0)]), 0)
    counts = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), good]), 0)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (sums[size:] - sums[:-size]) / (counts[size:] - counts[:-size])
    return means


class Gauge:
    """Gathers play under training conditions and makes the ranges of it."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts, self.sampler = parts, Sampler(parts)
        self._episodes: list[tuple[list[np.ndarray], list[list[float]]]] = []
        self._before: np.ndarray | None = None
        self._step = 0

    def start(self) -> None:
        """A new episode."""
        self._episodes.append(([], []))
        self._step, self._before = 0, None

    def see(self, frame: np.ndarray, vector: np.ndarray) -> None:
        """One step."""
        if self._step % EVERY == 0 and self._before is not None:
            pictures, rows = self._episodes[-1]
            rows.append(self.sampler.scene(self._before, vector))
            if self._step % LOOK == 0:
                pictures.append(np.stack(self.sampler.pairs(frame)))
        self._before, self._step = vector, self._step + 1

    def ranges(self) -> Ranges:
        """JSON value; PerceptionError without one full window."""
        episodes = [(np.stack(p), np.array(r)) for p, r in self._episodes if len(r) >= SCENE_WINDOW]
        if not episodes:
            from perception.errors import PerceptionError

            least = SCENE_WINDOW * EVERY + 1
            raise PerceptionError(
                f"no episode had the {least} steps that the drift watch compares; play at least as many of one, or "
                "leave the watch out where episodes are shorter"
            )
        coarse = [self.sampler.coarse(*pair) for pairs, _ in episodes for pair in pairs]
        colours = np.zeros(4096, bool)
        for _, codes in coarse:
            colours[codes] = True
        table = palette(colours)
        tones = np.bincount(np.concatenate([table[codes] for _, codes in coarse]), minlength=8)
        known = {"cells": np.mean([cells for cells, _ in coarse], 0), "tones": tones / tones.sum(), "palette": table}
        pictures = [
            np.array([self.sampler.picture(upper, lower, known) for upper, lower in pairs]) for pairs, _ in episodes
        ]
        scenes = [rows for _, rows in episodes]
        return {
            "format": FORMAT, "scene": self.parts, "samples": sum(map(len, scenes)),
            "cells": np.round(known["cells"].astype(float), 2).tolist(), "tones": np.round(known["tones"], 4).tolist(),
            "colours": np.packbits(colours).tobytes().hex(),
            "picture": _ends(pictures, PICTURE_WINDOW), "eyes": _ends(scenes, SCENE_WINDOW),
        }  # fmt: skip


def _ends(episodes: list[np.ndarray], size: int) -> list[list[float] | None]:
    """[lowest, usual, highest] of the window means of every statistic; None for one that had no value."""
    means = np.concatenate([window_means(rows, size) for rows in episodes])
    found: list[list[float] | None] = []
    for column in means.T:
        column = column[~np.isnan(column)]
        ends = [column.min(), column.mean(), column.max()] if len(column) else None
        found.append(ends and [round(float(v), 4) for v in ends])
    return found


def save(ranges: Ranges, path: str | Path, weights: str, play: dict[str, Any]) -> None:
    """Write ranges. weights: sha256 of the detector they were measured with; play: what was played, JSON values."""
    from envs.writing import atomic_write  # here, so that a watch needs numpy and this file alone

    record = {"weights": weights, "play": play, **ranges}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    atomic_write(Path(path), f"{{\n{lines}\n}}\n".encode())


def load(path: str | Path, weights: str, parts: dict[str, Any]) -> Ranges:
    """Read ranges; PerceptionError when they are damaged, of another format, of other weights or another scene."""
    from envs.files import read_json
    from perception.errors import PerceptionError

    remedy = "measure them again: triune drift TASK --measure"
    record: Ranges = read_json(Path(path), "drift ranges", PerceptionError, remedy)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise PerceptionError(f"{path}: not a file of ranges of format {FORMAT}; {remedy}")
    if record.get("weights") != weights:
        raise PerceptionError(f"{path}: measured with another detector than this ({weights[:12]}); {remedy}")
    try:
        check(record, parts)
    except ValueError as error:
        raise PerceptionError(f"{path}: damaged drift ranges ({error}); {remedy}") from None
    return record


def check(ranges: Any, parts: dict[str, Any]) -> None:
    """ValueError, with the key, unless these are ranges that a watch of such a scene can use."""
    from envs import shape  # here, as above

    (rows, wide), value = Sampler(parts).cells, shape.number(-1e9, 1e9)
    ends = shape.maybe(shape.row(value, value, value))
    shape.table({
        "format": shape.whole(FORMAT, FORMAT), "samples": shape.whole(0), "tones": shape.each(value, _TONES, _TONES),
        "cells": shape.each(shape.each(value, wide, wide), rows, rows),
        "picture": shape.each(ends, len(PICTURE), len(PICTURE)),
        "eyes": shape.each(ends, len(scene_names(parts)), len(scene_names(parts))), "colours": shape.text,
    }, {"weights": shape.text})(ranges, "")  # fmt: skip
    if ranges.get("scene") != parts:
        raise ValueError("scene is another one than the task's")
    if not re.fullmatch("[0-9a-f]{1024}", ranges["colours"]):
        raise ValueError("colours is not 512 bytes in hexadecimal digits")
