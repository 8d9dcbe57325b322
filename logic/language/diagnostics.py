"""What is wrong with a text, where, and what to write instead; the budgets of a compilation, which are diagnostics
too.
"""

from __future__ import annotations

import ast
import difflib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

# ----------------------------------------------------------------------------------------------------
# What people and models write out of habit, and what the language offers instead.


ALTERNATIVES: dict[type[ast.AST], tuple[str, str]] = {
    ast.While: ("a loop without a bound", "write `for i in range(MAX):` and `if not condition: break`"),
    ast.ListComp: ("a comprehension", "use array arithmetic, `count`, or a `for i in range(CONST)` loop"),
    ast.SetComp: ("a comprehension", "use array arithmetic, `count`, or a `for i in range(CONST)` loop"),
    ast.DictComp: ("a comprehension", "use array arithmetic, `count`, or a `for i in range(CONST)` loop"),
    ast.GeneratorExp: ("a generator", "use `count`, `any_of`, `all_of`, `total`, or a `for i in range(CONST)` loop"),
    ast.Dict: ("a dict", "use fields of Memory, or an array indexed by a named int constant"),
    ast.Set: ("a set", "compare with `or`, or keep a Bool array"),
    ast.List: ("a list", "write `array((1.0, 2.0))`, or keep a fixed-shape field of Memory and `shift_push`"),
    ast.Lambda: ("a lambda", "write a named helper function"),
    ast.Try: ("an exception handler", "guard the divisor or the index with `if` instead"),
    ast.Raise: ("an exception", "return an action; a fault already means the fallback action"),
    ast.Assert: ("an assertion", "return a safe action under `if`"),
    ast.JoinedStr: ("a formatted string", "reasons are plain string constants"),
    ast.Import: ("an import", "`math` is predefined; the library is `from logic.lib.NAME import FUNCTION`"),
    ast.Global: ("global state", "keep it in a field of Memory"),
    ast.Nonlocal: ("shared state", "keep it in a field of Memory"),
    ast.NamedExpr: ("an assignment inside an expression", "assign on its own line"),
    ast.AnnAssign: ("an annotated assignment", "only fields of Memory are annotated"),
    ast.With: ("a with block", "remove it"),
    ast.Delete: ("del", "assign a neutral value instead"),
    ast.Yield: ("a generator", "return a value"),
    ast.YieldFrom: ("a generator", "return a value"),
    ast.Await: ("async code", "policies answer at once"),
    ast.AsyncFunctionDef: ("async code", "write a plain `def`"),
    ast.AsyncFor: ("async code", "write a plain `for`"),
    ast.AsyncWith: ("async code", "remove it"),
    ast.Match: ("match", "write if/elif/else"),
    ast.Starred: ("star-unpacking", "name each value"),
    ast.FunctionDef: ("a function inside a function", "define helpers at module level"),
    ast.ClassDef: ("a class", "classes of fields stand at module level"),
    ast.ImportFrom: ("an import inside a function", "import at the top of the file"),
    ast.FormattedValue: ("a formatted string", "reasons are plain string constants"),
    ast.Slice: ("a slice here", "slice an array: `a[1:3]`"),
}
_NEWER = {  # of later Pythons than the oldest that runs this
    "TypeAlias": ("a type alias", "remove it; types are worked out"),
    "TemplateStr": ("a template string", "reasons are plain string constants"),
    "Interpolation": ("a template string", "reasons are plain string constants"),
    "TryStar": ("an exception handler", "guard the divisor or the index with `if` instead"),
}
ALTERNATIVES |= {getattr(ast, name): hint for name, hint in _NEWER.items() if hasattr(ast, name)}
UNUSED = "the value of this expression is not used"
UNKNOWN_CONSTRUCT = ("this construct", "see docs/language.md for what the language has")

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Is: ("is", "compare with =="), ast.IsNot: ("is not", "compare with !="),
    ast.In: ("in", "compare with == and `or`"), ast.NotIn: ("not in", "compare with != and `and`"),
    ast.LShift: ("<<", "multiply by a power of two"), ast.RShift: (">>", "divide with // by a power of two"),
    ast.BitXor: ("^", "use `!=` on booleans"), ast.MatMult: ("@", "write `matmul(a, b)`"),
}  # fmt: skip

