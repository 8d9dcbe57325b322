"""What names and expressions stand for while a text is lowered, and the builder that emits ops for them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from envs.actions import ActionSpace, Discrete
from logic.errors import PolicyFault
from logic.language import ir as ranges
from logic.language import ops
from logic.language.diagnostics import Meter, Reporter
from logic.language.ir import BOOL, FLOAT, INT, INT_LIMIT, REASON, Block, Field, Op, Type, Value, bounds
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# What a name or an expression stands for while a text is lowered: mostly an IR value, sometimes a handle.


FALSE, TRUE = Value(BOOL, const=False), Value(BOOL, const=True)


@dataclass(frozen=True)
class Pack:
    """A tuple: a helper's several results, a module constant such as `(1, 2, 3)`, operands of `array`."""

    items: tuple[Bound, ...]
    leaves: int = field(default=0, compare=False)  # single values in it, however deep

    def __post_init__(self) -> None:
        found = sum(item.leaves if isinstance(item, (Pack, Record)) else 1 for item in self.items)
        object.__setattr__(self, "leaves", found)


@dataclass(frozen=True, eq=False)
class RecordType:
    """A class of a text. `defaults` are constants, one a field; `leaves` counts the plain values of one record."""

    name: str
    fields: Mapping[str, Type | Shape]
    defaults: Mapping[str, Bound]
    leaves: int


@dataclass(frozen=True)
class Shape:
    """A field's or variable's type: a record, or an array of them."""

    record: RecordType
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Record:
    """A record: what its fields are, in order. In an array of records every value has the axes `shape` in front."""

    type: RecordType
    items: tuple[Bound, ...]
    shape: tuple[int, ...] = ()

    @property
    def leaves(self) -> int:
        """Plain values in it."""
        return self.type.leaves

    def __str__(self) -> str:
        return f"{self.type.name}[{', '.join(map(str, self.shape))}]" if self.shape else self.type.name


@dataclass(frozen=True)
class Thing:
    """`scene.ball` or `scene.enemy[i]`: one slot; `at` is None for a fixed slot."""

    name: str
    slot: int = 0
    at: Value | None = None


@dataclass(frozen=True)
class Things:
    """`scene.enemy` where there are several."""

    name: str


@dataclass(frozen=True)
class Special:
    """`scene`, `memory`, `math` themselves."""

    name: str


@dataclass(frozen=True)
class Broken:
    """No usable value: an error already reported (`why` empty), or one to report when it is used."""

    why: str = ""
    instead: str = ""


Bound = Value | Pack | Record | Thing | Things | Special | Broken
SCENE, MEMORY, MATH, POISON = Special("scene"), Special("memory"), Special("math"), Broken()


class Wrong(Exception):
    """An expression has no value; the reason is reported already."""


@dataclass
class State:
    """One path: its locals, memory as the path leaves it, and whether it has left.

    `skip`: the rest of the block is not run; `stop`: the enclosing loop ends; `returned`: the function has ended.
    """

    locals: dict[str, Bound] = field(default_factory=dict)
    memory: dict[str, Value] = field(default_factory=dict)
    skip: Value = FALSE
    stop: Value = FALSE
    returned: Value = FALSE
    answer: Bound | None = None

    def copy(self) -> State:
        """An independent path that starts here."""
        return replace(self, locals=dict(self.locals), memory=dict(self.memory))


@dataclass
class Scope:
    """One text: its functions, its constants as far as they are computed, what it imports."""

    file: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    constants: dict[str, Bound] = field(default_factory=dict)
    imported: dict[str, tuple[Scope, str]] = field(default_factory=dict)
    predefined: Mapping[str, Value] = field(default_factory=dict)
    later: dict[str, int] = field(default_factory=dict)  # constants not computed yet, by line
    fields: dict[str, Field] = field(default_factory=dict)
    modes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # strings of Memory's named modes
    classes: frozenset[str] = frozenset()  # names of records, declared so far or not
    records: dict[str, RecordType] = field(default_factory=dict)
    stored: dict[str, Shape] = field(default_factory=dict)  # records in Memory; their leaves are in `fields`
    tunables: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """One function being inlined, or the module level (function None)."""

    scope: Scope
    function: ast.FunctionDef | None
    names: frozenset[str] = frozenset()  # everything the function assigns


# ----------------------------------------------------------------------------------------------------
# Records: `class Track:` with typed fields is a value of fixed shape, expanded into its fields before any back end.
#
# A record is its fields, an array of records one array a field with the array's axes first. So `memory.legs.x` is a
# Float[4], and `legs[i]`, `put`, `shift_push`, `take` do to every field what they do to an array.


