"""Causal discovery: finds what draws things in games nobody described to it, and survives a crashing child."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_flywheel.datasets.collection import collect
from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.agreement import audit
from data_flywheel.labelers.causal.discover import discover, fit_points, kind_of
from data_flywheel.labelers.causal.masks import Catalogue, Prober, causal_mask
from data_flywheel.labelers.causal.probe import Probe, ProbeDied
from data_flywheel.labelers.teacher import load_teacher
from data_flywheel.storage.dataset import Dataset
from envs.backends.atari import AtariCore
from envs.backends.atari_protocols import get_protocol
from envs.spec import load_spec

CHILD = """
import json, os, sys, time
for line in sys.stdin:
    question = json.loads(line)
    byte = question.get("byte")
    if byte == 5:
        os._exit(7)
    if byte == 9:
        time.sleep(60)
    if byte == 11:
        reply = {"error": "cannot do that"} if os.environ.get("REFUSE") else {"answer": {"shows": 0.0}}
    else:
        reply = {"answer": {"shows": 0.0}}
    print(json.dumps(reply), flush=True)
"""


@pytest.fixture(scope="module")
def breakout(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    out = tmp_path_factory.mktemp("found") / "breakout.json"
    found = discover("breakout", out, states=8)
    assert Catalogue.load(out) == found
    return found


def test_breakout_paddle_ball_and_bricks_are_found(breakout: Catalogue) -> None:
    assert breakout.crashed == {}
    paddle = next(t for t in breakout.things if t.x and t.x.byte == 72)
    assert (paddle.x.scale, paddle.x.offset) == (1, -47) and paddle.x.exact > 0.95 and paddle.y is None
    assert paddle.sizes[0][:2] == (16, 4)
    ball = next(t for t in breakout.things if t.x and t.x.byte == 99)
    assert ball.y is not None and ball.y.byte == 101
    assert (ball.x.scale, ball.x.offset, ball.y.scale, ball.y.offset) == (1, -49, 1, 9)
    assert ball.x.exact > 0.8 and ball.y.near > 0.9 and ball.sizes[0][:2] == (2, 4)
    assert set(ball.also["velocity"]) >= {103, 105}
    assert len(breakout.things) == 2  # score digits and walls are no things
    bricks = [cell for cell in breakout.cells if cell.byte < 36]
    assert len(bricks) == 6 * 36
    places = {(cell.left, cell.top) for cell in bricks}
    assert places == {(8 + 4 * c, 57 + 6 * r) for r in range(6) for c in range(36)}
    assert {(cell.width, cell.height) for cell in bricks} == {(4, 6)}


def test_the_teacher_agrees_with_causal_masks(breakout: Catalogue) -> None:
    report = audit("breakout", breakout, frames=60)
    assert report.frames == 60 and report.deaths == 0
    assert report.things["ball"]["agree"] > 0.93 and report.things["paddle"]["agree"] > 0.8
    assert report.things["ball"]["unlabelled"] <= 0.02
    assert report.cells["bricks"] > 0.999


def test_the_audit_notices_a_wrong_teacher(breakout: Catalogue, tmp_path: Path) -> None:
    for name in ("system.toml", "teacher.py"):
        shutil.copy(load_spec("breakout").folder / name, tmp_path / name)
    text = (tmp_path / "teacher.py").read_text()
    (tmp_path / "teacher.py").write_text(
        text + "\n_true = label\n\ndef label(truth, frame, schema):\n    v = _true(truth, frame, schema)\n"
        "    v[schema.slot('ball').start + 1] += 3\n    v[schema.grid('bricks')] = 1 - v[schema.grid('bricks')]\n"
        "    return v\n"
    )
    report = audit(tmp_path, breakout, frames=30)
    assert report.things["ball"]["differ"] > 0.5
    assert report.cells["bricks"] < 0.01


def test_causal_mask_is_the_visible_ball() -> None:
    teacher = load_teacher("breakout")
    core = AtariCore(load_spec("breakout").env, get_protocol("seed"), 0)
    rng = np.random.default_rng(0)
    core.reset(0)
    right: Counter[bool] = Counter()
    for _ in range(25):
        for _ in range(9):
            core.advance(teacher.scripted(core.truth(), rng))
        mask, frame, ram = causal_mask(core, [99, 101])
        label = teacher.label({"ram": ram}, frame)[teacher.schema.slot("ball")]
        if label[0]:
            ys, xs = np.nonzero(mask)
            right[len(xs) > 0 and abs(xs.mean() + 0.5 - label[1]) < 0.6 and abs(ys.mean() + 0.5 - label[2]) < 0.6] += 1
        assert np.array_equal(core.ram(), ram)  # the core stands where the mask was taken
    assert right[True] >= 15 and right[False] <= 0.1 * right[True]


def test_causal_labels_need_a_deterministic_protocol() -> None:
    core = AtariCore(load_spec("breakout").env, get_protocol("sticky"), 0)
    with pytest.raises(ValueError, match="no sticky actions"):
        Prober(core)


def test_a_crashing_and_a_hanging_child_are_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = discover("pong", tmp_path / "c.json", timeout=3, command=["odd_child"])
    assert found.crashed == {"5": "exit code 7", "9": "no answer in time"}
    assert found.things == () and found.bytes == {}


def test_a_probe_reports_and_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("REFUSE", "1")
    with Probe({}, 3, ["odd_child"]) as probe:
        with pytest.raises(ProbeDied, match="exit code 7"):
            probe.ask({"byte": 5})
        assert probe.ask({"byte": 6}) == {"shows": 0.0}
        with pytest.raises(DataError, match="cannot do that"):
            probe.ask({"byte": 11})
        assert probe.ask({"byte": 12}) == {"shows": 0.0}
        assert probe.deaths == 1


def test_a_fit_needs_many_places_and_reports_what_does_not_obey() -> None:
    def box(left: int) -> dict[str, int]:
        return {"left": left, "top": 9, "width": 2, "height": 4}

    points = [(v, box(2 * v - 7)) for v in range(20)] + [(50, box(3))]
    formula = fit_points(points, "x", 4, 4, 1)
    assert formula and (formula.scale, formula.offset) == (2, -7) and 0.9 < formula.exact < 1
    assert fit_points(points[:5], "x", 4, 4, 1) is None
    assert fit_points([(v, box(3)) for v in range(20)], "x", 4, 4, 1) is None
    assert fit_points([], "x", 4, 4, 1) is None


def test_bytes_that_show_nothing_are_none() -> None:
    assert kind_of({"shows": 0.0}, 33600) == "none"


def test_catalogue_errors(breakout: Catalogue, tmp_path: Path) -> None:
    path = breakout.save(tmp_path / "c.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": 9}))
    with pytest.raises(DataError, match=r"c\.json: triune catalogue version 9, but this program reads 1 and 2"):
        Catalogue.load(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="not a triune catalogue"):
        Catalogue.load(path)
    path.write_text("{")
    with pytest.raises(DataError, match="damaged or half-written triune catalogue"):
        Catalogue.load(path)


def test_collect_audits_a_sample_and_remembers_it(breakout: Catalogue, tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    for name in ("system.toml", "teacher.py"):
        shutil.copy(load_spec("breakout").folder / name, task / name)
    breakout.save(task / "catalogue.json")
    report = collect(task, tmp_path / "data", 60, workers=1, audit_frames=20)
    remembered = Dataset(tmp_path / "data").manifest.extra["figures"]["audit"]
    assert report.audit == remembered and remembered["frames"] == 20
    assert remembered["things"]["ball"]["agree"] > 0.8


@pytest.mark.slow
def test_pong_ball_and_both_paddles_are_found(tmp_path: Path) -> None:
    found = discover("pong", tmp_path / "pong.json")
    read = {(t.x and t.x.byte, t.y and t.y.byte) for t in found.things}
    assert (49, 54) in read
    assert any(t.y and t.y.driver == 60 and t.y.near > 0.95 for t in found.things)  # the player's hidden knob
    assert any(t.y and t.y.byte in (21, 50) and t.y.near > 0.95 for t in found.things)
    report = audit("pong", found, frames=100)
    assert all(report.things[name]["agree"] > 0.9 for name in ("ball", "player", "enemy"))
