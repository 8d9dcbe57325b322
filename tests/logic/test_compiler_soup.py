"""Whatever the text, the compiler answers with a program or with diagnostics: mutated policies and soups of tokens."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest
from compiler_fuzz import Maker
from compiler_kit import CONSTANTS, SCHEMA, check, policy

from logic.language import CompileError, compile_program, compile_safety
from logic.language.diagnostics import Limits
from logic.language.frontend.calls import ARITY
from logic.language.program import shipped_library

ROOT = Path(__file__).parents[2]
QUICK, FULL = range(300), range(300, 6000)
LIMITS = Limits(nodes=3_000, calls=500, unrolled=300, table_ns=5.0e7, table_elements=5_000_000)
WORDS = (
    *ARITY, *CONSTANTS,
    *["if", "elif", "else", "for", "in", "return", "break", "continue", "pass", "and", "or", "not", "def"],
    *["class", "Memory", "scene", "memory", "action", "act"],
    *["while", "lambda", "yield", "await", "del", "import", "from", "logic", "lib", "ball", "fly"],
    *["global", "nonlocal", "assert", "raise", "try", "except", "with", "as", "is", "None"],
    *["True", "False", "int", "float", "bool", "str", "Float", "Int", "Bool", "range", "enumerate", "zip"],
    *["tunable", "math", "sin", "exp", "log", "pi", "seen", "x", "y", "bricks", "enemy", "ball"],
    *["air", "n", "on", "trail", "ticks", "mode", "_", "__class__", "self", "match", "case", "type"],
    *["async", "e1", "0", "1", "2", "-1", "3.5", "1e308", "1e999", "0x10", "1_0", "'a'", '"b"', "f'{n}'"],
    *["b'c'", "..."],
    *["(", ")", "[", "]", "{", "}", ",", ":", ";", ".", "=", "==", "!=", "<", "<=", ">", ">=", "+", "-"],
    *["*", "/", "//", "%", "**", "&", "|", "~", "^", "<<", ">>", "@", ":=", "->", "+=", "-=", "*=", "\\"],
    *["!", "$", "?", "`", "#", "\n"],
    *["\n    ", "\n        ", "\n", " ", "\t", "\x0c", "\r", "\ufeff", "\u00e9", "\uff43", "\u2028", "\x00"],
    *["9" * 30, "((((", "))))"],
)  # fmt: skip
MIXED_BODY = """
a, b = f(scene, memory)
for i, e in enumerate(scene.enemy):
    if e.seen and i != 2:
        memory.x += e.x
        break
memory.trail = shift_push(memory.trail, a if b > T[1] else -a)
memory.n = X[memory.n % 3]
"""
MIXED_MODULE = """
from logic.lib.ball import fly
X = g(3)
T = (1, 2.5, True)
U = tunable(3.0, 1.0, 8.0)


def f(scene, memory):
    return scene.ball.x, memory.x


def g(n):
    a = zeros_int(n)
    for i in range(n):
        a = put(a, i, i * i)
    return a
"""
TOKENS = re.compile(r"\w+|[^\S\n]+|\n *|[^\w\s]")


@cache
def seeds() -> list[list[str]]:
    """Texts to start from, as tokens: the reference page's policy, library modules, random policies, safety rules."""
    page = (ROOT / "docs" / "language.md").read_text("utf-8")
    texts = [re.findall(r"```python policy\n(.*?)```", page, re.S)[0]]
    texts += [p.read_text("utf-8") for p in sorted((ROOT / "logic" / "lib").glob("[a-z]*.py"))]
    texts += [p.read_text("utf-8") for p in sorted((ROOT / "zoo").glob("*/safety.py"))]
    texts += [Maker(seed).program() for seed in range(24)]
    texts += [policy(MIXED_BODY, MIXED_MODULE)]
    return [TOKENS.findall(t) for t in texts]


def mutated(r: random.Random) -> str:
    """A text with a few tokens changed, moved, lost, or doubled."""
    tokens = list(r.choice(seeds()))
    for _ in range(r.choice((1, 1, 2, 3, 8, 30))):
        i, roll = r.randrange(len(tokens)), r.random()
        if roll < 0.45:
            tokens[i] = r.choice(WORDS)
        elif roll < 0.6:
            tokens[i] = r.choice(tokens)
        elif roll < 0.7:
            tokens.insert(i, r.choice(WORDS))
        elif roll < 0.8:
            del tokens[i : i + r.randint(1, 6)]
            tokens = tokens or ["1"]
        elif roll < 0.9:
            j = r.randrange(len(tokens))
            tokens[i], tokens[j] = tokens[j], tokens[i]
        else:
            j = r.randrange(len(tokens))
            tokens[i:i] = tokens[j : j + r.randint(1, 30)]
    return "".join(tokens)


