"""Work spread over a Ray cluster, behind the same `map(job, items)` as on one machine.

Each place of the cluster is an actor (`envs.cluster_worker.Worker`) with a child process like those of `envs.executor`.
A place gets one item at a time. One that is lost, or whose node is, costs the item that it had, which goes to another.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from envs import cluster_guard, cluster_worker
from envs.env import registered
from envs.errors import EnvError
from envs.executor import WorkerError, cores
from envs.files import MIB
from envs.parcels import check_name, digest, wrap
from envs.process import ROOT, start_file
from envs.terminal import printable
from envs.writing import atomic_write

MOST_LOST = 5  # times that an item may be lost with its place
MOST_FAILED = 20  # places in a row that never came to work
PATIENCE = 15.0  # seconds without any place, then it is said what is waited for
START = "ray start --head --ray-client-server-port=10001"


class ClusterError(EnvError):
    """The cluster cannot be used as it is; the message names the fix."""


# ----------------------------------------------------------------------------------------------------
# The cluster that this process is connected to: at most one, until the process ends.


@dataclass
class Place:
    """An actor: a core of the cluster that is ours."""

    actor: Any
    node: str = ""


class Cluster:
    """`address`: "ray" (the cluster of this machine, or else a Ray of this machine's cores alone) or "ray://HOST:PORT"."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ray = _import()
        self._guard: subprocess.Popen[bytes] | None = None  # of a Ray that was started here
        self._parcels: dict[str, Any] = {}  # hash -> the ObjectRef of the parcel
        self.idle: list[Place] = []
        self._ours = not self.ray.is_initialized()  # else whoever uses this as a library has connected
        if self._ours:
            self._connect()
        self._worker = self.ray.remote(num_cpus=1, max_restarts=0)(cluster_worker.Worker)
        atexit.register(self.close)

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        terminated, there = signal.getsignal(signal.SIGTERM), os.getcwd()
        try:
            if self.address != "ray":
                _check_address(self.address)
                try:
                    self.ray.init(self.address, **quiet)
                except ConnectionAbortedError:  # a busy head did not start our server in time
                    self.ray.init(self.address, **quiet)
                return
            os.chdir(ROOT)  # it becomes part of the places' path, and must not be a stranger's folder
            named = os.environ.get("RAY_ADDRESS")
            try:
                self._start(quiet) if named == "local" else self.ray.init(named or "auto", **quiet)
            except ConnectionError:
                if named:
                    raise
                self._start(quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            self.ray.shutdown()
            raise ClusterError(f"{self.address}: no cluster: {_last_line(error)}; {self._fix(error)}") from None
        finally:
            os.chdir(there)
            if threading.current_thread() is threading.main_thread():
                # Ray's own handler knows nothing of ours; and no handler would leave a Ray that was started here
                signal.signal(signal.SIGTERM, _end if terminated == signal.SIG_DFL else terminated)

    def _fix(self, error: Exception) -> str:
        if "version" in str(error).lower():
            return "the same Ray and Python are needed on every node"
        return f"start one with `{START}` and name it with --executor ray://HOST:10001 (docs/cluster.md)"

    def _start(self, quiet: dict[str, Any]) -> None:
        """A Ray of this machine, for this process: nothing of it is left afterwards."""
        folder = tempfile.mkdtemp(prefix=f"triune-ray-{os.getpid()}-")
        self._guard = start_file(cluster_guard.__file__, folder, env={}, stdin=subprocess.PIPE, start_new_session=True)
        os.environ[cluster_guard.VARIABLE] = folder
        try:
            self.ray.init(
                "local", num_cpus=cores(), include_dashboard=False, object_store_memory=256 * MIB, _temp_dir=folder,
                **quiet,
            )  # fmt: skip
        finally:
            del os.environ[cluster_guard.VARIABLE]

    def cores(self) -> int:
        """Cores that the cluster has at this moment."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 0)))

    def send(self, path: Path) -> tuple[str, Any]:
        """A folder or file: the hash of its parcel, and the ObjectRef under which nodes get it."""
        data = wrap(path)
        name = digest(data)
        if name not in self._parcels:
            while len(self._parcels) >= 64:
                del self._parcels[next(iter(self._parcels))]
            self._parcels[name] = self.ray.put(data)
        return name, self._parcels[name]

    def hire(self) -> Place:
        """A new place, which has a core as soon as one is free."""
        return Place(self._worker.remote())

    def dismiss(self, place: Place) -> None:
        """End a place at once, whatever it does."""
        with suppress(Exception):  # it may be gone, and the cluster with it
            self.ray.kill(place.actor, no_restart=True)

    def close(self) -> None:
        """Give all places back; end a Ray that was started here."""
        atexit.unregister(self.close)
        ending = [place.actor.close.remote() for place in self.idle]
        with suppress(Exception):
            self.ray.wait(ending, num_returns=len(ending), timeout=10) if ending else None
        for place in self.idle:
            self.dismiss(place)
        self.idle = []
        if self._ours:
            self.ray.shutdown()
        if self._guard:
            self._guard.communicate()


_cluster: Cluster | None = None


def connected(address: str) -> Cluster:
    """The cluster of that address; ClusterError says how to come by one."""
    global _cluster
    if _cluster is None or _cluster.address != address or not _cluster.ray.is_initialized():
        disconnect()
        _cluster = Cluster(address)
    return _cluster


def disconnect() -> None:
    """Give everything back now instead of at the end of the process."""
    global _cluster
    if _cluster is not None:
        _cluster.close()
    _cluster = None


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _import() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change to come
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f'an executor "ray" needs Ray ({error}): pip install "triune[cluster]"') from None
    with suppress(AttributeError):  # it tells of lost workers on standard output, which is the command's
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


def _check_address(address: str) -> None:
    """ClusterError unless somebody answers at ray://HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"{address}: an address is written ray://HOST:PORT, such as ray://10.0.0.1:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"{address}: nobody answers there ({error}); on that host, run: {START}") from None


def _first_line(error: BaseException) -> str:
    return printable(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__))[:300]


# ----------------------------------------------------------------------------------------------------
# One `map`.


@dataclass
class _Item:
    value: Any
    lost: int = 0


class Ray:
    """An `envs.executor.Executor`: its arguments are those of `envs.crew.crew`."""

    def __init__(
        self, address: str, target: str, workers: int, explain: str = "", reads: Sequence[str] = (), writes: str = ""
    ) -> None:  # fmt: skip
        self.address, self.target, self.workers, self.explain = address, target, workers, explain
        self.reads, self.writes = reads, writes

    def map(self, job: Any, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it, ClusterError too.

        No more items are taken than there are workers. Places are kept for the next `map`; when the caller stops early,
        those that are busy are ended at once.
        """
        cluster = connected(self.address)
        one_map = _Map(cluster, self, job)
        try:
            yield from one_map.answers(iter(items))
        finally:
            one_map.end()


class _Map:
    """Who does what at this moment."""

    def __init__(self, cluster: Cluster, executor: Ray, job: Any) -> None:
        self.cluster, self.ray, self.workers = cluster, cluster.ray, max(1, executor.workers)
        self.doing: dict[Any, tuple[Place, _Item]] = {}
        self.coming: dict[Any, Place] = {}
        self.held: deque[_Item] = deque()  # taken, and given to nobody yet
        self.failed = 0
        self.keep = Path(job[executor.writes]) if executor.writes and job[executor.writes] else None
        sent = {key: Path(job[key]) for key in executor.reads if job.get(key)}
        parcels = {key: cluster.send(path) for key, path in sent.items()}
        self.refs = [[ref] for _, ref in parcels.values()]  # in a list: Ray would fetch a bare one for every place
        reads = {key: (name, not sent[key].is_dir()) for key, (name, _) in parcels.items()}
        backends = json.loads(next(iter(registered().values()), "{}"))
        order = {"target": executor.target, "explain": executor.explain, "job": job, "reads": reads}
        self.order = json.dumps(order | {"writes": executor.writes, "backends": backends})

    def answers(self, items: Iterator[Any]) -> Iterator[Any]:
        """Of all items."""
        while True:
            self._take(items)
            self._give()
            if not self.doing and not self.held:
                return
            ready = self._wait()
            if ready in self.coming:
                self._come(ready)
            else:
                place, item = self.doing.pop(ready)
                answer = self._answer(ready, place, item)
                if answer is not None:
                    yield answer[0]

    def end(self) -> None:
        """Keep who is idle, end who is not."""
        for place in (*self.coming.values(), *(place for place, _ in self.doing.values())):
            self.cluster.dismiss(place)

    def _take(self, items: Iterator[Any]) -> None:
        while len(self.held) + len(self.doing) < self.workers:
            try:
                self.held.append(_Item(next(items)))
            except StopIteration:
                return

    def _give(self) -> None:
        idle = self.cluster.idle
        while self.held and idle:
            place, item = idle.pop(), self.held.popleft()
            self.doing[place.actor.do.remote(self.order, json.dumps(item.value), self.refs)] = place, item
        while len(self.coming) < len(self.held):
            place = self.cluster.hire()
            self.coming[place.actor.hello.remote()] = place

    def _wait(self) -> Any:
        """Something that is ready; says once what is waited for."""
        began, said = time.monotonic(), bool(self.doing)
        while True:
            ready, _ = self.ray.wait([*self.doing, *self.coming], num_returns=1, timeout=PATIENCE / 3)
            if ready:
                return ready[0]
            if not said and time.monotonic() - began >= PATIENCE:
                said = True
                print("triune: waiting for a free core of the cluster; see `ray status`", file=sys.stderr, flush=True)

    def _come(self, ready: Any) -> None:
        place = self.coming.pop(ready)
        try:
            told = json.loads(self.ray.get(ready))
        except self.ray.exceptions.RayError as error:
            self.cluster.dismiss(place)
            self.failed += 1
            if self.failed >= MOST_FAILED or not _is_loss(self.ray, error):
                raise ClusterError(
                    f"no worker can start: {_last_line(error)}; every node needs this Triune (docs/cluster.md)"
                ) from None
            return
        place.node, self.failed = told["node"], 0
        _compare(told)
        self.cluster.idle.append(place)

    def _answer(self, ready: Any, place: Place, item: _Item) -> tuple[Any] | None:
        """The answer; None when the item was lost and is held again. WorkerError."""
        try:
            told, *files = self.ray.get(ready)
            found = json.loads(told)
        except self.ray.exceptions.RayError as error:
            self.cluster.dismiss(place)
            if not _is_loss(self.ray, error):
                raise WorkerError(f"{place.node}: {_last_line(error)}", item.value) from None
            self._lost(item, place, _first_line(error))
            return None
        self.cluster.idle.append(place)
        if found.get("died"):
            self._lost(item, place, found["error"])
            return None
        if "error" in found:
            for line in found["said"]:
                print(line, file=sys.stderr)
            raise WorkerError(found["error"], item.value if found["began"] else None)
        for name, data in files:
            assert self.keep
            atomic_write(self.keep / check_name(name), data)
        return (found["answer"],)

    def _lost(self, item: _Item, place: Place, why: str) -> None:
        item.lost += 1
        if item.lost >= MOST_LOST:
            raise WorkerError(
                f"{item.value} was lost {item.lost} times with its worker, so it may be what ends them "
                f"(memory?); the last, on {place.node}: {why}", item.value, True,
            )  # fmt: skip
        self.held.appendleft(item)


def _is_loss(ray: Any, error: Exception) -> bool:
    """Whether a place or its node is gone, rather than its code at fault."""
    lost = ("RayActorError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")
    kinds = tuple(getattr(ray.exceptions, name) for name in lost)
    return isinstance(error, kinds) and not getattr(error, "actor_init_failed", False)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1] if lines else type(error).__name__)[:300]


def _compare(told: dict[str, Any]) -> None:
    """ClusterError for a node with other versions: its answers could be others."""
    here, there = cluster_worker.installed(), told["installed"]
    for name in here | there:
        if here.get(name) != there.get(name):
            what = f"{name} {there.get(name, 'not at all')}, this machine {here.get(name, 'not at all')}"
            fix = f"pip install {name}=={here[name]}" if name in here and name.islower() else "install the same"
            raise ClusterError(f"node {told['node']} has {what}, so its answers could differ; {fix} on every node")
