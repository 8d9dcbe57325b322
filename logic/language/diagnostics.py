"""Diagnostics: what is wrong with a text, where, and what to write instead.

Knows: the record, collecting it without duplicates, the nearest valid word. Does not know: the language's rules.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

MOST = 200  # after so many the rest is noise
GIVE_UP = 300  # errors said, repeated ones included, after which compilation stops
CANDIDATES = 60  # names looked at for a suggestion
MOST_SUGGESTED = 40  # errors said, after which no more suggestions are looked for


@dataclass(frozen=True)
class Diagnostic:
    """One error. `construct` names the kind of thing refused, `source` is its line, `instead` what to write."""

    line: int
    column: int
    construct: str
    source: str
    message: str
    instead: str = ""
    file: str = "policy"

    def __str__(self) -> str:
        tail = f"; {self.instead}" if self.instead else ""
        return f"{self.file}, line {self.line}, column {self.column}: {self.message}{tail}\n    {self.source}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return asdict(self)


class Abort(Exception):
    """Compilation cannot go on (a budget is spent, the text does not parse); the reason is already reported."""


class Reporter:
    """Collects diagnostics over several texts (policy and library modules)."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.outer: list[list[Diagnostic]] = []  # found before the attempts under way
        self.lines: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.said = 0

    def add_source(self, file: str, text: str) -> None:
        """Remember a text so that diagnostics can quote its lines."""
        self.lines[file] = text.split("\n")

    def say(self, file: str, node: ast.AST | tuple[int, int], message: str, instead: str = "", what: str = "") -> None:
        """Report one error at a node or at (line, column from 1)."""
        self.said += 1
        if self.said > GIVE_UP:
            raise Abort("too many errors")
        lines = self.lines.get(file, [])
        line, column = place(node)
        whole = lines[line - 1] if 0 < line <= len(lines) else ""
        if isinstance(node, ast.AST) and not whole.isascii():  # syntax trees count bytes
            column = len(whole.encode()[: column - 1].decode(errors="ignore")) + 1
        text = whole.strip()[:200]
        construct = what or (construct_of(node) if isinstance(node, ast.AST) else "text")
        if self.calls:
            message = f"{message} (in {' called from '.join(reversed(self.calls[-3:]))})"
        made = Diagnostic(line, column, construct, text, message, instead, file)
        same = any((d.file, d.line, d.column, d.construct) == (file, line, column, construct) for d in self.found)
        if not same and len(self.found) < MOST:
            self.found.append(made)

    def abort(self, file: str, node: ast.AST | tuple[int, int], message: str, instead: str = "") -> Abort:
        """Report and give the exception to raise."""
        self.say(file, node, message, instead)
        return Abort(message)

    @property
    def anything(self) -> bool:
        """Has anything been said, in or around the attempts that are under way?"""
        return bool(self.found) or any(self.outer)

    @contextmanager
    def attempt(self) -> Iterator[list[Diagnostic]]:
        """Diagnostics said inside are kept apart: the yielded list holds them afterwards."""
        self.outer.append(self.found)
        self.found = []
        kept: list[Diagnostic] = []
        try:
            yield kept
        finally:
            kept.extend(self.found)
            self.found = self.outer.pop()

    def keep(self, said: Iterable[Diagnostic]) -> None:
        """Accept diagnostics of an attempt."""
        self.found.extend(d for d in said if d not in self.found)

    def sorted(self) -> list[Diagnostic]:
        """All diagnostics by file and place."""
        return sorted(self.found, key=lambda d: (d.file, d.line, d.column))


def place(node: ast.AST | tuple[int, int]) -> tuple[int, int]:
    """(line, column), both from 1."""
    if isinstance(node, tuple):
        return node
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` or nothing."""
    length = len(name)
    near = sorted((k for k in known if abs(len(k) - length) <= 3), key=lambda k: (abs(len(k) - length), k))[:CANDIDATES]
    close = difflib.get_close_matches(name[:64], near, 1)
    return f"did you mean {close[0]!r}?" if close else ""


_CONSTRUCTS = {
    "FunctionDef": "function", "ClassDef": "class", "AugAssign": "augmented assignment", "AnnAssign": "annotation",
    "BinOp": "operation", "BoolOp": "and/or", "UnaryOp": "operation", "IfExp": "ternary", "ListComp": "comprehension",
    "SetComp": "comprehension", "DictComp": "comprehension", "GeneratorExp": "generator", "JoinedStr": "f-string",
    "NamedExpr": "walrus", "While": "while loop", "For": "for loop", "ImportFrom": "import", "arg": "parameter",
}  # fmt: skip


def construct_of(node: ast.AST) -> str:
    """The construct's name to people."""
    name = type(node).__name__
    return _CONSTRUCTS.get(name, name.lower())
