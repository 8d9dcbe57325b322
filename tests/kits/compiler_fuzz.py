"""Random policies for the fuzzer: typed by construction, with helpers, loops, early returns, arrays and memory.

Knows: the language's grammar by type. Integers are kept small, since only they are unbounded in plain Python;
everything else (division by zero, NaN, infinities, indices out of range) is meant to go wrong now and then.
"""

from __future__ import annotations

import random

N = 4  # length of every array
FIELDS = {"int": ("n", "m"), "float": ("x", "y"), "bool": ("on",), "F": ("fs",), "I": ("ks",), "B": ("bs",)}
MEMORY = """
class Memory:
    n: int = 0
    m: int = 3
    x: float = 0.0
    y: float = 1.5
    on: bool = False
    fs: Float[4] = array((0.5, -1.0, 2.0, 0.0))
    ks: Int[4] = arange(4)
    bs: Bool[4] = array((True, False, False, True))
"""
HEAD = """
SPEED = tunable(2.5, 1.0, 8.0)
LIMIT = 7
TABLE = squares()
WEIGHTS = array((0.25, -1.5, 3.0, 0.125))


def squares():
    made = zeros_int(9)
    for i in range(9):
        made = put(made, i, i * i % 7)
    return made
"""
KINDS = ("int", "float", "bool", "F", "I", "B")
ACTION_NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT")


