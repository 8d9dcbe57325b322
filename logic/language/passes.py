"""Passes over a finished graph: what loops carry unchanged, dead code, the estimate of its cost.

Knows: blocks and ops. Does not know: Python syntax, back ends.
"""

from __future__ import annotations

from logic.language import ops
from logic.language.ir import Block, Graph, Op, Value, walk


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
        if ops.can_fault(op, known):
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
        if ops.can_fault(op, known) or any(r in used for r in op.results):
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
    return ops.cost(op)


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
