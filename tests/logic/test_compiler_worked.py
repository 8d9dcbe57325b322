"""A text compiled for several protocols works its tables out once, and comes out as if it were alone."""

from __future__ import annotations

from typing import Any

import pytest
from compiler_kit import CONSTANTS, SCHEMA

from logic.language import CompileError, Worked, compile_program
from logic.language.artifact import Artifact, freeze, part_of
from logic.language.diagnostics import Limits

HELPERS = '''"""Tables."""
class Pair:
    a: float = 0.0
    b: float = 0.0


def table(n):
    out = zeros(n)
    for i in range(n):
        out = put(out, i, math.sqrt(float(i)) + WIDTH)
    return out


def chances(n):
    return table(n) * STICKY


def indirect(n):
    return table(n) + SKIPS


def pair(n):
    return Pair(total(table(n)), 1.0)


SKIPS = FRAMESKIP * 2
'''
USES = {  # how often a table is worked out for the four protocols of Atari
    "table(9)": 1, "table(FRAMESKIP + 5)": 2, "chances(9)": 2, "indirect(9)": 2, "table(SKIPS)": 2,
    "chances(SKIPS + 1)": 4, "(table(3), chances(3))": 2, "table(int(HEIGHT) - 200)": 1,
}  # fmt: skip
PROTOCOLS = [CONSTANTS | {"FRAMESKIP": skip, "STICKY": sticky} for skip in (1, 4) for sticky in (0.0, 0.25)]


def text(expression: str) -> str:
    answer = "total(T[0])" if expression.startswith("(") else "total(T)"
    return (
        f'{HELPERS}\nT = {expression}\n\n\ndef act(scene, memory):\n    return NOOP if {answer} > 1.0 else FIRE, "x"\n'
    )


def outcome(source: str, constants: dict[str, Any], worked: Worked | None, limits: Limits | None = None) -> Any:
    try:
        made = compile_program(source, SCHEMA, constants, limits=limits, worked=worked)
    except CompileError as error:
        return error.diagnostics
    assert made.graph is not None
    return made.code, freeze(
        Artifact(made.reasons, part_of("policy.py", made.module.fields, [("act", made.graph)]), ())
    )


@pytest.mark.parametrize("expression", USES)
def test_each_protocol_comes_out_as_alone(expression: str) -> None:
    worked = Worked()
    for constants in PROTOCOLS:
        alone = outcome(text(expression), constants, None)
        assert isinstance(alone, tuple) and outcome(text(expression), constants, worked) == alone
    assert len(worked.known) == USES[expression]


@pytest.mark.parametrize("expression", ["table(-1)", "table(3) / 0.0", "pair(3)", "table(nothing)", "table(10 ** 9)"])
def test_what_fails_and_what_is_a_record_is_worked_out_each_time(expression: str) -> None:
    worked = Worked()
    for constants in PROTOCOLS:
        assert outcome(text(expression), constants, worked) == outcome(text(expression), constants, None)
    assert not worked.known


def test_what_a_table_costs_is_charged_each_time() -> None:
    """One protocol more is no way around a budget."""
    for most in range(4_000, 60_000, 4_000):
        worked, limits = Worked(), Limits(table_ns=most)
        for constants in PROTOCOLS:
            alone = outcome(text("table(9)"), constants, None, limits)
            taken = outcome(text("table(9)"), constants, worked, limits)
            assert isinstance(alone, tuple) == isinstance(taken, tuple)
