"""A folder for a game from one command, and the looks at its labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside

from envs.spec import load_spec
from triune.commands import new_game


def test_a_game_is_drafted_checked_played_and_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_game, "STEPS", 150)
    made = inside("new", "road", "--env", "ALE/Freeway-v5", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert "yellow" in told["things"]  # the chicken
    spec = load_spec(tmp_path / "road")
    assert spec.env.actions.names == ("NOOP", "UP", "DOWN") and spec.labels["things"].keys() == set(told["things"])
    look = inside("look", "./road", "--limit", "20", "--seeds", "3", "--sheet", "s.png", "--json", cwd=tmp_path)
    assert look.returncode == 0, look.stderr
    found = json.loads(look.stdout)
    assert found["things"]["yellow"]["in_steps"] > 0.9 and (tmp_path / "s.png").stat().st_size > 1000
    checked = inside("check", "./road", "--json", cwd=tmp_path)
    assert [c for c in json.loads(checked.stdout)["checks"] if not c["ok"] and c["name"] != "eyes"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "road"), "--camera, or --env"),
        (("new", "road", "--camera", "--env", "ALE/Pong-v5"), "--camera, or --env"),
        (("new", "road", "--env", "ALE/Frewway-v5"), "did you mean"),
    ],
)
def test_what_cannot_be_made_is_refused(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = inside(*words, cwd=tmp_path)
    assert done.returncode and said in done.stderr and not (tmp_path / "road").exists()


def test_eyes_are_told_beside_labels_in_every_third_of_a_game(tmp_path: Path) -> None:
    done = inside("look", "pong", "--seeds", "4", "--limit", "240", "--json", cwd=tmp_path)
    thirds = json.loads(done.stdout)["thirds"]
    assert [third["frames"] for third in thirds] == [80, 80, 80]
    assert np.mean([third["things"]["player"]["f1_iou50"] for third in thirds]) > 0.97


def test_a_sheet_of_another_kind_is_refused_before_playing(tmp_path: Path) -> None:
    done = inside("look", "pong", "--seeds", "4", "--sheet", "s.jpg", cwd=tmp_path)
    assert done.returncode and ".png" in done.stderr and "game 1" not in done.stderr
