"""Where each kind of change lands, line by line, on three small policies; and simpler variants of an edit."""

from __future__ import annotations

import pytest

from supervisor.edits import edits
from supervisor.edits.edits import Edit, EditError, Variant, apply, diff, size_of, source, variants

POLICY = '''"""Doc."""

from logic.lib.ball import a

A = 1.0  # px
# over B
B = 2.0


# over near
def near(x):
    return x < A


def act(scene, memory):
    return NOOP, "wait"
'''
BARE = """def act(scene, memory):
    return NOOP, "wait"


def last(x):
    return x


"""
NEAR, ACT, LAST = "# over near\ndef near(x):", "def act(scene, memory):", "def last(x):\n    return x"
FAR, MEMORY = "def far(x):\n    return x", "class Memory:\n    n: int = 0"
KNOB, BALL = "from logic.lib.knob import b", "from logic.lib.ball import a"


def put(name: str, code: str) -> dict[str, str]:
    return {"replace": name, "code": code}


def add(name: str, code: str) -> dict[str, str]:
    return {"add": name, "code": code}


C, D = add("C", "C = 3.0"), add("D", "D = 4.0")
# text, edit, and what stands in it becomes what
LANDS: list[tuple[str, list[dict[str, str]], dict[str, str]]] = [
    (POLICY, [put("A", "A = 3.0")], {"A = 1.0  # px": "A = 3.0  # px"}),
    (POLICY, [put("A", "A = 3.0  # own")], {"A = 1.0  # px": "A = 3.0  # own"}),
    (POLICY, [put("A", "A = 3.0\n# after")], {"A = 1.0  # px": "A = 3.0\n# after"}),
    (POLICY, [put("A", "A = (\n    3.0\n)")], {"A = 1.0  # px": "A = (\n    3.0\n)  # px"}),
    (POLICY, [put("B", "B = 3.0")], {"B = 2.0": "B = 3.0"}),
    (POLICY, [put("B", "# mine\nB = 3.0")], {"# over B\nB = 2.0": "# mine\nB = 3.0"}),
    (POLICY, [{"remove": "A"}], {"A = 1.0  # px\n": ""}),
    (POLICY, [{"remove": "B"}], {"# over B\nB = 2.0\n": ""}),
    (POLICY, [{"remove": "near"}], {f"{NEAR}\n    return x < A\n\n\n": ""}),
    (POLICY, [{"remove": "__doc__"}], {'"""Doc."""\n\n': ""}),
    (POLICY, [{"remove": "logic.lib.ball"}], {f"{BALL}\n\n": ""}),
    (BARE, [{"remove": "last"}], {f"\n\n{LAST}\n\n\n": "\n\n"}),
    (BARE.strip(), [{"remove": "last"}], {f"\n\n\n{LAST}": ""}),
    (f'{ACT}\n    return NOOP, "wait"\n\n{LAST}\n', [{"remove": "last"}], {f"\n\n{LAST}": ""}),
    (POLICY, [add("far", FAR)], {ACT: f"{FAR}\n\n\n{ACT}"}),
    (POLICY, [add("far", FAR), put("near", "def near(x):\n    return far(x)")],
     {NEAR: f"{FAR}\n\n\n{NEAR}", "x < A": "far(x)"}),
    (BARE, [add("far", FAR), put("last", "def last(x):\n    return far(x)")],
     {LAST: f"{FAR}\n\n\ndef last(x):\n    return far(x)"}),
    (POLICY, [add("Memory", MEMORY)], {NEAR: f"{MEMORY}\n\n\n{NEAR}"}),
    (POLICY, [C], {"B = 2.0": "B = 2.0\nC = 3.0"}),
    (POLICY, [D, C], {"B = 2.0": "B = 2.0\nD = 4.0\nC = 3.0"}),
    (POLICY, [C, put("B", "B = C")], {"# over B\nB = 2.0": "C = 3.0\n# over B\nB = C"}),
    (POLICY, [C, put("B", "B = near(1.0)"), put("near", "def near(x):\n    return x < C")],
     {"# over B\nB = 2.0": "C = 3.0\n# over B\nB = near(1.0)", "x < A": "x < C"}),
    (POLICY, [add("C", "C = D"), D, put("A", "A = C")], {"A = 1.0  # px": "C = D\nD = 4.0\nA = C  # px"}),
    (POLICY, [C, put("near", "def near(x):\n    return near(C)")],
     {"B = 2.0": "B = 2.0\nC = 3.0", "x < A": "near(C)"}),
    (POLICY, [C, {"remove": "A"}, {"remove": "B"}, put("near", "def near(x):\n    return C")],
     {"A = 1.0  # px\n# over B\nB = 2.0": "C = 3.0\n", "x < A": "C"}),
    (BARE, [C], {ACT: f"C = 3.0\n\n{ACT}"}),
    (POLICY, [add("logic.lib.knob", KNOB)], {BALL: f"{BALL}\n{KNOB}"}),
    (POLICY, [{"remove": "logic.lib.ball"}, add("logic.lib.knob", KNOB)], {BALL: KNOB}),
    (BARE, [add("logic.lib.knob", KNOB)], {ACT: f"{KNOB}\n\n{ACT}"}),
    (BARE, [add("__doc__", '"""New."""')], {ACT: f'"""New."""\n\n{ACT}'}),
    ("A = 1.0", [add("far", FAR)], {"A = 1.0": f"A = 1.0\n\n\n{FAR}"}),
    ("A = 1.0\n", [add("far", FAR)], {"A = 1.0\n": f"A = 1.0\n\n\n{FAR}\n"}),
    ('"""Doc."""\n', [C], {'"""Doc."""\n': '"""Doc."""\n\nC = 3.0\n'}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "edit", "becomes"), LANDS)
