"""Expressions: names, literals, operators, conditions, indexing, scene and memory access."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Iterator

from logic.errors import PolicyFault
from logic.language import ops
from logic.language.diagnostics import (
    ALTERNATIVES,
    FIELDS,
    METHODS,
    MOST_SUGGESTED,
    NOT_SEEN,
    UNKNOWN_CONSTRUCT,
    WORDS,
    did_you_mean,
)
from logic.language.frontend.values import (
    MATH,
    MEMORY,
    SCENE,
    Bound,
    Broken,
    Core,
    Pack,
    Record,
    RecordType,
    Shape,
    Thing,
    Things,
    Wrong,
    find_record,
    leaves,
    mapped,
)
from logic.language.ir import BOOL, FLOAT, INT, Op, Type, Value, within
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# Expressions: names, literals, operators, conditions, scene and memory access.


_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.BitAnd: "and", ast.BitOr: "or",
}  # fmt: skip
_HANDLERS: dict[type[ast.AST], str] = {
    kind: "on_" + kind.__name__.lower()
    for kind in (ast.Name, ast.Tuple, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.BoolOp,
                 ast.Subscript, ast.Call)
}  # fmt: skip
MOST_POWER = 16
MOST_ITEMS = 20_000  # in a tuple


class Expressions(Core):
    """Lowers expressions; `expression` gives what a node stands for, `scalar` and `number_at` insist on a kind."""

    def expression(self, node: ast.expr) -> Bound:
        """What the node stands for; Wrong after reporting when nothing."""
        self.here = self.frame.scope.file, node
        if self.tabling:
            self.meter.spend(3000.0)
        kind = type(node)
        if kind is ast.Constant:
            return self.on_constant(node)  # type: ignore[arg-type]
        handler = getattr(self, _HANDLERS[kind], None) if kind in _HANDLERS else None
        if handler is None:
            what, instead = ALTERNATIVES.get(kind, UNKNOWN_CONSTRUCT)
            raise self.wrong(node, f"{what} is not part of the language", instead)
        found: Bound = handler(node)
        return found

    def evaluate(self, node: ast.expr) -> Value:
        """The node's IR value."""
        return self.value(node, self.expression(node))

    # --- names -----------------------------------------------------------------------------------

    def on_name(self, node: ast.Name) -> Bound:
        name, scope = node.id, self.frame.scope
        if name in self.state.locals:
            return self.state.locals[name]
        if name in self.frame.names:
            raise self.wrong(node, f"{name!r} has no value yet", f"assign {name} on every path before this line")
        if name in scope.constants:
            return scope.constants[name]
        if name in scope.imported:
            other, original = scope.imported[name]
            if original in other.constants:
                return other.constants[original]
        if name in scope.predefined:
            return scope.predefined[name]
        if name == "math":
            return MATH
        raise self.unknown(node, name)

    def unknown(self, node: ast.expr, name: str) -> Wrong:
        scope = self.frame.scope
        if name in scope.later:
            line = scope.later[name]
            return self.wrong(node, f"{name!r} is used before it is computed (line {line})", "move its line up")
        if find_record(name, scope) is not None:
            return self.wrong(node, f"{name!r} is a record, not a value", f"make one: {name}(...)")
        if name in scope.functions or name in scope.imported or name in self.words():
            return self.wrong(node, f"{name!r} is a function, not a value", f"call it: {name}(...)")
        if name in ("scene", "memory"):
            return self.wrong(node, f"there is no {name} here", f"pass {name} to the helper as a parameter")
        if scope.file.startswith("lib/") and name.isupper() and name not in scope.later:
            return self.wrong(node, f"a library module knows no {name}", f"pass {name} to the function")
        known = (self.state.locals, self.frame.names, scope.constants, scope.predefined, scope.functions, self.words())
        instead = (
            WORDS.get(name) or self.near(name, *known) or self.action_hint(name) or f"assign {name} before this line"
        )
        if name in ("Action", "Actions", "action"):
            instead = self.action_hint(name.upper())
        return self.wrong(node, f"unknown name {name!r}", instead)

    def near(self, name: str, *known: Iterable[str]) -> str:
        """`did you mean ...?`, unless there are so many errors that suggestions are noise."""
        return did_you_mean(name, {k for some in known for k in some}) if self.reporter.said < MOST_SUGGESTED else ""

    def words(self) -> frozenset[str]:
        """Callable words of the language (filled by words.py)."""
        return frozenset()

    def action_hint(self, name: str) -> str:
        """What to write instead of a name that looks like an action's (answers.py)."""
        return ""

    def on_constant(self, node: ast.Constant) -> Bound:
        value = node.value
        if type(value) in (bool, float) or (type(value) is int and -(2**31) < value < 2**31):
            return self.builder.const(value)
        if isinstance(value, str):
            return self.reason(node, value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
            raise self.wrong(node, "an integer beyond 2**53", "use a float")
        if not isinstance(value, (bool, int, float)):
            raise self.wrong(node, "this literal is not part of the language", "numbers are bool, int or float")
        return self.builder.const(value)

    def reason(self, node: ast.Constant, text: str) -> Value:
        if not text.strip() or len(text) > 200 or not text.isprintable():
            raise self.wrong(node, "a reason is 1 to 200 printable characters", "say in a few words why")
        if text not in self.reasons:
            self.reasons.append(text)
        lines = self.reason_lines.setdefault(text, [])
        if node.lineno not in lines:
            lines.append(node.lineno)
        return self.builder.reason(self.reasons.index(text))

    def on_tuple(self, node: ast.Tuple) -> Bound:
        return self.pack(node, tuple(self.expression(item) for item in node.elts))

    def pack(self, node: ast.AST, items: tuple[Bound, ...]) -> Pack:
        """A tuple of bounded size."""
        made = Pack(items)
        if made.leaves > MOST_ITEMS:
            raise self.wrong(node, f"a tuple of more than {MOST_ITEMS} values", "make an array: zeros(n), arange(n)")
        return made

    # --- scene and memory ------------------------------------------------------------------------

    def on_attribute(self, node: ast.Attribute) -> Bound:
        return self.attribute_of(node, self.expression(node.value))

    def attribute_of(self, node: ast.Attribute, owner: Bound) -> Bound:
        """A part of what `owner` stands for."""
        if isinstance(owner, Record):
            return self.record_field(node, owner)
        if owner is SCENE:
            return self.scene_part(node)
        if owner is MEMORY:
            return self.memory_field(node)
        if owner is MATH:
            if node.attr == "pi":
                return self.builder.const(math.pi)
            raise self.wrong(node, f"math.{node.attr} is not a value of the language", "the one constant is math.pi")
        if isinstance(owner, Thing):
            return self.thing_field(node, owner)
        if isinstance(owner, Things):
            raise self.wrong(
                node, f"scene.{owner.name} has several slots", f"index one: scene.{owner.name}[0].{node.attr}"
            )
        if isinstance(owner, Broken):
            self.value(node.value, owner)
        instead = METHODS.get(node.attr, "only scene, memory, things and math have attributes")
        raise self.wrong(node, f"attribute {node.attr!r} is not part of the language", instead)

    def record_field(self, node: ast.Attribute, record: Record) -> Bound:
        names = list(record.type.fields)
        if node.attr not in names:
            raise self.no_field(node, record.type, node.attr)
        return record.items[names.index(node.attr)]

    def no_field(self, node: ast.AST, record: RecordType, name: str) -> Wrong:
        """A field that a record does not have."""
        have = f"it has {', '.join(record.fields)}"
        return self.wrong(node, f"{record.name} has no field {name!r}", did_you_mean(name, record.fields) or have)

    def scene_part(self, node: ast.Attribute) -> Bound:
        name = node.attr
        for thing in self.schema.things:
            if thing.name == name:
                return Thing(name) if thing.count == 1 else Things(name)
        if any(reading.name == name for reading in self.schema.readings):
            return Thing(name)
        for grid in self.schema.grids:
            if grid.name == name:
                return self.input(
                    node, "grid", Type("bool", (grid.rows, grid.cols)), name=name, offset=self.schema.grid(name).start
                )
        for gauge in self.schema.gauges:
            if gauge.name == name:
                return self.input(node, "gauge", FLOAT, name=name, offset=self.schema.gauge(name))
        have = part_names(self.schema)
        told = f"it has {', '.join(have)}"
        hint = NOT_SEEN.get(name, "").format(have=told.removeprefix("it has ")) or did_you_mean(name, have) or told
        raise self.wrong(node, f"the scene has no {name!r}", hint)

    def thing_field(self, node: ast.Attribute, thing: Thing) -> Value:
        fields = self.schema.fields(thing.name)
        if node.attr not in fields:
            other = FIELDS.get(node.attr, "")
            hint = f"write {other}" if other and other.split()[0].strip(",") in fields else ""
            hint = hint or did_you_mean(node.attr, fields) or f"it has {', '.join(fields)}"
            raise self.wrong(node, f"scene.{thing.name} has no field {node.attr!r}", hint)
        count = self.schema.count(thing.name)
        offset = self.schema.slot(thing.name, thing.slot).start + fields.index(node.attr)
        kind = BOOL if node.attr == "seen" else FLOAT
        args = () if thing.at is None else (thing.at,)
        safe = thing.at is None or within(thing.at, 0, count - 1)
        attrs = {"thing": thing.name, "field": node.attr, "slot": thing.slot, "count": count, "offset": offset}
        return self.input(node, "thing", kind, *args, **attrs, step=len(fields), safe=safe)

    def input(self, node: ast.AST, op: str, type: Type, *args: Value, **attrs: object) -> Value:
        """A load from the scene, shared within its block and those inside."""
        self.mark(node)
        key = (op, args, tuple(sorted(attrs.items())))
        for scope in self.builder.scopes:
            if key in scope:
                return scope[key]
        made = self.builder.push(op, list(args), dict(attrs), type, None, None)
        self.builder.scopes[-1][key] = made
        return made

    def memory_field(self, node: ast.Attribute) -> Bound:
        if node.attr in self.stored:
            return self.loaded(node.attr, self.stored[node.attr])
        if node.attr not in self.state.memory:
            known = (k for k in self.state.memory if "." not in k)
            hint = self.near(node.attr, known, self.stored) or f"declare it: `{node.attr}: float = 0.0` in class Memory"
            raise self.wrong(node, f"memory has no field {node.attr!r}", hint)
        return self.state.memory[node.attr]

    def loaded(self, name: str, wanted: Shape) -> Record:
        """A record in Memory, whose leaves are `name.field`."""
        items: list[Bound] = []
        for field, kind in wanted.record.fields.items():
            place = f"{name}.{field}"
            if isinstance(kind, Shape):
                items.append(self.loaded(place, Shape(kind.record, wanted.shape + kind.shape)))
            else:
                items.append(self.state.memory[place])
        return Record(wanted.record, tuple(items), wanted.shape)

    # --- operators -------------------------------------------------------------------------------

    def on_binop(self, node: ast.BinOp) -> Bound:
        left, right = self.expression(node.left), self.expression(node.right)
        if isinstance(left, Pack) and isinstance(right, Pack) and isinstance(node.op, ast.Add):
            return self.pack(node, left.items + right.items)
        return self.binary(node, node.op, self.value(node.left, left), self.value(node.right, right))

    def binary(self, node: ast.AST, operator: ast.operator, a: Value, b: Value) -> Value:
        """`a operator b` after the implicit conversions."""
        name = _BINARY.get(type(operator))
        if name is None:
            raise self.wrong(node, "this operator is not part of the language", "use + - * / // % ** & |")
        if name in ("and", "or"):
            return self.logical(node, name, a, b)
        if a.type.is_array or b.type.is_array:
            return self.elementwise(node, name, a, b)
        a, b = self.number(node, a), self.number(node, b)
        if name in ("div", "floordiv", "mod") and b.const == 0:
            raise self.wrong(node, "this is always a fault: division by zero", "divide by something else")
        if name == "pow" and a.type == INT and b.type == INT and isinstance(b.const, int) and b.const >= 0:
            return self.int_power(node, a, b.const)
        if name in ("div", "pow") or FLOAT in (a.type, b.type):
            a, b = self.as_float(node, a), self.as_float(node, b)
        return self.emit(node, name, a, b)

    def as_float(self, node: ast.AST, value: Value) -> Value:
        """A scalar number as float; a string or array is refused."""
        made = self.convert(node, self.number(node, value), FLOAT)
        if made is None:
            raise self.wrong(
                node, f"a number is needed here, this is {value.type}", "use a scalar: take(a, i), total(a), ..."
            )
        return made

    def int_power(self, node: ast.AST, a: Value, exponent: int) -> Value:
        if a.const is not None and exponent > MOST_POWER:
            try:  # beyond 64 only the sign of -1 matters: everything larger is out of range
                return self.builder.const(ops.bounded(a.const ** min(exponent, 64 + exponent % 2)))
            except PolicyFault:
                raise self.wrong(node, "an integer beyond 2**53", "use a float base: 2.0 ** n") from None
        if exponent > MOST_POWER:
            raise self.wrong(node, f"an int to the power {exponent}", "use a float base: 2.0 ** n")
        made = self.builder.const(1)
        for _ in range(exponent):
            made = self.emit(node, "mul", made, a) if made.const != 1 else a
        return made

    def logical(self, node: ast.AST, name: str, a: Value, b: Value) -> Value:
        if a.type.kind != "bool" or b.type.kind != "bool":
            raise self.wrong(
                node, f"& and | join booleans, not {a.type} and {b.type}", "compare first; for a condition write and/or"
            )
        return self.emit(node, name, *self.fitting(node, a, b))

    def elementwise(self, node: ast.AST, name: str, a: Value, b: Value) -> Value:
        """Arithmetic or comparison with at least one array; kinds must already agree."""
        a, b = self.same_kind(node, name, a, b)
        kind = a.type.kind
        if name == "div" and kind == "int":
            raise self.wrong(node, "/ on an int array", "write to_float(a) / b, or // for whole numbers")
        if name == "pow" and kind == "int":
            raise self.wrong(node, "** on an int array", "multiply, or write to_float(a) ** b")
        if kind == "bool" and name not in ("eq", "ne"):
            raise self.wrong(node, "arithmetic on a Bool array", "write to_int(a) or to_float(a)")
        return self.emit(node, name, *self.fitting(node, a, b))

    def same_kind(self, node: ast.AST, name: str, a: Value, b: Value) -> tuple[Value, Value]:
        """Both operands of one kind: scalars follow the array; a Bool array follows the other array."""
        if not a.type.is_array:
            return self.follow(node, a, b), b
        if not b.type.is_array:
            return a, self.follow(node, b, a)
        if a.type.kind == b.type.kind:
            return a, b
        for x, y in ((a, b), (b, a)):
            if x.type.kind == "bool" and name in ("mul", "add", "sub"):
                made = self.emit(node, f"to_{y.type.kind}", x)
                return (made, y) if x is a else (y, made)
        raise self.wrong(
            node, f"{a.type} meets {b.type}", "write to_float(a) or to_int(a) so that both are of one kind"
        )

    def follow(self, node: ast.AST, scalar: Value, array: Value) -> Value:
        """A scalar operand of an array op, of the array's kind."""
        if scalar.type.kind == array.type.kind:
            return scalar
        if array.type.kind == "bool":
            raise self.wrong(node, f"a Bool array meets {scalar.type}", "write to_int(a) or to_float(a) first")
        made = self.convert(node, self.number(node, scalar), Type(array.type.kind))
        if made is None:
            raise self.wrong(node, "an Int array meets a float", "write to_float(a) so that both are float")
        return made

    def fitting(self, node: ast.AST, *values: Value) -> tuple[Value, ...]:
        """Shapes broadcast, or an error that shows them."""
        shapes = [v.type.shape for v in values if v.type.shape is not None]
        width = max((len(s) for s in shapes), default=0)
        for axis in range(1, width + 1):
            sides = {s[-axis] for s in shapes if len(s) >= axis} - {1}
            if len(sides) > 1:
                shown = " and ".join(str(list(s)) for s in shapes)
                raise self.wrong(
                    node, f"shapes {shown} do not fit together", "reshape, slice, or add an axis: a[:, None]"
                )
        return values

    def on_unaryop(self, node: ast.UnaryOp) -> Bound:
        value = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            return self.emit(node, "not", self.truth(node.operand, value))
        if isinstance(node.op, ast.Invert):
            if value.type.kind != "bool" or not value.type.is_array:
                raise self.wrong(node, f"~ on {value.type}", "~ inverts a Bool array; write `not` for a condition")
            return self.emit(node, "not", value)
        if value.type.is_array and value.type.kind == "bool":
            raise self.wrong(node, "arithmetic on a Bool array", "write to_int(a) or to_float(a)")
        value = self.number(node, value)
        return self.emit(node, "neg", value) if isinstance(node.op, ast.USub) else value


def part_names(schema: SceneSchema) -> list[str]:
    """Names of the scene's things, grids, gauges and readings."""
    boxes = [*(t.name for t in schema.things), *(g.name for g in schema.grids)]
    return boxes + [*(g.name for g in schema.gauges), *(r.name for r in schema.readings)]


# ----------------------------------------------------------------------------------------------------
# Probes: marks in a graph that say, in the words of the text, what a step passes. Only tracing asks for them.
#
# A `probe` op has no result and is never dropped, so what it names stays alive and blocks without effect stay in
# the graph; logic.runtime.trace runs such a graph. Graphs for play have no probes. Attributes: `kind` (if, ternary,
# return), `answers` (how many arguments come first: the condition, or what is returned), `names` of the remaining
# arguments, `span` of that expression (as in `ast`: line, column, end line, end column), `function`, `depth` of
# calls.


def probe(low: Expressions, node: ast.AST, kind: str, shown: ast.expr, found: Bound) -> None:
    """Leave a probe at `node`: `found` is what the expression `shown` stands for."""
    if not low.probing or not low.entry:
        return
    answers = list(_values(found))
    named = dict(_named(low, shown))
    span = shown.lineno, shown.col_offset, shown.end_lineno, shown.end_col_offset
    at = {"kind": kind, "answers": len(answers), "names": tuple(named), "span": span}
    at |= {"function": low.stack[-1][1], "depth": len(low.stack) - 1}
    line, file = getattr(node, "lineno", 0), low.frame.scope.file
    low.builder.block.ops.append(Op("probe", [*answers, *named.values()], at, [], [], line, file))


def _values(found: Bound) -> Iterator[Value]:
    """What is answered, a record field by field."""
    for item in found.items if isinstance(found, Pack) else (found,):
        if isinstance(item, Value):
            yield item
        elif isinstance(item, Record):
            yield from (value for _, value in leaves(item))


def _named(low: Expressions, node: ast.AST) -> Iterator[tuple[str, Value]]:
    """Locals, constants, memory and scene fields that an expression names, in its order."""
    if isinstance(node, ast.Attribute):
        value = _field(low, node)
        if value is not None:
            yield ast.unparse(node), value
            return
    if isinstance(node, ast.Name):
        value = _name(low, node.id)
        if value is not None:
            yield node.id, value
        return
    for child in ast.iter_child_nodes(node):
        yield from _named(low, child)


def _name(low: Expressions, name: str) -> Value | None:
    scope = low.frame.scope
    bound = low.state.locals.get(name, scope.constants.get(name))
    if bound is None and name in scope.imported:
        other, original = scope.imported[name]
        bound = other.constants.get(original)
    return bound if isinstance(bound, Value) else None


def _field(low: Expressions, node: ast.Attribute) -> Value | None:
    """`memory.x`, `scene.ball.x`, `scene.enemy[i].x`, `scene.air`: never something that could fault or call."""
    owner = node.value
    record = _record(low, owner)
    if record is not None and node.attr in record.type.fields:
        value = low.record_field(node, record)
        return value if isinstance(value, Value) else None
    if isinstance(owner, ast.Name):
        bound = low.state.locals.get(owner.id)
        if bound is MEMORY:
            return low.state.memory.get(node.attr)
        if isinstance(bound, Thing) and bound.at is None and node.attr in low.schema.fields(bound.name):
            return low.evaluate(node)
        gauge = bound is SCENE and any(g.name == node.attr for g in low.schema.gauges)
        return low.evaluate(node) if gauge else None
    return low.evaluate(node) if _slot(low, owner, node.attr) else None


def _record(low: Expressions, node: ast.expr) -> Record | None:
    """The record that a name, `memory.ball` or a part of one stands for."""
    bound: Bound | None = None
    if isinstance(node, ast.Name):
        bound = low.state.locals.get(node.id, low.frame.scope.constants.get(node.id))
    elif isinstance(node, ast.Attribute):
        inner = _record(low, node.value)
        is_memory = isinstance(node.value, ast.Name) and low.state.locals.get(node.value.id) is MEMORY
        if inner is not None and node.attr in inner.type.fields:
            bound = low.record_field(node, inner)
        elif is_memory and node.attr in low.stored:
            bound = low.memory_field(node)
    return bound if isinstance(bound, Record) else None


def _slot(low: Expressions, owner: ast.expr, field: str) -> bool:
    """Is this one thing or reading of the scene that has the field, with an index that is surely in range?"""
    index = owner.slice if isinstance(owner, ast.Subscript) else None
    part = owner.value if isinstance(owner, ast.Subscript) else owner
    if not (isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)):
        return False
    if low.state.locals.get(part.value.id) is not SCENE:
        return False
    count = low.schema.count(part.attr) if field in low.schema.fields(part.attr) else 0
    if index is None:
        return count == 1
    if isinstance(index, ast.Constant):
        return isinstance(index.value, int) and 0 <= index.value < count
    bound = low.state.locals.get(index.id) if isinstance(index, ast.Name) else None
    return isinstance(bound, Value) and within(bound, 0, count - 1)


