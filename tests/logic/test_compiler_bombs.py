"""Texts that try to make the compiler work too hard, or its parser fall over: each ends in a diagnostic, soon."""

from __future__ import annotations

import time

import pytest
from compiler_kit import check, policy

NEST = """
for i in range(200):
    for j in range(200):
        for k in range(200):
"""
TABLE = "def f():\n    x = {start}\n{body}    return x\n\n\nX = f()"


def doubling(step: str, last: str) -> str:
    """24 helpers, each of which calls the next one twice."""
    return "".join(f"def f{i}(a):\n    return {step.format(f=f'f{i + 1}')}\n\n\n" for i in range(24)) + last


def table(start: str, body: str) -> str:
    """A module whose one table is computed by `body`."""
    return policy("", TABLE.format(start=start, body="".join(f"    {line}\n" for line in body.strip().split("\n"))))


def shapes(depth: int) -> str:
    """Nested loops in which an array grows."""
    loops = "".join("    " * i + f"for i{i} in range(60):\n" for i in range(depth))
    return policy(f"a = zeros(1)\n{loops}{'    ' * depth}a = concat(a, a + scene.ball.x)\nmemory.x = total(a)")


BOMBS = {
    "three nested loops": policy(NEST + "            memory.x += 1.0"),
    "table of nested loops": table("0.0", NEST + "            x = x + 1.0"),
    "calls twice": policy("x = f0(1.0)", doubling("{f}(a) + {f}(a)", "def f24(a):\n    return a")),
    "calls twice, shallow": policy(
        "x = f14(scene.ball.x)", doubling("{f}(a) + {f}(a + 1.0)", "def f24(a):\n    return a * 2.0")
    ),
    "calls twice in a table": policy(
        "", doubling("{f}(a) + {f}(a + 1.0)", "def f24(a):\n    return a\n\n\nX = f4(1.0)")
    ),
    "squares": table("3", "for i in range(40):\n    x = x * x"),
    "array loops": policy(
        "a = zeros(1000, 1000)\nfor i in range(100):\n    a = a * 1.5 + scene.ball.x\nmemory.x = total(a)"
    ),
    "long range": policy("for i in range(10**12):\n    memory.x += 1.0"),
    "one shape change": shapes(1),
    "nested shape changes": shapes(3),
    "many statements": policy("\n".join(f"x{i} = scene.ball.x + {i}.0" for i in range(2_000))),
    "too many statements": policy("\n".join(f"x{i} = scene.ball.x + {i}.0" for i in range(40_000))),
    "unknown names": policy(
        "\n".join(f"x{i} = unknown{i}" for i in range(3_000)), "\n".join(f"KNOWN{i} = {i}" for i in range(3_000))
    ),
    "wide product": policy("a = zeros(4000, 1) + zeros(1, 4000)"),
    "bad loops": policy(
        "for i in range(60):\n    for j in range(60):\n        for k in range(60):\n            x = nope"
    ),
}


HARMLESS = {"many statements", "calls twice, shallow", "calls twice in a table"}  # work is shared: they stay small


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_end_in_a_diagnostic_soon(name: str) -> None:
    before = time.process_time()
    found = check(BOMBS[name])
    spent = time.process_time() - before
    assert bool(found) != (name in HARMLESS) and all(d.construct != "internal" for d in found), found
    assert spent < 8.0  # processor time, and a backstop: many times what it takes


def test_growing_numbers_are_bounded_at_play() -> None:
    assert not check(policy("x = 3\nfor i in range(40):\n    x = x * x\nmemory.n = x % 7"))


TEXTS: dict[str, str | bytes] = {
    "digits": "X = " + "9" * 5000,
    "nul": "X = '\0'",
    "nul bytes": b"X = 1\0",
    "latin-1": "X = '\xe9'".encode("latin-1"),
    "utf-16": "X = 1".encode("utf-16"),
    "lone surrogate": "X = '\ud800'",
    "minuses": "X = " + "-" * 5000 + "1",
    "parentheses": "X = " + "(" * 500 + ")" * 500,
    "deep calls": "X = " + "abs(" * 150 + "1" + ")" * 150,
    "deep attributes": "X = scene" + ".a" * 3000,
    "deep ifs": "def f(a):\n" + "".join(" " * i + "if a:\n" for i in range(1, 95)) + " " * 95 + "return 1",
    "long sum": "X = " + "+".join("1" * 2000),
    "size": "X = 1 #" + "x" * 300_000,
    "syntax": "def act(scene memory):\n    return 1",
    "indent": "def f(a):\nreturn 1",
    "empty": "",
    "only a docstring": '"""Nothing."""',
    "tabs": "def f(a):\n\treturn 1\n        return 2",
    "python 2": "print 'x'",
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_texts_that_break_parsers_are_diagnostics(name: str) -> None:
    found = check(TEXTS[name])
    assert found and all(d.construct != "internal" for d in found), found
