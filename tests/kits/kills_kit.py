"""kill -9 at random instants: an improve run and whatever it has started, again and again, until its work is done."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli_kit import ROOT
from cluster_kit import actor_of, marked, waited

LINEAGE = ROOT / "zoo" / "cartpole" / "lineage"
LIBRARIES = {".ses"}  # in temporary folders: onnxruntime keeps it there, killed or not
PATIENCE = 900.0  # seconds for a run that nobody disturbs any more


class Improve:
    """`triune improve` on CartPole, answered from the exchange that its lineage keeps, in a folder of its own. `mark`:
    a text in the environment or command line of all its processes; the folder's path unless others are meant too."""

    def __init__(
        self, home: Path, executor: str = "local", mark: str = "", trials: int = 4, stored: bool = False
    ) -> None:  # fmt: skip
        """`stored`: games of the gate are taken from the lineage, where each has been played before."""
        home.mkdir(parents=True)
        self.home, self.executor, self.mark, self.starts = home, executor, mark or str(home), 0
        self.task, self.run, self.temporary = home / "task", home / "run", home / "tmp"
        self.temporary.mkdir()
        self._words = [
            "cartpole", "--policy", str(LINEAGE / "r00.py"), "--out", str(self.task), "--run", str(self.run),
            "--proposer", "replay", "--recording", str(LINEAGE / "exchange.jsonl"), "--gate",
            str(LINEAGE / "gate.json"), "--trials", str(trials), "--workers", "2", "--executor", executor,
        ]  # fmt: skip
        if stored:
            shutil.copy(LINEAGE / "games.jsonl", home)
            self._words += ["--games", str(home / "games.jsonl")]

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
        waited(lambda: not tree(self.mark), lambda: tree(self.mark))
        waited(lambda: not unheld(shared), lambda: unheld(shared))
        left = {p.name for p in self.temporary.iterdir()} - LIBRARIES
        assert not left and not list(self.home.rglob(".*.part*")), left


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


PARTS = (b"\0envs.executor\0", b"\0envs.remote_process\0", b"\0improve\0")


def tree(mark: str) -> list[int]:
    """What of a mark is Triune's own: the rest is Ray's."""
    found = []
    for pid in marked(mark):
        try:
            if any(part in Path(f"/proc/{pid}/cmdline").read_bytes() for part in PARTS):
                found.append(pid)
        except OSError:
            continue
    return found


def kind_of(pid: int, root: int) -> str:
    """What a process of a run is."""
    if pid == root:
        return "driver"
    command, parent = Path(f"/proc/{pid}/cmdline").read_bytes(), parent_of(pid)
    if b"\0envs.remote_process\0" in command:
        return "simulator"
    if command == Path(f"/proc/{parent}/cmdline").read_bytes():
        return "sandbox"
    return "worker" if b"\0envs.executor\0" in command else "driver"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])


KINDS = ("driver", "worker", "worker", "simulator", "simulator", "sandbox", "sandbox")


def strike(root: int, mark: str, draw: random.Random, kinds: Sequence[str] = KINDS) -> str | None:
    """Kill a process of a kind that is drawn; what it was, None where there is none. The driver less often than others,
    or it would never get anywhere. "actor": what keeps a worker on Ray."""
    kind, found = draw.choice(kinds), []
    for pid in sorted(tree(mark)):
        try:
            if kind_of(pid, root) == ("worker" if kind == "actor" else kind):
                found.append(pid)
        except (OSError, IndexError):
            continue
    victim: int | None = draw.choice(found) if found else None
    if kind == "actor" and victim:
        victim = actor_of(victim)
    if not victim:
        return None
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return kind


class Meter:
    """Processor time that the processes of a mark have used: on a busy machine a run must get as far between two kills
    as on an idle one."""

    def __init__(self, mark: str) -> None:
        self._mark, self._seen, self.spent_s = mark, dict[int, float](), 0.0

    def read(self) -> float:
        """Seconds so far, of those processes that were there at a reading."""
        for pid in tree(self._mark):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            self.spent_s += max(0.0, used - self._seen.get(pid, 0.0))
            self._seen[pid] = used
        return self.spent_s


def ended(process: subprocess.Popen[bytes], meter: Meter, seconds: float) -> bool:
    """Whether it ends before the run has used so much processor time."""
    until = meter.read() + seconds
    while process.poll() is None:
        if meter.read() >= until:
            return False
        time.sleep(0.1)
    return True


def under_fire(
    run: Improve, draw: random.Random, most: int, pause_s: float, hit: Callable[[int], str | None] | None = None
) -> Mapping[str, int]:
    """Start it, and kill at random instants, `pause_s` of processor time apart on average, until it is done or `most`
    were killed; then let it end. How many of each kind. `hit`: does it instead of `strike`, given the driver's pid.

    A run that ends by itself has to say how to go on.
    """
    struck, meter = Counter[str](), Meter(run.mark)
    process = run.start()
    while True:
        if struck.total() - struck["gave up"] >= most:
            code = process.wait(PATIENCE)
        elif ended(process, meter, draw.expovariate(1 / pause_s)):
            code = process.returncode
        else:
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
        waited(lambda: not tree(run.mark), lambda: tree(run.mark))
        process = run.start()


def in_shared_memory() -> set[str]:
    """Names in /dev/shm."""
    return set(os.listdir("/dev/shm"))
