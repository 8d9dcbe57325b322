"""Both sides of the wall by hand, each without the other: what is said for what is heard, byte by byte."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs import remote, trust
from envs.env import Rules
from envs.errors import EnvError
from envs.process import start
from envs.remote import Observer, Outcome, PixelEnv
from envs.remote_process import Host, Lying, _failure, _figure, serve
from tests.kits.tape_world import ESCAPE, tape

BACKEND = "tests.kits.tape_world:TAPE"
SIZE, READ = 4 * 6 * 3, os.read
LABELS = {"observer": "tests.kits.tape_world:labels", "observer_arg": "0.5", "observer_size": 2}
# The protocol: a command in, a status out.
RESET5, STEP_A, STEP_C, OUTCOME, CLOSE = b"\2" + struct.pack("<q", 5), b"\1\0", b"\1\2", b"\3", b"\4"
RUNNING, DONE, FAILED = b"\0", b"\1", b"\2"


def sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


# --- the simulator's side -------------------------------------------------------------------------


def job_of(folder: Path, scores: list[Any], rewards: Any = None, extra: int = 0, **job: Any) -> dict[str, Any]:
    (folder / "shared").write_bytes(bytes(SIZE + 4 * extra))
    rules = {"name": "plain", **job.pop("rules", {})}
    env = tape(scores, rewards, **job.pop("options", {})).to_config()
    return {"backend": BACKEND, "env": env, "protocol": rules, "shared": str(folder / "shared"), **job}


def played(host: Host, steps: int, seed: int = 5) -> dict[str, Any]:
    host.reset(seed)
    for _ in range(steps):
        host.step(0)
    return json.loads(host.outcome())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "rewards, scores, impossible",
    [
        (None, [-1e9, 1e9, 0], []),
        ((-2, 3), [6, 2, 9, 4, 4], [2, 3]),  # a step is two frames: from -4 to 6; 7 and -5 are beyond
        ((-2, 3), [-5, 2], [0, 1]),  # the first counts from 0
        ((1, 2), [0, 0, 4, 3.5], [3]),  # nothing can always be given, a little less cannot
        ((-2, -1), [0, -4, -3.5], [2]),
        ((0, 0.25), [0.5, 0.5, 1.25], [2]),
        ((0, 1), [0, 0, 0, 2, -1, -1], [4]),
    ],
)
def test_steps_of_the_score_that_the_game_cannot_give(
    rewards: Any, scores: list[float], impossible: list[int], tmp_path: Path
) -> None:
    told = played(Host(job_of(tmp_path, scores, rewards)), len(scores))
    assert told["impossible"] == impossible and told["scores"] == scores and told["score"] == scores[-1]


def test_every_reset_begins_a_new_score_sheet(tmp_path: Path) -> None:
    host = Host(job_of(tmp_path, [-3, -3, -3, 1], (-1.5, 2), options={"lives": [4, 3, 3, 2]}))
    assert played(host, 3)["scores"] == [-3, -3, -3], "a score below 0 that does not change"
    for steps in (2, 0, 4):
        told = played(host, steps)
        assert told["scores"] == [-3, -3, -3, 1][:steps] and told["lives_left"] == [4, 3, 3, 2][:steps]
        assert told["frames"] == 2 * steps and told["impossible"] == []


def test_what_has_no_score_and_no_lives_tells_none(tmp_path: Path) -> None:
    told = played(Host(job_of(tmp_path, [None, None, 3])), 2)
    assert told["score"] is None and told["scores"] == [0, 0] and told["lives_left"] == [0, 0]
    assert told["metrics"] == {"tape": 0.5} and not told["finished"] and not told["truncated"]


@pytest.mark.parametrize("most, steps, truncated", [(6, 3, True), (7, 3, False), (5, 3, True), (4, 2, False)])
def test_the_limit_of_frames_ends_what_does_not_say_why_it_ended(
    most: int, steps: int, truncated: bool, tmp_path: Path
) -> None:
    host = Host(job_of(tmp_path, [0, 0, 0], rules={"speed": 2, "most": most}))
    told = played(host, steps)
    assert told["truncated"] is truncated and told["finished"] is (steps == 3)
    host.core.truncated = not truncated  # one that says
    assert json.loads(host.outcome())["truncated"] is (not truncated and steps == 3)


@pytest.mark.parametrize("shift", [None, "dim"])
@pytest.mark.parametrize("observed", [False, True])
def test_frames_and_labels_reach_the_shared_memory(shift: str | None, observed: bool, tmp_path: Path) -> None:
    job = job_of(tmp_path, [1, 2, 3], extra=2 * observed, shift=shift, **(LABELS if observed else {}))
    host, seen = Host(job), []
    for seed in (5, 6):
        host.reset(seed)
        host.step(1)
        data = (tmp_path / "shared").read_bytes()
        frame, labels = np.frombuffer(data[:SIZE], np.uint8), np.frombuffer(data[SIZE:], np.float32)
        assert len(set(frame)) == 1 and labels.tolist() == ([1, (101 + seed) / 2] if observed else [])
        seen.append(int(frame[0]))
    if shift:  # drawn anew for every seed: from 40 to 60 %
        assert 42 <= seen[0] <= 64 and seen[0] != seen[1]
    else:
        assert seen == [106, 107]
    assert host.core.in_place == (0 if shift or observed else 4), "a picture that is shown as it is is drawn in place"
    assert host.core.told == [5, "B", 6, "B"]


def test_a_simulator_may_give_a_picture_of_its_own(tmp_path: Path) -> None:
    host = Host(job_of(tmp_path, [1]))
    host.core.frame = lambda out: np.full((4, 6, 3), 9, np.uint8)
    host.reset(5)
    assert (tmp_path / "shared").read_bytes() == bytes([9] * SIZE)


def test_who_is_vouched_for_behind_the_wall_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for trusted in (False, True):
        monkeypatch.setattr(trust, "_vouched", set())
        Host(job_of(tmp_path, [0], trusted=trusted))
        assert trust.vouched("tape-1") is trusted


def test_the_canary_lies_about_everything_but_the_picture(tmp_path: Path) -> None:
    told = played(Host(job_of(tmp_path, [3, None, -2, 5], canary=True, options={"lives": [9] * 4})), 3)
    assert told["scores"] == [1_000_006, 2_000_006, 3_000_007] and told["lives_left"] == [77] * 3
    assert told["metrics"] == {"tape": 77, "lives": 77} and told["frames"] == 6


@pytest.mark.parametrize("kind, last", [("uint8", 254), ("int8", 126), ("int32", 255), ("uint16", 255)])
def test_the_canarys_whole_numbers_are_bytes(kind: str, last: int) -> None:
    lie = Lying(None)._false(np.zeros(100_000, kind))
    assert (lie.min(), lie.max(), lie.dtype) == (0, last, np.dtype(kind))


def test_the_canarys_other_numbers_are_noise() -> None:
    lie = Lying(None)._false(np.zeros((1000, 1000), np.float32))
    assert abs(lie.mean()) < 0.6 and abs(lie.std() - 100) < 0.5 and lie.dtype == np.float32


@pytest.mark.parametrize("value", [3, -2.5, True, np.float32(1.5), np.int64(7)])
def test_figures_are_finite_numbers(value: Any) -> None:
    assert json.loads(json.dumps(_figure("it", value))) == value


@pytest.mark.parametrize("value", [None, "1", np.nan, np.float64(np.inf), -np.inf, [1], np.ones(1)])
def test_nothing_else_is(value: Any) -> None:
    with pytest.raises(EnvError, match="its it is .*; a figure is a finite number"):
        _figure("it", value)


def answers(host: Host, *commands: bytes) -> bytes:
    """What is said for these commands, up to a `CLOSE` or the end."""
    (read, write), (heard, said) = os.pipe(), os.pipe()
    os.write(write, b"".join(commands))
    os.close(write)
    serve(host, read, said)
    os.close(said)
    with os.fdopen(heard, "rb") as f:
        return f.read()


def test_commands_are_answered_one_by_one(tmp_path: Path) -> None:
    host = Host(job_of(tmp_path, [7, 8, 9]))
    assert answers(host, STEP_A, b"\5", STEP_A) == DONE * 3 and host.core.told == [], "nothing runs yet"
    assert answers(host, RESET5, STEP_A, STEP_C) == RUNNING * 3 and host.core.told == [5, "A", "C"]
    assert answers(host, RESET5, STEP_A, STEP_C, STEP_A, STEP_A, RESET5) == RUNNING * 3 + DONE * 2 + RUNNING
    assert host.core.told[3:] == [5, "A", "C", "A", 5], "no step is taken after the end"
    told = answers(host, RESET5, STEP_A, OUTCOME, STEP_A, RESET5, OUTCOME, CLOSE, STEP_A)
    first = json.loads(told[7 : 7 + struct.unpack("<I", told[3:7])[0]])
    assert told[:3] == RUNNING * 2 + DONE and first["scores"] == [7] and not first["finished"]
    rest = told[7 + len(json.dumps(first)) :]
    assert rest[:3] == DONE + RUNNING + DONE and json.loads(rest[7:])["scores"] == []
    assert host.core.told[8:] == [5, "A", 5], "asking for the outcome ends the game"


def test_an_unknown_command_is_refused_in_a_running_game(tmp_path: Path) -> None:
    host, heard = Host(job_of(tmp_path, [7, 8])), []
    with pytest.raises(EnvError, match="does not know command 9"):
        answers(host, RESET5, b"\x09")
    host.command = heard.append  # type: ignore[method-assign]
    assert answers(host, RESET5, b"\x09\x08", STEP_A, STEP_A, b"\x09") == RUNNING * 4 + DONE * 2
    assert heard == [9, 8]


def raised(error: Exception) -> bytes:
    try:
        (lambda: (_ for _ in ()).throw(error))().__next__()
    except Exception as caught:
        return _failure(caught)
    return b""


def test_a_failure_is_told_in_some_words() -> None:
    assert raised(EnvError("as it is")) == b"as it is"
    assert raised(ValueError("odd")).startswith(b"ValueError: odd (test_wall_by_hand.py, line ")
    try:
        json.loads("{")
    except ValueError as error:
        assert b"(decoder.py, line" in _failure(error), "where it was raised, not who called it"
    for error in (EnvError("é" * 3000), ValueError("x" * 5000)):
        assert len(raised(error)) == 4000


def child(folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    job = json.dumps(job_of(folder, [1, 2, 3], options=options))
    return start("envs.remote_process", job, stderr=subprocess.PIPE, bufsize=0)


def test_what_prints_does_not_speak_into_the_protocol_and_who_plays_decides_when_to_stop(tmp_path: Path) -> None:
    """At every step its own process gets an interrupt from the keyboard."""
    process = child(tmp_path, loud=True)
    said, shown = process.communicate(RESET5 + STEP_A + STEP_A + CLOSE, timeout=60)
    assert said == RUNNING * 4 and process.returncode == 0, "it is ready, and three answers"
    assert all(words in shown for words in (b"past Python", b"through it", b"in the way"))
    assert ESCAPE.encode() not in shown


def test_a_start_that_fails_is_told_and_a_player_who_is_gone_is_no_failure(tmp_path: Path) -> None:
    broken, left = child(tmp_path, broken=True), child(tmp_path)
    assert left.stdout
    left.stdout.close()
    said, _ = broken.communicate(timeout=60)
    assert said[:1] == FAILED and said[1:] == sized(said[5:]) and b"KeyError: 'no tape' (tape_world.py" in said
    assert left.stdin and left.stderr
    left.stdin.close()
    assert (broken.wait(60), left.wait(60), left.stderr.read()) == (1, 0, b"")
    left.stderr.close()


# --- the player's side ----------------------------------------------------------------------------


class Simulator:
    """Stands for the process: its answers lie ready, what it hears is kept, and it ends as it is told to."""

    def __init__(self, answers: bytes, code: int | None = None, ended: bool = True, deaf: bool = False) -> None:
        (heard, write), (read, self.silent) = os.pipe(), os.pipe()
        os.write(self.silent, answers)
        if ended:
            os.close(self.silent)
        self.stdin, self.stdout, self.heard = os.fdopen(write, "wb", 0), os.fdopen(read, "rb", 0), heard
        self.code, self.deaf, self.calls = code, deaf, list[Any]()

    def start(self, module: str, job: str, pass_fds: tuple[int, ...] = (), **_: Any) -> Simulator:
        self.module, self.job = module, json.loads(job)
        assert pass_fds == (self.job["shared"],)
        with os.fdopen(os.dup(pass_fds[0]), "r+b") as file:
            self.shared = np.memmap(file, np.uint8, "r+")
        return self

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int | None:
        self.calls.append(timeout)
        if timeout and self.deaf:
            raise subprocess.TimeoutExpired("", timeout)
        return self.code

    def kill(self) -> None:
        self.calls.append("kill")

    def told(self) -> bytes:
        """What it heard; empty once its own end is closed."""
        return READ(self.heard, 1000) if select.select([self.heard], [], [], 0)[0] else b""


@pytest.fixture()
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Milliseconds that were waited for each part of an answer at most; the parts come three bytes at a time."""
    waited: list[float] = []
    real = select.poll

    class Poll:
        def __init__(self) -> None:
            self.real = real()
            self.register = self.real.register

        def poll(self, most: float) -> Any:
            waited.append(most)
            return self.real.poll(0)

    monkeypatch.setattr(select, "poll", Poll)
    monkeypatch.setattr(remote.os, "read", lambda fd, n: READ(fd, min(n, 3)))
    return waited


