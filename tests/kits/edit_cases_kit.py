"""Edits that must be refused, by reason, each with words of the message."""

from __future__ import annotations

from typing import Any

from supervisor.edits.checks import CODE_CHARS, EDIT_CHARS, MOST_CHANGES

POLICY = '''"""Stay under the ball."""

from logic.lib.ball import falling, landing

WIDTH = tunable(10.0, 4.0, 16.0)  # px
STEPS = tunable(3, 1, 9)
WALL = 8.0


class Memory:
    """What was seen."""

    seen: int = 0


def near(a, b):
    return abs(a - b) < WIDTH


def act(scene, memory):
    return NOOP, "wait"
'''
ACT = "def act(scene, memory):\n    return FIRE, 'serve'"
LONG = "WALL = 1.0" + "  # " + "x" * CODE_CHARS


def replace(name: str, code: object) -> dict[str, object]:
    return {"replace": name, "code": code}


def many(n: int) -> list[dict[str, str]]:
    return [{"add": f"N{i}", "code": f"N{i} = 1.0  # " + "y" * 20_000} for i in range(n)]


# reason -> edits that must be refused for it, each with words of the message
BAD: dict[str, list[tuple[Any, str]]] = {
    "malformed": [
        (None, "an edit is a list of changes"),
        ([], "list of changes"),
        ({}, "list of changes"),
        ("act", "list"),
        ([7], "not an object"),
        ([{1: 2}], "not an object"),
        ([{}], "a change has one of replace, add, remove"),
        ([{"replace": "act"}], "and code unless it removes"),
        ([{"remove": "near", "code": "x"}], "unless it removes"),
        ([{"replace": "act", "add": "f", "code": ACT}], "has one of"),
        ([{**replace("act", ACT), "why": ""}], "'why'"),
        ([replace(7, ACT)], "must be a string"),
        ([replace("act", 7)], "code must be a string"),  # type: ignore[arg-type]
        ([replace("act", None)], "code must be a string"),
        ([{"Replace": "act", "code": ACT}], "'Replace'"),
    ],
    "oversized": [
        ([{"remove": "near"}] * (MOST_CHANGES + 1), f"at most {MOST_CHANGES}"),
        ([replace("WALL", LONG)], "characters of code"),
        (many(EDIT_CHARS // 20_000 + 1), "all changes"),
        ([{"remove": "n" * 81}], "name of 81 characters"),
    ],
    "another-file": [
        ([replace("safety.py", ACT)], "only things in policy.py"),
        ([replace("zoo/pong/policy.py", ACT)], "policy.py"),
        ([replace("locks/serve.json", ACT)], "policy.py"),
        ([replace("system.toml", ACT)], "policy.py"),
        ([replace("safety.no_serve", ACT)], "plain name"),
        ([replace("..\\safety", ACT)], "policy.py"),
        ([{**replace("act", ACT), "file": "safety.py"}], "names no file"),
        ([{"path": "x", "remove": "near"}], "names no"),
        ([{"remove": "near.x"}], "plain name"),
        ([{"add": "logic.language.x", "code": "x = 1"}], "plain name"),
    ],
    "safety": [
        (
            [replace("no_serve", "def no_serve(scene, memory, action):\n    return action")],
            "which no revision can change",
        ),
        ([{"add": "no_serve", "code": "def no_serve(x):\n    return x"}], "safety.py"),
        ([{"remove": "no_serve"}], "rule"),
    ],
    "unknown-name": [
        ([replace("nears", "def nears():\n    return 1")], "did you mean 'near'?"),
        ([{"remove": "Act"}], "'act'"),
        ([{"remove": "zzzzzzz"}], "it has Memory"),
        ([replace("Memory.seen", "seen = 1")], "replace Memory as a whole"),
        ([replace("seen", "seen = 1")], "field of Memory"),
        ([replace("falling", ACT.replace("act", "falling"))], "imported"),
        ([{"remove": "not a name"}], "cannot name"),
        ([{"remove": ""}], "cannot name"),
        ([{"remove": "_"}], "cannot name"),
        ([{"remove": "def"}], "'def'"),
    ],
    "exists": [
        ([{"add": "near", "code": "def near(a):\n    return a"}], '{"replace": "near", ...}'),
        ([{"add": "falling", "code": "falling = 1.0"}], "imported from logic.lib.ball"),
    ],
    "duplicate": [
        ([replace("act", ACT), {"remove": "act"}], "changed twice"),
        ([{"add": "logic.lib.knob", "code": "from logic.lib.knob import near"}], "'near' twice"),
        ([{"add": "logic.lib.knob", "code": "from logic.lib.knob import a as act"}], "'act' twice"),
    ],
    "act": [([{"remove": "act"}], "replace it instead")],
    "wrong-kind": [
        ([replace("act", "act = 1.0")], "is a function in policy.py and a constant"),
        ([replace("WALL", "def WALL():\n    return 1")], "keep its kind"),
    ],
    "defines-more": [
        ([replace("act", ACT + "\n\n\nEXTRA = 1.0")], "also EXTRA"),
        ([replace("WALL", "WALL = 1.0; B = 2.0")], "also B"),
        ([replace("act", ACT + "\nprint(1)")], "alone"),
        ([replace("act", '"""Doc."""\n' + ACT)], "alone"),
    ],
    "defines-another": [
        ([replace("act", "def acts(scene, memory):\n    return 1")], "'acts', not 'act'"),
        ([replace("logic.lib.ball", "from logic.lib.knob import a")], "use one name for both"),
    ],
    "nothing-defined": [
        ([replace("act", "")], '{"remove": "act"}'),
        ([replace("act", "# nothing\n\n")], "is empty"),
        ([replace("act", "1 + 1")], "must be a function"),
        ([replace("WALL", "WALL: float = 1.0")], "must be"),
        ([replace("WALL", "WALL += 1.0")], "must be"),
        ([replace("WALL", "WALL = B = 1.0")], "must be"),
        ([replace("act", "async def act(scene, memory):\n    return 1")], "must be"),
        ([replace("Memory", "class Other:\n    x: int = 0")], "must be"),
        ([replace("act", "import os")], "must be"),
        ([replace("act", "from os import path as act")], "must be"),
        ([replace("act", "for act in x:\n    y")], "must be"),
    ],
    "syntax": [
        ([replace("act", "def act(:")], "not valid Python"),
        ([replace("WALL", "  WALL = 1.0")], "not valid Python"),
        ([replace("WALL", "WALL = 1.0 \\")], "not valid Python"),
        ([replace("WALL", 'WALL = """')], "not valid Python"),
        ([replace("act", "```python\n" + ACT + "\n```")], "not valid Python"),
    ],
    "too-complex": [
        ([replace("WALL", "WALL = " + "9" * 500)], "hundreds of digits"),
        ([replace("WALL", "WALL = " + "-" * 900 + "1")], ""),
        ([replace("WALL", "WALL = " + "+".join("1" * 11_000))], ""),
    ],
    "encoding": [([replace("act", b"x = 1")], "not bytes"), ([replace("WALL", "WALL = 1.0  # \ud800")], "0xd800")],
    "nul": [([replace("WALL", "WALL = 1.0\0")], "0x0000")],
    "tab": [([replace("act", ACT.replace("    ", "\t"))], "indented with spaces")],
    "carriage-return": [([replace("act", ACT.replace("\n", "\r\n"))], "lines end with LF")],
    "control": [
        ([replace("WALL", f"WALL = 1.0  # {c}")], f"{ord(c):#06x}")
        for c in "\ufeff\u202e\u200b\x0c\x1b\u2028\x85\u2066"
    ],
    "non-ascii-name": [
        ([replace("аct", ACT)], "is not ASCII"),
        ([replace("ａct", ACT)], "did you mean 'act'?"),
        ([replace("act", "def ａct(scene, memory):\n    return 1")], "plain ASCII"),
        ([replace("act", "def act(scene, memory):\n    é = 1\n    return é")], "plain ASCII"),
    ],
}

# reason -> (policy text, edit, words)
BAD_POLICY: dict[str, list[tuple[str, Any, str]]] = {
    "policy": [
        ("def act(:", [replace("act", ACT)], "cannot be read"),
        (POLICY.replace("\n", "\r\n"), [{"remove": "near"}], "LF"),
        ("x = '\ud800'", [replace("x", "x = 1")], "cannot be read"),
        (POLICY + "\f", [{"remove": "near"}], "cannot be read"),
    ],
    "ambiguous": [
        ("A = 1; B = 2\n" + ACT, [replace("B", "B = 3")], "shares a line"),
        ("A = 1\nA = 2\n" + ACT, [{"remove": "A"}], "once"),
    ],
    "does-not-fit": [
        ('"""one"""\n"""two"""\n' + ACT, [{"remove": "__doc__"}], "stand alone"),
    ],
    "oversized": [
        (
            "X = 1.0\n" + ACT + "\n" + "# long\n" * 11_380,
            [{"add": "Y", "code": "Y = 1.0  # " + "y" * 900}],
            "would have",
        )
    ],
}

BAD_VALUE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "not-tunable": [
        ({"WALL": 1.0}, "'WALL' is no tunable"),
        ({"act": 1.0}, "it has STEPS, WIDTH"),
        ({"Memory": 1.0}, "no tunable"),
    ],
    "out-of-range": [
        ({"WIDTH": 16.5}, "outside [4, 16]"),
        ({"STEPS": 0}, "outside [1, 9]"),
        ({"WIDTH": -1e300}, "outside"),
    ],
    "not-a-number": [
        ({"WIDTH": float("nan")}, "nan"),
        ({"WIDTH": float("inf")}, "inf"),
        ({"WIDTH": "9"}, "9"),
        ({"WIDTH": True}, "True"),
        ({"WIDTH": None}, "None"),
        ({"STEPS": 2.5}, "not whole"),
        ({"WIDTH": 10**5000}, "no finite number"),
        ({"WIDTH": 1j}, "1j"),
    ],
    "unknown-name": [({"WIDHT": 5.0}, "did you mean 'WIDTH'?")],
}