def test_a_change_lands_at_its_place(text: str, edit: list[dict[str, str]], becomes: dict[str, str]) -> None:
    expected = text
    for old, new in becomes.items():
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert apply(text, edit) == expected
    if not any("add" in change for change in edit):
        assert apply(text, edit[::-1]) == expected


@pytest.mark.parametrize(
    ("text", "edit", "reason", "words"),
    [
        (POLICY, [{"remove": "act"}], "act", "change 1: a policy needs `act`"),
        (POLICY, [put("A", "def A():\n    return 1")], "wrong-kind", "'A' is a constant in policy.py and a function"),
        (POLICY + "A = 2.0\n", [put("A", "A = 3.0")], "ambiguous", "'A' stands there more than once"),
        ("A = 1.0; E = 2.0\n" + BARE, [put("A", "A = 3.0")], "ambiguous", "'A' shares a line with something else"),
        (POLICY, [put("a", "a = 1.0")], "unknown-name", "'a' is imported from logic.lib.ball, which no revision"),
        (POLICY, [add("a", "a = 1.0")], "exists", "'a' is imported from logic.lib.ball; choose another name"),
        (POLICY, [add("A", "A = 1.0")], "exists", 'policy.py has \'A\' already; write {"replace": "A", ...}'),
        (POLICY, [put("AA", "AA = 1.0")], "unknown-name", "policy.py has no 'AA'"),
        (POLICY + "B = 1.0\r\n", [put("A", "A = 1.0")], "policy", "policy.py has carriage returns"),
        ("def act(", [put("A", "A = 1.0")], "policy", "policy.py itself cannot be read"),
        (POLICY, [add("logic.lib.knob", "from logic.lib.knob import A, near")], "duplicate", "'A', 'near' twice"),
    ],
)
def test_what_does_not_land_is_refused(text: str, edit: list[dict[str, str]], reason: str, words: str) -> None:
    with pytest.raises(EditError) as found:
        apply(text, edit)
    assert found.value.reason == reason and words in str(found.value)


def test_a_rule_is_not_revised_whatever_is_done_to_it() -> None:
    for change in ({"remove": "near"}, add("far", FAR), put("A", "A = 2.0")):
        with pytest.raises(EditError, match="is a rule in safety.py"):
            apply(POLICY, [change], rules=["near", "far", "A"])
    assert apply(POLICY, [{"remove": "near"}], rules=["far"]) != POLICY


def test_a_revision_may_be_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "RESULT_CHARS", len(POLICY))
    assert len(apply(POLICY, [put("A", "A = 9.0")])) == len(POLICY)
    with pytest.raises(EditError, match=f"would have {len(POLICY) + 1} characters; the limit is {len(POLICY)}"):
        apply(POLICY, [put("A", "A = 19.0")])


@pytest.mark.parametrize("result", [POLICY.replace("1.0", "2.0"), POLICY + "E = 1.0\n", POLICY + "1 + 1\n", BARE])
def test_a_result_that_says_something_else_does_not_fit(result: str) -> None:
    made = Edit.of([put("B", "B = 2.0")])
    edits._check_result(edits.Text(POLICY), made, POLICY)
    with pytest.raises(EditError, match="does not stand alone between other lines"):
        edits._check_result(edits.Text(POLICY), made, result)
    with pytest.raises(EditError, match="does not parse"):
        edits._check_result(edits.Text(POLICY), made, POLICY + "(")


def test_a_source_is_the_thing_alone() -> None:
    assert source(POLICY, "B") == "B = 2.0" and source(POLICY, "near") == "def near(x):\n    return x < A"
    assert source(POLICY + "B = 3.0\n", "B") == "B = 2.0", "the first of two"
    with pytest.raises(EditError, match="policy.py has no 'nea'; did you mean 'near'") as found:
        source(POLICY, "nea")
    assert found.value.reason == "unknown-name"


def test_a_diff_says_where_the_last_line_has_no_end() -> None:
    head = "--- policy.py (before)\n+++ policy.py (after)\n@@ -1 +1 @@\n"
    assert diff("a\n", "b\n") == f"{head}-a\n+b\n" and diff("a\n", "a\n") == ""
    assert diff("a", "a\n") == f"{head}-a\n\\ No newline at end of file\n+a\n"
    assert diff("a\n", "b") == f"{head}-a\n+b\n\\ No newline at end of file\n"


def test_variants_leave_out_one_change_each_and_the_smallest_is_first() -> None:
    far, uses = add("far", FAR), put("near", "def near(x):\n    return far(x)")
    doc, gone, same = put("__doc__", '"""Other."""'), {"remove": "B"}, put("A", "A = 1.0  # px")
    assert size_of([far, gone, put("A", "")]) == len(FAR) + 1 and size_of([]) == 0
    assert variants(POLICY, [far]) == variants(POLICY, []) == []
    found = variants(POLICY, [doc, far, gone])
    assert found == [
        Variant("without far", len('"""Other."""') + 1, apply(POLICY, [doc, gone])),
        Variant("without B", len('"""Other."""') + len(FAR), apply(POLICY, [doc, far])),
    ]
    assert [v.name for v in variants(POLICY, [same, gone])] == ["without A"], "what changes nothing is none"
    assert [v.name for v in variants(POLICY, [put("A", "A = 3.0"), put("B", "B = 3.0")])] == ["without A", "without B"]
    assert variants(POLICY, [far, gone], rules=["far", "B"]) == [], "nor is what does not apply"
    assert [v.name for v in variants(POLICY, [far, gone, put("A", "A = 3.0")], rules=["far"])] == ["without far"]
    assert [v.name for v in variants(POLICY, [far, uses, gone])] == ["without near", "without B"], "near needs far"
