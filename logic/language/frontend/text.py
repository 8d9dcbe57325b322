"""From text to a checked syntax tree: size, encoding, nesting; named modes; is every construct in the language?"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from logic.language.diagnostics import (
    ALTERNATIVES,
    AST_NODES,
    INT_DIGITS,
    METHODS,
    NESTING,
    OPERANDS,
    OPERATORS,
    SOURCE_CHARS,
    UNKNOWN_CONSTRUCT,
    UNUSED,
    WORDS,
    Abort,
    Reporter,
    did_you_mean,
)

# ----------------------------------------------------------------------------------------------------
# Named modes: `mode: str = "search"` in Memory becomes an int, its strings the numbers 0, 1, 2 ... in that text.
#
# Rewrites the tree before anything else looks at it.


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


# ----------------------------------------------------------------------------------------------------
# From text to syntax tree under caps: size, encoding, nesting, digits. Failures of the parser are diagnostics.


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
            try:
                tree = ast.parse(source, file)
            except SystemError:  # Python up to 3.11.7, where a second thread parses in the same moment (gh-106905)
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


# ----------------------------------------------------------------------------------------------------
# Is every construct of this text in the language? The first pass, over all of it, reachable or not.
#
# Nothing here decides safety alone: the lowering handles only what it knows, and back ends emit only from the IR.


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
        """An expression statement: a helper called for what it does to memory, else mostly a habit."""
        self.expression(node.value)
        call = node.value.func if isinstance(node.value, ast.Call) else None
        if helper_call(node):
            return
        habit = METHODS.get(call.attr) if isinstance(call, ast.Attribute) else None
        habit = WORDS.get(call.id) if isinstance(call, ast.Name) else habit
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name):
            habit = habit or WORDS.get(call.value.id)
        self.say(node, UNUSED, habit or "assign it, or remove the line")

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


def helper_call(node: ast.stmt) -> ast.Call | None:
    """`f(memory)` on a line of its own: a helper that may change memory, as far as its looks can tell."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    return call if any(isinstance(a, ast.Name) and a.id == "memory" for a in call.args) else None


def is_docstring(node: ast.AST) -> bool:
    """A string that stands as a statement."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
