"""`triune run --record`: what a deployed bundle saw goes into a recording, and the flywheel's other parts read it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside
from test_runtime import exported, needs_detector, write_video  # noqa: F401

import triune as api
from data_flywheel.episodes.recording import Recording
from data_flywheel.labels.frames import open_frames
from data_flywheel.splits import split_of
from triune.play import play
from triune.play.film import Film
from triune.play.loop import frames_of
from triune.play.recording import BundleRecorder
from triune.runtime import Bundle

pytestmark = needs_detector
DISK = 1 << 30


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of sixty steps of Pong."""
    path, frames = tmp_path_factory.mktemp("film") / "pong.avi", list[np.ndarray]()
    for step in play(api.load("pong"), seed=2):
        frames += [step.frame.copy()] if step.index >= 40 else []
        if len(frames) == 60:
            break
    write_video(path, frames)
    return path


def test_a_film_is_recorded_with_its_frames_and_can_be_blamed(exported: Path, film: Path, tmp_path: Path) -> None:  # noqa: F811
    done = inside("run", str(exported), "--source", str(film), "--record", "rec", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["recorded"] == 1, done.stderr
    recording = Recording(tmp_path / "rec")
    ((name, episode),) = list(recording)
    shown = list(Film(str(film)))
    assert len(episode) == len(shown) == 60 and episode.frames is not None
    assert all(np.array_equal(episode.frames.rgb(i), frame) for i, frame in enumerate(shown))
    assert episode.scenes[:, 0].any() and episode.meta["source"] == str(film)

    system = api.load("pong")
    refs = list(open_frames(tmp_path / "rec", system.spec).refs())
    assert len(refs) == 60 and refs[7].episode == name, "to be curated and reviewed"
    out = inside("dataset", "export", "rec", "--to", "coco", "--out", "coco", cwd=tmp_path)
    assert out.returncode == 0 and len(list((tmp_path / "coco" / "images").iterdir())) == 60, out.stderr
    path = str(recording.path(name))
    none = json.loads(inside("blame", path, "--json", cwd=tmp_path).stdout)
    assert none["verdicts"] == [], "a film has no score that could tell"
    told = json.loads(inside("blame", path, "--at", "50", "--json", cwd=tmp_path).stdout)
    assert told["verdicts"][0]["way"] == "estimate" and "filmed" in told["notes"][0]
    beyond = inside("blame", path, "--at", "60", cwd=tmp_path)
    assert beyond.returncode == 2 and "steps 0 to 59" in beyond.stderr


def test_a_film_is_cut_into_pieces_and_goes_on_in_the_next_run(exported: Path, tmp_path: Path) -> None:  # noqa: F811
    bot = Bundle.load(exported)
    frame = np.zeros(bot.frame_shape, np.uint8)
    for _ in range(2):
        book = BundleRecorder(bot, str(tmp_path / "rec"), DISK, "0", None, print)
        book._piece, state = 10, bot.start()
        for i in range(25):
            frame[100, 100] = i  # its own picture, which the next step overwrites
            action, state, why = bot.step(frame, state)
            book.see(frame, action, why)
        assert book.close() == 3
    found = [episode for _, episode in Recording(tmp_path / "rec")]
    assert sorted(map(len, found)) == [5, 5, 10, 10, 10, 10]
    assert len({e.meta["seed"] for e in found}) == 6
    values = [e.frames.rgb(i)[100, 100, 0] for e in found[:3] for i in range(len(e))]  # type: ignore[union-attr]
    assert values == list(range(25))
    assert {split_of(k * 37 % 1000) for k in range(30)} == {"train", "val", "test"}


def test_a_game_is_recorded_without_frames_and_repeats(exported: Path, tmp_path: Path) -> None:  # noqa: F811
    done = inside("run", str(exported), "--seed", "3", "--steps", "80", "--record", "rec", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ((_, episode),) = list(Recording(tmp_path / "rec"))
    assert episode.frames is None and (len(episode), episode.meta["seed"]) == (80, 3)
    assert episode.meta["score"] == json.loads(done.stdout)["score"]
    assert sum(1 for _ in frames_of(api.load("pong"), episode)) == 80


def test_where_nothing_can_be_recorded(exported: Path, tmp_path: Path) -> None:  # noqa: F811
    breakout = api.load("breakout")
    Recording.create(tmp_path / "rec", "breakout", breakout.schema, (210, 160))
    other = inside("run", str(exported), "--steps", "9", "--record", "rec", cwd=tmp_path)
    assert other.returncode == 1 and "name another folder" in other.stderr and "Traceback" not in other.stderr
    size = inside("run", str(exported), "--steps", "9", "--record", "new", "--disk", "much", cwd=tmp_path)
    assert size.returncode == 2 and "500MB" in size.stderr
