"""Play kept as seeds and actions gives the same pixels again, in any look, and says so when it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import triune
from data_flywheel.errors import DataError
from data_flywheel.self_training.capture import Capture
from triune.play.self_training import play

LOOK = "patchwork"


@pytest.fixture(scope="module")
def system():
    return triune.load("pong")


@pytest.fixture(scope="module")
def made(system):
    return play(system, system.detector_path, LOOK, "sticky", 60, 3, random=True, most=40)


def test_games_and_frames_are_told_apart(made) -> None:
    assert made.seeds == (3, 4) and made.episodes.tolist() == [0] * 40 + [1] * 20
    assert made.frames.shape == (60, 210, 160, 3) and len(np.unique(made.actions)) > 1


def test_it_comes_back_from_disk_to_the_pixel(system, made, tmp_path: Path) -> None:
    made.save(tmp_path / "play.npz")
    assert (tmp_path / "play.npz").stat().st_size < 60_000
    back = Capture.load(tmp_path / "play.npz", system.spec.env, system.protocol("sticky"), LOOK)
    assert np.array_equal(back.frames, made.frames) and np.array_equal(back.seen, made.seen)


def test_another_look_is_noticed(system, made, tmp_path: Path) -> None:
    made.save(tmp_path / "play.npz")
    with pytest.raises(DataError, match="other frames"):
        Capture.load(tmp_path / "play.npz", system.spec.env, system.protocol("sticky"), None)


def test_damage_is_named(system, made, tmp_path: Path) -> None:
    path = tmp_path / "play.npz"
    made.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="play.npz: damaged"):
        Capture.load(path, system.spec.env, system.protocol("sticky"), LOOK)


def test_joined_play_numbers_its_games(made) -> None:
    both = Capture.join([made, made])
    assert both.seeds == (3, 4, 3, 4) and both.episodes.max() == 3 and len(both) == 120


def test_random_play_and_the_policys_play_differ(system, made) -> None:
    own = play(system, system.detector_path, LOOK, "sticky", 60, 3, random=False)
    assert not np.array_equal(own.actions, made.actions)
