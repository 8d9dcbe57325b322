"""Figures, pictures and markup of reports and replays."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_kit import ROOT
from html_kit import Page
from jinja2 import UndefinedError

import triune
from data_flywheel.episodes.episode import Episode
from data_flywheel.self_training.capture import Capture
from triune.console import jsonable, table
from triune.errors import TriuneError
from triune.play import evaluation as stats
from triune.play.loop import Rollout, frames_of
from triune.report import html, page, plots
from triune.report.drawing import Caption, Painter, wrap
from triune.report.replay import choose_steps, pictures
from triune.report.self_training import write_report as write_self_training


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


FOREIGN = "<script>alert(1)</script>\"'><img src=x onerror=y>\u202e &amp; {{ title }}"
STRIP = [(b"", FOREIGN, FOREIGN)]
CELLS = {FOREIGN: FOREIGN}
EVALUATION: dict[str, Any] = {
    **dict.fromkeys(("title", "subtitle", "totals", "command"), FOREIGN),
    "figures": [(FOREIGN, FOREIGN)], "plot": plots.scores([1], [2.0], 2.0, (1.0, 3.0)),
    "replays": [(FOREIGN, FOREIGN, FOREIGN, b"")], "moments": [(FOREIGN, FOREIGN, STRIP)],
    **dict.fromkeys(("reasons", "rules", "faults"), page.counts({FOREIGN: 3}, 6)), "versions": CELLS, "hashes": CELLS,
}  # fmt: skip
ROUND = {
    **dict.fromkeys(("number", "outcome", "reason"), FOREIGN), **dict.fromkeys(("facts", "sources", "frozen"), CELLS),
    "pictures": STRIP,
}  # fmt: skip
LOST = ROUND | {"frozen": None, "pictures": []}
VIEWS = {
    "evaluation.html": EVALUATION,
    "self_training.html": {"title": FOREIGN, "outcome": FOREIGN, "rounds": [ROUND, LOST], "asked": CELLS},
}


@pytest.mark.parametrize("template", VIEWS)
def test_nothing_that_comes_from_outside_becomes_markup(template: str) -> None:
    text = html.render(template, **VIEWS[template])
    found = Page(text)
    assert found.scripts == [] and found.tags["style"] == found.tags["h1"] == 1 and "\u202e" not in text
    assert all(name in ("alt", "class", "src") for tag, name, _ in found.attributes if tag in ("img", "div", "td"))
    assert all(value.startswith("data:image/webp") for _, name, value in found.attributes if name == "src")
    foreign = FOREIGN.replace("\u202e", "\\u202e")  # all of it is there, as text
    assert found.shown.count(foreign) == str(VIEWS[template]).count("onerror") + 1  # the title stands twice


@pytest.mark.parametrize("template", VIEWS)
def test_a_template_prints_nothing_that_is_not_there(template: str) -> None:
    html.render(template, **VIEWS[template])
    for name in VIEWS[template]:
        with pytest.raises(UndefinedError, match=name):
            html.render(template, **{k: v for k, v in VIEWS[template].items() if k != name})


@pytest.mark.parametrize("template", VIEWS)
def test_every_page_admits_its_own_style_and_loads_nothing(template: str) -> None:
    text = html.render(template, **VIEWS[template])
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'" in text
    assert style == html.asset("style.css") and not re.search(r"url\(|@import|https?:", style)
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_a_command_is_shown_whole() -> None:
    seeds = list(range(0, 3000, 2))
    asked = {"limit": 9, "policy": "my policy.py"}
    system = SimpleNamespace(called="pong", vouched=lambda detector: False)
    result = SimpleNamespace(protocol="sticky", detector="cnn", shift="dim", seeds=seeds)
    command = page._command(system, asked, result)  # type: ignore[arg-type]
    assert command.endswith("--eyes cnn --shift dim --policy 'my policy.py' --steps 9")
    result.seeds = [4, 5, 6]
    assert page._command(system, {}, result).count("--seeds 4:7 ") == 1  # type: ignore[arg-type]
    text = html.render("evaluation.html", **EVALUATION | {"command": command})
    assert len(command) > html.LONGEST and command in Page(text).shown


def test_what_is_missing_is_said() -> None:
    shown = Page(html.render("self_training.html", **VIEWS["self_training.html"])).shown
    assert shown.count("nothing was learned") == shown.count("motion was sure of no whole frame") == 1
    calm = EVALUATION | {"moments": [], "rules": [], "faults": []}
    shown = Page(html.render("evaluation.html", **calm)).shown
    assert "Nothing was lost in any episode" in shown and "overruled (steps) none" in shown and "Faults" not in shown


def test_drawings_escape_what_they_are_told() -> None:
    rows = [plots.Row(FOREIGN, "reject", [1.0, -2.0], plots.Estimate(-0.5, -2.0, 1.0, 2), n, FOREIGN) for n in (0, 3)]
    spans, points = [plots.Span(0, 0.0, 1.0, rows[0].mean)], [plots.Point(3, FOREIGN, FOREIGN, 0.5, 1.0)]  # type: ignore[arg-type]
    for drawn in (*(plots.differences([row], FOREIGN) for row in rows), plots.curve(spans, points, 1.0, FOREIGN, str)):
        assert "<script" not in drawn and "<img" not in drawn and "\u202e" not in drawn and "&lt;script" in drawn


def test_the_chart_has_a_bar_a_seed_and_survives_negative_scores() -> None:
    drawing = plots.scores([1, 2, 3], [-21, 5, 20], 1.3, [-10, 12])
    assert drawing.count("<title>seed") == 2 * 3 and drawing.count("seed worst") == 2 and "nan" not in drawing
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" rx', drawing)]
    assert heights[0] > heights[2] > heights[1] > 0


def test_bars_are_as_long_as_their_share() -> None:
    assert 'width="25.0%"' in plots.meter(0.25) and page.counts({"a": 1, "b": 4}, 8)[1][1] == plots.meter(0.25)
    assert [row[0] for row in page.counts({"a": 1, "b": 4}, 8)] == ["b", "a"]
    over = plots.gauge(1.5, 1.0)
    assert "150 % used" in over and 'class="budget over"' in over and "150.0%" not in over


def test_a_self_training_run_makes_a_page(tmp_path: Path) -> None:
    """From the files that a run leaves; nothing is learned for it."""
    system = triune.load("pong")
    with Rollout(system, "sticky", None, "teacher") as rollout:
        steps = [(s.frame.copy(), s.scene.vector.copy(), int(s.decision.action)) for s, _ in
                 zip(rollout.episode(2), range(60), strict=False)]  # fmt: skip
    frames, seen, actions = zip(*steps, strict=True)
    play = Capture(np.stack(frames), np.stack(seen), np.array(actions, np.uint8), np.zeros(len(steps), np.int64), (2,))
    asked = {"request": {"task": "pong", "shift": None, "protocol": "sticky"}, "hashes": {"eyes": "e" * 64},
             "memory": "m" * 64, "frozen": "f" * 64}  # fmt: skip
    (tmp_path / "wheel.json").write_text(json.dumps(asked))
    sight = {"score": 0.91, "hits": {"ball": 0.92}, "cells": None, "ghosts": 0.01}
    figures = {
        "new": sight | {"score": 0.97},
        "played": {"old": sight},
        "scores": {"new": [3, 4]},
        "frozen": {"p": 1.0},
    }
    lesson = {"coverage": 0.1, "sources": {"new": "motion"}}
    told = {"round": 1, "outcome": "promoted", "reason": "<b>", "sight": sight, "lesson": lesson, "figures": figures}
    (tmp_path / "round-1").mkdir()
    play.save(tmp_path / "round-1" / "play.npz")
    (tmp_path / "round-1" / "round.json").write_text(json.dumps(told))
    text = write_self_training(system, tmp_path).read_text("utf-8")
    shown = Page(text).shown
    assert "Pong: self-training without a visual shift promoted Round 1: promoted <b>" in shown
    assert "0.970 (ball 0.920, resting 0.010)" in shown and "scores, new detector 3, 4" in shown
    assert text.count("data:image/webp;base64,") == 6 and "sha256 detector" in shown
    assert not re.search("eyes|wheel|lesson", shown)


def test_templates_ship_with_the_package() -> None:
    """Every file of the folder has an ending that pyproject.toml names as package data."""
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    files = {path.name for path in html.FOLDER.iterdir()}
    assert files >= {"base.html", "evaluation.html", "improve.html", "self_training.html", "style.css", "improve.js"}
    assert {f"*{Path(name).suffix}" for name in files} <= set(kinds)


def test_console_helpers() -> None:
    assert jsonable({"a": np.float32(1.5), "b": float("nan"), "c": (np.int64(2), Path("x"))}) == {
        "a": 1.5,
        "b": None,
        "c": [2, "x"],
    }
    assert table([["a", "10"], ["bb", "9"]], ["n", "v"], {1}).splitlines()[2:] == ["a   10", "bb   9"]
    assert wrap("one two three four", 8, 2) == ["one two", "three…"]


def test_a_run_cannot_vouch_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger's run.json says of trust counts for nothing."""
    from triune.report import page

    asked: list[bool] = []

    def loaded(folder: str, trust: bool, **_: Any) -> Any:
        asked.append(trust)
        raise InterruptedError

    monkeypatch.setattr(page, "load", loaded)
    info = {"request": {"task": "pong", "folder": "pong", "trust": True}}
    run = SimpleNamespace(info=info, path=Path("run"), records=lambda: [{"seed": 0}])
    for trust in (False, True):
        with pytest.raises(InterruptedError):
            page.write_report(run, trust=trust)  # type: ignore[arg-type]
    assert asked == [False, True]
