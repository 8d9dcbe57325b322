"""The named things of a policy text and the lines they stand on.

A thing is named by what it defines: a function, a constant, `Memory`, an import by its module (`logic.lib.ball`), the
file's docstring as `__doc__`. It spans whole lines, decorators and the comment behind its last line included.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from logic.language.diagnostics import Abort, Reporter
from logic.language.frontend.text import LIBRARY, parse
from supervisor.errors import SupervisorError

DOC = "__doc__"
FUNCTION, CONSTANT, MEMORY, IMPORT, DOCSTRING = "function", "constant", "Memory", "import", "docstring"
_SECTION = re.compile(r"#+\s*[-=#*~_]{3,}")  # a heading over several things belongs to none of them


class Unreadable(SupervisorError):
    """A text that does not parse; `simple` when it is plainly not Python, else it is beyond some limit."""

    def __init__(self, message: str, simple: bool) -> None:
        super().__init__(message)
        self.simple = simple


@dataclass(frozen=True)
class Unit:
    """One named thing on lines `start` to `stop` (from 0, `stop` excluded); `sure` when it shares no line."""

    name: str
    kind: str
    start: int
    stop: int
    node: ast.stmt
    sure: bool = True

    @property
    def dump(self) -> str:
        """Its meaning without its place."""
        return ast.dump(self.node)

    @property
    def mentions(self) -> set[str]:
        """Names used in it."""
        return {n.id for n in ast.walk(self.node) if isinstance(n, ast.Name)}


def tree_of(text: str, what: str) -> ast.Module:
    """The syntax tree under the compiler's caps; Unreadable says what is wrong."""
    reporter = Reporter()
    try:
        return parse(text, what, reporter)
    except Abort:
        first = reporter.found[0]
        raise Unreadable(str(first), first.message.startswith("not valid Python")) from None


def identity(node: ast.stmt, first: bool = False) -> tuple[str, str] | None:
    """(kind, name) of a statement, or None when it names nothing; `first` of a text may be its docstring."""
    if isinstance(node, ast.FunctionDef):
        return FUNCTION, node.name
    if isinstance(node, ast.ClassDef) and node.name == "Memory":
        return MEMORY, node.name
    if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith(LIBRARY):
        return IMPORT, node.module or ""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return CONSTANT, node.targets[0].id
    if first and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and type(node.value.value) is str:
        return DOCSTRING, DOC
    return None


class Text:
    """A policy text taken apart."""

    def __init__(self, text: str, what: str = "policy.py") -> None:
        self.text, self.lines = text, text.split("\n")
        self.tree = tree_of(text, what)
        self.units = list(self._units())

    def _units(self) -> Iterator[Unit]:
        spans = [_span(node) for node in self.tree.body]
        for i, node in enumerate(self.tree.body):
            named = identity(node, i == 0)
            if named:
                start, stop = spans[i]
                before = spans[i - 1][1] if i else 0
                after = spans[i + 1][0] if i + 1 < len(spans) else stop
                yield Unit(named[1], named[0], start, stop, node, before <= start and stop <= after)

    @cached_property
    def names(self) -> list[str]:
        """Names of all things, in order, repeated ones repeated."""
        return [u.name for u in self.units]

    def find(self, name: str) -> list[Unit]:
        """Things of this name."""
        return [u for u in self.units if u.name == name]

    @cached_property
    def imported(self) -> dict[str, str]:
        """Library functions by name: the module each comes from."""
        found = [u.node for u in self.units if u.kind == IMPORT]
        return {a.asname or a.name: n.module or "" for n in found if isinstance(n, ast.ImportFrom) for a in n.names}

    @cached_property
    def fields(self) -> set[str]:
        """Fields of Memory."""
        items = [i for u in self.units if isinstance(u.node, ast.ClassDef) for i in u.node.body]
        return {i.target.id for i in items if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)}

    def bound(self) -> list[str]:
        """Every name that the text binds at module level, repeated ones repeated."""
        names = [u.name for u in self.units if u.kind in (FUNCTION, CONSTANT, MEMORY)]
        for unit in self.units:
            if isinstance(unit.node, ast.ImportFrom):
                names += [a.asname or a.name for a in unit.node.names]
        return names

    def top(self, unit: Unit) -> int:
        """First line of the comment that stands directly over a thing, headings left out; else its own first line."""
        line = unit.start
        while line and self.lines[line - 1].startswith("#") and not _SECTION.match(self.lines[line - 1]):
            line -= 1
        return line

    def source(self, unit: Unit) -> str:
        """Its lines, without a final newline."""
        return "\n".join(self.lines[unit.start : unit.stop])

    def behind(self, unit: Unit) -> str:
        """The comment behind its last line with the space before it, or ''."""
        end = unit.node.end_col_offset or 0
        rest = self.lines[unit.stop - 1].encode()[end:].decode()
        return rest if rest.lstrip().startswith("#") else ""


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)]) - 1, node.end_lineno or node.lineno
