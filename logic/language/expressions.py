"""Expressions: names, literals, operators, conditions, scene and memory access.

Knows: what each expression node means and which types it takes. Does not know: statements, inlining, words.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable

from logic.errors import PolicyFault
from logic.language import ops
from logic.language.bound import (
    MATH,
    MEMORY,
    SCENE,
    Bound,
    Broken,
    Pack,
    Record,
    RecordType,
    Shape,
    Thing,
    Things,
    Wrong,
)
from logic.language.core import Core
from logic.language.diagnostics import MOST_SUGGESTED, did_you_mean
from logic.language.hints import ALTERNATIVES, METHODS, UNKNOWN_CONSTRUCT, WORDS
from logic.language.ir import BOOL, FLOAT, INT, Type, Value
from logic.language.ranges import within
from logic.language.records import find_record
from perception.scene import SLOT, SLOT_FIELDS, SceneSchema

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
        for grid in self.schema.grids:
            if grid.name == name:
                return self.input(
                    node, "grid", Type("bool", (grid.rows, grid.cols)), name=name, offset=self.schema.grid(name).start
                )
        for gauge in self.schema.gauges:
            if gauge.name == name:
                return self.input(node, "gauge", FLOAT, name=name, offset=self.schema.gauge(name))
        have = part_names(self.schema)
        raise self.wrong(node, f"the scene has no {name!r}", did_you_mean(name, have) or f"it has {', '.join(have)}")

    def thing_field(self, node: ast.Attribute, thing: Thing) -> Value:
        if node.attr not in SLOT_FIELDS:
            hint = did_you_mean(node.attr, SLOT_FIELDS) or f"it has {', '.join(SLOT_FIELDS)}"
            raise self.wrong(node, f"scene.{thing.name} has no field {node.attr!r}", hint)
        count = next(t.count for t in self.schema.things if t.name == thing.name)
        offset = self.schema.slot(thing.name, thing.slot).start + SLOT_FIELDS.index(node.attr)
        kind = BOOL if node.attr == "seen" else FLOAT
        args = () if thing.at is None else (thing.at,)
        safe = thing.at is None or within(thing.at, 0, count - 1)
        attrs = {"thing": thing.name, "field": node.attr, "slot": thing.slot, "count": count, "offset": offset}
        return self.input(node, "thing", kind, *args, **attrs, step=SLOT, safe=safe)

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
    """Names of the scene's things, grids and gauges."""
    return [*(t.name for t in schema.things), *(g.name for g in schema.grids), *(g.name for g in schema.gauges)]
