"""Is this text inside the policy language? A structural check that names every violation at once.

Knows: which Python constructs, names and attributes the language has (DESIGN section 5).
Does not know: types and shapes (the compiler's business), scenes, how a policy is run.

What passes has no way to reach anything but its arguments: calls go to plain names of the language, to the
file's own functions, to imported library functions or to `math`; no attribute may start with an underscore.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection
from dataclasses import dataclass

MAX_SOURCE = 200_000
LIBRARY = "logic.lib."
METHODS = ("snapshot", "restore")  # what the record itself answers to


@dataclass(frozen=True)
class Diagnostic:
    """One violation: where it stands and what to write instead."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


_STATEMENTS = (
    ast.Assign, ast.AugAssign, ast.If, ast.For, ast.Return, ast.Break, ast.Continue, ast.Pass, ast.Expr,
)  # fmt: skip
_EXPRESSIONS = (
    ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.Constant, ast.Name, ast.Attribute,
    ast.Subscript, ast.Tuple, ast.Slice, ast.operator, ast.boolop, ast.unaryop, ast.cmpop, ast.expr_context,
)  # fmt: skip
_BANNED_OPERATORS = (ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.LShift, ast.RShift, ast.BitXor, ast.MatMult)
_INSTEAD = {
    ast.While: "a loop without a bound; write `for i in range(MAX):` and `if not condition: break`",
    ast.ListComp: "a comprehension; write a `for i in range(CONST)` loop or array arithmetic",
    ast.GeneratorExp: "a generator; use `count`, `any_of`, `all_of` or `total`",
    ast.Dict: "a dict; use fields of Memory",
    ast.List: "a list; use `array((1.0, 2.0))` or a fixed-shape field of Memory",
    ast.Lambda: "a lambda; write a named helper function",
    ast.Try: "an exception handler; guard the divisor or index instead",
    ast.JoinedStr: "a formatted string; reasons are plain string constants",
    ast.Import: "an import; `math` is predefined, the library is `from logic.lib.NAME import FUNCTION`",
    ast.Global: "global state; keep it in memory",
    ast.NamedExpr: "an assignment inside an expression; assign on its own line",
    ast.AnnAssign: "an annotated assignment; only fields of Memory are annotated",
}


def parse(source: str, name: str) -> ast.Module | Diagnostic:
    """The syntax tree, or why there is none (the parser's own failures included)."""
    if len(source) > MAX_SOURCE:
        return Diagnostic(1, 1, f"{name} has {len(source)} characters, the limit is {MAX_SOURCE}")
    try:
        return ast.parse(source, name)
    except SyntaxError as e:
        return Diagnostic(e.lineno or 1, e.offset or 1, f"not valid Python: {e.msg}")
    except (ValueError, RecursionError, MemoryError) as e:
        return Diagnostic(1, 1, f"cannot be parsed: {e}")


