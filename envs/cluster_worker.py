"""What works for `envs.cluster` on a node: an actor of Ray with one child process of `envs.executor`.

The actor unpacks what it is sent, gives items to the child, and sends back answers, with the files that the child wrote
for each. Messages are JSON text and bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import threading
from collections import deque
from contextlib import ExitStack, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from envs.env import VARIABLE, packages
from envs.errors import EnvError
from envs.executor import Child, WorkerError
from envs.files import open_file
from envs.parcels import Shelf, cache_folder, check_name
from envs.process import ROOT

LAYERS = ("envs", "perception", "logic", "data_flywheel", "supervisor", "triune")
TAIL = 20  # lines of what a child said last


@cache
def installed() -> dict[str, str]:
    """What decides an answer and must be the same on every node: versions, and the sha256 of Triune's own code."""
    code = hashlib.sha256()
    for path in sorted(p for layer in LAYERS for p in (ROOT / layer).rglob("*.py")):
        code.update(f"{path.relative_to(ROOT)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    found = {"Triune's code": code.hexdigest()[:12], "python": platform.python_version()}
    for name in ("numpy", "onnxruntime", "opencv-python", *packages().values()):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


class Worker:
    """One place on a node. Calls come one at a time."""

    def __init__(self) -> None:
        self._order, self._said = "", deque[str](maxlen=TAIL)
        self._child: Child | None = None
        self._writes = ""  # the key that names where to write
        self._folder = Path()  # where the child writes
        self._held = ExitStack()  # parcels of the job, and that folder

    def hello(self) -> str:
        """Which node this is, and what is installed there."""
        return json.dumps({"node": platform.node(), "pid": os.getpid(), "installed": installed()})

    def do(self, order: str, order_refs: list[Any], item: str, item_refs: list[Any]) -> list[Any]:
        """[what came of an item, then of every file that it wrote its name and bytes].

        order  what the child is: target, explain, value (the job), reads, writes, backends
        item   value, reads
        refs   an ObjectRef for each of `reads` (key -> hash of a parcel, whether it is a single file): fetched only
               when the node has not got it
        """
        told: dict[str, Any]
        try:
            if order != self._order or self._child is None:
                self._start(order, order_refs)
            assert self._child
            with ExitStack() as held:
                self._child.give(self._local(json.loads(item), item_refs, held))
                told = {"answer": self._child.answer()}
            return [json.dumps(told), *self._written()]
        except WorkerError as error:
            told = {"error": str(error), "began": error.item is not None, "died": error.died}
        except (EnvError, OSError) as error:  # of the cache and the files
            told = {"error": f"{platform.node()}: {error}", "began": False, "died": False}
        self._stop()
        return [json.dumps(told | {"said": list(self._said)})]

    def close(self) -> None:
        """No more items: the child ends in order."""
        self._stop()

    def _start(self, text: str, refs: list[Any]) -> None:
        self._stop()
        order = json.loads(text)
        self._writes = order["writes"]
        self._folder = self._held.enter_context(Shelf(cache_folder()).workplace())
        job = self._local(order, refs, self._held)
        variables = {VARIABLE: json.dumps(order["backends"])} if order["backends"] else {}
        self._said.clear()
        self._child = Child(order["target"], order["explain"], job, variables, stderr=subprocess.PIPE)
        threading.Thread(target=_listen, args=(self._child.process.stderr, self._said), daemon=True).start()
        self._order = text

    def _local(self, told: dict[str, Any], refs: list[Any], held: ExitStack) -> Any:
        """The value of a job or an item, with this node's paths in it; parcels stay as long as `held` does."""
        value = told["value"]
        for (key, (name, is_file)), ref in zip(told["reads"].items(), refs, strict=True):
            folder = self._fetch(Shelf(cache_folder()), name, ref, held)
            value[key] = str(next(folder.iterdir()) if is_file else folder)
        if isinstance(value, dict) and value.get(self._writes):
            value[self._writes] = str(self._folder)
        return value

    def _fetch(self, shelf: Shelf, name: str, ref: Any, held: ExitStack) -> Path:
        """The folder of a parcel."""
        import ray

        folder = held.enter_context(shelf.using(name))
        if folder is None:
            shelf.put(name, ray.get(ref[0]))
            folder = held.enter_context(shelf.using(name))
        if folder is None:
            raise WorkerError(f"{platform.node()}: {shelf.root} does not keep what is written there")
        return folder

    def _written(self) -> list[Any]:
        """Name and bytes of every file that the last item wrote, which are removed here."""
        found: list[Any] = []
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") or path.is_dir():
                continue
            with open_file(path, "triune episode", WorkerError, self._folder) as file:
                found.append([check_name(path.name), file.read()])
            path.unlink()
        return found

    def _stop(self) -> None:
        child, self._child, self._order = self._child, None, ""
        if child is not None:
            child.close()
        self._held.close()


def _listen(stream: Any, said: deque[str]) -> None:
    """The last lines of what a child says, until it ends."""
    with stream:
        for line in stream:
            said.append(line[:500].rstrip("\n"))
