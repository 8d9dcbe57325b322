"""Two revisions of one policy in one text, and what cannot be."""

from __future__ import annotations

import pytest

from supervisor.edits.edits import apply
from supervisor.edits.merge import Conflict, merged

BASE = '''"""Follow."""

from logic.lib.maths import clip

SPEED = 2.0
WIDTH = 4.0


def ahead(scene):
    return scene.ball.x


def act(scene, memory):
    if ahead(scene) > scene.paddle.x + WIDTH:
        return RIGHT, "right"
    return LEFT, "left"
'''
OURS = BASE.replace("SPEED = 2.0", "SPEED = 3.0").replace('"""Follow."""', '"""Follow fast."""')
AHEAD = BASE.replace("scene.ball.x\n", "scene.ball.x + SPEED * scene.ball.vx\n").replace("Follow", "Look ahead")


def test_changes_of_different_things_stand_beside_each_other() -> None:
    both = apply(OURS, merged(BASE, OURS, AHEAD))
    assert both == OURS.replace("scene.ball.x\n", "scene.ball.x + SPEED * scene.ball.vx\n")
    other = apply(AHEAD, merged(BASE, AHEAD, OURS))
    assert other == both.replace("Follow fast", "Look ahead"), "either way, but for the docstring"


def test_what_both_touch_is_named() -> None:
    with pytest.raises(Conflict, match="both change 'SPEED'"):
        merged(BASE, OURS, BASE.replace("SPEED = 2.0", "SPEED = 4.0").replace("WIDTH = 4.0", "WIDTH = 5.0"))
    with pytest.raises(Conflict, match="both change 'ahead'"):
        merged(BASE, AHEAD, BASE.replace("scene.ball.x\n", "scene.ball.y\n"))
    gone = BASE.replace("def ahead(scene):\n    return scene.ball.x\n\n\n", "").replace("ahead(scene)", "scene.ball.x")
    with pytest.raises(Conflict, match="both change 'ahead'"):
        merged(BASE, AHEAD, gone)


def test_things_that_either_adds_or_removes() -> None:
    added = BASE.replace("WIDTH = 4.0\n", "WIDTH = 4.0\nWAIT = 3\n")
    assert merged(BASE, OURS, added) == [{"add": "WAIT", "code": "WAIT = 3"}]
    with pytest.raises(Conflict, match="both change 'WAIT'"):
        merged(BASE, added.replace("WAIT = 3", "WAIT = 5"), added)
    gone = BASE.replace("SPEED = 2.0\n", "")
    assert merged(BASE, AHEAD.replace("SPEED * ", ""), gone) == [{"remove": "SPEED"}]


def test_names_of_one_module_come_together() -> None:
    ours = BASE.replace("import clip", "import clip, sign")
    theirs = BASE.replace("import clip", "import lerp, clip").replace("WIDTH = 4.0", "WIDTH = 5.0")
    assert "from logic.lib.maths import clip, sign, lerp\n" in apply(ours, merged(BASE, ours, theirs))


@pytest.mark.parametrize("theirs", [BASE, OURS, BASE.replace("Follow", "Chase")])
def test_nothing_new_is_no_merge(theirs: str) -> None:
    with pytest.raises(Conflict, match="nothing"):
        merged(BASE, OURS, theirs)


@pytest.mark.parametrize("theirs", ["def act(:", "x = y = 1\n"])
def test_what_is_no_policy_is_no_merge(theirs: str) -> None:
    with pytest.raises(Conflict):
        merged(BASE, OURS, theirs)
