"""What the actions move, measured; where things were when they came to one's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from evidence_kit import ACTIONS, SCHEMA, Script, context, miss

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs.actions import Box, Discrete
from perception.scene import SceneSchema
from supervisor.evidence import Findings, meetings, motion
from supervisor.evidence.moments import Cast, cast

READ = SceneSchema.from_config(
    {"crop": [0, 0, 100, 100], "readings": {"rod": {"fields": {"angle": {"low": -3.0, "high": 3.0, "wrap": True}}}}}
)
GRID = SceneSchema.from_config(
    {"crop": [0, 0, 90, 90], "grids": {"me": {"rows": 9, "cols": 9, "top": 0, "left": 0, "cell": [10, 10]}}}
)
PUSH, TORQUE = Discrete(("LEFT", "REST", "RIGHT")), Box(("torque",), (-2.0,), (2.0,))


def recorded(scenes: list[np.ndarray], actions: list[Any]) -> Episode:
    recorder = EpisodeRecorder({"seed": 0, "finished": True, "frames": len(scenes)})
    for vector, action in zip(scenes, actions, strict=True):
        told = SimpleNamespace(action=action, proposed=action, reason="", overruled_by="", fault="")
        recorder.add(vector, told, 0, 0)
    return recorder.finish()


def read(values: np.ndarray) -> list[np.ndarray]:
    """Scenes of a rod at these angles."""
    scenes = [READ.empty() for _ in values]
    for scene, value in zip(scenes, values.tolist(), strict=True):
        scene[READ.slot("rod")] = (1, (value + 3.0) % 6.0 - 3.0, 1)
    return scenes


def answers(schema: SceneSchema, actions: Any, e: Episode) -> list[motion.Answer]:
    return motion.answers(schema, actions, cast(schema, [e]), [e])


def test_a_thing_that_follows_the_action_at_once_is_told_with_its_step() -> None:
    script = Script()
    for action in np.random.default_rng(0).integers(2, 4, 150).tolist():
        script.step(action=action)
    e = script.end()
    (found,) = answers(SCHEMA, ACTIONS, e)
    assert (found.name, found.pushed, found.late) == ("bat x", False, 0)
    told = "\n".join(motion.told(SCHEMA, ACTIONS, cast(SCHEMA, [e]), [e]))
    assert "bat x: Actions move it; most of it shows at once" in told
    assert "RIGHT after LEFT | +5 [+5, +5]" in told and "LEFT after RIGHT | -5 [-5, -5]" in told


@pytest.mark.parametrize("late", [1, 2, 3])
def test_the_delay_of_an_answer_is_found(late: int) -> None:
    rng = np.random.default_rng(late)
    did = rng.integers(0, 3, 400)
    angles = np.cumsum(np.concatenate([np.zeros(1 + late), 0.1 * (did - 1.0)]))[:400] + rng.normal(0, 0.005, 400)
    (found,) = answers(READ, PUSH, recorded(read(angles), did.tolist()))
    assert (found.name, found.pushed, found.late) == ("rod angle", False, late)


@pytest.mark.parametrize("space", [PUSH, TORQUE])
def test_a_push_changes_the_speed(space: Any) -> None:
    rng = np.random.default_rng(5)
    force = np.repeat(rng.integers(-1, 2, 120), 5).astype(float)
    angles = np.cumsum(np.cumsum(np.concatenate([[0.0], 0.02 * force])))[:600] + rng.normal(0, 0.002, 600)
    actions = (force + 1).astype(int).tolist() if space is PUSH else [np.array([f], np.float32) for f in force]
    e = recorded(read(angles), actions)
    (found,) = answers(READ, space, e)
    assert found.pushed and found.late == 0
    told = "\n".join(motion.told(READ, space, cast(READ, [e]), [e]))
    assert "Actions change its speed" in told
    if space is TORQUE:
        slope = float(told.split("one more of torque ")[1].split(" ")[0])
        assert slope == pytest.approx(0.02, rel=0.3)


def test_a_middle_of_cells_that_walks_over_a_grid_is_seen() -> None:
    rng = np.random.default_rng(2)
    did, at, scenes = rng.integers(0, 3, 200), 4, []
    for action in did.tolist():
        scene = GRID.empty()
        cells = np.zeros((9, 9), np.float32)
        cells[4, at] = 1.0
        scene[GRID.grid("me")] = cells.ravel()
        scenes.append(scene)
        at = int(np.clip(at + action - 1, 0, 8))
    (found,) = answers(GRID, PUSH, recorded(scenes, did.tolist()))
    assert (found.name, found.unit, found.pushed) == ("me middle column", "cells", False)


def test_what_a_policy_follows_does_not_obey_it() -> None:
    rng = np.random.default_rng(1)
    way = np.repeat(rng.choice([-0.1, 0.1], 40), 10)  # it goes its own ways; the action follows where it went
    did = np.concatenate([[1], (np.sign(way[:-1]) + 1).astype(int)])
    assert answers(READ, PUSH, recorded(read(np.cumsum(way)), did.tolist())) == []


@pytest.mark.parametrize("n", [0, 5, 40])
def test_few_steps_tell_nothing(n: int) -> None:
    e = Script().sway(n).end() if n else Script().step().end()
    assert motion.told(SCHEMA, ACTIONS, cast(SCHEMA, [e]), [e]) == [
        "Nothing surely answers to the actions in these episodes."
    ]


# --- meetings -----------------------------------------------------------------------------------------------------


def flight(script: Script, x: float, back: bool) -> Script:
    """A ball comes down at x; it goes past the bat on the ground at y 100, or turns there."""
    for y in range(40, 101 if back else 113, 6):
        script.step(ball=(x, float(y), 0.0, 6.0))
    for y in range(94, 40, -6) if back else ():
        script.step(ball=(x, float(y), 0.0, -6.0))
    return script


def found(*episodes: Episode) -> tuple[Findings, list[meetings.Meeting]]:
    findings = Findings(context(*episodes))
    return findings, findings.meetings


def test_a_ball_that_turns_was_met_and_one_that_goes_on_has_passed() -> None:
    s = flight(flight(Script().sway(60), 55.0, True), 75.0, False)
    _, (met, missed) = found(s.step(3, ball=None, lost=1).end())
    assert (met.turned, met.gap, met.missed) == (True, 5.0, 0.0)
    assert (missed.turned, missed.gap, missed.missed) == (False, 25.0, 16.0)
    assert missed.reach == 9.0


def test_misses_are_told_with_their_distance() -> None:
    games = [flight(Script(i).sway(60), 75.0 + i, False).step(3, ball=None, lost=1).end() for i in range(4)]
    findings, met = found(*games)
    told = meetings.told(met, findings.cast, findings.episodes, findings.losses, 16)
    assert told[0].startswith("Where things were when they came to bat: px along x, - is left of it")
    assert told[2].split(" | ")[:2] == ["ball passed, then a loss", "4"] and told[2].endswith("4, by 17.5")
    shown = "\n".join(findings.blocks(False))
    assert "px along x, 16 beyond reach" in shown or "px along x, 17 beyond reach" in shown


def test_the_meetings_before_gains_stand_beside_all_others() -> None:
    s = Script().sway(60)
    for i in range(8):
        flight(s, 44.0 if i % 2 else 56.0, True).step(won=i % 2)
    findings, met = found(s.end())
    told = "\n".join(meetings.told(met, findings.cast, findings.episodes, findings.losses, 16))
    assert "ball met and turned" in told and "ball the last met before a gain | 4 | -6" in told


@pytest.mark.parametrize("who", [Cast(()), Cast((), None, (0,))])
def test_without_a_thing_of_ones_own_nothing_is_met(who: Cast) -> None:
    assert meetings.meetings(SCHEMA, who, [miss(Script().sway(60), 90.0).end()]) == []
    assert meetings.told([], who, [], [], 16) == []
