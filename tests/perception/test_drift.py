"""The drift watch: silent on play as in training, early and in words when picture or eyes leave their ranges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_kit import SCHEMA, STEPS, play, ranges, watched

from perception.drift import (
    CHANGED,
    EVERY,
    FAILING,
    LOOK,
    OK,
    PATIENCE,
    PICTURE_WINDOW,
    SCENE_WINDOW,
    Gauge,
    Watch,
    load,
    save,
    scene_parts,
    window_means,
)
from perception.errors import PerceptionError

ROOT = Path(__file__).parents[2]


def test_play_as_in_training_is_silent() -> None:
    for start in (5000, 6000, 7000):
        watch = watched(play(start=start))
        assert watch.level == OK and watch.words == () and watch.report()["since"] == {}


def test_a_darker_picture_has_changed_and_the_eyes_are_not_blamed() -> None:
    watch = watched(play(dark=0.6))
    assert watch.level == CHANGED
    assert watch.since[CHANGED] <= (PICTURE_WINDOW + PATIENCE) * LOOK
    assert any(w.startswith("the picture's red fell from") for w in watch.words)
    assert any("colours that training never showed" in w for w in watch.words)


def test_doubt_is_failing_and_told_in_words() -> None:
    watch = watched(play(sure=0.41))
    assert watch.level == FAILING and CHANGED not in watch.since
    assert watch.since[FAILING] <= SCENE_WINDOW * EVERY
    assert watch.words[0].startswith("the ball's confidence fell from 0.98 to 0.4")


def test_a_thing_that_is_no_longer_seen_is_failing() -> None:
    watch = watched(play(seen=lambda step: step % 2 == 0))
    assert watch.level == FAILING
    assert any("the ball is seen in" in w and "in training in 100 %" in w for w in watch.words)


def test_a_thing_that_leaves_its_track_is_failing() -> None:
    rng = np.random.default_rng(0)

    def elsewhere(step: int, vector: np.ndarray) -> None:
        vector[1:3] += rng.uniform(-20, 20, 2)

    watch = watched(play(spoil=elsewhere))
    assert watch.level == FAILING and any("away from where its motion leads" in w for w in watch.words)


def test_a_thing_that_stands_still_is_failing() -> None:
    def still(step: int, vector: np.ndarray) -> None:
        vector[1:7] = (30, 30, 2, 4, 0, 0)

    watch = watched(play(spoil=still))
    assert watch.level == FAILING and any("moves 0.0 px a step" in w for w in watch.words)


def test_cells_that_flicker_are_failing_and_one_refill_is_not() -> None:
    def flicker(step: int, vector: np.ndarray) -> None:
        vector[SCHEMA.grid("bricks").start + step % 8] = step % 3 > 0

    watch = watched(play(spoil=flicker))
    assert watch.level == FAILING and any("bricks that were gone come back" in w for w in watch.words)

    def refill(step: int, vector: np.ndarray) -> None:
        vector[SCHEMA.grid("bricks")] = step >= 200

    assert watched(play(spoil=refill)).level == OK


def test_a_short_disturbance_is_no_drift() -> None:
    assert watched(play(seen=lambda step: not 100 <= step < 110)).level == OK


def test_an_alarm_stays_until_the_next_episode() -> None:
    watch = watched(play(dark=0.6))
    for frame, vector in play(start=STEPS):
        watch.see(frame, vector)
    assert watch.level == CHANGED
    watch.start()
    for frame, vector in play():
        watch.see(frame, vector)
    assert watch.level == OK


def test_see_tells_when_an_alarm_is_raised() -> None:
    watch = Watch(ranges())
    raised = [i for i, (frame, vector) in enumerate(play(dark=0.6, sure=0.4)) if watch.see(frame, vector)]
    assert raised == sorted(watch.since.values()) and len(raised) == 2


def test_most_steps_look_at_nothing() -> None:
    class Counted(np.ndarray):
        reads = 0

        def __getitem__(self, key: Any) -> Any:
            Counted.reads += 1
            return super().__getitem__(key)

    watch = Watch(ranges())
    for frame, vector in play(steps=LOOK + 1):
        assert Counted.reads == 0
        watch.see(frame.view(Counted), vector.view(Counted))
    assert Counted.reads > 0


def test_ranges_of_other_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="format 1, not 2"):
        Watch({**ranges(), "format": 1})


def test_a_thing_that_training_never_saw_has_no_range() -> None:
    gauge = Gauge(scene_parts(SCHEMA))
    gauge.start()
    for frame, vector in play(seen=lambda step: False):
        gauge.see(frame, vector)
    made = gauge.ranges()
    assert made["eyes"][:4] == [[0.0, 0.0, 0.0], None, None, None]
    assert watched(play(seen=lambda step: False), made).level == OK
    assert watched(play(), made).level == FAILING


def test_window_means_leave_out_what_is_not_there() -> None:
    rows = np.array([[1, np.nan], [3, np.nan], [5, 2], [7, 4]])
    assert np.array_equal(window_means(rows, 2), [[2, np.nan], [4, 2], [6, 3]], equal_nan=True)


def test_ranges_are_kept_with_the_weights_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    save(ranges(), path, "abc", {"policy": {"sticky": [0]}})
    made = load(path, "abc", scene_parts(SCHEMA))
    assert made["play"] == {"policy": {"sticky": [0]}} and watched(play(dark=0.6), made).level == CHANGED
    assert path.stat().st_size < 10_000
    with pytest.raises(PerceptionError, match="another detector"):
        load(path, "abd", scene_parts(SCHEMA))
    path.write_text(path.read_text()[:200])
    with pytest.raises(PerceptionError, match="measure them again"):
        load(path, "abc", scene_parts(SCHEMA))
    with pytest.raises(PerceptionError, match="at least"):
        Gauge(scene_parts(SCHEMA)).ranges()


def test_the_watch_needs_numpy_and_its_own_file_only(tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text((ROOT / "perception" / "drift.py").read_text())
    (tmp_path / "ranges.json").write_text(json.dumps(ranges()))
    script = (
        "import json, sys, numpy as np, watch\n"
        "w = watch.Watch(json.load(open('ranges.json')))\n"
        "v = np.zeros(16, np.float32)\n"
        "for _ in range(200): w.see(np.zeros((64, 64, 3), np.uint8), v)\n"
        "ours = {'perception', 'envs', 'triune', 'data_flywheel', 'logic'} & set(sys.modules)\n"
        "print(w.level, sorted(ours))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "failing []", done.stderr
