"""Loading texts (a policy, rules, the library modules they import) and lowering their entry functions to graphs."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from envs.actions import ActionSpace, Discrete
from logic.errors import LogicError
from logic.language import ops as passes
from logic.language.builtins import PORTABLE_TEXT
from logic.language.diagnostics import Abort, Limits, Meter, OverBudget, Reporter, did_you_mean
from logic.language.frontend.calls import ARITY, OTHER_WORDS, Words
from logic.language.frontend.loops import Lowering
from logic.language.frontend.text import LIBRARY, Modes, Structure, parse, valid_name
from logic.language.frontend.values import (
    MEMORY,
    POISON,
    SCENE,
    Bound,
    Frame,
    Pack,
    Record,
    RecordType,
    Scope,
    Shape,
    State,
    Wrong,
    assigned_names,
    facts,
    find_function,
    find_record,
    leaves,
    names_of,
    reaches_loop,
    type_of,
)
from logic.language.interpreter import Interpreter, IrFault
from logic.language.ir import BOOL, FLOAT, INT, REASON, Block, Field, Graph, Type, Value, bounds
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# Tables: module constants computed by helpers with loops, lowered to IR and run by the interpreter.
#
# A table whose loops change the shape of what they carry cannot be lowered as a loop; folding (modules.py) then
# walks it iteration by iteration.


_TRIAL = Limits(nodes=2_000, calls=500, unrolled=150)  # beyond it folding is no slower


class Shortcuts:
    """Helpers with loops of their own that a folded table calls: each call by way of IR, unless that has failed."""

    def __init__(self, low: Lowering) -> None:
        self.low = low
        self.loops: dict[tuple[str, str], bool] = {}

    def failed(self, call: ast.expr, scope: Scope) -> None:
        """A table's own call did not work this way: do not try it again one level down."""
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            target = find_function(call.func.id, scope)
            if target is not None:
                self.loops[target[0].file, target[1].name] = False

    def __call__(
        self, node: ast.Call, scope: Scope, function: ast.FunctionDef, given: dict[str, Bound]
    ) -> Bound | None:
        """The helper's answer, or None."""
        key = (scope.file, function.name)
        if key not in self.loops:
            self.loops[key] = facts(function.body).loops
        if not self.loops[key]:
            return None
        found = tabulate(self.low, lambda: self.low.run_inline(node, scope, function, given), node)
        self.loops[key] = found is not None
        return found


def tabulate(low: Lowering, make: Callable[[], Bound], node: ast.expr) -> Bound | None:
    """The constant that `make` lowers, by way of IR; None when folding must try instead (and report)."""
    block = Block()
    outer = low.tabling, low.state, low.meter, low.builder.block, low.builder.scopes
    trial = Meter(_TRIAL)
    low.tabling, low.state, low.meter, low.builder.meter = False, State(), trial, trial
    low.builder.block, low.builder.scopes = block, [{}]
    try:
        with low.reporter.attempt() as said:
            found: Bound | None = make()
    except (Wrong, OverBudget):
        found = None
    finally:
        low.tabling, low.state, low.meter, low.builder.block, low.builder.scopes = outer
        low.builder.meter = low.meter
    return None if found is None or said else _run(low, block, found, node)


def _run(low: Lowering, block: Block, found: Bound, node: ast.expr) -> Bound:
    machine = Interpreter(low.meter)
    try:
        machine.run(block)
    except IrFault as e:
        where = (e.op.line or node.lineno, 1)
        low.reporter.say(
            e.op.file or low.frame.scope.file,
            where,
            f"this is always a fault: {e}",
            "guard it, or change the constants",
            "table",
        )
        raise Wrong() from None
    return _constants(low, machine, found)


def _constants(low: Lowering, machine: Interpreter, found: Bound) -> Bound:
    if isinstance(found, Pack):
        return Pack(tuple(_constants(low, machine, item) for item in found.items))
    if isinstance(found, Record):
        return replace(found, items=tuple(_constants(low, machine, item) for item in found.items))
    return low.builder.const(machine.get(found)) if isinstance(found, Value) else found


# ----------------------------------------------------------------------------------------------------
# Loading texts: a policy, a safety file, the library modules they import; their constants, tables and Memory.


