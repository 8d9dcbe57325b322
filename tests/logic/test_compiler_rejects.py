"""What the compiler refuses: every line of the acceptance list and its kin, with line, construct and a way out."""

from __future__ import annotations

import json

import pytest
from compiler_kit import CONSTANTS, MEMORY, SCHEMA, build, check, policy

from logic.language import CompileError, check_safety, compile_program

IN_ACT = {
    # reflection
    "tuple class": "x = ().__class__.__mro__",
    "scene class": "x = scene.__class__",
    "memory class": "memory.__class__ = 1",
    "full-width class": "x = scene.__\uff43lass__",
    "frame": "x = memory.n.gi_frame.f_back",
    "traceback": "x = memory.n.__traceback__.tb_frame",
    "match": "match scene:\n    case object(__class__=c):\n        pass",
    "single underscore": "x = scene._vector",
    "vector": "x = scene.vector",
    "as_dict": "x = scene.as_dict()",
    "memory methods": "x = memory.snapshot()",
    # strings
    "format": "x = '{0.__class__}'.format(scene)",
    "f-string": "x = f'{scene}'",
    "string times": "x = 'a' * 10**10",
    "string plus": "x = 'a' + 'b'",
    "string index": "x = 'abc'[0]",
    "string compare": "if 'a' == 'b':\n    memory.n = 1",
    "string condition": "if 'a':\n    memory.n = 1",
    "string in memory": "memory.n = 'mode'",
    "unprintable reason": "return NOOP, '\\ud800'",
    "newline in a reason": "return NOOP, 'a\\nb'",
    "long reason": "return NOOP, '" + "x" * 300 + "'",
    "percent": "x = 'a%s' % 1",
    "bytes": "x = b'abc'",
    "len of string": "x = len('abc')",
    # smuggling code
    "lambda": "x = lambda: 1",
    "walrus": "y = (x := 1)",
    "nested def": "def f():\n    return 1",
    "nested class": "class A:\n    pass",
    "global": "global TABLE",
    "nonlocal": "nonlocal TABLE",
    "del": "x = 1\ndel x",
    "yield": "yield 1",
    "await": "x = await scene",
    "async for": "async for i in scene:\n    pass",
    "star": "a, *b = (1, 2, 3)",
    "starred call": "x = max(*(1, 2))",
    "keyword call": "x = max(1, 2, key=abs)",
    "double star": "x = max(**{})",
    "import": "import os",
    "aliased import": "import os as math",
    "import from": "from os import path",
    "annotated assignment": "x: print() = 1",
    "annotation alone": "x: int",
    "math loader": "x = math.__loader__",
    "math unknown": "x = math.gcd(4, 6)",
    "math value": "x = math.inf",
    "rebinding builtin": "max = 1",
    "rebinding math": "math = 1",
    "rebinding action": "LEFT = 2",
    "rebinding protocol": "FRAMESKIP = 2",
    "loop over builtin": "for max in range(3):\n    pass",
    "numpy": "x = np.zeros(3)",
    "ctypes": "x = scene.bricks.ctypes",
    "tofile": "x = scene.bricks.tofile('a')",
    "eval": "x = eval('1')",
    "getattr": "x = getattr(scene, 'ball')",
    "builtins": "x = __builtins__",
    "with": "with scene:\n    pass",
    "try": "try:\n    x = 1\nexcept Exception:\n    pass",
    "raise": "raise ValueError",
    "assert": "assert memory.n",
    "type alias by call": "x = type(scene)",
    "call of a call": "x = max(1, 2)(3)",
    "call of a subscript": "x = (max, min)[0](1, 2)",
    "call of a ternary": "x = (max if memory.on else min)(1, 2)",
    "expression statement": "memory.n",
    "print": "print(memory.n)",
    # aliasing and mutation
    "function alias": "g = max\nx = g(1, 2)",
    "function into memory": "memory.n = max",
    "memory alias": "g = memory",
    "scene alias": "g = scene",
    "scene write": "scene.ball.x = 1.0",
    "scene new field": "scene.other = 1.0",
    "grid write": "scene.bricks[0][0] = True",
    "array write": "y = zeros(3)\ny[0] = 1.0",
    "self write": "y = zeros(3)\ny[0] = y",
    "memory write inside": "memory.trail[0] = 1.0",
    "augmented element": "memory.trail[0] += 1.0",
    "undeclared memory": "memory.nn = 1",
    "returning the scene": "return scene, 'x'",
    "returning memory": "return memory",
    "returning a thing": "return scene.ball, 'x'",
    # non-termination and blow-up
    "while": "while True:\n    pass",
    "sum of range": "x = sum(range(10**9))",
    "shift": "x = 1 << 10**10",
    "list times": "x = [0] * 10**9",
    "tuple times": "x = (0,) * 10**9",
    "variable range": "for i in range(memory.n):\n    pass",
    "float range": "for i in range(3.0):\n    pass",
    "huge array": "x = zeros(10**9)",
    "huge array through names": "n = 10**5\nx = zeros(n, n)",
    "huge range": "for i in range(10**9):\n    memory.n = memory.n + 1",
    "for else": "for i in range(3):\n    pass\nelse:\n    memory.n = 1",
    "comprehension": "x = [i for i in range(3)]",
    "generator": "x = sum(i for i in range(3))",
    "dict": "x = {'a': 1}",
    "set": "x = {1, 2}",
    "list": "x = [1, 2]",
    "memory subscript": "x = memory['n']",
    "none": "x = None",
    "ellipsis": "x = ...",
    "complex": "x = 1j",
    "or default": "x = memory.n or 3",
    "in": "x = 1 in (1, 2)",
    "is": "x = memory.n is 1",
    "bit xor": "x = 1 ^ 2",
    "matmul operator": "x = zeros(3) @ zeros(3)",
    # types
    "float into int": "memory.n = 1.5",
    "float division into int": "memory.n = memory.n / 2",
    "array into scalar": "memory.x = zeros(3)",
    "wrong shape": "memory.trail = zeros(4)",
    "wrong kind": "memory.ticks = zeros(4)",
    "one path only": "if memory.on:\n    y = 1\nmemory.n = y",
    "use before": "memory.n = y\ny = 1",
    "after a loop": "for i in range(3):\n    y = i\nmemory.n = y",
    "two types": "if memory.on:\n    y = 1\nelse:\n    y = zeros(3)\nx = y",
    "two shapes": "y = zeros(3) if memory.on else zeros(4)",
    "shapes": "x = zeros(3) + zeros(4)",
    "int meets float array": "x = arange(3) * 0.5",
    "int and float arrays": "x = arange(3) + zeros(3)",
    "int array division": "x = arange(3) / 2",
    "bool arithmetic": "x = scene.bricks + 1",
    "array condition": "if zeros(3):\n    memory.n = 1",
    "array and": "x = scene.bricks and True",
    "chained arrays": "x = 0 < arange(3) < 2",
    "float index": "x = memory.trail[1.0]",
    "index out of range": "x = memory.trail[3]",
    "negative take": "x = take(memory.trail, -1)",
    "too many indices": "x = memory.trail[0, 0]",
    "index array": "x = memory.trail[arange(2)]",
    "mask": "x = memory.trail[memory.trail > 0.0]",
    "variable slice": "x = memory.trail[0:memory.n]",
    "step slice": "x = memory.trail[::2]",
    "minus one reshape": "x = reshape(zeros(6), -1, 2)",
    "bad reshape": "x = reshape(zeros(6), 4)",
    "bad axis": "x = sum_over(scene.bricks, 2)",
    "axis of a vector": "x = sum_over(memory.trail, 0)",
    "variable shape": "x = zeros(memory.n)",
    "wrong arity": "x = clip(1, 2)",
    "unknown thing": "x = scene.bal.x",
    "unknown field": "x = scene.ball.speed",
    "several slots": "x = scene.enemy.x",
    "slot out of range": "x = scene.enemy[3].x",
    "thing as number": "x = scene.ball + 1",
    "unpack one": "a, b = 1",
    "unpack three": "a, b = (1, 2, 3)",
    "tuple variable": "a = (1, 2)",
    "chained assignment": "a = b = 1",
    "action outside": "return 9, 'x'",
    "negative action": "return -1, 'x'",
    "float action": "return 1.0, 'x'",
    "reason is a number": "return NOOP, 3",
    "no reason": "return NOOP",
    "three values": "return NOOP, 'x', 1",
    "return nothing": "return",
    "always a fault": "x = math.sqrt(-1.0)",
    "division by zero": "x = 1 / 0",
    "constant domain": "x = math.log(0.0)",
    "int of infinity": "x = int(1e308 * 10)",
    "huge int literal": "x = 99999999999999999",
    "int power": "x = memory.n ** 99",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(IN_ACT))
