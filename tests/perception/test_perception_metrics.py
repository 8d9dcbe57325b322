"""Metrics on scenes whose quality is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from perception.scene import SceneSchema
from perception.training.data import Samples
from perception.training.metrics import calibration_error, compare, evaluate, table

SCHEMA = SceneSchema.from_config(
    {
        "crop": [0, 0, 40, 40],
        "things": {"ball": {"size": [4, 4]}, "enemy": {"count": 2, "size": [4, 4]}},
        "grids": {"dots": {"rows": 1, "cols": 4, "top": 0, "left": 0, "cell": [4, 4]}},
        "gauges": {"air": {"box": [0, 0, 4, 4]}},
    }
)
N = 200


def truth() -> np.ndarray:
    rng = np.random.default_rng(0)
    scenes = np.zeros((N, SCHEMA.size), np.float32)
    for row in scenes:
        row[SCHEMA.slot("ball")] = (1, *rng.uniform(5, 35, 2), 4, 4, 0, 0, 1)
        row[SCHEMA.slot("enemy", 0)] = (1, 10, 10, 4, 4, 0, 0, 1)
        row[SCHEMA.slot("enemy", 1)] = (1, 30, 30, 4, 4, 0, 0, 1)
        row[SCHEMA.grid("dots")] = rng.random(4) < 0.5
    scenes[:20, SCHEMA.slot("ball")] = 0
    return scenes


def test_perfect_eyes_get_perfect_marks_in_any_slot_order():
    want = truth()
    found = want.copy()
    found[:, SCHEMA.slot("enemy", 0)] = want[:, SCHEMA.slot("enemy", 1)]
    found[:, SCHEMA.slot("enemy", 1)] = want[:, SCHEMA.slot("enemy", 0)]
    metrics = compare(found, want, SCHEMA)
    for thing in metrics["things"].values():
        assert (thing["precision"], thing["recall"], thing["f1_iou50"], thing["sure_ece"]) == (1, 1, 1, 0)
        assert thing["error_px"]["p99"] == 0
    assert metrics["grids"]["dots"]["accuracy"] == 1 and metrics["gauges"]["air"]["error_p99"] == 0
    assert "ball" in table(metrics)


def test_errors_misses_and_false_alarms_are_counted():
    want = truth()
    found = want.copy()
    ball = SCHEMA.slot("ball").start
    found[20:, ball + 1] += 3  # 3 px off to the right, IoU 1/7
    found[20:38, ball : ball + 8] = 0  # 18 of 180 missed
    found[:10, ball : ball + 8] = (1, 5, 5, 4, 4, 0, 0, 1)  # 10 false alarms
    found[:, SCHEMA.slot("enemy", 1).start + 1] = 20  # 10 px off: a miss and a false alarm each
    found[:50, SCHEMA.grid("dots").start] = 1 - found[:50, SCHEMA.grid("dots").start]
    metrics = compare(found, want, SCHEMA)
    thing = metrics["things"]["ball"]
    assert thing["error_px"]["median"] == pytest.approx(3) and thing["bias_px"][0] == pytest.approx(3)
    assert thing["recall"] == pytest.approx(0.9) and thing["precision"] == pytest.approx(162 / 172, abs=1e-4)
    assert thing["f1_iou50"] == 0
    enemy = metrics["things"]["enemy"]
    assert (enemy["precision"], enemy["recall"]) == (0.5, 0.5)
    assert metrics["grids"]["dots"] == {"accuracy": 1 - 50 / 800, "frames_all_right": 0.75}


def test_calibration_error_is_the_gap_between_claim_and_fact():
    right = np.arange(1000) % 10 < 7
    assert calibration_error(np.full(1000, 0.7), right) == pytest.approx(0, abs=1e-6)
    assert calibration_error(np.full(1000, 0.95), right) == pytest.approx(0.25, abs=1e-6)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) is None


def test_evaluate_shows_the_frames_it_was_given():
    want = truth()
    frames = np.zeros((N, 8, 8, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(N)
    samples = Samples(frames, None, want, np.zeros(N, np.int64), np.zeros(N, np.uint8))
    metrics = evaluate(lambda frame: want[frame[0, 0, 0]], samples, SCHEMA)
    assert metrics["frames"] == N and metrics["things"]["ball"]["recall"] == 1
    assert evaluate(lambda frame: want[frame[0, 0, 0]], samples, SCHEMA, limit=10)["frames"] == 10


# --- figures need held-out labels ---------------------------------------------------------------------


def test_of_no_frames_nothing_is_said():
    metrics = compare(np.zeros((0, SCHEMA.size), np.float32), np.zeros((0, SCHEMA.size), np.float32), SCHEMA)
    assert metrics == {"frames": 0, "things": {}, "grids": {}, "gauges": {}}
    assert "not measured: no frame is held out" in table(metrics)


def test_labels_of_one_kind_are_named():
    """A thing that no frame shows, a grid that is never touched, a gauge that never moves put nothing to the test."""
    truth = np.zeros((5, SCHEMA.size), np.float32)
    metrics = compare(truth.copy(), truth, SCHEMA)
    ball = metrics["things"]["ball"]
    assert ball["labels"] == 0 and ball["precision"] is ball["recall"] is ball["f1_iou50"] is None
    told = table(metrics)
    assert "ball is on none of the 5 held-out frames: not measured" in told and told.count("all labels alike") == 2
    truth[1, SCHEMA.slot("ball").start] = 1
    truth[2, SCHEMA.grid("dots").start] = 1
    truth[3, SCHEMA.gauge("air")] = 1
    told = table(compare(truth.copy(), truth, SCHEMA))
    assert "ball is on none" not in told and "alike" not in told
    full = np.zeros((2, SCHEMA.size), np.float32)
    full[:, SCHEMA.grid("dots")] = 1
    assert compare(full, full, SCHEMA)["grids"]["dots"]["all_alike"], "all set is one kind, too"