class _Checker:
    def __init__(self, tree: ast.Module, known: Collection[str]) -> None:
        self.found: list[Diagnostic] = []
        self.functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        self.imported = [a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names]
        self.constants = [
            t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
        ]
        self.known = {*known, *self.functions, *self.imported, *self.constants}
        self.fields: set[str] = set()

    def say(self, node: ast.AST, message: str) -> None:
        self.found.append(Diagnostic(getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, message))

    def module(self, tree: ast.Module, known: Collection[str]) -> None:
        for name in {*self.functions, *self.constants, *self.imported} & set(known):
            self.say(tree, f"{name!r} is a word of the language and cannot be redefined")
        for name in set(self.functions):
            if self.functions.count(name) > 1:
                self.say(tree, f"function {name!r} is defined twice")
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef)]
        for record in classes:
            self.memory(record)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.function(node)
            elif isinstance(node, ast.ImportFrom):
                self.imports(node)
            elif isinstance(node, ast.Assign):
                self.constant(node)
            elif not isinstance(node, ast.ClassDef) and not _is_docstring(node):
                self.refuse(node, "at module level; only constants, Memory, imports from logic.lib and functions are")

    def imports(self, node: ast.ImportFrom) -> None:
        if node.level or not (node.module or "").startswith(LIBRARY) or any(a.asname for a in node.names):
            self.say(node, "the one import is `from logic.lib.NAME import FUNCTION`")
        elif not (node.module or "")[len(LIBRARY) :].isidentifier():
            self.say(node, f"{node.module!r} is not a library module")

    def constant(self, node: ast.Assign) -> None:
        if len(node.targets) != 1 or not _is_name(node.targets[0]) or "__" in node.targets[0].id:  # type: ignore[attr-defined]
            self.say(node, "a module constant is `NAME = expression`")
        self.expression(node.value, set())

    def memory(self, node: ast.ClassDef) -> None:
        if node.name != "Memory" or node.bases or node.keywords or node.decorator_list:
            self.say(node, "the only class is a plain `class Memory:`")
            return
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and _is_name(item.target) and item.target.id in METHODS:  # type: ignore[union-attr]
                self.say(item, f"a field of Memory cannot be called {item.target.id!r}; choose another name")  # type: ignore[union-attr]
            elif isinstance(item, ast.AnnAssign) and _is_name(item.target) and item.value is not None:
                self.fields.add(item.target.id)  # type: ignore[union-attr]
                self.expression(item.annotation, set())
                self.expression(item.value, set())
            elif not _is_docstring(item) and not isinstance(item, ast.Pass):
                self.say(item, "a field of Memory is `name: type = default`")

    def function(self, node: ast.FunctionDef) -> None:
        a = node.args
        if a.defaults or a.kw_defaults or a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
            self.say(node, f"{node.name} takes plain positional parameters only")
        if node.decorator_list or node.returns or any(p.annotation for p in a.args):
            self.say(node, f"{node.name}: decorators and annotations are not part of the language")
        if "__" in node.name:
            self.say(node, f"{node.name!r}: names do not contain two underscores")
        local: dict[str, ast.AST] = {p.arg: p for p in a.args}
        for child in ast.walk(node):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                local.setdefault(child.id, child)
        for name in sorted(local.keys() & self.known):
            say = f"{name!r} is already a function, constant or word of the language; choose another name"
            self.say(local[name], say)
        for item in node.body:
            self.statement(item, set(local))

    def statement(self, node: ast.stmt, local: set[str]) -> None:
        if not isinstance(node, _STATEMENTS):
            self.refuse(node, "part of the language")
            return
        if isinstance(node, ast.For):
            self.loop(node)
        if isinstance(node, ast.Expr) and not _is_docstring(node):
            self.say(node, "an expression whose value is not used")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child, local)
            elif isinstance(child, ast.expr):
                self.expression(child, local)

    def loop(self, node: ast.For) -> None:
        call = node.iter
        ranged = isinstance(call, ast.Call) and _is_name(call.func) and call.func.id == "range"  # type: ignore[attr-defined]
        if not ranged or node.orelse or not _is_name(node.target):
            self.say(node, "a loop is `for i in range(CONST):`, without else")

    def expression(self, node: ast.AST, local: set[str]) -> None:
        if not isinstance(node, _EXPRESSIONS):
            self.refuse(node, "part of the language")
            return
        if isinstance(node, ast.Name) and node.id not in local and node.id not in self.known:
            close = difflib.get_close_matches(node.id, [*self.known, *local], 1)
            self.say(node, f"unknown name {node.id!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        if isinstance(node, ast.Attribute):
            self.attribute(node, local)
            return
        if isinstance(node, ast.Call):
            self.call(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _BANNED_OPERATORS):  # operators carry no line of their own
                self.say(node, f"operator {type(child).__name__} is not part of the language")
            else:
                self.expression(child, local)

    def attribute(self, node: ast.Attribute, local: set[str]) -> None:
        if node.attr.startswith("_"):
            self.say(node, f"attribute {node.attr!r}: names that start with an underscore are out of reach")
        owner = node.value.id if _is_name(node.value) else ""  # type: ignore[attr-defined]
        if isinstance(node.ctx, ast.Store) and owner != "memory":
            self.say(node, "only fields of memory can be assigned; the scene is read-only")
        if owner == "memory" and node.attr not in self.fields:
            close = difflib.get_close_matches(node.attr, sorted(self.fields), 1)
            hint = f"did you mean {close[0]!r}?" if close else "declare it in class Memory"
            self.say(node, f"memory has no field {node.attr!r}; {hint}")
        self.expression(node.value, local)

    def call(self, node: ast.Call) -> None:
        f = node.func
        on_math = isinstance(f, ast.Attribute) and _is_name(f.value) and f.value.id == "math"  # type: ignore[attr-defined]
        plain = _is_name(f) and f.id in self.known  # type: ignore[attr-defined]
        if not (on_math or plain) or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            self.say(node, "calls go to functions of this file, the language, the library or math, by position")

    def refuse(self, node: ast.AST, where: str) -> None:
        what = _INSTEAD.get(type(node), f"{type(node).__name__}")
        self.say(node, f"not {where}: {what}")


def check(tree: ast.Module, known: Collection[str]) -> list[Diagnostic]:
    """Every violation in the file, in order. `known`: the predefined names (language, constants, actions)."""
    checker = _Checker(tree, known)
    checker.module(tree, known)
    return sorted(checker.found, key=lambda d: (d.line, d.column))


def _is_name(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Name)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
