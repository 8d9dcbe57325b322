"""The one guard of every ONNX graph: what it is made of and what one run of it takes, known from its bytes alone.

`check_graph` comes before any library loads a file, `session` is the only way to a running graph. Refused: operators
outside the list below (others would need a library of the sender's, or may make tensors of any size), functions and
training parts, tensors kept in other files (a path of the sender's choice would be read here), shapes that are not
known before the first run, loops of unknown length, and what takes too much.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import onnxruntime

from perception.protobuf import Message

OPSETS = range(13, 19)  # versions of the standard in which the rules below hold
MOST_NODES = 20_000  # six times the largest of the zoo; onnxruntime takes seconds to load so many
MOST_SEEING = 2_000  # of a detector: twenty times the largest
MOST_ELEMENTS = 2**26  # of one tensor: a frame of 4096 x 4096
MOST_MEMORY = 2**28  # elements of all tensors of one run
MOST_WORK = 10**10  # multiplications, or elements read and written: seconds
DEEPEST = 24  # levels of graphs inside graphs
STANDARD = ("", "ai.onnx")  # names of the standard's operators


class Foreign(ValueError):
    """Something that a graph may not hold."""


class Cost(NamedTuple):
    """What one run takes at most, and the shapes of its outputs by name."""

    nodes: int
    elements: int
    work: int
    outputs: dict[str, tuple[int, ...]]


def session(data: bytes, control: bool = False) -> onnxruntime.InferenceSession:
    """A graph that can be run, on one thread. Foreign when it is refused; else what onnxruntime raises.

    `control`: it may branch and loop, as policies do. Detectors do not.
    """
    check_graph(data, control)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def check_graph(model: bytes, control: bool = True) -> Cost:
    """What one run of a model takes; Foreign when it is not one of standard operators, bounded, and all in one file."""
    try:
        return _Survey(control).model(Message(model))
    except Foreign:
        raise
    except (ValueError, IndexError) as error:  # what a shape rule below stumbles over is no graph either
        raise Foreign(f"its graph is damaged ({error})") from None


# ----------------------------------------------------------------------------------------------------
# The shape of every tensor, node by node, and what it takes to make it.


Shape = tuple[int, ...]
# bytes of an element, by ONNX's number of its type
_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
_INTS = {6: 4, 7: 8}
_FEW = 4096  # elements of a constant that may say a shape: places where a vector is split
_NODE, _SLOW = 1000, 20  # work of a node at all, and of an element where a function is computed


class _Tensor(NamedTuple):
    shape: Shape
    values: tuple[int, ...] | None = None  # of small constants

    @property
    def size(self) -> int:
        return math.prod(self.shape)


Scope = ChainMap[str, _Tensor]


@dataclass
class _Node:
    """One node with what its inputs are. Shape rules answer with the shapes of its outputs."""

    name: str
    inputs: list[_Tensor | None]
    outputs: list[str]
    attributes: dict[str, Message]
    work: int = 0  # beyond reading the inputs and writing the outputs

    def shape(self, at: int) -> Shape:
        found = self.inputs[at]
        if found is None:
            raise ValueError(f"{self.name} lacks input {at}")
        return found.shape

    def ints(self, at: int) -> tuple[int, ...] | None:
        """Values of a constant input; None when there is no such input."""
        found = self.inputs[at] if at < len(self.inputs) else None
        if found is not None and found.values is None:
            raise Foreign(f"a shape of {self.name} is not known before the first run")
        return None if found is None else found.values

    def integer(self, name: str, default: int) -> int:
        return self.attributes[name].integer(3, default) if name in self.attributes else default

    def integers(self, name: str, default: list[int]) -> list[int]:
        return self.attributes[name].integers(8) if name in self.attributes else default

    def axis(self, rank: int, default: int = 0) -> int:
        return _axis(self.integer("axis", default), rank)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    sides = zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True)
    found = [set(side) - {1} or {1} for side in sides]
    if any(len(side) > 1 for side in found):
        raise ValueError(f"shapes {shapes} do not go together")
    return tuple(side.pop() for side in found)


def _joined(node: _Node) -> list[Shape]:
    return [_broadcast(*(t.shape for t in node.inputs if t is not None))]


def _first(node: _Node) -> list[Shape]:
    return [node.shape(0)]


def _cast(node: _Node) -> list[Shape]:
    if node.integer("to", 0) not in _SIZES:
        raise Foreign("it makes something else than numbers")
    return _first(node)


def _concat(node: _Node) -> list[Shape]:
    first = node.shape(0)
    axis = node.axis(len(first))
    shapes = [node.shape(i) for i in range(len(node.inputs))]
    if any(s[:axis] + s[axis + 1 :] != first[:axis] + first[axis + 1 :] for s in shapes):
        raise ValueError(f"shapes {shapes} cannot be joined")
    return [(*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :])]


def _reshape(node: _Node) -> list[Shape]:
    old, wanted = node.shape(0), node.ints(1) or ()
    sides = [old[i] if side == 0 else side for i, side in enumerate(wanted)]
    if sides.count(-1) == 1:
        rest = -math.prod(sides)
        sides[sides.index(-1)] = math.prod(old) // rest if rest > 0 else 0
    if min(sides, default=0) < 0 or math.prod(sides) != math.prod(old):
        raise ValueError(f"{old} cannot become {wanted}")
    return [tuple(sides)]


def _slice(node: _Node) -> list[Shape]:
    shape, starts, ends = list(node.shape(0)), node.ints(1) or (), node.ints(2) or ()
    axes, steps = node.ints(3) or tuple(range(len(starts))), node.ints(4) or (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Foreign("it slices backwards")
        at = _axis(axis, len(shape))
        shape[at] = len(range(*slice(start, end, step).indices(shape[at])))
    return [tuple(shape)]


def _split(node: _Node) -> list[Shape]:
    shape, sizes = node.shape(0), node.ints(1) or ()
    axis = node.axis(len(shape))
    if sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
        raise ValueError(f"{shape} cannot be split into {sizes}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _gather(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    axis = node.axis(len(shape))
    return [shape[:axis] + node.shape(1) + shape[axis + 1 :]]


def _expand(node: _Node) -> list[Shape]:
    return [_broadcast(node.shape(0), node.ints(1) or ())]


def _transpose(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    order = node.integers("perm", list(range(len(shape)))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"{order} is no order of {shape}")
    return [tuple(shape[i] for i in order)]


def _reduce(node: _Node) -> list[Shape]:
    shape, axes = node.shape(0), node.ints(1)
    return [_without(node, [_axis(a, len(shape)) for a in axes or range(len(shape))])]


def _cumsum(node: _Node) -> list[Shape]:
    for axis in node.ints(1) or ():
        _axis(axis, len(node.shape(0)))
    return _first(node)


def _arg(node: _Node) -> list[Shape]:
    return [_without(node, [node.axis(len(node.shape(0)))])]


def _without(node: _Node, axes: list[int]) -> Shape:
    keep = node.integer("keepdims", 1)
    sides = [(1 if i in axes else side) for i, side in enumerate(node.shape(0)) if keep or i not in axes]
    return tuple(sides)


def _top_k(node: _Node) -> list[Shape]:
    shape, (k,) = node.shape(0), node.ints(1) or (0,)
    axis = node.axis(len(shape), -1)
    if not 0 <= k <= shape[axis]:
        raise ValueError(f"the {k} highest of {shape[axis]}")
    return [(*shape[:axis], k, *shape[axis + 1 :])] * 2


def _matmul(node: _Node) -> list[Shape]:
    a, b = node.shape(0), node.shape(1)
    rows, columns = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if rows[-1] != columns[-2]:
        raise ValueError(f"{a} cannot be multiplied with {b}")
    made = (*_broadcast(rows[:-2], columns[:-2]), rows[-2], columns[-1])
    node.work += math.prod(made) * rows[-1]
    return [tuple(made[: len(made) - 2] + made[-2:][len(a) < 2 : 2 - (len(b) < 2)])]


def _gemm(node: _Node) -> list[Shape]:
    a, b = (node.shape(i)[:: -1 if node.integer(f"trans{'AB'[i]}", 0) else 1] for i in (0, 1))
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError(f"{a} cannot be multiplied with {b}")
    node.work += a[0] * a[1] * b[1]
    return [(a[0], b[1])]


def _conv(node: _Node) -> list[Shape]:
    picture, weight = node.shape(0), node.shape(1)
    if len(picture) < 3 or len(weight) != len(picture):
        raise ValueError(f"a kernel {weight} on {picture}")
    made = (picture[0], weight[0], *_windows(node, picture[2:], weight[2:]))
    node.work += math.prod(made) * math.prod(weight[1:])
    return [made]


def _pool(node: _Node) -> list[Shape]:
    picture, kernel = node.shape(0), tuple(node.integers("kernel_shape", []))
    made = (*picture[:2], *_windows(node, picture[2:], kernel))
    node.work += math.prod(made) * math.prod(kernel)
    return [made]


def _windows(node: _Node, sides: Shape, kernel: Shape) -> Shape:
    """How often a kernel fits, side by side."""
    n = len(sides)
    strides, pads = node.integers("strides", [1] * n), node.integers("pads", [0] * 2 * n)
    apart = node.integers("dilations", [1] * n)
    if min((*strides, *kernel, *apart)) < 1 or min(pads) < 0 or len(pads) != 2 * n or len(apart) != n:
        raise ValueError(f"a kernel {kernel} in steps {strides}, {apart} apart, with borders {pads}")
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True)]
    ends = zip(sides, wide, strides, pads[:n], pads[n:], strict=True)
    return tuple(max(0, (side + a + b - k) // step + 1) for side, k, step, a, b in ends)


Rule = Callable[[_Node], list[Shape]]
# types of attributes, whichever operator has them
_TYPES = (
    (1, "epsilon"), (2, "axis detect_negative detect_positive fmod group keepdims largest to transA transB"),
    (3, "reduction"), (5, "then_branch else_branch body"), (7, "dilations kernel_shape pads perm strides"),
)  # fmt: skip
_KINDS = {name: kind for kind, names in _TYPES for name in names.split()}
# (operators, the shapes they make, the attributes they may have); whatever is not here is refused
_TABLE: tuple[tuple[str, Rule, str], ...] = (
    (
        "Abs Add And Atan Ceil Clip Cos Div Equal Exp Floor Greater GreaterOrEqual Identity IsNaN Less LessOrEqual Log "
        "Max Min Mul Neg Not Or Pow Relu Round Sigmoid Sign Sin Sqrt Sub Sum Tanh Where Xor",
        _joined, "",
    ),
    ("Mod", _joined, "fmod"),
    ("IsInf", _joined, "detect_negative detect_positive"),
    ("Cast", _cast, "to"),
    ("Softmax", _first, "axis"),
    ("LayerNormalization", _first, "axis epsilon"),
    ("ScatterElements", _first, "axis reduction"),
    ("ScatterND", _first, "reduction"),
    ("Concat", _concat, "axis"),
    ("Reshape", _reshape, ""),
    ("Slice", _slice, ""),
    ("Split", _split, "axis"),
    ("Gather", _gather, "axis"),
    ("Expand", _expand, ""),
    ("Transpose", _transpose, "perm"),
    ("ReduceMax ReduceMin ReduceSum ReduceMean ReduceL1", _reduce, "keepdims"),
    ("ArgMax ArgMin", _arg, "axis keepdims"),
    ("TopK", _top_k, "axis largest"),
    ("CumSum", _cumsum, ""),
    ("MatMul", _matmul, ""),
    ("Gemm", _gemm, "transA transB"),
    ("Conv", _conv, "kernel_shape strides pads group dilations"),
    ("MaxPool", _pool, "kernel_shape strides pads"),
)  # fmt: skip
_RULES = {name: (rule, frozenset(words.split())) for names, rule, words in _TABLE for name in names.split()}
_CONTROL = {"If": frozenset({"then_branch", "else_branch"}), "Loop": frozenset({"body"})}
_COSTLY = "Atan Cos Div Exp LayerNormalization Log Mod Pow Sigmoid Sin Softmax Sqrt Tanh TopK"
_FUNCTIONS = frozenset(name for name in _RULES if name in _COSTLY.split())


class _Survey:
    """Walks a model once. What it counts is kept here; work is handed back, since a loop repeats that of its body."""

    def __init__(self, control: bool) -> None:
        self.control = control
        self.nodes = self.elements = 0

    def model(self, model: Message) -> Cost:
        for number, what in ((20, "it has a training part"), (25, "it defines functions of its own")):
            if number in model:
                raise Foreign(what)
        for entry in model.messages(8):
            _standard(entry.text(1))
        versions = [entry.integer(2) for entry in model.messages(8)]
        if not versions or any(version not in OPSETS for version in versions):
            known = f"{OPSETS[0]} to {OPSETS[-1]}"
            raise Foreign(f"it is written in version {versions} of the standard's operators, {known} are read")
        graph = model.message(7)
        scope: Scope = ChainMap()
        for port in graph.messages(11):
            self.add(scope, port.text(1), _Tensor(_declared(port)))
        outputs, work = self.graph(graph, scope)
        return Cost(self.nodes, self.elements, work, outputs)

    def add(self, scope: Scope, name: str, tensor: _Tensor) -> None:
        """A new tensor; what is made of a name once may not be made again."""
        if not name or name in scope:
            raise Foreign(f"two tensors are called {name!r}")
        if tensor.size > MOST_ELEMENTS:
            raise Foreign(f"it makes a tensor {list(tensor.shape)}, larger than {MOST_ELEMENTS} values")
        self.elements += tensor.size
        if self.elements > MOST_MEMORY:
            raise Foreign(f"its tensors have more than {MOST_MEMORY} values")
        scope[name] = tensor

    def graph(self, graph: Message, scope: Scope) -> tuple[dict[str, Shape], int]:
        """(shapes of the outputs, work) of a graph whose inputs are in `scope`."""
        if len(scope.maps) > DEEPEST:
            raise Foreign(f"its graphs are nested more than {DEEPEST} deep")
        if 15 in graph:
            raise Foreign("it has sparse constants")
        for tensor in graph.messages(5):
            self.add(scope, tensor.text(8), _constant(tensor))
        self.nodes += len(graph.all(1))
        most = MOST_NODES if self.control else MOST_SEEING
        if self.nodes > most:
            raise Foreign(f"it has more than {most} nodes")
        work = 0
        for message in graph.messages(1):
            work += self.node(message, scope)
            if work > MOST_WORK:
                raise Foreign("one run of it takes too long")
        outputs = [port.text(1) for port in graph.messages(12)]
        return {name: _known(scope, name).shape for name in outputs}, work

    def node(self, message: Message, scope: Scope) -> int:
        """The work of one node, whose outputs are added."""
        _standard(message.text(7))
        name, attributes = message.text(4), {a.text(1): a for a in message.messages(5)}
        inputs = [_known(scope, given) if given else None for given in message.texts(1)]
        node = _Node(name, inputs, message.texts(2), attributes)
        known = _CONTROL.get(name) if self.control else None
        if known is None and name in _RULES:
            known = _RULES[name][1]
        if known is None:
            raise Foreign(f"it has the operator {name}, which none of Triune's graphs needs")
        strange = {key for key, a in attributes.items() if key not in known or a.integer(20) != _KINDS[key]}
        if strange or len(attributes) != len(message.all(5)):
            raise Foreign(f"it has {name} with {', '.join(sorted(strange)) or 'an attribute twice'}, which is not read")
        if name in _CONTROL:
            shapes, work = self.branch(node, scope) if name == "If" else self.loop(node, scope)
        else:
            shapes = _RULES[name][0](node)
            touched = sum(t.size for t in inputs if t is not None) + sum(map(math.prod, shapes))
            work = _NODE + node.work + touched * (_SLOW if name in _FUNCTIONS else 1)
        if len(node.outputs) > len(shapes):
            raise Foreign(f"it has {name} with {len(node.outputs)} outputs")
        for output, shape in zip(node.outputs, shapes, strict=False):
            if output:
                self.add(scope, output, _Tensor(shape))
        return work

    def branch(self, node: _Node, scope: Scope) -> tuple[list[Shape], int]:
        """Both sides give tensors of the same shapes."""
        (a, first), (b, second) = (
            self.graph(node.attributes[side].message(6), scope.new_child()) for side in ("then_branch", "else_branch")
        )
        if list(a.values()) != list(b.values()):
            raise Foreign("what a branch of it makes has another shape on each side")
        return list(a.values()), _NODE + first + second

    def loop(self, node: _Node, scope: Scope) -> tuple[list[Shape], int]:
        """A number of turns that is a constant, and carries on what it was given."""
        turns, carried = node.ints(0), [node.shape(i) for i in range(2, len(node.inputs))]
        if turns is None or len(turns) != 1 or node.shape(0) or (node.inputs[1] and node.shape(1)):
            raise Foreign("it loops for a number of turns that is not known before the first run")
        body, inner = node.attributes["body"].message(6), scope.new_child()
        names = [port.text(1) for port in body.messages(11)]
        for name, shape in zip(names, [(), (), *carried], strict=True):
            self.add(inner, name, _Tensor(shape))
        made, work = self.graph(body, inner)
        if list(made.values())[1:] != carried:
            raise Foreign("what a loop of it carries on changes its shape")
        return carried, _NODE + max(0, turns[0]) * (_NODE + work)


def _standard(domain: str) -> None:
    if domain not in STANDARD:
        raise Foreign(f"it needs operators of {domain!r}, outside the ONNX standard")


def _known(scope: Scope, name: str) -> _Tensor:
    if name not in scope:
        raise Foreign(f"it needs {name!r} before it is made")
    return scope[name]


def _declared(port: Message) -> Shape:
    """The shape of an input, which must be fixed."""
    kind = port.message(2).message(1)
    if kind.integer(1) not in _SIZES or 2 not in kind:
        raise Foreign(f"its input {port.text(1)!r} is no tensor of numbers with a fixed shape")
    sides = [side.integer(1, -1) for side in kind.message(2).messages(1)]
    if min(sides, default=0) < 0:
        raise Foreign(f"the shape of its input {port.text(1)!r} is not fixed")
    return tuple(sides)


def _constant(tensor: Message) -> _Tensor:
    """A constant; it has as many values as it says, and has them here."""
    if 13 in tensor or tensor.integer(14):
        raise Foreign("it keeps a tensor in another file")
    shape, kind, raw = tuple(tensor.integers(1)), tensor.integer(2), tensor.all(9)
    if kind not in _SIZES or min(shape, default=0) < 0 or sum(map(len, raw)) != math.prod(shape) * _SIZES[kind]:
        raise Foreign(f"its constant {tensor.text(8)!r} does not hold the numbers that it declares")
    if kind not in _INTS or math.prod(shape) > _FEW:
        return _Tensor(shape)
    size, data = _INTS[kind], b"".join(raw)
    values = (int.from_bytes(data[i : i + size], "little", signed=True) for i in range(0, len(data), size))
    return _Tensor(shape, tuple(values))
