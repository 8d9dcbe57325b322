"""The detector in play: onnxruntime and numpy only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from envs.files import loads, read_file
from perception import graph
from perception.errors import PerceptionError
from perception.scene import SceneSchema

FORMAT = 1


class OnnxDetector:
    """Loaded weights of one task. With a window in the schema `see` keeps the last frames; `reset` drops them.

    `engine`: what runs the network, and why not the native one (`perception.native_detector`).
    """

    engine = "ONNX Runtime"

    def __init__(self, session: onnxruntime.InferenceSession, schema: SceneSchema, metadata: dict[str, str]) -> None:
        self.schema, self.metadata = schema, metadata
        self.shape: tuple[int, ...] = tuple(session.get_inputs()[0].shape)
        self._session = session
        self._name = session.get_inputs()[0].name
        self._past: list[np.ndarray] = []

    @classmethod
    def load(cls, path: str | Path, schema: SceneSchema | None = None) -> OnnxDetector:
        """Weights from a file; PerceptionError when they are missing, damaged or made for another schema."""
        return cls.parse(read_file(Path(path), "weights", PerceptionError), schema, str(path))

    @classmethod
    def parse(cls, data: bytes, schema: SceneSchema | None = None, name: str = "the weights") -> OnnxDetector:
        """As `load`, from memory."""
        try:
            session = graph.session(data)
        except graph.Foreign as error:
            raise PerceptionError(f"{name} is refused: {error}; fetch or train it again") from None
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            raise PerceptionError(f"{name} is damaged or no ONNX file ({reason}); fetch or train it again") from None
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        made = cls(session, _checked(session, metadata, schema, name), metadata)
        if not usable(made.look(np.zeros(made.shape, np.uint8)), made.schema.size):
            raise PerceptionError(f"{name} sees what are no numbers (NaN or infinite) in a black frame; train it again")
        return made

    @property
    def provenance(self) -> dict[str, Any]:
        """How the weights were made: data set, steps, seed, metrics."""
        made: dict[str, Any] = loads(self.metadata.get("triune.provenance", "{}"))
        return made

    def reset(self) -> None:
        """Forget past frames; call at the start of an episode."""
        self._past.clear()

    def see(self, frame: np.ndarray) -> np.ndarray:
        """Native frame uint8[H, W, 3] -> Scene vector float32[size]."""
        return self.look(self.through_window(frame))

    def through_window(self, frame: np.ndarray) -> np.ndarray:
        """The pixelwise maximum of the last frames, this one among them."""
        if self.schema.window == 1:
            return frame
        self._past.append(np.array(frame))  # the caller's may be a view that the next step overwrites
        if len(self._past) > self.schema.window:
            del self._past[0]
        return np.maximum.reduce(self._past)

    def look(self, frame: np.ndarray) -> np.ndarray:
        """As `see`, for a frame that already is the maximum over the window."""
        self.check(frame)
        scene: np.ndarray = self._session.run(None, {self._name: frame})[0]
        return scene

    def check(self, frame: np.ndarray) -> None:
        """PerceptionError when a frame is none of this detector's."""
        if type(frame) is not np.ndarray or frame.dtype != np.uint8 or frame.shape != self.shape:
            raise PerceptionError(self._refusal(frame))

    def _refusal(self, frame: Any) -> str:
        wanted = f"this detector reads uint8{list(self.shape)}"
        if not isinstance(frame, np.ndarray):
            return f"{wanted}, got a {type(frame).__name__}; give the native frame as a numpy array"
        fix = "give grey levels 0..255 as uint8" if frame.shape == self.shape else "give the native RGB frame, unscaled"
        return f"{wanted}, got {frame.dtype}{list(frame.shape)}; {fix}"


def usable(scene: np.ndarray, size: int) -> bool:
    """Whether what a detector gave is a scene: float32[size], all of them finite."""
    if scene.shape != (size,):
        return False
    # at every step: a finite sum of squares says so in a fifth of the time
    return math.isfinite(scene.dot(scene)) or bool(np.isfinite(scene).all())


def _checked(
    session: onnxruntime.InferenceSession, metadata: dict[str, str], schema: SceneSchema | None, name: str
) -> SceneSchema:
    """The schema the weights were made for, after every check."""
    if "triune.schema" not in metadata:
        raise PerceptionError(f"{name} is an ONNX file without a scene schema; it was not made by `triune train`")
    if metadata.get("triune.format") != str(FORMAT):
        raise PerceptionError(f"{name} has format {metadata.get('triune.format')}, this is {FORMAT}; update Triune")
    try:
        own = SceneSchema.from_config(loads(metadata["triune.schema"]))
        if not isinstance(loads(metadata.get("triune.provenance", "{}")), dict):
            raise ValueError("triune.provenance is no table")
    except ValueError as error:
        raise PerceptionError(f"{name} holds a broken scene schema or provenance ({error}); train it again") from None
    if schema is not None and schema.fingerprint != own.fingerprint:
        raise PerceptionError(
            f"{name} was trained for another scene schema ({own.fingerprint[:12]}, the task has "
            f"{schema.fingerprint[:12]}{_first_difference(own, schema)}); train again or restore system.toml"
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    good = len(inputs) == 1 and inputs[0].type == "tensor(uint8)" and len(inputs[0].shape) == 3
    out = (outputs[0].type, outputs[0].shape) if len(outputs) == 1 else ()
    if not good or out != ("tensor(float)", [own.size]):
        raise PerceptionError(f"{name} does not map a frame to a scene of {own.size} values; train it again")
    return own


def _first_difference(own: SceneSchema, schema: SceneSchema) -> str:
    a, b = own.to_config(), schema.to_config()
    for key in ("crop", "window", "things", "grids", "gauges", "readings"):
        if a.get(key) != b.get(key):
            return f"; [scene] {key} differs"
    return ""
