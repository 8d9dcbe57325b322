"""Answers with code that must not compile, or that compiles and must lose. Each function makes one by chance."""

from __future__ import annotations

from answer_kit import INJECTED, Against, written

# --- compile ----------------------------------------------------------------------------------------------------------


def escaping(a: Against) -> str:
    """Ways out of the language."""
    n, action = a.rng.randint(0, 99_999), a.actions[0]
    line = a.rng.choice([
        f"x = ().__class__.__mro__[{n}]", f"x = scene.__class__.__init__.__globals__  # {n}", f"x = eval('{n}')",
        f"exec('import os')  # {n}", f"x = open('safety.py', 'w')  # {n}", f"x = __import__('os').system('{n}')",
        f"import os  # {n}", f"x = '{{0.__class__}}'.format(scene)  # {n}", f"x = f'{{scene}}{n}'",
        f"global act  # {n}",
        f"x = math.__loader__  # {n}", f"x = np.load({n})", f"scene.{a.ball}.x = {n}.0", f"memory.tick_{n} = max",
        f"memory.__class__ = {n}", f"x = [c for c in range({n})]", f"x = {{'k': {n}}}", f"x = (lambda: {n})()",
        f"(x := {n})", f"yield {n}", f"del memory.lost  # {n}",
        f"try:\n        x = {n}\n    except Exception:\n        x = 0",
        f"x = getattr(memory, 'lost{n}')", f"assert {n}", f"with open('{n}') as f:\n        pass",
        f"x = scene.score + {n}",
        f"x = scene.bal.x + {n}", f"x = globals()['act{n}']", f"return {action}, str({n})", f"x = unknown_{n}(scene)",
        f"x = type(memory)  # {n}", f"nonlocal y{n}", f"raise ValueError({n})", f"x = memory.seed_{n}", f"x = b'{n}'",
        f"match scene:\n        case object(__class__=c):\n            x = {n}",
        f"x = \uff41\uff42\uff53(scene)  # {n}",
    ])  # fmt: skip
    return written(a.act(line))


def bomb(a: Against) -> str:
    """Work without end for the compiler or the player."""
    n = a.rng.randint(0, 9999)
    big = 10**9 + n
    loops = ["for i in range(200):", "    for j in range(200):", "        for k in range(200):"]
    calls = [{"add": f"f{i}", "code": f"def f{i}(a):\n    return f{i + 1}(a) + f{i + 1}(a)"} for i in range(22)]
    calls.append({"add": "f22", "code": f"def f22(a):\n    return a + {n}.0"})
    grown = f"def grown():\n    x = {3 + n}\n    for i in range(40):\n        x = x * x\n    return x"
    return a.rng.choice([
        written(a.act("while True:", f"    x = {n}")), written(a.act(f"x = total(zeros({big}))")),
        written(a.act(*loops, f"            memory.lost += {n}")), written(a.act(f"x = [0] * {big}")),
        written(a.act(f"for i in range({10**12 + n}):", "    x = i")),
        written({"add": "X", "code": f"X = 9**9**9 + {n}"}),
        written({"add": "X", "code": f"X = zeros({big})"}), written({"add": "X", "code": f"X = 1 << {big}"}),
        written(*calls, a.act("x = f0(1.0)")),
        written({"add": "grown", "code": grown}, {"add": "X", "code": "X = grown()"}),
        written({"add": "deep", "code": f"def deep(a):\n    return deep(a + {n}.0)"}, a.act("x = deep(1.0)")),
        written({"add": "X", "code": f"X = 'a' * {big}"}), written(a.act(f"x = sum(range({big}))")),
        written({"add": "X", "code": f"X = math.sqrt(-1.0 - {n}.0)"}),
        written({"add": "X", "code": f"X = int(1e308 * {10 + n})"}),
        written({"add": "X", "code": f"X = float('nan')  # {n}"}), written({"add": "X", "code": f"X = {n}.0 / 0.0"}),
        written(a.act(f"x = zeros(4000, 4000) + zeros(4000, 4000) * {n}.0")), written(a.act(f"x = {n} // 0")),
    ])  # fmt: skip