def soup(r: random.Random) -> str:
    """Words and signs in any order, as a body or as a file."""
    text = " ".join(r.choice(WORDS) for _ in range(r.randint(1, 60)))
    return text if r.random() < 0.3 else policy(text.replace("\n", "\n" + r.choice(("", "    "))))


LEAVES = (
    "1", "2.5", "True", "scene.ball.x", "scene.enemy", "scene.bricks", "memory.n", "memory.trail", "memory.ticks",
    "memory", "scene", "'a'", "(1, 2)", "()", "arange(3)", "zeros(2, 2)", "zeros(0)", "scene.air", "LEFT", "y0",
    "math.pi", "1e308", "scene.enemy[1]", "memory.on", "(0,)", "zeros(1, 0)", "max",
)  # fmt: skip
SIGNS = ("+", "-", "*", "/", "//", "%", "**", "&", "|", "==", "<", ">=", "!=", "and", "or")
FUNCTIONS = ("sin", "sqrt", "floor", "atan2", "log")


def expression(r: random.Random, depth: int) -> str:
    """An expression that parses, mostly of the wrong types."""
    if depth <= 0:
        return r.choice(LEAVES)
    a, b, c, d = (expression(r, depth - r.randint(1, 2)) for _ in range(4))
    word = r.choice(sorted(ARITY))
    few, most = ARITY[word]
    call = f"{word}({', '.join((a, b, c, d)[: r.randint(few, min(most, 4))])})"
    return r.choice((
        f"({a} {r.choice(SIGNS)} {b})", f"({a} if {b} else {c})", call, call, f"{a}[{b}]", f"{a}[{b}, {c}]",
        f"{a}[:, None]", f"{a}[0:{b}]", f"({a}, {b})", f"(-{a})", f"(not {a})", f"(~{a})",
        f"math.{r.choice(FUNCTIONS)}({a})", f"({a} < {b} <= {c})", f"h({a})", f"{a}.x", f"{a}.trail",
    ))  # fmt: skip


def ill_typed(r: random.Random) -> str:
    """Statements that parse, with expressions of any kind in any place."""
    lines = ["y0 = 1"]
    for i in range(r.randint(1, 6)):
        e, small = expression(r, r.randint(0, 3)), expression(r, 1)
        field, word = r.choice(("n", "x", "on", "trail", "ticks", "z")), r.choice(("zip", "enumerate"))
        lines += r.choice((
            [f"x{i} = {e}"], [f"memory.{field} = {e}"], [f"y0 += {e}"], [f"a{i}, b{i} = {e}"],
            [f"if {e}:", f"    y0 = {small}", "else:", f"    z{i} = {expression(r, 1)}"],
            [f"for k{i} in {e}:", f"    y0 = k{i}"],
            [f"for k{i} in range({r.randint(0, 4)}):", f"    y0 = {e}", f"    if {small}:", "        break"],
            [f"for k{i}, m{i} in {word}({e}, {expression(r, 0)}):", "    pass"],
            [f"return {e}, 'x'"], [f"return {e}"], [f"memory.x = h({e})"],
        ))  # fmt: skip
    inner = expression(r, 1).replace("scene", "a").replace("memory", "a")
    helper = f"def h(a):\n    b = {inner}\n    return {r.choice(('a', 'b', '(a, b)'))}"
    return policy("\n".join(lines), f"C = {expression(r, 2)}\n\n\n{helper}" if r.random() < 0.5 else helper)


MAKERS = (mutated, soup, ill_typed, ill_typed)


def answer(seed: int) -> bool:
    """Does it compile? Anything but a program or diagnostics that say where and what fails the test."""
    r = random.Random(seed)
    text = MAKERS[seed % len(MAKERS)](r)
    run = compile_safety if "action):" in text else compile_program
    try:
        run(text, SCHEMA, CONSTANTS, shipped_library, limits=LIMITS)
    except CompileError as error:
        assert error.diagnostics, text
        for d in error.diagnostics:
            assert d.message and d.construct and d.construct != "internal" and d.line > 0 and d.column > 0, (
                f"{text}\n{d}"
            )
        return False
    return True


def test_no_text_breaks_the_compiler() -> None:
    compiled = [answer(seed) for seed in QUICK]
    assert 0 < sum(compiled) < len(compiled) / 2  # both answers occur


@pytest.mark.slow
def test_no_text_of_many_breaks_the_compiler() -> None:
    compiled = sum(answer(seed) for seed in FULL)
    print(f"{len(FULL)} texts, of which {compiled} compile")


def test_the_seeds_themselves_are_diverse_and_mostly_valid() -> None:
    assert len(seeds()) > 12 and not check("".join(seeds()[0]))
