"""Run a command with a time limit and leave nothing of it behind: `process_tree.py LIMIT CAP OUTPUT COMMAND...`.

It is a program of its own with the standard library alone. What the command starts, daemons too, stays below this
process (Linux: child subreaper) and is killed when the command ends, when LIMIT seconds are over, or when whoever
started this process dies. At most CAP bytes of output go to OUTPUT. The outcome is one JSON line on stdout: `exit`
(None: timed out), `seconds`, `bytes`, `killed`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

SUBREAPER, DEATH_SIGNAL = 36, 1  # prctl
PASSES = 500  # a bomb that forks while it is being killed


class Ended(Exception):
    """Asked to stop."""


def main(limit: float, cap: int, output: str, command: list[str]) -> int:
    """Entry point of the process."""
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    if sys.platform.startswith("linux"):
        prctl = ctypes.CDLL(None).prctl
        prctl(SUBREAPER, 1, 0, 0, 0)
        prctl(DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
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
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
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


def kill_below() -> int:
    """Kill every process below this one until none is left; how many there were."""
    seen: set[int] = set()
    for _ in range(PASSES):
        found = below(os.getpid())
        seen |= found
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped ones fork no more
            for pid in found:
                for kill in (os.kill, os.killpg) if number == signal.SIGKILL else (os.kill,):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(pid, number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found and not below(os.getpid()):
            break
        time.sleep(0.005)
    return len(seen)


def below(root: int) -> set[int]:
    """Every process whose chain of parents leads to `root`, dead ones that nobody has collected left out."""
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
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
