"""Back end 4: graphs as a program of the native machine (native/machine.c), which checks and runs it.

A program is int32 words: a head, the size of each memory, the fallback; of each graph a head of its own, then its
constants and its instructions of ten words. An operand is a place in one of four spaces: the graph's frame, its
constants, its memory, the scene. Scalars take eight bytes (float64, int64, bool as 0 and 1), arrays their elements.
Nothing is proven here that the machine relies on: it checks every operand when it loads a program, and every index when
it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from envs.actions import Action
from logic.errors import LogicError
from logic.language.ir import INT_LIMIT, Block, Field, Graph, Op, Type, Value, within
from logic.language.ops import DTYPE

MAGIC, VERSION = 0x4D495254, 1
FRAME, CONSTANT, MEMORY, SCENE = (k << 30 for k in range(4))
# in the order of the machine's own list, which tests compare
_NAMES = (
    "ADD SUB MUL DIV FLOORDIV MOD POW NEG ABS SIGN MIN MAX CLIP SQRT LT LE EQ NE FLOOR CEIL ROUND TRUNC TOFLOAT "
    "IADD ISUB IMUL IFLOORDIV IMOD INEG IABS ISIGN IMIN IMAX ICLIP ILT ILE IEQ INE BOUND NOT AND OR SET "
    "CELLF CELLI WRAPI CELLB WIDEF WIDEI WIDEB SEENF FLAT ELEMF ELEMI ELEMB THINGF THINGB GRID "
    "FADD FSUB FMUL FDIV FFLOORDIV FMOD FPOW FMIN FMAX FLT FLE FEQ FNE FNEG FABS FSIGN FFLOOR FEXP "
    "NADD NSUB NMUL NFLOORDIV NMOD NMIN NMAX NLT NLE NEQ NNE WLT WLE WGT WGE WEQ WNE NNEG NABS NSIGN "
    "BAND BOR BEQ BNE BNOT ITOF BTOF FTOI BTOI WHERE4 WHERE1 FILL4 FILL1 COPY "
    "MOVE4 MOVE1 PUT4 PUT1 SHIFT4 SHIFT1 REF PICK PICKREF DEREF GATHERREF4 GATHERREF1 GATHER4 GATHER1 "
    "ELEMREFF ELEMREFI ELEMREFB SCATTER TOPF TOPI "
    "ARGMAXF ARGMAXI ARGMAXB ARGMINF ARGMINI ARGMINB LARGEF LARGEI LARGEB SMALLF SMALLI SMALLB "
    "TOTALF TOTALI COUNTF COUNTI COUNTB ANY ALL SUMF SUMI SUMB MOSTF MOSTI MOSTB LEASTF LEASTI LEASTB WHICHF WHICHI "
    "WHICHB MATMULF MATMULI JUMP UNLESS NEXT STORE STOREREF TELLF TELLA TELLB ANSWER END"
)
OPS = _NAMES.split()
CODE = {name: i for i, name in enumerate(OPS)}
_LETTER = {"float": "F", "int": "I", "bool": "B"}
_ELEMENTS = {"float": "F", "int": "N", "bool": "B"}  # of array ops, by the kind of their operands
_SIZE = {"float": 4, "int": 4, "bool": 1}
COPIED = 64  # bytes of an array that a branch copies; of a larger one it says where it lies
_FLOAT = {"add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV", "floordiv": "FLOORDIV", "mod": "MOD", "pow": "POW"}
_SWAPPED = {"gt": "lt", "ge": "le"}
_PAIRS = {**_FLOAT, "minimum": "MIN", "maximum": "MAX", "lt": "LT", "le": "LE", "eq": "EQ", "ne": "NE", "and": "AND",
          "or": "OR"}  # fmt: skip
_MIRROR = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
_ROUND = {"floor": "FLOOR", "ceil": "CEIL", "round": "ROUND", "to_int": "TRUNC"}
_REDUCE = {
    "argmax": "ARGMAX", "argmin": "ARGMIN", "largest": "LARGE", "smallest": "SMALL", "count": "COUNT", "total": "TOTAL",
    "sum_over": "SUM", "max_over": "MOST", "min_over": "LEAST", "argmax_over": "WHICH",
}  # fmt: skip


class Unfit(LogicError):
    """A graph that the machine has no instructions for."""


# ----------------------------------------------------------------------------------------------------
# Memory: the fields one after the other, in bytes.


class MemoryBytes:
    """Where the fields of a memory lie in the machine, and between their values and bytes."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.types = {name: f.type for name, f in fields.items()}
        self.places: dict[str, int] = {}
        self.size = 0
        for name, type in self.types.items():
            self.places[name] = self.size
            self.size += -(-_bytes(type) // 8) * 8

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> MemoryBytes:
        """The same from any values of the fields."""
        return cls({name: Field(_type_of(value), value) for name, value in values.items()})

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """The bytes of a memory's values."""
        made = bytearray(self.size)
        for name, type in self.types.items():
            part = _raw(values[name], type)
            made[self.places[name] : self.places[name] + len(part)] = part
        return bytes(made)

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Values of the fields' own types."""
        return {name: _value(data, self.places[name], type) for name, type in self.types.items()}


def _type_of(value: Any) -> Type:
    if isinstance(value, np.ndarray):
        return Type({"b": "bool", "i": "int", "f": "float"}[value.dtype.kind], value.shape)
    return Type("bool" if isinstance(value, bool) else "float" if isinstance(value, float) else "int")


def _bytes(type: Type) -> int:
    return type.size * _SIZE[type.kind] if type.is_array else 8


def _raw(value: Any, type: Type) -> bytes:
    if type.is_array:
        return np.ascontiguousarray(value, DTYPE[type.kind]).tobytes()
    return struct.pack("<d", value) if type.kind == "float" else struct.pack("<q", int(value))


def _value(data: bytes, at: int, type: Type) -> Any:
    if type.shape is not None:
        return np.frombuffer(data, DTYPE[type.kind], type.size, at).reshape(type.shape)
    (value,) = struct.unpack_from("<d" if type.kind == "float" else "<q", data, at)
    return bool(value) if type.kind == "bool" else value


# ----------------------------------------------------------------------------------------------------
# One graph.


class Code:
    """The instructions and constants of one graph."""

    def __init__(self, graph: Graph, memory: MemoryBytes, controls: int) -> None:
        self.graph, self.memory = graph, memory
        self.words: list[list[int]] = []
        self.constants = bytearray()
        self.known: dict[bytes, int] = {}
        self.places: dict[Value, int] = {}
        self.wanted: dict[Value, int] = {}  # where a value had best be made
        # arrays that lie where only the step knows: the scalar that says where, and which fields of memory it may be
        self.refs: dict[Value, int] = {}
        self.roots: dict[Value, frozenset[int]] = {}
        self.read: dict[Value, int] = {}  # copies of them made on this path
        self.frame = 0
        self.param = self.room(4 * controls or 8)
        for param in graph.params:
            self.places[param] = self.param

    def compile(self, publish: Callable[[Code, dict[str, Value]], None] | None = None) -> None:
        """The whole graph. `publish` may tell the scene of what is remembered, by the field."""
        graph = self.graph
        self.block(graph.body)
        head = 2 if graph.has_reason else 1
        action, reason = graph.body.results[0], graph.body.results[1] if head == 2 else None
        new = dict(zip(graph.fields, graph.body.results[head:], strict=True))
        self.emit("ANSWER", a=self.at(action), b=self.at(reason) if reason else self.constant(bytes(8), 8))
        if publish:
            publish(self, new)
        stores = []
        for name, value in new.items():
            place, size = MEMORY | self.memory.places[name], _bytes(value.type)
            if value in self.refs and self.roots[value] <= {place}:
                stores.append(("STOREREF", place, self.refs[value], size))
                continue
            source = self.at(value)
            if source == place:
                continue
            if source >> 30 == MEMORY >> 30:  # another field, which may be stored first
                kept = self.room(size)
                self.emit("COPY", kept, source, n=size)
                source = kept
            stores.append(("STORE", place, source, size))
        for word, place, source, size in stores:
            self.emit(word, place, source, n=size)
        self.emit("END")

    # --- places ----------------------------------------------------------------------------------

    def emit(
        self, name: str, d: int = 0, a: int = 0, b: int = 0, c: int = 0, n: int = 0, m: int = 0, k: int = 0,
        x: int = 0, y: int = 0,
    ) -> list[int]:  # fmt: skip
        made = [CODE[name], d, a, b, c, n, m, k, x, y]
        self.words.append(made)
        return made

    def room(self, size: int) -> int:
        """So many bytes of the frame."""
        at = self.frame
        self.frame += -(-size // 16) * 16 if size > 8 else 8
        return FRAME | at

    def constant(self, data: bytes, align: int) -> int:
        """The place of a constant."""
        if data not in self.known:
            self.constants += bytes(-len(self.constants) % max(align, 8))
            self.known[data] = len(self.constants)
            self.constants += data
        return CONSTANT | self.known[data]

    def at(self, value: Value) -> int:
        """Where a value lies."""
        if value.const is not None:
            return self.constant(_raw(value.const, value.type), 8)
        if value in self.refs:
            if value not in self.read:
                self.read[value] = self.room(_bytes(value.type))
                self.emit("DEREF", self.read[value], self.refs[value], n=_bytes(value.type))
            return self.read[value]
        return self.places[value]

    def refer(self, value: Value, cell: int) -> frozenset[int]:
        """Have a scalar say where an array lies; the fields of memory that it may be (-1: a part of one)."""
        if value in self.refs:
            self.emit("SET", cell, self.refs[value])
            return self.roots[value]
        place = self.at(value)
        self.emit("REF", cell, place, n=_bytes(value.type))
        return frozenset((place,)) if place >> 30 == MEMORY >> 30 else frozenset()

    def new(self, value: Value) -> int:
        """Where a value is to be made."""
        place = self.wanted.pop(value, None)
        self.places[value] = self.room(_bytes(value.type)) if place is None else place
        return self.places[value]

    def number(self, value: Value) -> int:
        """A scalar as a float64."""
        if value.type.kind == "float":
            return self.at(value)
        if value.const is not None:
            return self.constant(struct.pack("<d", value.const), 8)
        made = self.room(8)
        self.emit("TOFLOAT", made, self.at(value))
        return made

    def cell(self, value: Value, kind: str, wraps: bool = False, place: int | None = None) -> int:
        """A scalar as one element of an array of a kind."""
        if value.const is not None and place is None and (kind != "int" or -(2**31) <= value.const < 2**31):
            with np.errstate(over="ignore"):
                return self.constant(np.asarray(value.const).astype(DTYPE[kind]).tobytes(), _SIZE[kind])
        made = self.room(8) if place is None else place
        if kind == "float":
            self.emit("CELLF", made, self.number(value))
        elif kind == "int":
            self.emit("WRAPI" if wraps else "CELLI", made, self.at(value))
        else:
            self.emit("CELLB", made, self.at(value))
        return made

    def copy(self, place: int, source: int, type: Type) -> None:
        if place == source:
            return
        if type.is_array:
            self.emit("COPY", place, source, n=_bytes(type))
        else:
            self.emit("SET", place, source)

    def spread(self, value: Value, shape: tuple[int, ...], place: int | None = None, kind: str = "") -> int:
        """An array repeated to a shape, of another kind if need be."""
        source = self.as_kind(value, kind or value.type.kind)
        have = value.type.shape or ()
        if have == shape:
            return source
        steps, step = [], 1
        for side in have[::-1]:
            steps.append(0 if side == 1 else step)
            step *= side
        steps += [0] * (len(shape) - len(have))
        return self.strided(source, value.type.size, list(shape), steps[::-1], kind or value.type.kind)

    def as_kind(self, value: Value, kind: str) -> int:
        """The elements of an array as those of another kind."""
        source, have = self.at(value), value.type.kind
        if have == kind:
            return source
        made = self.room(value.type.size * _SIZE[kind])
        names = {("int", "float"): "ITOF", ("bool", "float"): "BTOF", ("bool", "int"): "BTOI"}
        if (have, kind) not in names:
            raise Unfit(f"{have} elements where {kind} ones stand")
        self.emit(names[have, kind], made, source, n=value.type.size)
        return made

    def strided(
        self, source: int, size: int, sides: list[int], steps: list[int], kind: str, place: int | None = None,
        index: int = 0, apart: int = 0, count: int = 0,
    ) -> int:  # fmt: skip
        """A copy of elements `steps` apart on each axis; `index` chooses one of `count` places that lie `apart`."""
        axes = [(s, t) for s, t in zip(sides, steps, strict=True) if s != 1] or [(1, 1)]
        joined = axes[:1]
        for side, step in axes[1:]:  # what lies one after the other is one axis
            if joined[-1][1] == side * step:
                joined[-1] = joined[-1][0] * side, step
            else:
                joined.append((side, step))
        total = int(np.prod(sides))
        made = self.room(total * _SIZE[kind]) if place is None else place
        form = np.array([[s for s, _ in joined], [t for _, t in joined]], np.int32).tobytes()
        self.emit(
            f"MOVE{_SIZE[kind]}", made, source, self.constant(form, 8), index, n=size, k=len(joined), x=apart, y=count
        )
        return made

    # --- control ---------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        for op in block.ops:
            if op.name == "if":
                self.branch(op)
            elif op.name == "for":
                self.loop(op)
            else:
                self.single(op)

    def branch(self, op: Op) -> None:
        named = [r for r in op.results if _bytes(r.type) > COPIED]
        cells = {r: self.room(8) for r in named}
        results = [cells[r] if r in cells else self.new(r) for r in op.results]
        known = self.read
        skip = self.emit("UNLESS", a=self.at(op.args[0]))
        roots = self.side(op.blocks[0], results, known)
        leave = self.emit("JUMP")
        skip[7] = len(self.words)
        roots = [a | b for a, b in zip(roots, self.side(op.blocks[1], results, known), strict=True)]
        leave[7] = len(self.words)
        self.read = known
        for result, root in zip(op.results, roots, strict=True):
            if result in cells:
                self.wanted.pop(result, None)
                self.refs[result], self.roots[result] = cells[result], root

    def side(self, block: Block, results: list[int], known: dict[Value, int]) -> list[frozenset[int]]:
        """One side of a branch: what it makes for a result is made in the result's place, a large array only named."""
        self.read = dict(known)
        own = {v for op in block.ops for v in op.results}
        for place, value in zip(results, block.results, strict=True):
            if value in own and _bytes(value.type) <= COPIED:
                self.wanted.setdefault(value, place)
        self.block(block)
        roots = []
        for place, value in zip(results, block.results, strict=True):
            if _bytes(value.type) > COPIED:
                roots.append(self.refer(value, place))
            else:
                self.copy(place, self.at(value), value.type)
                roots.append(frozenset())
        return roots

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        index, *params = body.params
        turns = range(op.attrs["start"], op.attrs["stop"], op.attrs["step"])
        for param, result, start in zip(params, op.results, op.args, strict=True):
            place = self.new(result)
            self.places[param] = place
            self.copy(place, self.at(start), start.type)
        if not turns:
            return
        self.emit("SET", self.new(index), self.constant(struct.pack("<q", turns[0]), 8))
        known, self.read = self.read, dict(self.read)
        head = len(self.words)
        self.block(body)
        stop = self.at(body.results[0])
        taken = {self.places[p] for p in params}
        if stop in taken:
            stop = self.kept(stop, body.results[0].type)
        moves = []
        for param, value in zip(params, body.results[1:], strict=True):
            source = self.at(value)
            if source != self.places[param] and source in taken:
                source = self.kept(source, value.type)
            moves.append((self.places[param], source, value.type))
        for place, source, type in moves:
            self.copy(place, source, type)
        self.read = known
        if body.results[0].const is True:
            return
        if body.results[0].const is None:
            on = self.emit("UNLESS", a=stop)
            leave = self.emit("JUMP")
            on[7] = len(self.words)
            self.next(index, turns, head)
            leave[7] = len(self.words)
        else:
            self.next(index, turns, head)

    def next(self, index: Value, turns: range, head: int) -> None:
        self.emit("NEXT", self.at(index), m=turns.step, k=head, x=turns[-1] + turns.step)

    def kept(self, source: int, type: Type) -> int:
        made = self.room(_bytes(type))
        self.copy(made, source, type)
        return made

    # --- single ops ------------------------------------------------------------------------------

    def single(self, op: Op) -> None:
        special: Callable[[Op], None] | None = getattr(self, "op_" + op.name, None)
        arrays = any(v.type.is_array for v in (*op.args, *op.results))
        if special is not None:
            special(op)
        elif arrays and op.name in ("minimum", "maximum", *_FLOAT, *_MIRROR, "and", "or"):
            self.pair(op)
        elif arrays and op.name in ("neg", "abs", "sign", "not", "floor_of", "exp_of"):
            name = {"floor_of": "FLOOR", "exp_of": "EXP"}.get(op.name, op.name.upper())
            word = _ELEMENTS[op.args[0].type.kind] + name
            self.emit(word, self.new(op.result), self.at(op.args[0]), n=op.result.type.size)
        elif arrays and op.name in _REDUCE:
            self.reduce(op)
        elif not arrays:
            self.scalar(op)
        else:
            raise Unfit(f"line {op.line}: the machine has no op {op.name!r}")

    def scalar(self, op: Op) -> None:
        name, args = op.name, list(op.args)
        if name in _ROUND and args[0].type.kind != "float":
            self.places[op.result] = self.at(args[0])
            return
        if name in _SWAPPED:
            name, args = _SWAPPED[name], args[::-1]
        is_float = op.result.type.kind == "float" or any(a.type.kind == "float" for a in args)
        places = [self.number(a) if is_float else self.at(a) for a in args]
        word = _ROUND.get(name, name.upper())
        if not is_float and name in ("add", "sub", "mul", "floordiv", "mod", "neg", "abs", "sign", "min", "max", "clip",
                                     "lt", "le", "eq", "ne"):  # fmt: skip
            word = "I" + word
        if word not in CODE:
            raise Unfit(f"line {op.line}: the machine has no op {op.name!r}")
        self.emit(word, self.new(op.result), *places)

    def op_bound(self, op: Op) -> None:
        if within(op.args[0], -INT_LIMIT, INT_LIMIT):
            self.places[op.result] = self.at(op.args[0])
        else:
            self.emit("BOUND", self.new(op.result), self.at(op.args[0]))

    def op_to_float(self, op: Op) -> None:
        if op.result.type.is_array:
            self.places[op.result] = self.as_kind(op.args[0], "float")
        else:
            self.places[op.result] = self.number(op.args[0])

    def op_to_int(self, op: Op) -> None:
        if not op.result.type.is_array:
            self.scalar(op)
        elif op.args[0].type.kind == "float":
            self.emit("FTOI", self.new(op.result), self.at(op.args[0]), n=op.result.type.size)
        else:
            self.places[op.result] = self.as_kind(op.args[0], "int")

    # --- inputs ----------------------------------------------------------------------------------

    def op_memory(self, op: Op) -> None:
        self.places[op.result] = MEMORY | self.memory.places[op.attrs["field"]]

    def op_thing(self, op: Op) -> None:
        place, is_flag = SCENE | 4 * op.attrs["offset"], op.result.type.kind == "bool"
        if op.args:
            self.emit(
                "THINGB" if is_flag else "THINGF", self.new(op.result), self.at(op.args[0]), place,
                n=op.attrs["count"], m=op.attrs["step"],
            )  # fmt: skip
        else:
            self.emit("SEENF" if is_flag else "WIDEF", self.new(op.result), place)

    def op_gauge(self, op: Op) -> None:
        self.emit("WIDEF", self.new(op.result), SCENE | 4 * op.attrs["offset"])

    def op_grid(self, op: Op) -> None:
        self.emit("GRID", self.new(op.result), SCENE | 4 * op.attrs["offset"], n=op.result.type.size)

    # --- element by element ----------------------------------------------------------------------

    def operand(self, value: Value, kind: str, shape: tuple[int, ...], wraps: bool = False) -> tuple[int, bool]:
        """(place, is it one cell for all?)"""
        if not value.type.is_array:
            return self.cell(value, kind, wraps), True
        if value.type.size == 1:
            return self.as_kind(value, kind), True
        return self.spread(value, shape, kind=kind), False

    def pair(self, op: Op) -> None:
        name, args = op.name, list(op.args)
        kind = next(a.type.kind for a in args if a.type.is_array)
        shape, n = op.result.type.shape or (), op.result.type.size
        if kind == "int" and name in _MIRROR and not all(a.type.is_array for a in args):
            if not args[0].type.is_array:
                name, args = _MIRROR[name], args[::-1]
            a = self.spread(args[0], shape)
            self.emit("W" + name.upper(), self.new(op.result), a, self.at(args[1]), n=n)
            return
        if name in _SWAPPED:
            name, args = _SWAPPED[name], args[::-1]
        (a, one), (b, other) = (self.operand(v, kind, shape) for v in args)
        word = _ELEMENTS[kind] + _PAIRS[name]
        if word not in CODE:
            raise Unfit(f"line {op.line}: the machine has no {op.name!r} of {kind} arrays")
        root = int(name == "pow" and not args[1].type.is_array)
        self.emit(word, self.new(op.result), a, b, n=n, m=2 * one + 4 * other, k=root)

    def op_where(self, op: Op) -> None:
        kind, shape = op.result.type.kind, op.result.type.shape or ()
        c, every = self.operand(op.args[0], "bool", shape)
        (a, one), (b, other) = (self.operand(v, kind, shape, True) for v in op.args[1:])
        flags = 2 * one + 4 * other + 8 * every
        self.emit(f"WHERE{_SIZE[kind]}", self.new(op.result), a, b, c, n=op.result.type.size, m=flags)

    # --- making and moving -----------------------------------------------------------------------

    def op_full(self, op: Op) -> None:
        kind = op.attrs["kind"]
        cell = self.cell(op.args[0], kind)
        self.emit(f"FILL{_SIZE[kind]}", self.new(op.result), cell, n=op.result.type.size)

    def op_stack(self, op: Op) -> None:
        kind, made = op.attrs["kind"], self.new(op.result)
        for i, value in enumerate(op.args):
            self.cell(value, kind, place=made + i * _SIZE[kind])

    def op_element(self, op: Op) -> None:
        array, *index = op.args
        place = self.at(index[0])
        if len(index) > 1:
            place = self.constant(bytes(8), 8)
            for i, side in zip(index, array.type.shape or (), strict=True):
                place = self.flat(place, self.at(i), side)
        letter, n = _LETTER[array.type.kind], array.type.size
        if array in self.refs:
            self.emit("ELEMREF" + letter, self.new(op.result), self.refs[array], place, n=n)
        else:
            self.emit("ELEM" + letter, self.new(op.result), self.at(array), place, n=n)

    def flat(self, row: int, index: int, side: int) -> int:
        made = self.room(8)
        self.emit("FLAT", made, row, index, n=side)
        return made

    def op_pick(self, op: Op) -> None:
        array, index = op.args
        shape, axis = array.type.shape or (), op.attrs["axis"]
        if axis == 0:  # rows lie one after the other: it is enough to know where
            cell, row = self.room(8), _bytes(op.result.type)
            if array in self.refs:
                self.emit("PICKREF", cell, self.refs[array], self.at(index), m=row, k=shape[0])
                roots = self.roots[array]
            else:
                place = self.at(array)
                self.emit("PICK", cell, place, self.at(index), m=row, k=shape[0])
                roots = frozenset((place,)) if place >> 30 == MEMORY >> 30 else frozenset()
            self.refs[op.result], self.roots[op.result] = cell, frozenset((-1,)) if roots else roots
            return
        steps = _steps(shape)
        self.strided(
            self.at(array), array.type.size, [*shape[:axis], *shape[axis + 1 :]], [*steps[:axis], *steps[axis + 1 :]],
            array.type.kind, self.new(op.result), self.at(index), steps[axis], shape[axis],
        )  # fmt: skip

    def op_slice(self, op: Op) -> None:
        array, bounds = op.args[0], op.attrs["bounds"]
        shape, kind = array.type.shape or (), array.type.kind
        steps = _steps(shape)
        if array in self.refs and all(b == (0, n) for b, n in zip(bounds[1:], shape[1:], strict=True)):
            cell, first = self.room(8), self.constant(struct.pack("<q", bounds[0][0]), 8)
            self.emit("PICKREF", cell, self.refs[array], first, m=steps[0] * _SIZE[kind], k=shape[0])
            part = frozenset((-1,)) if self.roots[array] else self.roots[array]
            self.refs[op.result], self.roots[op.result] = cell, part
            return
        skipped = sum(low * step for (low, _), step in zip(bounds, steps, strict=True))
        source = self.at(array) + skipped * _SIZE[kind]
        if all(b == (0, n) for b, n in zip(bounds[1:], shape[1:], strict=True)):
            self.places[op.result] = source  # whole rows lie one after the other
            return
        sides = [high - low for low, high in bounds]
        self.strided(source, array.type.size - skipped, sides, steps, kind, self.new(op.result))

    def op_reshape(self, op: Op) -> None:
        array = op.args[0]
        if array in self.refs:
            self.refs[op.result], self.roots[op.result] = self.refs[array], self.roots[array]
        else:
            self.places[op.result] = self.at(array)

    def op_gather(self, op: Op) -> None:
        array, index = op.args
        rows, *inner = array.type.shape or ()
        named = array in self.refs
        self.emit(
            f"GATHER{'REF' if named else ''}{_SIZE[array.type.kind]}", self.new(op.result),
            self.refs[array] if named else self.at(array), self.refs[index] if index in self.refs else self.at(index),
            n=index.type.size, m=int(np.prod(inner, dtype=int)), k=rows, x=int(index in self.refs),
        )  # fmt: skip

    def op_concat(self, op: Op) -> None:
        made = self.new(op.result)
        for value in op.args:
            self.emit("COPY", made, self.at(value), n=_bytes(value.type))
            made += _bytes(value.type)

    def row(self, value: Value, array: Value) -> tuple[int, int]:
        """(place of a new element or row of an array, its elements)."""
        kind, inner = array.type.kind, (array.type.shape or ())[1:]
        size = int(np.prod(inner, dtype=int))
        if value.type.is_array:
            return self.spread(value, inner, kind=kind), size
        cell = self.cell(value, kind)
        if size == 1:
            return cell, 1
        made = self.room(size * _SIZE[kind])
        self.emit(f"FILL{_SIZE[kind]}", made, cell, n=size)
        return made, size

    def op_put(self, op: Op) -> None:
        array, index, value = op.args
        row, size = self.row(value, array)
        rows = (array.type.shape or (0,))[0]
        self.emit(
            f"PUT{_SIZE[array.type.kind]}", self.new(op.result), self.at(array), self.at(index), row,
            n=array.type.size, m=size, k=rows,
        )  # fmt: skip

    def op_shift_push(self, op: Op) -> None:
        array, value = op.args
        row, size = self.row(value, array)
        self.emit(
            f"SHIFT{_SIZE[array.type.kind]}", self.new(op.result), self.at(array), 0, row, n=array.type.size, m=size
        )

    def op_scatter_add(self, op: Op) -> None:
        index, values = op.args
        length = op.attrs["length"]
        if values.type.kind != "float":
            raise Unfit(f"line {op.line}: the machine has no 'scatter_add' of {values.type.kind} arrays")
        scratch = self.room(8 * length)
        self.emit(
            "SCATTER", self.new(op.result), self.at(index), self.at(values), scratch, n=values.type.size, k=length
        )

    def op_top_k(self, op: Op) -> None:
        value = op.args[0]
        word = "TOP" + _LETTER[value.type.kind]
        if word not in CODE:
            raise Unfit(f"line {op.line}: the machine has no 'top_k' of {value.type.kind} arrays")
        scratch = self.room(8 * value.type.size)
        self.emit(word, self.new(op.result), self.at(value), 0, scratch, n=value.type.size, k=op.attrs["k"])

    # --- choices and sums ------------------------------------------------------------------------

    def reduce(self, op: Op) -> None:
        value, name = op.args[0], op.name
        kind, shape = value.type.kind, value.type.shape or ()
        word = "COUNT" if name == "total" and kind == "bool" else _REDUCE[name]
        word += _LETTER[kind]
        if "axis" not in op.attrs:
            self.emit(word, self.new(op.result), self.at(value), n=value.type.size)
            return
        axis = op.attrs["axis"]
        outer, inner = (int(np.prod(part, dtype=int)) for part in (shape[:axis], shape[axis + 1 :]))
        self.emit(word, self.new(op.result), self.at(value), n=outer, m=shape[axis], k=inner)

    def op_any_of(self, op: Op) -> None:
        value = op.args[0]
        if value.type.kind != "bool":
            raise Unfit(f"line {op.line}: the machine has no {op.name!r} of {value.type.kind} arrays")
        self.emit("ANY" if op.name == "any_of" else "ALL", self.new(op.result), self.at(value), n=value.type.size)

    op_all_of = op_any_of

    def op_matmul(self, op: Op) -> None:
        a, b = op.args
        left, right = a.type.shape or (), b.type.shape or ()
        word = "MATMUL" + _LETTER[a.type.kind]
        if word not in CODE or a.type.kind != b.type.kind:
            raise Unfit(f"line {op.line}: the machine has no 'matmul' of {a.type} and {b.type}")
        self.emit(
            word, self.new(op.result), self.at(a), self.at(b), n=left[0] if len(left) > 1 else 1, m=right[0],
            k=right[1] if len(right) > 1 else 1,
        )  # fmt: skip

    # --- what others may see of it ---------------------------------------------------------------

    def tell(self, value: Value, offset: int, apart: int) -> None:
        """A number, or an array's elements `apart` values apart, into the scene."""
        if value.type.is_array:
            self.emit("TELLA", SCENE | 4 * offset, self.at(value), n=value.type.size, m=apart)
        else:
            self.emit("TELLF", SCENE | 4 * offset, self.number(value), m=1)

    def tell_zero(self, value: Value, offset: int, apart: int) -> None:
        """1 where it is zero, else 0."""
        n = value.type.size
        if value.type.is_array:
            flags = self.room(n)
            zero = self.constant(bytes(4), 4)
            self.emit("FEQ", flags, self.at(value), zero, n=n, m=4)
            self.emit("TELLB", SCENE | 4 * offset, flags, n=n, m=apart)
        else:
            flag = self.room(8)
            self.emit("EQ", flag, self.number(value), self.constant(bytes(8), 8))
            self.emit("TOFLOAT", flag, flag)
            self.emit("TELLF", SCENE | 4 * offset, flag, m=1)


def _steps(shape: Sequence[int]) -> list[int]:
    """Elements from one index of an axis to the next."""
    steps, step = [], 1
    for side in reversed(shape):
        steps.append(step)
        step *= side
    return steps[::-1]


# ----------------------------------------------------------------------------------------------------
# All graphs of a step.


class Part(NamedTuple):
    """A graph and the number of the memory that it shares with others."""

    graph: Graph
    memory: int
    publish: Callable[[Code, dict[str, Value]], None] | None = None


def program(parts: Sequence[Part], memories: Sequence[MemoryBytes], scene: int, fallback: Action) -> bytes:
    """The program of a step: a policy (or a tracker, which may publish) and the rules after it. Unfit: the machine
    cannot run one of them."""
    first = parts[0].graph
    array = first.action.shape
    controls = 0 if array is None else array[0]
    heads, bodies = [], []
    for part in parts:
        code = Code(part.graph, memories[part.memory], controls)
        code.compile(part.publish)
        code.constants += bytes(-len(code.constants) % 16)
        heads += [
            part.memory, int(not part.graph.has_reason), len(part.graph.reasons), len(code.constants), code.frame,
            len(code.words), code.param & 0x3FFFFFFF,
        ]  # fmt: skip
        words = np.array([[w - 2**32 if w >= 2**31 else w for w in line] for line in code.words], np.int32)
        bodies += [bytes(code.constants), words.tobytes()]
    told = np.asarray(fallback, np.float32).tobytes() if controls else struct.pack("<q", int(fallback))  # type: ignore[arg-type]
    publishes = any(part.publish for part in parts)
    sizes = [memory.size for memory in memories]
    rest = struct.pack(f"<{len(sizes)}i", *sizes) + told + struct.pack(f"<{len(heads)}i", *heads) + b"".join(bodies)
    head = [MAGIC, VERSION, 10 + len(rest) // 4, scene, first.n_actions, controls, len(sizes), len(parts), publishes, 0]
    return struct.pack("<10i", *head) + rest
