"""A real Ray on this machine: several node processes, each with a cache of its own, and what works there in tests."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = "cluster_kit:"  # children find kits by PYTHONPATH
KITS = str(Path(__file__).parent)


class Nodes:
    """A head without cores, and nodes with two places each. Close it."""

    def __init__(self, folder: Path, nodes: int = 2, **head: Any) -> None:
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray calls it
        os.environ["PYTHONPATH"] = os.pathsep.join([KITS, os.environ.get("PYTHONPATH", "")])
        self.folder = folder
        self.ray = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **head})
        self.started = 0
        self.nodes = [self.add() for _ in range(nodes)]

    @property
    def address(self) -> str:
        return str(self.ray.address)

    def add(self) -> Any:
        """One more node."""
        self.started += 1
        cache = str(self.folder / f"cache-{self.started}")
        return self.ray.add_node(num_cpus=2, env_vars={"TRIUNE_CACHE": cache})

    def kill(self) -> None:
        """A node dies, all of a sudden, and another is started in its place."""
        node = self.nodes.pop(0)
        node.kill_raylet()
        self.ray.remove_node(node, allow_graceful=False)
        self.nodes.append(self.add())

    def caches(self) -> list[Path]:
        """The folders in which nodes keep parcels."""
        return sorted(self.folder.glob("cache-*"))

    def close(self) -> None:
        self.ray.shutdown()


@contextmanager
def doing(job: dict[str, Any]) -> Iterator[Callable[[Any], Any]]:
    """Work for the children."""

    def do(item: Any) -> Any:
        print("a library that talks")
        if item == job.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if item == job.get("fail"):
            raise ValueError(f"no {item}")
        time.sleep(job.get("seconds", 0))
        if job.get("out"):
            Path(job["out"], f"{item}.txt").write_text(f"written for {item}")
        found = {"item": item, "pid": os.getpid(), "parent": os.getppid(), "wall": os.environ["OMP_NUM_THREADS"]}
        return found | {"task": job.get("task"), "cache": os.environ.get("TRIUNE_CACHE")}

    if job.get("start") is False:
        raise RuntimeError("cannot start")
    yield do


def explain(error: Exception) -> str:
    return f"in words: {error}"


# ----------------------------------------------------------------------------------------------------
# Who is there.


def marked(mark: str) -> list[int]:
    """Processes whose environment or command line holds this text: an isolated policy's has lost its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if mark.encode() in told and alive(folder.name):
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def workers(module: str = "envs.executor") -> list[int]:
    """Child processes of executors on this machine that have this process's mark, whoever started them."""
    found = []
    for pid in marked(json.dumps(os.environ["TRIUNE_TEST_MARK"])[1:-1]):
        try:
            if f"\0{module}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def actor_of(pid: int) -> int | None:
    """The process that keeps this child, if it is one of Ray's."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])
        return parent if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::") else None
    except OSError:
        return None


def alive(pid: int | str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def waited(true: Callable[[], Any], what: Callable[[], object] = lambda: "") -> None:
    """For something that happens soon; a minute is a failure, which tells `what`."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def gone(mark: str) -> None:
    """Wait until no process of this mark is left."""
    waited(lambda: not marked(mark), lambda: [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked(mark)])
