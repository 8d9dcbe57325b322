"""What a piece of a text may change or leave, read off its tree: names, memory fields, exits.

Knows: statements. Does not know: values, types. Every answer errs on the side of "may".
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from logic.compiler.bound import Scope


def assigned_names(body: list[ast.stmt]) -> frozenset[str]:
    """Every local name that the statements assign (worked out once per node)."""
    if not body:
        return frozenset()
    known: dict[int, frozenset[str]] | None = getattr(body[0], "_assigned", None)
    if known is None:
        known = body[0]._assigned = {}  # type: ignore[attr-defined]
    if len(body) not in known:
        known[len(body)] = _assigned(body)
    return known[len(body)]


def _assigned(body: list[ast.stmt]) -> frozenset[str]:
    nodes = (node for statement in body for node in ast.walk(statement))
    return frozenset(n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def stored_fields(body: Iterable[ast.stmt], scope: Scope, seen: set[tuple[str, str]] | None = None) -> set[str]:
    """Every memory field that the statements, or helpers they call, assign."""
    seen = set() if seen is None else seen
    found: set[str] = set()
    for node in (n for statement in body for n in ast.walk(statement)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            target = find_function(node.func.id, scope)
            if target is not None and (target[0].file, target[1].name) not in seen:
                seen.add((target[0].file, target[1].name))
                found |= stored_fields(target[1].body, target[0], seen)
    return found


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
