"""Clears away a Ray that one command started for itself, also when that command was killed.

`python -I cluster_guard.py FOLDER`: once stdin ends, every process that was started with TRIUNE_RAY=FOLDER is killed
(Linux; elsewhere Ray's own end by themselves), and the folder is removed. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

VARIABLE = "TRIUNE_RAY"
PATIENCE = 10.0  # seconds for processes to go


def marked(folder: str) -> list[int]:
    """Processes that were started with this folder in their environment."""
    mark, found = f"{VARIABLE}={folder}".encode(), []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with suppress(OSError):
            if name.isdigit() and int(name) != os.getpid():
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
    return found


def clear(folder: str) -> None:
    """Kill them, and remove the folder."""
    deadline = time.monotonic() + PATIENCE
    while (pids := marked(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.read()
    clear(sys.argv[1])