# ----------------------------------------------------------------------------------------------------
# Conditions: comparisons, ternaries, `and` and `or`: what is evaluated on one path only.


_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


class Conditions(Expressions):
    """Adds what chooses between expressions."""

    def on_compare(self, node: ast.Compare) -> Bound:
        values = [self.evaluate(node.left)]

        def link(i: int) -> Value:
            values.append(self.evaluate(node.comparators[i]))
            made = self.compare(node, node.ops[i], values[i], values[i + 1])
            if i + 1 == len(node.ops):
                return made
            return self.choose(node, self.truth(node, made), lambda: link(i + 1), lambda: self.builder.const(False))

        return link(0)

    def compare(self, node: ast.Compare, operator: ast.cmpop, a: Value, b: Value) -> Value:
        name = _COMPARE.get(type(operator))
        if name is None:
            raise self.wrong(node, "this comparison is not part of the language", "use == != < <= > >=")
        if a.type.is_array or b.type.is_array:
            if len(node.ops) > 1:
                raise self.wrong(node, "a chained comparison of arrays", "write (low <= a) & (a <= high)")
            return self.elementwise(node, name, a, b)
        a, b = self.number(node, a), self.number(node, b)
        if a.type != b.type:
            a, b = self.as_float(node, a), self.as_float(node, b)
        return self.emit(node, name, a, b)

    def choose(self, node: ast.AST, condition: Value, then: Callable[[], Bound], other: Callable[[], Bound]) -> Value:
        """The value of one of two expressions; only the chosen one is evaluated."""
        return self.value(node, self.choose_any(node, condition, then, other))

    def choose_any(
        self, node: ast.AST, condition: Value, then: Callable[[], Bound], other: Callable[[], Bound]
    ) -> Bound:
        """The same where tuples may be chosen between, too."""
        name = f"${len(self.state.locals)}"

        def side(make: Callable[[], Bound]) -> Callable[[], None]:
            def run() -> None:
                made = make()
                self.state.locals[name] = made if isinstance(made, (Pack, Record)) else self.value(node, made)

            return run

        self.branch(node, condition, side(then), side(other))
        found = self.state.locals.pop(name)
        if isinstance(found, Broken) and found.why:
            raise self.wrong(node, "the two sides are of different types", "give both sides one type")
        return found

    def on_ifexp(self, node: ast.IfExp) -> Bound:
        condition = self.truth(node.test, self.evaluate(node.test))
        probe(self, node, "ternary", node.test, condition)
        return self.choose_any(
            node, condition, lambda: self.expression(node.body), lambda: self.expression(node.orelse)
        )

    def on_boolop(self, node: ast.BoolOp) -> Bound:
        is_and = isinstance(node.op, ast.And)

        def operand(i: int) -> Value:
            value = self.evaluate(node.values[i])
            if value.type != BOOL:
                raise self.not_bool(node, node.values[i], value)
            if i + 1 == len(node.values):
                return value
            rest, done = (lambda: operand(i + 1)), (lambda: self.builder.const(not is_and))
            return self.choose(node, value, rest, done) if is_and else self.choose(node, value, done, rest)

        return operand(0)

    def not_bool(self, node: ast.BoolOp, item: ast.expr, value: Value) -> Wrong:
        word = "and" if isinstance(node.op, ast.And) else "or"
        if value.type.is_array:
            instead = f"write `{'&' if word == 'and' else '|'}` on Bool arrays, any_of(a) for a condition"
        else:
            instead = "compare: `x != 0`; for a default write `x if x != 0 else default`"
        return self.wrong(item, f"`{word}` joins conditions, this is {value.type}", instead)


