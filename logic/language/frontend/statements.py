"""Statements and inlining: assignment, if, return, calls of helpers; what `act` and rules answer."""

from __future__ import annotations

import ast

import numpy as np

from envs.actions import Discrete
from logic.language.diagnostics import METHODS, NOT_HERE, UNUSED, WORDS, did_you_mean
from logic.language.frontend.calls import ARITY, Words
from logic.language.frontend.expressions import probe
from logic.language.frontend.text import helper_call
from logic.language.frontend.values import (
    FALSE,
    MATH,
    MEMORY,
    POISON,
    STRINGS,
    TRUE,
    Bound,
    Broken,
    Frame,
    Pack,
    Record,
    Scope,
    Special,
    State,
    Wrong,
    always_exits,
    assigned_names,
    find_function,
    find_record,
    identity,
    leaves,
    may_exit,
    names_of,
)
from logic.language.ir import INT, INT_LIMIT, REASON, Type, Value, within

# ----------------------------------------------------------------------------------------------------
# What `act` and rules answer: an action of the task's kind, for a policy with a reason.
#
# A vector action is a Float array from here on, whether the text gives a tuple, an array or, for one control, a
# number.


MOST_NAMED = 8  # names of controls in an error


class Answers(Words):
    """Adds what depends on the task's actions."""

    @property
    def action_type(self) -> Type:
        """Type of an action: int, or Float[n]."""
        return INT if isinstance(self.actions, Discrete) else Type("float", self.actions.shape)

    @property
    def actions_told(self) -> str:
        """What an action is in this task, for errors."""
        if isinstance(self.actions, Discrete):
            return f"this task's action is one of {self.shown_names}"
        n = len(self.actions.names)
        return f"this task's action is a vector of {n} control{'s' * (n > 1)} ({self.shown_names})"

    @property
    def shown_names(self) -> str:
        """The first names of actions or controls."""
        names = self.actions.names
        return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)

    @property
    def return_hint(self) -> str:
        """A return statement that would do."""
        action = "ACTION" if isinstance(self.actions, Discrete) else self.shown_names
        if not isinstance(self.actions, Discrete) and len(self.actions.names) > 1:
            action = f"({action})"
        return f"write `return {action}`" if self.entry == "rule" else f'write `return {action}, "why"`'

    def action_hint(self, name: str) -> str:
        """What to write instead of an unknown name that looks like an action's."""
        if not name.isupper():
            return ""
        if isinstance(self.actions, Discrete):
            return f"{self.actions_told}; other constants are assigned at the top of the file"
        return f"{self.actions_told}: {self.return_hint}"

    def given_action(self) -> Value:
        """The action that a rule is given."""
        if isinstance(self.actions, Discrete):
            return Value(INT, lo=0, hi=len(self.actions.names) - 1)
        return Value(self.action_type)

    def checked_answer(self, node: ast.Return, found: Bound) -> Bound:
        """What `act` or a rule returns, as far as it can be told here."""
        reason: list[Bound] = []
        if self.entry == "policy":
            if not isinstance(found, Pack) or len(found.items) != 2:
                raise self.wrong(node, "act must return an action and a reason", self.return_hint)
            found, *reason = found.items
        elif isinstance(found, Pack) and any(isinstance(i, Value) and i.type == REASON for i in found.items):
            raise self.wrong(node, "a rule returns an action alone", self.return_hint)
        action = self.action_of(node, found)
        values = [self.value(node, item) for item in reason]
        if values and values[0].type != REASON:
            raise self.wrong(node, f"the reason is {values[0].type}, not a string", self.return_hint)
        return Pack((action, *values)) if values else action

    def action_of(self, node: ast.AST, found: Bound) -> Value:
        """An action as the task has it."""
        if isinstance(self.actions, Discrete):
            return self.index_of(node, found)
        made = self.vector(node, found) if isinstance(found, Pack) else self.value(node, found)
        if self.action_type.size == 1 and not made.type.is_array and made.type != REASON:
            made = self.vector(node, Pack((made,)))
        if made.type != self.action_type:
            raise self.wrong(node, f"the action is {made.type}; {self.actions_told}", self.return_hint)
        if made.const is not None and bool(np.isnan(made.const).any()):
            raise self.wrong(node, "this is always a fault: NaN in an action", "guard it, or change the constants")
        return made

    def index_of(self, node: ast.AST, found: Bound) -> Value:
        """One of the named actions."""
        instead = "return one of the action names"
        if isinstance(found, Pack):
            what = "a rule returns an action alone" if self.entry == "rule" else "the action is a tuple"
            raise self.wrong(node, f"{what}; {self.actions_told}", instead)
        made, most = self.value(node, found), len(self.actions.names) - 1
        if made.type == REASON:
            raise self.wrong(node, "the action is a string", self.unquoted(made))
        if made.type != INT:
            raise self.wrong(node, f"the action is {made.type}, not an int", instead)
        if made.const is not None and not 0 <= made.const <= most:
            raise self.wrong(node, f"action {made.const} is not one of 0 .. {most}", instead)
        return made

    def unquoted(self, made: Value) -> str:
        """What to write instead of an action's name in quotes."""
        said = self.reasons[made.const] if made.const is not None else ""
        names = {name.lower(): name for name in self.actions.names}
        name = names.get(said.lower()) or did_you_mean(said.upper(), self.actions.names).split("'")[1:2]
        return f"write {name if isinstance(name, str) else name[0]}, without quotes" if name else self.actions_told

    def vector(self, node: ast.AST, found: Pack) -> Value:
        """A tuple of numbers, one a control, as an array."""
        names = self.actions.names
        if len(found.items) != len(names):
            values = f"{len(found.items)} value{'s' * (len(found.items) != 1)}"
            raise self.wrong(node, f"the action has {values}; {self.actions_told}", self.return_hint)
        parts = []
        for name, item in zip(names, found.items, strict=True):
            value = self.value(node, item)
            if value.type.is_array or value.type == REASON:
                raise self.wrong(node, f"{name} is {value.type}, not a number; {self.actions_told}", self.return_hint)
            parts.append(self.as_float(node, value))
        return self.emit(node, "stack", *parts, shape=(len(parts),), kind="float")


