"""Loading texts: a policy, a safety file, the library modules they import; their constants, tables and Memory.

Knows: module level. Does not know: how functions are lowered (loops.Lowering does), which function is the entry.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from logic.errors import LogicError
from logic.language.array_words import Words
from logic.language.bound import POISON, Bound, Frame, Pack, Scope, State, Wrong
from logic.language.build import type_of
from logic.language.builtins import PORTABLE_TEXT
from logic.language.diagnostics import Abort, Reporter, did_you_mean
from logic.language.effects import reaches_loop
from logic.language.ir import BOOL, FLOAT, INT, Field, Type, Value
from logic.language.limits import Limits, Meter
from logic.language.loops import Lowering
from logic.language.modes import Modes
from logic.language.structure import LIBRARY, Structure, valid_name
from logic.language.tables import Shortcuts, tabulate
from logic.language.text import parse
from logic.language.words import ARITY, OTHER_WORDS
from perception.scene import SceneSchema

Library = Callable[[str], str]
_SCALARS = {"bool": BOOL, "int": INT, "float": FLOAT}
_ARRAYS = {"Float": "float", "Int": "int", "Bool": "bool"}
PROTOCOL = ("FRAMESKIP", "STICKY", "HEIGHT", "WIDTH")
LANGUAGE_FORMAT = 1  # of the policy language: what a text means; a text may say it as `LANGUAGE = 1`
LAST_READERS: dict[int, str] = {}  # older language -> the last Triune that reads it
MOST_FIELDS = 200
_NOTHING: dict[str, str] = {}  # lib/maths imports nothing


class Loader:
    """Turns texts into scopes, each library module once."""

    def __init__(self, low: Lowering, library: Library) -> None:
        self.low, self.library = low, library
        self.shortcuts = low.shortcut = Shortcuts(low)
        low.maths = maths_scope
        self.reporter = low.reporter
        self.sources: dict[str, str] = {}
        self.modules: dict[str, Scope | None] = {}

    def load(self, text: str, file: str, predefined: Mapping[str, Value]) -> tuple[Scope, ast.Module]:
        """Parse, check the structure, link imports, compute constants and Memory."""
        tree = parse(text, file, self.reporter)
        self.sources[file] = text
        self.language(tree, file)
        modes = Modes(file, self.reporter).run(tree)
        Structure(file, self.reporter).module(tree)
        scope = Scope(file, predefined=predefined, modes=modes)
        self.declare(tree, scope)
        self.link(tree, scope)
        self.names(tree, scope)
        self.compute(tree, scope)
        return scope, tree

    def language(self, tree: ast.Module, file: str) -> None:
        """`LANGUAGE = 1`, where it stands: a text of another version says so once and is not looked at further."""
        for node in tree.body:
            names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
            if "LANGUAGE" not in names or not isinstance(node, ast.Assign):
                continue
            said = node.value.value if isinstance(node.value, ast.Constant) else None
            if type(said) is not int:
                raise self.reporter.abort(
                    file, node, "LANGUAGE is a whole number", f"write LANGUAGE = {LANGUAGE_FORMAT}"
                )
            if said != LANGUAGE_FORMAT:
                message = f"written for language {said}; this Triune reads {LANGUAGE_FORMAT}"
                raise self.reporter.abort(file, node, message, _reader(said))

    def say(self, scope: Scope, node: ast.AST, message: str, instead: str = "") -> None:
        self.reporter.say(scope.file, node, message, instead)

    def declare(self, tree: ast.Module, scope: Scope) -> None:
        """Functions and the names of constants."""
        classes = 0
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                if node.name in scope.functions:
                    self.say(scope, node, f"function {node.name!r} is defined twice", "keep one")
                scope.functions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name in scope.later:
                    self.say(scope, node, f"constant {name!r} is assigned twice", "keep one")
                scope.later[name] = node.lineno
            elif isinstance(node, ast.ClassDef):
                classes += 1
                if classes > 1:
                    self.say(scope, node, "a second class", "keep all fields in one `class Memory:`")

    def link(self, tree: ast.Module, scope: Scope) -> None:
        """Bind what the imports ask for."""
        for node in tree.body:
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(LIBRARY):
                continue
            stem = (node.module or "")[len(LIBRARY) :]
            other = self.module(stem, node, scope) if valid_name(stem) else None
            for alias in node.names:
                if alias.name in scope.imported:
                    self.say(scope, node, f"{alias.name!r} is imported twice", "keep one")
                if other is not None:
                    self.bind(node, scope, other, alias.name, stem)

    def bind(self, node: ast.AST, scope: Scope, other: Scope, name: str, stem: str) -> None:
        have = {*other.functions, *other.constants}
        if name not in have:
            instead = did_you_mean(name, have) or f"it has {', '.join(sorted(have)[:20]) or 'nothing'}"
            self.say(scope, node, f"library module {stem!r} has no {name!r}", instead)
        else:
            scope.imported[name] = (other, name)

    def module(self, stem: str, node: ast.AST, scope: Scope) -> Scope | None:
        """One library module; None after its absence or a cycle is reported."""
        if stem in self.modules:
            if self.modules[stem] is None:
                self.say(scope, node, f"library module {stem!r} cannot be used here", "see the other diagnostics")
            return self.modules[stem]
        self.modules[stem] = None  # while it loads, and for good when it fails
        try:
            text = self.library(stem)
        except (LogicError, KeyError, OSError) as e:
            self.say(scope, node, f"no library module {stem!r}: {e}", "import from a module that exists")
            return None
        try:
            found, _ = self.load(text, f"lib/{stem}", {})
        except Abort:
            return None
        if found.fields:
            self.say(found, node, "a library module has no Memory", "pass memory to its functions as values")
        self.modules[stem] = found
        return found

    def names(self, tree: ast.Module, scope: Scope) -> None:
        """No name means two things."""
        words = {*ARITY, *OTHER_WORDS, *scope.predefined, "scene", "memory", "Memory"}
        known = {*words, *scope.functions, *scope.later, *scope.imported}
        for node in tree.body:
            name = getattr(node, "name", None)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            if name in words and not isinstance(node, ast.ClassDef):
                self.say(scope, node, f"{name!r} is a word of the language", "choose another name")
            if isinstance(node, (ast.FunctionDef, ast.Assign)) and name in scope.imported:
                self.say(scope, node, f"{name!r} is imported already", "choose another name")
            if isinstance(node, ast.FunctionDef):
                if name in scope.later:
                    self.say(scope, node, f"{name!r} is a constant and a function", "choose another name")
                self.local_names(node, scope, known)

    def local_names(self, function: ast.FunctionDef, scope: Scope, known: set[str]) -> None:
        for p in function.args.args:
            if p.arg in known - {"scene", "memory"}:
                self.say(scope, p, f"parameter {p.arg!r} hides a name that exists", "choose another name")
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in known:
                self.say(scope, node, f"{node.id!r} is already a function, constant or word", "choose another name")

    # --- constants and Memory --------------------------------------------------------------------

    def compute(self, tree: ast.Module, scope: Scope) -> None:
        """Constants in order, then Memory's defaults."""
        low = self.low
        outer = low.frame, low.state, low.tabling
        low.frame, low.state, low.tabling = Frame(scope, None), State(), True
        try:
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    scope.constants[node.targets[0].id] = self.constant(scope, node, node.targets[0].id)
                    scope.later.pop(node.targets[0].id, None)
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.memory(scope, node)
        finally:
            low.frame, low.state, low.tabling = outer

    def constant(self, scope: Scope, node: ast.Assign, name: str) -> Bound:
        call = node.value
        try:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "tunable":
                return self.tunable(scope, call, name)
            found = tabulate(self.low, lambda: self.low.expression(call), call) if reaches_loop([call], scope) else None
            if found is None:
                self.shortcuts.failed(call, scope)
                found = self.low.expression(call)
            self.plain(call, found)
            if isinstance(found, Value) and found.const is None:
                raise self.low.wrong(node, f"{name} is not a constant", "compute it from numbers and other constants")
            self.low.meter.hold(_bytes(found))
            return found
        except Wrong:
            return POISON

    def plain(self, node: ast.expr, found: Bound) -> None:
        """A constant is a value, or a tuple of values: no other name for `math`."""
        if isinstance(found, Pack):
            for item in found.items:
                self.plain(node, item)
        else:
            self.low.value(node, found)

    def tunable(self, scope: Scope, call: ast.Call, name: str) -> Value:
        """`tunable(default, low, high)`, all literal numbers."""
        values = [self.low.evaluate(a) for a in call.args]
        if len(values) != 3 or any(v.type not in (INT, FLOAT) or not math.isfinite(v.const) for v in values):
            raise self.low.wrong(call, "tunable takes three finite numbers", "write tunable(default, low, high)")
        default, low, high = (v.const for v in values)
        if not low <= default <= high:
            raise self.low.wrong(
                call, f"tunable({default}, {low}, {high}): the default lies outside its range", "widen it"
            )
        scope.tunables[name] = (float(default), float(low), float(high))
        return values[0]

    def memory(self, scope: Scope, node: ast.ClassDef) -> None:
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                try:
                    wanted = self.annotation(item.annotation)
                    scope.fields[item.target.id] = self.default(scope, item, item.value, wanted)
                except Wrong:
                    continue
        if len(scope.fields) > MOST_FIELDS:
            self.say(scope, node, f"Memory has more than {MOST_FIELDS} fields", "use arrays")

    def annotation(self, node: ast.expr) -> Type:
        """`int`, `float`, `bool`, `Float[80, 3]`: read off the tree, never evaluated as Python."""
        if isinstance(node, ast.Name) and node.id in _SCALARS:
            return _SCALARS[node.id]
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _ARRAYS:
            sides = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
            return Type(_ARRAYS[node.value.id], self.low.shape_of(sides))
        raise self.low.wrong(node, "not a type of a field", "types are bool, int, float, Float[n], Int[n], Bool[n]")

    def default(self, scope: Scope, item: ast.AnnAssign, node: ast.expr, wanted: Type) -> Field:
        value = self.low.evaluate(node)
        made = self.low.convert(node, value, wanted)
        if made is None or made.const is None:
            raise self.low.wrong(item, f"the default is {value.type}, the field is {wanted}", "make them equal")
        self.low.meter.hold(_bytes(made))
        name = item.target.id if isinstance(item.target, ast.Name) else ""
        return Field(type_of(made.const), made.const, scope.modes.get(name, ()))