def find_record(name: str, scope: Scope) -> RecordType | None:
    """The record a name stands for in a scope, following one import."""
    if name in scope.imported:
        other, original = scope.imported[name]
        return find_record(original, other)
    return scope.records.get(name)


def leaves(record: Record, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Value]]:
    """Every plain value in it, with the places of the fields that lead there."""
    for i, item in enumerate(record.items):
        if isinstance(item, Record):
            yield from leaves(item, (*path, i))
        elif isinstance(item, Value):
            yield (*path, i), item


def names_of(record: RecordType, prefix: str = "") -> Iterator[str]:
    """`x`, `pos.x`: names of the leaves, in their order."""
    for name, kind in record.fields.items():
        if isinstance(kind, Shape):
            yield from names_of(kind.record, f"{prefix}{name}.")
        else:
            yield prefix + name


def with_leaf(bound: Bound, path: tuple[int, ...], value: Value) -> Bound:
    """The same with another value at one place."""
    if not path or not isinstance(bound, Record):
        return value
    items = list(bound.items)
    items[path[0]] = with_leaf(items[path[0]], path[1:], value)
    return replace(bound, items=tuple(items))


def mapped(record: Record, shape: tuple[int, ...], f: Callable[[Value], Value]) -> Record:
    """Every leaf through `f`, which makes the record's own axes `shape`."""
    cut = len(record.shape)
    items: list[Bound] = []
    for item in record.items:
        if isinstance(item, Record):
            items.append(mapped(item, shape + item.shape[cut:], f))
        else:
            items.append(f(item) if isinstance(item, Value) else item)
    return Record(record.type, tuple(items), shape)


def type_within(kind: Type, shape: tuple[int, ...]) -> Type:
    """Type of a field in a record with those axes."""
    return Type(kind.kind, shape + (kind.shape or ())) if shape else kind


# ----------------------------------------------------------------------------------------------------
# What a piece of a text may change or leave, read off its tree: names, memory fields, exits.
#
# Every answer errs on the side of "may".


class Facts(NamedTuple):
    """What statements hold: local names and attributes they assign, names they call, do they loop."""

    names: frozenset[str]
    fields: frozenset[str]
    calls: frozenset[str]
    loops: bool


_EMPTY = Facts(frozenset(), frozenset(), frozenset(), False)


def facts(body: Sequence[ast.AST]) -> Facts:
    """Read off the trees once; the first node remembers."""
    if not body:
        return _EMPTY
    known: dict[int, Facts] | None = getattr(body[0], "_facts", None)
    if known is None:
        known = body[0]._facts = {}  # type: ignore[attr-defined]
    if len(body) not in known:
        known[len(body)] = _facts(body)
    return known[len(body)]


def _facts(body: Sequence[ast.AST]) -> Facts:
    names, fields, calls, loops = set(), set(), set(), False
    work = list(body)
    while work:
        node = work.pop()
        kind = type(node)
        if kind is ast.Name:
            if isinstance(node.ctx, ast.Store):  # type: ignore[attr-defined]
                names.add(node.id)  # type: ignore[attr-defined]
            continue
        if kind is ast.Constant:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            while isinstance(node.value, ast.Attribute):  # memory.ball.x is a part of memory.ball
                node = node.value
            fields.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            calls.add(node.func.id)
        elif kind is ast.For:
            loops = True
        work.extend(ast.iter_child_nodes(node))
    return Facts(frozenset(names), frozenset(fields), frozenset(calls), loops)


def assigned_names(body: Sequence[ast.stmt]) -> frozenset[str]:
    """Every local name that the statements assign."""
    return facts(body).names


def stored_fields(body: Sequence[ast.stmt], scope: Scope, seen: set[tuple[str, str]] | None = None) -> set[str]:
    """Every memory field that the statements, or helpers they call, assign."""
    seen = set() if seen is None else seen
    here = facts(body)
    found = set(here.fields)
    for name in here.calls:
        target = find_function(name, scope)
        if target is not None and (target[0].file, target[1].name) not in seen:
            seen.add((target[0].file, target[1].name))
            found |= stored_fields(target[1].body, target[0], seen)
    return found


def reaches_loop(body: Sequence[ast.AST], scope: Scope, seen: set[tuple[str, str]] | None = None) -> bool:
    """Do the nodes call a helper that loops, directly or through others?"""
    seen = set() if seen is None else seen
    for name in facts(body).calls:
        target = find_function(name, scope)
        if target is None or (target[0].file, target[1].name) in seen:
            continue
        seen.add((target[0].file, target[1].name))
        if facts(target[1].body).loops or reaches_loop(target[1].body, target[0], seen):
            return True
    return False