# ----------------------------------------------------------------------------------------------------
# Statements and inlining: assignment, if, return, calls of helpers.


MOST_ANSWERS = 500


def _same(bound: Bound) -> object:
    """Equal for arguments on which a helper gives the same answer."""
    if isinstance(bound, Value) and not bound.type.is_array:
        return bound.type.kind, repr(bound.const)
    return id(bound)


class Statements(Answers):
    """Adds statements and helper calls."""

    def block(self, body: list[ast.stmt]) -> None:
        """Run statements until the path leaves."""
        for i, node in enumerate(body):
            if isinstance(node, ast.If) and may_exit([node]):
                if self.conditional(node, body[i + 1 :]):
                    return
            else:
                self.statement(node)
            skip = self.state.skip
            if skip.const is True:
                return
            if skip.const is None:
                rest = body[i + 1 :]
                if rest:
                    self.unless_left(node, skip, lambda: self.block(rest))  # noqa: B023 - run at once
                return

    def unless_left(self, node: ast.AST, left: Value, rest: object) -> None:
        """Run `rest` on the paths that have not left."""

        def gone() -> None:
            state = self.state
            state.stop = TRUE if state.stop is left else state.stop
            state.returned = TRUE if state.returned is left else state.returned
            state.skip = TRUE

        def here() -> None:
            self.state.skip = self.state.stop = self.state.returned = FALSE
            self.state.answer = None
            rest()  # type: ignore[operator]

        self.branch(node, left, gone, here)

    def statement(self, node: ast.stmt) -> None:
        """One statement; an error in it is reported and poisons what it would have assigned."""
        self.here = self.frame.scope.file, node
        if self.tabling:
            self.meter.spend(3000.0)
        try:
            if isinstance(node, ast.Assign):
                self.assign(node.targets[0], self.expression(node.value))
            elif isinstance(node, ast.AugAssign):
                self.augmented(node)
            elif isinstance(node, ast.If):
                self.conditional(node, [])
            elif isinstance(node, ast.For):
                self.loop(node)
            elif isinstance(node, ast.Return):
                self.leave(node)
            elif call := helper_call(node):
                self.call_statement(call)
            elif isinstance(node, (ast.Break, ast.Continue)):
                self.state.skip = TRUE
                self.state.stop = TRUE if isinstance(node, ast.Break) else self.state.stop
        except Wrong:
            self.recover(node)

    def recover(self, node: ast.stmt) -> None:
        """Poison what the statement would have assigned; what is wrong has been said, or is said now."""
        if not self.reporter.anything:
            self.wrong(node, "this cannot be compiled", "write it in another way")
        for name in assigned_names([node]):
            self.state.locals[name] = POISON
        if isinstance(node, ast.Return):
            self.state.answer = POISON
            self.state.skip = self.state.stop = self.state.returned = TRUE

    # --- assignment ------------------------------------------------------------------------------

    def assign(self, target: ast.expr, bound: Bound) -> None:
        """Bind a name, a memory field, or several."""
        if isinstance(target, ast.Tuple):
            self.unpack(target, bound)
        elif isinstance(target, ast.Name):
            self.state.locals[target.id] = self.storable(target, bound)
        elif isinstance(target, ast.Attribute):
            self.store(target, bound)
        else:
            raise self.wrong(target, "this cannot be assigned", "assign names and fields of memory")

    def storable(self, target: ast.Name, bound: Bound) -> Bound:
        if isinstance(bound, Special):
            raise self.wrong(target, f"`{bound.name}` is not a value", f"use {bound.name} itself")
        if isinstance(bound, Pack):
            raise self.wrong(
                target, "a tuple cannot be kept in a variable", "unpack it: `a, b = helper(...)`, or make an array"
            )
        if isinstance(bound, Broken):
            self.value(target, bound)
        return bound

    def unpack(self, target: ast.Tuple, bound: Bound) -> None:
        if not isinstance(bound, Pack):
            self.value(target, bound)
            raise self.wrong(target, "one value cannot be unpacked", "assign it to one name")
        if len(bound.items) != len(target.elts):
            message = f"{len(bound.items)} values for {len(target.elts)} names"
            raise self.wrong(target, message, "give as many names as the helper returns values")
        for item, part in zip(target.elts, bound.items, strict=True):
            self.assign(item, part)

    def store(self, target: ast.Attribute, bound: Bound) -> None:
        """`memory.field = value`, of the field's type; `memory.ball.x = value` for a field of a record."""
        root, _, name = ast.unparse(target).partition(".")
        if self.state.locals.get(root) is not MEMORY:
            raise self.wrong(target, "only fields of memory can be assigned", "keep values in memory")
        old = self.on_attribute(target)
        if not isinstance(old, Record):
            value = self.value(target, bound)
            self.state.memory[name] = self.field_value(target, name, value, self.value(target, old).type)
            return
        new = leaves(self.record_like(target, bound, old))
        for leaf, (_, value) in zip(names_of(old.type, f"{name}."), new, strict=True):
            self.state.memory[leaf] = self.field_value(target, leaf, value, value.type)

    def field_value(self, node: ast.AST, name: str, value: Value, wanted: Type) -> Value:
        """The value as a memory field of that type holds it."""
        made = self.convert(node, value, wanted)
        if made is None:
            instead = (
                "write int(x), or declare the field float" if wanted == INT else "keep one type and shape per field"
            )
            instead = STRINGS if value.type == REASON else instead
            raise self.wrong(node, f"memory.{name} is {wanted}, this is {value.type}", instead)
        if wanted == INT and not within(made, -INT_LIMIT, INT_LIMIT):
            made = self.emit(node, "bound", made)
        return made

    def augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            old = self.on_name(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
        elif isinstance(node.target, ast.Attribute):
            old = self.on_attribute(node.target)
        else:
            raise self.wrong(node, "this cannot be assigned", "assign names and fields of memory")
        value = self.binary(node, node.op, self.value(node, old), self.evaluate(node.value))
        self.assign(node.target, value)

    # --- control ---------------------------------------------------------------------------------

    def conditional(self, node: ast.If, rest: list[ast.stmt]) -> bool:
        """`if`; statements after one that leaves on a side run on the other side. True: `rest` is done."""
        try:
            condition = self.truth(node.test, self.evaluate(node.test))
            probe(self, node, "if", node.test, condition)
        except Wrong:
            condition = Value(self.builder.const(True).type)  # unknown: look at both sides for more errors
        then, other, done = node.body, node.orelse, False
        if always_exits(then):
            other, done = other + rest, True
        elif always_exits(other):
            then, done = then + rest, True
        self.branch(node, condition, lambda: self.block(then), lambda: self.block(other))
        return done

    def leave(self, node: ast.Return) -> None:
        if node.value is None:
            raise self.wrong(node, "return without a value", "return a value on every path")
        found = self.expression(node.value)
        if isinstance(found, Special):
            raise self.wrong(node, f"`{found.name}` cannot be returned", "return numbers or arrays")
        if len(self.stack) == 1 and self.entry:
            found = self.checked_answer(node, found)
        probe(self, node, "return", node.value, found)
        self.state.answer = found
        self.state.skip = self.state.stop = self.state.returned = TRUE

    def loop(self, node: ast.For) -> None:
        raise NotImplementedError

    # --- calls -----------------------------------------------------------------------------------

    def on_call(self, node: ast.Call) -> Bound:
        func = node.func
        if isinstance(func, ast.Attribute):
            return self.method_call(node, func)
        if not isinstance(func, ast.Name):
            raise self.wrong(
                node, "only named functions can be called", "call a helper, a word of the language or math"
            )
        name = func.id
        if name in self.state.locals or name in self.frame.names:
            raise self.wrong(node, f"{name!r} is a variable, not a function", "call a helper by its own name")
        record = find_record(name, self.frame.scope)
        if record is not None:
            return self.construct(node, record)
        found = find_function(name, self.frame.scope)
        if node.keywords and (found is not None or name in ARITY):
            raise self.wrong(node.keywords[0].value, "arguments are given by position", "remove the name before =")
        if found is not None:
            return self.inline(node, *found)
        if name in ARITY:
            return self.word(node, name)
        raise self.not_callable(node, name)

    def call_statement(self, node: ast.Call) -> None:
        """`helper(memory)` on a line of its own, for what it does to memory; an answer is dropped."""
        found = find_function(node.func.id, self.frame.scope)  # type: ignore[attr-defined]
        if found is None:
            self.expression(node)
            raise self.wrong(node, UNUSED, "assign it, or remove the line")
        self.inline(node, *found, answers=False)

    def not_callable(self, node: ast.Call, name: str) -> Wrong:
        if name in NOT_HERE:
            return self.wrong(node, *NOT_HERE[name])
        scope = self.frame.scope
        if name in scope.later and name in scope.classes:
            line = scope.later[name]
            return self.wrong(node, f"{name!r} is used before it is declared (line {line})", "move its lines up")
        if name in scope.classes:
            return Wrong()  # its own errors are said
        if name in scope.constants or name in scope.predefined or name in scope.imported:
            return self.wrong(node, f"{name!r} is not a function", "remove the brackets")
        instead = WORDS.get(name) or self.near(name, scope.functions, scope.imported, scope.records, ARITY)
        return self.wrong(node, f"unknown function {name!r}", instead or f"define it: `def {name}(...):`")

    def method_call(self, node: ast.Call, func: ast.Attribute) -> Bound:
        if isinstance(func.value, ast.Name) and func.value.id == "math" and self.expression(func.value) is MATH:
            return self.math_call(node, func.attr)
        owner = func.value.id if isinstance(func.value, ast.Name) else ""
        instead = METHODS.get(func.attr) or WORDS.get(owner) or "call a helper, a word of the language or math"
        raise self.wrong(node, f"method {func.attr!r} is not part of the language", instead)

    def inline(self, node: ast.Call, scope: Scope, function: ast.FunctionDef, answers: bool = True) -> Bound:
        """The helper's answer; its body is lowered in place of the call. `answers` False: it need not have one."""
        names = [p.arg for p in function.args.args]
        if len(names) != len(node.args):
            raise self.wrong(
                node,
                f"{function.name} takes {len(names)} arguments, not {len(node.args)}",
                f"parameters: {', '.join(names)}",
            )
        given = {p: self.argument(a, p) for p, a in zip(names, node.args, strict=True)}
        key = (scope.file, function.name)
        if key in self.stack:
            raise self.wrong(
                node, f"{function.name} calls itself", "recursion has no bound; use `for i in range(CONST):`"
            )
        if len(self.stack) >= self.meter.limits.depth:
            raise self.wrong(node, "helpers call helpers too deep", f"at most {self.meter.limits.depth} levels")
        if not self.tabling:
            self.meter.call()
            return self.run_inline(node, scope, function, given, answers)
        self.meter.spend(3000.0)
        return self.remembered(node, scope, function, given)

    def remembered(self, node: ast.Call, scope: Scope, function: ast.FunctionDef, given: dict[str, Bound]) -> Bound:
        """A helper's answer on constants, worked out once: helpers of tables are pure."""
        key = (scope.file, function.name, *(_same(v) for v in given.values()))
        if key not in self.answers:
            if len(self.answers) >= MOST_ANSWERS:
                self.answers.clear()
            answer = self.shortcut(node, scope, function, given) if self.shortcut else None
            if answer is None:
                answer = self.run_inline(node, scope, function, given)
            self.answers[key] = (answer, given)  # the arguments stay alive, so that their identity stays theirs
        return self.answers[key][0]

    def run_inline(
        self, node: ast.AST, scope: Scope, function: ast.FunctionDef, given: dict[str, Bound], answers: bool = True
    ) -> Bound:
        outer_state, outer_frame = self.state, self.frame
        self.state = State(given, outer_state.memory)
        self.frame = Frame(scope, function, assigned_names(function.body) | given.keys())
        self.stack.append((scope.file, function.name))
        self.reporter.calls.append(
            f"{function.name}, called in {outer_frame.scope.file} line {getattr(node, 'lineno', 0)}"
        )
        try:
            self.block(function.body)
            ended = self.state
        finally:
            self.state, self.frame = outer_state, outer_frame
            self.stack.pop()
            self.reporter.calls.pop()
        outer_state.memory = ended.memory
        if not answers:
            return POISON
        if ended.returned.const is not True or ended.answer is None:
            self.reporter.say(
                scope.file,
                function,
                f"a path through {function.name} ends without return",
                "end every path with `return ...`",
            )
            return POISON
        return ended.answer

    def portable(self, node: ast.Call, name: str, values: list[Value]) -> Value:
        """A function of lib/maths, inlined once for equal arguments."""
        key = ("math." + name, *(identity(v) for v in values))
        for known in self.builder.scopes:
            if key in known:
                return known[key]
        self.mark(node)
        scope = self.maths()  # type: ignore[misc]
        function = scope.functions[name]
        given: dict[str, Bound] = {p.arg: v for p, v in zip(function.args.args, values, strict=True)}
        self.meter.call()
        probing, self.probing = self.probing, False
        try:
            made = self.value(node, self.run_inline(node, scope, function, given))
        finally:
            self.probing = probing
        self.builder.scopes[-1][key] = made
        return made

    def argument(self, node: ast.expr, parameter: str) -> Bound:
        """What is passed; scene and memory only to parameters of that name, and nothing else to those."""
        bound = self.special(node) or self.expression(node)
        is_special = bound.name if isinstance(bound, Special) else ""
        if is_special != (parameter if parameter in ("scene", "memory") else ""):
            instead = f"name the parameter {is_special}" if is_special else f"pass {parameter} itself"
            raise self.wrong(node, f"parameter {parameter!r} cannot take this", instead)
        if isinstance(bound, Broken):
            self.value(node, bound)
        return bound

    def special(self, node: ast.expr) -> Special | None:
        found = self.state.locals.get(node.id) if isinstance(node, ast.Name) else None
        return found if isinstance(found, Special) else None
