"""Edits that do not apply: every reason, told with what to do instead, and nothing applied."""

from __future__ import annotations

from typing import Any

import pytest
from edit_cases_kit import ACT, BAD, BAD_POLICY, BAD_VALUE, POLICY, replace

from supervisor.edits.checks import REASONS
from supervisor.edits.edits import Edit, EditError, apply, source, with_constants


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(reason, *case, id=f"{reason}-{i}") for reason, made in table.items() for i, case in enumerate(made)
    ]


def test_every_reason_has_a_case() -> None:
    assert BAD.keys() | BAD_POLICY.keys() | BAD_VALUE.keys() == REASONS.keys()


@pytest.mark.parametrize(("reason", "edit", "says"), cases(BAD))
def test_an_edit_that_does_not_apply_says_why(reason: str, edit: Any, says: str) -> None:
    with pytest.raises(EditError) as caught:
        apply(POLICY, edit, rules={"no_serve"})
    assert (caught.value.reason, says in str(caught.value)) == (reason, True), str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(("reason", "text", "edit", "says"), cases(BAD_POLICY))
def test_a_policy_that_cannot_take_an_edit_says_why(reason: str, text: str, edit: Any, says: str) -> None:
    with pytest.raises(EditError) as caught:
        apply(text, edit)
    assert (caught.value.reason, says in str(caught.value)) == (reason, True), str(caught.value)


@pytest.mark.parametrize(("reason", "values", "says"), cases(BAD_VALUE))
def test_a_value_that_a_constant_cannot_take_says_why(reason: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(EditError) as caught:
        with_constants(POLICY, values)
    assert (caught.value.reason, says in str(caught.value)) == (reason, True), str(caught.value)


def test_the_change_that_fails_is_numbered() -> None:
    good = replace("act", ACT)
    for edit in ([good, {"remove": "nothing"}], [good, replace("WALL", "WALL = (")]):
        with pytest.raises(EditError, match="^change 2: ") as caught:
            apply(POLICY, edit)  # type: ignore[arg-type]
        assert caught.value.item == 2


def test_one_bad_change_stops_them_all() -> None:
    """There is no text with half an edit: the only result is an error."""
    with pytest.raises(EditError):
        apply(POLICY, [replace("act", ACT), {"remove": "near"}, {"remove": "nothing"}])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "edit",
    [
        [replace("act", ACT)], [replace("act", "\n\n" + ACT + "\n\n")], [replace("WALL", "WALL = 2.0  # é, ü")],
        [replace("act", "def act(scene, memory):\n    return NOOP, 'é'")], [{"remove": "near"}, replace("act", ACT)],
        [{"add": "_x", "code": "_x = 1.0"}], [{"remove": "logic.lib.ball"}],
        [{"remove": "logic.lib.ball"}, {"add": "falling", "code": "falling = 1.0"}],
    ],
)  # fmt: skip
def test_good_edits_apply(edit: Any) -> None:
    assert apply(POLICY, edit, rules={"no_serve"}) != POLICY


def test_an_edit_reads_back_as_itself() -> None:
    items = [replace("act", ACT), {"remove": "near"}, {"add": "NEW", "code": "NEW = 1.0"}]
    made = Edit.of(items)
    assert made.as_list() == items and Edit.of(made.as_list()) == made
    assert apply(POLICY, made) == apply(POLICY, items)  # type: ignore[arg-type]


def test_source_gives_the_lines_of_a_thing() -> None:
    assert source(POLICY, "WIDTH") == "WIDTH = tunable(10.0, 4.0, 16.0)  # px"
    assert source(POLICY, "near").startswith("def near") and source(POLICY, "near").endswith("WIDTH")
    with pytest.raises(EditError, match="did you mean 'near'"):
        source(POLICY, "neer")
