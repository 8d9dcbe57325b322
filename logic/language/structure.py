"""Is every construct of this text in the language? The first pass, over all of it, reachable or not.

Knows: the syntax nodes of the language and where each may stand. Does not know: types, values, library texts.
Nothing here decides safety alone: the lowering handles only what it knows, and back ends emit only from the IR.
"""

from __future__ import annotations

import ast
import re

from logic.language.diagnostics import Reporter
from logic.language.hints import ALTERNATIVES, METHODS, OPERATORS, UNKNOWN_CONSTRUCT, WORDS

LIBRARY = "logic.lib."
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
_RESERVED_FIELDS = {"snapshot", "restore", "memory", "scene"}

_STATEMENTS = (
    ast.Assign, ast.AugAssign, ast.If, ast.For, ast.Return, ast.Break, ast.Continue, ast.Pass, ast.Expr,
)  # fmt: skip
_EXPRESSIONS = (
    ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.Constant, ast.Name, ast.Attribute,
    ast.Subscript, ast.Tuple,
)  # fmt: skip


def valid_name(name: str) -> bool:
    """ASCII, no leading underscore except a throw-away `_name`, no two underscores in a row."""
    return "__" not in name and bool(
        NAME.match(name[1:] if name.startswith("_") and len(name) > 1 else name) or name == "_"
    )