def test_refused_inside_act_with_its_line(name: str) -> None:
    source = policy("y0 = 1\n" + IN_ACT[name])
    found = check(source)
    assert found, "accepted"
    first = source.split("\n").index("    y0 = 1") + 2
    lines = range(first, first + len(IN_ACT[name].split("\n")))
    assert any(d.line in lines for d in found), found
    for d in found:
        assert d.message and d.construct and d.column > 0 and d.construct != "internal", d
        assert d.source in source
    json.dumps([d.as_dict() for d in found])
    with pytest.raises(CompileError):
        build(source)


MODULES = {
    "default argument": "def f(a=print()):\n    return 1",
    "annotation": "def f(a: print()):\n    return 1",
    "return annotation": "def f(a) -> print():\n    return 1",
    "decorator": "@tunable\ndef f(a):\n    return 1",
    "star args": "def f(*a):\n    return 1",
    "keyword only": "def f(*, a):\n    return 1",
    "positional only": "def f(a, /):\n    return 1",
    "type parameters": "def f(a):\n    return 1\nX = f.__class__",
    "async def": "async def f(a):\n    return 1",
    "class with a method": "class Other:\n    n: int = 0\n    def f(self):\n        return 1",
    "class with base": "class Memory(int):\n    n: int = 0",
    "class with metaclass": "class Memory(metaclass=type):\n    n: int = 0",
    "import": "import os",
    "aliased library": "from logic.lib.ball import fly as f",
    "star import": "from logic.lib.ball import *",
    "relative import": "from . import ball",
    "missing module": "from logic.lib.nothing_there import f",
    "missing function": "from logic.lib.ball import nothing_there",
    "path in import": "from logic.lib.ball.x import f",
    "future": "from __future__ import annotations",
    "statement": "print(1)",
    "loop": "for i in range(3):\n    pass",
    "if": "if True:\n    X = 1",
    "try": "try:\n    X = 1\nexcept Exception:\n    pass",
    "tuple target": "A, B = 1, 2",
    "attribute target": "math.pi = 3",
    "annotated constant": "X: int = 3",
    "word": "max = 3",
    "word function": "def max(a, b):\n    return a",
    "action": "LEFT = 3",
    "parameter hides": "def f(LEFT):\n    return 1",
    "parameter named like a module": "def f(math):\n    return 1\nX = f(1)",
    "constant twice": "X = 1\nX = 2",
    "function twice": "def f(a):\n    return 1\n\n\ndef f(a):\n    return 2",
    "constant and function": "f = 1\n\n\ndef f(a):\n    return 2",
    "act twice": 'def act(scene, memory):\n    return NOOP, "a"',
    "tunable outside": "X = tunable(3.0, 4.0, 8.0)",
    "tunable of names": "X = tunable(scene, 4.0, 8.0)",
    "used before": "X = Y + 1\nY = 2",
    "scene at module level": "X = scene.ball.x",
    "memory at module level": "X = memory.n",
    "table fault": "X = 1 // 0",
    "power": "X = 9**9**9",
    "tuple power": "X = (0,) * 10**9",
    "list": "X = [0] * 10**9",
    "zeros": "X = zeros(10**9)",
    "concat": "def f():\n    a = ones(9)\n    for i in range(30):\n        a = concat(a, a)\n    return a\n\nX = f()",
}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_refused_at_module_level(name: str) -> None:
    found = check(policy("", MODULES[name]))
    assert found and all(d.construct != "internal" for d in found), found


