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
from envs.executor import Item, WorkerError, cores
from envs.files import MIB
from envs.parcels import check_name, digest, wrap
from envs.process import ROOT, start_file
from envs.terminal import printable
from envs.writing import atomic_write

MOST_FAILED = 20  # places in a row that never came to work
PATIENCE = 15.0  # seconds without any place, then it is said what is waited for
START = "ray start --head --ray-client-server-port=10001"


class ClusterError(EnvError):
    """The cluster cannot be used as it is; the message names the fix."""


# ----------------------------------------------------------------------------------------------------
# The cluster that this process is connected to: at most one, until the process ends.


@dataclass(eq=False)
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
        self._places: set[Place] = set()
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
        place = Place(self._worker.remote())
        self._places.add(place)
        return place

    def dismiss(self, place: Place) -> None:
        """End a place at once, whatever it does."""
        self._places.discard(place)
        with suppress(Exception):  # it may be gone, and the cluster with it
            self.ray.kill(place.actor, no_restart=True)

    def release(self, places: list[Place]) -> None:
        """Give back places that are idle: their children end in order, within some seconds."""
        with suppress(Exception):  # the cluster may be gone
            ending = [place.actor.close.remote() for place in places]
            self.ray.wait(ending, num_returns=len(ending), timeout=10) if ending else None
        for place in places:
            self.dismiss(place)

    def close(self) -> None:
        """End all places, and a Ray that was started here."""
        atexit.unregister(self.close)
        for place in list(self._places):
            self.dismiss(place)
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
    os.environ.setdefault("RAY_worker_niceness", "0")  # as nice as this command, not 15 more
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
# The executor.


@dataclass
class _Sent:
    """A job or an item as it travels: its text, and ObjectRefs of the parcels that the text names."""

    text: str
    refs: list[list[Any]]


