"""The language reference is true: its examples compile or are refused, and every word it names exists and works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from compiler_kit import CONSTANTS, SCHEMA, build, check, policy, random_vectors

from envs.actions import Box
from logic.language import builtins as language
from logic.language import compile_program, compile_safety
from logic.language.frontend.calls import ARITY
from logic.language.frontend.modules import PROTOCOL
from perception.scene import SLOT_FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python (\w+)\n(.*?)```", PAGE, re.S)
ONE_PAGE = 7_800  # characters of prose and examples


def test_examples_compile_and_run_or_are_refused() -> None:
    assert {kind for kind, _ in EXAMPLES} == {"policy", "safety", "refused", "vector"}
    for kind, text in EXAMPLES:
        if kind == "refused":
            assert {d.line for d in check(text)} == {2}
            continue
        if kind == "vector":
            leg = Box(("hip", "knee", "ankle"), (-1.0, -2.0, -0.5), (1.0, 2.0, 0.5))
            program = compile_program(text, SCHEMA, CONSTANTS, actions=leg)
            told = {program.act(SCHEMA.read(v), program.start())[1] for v in 9.0 * random_vectors(50, 3)}
            assert told == {"rest", "crouch", "step"}
            continue
        if kind == "safety":
            rules = compile_safety(text, SCHEMA, CONSTANTS)
            (rule,) = (rules.namespace[name] for name in rules.graphs)
            far = SCHEMA.read(np.full(SCHEMA.size, 50.0, np.float32))
            assert (rule(far, rules.start(), 3), rule(SCHEMA.read(SCHEMA.empty()), rules.start(), 3)) == (3, 0)
            continue
        program = build(text)
        memory = program.start()
        answers = {program.act(SCHEMA.read(v), memory) for v in random_vectors(50, 3)}
        if "class Track" in text:
            assert {"a leg is ahead", "follow"} == {reason for _, reason in answers}
            continue
        assert program.graph is not None and program.graph.fields["phase"].modes == ("serve", "search")
        assert len(answers) > 2 and program.module.tunables == {"DEADBAND": (3.0, 1.0, 8.0)}


def test_it_is_one_page() -> None:
    assert len(PAGE) < ONE_PAGE


def test_the_page_and_the_compiler_know_the_same_words() -> None:
    for word in (*ARITY, *language.PORTABLE, *PROTOCOL, *SLOT_FIELDS):
        assert re.search(rf"\b{word}\b", PAGE), word
    words = {f.__name__ for f in language.PRIMITIVES} | set(language.PYTHON)
    assert words - {"tunable", "True", "False", "range", "enumerate", "zip"} == set(ARITY)


WORDS = {
    "abs": "abs(-3)", "min": "min(1, 2)", "max": "max(1, 2.0, 3)", "int": "int(2.5)", "float": "float(1)",
    "bool": "bool(1)",
    "round": "round(2.5)", "len": "len(arange(3))", "zeros": "zeros(2, 2)[1, 1]", "zeros_int": "zeros_int(3)[0]",
    "ones": "ones(2)[0]", "full": "full(2, 3, 7)[1, 2]", "arange": "arange(4)[3]",
    "array": "array(((1, 2), (3, 4)))[1, 0]",
    "where": "where(arange(3) > 1, 1, 0)[2]", "maximum": "maximum(arange(3), 1)[0]",
    "minimum": "minimum(arange(3), 1)[2]",
    "clip": "clip(5.0, 0.0, 1.0)", "sign": "sign(-2.5)", "floor_of": "floor_of(full(1, 2.5))[0]",
    "exp_of": "exp_of(zeros(1))[0]",
    "abs_of": "abs_of(arange(3) - 2)[0]", "to_int": "to_int(full(1, 2.5))[0]", "to_float": "to_float(arange(2))[1]",
    "take": "take(arange(5), 3)", "reshape": "reshape(arange(6), 2, 3)[1, 0]",
    "concat": "concat(arange(2), arange(3))[4]",
    "put": "put(arange(3), 1, 9)[1]", "shift_push": "shift_push(arange(3), 9)[2]",
    "scatter_add": "scatter_add(array((0, 2, 0)), ones(3), 3)[0]", "top_k": "top_k(array((1.0, 3.0, 2.0)), 2)[1]",
    "argmax": "argmax(array((1, 3, 3)))", "argmin": "argmin(array((2, 1)))", "total": "total(arange(5))",
    "largest": "largest(arange(5))", "smallest": "smallest(arange(5))", "count": "count(arange(5) > 2)",
    "any_of": "any_of(arange(2) > 0)", "all_of": "all_of(arange(2) > 0)", "sum_over": "sum_over(ones(2, 3), 1)[0]",
    "max_over": "max_over(ones(2, 3), -1)[0]", "min_over": "min_over(ones(2, 3), 0)[0]",
    "argmax_over": "argmax_over(ones(2, 3), 1)[0]", "matmul": "matmul(ones(2, 3), ones(3))[0]",
    "col_sums": "col_sums(ones(2, 3) > 0.0)[0]", "row_sums": "row_sums(ones(2, 3) > 0.0)[0]",
    "nearest": "nearest(arange(5), 3)",
}  # fmt: skip


@pytest.mark.parametrize("word", sorted(ARITY))
def test_every_word_folds_to_what_the_plain_language_gives(word: str) -> None:
    expected = eval(WORDS[word], language.vocabulary())  # noqa: S307 - the test's own text
    program = build(policy("memory.x = float(X)", f"X = {WORDS[word]}"))
    memory = program.start()
    program.act(SCHEMA.read(random_vectors(1, 0)[0]), memory)
    assert memory.x == float(expected)
