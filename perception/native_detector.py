"""The detector in play where the native engine runs: the same looks for a tenth of the time.

`open_detector` is the door: whoever plays asks it, and gets a `NativeDetector` or, where the engine is not there, is
turned off, or does not know the network, the `OnnxDetector` that is its reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import native
from native.eyes import Eyes
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.plan import Unknown, read_plan
from perception.scene import OVERLAP, SceneSchema

TOLERANCE = 1e-4  # between the engine and ONNX Runtime, which sums in another order; beside it, of large values,
RELATIVE = 1e-6  # this share: float32 has seven digits
NEARLY = 1e-3  # of an overlap that decides which of two kinds is at a place


class NativeDetector:
    """The network of an `OnnxDetector` in the native engine; it sees what changed since the last frame.

    `verify`: every so many frames ONNX Runtime looks too, and PerceptionError says where the two differ; 0: never.
    """

    engine = "native"

    def __init__(self, reference: OnnxDetector, eyes: Eyes) -> None:
        self.reference, self.verify = reference, 0
        self.schema, self.metadata, self.shape = reference.schema, reference.metadata, reference.shape
        self._eyes, self._count = eyes, 0
        self._checked = np.empty(0)  # the array that was looked at last: a world gives the same one at every step

    @property
    def provenance(self) -> dict[str, Any]:
        """How the weights were made: data set, steps, seed, metrics."""
        return self.reference.provenance

    def reset(self) -> None:
        """Forget past frames; call at the start of an episode."""
        self._count = 0
        self._eyes.reset()
        self.reference.reset()

    def see(self, frame: np.ndarray) -> np.ndarray:
        """Native frame uint8[H, W, 3] -> Scene vector float32[size]."""
        if frame is not self._checked:
            self.reference.check(frame)
            self._checked = frame = np.ascontiguousarray(frame)
        if self.verify:
            return self._verified(self.reference.through_window(frame))
        return self._eyes.see(frame)

    def look(self, frame: np.ndarray) -> np.ndarray:
        """As `see`, for a frame that already is the maximum over the window."""
        self.reference.check(frame)
        return self._eyes.look(np.ascontiguousarray(frame))

    def _verified(self, frame: np.ndarray) -> np.ndarray:
        scene = self._eyes.look(np.ascontiguousarray(frame))
        number, self._count = self._count, self._count + 1
        if number % self.verify == 0:
            name, found, wanted = largest_difference(self.schema, scene, self.reference.look(frame))
            if name:
                raise PerceptionError(
                    f"frame {number}: the native engine sees {name} = {found:.6g}, ONNX Runtime {wanted:.6g}; "
                    f"set {native.CHOICE}=python to play without the engine, and report it with this frame's seed"
                )
        return scene


def largest_difference(schema: SceneSchema, scene: np.ndarray, wanted: np.ndarray) -> tuple[str, float, float]:
    """(name, found, wanted) of the value of two scene vectors that differs most; no name where all are within rounding.

    Whether a thing is seen at a probability of one half is rounding, too: all of such a slot is. So is which of two
    kinds is at a place, where both are about as sure or hardly overlap enough.
    """
    gap = np.abs(scene.astype(np.float64) - wanted) - RELATIVE * np.abs(wanted)
    gap[np.isnan(gap) & np.isnan(scene) & np.isnan(wanted) | (scene == wanted)] = 0
    for _, slot in schema.slots():
        if abs(wanted[slot.stop - 1] - 0.5) < TOLERANCE:
            gap[slot] = 0
    if schema.exclusive:
        for kind, slot in _boxes(schema):
            here, there = scene[slot].any(), wanted[slot].any()
            if here != there and _nearly_beaten(schema, scene if here else wanted, kind, slot):
                gap[slot] = 0
    worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    return schema.names[worst] if not gap[worst] <= TOLERANCE else "", float(scene[worst]), float(wanted[worst])


def _boxes(schema: SceneSchema) -> Iterator[tuple[str, slice]]:
    """(kind, where it stands) of every slot of things."""
    return ((thing.name, schema.slot(thing.name, i)) for thing in schema.things for i in range(thing.count))


def _nearly_beaten(schema: SceneSchema, scene: np.ndarray, kind: str, slot: slice) -> bool:
    """Is a thing of another kind about as sure at, or nearly at, the place of this one?"""
    x, y, w, h, sure = (float(scene[slot.start + i]) for i in (1, 2, 3, 4, 7))
    for other, at in _boxes(schema):
        u, v, wide, high, surer = (float(scene[at.start + i]) for i in (1, 2, 3, 4, 7))
        if other == kind or surer <= sure - TOLERANCE:
            continue
        across = min(x + w / 2, u + wide / 2) - max(x - w / 2, u - wide / 2)
        down = min(y + h / 2, v + high / 2) - max(y - h / 2, v - high / 2)
        both = max(across, 0.0) * max(down, 0.0)
        if both > (OVERLAP - NEARLY) * (w * h + wide * high - both):
            return True
    return False


def open_detector(
    data: bytes, schema: SceneSchema | None = None, name: str = "the weights"
) -> OnnxDetector | NativeDetector:
    """The detector of an ONNX file's bytes, native where that can be; PerceptionError as of `OnnxDetector.parse`."""
    reference = OnnxDetector.parse(data, schema, name)
    reference.engine = f"ONNX Runtime: {native.why_not()}"
    if not native.available():
        return reference
    try:
        eyes = Eyes(read_plan(data, reference.schema, (reference.shape[0], reference.shape[1])))
    except (Unknown, ValueError) as error:
        reference.engine = f"ONNX Runtime: the native engine does not know this network ({error})"
        return reference
    black = np.zeros(reference.shape, np.uint8)
    if lack := largest_difference(reference.schema, eyes.look(black), reference.look(black))[0]:
        reference.engine = f"ONNX Runtime: the native engine sees another {lack} in a black frame"
        return reference
    return NativeDetector(reference, eyes)
