"""The ground that all lowering stands on: reporting, conversions, and joining two paths.

Knows: states, types that join, how a branch becomes an `if` op. Does not know: particular statements or words.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from envs.actions import ActionSpace, Discrete
from logic.errors import PolicyFault
from logic.language.bound import Bound, Broken, Frame, Pack, Record, Scope, Shape, Special, State, Wrong
from logic.language.build import Builder
from logic.language.diagnostics import Reporter
from logic.language.ir import BOOL, FLOAT, INT, REASON, Block, Op, Type, Value
from logic.language.limits import Meter
from logic.language.ranges import bounds
from perception.scene import SceneSchema

STRINGS = 'declare `mode: str = "search"` in Memory, or a named int constant: `CHASE = 1`'
FOLDING_FAULTS = (PolicyFault, ArithmeticError, ValueError, IndexError, TypeError)


class Core:
    """State of one compilation. `tabling` is set while module constants are computed: everything folds."""

    def __init__(self, schema: SceneSchema, reporter: Reporter, meter: Meter, actions: ActionSpace) -> None:
        self.schema, self.reporter, self.meter, self.actions = schema, reporter, meter, actions
        self.builder = Builder(meter)
        self.reasons: list[str] = []
        self.reason_lines: dict[str, list[int]] = {}
        self.state = State()
        self.stored: Mapping[str, Shape] = {}  # records in Memory
        self.frame = Frame(Scope("policy"), None)
        self.stack: list[tuple[str, str]] = []
        self.tabling = False
        self.shortcut: Callable[..., Bound | None] | None = None  # a faster way to a helper's answer while tabling
        self.maths: Callable[[], Scope] | None = None  # what `math.sin` and its kin stand for
        self.entry = ""  # "policy" or "rule" while `act` or a rule is lowered
        self.probing = False  # leave probes (probes.py) for who traces a step
        self.here: tuple[str, ast.AST] = ("", ast.Module([], []))  # file and node that are being looked at
        self.answers: dict[object, tuple[Bound, object]] = {}  # of helpers called with constants while tabling

    @property
    def n_actions(self) -> int:
        """How many named actions there are; 0 where an action is a vector."""
        return len(self.actions.names) if isinstance(self.actions, Discrete) else 0

    # --- reporting -------------------------------------------------------------------------------

    def wrong(self, node: ast.AST, message: str, instead: str = "") -> Wrong:
        """Report an error; raise what comes back."""
        self.reporter.say(self.frame.scope.file, node, message, instead)
        return Wrong()

    def mark(self, node: ast.AST) -> None:
        """Ops emitted from here on stand for this node's line."""
        self.builder.line, self.builder.file = getattr(node, "lineno", 0), self.frame.scope.file

    def emit(self, node: ast.AST, name: str, *args: Value, **attrs: Any) -> Value:
        """An op; a constant that always faults is an error here, not at play."""
        self.mark(node)
        if any(a.type.kind == "reason" for a in args):
            raise self.wrong(node, "a string is only a reason", STRINGS)
        try:
            return self.builder.emit(name, *args, **attrs)
        except FOLDING_FAULTS as e:
            raise self.wrong(node, f"this is always a fault: {e}", "guard it, or change the constants") from None

    def value(self, node: ast.AST, bound: Bound) -> Value:
        """The IR value an expression stands for."""
        if isinstance(bound, Value):
            return bound
        if isinstance(bound, Broken):
            if bound.why:
                raise self.wrong(node, bound.why, bound.instead)
            raise Wrong()
        if isinstance(bound, Pack):
            raise self.wrong(node, "a tuple is not a value here", "unpack it first: `a, b = helper(...)`")
        if isinstance(bound, Record):
            field = next(iter(bound.type.fields))
            what = f"a record ({bound}) is neither number nor array"
            raise self.wrong(node, what, f"use one of its fields, such as .{field}")
        what = bound.name if isinstance(bound, Special) else f"scene.{bound.name}"
        raise self.wrong(node, f"`{what}` is not a value by itself", "use one of its fields, such as scene.ball.x")

    # --- types -----------------------------------------------------------------------------------

    def convert(self, node: ast.AST, value: Value, wanted: Type) -> Value | None:
        """Value as the wanted type where that is implicit: bool -> int -> float, scalars only. None: it is not."""
        if value.type == wanted:
            return value
        if value.type.is_array or wanted.is_array or "reason" in (value.type.kind, wanted.kind):
            return None
        if wanted.kind == "float":
            return self.emit(node, "to_float", self.convert(node, value, INT) or value)
        if wanted.kind == "int" and value.type.kind == "bool":
            return self.emit(node, "to_int", value)
        return None

    def number(self, node: ast.AST, value: Value) -> Value:
        """A scalar bool as an int, as in Python; anything else unchanged; a reason is refused."""
        if value.type.kind == "reason":
            raise self.wrong(node, "a string is only a reason", STRINGS)
        return self.emit(node, "to_int", value) if value.type == BOOL else value

    def truth(self, node: ast.AST, value: Value) -> Value:
        """A scalar as a condition."""
        if value.type.is_array:
            raise self.wrong(node, "an array is not a condition", "write `any_of(a)` or `all_of(a)`")
        if value.type.kind == "reason":
            raise self.wrong(node, "a string is not a condition", "use a bool or a named int constant")
        if value.type == BOOL:
            return value
        return self.emit(node, "ne", value, self.builder.const(0 if value.type == INT else 0.0))

    # --- paths -----------------------------------------------------------------------------------

    def branch(self, node: ast.AST, condition: Value, then: Callable[[], None], other: Callable[[], None]) -> None:
        """Run one side or both; afterwards `state` holds what either leaves behind."""
        if condition.const is not None:
            (then if condition.const else other)()
            return
        start, ends, blocks = self.state, [], []
        for side in (then, other):
            self.state = start.copy()
            try:
                with self.builder.inside(Block()) as block:
                    side()
            except Wrong:
                self.state = start
                raise
            ends.append(self.state)
            blocks.append(block)
        self.mark(node)
        self.state = _Join(self, node, condition, blocks, ends).run()


