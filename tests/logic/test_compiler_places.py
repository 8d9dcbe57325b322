"""Every foreign expression in every place where an expression can stand: refused with its place and a way out.

Huge numbers in every place: refused too, or harmless; never an exception, never slow.
"""

from __future__ import annotations

import pytest
from compiler_kit import check, policy

FOREIGN = (
    "scene.__class__", "().__class__", "memory.__dict__", "(1).real", "scene.ball.__init__", "x.__y__.z",
    "__import__('os')", "lambda: 1", "(lambda a=print(1): a)", "[i for i in (1, 2)]", "{i for i in (1, 2)}",
    "{i: i for i in (1, 2)}", "(i for i in (1, 2))", "[y := 1, y]", "(y := 1)", "{'a': 1}", "{1, 2}", "[1, 2]",
    "f'{scene}'", "f'{1!r:>{2}}'", "b'a'", "...", "1j", "None", "(yield)", "(yield from scene)", "(await scene)",
    "(*scene.bricks,)", "print(1)", "open('x')", "eval('1')", "exec('1')", "getattr(scene, 'ball')", "globals()",
    "type(1)", "scene.bricks.tofile('x')", "math.__loader__", "math.inf", "np.zeros(3)", "1 << 99", "1 @ 2", "1 ^ 2",
    "1 in (1, 2)", "1 is 1", "not_there", "not_there()", "max", "max(1, key=abs)", "max(*(1, 2))", "max(**{})",
    "(max if 1 else min)(1, 2)", "(max, min)[0](1, 2)", "max(1, 2)(3)", "scene", "memory", "math", "scene.enemy",
    "scene()", "'a' * 10**9", "'a' + 'b'", "'{0}'.format(1)", "'%s' % 1", "'abc'[0]", "(0,) * 10**9", "[0] * 10**9",
    "9**9**9", "1 // 0", "1.0 % 0.0", "math.sqrt(-1.0)", "int(1e999)", "zeros(10**9)[0]", "arange(3)[3]",
    "zeros(3) + zeros(4)", "zeros(3) and 1", "0 < zeros(3) < 1", "(1, 2)[2]", "scene.ball.speed", "\uff43lass",
    "scene.\uff3f\uff3fclass\uff3f\uff3f",
)  # fmt: skip
PLACES = {
    "assigned": "a = {e}", "in memory": "memory.x = {e}", "added": "memory.x += {e}", "unpacked": "a, b = 1, {e}",
    "condition": "if {e}:\n    memory.n = 1", "else if": "if memory.on:\n    pass\nelif {e}:\n    memory.n = 1",
    "range": "for i in range({e}):\n    memory.n = 1", "looped over": "for i in {e}:\n    memory.n = 1",
    "enumerated": "for i, j in enumerate({e}):\n    memory.n = 1", "action": 'return {e}, "x"',
    "reason": "return NOOP, {e}", "returned": "return {e}", "left": "memory.x = {e} + 1",
    "right": "memory.x = 1 - {e}", "compared": "memory.on = 1 < ({e})", "chained": "memory.on = 0 < ({e}) < 2",
    "and": "memory.on = memory.on and {e}", "not": "memory.on = not ({e})", "negated": "memory.x = -({e})",
    "ternary": "memory.x = 1.0 if {e} else 2.0", "chosen": "memory.x = ({e}) if memory.on else 1.0",
    "argument": "memory.x = abs({e})", "second argument": "memory.x = max(1.0, {e})",
    "of math": "memory.x = math.sin({e})", "of a helper": "memory.x = h({e})",
    "index": "memory.x = memory.trail[{e}]", "slice": "memory.trail = memory.trail[{e}:3]",
    "owner": "memory.x = ({e}).x", "subscripted": "memory.x = ({e})[0]", "called": "memory.x = ({e})(1)",
    "slot": "memory.x = scene.enemy[{e}].x", "side": "memory.trail = zeros({e})",
    "filled": "memory.trail = full(3, {e})", "put": "memory.trail = put(memory.trail, 0, {e})",
    "stacked": "memory.trail = array((1.0, 2.0, {e}))", "where": "memory.trail = where(memory.trail > 0.0, {e}, 1.0)",
    "axis": "a = sum_over(scene.bricks, {e})", "statement": "{e}",
}  # fmt: skip
AROUND = {
    "constant": ("C = {e}", ""), "table": ("def g(a):\n    return a\n\n\nC = g({e})", ""),
    "tunable": ("C = tunable({e}, 0, 9)", ""), "helper": ("def g(a):\n    return {e}", "memory.x = g(1.0)"),
    "default": ("", "class Memory:\n    x: float = {e}\n    n: int = 0\n"),
    "side of a field": ("", "class Memory:\n    x: Float[{e}] = zeros(3)\n    n: int = 0\n"),
    "type of a field": ("", "class Memory:\n    x: {e} = 0.0\n    n: int = 0\n"),
}  # fmt: skip
HUGE = (
    "9" * 25, "-" + "9" * 25, "2**53 + 1", "10**400", "1e400", "-1e400", "1e400 - 1e400", "0x" + "f" * 40, "2**31",
    "-(2**31) - 1", "2**52",
)  # fmt: skip


def text(place: str, expression: str) -> str:
    """The policy with an expression in a place."""
    if place in PLACES:
        return policy(PLACES[place].format(e=expression), "def h(a):\n    return a")
    module, rest = AROUND[place]
    if rest.startswith("class"):
        return policy("", module, rest.format(e=expression))
    return policy(rest, module.format(e=expression))


def sound(place: str, expression: str) -> int:
    """How many diagnostics; each says where, what and what to write instead."""
    source = text(place, expression)
    found = check(source)
    for d in found:
        assert d.message and d.instead and d.construct != "internal" and d.column > 0, (expression, d)
        assert d.source and d.source in source, (expression, d)
    return len(found)


FITS = {  # what is foreign elsewhere and fits here
    "looped over": {"scene.enemy"}, "enumerated": {"scene.enemy"}, "subscripted": {"scene.enemy", "(0,) * 10**9"},
    "assigned": {"scene.enemy"}, "unpacked": {"scene.enemy"}, "owner": {"scene", "memory"},
}  # fmt: skip


@pytest.mark.parametrize("place", [*PLACES, *AROUND])
def test_foreign_expressions_are_refused_everywhere(place: str) -> None:
    accepted = {e for e in FOREIGN if not sound(place, e)}
    assert accepted <= FITS.get(place, set()), accepted


@pytest.mark.parametrize("place", [*PLACES, *AROUND])
def test_huge_numbers_break_nothing_anywhere(place: str) -> None:
    found = [sound(place, e) for e in HUGE]
    assert all(found[:2])  # beyond 2**53
