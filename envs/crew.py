"""Where work is done: by processes of this machine, or on a cluster (docs/cluster.md).

`choose` is told once a process, by --executor or the environment; `crew` gives the executor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from envs import executor
from envs.env import nearest
from envs.errors import EnvError
from envs.executor import VARIABLE, Executor, Processes

CHOICES = ("local", "ray", "ray://HOST:PORT")


def choose(name: str) -> None:
    """Where work is done from now on, by children of this process too; EnvError names the nearest choice."""
    os.environ[VARIABLE] = _checked(name, "--executor")


def chosen() -> str:
    """"local", "ray" or "ray://HOST:PORT"; EnvError for an environment that names something else."""
    return _checked(os.environ.get(VARIABLE) or "local", VARIABLE)


def _checked(name: str, where: str) -> str:
    if name not in ("local", "ray") and not name.startswith("ray://"):
        raise EnvError(f"{where}: unknown executor {name!r}{nearest(name, CHOICES)}")
    return name


def crew(
    target: str, workers: int, explain: str = "", reads: Sequence[str] = (), writes: str = ""
) -> Executor:  # fmt: skip
    """Who does the work; the first three arguments are those of `Processes`.

    reads    keys of the job that name folders or files: on a cluster each is sent by content, a folder with the regular
             files at its top, and the key names a copy, read-only
    writes   the key of the job that names a folder, or holds None: files that the work writes there, for the item that
             it does, are in that folder of this machine once the item is answered
    """
    if chosen() == "local":
        return Processes(target, workers, explain)
    from envs.cluster import Ray

    return Ray(chosen(), target, workers, explain, reads, writes)


def cores() -> int:
    """Cores that this process may use, or those of the cluster."""
    if chosen() != "local":
        from envs.cluster import connected

        return connected(chosen()).cores()
    return executor.cores()
