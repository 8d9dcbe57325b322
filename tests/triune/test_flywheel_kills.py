"""Sixty SIGKILLs of retraining and of the writing of its files: nothing is torn, no verdict is taken back."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT
from flywheel_kit import NEVER, ROUNDS, Killer, rounds

from perception.errors import PerceptionError
from perception.weights import read_weights

pytestmark = [pytest.mark.slow, pytest.mark.train]
KILLS = 60
ACTS = 24  # at least so many times a round changes a file


@pytest.fixture
def killer() -> Iterator[Killer]:
    pytest.importorskip("torch")
    made = Killer()
    yield made
    made.close()


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@dataclass
class Calm:
    """A run that nobody disturbed: its verdicts, the eyes it had one after the other, seconds a round."""

    rounds: dict[str, Any]
    detector: list[str]
    round_s: float

    @staticmethod
    def run(killer: Killer, home: Path) -> Calm:
        began = time.monotonic()
        assert killer(home, NEVER) == 0
        spent, told = time.monotonic() - began, rounds(home)
        assert [r["outcome"] for r in told.values()] == ["promoted", "promoted", "kept"]
        first = ROOT / "zoo" / "pong" / "perception.onnx"
        detector = [digest(p) for p in (first, home / "round-1/candidate.onnx", home / "round-2/candidate.onnx")]
        assert len(set(detector)) == 3 and digest(home / "eyes.onnx") == detector[2]
        read_weights(home / "eyes.onnx")
        return Calm(told, detector, spent / ROUNDS)

    def check(self, home: Path, seen: int) -> int:
        """Whatever is in `home` is whole and as here; which eyes it has, never earlier ones than the `seen` before."""
        told = rounds(home)
        assert told == {name: self.rounds[name] for name in told}
        if not (home / "wheel.json").exists():
            return seen
        at = self.detector.index(digest(home / "eyes.onnx"))
        promoted = sum(r["outcome"] == "promoted" for r in told.values())
        assert seen <= at <= promoted <= at + 1, "eyes change when, and only when, the verdict is on disk"
        try:
            read_weights(home / "eyes.onnx")
        except PerceptionError as error:
            assert "belongs to another ONNX file" in str(error) and at < promoted, "weights come first, never last"
        return at


def test_sixty_kills_of_retraining_change_nothing(killer: Killer, tmp_path: Path) -> None:
    """At random instants, before a file is changed, half way through a write; then the same command again."""
    calm, dice = Calm.run(killer, tmp_path / "calm"), random.Random(6)
    kills = ended = seen = 0
    while True:
        home = tmp_path / f"hard{ended}"
        at_act, at_instant = (dice.randrange(1, ACTS), dice.choice(["before", "half"])), dice.uniform(0, 1.5)
        how = (NEVER,) if kills == KILLS else at_act if kills % 2 else (at_instant * calm.round_s,)
        status = killer(home, *how)
        seen = calm.check(home, seen)
        if status == -signal.SIGKILL:
            kills += 1
            continue
        assert status == 0 and rounds(home) == calm.rounds and seen == 2 and read_weights(home / "eyes.onnx")
        assert json.loads((home / "result.json").read_text())["outcome"] == "promoted"
        if kills == KILLS:
            return
        ended, seen = ended + 1, 0