def _reader(language: int) -> str:
    """Which Triune reads another version of the language."""
    if language > LANGUAGE_FORMAT:
        return f"update Triune, or rewrite the text for language {LANGUAGE_FORMAT} (docs/language.md)"
    if language in LAST_READERS:
        return f"Triune {LAST_READERS[language]} reads it; or rewrite the text for language {LANGUAGE_FORMAT}"
    return f"the first language is {min(LAST_READERS, default=LANGUAGE_FORMAT)}: write LANGUAGE = {LANGUAGE_FORMAT}"


def _bytes(bound: Bound) -> int:
    if isinstance(bound, Pack):
        return sum(map(_bytes, bound.items))
    return bound.const.nbytes if isinstance(bound, Value) and isinstance(bound.const, np.ndarray) else 0


@cache
def maths_scope() -> Scope:
    """lib/maths as it ships, whatever library the policy comes with; worked out once, since it holds only constants."""
    reporter = Reporter()
    low = Lowering(SceneSchema((0, 0, 1, 1), (), (), ()), reporter, Meter(Limits()), 1)
    scope, _ = Loader(low, _NOTHING.__getitem__).load(PORTABLE_TEXT.read_text(encoding="utf-8"), "lib/maths", {})
    if reporter.found:
        raise RuntimeError(str(reporter.found[0]))
    return scope


def action_names(constants: Mapping[str, object]) -> dict[str, int]:
    """The task's actions among the predefined constants; LogicError unless they number 0, 1, 2, ..."""
    found = {k: v for k, v in constants.items() if k not in PROTOCOL and isinstance(v, int)}
    if sorted(found.values()) != list(range(len(found))) or not found:
        raise LogicError("the constants must name actions 0 .. n-1 besides FRAMESKIP, STICKY, HEIGHT, WIDTH")
    return found


def predefined_values(low: Words, constants: Mapping[str, object]) -> dict[str, Value]:
    """Constants of the protocol and action names as IR constants."""
    values = {}
    for name, value in constants.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, (bool, int, float)) or not valid_name(name):
            raise LogicError(f"constant {name!r} must be a number with a plain name, got {value!r}")
        values[name] = low.builder.const(plain)
    return values
