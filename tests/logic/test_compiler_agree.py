"""Case by case, plain Python, generated Python, a batch and ONNX agree, from memories full of numbers that go wrong."""

from __future__ import annotations

import importlib.util

import pytest
from compiler_agree import check_batch, check_onnx, run_both
from compiler_cases import BODIES, DEEP, EXPRESSIONS, HELPED, MEMORY, STARTS
from compiler_kit import CONSTANTS, SCHEMA, policy

from logic.language.artifact import read
from logic.sandbox.compiling import compile_confined

HAS_ONNX = importlib.util.find_spec("onnx") is not None


def agree(body: str, module: str = "", onnx: bool = True) -> None:
    """One policy in every way there is, one step from each memory."""
    steps = run_both(policy(body, module, MEMORY), 1, STARTS)
    check_batch(steps)
    if onnx and HAS_ONNX:
        check_onnx(steps)


@pytest.mark.parametrize("number, expression", list(enumerate(EXPRESSIONS)))
def test_expressions(number: int, expression: str) -> None:
    """ONNX here for every fourth: op by op it is tested in test_compiler_onnx.py, all of these in the slow tier."""
    agree(f"memory.y = float({expression})", onnx=number % 4 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_in_onnx(expression: str) -> None:
    agree(f"memory.y = float({expression})")


@pytest.mark.parametrize("name", sorted(BODIES))
def test_statements(name: str) -> None:
    agree(BODIES[name])


@pytest.mark.parametrize("name", sorted(DEEP))
def test_as_deep_as_it_goes(name: str) -> None:
    agree(DEEP[name])
    assert read(compile_confined(SCHEMA, policy(DEEP[name], "", MEMORY), "", CONSTANTS)).reasons


@pytest.mark.parametrize("name", sorted(HELPED))
def test_helpers_and_tables(name: str) -> None:
    module, body = HELPED[name]
    agree(body, module)
