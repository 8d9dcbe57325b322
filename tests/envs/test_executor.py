"""Work over child processes: every item is answered, a death is named, and nothing outlives the parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from envs.env import backend, register
from envs.errors import Lost
from envs.executor import Processes, WorkerError

ROOT = Path(__file__).parents[2]
HERE = "tests.envs.test_executor:"


@contextmanager
def doing(job: dict[str, Any]) -> Iterator[Callable[[Any], Any]]:
    """The work of the children below."""

    def do(item: Any) -> Any:
        print("a library that talks")  # must not get into the answers
        if item == job.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 4 and "once" in job:
            with suppress(FileExistsError):
                Path(job["folder"], "once").touch(exist_ok=False)
                if job["once"] == "lost":
                    raise Lost("what it had started was killed")
                os.kill(os.getpid(), signal.SIGKILL)
        if item == job.get("fail"):
            raise ValueError(f"no {item}")
        if item == job.get("hang"):
            Path(job["folder"], "hangs").write_text(str(os.getpid()))
            time.sleep(600)
        if item == job.get("deaf"):
            Path(job["folder"], "hangs").write_text(str(os.getpid()))
            with suppress(SystemExit):
                time.sleep(600)
            time.sleep(600)
        if "cores" in job:
            return sorted(os.sched_getaffinity(0))
        return {"item": item, "pid": os.getpid(), "backend": job.get("backend") and backend(job["backend"]).default}

    if job.get("start") is False:
        raise RuntimeError("cannot start")
    yield do
    if "folder" in job:
        Path(job["folder"], f"ended-{os.getpid()}").touch()


def explain(error: Exception) -> str:
    return f"in words: {error}"


def test_every_item_is_answered_once_by_several_processes(tmp_path: Path) -> None:
    answers = list(Processes(HERE + "doing", 3).map({"folder": str(tmp_path)}, range(20)))
    assert sorted(a["item"] for a in answers) == list(range(20))
    pids = {a["pid"] for a in answers}
    assert 2 <= len(pids) <= 3 and os.getpid() not in pids
    assert len(list(tmp_path.glob("ended-*"))) == 3  # they left their work in order
    assert list(Processes(HERE + "doing", 3).map({}, [])) == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no process on a core")
def test_as_many_children_as_cores_have_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sorted(os.sched_getaffinity(0))
    if len(here) < 2:
        pytest.skip("there is one core")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(here[:2]))
    places = [list(Processes(HERE + "doing", n).map({"cores": True}, range(12))) for n in (2, 3)]
    assert {tuple(cores) for cores in places[0]} == {(here[0],), (here[1],)}
    assert {tuple(cores) for cores in places[1]} == {tuple(here)}


def test_a_crew_stays_until_it_is_closed(tmp_path: Path) -> None:
    with Processes(HERE + "doing", 2).crew({"folder": str(tmp_path), "fail": "bad"}) as crew:
        first = {a["pid"] for a in crew.map(["one"])}
        both = {a["pid"] for _ in range(3) for a in crew.map(range(8))}
        assert len(first) == 1 and first < both and len(both) == 2, "each starts when there is something to do"
        assert list(crew.map([])) == [] and not list(tmp_path.glob("ended-*"))
        with pytest.raises(WorkerError, match="no bad"):
            list(crew.map([1, "bad", *range(9)]))
        again = {a["pid"] for a in crew.map(range(8))}
        assert not again & both, "after a failure nobody is left in the middle of something"
    assert {int(p.name[6:]) for p in tmp_path.glob("ended-*")} >= again
    with pytest.raises(ProcessLookupError):
        os.kill(next(iter(again)), 0)


def test_what_ends_its_workers_again_and_again_is_an_error_that_names_it() -> None:
    told = r"^5 was lost 5 times .* a worker process died \(exit code -9\) while it did 5"
    with pytest.raises(WorkerError, match=told) as caught:
        list(Processes(HERE + "doing", 2).map({"die": 5}, range(9)))
    assert caught.value.item == 5 and caught.value.died


@pytest.mark.parametrize("how", ["killed", "lost"])
def test_a_worker_that_is_lost_costs_only_what_it_did(how: str, tmp_path: Path) -> None:
    """It was killed, or what it had started was."""
    with Processes(HERE + "doing", 2).crew({"once": how, "folder": str(tmp_path)}) as crew:
        answers = list(crew.map(range(9)))
        assert sorted(a["item"] for a in answers) == list(range(9)) and (tmp_path / "once").exists()
        assert len(list(crew.map(range(4)))) == 4


def test_a_failure_is_told_in_words_or_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkerError, match="^in words: no x$") as caught:
        list(Processes(HERE + "doing", 1, HERE + "explain").map({"fail": "x"}, ["w", "x"]))
    assert caught.value.item == "x" and not caught.value.died
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(WorkerError, match="^ValueError: no x$"):
        list(Processes(HERE + "doing", 1).map({"fail": "x"}, ["x"]))
    assert "Traceback" in capfd.readouterr().err
    with pytest.raises(WorkerError, match="cannot start") as caught:
        list(Processes(HERE + "doing", 1).map({"start": False}, ["x"]))
    assert caught.value.item is None


def test_who_stops_early_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    answers = Processes(HERE + "doing", 2).map({"hang": 0, "folder": str(tmp_path)}, range(5))
    assert next(answers)["item"] != 0
    waited(lambda: (tmp_path / "hangs").exists() and (tmp_path / "hangs").read_text() != "")
    answers.close()  # type: ignore[attr-defined]
    assert not alive((tmp_path / "hangs").read_text())


def test_a_child_that_misses_its_order_to_end_gets_another(tmp_path: Path) -> None:
    """An exception can get lost, in a destructor for example."""
    answers = Processes(HERE + "doing", 2).map({"deaf": 0, "folder": str(tmp_path)}, range(5))
    assert next(answers)["item"] != 0
    waited(lambda: (tmp_path / "hangs").exists() and (tmp_path / "hangs").read_text() != "")
    answers.close()  # type: ignore[attr-defined]
    assert not alive((tmp_path / "hangs").read_text())


def test_children_know_the_backends_that_were_registered_here() -> None:
    register("dot", "tests.kits.dot_world:DOT")
    [answer] = Processes(HERE + "doing", 1).map({"backend": "dot"}, [1])
    assert answer["backend"] == ""


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    code = (
        f"from envs.executor import Processes\nwork = Processes({HERE + 'doing'!r}, 2)\n"
        "import json, sys\nfor answer in work.map({}, range(10**6)):\n    print(json.dumps(answer), flush=True)\n"
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout
        pids = {json.loads(parent.stdout.readline())["pid"] for _ in range(50)}
        parent.kill()
    waited(lambda: not any(alive(pid) for pid in pids))


def waited(true: Callable[[], bool]) -> None:
    """For something that happens soon; a minute is a failure."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int | str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False
