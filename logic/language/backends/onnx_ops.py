"""Single ops as ONNX nodes, bit for bit what Python computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from logic.language import ir as ranges
from logic.language.ir import BOOL, INT_LIMIT, Graph, Op, Type, Value, walk, within
from logic.language.ops import DTYPE
from logic.language.solid import of_op

# ----------------------------------------------------------------------------------------------------
# Collects the nodes and constants of an ONNX graph and of the subgraphs inside it.
#
# Large constants lie in the outermost graph, where subgraphs share them.


OPSET = 18
IR_VERSION = 9
_WIDE = {"bool": np.bool_, "int": np.int64, "float": np.float64, "reason": np.int64}
_CONTROL = ("If", "Loop")
_SMALL = 64  # elements of a constant that is cheaper to repeat than to share
Signature = tuple[str, Any, Sequence[int]]  # name, numpy type, shape
Form = tuple[Any, tuple[int, ...]]  # numpy type and shape of a tensor


class Nodes:
    """One graph in the making. `op` and `const` give names of tensors; `inner` opens a subgraph's collection."""

    def __init__(self, outer: Nodes | None = None) -> None:
        self.outer = outer
        self.root: Nodes = outer.root if outer is not None else self
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: dict[str, np.ndarray] = {}  # of constants, the root's only
        self.negated: dict[str, str] = {}  # what a Not was made of, the root's only
        self._known: dict[Any, str] = {}
        self._held: dict[int, tuple[Any, str]] = {}
        self._made: dict[Any, list[str]] = {}
        self._whole: dict[tuple[str, ...], str] = {}
        self._serial = 0

    def inner(self) -> Nodes:
        """The collection of a subgraph, which sees everything made so far here and further out."""
        return Nodes(self)

    def fresh(self, hint: str = "t") -> str:
        """A name that nothing in the whole model has."""
        self.root._serial += 1
        return f"{hint}_{self.root._serial}"

    def const(self, value: Any, kind: Any = None) -> str:
        """A constant tensor of numpy type `kind`; the same value twice in one graph is one tensor.

        Large ones lie in the outermost graph alone. Small ones lie where they are used: what a subgraph sees of the
        graphs around it is handed in at every run.
        """
        root = self.root
        held = root._held.get(id(value))
        if held is not None and held[0] is value and (kind is None or root.values[held[1]].dtype == kind):
            return held[1]
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            array = np.ascontiguousarray(value, kind).reshape(np.shape(value))
        place = root if array.size > _SMALL else self
        key = (array.dtype.str, array.shape, array.tobytes())
        name = place._known.get(key)
        if name is None:
            name = place._known[key] = self.fresh("c")
            place.constants.append(numpy_helper.from_array(array, name))
            root.values[name] = array
        if place is root and array.size > _SMALL:
            root._held[id(value)] = value, name
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector constant: axes, shapes."""
        return self.const(values, np.int64)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output; the same node twice is one."""
        return self.ops(kind, *inputs, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """One node; the names of all its outputs."""
        if kind == "Not" and inputs[0] in self.root.negated:
            return [self.root.negated[inputs[0]]]
        key = (kind, inputs, outputs, tuple(sorted(attributes.items()))) if kind not in _CONTROL else None
        found = self._find(key) if key is not None else None
        if found is not None:
            return found
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        if key is not None:
            self._made[key] = names
        if kind == "Not":
            self.root.negated[names[0]] = inputs[0]
        return names

    def _find(self, key: Any) -> list[str] | None:
        scope: Nodes | None = self
        while scope is not None:
            if key in scope._made:
                return scope._made[key]
            scope = scope.outer
        return None

    def name(self, tensor: str, name: str) -> None:
        """Give a tensor a name of its own, as an output of the model must have."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))

    def copy(self, tensor: str) -> str:
        """The same tensor as this graph's own: an output of a subgraph must be made inside it."""
        name = self.fresh("copy")
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        return name

    def own(self) -> set[str]:
        """Names of everything made in this very graph."""
        return {name for node in self.nodes for name in node.output}

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        """A vector cut into parts."""
        if len(sizes) == 1:
            return [tensor]
        parts = self.ops("Split", tensor, self.ints(*sizes), outputs=len(sizes), axis=0)
        self.root._whole[tuple(parts)] = tensor
        return parts

    def concat(self, parts: Sequence[str]) -> str:
        """Vectors joined; all parts of one split are what was split."""
        if tuple(parts) in self.root._whole:
            return self.root._whole[tuple(parts)]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def graph(self, name: str, inputs: Iterable[Signature], outputs: Iterable[Signature]) -> onnx.GraphProto:
        """The graph itself, without what nothing needs."""
        results = [_signature(*s) for s in outputs]
        kept, used = live(self.nodes, [r.name for r in results])
        constants = [c for c in self.constants if c.name in used]
        return helper.make_graph(kept, name, [_signature(*s) for s in inputs], results, constants)

    def model(self, name: str, inputs: Iterable[Signature], outputs: Iterable[Signature]) -> onnx.ModelProto:
        """The root graph as a checked model."""
        graph = self.graph(name, inputs, outputs)
        _name_outputs(graph)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def _name_outputs(graph: onnx.GraphProto) -> None:
    """Let whoever makes an output give it its name, in place of an Identity behind it."""
    made, ends = {name for node in graph.node for name in node.output}, {port.name for port in graph.output}
    names: dict[str, str] = {}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.output[0] in ends]:
        if node.input[0] in made - ends - names.keys():
            names[node.input[0]] = node.output[0]
            graph.node.remove(node)
    _rename(graph, names)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)


