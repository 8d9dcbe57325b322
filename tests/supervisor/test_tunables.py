"""Constants that a search may move: read, written back, everything else byte for byte."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from cli_kit import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.edits.edits import EditError, constants, with_constants
from supervisor.edits.tunables import Tunable

POLICY = '''"""é before, so that columns are not characters."""

A = tunable(1.5, -2.0, 4.0)  # é px
B = tunable(-3, -9, 9); NOTE = "é"; C = tunable(+0.5, 0.0, 1.0)
D = tunable(
    1e3,  # the default
    0.0,
    1e6,
)
WALL = 8.0
E = tunable(1.0, 2.0, 3.0)  # default outside
F = tunable(1.0, 0.0)
G = tunable(WALL, 0.0, 9.0)
H = tunable(default=1.0, low=0.0, high=2.0)
I = other(1.0, 0.0, 2.0)
J = tunable(True, 0, 1)
K = tunable(1e999, 0.0, 1e999)


def act(scene, memory):
    L = tunable(1.0, 0.0, 2.0)
    return NOOP, "x"
'''


def test_tunables_are_read_with_their_range_and_type() -> None:
    assert constants(POLICY) == {
        "A": Tunable(1.5, -2.0, 4.0, False), "B": Tunable(-3.0, -9.0, 9.0, True), "C": Tunable(0.5, 0.0, 1.0, False),
        "D": Tunable(1000.0, 0.0, 1e6, False),
    }  # fmt: skip


def test_values_are_written_where_they_stand_and_nowhere_else() -> None:
    made = with_constants(POLICY, {"A": -0.25, "B": 7, "C": 1, "D": 12.5})
    old, new = POLICY.split("\n"), made.split("\n")
    assert new[2] == "A = tunable(-0.25, -2.0, 4.0)  # é px"
    assert new[3] == 'B = tunable(7, -9, 9); NOTE = "é"; C = tunable(1.0, 0.0, 1.0)'
    assert new[5] == "    12.5,  # the default"
    assert [n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b] == [2, 3, 5]


def test_the_same_value_changes_no_byte() -> None:
    """Also where the text has another spelling of it."""
    assert with_constants(POLICY, {"A": 1.5, "B": -3.0, "C": 0.5, "D": 1000}) == POLICY
    assert with_constants(POLICY, {}) == POLICY


@settings(max_examples=150, deadline=None)
@given(st.floats(-2.0, 4.0), st.integers(-9, 9), st.floats(0.0, 1.0))
def test_a_written_value_reads_back_as_the_same_number(a: float, b: int, c: float) -> None:
    made = with_constants(POLICY, {"A": a, "B": b, "C": c})
    found = constants(made)
    assert (found["A"].value, found["B"].value, found["C"].value) == (a, b, c)
    assert (found["A"].whole, found["B"].whole) == (False, True)
    back = with_constants(made, {"A": 1.5, "B": -3, "C": 0.5})
    assert back == (POLICY if c == 0.5 else POLICY.replace("+0.5", "0.5"))


@pytest.mark.parametrize("value", [np.float64(2.5), np.float32(2.5), Fraction(5, 2), np.array(2.5)])
def test_numbers_of_any_type_are_written_as_plain_ones(value: object) -> None:
    assert "A = tunable(2.5, -2.0" in with_constants(POLICY, {"A": value})  # type: ignore[dict-item]


def test_the_ends_of_the_range_belong_to_it() -> None:
    made = constants(with_constants(POLICY, {"A": 4.0, "B": -9}))
    assert (made["A"].value, made["B"].value) == (4.0, -9.0)
    for beyond in (math.nextafter(4.0, 5.0), math.nextafter(-2.0, -3.0)):
        with pytest.raises(EditError, match="outside"):
            with_constants(POLICY, {"A": beyond})


def test_one_bad_value_writes_none() -> None:
    with pytest.raises(EditError, match="NOPE"):
        with_constants(POLICY, {"A": 1.0, "NOPE": 2.0})


@pytest.mark.parametrize("text", ["def act(:", "A = tunable(1.0, 0.0, 2.0)\r\n"])
def test_a_policy_that_cannot_be_read_is_named(text: str) -> None:
    for call in (lambda: constants(text), lambda: with_constants(text, {"A": 1.0})):
        with pytest.raises(EditError) as caught:
            call()
        assert caught.value.reason == "policy"


@pytest.mark.parametrize("task", ["breakout", "pong"])
def test_shipped_tunables_survive_a_round_trip(task: str) -> None:
    text = (ROOT / "zoo" / task / "policy.py").read_text()
    found = constants(text)
    assert found or task == "pong"
    moved = with_constants(text, {name: t.high for name, t in found.items()})
    assert {n: t.value for n, t in constants(moved).items()} == {n: t.high for n, t in found.items()}
    assert with_constants(moved, {name: t.value for name, t in found.items()}) == text
