"""Foreign code is contained: right outcome class, parent alive, next episode unaffected (acceptance: the worker).

The attacks are plain Python run in the worker, below any compiler. Each is tried with every layer on, and those that a
second layer stops as well are tried again without the filter, so that no layer leans on another unseen.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.random  # numpy loads it at its first use, which is too late in a worker
import pytest

from logic.isolation import (
    IsolationError,
    Limits,
    OutOfFuel,
    Stopped,
    Worker,
    channel,
    harden,
    landlock,
    layers,
    measure,
    run_isolated,
    seccomp,
)
from logic.isolation.process import classify

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")
ROOT = Path(__file__).parent.parent
LIBC = ctypes.CDLL(None, use_errno=True)
PATIENT = Limits(wall_s=60.0)  # where something else than the clock must end it
PARENT = os.getpid()
# Where a container withholds landlock, namespaces or the change of user, the rest is still tested.
COMPLETE = not harden.missing({name: layer.reason for name, layer in layers().items()})
KEPT: list[object] = []
Step = Callable[[bytes], bytes]


def pipe_ends() -> tuple[int, int]:
    """The worker's own ends of the pipe, found the way hostile code would: up the stack."""
    frame = sys._getframe()
    while "writing" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_locals["reading"], frame.f_locals["writing"]


def half_a_reply(request: bytes) -> None:
    os.write(pipe_ends()[1], channel.HEAD.pack(channel.MAGIC, channel.VERSION, channel.Status.OK, 1, 100)[:7])


def answering(*raw: bytes) -> Step:
    """A step that writes raw bytes to the pipe and then waits to be ended."""

    def step(request: bytes) -> bytes:
        for data in raw:
            os.write(pipe_ends()[1], data)
        time.sleep(1000)
        return b""

    return step


def record(sequence: int, body: bytes, status: int = channel.Status.OK, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return channel.HEAD.pack(channel.MAGIC, channel.VERSION, status, sequence, size) + body


# --- attacks -----------------------------------------------------------------------------------------------------


def fork(request: bytes) -> bytes:
    if os.fork() == 0:
        time.sleep(1000)
    return b"forked"


def execute(request: bytes) -> bytes:
    os.execv("/bin/sh", ["/bin/sh", "-c", "true"])


def connect(request: bytes) -> bytes:
    with socket.socket() as plug:
        plug.connect(("127.0.0.1", int(request)))
    return b"connected"


def read_file(request: bytes) -> bytes:
    with open(request or __file__, "rb") as file:
        return file.read(10)


def write_file(request: bytes) -> bytes:
    with open(request or "/tmp/isolation-was-here", "wb") as file:
        file.write(b"x" * 10)
    return b"written"


def gigabyte(request: bytes) -> bytes:
    KEPT.append(bytearray(1 << 30))
    return b"allocated"


def numpy_gigabyte(request: bytes) -> bytes:
    KEPT.append(np.ones(1 << 27))
    return b"allocated"


def many_small(request: bytes) -> bytes:
    while True:
        KEPT.append(os.getpid() ** 9)


def descriptors(request: bytes) -> bytes:
    KEPT.extend(os.pipe() for _ in range(10))
    return b"twenty"


def thread(request: bytes) -> bytes:
    threading.Thread(target=print).start()
    return b"started"


def signal_parent(request: bytes) -> bytes:
    os.kill(PARENT, signal.SIGUSR1)
    return b"sent"


def executable_memory(request: bytes) -> bytes:
    KEPT.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))
    return b"mapped"


def lazy_import(request: bytes) -> bytes:
    import this  # noqa: F401

    return b"imported"


def raw_call(number: int) -> Step:
    return lambda request: str(LIBC.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0)).encode()


def endless(request: bytes) -> bytes:
    return str(sum(range(10**12))).encode()


def endless_and_deaf(request: bytes) -> bytes:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return endless(request)


def sleep(request: bytes) -> bytes:
    time.sleep(1000)
    return b"woke"


def blocked_read(request: bytes) -> bytes:
    return os.read(pipe_ends()[0], 1)


def deadlock(request: bytes) -> bytes:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return b"acquired"


