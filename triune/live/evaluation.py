"""A task's folder looked at on a film: what it sees beside what is there, and what it decides, on a timeline."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.env import simulated
from logic.runtime.controller import Decision
from perception.drift import Watch
from perception.scene import SceneSchema
from perception.training.metrics import compare
from triune.live.conditions import BLIND, DRIFT, Conditions, Limits
from triune.live.labels import FilmLabels
from triune.live.tally import Latencies
from triune.play.film import Film, fitted
from triune.play.loop import Pipeline

if TYPE_CHECKING:
    from triune.play.loop import Detector
    from triune.system import System


class Timed:
    """A detector whose time is taken."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self.latency = detector, Latencies()

    def reset(self) -> None:
        """A new beginning."""
        self._detector.reset()

    def see(self, frame: np.ndarray) -> np.ndarray:
        """As the detector does."""
        began = time.perf_counter()
        seen = self._detector.see(frame)
        self.latency.add(1000 * (time.perf_counter() - began))
        return seen


class Timeline:
    """Stretches of pictures on which the same was done for the same cause."""

    def __init__(self) -> None:
        self.stretches: list[dict[str, Any]] = []

    def add(self, number: int, action: str, reason: str, rules: tuple[str, ...], condition: str) -> None:
        """One picture."""
        what = {"action": action, "rules": list(rules), "condition": condition}
        last = self.stretches[-1] if self.stretches else {}
        if all(last.get(key) == value for key, value in what.items()):
            last["to"] = number
        else:
            self.stretches.append({"from": number, "to": number, **what, "reason": reason})


def look(
    system: System, film: Film, labels: FilmLabels | None = None, fit: str | None = None, most: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:  # fmt: skip
    """JSON values. Every picture is decided on as `triune run` would; what is seen is the detector's, before tracking.

    A bad picture means the fallback, and memory begins anew after it.
    """
    schema, shape, tell = system.schema, system.spec.env.shape, system.spec.env.actions.tell
    controller = system.controller()  # compiled before a picture is read
    eyes, whole, timeline = Timed(system.detector()), Latencies(), Timeline()
    player = Pipeline(schema, eyes, controller)
    conditions = Conditions(Limits.of(system.spec, system.protocol().control_hz), shape)
    actions, rules, held, faults = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seen: dict[int, np.ndarray] = {}
    places = {t.name: [schema.slot(t.name, i).start for i in range(t.count)] for t in schema.things}
    there, count, fresh = Counter[str](), 0, True
    ranges = system.ranges()
    watch = Watch(ranges) if ranges and not simulated(system.spec.env) else None
    try:
        for frame in film:
            if count == most:
                break
            if fit or not count:
                frame = fitted(frame, shape, fit, film.source)
            condition = conditions.see(frame, film.at)
            if condition in BLIND:
                decision, fresh, scene = (
                    Decision(controller.fallback, condition, controller.fallback),
                    True,
                    schema.empty(),
                )
            else:
                if fresh:
                    player.reset()
                    fresh = False
                    if watch:
                        watch.start()
                began = time.perf_counter()
                tracked, decision = player.act(frame)
                whole.add(1000 * (time.perf_counter() - began))
                scene = player.seen
                if watch:
                    watch.see(frame, tracked.vector)
                    if watch.out_of_range:
                        condition, decision = DRIFT, decision._replace(action=controller.fallback)
            there.update(name for name, starts in places.items() if (scene[starts] > 0.5).any())
            if labels and film.number in labels.vectors and film.number not in seen:
                seen[film.number] = scene.copy()
            timeline.add(film.number, tell(decision.action), decision.reason, decision.overruled_by, condition)
            actions[tell(decision.action)] += 1
            rules.update(decision.overruled_by)
            held.update([condition] if condition else [])
            faults.update([decision.fault] if decision.fault else [])
            count += 1
            progress(count)
    finally:
        controller.close()
    return {
        "frames": count, "labelled_frames": len(seen), "things": _things(schema, labels, seen),
        "seen": {thing.name: round(there[thing.name] / max(count, 1), 4) for thing in schema.things},
        "timeline": timeline.stretches, "actions": dict(actions.most_common()),
        "interventions": dict(rules.most_common()),
        "conditions": dict(held.most_common()), "faults": faults.total(), "fault_texts": dict(faults.most_common(3)),
        "latency_ms": {"perception": eyes.latency.summary(), "step": whole.summary()}, "undecodable": film.undecodable,
    }  # fmt: skip


def _things(schema: SceneSchema, labels: FilmLabels | None, seen: dict[int, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Precision, recall, F1 and median distance of centres, by thing; {} without labels. A thing is right within its
    own size of where it is labelled."""
    if not labels or not seen:
        return {}
    numbers = sorted(seen)
    truth = np.stack([labels.vectors[n] for n in numbers])
    found = compare(np.stack([seen[n] for n in numbers]), truth, schema, near=True)
    told = {}
    for name, m in found["things"].items():
        p, r = m["precision"], m["recall"]
        f1 = 2 * p * r / (p + r) if p is not None and r is not None and p + r > 0 else 0.0 if m["labels"] else None
        told[name] = {
            "labels": m["labels"], "precision": p, "recall": r, "f1": None if f1 is None else round(f1, 5),
            "median_px": m["error_px"]["median"],
        }  # fmt: skip
    return told
