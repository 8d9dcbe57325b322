"""One op as one Python expression, and the names such expressions use.

Knows: the text of every pure op and of every input. Does not know: statements, which value has a variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from logic.errors import PolicyFault
from logic.language import builtins as language
from logic.language import nan_rules
from logic.language.ir import INT, INT_LIMIT, Op, Value
from logic.language.ops import INT32, narrows
from logic.language.ranges import within

Text = Callable[[Value], str]
TUPLE_MOST = 20_000  # constant tables up to this long are Python tuples where single elements are read


def bad_int(value: int) -> int:
    """An integer beyond 2**53."""
    raise PolicyFault("an integer beyond 2**53")


def bad_int32(value: int) -> int:
    """An integer beyond 32 bits on its way into an int array."""
    raise PolicyFault("a value beyond 32 bits in an int array")


def bad_index(index: int, length: int) -> Any:
    """An index out of range."""
    raise PolicyFault(f"index {index} lies outside 0 .. {length - 1}")


def bad_action(action: int) -> None:
    """An action the task does not have."""
    raise PolicyFault(f"invalid action {action}")


def field_text(name: str) -> str:
    """A field of memory; one of a record there has a name with dots."""
    return f"memory.{name}" if name.isidentifier() else f"fields[{name!r}]"


def check_vector(action: np.ndarray) -> None:
    """No control may be NaN."""
    if np.isnan(action).any():
        raise PolicyFault("NaN in the action")


def gather(a: np.ndarray, index: np.ndarray) -> np.ndarray:
    """language.take with an index array; numpy itself refuses an index that is too large."""
    if index.size and int(index.min()) < 0:
        raise PolicyFault(f"take: an index lies outside 0 .. {a.shape[0] - 1}")
    return a.take(index, 0)


def first_largest(a: np.ndarray) -> int:
    """Flat index of the first largest; NaN, which numpy would choose, is a fault."""
    i = int(a.argmax())
    if a.item(i) != a.item(i):
        raise PolicyFault("a choice among values that hold NaN")
    return i


def first_smallest(a: np.ndarray) -> int:
    """Flat index of the first smallest; NaN is a fault."""
    i = int(a.argmin())
    if a.item(i) != a.item(i):
        raise PolicyFault("a choice among values that hold NaN")
    return i


def not_nan(value: float) -> float:
    """The value, unless it is NaN."""
    if value != value:
        raise PolicyFault("a choice among values that hold NaN")
    return value


def _warm_up() -> None:
    """numpy imports the Python half of its reductions at their first use, by way of the caller's `__import__`, which
    generated code does not have (and an isolated worker could not follow)."""
    sample = np.ones((1, 1), np.float32)
    for name in ("any", "all", "sum", "max", "min", "prod", "mean", "argmax", "argmin", "clip", "round"):
        method = getattr(sample, name)
        method(0.0, 1.0) if name == "clip" else method()
    np.count_nonzero(sample)
    np.matmul(sample, sample)


NAMES: dict[str, Any] = {
    "abs": abs, "int": int, "bool": bool, "round": round, "range": range,
    "pow_": math.pow, "sqrt": math.sqrt, "floor": math.floor, "ceil": math.ceil,
    "bad_int": bad_int, "bad_int32": bad_int32, "bad_index": bad_index, "bad_action": bad_action, "gather": gather,
    "check_vector": check_vector,
    "not_nan": not_nan, "first_largest": first_largest, "first_smallest": first_smallest, "sign": language.sign,
    "clip": language.clip,
    "absolute": np.absolute, "np_sign": np.sign, "minimum": np.minimum, "maximum": np.maximum, "where": np.where,
    "full": np.full, "array": np.array, "concatenate": np.concatenate, "count_nonzero": np.count_nonzero,
    "put": language.put, "shift_push": language.shift_push, "top_k": language.top_k, "to_int32": language.to_int,
    "scatter_add": nan_rules.scatter_add, "scattered": nan_rules.scattered, "total": nan_rules.total,
    "sum_over": nan_rules.sum_over, "matmul": nan_rules.matmul, "floor_of": nan_rules.floor_of,
    "exp_of": nan_rules.exp_of, "power": nan_rules.power, "floordiv": nan_rules.floordiv, "mod": nan_rules.mod,
    "max_over": language.max_over, "argmax_over": language.argmax_over, "errstate": np.errstate,
    "B": np.bool_, "I": np.int32, "F": np.float32,
}  # fmt: skip

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip
_CALLS = {
    "sqrt": "sqrt", "floor_of": "floor_of", "exp_of": "exp_of", "matmul": "matmul", "where": "where", "put": "put",
    "minimum": "minimum", "maximum": "maximum", "shift_push": "shift_push",
}  # fmt: skip
_CALM = {"floordiv": "floordiv", "mod": "mod"}  # of float arrays: faults by result, not by flag (nan_rules.py)
_LETTER = {"bool": "B", "int": "I", "float": "F"}
_SUFFIX = {"largest": ".max().item()", "smallest": ".min().item()"}


class PythonOps:
    """Expressions. `text(value)` gives an operand; `fresh()` a variable for `:=`; `constant(key, obj)` a global."""

    def __init__(self, text: Text, fresh: Callable[[], str], constant: Callable[[Any, Any], str]) -> None:
        self.text, self.fresh, self.constant = text, fresh, constant

    def expression(self, op: Op) -> str:
        """The op as an expression that can stand anywhere."""
        name = op.name
        special: Callable[[Op], str] | None = getattr(self, "op_" + name, None)
        if special is not None:
            return special(op)
        if name in _CALM and op.result.type.is_array and op.result.type.kind == "float":
            return f"{_CALM[name]}({self.text(op.args[0])}, {self.text(op.args[1])})"
        if name in _INFIX:
            a, b = self.operands(op)
            return f"({a} {_INFIX[name]} {b})"
        if name in _CALLS:
            return f"{_CALLS[name]}({', '.join(self.element(op, i) for i in range(len(op.args)))})"
        if name in _SUFFIX:
            made = self.text(op.args[0]) + _SUFFIX[name]
            return f"not_nan({made} + 0.0)" if op.args[0].type.kind == "float" else made
        raise NotImplementedError(name)

    def operands(self, op: Op) -> tuple[str, str]:
        """Both operands; Python itself turns an int into a float beside a float."""
        a, b = op.args
        bare = [v.op is not None and v.op.name == "to_float" and not v.type.is_array for v in (a, b)]
        inner = [self.text(v.op.args[0]) if n and v.op else self.text(v) for v, n in zip((a, b), bare, strict=True)]
        both_fine = op.name == "div" or op.name in ("lt", "le", "gt", "ge", "eq", "ne")
        if a.type.is_array or b.type.is_array:
            return self.element(op, 0), self.element(op, 1)
        if all(bare) and not both_fine:
            return self.text(a), self.text(b)
        return inner[0], inner[1]

    def element(self, op: Op, place: int) -> str:
        """An operand that becomes an element of an int array, or stands beside one: it must fit 32 bits."""
        value = op.args[place]
        is_index = op.name == "put" and place == 1
        if not narrows(op) or value.type != INT or within(value, *INT32) or is_index:
            return self.text(value)
        first, later = self.kept(value)
        return f"({later} if {INT32[0]} <= {first} <= {INT32[1]} else bad_int32({later}))"

    def kept(self, value: Value) -> tuple[str, str]:
        """(first use, later uses) of an operand that an expression names twice."""
        text = self.text(value)
        if text.isidentifier() or value.const is not None:
            return text, text
        name = self.fresh()
        return f"({name} := {text})", name

    def ranged(self, op: Op, text: str) -> str:
        """An int kept within the language's integers."""
        name = self.fresh()
        return f"({name} if {-INT_LIMIT} <= ({name} := {text}) <= {INT_LIMIT} else bad_int({name}))"

    # --- scalars ---------------------------------------------------------------------------------

    def op_pow(self, op: Op) -> str:
        a, b = (self.text(v) for v in op.args)
        return f"power({a}, {b})" if op.result.type.is_array else f"pow_({a}, {b})"

    def op_neg(self, op: Op) -> str:
        return f"(-{self.text(op.args[0])})"

    def op_not(self, op: Op) -> str:
        return f"({'~' if op.result.type.is_array else 'not '}{self.text(op.args[0])})"

    def op_abs(self, op: Op) -> str:
        return f"{'absolute' if op.result.type.is_array else 'abs'}({self.text(op.args[0])})"

    def op_sign(self, op: Op) -> str:
        return f"{'np_sign' if op.result.type.is_array else 'sign'}({self.text(op.args[0])})"

    def op_min(self, op: Op) -> str:
        (b1, b2), (a1, a2) = self.kept(op.args[1]), self.kept(op.args[0])
        return f"({b2} if {b1} < {a1} else {a2})"

    def op_max(self, op: Op) -> str:
        (b1, b2), (a1, a2) = self.kept(op.args[1]), self.kept(op.args[0])
        return f"({b2} if {b1} > {a1} else {a2})"

    def op_clip(self, op: Op) -> str:
        low, high = self.text(op.args[1]), self.text(op.args[2])
        if not all(t.isidentifier() or v.const is not None for t, v in ((low, op.args[1]), (high, op.args[2]))):
            return f"clip({self.text(op.args[0])}, {low}, {high})"
        first, later = self.kept(op.args[0])
        return f"({low} if {first} < {low} else {high} if {later} > {high} else {later})"

    def op_bound(self, op: Op) -> str:
        return self.ranged(op, self.text(op.args[0]))

    def op_to_float(self, op: Op) -> str:
        text = self.text(op.args[0])
        return f"{text}.astype(F)" if op.result.type.is_array else f"({text} + 0.0)"

    def op_to_int(self, op: Op) -> str:
        value, text = op.args[0], self.text(op.args[0])
        if op.result.type.is_array:
            return f"{text}.astype(I)" if value.type.kind == "bool" else f"to_int32({text})"
        if value.type.kind == "bool":
            return f"({text} + 0)"
        return self.rounded(op, f"int({text})")

    def rounded(self, op: Op, text: str) -> str:
        """A float made int: within range by proof or by check (NaN and infinity raise by themselves)."""
        return text if within(op.args[0], -INT_LIMIT, INT_LIMIT) else self.ranged(op, text)

    def op_floor(self, op: Op) -> str:
        return self.rounded(op, f"floor({self.text(op.args[0])})")

    def op_ceil(self, op: Op) -> str:
        return self.rounded(op, f"ceil({self.text(op.args[0])})")

    def op_round(self, op: Op) -> str:
        return self.rounded(op, f"round({self.text(op.args[0])})")

    # --- inputs ----------------------------------------------------------------------------------

    def op_memory(self, op: Op) -> str:
        return field_text(op.attrs["field"])

    def op_thing(self, op: Op) -> str:
        thing, field, count = op.attrs["thing"], op.attrs["field"], op.attrs["count"]
        if op.args:
            return f"scene.{thing}[{self.checked(op.args[0], count)}].{field}"
        return f"scene.{thing}.{field}" if count == 1 else f"scene.{thing}[{op.attrs['slot']}].{field}"

    def op_grid(self, op: Op) -> str:
        return f"scene.{op.attrs['name']}"

    op_gauge = op_grid

    # --- arrays ----------------------------------------------------------------------------------

    def checked(self, index: Value, length: int) -> str:
        """An index that cannot be out of range."""
        if within(index, 0, length - 1):
            return self.text(index)
        first, later = self.kept(index)
        return f"({later} if 0 <= {first} < {length} else bad_index({later}, {length}))"

    def op_element(self, op: Op) -> str:
        array, *index = op.args
        shape = array.type.shape or ()
        at = ", ".join(self.checked(i, n) for i, n in zip(index, shape, strict=True))
        if array.const is not None and len(shape) == 1 and shape[0] <= TUPLE_MOST:
            return f"{self.constant(('tuple', id(array.const)), tuple(array.const.tolist()))}[{at}]"
        return f"{self.text(array)}.item({at})"

    def op_pick(self, op: Op) -> str:
        array, index = op.args
        axis = op.attrs["axis"]
        return f"{self.text(array)}[{':, ' * axis}{self.checked(index, (array.type.shape or ())[axis])}]"

    def op_slice(self, op: Op) -> str:
        shape = op.args[0].type.shape or ()
        parts = [":" if b == (0, n) else f"{b[0]}:{b[1]}" for b, n in zip(op.attrs["bounds"], shape, strict=True)]
        return f"{self.text(op.args[0])}[{', '.join(parts)}]"

    def op_reshape(self, op: Op) -> str:
        return f"{self.text(op.args[0])}.reshape({op.attrs['shape']})"

    def op_gather(self, op: Op) -> str:
        array, index = (self.text(a) for a in op.args)
        return f"{array}.take({index}, 0)" if op.attrs["safe"] else f"gather({array}, {index})"

    def op_concat(self, op: Op) -> str:
        return f"concatenate(({', '.join(self.text(a) for a in op.args)},))"

    def op_full(self, op: Op) -> str:
        return f"full({op.attrs['shape']}, {self.element(op, 0)}, {_LETTER[op.attrs['kind']]})"

    def op_stack(self, op: Op) -> str:
        made = f"array(({', '.join(self.element(op, i) for i in range(len(op.args)))},), {_LETTER[op.attrs['kind']]})"
        return made if len(op.attrs["shape"]) == 1 else f"{made}.reshape({op.attrs['shape']})"

    def op_scatter_add(self, op: Op) -> str:
        index, values = (self.text(a) for a in op.args)
        return f"{'scattered' if op.attrs['safe'] else 'scatter_add'}({index}, {values}, {op.attrs['length']})"

    def op_top_k(self, op: Op) -> str:
        return f"top_k({self.text(op.args[0])}, {op.attrs['k']})"

    def op_argmax(self, op: Op) -> str:
        text = self.text(op.args[0])
        return f"int({text}.argmax())" if op.attrs["safe"] else f"first_largest({text})"

    def op_argmin(self, op: Op) -> str:
        text = self.text(op.args[0])
        return f"int({text}.argmin())" if op.attrs["safe"] else f"first_smallest({text})"

    def op_count(self, op: Op) -> str:
        return f"int(count_nonzero({self.text(op.args[0])}))"

    def op_any_of(self, op: Op) -> str:
        return f"bool({self.text(op.args[0])}.any())"

    def op_all_of(self, op: Op) -> str:
        return f"bool({self.text(op.args[0])}.all())"

    def op_total(self, op: Op) -> str:
        text = self.text(op.args[0])
        return f"total({text})" if op.args[0].type.kind == "float" else f"{text}.sum().item()"

    def op_sum_over(self, op: Op) -> str:
        text, axis = self.text(op.args[0]), op.attrs["axis"]
        return f"sum_over({text}, {axis})" if op.result.type.kind == "float" else f"{text}.sum({axis}, dtype=I)"

    def op_max_over(self, op: Op) -> str:
        return f"max_over({self.text(op.args[0])}, {op.attrs['axis']})"

    def op_argmax_over(self, op: Op) -> str:
        return f"argmax_over({self.text(op.args[0])}, {op.attrs['axis']})"

    def op_min_over(self, op: Op) -> str:
        return f"{self.text(op.args[0])}.min({op.attrs['axis']})"


_warm_up()
