"""`triune review` as a command: where its frames come from, how it ends, what a kill cannot take."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from review_kit import Client, collected, played, shown, started

import triune
from data_flywheel.errors import DataError
from data_flywheel.labels.review_queue import ReviewQueue, progress
from data_flywheel.labels.store import LabelStore
from triune.cli import build_parser, main
from triune.commands.review import open_session
from triune.console import Console
from triune.review.session import ReviewSession


def opened(folder: Path, *words: str) -> ReviewSession:
    """The session of a command line, with labels in `folder`."""
    args = build_parser("review").parse_args(["review", "pong", "--labels", str(folder), *words])
    return open_session(triune.load("pong"), args, Console())


def test_the_most_suspicious_frames_of_a_data_set_are_taken(tmp_path: Path) -> None:
    dataset = collected(tmp_path / "pong")
    start = triune.load("pong").schema.slot("player").start
    for shard in list(dataset):
        shard.scenes[1:4, start + 1] += 2.0  # labels that the eyes cannot agree with
        dataset.write(shard)
    words = ("--data", str(tmp_path / "pong"), "--most", "6")
    first, again = (opened(tmp_path / "labels", *words) for _ in range(2))
    assert first.queue == again.queue and first.title == "Pong" and first.who == "reviewer"
    found = [(item.frame.split, item.frame.step, item.reasons[0][0]) for item in first.queue.items]
    assert sorted(found) == [(split, step, "disagreement") for split in ("train", "val") for step in (1, 2, 3)]
    for index, item in enumerate(first.queue.items):
        assert set(first.frame(index)["parts"]) == {"ball", "player", "enemy"} and first.png(index)[:4] == b"\x89PNG"
        assert len(again.store.standing(item.frame)) == 1  # the data set's own label, entered once


def test_odd_moments_of_recorded_play_are_taken(tmp_path: Path) -> None:
    episode, _ = played(60, keep_frames=False)
    ball = triune.load("pong").schema.slot("ball").start
    episode.scenes[41:44, ball + 7] = 0.5
    episode.save(tmp_path / "play" / "seed-5.npz")
    (tmp_path / "play" / "torn.npz").write_bytes(b"PK")
    session = opened(tmp_path / "labels", "--data", str(tmp_path / "play"))
    steps = [item.frame.step for item in session.queue.items if item.reasons[0][:2] == ("low sure", 1.0)]
    assert steps == [41, 42, 43] and session.png(0)[:4] == b"\x89PNG"
    assert session.frame(0)["parts"] == {} and session.frame(0)["belief"]["sure"]["ball"] == [0.5]


def test_a_queue_may_name_data_that_went(queue: ReviewQueue, tmp_path: Path) -> None:
    from dataclasses import replace

    replace(queue, data=(str(tmp_path / "gone"),)).save(tmp_path / "queue.json")
    with pytest.raises(DataError, match="gone: no such data"):
        opened(tmp_path / "labels", "--queue", str(tmp_path / "queue.json"))


def test_ctrl_c_leaves_everything_saved_and_the_next_start_goes_on(queue: ReviewQueue, tmp_path: Path) -> None:
    queue.save(tmp_path / "queue.json")
    words = (
        "pong",
        "--queue",
        str(tmp_path / "queue.json"),
        "--labels",
        str(tmp_path / "labels"),
        "--who",
        "anna",
        "--json",
    )
    process, client = started(*words)
    frame = client.get("frame/0")
    assert frame["parts"]["ball"]["source"] == "teacher"  # the data set's own labels were entered
    assert client.save(0, "accept", shown(frame))[0] == 200 and client.save(1, values={"ball": [None]})[0] == 200
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    told = json.loads(out)
    assert process.returncode == 0 and (told["done"], told["accepted"], told["edited"], told["total"]) == (1, 1, 1, 6)
    store = LabelStore(told["labels"])
    again, client = started(*words)
    state = client.get("state")
    assert state["statuses"][:2] == ["accepted", "edited"] and state["first"] == 1 and state["who"] == "anna"
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert len(list(LabelStore(told["labels"]))) == len(list(store))  # nothing was entered twice


UNDONE = "undone"


def killed(folder: Path, queue: Path, rounds: range) -> None:
    """Kill the program in the middle of a reviewer's work, again and again; what it acknowledged must be there."""
    known: dict[str, str] = {}
    for number in rounds:
        process, client = started("pong", "--queue", str(queue), "--labels", str(folder))
        generator = random.Random(number)
        acknowledged: list[tuple[str, str]] = []
        work(client, generator, acknowledged, process.kill)
        process.wait(timeout=60)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        known |= dict(acknowledged)
        store = LabelStore(folder)
        assert store.problems == []
        for name, note in known.items():
            label = store.label(name)
            assert store.retracted(name) if note == UNDONE else note == told(label.verdict, label.values)
        counts = progress(ReviewQueue.load(queue), store).counts
        assert counts["total"] == 6
    assert len(known) >= len(rounds)


def told(verdict: str, values: Any) -> str:
    return json.dumps([verdict, values], sort_keys=True)


def work(
    client: Client, generator: random.Random, acknowledged: list[tuple[str, str]], kill: Callable[[], None]
) -> None:
    """Save one thing after the other, and undo some, until nobody answers: soon after a few answers comes the kill.

    `acknowledged` gets label and content of each answer.
    """
    left = generator.randrange(1, 5)
    while True:
        index, x = generator.randrange(6), generator.randrange(10, 150)
        reject = generator.random() < 0.2
        values: dict[str, Any] = {} if reject else {"ball": [[float(x), 100.0, 2.0, 4.0]]}
        try:
            status, answer = client.save(index, "reject" if reject else "", values)
            name = answer["last"]
            acknowledged.append((name, told("reject" if reject else "", values)))
            if generator.random() < 0.2:
                status, _ = client.post("undo", last=name)
                acknowledged.append((name, UNDONE))
        except (OSError, ValueError, AssertionError):
            return
        except Exception as error:  # a connection that ends in the middle has many names
            assert "http" in type(error).__module__, error
            return
        assert status == 200
        left -= 1
        if not left:
            threading.Timer(generator.uniform(0, 0.05), kill).start()


def test_killed_between_actions_nothing_acknowledged_is_lost(queue: ReviewQueue, tmp_path: Path) -> None:
    queue.save(tmp_path / "queue.json")
    killed(tmp_path / "labels", tmp_path / "queue.json", range(2))


@pytest.mark.slow
def test_killed_many_times_nothing_acknowledged_is_lost(queue: ReviewQueue, tmp_path: Path) -> None:
    queue.save(tmp_path / "queue.json")
    killed(tmp_path / "labels", tmp_path / "queue.json", range(50, 100))


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["review", "pnog"], 2, "did you mean 'pong'"),
        (["review", "pong"], 1, "triune collect pong"),
        (["review", "pong", "--queue", "gone.json"], 1, "gone.json: no such triune review queue"),
        (["review", "pong", "--data", "gone"], 1, "triune collect pong"),
        (["review", "pong", "--most", "0"], 2, "from 1"),
    ],
)
def test_mistakes_get_one_line_with_the_fix(
    words: list[str], code: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--json", "--no-open"]) == code
    assert hint in json.loads(capfd.readouterr().out)["error"]