Library = Callable[[str], str]
_SCALARS = {"bool": BOOL, "int": INT, "float": FLOAT}
_ARRAYS = {"Float": "float", "Int": "int", "Bool": "bool"}
PROTOCOL = ("FRAMESKIP", "STICKY", "HEIGHT", "WIDTH")
LANGUAGE_FORMAT = 1  # of the policy language: what a text means; a text may say it as `LANGUAGE = 1`
LAST_READERS: dict[int, str] = {}  # older language -> the last Triune that reads it
MOST_FIELDS = 200
_NOTHING: dict[str, str] = {}  # lib/maths imports nothing


class Worked:
    """Tables of one text, worked out once for all the protocols that it is compiled for.

    A table depends on those predefined constants whose names its expression reaches through helpers and other
    constants of the text; where they are equal it is taken over, with what it cost and what helpers answered.
    """

    def __init__(self) -> None:
        self.known: dict[Hashable, tuple[Bound, dict[str, float], int, list[dict[Any, Any]]]] = {}
        self.reached: dict[str, frozenset[str]] = {}

    def key(self, scope: Scope, node: ast.Assign, tree: ast.Module) -> Hashable:
        """What decides the value of this constant of the text."""
        name = ast.unparse(node.targets[0])
        if name not in self.reached:
            self.reached[name] = _reached(node, tree)
        given = ((n, v.const) for n, v in sorted(scope.predefined.items()) if n in self.reached[name])
        return name, tuple((n, v.tobytes() if isinstance(v, np.ndarray) else (type(v), v)) for n, v in given)

    def work(self, low: Lowering, shortcuts: Shortcuts, key: Hashable, make: Callable[[], Bound]) -> Bound:
        """The constant, as `make` gives it now or gave it before."""
        memories: tuple[dict[Any, Any], ...] = (low.answers, shortcuts.loops, low.builder.scopes[-1])
        if key in self.known:
            found, cost, said, learnt = self.known[key]
            low.meter.charge(cost)
            low.reporter.said += said
            for memory, new in zip(memories, learnt, strict=True):
                memory.update(new)
            return found
        before, sizes = low.meter.counts(), [len(m) for m in memories]
        said, wrong = low.reporter.said, len(low.reporter.found)
        found = make()
        learnt = [dict(islice(m.items(), n, None)) for m, n in zip(memories, sizes, strict=True)]
        kept = all(len(m) >= n for m, n in zip(memories, sizes, strict=True))
        told = [b for answer, given in learnt[0].values() for b in (answer, *given.values())]
        if kept and len(low.reporter.found) == wrong and all(map(_plain, (found, *told))):
            cost = {name: count - before[name] for name, count in low.meter.counts().items()}
            self.known[key] = found, cost, low.reporter.said - said, learnt
        return found


def _plain(bound: Bound) -> bool:
    """No record, whose type is that of one compilation."""
    return all(map(_plain, bound.items)) if isinstance(bound, Pack) else isinstance(bound, Value)


