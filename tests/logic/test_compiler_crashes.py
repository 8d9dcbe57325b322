"""Whatever breaks inside the compiler is a diagnostic with a place: from the library, and from `triune check`.

The bugs are planted: every stage in turn raises something that no stage is meant to raise.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, check, policy

from logic.language import CompileError, check_safety, compile_program, compile_safety
from logic.sandbox.compiling import compile_confined
from triune.cli import main

STAGES = (
    "frontend.modules.parse", "frontend.modules.Modes.run", "frontend.modules.Structure.module",
    "frontend.modules.Loader.declare",
    "frontend.modules.Loader.compute", "frontend.loops.Lowering.block", "frontend.loops.Lowering.expression",
    "frontend.values.Builder.const",
    "frontend.values._Join.run", "api.lower", "ops.optimise", "frontend.modules._budgets", "api.to_python",
)  # fmt: skip
ERRORS = (AssertionError, MemoryError, RecursionError, KeyError, ValueError, OverflowError, SystemError, StopIteration)
TEXT = policy("if scene.ball.seen:\n    memory.x = scene.ball.x + T[2]", "T = arange(3)\nU = 1 + 2")
RULE = 'def r(scene, memory, action):\n    """R"""\n    return FIRE if scene.ball.x + 2.0 > 1.0 else action\n'
RESOURCES = {MemoryError: "too large", RecursionError: "too deep"}


def plant(monkeypatch: pytest.MonkeyPatch, stage: str, error: type[Exception]) -> None:
    """From now on the stage raises."""

    def broken(*args: object, **kwargs: object) -> None:
        raise error("a bug")

    monkeypatch.setattr(f"logic.language.{stage}", broken)


def told(found: list[Any], error: type[Exception]) -> bool:
    """Is it the one diagnostic that such an error becomes?"""
    words = RESOURCES.get(error, f"internal compiler error: {error.__name__}")
    return len(found) == 1 and words in found[0].message and found[0].line > 0 and bool(found[0].instead)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_may_break(stage: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(TEXT) == [] and check_safety(RULE, SCHEMA, CONSTANTS) == []
    plant(monkeypatch, stage, error)
    assert told(check(TEXT), error)
    with pytest.raises(CompileError) as caught:
        compile_program(TEXT, SCHEMA, CONSTANTS)
    assert told(caught.value.diagnostics, error)
    if stage in ("frontend.modules.parse", "api.lower", "api.to_python"):  # a rule passes through fewer of them
        with pytest.raises(CompileError) as caught:
            compile_safety(RULE, SCHEMA, CONSTANTS)
        assert told(caught.value.diagnostics, error)


def test_real_exhaustion_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = policy("x = " + "abs(" * 50 + "memory.n" + ")" * 50)
    assert check(deep) == []
    limit = sys.getrecursionlimit()
    with monkeypatch.context() as patch:
        patch.setattr("logic.language.frontend.text.guarded_stack", lambda: len(frames()) + 120)
        assert told(check(deep), RecursionError)
    assert sys.getrecursionlimit() == limit
    monkeypatch.setattr(np, "full", lambda *args, **kwargs: np.zeros(2**46))  # 512 TiB
    (found,) = check(policy("", "T = zeros(3)"))
    assert "too large" in found.message and found.line == 2


def frames() -> list[Any]:
    """The frames of this thread."""
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("error", (AssertionError, MemoryError, RecursionError))
@pytest.mark.parametrize(
    "stage", ("frontend.modules.parse", "frontend.loops.Lowering.block", "api.lower", "api.to_python")
)
def test_triune_check_says_so_and_exits_with_1(
    stage: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = tmp_path / "policy.py"
    text.write_text('def act(scene, memory):\n    return NOOP, "still"\n')
    words = ["check", str(text), "--task", "pong"]
    assert main([*words, "--json"]) == 0
    capsys.readouterr()
    plant(monkeypatch, stage, error)
    assert main([*words, "--json"]) == 1
    seen = capsys.readouterr()
    found = json.loads(seen.out)["diagnostics"]
    assert found and all(d["construct"] in ("internal", "budget") and d["instead"] for d in found)
    assert main(words) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in seen.err + shown.err + shown.out and found[0]["message"] in shown.out


def test_the_isolated_compiler_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "api.lower", AssertionError)
    with pytest.raises(CompileError) as caught:
        compile_confined(SCHEMA, TEXT, "", CONSTANTS)
    assert told(caught.value.diagnostics, AssertionError)


def test_a_parser_that_another_thread_disturbed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, first = ast.parse, [True]

    def disturbed(*args: Any, **kwargs: Any) -> ast.AST:
        if first and first.pop():
            raise SystemError("AST constructor recursion depth mismatch (before=192, after=45)")
        return whole(*args, **kwargs)

    monkeypatch.setattr("ast.parse", disturbed)
    assert not check(TEXT) and not first
