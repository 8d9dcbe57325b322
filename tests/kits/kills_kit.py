"""kill -9 at random instants: an improve run and whatever it has started, again and again, until its work is done."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cli_kit import ROOT
from cluster_kit import gone, marked, waited

LINEAGE = ROOT / "zoo" / "cartpole" / "lineage"
PATIENCE = 900.0  # seconds for a run that nobody disturbs any more


class Improve:
    """`triune improve` on CartPole, answered from the exchange that its lineage keeps, in a folder of its own, whose
    path marks all processes."""

    def __init__(self, home: Path, trials: int, executor: str = "local") -> None:
        home.mkdir(parents=True)
        self.home, self.executor, self.mark, self.starts = home, executor, str(home), 0
        self.task, self.run, self.temporary = home / "task", home / "run", home / "tmp"
        self.temporary.mkdir()
        self._words = [
            "cartpole", "--policy", str(LINEAGE / "r00.py"), "--out", str(self.task), "--run", str(self.run),
            "--proposer", "replay", "--recording", str(LINEAGE / "exchange.jsonl"), "--gate",
            str(LINEAGE / "gate.json"), "--trials", str(trials), "--workers", "2", "--executor", executor,
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """Begin, or go on with what has begun."""
        log, self.starts = self.run / "events.jsonl", self.starts + 1
        begun = log.is_file() and b'"run.started"' in log.read_bytes()
        words = ["--resume", str(self.run)] if begun else self._words
        variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TRIUNE_TEST_MARK": self.mark}
        if self.executor == "local":
            variables["TMPDIR"] = str(self.temporary)
        with (self.home / f"said-{self.starts}").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "triune", "improve", *words], cwd=self.home, env=os.environ | variables,
                stdout=said, stderr=said,
            )  # fmt: skip

    def said(self) -> str:
        """By the last one that was started."""
        return (self.home / f"said-{self.starts}").read_text(errors="replace")

    def ledger(self) -> dict[str, Any]:
        """Every file of the task's folder, without wall times: these alone may differ."""
        files = {str(p.relative_to(self.task)): p.read_bytes() for p in self.task.rglob("*") if p.is_file()}
        lines = [json.loads(line) for line in files.pop("trials.jsonl").splitlines()]
        return files | {"trials": [line | {"cost": line["cost"] | {"wall_s": 0}} for line in lines]}

    def nothing_left(self, shared: set[str]) -> None:
        """No process, no file of half a write, nothing in temporary folders; `shared`: what /dev/shm held before."""
        gone(self.mark)
        waited(lambda: not unheld(shared), lambda: unheld(shared))
        assert not list(self.temporary.iterdir()) and not list(self.home.rglob(".*.part*"))


def unheld(before: set[str]) -> set[str]:
    """What is new in shared memory, and open nowhere: then whoever made it is gone."""
    new = set(os.listdir("/dev/shm")) - before
    if not new:
        return new
    for link in Path("/proc").glob("[0-9]*/map_files/*"):
        try:
            new.discard(Path(os.readlink(link)).name)
        except OSError:
            continue
    return new & set(os.listdir("/dev/shm"))


def kind_of(pid: int, root: int) -> str:
    """What a process of a run is."""
    if pid == root:
        return "driver"
    command, parent = Path(f"/proc/{pid}/cmdline").read_bytes(), parent_of(pid)
    if b"\0envs.remote_process\0" in command:
        return "simulator"
    if command == Path(f"/proc/{parent}/cmdline").read_bytes():
        return "sandbox"
    return "worker" if b"\0envs.executor\0" in command else "other"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])


KINDS = ("driver", "worker", "worker", "simulator", "simulator", "sandbox", "sandbox")


def strike(root: int, mark: str, draw: random.Random) -> str | None:
    """Kill a process of a kind that is drawn; what it was, None where there is none. The driver less often than others,
    or it would never get anywhere."""
    kind, found = draw.choice(KINDS), []
    for pid in sorted(marked(mark)):
        try:
            if kind_of(pid, root) == kind:
                found.append(pid)
        except (OSError, IndexError):
            continue
    if not found:
        return None
    try:
        os.kill(draw.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return kind


def under_fire(
    run: Improve, draw: random.Random, most: int, pause_s: float, hit: Callable[[int], str | None] | None = None
) -> Mapping[str, int]:
    """Start it, and kill at random instants, `pause_s` apart on average, until it is done or `most` were killed; then
    let it end. How many of each kind. `hit`: does it instead of `strike`, given the driver's pid.

    A run that ends by itself has to say how to go on.
    """
    struck: Counter[str] = Counter()
    process = run.start()
    while True:
        busy = struck.total() < most
        try:
            code = process.wait(draw.expovariate(1 / pause_s) if busy else PATIENCE)
        except subprocess.TimeoutExpired:
            assert busy, f"it hangs; {run.said()[-2000:]}"
            kind = hit(process.pid) if hit else strike(process.pid, run.mark, draw)
            struck.update([kind] if kind else [])
            if kind == "driver":
                process.wait()
            continue
        if code == 0:
            return struck
        if code != -signal.SIGKILL:
            said = run.said()
            assert "continue with: triune improve --resume" in said and "Traceback" not in said, said[-3000:]
            struck["gave up"] += 1
        waited(lambda: not marked(run.mark), lambda: marked(run.mark))
        process = run.start()


def in_shared_memory() -> set[str]:
    """Names in /dev/shm."""
    return set(os.listdir("/dev/shm"))