class Maker:
    """One random program."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.serial = 0
        self.helpers: dict[str, tuple[list[str], str]] = {}
        self.names: dict[str, list[str]] = {}
        self.lines: list[str] = []
        self.scene = True
        self.loops = 0

    def pick(self, *choices: str) -> str:
        return self.r.choice(choices)

    # --- expressions -----------------------------------------------------------------------------

    def make(self, kind: str, depth: int) -> str:
        """An expression of a kind."""
        made: str = getattr(self, "make_" + kind)(depth)
        return made

    def leaf(self, kind: str) -> str:
        """A name, a field, or a literal."""
        known = list(self.names.get(kind, []))
        if self.scene:
            known += [f"memory.{f}" for f in FIELDS[kind]]
        literals = {
            "int": [str(self.r.randint(-3, 9)), "LIMIT", "FRAMESKIP", "len(WEIGHTS)", "RIGHT"],
            "float": ["0.0", "1.0", "-2.5", "0.1", "SPEED", "math.pi", "STICKY"],
            "bool": ["True", "False"],
            "F": ["WEIGHTS", "zeros(4)", "full(4, 1.25)"],
            "I": ["arange(4)", "TABLE[2:6]", "zeros_int(4)"],
            "B": ["array((True, True, False, True))"],
        }[kind]
        if self.scene and kind == "float":
            literals += ["scene.ball.x", "scene.ball.y", "scene.enemy[1].vx", "scene.air", "scene.ball.w"]
        if self.scene and kind == "bool":
            literals += ["scene.ball.seen", "scene.enemy[2].seen", "scene.bricks[1, 2]"]
        if self.scene and kind == "B":
            literals += ["scene.bricks[1]", "scene.bricks[2]"]
        return self.r.choice(known) if known and self.r.random() < 0.8 else self.r.choice(literals)

    def small(self, text: str) -> str:
        """An int kept small, or a float that fits an int."""
        return self.pick(f"({text}) % 13", f"clip({text}, -9, 9)", f"({text}) % 5 - 2")

    def whole(self, depth: int) -> str:
        x = f"clip({self.make('float', depth)}, -1000.0, 1000.0)"
        return self.pick(f"int({x})", f"round({x})", f"math.floor({x})", f"math.ceil({x})")

    def make_int(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.15:
            return self.leaf("int")
        a, b = (self.make("int", depth - 1) for _ in range(2))
        c = self.make("bool", depth - 1)
        f, i, g = (self.make(k, depth - 1) for k in ("F", "I", "B"))
        return self.pick(
            f"({a} + {b})", f"({a} - {b})", self.small(f"{a} * {b}"), f"({a} // {b})", f"({a} % {b})", f"(-{a})",
            f"abs({a})", f"min({a}, {b})", f"max({a}, {b}, 2)", f"clip({a}, -4, {b})", f"sign({a})",
            f"({a} if {c} else {b})",
            f"({c} + {a})", self.whole(depth - 1), f"argmax({f})", f"argmin({i})", f"count({g})", f"take(TABLE, {a})",
            f"take(TABLE, clip({a}, 0, 8))", f"({self.small(a)}) ** 2", f"take({i}, {b} % 4)", f"largest({i} % 11)",
            f"total({g})", f"nearest(WEIGHTS, {self.make('float', depth - 1)})", f"int({c})", self.call("int", depth),
            "count(scene.bricks)" if self.scene else "2",
        )  # fmt: skip

    def make_float(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.15:
            return self.leaf("float")
        a, b = (self.make("float", depth - 1) for _ in range(2))
        c, n, f = self.make("bool", depth - 1), self.make("int", depth - 1), self.make("F", depth - 1)
        return self.pick(
            f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"({a} // {b})", f"({a} % {b})", f"(-{a})",
            f"abs({a})", f"min({a}, {b})", f"max({a}, {b})", f"clip({a}, -4.0, {b})", f"sign({a})",
            f"({a} if {c} else {b})",
            f"({n} / {n})", f"({n} * {a})", f"float({n})", f"math.sqrt({a})", f"math.sin({a})", f"math.cos({a})",
            f"math.atan2({a}, {b})", f"math.hypot({a}, {b})", f"math.exp({a})", f"math.log({a})", f"abs({a}) ** 1.5",
            f"({a}) ** 2", f"total({f})", f"largest({f})", f"smallest({f})", f"take({f}, {n})",
            f"take(WEIGHTS, {n} % 4)",
            f"({a} / {b} if {b} != 0.0 else 1.0)", self.call("float", depth),
        )  # fmt: skip

    def make_bool(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.15:
            return self.leaf("bool")
        a, b = (self.make("float", depth - 1) for _ in range(2))
        n, m = (self.make("int", depth - 1) for _ in range(2))
        c, d, g = self.make("bool", depth - 1), self.make("bool", depth - 1), self.make("B", depth - 1)
        op = self.pick("<", "<=", ">", ">=", "==", "!=")
        return self.pick(
            f"({a} {op} {b})", f"({n} {op} {m})", f"({n} {op} {a})", f"({a} < {b} <= {n})", f"({c} and {d})",
            f"({c} or {d})",
            f"(not {c})", f"({c} == {d})", f"any_of({g})", f"all_of({g})", f"({b} != 0.0 and {a} / {b} > 1.0)",
            f"({c} & {d})",
            f"({n} == 0 or {m} // {n} > 1)", f"bool({n})", f"({c} if {d} else {n} > 2)", self.call("bool", depth),
        )  # fmt: skip

    def make_F(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.2:
            return self.leaf("F")
        a, b, g, i = (self.make(k, depth - 1) for k in ("F", "F", "B", "I"))
        x, n = self.make("float", depth - 1), self.make("int", depth - 1)
        return self.pick(
            f"({a} + {b})", f"({a} - {x})", f"({a} * {b})", f"({a} / {b})", f"({x} * {a})", f"({a} // {b})",
            f"({a} % {b})",
            f"(-{a})", f"abs_of({a})", f"maximum({a}, {b})", f"minimum({a}, {x})", f"clip({a}, -2.0, 3.0)",
            f"sign({a})",
            f"floor_of({a})", f"where({g}, {a}, {b})", f"where({g}, {x}, {a})", f"to_float({i})",
            f"shift_push({a}, {x})",
            f"put({a}, {n}, {x})", f"put({a}, {n} % 4, {x})", f"take({a}, {i})", f"take({a}, {i} % 4)",
            f"({a} if {n} > 2 else {b})",
            f"concat({a}[1:3], {b}[0:2])", f"scatter_add({i} % 4, {a}, 4)", f"array(({x}, 1.0, {x}, {n}))",
            f"max_over({a}[:, None] - {b}[None, :], 1)", f"sum_over({a}[None, :] * {b}[:, None], 0)", f"full(4, {x})",
            f"matmul(reshape(concat({a}, {b}), 2, 4), {b})[0] + {a}",
            f"exp_of(clip({a}, -9.0, 9.0))", self.call("F", depth),
        )  # fmt: skip

    def make_I(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.2:
            return self.leaf("I")
        a, b = (self.make("I", depth - 1) for _ in range(2))
        g, n, f = self.make("B", depth - 1), self.make("int", depth - 1), self.make("F", depth - 1)
        k = self.small(n)
        return self.pick(
            f"({a} + {b})", f"({a} - {k})", f"({a} % 7 * ({b} % 5))", f"({a} // {b})", f"({a} % {b})", f"(-{a})",
            f"abs_of({a})",
            f"maximum({a}, {b})", f"clip({a}, 0, 3)", f"where({g}, {a}, {k})", f"to_int({g})",
            f"to_int(clip({f}, -99.0, 99.0))",
            f"top_k({f}, 4)", f"put({a}, {n}, {k})", f"shift_push({a}, {k})", f"take({a}, {b})",
            f"take(TABLE, {b} % 9)",
            f"argmax_over({f}[:, None] - {f}[None, :], 1)", f"sum_over({g}[:, None] & {g}[None, :], 1)", f"({a} + {k})",
            "col_sums(scene.bricks)" if self.scene else "arange(4)", f"argmax_over({a}[None, :] == {b}[:, None], 0)",
        )  # fmt: skip

    def make_B(self, depth: int) -> str:
        if depth <= 0 or self.r.random() < 0.2:
            return self.leaf("B")
        a, b = (self.make("F", depth - 1) for _ in range(2))
        i, g, h = self.make("I", depth - 1), self.make("B", depth - 1), self.make("B", depth - 1)
        op = self.pick("<", "<=", ">", ">=", "==", "!=")
        return self.pick(
            f"({a} {op} {b})", f"({i} {op} 2)", f"({a} {op} 0.5)", f"({g} & {h})", f"({g} | {h})", f"(~{g})"
        )

    def call(self, kind: str, depth: int) -> str:
        """A helper of that kind, if there is one."""
        fits = [n for n, (_, result) in self.helpers.items() if result == kind]
        if not fits:
            return self.leaf(kind)
        name = self.r.choice(fits)
        return f"{name}({', '.join(self.make(k, min(depth - 1, 1)) for k in self.helpers[name][0])})"

    # --- statements ------------------------------------------------------------------------------

    def new(self, kind: str, pad: str, depth: int) -> None:
        self.serial += 1
        name = f"v{self.serial}"
        self.lines.append(f"{pad}{name} = {self.make(kind, depth)}")
        self.names.setdefault(kind, []).append(name)

    def change(self, pad: str, depth: int) -> None:
        """Assign a variable or field that exists."""
        kind = self.r.choice(KINDS)
        targets = [n for n in self.names.get(kind, []) if not n.startswith(("i", "p"))]
        if self.scene:
            targets += [f"memory.{f}" for f in FIELDS[kind]] * 2
        if not targets:
            return
        target, value = self.r.choice(targets), self.make(kind, depth)
        if kind == "int":
            value = self.small(value)
        elif kind == "I":
            value = f"({value}) % 17"
        elif kind == "float" and self.r.random() < 0.3:
            self.lines.append(f"{pad}{target} {self.pick('+=', '-=', '*=')} {value}")
            return
        self.lines.append(f"{pad}{target} = {value}")

    def block(self, pad: str, budget: int, in_loop: bool, answer: str | None) -> None:
        """A few statements; variables made inside are gone afterwards."""
        before = {k: list(v) for k, v in self.names.items()}
        self.new(self.r.choice(KINDS), pad, 1)
        self.change(pad, 2)
        for _ in range(self.r.randint(1, budget)):
            self.statement(pad, budget, in_loop, answer)
        self.names = before

    def statement(self, pad: str, budget: int, in_loop: bool, answer: str | None) -> None:
        roll = self.r.random()
        if roll < 0.3:
            self.new(self.r.choice(KINDS), pad, self.r.randint(1, 3))
        elif roll < 0.6 or budget <= 1:
            self.change(pad, self.r.randint(1, 3))
        elif roll < 0.8:
            self.lines.append(f"{pad}if {self.make('bool', 2)}:")
            self.block(pad + "    ", budget - 1, in_loop, answer)
            if self.r.random() < 0.5:
                self.lines.append(f"{pad}{self.pick('else:', 'elif ' + self.make('bool', 1) + ':')}")
                self.block(pad + "    ", budget - 1, in_loop, answer)
        elif roll < 0.9 and self.loops < 3:
            self.loop(pad, budget, answer)
        elif in_loop and self.r.random() < 0.6:
            self.lines.append(f"{pad}if {self.make('bool', 1)}:\n{pad}    {self.pick('break', 'continue')}")
        elif answer is not None:
            self.lines.append(f"{pad}if {self.make('bool', 1)}:\n{pad}    return {self.answer(answer)}")

    def loop(self, pad: str, budget: int, answer: str | None) -> None:
        self.serial += 1
        self.loops += 1
        name = f"i{self.serial}"
        steps = self.pick("3", "1, 4", "6, 0, -2", "1")
        self.lines.append(f"{pad}for {name} in range({steps}):")
        self.names.setdefault("int", []).append(name)
        self.block(pad + "    ", budget - 1, True, answer)
        self.names["int"].remove(name)

    def answer(self, kind: str) -> str:
        if kind != "act":
            return self.make(kind, 2)
        action = self.r.choice(ACTION_NAMES) if self.r.random() < 0.8 else self.make("int", 2)
        return f'{action}, "reason {self.r.randint(0, 5)}"'

    def helper(self, number: int) -> None:
        kind, params = (
            self.r.choice(("int", "float", "bool", "F")),
            [self.r.choice(KINDS) for _ in range(self.r.randint(1, 3))],
        )
        names = [f"p{number}_{i}" for i in range(len(params))]
        self.names, self.scene, self.loops = {}, False, 2
        for name, k in zip(names, params, strict=True):
            self.names.setdefault(k, []).append(name)
        self.lines.append(f"\n\ndef h{number}({', '.join(names)}):")
        self.block("    ", 2, False, kind)
        self.lines.append(f"    return {self.make(kind, 2)}")
        self.helpers[f"h{number}"] = (params, kind)

    def program(self) -> str:
        """The whole text."""
        for i in range(self.r.randint(0, 2)):
            self.helper(i)
        self.names, self.scene, self.loops = {}, True, 0
        self.lines.append("\n\ndef act(scene, memory):")
        for kind in self.r.sample(KINDS, 3):
            self.new(kind, "    ", 2)
        for _ in range(self.r.randint(2, 5)):
            self.statement("    ", 3, False, "act")
        self.lines.append(f"    return {self.answer('act')}")
        return HEAD + MEMORY + "\n".join(self.lines) + "\n"
