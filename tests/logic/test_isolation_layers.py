"""Each layer of isolation holds alone, and what is missing is said.

The attacks run with the other layers left out, so that no layer leans on another unseen.
"""

from __future__ import annotations

import ast
import ctypes
import mmap
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest
from isolation_kit import (
    LIBC,
    Step,
    connect,
    descriptors,
    execute,
    fork,
    gone,
    pipe_ends,
    read_file,
    script_run,
    write_file,
)

from logic.sandbox import IsolationError, Limits, Stopped, Worker, harden, layers, linux, measure, run_isolated

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")


NEEDS_LANDLOCK = pytest.mark.skipif(linux.abi() < 4, reason="needs landlock ABI 4")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs to start as root")


def without(*names: str, namespace: bool = False) -> Limits:
    return Limits(wall_s=60.0, skip=frozenset(names), namespace=namespace)


def fault_of(step: Step, request: bytes, limits: Limits) -> str:
    outcome = run_isolated(step, request, 1 << 16, limits)
    assert outcome.name == "fault", str(outcome)
    return outcome.detail


def test_rlimits_alone_stop_fork_descriptors_and_growth(tmp_path: Path) -> None:
    assert "temporarily unavailable" in fault_of(fork, b"", without("seccomp"))
    assert "Too many open files" in fault_of(descriptors, b"", without("seccomp"))
    target = tmp_path / "x"
    reason = fault_of(write_file, os.fsencode(target), without("seccomp", "landlock", "user"))
    assert "File too large" in reason and target.read_bytes() == b""


@NEEDS_LANDLOCK
def test_landlock_alone_stops_files_and_tcp(tmp_path: Path) -> None:
    target = tmp_path / "x"
    alone = without("seccomp", "user")
    assert "Permission denied" in fault_of(read_file, os.fsencode(__file__), alone)
    assert "Permission denied" in fault_of(write_file, os.fsencode(target), alone)
    assert "Permission denied" in fault_of(execute, b"", alone)
    assert not target.exists()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "Permission denied" in fault_of(connect, str(server.getsockname()[1]).encode(), alone)


