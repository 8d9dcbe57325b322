"""Back end 1: a graph as straight-line Python, with real `if` and `for`, scalars as locals, arrays as numpy calls.

Knows: which values become variables, how blocks become statements. Does not know: the text of single ops.
The text is generated from the IR alone: no name or string of the policy stands in it but field names, which are
checked identifiers. It computes everything before it stores anything, so that a fault leaves memory unchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from logic.language import ops
from logic.language.ir import Block, Graph, Op, Value, walk
from logic.language.limits import OverBudget
from logic.language.python_ops import NAMES, PythonOps, field_text
from logic.language.ranges import surely_action

ENTRY = "step"  # not the policy's own name for it, which might hide one of NAMES
DEEPEST = 90  # Python's own limit on indentation is 100
LONGEST = 400  # characters of an expression before it gets a variable
_VARIABLE = re.compile(r"\bv\d+\b")
Sink = Callable[[list[Value]], bool]


class PythonCode:
    """Writes one graph. `source()` gives the text, `globals` what it refers to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lines: list[str] = []
        self.depth = 1
        self.at = Op("", [])  # what is being written
        self.globals: dict[str, Any] = {}
        self.constants: dict[Any, str] = {}
        self.names: dict[Value, str] = {}
        self.inlined: dict[Value, str] = {}
        self.known: dict[Value, bool] = {}
        self.statements: set[Op] = set()  # `if` ops that are no expression
        self.faults: dict[Op, bool] = {}
        self.risky: set[Value] = set()  # values whose text may fault
        self.serial = 0
        self.ops = PythonOps(self.text, self.fresh, self.constant)
        self.uses: Counter[Value] = Counter()
        self.use_block: dict[Value, Block] = {}
        self.parents: dict[Block, tuple[Op, Block]] = {}
        self.count(graph.body)

    # --- who uses what ---------------------------------------------------------------------------

    def count(self, block: Block) -> None:
        """Uses of every value; handing a memory field on unchanged is none."""
        tail_if = bool(block.ops) and block.ops[-1].name == "if"
        for op in block.ops:
            self.use(op.args, block)
            for inner in op.blocks:
                self.parents[inner] = (op, block)
                self.count(inner)
        results = block.results
        if block is self.graph.body:
            head = len(results) - len(self.graph.fields)
            kept = [r for n, r in zip(self.graph.fields, results[head:], strict=True) if not is_load(r, n)]
            results = [*results[:head], *kept]
        self.use(results, block)
        if tail_if:  # what several leaves hand on gets a variable
            own = set(block.ops[-1].results)
            self.use([r for r in results if r not in own], block)

    def use(self, values: list[Value], block: Block) -> None:
        for value in values:
            self.uses[value] += 1
            self.use_block[value] = block

    def may_inline(self, value: Value, block: Block, faults: bool) -> bool:
        """One use, here or (when it cannot fault) inside `if`s below."""
        if self.uses[value] != 1:
            return False
        at = self.use_block[value]
        while at is not block:
            if faults or at not in self.parents or self.parents[at][0].name == "for":
                return False
            at = self.parents[at][1]
        return True

    def is_risky(self, op: Op) -> bool:
        """May evaluating the op's text fault, by itself or by what has been written into it?"""
        risky = ops.can_fault(op, self.faults) or any(a in self.risky and a in self.inlined for a in op.args)
        if risky:
            self.risky.update(op.results)
        return risky

    # --- operands --------------------------------------------------------------------------------

    def fresh(self) -> str:
        self.serial += 1
        return f"v{self.serial}"

    def constant(self, key: Any, value: Any) -> str:
        """The global that holds a table."""
        if key not in self.constants:
            name = f"T{len(self.constants)}"
            self.constants[key] = name
            self.globals[name] = value
        return self.constants[key]

    def text(self, value: Value) -> str:
        """An operand: a variable, a literal, a table's name, or the expression itself."""
        if value.const is not None:
            return self.literal(value)
        if value in self.inlined:
            return self.inlined[value]
        return self.names[value]

    def literal(self, value: Value) -> str:
        const = value.const
        if value.type.is_array:
            return self.constant(id(const), const)
        if value.type.kind == "reason":
            return repr(self.graph.reasons[const])
        if isinstance(const, float) and (const != const or const in (float("inf"), float("-inf"))):
            return self.constant(repr(const), const)
        return f"({const!r})" if const < 0 else repr(const)

    # --- statements ------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        if self.depth > DEEPEST:
            message = "conditions are nested too deep after inlining; return early or use fewer helpers"
            raise OverBudget(message, self.at.file, self.at.line)
        self.lines.append(" " * self.depth + text)

    def block_ops(self, found: list[Op], block: Block) -> None:
        for op in found:
            self.at = op
            if op.name == "for":
                self.loop(op)
            elif op.name == "if":
                if not self.as_value(op, block):
                    self.branch(op)
            else:
                self.define(op, block)

    def define(self, op: Op, block: Block) -> None:
        """A pure op: kept for its one use, or a variable."""
        value = op.result
        text = self.ops.expression(op)
        if len(text) < LONGEST and self.may_inline(value, block, self.is_risky(op)):
            self.inlined[value] = text
        elif op.name == "memory" and not self.uses[value]:
            return
        else:
            self.inlined.pop(value, None)
            self.names[value] = self.fresh()
            self.line(f"{self.names[value]} = {text}")

    def as_value(self, op: Op, block: Block) -> bool:
        """An `if` that chooses one of two expressions, as a conditional expression."""
        text = self.conditional(op)
        if text is None:
            return False
        value = op.result
        if len(text) < LONGEST and self.may_inline(value, block, self.is_risky(op)):
            self.inlined[value] = text
        else:
            self.names[value] = self.fresh()
            self.line(f"{self.names[value]} = {text}")
        return True

    def conditional(self, op: Op) -> str | None:
        if len(op.results) != 1 or op in self.statements:
            return None
        text = self.chosen(op)
        if text is None:
            self.statements.add(op)
        return text

    def chosen(self, op: Op) -> str | None:
        """Both sides as expressions, joined by the shortest form there is."""
        sides = [self.side(block) for block in op.blocks]
        if sides[0] is None or sides[1] is None or len(sides[0]) + len(sides[1]) > LONGEST:
            return None
        c = self.text(op.args[0])
        then, other = (block.results[0].const for block in op.blocks)
        if op.result.type.kind == "bool":
            if other is False or then is True:
                return f"({c} and {sides[0]})" if other is False else f"({c} or {sides[1]})"
            if other is True or then is False:
                return f"(not {c} or {sides[0]})" if other is True else f"(not {c} and {sides[1]})"
        return f"({sides[0]} if {c} else {sides[1]})"

    def side(self, block: Block) -> str | None:
        """A branch as one expression, when everything in it has one use."""
        for op in block.ops:
            if op.name == "for" or len(op.results) != 1 or not self.may_inline(op.result, block, True):
                return None
            text = self.conditional(op) if op.name == "if" else self.ops.expression(op)
            if text is None or len(text) > LONGEST:
                return None
            self.inlined[op.result] = text
        return self.text(block.results[0])

    def branch(self, op: Op) -> None:
        """A real `if` whose results are variables."""
        names = [self.names.setdefault(r, self.fresh()) for r in op.results]

        def assign(results: list[Value]) -> bool:
            for name, value in zip(names, results, strict=True):
                self.line(f"{name} = {self.text(value)}")
            return False

        self.if_else(op, assign, [list(block.results) for block in op.blocks])

    def if_else(self, op: Op, sink: Sink, results: list[list[Value]]) -> bool:
        """Both sides into one sink; what follows a side that never ends here needs no else."""
        condition, self.at = op.args[0], op
        self.line(f"if {self.text(condition)}:")
        left = self.inner(op.blocks[0], sink, results[0], condition, True)
        if left:
            self.known[condition] = False
            return self.tail(op.blocks[1], sink, results[1])
        mark = len(self.lines)
        self.line("else:")
        self.inner(op.blocks[1], sink, results[1], condition, False)
        self.flatten(mark)
        return False

    def inner(self, block: Block, sink: Sink, results: list[Value], condition: Value, truth: bool) -> bool:
        self.depth += 1
        before, known = len(self.lines), self.known.copy()
        self.known[condition] = truth
        left = self.tail(block, sink, results)
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1
        self.known = known
        return left

    def flatten(self, mark: int) -> None:
        """`else:` with nothing in it goes; with a lone `if` in it becomes `elif`."""
        pad = " " * (self.depth + 1)
        body = self.lines[mark + 1 :]
        if body == [pad + "pass"]:
            del self.lines[mark:]
            return
        heads = [line[len(pad) :] for line in body if not line.startswith(pad + " ")]
        if heads[0].startswith("if ") and all(h.startswith(("elif ", "else:")) for h in heads[1:]):
            self.lines[mark:] = [" " * self.depth + "el" + body[0][len(pad) :], *(line[1:] for line in body[1:])]

    def tail(self, block: Block, sink: Sink, results: list[Value]) -> bool:
        """Ops, then hand `results` to the sink, inside both sides of an `if` that stands last."""
        last = block.ops[-1] if block.ops else None
        if last is None or last.name != "if":
            self.block_ops(block.ops, block)
            return sink(results)
        self.block_ops(block.ops[:-1], block)
        if self.as_value(last, block):
            return sink(results)
        sides = []
        for inner in last.blocks:
            chosen = dict(zip(last.results, inner.results, strict=True))
            sides.append([chosen.get(r, r) for r in results])
        return self.if_else(last, sink, sides)

    # --- loops -----------------------------------------------------------------------------------

    def loop(self, op: Op) -> None:
        body = op.blocks[0]
        index, *params = body.params
        names = [self.fresh() for _ in params]
        for name, param, result, start in zip(names, params, op.results, op.args, strict=True):
            self.line(f"{name} = {self.text(start)}")
            self.names[param] = self.names[result] = name
        self.names[index] = self.fresh()
        a, b, c = op.attrs["start"], op.attrs["stop"], op.attrs["step"]
        self.line(f"for {self.names[index]} in range({a}, {b}, {c}):")

        def iterate(results: list[Value]) -> bool:
            return self.next_iteration(results[0], list(zip(names, results[1:], strict=True)))

        self.depth += 1
        known = self.known.copy()
        before = len(self.lines)
        self.tail(body, iterate, list(body.results))
        if len(self.lines) == before:
            self.line("pass")
        self.known = known
        self.depth -= 1

    def next_iteration(self, stop: Value, pairs: list[tuple[str, Value]]) -> bool:
        """Assign what is carried, then go on or leave."""
        ends = stop.const if stop.const is not None else self.known.get(stop)
        flag = ""
        if ends is None:
            flag = self.fresh()
            self.line(f"{flag} = {self.text(stop)}")
        moves = [(name, self.text(value)) for name, value in pairs]
        self.parallel([(n, t) for n, t in moves if n != t])
        if ends is None:
            self.line(f"if {flag}: break")
        elif ends:
            self.line("break")
        return bool(ends)

    def parallel(self, moves: list[tuple[str, str]]) -> None:
        """All at once: singly in an order that overwrites nothing still needed, the rest as a tuple."""
        while moves:
            for i, (name, _) in enumerate(moves):
                if not any(name in _VARIABLE.findall(t) for j, (_, t) in enumerate(moves) if j != i):
                    self.line(f"{name} = {moves[i][1]}")
                    del moves[i]
                    break
            else:
                self.line(f"{', '.join(n for n, _ in moves)} = {', '.join(t for _, t in moves)}")
                return

    # --- the function ----------------------------------------------------------------------------

    def answer(self, results: list[Value]) -> bool:
        """Compute everything, then store, then return."""
        head = 2 if self.graph.has_reason else 1
        action = results[0]
        stores = []
        for name, new in zip(self.graph.fields, results[head:], strict=True):
            if not is_load(new, name):
                stores.append((name, self.text(new)))
        unsure = not surely_action(self.graph)
        atoms = [self.atom(self.text(r), bool(stores) or unsure) for r in results[:head]]
        if unsure and action.type.is_array:
            self.line(f"check_vector({atoms[0]})")
        elif unsure:
            self.line(f"if not 0 <= {atoms[0]} < {self.graph.n_actions}: bad_action({atoms[0]})")
        for name, text in [(n, self.atom(t, len(stores) > 1)) for n, t in stores]:
            self.line(f"{field_text(name)} = {text}")
        self.line(f"return {', '.join(atoms)}")
        return True

    def atom(self, text: str, needed: bool) -> str:
        """The text itself when it cannot fault or change, else a variable."""
        if not needed or text.isidentifier() or not re.search(r"[A-Za-z(]", text) or text[0] in "'\"":
            return text
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name

    def source(self) -> str:
        """The whole function's text."""
        params = ", action" if self.graph.params else ""
        for param in self.graph.params:
            self.names[param] = "action"
        if any("." in name for name in self.graph.fields):
            self.line("fields = memory.__dict__")
        arrays = any(r.type.is_array and r.type.kind != "bool" for op in walk(self.graph.body) for r in op.results)
        if arrays:
            self.line('with errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):')
            self.depth += 1
        self.tail(self.graph.body, self.answer, list(self.graph.body.results))
        return "\n".join([f"def {ENTRY}(scene, memory{params}):", *self.lines, ""])


def is_load(value: Value, field: str) -> bool:
    """Is this the memory field itself, unchanged?"""
    return value.op is not None and value.op.name == "memory" and bool(value.op.attrs["field"] == field)


def to_python(graph: Graph) -> tuple[str, dict[str, Any]]:
    """(text of the generated function, the names it refers to)."""
    code = PythonCode(graph)
    text = code.source()
    return text, {**NAMES, **code.globals, "__builtins__": {}}