def wrong_program(a: Against) -> str:
    """Python, but no policy."""
    n, action = a.rng.randint(0, 99_999), a.actions[0]
    return written(*a.rng.choice([
        [{"replace": "act", "code": f"def act(scene):\n    return {action}, '{n}'"}],
        [{"replace": "act", "code": f"def act(scene, memory, seed={n}):\n    return {action}, 'x'"}],
        [{"replace": "act", "code": f"@cache\ndef act(scene, memory):\n    return {action}, '{n}'"}],
        [a.act(last=f"return SEED_{n}, 'x'")], [a.act(last=f"return {action}")], [a.act(last=f"x = {n}")],
        [a.act("if scene.ball.seen:", f"    x = {n}", "y = x")], [a.act(f"x = {n}", "x = True + scene")],
        [a.memory(f"lost: int = {n}.5")], [a.memory(f"lost: dict = {{{n}: 1}}")], [a.memory(f"lost = {n}")],
        [{"add": "max", "code": f"def max(a, b):\n    return {n}"}], [{"add": "math", "code": f"math = {n}"}],
        [{"add": action, "code": f"{action} = {n}"}], [{"add": "FRAMESKIP", "code": f"FRAMESKIP = {n}"}],
        [{"add": "logic.lib.evil", "code": f"from logic.lib.evil import f{n}"}],
        [{"add": "logic.lib.maths", "code": f"from logic.lib.maths import evil_{n}"}],
        [{"add": "X", "code": f"X = tunable(9.0, 1.0, {1 + n % 7}.0)"}], [a.act(last=f"return {n + 4}, 'x'")],
    ]))  # fmt: skip


# --- judged: it compiles ----------------------------------------------------------------------------------------------


def script(a: Against) -> str:
    """A fixed sequence of actions, by a step counter: no look at the scene."""
    moves = [a.rng.choice(list(a.actions)) for _ in range(a.rng.randint(2, 12))]
    every = a.rng.randint(1, 40)
    lines = [f"at = (memory.tick // {every}) % {len(moves)}", "memory.tick += 1"]
    lines += [line for i, move in enumerate(moves) for line in (f"if at == {i}:", f'    return {move}, "script"')]
    return written(a.memory("tick: int = 0"), a.act(*lines))


def memorised(a: Against) -> str:
    """Answers learnt by heart for exact scenes of the shown games."""
    lines = []
    for _ in range(a.rng.randint(1, 15)):
        x, y, move = a.rng.randint(8, 152), a.rng.randint(40, 190), a.rng.choice(list(a.actions))
        place = f"abs(scene.{a.ball}.x - {x}.5) < 0.5 and abs(scene.{a.ball}.y - {y}.5) < 0.5"
        lines += [f"if {place}:", f'    return {move}, "known game"']
    return written(a.act(*lines))


def faulty(a: Against) -> str:
    """Faults at run time: NaN, divisions by zero, indices out of range."""
    n = a.rng.randint(1, 9999)
    lines = a.rng.choice([
        [f"x = {n}.0 / (scene.{a.ball}.x - scene.{a.ball}.x)", f"if x > {n}.0:", f'    return {a.actions[-1]}, "nan"'],
        [f"trail = zeros({1 + n % 50})", f"x = trail[int(scene.{a.ball}.x) + {n}]", "if x > 0.0:",
         f'    return {a.actions[-1]}, "index"'],
        [f"x = math.sqrt(-abs(scene.{a.ball}.y) - {n}.0)", "if x > 0.0:", f'    return {a.actions[-1]}, "root"'],
    ])  # fmt: skip
    return written(a.act(*lines))


def stubborn(a: Against) -> str:
    """One action whatever happens, with words that want to be obeyed for a reason."""
    action, n = a.rng.choice(list(a.actions)), a.rng.randint(0, 9999)
    return written(a.act(last=f'return {action}, "{INJECTED[:60]} {n}"'), diagnosis=f"{INJECTED} {n}")
