"""Back end 1: a graph as straight-line Python, with real `if` and `for`, scalars as locals, arrays as numpy calls."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from logic.errors import PolicyFault
from logic.language import builtins as language
from logic.language import nan_rules, ops
from logic.language.diagnostics import OverBudget
from logic.language.ir import INT, INT_LIMIT, Block, Graph, Op, Value, surely_action, walk, within
from logic.language.ops import INT32, narrows

# ----------------------------------------------------------------------------------------------------
# One op as one Python expression, and the names such expressions use.


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


# ----------------------------------------------------------------------------------------------------
# Back end 1: a graph as straight-line Python, with real `if` and `for`, scalars as locals, arrays as numpy calls.
#
# The text is generated from the IR alone: no name or string of the policy stands in it but field names, which are
# checked identifiers. It computes everything before it stores anything, so that a fault leaves memory unchanged.


ENTRY = "step"  # not the policy's own name for it, which might hide one of NAMES
DEEPEST = 90  # Python's own limit on indentation is 100
LONGEST = 400  # characters of an expression before it gets a variable
SOURCE = "__text__"  # the generated text among the names that its function refers to
PLACE = 0xE000  # a character from here on in a text stands for an op that may fault there; none is left in the end
PLACES = 6000
_PLACES = re.compile(f"[{chr(PLACE)}-{chr(PLACE + PLACES)}]")
_TOLD = re.compile(r".*  # ([^#'\"]*, line [0-9]+)$")
_VARIABLE = re.compile(r"\bv\d+\b")
Sink = Callable[[list[Value]], bool]


class PythonCode:
    """Writes one graph. `source()` gives the text, `globals` what it refers to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lines: list[str] = []
        self.depth = 1
        self.at = Op("", [])  # what is being written
        self.globals: dict[str, Any] = {}
        self.constants: dict[Any, str] = {}
        self.names: dict[Value, str] = {}
        self.inlined: dict[Value, str] = {}
        self.known: dict[Value, bool] = {}
        self.statements: set[Op] = set()  # `if` ops that are no expression
        self.faults: dict[Op, bool] = {}
        self.risky: set[Value] = set()  # values whose text may fault
        self.places: dict[str, int] = {}  # of the ops that may fault
        self.serial = 0
        self.ops = PythonOps(self.text, self.fresh, self.constant)
        self.uses: Counter[Value] = Counter()
        self.use_block: dict[Value, Block] = {}
        self.parents: dict[Block, tuple[Op, Block]] = {}
        self.count(graph.body)

    # --- who uses what ---------------------------------------------------------------------------

    def count(self, block: Block) -> None:
        """Uses of every value; handing a memory field on unchanged is none."""
        tail_if = bool(block.ops) and block.ops[-1].name == "if"
        for op in block.ops:
            self.use(op.args, block)
            for inner in op.blocks:
                self.parents[inner] = (op, block)
                self.count(inner)
        results = block.results
        if block is self.graph.body:
            head = len(results) - len(self.graph.fields)
            kept = [r for n, r in zip(self.graph.fields, results[head:], strict=True) if not is_load(r, n)]
            results = [*results[:head], *kept]
        self.use(results, block)
        if tail_if:  # what several leaves hand on gets a variable
            own = set(block.ops[-1].results)
            self.use([r for r in results if r not in own], block)

    def use(self, values: list[Value], block: Block) -> None:
        for value in values:
            self.uses[value] += 1
            self.use_block[value] = block

    def may_inline(self, value: Value, block: Block, faults: bool) -> bool:
        """One use, here or (when it cannot fault) inside `if`s below."""
        if self.uses[value] != 1:
            return False
        at = self.use_block[value]
        while at is not block:
            if faults or at not in self.parents or self.parents[at][0].name == "for":
                return False
            at = self.parents[at][1]
        return True

    def is_risky(self, op: Op) -> bool:
        """May evaluating the op's text fault, by itself or by what has been written into it?"""
        risky = ops.can_fault(op, self.faults) or any(a in self.risky and a in self.inlined for a in op.args)
        if risky:
            self.risky.update(op.results)
        return risky

    # --- operands --------------------------------------------------------------------------------

    def fresh(self) -> str:
        self.serial += 1
        return f"v{self.serial}"

    def constant(self, key: Any, value: Any) -> str:
        """The global that holds a table."""
        if key not in self.constants:
            name = f"T{len(self.constants)}"
            self.constants[key] = name
            self.globals[name] = value
        return self.constants[key]

    def text(self, value: Value) -> str:
        """An operand: a variable, a literal, a table's name, or the expression itself."""
        if value.const is not None:
            return self.literal(value)
        if value in self.inlined:
            return self.inlined[value]
        return self.names[value]

    def literal(self, value: Value) -> str:
        const = value.const
        if value.type.is_array:
            return self.constant(id(const), const)
        if value.type.kind == "reason":
            return repr(self.graph.reasons[const])
        if isinstance(const, float) and (const != const or const in (float("inf"), float("-inf"))):
            return self.constant(repr(const), const)
        return f"({const!r})" if const < 0 else repr(const)

    # --- statements ------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        if self.depth > DEEPEST:
            message = "conditions are nested too deep after inlining; return early or use fewer helpers"
            raise OverBudget(message, self.at.file, self.at.line)
        marks, told = dict.fromkeys(_PLACES.findall(text)), list(self.places)
        where = f"  # {'; '.join(told[ord(mark) - PLACE] for mark in marks)}" if marks else ""
        self.lines.append(" " * self.depth + _PLACES.sub("", text) + where)

    def block_ops(self, found: list[Op], block: Block) -> None:
        for op in found:
            self.at = op
            if op.name == "for":
                self.loop(op)
            elif op.name == "if":
                if not self.as_value(op, block):
                    self.branch(op)
            else:
                self.define(op, block)

    def define(self, op: Op, block: Block) -> None:
        """A pure op: kept for its one use, or a variable."""
        value = op.result
        text = self.ops.expression(op) + self.place(op)
        if len(text) < LONGEST and self.may_inline(value, block, self.is_risky(op)):
            self.inlined[value] = text
        elif op.name == "memory" and not self.uses[value]:
            return
        else:
            self.inlined.pop(value, None)
            self.names[value] = self.fresh()
            self.line(f"{self.names[value]} = {text}")

    def place(self, op: Op) -> str:
        """A mark, where the op may fault, that `line` turns into a comment with the line of the policy."""
        if not op.line or not ops.can_fault(op, self.faults):
            return ""
        told = f"{re.sub(r'[^A-Za-z0-9_./-]', '?', op.file)[:60]}, line {op.line}"
        at = self.places.setdefault(told, len(self.places))
        return chr(PLACE + at) if at < PLACES else ""

    def as_value(self, op: Op, block: Block) -> bool:
        """An `if` that chooses one of two expressions, as a conditional expression."""
        text = self.conditional(op)
        if text is None:
            return False
        value = op.result
        if len(text) < LONGEST and self.may_inline(value, block, self.is_risky(op)):
            self.inlined[value] = text
        else:
            self.names[value] = self.fresh()
            self.line(f"{self.names[value]} = {text}")
        return True

    def conditional(self, op: Op) -> str | None:
        if len(op.results) != 1 or op in self.statements:
            return None
        text = self.chosen(op)
        if text is None:
            self.statements.add(op)
        return text

    def chosen(self, op: Op) -> str | None:
        """Both sides as expressions, joined by the shortest form there is."""
        sides = [self.side(block) for block in op.blocks]
        if sides[0] is None or sides[1] is None or len(sides[0]) + len(sides[1]) > LONGEST:
            return None
        c = self.text(op.args[0])
        then, other = (block.results[0].const for block in op.blocks)
        if op.result.type.kind == "bool":
            if other is False or then is True:
                return f"({c} and {sides[0]})" if other is False else f"({c} or {sides[1]})"
            if other is True or then is False:
                return f"(not {c} or {sides[0]})" if other is True else f"(not {c} and {sides[1]})"
        return f"({sides[0]} if {c} else {sides[1]})"

    def side(self, block: Block) -> str | None:
        """A branch as one expression, when everything in it has one use."""
        for op in block.ops:
            if op.name == "for" or len(op.results) != 1 or not self.may_inline(op.result, block, True):
                return None
            text = self.conditional(op) if op.name == "if" else self.ops.expression(op) + self.place(op)
            if text is None or len(text) > LONGEST:
                return None
            self.inlined[op.result] = text
        return self.text(block.results[0])

    def branch(self, op: Op) -> None:
        """A real `if` whose results are variables."""
        names = [self.names.setdefault(r, self.fresh()) for r in op.results]

        def assign(results: list[Value]) -> bool:
            for name, value in zip(names, results, strict=True):
                self.line(f"{name} = {self.text(value)}")
            return False

        self.if_else(op, assign, [list(block.results) for block in op.blocks])

    def if_else(self, op: Op, sink: Sink, results: list[list[Value]]) -> bool:
        """Both sides into one sink; what follows a side that never ends here needs no else."""
        condition, self.at = op.args[0], op
        self.line(f"if {self.text(condition)}:")
        left = self.inner(op.blocks[0], sink, results[0], condition, True)
        if left:
            self.known[condition] = False
            return self.tail(op.blocks[1], sink, results[1])
        mark = len(self.lines)
        self.line("else:")
        self.inner(op.blocks[1], sink, results[1], condition, False)
        self.flatten(mark)
        return False

    def inner(self, block: Block, sink: Sink, results: list[Value], condition: Value, truth: bool) -> bool:
        self.depth += 1
        before, known = len(self.lines), self.known.copy()
        self.known[condition] = truth
        left = self.tail(block, sink, results)
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1
        self.known = known
        return left

    def flatten(self, mark: int) -> None:
        """`else:` with nothing in it goes; with a lone `if` in it becomes `elif`."""
        pad = " " * (self.depth + 1)
        body = self.lines[mark + 1 :]
        if body == [pad + "pass"]:
            del self.lines[mark:]
            return
        heads = [line[len(pad) :] for line in body if not line.startswith(pad + " ")]
        if heads[0].startswith("if ") and all(h.startswith(("elif ", "else:")) for h in heads[1:]):
            self.lines[mark:] = [" " * self.depth + "el" + body[0][len(pad) :], *(line[1:] for line in body[1:])]

    def tail(self, block: Block, sink: Sink, results: list[Value]) -> bool:
        """Ops, then hand `results` to the sink, inside both sides of an `if` that stands last."""
        last = block.ops[-1] if block.ops else None
        if last is None or last.name != "if":
            self.block_ops(block.ops, block)
            return sink(results)
        self.block_ops(block.ops[:-1], block)
        if self.as_value(last, block):
            return sink(results)
        sides = []
        for inner in last.blocks:
            chosen = dict(zip(last.results, inner.results, strict=True))
            sides.append([chosen.get(r, r) for r in results])
        return self.if_else(last, sink, sides)

    # --- loops -----------------------------------------------------------------------------------

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        index, *params = body.params
        names = [self.fresh() for _ in params]
        for name, param, result, start in zip(names, params, op.results, op.args, strict=True):
            self.line(f"{name} = {self.text(start)}")
            self.names[param] = self.names[result] = name
        self.names[index] = self.fresh()
        a, b, c = op.attrs["start"], op.attrs["stop"], op.attrs["step"]
        self.line(f"for {self.names[index]} in range({a}, {b}, {c}):")

        def iterate(results: list[Value]) -> bool:
            return self.next_iteration(results[0], list(zip(names, results[1:], strict=True)))

        self.depth += 1
        known = self.known.copy()
        before = len(self.lines)
        self.tail(body, iterate, list(body.results))
        if len(self.lines) == before:
            self.line("pass")
        self.known = known
        self.depth -= 1

    def next_iteration(self, stop: Value, pairs: list[tuple[str, Value]]) -> bool:
        """Assign what is carried, then go on or leave."""
        ends = stop.const if stop.const is not None else self.known.get(stop)
        flag = ""
        if ends is None:
            flag = self.fresh()
            self.line(f"{flag} = {self.text(stop)}")
        moves = [(name, self.text(value)) for name, value in pairs]
        self.parallel([(n, t) for n, t in moves if n != t])
        if ends is None:
            self.line(f"if {flag}: break")
        elif ends:
            self.line("break")
        return bool(ends)

    def parallel(self, moves: list[tuple[str, str]]) -> None:
        """All at once: singly in an order that overwrites nothing still needed, the rest as a tuple."""
        while moves:
            for i, (name, _) in enumerate(moves):
                if not any(name in _VARIABLE.findall(t) for j, (_, t) in enumerate(moves) if j != i):
                    self.line(f"{name} = {moves[i][1]}")
                    del moves[i]
                    break
            else:
                self.line(f"{', '.join(n for n, _ in moves)} = {', '.join(t for _, t in moves)}")
                return

    # --- the function ----------------------------------------------------------------------------

    def answer(self, results: list[Value]) -> bool:
        """Compute everything, then store, then return."""
        head = 2 if self.graph.has_reason else 1
        action = results[0]
        stores = []
        for name, new in zip(self.graph.fields, results[head:], strict=True):
            if not is_load(new, name):
                stores.append((name, self.text(new)))
        unsure = not surely_action(self.graph)
        atoms = [self.atom(self.text(r), bool(stores) or unsure) for r in results[:head]]
        if unsure and action.type.is_array:
            self.line(f"check_vector({atoms[0]})")
        elif unsure:
            self.line(f"if not 0 <= {atoms[0]} < {self.graph.n_actions}: bad_action({atoms[0]})")
        for name, text in [(n, self.atom(t, len(stores) > 1)) for n, t in stores]:
            self.line(f"{field_text(name)} = {text}")
        self.line(f"return {', '.join(atoms)}")
        return True

    def atom(self, text: str, needed: bool) -> str:
        """The text itself when it cannot fault or change, else a variable."""
        if not needed or text.isidentifier() or not re.search(r"[A-Za-z(]", text) or text[0] in "'\"":
            return text
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name

    def source(self) -> str:
        """The whole function's text."""
        params = ", action" if self.graph.params else ""
        for param in self.graph.params:
            self.names[param] = "action"
        if any("." in name for name in self.graph.fields):
            self.line("fields = memory.__dict__")
        arrays = any(r.type.is_array and r.type.kind != "bool" for op in walk(self.graph.body) for r in op.results)
        if arrays:
            self.line('with errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):')
            self.depth += 1
        self.tail(self.graph.body, self.answer, list(self.graph.body.results))
        return "\n".join([f"def {ENTRY}(scene, memory{params}):", *self.lines, ""])


def is_load(value: Value, field: str) -> bool:
    """Is this the memory field itself, unchanged?"""
    return value.op is not None and value.op.name == "memory" and bool(value.op.attrs["field"] == field)


def to_python(graph: Graph) -> tuple[str, dict[str, Any]]:
    """(text of the generated function, the names it refers to)."""
    code = PythonCode(graph)
    text = code.source()
    return text, {**NAMES, **code.globals, SOURCE: text, "__builtins__": {}}


def place_of(error: BaseException) -> str:
    """` (policy.py, line 12)`: where in the policy generated code failed; "" where nobody knows."""
    told, trace = "", error.__traceback__
    while trace is not None:
        text = trace.tb_frame.f_globals.get(SOURCE)
        found = _TOLD.match(text.split("\n")[trace.tb_lineno - 1]) if isinstance(text, str) else None
        told = found.group(1) if found else told
        trace = trace.tb_next
    return f" ({told})" if told else ""
