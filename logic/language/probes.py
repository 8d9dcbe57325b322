"""Probes: marks in a graph that say, in the words of the text, what a step passes. Only tracing asks for them.

Knows: which names stand in a condition or an answer, and what they are worth there. Does not know: back ends, output.

A `probe` op has no result and is never dropped, so what it names stays alive and blocks without effect stay in the
graph; logic.runtime.trace runs such a graph. Graphs for play have no probes. Attributes: `kind` (if, ternary, return),
`answers` (how many arguments come first: the condition, or what is returned), `names` of the remaining arguments,
`span` of that expression (as in `ast`: line, column, end line, end column), `function`, `depth` of calls.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from logic.language.bound import MEMORY, SCENE, Bound, Pack, Record, Thing
from logic.language.ir import Op, Value
from logic.language.ranges import within
from logic.language.records import leaves
from perception.scene import SLOT_FIELDS

if TYPE_CHECKING:
    from logic.language.expressions import Expressions


def probe(low: Expressions, node: ast.AST, kind: str, shown: ast.expr, found: Bound) -> None:
    """Leave a probe at `node`: `found` is what the expression `shown` stands for."""
    if not low.probing or not low.entry:
        return
    answers = list(_values(found))
    named = dict(_named(low, shown))
    span = shown.lineno, shown.col_offset, shown.end_lineno, shown.end_col_offset
    at = {"kind": kind, "answers": len(answers), "names": tuple(named), "span": span}
    at |= {"function": low.stack[-1][1], "depth": len(low.stack) - 1}
    line, file = getattr(node, "lineno", 0), low.frame.scope.file
    low.builder.block.ops.append(Op("probe", [*answers, *named.values()], at, [], [], line, file))


def _values(found: Bound) -> Iterator[Value]:
    """What is answered, a record field by field."""
    for item in found.items if isinstance(found, Pack) else (found,):
        if isinstance(item, Value):
            yield item
        elif isinstance(item, Record):
            yield from (value for _, value in leaves(item))


def _named(low: Expressions, node: ast.AST) -> Iterator[tuple[str, Value]]:
    """Locals, constants, memory and scene fields that an expression names, in its order."""
    if isinstance(node, ast.Attribute):
        value = _field(low, node)
        if value is not None:
            yield ast.unparse(node), value
            return
    if isinstance(node, ast.Name):
        value = _name(low, node.id)
        if value is not None:
            yield node.id, value
        return
    for child in ast.iter_child_nodes(node):
        yield from _named(low, child)


def _name(low: Expressions, name: str) -> Value | None:
    scope = low.frame.scope
    bound = low.state.locals.get(name, scope.constants.get(name))
    if bound is None and name in scope.imported:
        other, original = scope.imported[name]
        bound = other.constants.get(original)
    return bound if isinstance(bound, Value) else None


def _field(low: Expressions, node: ast.Attribute) -> Value | None:
    """`memory.x`, `scene.ball.x`, `scene.enemy[i].x`, `scene.air`: never something that could fault or call."""
    owner = node.value
    record = _record(low, owner)
    if record is not None and node.attr in record.type.fields:
        value = low.record_field(node, record)
        return value if isinstance(value, Value) else None
    if isinstance(owner, ast.Name):
        bound = low.state.locals.get(owner.id)
        if bound is MEMORY:
            return low.state.memory.get(node.attr)
        if isinstance(bound, Thing) and bound.at is None and node.attr in SLOT_FIELDS:
            return low.evaluate(node)
        gauge = bound is SCENE and any(g.name == node.attr for g in low.schema.gauges)
        return low.evaluate(node) if gauge else None
    if node.attr in SLOT_FIELDS and _slot(low, owner):
        return low.evaluate(node)
    return None


def _record(low: Expressions, node: ast.expr) -> Record | None:
    """The record that a name, `memory.ball` or a part of one stands for."""
    bound: Bound | None = None
    if isinstance(node, ast.Name):
        bound = low.state.locals.get(node.id, low.frame.scope.constants.get(node.id))
    elif isinstance(node, ast.Attribute):
        inner = _record(low, node.value)
        is_memory = isinstance(node.value, ast.Name) and low.state.locals.get(node.value.id) is MEMORY
        if inner is not None and node.attr in inner.type.fields:
            bound = low.record_field(node, inner)
        elif is_memory and node.attr in low.stored:
            bound = low.memory_field(node)
    return bound if isinstance(bound, Record) else None


def _slot(low: Expressions, owner: ast.expr) -> bool:
    """Is this one thing of the scene, with an index that is surely in range?"""
    index = owner.slice if isinstance(owner, ast.Subscript) else None
    part = owner.value if isinstance(owner, ast.Subscript) else owner
    if not (isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)):
        return False
    if low.state.locals.get(part.value.id) is not SCENE:
        return False
    count = next((t.count for t in low.schema.things if t.name == part.attr), 0)
    if index is None:
        return count == 1
    if isinstance(index, ast.Constant):
        return isinstance(index.value, int) and 0 <= index.value < count
    bound = low.state.locals.get(index.id) if isinstance(index, ast.Name) else None
    return isinstance(bound, Value) and within(bound, 0, count - 1)