class _Join:
    """Two paths become one: values that differ become results of an `if` op."""

    def __init__(self, core: Core, node: ast.AST, condition: Value, blocks: list[Block], ends: list[State]) -> None:
        self.core, self.node, self.ends = core, node, ends
        self.inner: list[set[int]] = []
        self.made: dict[object, Value] = {}  # one result for equal pairs
        self.op = Op("if", [condition], {}, [], blocks, getattr(node, "lineno", 0), core.frame.scope.file)

    def run(self) -> State:
        a, b = self.ends
        joined = State()
        joined.memory = {k: self.values(a.memory[k], b.memory[k], a.memory[k].type) for k in a.memory}
        joined.returned = self.values(a.returned, b.returned, BOOL)
        joined.skip = self.values(a.skip, b.skip, BOOL)
        joined.stop = self.values(a.stop, b.stop, BOOL)
        joined.answer = self.answers(a.answer, b.answer)
        if joined.returned.const is not True:
            joined.locals = self.locals(a, b)
        if self.op.results or any(block.ops for block in self.op.blocks):
            self.core.meter.node()
            self.core.builder.block.ops.append(self.op)
        return joined

    def locals(self, a: State, b: State) -> dict[str, Bound]:
        """A path that has returned leaves no locals: the other's count."""
        if a.returned.const or b.returned.const:
            kept, lost = (b, 1) if a.returned.const else (a, 0)
            return {k: self.one_sided(v, lost) for k, v in kept.locals.items()}
        names = {*a.locals, *b.locals}
        return {k: self.local(k, a.locals.get(k), b.locals.get(k)) for k in sorted(names)}

    def one_sided(self, bound: Bound, side: int) -> Bound:
        """A value made inside one branch, handed out of it (side 0: of the first)."""
        if isinstance(bound, Pack):
            return Pack(tuple(self.one_sided(item, side) for item in bound.items))
        if isinstance(bound, Record):
            return replace(bound, items=tuple(self.one_sided(item, side) for item in bound.items))
        if not isinstance(bound, Value) or bound.const is not None or not self.made_inside(bound, side):
            return bound
        nothing = self.core.builder.undefined(bound.type)
        pair = (bound, nothing) if side == 0 else (nothing, bound)
        return self.result(*pair, bound.type, bound)

    def made_inside(self, value: Value, side: int) -> bool:
        if not self.inner:
            self.inner = [{id(op) for op in block.ops} for block in self.op.blocks]
        return value.op is not None and id(value.op) in self.inner[side]

    def local(self, name: str, a: Bound | None, b: Bound | None) -> Bound:
        if a is b and a is not None:
            return a
        if a is None or b is None:
            return Broken(
                f"{name!r} may have no value here: one path does not assign it", f"assign {name} before the if"
            )
        a, b = self.vector(a, b, 0), self.vector(b, a, 1)
        if isinstance(a, Value) and isinstance(b, Value):
            wanted = join_types(a.type, b.type)
            if wanted is None:
                return Broken(f"{name!r} is {a.type} on one path and {b.type} on the other", "give it one type")
            return self.values(a, b, wanted)
        if isinstance(a, Broken) or isinstance(b, Broken):
            return a if isinstance(a, Broken) else b
        if isinstance(a, Record) or isinstance(b, Record):
            return self.records(a, b) or Broken(
                f"{name!r} is {_told(a)} on one path and {_told(b)} on the other", "give it one type"
            )
        if isinstance(a, Pack) and isinstance(b, Pack):
            return self.answers(a, b) or Broken()
        return a if a == b else Broken(f"{name!r} is not the same kind of thing on both paths", "use two names")

    def answers(self, a: Bound | None, b: Bound | None) -> Bound | None:
        if a is None or b is None:
            bound, side = (a, 0) if b is None else (b, 1)
            return None if bound is None else self.one_sided(bound, side)
        a, b = self.vector(a, b, 0), self.vector(b, a, 1)
        if isinstance(a, Pack) and isinstance(b, Pack) and len(a.items) == len(b.items):
            pairs = zip(a.items, b.items, strict=True)
            return Pack(tuple(self.answers(x, y) or Broken() for x, y in pairs))
        if isinstance(a, Value) and isinstance(b, Value):
            wanted = join_types(a.type, b.type)
            if wanted is not None:
                return self.values(a, b, wanted)
            return Broken(f"one path returns {a.type}, another {b.type}", "return one type")
        if isinstance(a, Broken) or isinstance(b, Broken):
            return a if isinstance(a, Broken) else b
        if isinstance(a, Record) or isinstance(b, Record):
            return self.records(a, b) or Broken(f"one path returns {_told(a)}, another {_told(b)}", "return one type")
        return Broken("paths return different numbers of values", "return the same number on every path")

    def records(self, a: Bound, b: Bound) -> Record | None:
        """One record of two of the same type."""
        if not isinstance(a, Record) or not isinstance(b, Record) or a.type is not b.type or a.shape != b.shape:
            return None
        if a is b:
            return a
        return replace(a, items=tuple(self.answers(x, y) or Broken() for x, y in zip(a.items, b.items, strict=True)))

    def vector(self, bound: Bound, other: Bound, side: int) -> Bound:
        """A tuple of numbers as a Float array, where the other path has one of that length."""
        if not isinstance(bound, Pack) or not isinstance(other, Value):
            return bound
        shape = (len(bound.items),)
        parts = [i for i in bound.items if isinstance(i, Value) and not i.type.is_array and i.type != REASON]
        if other.type != Type("float", shape) or len(parts) < len(bound.items):
            return bound
        with self.core.builder.inside(self.op.blocks[side]):
            floats = [self.core.convert(self.node, part, FLOAT) or part for part in parts]
            return self.core.emit(self.node, "stack", *floats, shape=shape, kind="float")

    def values(self, a: Value, b: Value, wanted: Type) -> Value:
        if a is b or same_constant(a, b):
            return a
        if wanted == BOOL and a.const is True and b.const is False:
            return self.op.args[0]
        pair = tuple(repr(v.const) if v.const is not None and not v.type.is_array else id(v) for v in (a, b))
        if (pair, wanted) not in self.made:
            self.made[pair, wanted] = self.converted(a, b, wanted)
        return self.made[pair, wanted]

    def converted(self, a: Value, b: Value, wanted: Type) -> Value:
        sides = []
        for value, block in ((a, self.op.blocks[0]), (b, self.op.blocks[1])):
            with self.core.builder.inside(block):
                sides.append(self.core.convert(self.node, value, wanted) or value)
        return self.result(sides[0], sides[1], wanted, None)

    def result(self, a: Value, b: Value, wanted: Type, like: Value | None) -> Value:
        """A new result of the `if`; `like`: the side whose range alone counts."""
        (alo, ahi), (blo, bhi) = (bounds(like), bounds(like)) if like else (bounds(a), bounds(b))
        known = None not in (alo, ahi, blo, bhi)
        lo, hi = (min(alo, blo), max(ahi, bhi)) if known else (None, None)
        made = Value(wanted, self.op, lo=lo, hi=hi)
        self.op.results.append(made)
        for value, block in zip((a, b), self.op.blocks, strict=True):
            block.results.append(value)
        return made


def _told(bound: Bound) -> str:
    """What two paths disagree on."""
    if isinstance(bound, Value):
        return str(bound.type)
    return str(bound) if isinstance(bound, Record) else "a tuple" if isinstance(bound, Pack) else "something else"


def same_constant(a: Value, b: Value) -> bool:
    """Two scalar constants that are one and the same."""
    known = a.const is not None and b.const is not None and a.type == b.type and not a.type.is_array
    return known and repr(a.const) == repr(b.const)


def join_types(a: Type, b: Type) -> Type | None:
    """The type both become at a join: equal, or the wider of two numeric scalars."""
    if a == b:
        return a
    if a.is_array or b.is_array or "reason" in (a.kind, b.kind):
        return None
    return FLOAT if "float" in (a.kind, b.kind) else INT