def live(nodes: list[onnx.NodeProto], results: Iterable[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """(nodes that the results need, every name used)."""
    used, kept = set(results), []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update(_needs(node))
            kept.append(node)
    return kept[::-1], used


def _needs(node: onnx.NodeProto) -> set[str]:
    found = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.update(r.name for r in attribute.g.output)
            for inner in attribute.g.node:
                found |= _needs(inner)
    return found


def dtype_of(type: Type) -> Any:
    """The numpy type of a value: scalars are wide, arrays narrow."""
    return DTYPE[type.kind] if type.is_array else _WIDE[type.kind]


def onnx_type(kind: Any) -> int:
    """ONNX's number for a numpy type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))


def form_of(type: Type, scalars: int = 1) -> Form:
    """The form of a value, or of several scalars as one vector."""
    return dtype_of(type), (scalars,) if type.shape is None else type.shape


def close(n: Nodes, outs: Sequence[str], forms: Sequence[Form], inputs: Sequence[str] = ()) -> object:
    """The subgraph: every output made inside it and only once; a body's inputs are turn, going and what is carried."""
    own, given = n.own(), set()
    results: list[Signature] = []
    for out, (kind, shape) in zip(outs, forms, strict=True):
        name = out if out in own and out not in given else n.copy(out)
        given.add(name)
        results.append((name, kind, shape))
    if not inputs:
        return n.graph(n.fresh("branch"), [], results)
    shapes: list[Signature] = [(inputs[0], np.int64, ()), (inputs[1], np.bool_, ())]
    shapes += [(i, kind, shape) for i, (kind, shape) in zip(inputs[2:], forms[1:], strict=True)]
    return n.graph(n.fresh("body"), shapes, results)


def _signature(name: str, kind: Any, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_type(kind), list(shape))


# ----------------------------------------------------------------------------------------------------
# What must hold in one ONNX graph, gathered while its nodes are made and joined into one flag at its end.
#
# Values that broke a rule flow on as garbage: whoever indexes or divides by one must guard it.


_BOOL, _BYTE = onnx_type(np.bool_), onnx_type(np.uint8)
_FEW = 4  # flags up to this many are joined one by one
Flag = tuple[str, int]  # name of a bool vector, its length


class Checks:
    """Rules of one graph. `predicate` (bool[1] or None): the path on which what is added now counts."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.predicate: str | None = None
        self._flags: dict[str | None, dict[str, int]] = {}
        self._least: dict[str | None, dict[str, None]] = {}
        self._most: dict[str | None, dict[str, None]] = {}
        self._floats: dict[str | None, dict[str, None]] = {}

    def require(self, flag: str, shape: Sequence[int] = (1,)) -> None:
        """Every element of a bool tensor must be true."""
        if len(shape) != 1:
            flag = self.nodes.op("Reshape", flag, self.nodes.ints(-1))
        size = int(np.prod(shape, dtype=int))
        if size:
            self._flags.setdefault(self.predicate, {})[flag] = size

    def exact_int(self, value: str, bounds: ranges.Bounds = ranges.UNKNOWN) -> None:
        """An int64[1] must lie within 2**53; `bounds` may say so already, of one side or both."""
        low, high = bounds
        if low is None or low < -INT_LIMIT:
            self._least.setdefault(self.predicate, {})[value] = None
        if high is None or high > INT_LIMIT:
            self._most.setdefault(self.predicate, {})[value] = None

    def exact_float(self, value: str) -> None:
        """A float64[1] must be a number within 2**53."""
        self._floats.setdefault(self.predicate, {})[value] = None

    def holds(self) -> str | None:
        """bool[1]: has every rule held? None: there are no rules."""
        found: list[Flag] = []
        for predicate in {**self._flags, **self._least, **self._most, **self._floats}:
            flags = list(self._flags.get(predicate, {}).items())
            flags += self._in_range(list(self._least.get(predicate, {})), list(self._most.get(predicate, {})))
            flags += self._numbers(list(self._floats.get(predicate, {})))
            if predicate is not None:
                flags = [(self.nodes.op("Or", self._all(flags), self.nodes.op("Not", predicate)), 1)]
            found += flags
        return self._all(found) if found else None

    def _in_range(self, least: list[str], most: list[str]) -> list[Flag]:
        """Lowest and highest of all of them at once; of one alone its size, which garbage within 2**62 has."""
        n = self.nodes
        low, high = n.const([-INT_LIMIT], np.int64), n.const([INT_LIMIT], np.int64)
        if len(least) == 1 and least == most:
            return [(n.op("LessOrEqual", n.op("Abs", *least), high), 1)]
        flags = []
        if least:
            flags.append((n.op("GreaterOrEqual", least[0] if len(least) == 1 else n.op("Min", *least), low), 1))
        if most:
            flags.append((n.op("LessOrEqual", most[0] if len(most) == 1 else n.op("Max", *most), high), 1))
        return flags

    def _numbers(self, values: list[str]) -> list[Flag]:
        if not values:
            return []
        size = self.nodes.op("Abs", self.nodes.concat(values))
        return [(self.nodes.op("LessOrEqual", size, self.nodes.const([float(INT_LIMIT)], np.float64)), len(values))]

    def _all(self, flags: list[Flag]) -> str:
        """bool[1]: is every element of every vector true?"""
        n = self.nodes
        if len(flags) <= _FEW and all(size == 1 for _, size in flags):
            joined = flags[0][0]
            for flag, _ in flags[1:]:
                joined = n.op("And", joined, flag)
            return joined
        number = n.op("Cast", n.concat([flag for flag, _ in flags]), to=_BYTE)
        return n.op("Cast", n.op("ReduceMin", number, n.ints(0), keepdims=1), to=_BOOL)


# ----------------------------------------------------------------------------------------------------
# What every emitter of single ops shares: operands, guards of indices, rules to keep.


FLOAT64, INT64, FLOAT32, INT32 = (onnx_type(k) for k in (np.float64, np.int64, np.float32, np.int32))
_INT32_RANGE = (-(2**31), 2**31 - 1)


class Emitter:
    """State while one graph is emitted: `n` the nodes of the scope that is open, `checks` its rules."""

    def __init__(
        self, nodes: Nodes, scene: str, memory: Mapping[str, str], solid: Mapping[Value, ranges.Bounds]
    ) -> None:
        self.n, self.checks = nodes, Checks(nodes)
        self.scene, self.memory = scene, memory
        self.values: dict[Value, str] = {}
        self.demand: Callable[[Value], str] = self.values.__getitem__  # makes what has been put off
        self.fixed: dict[tuple[bool, int], str] = {}
        self.solid = dict(solid)

    # --- operands --------------------------------------------------------------------------------

    def get(self, value: Value) -> str:
        """The tensor of a value in its own type; scalars are [1]."""
        if value.const is None:
            return self.values[value] if value in self.values else self.demand(value)
        if value.type.is_array:
            return self.n.const(value.const)
        return self.n.const([value.const], dtype_of(value.type))

    def literal(self, value: Value) -> Any:
        """What a value is known to be here: a constant, or a scalar that an unrolled loop has made one. Else None."""
        if value.const is not None or value.type.is_array:
            return value.const
        known = self.n.root.values.get(self.values.get(value, ""))
        return None if known is None else known.item()

    def number(self, value: Value, like: Any) -> str:
        """A scalar constant of a value's type."""
        return self.n.const([like], dtype_of(value.type))

    def operand(self, value: Value, kind: str) -> str:
        """An operand of an array op: a scalar is rounded to float32, or must fit int32."""
        if value.type.is_array:
            return self.get(value)
        if value.const is not None:
            if kind == "int" and not -(2**31) <= value.const < 2**31:
                self.checks.require(self.n.const([False]))
                return self.n.const([0], np.int32)
            return self.n.const([value.const], DTYPE[kind])
        if value.type.kind != kind:
            return self.cast(value, kind)
        return self.narrow(self.get(value), kind, ranges.within(value, *_INT32_RANGE))

    def cast(self, value: Value, kind: str) -> str:
        """A value as elements of another kind."""
        same = value.type.is_array and value.type.kind == kind
        return self.get(value) if same else self.n.op("Cast", self.get(value), to=onnx_type(DTYPE[kind]))

    def narrow(self, tensor: str, kind: str, fits: bool, size: int = 1) -> str:
        """Wide scalars (a vector of them) as elements of an array."""
        if kind == "bool":
            return tensor
        made = self.n.op("Cast", tensor, to=onnx_type(DTYPE[kind]))
        if kind == "int" and not fits:
            self.checks.require(self.n.op("Equal", self.n.op("Cast", made, to=INT64), tensor), (size,))
        return made

    def wide(self, tensor: str, kind: str) -> str:
        """An element of an array as a scalar."""
        return tensor if kind == "bool" else self.n.op("Cast", tensor, to=FLOAT64 if kind == "float" else INT64)

    def flat(self, value: Value) -> str:
        """An array as a vector."""
        shape = value.type.shape or ()
        return self.get(value) if len(shape) == 1 else self.n.op("Reshape", self.get(value), self.n.ints(-1))

    def select(self, condition: str, a: str, b: str, arrays: bool = False) -> str:
        """`a if condition else b`. onnxruntime's Where is slower for scalars and loses the sign of zero."""
        n, known = self.n, self.n.root.values
        if arrays:
            return n.op("Where", condition, a, b)
        pair = n.const(np.concatenate([known[b], known[a]])) if a in known and b in known else n.concat([b, a])
        return n.op("Gather", pair, n.op("Cast", condition, to=INT64), axis=0)

    def no_minus_zero(self, x: str) -> str:
        """A float scalar, zero without a sign."""
        zero = self.n.const([0.0], np.float64)
        return self.select(self.n.op("Equal", x, zero), zero, x)

    # --- the scene -------------------------------------------------------------------------------

    def look(self, graph: Graph) -> None:
        """Fetch every number and flag at a fixed place at once."""
        places: dict[bool, dict[int, None]] = {True: {}, False: {}}
        for op in walk(graph.body):
            if op.name in ("thing", "gauge") and not op.args:
                places[op.result.type.kind == "bool"][op.attrs["offset"]] = None
        for is_flag, found in places.items():
            read = self.seen if is_flag else self.measured
            if len(found) > 1:
                parts = self.n.split(read(self.n.ints(*found)), [1] * len(found))
                self.fixed.update(zip(((is_flag, offset) for offset in found), parts, strict=True))

    def read(self, offset: int, is_flag: bool) -> str:
        """A flag or number at a fixed place."""
        if (is_flag, offset) in self.fixed:
            return self.fixed[is_flag, offset]
        return self.seen(self.n.ints(offset)) if is_flag else self.measured(self.n.ints(offset))

    def seen(self, places: str) -> str:
        return self.n.op("Greater", self.n.op("Gather", self.scene, places, axis=0), self.n.const([0.5], np.float32))

    def measured(self, places: str) -> str:
        return self.n.op("Cast", self.n.op("Gather", self.scene, places, axis=0), to=FLOAT64)

    # --- ranges that hold for garbage too --------------------------------------------------------

    def sure(self, value: Value) -> ranges.Bounds:
        """Bounds that hold whatever happened before; `bound` promises nothing here, since it is checked later."""
        return ranges.bounds(value) if value.const is not None else self.solid.get(value, ranges.UNKNOWN)

    def note(self, op: Op) -> None:
        """Work out the solid bounds of an op's result."""
        value = op.result
        if op.name != "memory":  # of which it is known from the start
            self.solid[value] = of_op(op, [self.sure(a) for a in op.args])

    def at(self, index: Value, length: int, safe: bool) -> str:
        """An index tensor (scalar or array) that lies within 0 .. length - 1; being outside is a fault."""
        low, high = self.sure(index)
        tensor = self.get(index)
        if low is not None and high is not None and low >= 0 and high < length:
            return tensor
        kind = np.int32 if index.type.is_array else np.int64
        kept = self.n.op("Clip", tensor, self.n.const(0, kind), self.n.const(length - 1, kind))
        if not safe:
            self.checks.require(self.n.op("Equal", tensor, kept), index.type.shape or (1,))
        return kept


# ----------------------------------------------------------------------------------------------------
# Scalar ops and inputs as ONNX nodes, bit for bit what Python computes.


_DIRECT = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg", "abs": "Abs", "not": "Not", "and": "And", "or": "Or",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal",
}  # fmt: skip
_ROOM = 2**62  # ints that no `bound` has seen yet stay within it
_ROUND = {"floor": "Floor", "ceil": "Ceil", "round": "Round"}


class ScalarOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        special = getattr(self, "op_" + op.name, None)
        if special is not None:
            return str(special(op))
        if op.name not in _DIRECT:
            raise NotImplementedError(f"line {op.line}: the ONNX back end has no op {op.name!r}")
        return self.e.n.op(_DIRECT[op.name], *self.args(op))

    def args(self, op: Op) -> list[str]:
        return [self.e.get(a) for a in op.args]

    # --- arithmetic ------------------------------------------------------------------------------

    def op_add(self, op: Op) -> str:
        """x + 0.0 turns -0.0 into 0.0, but onnxruntime takes it for x."""
        a, b = op.args
        for x, zero in ((a, b), (b, a)):
            if _is_zero(self.e.literal(zero), 1.0):
                return self.e.no_minus_zero(self.e.get(x))
        return self.e.n.op("Add", *self.args(op))

    def op_sub(self, op: Op) -> str:
        a, b = op.args
        if _is_zero(self.e.literal(b), -1.0):
            return self.e.no_minus_zero(self.e.get(a))
        return self.e.n.op("Sub", *self.args(op))

    def op_mul(self, op: Op) -> str:
        """Ints must not wrap: the product in floats tells first."""
        a, b = op.args
        n, made = self.e.n, self.e.n.op("Mul", *self.args(op))
        if op.result.type.kind == "int" and not _product_fits(op.result, a, b):
            size = n.op("Abs", n.op("Mul", *(n.op("Cast", t, to=FLOAT64) for t in self.args(op))))
            self.e.checks.require(n.op("LessOrEqual", size, n.const([2.0**62], np.float64)))
        return made

    def op_div(self, op: Op) -> str:
        a, b = self.args(op)
        self.not_zero(op.args[1])
        if self.e.literal(op.args[0]) == 1.0:  # onnxruntime would make y / x of (1 / x) * y
            return self.e.n.op("Neg", self.e.n.op("Div", self.e.n.const([-1.0], np.float64), b))
        return self.e.n.op("Div", a, b)

    def not_zero(self, value: Value) -> None:
        """Dividing by zero is a fault; by NaN it is not."""
        if value.const is not None and value.const != 0:
            return
        low, high = self.e.sure(value)
        if (low is not None and low > 0) or (high is not None and high < 0):
            return
        zero = self.e.n.op("Equal", self.e.get(value), self.e.number(value, 0))
        self.e.checks.require(self.e.n.op("Not", zero))

    def op_floordiv(self, op: Op) -> str:
        self.not_zero(op.args[1])
        if op.result.type.kind == "int":
            return self.whole_division(op, False)
        n, (a, b) = self.e.n, self.args(op)
        rest, wrong = self.float_rest(op)
        way = n.op("Div", n.op("Sub", a, rest), b)
        way = n.op("Sub", way, n.op("Cast", wrong, to=FLOAT64))
        low = n.op("Floor", way)
        up = n.op("Greater", n.op("Sub", way, low), n.const([0.5], np.float64))
        low = n.op("Add", low, n.op("Cast", up, to=FLOAT64))
        zero = n.const([0.0], np.float64)
        return self.e.select(n.op("Equal", way, zero), n.op("Mul", n.op("Div", a, b), zero), low)

    def op_mod(self, op: Op) -> str:
        self.not_zero(op.args[1])
        if op.result.type.kind == "int":
            return self.whole_division(op, True)
        n, divisor = self.e.n, op.args[1]
        rest, wrong = self.float_rest(op)
        b = self.e.get(divisor)
        made = n.op("Abs", self.e.select(wrong, n.op("Add", rest, b), rest))  # the sign is the divisor's, zero's too
        if divisor.const is not None:
            return made if divisor.const > 0 else n.op("Neg", made)
        return self.e.select(n.op("Less", b, n.const([0.0], np.float64)), n.op("Neg", made), made)

    def float_rest(self, op: Op) -> tuple[str, str]:
        """(C's fmod, whether its sign is not the divisor's)."""
        n, (a, b), zero = self.e.n, self.args(op), self.e.n.const([0.0], np.float64)
        rest = n.op("Mod", a, b, fmod=1)
        if op.args[1].const is not None:
            return rest, n.op("Less", rest, zero) if op.args[1].const > 0 else n.op("Greater", rest, zero)
        sides = n.op("Xor", n.op("Less", b, zero), n.op("Less", rest, zero))
        return rest, n.op("And", sides, n.op("Not", n.op("Equal", rest, zero)))

    def whole_division(self, op: Op, rest_only: bool) -> str:
        """Python's // and % on ints; the processor must never see a zero divisor or -2**63 / -1."""
        n, (a, b), divisor = self.e.n, op.args, op.args[1]
        x, y = self.args(op)
        low = self.e.sure(divisor)[0]
        if divisor.const == 0:
            return self.e.number(divisor, 0)
        if divisor.const == -1:
            return self.e.number(divisor, 0) if rest_only else n.op("Neg", x)
        if divisor.const is None and low is not None and low > 0:
            y = n.op("Max", y, n.const([1], np.int64))
        elif divisor.const is None:
            y = n.op("Add", y, n.op("Cast", n.op("Equal", y, self.e.number(b, 0)), to=INT64))
            x = n.op("Clip", x, n.const(-_ROOM, np.int64), n.const(_ROOM, np.int64))
        least = self.e.sure(a)[0]
        if not rest_only and least is not None and least >= 0 and (divisor.const or low or 0) > 0:
            return n.op("Div", x, y)
        rest = n.op("Mod", x, y)
        return rest if rest_only else n.op("Div", n.op("Sub", x, rest), y)

    def op_pow(self, op: Op) -> str:
        """Finite operands must give a finite power, which is math.pow's rule."""
        n, (a, b) = self.e.n, self.args(op)
        made = _power(n, a, b, op.args[1], op.result.type)
        known = [v for v in op.args if v.const is None or math.isfinite(v.const)]
        fine = self.finite(made)
        for value in op.args:
            if value.const is None:
                fine = n.op("Or", fine, n.op("Not", self.finite(self.e.get(value))))
        if len(known) == 2:
            self.e.checks.require(fine)
        return made

    def finite(self, x: str) -> str:
        n = self.e.n
        return n.op("LessOrEqual", n.op("Abs", x), n.const([float(np.finfo(np.float64).max)], np.float64))

    def op_sign(self, op: Op) -> str:
        """Of NaN it is zero."""
        n, x = self.e.n, self.e.get(op.args[0])
        made = n.op("Sign", x)
        if op.result.type.kind == "int":
            return made
        return self.e.select(n.op("Equal", x, x), made, n.const([0.0], np.float64))

    def op_ne(self, op: Op) -> str:
        return self.e.n.op("Not", self.e.n.op("Equal", *self.args(op)))

    # --- choices ---------------------------------------------------------------------------------

    def op_min(self, op: Op) -> str:
        return self.extreme(op, "Min", "Less")

    def op_max(self, op: Op) -> str:
        return self.extreme(op, "Max", "Greater")

    def extreme(self, op: Op, direct: str, beats: str) -> str:
        """`b if b < a else a`: with NaN and zeros of two signs it is not what Min makes of them."""
        a, b = self.args(op)
        if op.result.type.kind == "int" or _plain(op.args[1]):
            return self.e.n.op(direct, a, b)
        return self.e.select(self.e.n.op(beats, b, a), b, a)

    def op_clip(self, op: Op) -> str:
        n, (x, low, high) = self.e.n, self.args(op)
        v0, v1 = op.args[1].const, op.args[2].const
        kind = op.result.type.kind
        if v0 is not None and v1 is not None and v0 <= v1:
            if kind == "int":
                return n.op("Clip", x, n.const(v0, np.int64), n.const(v1, np.int64))
            if v0 and v1:
                return n.op("Min", n.op("Max", x, low), high)
        inner = self.e.select(n.op("Greater", x, high), high, x)
        return self.e.select(n.op("Less", x, low), low, inner)

    # --- kinds of numbers ------------------------------------------------------------------------

    def op_bound(self, op: Op) -> str:
        tensor = self.e.get(op.args[0])
        self.e.checks.exact_int(tensor, self.e.sure(op.args[0]))
        return tensor

    def op_to_float(self, op: Op) -> str:
        return self.e.n.op("Cast", self.e.get(op.args[0]), to=FLOAT64)

    def op_to_int(self, op: Op) -> str:
        x = self.e.get(op.args[0])
        return self.e.n.op("Cast", x, to=INT64) if op.args[0].type.kind == "bool" else self.rounded(op, x, x)

    def rounded(self, op: Op, x: str, checked: str) -> str:
        """A float made int (towards zero); NaN and what is beyond 2**53 are faults, and garbage stays in range."""
        self.e.checks.exact_float(checked)
        n, value = self.e.n, op.result
        made = n.op("Cast", x, to=INT64)
        if value.lo is None or value.hi is None or not within(value, -INT_LIMIT, INT_LIMIT):
            return made
        return n.op("Clip", made, n.const(value.lo, np.int64), n.const(value.hi, np.int64))

    def op_floor(self, op: Op) -> str:
        x = self.e.n.op(_ROUND[op.name], self.e.get(op.args[0]))
        return self.rounded(op, x, x)

    op_ceil = op_floor
    op_round = op_floor

    # --- functions -------------------------------------------------------------------------------

    def op_sqrt(self, op: Op) -> str:
        n, x = self.e.n, self.e.get(op.args[0])
        self.e.checks.require(n.op("Not", n.op("Less", x, n.const([0.0], np.float64))))
        return n.op("Sqrt", x)


def _power(n: Nodes, a: str, b: str, exponent: Value, result: Type) -> str:
    """C's pow, of float64: onnxruntime makes x * x * x of it where the exponent is the one number 3."""
    if exponent.type.size > 1 or (exponent.const is not None and np.all(np.asarray(exponent.const) != 3)):
        return n.op("Pow", a, b)
    if result.size > 1:
        return n.op("Pow", a, n.op("Expand", b, n.ints(*result.shape or ())))
    made = n.op("Pow", n.op("Reshape", a, n.ints(1)), n.op("Expand", n.op("Reshape", b, n.ints(1)), n.ints(2)))
    made = n.op("Gather", made, n.ints(0), axis=0)
    return made if result.shape in (None, (1,)) else n.op("Reshape", made, n.ints(*result.shape))


def _is_zero(const: Any, sign: float) -> bool:
    """Is it 0.0 (sign 1.0) or -0.0?"""
    return isinstance(const, float) and const == 0.0 and math.copysign(1.0, const) == sign


def _plain(value: Value) -> bool:
    """A constant that is neither NaN nor zero."""
    return value.const is not None and value.const == value.const and value.const != 0


def _product_fits(made: Value, a: Value, b: Value) -> bool:
    """Does a product stay within 62 bits?"""
    small = any(v.const is not None and abs(v.const) <= 2**9 for v in (a, b))
    return within(made, -_ROOM, _ROOM) or (small and all(within(v, -INT_LIMIT, INT_LIMIT) for v in (a, b)))


# ----------------------------------------------------------------------------------------------------
# Element-wise array ops as ONNX nodes: float32, int32 and bool tensors of fixed shape, one operand maybe a scalar.
#
# IEEE faults (finite / 0, 0 / 0, inf - inf; NaN in gives NaN out), numpy's // and %.


_COMPARE = {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "ne": "Equal"}
_PAIRS = {"add": "Add", "sub": "Sub", "mul": "Mul", "and": "And", "or": "Or", "minimum": "Min", "maximum": "Max"}
_UNARY = {"neg": "Neg", "abs": "Abs", "sign": "Sign", "not": "Not", "floor_of": "Floor"}
_BYTE = onnx_type(np.uint8)


class ArrayOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        if op.name in _COMPARE:
            return self.compare(op)
        if op.name in _UNARY:
            return self.e.n.op(_UNARY[op.name], self.e.get(op.args[0]))
        special = getattr(self, "op_" + op.name, None)
        if special is not None:
            return str(special(op))
        made = self.e.n.op(_PAIRS[op.name], *self.pair(op))
        if op.name in ("add", "sub", "mul"):
            self.not_invalid(op, made)
        return made

    def kind(self, op: Op) -> str:
        """Element type of the operands."""
        return next(a.type.kind for a in op.args if a.type.is_array)

    def pair(self, op: Op) -> tuple[str, str]:
        kind = self.kind(op)
        return self.e.operand(op.args[0], kind), self.e.operand(op.args[1], kind)

    def compare(self, op: Op) -> str:
        """Comparing with an int beyond 32 bits is no fault."""
        kind, n = self.kind(op), self.e.n
        narrow = all(a.type.is_array or ranges.within(a, -(2**31), 2**31 - 1) for a in op.args)
        if kind == "int" and not narrow:
            pair = [n.op("Cast", self.e.get(a), to=INT64) if a.type.is_array else self.e.get(a) for a in op.args]
        else:
            pair = list(self.pair(op))
        made = n.op(_COMPARE[op.name], *pair)
        return n.op("Not", made) if op.name == "ne" else made

    # --- faults ----------------------------------------------------------------------------------

    def not_invalid(self, op: Op, made: str) -> None:
        """NaN made of operands that are not NaN is a fault; finite operands cannot make one by + - *."""
        if op.result.type.kind != "float" or all(_finite(a) for a in op.args):
            return
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())

    def explained(self, op: Op, made: str) -> str:
        """bool of the result's shape: no NaN, or one that came from an operand."""
        n = self.e.n
        good = n.op("Not", n.op("IsNaN", made))
        for value, tensor in zip(op.args, self.pair(op), strict=True):
            if value.const is None or bool(np.isnan(value.const).any()):
                good = n.op("Or", good, n.op("IsNaN", tensor))
        return good

    def not_zero(self, op: Op, zero_by_zero: bool) -> None:
        """A finite number divided by zero is a fault; so is zero by zero, if that is not seen as NaN made."""
        if nonzero(op.args[1]):
            return
        n, (a, b) = self.e.n, self.pair(op)
        zero = n.const([0.0], np.float32)
        wrong = n.op("And", n.op("Equal", b, zero), n.op("Not", n.op("Or", n.op("IsNaN", a), n.op("IsInf", a))))
        if not zero_by_zero:
            wrong = n.op("And", wrong, n.op("Not", n.op("Equal", a, zero)))
        self.e.checks.require(n.op("Not", wrong), op.result.type.shape or ())

    # --- division --------------------------------------------------------------------------------

    def op_div(self, op: Op) -> str:
        n, (a, b) = self.e.n, self.pair(op)
        made = n.op("Div", a, b)
        self.not_zero(op, False)
        if not (nonzero(op.args[1]) and _finite(op.args[0])):
            self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        return made

    def op_floordiv(self, op: Op) -> str:
        return self.whole_division(op, False) if self.kind(op) == "int" else self.float_floordiv(op)

    def op_mod(self, op: Op) -> str:
        return self.whole_division(op, True) if self.kind(op) == "int" else self.float_mod(op)

    def float_rest(self, op: Op) -> tuple[str, str]:
        """(C's fmod, whether its sign is not the divisor's)."""
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        rest = n.op("Mod", a, b, fmod=1)
        sides = n.op("Xor", n.op("Less", b, zero), n.op("Less", rest, zero))
        return rest, n.op("And", sides, n.op("Not", n.op("Equal", rest, zero)))

    def float_mod(self, op: Op) -> str:
        n, (_, b) = self.e.n, self.pair(op)
        rest, wrong = self.float_rest(op)
        made = n.op("Abs", n.op("Where", wrong, n.op("Add", rest, b), rest))
        made = n.op("Where", n.op("Less", b, n.const([0.0], np.float32)), n.op("Neg", made), made)
        self.not_zero(op, True)
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        return made

    def float_floordiv(self, op: Op) -> str:
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        rest, wrong = self.float_rest(op)
        plain = n.op("Div", a, b)
        way = n.op("Sub", n.op("Div", n.op("Sub", a, rest), b), n.op("Cast", wrong, to=FLOAT32))
        low = n.op("Floor", way)
        up = n.op("Greater", n.op("Sub", way, low), n.const([0.5], np.float32))
        low = n.op("Add", low, n.op("Cast", up, to=FLOAT32))
        made = n.op("Where", n.op("Equal", way, zero), n.op("Mul", plain, zero), low)
        made = n.op("Where", n.op("Equal", b, zero), plain, made)
        self.not_zero(op, True)
        overflow = n.op("Not", n.op("IsInf", way))  # numpy takes inf - inf on its way
        self.e.checks.require(n.op("And", overflow, self.explained(op, made)), op.result.type.shape or ())
        return made

    def whole_division(self, op: Op, rest_only: bool) -> str:
        """// and % on int32; the processor must never see a zero divisor or -2**31 / -1."""
        n, (a, b), divisor = self.e.n, self.pair(op), op.args[1]
        if not nonzero(divisor):
            low = self.e.sure(divisor)[0]
            if low is None or low <= 0:
                zero = n.op("Equal", b, n.const([0], np.int32))
                self.e.checks.require(n.op("Not", zero), divisor.type.shape or (1,))
                b = n.op("Add", b, n.op("Cast", zero, to=INT32))
        wide = not _never_minus_one(divisor)
        if wide:
            a, b = (n.op("Cast", t, to=INT64) for t in (a, b))
        low = self.e.sure(op.args[0])[0]
        if not rest_only and low is not None and low >= 0 and (self.e.sure(divisor)[0] or 0) > 0:
            made = n.op("Div", a, b)
        else:
            rest = n.op("Mod", a, b)
            made = rest if rest_only else n.op("Div", n.op("Sub", a, rest), b)
        return n.op("Cast", made, to=INT32) if wide else made

    def op_pow(self, op: Op) -> str:
        n, (a, b), zero = self.e.n, self.pair(op), self.e.n.const([0.0], np.float32)
        wide = [n.op("Cast", t, to=FLOAT64) for t in (a, b)]
        made = n.op("Cast", _power(n, wide[0], wide[1], op.args[1], op.result.type), to=FLOAT32)
        if not op.args[1].type.is_array:  # a square root, for which -inf is a fault
            root = n.op("And", n.op("Equal", b, n.const([0.5], np.float32)), n.op("Less", a, zero))
            self.e.checks.require(n.op("Not", root), op.result.type.shape or ())
        self.e.checks.require(self.explained(op, made), op.result.type.shape or ())
        wrong = n.op("And", n.op("Equal", a, zero), n.op("Less", b, zero))
        self.e.checks.require(n.op("Not", wrong), op.result.type.shape or ())
        return made

    def op_exp_of(self, op: Op) -> str:
        n = self.e.n
        return n.op("Cast", n.op("Exp", n.op("Cast", self.e.get(op.args[0]), to=FLOAT64)), to=FLOAT32)

    # --- choices and kinds -----------------------------------------------------------------------

    def op_where(self, op: Op) -> str:
        n, kind = self.e.n, op.result.type.kind
        c = self.e.get(op.args[0])
        a, b = (self.e.cast(v, kind) for v in op.args[1:])  # numpy lets an int that does not fit wrap here
        if kind != "bool":
            return n.op("Where", c, a, b)
        return n.op("Or", n.op("And", c, a), n.op("And", n.op("Not", c), b))

    def op_to_float(self, op: Op) -> str:
        return self.e.n.op("Cast", self.e.get(op.args[0]), to=FLOAT32)

    def op_to_int(self, op: Op) -> str:
        """Towards zero; NaN and what is beyond 32 bits are faults, and garbage stays in range."""
        n, value, result = self.e.n, op.args[0], op.result
        x = self.e.get(value)
        made = n.op("Cast", x, to=INT32)
        if value.type.kind == "bool":
            return made
        limit = n.const([2.0**31], np.float32)
        self.e.checks.require(n.op("Less", n.op("Abs", x), limit), result.type.shape or ())
        if result.lo is None or result.hi is None or not ranges.within(result, -(2**31), 2**31 - 1):
            return made
        return n.op("Clip", made, n.const(result.lo, np.int32), n.const(result.hi, np.int32))


