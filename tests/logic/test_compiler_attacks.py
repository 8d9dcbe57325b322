"""Every attack ends in diagnostics that say where, what and what to write instead, soon and never by an exception."""

from __future__ import annotations

import time
from collections.abc import Callable

import compiler_attacks as inside
import compiler_attacks_module as around
import pytest
from compiler_kit import CONSTANTS, SCHEMA, check, policy

from logic.language import CompileError, Diagnostic, check_safety, compile_program, compile_safety

FIRST = "    y0 = 1"  # the line before the attack


def refused(run: Callable[[], list[Diagnostic]]) -> list[Diagnostic]:
    """What is wrong; asserts that something is, with place, construct and a way out, and that it took no time."""
    before = time.process_time()
    found = run()
    assert time.process_time() - before < 8.0  # of the processor, and a backstop: many times what it takes
    assert found, "accepted"
    for d in found:
        assert d.line > 0 and d.column > 0 and d.construct and d.message and d.instead, d
        assert d.construct != "internal", d
    return found


@pytest.mark.parametrize("name", sorted({**inside.BODIES, **inside.LARGE}))
def test_inside_act(name: str) -> None:
    body = {**inside.BODIES, **inside.LARGE}[name]
    source = policy("y0 = 1\n" + body)
    found = refused(lambda: check(source))
    first = source.split("\n").index(FIRST) + 2
    lines = range(first, first + len(body.split("\n")))
    assert any(d.line in lines for d in found), found
    assert all(d.source in source for d in found)
    with pytest.raises(CompileError):
        compile_program(source, SCHEMA, CONSTANTS)


@pytest.mark.parametrize("name", sorted({**around.MODULES, **around.LARGE}))
def test_at_module_level(name: str) -> None:
    module = {**around.MODULES, **around.LARGE}[name]
    refused(lambda: check(policy("", module)))


@pytest.mark.parametrize("field", around.FIELDS)
def test_in_memory(field: str) -> None:
    refused(lambda: check(policy("", memory=f"class Memory:\n    {field}\n")))


@pytest.mark.parametrize("name", sorted(around.TEXTS))
def test_below_the_syntax(name: str) -> None:
    refused(lambda: check(around.TEXTS[name]))


@pytest.mark.parametrize("name", sorted(around.HARMLESS))
def test_what_only_looks_odd_compiles(name: str) -> None:
    assert check(around.HARMLESS[name]) == []


@pytest.mark.parametrize("name", sorted(around.SAFETY))
def test_in_safety_rules(name: str) -> None:
    assert check_safety(around.RULE, SCHEMA, CONSTANTS) == []
    refused(lambda: check_safety(around.SAFETY[name], SCHEMA, CONSTANTS))
    with pytest.raises(CompileError):
        compile_safety(around.SAFETY[name], SCHEMA, CONSTANTS)


@pytest.mark.parametrize("name", sorted(around.LIBRARIES))
def test_in_library_modules(name: str) -> None:
    texts = around.LIBRARIES[name]
    found = refused(
        lambda: check(policy("x = f(scene.ball.x)", "from logic.lib.a import f"), library=texts.__getitem__)
    )
    assert all(d.source for d in found if d.file == "policy")


def test_columns_count_characters() -> None:
    (found,) = check(policy("return ('\u00e9\u00e9', scene.bal.x)"))
    assert found.source[found.column - 1 - len("    ") :] == "scene.bal.x)"


def test_a_budget_spent_in_a_library_module_points_there() -> None:
    (found,) = check(
        policy("x = f(scene.ball.x)", "from logic.lib.a import f"),
        library=around.LIBRARIES["a table without end"].__getitem__,
    )
    assert (found.file, found.line, found.construct) == ("lib/a", 5, "budget") and found.source == "return s"
