"""What is counted while a bundle is at work, in room that does not grow: for the end, and for Prometheus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

FINEST, RATIO = 0.01, 1.02  # ms; a latency is known to two per cent
BUCKETS = 1 + math.ceil(math.log(3_600_000 / FINEST) / math.log(RATIO))
Labelled = dict[tuple[tuple[str, str], ...], float]  # labels and their texts -> value
MOST_TEXTS = 100  # different faults that are told apart


class Latencies:
    """How long steps took, in ms."""

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS, np.int64)
        self.count, self.total, self.most = 0, 0.0, 0.0

    def add(self, ms: float) -> None:
        """One step."""
        ms = max(0.0, ms)
        bucket = 0 if ms <= FINEST else int(math.log(ms / FINEST) / math.log(RATIO)) + 1
        self._counts[min(bucket, BUCKETS - 1)] += 1
        self.count, self.total, self.most = self.count + 1, self.total + ms, max(self.most, ms)

    def quantile(self, share: float) -> float:
        """So many of the steps took no longer; 0 without any."""
        if not self.count:
            return 0.0
        bucket = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        return round(min(FINEST * RATIO**bucket, self.most), 3)

    def summary(self) -> dict[str, float]:
        """JSON value."""
        return {"p50": self.quantile(0.5), "p99": self.quantile(0.99), "max": round(self.most, 3)}


class Tally:
    """Counts of one run. `conditions`: pictures, and waits without one, that each held for; `skipped`: pictures that
    came too fast to be looked at; `dropped`: those that a live source should have given by its rate."""

    def __init__(self) -> None:
        self.latency = Latencies()
        self.steps = self.skipped = self.dropped = self.late = 0
        self.reasons, self.rules = Counter[str](), Counter[str]()
        self.actions, self.conditions = Counter[str](), Counter[str]()
        self.faults = Counter[str]()
        self.began: float | None = None
        self.ended = 0.0
        self._ranges: np.ndarray | None = None

    def fault(self, text: str) -> None:
        """One fault; beyond MOST_TEXTS different ones they are counted together."""
        self.faults[text if text in self.faults or len(self.faults) < MOST_TEXTS else "others"] += 1

    def at(self, second: float) -> None:
        """Something was decided at this second."""
        self.began = second if self.began is None else self.began
        self.ended = second

    def control(self, values: np.ndarray) -> None:
        """The values that were sent, where actions are controls."""
        row = np.stack([values, values, values]).astype(np.float64)
        if self._ranges is None:
            self._ranges = row
        else:
            low, total, high = self._ranges
            self._ranges = np.stack([np.minimum(low, values), total + values, np.maximum(high, values)])

    def controls(self, names: Sequence[str]) -> dict[str, list[float]]:
        """[least, mean, most] by name; {} of named actions."""
        if self._ranges is None:
            return {}
        low, total, high = self._ranges.tolist()
        return {n: [low[i], total[i] / self.steps, high[i]] for i, n in enumerate(names)}

    @property
    def per_second(self) -> float:
        """Pictures a second, by the clock of their arrival."""
        span = self.ended - (self.began or 0.0)
        return round((self.steps - 1) / span, 2) if self.steps > 1 and span > 0 else 0.0

    def metrics(self, more: dict[str, float], names: dict[str, str]) -> str:
        """Prometheus' text. `more`: further gauges by name; `names`: labels that every line has."""
        lines: list[str] = []

        def put(name: str, kind: str, values: Labelled) -> None:
            lines.append(f"# TYPE triune_{name} {kind}")
            for labels, value in values.items():
                told = ",".join(f'{key}="{_escaped(text)}"' for key, text in (*names.items(), *labels))
                lines.append(f"triune_{name}{{{told}}} {value:.10g}")

        def each(label: str, counts: Counter[str]) -> Labelled:
            return {((label, text),): float(n) for text, n in counts.items()}

        for name, value in (
            ("frames_total", self.steps), ("skipped_frames_total", self.skipped),
            ("dropped_frames_total", self.dropped), ("deadline_missed_total", self.late),
            ("faults_total", self.faults.total()),
        ):  # fmt: skip
            put(name, "counter", {(): float(value)})
        put("actions_total", "counter", each("action", self.actions))
        put("rule_interventions_total", "counter", each("rule", self.rules))
        put("condition_total", "counter", each("condition", self.conditions))
        latency = self.latency
        quantiles: Labelled = {(("quantile", f"{q:g}"),): latency.quantile(q) for q in (0.5, 0.99)}
        put("latency_milliseconds", "summary", quantiles)
        put("latency_milliseconds_max", "gauge", {(): latency.most})
        put("frames_per_second", "gauge", {(): self.per_second})
        for name, number in more.items():
            put(name, "counter" if name.endswith("_total") else "gauge", {(): number})
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
