"""Foreign code is contained: right outcome class, parent alive, next episode unaffected (acceptance: the worker).

Every attack is tried in both uses, with every layer on.
"""

from __future__ import annotations

import os
import sys

import pytest
from isolation_kit import ATTACKS, COMPLETE, PATIENT, SHORT, answering, gone, pipe_ends, record

from logic.sandbox import IsolationError, Stopped, Worker, run_isolated

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")


@pytest.mark.parametrize("name", ATTACKS)
def test_one_shot_contains(name: str) -> None:
    step, expected, words, limits = ATTACKS[name]
    outcome = run_isolated(step, b"", 8, limits, require_isolation=COMPLETE)
    assert (outcome.name, words in outcome.detail) == (expected, True), str(outcome)
    assert not outcome.reply
    assert run_isolated(bytes.upper, b"next", 8).reply == b"NEXT"


@pytest.mark.parametrize("name", ATTACKS)
def test_episode_contains(name: str) -> None:
    attack, expected, words, limits = ATTACKS[name]
    evil = b"evil".ljust(8)
    worker = Worker(lambda: lambda r: attack(b"") if r == evil else r[::-1], 8, 8, limits, require_isolation=COMPLETE)
    with worker:
        assert worker.step(b"12345678") == b"87654321"
        pid = worker.pid
        with pytest.raises(Stopped) as stopped:
            worker.step(evil)
        assert stopped.value.outcome.name == expected, str(stopped.value)
        assert gone(pid)
        with pytest.raises(IsolationError, match="start"):
            worker.step(b"12345678")
        worker.start()
        assert worker.step(b"12345678") == b"87654321"


@pytest.mark.parametrize("size", [7, 9, 0, 100_000])
def test_reply_of_another_size(size: int) -> None:
    with Worker(lambda: lambda r: bytes(size), 8, 8) as worker, pytest.raises(Stopped) as stopped:
        worker.step(bytes(8))
    assert stopped.value.outcome.name == "protocol"
    assert f"{size} bytes" in str(stopped.value)


@pytest.mark.parametrize("body", [bytes(7), bytes(9)])
def test_forged_record_of_another_size(body: bytes) -> None:
    with Worker(lambda: answering(record(2, body)), 8, 8, PATIENT) as worker, pytest.raises(Stopped) as stopped:
        worker.step(bytes(8))
    assert stopped.value.outcome.name == "protocol"


def test_reply_that_goes_on_is_seen_at_the_latest_one_step_later() -> None:
    extra = record(2, bytes(8)) + b"more"
    with Worker(lambda: answering(extra), 8, 8, SHORT) as worker, pytest.raises(Stopped) as stopped:
        worker.step(bytes(8))
    assert stopped.value.outcome.name == "protocol"

    def twice(request: bytes) -> bytes:
        os.write(pipe_ends()[1], record(2, bytes(8)))
        return bytes(8)

    with Worker(lambda: twice, 8, 8, PATIENT) as worker, pytest.raises(Stopped) as stopped:
        worker.step(bytes(8))
        worker.step(bytes(8))
    assert stopped.value.outcome.name == "protocol"


def test_one_shot_reply_that_goes_on() -> None:
    outcome = run_isolated(answering(record(1, b"good") + b"x"), b"", 8, PATIENT)
    assert outcome.name == "protocol"
    late = run_isolated(answering(record(1, b"good")), b"", 8, SHORT)
    assert late.name == "killed(cpu)" and not late.reply
