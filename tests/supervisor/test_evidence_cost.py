"""Failures by what they cost, how games ended, odd changes of score, locks that are not asked, the refused child."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from evidence_kit import SCHEMA, Script, context, frames, miss, vector

from data_flywheel.episodes.episode import Episode
from envs.backends.atari_protocols import get_protocol
from supervisor.evidence import Child, Context, Findings, LockNote, build
from supervisor.evidence.context import varying
from supervisor.evidence.moments import LASTING, Moment, Window, cast, rounds, table_steps
from supervisor.evidence.tables import ends

STICKY = get_protocol("sticky")


def text(c: Context, title: str) -> str:
    return next(s.text for s in build(c).sections if s.title == title)


# --- what failures cost -------------------------------------------------------------------------------------------


def stuck(seed: int, n: int) -> Episode:
    return Script(seed, frames=STICKY.frame_limit).sway(20).step(won=1).step(n, reason="idle").end()


def test_a_long_time_out_comes_before_many_small_losses() -> None:
    games = [miss(Script(i).sway(60), 90.0 if i % 2 else 20.0).end() for i in range(8)]
    findings = Findings(context(*games, stuck(9, 2000)))
    assert findings.shown[0].window.moment.kind in LASTING
    first = findings.clusters[0]
    assert first.time > 0.6 and first.lost < 0.2
    assert f"{100 * first.time:.1f} % of the steps" in findings.blocks(False)[0].replace(" % of the s", " % of the s")


def test_points_count_by_how_many_they_were() -> None:
    s = Script().sway(60)
    for _ in range(6):
        s.step(20, reason="small").step(won=-1, reason="small")
    findings = Findings(context(s.step(40, reason="large").step(won=-30, reason="large").end()))
    assert sum(c.lost for c in findings.clusters) == pytest.approx(1.0)
    assert 'reason "large"' in findings.clusters[0].name or findings.clusters[0].lost > 0.8


def test_what_lasts_long_is_told_in_strides_and_then_step_by_step() -> None:
    w = Window(Moment(0, 999, LASTING[1], 0), 0, 999, 999, {})
    steps = table_steps(w, 16)
    assert len(steps) <= 16 and steps[0] == 0 and steps[-6:] == list(range(994, 1000))


@pytest.mark.parametrize("turn", [4, 7, 60])
def test_a_game_that_goes_round_is_noticed(turn: int) -> None:
    scenes = np.stack([vector((40.0 + 5 * (i % turn), 60.0)) for i in range(6 * turn)])
    who = cast(SCHEMA, [Script().sway(60).end()])
    assert rounds(scenes, who) == turn
    assert rounds(np.stack([vector((40.0, 60.0))] * 60), who) == 0  # it stands
    rng = np.random.default_rng(0)
    assert rounds(np.stack([vector((x, 60.0)) for x in rng.uniform(20, 80, 200)]), who) == 0


# --- how games ended, and their scores ----------------------------------------------------------------------------


def test_lengths_are_told_with_what_ended_the_games() -> None:
    games = [Script(0).step(50).end(), Script(1, frames=STICKY.frame_limit).step(70).end()]
    games.append(Script(2, finished=False).step(9).end())
    (told,) = ends(games, STICKY)
    most = STICKY.frame_limit // 4
    assert told == f"Steps by seed (the protocol ends a game at {most}): 0: 50, 1: 70 (the limit), 2: 9 (cut off)."


def test_games_that_end_at_the_very_same_step_are_said_to() -> None:
    told = "\n".join(ends([Script(i).step(50).end() for i in range(3)], STICKY))
    assert "3 games end at the very same step 50: the simulator ends them there" in told
    assert "very same" not in "\n".join(ends([Script(i).step(50 + i).end() for i in range(3)], STICKY))


def test_changes_of_the_score_are_counted_and_odd_ones_named() -> None:
    s = Script(7)
    for _ in range(9):
        s.step(5, won=1).step(4).step(won=-1)
    told = "\n".join(ends([s.step(10).step(won=-21).end()], STICKY))
    assert "Changes of the score: -1 9 times, +1 9 times, -21 1 times." in told
    assert "Odd ones: -21 at step 100 of seed 7." in told
    even = Script().step(5, won=1).step(5, won=2).step(5, won=3).end()
    assert "Odd" not in "\n".join(ends([even], STICKY))


# --- columns, locks, pictures -------------------------------------------------------------------------------------


def test_columns_that_say_one_thing_are_said_once() -> None:
    told = varying(["step", "a", "b"], [["1", "x", "y"], ["2", "x", "z"]], ("step",))
    assert told == ["the same at all of these steps: a x", "step | b", "1    | y", "2    | z"]
    assert varying(["step", "a"], [["1", "x"]], ("step",)) == ["step | a", "1    | x"]


def test_locks_that_the_policy_breaks_are_not_asked() -> None:
    notes = (LockNote("kept", "scenes"), LockNote("lost", "scenes"))
    told = text(context(locks=notes, broken=frozenset({"lost"})), "Locks to keep")
    assert told.split("\n") == ["- kept (scenes)", "Not asked, because the policy itself does not keep them: lost."]
    assert "- " not in text(context(locks=notes[1:], broken=frozenset({"lost"})), "Locks to keep")


def test_pictures_that_nobody_sees_are_named_and_not_drawn() -> None:
    def never(episode: Episode, steps: Any) -> Any:
        raise AssertionError("nobody asked for pictures")

    game = miss(Script().sway(60), 90.0).end()
    shown, named = build(context(game)), build(context(game, frames=never, draw=False))
    assert shown.key == named.key and [i.data for i in named.images] == [b""]
    assert frames(game, [1])[0].size


# --- the refused child --------------------------------------------------------------------------------------------


def test_the_refused_child_is_shown_beside_its_parent() -> None:
    parent = miss(Script(3).sway(60), 90.0).end()
    child = miss(Script(3).sway(60).step(2, action=2, reason="early"), 90.0).step(5, won=2).end()
    told = text(context(parent, child=Child(4, [child])), "The last child")
    assert "child of trial 4" in told
    row = next(line for line in told.split("\n") if line.startswith("3 "))
    assert [cell.strip() for cell in row.split("|")] == ["3", "2", "0", "83", "76", "2, 0", "0, 0"]
    assert 'seed 3: the same until step 60; there the child does RIGHT "early", its parent NOOP "chase"' in told
    assert "Its failures: 1 x life lost" in told and '"early" 2.4 % (0 %)' in told


def test_a_child_that_does_the_same_is_said_to() -> None:
    game = miss(Script(3).sway(60), 90.0).end()
    assert "seed 3: both do the same all the time" in text(context(game, child=Child(1, [game])), "The last child")
    assert text(context(game), "The last child").startswith("No revision of this policy was refused")


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scenes_that_are_no_numbers_are_survived_everywhere(broken: float) -> None:
    game = miss(Script(3).sway(60), 90.0).end()
    scenes = np.where(np.random.default_rng(0).random(game.scenes.shape) < 0.3, broken, game.scenes).astype(np.float32)
    bad = dataclasses.replace(game, scenes=scenes)
    assert len(build(context(bad, child=Child(1, [bad]))).sections) == 13
