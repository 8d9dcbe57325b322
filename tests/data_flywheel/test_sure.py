"""When a few games surely tell whose a failure was."""

from __future__ import annotations

import pytest

from data_flywheel.attribution.verdict import BOTH, EYES, REFLEXES, SAME, surely


def games(same: int, eyes: int, reflexes: int, n: int = 3) -> dict[str, list[bool]]:
    counts = {SAME: same, EYES: eyes, REFLEXES: reflexes, BOTH: n}
    return {what: [i < well for i in range(n)] for what, well in counts.items()}


def test_one_swap_that_always_helps_where_nothing_else_does_is_sure() -> None:
    assert surely(games(0, 0, 3), 60) == (
        "reflexes: from 60 steps before, the reference policy alone went well in 3 of 3 games, as it was in 0 of 3, "
        "exact scenes alone in 0 of 3"
    )
    assert surely(games(1, 3, 1), 40).startswith("eyes: from 40 steps before, exact scenes alone went well in 3 of 3")


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 3, 3), (3, 3, 3), (2, 0, 3), (0, 2, 3), (0, 0, 2), (0, 2, 2)])
def test_everything_else_is_not_said(counts: tuple[int, int, int]) -> None:
    assert surely(games(*counts), 60) == ""
