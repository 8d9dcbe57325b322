"""What the tuner's benchmark measures on: seeds of the gate that the run has not played."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tuner import fresh
from supervisor.events import EventLog
from supervisor.gate.seeds import role_of


def test_seeds_that_the_run_has_opened_are_not_fresh(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "events.jsonl", now=lambda: 0.0) as log:
        log.append("evidence.episode", {"seed": 3})
        log.append("gate.seeds", {"trial": 1, "role": "select", "seeds": [9999, 9997, 1000]})
        log.append("gate.episode", {"seed": 9996})
        found = fresh(log.events, 4)
        assert found == [9993, 9994, 9995, 9998] and {role_of(seed) for seed in found} == {"gate"}
        assert len(fresh(log.events, 10_000)) == 9000 - 4
