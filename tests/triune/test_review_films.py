"""Films on the review page: what comes first, that no piece of them is held back, and any picture besides the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, make_task, picture
from cli_kit import inside
from review_kit import Client, serving

import triune.play.recording as recorders
from data_flywheel.datasets.film_queue import ROUND, film_queue
from data_flywheel.errors import DataError
from data_flywheel.labels.film_labels import Films
from data_flywheel.labels.label import FrameRef, Label
from data_flywheel.labels.review_queue import ReviewQueue
from data_flywheel.labels.store import LabelStore, StaleLabels
from triune.cli import build_parser
from triune.commands.review import open_session
from triune.console import Console
from triune.errors import UsageError
from triune.review.session import ReviewSession
from triune.system import System, load

LENGTH, PIECE = 210, 7  # pictures: 30 pieces, two of which are numbered into the test split of games
EMPTY: dict[str, Any] = {"box": [None], "hand": [None]}


def shown(number: int) -> np.ndarray:
    """A box that goes to the right, and for a second a hand."""
    return picture(number, (8 + number / 4, 20), (40, 30) if 150 <= number < 180 else None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task `belt` and the recording of a film, in many pieces."""
    folder = tmp_path_factory.mktemp("belt")
    make_task(folder / "belt")
    writer = cv2.VideoWriter(str(folder / "a.avi"), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (WIDTH, HEIGHT))
    for number in range(LENGTH):
        writer.write(cv2.cvtColor(shown(number), cv2.COLOR_RGB2BGR))
    writer.release()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorders, "PIECE", PIECE)
        done = inside("record", "belt", "--source", "a.avi", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def system(place: Path) -> System:
    return load(place / "belt")


@pytest.fixture(scope="module")
def films(place: Path, system: System) -> Films:
    return Films([place / "runs/recordings/belt"], system.spec)


@pytest.fixture
def store(system: System, tmp_path: Path) -> LabelStore:
    return LabelStore.create(tmp_path / "labels", "belt", system.schema, (HEIGHT, WIDTH))


@pytest.fixture
def session(place: Path, tmp_path: Path) -> ReviewSession:
    """As the command opens it, without a detector."""
    (place / "belt/perception.onnx").rename(tmp_path / "eyes")
    try:
        return opened(place, tmp_path / "labels")
    finally:
        (tmp_path / "eyes").rename(place / "belt/perception.onnx")


def opened(place: Path, labels: Path, *words: str) -> ReviewSession:
    recording = str(place / "runs/recordings/belt")
    given = ["review", str(place / "belt"), "--labels", str(labels), "--recording", recording, *words]
    return open_session(load(place / "belt"), build_parser("review").parse_args(given), Console())


def counted(state: dict[str, Any]) -> tuple[Any, ...]:
    """Pictures accepted, of them background, pictures begun, boxes of each thing."""
    return tuple(state["labelled"][name] for name in ("pictures", "background", "begun", "boxes"))


def numbers(films: Films, refs: list[FrameRef]) -> list[int]:
    return [films.pieces[ref.episode].numbers[ref.step] for ref in refs]


# --- what comes first -----------------------------------------------------------------------------------------------


def test_no_piece_of_a_film_is_held_back(films: Films, store: LabelStore) -> None:
    refs = [item.frame for item in film_queue(films, store, FPS, None, 1000).items]
    assert {ref.split for ref in refs} == {"train", "val", "test"}  # as games are split, by the number of the piece
    assert sorted(numbers(films, refs)) == list(range(0, LENGTH, 6)) and {r.episode for r in refs} == set(films.pieces)


def test_a_queue_of_films_comes_back_from_its_file_and_one_of_games_stays_strict(
    films: Films, store: LabelStore, tmp_path: Path
) -> None:
    queue = film_queue(films, store, FPS, None, 1000)
    again = ReviewQueue.load(queue.save(tmp_path / "queue.json"))
    assert again == queue and again.films
    assert ReviewSession(again, store, films).items == queue.items
    games = ReviewQueue(queue.task, queue.fingerprint, queue.items)
    with pytest.raises(DataError, match="frozen test set"):
        ReviewSession(games, store, films)


def test_curating_films_holds_no_piece_back(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("curate", "runs/recordings/belt", "--frames", "120", "--out", "chosen", "--task", "belt", "--json")
    done = inside(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    queue = ReviewQueue.load(place / "chosen/queue.json")
    assert queue.films and "test" in {item.frame.split for item in queue.items}
    assert "frozen test set" not in json.loads(done.stdout)["left_out"]
    given = ["review", "belt", "--queue", "chosen/queue.json", "--labels", str(tmp_path / "labels")]
    monkeypatch.chdir(place)
    session = open_session(load("belt"), build_parser("review").parse_args(given), Console())
    assert (
        session.state()["films"][0]["length"] == LENGTH
        and session.frame(session.open(0, 5)["index"])["film"]["at"] == 5
    )


def test_the_first_are_far_apart_in_time_and_looks(films: Films, store: LabelStore) -> None:
    queue = film_queue(films, store, FPS, None, 5)
    chosen = numbers(films, [item.frame for item in queue.items])
    assert chosen == sorted(chosen) and len(chosen) == 5 and queue.left_out["less telling"] == 30
    assert min(chosen) < 50 and max(chosen) > 150 and min(np.diff(chosen)) >= 12
    assert any(150 <= number < 180 for number in chosen)  # the hand is the one unusual look
    many = numbers(films, [item.frame for item in film_queue(films, store, FPS, None, 30).items])
    assert many[:ROUND] == sorted(many[:ROUND]) and many[ROUND:] == sorted(many[ROUND:])


def test_what_is_labelled_stands_at_the_head_and_the_others_keep_away(films: Films, store: LabelStore) -> None:
    first = film_queue(films, store, FPS, None, 8)
    refs = [item.frame for item in first.items]
    store.add([Label(ref, "person", "anna", EMPTY, 1.0, verdict="accept") for ref in refs])
    again = film_queue(films, store, FPS, None, 8)
    assert [item.frame for item in again.items[:8]] == refs
    fresh = numbers(films, [item.frame for item in again.items[8:]])
    assert len(fresh) == 8 and min(abs(a - b) for a in fresh for b in numbers(films, refs)) >= 6


def test_with_a_detector_the_doubtful_come_first(films: Films, store: LabelStore, system: System) -> None:
    """It is unsure of the boxes at the right; and of one picture alone it sees no box."""
    detector, calls = system.detector(), list[int]()

    def look(rgb: np.ndarray) -> np.ndarray:
        scene = detector.look(rgb).copy()
        calls.append(1)
        box = store.schema.slot("box").start
        if 30 < scene[box + 1] < 34:
            scene[box + 7] = 0.5
        if abs(scene[box + 1] - 20) < 0.1:
            scene[box : box + 8] = 0
        return scene

    queue = film_queue(films, store, FPS, look, 12)
    first = queue.items[0]
    assert first.reasons[0][0] in ("low sure", "disagreement") and first.score == 1.0 and first.belief
    doubtful = [n for n, i in zip(numbers(films, [i.frame for i in queue.items]), queue.items, strict=True) if i.score]
    assert 1 <= len(doubtful) <= 6 and all(84 <= n <= 110 or 44 <= n <= 52 for n in doubtful)
    assert len(queue.items) == 12 and queue.items[-1].reasons[0][0] == "spread"


# --- any picture besides ----------------------------------------------------------------------------------------------


def test_the_command_opens_all_films_of_a_camera(session: ReviewSession, place: Path, tmp_path: Path) -> None:
    state = session.state()
    assert state["films"] == [{"name": "a.avi", "length": LENGTH, "hz": FPS}] and session.title == "Belt"
    assert counted(state) == (0, 0, 0, {"box": 0, "hand": 0})
    assert all(item.belief is None for item in session.queue.items)
    seen = opened(place, tmp_path / "labels", "--most", "3")
    assert len(seen.items) == 3 and seen.frame(0)["belief"]["values"]["box"][0]
    with pytest.raises(UsageError, match="--recording"):
        opened(place, tmp_path / "labels", "--data", str(place))


def test_pictures_are_opened_copied_from_and_between_which_others_lie(session: ReviewSession) -> None:
    queued = len(session.queue.items)
    index = session.open(0, 101)["index"]
    assert index == queued and session.open(0, 101)["index"] == index  # once
    film = session.frame(index)["film"]
    assert (film["film"], film["at"], film["number"], film["second"]) == (0, 101, 101, round(101 / FPS, 3))
    assert film["before"] is None and film["between"] is None and film["marks"] == []
    for at, x in ((95, 32.0), (111, 36.0)):  # where it is, to the pixel
        other = session.open(0, at)["index"]
        values = {"box": [[x, 20.0, 8.0, 8.0]], "hand": [None]}
        session.save(other, session.frame(other)["revision"], "accept", values)
    film = session.frame(index)["film"]
    assert film["before"] == {"box": [[32, 20, 8, 8]], "hand": [None]}
    assert film["between"] == {"box": [[34, 20, 8, 8]], "hand": [None]} and session.frame(index)["status"] == "open"
    assert film["marks"] == [95 * 400 // LENGTH, 111 * 400 // LENGTH]
    far = session.open(0, 205)["index"]
    session.save(far, "", "accept", EMPTY)
    further = session.open(0, 120)["index"]
    assert session.frame(further)["film"]["between"] is None  # 94 pictures are more than 3 seconds
    state = session.state()
    assert counted(state) == (3, 1, 0, {"box": 2, "hand": 0})
    assert state["labelled"]["goal"] == 200 and state["labelled"]["advice"]["box"].startswith("198 more")
    assert len(state["statuses"]) == queued + 5 - sum(n in (95, 111, 120, 205) for n in range(0, LENGTH, 6))
    assert state["counts"]["total"] == queued
    for film_number, at in ((0, LENGTH), (1, 0), (0, -1)):
        with pytest.raises(DataError, match="no picture"):
            session.open(film_number, at)


def test_an_empty_picture_counts_as_background_and_a_begun_one_as_begun(session: ReviewSession) -> None:
    session.save(0, "", "accept", EMPTY)
    session.save(1, "", "", {"box": [[20.0, 20.0, 8.0, 8.0]]})
    session.save(2, "", "reject", {})
    assert counted(session.state()) == (1, 1, 1, {"box": 0, "hand": 0})


def test_undo_and_redo(session: ReviewSession) -> None:
    box = {"box": [[20.0, 20.0, 8.0, 8.0]]}
    answer = session.save(3, "", "", box)
    session.save(4, "", "accept", EMPTY)
    for _ in range(2):
        answer = session.undo(session.state()["last"])
    assert answer["frame"]["index"] == 3 and answer["frame"]["parts"] == {} and answer["last"] == ""
    answer = session.redo(answer["undone"])
    assert answer["frame"]["index"] == 3 and answer["frame"]["parts"]["box"]["value"] == box["box"]
    answer = session.redo(answer["undone"])
    assert answer["frame"]["index"] == 4 and answer["frame"]["status"] == "accepted" and answer["undone"] == ""
    with pytest.raises(DataError, match="nothing to redo"):
        session.redo("")
    session.undo(session.state()["last"])
    session.save(5, "", "accept", EMPTY)  # whoever goes on has decided against it
    assert session.state()["undone"] == ""
    undone = session.undo(session.state()["last"])["undone"]
    other = LabelStore(session.store.folder)
    other.add([Label(session.items[5].frame, "person", "bert", EMPTY, 1.0, verdict="accept")])
    with pytest.raises(StaleLabels):
        session.redo(undone)


def test_what_was_imported_is_not_undone_picture_by_picture(session: ReviewSession) -> None:
    session.store.add([Label(session.items[0].frame, "person", "reviewer", EMPTY, 1.0, "", "accept", "import a.json")])
    assert session.state()["last"] == "" and session.state()["labelled"]["pictures"] == 1


@pytest.fixture
def client(session: ReviewSession) -> Any:
    with serving(session) as found:
        yield found


def test_the_server_opens_pictures_and_refuses_what_is_none(client: Client) -> None:
    index = client.get("at/0/101")["index"]
    assert client.get(f"frame/{index}")["film"]["at"] == 101
    assert client.raw(client.base + f"picture/{index}")[2][:4] == b"\x89PNG"
    for name, status in (
        ("at/0/210", 400), ("at/7/0", 400), ("at/0/-1", 404), ("at/0/1e3", 404), ("at/0/99999999999", 404),
        ("at/0", 404), ("at/0/..%2f..", 404), ("at/../system.toml", 404),
    ):  # fmt: skip
        assert client.raw(client.base + name)[0] == status, name
    for body in ({}, {"undone": 3}, {"last": "x"}):
        status, told = client.post("redo", **body)
        assert status == 400 and "redo undone" in told["error"]
    assert client.post("redo", undone="x") == (400, {"error": "there is nothing to redo"})
