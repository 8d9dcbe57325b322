"""Replays side by side: which policies, which seconds, how large, and why there are none."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from improve_ideas import IDEAS
from improve_report_kit import fabricate

import triune
from data_flywheel.episodes.episode import Episode
from triune.report.improve import page, replays, write_improve_report
from triune.report.improve import replays as film
from triune.report.improve.record import ImproveRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ImproveRun:
    return ImproveRun.read(fabricate(tmp_path_factory.mktemp("run")))


def episode(actions: list[int], lost_at: int | None = None) -> Episode:
    """A game that loses a life at a step."""
    n = len(actions)
    column, lives = np.zeros(n, np.uint16), np.full(n, 5, np.int32)
    if lost_at is not None:
        lives[lost_at:] = 4
    played = np.array(actions, np.uint8)
    scores = np.arange(n, dtype=np.int32)
    return Episode({}, np.zeros((n, 4), np.float32), played, played, column, column, column, scores, lives)


def test_first_and_last_policy_then_the_latest_steps(run: ImproveRun) -> None:
    found = replays.comparisons(run)
    policies = [a.policy for a in run.chain]
    assert [(c.before, c.after) for c in found] == [
        (policies[0], policies[3]), (policies[2], policies[3]), (policies[1], policies[2]), (policies[0], policies[1]),
    ]  # fmt: skip
    assert [c.seed for c in found] == [0, 16, 10, 1] and len(found) <= replays.MOST
    assert replays.comparisons(ImproveRun(run.folder, run.events[:30])) == []


def test_seconds_end_with_the_first_loss_after_the_two_part() -> None:
    before, after = episode([0] * 100 + [1] * 500, lost_at=450), episode([0] * 600)
    assert film.window(before, after, 15)[:2] == (450 + 16 - 300, 450 + 16)
    early = episode([0] * 600, lost_at=20)  # lost before the two part
    assert film.window(early, episode([0] * 100 + [1] * 500), 15)[:2] == (85, 385)
    start, stop, why = film.window(episode([0] * 40), episode([0] * 40), 15)
    assert (start, stop) == (25, 40) and "decide differently" in why


def test_an_animation_keeps_to_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 32, 48, 3), np.uint8)
    monkeypatch.setattr(film, "BYTES", 6_000)
    data = film.animation(list(noise), 15.0)
    assert len(data) <= 6_000 and data[8:12] == b"WEBP"
    whole = film.animation(list(noise[:2]), 15.0)
    assert cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR).shape == (32, 48, 3)


def test_a_task_that_has_changed_is_not_played(run: ImproveRun) -> None:
    found = replays.play_replays(run)  # the made-up hashes are those of no task
    assert found.count == 0 and "changed since the run" in found.note and "safety" in found.note
    assert "changed since the run" in page.html(run, found)


def test_what_was_not_wanted_or_not_accepted_is_said(run: ImproveRun) -> None:
    assert "--no-replays" in page.html(run)
    assert "nothing to compare" in replays.play_replays(ImproveRun(run.folder, run.events[:30])).note


@pytest.mark.slow
def test_parent_and_child_are_played_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "PLAYED", 8.0)
    fabricate(tmp_path, IDEAS[:1], hashes=triune.load("breakout").hashes())
    written = write_improve_report(tmp_path)
    assert written.replays == 1
    text = written.path.read_text("utf-8")
    still, moving = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", text)
    assert len(base64.b64decode(still)) < len(base64.b64decode(moving)) <= film.BYTES
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(still), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (2 * 210 + 34, 2 * 2 * 160 + 8, 3)
    assert "training seed 1" in text and re.search(r"<th>before</th><td><code>score \d+, ", text)


@pytest.mark.slow
def test_a_policy_that_cannot_be_played_is_said_so(tmp_path: Path) -> None:
    fabricate(tmp_path, IDEAS[:1], hashes=triune.load("breakout").hashes())
    child = ImproveRun.read(tmp_path).chain[-1].policy
    (tmp_path / "blobs" / child).unlink()
    written = write_improve_report(tmp_path)
    assert written.replays == 0 and f"the text of policy {child[:12]} is missing" in written.path.read_text("utf-8")
