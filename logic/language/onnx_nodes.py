"""Collects the nodes and constants of an ONNX graph and of the subgraphs inside it.

Knows: fresh names, equal constants and equal nodes made once, what a subgraph sees of the graphs around it.
Does not know: the ops of the intermediate form. Large constants lie in the outermost graph, where subgraphs share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from logic.language.ir import Type
from logic.language.ops import DTYPE

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
        key = (kind, inputs, outputs, tuple(sorted(attributes.items()))) if kind not in _CONTROL else None
        found = self._find(key) if key is not None else None
        if found is not None:
            return found
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        if key is not None:
            self._made[key] = names
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
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


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
