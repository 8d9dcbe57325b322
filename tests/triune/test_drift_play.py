"""The drift watch in play: ranges tied to weights, warnings in the commands, reports in results and bundles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT, copy_task, inside

from perception.drift import FAILING, OK, scene_parts
from triune.deploy.export import export
from triune.errors import TriuneError
from triune.play import drift
from triune.play.drift import together, warning
from triune.play.evaluation import evaluate
from triune.runtime import Bundle
from triune.system import load


@pytest.mark.parametrize("task", ["breakout", "pong"])
def test_the_zoo_has_ranges_of_its_weights(task: str) -> None:
    system = load(task)
    made = system.ranges()
    assert made is not None and made["scene"] == scene_parts(system.schema)
    assert (system.folder / "ranges.json").stat().st_size < 10_000


def test_ranges_of_other_eyes_are_not_used(tmp_path: Path) -> None:
    copy_task(tmp_path / "pong")
    (tmp_path / "pong/ranges.json").write_bytes((ROOT / "zoo/pong/ranges.json").read_bytes())
    assert load(tmp_path / "pong").ranges() is not None
    weights = tmp_path / "pong/perception.onnx"
    weights.write_bytes(weights.read_bytes() + b"\x72\x00")
    assert load(tmp_path / "pong").ranges() is None
    refused = inside("drift", str(tmp_path / "pong"))
    assert refused.returncode == 1 and "--measure" in refused.stderr


def test_ranges_are_measured_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_task(tmp_path / "pong")
    monkeypatch.setattr(drift, "PLAY", {"sticky": (0,)})
    monkeypatch.setattr(drift, "RANDOM", {"sticky": (10,)})
    system = load(tmp_path / "pong", trust=True, isolate=False)
    assert drift.measure(system, 150) == tmp_path / "pong/ranges.json"
    told = json.loads(inside("drift", "./pong", "--json", cwd=tmp_path).stdout)
    low, usual, high = told["ranges"]["ball confidence"]
    assert 0.5 < low <= usual <= high <= 1 and told["weights"] == system.hashes()["eyes"]


def test_scores_come_with_a_report_of_drift() -> None:
    plain = evaluate(load("pong"), "sticky", [21], limit=200)
    assert plain.drift["level"] == OK and plain.drift["games"] == {"ok": 1, "changed": 0, "failing": 0}
    odd = evaluate(load("pong"), "sticky", [21], "camouflage", limit=200)
    assert odd.drift["level"] == FAILING and odd.drift["since"]["failing"] <= 200 and odd.drift["words"]


def test_play_warns_at_once_and_names_the_command(tmp_path: Path) -> None:
    words = ("play", "pong", "--seed", "21", "--shift", "camouflage", "--steps", "200", "--json")
    done = inside(*words, cwd=tmp_path)
    assert json.loads(done.stdout)["drift"]["level"] == FAILING
    lines = [line for line in done.stderr.splitlines() if "drift:" in line]
    assert len(lines) == 2 and "triune flywheel pong --shift camouflage" in lines[1]


def test_a_bundle_carries_its_ranges_and_watches(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    export(load("pong"), tmp_path / "pong.onnx")
    bot = Bundle.load(tmp_path / "pong.onnx")
    assert bot.manifest["drift"]["weights"] == bot.manifest["eyes"]["sha256"]
    assert bot.schema.fingerprint == load("pong").schema.fingerprint  # things in order: the watch reads their slots
    watch, state = bot.watch(), bot.start()
    assert watch is not None
    grey = np.full(bot.frame_shape, 128, np.uint8)
    for _ in range(200):
        _, state, why = bot.step(grey, state)
        watch.see(grey, why.scene.vector)
    assert watch.level == FAILING and any("colours that training never showed" in word for word in watch.words)
    run = inside("run", "pong.onnx", "--steps", "150", "--json", cwd=tmp_path)
    assert json.loads(run.stdout)["drift"]["level"] == OK
    bot.manifest["drift"] = {**bot.manifest["drift"], "scene": {"crop": [0, 0, 10**9, 10**9]}}
    with pytest.raises(TriuneError, match="make no sense"):
        bot.watch()
    del bot.manifest["drift"]
    assert bot.watch() is None


def test_several_games_are_told_as_the_worst() -> None:
    fine = {"level": "ok", "since": {}, "words": [], "steps": 9}
    late = {"level": "failing", "since": {"changed": 80, "failing": 400}, "words": ["late"], "steps": 500}
    soon = {"level": "failing", "since": {"failing": 144}, "words": ["soon"], "steps": 500}
    told = together([fine, late, soon])
    assert told["level"] == FAILING and told["words"] == ["soon"] and told["games"]["ok"] == 1
    assert together([fine])["level"] == OK and together([]) == {}
    assert "since step 144" in warning(told, "pong", None) and warning(together([fine]), "pong", None) == ""
    assert warning({}, "pong", None) == ""
