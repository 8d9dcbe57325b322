"""Commands on a Ray of this machine: what they give is what local workers give, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason='needs Ray: pip install "triune[cluster]"')

from cli_kit import ROOT
from cluster_kit import Nodes, gone, waited, workers
from kills_kit import KINDS, Improve, in_shared_memory, strike, under_fire, unheld

from envs import cluster

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def mark() -> Iterator[str]:
    """In the environment of everything that is started here; what is left in shared memory at the end is told."""
    before, shared = dict(os.environ), set(os.listdir("/dev/shm"))
    os.environ["TRIUNE_TEST_MARK"] = mark = f"commands-{os.getpid()}"
    os.environ["RAY_ADDRESS"] = "local"  # whatever else runs on this machine
    yield mark
    gone(mark)
    ours = [name for name in set(os.listdir("/dev/shm")) - shared if _mine(name)]
    os.environ.clear()
    os.environ.update(before)
    assert not ours


def _mine(name: str) -> bool:
    """Whether nobody else has it open: then whoever made it is gone."""
    for link in Path("/proc").glob("[0-9]*/map_files/*"):
        try:
            if os.readlink(link) == f"/dev/shm/{name}":
                return False
        except OSError:
            continue
    return True


def started(*words: str, cwd: Path, executor: str = "ray", **env: str) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
    line = [sys.executable, "-m", "triune", *words, "--executor", executor, "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=cwd, env=full, stdout=pipe, stderr=pipe, text=True, process_group=0)


def payload(*words: str, cwd: Path, executor: str = "ray", **env: str) -> dict[str, Any]:
    process = started(*words, cwd=cwd, executor=executor, **env)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(out)  # nothing else on standard output
    return found


EVAL = ("eval", "cartpole", "--seeds", "1000:1008")
GAMES = ("scores", "frames", "steps", "interventions", "reasons", "faults", "drift")


def test_eval_and_collect_give_what_local_workers_give(tmp_path: Path) -> None:
    found = {e: payload(*EVAL, "--workers", "2", cwd=tmp_path, executor=e) for e in ("local", "ray")}
    assert [found["ray"][k] for k in GAMES] == [found["local"][k] for k in GAMES]
    words = ("collect", "cartpole", "--frames", "250", "--workers", "2", "--out")
    made = {e: payload(*words, f"data-{e}", cwd=tmp_path, executor=e) for e in ("local", "ray")}
    assert made["ray"]["hash"] == made["local"]["hash"] and made["ray"]["frames"] == 250


def test_a_recording_stays_on_one_machine(tmp_path: Path) -> None:
    process = started(*EVAL, "--record", "folder", cwd=tmp_path)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2 and "--record writes into a folder of one machine" in errors


def test_an_address_is_reached_as_a_client(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = Nodes(tmp_path / "nodes", 1, ray_client_server_port=port)
    try:
        found = payload(*EVAL, cwd=tmp_path, executor=f"ray://127.0.0.1:{port}")
        assert found["scores"] == [500.0] * 8 and found["workers"] == 2
        assert len(list((tmp_path / found["run"] / "episodes").iterdir())) == 8
    finally:
        nodes.close()


LONG = ("eval", "cartpole", "--seeds", "1000:1200", "--out", "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_nothing_behind(tmp_path: Path, mark: str, number: int) -> None:
    process = started(*LONG, cwd=tmp_path, TMPDIR=tempfile.gettempdir())
    waited(lambda: len(list((tmp_path / "run").glob("episodes/*.npz"))) >= 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    waited(lambda: not workers() and not workers("envs.remote_process"))
    gone(mark)  # Ray's own processes too
    waited(lambda: not list(Path(tempfile.gettempdir()).glob(f"triune-ray-{process.pid}-*")))
    if number == signal.SIGINT:
        assert process.returncode == 130 and "continue with: triune eval" in errors and "Traceback" not in errors


KILLS, SEED = int(os.environ.get("TRIUNE_RAY_KILLS", "30")), int(os.environ.get("TRIUNE_KILL_SEED", "0"))
EVERY_S = float(os.environ.get("TRIUNE_KILL_EVERY", "2.0"))


@pytest.mark.slow
def test_kills_at_random_change_no_ledger_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the command, children, simulators, isolated policies, and of Ray's actors and nodes."""
    shared, draw, nodes_left = in_shared_memory(), random.Random(SEED), 3
    calm = Improve(tmp_path / "calm", stored=True)
    under_fire(calm, draw, 0, EVERY_S)
    monkeypatch.setenv("TRIUNE_TEST_MARK", str(tmp_path))
    nodes = Nodes(tmp_path / "nodes", 2)
    try:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)

        def hit(root: int) -> str | None:
            nonlocal nodes_left
            if nodes_left and draw.random() < 0.1:
                nodes_left -= 1
                nodes.kill()
                return "node"
            return strike(root, str(tmp_path), draw, (*KINDS, "actor", "actor"))

        run = Improve(tmp_path / "run", "ray", str(tmp_path))
        struck = under_fire(run, draw, KILLS, EVERY_S, hit)
        print(f"killed: {dict(struck)}", flush=True)
        assert run.ledger() == calm.ledger()
        run.nothing_left(shared | in_shared_memory())
        for cache in nodes.caches():
            assert len(list(cache.glob(".work/*"))) <= 2, "at most of those that were killed last"
    finally:
        nodes.close()
    gone(str(tmp_path))
    waited(lambda: not unheld(shared), lambda: unheld(shared))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cluster.ClusterError, match=r'pip install "triune\[cluster\]"'):
        cluster.connected("ray")
