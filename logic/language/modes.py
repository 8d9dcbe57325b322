"""Named modes: `mode: str = "search"` in Memory becomes an int, its strings the numbers 0, 1, 2 ... in that text.

Knows: fields of Memory declared `str`, the closed set of strings they are given, comparing with == and !=. Rewrites the
tree before anything else looks at it. Does not know: values, types, other texts: a mode is at home in one file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from logic.language.diagnostics import Reporter, did_you_mean

ALLOWED = "a mode is assigned a string constant, or compared with one by == or !="


class Modes(ast.NodeTransformer):
    """Rewrites one module in place; `run` says what is wrong."""

    def __init__(self, file: str, reporter: Reporter) -> None:
        self.file, self.reporter = file, reporter
        self.constants: dict[str, str] = {}  # module constants that are strings
        self.names: dict[str, list[str]] = {}  # by field: its strings, the default first

    def run(self, tree: ast.Module) -> dict[str, tuple[str, ...]]:
        """The strings of each field that is a mode, in the order of their numbers."""
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name), *_], value=ast.Constant(value=str(string))):
                    self.constants[name] = string
        fields = list(_fields(tree))
        for item in fields:
            text = self.text(item.value)
            if text is None:
                self.say(item, "the default of a mode is a string constant", 'write `mode: str = "search"`')
            elif not is_mode(text):
                self.say(item, "a mode is 1 to 64 printable characters", 'write `mode: str = "search"`')
            self.names[item.target.id] = [text or ""]  # type: ignore[union-attr]
        if not fields:
            return {}
        self.collect(tree)
        for item in fields:
            item.annotation = ast.copy_location(ast.Name("int", ast.Load()), item.annotation)
            item.value = ast.copy_location(ast.Constant(0), item)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.visit(node)
        return {field: tuple(names) for field, names in self.names.items()}

    def say(self, node: ast.AST, message: str, instead: str) -> None:
        self.reporter.say(self.file, node, message, instead)

    def text(self, node: ast.AST | None) -> str | None:
        """The string that a literal or a module constant stands for."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.constants.get(node.id) if isinstance(node, ast.Name) else None

    def mode(self, node: ast.AST) -> str:
        """The field, when the node is `memory.FIELD` of a mode; else ""."""
        is_field = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "memory"
        return node.attr if is_field and node.attr in self.names else ""  # type: ignore[attr-defined]

    def collect(self, tree: ast.Module) -> None:
        """Every string that is assigned to a mode."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and self.mode(node.targets[0]):
                known = self.names[self.mode(node.targets[0])]
                for side in _sides(node.value):
                    text = self.text(side)
                    if text is not None and text not in known:
                        known.append(text)

    def number(self, field: str, node: ast.expr) -> ast.expr:
        """The string at `node` as its number."""
        text, names = self.text(node), self.names[field]
        if text is None:
            self.say(node, f"memory.{field} is a mode, this is not a string constant", ALLOWED)
        elif not is_mode(text):
            self.say(node, "a mode is 1 to 64 printable characters", "choose a short plain word")
        elif text not in names:
            hint = did_you_mean(text, names) or f"its modes are {', '.join(map(repr, names))}"
            self.say(node, f"memory.{field} is never {text!r}", hint)
        return ast.copy_location(ast.Constant(names.index(text) if text in names else 0), node)

    def numbers(self, field: str, node: ast.expr) -> ast.expr:
        """The same for what is assigned, where a ternary may choose."""
        if isinstance(node, ast.IfExp):
            node.test = self.visit(node.test)
            node.body, node.orelse = self.numbers(field, node.body), self.numbers(field, node.orelse)
            return node
        return self.number(field, node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        field = self.mode(node.targets[0]) if len(node.targets) == 1 else ""
        if not field:
            return self.generic_visit(node)
        node.value = self.numbers(field, node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            left, right = self.mode(node.left), self.mode(node.comparators[0])
            if left and not right:
                node.comparators = [self.number(left, node.comparators[0])]
                return node
            if right and not left:
                node.left = self.number(right, node.left)
                return node
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if self.mode(node):
            self.say(node, f"memory.{node.attr} is a mode and no number", ALLOWED)
        return self.generic_visit(node)


def is_mode(text: str) -> bool:
    """Can a mode be called that?"""
    return bool(text.strip()) and len(text) <= 64 and text.isprintable()


def _fields(tree: ast.Module) -> Iterator[ast.AnnAssign]:
    """Fields of Memory that are declared `str`."""
    for node in tree.body:
        for item in node.body if isinstance(node, ast.ClassDef) and node.name == "Memory" else []:
            match item:
                case ast.AnnAssign(target=ast.Name(), annotation=ast.Name(id="str")):
                    yield item


def _sides(node: ast.expr) -> Iterator[ast.expr]:
    """What a nest of ternaries may give."""
    if isinstance(node, ast.IfExp):
        yield from _sides(node.body)
        yield from _sides(node.orelse)
    else:
        yield node