def find_function(name: str, scope: Scope) -> tuple[Scope, ast.FunctionDef] | None:
    """The helper a name calls in a scope, following one import."""
    if name in scope.functions:
        return scope, scope.functions[name]
    if name in scope.imported:
        other, original = scope.imported[name]
        return find_function(original, other)
    return None


_SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr)


def may_exit(body: Sequence[ast.stmt], in_loop: bool = False) -> bool:
    """May the statements return, or break or continue the loop they stand in?"""
    for node in body:
        if type(node) in _SIMPLE:
            continue
        if isinstance(node, ast.Return) or (isinstance(node, (ast.Break, ast.Continue)) and not in_loop):
            return True
        if isinstance(node, ast.If) and (may_exit(node.body, in_loop) or may_exit(node.orelse, in_loop)):
            return True
        if isinstance(node, ast.For) and may_exit(node.body, True):
            return True
    return False


def always_exits(body: Sequence[ast.stmt]) -> bool:
    """Does every path through the statements return, break or continue?"""
    for node in body:
        if isinstance(node, (ast.Return, ast.Break, ast.Continue)):
            return True
        if isinstance(node, ast.If) and node.orelse and always_exits(node.body) and always_exits(node.orelse):
            return True
    return False


# ----------------------------------------------------------------------------------------------------
# Builder: emits ops, folding constants and sharing common subexpressions as it goes.
#
# Python syntax, names, statements.


_KINDS = {"b": "bool", "i": "int", "f": "float"}
_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
_SCALAR_INT = {"argmax", "argmin", "count", "floor", "ceil", "round"}
_SCALAR_BOOL = {"any_of", "all_of"}
_SAME = {"neg", "abs", "sign", "sqrt", "bound", "not", "floor_of", "exp_of", "put", "shift_push"}
_ROOM = 2**62  # intermediate ints stay in 64 bits


_PLAIN = {bool: BOOL, int: INT, float: FLOAT}


def type_of(value: Any) -> Type:
    """Type of a Python scalar or an array."""
    if isinstance(value, np.ndarray):
        return Type(_KINDS[value.dtype.kind], value.shape)
    return BOOL if isinstance(value, bool) else INT if isinstance(value, int) else FLOAT


def result_type(name: str, args: tuple[Value, ...], attrs: dict[str, Any]) -> Type:
    """Type of a pure op's result; operands are already of the right types (ValueError: shapes do not fit)."""
    kinds, shapes = [a.type.kind for a in args], [a.type.shape for a in args]
    first = args[0].type
    if name in _SAME:
        return first
    if name in _SCALAR_INT:
        return INT
    if name in _SCALAR_BOOL:
        return BOOL
    if name in ("element", "largest", "smallest"):
        return Type(first.kind)
    if name == "total":
        return Type("int" if first.kind == "bool" else first.kind)
    if name in ("full", "stack"):
        return Type(attrs["kind"], attrs["shape"])
    if name in ("to_float", "to_int"):
        return Type(name[3:], first.shape)
    if shapes[0] is not None and name in _SHAPED:
        return _shaped(name, args, attrs)
    shape = _broadcast(shapes)
    kind = "bool" if name in _COMPARE else kinds[1] if name == "where" else kinds[0]
    return Type("float" if name == "div" else kind, shape)


_SHAPED = {
    "pick", "slice", "reshape", "gather", "concat", "scatter_add", "top_k", "sum_over", "max_over", "min_over",
    "argmax_over", "matmul",
}  # fmt: skip


def _shaped(name: str, args: tuple[Value, ...], attrs: dict[str, Any]) -> Type:
    kind, shape = args[0].type.kind, args[0].type.shape or ()
    if name in ("pick", "sum_over", "max_over", "min_over", "argmax_over"):
        axis = attrs["axis"]
        kind = "int" if name == "argmax_over" or (name == "sum_over" and kind == "bool") else kind
        return Type(kind, shape[:axis] + shape[axis + 1 :])
    if name == "slice":
        return Type(kind, tuple(hi - lo for lo, hi in attrs["bounds"]))
    if name == "reshape":
        return Type(kind, attrs["shape"])
    if name == "gather":
        return Type(kind, (args[1].type.shape or ()) + shape[1:])
    if name == "concat":
        return Type(kind, (sum((a.type.shape or (0,))[0] for a in args), *shape[1:]))
    if name == "scatter_add":
        return Type("float", (attrs["length"],))
    if name == "top_k":
        return Type("int", (attrs["k"],))
    b = args[1].type.shape or ()
    return Type(kind, shape[:-1] + b[1:])


