"""From detections to motion: velocities, identity, and coasting through short losses, written in the policy language.

The same compiled text runs inside a bundle.

A thing seen two steps running moves by the difference. A thing that was lost coasts for COAST steps: `seen` is False,
its position is predicted, `sure` decays. Kinds with several slots keep their identity: every track takes the nearest
detection within reach of its prediction, tracks in order; what is left starts in free slots. What the text remembers
after a step is the tracked scene: `NAME.x` and so on, and `NAME.away`, the steps since the last sighting.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from logic.language import CompiledModule, compile_safety
from perception.scene import SLOT, SceneSchema, ThingSpec, ThingView

COAST = 6  # steps a lost thing is predicted before it is forgotten; as in logic/lib/track.py
FIELDS = ("x", "y", "w", "h", "vx", "vy", "sure", "away")
ENTRY = "track"
_DETECTED = ("seen", "x", "y", "w", "h", "sure")

_HEAD = '''"""Velocities, identity and coasting, made from the schema of the task."""

from logic.lib.track import Detection, Track, {imports}


class Memory:
{fields}


def track(scene, memory, action):
    """tracker"""
{body}    return action
'''


def tracker_text(schema: SceneSchema) -> str:
    """The tracker of a schema in the policy language: one rule whose memory is the answer."""
    if not schema.things:  # grids alone need no tracking
        return 'def track(scene, memory, action):\n    """tracker"""\n    return action\n'
    fields = [f"    {t.name}: Track{f'[{t.count}]' if t.count > 1 else ''}\n" for t in schema.things]
    several = {t.count > 1 for t in schema.things}
    imports = ", ".join(["follow"] * (False in several) + ["follow_all"] * (True in several))
    body = "".join(map(_step, schema.things))
    return _HEAD.format(imports=imports, fields="".join(fields).rstrip("\n"), body=body)


def _step(thing: ThingSpec) -> str:
    """One kind of thing, from its detections to its tracks."""
    at, memory = f"scene.{thing.name}", f"memory.{thing.name}"
    if thing.count == 1:
        values = [f"{at}.{f}" for f in _DETECTED]
    else:
        values = [f"array(({', '.join(f'{at}[{i}].{f}' for i in range(thing.count))}))" for f in _DETECTED]
    follow = "follow" if thing.count == 1 else "follow_all"
    return f"    {memory} = {follow}(Detection({', '.join(values)}), {memory}, {thing.max_speed!r})\n"


@lru_cache(maxsize=16)
def compile_tracker(schema: SceneSchema) -> CompiledModule:
    """The compiled tracker of a schema; its one rule is ENTRY."""
    return compile_safety(tracker_text(schema), schema, {"NOOP": 0}, name="tracker")


class _Detections:
    """What the text reads of a raw scene: things, without grids and gauges."""


class Tracker:
    """The tracker at play, one per episode."""

    def __init__(self, schema: SceneSchema) -> None:
        self._module = compile_tracker(schema)
        self._step: Any = self._module.namespace[ENTRY]
        self._slots = [(t.name, t.count, schema.slot(t.name).start) for t in schema.things]
        self._end = sum(t.count for t in schema.things) * SLOT
        self.reset()

    def reset(self) -> None:
        """Forget everything; call at the start of an episode."""
        self.memory = self._module.start()

    def update(self, vector: np.ndarray) -> np.ndarray:
        """Scene vector of this frame -> the same with vx, vy (px per step), identity and coasting; a new array."""
        flat = vector[: self._end].tolist()
        raw = _Detections()
        things, memory = raw.__dict__, self.memory
        for name, count, at in self._slots:
            views = [ThingView(flat[k : k + SLOT]) for k in range(at, at + SLOT * count, SLOT)]
            things[name] = views[0] if count == 1 else views
        self._step(raw, memory, 0)
        now = memory.__dict__
        out = vector.copy()
        out[: self._end] = [v for name, count, _ in self._slots for v in _slot(now, name, count)]
        return out


def _slot(now: dict[str, Any], name: str, count: int) -> list[float]:
    """The values of a kind's slots, in the layout of the Scene."""
    x, y, w, h, vx, vy, sure, away = (now[f"{name}.{f}"] for f in FIELDS)
    if count == 1:
        return [1.0 if away == 0.0 else 0.0, x, y, w, h, vx, vy, sure]
    columns = np.stack([(away == 0.0).astype(np.float32), x, y, w, h, vx, vy, sure], axis=1)
    values: list[float] = columns.ravel().tolist()
    return values
