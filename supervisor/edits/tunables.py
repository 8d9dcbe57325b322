"""The constants that a search may move: read from a policy text and written back, everything else byte for byte.

`NAME = tunable(default, low, high)` with literal numbers.
"""

from __future__ import annotations

import ast
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import SupportsFloat

from supervisor.edits.checks import EditError, nearest
from supervisor.edits.definitions import CONSTANT, Text, Unreadable


@dataclass(frozen=True)
class Tunable:
    """A constant at `value`, free within [low, high]; `whole` when it is an int to the policy."""

    value: float
    low: float
    high: float
    whole: bool


def constants(text: str) -> dict[str, Tunable]:
    """The tunables of a policy text by name; EditError when it does not parse."""
    return {name: tunable for name, (tunable, _) in _found(_read(text)).items()}


def with_constants(text: str, values: Mapping[str, float]) -> str:
    """The text with new defaults for some tunables; EditError for one that is none, or for a value it cannot take."""
    read = _read(text)
    found = _found(read)
    lines = [line.encode() for line in read.lines]
    spans = []
    for name, value in values.items():
        if name not in found:
            have = f"{name!r} is no tunable of policy.py; {nearest(name, found)}"
            raise EditError("not-tunable" if name in read.names else "unknown-name", have)
        tunable, node = found[name]
        written = _literal(name, value, tunable)
        if float(value) != tunable.value:
            spans.append((node, written))
    for node, written in sorted(spans, key=lambda s: (s[0].lineno, s[0].col_offset), reverse=True):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + written.encode() + line[node.end_col_offset or 0 :]
    return b"\n".join(lines).decode()


def _read(text: str) -> Text:
    if "\r" in text:
        raise EditError("policy", "policy.py has carriage returns; convert its line ends to LF first")
    try:
        return Text(text)
    except Unreadable as error:
        raise EditError("policy", f"policy.py itself cannot be read: {error}") from None


def _found(text: Text) -> dict[str, tuple[Tunable, ast.expr]]:
    """Tunables with the node of their default."""
    found = {}
    for unit in text.units:
        call = unit.node.value if unit.kind == CONSTANT and isinstance(unit.node, ast.Assign) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "tunable":
            continue
        numbers = [_number(a) for a in call.args]
        if len(numbers) == 3 and not call.keywords and call.args[0].lineno == call.args[0].end_lineno:
            default, low, high = numbers
            if default is not None and low is not None and high is not None and low <= default <= high:
                whole = isinstance(default, int)
                found[unit.name] = Tunable(float(default), float(low), float(high), whole), call.args[0]
    return found


def _number(node: ast.expr) -> int | float | None:
    """The value of a literal with an optional sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = node.operand
        value = _number(inner) if isinstance(inner, ast.Constant) else None
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number = node.value
        assert isinstance(number, (int, float))
        return number if abs(number) <= 2**53 or isinstance(number, float) and math.isfinite(number) else None
    return None


def _literal(name: str, value: object, tunable: Tunable) -> str:
    """The text of a value, which reads back as the same number."""
    number = math.nan
    if isinstance(value, SupportsFloat) and not isinstance(value, (bool, str)):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        shown = "an int beyond every float" if type(value) is int else repr(value)[:60]
        raise EditError("not-a-number", f"{name}: {shown} is no finite number")
    if not tunable.low <= number <= tunable.high:
        raise EditError("out-of-range", f"{name}: {number} lies outside [{tunable.low:g}, {tunable.high:g}]")
    if tunable.whole and number != int(number):
        raise EditError("not-a-number", f"{name}: {number} is not whole, and the policy's default is an int")
    return str(int(number)) if tunable.whole else repr(number)
