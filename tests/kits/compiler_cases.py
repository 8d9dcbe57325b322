"""What policies compute, case by case: expressions over memory, and bodies, for every back end to agree on.

Knows: texts and the memories they start from, full of numbers that go wrong. Does not know: how they are run.
"""

from __future__ import annotations

import numpy as np

MEMORY = """
class Memory:
    n: int = 0
    m: int = 3
    x: float = 0.0
    y: float = 0.0
    on: bool = False
    trail: Float[3] = zeros(3)
    ticks: Int[4] = zeros_int(4)
    mode: str = "wait"
"""
NAN, INF = float("nan"), float("inf")
_ROWS = (
    (0, 3, 0.0, 0.0, False, (0, 0, 0), (0, 0, 0, 0)),
    (-7, 3, -0.0, 0.0, True, (-0.0, 1, 2), (1, -2, 3, 4)),
    (7, -3, 2.5, -0.5, True, (NAN, 1, 2), (5, 6, 7, 8)),
    (2**53, 2**53, 1e308, 1e308, False, (INF, -INF, 1), (2**31 - 1, -(2**31), 1, -1)),
    (-(2**53), 1, NAN, 1.0, True, (3e38, 3e38, -3e38), (3, 2, 1, 0)),
    (1, 0, INF, -INF, False, (0.5, -0.5, 2.5), (1, 1, 1, 1)),
    (5, 2, -3.5, 2.0, True, (1, 2, 3), (9, 8, 7, 6)),
    (2, -1, 1e-320, 5e-324, False, (1e-40, -1e-40, 0), (0, 1, 2, 3)),
    (-1, 7, 3.0, NAN, True, (9, 8, 7), (-1, -1, -1, -1)),
    (2**31, 2**31 - 1, 2.0**53, -(2.0**54), False, (2**24, 1, -1), (3, 3, 3, 3)),
    (3, 10, -1e17, 0.1, True, (0.1, 0.2, 0.3), (2, 0, 2, 0)),
    (100, -100, 0.3, 0.7, False, (5, 5, 5), (4, 3, 2, 1)),
)
STARTS = [
    {"n": n, "m": m, "x": x, "y": y, "on": on, "trail": np.array(trail, np.float32), "ticks": np.array(ticks, np.int32)}
    for n, m, x, y, on, trail, ticks in _ROWS
]  # `mode` stays as the step before left it