# ----------------------------------------------------------------------------------------------------
# Indexing: elements, rows, constant slices, new axes, slots of things.


class Subscripts(Conditions):
    """Adds subscripts."""

    def on_subscript(self, node: ast.Subscript) -> Bound:
        return self.subscript(node, self.expression(node.value))

    def on_attribute(self, node: ast.Attribute) -> Bound:
        """Of `legs[i].x` it is `legs.x[i]` that is read: no field without need."""
        if not isinstance(node.value, ast.Subscript):
            return super().on_attribute(node)
        owner = self.expression(node.value.value)
        if isinstance(owner, Record) and owner.shape:
            self.record_index(node.value)
            return self.subscript(node.value, self.record_field(node, owner))
        return self.attribute_of(node, self.subscript(node.value, owner))

    def subscript(self, node: ast.Subscript, owner: Bound) -> Bound:
        """An element or part of `owner`."""
        if isinstance(owner, Things):
            return self.slot(node, owner)
        if isinstance(owner, Record):
            if not owner.shape:
                instead = f"declare an array of them in Memory: `{owner.type.name}[4]`"
                raise self.wrong(node, f"{owner} is one record, not an array", instead)
            return self.row(node, owner, self.index(self.record_index(node), owner.shape[0]))
        if isinstance(owner, Pack):
            return self.member(node, owner)
        array = self.value(node.value, owner)
        if array.type.shape is None:
            raise self.wrong(node, f"{array.type} cannot be indexed", "only arrays and things with several slots can")
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not any(isinstance(p, ast.Slice) or is_none(p) for p in parts):
            return self.at(node, array, parts)
        return self.region(node, array, parts)

    def record_index(self, node: ast.Subscript) -> ast.expr:
        """The one index into an array of records."""
        if isinstance(node.slice, (ast.Slice, ast.Tuple)) or is_none(node.slice):
            raise self.wrong(node, "an array of records is indexed by one int", "slice a field: `legs.x[1:3]`")
        return node.slice

    def row(self, node: ast.AST, record: Record, index: Value) -> Record:
        """The record at one index."""
        return mapped(record, record.shape[1:], lambda v: self.row_of(node, v, index))

    def row_of(self, node: ast.AST, array: Value, index: Value) -> Value:
        """An element, or the sub-array that is left."""
        n = (array.type.shape or (0,))[0]
        if len(array.type.shape or ()) == 1:
            return self.emit(node, "element", array, index, safe=within(index, 0, n - 1))
        return self.pick(node, array, index, 0)

    def slot(self, node: ast.Subscript, things: Things) -> Thing:
        """`scene.enemy[i]`."""
        count = self.schema.count(things.name)
        index = self.index(node.slice, count)
        if index.const is not None:
            return Thing(things.name, int(index.const))
        return Thing(things.name, 0, index)

    def member(self, node: ast.Subscript, pack: Pack) -> Bound:
        """A constant index into a constant tuple; a run-time index makes an array of it first."""
        index = self.evaluate(node.slice) if isinstance(node.slice, ast.expr) else None
        if index is None or index.type != INT or not isinstance(index.const, int):
            raise self.wrong(node, "a tuple is indexed by a constant only", "make it an array: `array((1.0, 2.0))`")
        if not -len(pack.items) <= index.const < len(pack.items):
            raise self.wrong(node, f"index {index.const} of a tuple of {len(pack.items)}", "stay inside the tuple")
        return pack.items[index.const]

    def index(self, node: ast.expr, length: int) -> Value:
        """A scalar int index. A negative constant counts from the end; a constant out of range is an error."""
        return self.as_index(node, self.evaluate(node), length)

    def as_index(self, node: ast.expr, value: Value, length: int) -> Value:
        """The same for what is evaluated already: evaluating twice would run a helper's changes to memory twice."""
        value = self.number(node, value)
        if value.type.is_array:
            raise self.wrong(node, "indexing by an array", "write take(a, index)")
        if value.type != INT:
            raise self.wrong(node, f"an index is an int, this is {value.type}", "write int(x)")
        if value.const is None:
            return value
        if not -length <= value.const < length:
            raise self.wrong(node, f"index {value.const} lies outside 0 .. {length - 1}", "stay inside the array")
        return self.builder.const(value.const % length)

    def at(self, node: ast.Subscript, array: Value, parts: list[ast.expr]) -> Value:
        """`a[i]` or `a[i, j]`: an element, or the sub-array that is left."""
        shape = array.type.shape or ()
        if len(parts) > len(shape):
            raise self.wrong(node, f"{len(parts)} indices into {array.type}", f"it has {len(shape)} axes")
        indices = [self.index(p, n) for p, n in zip(parts, shape, strict=False)]
        if len(indices) == len(shape):
            safe = all(within(i, 0, n - 1) for i, n in zip(indices, shape, strict=True))
            return self.emit(node, "element", array, *indices, safe=safe)
        for i in indices:
            array = self.pick(node, array, i, 0)
        return array

    def pick(self, node: ast.AST, array: Value, index: Value, axis: int) -> Value:
        """The sub-array at one index of one axis."""
        n = (array.type.shape or (0,))[axis]
        return self.emit(node, "pick", array, index, axis=axis, safe=within(index, 0, n - 1))

    def region(self, node: ast.Subscript, array: Value, parts: list[ast.expr]) -> Value:
        """Constant slices, `None` for a new axis, scalar indices in between."""
        bounds: list[tuple[int, int]] = []
        picks: list[tuple[int, Value]] = []
        new_axes: list[int] = []
        shape = array.type.shape or ()
        out = 0
        for part in parts:
            axis = len(bounds)
            if is_none(part):
                new_axes.append(out)
                out += 1
                continue
            if axis >= len(shape):
                raise self.wrong(node, f"too many indices into {array.type}", f"it has {len(shape)} axes")
            if isinstance(part, ast.Slice):
                bounds.append(self.slice_bounds(part, shape[axis]))
                out += 1
            else:
                picks.append((axis, self.index(part, shape[axis])))
                bounds.append((0, shape[axis]))
        bounds += [(0, n) for n in shape[len(bounds) :]]
        return self.assemble(node, array, bounds, picks, new_axes)

    def assemble(
        self, node: ast.AST, array: Value, bounds: list[tuple[int, int]], picks: list[tuple[int, Value]], new: list[int]
    ) -> Value:
        if any(b != (0, n) for b, n in zip(bounds, array.type.shape or (), strict=True)):
            array = self.emit(node, "slice", array, bounds=tuple(bounds))
        for axis, index in reversed(picks):
            array = self.pick(node, array, index, axis)
        if new:
            shape = list(array.type.shape or ())
            for axis in new:
                shape.insert(axis, 1)
            array = self.emit(node, "reshape", array, shape=tuple(shape))
        return array

    def slice_bounds(self, node: ast.Slice, length: int) -> tuple[int, int]:
        """(lo, hi) of a constant slice with step 1."""
        if node.step is not None:
            raise self.wrong(node.step, "a slice with a step", "gather with take(a, index)")
        ends = []
        for part, missing in ((node.lower, 0), (node.upper, length)):
            value = missing if part is None else self.constant_int(part, "the end of a slice")
            ends.append(max(0, value + length) if value < 0 else min(value, length))
        return ends[0], max(ends)

    def constant_int(self, node: ast.expr, what: str) -> int:
        """An int known at compile time."""
        value = self.number(node, self.evaluate(node))
        if value.type != INT or not isinstance(value.const, int):
            raise self.wrong(node, f"{what} must be a constant int", "use a module constant or a literal")
        return value.const


def is_none(node: ast.AST) -> bool:
    """`None` as in `a[:, None]`."""
    return isinstance(node, ast.Constant) and node.value is None
