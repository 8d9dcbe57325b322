"""What a piece of a text may change or leave, read off its tree: names, memory fields, exits.

Knows: statements. Does not know: values, types. Every answer errs on the side of "may".
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from logic.language.bound import Scope


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