FIELDS = ["n: int = 1.5", "n: str = 0", "n: int", "n = 0", "__n: int = 0", "snapshot: int = 0", "restore: int = 0",
          "n: Float[3] = zeros(4)", "n: Float[x] = zeros(3)", "n: print() = 0", "n: Float[10**9] = zeros(3)",
          "n: int = 0; n: int = 1", "n: float = scene.ball.x", "def f(self):\n        return 1", "n: Float = 0.0",
          "n: float = 1 / 0", "_n: int = 0"]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_refused_memory_fields(field: str) -> None:
    found = check(policy("", memory=f"class Memory:\n    {field}\n"))
    assert found and all(d.construct != "internal" for d in found), found


HELPERS = {
    "direct recursion": "def f(a):\n    return f(a)",
    "mutual recursion": "def f(a):\n    return g(a)\n\n\ndef g(a):\n    return f(a)",
    "self-application": "def f(a):\n    return a(a)",
    "scene for memory": "def f(memory):\n    return 1.0",
    "scene under another name": "def f(a):\n    return a.ball.x",
    "missing return": "def f(a):\n    if a > 1.0:\n        return 1.0",
    "no return": "def f(a):\n    b = a",
    "two types": "def f(a):\n    if a > 1.0:\n        return 1.0\n    return zeros(3)",
    "different numbers": "def f(a):\n    if a > 1.0:\n        return 1.0, 2.0\n    return 1.0",
    "wrong count": "def f(a, b):\n    return 1.0",
}


