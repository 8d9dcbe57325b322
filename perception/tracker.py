"""From detections to motion: velocities, identity, and coasting through short losses.

A thing seen two steps running moves by the difference. A thing that was lost coasts for `COAST` steps: `seen` is
False, its position is predicted, `sure` decays. Kinds with several slots keep their identity: every track takes the
nearest detection within reach of its prediction, tracks in order; what is left starts in free slots.
"""

from __future__ import annotations

import math

import numpy as np

from perception.scene import SLOT, SceneSchema

COAST = 6  # steps a lost thing is predicted before it is forgotten
DECAY = 0.75  # of `sure` per coasted step
SLACK = 6.0  # px a detection may lie off the prediction beyond the kind's max_speed


class Tracker:
    """One per episode. Memory per slot: x, y, w, h, vx, vy, sure, steps since seen (COAST + 1: no track)."""

    def __init__(self, schema: SceneSchema) -> None:
        self.schema = schema
        self._single = [(schema.slot(t.name).start, t.max_speed) for t in schema.things if t.count == 1]
        self._many = [
            ([schema.slot(t.name, i).start for i in range(t.count)], t.max_speed) for t in schema.things if t.count > 1
        ]
        self._end = sum(t.count for t in schema.things) * SLOT
        self.reset()

    def reset(self) -> None:
        """Forget everything; call at the start of an episode."""
        starts = [s for s, _ in self._single] + [s for group, _ in self._many for s in group]
        self._memory = {start: [0.0] * 7 + [COAST + 1.0] for start in starts}

    def update(self, vector: np.ndarray) -> np.ndarray:
        """Scene vector of this frame -> the same with vx, vy (px per step), identity and coasting; a new array."""
        v = vector[: self._end].tolist()
        for start, reach in self._single:
            _advance(self._memory[start], v, start, v, start if v[start] > 0.5 else -1, reach)
        for starts, reach in self._many:
            self._assign(v, starts, reach)
        out = vector.copy()
        out[: self._end] = v
        return out

    def _assign(self, v: list[float], starts: list[int], reach: float) -> None:
        """Give every track of one kind its detection, then write the slots in track order."""
        found = list(v)
        free = [s for s in starts if found[s] > 0.5]
        taken = dict.fromkeys(starts, -1)
        for start in starts:
            memory = self._memory[start]
            if memory[7] <= COAST:
                x, y = memory[0] + memory[4], memory[1] + memory[5]
                best = min(free, key=lambda s: math.hypot(found[s + 1] - x, found[s + 2] - y), default=-1)
                if best >= 0 and math.hypot(found[best + 1] - x, found[best + 2] - y) <= reach + SLACK:
                    taken[start] = best
                    free.remove(best)
        for start in starts:
            if free and self._memory[start][7] > COAST:
                taken[start] = free.pop(0)
        for start in starts:
            _advance(self._memory[start], v, start, found, taken[start], reach)


def _advance(memory: list[float], v: list[float], at: int, found: list[float], source: int, reach: float) -> None:
    """One step of one slot: `source` is where its detection stands in `found`, -1 for none; writes v[at : at + 8]."""
    away = memory[7]
    if source >= 0:
        x, y, w, h, sure = found[source + 1], found[source + 2], found[source + 3], found[source + 4], found[source + 7]
        vx = vy = 0.0
        if away <= COAST:  # the memory of a coasting slot is its prediction: measure from the last sighting
            vx = (x - memory[0]) / (away + 1.0) + memory[4] * away / (away + 1.0)
            vy = (y - memory[1]) / (away + 1.0) + memory[5] * away / (away + 1.0)
            if abs(vx) > reach or abs(vy) > reach:  # too fast to be the same thing
                vx = vy = 0.0
        memory[:] = (x, y, w, h, vx, vy, sure, 0.0)
        v[at : at + 8] = (1.0, x, y, w, h, vx, vy, sure)
        return
    if away >= COAST:
        memory[7] = COAST + 1.0
        v[at : at + 8] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return
    memory[0] += memory[4]
    memory[1] += memory[5]
    memory[6] *= DECAY
    memory[7] = away + 1.0
    v[at] = 0.0
    v[at + 1 : at + 8] = memory[:7]