def _finite(value: Value) -> bool:
    """Is every element proven finite (or NaN)?"""
    low, high = ranges.bounds(value)
    return low is not None and high is not None and np.isfinite(low) and np.isfinite(high)


def nonzero(value: Value) -> bool:
    """Is every element proven not to be zero?"""
    if value.const is not None:
        return bool(np.all(np.asarray(value.const) != 0))
    low, high = ranges.bounds(value)
    return value.type.kind == "float" and ((low is not None and low > 0) or (high is not None and high < 0))


def _never_minus_one(value: Value) -> bool:
    if value.const is not None:
        return bool(np.all(np.asarray(value.const) != -1))
    low, _ = ranges.bounds(value)
    return low is not None and low >= 0


# ----------------------------------------------------------------------------------------------------
# Inputs, and array ops that move, choose or sum elements, as ONNX nodes.


_BOOL = onnx_type(np.bool_)


class MoveOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        return str(getattr(self, "op_" + op.name)(op))

    def shaped(self, tensor: str, shape: Sequence[int]) -> str:
        return self.e.n.op("Reshape", tensor, self.e.n.ints(*shape))

    # --- inputs ----------------------------------------------------------------------------------

    def op_memory(self, op: Op) -> str:
        return self.e.memory[op.attrs["field"]]

    def op_thing(self, op: Op) -> str:
        n, offset = self.e.n, op.attrs["offset"]
        if op.args:
            at = self.e.at(op.args[0], op.attrs["count"], bool(op.attrs.get("safe")))
            place = n.op("Mul", at, n.ints(op.attrs["step"])) if op.attrs["step"] != 1 else at
            place = n.op("Add", place, n.ints(offset)) if offset else place
            return self.e.seen(place) if op.result.type.kind == "bool" else self.e.measured(place)
        return self.e.read(offset, op.result.type.kind == "bool")

    def op_grid(self, op: Op) -> str:
        n, shape, offset = self.e.n, op.result.type.shape or (), op.attrs["offset"]
        part = n.op("Slice", self.e.scene, n.ints(offset), n.ints(offset + op.result.type.size), n.ints(0))
        made = n.op("Greater", part, n.const([0.5], np.float32))
        return made if len(shape) == 1 else self.shaped(made, shape)

    def op_gauge(self, op: Op) -> str:
        return self.e.read(op.attrs["offset"], False)

    # --- moving ----------------------------------------------------------------------------------

    def op_element(self, op: Op) -> str:
        n, (array, *index) = self.e.n, op.args
        shape, safe = array.type.shape or (), bool(op.attrs.get("safe"))
        places = [self.e.at(i, m, safe) for i, m in zip(index, shape, strict=True)]
        flat = places[0]
        for place, side in zip(places[1:], shape[1:], strict=True):
            flat = n.op("Add", n.op("Mul", flat, n.ints(side)), place)
        return self.e.wide(n.op("Gather", self.e.flat(array), flat, axis=0), array.type.kind)

    def op_pick(self, op: Op) -> str:
        n, axis = self.e.n, op.attrs["axis"]
        at = self.e.at(op.args[1], (op.args[0].type.shape or ())[axis], bool(op.attrs.get("safe")))
        return n.op("Gather", self.e.get(op.args[0]), n.op("Reshape", at, n.ints()), axis=axis)

    def op_slice(self, op: Op) -> str:
        n, tensor = self.e.n, self.e.get(op.args[0])
        cuts = [(lo, hi, i) for i, ((lo, hi), side) in enumerate(
            zip(op.attrs["bounds"], op.args[0].type.shape or (), strict=True)) if (lo, hi) != (0, side)]  # fmt: skip
        if not cuts:
            return tensor
        starts, ends, axes = zip(*cuts, strict=True)
        return n.op("Slice", tensor, n.ints(*starts), n.ints(*ends), n.ints(*axes))

    def op_reshape(self, op: Op) -> str:
        return self.shaped(self.e.get(op.args[0]), op.attrs["shape"])

    def op_gather(self, op: Op) -> str:
        array, index = op.args
        at = self.e.at(index, (array.type.shape or (0,))[0], bool(op.attrs.get("safe")))
        return self.e.n.op("Gather", self.e.get(array), at, axis=0)

    def op_concat(self, op: Op) -> str:
        return self.e.n.concat([self.e.get(a) for a in op.args])

    def row(self, value: Value, array: Value, lead: int) -> str:
        """A new element or row of an array, with `lead` axes of 1 before it."""
        n, kind, inner = self.e.n, array.type.kind, (array.type.shape or ())[1:]
        made = self.e.operand(value, kind)
        if not inner and not value.type.is_array:
            return made
        if (value.type.shape or ()) != inner:
            made = n.op("Expand", made, n.ints(*inner))
        return self.shaped(made, (1,) * lead + inner)

    def op_put(self, op: Op) -> str:
        n, (array, index, value) = self.e.n, op.args
        shape = array.type.shape or ()
        at = self.e.at(index, shape[0], self.within(index, shape[0]))
        if len(shape) == 1:
            return n.op("ScatterElements", self.e.get(array), at, self.row(value, array, 1), axis=0)
        return n.op("ScatterND", self.e.get(array), self.shaped(at, (1, 1)), self.row(value, array, 1))

    def within(self, index: Value, length: int) -> bool:
        """`safe` of a put means value and index; here only the index counts."""
        low, high = (index.const, index.const) if index.const is not None else (index.lo, index.hi)
        return low is not None and high is not None and low >= 0 and high < length

    def op_shift_push(self, op: Op) -> str:
        n, (array, value) = self.e.n, op.args
        shape = array.type.shape or ()
        new = self.row(value, array, 1)
        if shape[0] == 1:
            return new
        return n.op("Concat", n.op("Slice", self.e.get(array), n.ints(1), n.ints(shape[0]), n.ints(0)), new, axis=0)

    def op_full(self, op: Op) -> str:
        return self.e.n.op("Expand", self.e.operand(op.args[0], op.attrs["kind"]), self.e.n.ints(*op.attrs["shape"]))

    def op_stack(self, op: Op) -> str:
        """Scalars of one kind are joined first and rounded together."""
        kind, shape, kinds = op.attrs["kind"], op.attrs["shape"], {a.type.kind for a in op.args}
        if len(kinds) == 1:
            made = self.e.n.concat([self.e.get(a) for a in op.args])
            if kinds != {kind}:
                made = self.e.n.op("Cast", made, to=onnx_type(DTYPE[kind]))
            else:
                fits = all(a.const is not None and -(2**31) <= a.const < 2**31 for a in op.args)
                made = self.e.narrow(made, kind, fits, len(op.args))
        else:
            made = self.e.n.concat([self.e.cast(a, kind) for a in op.args])
        return made if len(shape) == 1 else self.shaped(made, shape)

    # --- choices ---------------------------------------------------------------------------------

    def no_nan(self, op: Op) -> None:
        value = op.args[0]
        if value.type.kind == "float" and not op.attrs.get("safe"):
            tensor = self.e.get(value)
            self.e.checks.require(self.e.n.op("Not", self.e.n.op("IsNaN", tensor)), value.type.shape or ())

    def ordered(self, tensor: str, kind: str) -> str:
        """Booleans as bytes, which can be compared and counted."""
        return self.e.n.op("Cast", tensor, to=_BYTE) if kind == "bool" else tensor

    def op_top_k(self, op: Op) -> str:
        self.no_nan(op)
        n, value = self.e.n, op.args[0]
        tensor, whole = self.e.get(value), value.type.kind == "int"
        if whole:  # as numpy sorts: by the negative, which is itself for the least int
            tensor = n.op("Neg", tensor)
        found = n.ops("TopK", tensor, n.ints(op.attrs["k"]), outputs=2, axis=0, largest=int(not whole))
        return n.op("Cast", found[1], to=INT32)

    def op_argmax(self, op: Op) -> str:
        self.no_nan(op)
        flat = self.ordered(self.e.flat(op.args[0]), op.args[0].type.kind)
        return self.e.n.op("ArgMax" if op.name == "argmax" else "ArgMin", flat, axis=0, keepdims=1)

    op_argmin = op_argmax

    def op_argmax_over(self, op: Op) -> str:
        self.no_nan(op)
        tensor = self.ordered(self.e.get(op.args[0]), op.args[0].type.kind)
        found = self.e.n.op("ArgMax", tensor, axis=op.attrs["axis"], keepdims=0)
        return self.e.n.op("Cast", found, to=INT32)

    def op_largest(self, op: Op) -> str:
        self.no_nan(op)
        value = op.args[0]
        kind = "ReduceMax" if op.name == "largest" else "ReduceMin"
        made = self.e.n.op(kind, self.ordered(self.e.flat(value), value.type.kind), self.e.n.ints(0), keepdims=1)
        made = self.e.wide(made, value.type.kind)
        return self.e.no_minus_zero(made) if value.type.kind == "float" else made

    op_smallest = op_largest

    def op_any_of(self, op: Op) -> str:
        n = self.e.n
        number = self.ordered(self.e.flat(op.args[0]), "bool")
        made = n.op("ReduceMax" if op.name == "any_of" else "ReduceMin", number, n.ints(0), keepdims=1)
        return n.op("Cast", made, to=_BOOL)

    op_all_of = op_any_of

    def op_max_over(self, op: Op) -> str:
        """A chain of maxima over the slices: ReduceMax loses NaN."""
        n, (value,), axis = self.e.n, op.args, op.attrs["axis"]
        shape = value.type.shape or ()
        tensor = self.ordered(self.e.get(value), value.type.kind)
        if value.type.kind != "float":
            made = n.op("ReduceMax" if op.name == "max_over" else "ReduceMin", tensor, n.ints(axis), keepdims=0)
            return n.op("Cast", made, to=_BOOL) if value.type.kind == "bool" else made
        if shape[axis] == 1:
            return self.shaped(tensor, shape[:axis] + shape[axis + 1 :])
        parts = n.ops("Split", tensor, n.ints(*(1,) * shape[axis]), outputs=shape[axis], axis=axis)
        made = n.op("Max" if op.name == "max_over" else "Min", *parts)
        return self.shaped(made, shape[:axis] + shape[axis + 1 :])

    op_min_over = op_max_over