EXPRESSIONS = (
    "memory.n // memory.m", "memory.n % memory.m", "memory.n / memory.m", "memory.x // memory.y",
    "memory.x % memory.y", "memory.x / memory.y", "memory.n // -2", "memory.n % -2", "memory.x // -0.5",
    "memory.x % -0.3", "memory.x % 1.0", "memory.n ** 2", "memory.n ** 3", "memory.x ** 2", "memory.x ** 0.5",
    "memory.x ** -1.0", "memory.x ** memory.y", "2.0 ** memory.x", "0.0 ** memory.y", "memory.x ** 0.0",
    "1.0 ** memory.x", "(-8.0) ** memory.x", "memory.n ** 0", "(memory.n % 5) ** (memory.m % 4)", "int(memory.x)",
    "round(memory.x)", "math.floor(memory.x)", "math.ceil(memory.x)", "float(memory.n)", "float(memory.on)",
    "int(memory.on)", "bool(memory.n)", "bool(memory.x)", "memory.on + memory.on", "memory.on * 3", "memory.on - 1",
    "-memory.on", "+memory.on", "memory.on / 2", "memory.on // 2", "memory.on % 2", "memory.on ** 2",
    "abs(memory.on)", "min(memory.x, memory.y)", "max(memory.x, memory.y)", "min(memory.y, memory.x, 0.0)",
    "max(memory.x, memory.n)", "min(memory.n, memory.x, memory.m)", "max(0.0, memory.x)", "max(memory.x, 0.0)",
    "min(-0.0, memory.x)", "max(-0.0, 0.0)", "clip(memory.x, -1.0, 1.0)", "clip(memory.x, memory.y, 1.0)",
    "clip(memory.n, -2, 5)", "clip(memory.n, 0, 2.5)", "sign(memory.x)", "sign(memory.n)", "abs(memory.x)",
    "abs(memory.n)", "-memory.x", "-memory.n", "memory.x - memory.x", "memory.x * 0.0", "0.0 - memory.x",
    "memory.x + 0.0", "memory.x * -1.0", "memory.n + 0.5", "memory.n * memory.m", "memory.n * memory.n",
    "memory.n - memory.m", "memory.n + memory.m", "(memory.n + memory.m) * (memory.n - memory.m)", "memory.n * 0.5",
    "memory.n * 1e300", "memory.x * memory.y", "memory.x + memory.y", "math.sqrt(memory.x)", "math.sin(memory.x)",
    "math.cos(memory.y)", "math.tan(memory.x)", "math.atan2(memory.x, memory.y)", "math.hypot(memory.x, memory.y)",
    "math.exp(memory.x)", "math.log(memory.x)", "math.asin(memory.x)", "math.acos(memory.y)", "math.atan(memory.x)",
    "memory.x if memory.x == memory.x else -1.0", "memory.n if memory.on else memory.x",
    "1 if memory.x < memory.y else 0", "(1 if memory.on else 2) if memory.n > 0 else (3 if memory.x > 0 else 4)",
    "memory.x < memory.y < memory.n", "memory.x <= memory.x", "memory.x != memory.x",
    "memory.x == memory.x == memory.x", "not memory.x == memory.x", "not memory.x", "not memory.n",
    "memory.n < memory.x", "memory.n == memory.x", "memory.n == 2**53 + 0.0", "memory.on == 1",
    "memory.on == memory.on", "memory.on < memory.n", "memory.y != 0.0 and memory.x / memory.y > 1.0",
    "memory.y == 0.0 or memory.x / memory.y > 1.0", "memory.on and memory.x < 1.0 or memory.n > 2 and not memory.on",
    "0 < memory.n < 10 != memory.m", "memory.trail[0]", "memory.trail[-1]", "memory.ticks[max(memory.n, 0)]",
    "memory.ticks[memory.n % 4]", "take(memory.trail, memory.n)", "memory.trail[clip(memory.n, 0, 2)]",
    "largest(memory.trail)", "smallest(memory.trail)", "argmax(memory.trail)", "argmin(memory.trail)",
    "argmax(memory.ticks)", "total(memory.ticks)", "total(memory.trail)", "count(memory.trail > 0.0)",
    "any_of(memory.trail != memory.trail)", "all_of(memory.ticks >= 0)", "nearest(memory.trail, memory.x)",
    "nearest(memory.ticks, memory.n)", "len(memory.trail) + memory.n", "total(memory.trail * memory.x)",
    "total(memory.trail / memory.x)", "total(memory.trail // memory.x)", "total(memory.trail % memory.x)",
    "total(memory.trail ** 2.0)", "(memory.trail ** memory.x)[0]", "(memory.trail ** 0.5)[1]",
    "(memory.trail + memory.x)[2]", "total(memory.ticks // memory.n)", "total(memory.ticks % memory.m)",
    "total(memory.ticks + memory.n)", "total(memory.ticks * memory.ticks)", "total(-memory.ticks)",
    "total(abs_of(memory.ticks))", "total(to_float(memory.ticks))", "total(to_int(memory.trail))",
    "total(to_int(floor_of(memory.trail)))", "total(exp_of(memory.trail))", "total(maximum(memory.trail, memory.x))",
    "total(minimum(memory.trail, 0.0))", "total(clip(memory.trail, -1.0, memory.y))", "total(sign(memory.trail))",
    "total(where(memory.trail > memory.x, memory.trail, memory.y))", "total(where(memory.trail > 0.0, 1, 0))",
    "total(where(memory.ticks > memory.n, memory.ticks, 2))", "total(put(memory.trail, memory.n, memory.x))",
    "total(put(memory.ticks, 1, memory.n))", "total(shift_push(memory.trail, memory.x))",
    "total(shift_push(memory.ticks, memory.m))", "total(full(3, memory.n))", "total(full(3, memory.x))",
    "total(array((memory.n, memory.m)))", "total(array((memory.n, memory.x, memory.on)))",
    "total(array((memory.on, True)))", "total(concat(memory.trail, memory.trail))", "total(memory.trail[1:])",
    "total(memory.trail[:, None] * memory.trail[None, :])", "total(reshape(memory.ticks, 2, 2)[1])",
    "total(sum_over(reshape(memory.ticks, 2, 2), 0))", "total(max_over(reshape(memory.ticks, 2, 2), 1))",
    "total(argmax_over(reshape(memory.ticks, 2, 2), 1))", "total(top_k(memory.trail, 2))",
    "total(top_k(memory.ticks, 3))", "total(scatter_add(memory.ticks[0:3], memory.trail, 8))",
    "total(matmul(reshape(concat(memory.trail, memory.trail), 2, 3), memory.trail))", "count(scene.bricks)",
    "total(scene.bricks)", "count(~scene.bricks)", "count(scene.bricks & (scene.bricks == True))",
    "total(col_sums(scene.bricks))", "argmax(scene.bricks)", "argmax(row_sums(scene.bricks))",
    "scene.enemy[memory.n % 3].x", "scene.enemy[max(memory.n, 0)].y", "scene.ball.seen",
    "scene.ball.seen + scene.enemy[0].seen", "scene.air", "scene.bricks[memory.n % 3, memory.m % 4]",
    "scene.bricks[0, 1]", "count(scene.bricks[memory.n % 3])", "FRAMESKIP * memory.n", "LEFT + memory.n % 2",
    "STICKY * memory.x", "memory.ticks[0] == memory.n", "count(memory.ticks == memory.n)",
    "count(memory.ticks < 2**40)", "count(memory.trail < 1e300)", "count(memory.trail == memory.x)",
    "total(memory.ticks + (memory.n > 0))", "total(memory.trail * memory.n)",
    "total(memory.trail * (memory.trail > 0.0))", "total((memory.trail > 0.0) * memory.ticks[0:3])",
)  # fmt: skip

