"""Drawing one frame for people: the picture enlarged, what was detected on it, what was decided beside it.

RGB throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from envs.actions import Action, ActionSpace, Box, Discrete
from perception.scene import Scene, SceneSchema
from triune.console import told_score

Colour = tuple[int, int, int]
INK: Colour = (232, 234, 240)
DIM: Colour = (138, 144, 160)
BACK: Colour = (20, 22, 30)
CARD: Colour = (34, 37, 48)
ALERT: Colour = (255, 92, 92)
ACCENT: Colour = (94, 200, 255)
THINGS: tuple[Colour, ...] = ((255, 214, 64), (94, 200, 255), (255, 120, 200), (130, 240, 130), (255, 160, 90))
PANEL = 232  # px, width of the words beside the picture
TALL, WIDE = 500, 640  # px that a picture takes at most, where a whole scale allows it
LEAST = 320  # px, height of the words beside it
ROW = 24  # px, a control's words and gauge
GAUGE = 30  # px, a number's
AHEAD = 3.0  # agent steps that a velocity arrow looks ahead


@dataclass(frozen=True)
class Caption:
    """The words of one picture. `action` and `proposed`: an index into the names, or float32[n] of controls."""

    title: str
    step: int
    steps: int
    score: float
    lives: int
    action: Action
    proposed: Action
    reason: str
    overruled_by: str = ""
    fault: str = ""


@cache
def _face() -> Any:
    """OpenCV 5 draws real type; older versions fall back to stroke letters."""
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


def text(image: np.ndarray, words: str, x: int, y: int, size: int, colour: Colour = INK, bold: bool = False) -> None:
    """One line with its baseline at y; `size` is the height in px."""
    face = _face()
    if face is not None:
        cv2.putText(image, words, (x, y), colour, face, size, 600 if bold else 400)
    else:
        cv2.putText(image, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size / 30, colour, 1 + bold, cv2.LINE_AA)


def wrap(words: str, width: int, lines: int) -> list[str]:
    """At most `lines` lines of `width` letters; the last one says when there was more."""
    out: list[str] = []
    for word in words.split():
        if out and len(out[-1]) + 1 + len(word) <= width:
            out[-1] += f" {word}"
        else:
            out.append(word[:width])
    return out if len(out) <= lines else [*out[: lines - 1], out[lines - 1][: width - 1] + "…"]


def scale_for(height: int, width: int) -> float:
    """Screen px per native px: the largest whole number that fits, below 1 where the frame alone is too large."""
    fits = min(TALL / height, WIDE / width)
    return float(int(fits)) if fits >= 1 else fits


class Painter:
    """Draws steps of one task. `actions`: its space, or the names of named ones.

    `scale`: screen px per native px; None: what `scale_for` says of the frames.
    """

    def __init__(
        self,
        schema: SceneSchema,
        actions: ActionSpace | tuple[str, ...],
        scale: float | None = None,
        panel: bool = True,
    ) -> None:
        self.schema, self._scale, self.scale, self.panel = schema, scale, scale or 1.0, panel
        self.actions = Discrete(actions) if isinstance(actions, tuple) else actions
        self.colours = {t.name: THINGS[i % len(THINGS)] for i, t in enumerate(schema.things)}

    def picture(self, frame: np.ndarray, scene: Scene) -> np.ndarray:
        """The frame uint8[H, W, 3] enlarged, detections drawn on; of a task that sees numbers a gauge for each."""
        high, wide, _ = frame.shape
        if high == 1:
            return self._gauges(scene)
        scale = self.scale = self._scale or scale_for(high, wide)
        # video is made of even numbers of rows and columns
        size = [round(v * scale) if scale >= 1 else 2 * round(v * scale / 2) for v in (wide, high)]
        how = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
        image = cv2.resize(np.ascontiguousarray(frame), size, interpolation=how)
        for grid in self.schema.grids:
            self._cells(image, getattr(scene, grid.name), grid)
        for thing in self.schema.things:
            slots = getattr(scene, thing.name)
            for slot in (slots,) if thing.count == 1 else slots:
                self._box(image, slot, self.colours[thing.name])
        return image

    def paint(self, frame: np.ndarray, scene: Scene, caption: Caption) -> np.ndarray:
        """Picture and panel side by side."""
        image = self.picture(frame, scene)
        if not self.panel:
            return image
        lacking = LEAST - image.shape[0]
        if lacking > 0:
            image = cv2.copyMakeBorder(image, 0, lacking, 0, 0, cv2.BORDER_CONSTANT, value=BACK)
        return np.concatenate([image, self._panel(image.shape[0], scene, caption, frame.shape[0] > 1)], axis=1)

    def _gauges(self, scene: Scene) -> np.ndarray:
        """Every number of every reading between the ends of its range, in two columns; its bar starts at zero."""
        numbers = [
            (r.name, f, float(getattr(getattr(scene, r.name), f.name))) for r in self.schema.readings for f in r.fields
        ]
        rows, width = -(-len(numbers) // 2), WIDE // 2
        image = np.full((max(LEAST, GAUGE * rows + 20), WIDE, 3), BACK, np.uint8)
        for i, (name, f, value) in enumerate(numbers):
            left, up = 14 + i // rows * width, 10 + i % rows * GAUGE
            right = left + width - 28
            here, zero = (
                left + round((right - left) * (min(max(v, f.low), f.high) - f.low) / (f.high - f.low))
                for v in (value, 0.0)
            )
            text(image, f"{name} {f.name}".replace("_", " "), left, up + 13, 13, DIM)
            text(image, f"{value:+.2f} {f.unit}", right - 96, up + 13, 13)
            cv2.rectangle(image, (left, up + 18), (right, up + 22), CARD, -1)
            cv2.rectangle(image, (min(here, zero), up + 18), (max(here, zero), up + 22), ACCENT, -1)
        return image

    def _cells(self, image: np.ndarray, present: np.ndarray, grid: Any) -> None:
        """A dot in the middle of every cell believed present."""
        rows, cols = np.nonzero(present)
        xs = ((grid.left + (cols + 0.5) * grid.cell[0]) * self.scale).astype(int)
        ys = ((grid.top + (rows + 0.5) * grid.cell[1]) * self.scale).astype(int)
        for dy in (-1, 0):
            for dx in (-1, 0):
                image[ys + dy, xs + dx] = (255, 255, 255)

    def _box(self, image: np.ndarray, slot: Any, colour: Colour) -> None:
        """A frame around the thing, thin and dashed while it coasts, and an arrow where it is going."""
        if not slot.seen and slot.sure <= 0.02:
            return
        s = self.scale
        left, top = round((slot.x - slot.w / 2) * s) - 2, round((slot.y - slot.h / 2) * s) - 2
        right, bottom = round((slot.x + slot.w / 2) * s) + 1, round((slot.y + slot.h / 2) * s) + 1
        shade = colour if slot.seen else tuple(v // 2 for v in colour)
        cv2.rectangle(image, (left, top), (right, bottom), shade, 1)
        if abs(slot.vx) + abs(slot.vy) > 0.3:
            centre = (round(slot.x * s), round(slot.y * s))
            tip = (round((slot.x + slot.vx * AHEAD) * s), round((slot.y + slot.vy * AHEAD) * s))
            cv2.arrowedLine(image, centre, tip, shade, 1, cv2.LINE_AA, tipLength=0.25)

    def _panel(self, height: int, scene: Scene, c: Caption, listed: bool = True) -> np.ndarray:
        """What was decided; below it, when `listed`, what is believed."""
        image = np.full((height, PANEL, 3), BACK, np.uint8)
        text(image, c.title, 14, 26, 13, DIM)
        text(image, told_score(c.score), 14, 70, 34, INK, bold=True)
        text(image, f"{c.lives} lives" if c.lives else "", PANEL - 70, 70, 14, DIM)
        text(image, f"step {c.step} of {c.steps}", 14, 92, 13, DIM)
        y = 168
        if isinstance(self.actions, Box):
            y = max(y, self._controls(image, 108, c, self.actions) + 16)
        else:
            self._keys(image, 108, c, self.actions.names)
        below = max(262, y + 94)
        for line in wrap(c.reason, 28, 2):
            text(image, line, 14, y, 15, ACCENT)
            y += 20
        alert = f"overruled: {c.overruled_by}" if c.overruled_by else ""
        for line in wrap(f"{alert} {c.fault}", 30, 3):
            text(image, line, 14, y + 4, 14, ALERT, bold=True)
            y += 19
        if listed:
            self._table(image, scene, below)
        return image

    def _controls(self, image: np.ndarray, top: int, c: Caption, box: Box) -> int:
        """One gauge a control, filled up to the value sent, a red mark at what was overruled; where they end, px."""
        columns = 1 if len(box.names) <= 3 else 2
        width = (PANEL - 28) // columns
        sent, wanted = (np.asarray(a, np.float32).tolist() for a in (c.action, c.proposed))
        for i, (name, low, high) in enumerate(zip(box.names, box.low, box.high, strict=True)):
            left, up = 14 + i % columns * width, top + i // columns * ROW
            right = left + width - 8
            shares = [(min(max(values[i], low), high) - low) / (high - low) for values in (sent, wanted)]
            at = [left + round((right - left) * share) for share in shares]
            words = f"{name} {sent[i]:+.2f}" if columns == 1 else f"{name[:8]} {sent[i]:+.2f}"
            text(image, words, left, up + 11, 13 if columns == 1 else 12, INK)
            cv2.rectangle(image, (left, up + 15), (right, up + 18), CARD, -1)
            cv2.rectangle(image, (left, up + 15), (at[0], up + 18), ACCENT, -1)
            if wanted[i] != sent[i]:
                cv2.rectangle(image, (at[1] - 1, up + 13), (at[1] + 1, up + 20), ALERT, -1)
        return top + -(-len(box.names) // columns) * ROW

    def _keys(self, image: np.ndarray, top: int, c: Caption, names: tuple[str, ...]) -> None:
        """One key an action: filled the one sent, outlined in red the one that was overruled."""
        width = (PANEL - 28) // max(4, len(names))
        for i, name in enumerate(names):
            row, col = divmod(i, max(4, len(names)))
            left, up = 14 + col * width, top + row * 34
            sent, wanted = i == c.action, i == c.proposed
            cv2.rectangle(image, (left, up), (left + width - 5, up + 26), ACCENT if sent else CARD, -1)
            if wanted and not sent:
                cv2.rectangle(image, (left, up), (left + width - 5, up + 26), ALERT, 2)
            text(image, name[:6], left + 5, up + 18, 12, BACK if sent else DIM, bold=sent)

    def _table(self, image: np.ndarray, scene: Scene, top: int) -> None:
        """Name, position and confidence of every thing."""
        y = top
        for thing in self.schema.things:
            slots = getattr(scene, thing.name)
            for k, slot in enumerate((slots,) if thing.count == 1 else slots):
                if y > image.shape[0] - 26:
                    return
                name = thing.name if thing.count == 1 else f"{thing.name} {k}"
                shade = self.colours[thing.name] if slot.seen else DIM
                text(image, name, 14, y, 14, shade, bold=True)
                where = f"{slot.x:6.1f} {slot.y:6.1f}" if slot.seen or slot.sure > 0.02 else "not seen"
                text(image, where, 92, y, 13, INK if slot.seen else DIM)
                cv2.rectangle(image, (14, y + 6), (PANEL - 14, y + 8), CARD, -1)
                cv2.rectangle(image, (14, y + 6), (14 + round((PANEL - 28) * slot.sure), y + 8), shade, -1)
                y += 28
        for grid in self.schema.grids:
            if y <= image.shape[0] - 10:
                text(image, grid.name, 14, y, 14, INK, bold=True)
                text(image, f"{int(getattr(scene, grid.name).sum())} of {grid.rows * grid.cols}", 92, y, 13)
                y += 24
        for reading in self.schema.readings:
            read = getattr(scene, reading.name)
            text(image, reading.name, 14, y, 14, INK if read.seen else DIM, bold=True)
            for f in reading.fields:
                words = f"{f.name} {getattr(read, f.name):.2f} {f.unit}" if read.seen else f"{f.name} not seen"
                text(image, words, 92, y, 13, INK if read.seen else DIM)
                y += 18
            y += 8