def segfault(request: bytes) -> bytes:
    half_a_reply(request)
    return ctypes.string_at(8)


def abort(request: bytes) -> bytes:
    half_a_reply(request)
    os.abort()


def forbidden_in_mid_reply(request: bytes) -> bytes:
    half_a_reply(request)
    return read_file(b"")


def leave_in_mid_reply(request: bytes) -> bytes:
    half_a_reply(request)
    os._exit(0)


def close_and_stay(request: bytes) -> bytes:
    os.close(pipe_ends()[1])
    time.sleep(1000)
    return b""


def raising(error: BaseException) -> Step:
    def step(request: bytes) -> bytes:
        raise error

    return step


def wrong_type(request: bytes) -> bytes:
    return "text"  # type: ignore[return-value]


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message for you")


def recursion(request: bytes) -> bytes:
    return recursion(request)


SHORT = Limits(wall_s=1.0)
ONE_CPU_SECOND = Limits(wall_s=60.0, cpu_s=1)
ATTACKS: dict[str, tuple[Step, str, str, Limits]] = {
    "fork": (fork, "killed(syscall)", "not allowed", PATIENT),
    "exec": (execute, "killed(syscall)", "not allowed", PATIENT),
    "socket": (connect, "killed(syscall)", "not allowed", PATIENT),
    "open for read": (read_file, "killed(syscall)", "not allowed", PATIENT),
    "open for write": (write_file, "killed(syscall)", "not allowed", PATIENT),
    "1 GiB": (gigabyte, "killed(memory)", "MemoryError", PATIENT),
    "1 GiB of numpy": (numpy_gigabyte, "killed(memory)", "allocate", PATIENT),
    "all memory in small pieces": (many_small, "killed(memory)", "MemoryError", Limits(wall_s=60.0, memory_mib=32)),
    "20 descriptors": (descriptors, "killed(syscall)", "not allowed", PATIENT),
    "thread": (thread, "killed(syscall)", "not allowed", PATIENT),
    "signal to the parent": (signal_parent, "killed(syscall)", "not allowed", PATIENT),
    "executable memory": (executable_memory, "killed(syscall)", "not allowed", PATIENT),
    "lazy import": (lazy_import, "fault", "this was not imported before", PATIENT),
    "io_uring": (raw_call(425), "killed(syscall)", "not allowed", PATIENT),
    "a call that does not exist": (raw_call(9999), "killed(syscall)", "not allowed", PATIENT),
    "x32 twin of write": (raw_call(0x40000001), "killed(syscall)", "not allowed", PATIENT),
    "endless C loop, processor time": (endless, "killed(cpu)", "processor time", ONE_CPU_SECOND),
    "endless C loop, deaf to SIGXCPU": (endless_and_deaf, "killed(cpu)", "processor time", ONE_CPU_SECOND),
    "endless C loop, wall clock": (endless, "killed(cpu)", "no answer within", SHORT),
    "hang: sleep": (sleep, "killed(cpu)", "no answer within", SHORT),
    "hang: blocked read": (blocked_read, "killed(cpu)", "no answer within", SHORT),
    "hang: deadlock": (deadlock, "killed(cpu)", "no answer within", SHORT),
    "reply too long": (lambda request: bytes(9), "protocol", "9 bytes", PATIENT),
    "reply of a wrong type": (wrong_type, "protocol", "type str", PATIENT),
    "garbage": (answering(b"\xff" * 64), "protocol", "not a record", PATIENT),
    "unknown status": (answering(record(0, b"", status=77)), "protocol", "not a record", PATIENT),
    "wrong sequence number": (answering(record(4242, bytes(8))), "protocol", "4242", PATIENT),
    "huge announced length": (answering(record(1, b"", length=2**32 - 1)), "protocol", "", PATIENT),
    "half a reply, then nothing": (answering(record(1, bytes(8))[:9]), "killed(cpu)", "no answer within", SHORT),
    "SIGSEGV in mid reply": (segfault, "fault", "SIGSEGV", PATIENT),
    "SIGABRT in mid reply": (abort, "fault", "SIGABRT", PATIENT),
    "SIGSYS in mid reply": (forbidden_in_mid_reply, "killed(syscall)", "not allowed", PATIENT),
    "exit in mid reply": (leave_in_mid_reply, "protocol", "exit code 0", PATIENT),
    "pipe closed, process alive": (close_and_stay, "protocol", "closed its pipe", PATIENT),
    "exception": (raising(ValueError("a\nb\x1b[2J")), "fault", "ValueError: a b [2J", PATIENT),
    "SystemExit": (raising(SystemExit(0)), "fault", "SystemExit", PATIENT),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "fault", "KeyboardInterrupt", PATIENT),
    "exception that raises": (raising(Unreadable()), "fault", "cannot be read", PATIENT),
    "very long message": (raising(ValueError("x" * 10**6)), "fault", "ValueError", PATIENT),
    "recursion": (recursion, "fault", "RecursionError", PATIENT),
    "out of fuel": (raising(OutOfFuel("10 operations")), "fuel", "10 operations", PATIENT),
}


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


