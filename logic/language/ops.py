"""What every pure operation computes, on Python scalars and numpy arrays, and what it costs; passes over a finished
graph.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from logic.errors import PolicyFault
from logic.language import builtins as language
from logic.language import nan_rules
from logic.language.ir import INT, INT_LIMIT, Block, Graph, Op, Value, walk, within

# ----------------------------------------------------------------------------------------------------
# What every pure operation computes, on Python scalars and numpy arrays, and what it costs.
#
# A reference function faults by raising; callers hold `np.errstate(divide="raise", invalid="raise")`.


Attrs = Mapping[str, Any]


class Spec(NamedTuple):
    """`run(attrs, *args)`; `faults`: may it raise on some operands of the right type; `ns` per element; `plain`: the
    same without attributes, where it has none."""

    run: Callable[..., Any]
    faults: bool = False
    ns: float = 0.3
    plain: Callable[..., Any] | None = None


def bounded(value: int) -> int:
    """The value itself when it is within the language's integers, else a fault."""
    if not -INT_LIMIT <= value <= INT_LIMIT:
        raise PolicyFault("an integer beyond 2**53")
    return value


def power(a: Any, b: Any) -> Any:
    """`a ** b` on floats; a negative base with a fractional exponent is a fault, as is overflow of a scalar."""
    return nan_rules.power(a, b) if _floats(a, b) else math.pow(a, b)


def floordiv(a: Any, b: Any) -> Any:
    """`a // b`; numpy itself refuses int arrays whose divisor is zero."""
    return nan_rules.floordiv(a, b) if _floats(a, b) else a // b


def mod(a: Any, b: Any) -> Any:
    """`a % b`."""
    return nan_rules.mod(a, b) if _floats(a, b) else a % b


def _floats(a: Any, b: Any) -> bool:
    """Is either a float array?"""
    return (isinstance(a, np.ndarray) and a.dtype.kind == "f") or (isinstance(b, np.ndarray) and b.dtype.kind == "f")


def element(a: np.ndarray, *index: int) -> Any:
    """One element as a Python scalar; out of range is a fault, negative indices included."""
    for i, n in zip(index, a.shape, strict=True):
        if not 0 <= i < n:
            raise PolicyFault(f"index {i} lies outside 0 .. {n - 1}")
    return a.item(*index)


def pick(a: np.ndarray, i: int, axis: int) -> np.ndarray:
    """The sub-array at `i` of one axis; out of range is a fault."""
    if not 0 <= i < a.shape[axis]:
        raise PolicyFault(f"index {i} lies outside 0 .. {a.shape[axis] - 1}")
    return a[(slice(None),) * axis + (i,)]


