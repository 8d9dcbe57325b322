"""Edits on policies of every layout: what is named changes, and no other byte."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supervisor.edits.definitions import Text
from supervisor.edits.edits import apply, diff

NAMES = ["ALPHA", "BETA", "GAMMA", "DELTA"]
HELPERS = ["near", "far", "serve"]


class Part(NamedTuple):
    """A named thing with the comment over it, as it stands in a policy."""

    name: str
    comment: str
    code: str

    @property
    def text(self) -> str:
        return self.comment + self.code


def constant(name: str, value: int, style: int) -> str:
    styles = (
        f"{name} = {value}.0", f"{name} = {value}.0  # px, é", f"{name} = (\n    {value}.0\n)",
        f"{name} = tunable({value}.0, 0.0, 99.0)  # a",
    )  # fmt: skip
    return styles[style % len(styles)]


def function(name: str, uses: list[str], style: int) -> str:
    arguments = "scene, memory" if name == "act" else "x"
    value = " + ".join(["1.0", *uses])
    bodies = (
        f"    return {value}",
        f'    """Docs of {name}.\n\n    More, with  odd   spaces.\n    """\n    # within\n    return {value}',
        f"    y = {value}\n\n    if y > 0:\n        y = 2.0  # behind\n    return y  # last",
        f'    text = """\n# not a comment\ndef fake():\n    pass\n"""\n    return {value}',
    )
    return f"def {name}({arguments}):\n{bodies[style % len(bodies)]}"


COMMENTS = ["", "", "# about it\n", "# two\n# lines, ü\n"]
GAPS = ["", "\n", "\n\n", "\n# --- a heading ---\n", "\n\n# left over\n\n"]


@st.composite
def policies(draw: st.DrawFn) -> tuple[str, list[Part]]:
    """A policy's text and its parts, in order."""
    parts = []
    if draw(st.booleans()):
        parts.append(Part("__doc__", "", '"""What it does.\n\nAnd why."""'))
    if draw(st.booleans()):
        parts.append(
            Part("logic.lib.ball", draw(st.sampled_from(COMMENTS)), "from logic.lib.ball import (\n    a,\n    b,\n)")
        )
    constants = draw(st.lists(st.sampled_from(NAMES), unique=True))
    for name in constants:
        made = constant(name, draw(st.integers(0, 99)), draw(st.integers(0, 3)))
        parts.append(Part(name, draw(st.sampled_from(COMMENTS)), made))
    if draw(st.booleans()):
        parts.append(
            Part("Memory", draw(st.sampled_from(COMMENTS)), 'class Memory:\n    """Kept."""\n\n    seen: int = 0  # n')
        )
    for name in [*draw(st.lists(st.sampled_from(HELPERS), unique=True)), "act"]:
        uses = draw(st.lists(st.sampled_from(constants), max_size=2)) if constants else []
        parts.append(Part(name, draw(st.sampled_from(COMMENTS)), function(name, uses, draw(st.integers(0, 3)))))
    text = ""
    for part in parts:
        gap = draw(st.sampled_from(GAPS)) if text else ""
        text += (f"\n{gap}" if text else "") + part.text
    return text + draw(st.sampled_from(["", "\n", "\n\n\n", "\n# the end\n"])), parts