_TYPE = "is a type of Memory's fields", "write `name: Float[3] = zeros(3)` in class Memory"
NOT_HERE: dict[str, tuple[str, str]] = {  # words that are called, but not as functions
    "range": ("range stands only in `for i in range(CONST):`", "use arange(n) for an array"),
    "tunable": ("tunable stands only at module level", "write `NAME = tunable(default, low, high)`"),
    "enumerate": ("enumerate stands only in `for`, with one array", "for another start count by hand: `i + 1`"),
    "zip": ("zip stands only in `for`, with arrays", "write `for a, b in zip(x, y):`"),
    "math": ("math is not a function", "call one of its own: `math.sqrt(x)`"),
    **{name: (f"{name} {_TYPE[0]}", _TYPE[1]) for name in ("Float", "Int", "Bool")},
}  # fmt: skip

WORDS: dict[str, str] = {
    "sum": "write `total(a)` for an array, or add with +", "any": "write `any_of(a)`", "all": "write `all_of(a)`",
    "sorted": "write `top_k(values, k)`, `nearest` or `argmin`", "enumerate": "write `for i in range(CONST):`",
    "zip": "write `for i in range(CONST):` and index both", "map": "use array arithmetic",
    "filter": "use `where(condition, a, 0.0)`",
    "print": "nothing is printed: say why in the reason, `return ACTION, \"why\"`",
    "None": "keep an explicit `have_x: bool` in Memory", "list": "keep a fixed-shape array in Memory",
    "dict": "use fields of Memory", "set": "keep a Bool array", "str": "reasons are plain string constants",
    "tuple": "name each value",
    "random": "keep a generator's state in Memory", "np": "use the language's own array words",
    "numpy": "use the language's own array words", "deque": "use `shift_push`", "pow": "write `a ** b`",
    "divmod": "write // and %", "isinstance": "types are fixed when the policy is compiled",
    "getattr": "write the attribute: `scene.ball.x`", "reversed": "count down: `for i in range(n - 1, -1, -1):`",
    "time": "count steps in Memory", "eval": "write the expression itself", "exec": "write the statements themselves",
    "open": "policies cannot reach files", "input": "policies see only the scene",
    "logging": "nothing is logged: say why in the reason, `return ACTION, \"why\"`", "self": "write memory.NAME",
    "cls": "write memory.NAME",
    **dict.fromkeys(("score", "reward", "lives"), "a policy sees the scene alone; count in Memory what it sees happen"),
}  # fmt: skip

UNSEEN = "a policy sees what is on the screen, {have}; count in Memory what it sees happen"
NOT_SEEN: dict[str, str] = {  # what people look for in the scene
    **dict.fromkeys(("score", "reward", "points", "lives", "done", "terminated", "info", "over", "won"), UNSEEN),
    **dict.fromkeys(("time", "step", "steps", "frame", "t", "tick", "clock", "index"), "count steps: `memory.n += 1`"),
    **dict.fromkeys(("action", "last_action"), "keep what you return in a field of Memory"),
    **dict.fromkeys(("width", "height"), "the constants WIDTH and HEIGHT are the frame's"),
    **dict.fromkeys(("pixels", "image", "screen", "obs", "observation"), "a policy sees named things: {have}"),
}
FIELDS: dict[str, str] = {  # of a thing, by other names
    "velocity": "vx and vy", "speed": "vx and vy", "v": "vx and vy", "dx": "vx", "dy": "vy", "position": "x and y",
    "pos": "x and y", "center": "x and y, its middle", "left": "x - w / 2", "right": "x + w / 2", "top": "y - h / 2",
    "bottom": "y + h / 2", "width": "w", "height": "h", "visible": "seen", "present": "seen", "exists": "seen",
    "confidence": "sure", "probability": "sure",
}  # fmt: skip