# ----------------------------------------------------------------------------------------------------
# Sums and products of matrices as ONNX nodes: float32, term after term, and float64 where a partial sum leaves float32
# (nan_rules.py). CumSum is the one node that adds in a given order; ReduceSum and MatMul do as they like.


_SAFE_SUM = 1e38  # sums whose terms come to less in size stay within float32
Run = Callable[[Nodes, Sequence[str]], str]  # the op in some graph, on tensors of one float type


class SumOps:
    """One method an op; each answers the tensor of the op's result."""

    def __init__(self, emitter: Emitter) -> None:
        self.e = emitter

    def run(self, op: Op) -> str:
        """The tensor of an op's result."""
        return str(getattr(self, "op_" + op.name)(op))

    # --- ops -------------------------------------------------------------------------------------

    def op_total(self, op: Op) -> str:
        n, value = self.e.n, op.args[0]
        flat = self.e.flat(value)
        if value.type.kind != "float":
            return n.op("ReduceSum", n.op("Cast", flat, to=INT64), n.ints(0), keepdims=1)
        made = self.settled(op, [flat], (1,), value.type.size, _along(0, value.type.size, (1,)))
        return self.e.wide(made, "float")

    def op_count(self, op: Op) -> str:
        """Elements that are not zero."""
        n, value = self.e.n, op.args[0]
        flat = self.e.flat(value)
        true = flat if value.type.kind == "bool" else n.op("Cast", flat, to=_BOOL)
        return n.op("ReduceSum", n.op("Cast", true, to=INT64), n.ints(0), keepdims=1)

    def op_sum_over(self, op: Op) -> str:
        n, value, axis = self.e.n, op.args[0], op.attrs["axis"]
        tensor = self.e.get(value)
        if value.type.kind == "float":
            terms, shape = (value.type.shape or ())[axis], op.result.type.shape or ()
            return self.settled(op, [tensor], shape, terms, _along(axis, terms, shape))
        # onnxruntime's sum of int32 does not wrap as numpy's does
        wide = n.op("ReduceSum", n.op("Cast", tensor, to=INT64), n.ints(axis), keepdims=0)
        return n.op("Cast", wide, to=INT32)

    def op_matmul(self, op: Op) -> str:
        a, b = op.args
        pair, shape = [self.e.get(a), self.e.get(b)], op.result.type.shape or ()
        if op.result.type.kind != "float":
            return self.e.n.op("MatMul", *pair)
        return self.settled(op, pair, shape, (b.type.shape or (0,))[0], _product(a.type, b.type, shape))

    def op_scatter_add(self, op: Op) -> str:
        """In float64, as numpy adds."""
        n, (index, values) = self.e.n, op.args
        at = self.e.at(index, op.attrs["length"], bool(op.attrs.get("safe")))
        new = self.e.cast(values, "float")
        zero = n.const(np.zeros(op.attrs["length"]))
        made = n.op("ScatterElements", zero, at, n.op("Cast", new, to=FLOAT64), axis=0, reduction="add")
        made = n.op("Cast", made, to=FLOAT32)
        if not self.small(op, values.type.size, values=1):
            self.e.checks.require(n.op("Or", n.op("Not", _any(n, [made])), _any(n, [new])))
        return made

    # --- what leaves float32 ---------------------------------------------------------------------

    def small(self, op: Op, terms: int, values: int = 0) -> bool:
        """Is no sum of so many terms able to leave float32? (Operands before number `values` are indices.)"""
        size = float(max(terms, 1))
        for value in op.args[values:]:
            low, high = ranges.bounds(value)
            if low is None or high is None:
                return False
            size *= max(abs(low), abs(high))
        return math.isfinite(size) and size < _SAFE_SUM

    def settled(self, op: Op, args: list[str], shape: tuple[int, ...], terms: int, run: Run) -> str:
        """`run` on the operands; where a sum is not finite, what float64 makes of it, and whether that is a fault."""
        n = self.e.n
        made = run(n, args)
        if self.small(op, terms):
            return made
        infinity = n.const([math.inf], np.float32)
        size = n.op("Abs", made) if shape == (1,) else n.op("ReduceL1", made, n.ints(*range(len(shape))), keepdims=0)
        good, odd = n.inner(), n.inner()
        wide = run(odd, [odd.op("Cast", a, to=FLOAT64) for a in args])
        whole = odd.op("Less", odd.op("Abs", made), odd.const([math.inf], np.float32))
        mended = odd.op("Where", whole, made, odd.op("Cast", wide, to=FLOAT32))
        had = _any(odd, args) if op.name == "matmul" else _counted(odd, run, args)
        new = odd.op("And", odd.op("IsNaN", wide), odd.op("Not", had))
        held = odd.op("Not", _true(odd, new))
        forms = [(np.float32, shape), form_of(BOOL)]
        sides = close(good, [made, good.const([True])], forms), close(odd, [mended, held], forms)
        condition = n.op("Less", size, infinity)
        found = n.ops("If", condition, outputs=2, then_branch=sides[0], else_branch=sides[1])
        self.e.checks.require(found[1])
        return found[0]


