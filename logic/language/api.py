"""Compile policy and safety texts, or say everything that is wrong with them. Never executes the text."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from envs.actions import ActionSpace
from logic.errors import LogicError
from logic.language.backends.python import ENTRY, to_python
from logic.language.diagnostics import Abort, Diagnostic, Limits, Meter, OverBudget, Reporter
from logic.language.frontend.expressions import part_names
from logic.language.frontend.loops import Lowering
from logic.language.frontend.modules import (
    POLICY_PARAMETERS,
    RULE_PARAMETERS,
    Library,
    Loader,
    Worked,
    lower,
    named_actions,
    predefined_values,
)
from logic.language.frontend.text import deep_stack
from logic.language.frontend.values import Scope
from logic.language.ir import Graph
from logic.language.program import Module, Program, shipped_library
from perception.scene import SceneSchema

MOST_TITLE = 200  # characters of a rule's name to people
BUILT_IN = "built-in rule"  # the file of rules that nobody wrote
RESERVED = ("perception lost", "control limits", "deadline missed")  # what they are called
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


class CompileError(LogicError):
    """A text that does not compile; `diagnostics` says why."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


@dataclass(frozen=True)
class CompiledProgram(Program):
    """A Program made by the compiler: with its graph (for other back ends) and the Python generated from it."""

    graph: Graph | None = None
    code: str = ""


@dataclass(frozen=True)
class CompiledModule(Module):
    """Safety rules made by the compiler; `graphs` by rule name, in file order."""

    graphs: dict[str, Graph] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)


class _Compilation:
    """One text on its way; `reporter` has what is wrong with it."""

    def __init__(
        self, schema: SceneSchema, constants: Mapping[str, Any], library: Library, limits: Limits,
        actions: ActionSpace | None, worked: Worked | None = None,
    ) -> None:  # fmt: skip
        """LogicError: the task itself is wrong."""
        self.worked = worked
        self.reporter = Reporter()
        self.low = Lowering(schema, self.reporter, Meter(limits), actions or named_actions(constants))
        self.library, self.constants = library, constants
        for part in part_names(schema):
            if not _PLAIN.match(part):
                raise LogicError(f"the scene's {part!r} is not a plain name")

    def run(
        self, text: str | bytes, name: str, rules: bool
    ) -> tuple[Scope, list[tuple[ast.FunctionDef, Graph]]] | None:
        """Scope and graphs; None when something is wrong."""
        with self.failures(name):
            self.loader = Loader(self.low, self.library, self.worked)
            scope, _ = self.loader.load(text, name, predefined_values(self.low, self.constants, self.low.actions))  # type: ignore[arg-type]
            entries = self.rules(scope) if rules else self.act(scope)
            if self.reporter.found and not scope.constants and scope.later:
                return None  # constants are not known: types would only add noise
            graphs = [(f, lower(self.low, scope, f)) for f in entries]
            if not self.reporter.found:
                return scope, graphs
        if not self.reporter.found:  # given up in the middle of an attempt, whose errors are not kept
            self.reporter.said = 0
            self.tell(name, "too many errors", "correct the first ones in the file")
        return None

    def act(self, scope: Scope) -> list[ast.FunctionDef]:
        function = scope.functions.get("act")
        if function is None or [a.arg for a in function.args.args] != POLICY_PARAMETERS:
            place: ast.AST | tuple[int, int] = function or (1, 1)
            self.reporter.say(
                scope.file, place, "a policy needs `def act(scene, memory):`", "return an action and a reason from it"
            )
            return []
        return [function]

    def rules(self, scope: Scope) -> list[ast.FunctionDef]:
        found = [f for f in scope.functions.values() if [a.arg for a in f.args.args] == RULE_PARAMETERS]
        titles = dict.fromkeys(() if scope.file == BUILT_IN else RESERVED, "built in")
        for function in found:
            title = (ast.get_docstring(function) or "").split("\n")[0].rstrip(".")
            if not title.strip() or not title.isprintable() or len(title) > MOST_TITLE:
                fix = f"it is the rule's name to people: 1 to {MOST_TITLE} printable characters"
                self.reporter.say(scope.file, function, f"rule {function.name!r} needs a docstring", fix)
            elif re.search(r",(?! )", title):  # records join the names of rules so
                fix = "names of rules stand in lists: put a space after it"
                self.reporter.say(scope.file, function, f"the name of rule {function.name!r} has a bare comma", fix)
            elif title in titles:
                fix = "give each rule a name of its own"
                self.reporter.say(scope.file, function, f"rule {titles[title]!r} is called {title!r} too", fix)
            titles[title] = function.name
        if not found:
            self.reporter.say(
                scope.file, (1, 1), "no `def rule(scene, memory, action):` in this file", "write at least one rule"
            )
        return found

    @contextmanager
    def failures(self, name: str) -> Iterator[None]:
        """Every way to fail becomes a diagnostic; floating-point faults raise while constants are computed."""
        try:
            with deep_stack(), np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
                yield
        except LogicError:
            raise  # the task is wrong, not the text
        except Abort:
            pass
        except OverBudget as e:
            message, _, instead = str(e).partition("; ")
            if e.line:
                self.low.here = e.file, ast.Pass(lineno=e.line, col_offset=0)
            self.tell(name, message, instead)
        except RecursionError:
            self.tell(name, "nested too deep to compile", "split it over helper functions")
        except MemoryError:
            self.tell(name, "too large to compile", "make constants and tables smaller")
        except Exception as e:  # a bug of ours must not become the caller's traceback
            message = f"internal compiler error: {type(e).__name__}: {e}"
            self.tell(name, message, "please report it with this text", "internal")

    def tell(self, name: str, message: str, instead: str, what: str = "budget") -> None:
        """Report what ended the work where the work was, be it in a library module."""
        self.reporter.said = 0  # this one is never too many
        file, node = self.low.here
        known = file in self.reporter.lines
        self.reporter.say(file if known else name, node if known else (1, 1), message, instead, what)

    def answer(self) -> CompileError:
        return CompileError(self.reporter.sorted())