BUMP = """
def bump(memory):
    memory.n = (memory.n + 1) % 50
    return memory.n
"""

BODIES: dict[str, str] = {
    "aug int div": "memory.x /= memory.m",
    "aug floordiv": "memory.n //= memory.m",
    "aug mod": "memory.n %= memory.m",
    "aug pow": "memory.x **= 2.0",
    "aug arr": "memory.trail += memory.x\nmemory.trail *= 2.0",
    "aug bool": "memory.n += memory.on",
    "aug arr and": "b = scene.bricks\nb &= ~b\nmemory.n = count(b)",
    "aug alias": "a = memory.trail\na += 1.0\nmemory.x = memory.trail[0]\nmemory.y = a[0]",
    "alias fields": "memory.trail = memory.trail\nb = memory.trail\nmemory.trail = put(b, 0, 5.0)\nmemory.x = b[0]",
    "snapshot order": "a = memory.n\nmemory.n = memory.m\nmemory.m = a",
    "swap": "memory.n, memory.m = memory.m, memory.n",
    "swap arr": "memory.x, memory.y = memory.y, memory.x + memory.y",
    "rot3": "memory.n, memory.m, memory.x = memory.m, memory.n, memory.y",
    "tuple loop floats": "for c in (0.1, 0.2, 0.3):\n    memory.x += c",
    "tuple loop mixed": "for c in (1, 2.5, True):\n    memory.x += c",
    "tuple loop pairs": "for a, b in ((1, 2), (3, 4)):\n    memory.n = memory.n % 1000 + a * b",
    "tuple loop vars": "for c in (memory.x, memory.y, 1.0):\n    if c == c:\n        memory.n = (memory.n + 1) % 1000",
    "tuple loop ints": "for c in (5, 6, 7):\n    if c == memory.n:\n        break\n    memory.m = c",
    "tuple loop bool": "for c in (True, False, memory.on):\n    if c:\n        memory.n = 1",
    "tuple loop break": "for c in (0.5, 1.5):\n    if memory.x < c:\n        break\n    memory.y = c",
    "tuple loop return": "for c in (0.5, 1.5):\n    if memory.x < c:\n        return FIRE, 'low'",
    "enumerate tuple": "for i, c in enumerate((0.1, 0.2)):\n    memory.y = c * i",
    "zip tuples": "for a, b in zip((1, 2), (0.1, 0.2)):\n    memory.y = a * b",
    "loop huge ints": "for c in (2**40, 1):\n    memory.n = c",
    "loop over things": "for e in scene.enemy:\n    if e.seen:\n        memory.x = e.x",
    "enumerate things": "for i, e in enumerate(scene.enemy):\n    if e.seen:\n        memory.n = i",
    "zip uneven": "for a, b in zip(memory.ticks, memory.ticks[0:2]):\n    memory.n = (memory.n % 9) + 1",
    "loop rows": "for row in scene.bricks:\n    memory.n = memory.n % 9 + count(row)",
    "loop ticks": "for t in memory.ticks:\n    if t > 0:\n        memory.m = int(t)",
    "range neg": "for i in range(3, -3, -2):\n    memory.n = memory.n % 99 + i",
    "range empty": "for i in range(3, 3):\n    memory.n = 9",
    "range one": "for i in range(1):\n    memory.n = 9",
    "break first": "for i in range(5):\n    break\nmemory.n = 1",
    "continue all": "for i in range(5):\n    continue\n    memory.n = 2",
    "return in nested loop": (
        "for i in range(5):\n    for j in range(5):\n        if i * j == memory.n:\n            return RIGHT, 'found'"
    ),
    "loop carries bool": "f = False\nfor i in range(4):\n    f = f or memory.ticks[i] > 2\nmemory.on = f",
    "loop carries type": "a = 0\nfor i in range(4):\n    a = a + memory.x\nmemory.y = a",
    "loop swaps": "a, b = 0, 1\nfor i in range(10):\n    a, b = b, a + b\nmemory.n = a",
    "loop fault later": "for i in range(4):\n    memory.x = 1.0 / (i - 2)",
    "loop fault cond": "for i in range(4):\n    if i != 2:\n        memory.x = 1.0 / (i - 2)",
    "loop div var": "for i in range(1, 4):\n    memory.y = memory.x / i",
    "loop uses break var": "k = 0\nfor i in range(6):\n    if i > memory.m:\n        break\n    k = i\nmemory.n = k",
    "short and fault": "if memory.m != 0 and memory.n // memory.m > 0:\n    memory.on = True",
    "short or fault": "if memory.m == 0 or memory.n % memory.m == 0:\n    memory.on = True",
    "ternary fault": "memory.y = memory.x / memory.y if memory.y != 0.0 else 7.0",
    "ternary nested fault": (
        "memory.n = memory.n // memory.m if memory.m > 0 else memory.m // memory.n if memory.n > 0 else 5"
    ),
    "guard return": "if memory.m == 0:\n    return FIRE, 'guard'\nmemory.n = memory.n // memory.m",
    "guard index": "if 0 <= memory.n < 4:\n    memory.m = memory.ticks[memory.n]",
    "guard clip": "memory.m = memory.ticks[clip(memory.n, 0, 3)]",
    "guard nan": "if memory.x == memory.x and abs(memory.x) < 1e9:\n    memory.n = int(memory.x)",
    "guard sqrt": "memory.y = math.sqrt(memory.x) if memory.x >= 0.0 else -1.0",
    "fault after store": "memory.n = 5\nmemory.x = 1.0 / memory.y\nmemory.m = 6",
    "fault unused": "z = 1.0 / memory.y",
    "fault unused idx": "z = memory.ticks[max(memory.n, 0)]",
    "action fault": "return memory.n, 'n'",
    "action mod": "return memory.n % 4, 'n'",
    "action clip": "return clip(memory.n, 0, 3), 'n'",
    "action ternary": "return (LEFT if memory.on else RIGHT), ('a' if memory.x > 0.0 else 'b')",
    "action argmax": "return argmax(memory.ticks), 'a'",
    "reason odd": "return NOOP, 'it\\'s {0} %s \\\\ \u00e9 \U0001f600'",
    "reason var": "r = 'a'\nif memory.on:\n    r = 'b'\nreturn NOOP, r",
    "reason loop": (
        "r = 'none'\nfor i in range(3):\n    if memory.ticks[i] == memory.n:\n        r = 'hit'\nreturn NOOP, r"
    ),
    "store in if": "if memory.on:\n    memory.n = 1\nelif memory.x > 0.0:\n    memory.n = 2\nelse:\n    memory.m = 4",
    "store arr in if": "if memory.on:\n    memory.trail = zeros(3)\nelse:\n    memory.ticks = arange(4)",
    "widen join": "a = 1\nif memory.on:\n    a = 2.5\nmemory.x = a",
    "widen join bool": "a = True\nif memory.on:\n    a = 3\nmemory.n = a",
    "join arr": "a = zeros(3)\nif memory.on:\n    a = memory.trail\nmemory.trail = a + 1.0",
    "int into float field": "memory.x = memory.n",
    "bool into int": "memory.n = memory.on",
    "bool into float": "memory.x = memory.on",
    "float neg zero store": "memory.x = -0.0\nmemory.y = 0.0 * -1.0",
    "neg zero min": "memory.x = min(0.0, -0.0)\nmemory.y = max(-0.0, 0.0)",
    "neg zero round": "memory.x = float(round(-0.4))\nmemory.y = -0.0 % 1.0",
    "big const": "memory.n = 2**53 - 1 + (memory.n > 0)",
    "int overflow add": "memory.n = memory.n + memory.n",
    "int overflow chain": "memory.n = (memory.n * 3 - memory.n * 3) + 1",
    "int overflow mid": "a = memory.n * 1000\nmemory.m = a // 1000",
    "int big mul mod": "memory.m = (memory.n * 48271) % 2147483647",
    "lcg": "memory.n = (memory.n % 2147483647 * 16807) % 2147483647",
    "float from big int": "memory.x = memory.n / 3\nmemory.y = memory.n * 1.0",
    "float cmp int big": "memory.on = memory.n < memory.x + 0.5",
    "int eq float nan": "memory.on = memory.n == memory.x",
    "pass": "pass",
    "empty loop": "for i in range(3):\n    pass",
    "dead": "if False:\n    memory.n = 1 // memory.m\nmemory.m = 3",
    "const fold cmp": "if 3 > 2:\n    memory.n = 1\nelse:\n    memory.n = 2",
    "elif chain": "".join(f"{'el' if i else ''}if memory.n == {i}:\n    memory.m = {i * i}\n" for i in range(20)),
    "early returns": "\n".join(f"if memory.n == {i}:\n    return {i % 4}, 'r{i}'" for i in range(12)),
    "deep ternary": "memory.m = " + "".join(f"{i} if memory.n == {i} else " for i in range(25)) + "99",
    "deep and": "memory.on = " + " and ".join(f"memory.n > {i}" for i in range(30)),
    "deep chain": "memory.on = " + " < ".join(["memory.n", "memory.m", "memory.x", "memory.y"] * 4),
    "float overflow loop": "a = memory.x\nfor i in range(12):\n    a = a * a\nmemory.y = a",
    "unroll shapes": "a = zeros(1)\nfor i in range(3):\n    a = concat(a, a + memory.x)\nmemory.y = total(a)",
    "where faults eager": "memory.y = total(where(memory.trail != 0.0, memory.trail, 1.0))",
    "take clip": "memory.y = take(memory.trail, clip(memory.n, 0, 2))",
    "take idx arr": "memory.y = total(take(memory.trail, clip(memory.ticks, 0, 2)))",
    "take idx arr fault": "memory.y = total(take(memory.trail, memory.ticks))",
    "mode": "if memory.mode == \"chase\":\n    memory.n = 1\nmemory.mode = \"chase\" if memory.on else \"wait\"",
}  # fmt: skip

