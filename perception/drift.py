"""Does play still look as it did in training, and do the eyes still see as they did? A watch that says so early.

Knows: statistics of a picture and of what was seen in it, a running window, ranges to compare it with (a small JSON
value, made by `drift_ranges.py`). Two levels: `changed`, the picture is not what it was, and `failing`, the eyes are
not either. Does not know: networks, labels, scores, files. numpy and no other module, so that a bundle's ranges can be
watched anywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

EVERY = 8  # steps between two samples
PICTURE_WINDOW, EYES_WINDOW = 8, 16  # samples in a running window
CHECK = 2  # samples between two looks at the windows
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
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_CODE = np.array([256, 16, 1])

Ranges = dict[str, Any]


def scene_parts(schema: Any) -> dict[str, Any]:
    """What a watch must know of a `SceneSchema`: crop, where things and grids stand in the vector."""
    things = [[t.name, schema.slot(t.name, i).start] for t in schema.things for i in range(t.count)]
    grids = [[g.name, schema.grid(g.name).start, schema.grid(g.name).stop] for g in schema.grids]
    return {"crop": list(schema.crop), "things": things, "grids": grids}


def eyes_names(parts: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(part of the scene, statistic, what is tolerated at least) for every statistic of what was seen."""
    things = [(name, stat, floor) for name, _ in parts["things"] for stat, floor in _THING]
    return things + [(name, stat, floor) for name, *_ in parts["grids"] for stat, floor in _GRID]


class Sampler:
    """A frame and two Scene vectors in, one row of statistics out."""

    def __init__(self, parts: dict[str, Any]) -> None:
        top, left, bottom, right = parts["crop"]
        rows = np.arange(top, bottom - 1, PAIR)
        self._rows = np.stack([rows, rows + 1], 1).ravel()
        self._columns = slice(left, left + (right - left) // CELLS * CELLS)
        self._slots = [start for _, start in parts["things"]]
        self._grids = [slice(first, last) for _, first, last in parts["grids"]]

    def patch(self, frame: np.ndarray) -> np.ndarray:
        """uint8[R, W, 3]: pairs of rows of the frame, a copy."""
        taken: np.ndarray = frame[self._rows, self._columns]
        return taken

    def coarse(self, patch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Channels [3, N]; grey [R, W]; cells [R/2, W/CELLS]; tones [8]; colour codes int[N/2], 4 bits a channel."""
        channels = np.ascontiguousarray(patch.reshape(-1, 3).T).astype(np.float32)
        grey = (_GREY @ channels).reshape(patch.shape[:2])
        cells = (grey[::2] + grey[1::2]).reshape(len(grey) // 2, -1, CELLS).sum(2) / (2 * CELLS)
        tones = np.bincount((grey.ravel() * (1 / 32)).astype(np.intp), minlength=8) / grey.size
        high = patch[::2].reshape(-1, 3).astype(np.intp) >> 4  # one row of each pair
        return channels, grey, cells, tones, high @ _CODE

    def picture(self, patch: np.ndarray, known: dict[str, np.ndarray]) -> list[float]:
        """Values of PICTURE. known: "cells", "tones" (means of training), "colours" bool[4096] (seen in training)."""
        channels, grey, cells, tones, codes = self.coarse(patch)
        n = grey.size
        level = [float(c.sum()) / n for c in channels]
        spread = [math.sqrt(max(0.0, float(c @ c) / n - mean * mean)) for c, mean in zip(channels, level, strict=True)]
        along = float(np.abs(grey[:, 1:] - grey[:, :-1]).sum()) / n
        across = 2 * float(np.abs(grey[::2] - grey[1::2]).sum()) / n
        away = cells - known["cells"]
        layout = math.sqrt(float((away * away).sum()) / away.size)
        new = 1 - np.count_nonzero(known["colours"][codes]) / len(codes)
        other = float(np.abs(tones - known["tones"]).sum())
        return [*level, *spread, along, across, layout, other, new]

    def eyes(self, before: np.ndarray, now: np.ndarray) -> list[float]:
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
        return found + [float((now[g] - before[g]).max() > 0.5) for g in self._grids]


class Watch:
    """Looks at play beside the eyes. `see` every step; `level` and `words` say what is the matter."""

    def __init__(self, ranges: Ranges) -> None:
        parts = ranges["scene"]
        self._sampler, self._every = Sampler(parts), int(ranges["every"])
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(ranges["colours"]), np.uint8)).astype(bool)
        self._known = {"cells": np.array(ranges["cells"]), "tones": np.array(ranges["tones"]), "colours": bits}
        names = [("picture", name, floor) for name, floor in zip(PICTURE, _PICTURE_FLOOR, strict=True)]
        self._picture = _Limits(names, ranges["picture"], PICTURE_WINDOW)
        self._eyes = _Limits(eyes_names(parts), ranges["eyes"], EYES_WINDOW)
        self.start()

    def start(self) -> None:
        """A new episode: everything is forgotten."""
        self.steps = 0
        self.since: dict[str, int] = {}  # level -> step of its alarm
        self.words: tuple[str, ...] = ()
        self._before: np.ndarray | None = None
        self._picture.clear()
        self._eyes.clear()

    @property
    def level(self) -> str:
        """OK, CHANGED or FAILING; an alarm stays until the next episode."""
        return FAILING if FAILING in self.since else CHANGED if CHANGED in self.since else OK

    def see(self, frame: np.ndarray, vector: np.ndarray) -> bool:
        """One step: the frame and the tracked Scene vector of it. Whether an alarm was raised just now."""
        before, self._before = self._before, vector
        step, self.steps = self.steps, self.steps + 1
        if step % self._every or before is None:
            return False
        self._picture.add(self._sampler.picture(self._sampler.patch(frame), self._known))
        self._eyes.add(self._sampler.eyes(before, vector))
        raised = False
        for level, limits in ((CHANGED, self._picture), (FAILING, self._eyes)):
            if limits.out >= PATIENCE and level not in self.since:
                self.since[level] = step
                raised = True
        if raised:
            self.words = (*self._eyes.told(), *self._picture.told())
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
        self._rows = np.full((self.size, len(self.names)), np.nan)
        self._count = self.out = 0
        self.values = np.full(len(self.names), np.nan)

    def add(self, row: list[float]) -> None:
        """One sample; `out` counts the looks in a row at which the window was out of range."""
        self._rows[self._count % self.size] = row
        self._count += 1
        if self._count < self.size or self._count % CHECK:
            return
        good = ~np.isnan(self._rows)
        counts = good.sum(0)
        self.values = np.where(counts > 0, np.where(good, self._rows, 0).sum(0) / np.maximum(counts, 1), np.nan)
        self.out = self.out + 1 if self._outside().any() else 0

    def _outside(self) -> np.ndarray:
        beyond: np.ndarray = (self.values < self.low) | (self.values > self.high)
        return beyond

    def told(self) -> list[str]:
        """In words, what is out of range now."""
        found: list[str] = []
        for i in np.flatnonzero(self._outside()):
            part, stat, _ = self.names[i]
            text = _words(part, stat, float(self.usual[i]), float(self.values[i]))
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