@pytest.mark.parametrize("name", sorted(HELPERS))
def test_refused_helpers(name: str) -> None:
    given = "scene" if name.startswith("scene") else "f" if name == "self-application" else "scene.ball.x"
    found = check(policy(f"x = f({given})", HELPERS[name]))
    assert found and all(d.construct != "internal" for d in found), found


def test_all_errors_are_reported_with_suggestions() -> None:
    found = check(
        policy(
            "x = scene.bal.x\ny = shift_pus(memory.trail, 1.0)\nmemory.tral = 1\nz = unknwn + 1\nn = ones(3) + ones(4)"
        )
    )
    assert len(found) == 5
    text = "\n".join(map(str, found))
    for word in ("ball", "shift_push", "trail"):
        assert f"did you mean '{word}'?" in text
    assert [d.line for d in found] == sorted(d.line for d in found)


HABITS = {
    "while memory.n > 0:\n    memory.n -= 1": "for i in range(MAX)",
    "for i in range(memory.n):\n    memory.x += 1.0": "if i >= n: break",
    "x = sum(scene.bricks)": "total(a)",
    "x = any(scene.bricks)": "any_of(a)",
    "x = all(scene.bricks)": "all_of(a)",
    "x = sum(1 for e in scene.enemy if e.seen)": "`count`",
    "x = sorted(scene.enemy, key=lambda e: e.x)": "`nearest` or `argmin`",
    "d = {'a': 1}": "fields of Memory",
    "d = deque(maxlen=3)": "shift_push",
    "memory.n = 'chase'": 'mode: str = "search"',
    "x = round(memory.x, 2)": "round(x * 100.0) / 100.0",
    "x = max(memory.trail)": "largest(a)",
    "for i, e in enumerate(memory.trail, 1):\n    memory.x += e": "i + 1",
    "x = sorted(memory.trail)": "top_k",
    "x = memory['n']": "fields",
    "x = None": "have_x: bool",
    "x = memory.n or 3": "x if x != 0 else default",
    "memory.trail.append(1.0)": "shift_push",
    "try:\n    x = 1\nexcept Exception:\n    pass": "guard",
    "x = random.random()": "generator",
    "mode = 'a'\nif mode == 'a':\n    memory.n = 1": "named int constant",
    "x = [b for b in memory.trail]": "for i in range(CONST)",
    "x = memory.trail[memory.n:]": "constant",
    "x = f'{memory.n}'": "plain string constants",
    "x = np.zeros(3)": "array words",
    "memory.trail[0] = 1.0": "put(",
}  # fmt: skip