# As deep as the compiler allows: nobody's recursion and no file format may give up earlier.
DEEP: dict[str, str] = {
    "returns": "\n".join(
        f"if memory.n == {i}:\n    memory.m = {i} // memory.m\n    return {i % 4}, 'r{i}'" for i in range(149)
    ),
    "returns of arrays": "\n".join(
        f"if memory.n == {i}:\n    memory.trail = memory.trail / memory.x\n    return {i % 4}, 'r'" for i in range(149)
    ),
    "elifs": "if memory.n == 0:\n    memory.x = 0.0\n"
    + "".join(f"elif memory.n == {i}:\n    memory.x = {i}.0 / memory.y\n" for i in range(1, 50)),
    "ifs in ifs": "".join("    " * i + f"if memory.n > {i}:\n" for i in range(50)) + "    " * 50 + "memory.x += 1",
    "ternaries": "memory.m = " + "".join(f"{i} if memory.n == {i} else " for i in range(50)) + "99",
    "and": "memory.on = " + " and ".join(f"memory.n > {i}" for i in range(80)),
    "or of faults": "memory.on = " + " or ".join(f"memory.n // memory.m == {i}" for i in range(80)),
    "chain": "memory.on = " + " <= ".join(["memory.n", "memory.m"] * 40),
    "one after the other": "\n".join(f"if memory.n == {i}:\n    memory.x = {i}.0 / memory.y" for i in range(300)),
    "breaks": "for i in range(5):\n"
    + "\n".join(f"    if memory.ticks[i % 4] == {i}:\n        break\n    memory.n = {i}" for i in range(60)),
    "loops in loops": "".join("    " * i + f"for i{i} in range(2):\n" for i in range(8))
    + "    " * 8 + "if memory.m != 0 and memory.n // memory.m > 3:\n" + "    " * 9 + "break",
}  # fmt: skip

