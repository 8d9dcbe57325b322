"""From text to syntax tree under caps: size, encoding, nesting, digits. Failures of the parser are diagnostics.

Knows: what Python's own parser may raise. Does not know: which constructs the language has (structure.py).
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from logic.language.diagnostics import Abort, Reporter
from logic.language.limits import AST_NODES, INT_DIGITS, NESTING, OPERANDS, SOURCE_CHARS

_LONG_NUMBER = re.compile(r"[0-9][0-9_]{400,}")
# What people do not see, or see as something else than the parser does: control characters, other line ends,
# reversed writing, characters without width (but for those that make up emoji), lone surrogates, tags.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)
_START = (1, 1)


def parse(text: str | bytes, file: str, reporter: Reporter) -> ast.Module:
    """The tree; Abort after the reason is reported."""
    source = _decode(text, file, reporter)
    reporter.add_source(file, source)
    _characters(source, file, reporter)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, file)
    except SyntaxError as e:
        where = (e.lineno or 1, e.offset or 1)
        raise reporter.abort(file, where, f"not valid Python: {e.msg}", "check brackets, colons and spaces") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as e:
        longest = 1 + max(range(source.count("\n") + 1), key=list(map(len, source.split("\n"))).__getitem__)
        what = str(e) or "nested too deep"
        raise reporter.abort(file, (longest, 1), f"cannot be parsed: {what}", "nest less, shorten numbers") from None
    _measure(tree, file, reporter)
    return tree


def _decode(text: str | bytes, file: str, reporter: Reporter) -> str:
    if isinstance(text, str):
        return plain_lines(text)
    try:
        return plain_lines(text.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise reporter.abort(
            file, _START, f"not UTF-8: {e.reason} at byte {e.start}", "save the file as UTF-8"
        ) from None


def plain_lines(text: str) -> str:
    """The text without a byte order mark, its lines ending as this compiler counts them."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _characters(source: str, file: str, reporter: Reporter) -> None:
    if len(source) > SOURCE_CHARS:
        message = f"{len(source)} characters; the limit is {SOURCE_CHARS}"
        raise reporter.abort(file, _START, message, "move shared parts to a library module")
    for number, line in enumerate(source.split("\n"), 1):
        hidden = _HIDDEN.search(line)
        if hidden:
            c, column = hidden.group(), hidden.start() + 1
            raise reporter.abort(file, (number, column), f"character U+{ord(c):04X} in the text", "remove it")
        if len(line) >= 400 and (found := _LONG_NUMBER.search(line)):
            where = (number, found.start() + 1)
            raise reporter.abort(file, where, "a number with hundreds of digits", "numbers stay within 2**53")


def _measure(tree: ast.Module, file: str, reporter: Reporter) -> None:
    """Nesting and node caps, by a walk that does not recurse."""
    stack: list[tuple[ast.AST, int, ast.AST]] = [(tree, 0, tree)]
    count = 0
    while stack:
        node, depth, placed = stack.pop()
        placed = node if hasattr(node, "lineno") else placed
        count += 1
        if depth > NESTING:
            raise reporter.abort(file, placed, f"nested deeper than {NESTING} levels", "split it over helper functions")
        if count > AST_NODES:
            raise reporter.abort(
                file, placed, f"more than {AST_NODES} syntax nodes", "move shared parts to the library"
            )
        if isinstance(node, (ast.BoolOp, ast.Compare)) and operands(node) > OPERANDS:
            message = f"a condition of more than {OPERANDS} parts"
            raise reporter.abort(file, placed, message, "split it, or use an array and `any_of`, `all_of`")
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) >= 10**INT_DIGITS:
            raise reporter.abort(file, placed, "a number too long for the language", "numbers stay within 2**53")
        stack.extend((child, depth + 1, placed) for child in ast.iter_child_nodes(node))


def operands(node: ast.BoolOp | ast.Compare) -> int:
    """Parts of a condition."""
    return len(node.values) if isinstance(node, ast.BoolOp) else 1 + len(node.comparators)


def guarded_stack() -> int:
    """Recursion limit under which a tree of the allowed nesting can be compiled."""
    return max(sys.getrecursionlimit(), 6000)


@contextmanager
def deep_stack() -> Iterator[None]:
    """Inside, recursion may go that deep."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(guarded_stack())
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


__all__ = ["Abort", "deep_stack", "parse"]
