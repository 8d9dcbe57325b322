"""Failures: found from the record alone, described by what came before, grouped by cause."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evidence_kit import SCHEMA, Script, context, miss, vector

from data_flywheel.episodes.episode import Episode
from supervisor.evidence import Context, Findings
from supervisor.evidence import failures as grouping
from supervisor.evidence.moments import (
    COSTLY,
    DROUGHT,
    EARLY,
    FAULT,
    LIFE,
    LOW,
    POINTS,
    RULES,
    SEVERITY,
    TIMEOUT,
    WEIGHTS,
    Cast,
    Moment,
    Slot,
    Usual,
    Window,
    apart,
    body,
    cast,
    dry_spells,
    moments,
    sheet_steps,
    side,
    table_steps,
    usual,
)

SPAN, DRY = 16, Usual(100)


def found(episode: Episode, normal: Usual = DRY, most_frames: int = 108_000) -> list[Moment]:
    return moments([episode], SPAN, normal, most_frames)


# --- moments -----------------------------------------------------------------------------------------------------


def test_nothing_is_found_in_a_good_game() -> None:
    assert found(Script().step(50, won=1).step(40, won=1).step(1).end()) == []


def test_lost_lives_and_points_are_found_where_they_happen() -> None:
    e = Script().step(20).step(lost=2).step(10, won=3).step(won=-2).step(2).end()
    assert [(m.kind, m.step, m.size) for m in found(e)] == [(LIFE, 20, 2), (POINTS, 31, 2)]


def test_a_first_step_can_lose_points_but_no_life() -> None:
    assert [m.kind for m in found(Script().step(won=-1).end())] == [POINTS]


def test_faults_close_together_are_one_failure() -> None:
    s = Script().step(30).step(3, fault="ZeroDivisionError: x").step(5).step(fault="other")
    e = s.step(40).step(fault="late").end()
    assert [(m.kind, m.step, m.size) for m in found(e)] == [(FAULT, 30, 4), (FAULT, 79, 1)]


def test_many_interventions_are_a_failure_and_single_ones_are_not() -> None:
    e = Script().step(30).step(6, rule="never serve").step(60, won=1).step(rule="never serve").step(30, won=1).end()
    assert [(m.kind, m.step, m.size) for m in found(e)] == [(RULES, 30, 6)]


def test_a_long_time_in_which_nothing_happens() -> None:
    e = Script().step(10, won=1).step(150, won=1).step(20).end()
    assert [(m.kind, m.first, m.step) for m in found(e)] == [(DROUGHT, 10, 159)]


@pytest.mark.parametrize("meta", [{"finished": False}, {"finished": True, "frames": 108_000}])
def test_a_drought_that_only_the_clock_ends_is_a_time_out(meta: dict[str, object]) -> None:
    assert [m.kind for m in found(Script(**meta).step(won=1).step(150).end())] == [TIMEOUT]  # type: ignore[arg-type]
    assert [m.kind for m in found(Script().step(won=1).step(150).end())] == [DROUGHT]


def test_one_step_is_one_failure_named_after_the_gravest() -> None:
    e = Script().step(140).step(lost=1, fault="ValueError: y", reason="fault").step(3).end()
    assert [(m.kind, m.also) for m in found(e)] == [(FAULT, (LIFE, DROUGHT))]


def test_a_score_far_below_the_others() -> None:
    batch = [Script(i).step(20, won=w).end() for i, w in enumerate((50, 55, 48, 52, 9))]
    normal = usual(batch, SPAN)
    assert [(m.episode, m.kind) for m in moments(batch, SPAN, normal, 9999)] == [(4, LOW)]
    assert usual(batch[1:4], SPAN).low is None  # three scores do not tell which is low


def test_what_is_long_depends_on_the_batch() -> None:
    for gap, dry in ((10, 64), (100, 500)):
        s = Script()
        for _ in range(6):
            s.step(gap, won=1)
        assert usual([s.end()], SPAN).dry == dry


def test_steps_since_the_last_reward() -> None:
    assert dry_spells(Script().step(3, won=1).step(2).step(won=-1).end()).tolist() == [0, 1, 2, 0, 1, 2]


def test_empty_episodes_and_none() -> None:
    assert moments([], SPAN, usual([], SPAN), 9) == []
    assert found(Script().end()) == [] and found(Script().step().end()) == []


# --- things ------------------------------------------------------------------------------------------------------


def test_the_thing_that_obeys_is_found() -> None:
    episode = Script().sway(60, ball=(40.0, 60.0, 1.0, 1.0)).end()
    who = cast(SCHEMA, [episode])
    assert who.own == Slot("bat", 8) and who.axes == (0,)
    assert [s.name for s in who.main] == ["ball", "bat"]  # the ghosts never come


def test_without_obedience_nothing_is_ones_own() -> None:
    assert cast(SCHEMA, [Script().step(60).end()]).own is None
    assert cast(SCHEMA, []) == Cast((Slot("bat", 8),))  # what is required matters, seen or not


def test_distance_is_counted_in_sizes() -> None:
    scenes = np.stack([vector((50, 98)), vector((68, 100)), vector((50, 80)), vector(None)])
    gaps = apart(scenes, Slot("bat", 8), Slot("ball", 0))
    assert np.allclose(gaps[:3], [0.5, 2.0, 5.0]) and np.isinf(gaps[3])


def test_sides_are_told_along_the_axes_that_obey() -> None:
    scene = vector((80.0, 20.0))
    bat, ball = body(scene, Slot("bat", 8)), body(scene, Slot("ball", 0))
    assert side("ball", ball, "bat", bat, (0,)) == "ball right of bat"
    assert side("ball", ball, "bat", bat, (0, 1)) == "ball right of and above bat"
    assert side("ball", body(vector((55.0, 20.0)), Slot("ball", 0)), "bat", bat, (0,)) == "ball level with bat"


# --- windows -----------------------------------------------------------------------------------------------------


def one_miss(ball_x: float = 90.0) -> Findings:
    return Findings(context(miss(Script().sway(60), ball_x).step(5).end()))


def test_a_window_is_centred_on_the_last_sight_of_everything() -> None:
    (w,) = one_miss().windows
    assert (w.moment.kind, w.moment.step, w.anchor, w.first) == (LIFE, 75, 70, 54)
    assert w.features["nearest"] == "ball right of bat" and w.features["distance"] == "missed by far"
    assert w.features["reason"] == "chase" and w.features["sight"] == "everything seen"
    assert w.meeting and w.meeting.step == 70 and w.gap == (40.0, 0.0)


def test_a_window_says_what_was_not_seen() -> None:
    s = Script().sway(60)
    for _ in range(20):
        s.step(ball=None)
    (w,) = Findings(context(s.step(ball=None, lost=1).end())).windows
    assert w.features["sight"] == "ball not seen"
    assert w.anchor == 59  # further back than a second, within two


def test_a_window_names_rule_and_fault() -> None:
    e = miss(Script().sway(60), 20.0, rule="never jump").step(fault="IndexError: 9").end()
    life, fault = Findings(context(e)).windows[-2:]
    assert life.features["rule"] == "never jump" and fault.features["fault"] == "IndexError: 9"


def test_table_and_sheet_hold_anchor_and_failure() -> None:
    (w,) = one_miss().windows
    rows, cells = table_steps(w, 16), sheet_steps(w, 9)
    assert len(rows) <= 16 and rows[0] == w.first and {w.anchor, w.last} <= set(rows)
    assert set(range(w.anchor - 6, w.anchor + 1)) <= set(rows)  # every step near the anchor
    assert len(cells) <= 9 and cells[0] == w.first and {w.anchor, w.last} <= set(cells)


@pytest.mark.parametrize("first,anchor,last", [(0, 0, 0), (0, 1, 2), (5, 5, 60), (0, 500, 500), (3, 40, 41)])
@pytest.mark.parametrize("most", [1, 2, 3, 9, 16])
def test_steps_keep_their_number_and_order(first: int, anchor: int, last: int, most: int) -> None:
    for kind in (LIFE, DROUGHT):
        w = Window(Moment(0, last, kind, first), first, anchor, last, {})
        for steps in (table_steps(w, most), sheet_steps(w, most)):
            assert 1 <= len(steps) <= most and steps == sorted(set(steps)) and steps[-1] == last and steps[0] >= first


# --- groups ------------------------------------------------------------------------------------------------------


def windows(*counted: tuple[int, str, dict[str, str]]) -> list[Window]:
    """Windows of a kind with features, so many of each."""
    made = []
    for n, kind, features in counted:
        for _ in range(n):
            step = len(made)
            made.append(Window(Moment(0, step, kind, step), step, step, step, dict.fromkeys(WEIGHTS, "") | features))
    return made


def test_groups_are_split_by_kind_then_by_what_tells_most() -> None:
    told = windows(
        (6, LIFE, {"nearest": "ball left of bat", "place": "p"}),
        (6, LIFE, {"nearest": "ball right of bat", "place": "p"}),
        (3, FAULT, {"fault": "x"}),
    )
    groups = grouping.clusters(told, 8)
    assert [(c.name, len(c.members)) for c in groups] == [
        ("life lost; ball left of bat", 6), ("life lost; ball right of bat", 6), ("fault", 3),
    ]  # fmt: skip
    assert groups[0].shared == ["p"] and groups[2].shared == ['fault "x"']


def test_no_more_groups_than_asked_for_and_none_is_lost() -> None:
    rng = np.random.default_rng(3)
    told = windows(*((1, LIFE, {f: str(rng.integers(4)) for f in WEIGHTS}) for _ in range(60)))
    for most in (1, 2, 5, 8):
        groups = grouping.clusters(told, most)
        assert len(groups) <= most
        assert sorted(w.moment.step for c in groups for w in c.members) == list(range(60))
        assert [c.cost for c in groups] == sorted((c.cost for c in groups), reverse=True)


def test_rare_answers_go_together() -> None:
    told = windows(*((1, LIFE, {"reason": r}) for r in ["a"] * 10 + ["b"] * 10 + ["c", "d"]))
    names = [c.name for c in grouping.clusters(told, 8)]
    assert names == ['life lost; reason "a"', 'life lost; reason "b"', "life lost; reason: other"]


def test_graver_kinds_weigh_more() -> None:
    told = windows((7, RULES, {}), (4, LIFE, {}))
    assert [c.kind for c in grouping.clusters(told, 8)] == [LIFE, RULES]
    assert set(SEVERITY) == {LIFE, POINTS, FAULT, RULES, DROUGHT, TIMEOUT, LOW, EARLY, COSTLY}


def test_the_typical_member_is_most_like_the_others() -> None:
    usual_one = {"reason": "usual"}
    told = windows((1, LIFE, {"reason": "odd"}), (3, LIFE, usual_one | {"rule": "r"}), (1, LIFE, usual_one))
    (group,) = grouping.clusters(told, 1)
    assert group.typical.moment.step == 1


def test_names_quote_what_comes_from_logs() -> None:
    told = windows((5, LIFE, {"reason": 'a"\n# B'}), (5, LIFE, {"reason": ""}))
    assert [c.name for c in grouping.clusters(told, 4)] == ['life lost; reason "a\\"\\n# B"', "life lost; no reason"]


# --- told --------------------------------------------------------------------------------------------------------


def varied() -> Context:
    """Misses on both sides, a fault, a drought."""
    games = []
    for seed in range(6):
        s = miss(Script(seed).sway(60), 90.0 if seed % 2 else 20.0, reason="chase" if seed % 2 else "wait low")
        games.append(s.step(10, won=1).step(2, fault="ZeroDivisionError: d", reason="fault").step(10, won=1).end())
    games.append(Script(6).sway(60).step(won=1).step(400, reason="idle").step(won=1).end())
    return context(*games)


def test_failures_shown_are_of_different_groups_and_cover_the_kinds() -> None:
    shown = Findings(varied()).shown
    assert 3 <= len(shown) <= 5
    assert len({f.cluster.name for f in shown}) == len(shown)
    assert {LIFE, FAULT, DROUGHT} <= {f.window.moment.kind for f in shown}


def test_a_failure_is_told_with_the_steps_before_it() -> None:
    c = context(miss(Script(7).sway(60), 90.0).end())
    overview, told = Findings(c).blocks(pictures=True)
    assert overview.startswith("1 episodes of training seeds 7; 76 steps. 1 failures in 1 groups")
    assert "F1: life lost at step 75 of seed 7 (score 0, lives 2 after it)" in told
    assert "nearest at step 70: ball minus bat = +40,0 px" in told and "picture: F1" in told
    cells = [[c.strip() for c in line.split("|")] for line in told.split("\n") if "|" in line]
    rows = {line[0]: line for line in cells}
    assert rows["step"] == ["step", "action", "ball x,y (2x4)", "bat x,y (16x4)", "lives", "said"]
    assert rows["70*"] == ["70*", "NOOP", "90,100 0,+6", "50,100", "3", ""]
    assert rows["71"][1:3] == ["FIRE", "-"] and rows["71"][5] == '"serve"'
    assert rows["75"][4] == "2 -1"
    assert "the same at all of these steps: bricks left 6; air 5; score 0" in told


def test_what_a_rule_changed_is_shown() -> None:
    s = Script().sway(60).step(20, action=0, proposed=1, rule="No <serve>", reason="try").step(lost=1)
    told = Findings(context(s.end())).blocks(False)[1]
    assert (
        "NOOP (wanted FIRE)" in told
        and 'overruled by "No \\u003cserve\\u003e"' in told
        and told.count("overruled again") >= 10
        and "picture" not in told
    )


def test_blame_is_shown_when_it_is_known() -> None:
    game = miss(Script().sway(60), 90.0).end()
    assert "cause" not in Findings(context(game)).blocks(True)[1]
    blamed = Findings(context(game, blame=lambda asked: [f"eyes at {step}" for _, step in asked]))
    assert blamed.shown[0].blame == "eyes at 75" and 'cause: "eyes at 75"' in blamed.blocks(True)[1]
    unsure = Findings(context(game, blame=lambda asked: [""] * len(asked)))
    assert "cause" not in unsure.blocks(True)[1]


def test_no_episodes_and_no_failures_are_said() -> None:
    assert Findings(context()).blocks(True) == ["No episode was recorded for this trial."]
    (said,) = Findings(context(Script().sway(30, won=1).end())).blocks(True)
    assert said.endswith("No failure was found.")


def test_scenes_that_are_no_numbers_are_survived() -> None:
    game = miss(Script().sway(60), 90.0).end()
    rng = np.random.default_rng(0)
    for poison in (np.nan, np.inf, -np.inf):
        scenes = np.where(rng.random(game.scenes.shape) < 0.3, poison, game.scenes).astype(np.float32)
        blocks = Findings(context(dataclasses.replace(game, scenes=scenes))).blocks(True)
        assert len(blocks) == 2 and "F1: life lost at step 75" in blocks[1]
