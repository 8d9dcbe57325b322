"""Games that were played before are found again, under the same conditions only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_arena import LAZY, LEFTWARD

from supervisor.protocols import Score
from triune.errors import TriuneError
from triune.play import evaluator as arena
from triune.play.evaluator import GameStore, TaskEvaluator
from triune.system import load

ONE = Score(1000, 12.0, 0.5, 800, 200)


def test_games_come_back_under_their_conditions(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "games.jsonl"
    GameStore(path, {"protocol": "sticky"}).add("p", ONE)
    assert GameStore(path, {"protocol": "sticky"}).get("p", 1000) == ONE
    assert GameStore(path, {"protocol": "seed"}).get("p", 1000) is None
    assert GameStore(path, {"protocol": "sticky"}).get("q", 1000) is None
    assert GameStore(path, {"protocol": "sticky"}).get("p", 1001) is None


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "games.jsonl"
    GameStore(path, {}).add("p", ONE)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    store = GameStore(path, {})
    store.add("p", ONE._replace(seed=1001))
    assert len(GameStore(path, {}).known) == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "games.jsonl"
    path.write_text('{"under": 1}\n')
    with pytest.raises(TriuneError, match="line 1"):
        GameStore(path, {})


def test_the_arena_plays_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluator(protocol: str = "sticky") -> TaskEvaluator:
        made = TaskEvaluator(load("breakout"), protocol, "cnn", tmp_path / "work", floors=False)
        made.keep_games(tmp_path / "games.jsonl")
        return made

    played = list(evaluator().play([(LAZY, 7), (LAZY, 8)]))
    monkeypatch.setattr(arena, "Players", lambda *a: pytest.fail("played"))
    assert sorted(evaluator().play([(LAZY, 8), (LAZY, 7)])) == sorted(played)
    for other, text in ((evaluator("seed-sticky"), LAZY), (evaluator(), LEFTWARD)):
        with pytest.raises(pytest.fail.Exception):
            list(other.play([(text, 7)]))


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-" + "9" * 30, str(2**64), "1" + "0" * 19 + "0"])
def test_a_number_beyond_any_count_is_no_game(number: str, tmp_path: Path) -> None:
    path = tmp_path / "games.jsonl"
    path.write_text(
        json.dumps({"under": "x", "policy": "y", "seed": 0, "score": 1.0, "hard": 0.0, "frames": 7, "decisions": 7})
        .replace("7", number, 1) + "\n"
    )  # fmt: skip
    with pytest.raises(TriuneError, match="line 1: not a game"):
        GameStore(path, {})
