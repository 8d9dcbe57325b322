"""What a run tells of every picture: a line of JSON into the log and to who carries actions out, and the counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.writing import naming
from perception.scene import SLOT_FIELDS, Scene, SceneSchema
from triune.live.tally import Tally
from triune.runtime import DEADLINE, Bundle, Why

if TYPE_CHECKING:
    from envs.actions import Action
    from triune.live.sinks import Sink

MOST_LOG = 100_000_000  # bytes of a log before it is put aside as NAME.1, in the place of an older one


class Log:
    """A file of lines that never takes more than twice `most` bytes: a full one is kept as NAME.1 until the next is."""

    def __init__(self, path: Path, most: int = MOST_LOG) -> None:
        self.path, self._most = path, most
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._size = 0
        self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115 - closed by `close`

    def write(self, line: str) -> None:
        """One line, at once."""
        with naming(self.path):
            if self._size and self._size + len(line) > self._most:
                self._file.close()
                os.replace(self.path, self.path.with_name(self.path.name + ".1"))
                self._open()
            print(line, file=self._file, flush=True)
            self._size += len(line) + 1

    def close(self) -> None:
        """A full disk is told with the file's name."""
        with naming(self.path):
            self._file.close()


class Teller:
    """Lines and counts of one run. `sink`: who carries actions out; None: nobody (a game does, or `shadow`)."""

    def __init__(self, bot: Bundle, log: Log | None = None, sink: Sink | None = None, shadow: bool = False) -> None:
        self.bot, self.log, self.sink, self.shadow = bot, log, sink, shadow
        self.tally = Tally()
        self._schema = bot.schema

    def decided(
        self, second: float, number: int, action: Action, why: Why, latency_ms: float, condition: str = ""
    ) -> None:
        """An action, and the decision behind it, which a condition may have replaced by the fallback."""
        tally = self.tally
        tally.reasons[why.reason] += 1
        tally.rules.update(why.overruled_by)
        tally.late += DEADLINE in why.overruled_by
        if why.fault:
            tally.fault(why.fault)
        told = {"proposed": self._told(why.wanted, why.proposed), "reason": why.reason, "rules": [*why.overruled_by]}
        faults = [why.fault] if why.fault else []
        self._tell(second, number, action, told, condition, faults, why.scene, latency_ms)

    def blind(self, second: float, number: int | None, condition: str, latency_ms: float = 0.0) -> None:
        """The fallback, since there is no picture to decide on."""
        told: dict[str, Any] = {"proposed": None, "reason": condition, "rules": []}
        self._tell(second, number, self.bot.fallback, told, condition, [], None, latency_ms)

    def _tell(
        self, second: float, number: int | None, action: Action, told: dict[str, Any], condition: str,
        faults: list[str], scene: Scene | None, latency_ms: float,
    ) -> None:  # fmt: skip
        words = self.bot.action_space.tell(action)
        tally = self.tally
        if number is not None:
            tally.steps += 1
            tally.latency.add(latency_ms)
        if isinstance(action, int):
            tally.actions[words] += 1
        elif number is not None:
            tally.control(action)
        if condition:
            tally.conditions[condition] += 1
        if not self.log and not self.sink:
            return
        line: dict[str, Any] = {"time": round(second, 4), "frame": number, "action": self._told(action, words), **told}
        line |= {"condition": condition, "faults": faults}
        line |= {"scene": scene and scene_values(self._schema, scene.vector), "latency_ms": round(latency_ms, 3)}
        if self.shadow:
            line["shadow"] = True
        text = json.dumps(line)
        if self.sink:
            self.sink.send(text)
        if self.log:
            self.log.write(text)

    def _told(self, action: Action, words: str) -> Any:
        """The action's name, or the value of every control by its name."""
        return words if isinstance(action, int) else dict(zip(self.bot.actions, action.tolist(), strict=True))

    def summary(self) -> dict[str, Any]:
        """JSON values for the end of the run."""
        tally = self.tally
        controls = tally.controls(self.bot.actions)
        return {
            "steps": tally.steps, "ms_per_step": tally.latency.quantile(0.5), "latency_ms": tally.latency.summary(),
            "frames_per_second": tally.per_second, "late": tally.late, "skipped": tally.skipped,
            "dropped": tally.dropped,
            "reasons": dict(tally.reasons.most_common()), "actions": dict(tally.actions.most_common()),
            "interventions": dict(tally.rules.most_common()), "conditions": dict(tally.conditions.most_common()),
            "faults": tally.faults.total(), "fault_texts": dict(tally.faults.most_common(3)),
            **({"controls": controls} if controls else {}),
        }  # fmt: skip


def scene_values(schema: SceneSchema, vector: np.ndarray) -> dict[str, Any]:
    """A scene as JSON values: a thing is a table with `sure` or null, one of several a list of those that are seen; a
    grid rows of 0 and 1, a gauge a number, a reading a table or null."""
    values: dict[str, Any] = {}
    for thing in schema.things:
        slots = [vector[schema.slot(thing.name, i)].tolist() for i in range(thing.count)]
        seen = [dict(zip(SLOT_FIELDS[1:], map(_short, s[1:]), strict=True)) for s in slots if s[0] > 0.5]
        values[thing.name] = seen if thing.count > 1 else seen[0] if seen else None
    for grid in schema.grids:
        cells = vector[schema.grid(grid.name)].reshape(grid.rows, grid.cols) > 0.5
        values[grid.name] = ["".join("01"[int(cell)] for cell in row) for row in cells]
    for gauge in schema.gauges:
        values[gauge.name] = _short(float(vector[schema.gauge(gauge.name)]))
    for reading in schema.readings:
        there, *numbers = vector[schema.slot(reading.name)].tolist()
        values[reading.name] = dict(zip(reading.slot[1:], map(_short, numbers), strict=True)) if there > 0.5 else None
    return values


def _short(value: float) -> float:
    return round(value, 3)
