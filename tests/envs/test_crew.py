"""Where work is done: the choice, and what it costs when nobody chooses. Ray itself: test_cluster.py."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.cluster import estimate
from envs.crew import choose, chosen, cores, crew
from envs.errors import EnvError
from envs.executor import VARIABLE, Processes
from triune.cli import main
from triune.commands import common
from triune.errors import UsageError


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def test_work_stays_on_this_machine_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() == "local" and cores() == common.cores()
    assert isinstance(crew("a:b", 2), Processes)
    choose("ray")
    assert chosen() == "ray"
    choose("ray://head:10001")
    assert chosen() == "ray://head:10001"


@pytest.mark.parametrize(
    ("name", "told"),
    [("rai", "did you mean 'ray'"), ("locall", "did you mean 'local'"), ("RAY", "choose one"), ("ssh://x", "choose")],
)
def test_an_unknown_executor_names_the_nearest(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=told):
        common.use_executor(argparse.Namespace(executor=name))
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(EnvError, match=f"TRIUNE_EXECUTOR: unknown executor .*{told}"):
        chosen()
    with pytest.raises(UsageError, match=told):
        common.use_executor(argparse.Namespace())


@pytest.mark.parametrize("words", [["eval", "cartpole"], ["collect", "cartpole"], ["bench", "speed"]])
def test_commands_refuse_one_before_anything_is_played(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--executor", "rai"]) == 2
    assert "did you mean 'ray'?" in capsys.readouterr().err


def test_a_sweep_by_hand() -> None:
    found = estimate(speed=1000.0, driver_ms=2.0, start_s=3.0, workers=10, games=5, seeds=4, frames=60_000)
    assert found["game_s"] == 60 and found["wall_s"] == 3 + 2 * 60 and found["one_core_h"] == round(20 * 60 / 3600, 1)
    assert found["efficiency"] == round(20 * 60 / 10 / 123, 3)
    assert found["items_per_second_at_most"] == 500 and found["workers_at_most"] == 30_000
    busy = estimate(speed=1000.0, driver_ms=2000.0, start_s=0.0, workers=1000, games=5, seeds=4, frames=10_000)
    assert busy["wall_s"] == 40.0  # the driver is what is waited for
