"""Where the ops of a graph are best emitted: later, inside the one branch that needs them; and which `if`s are worth
a real branch, which loops a real loop.

Knows: blocks, uses, rough costs in onnxruntime. Does not know: nodes.
"""

from __future__ import annotations

from logic.language import ops
from logic.language.ir import Block, Graph, Op, Value

# Microseconds of onnxruntime, one thread.
NODE, CHOICE, BRANCH, OUTPUT = 0.45, 0.85, 1.0, 0.15
_NODES = {
    "floordiv": 4.0, "mod": 3.0, "pow": 6.0, "sign": 3.0, "min": 2.0, "max": 2.0, "clip": 3.0, "bound": 2.0, "ne": 2.0,
    "floor": 4.0, "ceil": 4.0, "round": 4.0, "to_int": 3.0, "element": 3.0, "div": 3.0, "memory": 0.0, "thing": 0.0,
    "gauge": 0.0, "sqrt": 4.0,
}  # fmt: skip
_UNROLLED = 24.0  # microseconds of a loop's body times iterations


class Plan:
    """`home[op]`: the block in which an op that cannot fault is emitted when first needed; absent: where it stands."""

    def __init__(self, graph: Graph) -> None:
        self.home: dict[Op, Block] = {}
        self._parent: dict[Block, tuple[Op, Block]] = {}
        self._uses: dict[Value, list[Block]] = {}
        self._visit(graph.body)

    def _use(self, values: list[Value], block: Block) -> None:
        for value in values:
            if value.const is None:
                self._uses.setdefault(value, []).append(block)

    def _visit(self, block: Block) -> None:
        """Last op first, so that all uses of a result are known."""
        self._use(block.results, block)
        for op in reversed(block.ops):
            place = self._place(op, block)
            if place is not block:
                self.home[op] = place
            for inner in op.blocks:
                self._parent[inner] = op, place
            for inner in op.blocks:
                self._visit(inner)
            self._use(op.args, place)

    def _place(self, op: Op, block: Block) -> Block:
        if ops.can_fault(op):
            return block
        common: list[Block] | None = None
        for result in op.results:
            for use in self._uses.get(result, []):
                path = self._path(use, block)
                common = path if common is None else [a for a, b in zip(common, path, strict=False) if a is b]
        return common[-1] if common else block

    def _path(self, block: Block, top: Block) -> list[Block]:
        """Blocks from `top` down to `block`, ending before a loop's body."""
        found = [block]
        while block is not top:
            op, block = self._parent[block]
            if op.name == "for":
                found = []
            found.append(block)
        return found[::-1]


class Costs:
    """Which `if`s are worth a branch and which loops a Loop. Remembers: a nest is looked at once, not once a level."""

    def __init__(self) -> None:
        self.spent: dict[Block, float] = {}
        self.plain: dict[Block, bool] = {}
        self.faults: dict[Op, bool] = {}

    def scalar_only(self, block: Block) -> bool:
        """Nothing but scalar ops, and `if`s of nothing but them."""
        if block not in self.plain:
            self.plain[block] = all(
                op.name != "for"
                and not any(v.type.is_array for v in op.results)
                and (op.name == "element" or not any(a.type.is_array for a in op.args))
                and all(self.scalar_only(inner) for inner in op.blocks)
                for op in block.ops
            )
        return self.plain[block]

    def can_fault(self, block: Block) -> bool:
        """May anything in the block fault?"""
        return any(ops.can_fault(op, self.faults) for op in block.ops)

    def estimate(self, block: Block) -> float:
        """Microseconds of a block of scalar ops."""
        if block not in self.spent:
            self.spent[block] = sum(
                min(self.chosen(op), self.branch(op)) if op.name == "if" else NODE * _NODES.get(op.name, 1.0)
                for op in block.ops
            )
        return self.spent[block]

    def chosen(self, op: Op) -> float:
        """An `if` as both sides and a choice of each result."""
        sides = sum(self.estimate(block) for block in op.blocks)
        faults = sum(2 * NODE for block in op.blocks if self.can_fault(block))
        return sides + faults + NODE + sum(map(_choice, op.results, *(block.results for block in op.blocks)))

    def branch(self, op: Op) -> float:
        """An `if` as a branch: the sides are taken to be equally likely."""
        spent = BRANCH + OUTPUT * len(op.results)
        for block in op.blocks:
            own = {r for inner in block.ops for r in inner.results}
            faults = NODE if self.can_fault(block) else 0.0
            spent += (self.estimate(block) + NODE * sum(r not in own for r in block.results) + faults) / 2
        return spent

    def is_choice(self, op: Op) -> bool:
        """Is an `if` cheaper without a branch?"""
        small = all(r.type.size <= 256 for r in op.results)
        return small and all(self.scalar_only(block) for block in op.blocks) and self.chosen(op) <= self.branch(op)

    def is_unrolled(self, op: Op) -> bool:
        """Is a `for` cheaper written out? Only where no iteration can leave early."""
        count = len(range(op.attrs["start"], op.attrs["stop"], op.attrs["step"]))
        body = op.blocks[0]
        if count <= 1:
            return True
        stays = body.results[0].const is False
        return stays and count <= 8 and self.scalar_only(body) and count * self.estimate(body) <= _UNROLLED


def _choice(result: Value, a: Value, b: Value) -> float:
    """Choosing one result."""
    known = (a.const is not None) + (b.const is not None)
    return (2 - known) * NODE if result.type.kind == "bool" else CHOICE if known < 2 else NODE