class Ray:
    """An `envs.executor.Executor`: its arguments are those of `envs.crew.crew`."""

    def __init__(
        self, address: str, target: str, workers: int, explain: str = "", reads: Sequence[str] = (), writes: str = ""
    ) -> None:  # fmt: skip
        self.address, self.target, self.workers, self.explain = address, target, max(1, workers), explain
        self.reads, self.writes = reads, writes

    def map(self, job: Any, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it, ClusterError too."""
        with self.crew(job) as crew:
            yield from crew.map(items)

    def crew(self, job: Any, most: int | None = None) -> RayCrew:
        """Places that stay for several `map`s; a context. `most`: there will be no more items at once."""
        return RayCrew(connected(self.address), self, job, self.workers if most is None else min(self.workers, most))


class RayCrew:
    """Places of the cluster that have been told the job, each asked for when there is first something to do for it."""

    def __init__(self, cluster: Cluster, executor: Ray, job: Any, count: int) -> None:
        self._cluster, self._ray, self._executor, self._count = cluster, cluster.ray, executor, count
        self._idle: list[Place] = []
        self._doing: dict[Any, tuple[Place, Item]] = {}
        self._coming: dict[Any, Place] = {}
        self._held: deque[Item] = deque()  # taken, and given to nobody yet
        self._failed = 0
        self._keep = self._folder(job)
        backends = json.loads(next(iter(registered().values()), "{}"))
        order = {"target": executor.target, "explain": executor.explain, "writes": executor.writes}
        self._order = self._packed(job, **order, backends=backends)

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        """The answer of every item, in the order in which they are ready. WorkerError ends it, ClusterError too.

        No more items are taken than there are workers. When the caller stops early, or something fails, places that are
        busy are ended at once.
        """
        todo = iter(items)
        try:
            while self._take(todo):
                self._give()
                ready = self._wait()
                if ready in self._coming:
                    self._come(ready)
                    continue
                place, item = self._doing.pop(ready)
                yield from self._answers(ready, place, item)
        finally:
            for place in (*self._coming.values(), *(place for place, _ in self._doing.values())):
                self._cluster.dismiss(place)
            self._coming, self._doing = {}, {}
            self._held.clear()

    def close(self) -> None:
        """Give the places back: children end in order. Safe to call twice."""
        idle, self._idle = self._idle, []
        self._cluster.release(idle)

    def __enter__(self) -> RayCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what travels

    def _folder(self, value: Any) -> Path | None:
        """Where the files belong that are written for a job or an item."""
        named = value.get(self._executor.writes) if isinstance(value, dict) else None
        return Path(named) if named else None

    def _packed(self, value: Any, **more: Any) -> _Sent:
        """A job or an item, with the files that it names."""
        keys = [key for key in self._executor.reads if isinstance(value, dict) and value.get(key)]
        paths = {key: Path(value[key]) for key in keys}
        sent = {key: self._cluster.send(path) for key, path in paths.items()}
        reads = {key: (name, not paths[key].is_dir()) for key, (name, _) in sent.items()}
        # in a list: Ray would fetch a bare ObjectRef for every place
        return _Sent(json.dumps({"value": value, "reads": reads, **more}), [[ref] for _, ref in sent.values()])

    # --- who does what

    def _take(self, todo: Iterator[Any]) -> bool:
        """Take as many items as there are workers for; whether anything is left to wait for."""
        while len(self._held) + len(self._doing) < self._count:
            try:
                self._held.append(Item(next(todo)))
            except StopIteration:
                break
        return bool(self._held or self._doing)

    def _give(self) -> None:
        while self._held and self._idle:
            place, item = self._idle.pop(), self._held.popleft()
            order, sent = self._order, self._packed(item.value)
            answer = place.actor.do.remote(order.text, order.refs, sent.text, sent.refs)
            self._doing[answer] = place, item
        while len(self._coming) < len(self._held):
            place = self._cluster.hire()
            self._coming[place.actor.hello.remote()] = place

    def _wait(self) -> Any:
        """Something that is ready; says once what is waited for."""
        began, said = time.monotonic(), bool(self._doing)
        while True:
            ready, _ = self._ray.wait([*self._doing, *self._coming], num_returns=1, timeout=PATIENCE / 3)
            if ready:
                return ready[0]
            if not said and time.monotonic() - began >= PATIENCE:
                said = True
                print("triune: waiting for a free core of the cluster; see `ray status`", file=sys.stderr, flush=True)

    def _come(self, ready: Any) -> None:
        """A place says hello."""
        place = self._coming.pop(ready)
        try:
            told = json.loads(self._ray.get(ready))
        except self._ray.exceptions.RayError as error:
            self._cluster.dismiss(place)
            self._failed += 1
            if self._failed >= MOST_FAILED or not _is_loss(self._ray, error):
                raise ClusterError(
                    f"no worker can start: {_last_line(error)}; every node needs this Triune (docs/cluster.md)"
                ) from None
            return
        place.node, self._failed = told["node"], 0
        self._idle.append(place)
        _compare(told)

    def _answers(self, ready: Any, place: Place, item: Item) -> Iterator[Any]:
        """The answer; none when the item was lost and is held again. WorkerError."""
        try:
            told, *files = self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            self._cluster.dismiss(place)
            if not _is_loss(self._ray, error):
                raise WorkerError(f"{place.node}: {_last_line(error)}", item.value) from None
            self._lost(item, place, _first_line(error))
            return
        self._idle.append(place)
        found = json.loads(told)
        if found.get("died"):
            self._lost(item, place, found["error"])
            return
        if "error" in found:
            for line in found["said"]:
                print(line, file=sys.stderr)
            raise WorkerError(found["error"], item.value if found["began"] else None)
        for name, data in files:
            folder = self._folder(item.value) or self._keep
            assert folder
            atomic_write(folder / check_name(name), data)
        yield found["answer"]

    def _lost(self, item: Item, place: Place, why: str) -> None:
        item.again(why, f", on {place.node}")
        self._held.appendleft(item)


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
