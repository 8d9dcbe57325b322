"""What a policy may import: the library's functions, records and constants, with their signatures and docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from logic.language.program import LIBRARY_FOLDER, shipped_library

INNER = ("maths",)  # modules behind `math.sin` and its kin, which nobody imports


def library_page() -> str:
    """The whole library as Markdown, made from its texts."""
    names = sorted(path.stem for path in LIBRARY_FOLDER.glob("*.py") if path.stem not in ("__init__", *INNER))
    return "\n\n".join("\n".join(_module(name)) for name in names) + "\n"


def _module(name: str) -> Iterator[str]:
    text = shipped_library(name)
    tree = ast.parse(text)
    yield f"### logic.lib.{name}"
    yield ""
    yield (ast.get_docstring(tree) or "").strip()
    yield ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield from _thing(f"{node.name}({ast.unparse(node.args)})", ast.get_docstring(node))
        elif isinstance(node, ast.ClassDef):
            fields = "; ".join(ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign))
            yield from _thing(f"class {node.name}: {fields}", ast.get_docstring(node))
        elif isinstance(node, ast.Assign):
            yield f"- `{ast.unparse(node)}`"


def _thing(head: str, told: str | None) -> Iterator[str]:
    said = " ".join((told or "").split())
    yield f"- `{head}`{f': {said}' if said else ''}"
