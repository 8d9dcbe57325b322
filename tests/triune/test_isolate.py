"""Which policies are isolated, and playing them that way: the same episode, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT, copy_task
from isolation_kit import COMPLETE, gone

from envs.errors import EnvError
from envs.spec import load_spec, parse_spec
from logic.runtime.controller import FAULT, Controller
from logic.sandbox import Kind
from logic.sandbox.controller import ConfinedController
from triune import load
from triune import system as isolate
from triune.errors import TriuneError, UsageError
from triune.play.loop import Rollout
from triune.system import Texts

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")
FOREIGN = "\n# a stranger's\n"


@pytest.fixture()
def stranger(tmp_path: Path) -> Path:
    """CartPole's folder with a policy that does not ship."""
    copy_task(tmp_path / "mine", "cartpole")
    policy = tmp_path / "mine" / "policy.py"
    policy.write_text(policy.read_text() + FOREIGN)
    return tmp_path / "mine"


@pytest.fixture()
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that lacks one layer, and nothing said yet."""
    monkeypatch.setattr(isolate, "lacking", lambda: ("seccomp (not in this kernel)",))
    monkeypatch.setattr(isolate, "_said", set())
    return monkeypatch


def test_only_foreign_text_is_isolated_by_itself() -> None:
    own = load("pong").texts
    assert not isolate.choose(own, None, False)
    assert isolate.choose(own, True, False)
    assert isolate.choose(replace(own, policy=own.policy + FOREIGN), None, False)
    assert isolate.choose(replace(own, safety=own.safety + FOREIGN), None, False)
    assert not isolate.choose(replace(own, policy=own.policy + FOREIGN), False, False)
    assert not isolate.foreign("")


def test_missing_layers_are_said_once(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert isolate.choose(Texts("x"), None, False)
    assert capsys.readouterr().err.count("seccomp (not in this kernel)") == 1
    machine.setattr(isolate, "_said", set())
    isolate.silence()
    assert isolate.choose(Texts("x"), None, False)
    assert not capsys.readouterr().err


def test_required_isolation_names_what_is_missing(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(TriuneError, match=r"seccomp \(not in this kernel\).*Linux 5\.13"):
        isolate.choose(load("pong").texts, None, True)
    with pytest.raises(UsageError, match="--no-isolate"):
        isolate.choose(load("pong").texts, False, True)


def test_a_system_that_cannot_fork(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    machine.delattr(os, "fork")
    assert not isolate.choose(Texts("x"), None, False)
    assert "only the compiler" in capsys.readouterr().err
    with pytest.raises(TriuneError, match="--isolate"):
        isolate.choose(Texts("x"), True, False)
    assert not isolate.choose(load("pong").texts, None, False)


def test_the_task_may_require_isolation(stranger: Path) -> None:
    path = stranger / "system.toml"
    assert not load_spec(stranger).require_isolation
    text = path.read_text()
    path.write_text(text.replace("[safety]\n", "[safety]\nrequire_isolation = true\n"))
    assert load(stranger).require_isolation and "require_isolation" not in load_spec(stranger).safety
    wrong = text.replace("[safety]\n", "[safety]\nrequire_isolation = 1\n")
    with pytest.raises(EnvError, match="line .*true or false"):
        parse_spec(wrong, path)


@LINUX
def test_rules_that_ship_stay_in_this_process(stranger: Path) -> None:
    controller = load(stranger).controller()
    assert isinstance(controller, ConfinedController) and controller.titles == ()
    ours = [rule.title for rule in load("cartpole").controller().rules]
    assert len(ours) == 2 and [rule.title for rule in controller.rules] == ours
    safety = stranger / "safety.py"
    safety.write_text(safety.read_text() + FOREIGN)
    controller = load(stranger).controller()
    assert isinstance(controller, ConfinedController)
    assert [*controller.titles, *(rule.title for rule in controller.rules)] == ours and len(controller.rules) == 1
    assert type(load(stranger, isolate=False).controller()) is Controller


@LINUX
def test_an_isolated_episode_is_the_same(stranger: Path) -> None:
    episodes = []
    for way in (False, True):
        with Rollout(load(stranger, isolate=way)) as rollout:
            assert isinstance(rollout.controller, ConfinedController) == way
            episodes.append(rollout.record(7, 60))
    plain, confined = episodes
    for column in ("scenes", "actions", "proposed", "scores"):
        assert np.array_equal(getattr(plain, column), getattr(confined, column)), column
    assert [plain.reason(i) for i in range(60)] == [confined.reason(i) for i in range(60)]


@LINUX
def test_a_worker_that_dies_costs_the_episode_only() -> None:
    with Rollout(load("pong", isolate=True), "sticky") as rollout:
        controller = rollout.controller
        assert isinstance(controller, ConfinedController)

        def end(step: object) -> None:
            if getattr(step, "index", 0) == 5:
                os.kill(controller._worker.pid, signal.SIGSYS)

        broken = rollout.record(7, 20, end)
        assert controller.outcome is not None and controller.outcome.kind is Kind.KILLED
        assert [broken.reason(i) == FAULT for i in range(20)] == [False] * 6 + [True] * 14
        assert set(broken.actions[6:].tolist()) == {0} and "killed(syscall)" in broken.fault(6)
        whole = rollout.record(8, 20)
        assert controller.outcome is None and not whole.faults.any() and not broken.faults[:6].any()


@LINUX
def test_closing_a_rollout_ends_the_worker() -> None:
    with Rollout(load("pong", isolate=True), "sticky") as rollout:
        next(rollout.episode(1))
        assert isinstance(rollout.controller, ConfinedController)
        pid = rollout.controller._worker.pid
    assert gone(pid)


EVAL = ("eval", "cartpole", "--isolate", "--seeds", "0:2", "--workers", "2", "--out", "r")
PLAY = ("play", "cartpole", "--isolate")


@LINUX
@pytest.mark.parametrize(("words", "number"), [(EVAL, signal.SIGINT), (PLAY, signal.SIGINT), (PLAY, signal.SIGKILL)])
def test_no_process_survives_an_interruption(words: tuple[str, ...], number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "triune", *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    found: set[int] = set()
    while not found and process.poll() is None:  # until a player has both its emulator and its isolated worker
        all_ = {process.pid, *tree(process.pid)}
        found = all_ if any(len(tree(pid)) > 1 for pid in all_ if words is PLAY or pid != process.pid) else set()
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    assert found and all(gone(pid) for pid in found)


def tree(pid: int) -> set[int]:
    """All descendants of a process."""
    try:
        direct = {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return direct.union(*(tree(child) for child in direct))


@LINUX
@pytest.mark.skipif(not COMPLETE, reason="layers are missing here")
def test_requiring_isolation_where_there_is_all_of_it() -> None:
    controller = load("cartpole", require_isolation=True).controller()
    assert isinstance(controller, ConfinedController)
    controller.reset()
    assert controller.outcome is None
    controller.close()