@pytest.mark.parametrize("text", sorted(HABITS))
def test_habits_are_told_what_to_write_instead(text: str) -> None:
    assert any(HABITS[text] in d.instead for d in check(policy(text))), check(policy(text))


def test_act_must_return_on_every_path() -> None:
    (found,) = check('def act(scene, memory):\n    if scene.ball.seen:\n        return FIRE, "a"\n')
    assert (found.line, found.construct) == (1, "function") and "return" in found.instead


def test_library_errors_name_the_library_file() -> None:
    source = policy("x = f(scene.ball.x)", "from logic.lib.mine import f")
    (found,) = check(source, library=lambda name: "def f(a):\n    return a + unknwn\n")
    assert (found.file, found.line) == ("lib/mine", 2)


def test_library_cycles_and_memory_are_refused() -> None:
    texts = {
        "a": "from logic.lib.b import g\n\n\ndef f(x):\n    return g(x)\n",
        "b": "from logic.lib.a import f\n\n\ndef g(x):\n    return f(x)\n",
    }
    assert check(policy("x = f(1.0)", "from logic.lib.a import f"), library=texts.__getitem__)
    assert check(
        policy("x = f(1.0)", "from logic.lib.a import f"), library=lambda n: f"{MEMORY}\n\ndef f(x):\n    return x\n"
    )


def test_internal_errors_become_diagnostics(monkeypatch: pytest.MonkeyPatch) -> None:
    import logic.language.api as api

    def broken(*args: object) -> None:
        raise AssertionError("bug")

    monkeypatch.setattr(api, "lower", broken)
    (found,) = check(policy(""))
    assert found.construct == "internal" and "AssertionError" in found.message
    with pytest.raises(CompileError):
        compile_program(policy(""), SCHEMA, CONSTANTS)


@pytest.mark.parametrize(
    "title", ["a,b", ",", "Stop,", "a, b,c", "perception lost", "deadline missed.", "control limits"]
)
def test_the_name_of_a_rule_stands_in_lists_and_is_its_own(title: str) -> None:
    from logic.language.api import RESERVED
    from logic.runtime.controller import DEADLINE, LIMITS, LOST

    assert set(RESERVED) == {DEADLINE, LIMITS, LOST}
    (found,) = check_safety(f'def r(scene, memory, action):\n    """{title}"""\n    return action\n', SCHEMA, CONSTANTS)
    assert "has a bare comma" in found.message or "built in" in found.message


def test_safety_texts_are_held_to_the_same_language() -> None:
    rule = 'def no_left(scene, memory, action):\n    """Never left."""\n    return FIRE if action == LEFT else action\n'
    assert check_safety(rule, SCHEMA, CONSTANTS) == []
    wrong = {
        rule.replace('    """Never left."""\n', ""): "docstring",
        rule.replace("FIRE", "9"): "action 9",
        rule.replace("memory, ", ""): "def rule",
        rule.replace("FIRE", "'x'"): "type",
        rule.replace("return", "return scene,"): "alone",
    }
    for text, word in wrong.items():
        assert any(word in f"{d.message} {d.instead}" for d in check_safety(text, SCHEMA, CONSTANTS)), text
