"""Figures, pictures and markup of reports and replays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import triune
from data_flywheel.episodes.episode import Episode
from triune.console import jsonable, table
from triune.errors import TriuneError
from triune.play import evaluation as stats
from triune.play.loop import Rollout, frames_of
from triune.report import page as report_parts
from triune.report.drawing import Caption, Painter, wrap
from triune.report.replay import choose_steps, pictures


@pytest.fixture(scope="module")
def episode() -> Episode:
    with Rollout(triune.load("breakout"), "sticky", None, "teacher") as rollout:
        return rollout.record(2, 60)


def test_summary_figures() -> None:
    scores = [0.0, 10, 10, 10, 10, 10, 10, 1000]
    assert stats.iqm(scores) == 10 and stats.worst_decile(scores) == 0
    low, high = stats.ci95(scores)
    assert low < np.mean(scores) < high
    assert stats.ci95(scores) == stats.ci95(scores) and stats.ci95([5, 5, 5]) == (5, 5)
    # against the textbook interval of a large normal sample
    sample = np.random.default_rng(1).normal(100, 10, 400)
    low, high = stats.ci95(list(sample))
    assert abs((high - low) - 2 * 1.96 * 10 / 20) < 0.25


def test_regenerated_frames_are_those_that_were_played(episode: Episode) -> None:
    system = triune.load("breakout")
    with Rollout(system, "sticky", None, "teacher") as rollout:
        played = [step.frame.copy() for step, _ in zip(rollout.episode(2), range(60), strict=False)]
    again = [frame.copy() for frame in frames_of(system, episode)]
    assert len(again) == 60 and all((a == b).all() for a, b in zip(played, again, strict=True))


def test_an_episode_that_does_not_repeat_is_refused(episode: Episode) -> None:
    scores = episode.scores.copy()
    scores[-1] += 1
    changed = Episode(**{**vars(episode), "scores": scores})
    with pytest.raises(TriuneError, match="did not repeat"):
        list(frames_of(triune.load("breakout"), changed))


def test_detections_are_drawn_where_things_are(episode: Episode) -> None:
    system = triune.load("breakout")
    painter = Painter(system.schema, system.spec.env.actions.names, panel=False)
    frame = next(frames_of(system, episode)).copy()
    scene = system.schema.read(episode.scenes[0])
    drawn, plain = painter.picture(frame, scene), painter.picture(frame, system.schema.read(system.schema.empty()))
    ys, xs = np.nonzero((drawn != plain).any(axis=2))
    paddle = scene.paddle
    assert (np.abs(ys / 2 - paddle.y) < paddle.h).any() and (np.abs(xs / 2 - paddle.x) < paddle.w).any()
    assert len(list(pictures(system, episode, [3, 9, 9], painter))) == 2


def test_an_overruled_action_looks_different() -> None:
    system = triune.load("pong")
    painter, scene = Painter(system.schema, system.spec.env.actions.names), system.schema.read(system.schema.empty())
    frame = np.zeros((210, 160, 3), np.uint8)
    words = Caption("t", 1, 2, 3, 0, 0, 0, "why")
    calm = painter.paint(frame, scene, words)
    alarm = painter.paint(frame, scene, Caption("t", 1, 2, 3, 0, 0, 2, "why", "a rule"))
    red = lambda image: int(((image[..., 0] > 200) & (image[..., 1] < 130)).sum())  # noqa: E731
    assert red(alarm) > red(calm) + 50


def test_long_replays_show_opening_middle_and_the_last_score() -> None:
    n = 9000
    column = np.zeros(n, np.uint16)
    scores = np.where(np.arange(n) < 7000, 5, 9)
    long = Episode(
        {},
        np.zeros((n, 8), np.float32),
        column.astype(np.uint8),
        column.astype(np.uint8),
        column,
        column,
        column,
        scores,
        scores,
    )
    steps = choose_steps(long, 1, 100)
    assert len(steps) <= 100 and steps == sorted(set(steps))
    assert steps[:40] == list(range(40)) and 7000 in steps
    assert choose_steps(long, 100, 100) == list(range(0, n, 100))


def test_markup_escapes_what_comes_from_outside() -> None:
    for text in (
        report_parts.counts("<b>", {"<script>": 3}, 3), report_parts.tile("<i>", "&"),
        report_parts.rows({"<a>": "<b>"}),
        report_parts.card("<x>", "", "<y>"), report_parts.strip([(b"", "<u>", "<v>")]),
    ):  # fmt: skip
        assert not re.search(r"<(script|i|a|x|y|u|v)>", text)


def test_the_chart_has_a_bar_a_seed_and_survives_negative_scores() -> None:
    drawing = report_parts.chart([1, 2, 3], [-21, 5, 20], 1.3, [-10, 12])
    assert drawing.count("<title>seed") == 3 and "nan" not in drawing
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" rx', drawing)]
    assert heights[0] > heights[2] > heights[1] > 0


def test_report_css_ships_with_the_package() -> None:
    css = Path(triune.__file__).parent / "report" / "report.css"
    assert css.is_file() and "url(" not in css.read_text()


def test_console_helpers() -> None:
    assert jsonable({"a": np.float32(1.5), "b": float("nan"), "c": (np.int64(2), Path("x"))}) == {
        "a": 1.5,
        "b": None,
        "c": [2, "x"],
    }
    assert table([["a", "10"], ["bb", "9"]], ["n", "v"], {1}).splitlines()[2:] == ["a   10", "bb   9"]
    assert wrap("one two three four", 8, 2) == ["one two", "three…"]