HELPED: dict[str, tuple[str, str]] = {  # what stands at module level, and the body
    "tuple const loop": ("T = (0.1, 0.7)", "for c in T:\n    memory.x = c"),
    "tuple const index": ("T = (0.1, 0.7)", "memory.x = T[1] + T[-2]"),
    "nested tuple const": ("T = ((1, 2.5), (3, 4.5))", "for a, b in T:\n    memory.y = a * b"),
    "fault in helper": ("def f(a):\n    return 1.0 / a", "memory.y = f(memory.x)"),
    "reason helper": ("def why(a):\n    return 'neg' if a < 0 else 'pos'", "return NOOP, why(memory.n)"),
    "pair helper": (
        "def f(a):\n    if a < 0:\n        return LEFT, 'neg'\n    return RIGHT, 'pos'",
        "a, r = f(memory.n)\nreturn a, r",
    ),
    "return helper": ("def f(a):\n    return (LEFT, 'neg') if a < 0 else (RIGHT, 'pos')", "return f(memory.n)"),
    "helper shadow names": (
        "def v1(pow_, bad_int):\n    return pow_ - bad_int\n\n\ndef step(T0):\n    return v1(T0, 1.0)",
        "memory.y = step(memory.x)",
    ),
    "helper memory": (
        "def bump(memory):\n    memory.n = memory.m\n    return memory.n",
        "memory.m = bump(memory) // 2",
    ),
    "helper memory twice": (BUMP, "a = bump(memory)\nb = bump(memory)\nmemory.m = a * 100 + b"),
    "helper mem in expr order": (BUMP, "memory.m = memory.n % 50 + bump(memory) * 100 + memory.n * 10000"),
    "helper mem in cond": (
        BUMP.replace("return memory.n", "return memory.n > 3"),
        "if memory.on and bump(memory):\n    memory.m = 1",
    ),
    "helper mem in ternary": (BUMP, "memory.m = bump(memory) if memory.on else 7"),
    "helper mem in args": (
        BUMP + "\n\n\ndef g(a, b):\n    return a * 100 + b",
        "memory.m = g(bump(memory), bump(memory))",
    ),
    "helper mem in index": (
        "def bump(memory):\n    memory.n = (memory.n + 1) % 4\n    return memory.n",
        "memory.m = memory.ticks[bump(memory)]",
    ),
    "helper mem in compare chain": (
        "def bump(memory):\n    memory.n = (memory.n + 1) % 4\n    return memory.n",
        "memory.on = 0 < bump(memory) < bump(memory)",
    ),
    "helper mem in loop bound": (
        "def bump(memory):\n    memory.n = (memory.n + 1) % 4\n    return memory.n",
        "for i in range(3):\n    memory.m = bump(memory)",
    ),
    "helper mem in aug": (
        "def bump(memory):\n    memory.n = (memory.n + 1) % 50\n    return 1",
        "memory.n += bump(memory)",
    ),
    "helper mem in tuple": (BUMP, "a, b = bump(memory), memory.n\nmemory.m = a * 100 + b"),
    "helper mem in array": (BUMP, "memory.m = total(array((memory.n % 50, bump(memory), memory.n)))"),
    "helper mem where eager": (BUMP, "memory.m = max(memory.n % 50, bump(memory), bump(memory))"),
    "tables": (
        "def sq(n):\n    return arange(n) * arange(n)\nT = sq(10)\nU = T[3] + 0.5",
        "memory.m = T[memory.n % 10]\nmemory.y = U",
    ),
    "float table": ("T = array((0.1, 0.2, 0.3))", "memory.y = T[memory.n % 3]"),
    "table negidx": ("T = array((0.1, 0.2, 0.3))", "memory.y = T[-1]"),
    "tunable": ("K = tunable(3, 1, 8)", "memory.n = K"),
    "lib": ("from logic.lib.ball import fly", "memory.n = 1"),
}  # fmt: skip