METHODS: dict[str, str] = {
    "append": "use `memory.x = shift_push(memory.x, value)`", "pop": "use `shift_push`, or keep a counter",
    "format": "reasons are plain string constants", "get": "use fields of Memory", "copy": "arrays are values already",
    "sum": "write `total(a)`", "max": "write `largest(a)`", "min": "write `smallest(a)`",
    "mean": "write `total(a) / len(a)`",
    "any": "write `any_of(a)`", "all": "write `all_of(a)`", "argmax": "write `argmax(a)`",
    "astype": "write `to_int(a)` or `to_float(a)`",
    "reshape": "write `reshape(a, n, m)`", "shape": "write `len(a)`",
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# Budgets of a compilation: every way a text can grow has a limit, and reaching it is a diagnostic.


SOURCE_CHARS = 200_000
NESTING = 60  # levels of the syntax tree
AST_NODES = 30_000
INT_DIGITS = 20
OPERANDS = 80  # of one `and`, `or` or chain of comparisons
LOOPS = 8  # one inside the other


@dataclass(frozen=True)
class Limits:
    """Counts are deterministic; `seconds` is only a backstop."""

    nodes: int = 12_000  # ops emitted, abandoned attempts included
    calls: int = 4_000  # inlined calls outside tables
    depth: int = 24  # helpers calling helpers
    nested: int = 150  # conditions one inside the other, where `if ...: return` holds all that follows
    unrolled: int = 2_000  # iterations of loops that had to be unrolled outside tables
    table_ns: float = 7.0e8  # estimated cost of all compile-time evaluation
    table_elements: int = 600_000_000  # made by it, one after the other
    array_elements: int = 4_000_000  # any one array
    table_bytes: int = 48_000_000  # all constants a policy ends up holding
    live_bytes: int = 8_000_000  # arrays of one step, all together
    step_ns: float = 2.0e7  # estimated worst cost of one decision
    seconds: float = 10.0


class OverBudget(Exception):
    """A budget is spent; the text says which and, after a semicolon, what to do. `file` and `line`, where known, say
    where it was; else it was where the compiler is looking."""

    def __init__(self, text: str, file: str = "", line: int = 0) -> None:
        super().__init__(text)
        self.file, self.line = file, line


class Meter:
    """Counts against Limits; raises OverBudget."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = self.calls = self.unrolled = self.elements = self.held = 0
        self.ns = 0.0
        self.until = time.thread_time() + limits.seconds

    def node(self) -> None:
        """One op emitted."""
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            what = f"the program has more than {self.limits.nodes} operations after inlining"
            raise OverBudget(f"{what}; loop or call less, or compute tables")
        if self.nodes % 256 == 0:
            self.tick()

    def call(self) -> None:
        """One helper inlined outside a table."""
        self.calls += 1
        if self.calls > self.limits.calls:
            raise OverBudget(f"more than {self.limits.calls} helper calls after inlining; call helpers fewer times")

    def iteration(self) -> None:
        """One iteration unrolled outside a table."""
        self.unrolled += 1
        if self.unrolled > self.limits.unrolled:
            raise OverBudget(f"more than {self.limits.unrolled} unrolled iterations; compute a table at module level")

    def spend(self, ns: float) -> None:
        """Compile-time evaluation that is about to cost `ns`."""
        self.ns += ns
        if self.ns > self.limits.table_ns:
            raise OverBudget("the constants and tables take too long to compute; make them smaller")

    def array(self, elements: int) -> None:
        """An array of so many elements is about to be made at compile time."""
        if elements > self.limits.array_elements:
            raise OverBudget(f"an array of {elements} elements; at most {self.limits.array_elements}")

    def make(self, elements: int) -> None:
        """Array elements that are about to be made at compile time; they may all have to be kept."""
        self.elements += elements
        if self.elements > self.limits.table_elements:
            raise OverBudget(f"more than {self.limits.table_elements} elements in constants; make tables smaller")

    def hold(self, size: int) -> None:
        """Bytes that a module constant or a default of Memory keeps."""
        self.held += size
        if self.held > self.limits.table_bytes:
            raise OverBudget(f"constants of more than {self.limits.table_bytes} bytes; make tables smaller")

    def counts(self) -> dict[str, float]:
        """What has been used."""
        return {name: getattr(self, name) for name in ("nodes", "calls", "unrolled", "elements", "held", "ns")}

    def charge(self, cost: Mapping[str, float]) -> None:
        """What work would use that was done before."""
        for name, count in cost.items():
            setattr(self, name, getattr(self, name) + count)
        self.nodes, self.calls, self.unrolled = self.nodes - 1, self.calls - 1, self.unrolled - 1
        self.node()
        self.call()
        self.iteration()
        self.spend(0.0)
        self.make(0)
        self.hold(0)

    def tick(self) -> None:
        """The backstop."""
        if time.thread_time() > self.until:
            raise OverBudget(f"compilation took longer than {self.limits.seconds:g} s; make the text simpler")


# ----------------------------------------------------------------------------------------------------
# Diagnostics: what is wrong with a text, where, and what to write instead.


MOST = 200  # after so many the rest is noise
GIVE_UP = 300  # errors said, repeated ones included, after which compilation stops
CANDIDATES = 60  # names looked at for a suggestion
MOST_SUGGESTED = 40  # errors said, after which no more suggestions are looked for


@dataclass(frozen=True)
class Diagnostic:
    """One error. `construct` names the kind of thing refused, `source` is its line, `instead` what to write."""

    line: int
    column: int
    construct: str
    source: str
    message: str
    instead: str = ""
    file: str = "policy"

    def __str__(self) -> str:
        tail = f"; {self.instead}" if self.instead else ""
        return f"{self.file}, line {self.line}, column {self.column}: {self.message}{tail}\n    {self.source}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return asdict(self)


class Abort(Exception):
    """Compilation cannot go on (a budget is spent, the text does not parse); the reason is already reported."""


class Reporter:
    """Collects diagnostics over several texts (policy and library modules)."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.outer: list[list[Diagnostic]] = []  # found before the attempts under way
        self.lines: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.said = 0

    def add_source(self, file: str, text: str) -> None:
        """Remember a text so that diagnostics can quote its lines."""
        self.lines[file] = text.split("\n")

    def say(self, file: str, node: ast.AST | tuple[int, int], message: str, instead: str = "", what: str = "") -> None:
        """Report one error at a node or at (line, column from 1)."""
        self.said += 1
        if self.said > GIVE_UP:
            raise Abort("too many errors")
        lines = self.lines.get(file, [])
        line, column = place(node)
        whole = lines[line - 1] if 0 < line <= len(lines) else ""
        if isinstance(node, ast.AST) and not whole.isascii():  # syntax trees count bytes
            column = len(whole.encode()[: column - 1].decode(errors="ignore")) + 1
        text = whole.strip()[:200]
        construct = what or (construct_of(node) if isinstance(node, ast.AST) else "text")
        if self.calls:
            message = f"{message} (in {' called from '.join(reversed(self.calls[-3:]))})"
        made = Diagnostic(line, column, construct, text, message, instead, file)
        same = any((d.file, d.line, d.column, d.construct) == (file, line, column, construct) for d in self.found)
        if not same and len(self.found) < MOST:
            self.found.append(made)

    def abort(self, file: str, node: ast.AST | tuple[int, int], message: str, instead: str = "") -> Abort:
        """Report and give the exception to raise."""
        self.say(file, node, message, instead)
        return Abort(message)

    @property
    def anything(self) -> bool:
        """Has anything been said, in or around the attempts that are under way?"""
        return bool(self.found) or any(self.outer)

    @contextmanager
    def attempt(self) -> Iterator[list[Diagnostic]]:
        """Diagnostics said inside are kept apart: the yielded list holds them afterwards."""
        self.outer.append(self.found)
        self.found = []
        kept: list[Diagnostic] = []
        try:
            yield kept
        finally:
            kept.extend(self.found)
            self.found = self.outer.pop()

    def keep(self, said: Iterable[Diagnostic]) -> None:
        """Accept diagnostics of an attempt."""
        self.found.extend(d for d in said if d not in self.found)

    def sorted(self) -> list[Diagnostic]:
        """All diagnostics by file and place."""
        return sorted(self.found, key=lambda d: (d.file, d.line, d.column))


def place(node: ast.AST | tuple[int, int]) -> tuple[int, int]:
    """(line, column), both from 1."""
    if isinstance(node, tuple):
        return node
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` or nothing."""
    length = len(name)
    near = sorted((k for k in known if abs(len(k) - length) <= 3), key=lambda k: (abs(len(k) - length), k))[:CANDIDATES]
    close = [k for k in near if k.lower() == name.lower()] or difflib.get_close_matches(name[:64], near, 1)
    return f"did you mean {close[0]!r}?" if close else ""


_CONSTRUCTS = {
    "FunctionDef": "function", "ClassDef": "class", "AugAssign": "augmented assignment", "AnnAssign": "annotation",
    "BinOp": "operation", "BoolOp": "and/or", "UnaryOp": "operation", "IfExp": "ternary", "ListComp": "comprehension",
    "SetComp": "comprehension", "DictComp": "comprehension", "GeneratorExp": "generator", "JoinedStr": "f-string",
    "NamedExpr": "walrus", "While": "while loop", "For": "for loop", "ImportFrom": "import", "arg": "parameter",
}  # fmt: skip


def construct_of(node: ast.AST) -> str:
    """The construct's name to people."""
    name = type(node).__name__
    return _CONSTRUCTS.get(name, name.lower())
