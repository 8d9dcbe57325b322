"""What people and models write out of habit, and what the language offers instead.

Knows: texts only.
"""

from __future__ import annotations

import ast

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
    "filter": "use `where(condition, a, 0.0)`", "print": "give a reason with the action instead",
    "None": "keep an explicit `have_x: bool` in Memory", "list": "keep a fixed-shape array in Memory",
    "dict": "use fields of Memory", "set": "keep a Bool array", "str": "reasons are plain string constants",
    "tuple": "name each value",
    "random": "keep a generator's state in Memory", "np": "use the language's own array words",
    "numpy": "use the language's own array words", "deque": "use `shift_push`", "pow": "write `a ** b`",
    "divmod": "write // and %", "isinstance": "types are fixed when the policy is compiled",
    "getattr": "write the attribute: `scene.ball.x`", "reversed": "count down: `for i in range(n - 1, -1, -1):`",
    "time": "count steps in Memory", "eval": "write the expression itself", "exec": "write the statements themselves",
    "open": "policies cannot reach files", "input": "policies see only the scene",
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