class Structure:
    """Walks one tree and reports every violation."""

    def __init__(self, file: str, reporter: Reporter) -> None:
        self.file, self.reporter = file, reporter
        self.callables: set[str] = set()  # names that may be records

    def say(self, node: ast.AST, message: str, instead: str = "") -> None:
        self.reporter.say(self.file, node, message, instead)

    def refuse(self, node: ast.AST, where: str = "") -> None:
        what, instead = ALTERNATIVES.get(type(node), UNKNOWN_CONSTRUCT)
        self.say(node, f"{what} is not part of the language{where}", instead)

    def module(self, tree: ast.Module) -> None:
        """Check everything."""
        self.callables = {n.name for n in tree.body if isinstance(n, ast.ClassDef)}
        self.callables |= {a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.function(node)
            elif isinstance(node, ast.ImportFrom):
                self.imports(node)
            elif isinstance(node, ast.Assign):
                self.constant(node)
            elif isinstance(node, ast.ClassDef):
                self.record(node)
            elif isinstance(node, ast.AnnAssign):
                self.refuse(node)
            elif not is_docstring(node):
                self.module_statement(node)

    def module_statement(self, node: ast.stmt) -> None:
        if type(node) in ALTERNATIVES:
            self.refuse(node)
        else:
            what = "constants, classes of fields, imports from logic.lib and functions stand at module level"
            self.say(node, "this statement cannot stand at module level", what)

    def imports(self, node: ast.ImportFrom) -> None:
        """`from logic.lib.NAME import F, G` and nothing else."""
        module = node.module or ""
        good = not node.level and module.startswith(LIBRARY) and valid_name(module[len(LIBRARY) :])
        if not good or any(a.asname or not valid_name(a.name) or a.name.startswith("_") for a in node.names):
            self.say(node, "this import is not part of the language", "write `from logic.lib.NAME import FUNCTION`")

    def constant(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if len(node.targets) != 1 or not isinstance(target, ast.Name) or not valid_name(target.id):
            self.say(node, "not a module constant", "write `NAME = expression`")
        self.expression(node.value)

    def record(self, node: ast.ClassDef) -> None:
        """`class Memory:` or a record, with `name: type = default` lines."""
        plain = not (node.bases or node.keywords or node.decorator_list or getattr(node, "type_params", None))
        if not plain or not valid_name(node.name) or node.name.startswith("_"):
            instead = f"write a plain `class {node.name}:` of fields"
            self.say(node, f"this form of class {node.name!r} is not part of the language", instead)
            return
        seen: set[str] = set()
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                self.field(item, item.target.id, seen)
            elif not is_docstring(item) and not isinstance(item, ast.Pass):
                fix = "write `name: type = default`, for example `stuck: int = 0`"
                self.say(item, f"not a field of {node.name}", fix)

    def field(self, item: ast.AnnAssign, name: str, seen: set[str]) -> None:
        reserved = name in _RESERVED_FIELDS and item.value is not None  # a record's fields have names with dots
        if reserved or name in seen or name.startswith("_") or not valid_name(name):
            self.say(item, f"{name!r} cannot name a field", "choose another plain, unique name")
        seen.add(name)
        if item.value is not None:
            self.expression(item.value)

    def function(self, node: ast.FunctionDef) -> None:
        a = node.args
        if a.defaults or a.kw_defaults or a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
            self.say(node, f"{node.name} takes plain positional parameters only", "give every argument at the call")
        if node.decorator_list:
            self.say(node.decorator_list[0], "a decorator is not part of the language", "remove it")
        for noted in (node.returns, *(p.annotation for p in a.args)):
            if noted is not None:
                self.say(noted, "annotations are not part of the language", "remove it; types are worked out")
        names = [p.arg for p in a.args]
        for p in a.args:
            if not valid_name(p.arg) or names.count(p.arg) > 1:
                self.say(p, f"{p.arg!r} cannot name a parameter", "choose a plain ASCII name")
        if not valid_name(node.name) or node.name.startswith("_") or getattr(node, "type_params", None):
            self.say(node, f"{node.name!r} cannot name a function", "choose a plain ASCII name without type parameters")
        self.body(node.body)

    def body(self, statements: list[ast.stmt], in_loop: bool = False) -> None:
        for i, node in enumerate(statements):
            if not isinstance(node, _STATEMENTS):
                self.refuse(node)
            elif isinstance(node, (ast.Break, ast.Continue)):
                if not in_loop:
                    what = type(node).__name__.lower()
                    self.say(node, f"{what} outside a loop", "write `return`, or remove the line")
            elif isinstance(node, ast.If):
                self.expression(node.test)
                self.body(node.body, in_loop)
                self.body(node.orelse, in_loop)
            elif isinstance(node, ast.Expr):
                if not (is_docstring(node) and i == 0):
                    self.unused(node)
            else:
                self.statement(node)

    def unused(self, node: ast.Expr) -> None:
        """An expression statement: mostly a method call out of habit."""
        self.expression(node.value)
        call = node.value.func if isinstance(node.value, ast.Call) else None
        habit = METHODS.get(call.attr) if isinstance(call, ast.Attribute) else None
        habit = WORDS.get(call.id) if isinstance(call, ast.Name) else habit
        self.say(node, "the value of this expression is not used", habit or "assign it, or remove the line")

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            if len(node.targets) != 1:
                self.say(node, "chained assignment is not part of the language", "write one assignment a line")
            self.target(node.targets[0])
            self.expression(node.value)
        elif isinstance(node, ast.AugAssign):
            self.target(node.target)
            self.operator(node, node.op)
            self.expression(node.value)
        elif isinstance(node, ast.For):
            self.loop(node)
        elif isinstance(node, ast.Return) and node.value is not None:
            self.expression(node.value)

    def loop(self, node: ast.For) -> None:
        if node.orelse:
            self.say(node.orelse[0], "else of a loop is not part of the language", "set a flag before break")
        self.target(node.target)
        self.expression(node.iter)
        self.body(node.body, True)

    def target(self, node: ast.expr) -> None:
        """A local name, memory.field, or a flat tuple of those."""
        if isinstance(node, ast.Tuple):
            for item in node.elts:
                if isinstance(item, ast.Tuple):
                    self.say(item, "names inside names to unpack", "unpack in two steps")
                else:
                    self.target(item)
        elif isinstance(node, ast.Name):
            if not valid_name(node.id):
                self.say(node, f"{node.id!r} cannot name a variable", "choose a plain ASCII name")
        elif isinstance(node, ast.Attribute):
            owner = node.value
            while isinstance(owner, ast.Attribute):
                self.attribute(owner)
                owner = owner.value
            if not (isinstance(owner, ast.Name) and owner.id == "memory"):
                self.say(node, "only fields of memory can be assigned", "the scene is read-only; keep values in memory")
            self.attribute(node)
        elif isinstance(node, ast.Subscript):
            self.say(node, "arrays are not changed in place", "write `memory.a = put(memory.a, i, value)`")
        else:
            self.refuse(node)

    def expression(self, node: ast.AST) -> None:
        if not isinstance(node, _EXPRESSIONS):
            self.refuse(node)
            return
        if isinstance(node, ast.Subscript):
            self.expression(node.value)
            self.index(node.slice)
            return
        if isinstance(node, ast.Attribute):
            self.attribute(node)
        elif isinstance(node, ast.Call):
            self.call(node)
        elif isinstance(node, ast.Constant):
            self.literal(node)
        elif isinstance(node, ast.Name) and not valid_name(node.id):
            self.say(node, f"{node.id!r} is not a name of the language", "names are plain ASCII")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)
            else:
                self.operator(node, child)

    def index(self, node: ast.expr) -> None:
        """`i`, `i, j`, `1:3`, `:, None`."""
        for item in node.elts if isinstance(node, ast.Tuple) else [node]:
            if isinstance(item, ast.Slice):
                for part in (item.lower, item.upper, item.step):
                    if part is not None:
                        self.expression(part)
            elif not (isinstance(item, ast.Constant) and item.value is None):
                self.expression(item)

    def operator(self, node: ast.AST, operator: ast.AST) -> None:
        if type(operator) in OPERATORS:  # operators carry no place of their own
            what, instead = OPERATORS[type(operator)]
            self.say(node, f"operator `{what}` is not part of the language", instead)

    def attribute(self, node: ast.Attribute) -> None:
        if node.attr.startswith("_") or "__" in node.attr:
            instead = "names that start with an underscore are out of reach"
            self.say(node, f"attribute {node.attr!r} is not part of the language", instead)

    def call(self, node: ast.Call) -> None:
        named = isinstance(node.func, ast.Name) and node.func.id in self.callables
        for keyword in node.keywords:
            if not named or keyword.arg is None:
                self.say(keyword.value, "arguments are given by position", "remove the name before =")
            self.expression(keyword.value)
        if isinstance(node.func, (ast.Call, ast.Subscript, ast.IfExp)):
            self.say(node, "only named functions can be called", "call a helper, a word of the language or math")

    def literal(self, node: ast.Constant) -> None:
        if node.value is None or node.value is Ellipsis or isinstance(node.value, (bytes, complex)):
            what = "None" if node.value is None else "this literal"
            self.say(
                node, f"{what} is not part of the language", "keep an explicit `have_x: bool`; numbers are int or float"
            )


def is_docstring(node: ast.AST) -> bool:
    """A string that stands as a statement."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
