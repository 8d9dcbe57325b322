"""The parent's side: ordinary code works in a worker, the parent's threads and memory stay its own, nothing is left."""

from __future__ import annotations

import ast
import gc
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.random  # numpy loads it at its first use, which is too late in a worker
import pytest
from isolation_kit import COMPLETE, PATIENT, SHORT, fork, gone, raising, read_file, script_run, sleep

from logic.sandbox import Limits, Stopped, Worker, run_isolated

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the layers are Linux's")


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
        return repr((float(values.sum()), int(np.isinf(quotient).sum()), order.size, float(product[5, 5]))).encode()

    outcome = run_isolated(work, b"", 200, Limits(wall_s=60.0, memory_mib=512), require_isolation=COMPLETE)
    assert ast.literal_eval(outcome.reply.decode()) == (7999998000000.0, 3, 10_000, 600.0), str(outcome)


def test_threads_and_garbage_of_the_parent_stay_untouched() -> None:
    """In a process of its own, so that OpenBLAS has threads: a large product in the child would start more."""
    script = """
        import gc, mmap, threading, time, numpy as np
        from logic.sandbox import *
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

    def start() -> None:
        threading.Thread(target=evil, daemon=True).start()

    with Worker(lambda: step, 1, 0, PATIENT, shared=[flag], prepare=start) as worker, pytest.raises(Stopped) as stopped:
        worker.step(b"x")
    assert stopped.value.outcome.name == "killed(syscall)" and flag[0] == 1


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
        with pytest.raises(Stopped, match=r"killed\(outside\)"):
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
        from logic.sandbox import *
        worker = Worker(lambda: lambda r: time.sleep(1000), 1, 1)
        worker.start()
        print(worker.pid, flush=True)
        os.write(worker._process._channel._out, b'x')
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = script_run(script)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert gone(int(done.stdout))


def test_a_fork_of_the_parent_does_not_end_its_worker() -> None:
    with Worker(lambda: bytes.upper, 1, 1) as worker:
        pid = os.fork()
        if pid == 0:
            try:
                worker.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert worker.step(b"x") == b"X"