def wall(monkeypatch: pytest.MonkeyPatch, answers: bytes, *args: Any, **options: Any) -> tuple[PixelEnv, Simulator]:
    simulator = Simulator(answers, **options)
    monkeypatch.setattr(remote, "start", simulator.start)
    monkeypatch.setattr(remote, "target_of", {"tape": "somewhere:TAPE"}.get)
    return PixelEnv(tape([0]), Rules("plain"), *args), simulator


SHEET = {"score": 3, "metrics": {"lives": 2}, "frames": 4, "finished": True, "truncated": True}
SHEET |= {"scores": [1, 3], "lives_left": [2, 2], "impossible": [1]}


def test_a_game_is_commands_and_answers(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    ready = RUNNING * 3 + DONE + DONE + sized(json.dumps(SHEET).encode())
    env, simulator = wall(monkeypatch, ready + RUNNING, ended=False)
    assert waits == [300_000] and env.done and env.actions.names == ("A", "B", "C")  # type: ignore[union-attr]
    with pytest.raises(EnvError, match="call reset"):
        env.step(0)
    simulator.shared[:] = range(SIZE)
    assert np.array_equal(env.reset(5), np.arange(SIZE).reshape(4, 6, 3)) and not env.done
    simulator.shared[:] = 9
    assert env.step(2).tolist() == [[[9] * 3] * 6] * 4 and not env.done and env.observed.shape == (0,)
    with pytest.raises(EnvError, match="outside 0 .. 2"):
        env.step(3)
    env.step(0)
    assert env.done and waits == [300_000] * 2 + [60_000] * 2
    with pytest.raises(EnvError, match="the episode is over"):
        env.step(0)
    assert env.outcome() == Outcome(3, {"lives": 2}, 4, True, (1, 3), (2, 2), True, (1,)) and set(waits[4:]) == {60_000}
    env.reset(5)
    assert not env.done and simulator.told() == RESET5 + STEP_C + STEP_A + OUTCOME + RESET5
    env.close()
    assert env.done and simulator.told() == CLOSE and simulator.calls == [2, None]


def test_asking_for_the_outcome_ends_the_game(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    env, _ = wall(monkeypatch, RUNNING * 2 + DONE + sized(json.dumps(SHEET).encode()))
    env.reset(5)
    assert env.outcome().lives == 2 and env.done


def test_an_outcome_without_lives_or_an_end() -> None:
    bare = Outcome(None, {}, 3, False, (), ())
    assert bare.lives == 0 and not bare.truncated and bare.impossible == ()


@pytest.mark.parametrize("size", [0, 3])
def test_the_job_and_its_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_vouched", {"tape-1"})
    observer = Observer("some:labels", "x", size) if size else None
    env, simulator = wall(monkeypatch, RUNNING, "dim+bright", observer, size > 0)
    assert simulator.module == "envs.remote_process" and len(simulator.shared) == SIZE + 4 * size
    job = simulator.job
    told = {"observer": "some:labels", "observer_arg": "x"} if size else {}
    assert {k: job.pop(k) for k in list(job) if k in ("observer", "observer_arg")} == told
    with pytest.raises(OSError):
        os.fstat(job.pop("shared"))  # the child has its own, and the map needs none
    assert job == {
        "backend": "somewhere:TAPE", "env": json.loads(json.dumps(tape([0]).to_config())),
        "protocol": {"name": "plain"}, "shift": "dim+bright", "canary": size > 0, "trusted": True,
        "observer_size": size,
    }  # fmt: skip
    simulator.shared[SIZE:] = np.arange(1, size + 1, dtype=np.float32).view(np.uint8)
    assert env.observed.tolist() == [1, 2, 3][:size] and env.observed.dtype == np.float32


@pytest.mark.parametrize("how", ["memory", "no such call", "forbidden"])
def test_shared_memory_has_no_name_that_a_kill_could_leave(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A player that is killed at the first line of a start, at the second, the third ...: what it made is gone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if how == "no such call":
        monkeypatch.delattr(os, "memfd_create")
    elif how == "forbidden":
        monkeypatch.setattr(os, "memfd_create", lambda name: os.open("/nowhere", os.O_RDWR))
    strike = 0
    while True:
        strike += 1
        heard, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                killed_at(strike, monkeypatch, write)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(heard, "rb") as told:
            made = [name for name in told.read().split(b"\0") if name]
        _, status = os.waitpid(pid, 0)
        left = [name for name in made if os.path.isfile(name)]
        assert not left and not list(tmp_path.iterdir()), f"killed at line {strike}, it left {left}"
        if not os.WIFSIGNALED(status):
            break
    assert os.waitstatus_to_exitcode(status) == 0 and strike > 20


def killed_at(strike: int, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Start a simulator in a process that kills itself at a line of it, and tells before which files it made."""
    lines, files = 0, (remote.__file__, tempfile.__file__)

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        lines += event == "line"
        if lines == strike:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and args[2] & os.O_CREAT:
            os.write(write, os.fsencode(args[0]) + b"\0")

    simulator = Simulator(RUNNING)
    monkeypatch.setattr(remote, "start", simulator.start)
    monkeypatch.setattr(remote, "target_of", {"tape": "somewhere:TAPE"}.get)
    made, rules = tape([0]), Rules("plain")
    sys.addaudithook(hear)
    sys.settrace(trace)
    PixelEnv(made, rules)
    sys.settrace(None)


def test_an_unknown_shift_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvError, match="did you mean 'dim'"):
        wall(monkeypatch, b"", "dimm")


@pytest.mark.parametrize(
    "answer, code, ended, words, calls",
    [
        (b"", 7, True, r"tape-1: the simulator's process ended unexpectedly \(exit code 7\)", [None, None]),
        (FAILED + sized(b"it broke"), 1, True, "tape-1: it broke$", [None]),
        (FAILED + sized(b"tape-1 broke"), 1, True, "^tape-1 broke$", [None]),
        (FAILED + sized(b"odd \xff"), 1, True, "^tape-1: odd \ufffd$", [None]),
        (FAILED + sized(b"half")[:-2], 3, True, r"exit code 3", [None, None]),
        (b"", None, False, "tape-1: no answer from the simulator for 300 s, so it was ended", ["kill", 2, None]),
    ],
)
def test_a_simulator_that_fails_is_named_ended_and_closed(
    answer: bytes, code: int | None, ended: bool, words: str, calls: list[Any],
    monkeypatch: pytest.MonkeyPatch, waits: list[float],
) -> None:  # fmt: skip
    env, simulator = wall(monkeypatch, RUNNING + answer, code=code, ended=ended)
    with pytest.raises(EnvError, match=words):
        env.reset(5)
    assert env.done and simulator.calls == calls and simulator.stdin.closed and simulator.stdout.closed
    with pytest.raises(EnvError, match=rf"tape-1: the simulator's process is gone \(exit code {code}\)"):
        env.reset(5)
    assert env._in == env._out == -1, "numbers that may mean other files by now"


@pytest.mark.parametrize("gone, deaf, code, calls", [
    (True, False, None, ["kill", None]), (False, True, None, [2, "kill", None]), (False, False, 0, [None]),
])  # fmt: skip
def test_closing_ends_it_one_way_or_another(
    gone: bool, deaf: bool, code: int | None, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env, simulator = wall(monkeypatch, RUNNING + RUNNING, code=code, deaf=deaf)
    with env:
        env.reset(5)
        assert simulator.told() == RESET5
        if gone:
            os.close(simulator.heard)
    assert env.done and simulator.calls == calls and simulator.stdin.closed
    if not gone:
        assert simulator.told() == (b"" if code == 0 else CLOSE), "to one that has ended nothing is said"
    env.close()
    assert simulator.stdout.closed
