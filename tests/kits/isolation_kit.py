"""What the isolation tests share: attacks in plain Python, as they would run in a worker below any compiler, what each
must end as, and two helpers. Holds no test.
"""

from __future__ import annotations

import ctypes
import mmap
import os
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

from logic.sandbox import Limits, OutOfFuel, channel, harden, layers

ROOT = Path(__file__).parents[2]
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


SHORT = Limits(wall_s=0.5)
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


def script_run(text: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    where = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment}
    command = [*prefix, sys.executable, "-W", "error", "-c", textwrap.dedent(text)]
    return subprocess.run(command, env={**clean, **where}, capture_output=True, text=True, timeout=120)