def gone(pid: int) -> bool:
    """Whether the process has ended, waiting a while: it may be collected by another."""
    for _ in range(2000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z" and pid not in children():
            return True
        time.sleep(0.005)
    return False


def children() -> set[int]:
    return {int(p) for p in Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split()}


def test_reply_too_short_and_too_long_in_an_episode() -> None:
    for size in (7, 9, 0, 100_000):
        with Worker(lambda: lambda r: bytes(size), 8, 8) as worker, pytest.raises(Stopped) as stopped:  # noqa: B023
            worker.step(bytes(8))
        assert stopped.value.outcome.name == "protocol", size
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


# --- one layer at a time -------------------------------------------------------------------------------------------

NEEDS_LANDLOCK = pytest.mark.skipif(landlock.abi() < 4, reason="needs landlock ABI 4")
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
    assert 0 not in eval(outcome.reply.decode())  # noqa: S307  our own repr of integers


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


# --- requirements and reports ------------------------------------------------------------------------------------


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


# --- ordinary code keeps working -----------------------------------------------------------------------------------


def test_python_and_numpy_work_behind_every_layer() -> None:
    def work(request: bytes) -> bytes:
        with np.errstate(all="warn"):
            values = np.arange(4_000_000, dtype=np.float64)  # 32 MB: mmap, mremap, munmap
            quotient = values[:4] / np.zeros(4)  # warns
            order = np.argsort(np.random.default_rng().random(10_000))
            product = np.ones((600, 600)) @ np.ones((600, 600))  # large enough for OpenBLAS to want threads
        text = "".join(str(i) for i in range(100_000))
        for _ in range(3):
            cycle: list[object] = []
            cycle.append(cycle)
        collected = gc.collect()
        assert collected >= 3 and len(os.urandom(8)) == 8 and time.time() > 0 and text
        return repr((values.sum(), np.isinf(quotient).sum(), order.size, product[5, 5])).encode()

    outcome = run_isolated(work, b"", 200, Limits(wall_s=60.0, memory_mib=512), require_isolation=COMPLETE)
    assert eval(outcome.reply.decode(), {"np": np}) == (7999998000000.0, 3, 10_000, 600.0), str(outcome)  # noqa: S307


def test_threads_and_garbage_of_the_parent_stay_untouched() -> None:
    """In a process of its own, so that OpenBLAS has threads: a large product in the child would start more."""
    script = """
        import gc, mmap, threading, time, numpy as np
        from logic.isolation import *
        flag = mmap.mmap(-1, 4096)
        class Owner:
            def __del__(self): flag[0] = 1
        np.ones((700, 700)) @ np.ones((700, 700))
        lock = threading.Lock(); lock.acquire()
        [threading.Thread(target=lock.acquire, daemon=True).start() for _ in range(4)]
        gc.disable()
        owner = Owner(); owner.me = owner; del owner
        def step(request):
            gc.collect()
            return str((np.ones((700, 700)) @ np.ones((700, 700)))[0, 0]).encode()
        for _ in range(3):
            with Worker(lambda: step, 1, 5, shared=[flag]) as worker:
                assert worker.step(b'x') == b'700.0'
        assert flag[0] == 0, 'a destructor of the parent ran in the child'
        gc.collect()
        assert flag[0] == 1
        print('fine')
    """
    done = script_run(script, OPENBLAS_NUM_THREADS="2")
    assert done.stdout == "fine\n", done.stderr


def script_run(text: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    where = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment}
    command = [*prefix, sys.executable, "-W", "error", "-c", textwrap.dedent(text)]
    return subprocess.run(command, env={**clean, **where}, capture_output=True, text=True, timeout=120)


def test_prepare_may_load_and_start_threads_before_the_layers() -> None:
    ready = threading.Event()

    def prepare() -> None:
        import this  # noqa: F401

        threading.Thread(target=ready.wait, daemon=True).start()

    with Worker(lambda: lambda r: str(threading.active_count()).encode(), 1, 1, prepare=prepare) as worker:
        assert int(worker.step(b"x")) >= 2
        assert not worker.layers["seccomp"]
    failing = Worker(lambda: bytes.upper, 1, 1, prepare=lambda: Path("/nowhere").unlink())
    with pytest.raises(Stopped, match="FileNotFoundError"):
        failing.start()


def test_threads_of_prepare_are_filtered_too() -> None:
    go, flag = threading.Event(), mmap.mmap(-1, 4096)

    def evil() -> None:
        go.wait()
        flag[0] = 1
        read_file(b"")
        flag[0] = 2

    def step(request: bytes) -> bytes:
        go.set()
        time.sleep(1000)
        return b""

    start = threading.Thread(target=evil, daemon=True).start
    with Worker(lambda: step, 1, 0, PATIENT, shared=[flag], prepare=start) as worker, pytest.raises(Stopped) as stopped:
        worker.step(b"x")
    assert stopped.value.outcome.name == "killed(syscall)" and flag[0] == 1


# --- the parent ----------------------------------------------------------------------------------------------------


def test_nothing_is_left_behind() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        worker = Worker(lambda: bytes.upper, 4, 4)
        worker.start()
        worker.start()
        assert worker.step(b"abcd") == b"ABCD"
        pid = worker.pid
        worker.close()
        worker.close()
        assert gone(pid) and not run_isolated(fork, b"", 1).ok
        worker.start()
        pid = worker.pid
        del worker
        assert gone(pid)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_each_episode_starts_from_the_parents_state() -> None:
    counter = [0]

    def step(request: bytes) -> bytes:
        counter[0] += 1
        return bytes([counter[0]])

    worker = Worker(lambda: step, 1, 1)
    for _ in range(2):
        with worker:
            assert [worker.step(b"x")[0] for _ in range(3)] == [1, 2, 3]
    assert counter == [0]


@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_large_records_pass_whole(size: int) -> None:
    data = os.urandom(size)
    with Worker(lambda: lambda r: r[::-1], size, size, PATIENT) as worker:
        assert worker.step(data) == data[::-1]
        assert worker.step(data[::-1]) == data
    assert run_isolated(lambda r: r[::-1], data, size, PATIENT).reply == data[::-1]


def test_a_large_request_to_a_dead_or_deaf_worker_does_not_block() -> None:
    big = bytes(1 << 20)
    worker = Worker(lambda: bytes.upper, len(big), 1, SHORT)
    with worker:
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(Stopped, match=r"killed\(cpu\)"):
            worker.step(big)
    with worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(Stopped, match=r"killed\(memory\)"):
            worker.step(big)


def test_factory_that_fails_or_attacks() -> None:
    for factory, expected in ((raising(ValueError("bad")), "fault"), (read_file, "killed(syscall)")):
        with pytest.raises(Stopped) as stopped:
            Worker(lambda factory=factory: factory(b""), 1, 1, PATIENT).start()  # type: ignore[misc]
        assert stopped.value.outcome.name == expected


def test_interrupt_in_a_step_ends_the_worker() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Worker(lambda: sleep, 1, 1, PATIENT) as worker:
            pid = worker.pid
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                worker.step(b"x")
            assert gone(pid)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_worker_dies_with_its_parent() -> None:
    script = """
        import os, signal, time
        from logic.isolation import *
        worker = Worker(lambda: lambda r: time.sleep(1000), 1, 1)
        worker.start()
        print(worker.pid, flush=True)
        os.write(worker._process._channel._out, b'x')
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = script_run(script)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert gone(int(done.stdout))


# --- the filter and the classes, without a kernel --------------------------------------------------------------------


def run_filter(machine: str, number: int, arguments: tuple[int, ...] = (), audit: int | None = None) -> bool:
    """Interpret the program as the kernel would: whether the call is allowed."""
    code = seccomp.program(machine, pid=77)
    words = {0: number, 4: seccomp.AUDIT[machine] if audit is None else audit}
    words |= {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    at = value = 0
    while True:
        what, yes, no, constant = code[at]
        at += 1
        if what == 0x06:
            return constant == 0x7FFF0000
        if what == 0x20:
            value = words.get(constant, 0)
        else:
            at += yes if (value == constant if what == 0x15 else value & constant) else no


@pytest.mark.parametrize("machine", seccomp.AUDIT)
def test_filter_allows_its_list_and_nothing_else(machine: str) -> None:
    column = list(seccomp.AUDIT).index(machine)
    plain = {pair[column] for pair in seccomp.ALLOWED.values()} - {None}
    partly = {pair[column] for pair in (*seccomp.WITHOUT_EXEC.values(), seccomp.ABORT)}
    assert {n for n in range(2000) if run_filter(machine, n, (0, 0, 4))} == plain
    for number in partly:
        assert number not in plain
    for pair in seccomp.WITHOUT_EXEC.values():
        assert run_filter(machine, pair[column], (0, 4096, 3))
        assert not run_filter(machine, pair[column], (0, 4096, 7))
    abort_call = seccomp.ABORT[column]
    assert run_filter(machine, abort_call, (77, 78, signal.SIGABRT))
    assert not run_filter(machine, abort_call, (78, 78, signal.SIGABRT))
    assert not run_filter(machine, abort_call, (77, 78, signal.SIGKILL))


def test_filter_refuses_other_machines_and_modes() -> None:
    assert run_filter("x86_64", 0)
    assert not run_filter("x86_64", 0, audit=0x40000003)  # i386
    assert not run_filter("x86_64", 0x40000000)  # x32
    assert not run_filter("aarch64", 63, audit=seccomp.AUDIT["x86_64"])


def test_wait_statuses_are_classified() -> None:
    def name(status: int, cpu: float = 0.0) -> str:
        kind, cause, _ = classify(status, cpu, Limits(cpu_s=3))
        return f"{kind.value}({cause.value})" if cause else kind.value

    assert name(signal.SIGSYS) == name(signal.SIGSYS | 0x80) == "killed(syscall)"
    assert name(signal.SIGXCPU) == name(signal.SIGKILL, 3.9) == "killed(cpu)"
    assert name(signal.SIGKILL) == "killed(memory)"
    assert name(signal.SIGSEGV) == name(signal.SIGBUS) == name(40) == "fault"
    assert name(0) == name(256) == "protocol"


def test_landlock_structure_follows_the_abi() -> None:
    sizes = [landlock.attributes(v)[1] for v in range(1, 8)]
    assert sizes == [8, 8, 8, 16, 16, 24, 24]
    rights = [landlock.attributes(v)[0].fs.bit_length() for v in range(1, 8)]
    assert rights == [13, 14, 15, 15, 16, 16, 16]


def test_poll_never_waits_for_ever() -> None:
    reading, writing = os.pipe()
    other, out = os.pipe()
    pipe = channel.Channel(reading, out)
    with pytest.raises(channel.Late):
        pipe.receive(1, 8, time.monotonic() - 5)
    with pytest.raises(channel.Late):
        pipe.expect_end(time.monotonic() - 5)
    os.close(writing)
    with pytest.raises(channel.Ended):
        pipe.receive(1, 8, time.monotonic() + 5)
    pipe.close()
    os.close(other)
    assert select.poll is not None


@AS_ROOT
def test_root_that_cannot_change_its_user_is_told_so() -> None:
    """As in a container without the capability; the user must not be reported as dropped when it is not."""
    script = """
        from logic.isolation import *
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
