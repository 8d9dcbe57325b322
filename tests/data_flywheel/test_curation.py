"""Curation: every cause finds its frames, none drowns the rest, no picture twice, the frozen set never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curation_kit import SCHEMA, flight, several, spoilt

from data_flywheel.datasets.curation import BEFORE, CAUSES, SAME, choose, failures, signals, thumbnail, understand
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.episodes.episode import Episode
from data_flywheel.errors import DataError

NONE = FrozenSet()


def first(cause: str, pool: object) -> int:
    """Row of the frame that is chosen for a cause first."""
    return next(c.row for c in choose(pool, 6, NONE).choices if c.cause == cause)  # type: ignore[arg-type]


def test_a_toss_up_is_uncertain() -> None:
    assert first("low sure", spoilt(flight(), 17, sure=0.55)) == 17
    assert signals(flight())["low sure"].max() < 0.05


def test_a_ball_gone_for_one_frame_is_uncertain_and_at_the_edge_of_an_episode_it_is_not() -> None:
    assert signals(spoilt(flight(), 17, seen=0, sure=0))["low sure"][17] == 1
    two = spoilt(several(flight(20), flight(20, seed=4)), 20, seen=0, sure=0)
    assert signals(two)["low sure"][20] == 0


def test_a_jump_disagrees_with_its_neighbours() -> None:
    pool = spoilt(flight(), 30, x=62.0, y=60.0)
    assert first("disagreement", pool) in (29, 30, 31)
    assert signals(flight())["disagreement"].max() == 0


def test_cells_that_come_back_at_once_disagree() -> None:
    pool = flight()
    pool.scenes[25, SCHEMA.grid("bricks")] = 0
    assert signals(pool)["disagreement"].argmax() == 25
    pool = flight()
    pool.scenes[25:, SCHEMA.grid("bricks")] = 0  # cleared for good: that is the game
    assert signals(pool)["disagreement"].max() == 0


def test_a_bounce_surprises_the_tracker() -> None:
    residual = signals(flight(16))["tracker residual"]
    assert residual[9] > 0.5 and residual[3:8].max() == 0  # the wall is reached at step 8


def test_frames_that_do_not_follow_one_another_are_not_compared() -> None:
    pool = replace(spoilt(flight(), 30, x=62.0, y=60.0), after=np.zeros(60, bool))
    found = signals(pool)
    assert not found["disagreement"].any() and not found["tracker residual"].any()


def test_the_steps_before_a_lost_life_are_a_failure_window() -> None:
    n = 80
    lives = np.where(np.arange(n) < 50, 3, 2).astype(np.int32)
    empty = np.zeros(n, np.uint16)
    acts = np.zeros(n, np.uint8)
    episode = Episode({}, flight(n).scenes, acts, acts, empty, empty, empty, np.zeros(n, np.int32), lives)
    near = failures(episode)
    assert near[50] == 1 and near[50 - BEFORE] == 0 and near[51] == 0 and (np.diff(near[21:51]) > 0).all()
    assert first("failure window", replace(flight(n), failing=near)) in range(40, 51)


def test_what_looks_different_is_novel() -> None:
    pool = several(flight(40), flight(1, seed=5, light=120))
    assert first("novelty", pool) == 40


def test_a_request_is_understood_by_situation_and_by_step() -> None:
    pool = flight()
    wishes = understand(pool, [
        {"what": "frames where the ball is near the wall", "why": "it was 3 px off", "count": 10},
        {"what": "seed 3, steps 20 to 24", "why": "lost", "count": 5},
        {"what": "submarines", "why": "?", "count": 5},
    ])  # fmt: skip
    rows = np.flatnonzero(wishes[0].scores == 1)
    assert len(rows) and all(min(x, y, 64 - x, 64 - y) < 12 for x, y in pool.scenes[rows, 1:3])
    assert np.flatnonzero(wishes[1].scores).tolist() == [20, 21, 22, 23, 24]
    assert not wishes[2].understood


def test_requests_are_answered_and_the_odd_ones_are_named() -> None:
    asked = [{"what": "seed 3, steps 20 to 24", "count": 5}, {"what": "submarines", "count": 5}]
    found = choose(flight(), 12, NONE, requests=asked)
    assert found.counts["request"] >= 3
    assert found.requests[0]["fit"] == 5 and found.requests[0]["taken"] == found.counts["request"]
    assert found.requests[1]["fit"] == 0


def test_no_cause_drowns_the_rest() -> None:
    pool = flight(200)
    pool.scenes[:, 7] = 0.5  # everything is uncertain
    pool = replace(pool, failing=(np.arange(200) % 50 == 49).astype(np.float32))
    counts = choose(pool, 24, NONE).counts
    assert counts["failure window"] == 4 and counts["low sure"] <= 8 and counts["novelty"] >= 5


def test_every_choice_is_explained() -> None:
    pool = spoilt(flight(), 30, x=62.0, y=60.0, sure=0.5)
    record = choose(pool, 5, NONE).record()
    assert set(record["causes"]) == set(CAUSES) and sum(record["causes"].values()) == 5
    at_30 = next(c for c in record["chosen"] if c["step"] == 30)
    assert at_30["episode"] == "game3" and at_30["digest"] == pool.refs[30].digest
    assert {at_30["cause"], *at_30["also"]} >= {"low sure", "disagreement"} and at_30["score"] > 0.9


def test_a_picture_is_taken_once() -> None:
    twice = several(flight(30), flight(30, seed=4))  # the same pictures in two episodes
    found = choose(twice, 60, NONE)
    assert len(found.choices) <= 30
    assert len({c.digest for c in found.choices}) == len(found.choices)
    assert found.left_out["same as a frame that is taken"] >= 30


def test_nearly_the_same_picture_is_taken_once_and_a_ball_a_pixel_away_is_another() -> None:
    pool = several(flight(1), flight(1))
    brighter = replace(pool, thumbs=pool.thumbs + np.array([[0.0], [0.3]], np.float32))
    assert len(choose(brighter, 2, NONE).choices) == 1
    moved = spoilt(pool, 1, x=pool.scenes[1, 1] + 1)
    assert len(choose(replace(moved, refs=flight(2).refs), 2, NONE).choices) == 2
    assert np.linalg.norm(np.diff(moved.embedding(), axis=0)) > SAME


def test_what_is_labelled_already_is_kept_away_from() -> None:
    pool = flight(56)
    again = choose(pool, 10, NONE, taken=range(28))
    assert not {c.row for c in again.choices} & set(range(28))
    assert all(c.apart > 0 for c in again.choices)


def test_the_frozen_set_is_never_touched() -> None:
    pool = several(flight(30, light=10), flight(30, seed=950, light=20), flight(5, seed=2000, light=30))
    frozen = FrozenSet(frozenset(ref.digest for ref in pool.refs[:10]))
    found = choose(pool, 65, frozen)
    assert {c.episode for c in found.choices} == {"game3"} and min(c.step for c in found.choices) >= 10
    assert found.left_out["frozen test set"] == 40 and found.left_out["seed that must not teach"] == 5


def test_a_picture_equal_to_a_frozen_one_in_another_episode_is_never_touched() -> None:
    train, test = flight(30, seed=3), flight(30, seed=950)
    assert train.refs[4].digest == test.refs[4].digest
    assert not choose(several(train, test), 30, NONE).choices
    mixed = several(train, flight(30, seed=4, light=40), test)
    assert {c.episode for c in choose(mixed, 60, NONE).choices} == {"game4"}
    with pytest.raises(DataError, match="frozen test set"):
        FrozenSet.of(test.refs).guard(train.refs)


def test_of_films_only_named_pictures_are_frozen() -> None:
    """What is held out of a film is a later stretch of it, whatever number its pieces have."""
    pool = several(flight(20, seed=950), flight(20, seed=5000, light=40))
    named = FrozenSet(frozenset(ref.digest for ref in pool.refs[:5]))
    chosen = choose(pool, 40, named | FrozenSet(films=True))
    assert {c.episode for c in chosen.choices} == {"game950", "game5000"} and chosen.left_out["frozen test set"] == 5
    assert not choose(pool, 40, named).choices


def test_a_frozen_set_is_kept_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    frozen = FrozenSet.of(flight(5, seed=950).refs)
    path = frozen.save(tmp_path / "frozen.json")
    assert FrozenSet.load(path) == frozen and len(frozen.digests) == 5
    path.write_text(path.read_text().replace(min(frozen.digests), "0" * 64))
    with pytest.raises(DataError, match="checksum"):
        FrozenSet.load(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="damaged"):
        FrozenSet.load(path)


def test_the_same_pool_gives_the_same_version_and_another_choice_another() -> None:
    one, two, other = (choose(flight(), n, NONE) for n in (9, 9, 10))
    assert one.version == two.version != other.version


def test_a_thumbnail_is_mean_grey() -> None:
    frame = np.zeros((70, 64, 3), np.uint8)
    frame[3:67] = 90
    frame[3:7, :4] = (255, 0, 0)
    cells = thumbnail(frame, (3, 0, 67, 64)).reshape(16, 16)
    assert cells[0, 0] == pytest.approx(0.299 * 255, abs=0.01) and cells[5, 5] == pytest.approx(90, abs=0.01)


def test_nothing_asked_is_refused_in_words() -> None:
    with pytest.raises(DataError, match="at least 1"):
        choose(flight(), 0, NONE)