def _along(axis: int, count: int, shape: tuple[int, ...]) -> Run:
    """Sums along an axis of `count` elements, as a tensor of `shape`: the last of the running sums."""

    def run(n: Nodes, args: Sequence[str]) -> str:
        if count == 1:
            return n.op("Reshape", args[0], n.ints(*shape))
        running = n.op("CumSum", args[0], n.const(axis, np.int64))
        last = n.op("Gather", running, n.ints(count - 1), axis=axis)
        return last if shape == (1,) else n.op("Reshape", last, n.ints(*shape))

    return run


def _product(a: Type, b: Type, shape: tuple[int, ...]) -> Run:
    """A product of matrices: all products of elements, then sums."""
    left, right = a.shape or (), b.shape or ()
    add = _along(len(left) - 1, right[0], shape)

    def run(n: Nodes, args: Sequence[str]) -> str:
        x = args[0] if len(right) == 1 else n.op("Reshape", args[0], n.ints(*left, 1))
        return add(n, [n.op("Mul", x, args[1])])

    return run


def _counted(n: Nodes, run: Run, args: Sequence[str]) -> str:
    """Has a sum NaN among its terms? The sum of ones for NaN tells."""
    ones = n.op("Cast", n.op("IsNaN", args[0]), to=FLOAT32)
    return n.op("Greater", run(n, [ones]), n.const([0.5], np.float32))


def _any(n: Nodes, args: Sequence[str]) -> str:
    """bool[1]: is there NaN in any of the tensors?"""
    found = _true(n, n.op("IsNaN", args[0]))
    for tensor in args[1:]:
        found = n.op("Or", found, _true(n, n.op("IsNaN", tensor)))
    return found


def _true(n: Nodes, flags: str) -> str:
    """bool[1]: is any flag true?"""
    flat = n.op("Cast", n.op("Reshape", flags, n.ints(-1)), to=_BYTE)
    return n.op("Cast", n.op("ReduceMax", flat, n.ints(0), keepdims=1), to=_BOOL)
