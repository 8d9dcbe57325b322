"""Work on a real Ray of several nodes on this machine: the same answers as here, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason='needs Ray: pip install "triune[cluster]"')

from cluster_kit import HERE, Nodes, actor_of, alive, waited, workers

from envs import cluster, cluster_worker
from envs.cluster import ClusterError
from envs.crew import choose, chosen, cores, crew
from envs.env import register
from envs.errors import EnvError
from envs.executor import WorkerError
from envs.spec import ZOO
from triune.play.evaluation import evaluate
from triune.system import load

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    before = dict(os.environ)
    os.environ["TRIUNE_TEST_MARK"] = f"cluster-{os.getpid()}"
    made = Nodes(tmp_path_factory.mktemp("nodes"))
    os.environ["RAY_ADDRESS"] = made.address
    choose("ray")
    yield made
    cluster.disconnect()
    made.close()
    waited(lambda: not workers())
    os.environ.clear()
    os.environ.update(before)


def done(job: dict[str, Any], items: Any, count: int = 4, explain: str = "", **paths: Any) -> list[Any]:
    return list(crew(HERE + "doing", count, explain, **paths).map(job, items))


def test_every_item_is_answered_once_by_places_of_several_nodes(nodes: Nodes) -> None:
    assert chosen() == "ray" and cores() == 4
    answers = done({"seconds": 0.2}, range(24))
    assert sorted(a["item"] for a in answers) == list(range(24))
    assert len({a["cache"] for a in answers}) == 2 and len({a["pid"] for a in answers}) == 4
    assert {a["wall"] for a in answers} == {"1"}  # the same child as a local worker's
    assert done({}, []) == []
    with crew(HERE + "doing", 4).crew({"seconds": 0.2}) as team:
        pids = {a["pid"] for a in team.map(range(8))}
        assert len(pids) == 4 and {a["pid"] for a in team.map(range(8))} <= pids  # children stay
    waited(lambda: not any(map(alive, pids)))


def test_no_more_items_are_taken_than_there_are_workers(nodes: Nodes) -> None:
    taken, answered = 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(30):
            taken += 1
            assert taken - answered <= 4
            yield i

    for _ in crew(HERE + "doing", 4).map({}, items()):
        answered += 1
    assert answered == taken == 30


def test_a_folder_is_sent_once_to_each_node_and_read_only(nodes: Nodes, tmp_path: Path) -> None:
    answers = done({"task": str(ZOO / "cartpole"), "seconds": 0.1}, range(16), reads=["task"])
    folders = {a["task"] for a in answers}
    assert len(folders) == 2 and all(Path(f).parent in nodes.caches() for f in folders)
    for name in folders:
        folder = Path(name)
        assert (folder / "policy.py").read_bytes() == (ZOO / "cartpole" / "policy.py").read_bytes()
        assert not os.stat(folder / "policy.py").st_mode & 0o222 and not (folder / "lineage").exists()
    made = {f: os.stat(f).st_ino for f in folders}
    done({"task": str(ZOO / "cartpole"), "seconds": 0.1, "other": 1}, range(16), reads=["task"])
    assert {f: os.stat(f).st_ino for f in folders} == made  # another job, the same content: nothing was sent
    policy = tmp_path / "mine.py"
    policy.write_text("a text\n")
    [answer] = done({"task": str(policy)}, [1], reads=["task"])
    assert answer["task"].endswith("/mine.py") and Path(answer["task"]).read_text() == "a text\n"
    items = [{"task": str(policy), "n": i} for i in range(6)]  # of items, too
    assert {a["item"]["task"].rsplit("/", 1)[1] for a in done({}, items, reads=["task"])} == {"mine.py"}


def test_files_come_back_by_value(nodes: Nodes, tmp_path: Path) -> None:
    done({"out": str(tmp_path / "kept")}, range(9), writes="out")
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == sorted(f"{i}.txt" for i in range(9))
    assert (tmp_path / "kept" / "7.txt").read_text() == "written for 7"
    assert all(a["item"] == i for i, a in zip([5], done({"out": None}, [5], writes="out"), strict=True))


def test_failures_are_told_in_words_or_with_their_traceback(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkerError, match="^in words: no x$") as caught:
        done({"fail": "x"}, ["w", "x"], 1, HERE + "explain")
    assert caught.value.item == "x" and not caught.value.died
    capfd.readouterr()
    with pytest.raises(WorkerError, match="^ValueError: no x$"):
        done({"fail": "x"}, ["x"])
    assert "Traceback" in capfd.readouterr().err
    with pytest.raises(WorkerError, match="cannot start") as caught:
        done({"start": False}, ["x"])
    assert caught.value.item is None
    with pytest.raises(WorkerError, match="no such|cannot load|No module"):
        list(crew("no_such_module:doing", 1).map({}, [1]))
    assert done({}, [1])[0]["item"] == 1


def test_an_item_that_ends_its_workers_is_named_after_some_tries(nodes: Nodes) -> None:
    with pytest.raises(WorkerError, match=r"5 was lost 5 times with its worker.*exit code -9") as caught:
        done({"die": 5}, range(9), 2)
    assert caught.value.item == 5 and caught.value.died


def test_who_stops_early_does_not_wait_for_the_rest(nodes: Nodes) -> None:
    answers = crew(HERE + "doing", 2).map({"seconds": 3600}, iter([1, 2]))
    with pytest.raises(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 3)
        old = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            next(answers)
        finally:
            signal.signal(signal.SIGALRM, old)
    answers.close()  # type: ignore[attr-defined]
    waited(lambda: not workers())


def test_children_know_the_backends_that_were_registered_here(nodes: Nodes) -> None:
    register("dot", "tests.kits.dot_world:DOT")
    job = {"backend": "dot"}
    [answer] = crew("tests.envs.test_executor:doing", 1).map(job, [1])
    assert answer["backend"] == ""


def test_nodes_with_other_versions_are_refused_in_one_line(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.disconnect()
    for name, version, fix in (
        ("numpy", "0.9", "pip install numpy==0.9"), ("Triune's code", "feedback", "install the same"),
        ("other", "1", "not at all"),
    ):  # fmt: skip
        here = cluster_worker.installed() | {name: version}
        with monkeypatch.context() as patch:
            patch.setattr(cluster_worker, "installed", lambda here=here: here)
            with pytest.raises(ClusterError, match=f"node .* has {name} .*{fix}") as caught:
                done({}, [1])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rey", "did you mean 'ray'"), ("http://x:1", "choose|mean"), ("ray://nowhere", "HOST:PORT"),
        ("ray://127.0.0.1:9", "nobody answers"),
    ],
)  # fmt: skip
def test_wrong_addresses_name_the_fix(nodes: Nodes, name: str, told: str) -> None:
    cluster.disconnect()
    try:
        with pytest.raises(EnvError, match=told):
            choose(name)
            done({}, [1])
    finally:
        choose("ray")


# ----------------------------------------------------------------------------------------------------
# Games.


SEEDS = range(1000, 1012)
WALL = ("seconds", "frames_per_second", "workers", "run", "deadline_misses")


def told(result: Any) -> dict[str, Any]:
    """Everything but times."""
    found = {k: v for k, v in result.to_dict().items() if k not in WALL}
    found["episodes"] = [{k: v for k, v in e.items() if k not in WALL} for e in found["episodes"]]
    return found


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    """What two workers of this machine make of it."""
    before = chosen()
    choose("local")
    try:
        return told(evaluate(load("cartpole"), seeds=SEEDS, workers=2))
    finally:
        choose(before)


def test_games_are_the_same_and_their_episodes_come_back(
    nodes: Nodes, here: dict[str, Any], tmp_path: Path
) -> None:  # fmt: skip
    result = evaluate(load("cartpole"), seeds=SEEDS, workers=4, run=tmp_path / "run")
    assert told(result) == here
    assert sorted(p.stem for p in (tmp_path / "run" / "episodes").iterdir()) == [str(s) for s in SEEDS]


def test_a_policy_of_a_file_is_played_there_in_isolation(nodes: Nodes, tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    policy.write_text((ZOO / "cartpole" / "policy.py").read_text() + "\n# mine\n")
    system = load("cartpole", policy=policy)
    assert system.isolated
    on_ray = told(evaluate(system, seeds=[7, 8], workers=2))
    choose("local")
    try:
        assert on_ray == told(evaluate(system, seeds=[7, 8], workers=2))
    finally:
        choose("ray")


@pytest.mark.parametrize("seed", range(3))
def test_workers_places_and_nodes_that_are_killed_cost_only_their_games(
    nodes: Nodes, here: dict[str, Any], tmp_path: Path, seed: int
) -> None:  # fmt: skip
    draw, kills = random.Random(seed), 0

    def kill(done: int, total: int, record: Any) -> None:
        nonlocal kills
        if kills >= 5 or done == total:
            return
        kills += 1
        if kills == 3:
            nodes.kill()
            return
        there = workers()
        if there:
            victim = draw.choice(there)
            os.kill(actor_of(victim) or victim if draw.random() < 0.5 else victim, signal.SIGKILL)

    result = evaluate(load("cartpole"), seeds=SEEDS, workers=4, run=tmp_path / "run", progress=kill)
    assert kills == 5 and told(result) == here
    cluster.disconnect()
    waited(lambda: not workers() and not workers("envs.remote_process"))