def cut(a: np.ndarray, bounds: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Constant slice, step 1 on every axis."""
    return a[tuple(slice(lo, hi) for lo, hi in bounds)]


def cast(value: Any, kind: str) -> np.ndarray:
    """`value` as an array of the language's element type; an int beyond 32 bits is a fault."""
    made = np.asarray(value)
    wide = kind == "int" and made.dtype != np.int32 and made.size > 0
    if wide and not -(2**31) <= int(made.min()) <= int(made.max()) < 2**31:
        raise PolicyFault("a value beyond 32 bits in an int array")
    return made.astype(DTYPE[kind], copy=False)


DTYPE = {"bool": np.bool_, "int": np.int32, "float": np.float32}


def smaller(a: Any, b: Any) -> Any:
    """Python's min of two."""
    return b if b < a else a


def larger(a: Any, b: Any) -> Any:
    """Python's max of two."""
    return b if b > a else a


def whole(value: Any) -> int:
    """Python's int(), within the language's integers."""
    return bounded(int(value))


def _plain(f: Callable[..., Any], faults: bool = False, ns: float = 0.3) -> Spec:
    return Spec(lambda attrs, *args: f(*args), faults, ns, f)


def _axis(f: Callable[..., Any], faults: bool = False, ns: float = 1.0) -> Spec:
    return Spec(lambda attrs, a: f(a, attrs["axis"]), faults, ns)


SPECS: dict[str, Spec] = {
    "add": _plain(operator.add), "sub": _plain(operator.sub), "mul": _plain(operator.mul),
    "div": _plain(operator.truediv, True, 0.5), "floordiv": _plain(floordiv, True, 3.0),
    "mod": _plain(mod, True, 12.0), "pow": _plain(power, True, 10.0),
    "neg": _plain(operator.neg), "abs": _plain(abs), "sign": _plain(language.sign),
    "lt": _plain(operator.lt), "le": _plain(operator.le), "gt": _plain(operator.gt), "ge": _plain(operator.ge),
    "eq": _plain(operator.eq), "ne": _plain(operator.ne),
    "not": _plain(lambda a: ~a if isinstance(a, np.ndarray) else not a),
    "and": _plain(operator.and_), "or": _plain(operator.or_),
    "min": _plain(smaller), "max": _plain(larger), "clip": _plain(language.clip),
    "minimum": _plain(np.minimum), "maximum": _plain(np.maximum),
    "bound": _plain(bounded, True),
    "to_float": _plain(lambda a: cast(a, "float") if isinstance(a, np.ndarray) else float(a)),
    "to_int": _plain(lambda a: language.to_int(a) if isinstance(a, np.ndarray) else whole(a), True, 1.0),
    "floor": _plain(lambda a: bounded(math.floor(a)), True), "ceil": _plain(lambda a: bounded(math.ceil(a)), True),
    "round": _plain(lambda a: bounded(round(a)), True),
    "sqrt": _plain(math.sqrt, True),
    "floor_of": _plain(nan_rules.floor_of), "exp_of": _plain(nan_rules.exp_of, ns=1.0),
    "where": _plain(np.where, ns=1.0),
    "full": Spec(lambda attrs, v: np.full(attrs["shape"], cast(v, attrs["kind"])), True),
    "stack": Spec(lambda attrs, *v: cast(np.array(v), attrs["kind"]).reshape(attrs["shape"]), True, 50.0),
    "element": _plain(element, True),
    "pick": Spec(lambda attrs, a, i: pick(a, i, attrs["axis"]), True),
    "slice": Spec(lambda attrs, a: cut(a, attrs["bounds"]), ns=0.0),
    "reshape": Spec(lambda attrs, a: a.reshape(attrs["shape"]), ns=0.1),
    "gather": _plain(language.take, True, 3.5),
    "concat": _plain(language.concat),
    "put": _plain(language.put, True), "shift_push": _plain(language.shift_push, True),
    "scatter_add": Spec(lambda attrs, i, v: nan_rules.scatter_add(i, v, attrs["length"]), True, 2.5),
    "top_k": Spec(lambda attrs, a: language.top_k(a, attrs["k"]), True, 20.0),
    "argmax": _plain(language.argmax, True), "argmin": _plain(language.argmin, True),
    "total": _plain(nan_rules.total, True), "largest": _plain(language.largest, True),
    "smallest": _plain(language.smallest, True), "count": _plain(language.count),
    "any_of": _plain(language.any_of), "all_of": _plain(language.all_of),
    "sum_over": _axis(nan_rules.sum_over, True), "max_over": _axis(language.max_over),
    "min_over": _axis(language.min_over), "argmax_over": _axis(language.argmax_over, True),
    "matmul": _plain(nan_rules.matmul, True),
}  # fmt: skip

# Array arithmetic faults where scalars cannot: inf - inf, 0 * inf.
_INVALID = {"add", "sub", "mul"}
INT32 = -(2**31), 2**31 - 1
LARGE = 2**20  # elements beyond which memory is new from the system
INPUTS = ("memory", "thing", "grid", "gauge")
PROBE = "probe"  # probes.py: no result, kept wherever it stands


def can_fault(op: Op, known: dict[Op, bool] | None = None) -> bool:
    """May this op, run on operands of its types, be a fault? (`if` and `for`: may something inside?)

    `known` remembers answers about ops with blocks, for a caller that asks at every level.
    """
    if op.blocks:
        if known is None:
            return any(can_fault(inner) for block in op.blocks for inner in block.ops)
        if op not in known:
            known[op] = any(can_fault(inner, known) for block in op.blocks for inner in block.ops)
        return known[op]
    if op.name == PROBE:
        return True
    if op.name in INPUTS:
        return bool(op.args) and not op.attrs.get("safe")
    if narrows(op):
        return True
    if op.name in _INVALID:
        return op.result.type.kind == "float" and op.result.type.is_array
    if op.attrs.get("safe") and op.name != "scatter_add":  # of which it says that the indices are within
        return False
    return SPECS[op.name].faults


def narrows(op: Op) -> bool:
    """Does an int that may not fit 32 bits become an element of an int array, or an operand beside one?"""
    result = op.result.type
    if not result.is_array or result.kind != "int" or op.name == "where":
        return False
    return any(a.type == INT and not within(a, *INT32) for a in _elements(op))


def _elements(op: Op) -> list[Value]:
    """Operands but for indices."""
    if op.name in ("pick", "slice", "gather"):
        return []
    return op.args[2:] if op.name == "put" else op.args


def fold_cost(name: str, elements: int, arrays: bool) -> float:
    """Estimated nanoseconds of one op on constants; fresh memory of large arrays costs more than what is done to it."""
    spent = SPECS[name].ns * elements + (6.0 * elements if elements > LARGE else 0.0)
    return (9000.0 if arrays else 1500.0) + spent


def cost(op: Op) -> float:
    """Estimated nanoseconds of one op in numpy: a base, plus elements times weight (matmul: multiply-adds)."""
    biggest = max((v.type.size for v in (*op.args, *op.results)), default=1)
    arrays = any(v.type.is_array for v in (*op.args, *op.results))
    if op.name in INPUTS:
        return 30.0
    if op.name == PROBE:
        return 0.0
    if op.name == "matmul":
        a, b = (v.type.shape or () for v in op.args)
        biggest = op.args[0].type.size * (b[1] if len(b) > 1 else 1) if len(a) > 1 else op.args[1].type.size
        return 1000.0 + 0.1 * biggest
    return (800.0 if arrays else 30.0) + SPECS[op.name].ns * biggest


# ----------------------------------------------------------------------------------------------------
# Passes over a finished graph: what loops carry unchanged, dead code, the estimate of its cost.
#
# Python syntax, back ends.


def optimise(graph: Graph) -> None:
    """Drop what is carried unchanged and what nothing needs, until nothing changes."""
    for _ in range(20):
        same = _Invariants()
        same.block(graph.body)
        _replace(graph.body, same.known)
        if not _sweep(graph) and not same.known:
            return


class _Invariants:
    """Values carried by a loop that no iteration changes: parameter and result are the starting value."""

    def __init__(self) -> None:
        self.known: dict[Value, Value] = {}

    def block(self, block: Block) -> None:
        for op in block.ops:
            for inner in op.blocks:
                self.block(inner)
            if op.name == "for":
                self.loop(op)
            elif op.name == "if":
                self.branch(op)

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        for start, param, end, result in zip(op.args, body.params[1:], body.results[1:], op.results, strict=True):
            if end is param:
                self.known[param] = self.known[result] = start

    def branch(self, op: Op) -> None:
        for result, a, b in zip(op.results, op.blocks[0].results, op.blocks[1].results, strict=True):
            if a is b:
                self.known[result] = a


def _resolve(value: Value, known: dict[Value, Value]) -> Value:
    while value in known:
        value = known[value]
    return value


def _replace(block: Block, known: dict[Value, Value]) -> None:
    if not known:
        return
    for op in block.ops:
        op.args = [_resolve(a, known) for a in op.args]
        for inner in op.blocks:
            _replace(inner, known)
    block.results = [_resolve(r, known) for r in block.results]


def _sweep(graph: Graph) -> bool:
    """Remove ops that neither fault nor are used, and results of `if` and `for` that nobody reads."""
    known: dict[Op, bool] = {}
    return _sweep_block(graph.body, _used(graph, known), known)


def _used(graph: Graph, known: dict[Op, bool]) -> set[Value]:
    """Values that an observable thing depends on: results of the graph, faults, conditions of what faults."""
    used: set[Value] = set()
    work: list[Value] = list(graph.body.results)
    owners: dict[Value, Op] = {}
    for op in walk(graph.body):
        if op.name == "for":
            owners.update((p, op) for p in op.blocks[0].params)
        if can_fault(op, known):
            work.extend(op.args if not op.blocks else op.args[:1] if op.name == "if" else op.blocks[0].results[:1])
    while work:
        value = work.pop()
        if value not in used:
            used.add(value)
            work.extend(_needs(value, value.op or owners.get(value)))
    return used


def _needs(value: Value, op: Op | None) -> list[Value]:
    """What a value is computed from."""
    if op is None:
        return []
    if op.name == "if":
        i = op.results.index(value)
        return [op.args[0], op.blocks[0].results[i], op.blocks[1].results[i]]
    if op.name != "for":
        return op.args
    body = op.blocks[0]
    at = body.params.index(value) - 1 if value.op is None else op.results.index(value)
    return [body.results[0], *((op.args[at], body.results[at + 1]) if at >= 0 else ())]


def _sweep_block(block: Block, used: set[Value], known: dict[Op, bool]) -> bool:
    changed = False
    kept = []
    for op in block.ops:
        for inner in op.blocks:
            changed |= _sweep_block(inner, used, known)
        if op.blocks:
            changed |= _trim(op, used)
        if can_fault(op, known) or any(r in used for r in op.results):
            kept.append(op)
        else:
            changed = True
    block.ops = kept
    return changed


def _trim(op: Op, used: set[Value]) -> bool:
    """Results nobody reads, with what feeds them."""
    first = 1 if op.name == "for" else 0
    body = op.blocks[0]
    keep = [i for i, r in enumerate(op.results) if r in used or (first and body.params[i + 1] in used)]
    if len(keep) == len(op.results):
        return False
    op.results = [op.results[i] for i in keep]
    for block in op.blocks:
        block.results = block.results[:first] + [block.results[i + first] for i in keep]
    if first:
        op.args = [op.args[i] for i in keep]
        body.params = body.params[:1] + [body.params[i + 1] for i in keep]
    return True


def worst_ns(block: Block) -> float:
    """Estimated worst cost of a block: the dearer side of every `if`, every iteration of every `for`."""
    return sum(map(op_ns, block.ops))


def op_ns(op: Op) -> float:
    """The same of one op."""
    if op.name == "if":
        return 20.0 + max(worst_ns(inner) for inner in op.blocks)
    if op.name == "for":
        return len(range(op.attrs["start"], op.attrs["stop"], op.attrs["step"])) * (50.0 + worst_ns(op.blocks[0]))
    return cost(op)


def deepest(block: Block) -> tuple[int, Op | None]:
    """How many ops stand one inside the other, and the innermost."""
    found: tuple[int, Op | None] = 0, None
    work = [(op, 1) for op in block.ops if op.blocks]
    while work:
        op, depth = work.pop()
        if depth > found[0]:
            found = depth, op
        work += [(inner, depth + 1) for b in op.blocks for inner in b.ops if inner.blocks]
    return found


def live_bytes(block: Block) -> int:
    """Bytes of every array that one run of the block may make, an upper bound of what is alive."""
    total = 0
    for op in walk(block):
        if not op.blocks:
            total += sum(r.type.size * 4 for r in op.results if r.type.is_array)
    return total


def table_bytes(graph: Graph) -> int:
    """Bytes of the constant arrays that the graph holds."""
    found: dict[int, int] = {}
    for op in walk(graph.body):
        for value in (*op.args, *(r for b in op.blocks for r in b.results)):
            if value.const is not None and value.type.is_array:
                found[id(value.const)] = value.const.nbytes
    return sum(found.values())
