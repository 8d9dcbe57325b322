"""A policy that is compiled once for all who play it: only what came of its text is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import triune.play.evaluation
import triune.system
from triune.play.evaluator import TaskEvaluator
from triune.play.workers import episodes, game
from triune.system import load, sha256

TEXT = '''"""Pushes one way."""


def act(scene, memory):
    return RIGHT, "right"
'''


@pytest.fixture
def evaluator(tmp_path: Path) -> TaskEvaluator:
    return TaskEvaluator(load("cartpole"), None, "cnn", tmp_path / "work", floors=False)


def played(evaluator: TaskEvaluator, made: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], int]:
    """The record of a game by what a worker does, and how often it compiled."""
    system, compiled = evaluator.player(TEXT), []
    request = triune.play.evaluation.make_request(system, evaluator.protocol.name, [], None, "cnn", 30)
    job = {k: v for k, v in request.items() if k not in ("seeds", "policy")} | {"hashes": system.hashes()}
    own = triune.system.build_artifact
    monkeypatch.setattr(triune.system, "build_artifact", lambda *given: compiled.append(1) or own(*given))
    with episodes(job) as play:
        digest, record = play(game(str(system.policy_path), sha256(TEXT), 100, None, made))
    monkeypatch.undo()
    assert digest == sha256(TEXT)
    return record, len(compiled)


def test_who_plays_compiles_only_what_was_not_handed_over(
    evaluator: TaskEvaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digest = evaluator._compiled(TEXT) or ("", "")
    given = played(evaluator, [path, digest], monkeypatch)
    assert given[1] == 0 and set(given[0]["reasons"]) == {"right"}
    other = evaluator._compiled(TEXT.replace("RIGHT", "LEFT").replace('"right"', '"left"'))
    assert other and other[1] != digest
    Path(path).write_bytes(Path(other[0]).read_bytes())  # somebody else writes into the folder
    for made in ([path, digest], [str(tmp_path / "none"), digest]):
        record, compiled = played(evaluator, made, monkeypatch)
        assert compiled == 1 and record["reasons"] == given[0]["reasons"] and record["score"] == given[0]["score"]


def test_a_text_that_does_not_compile_is_handed_over_by_nobody(evaluator: TaskEvaluator) -> None:
    assert evaluator._compiled("def act(scene, memory):\n    return scene.nothing\n") is None