def _reached(node: ast.AST, tree: ast.Module) -> frozenset[str]:
    """Every name that a statement mentions, also through what the text declares under such names."""
    declared: dict[str, ast.AST] = {}
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            declared[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            declared |= {t.id: statement for t in statement.targets if isinstance(t, ast.Name)}
    found: set[str] = set()
    todo = [node]
    while todo:
        new = {n.id for n in ast.walk(todo.pop()) if isinstance(n, ast.Name)} - found
        found |= new
        todo += [declared[name] for name in new if name in declared]
    return frozenset(found)


class Loader:
    """Turns texts into scopes, each library module once."""

    def __init__(self, low: Lowering, library: Library, worked: Worked | None = None) -> None:
        self.low, self.library, self.worked = low, library, worked
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
        classes: set[str] = set()
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
                if node.name in classes:
                    self.say(scope, node, f"class {node.name!r} is declared twice", "keep all its fields in one")
                classes.add(node.name)
                if node.name != "Memory":
                    scope.later.setdefault(node.name, node.lineno)
        scope.classes = frozenset(classes - {"Memory"})

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
        have = {*other.functions, *other.constants, *other.records}
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
            if name in words and not (isinstance(node, ast.ClassDef) and name == "Memory"):
                self.say(scope, node, f"{name!r} is a word of the language", "choose another name")
            if isinstance(node, (ast.FunctionDef, ast.Assign, ast.ClassDef)) and name in scope.imported:
                self.say(scope, node, f"{name!r} is imported already", "choose another name")
            if isinstance(node, ast.FunctionDef):
                if name in scope.later:
                    what = "class" if name in scope.classes else "constant"
                    self.say(scope, node, f"{name!r} is a {what} and a function", "choose another name")
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
        """Constants and records in order, then Memory's defaults."""
        low = self.low
        outer = low.frame, low.state, low.tabling
        low.frame, low.state, low.tabling = Frame(scope, None), State(), True
        try:
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    scope.constants[node.targets[0].id] = self.once(scope, node, tree)
                    scope.later.pop(node.targets[0].id, None)
                elif isinstance(node, ast.ClassDef) and node.name != "Memory":
                    self.record(scope, node)
                    scope.later.pop(node.name, None)
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.name == "Memory":
                    self.memory(scope, node)
        finally:
            low.frame, low.state, low.tabling = outer

    def once(self, scope: Scope, node: ast.Assign, tree: ast.Module) -> Bound:
        """A constant; a table of a text with predefined constants, a policy's or rules', once for all protocols."""

        def make() -> Bound:
            return self.constant(scope, node, ast.unparse(node.targets[0]))

        if self.worked is None or not scope.predefined or not reaches_loop([node.value], scope):
            return make()
        return self.worked.work(self.low, self.shortcuts, self.worked.key(scope, node, tree), make)

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
        elif isinstance(found, Record):
            if not all(value.const is not None for _, value in leaves(found)):
                raise self.low.wrong(node, "this record is not a constant", "compute it from numbers and constants")
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

    def record(self, scope: Scope, node: ast.ClassDef) -> None:
        """A class of fields. Types it names stand above it, so that no record holds itself."""
        fields: dict[str, Type | Shape] = {}
        defaults: dict[str, Bound] = {}
        broken = False
        for name, item in _items(node):
            try:
                wanted = self.annotation(item.annotation)
                defaults[name] = self.default(item, name, wanted)
                fields[name] = wanted
            except Wrong:
                broken = True
        if broken:
            return  # what names it is not told once more
        if not fields:
            self.say(scope, node, f"class {node.name!r} has no fields", "write `name: type = default` lines")
            return
        size = sum(kind.record.leaves if isinstance(kind, Shape) else 1 for kind in fields.values())
        if size > MOST_FIELDS:
            raise self.reporter.abort(scope.file, node, f"a record of more than {MOST_FIELDS} fields", "use arrays")
        scope.records[node.name] = RecordType(node.name, fields, defaults, size)

    def memory(self, scope: Scope, node: ast.ClassDef) -> None:
        for name, item in _items(node):
            try:
                wanted = self.annotation(item.annotation)
                found = self.default(item, name, wanted)
            except Wrong:
                continue
            if isinstance(wanted, Shape) and isinstance(found, Record):
                scope.stored[name] = wanted
                for leaf, (_, value) in zip(names_of(wanted.record, f"{name}."), leaves(found), strict=True):
                    scope.fields[leaf] = Field(value.type, value.const)
            elif isinstance(found, Value):
                scope.fields[name] = Field(type_of(found.const), found.const, scope.modes.get(name, ()))
        if len(scope.fields) > MOST_FIELDS:
            self.say(scope, node, f"Memory has more than {MOST_FIELDS} fields", "use arrays")

    def annotation(self, node: ast.expr) -> Type | Shape:
        """`int`, `float`, `bool`, `Float[80, 3]`, `Track`, `Track[4]`: read off the tree, never evaluated as Python."""
        scope = self.low.frame.scope
        name = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(name, ast.Name):
            record = find_record(name.id, scope)
            if isinstance(node, ast.Name) and node.id in _SCALARS:
                return _SCALARS[node.id]
            if isinstance(node, ast.Subscript) and (record or name.id in _ARRAYS):
                sides = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
                shape = self.low.shape_of(sides)
                if record is None:
                    return Type(_ARRAYS[name.id], shape)
                if len(shape) != 1 or not shape[0]:
                    raise self.low.wrong(node, "an array of records has one axis", f"write `{name.id}[4]`")
                return Shape(record, shape)
            if record is not None:
                return Shape(record)
            if name.id in scope.later:
                instead = f"move class {name.id} above it (line {scope.later[name.id]})"
                raise self.low.wrong(node, f"{name.id!r} is not declared yet", instead)
            if name.id in scope.classes:
                raise Wrong()
        known = [*_SCALARS, *_ARRAYS, *scope.records, *scope.imported]
        near = did_you_mean(name.id, known) if isinstance(name, ast.Name) else ""
        types = "types are bool, int, float, Float[n], Int[n], Bool[n], and records"
        raise self.low.wrong(node, "not a type of a field", near or types)

    def default(self, item: ast.AnnAssign, name: str, wanted: Type | Shape) -> Bound:
        """What a field is at first: a constant of its type."""
        low = self.low
        if isinstance(wanted, Shape):
            record = wanted.record
            found = low.expression(item.value) if item.value else low.assembled(item, record, {})
            if isinstance(found, Record) and wanted.shape and not found.shape:
                found = low.repeated(item, found, wanted.shape, Shape(record))
            made = low.record_like(item, found, Record(record, (), wanted.shape))
            self.plain(item.annotation, made)
            low.meter.hold(_bytes(made))
            return made
        if item.value is None:
            raise low.wrong(item, f"field {name!r} has no default", "write `name: type = default`")
        value = low.evaluate(item.value)
        leaf = low.convert(item.value, value, wanted)
        if leaf is None or leaf.const is None:
            raise low.wrong(item, f"the default is {value.type}, the field is {wanted}", "make them equal")
        low.meter.hold(_bytes(leaf))
        return leaf


def _items(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    """The fields of a class."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, item


def _reader(language: int) -> str:
    """Which Triune reads another version of the language."""
    if language > LANGUAGE_FORMAT:
        return f"update Triune, or rewrite the text for language {LANGUAGE_FORMAT} (docs/language.md)"
    if language in LAST_READERS:
        return f"Triune {LAST_READERS[language]} reads it; or rewrite the text for language {LANGUAGE_FORMAT}"
    return f"the first language is {min(LAST_READERS, default=LANGUAGE_FORMAT)}: write LANGUAGE = {LANGUAGE_FORMAT}"


def _bytes(bound: Bound) -> int:
    if isinstance(bound, (Pack, Record)):
        return sum(map(_bytes, bound.items))
    return bound.const.nbytes if isinstance(bound, Value) and isinstance(bound.const, np.ndarray) else 0


@cache
def maths_scope() -> Scope:
    """lib/maths as it ships, whatever library the policy comes with; worked out once, since it holds only constants."""
    reporter = Reporter()
    low = Lowering(SceneSchema((0, 0, 1, 1), (), (), ()), reporter, Meter(Limits()), Discrete(("NOOP",)))
    scope, _ = Loader(low, _NOTHING.__getitem__).load(PORTABLE_TEXT, "lib/maths", {})
    if reporter.found:
        raise RuntimeError(str(reporter.found[0]))
    return scope


def named_actions(constants: Mapping[str, object]) -> Discrete:
    """The task's actions among the predefined constants; LogicError unless they number 0, 1, 2, ..."""
    found = {k: v for k, v in constants.items() if k not in PROTOCOL and isinstance(v, int)}
    if sorted(found.values()) != list(range(len(found))) or not found:
        raise LogicError("the constants must name actions 0 .. n-1 besides FRAMESKIP, STICKY, HEIGHT, WIDTH")
    return Discrete(tuple(sorted(found, key=found.__getitem__)))


def predefined_values(low: Words, constants: Mapping[str, object], actions: ActionSpace) -> dict[str, Value]:
    """Constants of the protocol, and what the task's actions predefine, as IR constants."""
    values = {}
    for name, value in {**constants, **_of_actions(actions, constants)}.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, (bool, int, float, np.ndarray)) or not valid_name(name):
            raise LogicError(f"constant {name!r} must be a number with a plain name, got {value!r}")
        values[name] = low.builder.const(plain)
    return values


def _of_actions(actions: ActionSpace, constants: Mapping[str, object]) -> dict[str, object]:
    """The index of every action or control by name; LOW and HIGH, the bounds of the controls. LogicError: a clash."""
    made: dict[str, object] = {}
    if not isinstance(actions, Discrete):
        made = {"LOW": np.array(actions.low, np.float32), "HIGH": np.array(actions.high, np.float32)}
    for i, name in enumerate(actions.names):
        known = name if isinstance(actions, Discrete) else name.upper()
        if known in made or constants.get(known, i) != i:
            what = "bounds of all controls" if known in ("LOW", "HIGH") else "something else already"
            raise LogicError(f"{name!r} would be {known} in a policy, which names {what}; rename it in system.toml")
        made[known] = i
    return made


# ----------------------------------------------------------------------------------------------------
# From loaded scope to graph: the entry function, its contract, the budgets of the result.


POLICY_PARAMETERS = ["scene", "memory"]
RULE_PARAMETERS = ["scene", "memory", "action"]


def lower(low: Lowering, scope: Scope, function: ast.FunctionDef) -> Graph:
    """The graph of `act` or of a rule; errors are reported, the graph is then of no use."""
    rule = len(function.args.args) == len(RULE_PARAMETERS)
    low.builder.block = Block()
    low.builder.scopes = [{}]
    low.reasons, low.reason_lines = [], {}
    low.stored = scope.stored
    memory = {k: low.input(function, "memory", f.type, field=k) for k, f in scope.fields.items()}
    for name, value in memory.items():
        if scope.fields[name].type == INT:
            value.lo, value.hi = -(2**53), 2**53
    action = low.given_action()
    given: dict[str, Bound] = {"scene": SCENE, "memory": MEMORY, **({"action": action} if rule else {})}
    low.frame = Frame(scope, function, assigned_names(function.body) | given.keys())
    low.state, low.stack = State(given, memory), [(scope.file, function.name)]
    low.entry = "rule" if rule else "policy"
    low.block(function.body)
    results = _results(low, scope, function, rule)
    body = low.builder.block
    body.results = [*results, *low.state.memory.values()]
    graph = Graph(function.name, body, scope.fields, low.reasons, low.n_actions, [action] if rule else [])
    if not low.reporter.found:
        passes.optimise(graph)
        _budgets(low, scope, function, graph)
    return graph


def _results(low: Lowering, scope: Scope, function: ast.FunctionDef, rule: bool) -> list[Value]:
    """[action] or [action, reason], checked."""
    nothing = [low.builder.undefined(low.action_type), Value(REASON, const=0)]
    if low.state.returned.const is not True:
        if not low.reporter.found:
            low.reporter.say(
                scope.file,
                function,
                f"a path through {function.name} ends without return",
                "end every path with `return ...`",
            )
        return nothing
    answer = low.state.answer or POISON
    try:
        if rule:
            return [_action(low, function, low.value(function, answer))]
        if not isinstance(answer, Pack) or len(answer.items) != 2:
            low.value(function, answer) if not isinstance(answer, Pack) else None
            raise low.wrong(function, f"{function.name} must return an action and a reason", low.return_hint)
        action, reason = (low.value(function, item) for item in answer.items)
        if reason.type != REASON:
            raise low.wrong(function, f"the reason is {reason.type}, not a string", low.return_hint)
        return [_action(low, function, action), reason]
    except Wrong:
        return nothing


def _action(low: Lowering, node: ast.FunctionDef, value: Value) -> Value:
    """Of the task's type; constants that are no action are errors, other values are checked at play."""
    if value.type != low.action_type:
        raise low.wrong(node, f"the action returned is {value.type}; {low.actions_told}", low.return_hint)
    for leaf in _leaves(value) if value.type == INT else ():
        lo, hi = bounds(leaf)
        if leaf.const is not None and not 0 <= lo <= hi < low.n_actions:
            raise low.wrong(
                node, f"action {leaf.const} is not one of 0 .. {low.n_actions - 1}", "return one of the action names"
            )
    return value


def _leaves(value: Value) -> list[Value]:
    """Where a value that branches choose between comes from."""
    work, found, seen = [value], [], set()
    while work:
        item = work.pop()
        if item in seen:
            continue
        seen.add(item)
        if item.op is not None and item.op.name == "if":
            i = item.op.results.index(item)
            work.extend(block.results[i] for block in item.op.blocks)
        else:
            found.append(item)
    return found


def _budgets(low: Lowering, scope: Scope, function: ast.FunctionDef, graph: Graph) -> None:
    limits = low.meter.limits
    depth, innermost = passes.deepest(graph.body)
    if innermost is not None and depth > limits.nested:
        place = innermost.file or scope.file, (max(1, innermost.line), 1)
        fix = "use a table, or assign in each branch and return once at the end"
        low.reporter.say(*place, f"more than {limits.nested} conditions one inside the other", fix, "budget")
    checks = (
        (passes.worst_ns(graph.body), limits.step_ns, "ns at worst", "loop less, use smaller arrays, make a table"),
        (passes.live_bytes(graph.body), limits.live_bytes, "bytes of arrays in one step", "use smaller arrays"),
        (passes.table_bytes(graph), limits.table_bytes, "bytes of tables", "make the tables smaller"),
    )  # fmt: skip
    for amount, limit, what, instead in checks:
        if amount > limit:
            message = f"{function.name} needs about {amount:.3g} {what}; the limit is {limit:.3g}"
            dearest = max(graph.body.ops, key=passes.op_ns)
            low.reporter.say(dearest.file or scope.file, (max(1, dearest.line), 1), message, instead, "budget")


__all__ = ["Abort", "OverBudget", "POLICY_PARAMETERS", "RULE_PARAMETERS", "lower"]