def check_source(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library = shipped_library,
    name: str = "policy", limits: Limits | None = None, actions: ActionSpace | None = None,
) -> list[Diagnostic]:  # fmt: skip
    """Everything that is wrong with a policy text; [] when it compiles. `actions`: see `compile_program`."""
    return _check(source, schema, constants, library, name, limits, actions, False)


def check_safety(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library = shipped_library,
    name: str = "safety", limits: Limits | None = None, actions: ActionSpace | None = None,
) -> list[Diagnostic]:  # fmt: skip
    """Everything that is wrong with a safety text."""
    return _check(source, schema, constants, library, name, limits, actions, True)


def _check(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library, name: str,
    limits: Limits | None, actions: ActionSpace | None, rules: bool,
) -> list[Diagnostic]:  # fmt: skip
    work = _Compilation(schema, constants, library, limits or Limits(), actions)
    done = work.run(source, name, rules)
    if done is not None:
        with work.failures(name):
            for _, graph in done[1]:
                to_python(graph)
    return work.reporter.sorted()


def compile_program(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library = shipped_library,
    name: str = "policy", limits: Limits | None = None, actions: ActionSpace | None = None,
    worked: Worked | None = None,
) -> CompiledProgram:  # fmt: skip
    """A policy ready to act, from text of any origin; CompileError lists what is wrong. `actions` None: the names that
    `constants` number 0 .. n - 1. `worked`: one for all compilations of a text that differ in `constants` alone."""
    work = _Compilation(schema, constants, library, limits or Limits(), actions, worked)
    done = work.run(source, name, False)
    if done is not None:
        with work.failures(name):
            scope, [(function, graph)] = done
            act, code = _function(graph)
            module = _module(work, scope, name, {"act": act})
            return CompiledProgram(module, act, dict(work.low.reason_lines), graph, code)
    raise work.answer()


def compile_safety(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library = shipped_library,
    name: str = "safety", limits: Limits | None = None, actions: ActionSpace | None = None,
    worked: Worked | None = None,
) -> CompiledModule:  # fmt: skip
    """Safety rules ready for logic.runtime.controller; CompileError lists what is wrong."""
    work = _Compilation(schema, constants, library, limits or Limits(), actions, worked)
    done = work.run(source, name, True)
    if done is not None:
        with work.failures(name):
            scope, graphs = done
            made = {graph.name: _function(graph) for _, graph in graphs}
            plain = _module(work, scope, name, {k: f for k, (f, _) in made.items()})
            return CompiledModule(
                plain.name, plain.namespace, plain.functions, plain.fields, plain.sources, plain.tunables,
                {g.name: g for _, g in graphs}, {k: text for k, (_, text) in made.items()},
            )  # fmt: skip
    raise work.answer()


def probed_graphs(
    source: str | bytes, schema: SceneSchema, constants: Mapping[str, Any], library: Library = shipped_library,
    name: str = "policy", rules: bool = False, actions: ActionSpace | None = None,
) -> dict[str, Graph]:  # fmt: skip
    """Graphs of the same text with probes (probes.py), for traces alone: `act`, or each rule by its name."""
    normal = Limits()
    work = _Compilation(schema, constants, library, replace(normal, nodes=4 * normal.nodes), actions)
    work.low.probing = True
    done = work.run(source, name, rules)
    if done is None:
        raise work.answer()
    return {graph.name: graph for _, graph in done[1]}


def _function(graph: Graph) -> tuple[Callable[..., Any], str]:
    """The generated function and its text."""
    text, names = to_python(graph)
    exec(compile(text, f"<compiled {graph.name}>", "exec"), names)  # noqa: S102 - text generated from the IR, not the source
    made: Callable[..., Any] = names[ENTRY]
    return made, text


def _module(work: _Compilation, scope: Scope, name: str, functions: dict[str, Any]) -> Module:
    fields = {k: f.default for k, f in scope.fields.items()}
    return Module(name, functions, tuple(scope.functions.values()), fields, work.loader.sources, scope.tunables)