def _broadcast(shapes: list[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    arrays = [s for s in shapes if s is not None]
    return np.broadcast_shapes(*arrays) if arrays else None


_SCALAR_OPS = {
    "add", "sub", "mul", "div", "floordiv", "mod", "neg", "lt", "le", "gt", "ge", "eq", "ne", "not", "clip",
}  # fmt: skip
_NO_ATTRS: dict[str, Any] = {}


class Builder:
    """Emits into the current block. `line`, `file` are stamped on every op."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.block = Block()
        self.scopes: list[dict[Any, Value]] = [{}]
        self.line, self.file = 0, ""

    def const(self, value: Any) -> Value:
        """A constant; arrays become read-only."""
        plain = _PLAIN.get(type(value))
        if plain is not None:
            return Value(plain, None, value)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        elif isinstance(value, np.generic):
            value = value.item()
        return Value(type_of(value), const=value)

    def reason(self, index: int) -> Value:
        """A reason, by its place in the table."""
        return Value(REASON, const=index)

    def emit(self, name: str, *args: Value, **attrs: Any) -> Value:
        """The op's result: folded, shared with an equal op, or new. Faults of folding are raised as they are."""
        known = True
        for a in args:
            known = known and a.const is not None
        if known and name in _SCALAR_OPS and args[0].type.shape is None and args[-1].type.shape is None:
            return self.fold_scalars(name, args)
        kind = result_type(name, args, attrs)
        if known:
            return self.fold(name, args, attrs, kind)
        key = (name, tuple(identity(a) for a in args), tuple(sorted(attrs.items())))
        for scope in self.scopes:
            if key in scope:
                return scope[key]
        lo, hi = ranges.of_result(name, args, kind.kind, kind.is_array)
        made = self.push(name, list(args), attrs, kind, lo, hi)
        if kind == INT and not ranges.within(made, -_ROOM, _ROOM):
            made = self.push("bound", [made], {}, INT, -INT_LIMIT, INT_LIMIT)
        self.scopes[-1][key] = made
        return made

    def push(self, name: str, args: list[Value], attrs: dict[str, Any], type: Type, lo: Any, hi: Any) -> Value:
        """Append an op as it is."""
        self.meter.node()
        if type.shape is not None:
            self.meter.array(type.size)
        op = Op(name, args, attrs, line=self.line, file=self.file)
        value = Value(type, op, lo=lo, hi=hi)
        op.results.append(value)
        self.block.ops.append(op)
        return value

    def fold_scalars(self, name: str, args: tuple[Value, ...]) -> Value:
        """The common case of tables, made short."""
        self.meter.spend(1500.0)
        value = ops.SPECS[name].run(_NO_ATTRS, *[a.const for a in args])
        if type(value) is int and not -INT_LIMIT <= value <= INT_LIMIT:
            ops.bounded(value)
        return self.const(value)

    def fold(self, name: str, args: tuple[Value, ...], attrs: dict[str, Any], kind: Type) -> Value:
        """Evaluate on constants, paying for it first."""
        self.meter.array(kind.size)
        arrays = kind.is_array or any(a.type.is_array for a in args)
        biggest = max(kind.size, *(a.type.size for a in args))
        if name == "matmul":
            biggest *= max(args[1].type.shape or (1,))
        spec = ops.SPECS[name]
        self.meter.spend(ops.fold_cost(name, biggest, arrays))
        self.meter.make(kind.size)
        value = spec.run(attrs, *(a.const for a in args))
        if kind.is_array:
            value = np.asarray(value)
            if value.dtype != ops.DTYPE[kind.kind]:
                value = value.astype(ops.DTYPE[kind.kind])
        elif kind == INT:
            value = ops.bounded(int(value))
        elif kind == FLOAT:
            value = float(value)
        return self.const(value)

    @contextmanager
    def inside(self, block: Block) -> Iterator[Block]:
        """Emit into `block`, seeing the expressions of the blocks around it."""
        outer, self.block = self.block, block
        self.scopes.append({})
        try:
            yield block
        finally:
            self.block = outer
            self.scopes.pop()

    def undefined(self, type: Type) -> Value:
        """A value that is never looked at, for a path on which there is none."""
        if not type.is_array:
            zero = {"bool": False, "int": 0, "float": 0.0, "reason": 0}[type.kind]
            return Value(type, const=zero)
        return self.const(np.zeros(type.shape or (), ops.DTYPE[type.kind]))


def identity(value: Value) -> Any:
    """Equal scalars are one; everything else is itself. repr tells 0.0 from -0.0 and True from 1."""
    if value.const is not None and not value.type.is_array:
        return value.type.kind, repr(value.const)
    return value


# ----------------------------------------------------------------------------------------------------
# The ground that all lowering stands on: reporting, conversions, and joining two paths.


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
        """Ops emitted from here on stand for this node's line; those of `math.log` for the line that calls it."""
        if self.frame.scope.file != "lib/maths":
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
