"""Run a command with a time limit and leave nothing of it behind: `process_tree.py LIMIT CAP OUTPUT COMMAND...`.

It is a program of its own with the standard library alone. What the command starts, daemons too, stays below this
process (Linux: child subreaper) and is killed when the command ends, when LIMIT seconds are over, or when whoever
started this process dies. Should the command end this process, `nothing_left` does the same in the one above. Both are
out of the command's reach where the kernel can do that (`set_apart`). At most CAP bytes of output go to OUTPUT. The
outcome is one JSON line on stdout: `exit` (None: timed out), `seconds`, `bytes`, `killed`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from typing import Any

LINUX = sys.platform.startswith("linux")
SUBREAPER, DEATH_SIGNAL, NO_NEW_PRIVILEGES, DROP = 36, 1, 38, 24  # prctl
PTRACE, ADMIN, PERFMON = 19, 21, 38  # with these root reads any process
RULES, ADD_RULE, RESTRICT = 444, 445, 446  # landlock, the same on all machines
SCOPE_SIGNAL, REFER, BENEATH = 0b10, 1 << 13, 1
PASSES = 500  # a bomb that forks while it is being killed


class Ended(Exception):
    """Asked to stop."""


def main(limit: float, cap: int, output: str, command: list[str]) -> int:
    """Entry point of the process."""
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    prctl(SUBREAPER, 1)
    prctl(DEATH_SIGNAL, int(signal.SIGTERM))
    if os.getppid() != parent:  # it died before it could be heard
        return 1
    began, told = time.monotonic(), {"exit": None, "bytes": 0}
    try:
        told = _run(command, began + limit, cap, output)
    except Ended:
        told["exit"] = None
    finally:
        killed = kill_below()
    print(json.dumps({**told, "killed": killed, "seconds": round(time.monotonic() - began, 3)}), flush=True)
    return 0


def _stop(number: int, frame: object) -> None:
    raise Ended


def _run(command: list[str], deadline: float, cap: int, output: str) -> dict[str, int | None]:
    """Until the command itself has ended; what it has started besides is not waited for."""
    size = 0
    with open(output, "wb", buffering=0) as file:  # a kill loses nothing of it
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=set_apart,
        )  # fmt: skip
        assert child.stdout
        pipe = child.stdout.fileno()
        os.set_blocking(pipe, False)
        while True:
            ended = child.poll() is not None
            wait = 0.0 if ended else min(0.05, max(0.0, deadline - time.monotonic()))
            ready, _, _ = select.select([pipe], [], [], wait)
            data = _read(pipe) if ready else b""
            file.write(data[: max(0, cap - size)])
            size += len(data)
            if ended and not data:
                return {"exit": child.returncode, "bytes": size}
            if time.monotonic() > deadline:
                return {"exit": None, "bytes": size}
            if ready and not data:  # it closed its output and goes on
                time.sleep(0.02)


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""


def prctl(option: int, value: int) -> None:
    """prctl(option, value, 0, 0, 0), where there is one."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


def _syscall() -> Any:
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    return call


def landlock() -> int:
    """The kernel's version of landlock; 0 or less where there is none."""
    return int(_syscall()(RULES, None, ctypes.c_size_t(0), 1)) if LINUX else 0


def set_apart() -> None:
    """Keep this process, and all it will start, from looking into any process outside: memory, environment, open files
    (landlock, Linux 5.19); from 6.12 on from signalling one, too. It may do everything else. Nothing elsewhere."""
    if not LINUX:
        return
    call, version = _syscall(), landlock()
    for capability in (PTRACE, ADMIN, PERFMON):
        prctl(DROP, capability)
    prctl(NO_NEW_PRIVILEGES, 1)  # sudo would lead out; landlock asks for it
    if version < 2:  # the first one forbids to move a file into another folder
        return
    signals = version >= 6
    told = struct.pack("QQQ", 0, 0, SCOPE_SIGNAL) if signals else struct.pack("Q", REFER)
    rules = call(RULES, told, ctypes.c_size_t(len(told)), 0)
    if rules < 0:
        return
    if not signals:  # a rule set has to forbid something; this one allows it again, everywhere
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        call(ADD_RULE, ctypes.c_int(rules), BENEATH, struct.pack("=Qi", REFER, root), 0)
        os.close(root)
    call(RESTRICT, ctypes.c_int(rules), 0)
    os.close(rules)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Kill what has come to be below this process meanwhile, also what lost the process that should have done so."""
    before = below(os.getpid())
    prctl(SUBREAPER, 1)
    try:
        yield
    finally:
        kill_below(before)
        prctl(SUBREAPER, 0)


def kill_below(spared: Set[int] = frozenset()) -> int:
    """Kill every process below this one until none is left; how many there were."""
    seen: set[int] = set()
    for _ in range(PASSES):
        found = below(os.getpid(), spared)
        seen |= found
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped ones fork no more
            for pid in found:
                for kill in (os.kill, os.killpg) if number == signal.SIGKILL else (os.kill,):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(pid, number)
        for pid in seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not found and not below(os.getpid(), spared):
            break
        time.sleep(0.005)
    return len(seen)


def below(root: int, spared: Set[int] = frozenset()) -> set[int]:
    """Every process whose chain of parents leads to `root`, but for those `spared` and what is below them, and dead
    ones that nobody has collected."""
    children: dict[int, list[int]] = {}
    try:
        names = [n for n in os.listdir("/proc") if n.isdigit()]
    except OSError:
        return set()
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rsplit(b")", 1)[1].split()[:2]
        except (OSError, IndexError):
            continue
        if state != b"Z":
            children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found and pid not in spared:
                found.add(pid)
                todo.append(pid)
    return found


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
