"""The review queue: most suspicious first, the same order every time, never the test set; suspicion itself."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from labels_kit import ALL, SCHEMA, frame, label, store

from data_flywheel.errors import DataError
from data_flywheel.labels.label import Label
from data_flywheel.labels.review_queue import (
    REASONS,
    ReviewQueue,
    Suspicion,
    disagreement,
    doubt,
    jump,
    measures,
    progress,
    suspicions,
)


def build(*found: Suspicion, most: int = 0) -> ReviewQueue:
    return ReviewQueue.build("toy", SCHEMA, found, ["data"], most)


def some(count: int = 30) -> list[Suspicion]:
    rng = random.Random(1)
    reasons = (rng.choice(REASONS) for _ in range(count))
    return [Suspicion(frame(i % 11), reason, round(rng.random(), 1), f"detail {i}") for i, reason in enumerate(reasons)]


def test_most_suspicious_first_and_stable_whatever_the_order_of_asking() -> None:
    found = some()
    first = build(*found)
    for seed in range(5):
        random.Random(seed).shuffle(found)
        again = build(*found)
        assert [(i.frame, i.score) for i in again.items] == [(i.frame, i.score) for i in first.items]
    scores = [item.score for item in first.items]
    assert scores == sorted(scores, reverse=True) and len(first.items) == 11
    ties = build(*(Suspicion(frame(step), "novelty", 0.5) for step in (4, 2, 9)))
    assert [item.frame.step for item in ties.items] == [2, 4, 9]


def test_reasons_add_up_and_each_is_told_once() -> None:
    queue = build(
        Suspicion(frame(), "low sure", 0.5, "weak"), Suspicion(frame(), "low sure", 0.2, "weaker"),
        Suspicion(frame(), "novelty", 0.5, "new"), Suspicion(frame(1), "request", 0.7, "asked for"),
    )  # fmt: skip
    assert [(item.frame.step, item.score) for item in queue.items] == [(0, 0.75), (1, 0.7)]
    assert queue.items[0].reasons == (("low sure", 0.5, "weak"), ("novelty", 0.5, "new"))


def test_the_test_set_and_forbidden_seeds_never_enter() -> None:
    queue = build(
        Suspicion(frame(0, "a", 950), "novelty", 0.9), Suspicion(frame(0, "b", 5000), "novelty", 0.9),
        Suspicion(frame(0, "c", 850), "novelty", 0.9), *some(),
        most=4,
    )  # fmt: skip
    assert queue.left_out == {"frozen test set": 1, "seed that must not teach": 1, "less suspicious": 8}
    assert len(queue.items) == 4 and {item.frame.split for item in queue.items} <= {"train", "val"}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Suspicion(frame(), "boredom", 0.5), "unknown reason 'boredom'; choose from low sure"),
        (Suspicion(frame(), "novelty", 1.5), "a number from 0 to 1, got 1.5"),
        (Suspicion(frame(), "novelty", float("nan")), "a number from 0 to 1"),
        (Suspicion(frame(), "novelty", 0.5, "", (0.0,) * 3), f"Scene vector of {SCHEMA.size}"),
    ],
)
def test_suspicions_that_cannot_be_are_refused(bad: Suspicion, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build(bad)


def test_a_queue_comes_back_from_its_file_and_damage_is_told(tmp_path: Path) -> None:
    belief = tuple(float(v) for v in np.linspace(0, 1, SCHEMA.size, dtype=np.float32))
    queue = build(Suspicion(frame(3), "request", 0.5, "ü", belief), *some())
    path = queue.save(tmp_path / "queue.json")
    assert ReviewQueue.load(path) == queue
    text = path.read_text()
    for broken, words in (
        (text[: len(text) // 2], "damaged or half-written"), (text.replace('"toy"', '"joy"'), "checksum mismatch"),
        (text.replace('"version": 1', '"version": 2'), "not a triune review queue of version 1"),
        ("[]", "not a triune"),
    ):  # fmt: skip
        path.write_text(broken)
        with pytest.raises(DataError, match=f"queue.json: .*{words}.*make it again"):
            ReviewQueue.load(path)


def test_progress_is_read_off_the_labels(tmp_path: Path) -> None:
    labels = store(tmp_path)
    queue = build(*(Suspicion(frame(i), "novelty", 0.9 - i / 10) for i in range(4)))
    assert progress(queue, labels).first == 0
    person = {"source": "person", "who": "anna"}
    labels.add([label(ALL, frame=frame(0)), label(ALL, verdict="accept", frame=frame(0), **person)])
    rejected = labels.add([Label(frame(1), "person", "anna", {}, 1.0, verdict="reject")])[0]
    labels.add([label(frame=frame(2), **person)])
    found = progress(queue, labels)
    assert found.statuses == ("accepted", "rejected", "edited", "open") and found.first == 2
    assert found.counts == {"open": 1, "edited": 1, "accepted": 1, "rejected": 1, "done": 2, "total": 4}
    labels.retract(rejected.id, "anna")
    assert progress(queue, labels).first == 1


# --- suspicion ------------------------------------------------------------------------------------------------------


def scene(x: float = 20.0, sure: float = 1.0, seen: float = 1.0) -> np.ndarray:
    vector = SCHEMA.empty()
    vector[SCHEMA.slot("ball")] = (seen, x, 20, 2, 4, 0, 0, sure)
    return vector


def test_doubt_is_greatest_for_a_toss_up() -> None:
    assert doubt(SCHEMA, scene(sure=0.5)) == (1.0, "ball 50 % sure")
    assert doubt(SCHEMA, scene(sure=0.9))[0] == pytest.approx(0.2, abs=1e-6)
    assert doubt(SCHEMA, scene(sure=1.0))[0] == 0 == doubt(SCHEMA, SCHEMA.empty())[0]
    assert doubt(SCHEMA, scene(sure=1.2))[0] == 0


def test_disagreement_counts_things_distances_and_cells() -> None:
    assert disagreement(SCHEMA, scene(), scene()) == (0.0, "")
    assert disagreement(SCHEMA, scene(20), scene(21)) == (0.25, "ball 1.0 px apart")
    assert disagreement(SCHEMA, scene(), SCHEMA.empty()) == (1.0, "1 ball seen, 0 labelled")
    cells = scene()
    cells[SCHEMA.grid("bricks")] = [1, 0, 0, 0, 0, 0]
    assert disagreement(SCHEMA, cells, scene())[0] == pytest.approx(1 / 3)
    a, b = [30, 8, 4, 4], [50, 8, 4, 4]
    swapped = [SCHEMA.empty(), SCHEMA.empty()]
    for vector, order in zip(swapped, ((a, b), (b, a)), strict=True):
        for i, box in enumerate(order):
            vector[SCHEMA.slot("enemy", i)] = (1, *box, 0, 0, 1)
    assert disagreement(SCHEMA, *swapped)[0] == 0  # the order of slots says nothing


def test_jumps_are_measured_against_top_speed() -> None:
    assert jump(SCHEMA, scene(10), scene(42))[0] == 0
    assert jump(SCHEMA, scene(10), scene(44)) == (0.5, "ball jumped 2.0 px too far")
    assert jump(SCHEMA, scene(10), scene(58))[0] == 1
    assert jump(SCHEMA, scene(10, seen=0), scene(58))[0] == 0


def test_measures_become_suspicions_of_a_frame() -> None:
    assert measures(SCHEMA, scene()) == []
    found = list(suspicions(SCHEMA, frame(4), scene(44, 0.7), scene(40), scene(10)))
    assert [s.reason for s in found] == ["low sure", "disagreement", "tracker residual"]
    assert all(s.frame == frame(4) and s.belief is not None and len(s.belief) == SCHEMA.size for s in found)
    assert json.dumps(build(*found).items[0].reasons)