@st.composite
def replacements(draw: st.DrawFn, parts: list[Part]) -> list[dict[str, str]]:
    """Other code for some of the parts."""
    edit = []
    for part in draw(st.lists(st.sampled_from(parts), unique=True, min_size=1, max_size=4)):
        style, comment = draw(st.integers(0, 3)), draw(st.sampled_from(COMMENTS))
        if part.name in NAMES:
            code = comment + constant(part.name, draw(st.integers(100, 199)), style)
        elif part.name in (*HELPERS, "act"):
            code = comment + function(part.name, ["77.0"], style)
        elif part.name == "Memory":
            code = comment + "class Memory:\n    other: float = 0.5"
        elif part.name == "__doc__":
            code = '"""Something else."""'
        else:
            code = comment + "from logic.lib.ball import c"
        edit.append({"replace": part.name, "code": code})
    return edit


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_replacing_changes_what_is_named_and_no_other_byte(data: st.DataObject) -> None:
    text, parts = data.draw(policies())
    edit = data.draw(replacements(parts))
    result = apply(text, edit)  # type: ignore[arg-type]
    codes = {change["replace"]: change["code"] for change in edit}
    expected, at = "", 0
    for part in parts:
        start = text.index(part.code, at)
        end = start + len(part.code)
        code = codes.get(part.name)
        if code is None:
            expected += text[at:end]
        else:
            own = code.startswith("#")
            before = text[at:start]
            expected += before[: len(before) - len(part.comment)] if own and part.comment else before
            kept = "  # px, é" if part.code.endswith("  # px, é") else "  # a" if part.code.endswith("  # a") else ""
            expected += code + (kept if kept and not code.endswith(("  # px, é", "  # a")) else "")
        at = end
    assert result == expected + text[at:]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_order_of_changes_does_not_matter(data: st.DataObject) -> None:
    text, parts = data.draw(policies())
    edit: list[Any] = data.draw(replacements(parts))
    free = [p.name for p in parts if p.name != "act" and p.name not in {c["replace"] for c in edit}]
    edit += (
        [{"remove": name} for name in data.draw(st.lists(st.sampled_from(free), unique=True)) if free] if free else []
    )
    assert apply(text, edit) == apply(text, data.draw(st.permutations(edit)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_replacing_a_thing_by_itself_changes_nothing(data: st.DataObject) -> None:
    text, parts = data.draw(policies())
    part = data.draw(st.sampled_from(parts))
    assert apply(text, [{"replace": part.name, "code": part.code}]) == text
    if part.comment:
        assert apply(text, [{"replace": part.name, "code": part.text}]) == text


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_left_of_a_policy_stands_as_it_stood(data: st.DataObject) -> None:
    """Removals and additions of every kind: the other things keep their text, their comments and their order."""
    text, parts = data.draw(policies())
    gone = data.draw(st.lists(st.sampled_from([p.name for p in parts]), unique=True, max_size=3))
    assume("act" not in gone)
    new = data.draw(st.lists(st.sampled_from(["EPSILON", "ZETA", "aim", "hold"]), unique=True))
    codes = {n: constant(n, 5, 1) if n.isupper() else "# new\n" + function(n, [], 2) for n in new}
    edit: list[Any] = [{"remove": n} for n in gone] + [{"add": n, "code": codes[n]} for n in new]
    assume(edit)
    result = apply(text, edit)
    at = 0
    for part in parts:
        if part.name not in gone:
            at = result.index(part.text, at) + len(part.text)
    assert Counter(Text(result).names) == Counter([*(p.name for p in parts if p.name not in gone), *new])
    for code in codes.values():
        assert code in result
    old_lines, kept = Counter(text.split("\n")), Counter(result.split("\n"))
    for part in parts:
        if part.name in gone:
            old_lines -= Counter(part.text.split("\n"))
    for code in codes.values():
        kept -= Counter(code.split("\n"))
    assert +Counter({k: v for k, v in old_lines.items() if k.strip()}) == +Counter(
        {k: v for k, v in kept.items() if k.strip()}
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_new_constant_stands_before_what_needs_it(data: st.DataObject) -> None:
    text, parts = data.draw(policies())
    taken = {p.name for p in parts}
    name = data.draw(st.sampled_from(NAMES))
    assume(name in taken)
    edit: list[Any] = [
        {"add": "FIRST", "code": "FIRST = 2.0"}, {"replace": name, "code": f"{name} = FIRST * 2.0"},
    ]  # fmt: skip
    order = Text(apply(text, edit)).names
    assert order.index("FIRST") < order.index(name)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_diff_leads_from_the_old_text_to_the_new(data: st.DataObject) -> None:
    text, parts = data.draw(policies())
    result = apply(text, data.draw(replacements(parts)))  # type: ignore[arg-type]
    lines = diff(text, result).split("\n")
    removed = [line[1:] for line in lines if line.startswith("-") and not line.startswith("---")]
    added = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]
    moved = Counter(text.split("\n"))
    moved.subtract(Counter(removed))
    moved.update(Counter(added))
    assert +moved == Counter(result.split("\n")) or "No newline" in "".join(lines)
    assert (diff(text, result) == "") == (text == result)


@pytest.mark.parametrize("task", ["breakout", "pong"])
def test_shipped_policies_take_themselves_back(task: str) -> None:
    from cli_kit import ROOT

    text = (ROOT / "zoo" / task / "policy.py").read_text()
    read = Text(text)
    single = [u for u in read.units if len(read.find(u.name)) == 1]
    for unit in single[::5]:
        assert apply(text, [{"replace": unit.name, "code": read.source(unit)}]) == text
    functions = [{"replace": u.name, "code": read.source(u)} for u in single if u.kind == "function"]
    assert len(functions) > 3 and apply(text, functions[:20]) == text


def test_a_shipped_policy_is_rebuilt_after_losing_a_helper() -> None:
    from cli_kit import ROOT

    text = (ROOT / "zoo" / "pong" / "policy.py").read_text()
    read = Text(text)
    helper = next(u for u in read.units if u.kind == "function" and u.name != "act")
    without = apply(text, [{"remove": helper.name}])
    back = apply(without, [{"add": helper.name, "code": read.source(helper)}])
    assert helper.name not in Text(without).names and Counter(Text(back).names) == Counter(read.names)