def test_namespace_alone_stops_the_network() -> None:
    if not layers()["namespace"].active:
        pytest.skip("no namespaces here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1]).encode()
        assert "unreachable" in fault_of(connect, port, without("seccomp", "landlock", namespace=True))
        free = run_isolated(connect, port, 16, without("seccomp", "landlock", "namespace"))
        assert free.reply == b"connected"  # so the test can fail


@AS_ROOT
def test_user_alone_stops_what_root_may(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)
    alone = without("seccomp", "landlock")
    assert "Permission denied" in fault_of(read_file, os.fsencode(secret), alone)

    def who(request: bytes) -> bytes:
        with pytest.raises(PermissionError):
            os.setuid(0)
        return repr((*os.getresuid(), *os.getresgid(), *os.getgroups())).encode()

    outcome = run_isolated(who, b"", 200, alone)
    assert outcome.ok, str(outcome)
    assert 0 not in ast.literal_eval(outcome.reply.decode())


def test_capabilities_are_empty() -> None:
    def read(request: bytes) -> bytes:
        return Path("/proc/self/status").read_bytes()

    outcome = run_isolated(read, b"", 1 << 16, without("seccomp", "landlock", "tether", namespace=True))
    status = dict(line.split(":\t", 1) for line in outcome.reply.decode().splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapInh"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_descriptors_of_the_parent_are_not_visible() -> None:
    def visible(request: bytes) -> bytes:
        found = bytearray()
        for number in range(1024):
            try:
                os.fstat(number)
            except OSError:
                continue
            found += number.to_bytes(2, "little")
        assert set(pipe_ends()) == {int.from_bytes(found[i : i + 2], "little") for i in range(0, len(found), 2)}
        print("and printing is harmless")
        return bytes(found)

    with open(__file__) as file:
        high = os.dup2(file.fileno(), 900)
        try:
            outcome = run_isolated(visible, b"", 4096, without("seccomp", "landlock"))
            lax = run_isolated(visible, b"", 4096, without("seccomp", "landlock", "descriptors"))
        finally:
            os.close(high)
    assert outcome.ok and len(outcome.reply) == 4, str(outcome)
    assert lax.name == "fault"  # so the test can fail


def test_environment_is_empty_also_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    LIBC.getenv.restype = ctypes.c_char_p

    def look(request: bytes) -> bytes:
        return repr((dict(os.environ), LIBC.getenv(b"SECRET_KEY"), LIBC.getenv(b"PATH"))).encode()

    def block(request: bytes) -> bytes:
        return Path("/proc/self/environ").read_bytes().strip(b"\0")

    assert run_isolated(look, b"", 1 << 16).reply == b"({}, None, None)"
    open_ = ("seccomp", "landlock", "user", "tether")
    assert run_isolated(block, b"", 1 << 20, without(*open_)).reply == b""
    assert run_isolated(block, b"", 1 << 20, without(*open_, "environment")).reply != b""
    assert os.environ["SECRET_KEY"] == "hush"


def test_shared_memory_only_when_passed() -> None:
    passed, other = mmap.mmap(-1, 4096), mmap.mmap(-1, 4096)

    def write(memory: mmap.mmap) -> Step:
        def step(request: bytes) -> bytes:
            memory[:4] = b"evil"
            return b""

        return step

    with Worker(lambda: write(passed), 1, 0, shared=[passed]) as worker:
        worker.step(b"x")
    assert passed[:4] == b"evil"
    with Worker(lambda: write(other), 1, 0, shared=[passed]) as worker, pytest.raises(Stopped) as stopped:
        worker.step(b"x")
    assert stopped.value.outcome.name == "fault" and "SIGSEGV" in str(stopped.value)
    assert other[:4] == bytes(4)
    run_isolated(write(other), b"", 0, without("mappings"))
    assert other[:4] == b"evil"  # so the test can fail


def test_descendants_die_with_the_worker() -> None:
    seen = mmap.mmap(-1, 4096)

    def spawn(request: bytes) -> bytes:
        pid = os.fork()
        seen[:4] = (pid or os.getpid()).to_bytes(4, "little")
        time.sleep(1000)
        return b""

    skip = frozenset({"seccomp", "rlimits"})
    with Worker(lambda: spawn, 1, 0, Limits(wall_s=1.5, skip=skip), shared=[seen]) as worker, pytest.raises(Stopped):
        worker.step(b"x")
    pid = int.from_bytes(seen[:4], "little")
    assert pid and gone(pid)


def test_isolation_is_required_before_anything_runs() -> None:
    flag = mmap.mmap(-1, 4096)

    def factory() -> Step:
        flag[0] = 1
        return bytes.upper

    for name in ("seccomp", "no_new_privs", "environment", "mappings"):
        worker = Worker(factory, 1, 1, without(name), require_isolation=True, shared=[flag])
        with pytest.raises(IsolationError, match=rf"{name}.*require_isolation"):
            worker.start()
        assert flag[0] == 0
    with Worker(factory, 1, 1, without("seccomp"), shared=[flag]) as worker:
        assert worker.layers["seccomp"] and flag[0] == 1


def test_one_of_landlock_and_namespace_is_enough() -> None:
    every = dict.fromkeys(harden.NAMES, "")
    assert harden.missing(every) == []
    assert harden.missing({**every, "landlock": "no"}) == harden.missing({**every, "namespace": "no"}) == []
    assert len(harden.missing({**every, "landlock": "no", "namespace": "no"})) == 2


def test_layers_are_reported() -> None:
    found = layers()
    assert tuple(found) == harden.NAMES
    assert found["seccomp"].active and found["rlimits"].active and found["descriptors"].active
    assert all(layer.active == (not layer.reason) for layer in found.values())


def test_measure_gives_figures() -> None:
    figures = measure(steps=20, starts=2)
    assert set(figures) == {"round_trip_us", "start_ms"} and all(v > 0 for v in figures.values())


def test_limits_are_checked() -> None:
    for wrong in ({"wall_s": 0.0}, {"cpu_s": 0}, {"memory_mib": -1}):
        with pytest.raises(ValueError, match="positive"):
            Limits(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="agreed"), Worker(lambda: bytes.upper, 4, 4) as worker:
        worker.step(b"12345")


@AS_ROOT
def test_root_that_cannot_change_its_user_is_told_so() -> None:
    """As in a container without the capability; the user must not be reported as dropped when it is not."""
    script = """
        from logic.sandbox import *
        found = layers()
        assert not found['user'].active and 'CAP_SETUID' in found['user'].reason, found['user']
        try:
            run_isolated(bytes.upper, b'x', 1, require_isolation=True)
        except IsolationError as error:
            print('user (' in str(error))
    """
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    done = script_run(script, prefix=("setpriv", "--bounding-set", "-setuid,-setgid"))
    assert done.stdout == "True\n", done.stderr
