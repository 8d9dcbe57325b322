"""Evidence of tasks with readings, controls and a reward at every step: what is said, what counts as a failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs.actions import Box, Discrete
from envs.backends.gymnasium import BACKEND
from perception.scene import SceneSchema
from supervisor.evidence import Context, Findings, GateSummary, Limits, Scoreboard, build
from supervisor.evidence import pictures as png
from supervisor.evidence.context import places
from supervisor.evidence.moments import (
    COSTLY,
    EARLY,
    POINTS,
    cast,
    moments,
    norms,
    numbers_of,
    usual,
    window,
)

POLE = SceneSchema.from_config(
    {
        "crop": [160, 0, 320, 600],
        "readings": {
            "cart": {"required": True, "fields": {"x": {"low": -2.5, "high": 2.5, "unit": "m"}}},
            "pole": {"required": True, "fields": {"angle": {"low": -0.3, "high": 0.3, "unit": "rad"}}},
        },
    }
)
ROD = SceneSchema.from_config(
    {
        "crop": [0, 0, 500, 500],
        "readings": {"rod": {"fields": {"angle": {"low": -3.0, "high": 3.0, "unit": "rad", "wrap": True}}}},
    }
)
PUSH, TORQUE = Discrete(("LEFT", "RIGHT")), Box(("torque",), (-2.0,), (2.0,))
SPAN = 64


def scene(schema: SceneSchema, **values: float | None) -> np.ndarray:
    """float32[size]: the one field of each reading by the reading's name; None: not seen, sure 0.1."""
    vector = schema.empty()
    for name, value in values.items():
        vector[schema.slot(name)] = (0, 0, 0.1) if value is None else (1, value, 1)
    return vector


def episode(
    scenes: Sequence[np.ndarray], rewards: Sequence[float], actions: Sequence[Any] | None = None, **meta: Any
) -> Episode:
    recorder = EpisodeRecorder({"seed": 0, "finished": True, "frames": len(scenes), **meta})
    for i, (vector, score) in enumerate(zip(scenes, np.cumsum(rewards).tolist(), strict=True)):
        action = actions[i] if actions else 0
        told = SimpleNamespace(action=action, proposed=action, reason="push", overruled_by="", fault="")
        recorder.add(vector, told, score, 0)
    return recorder.finish()


def fallen(seed: int = 0, n: int = 90, angle: float = 0.2, lost: int = 0, **meta: Any) -> Episode:
    """A pole that stands, then falls within 10 steps to `angle`; unread in the last `lost` steps."""
    way = [*np.full(n - 10, 0.01), *np.linspace(0.02, angle, 10)]
    read = [v if i < n - lost else None for i, v in enumerate(way)]
    return episode([scene(POLE, cart=0.1, pole=v) for v in read], [1] * n, seed=seed, **meta)


def swung(seed: int = 0, n: int = 200) -> Episode:
    """A rod that hangs for 100 steps at a cost of 8.25 each and then stands at one of 0.25."""
    angles = [*np.full(100, 2.9), *np.full(n - 100, 0.0)]
    actions = [np.array([2.0 if i % 2 else -0.5], np.float32) for i in range(n)]
    cost = [-8.25] * 100 + [-0.25] * (n - 100)
    return episode([scene(ROD, rod=a) for a in angles], cost, actions, seed=seed, truncated=True)


def context(schema: SceneSchema, actions: Any, *episodes: Episode, **more: Any) -> Context:
    told: dict[str, Any] = {
        "task": "swing", "trial": 1, "policy": "def act(scene, memory):\n    return LEFT, 'why'\n", "safety": "",
        "schema": schema, "actions": actions, "protocol": BACKEND.protocols["default"], "episodes": episodes,
    }  # fmt: skip
    return Context(**{**told, **more})


def text(c: Context, title: str) -> str:
    return next(s.text for s in build(c).sections if s.title == title)


def found(*episodes: Episode, schema: SceneSchema = POLE) -> list[tuple[str, int, int]]:
    normal = usual(episodes, SPAN, schema)
    return [(m.kind, m.first, m.step) for m in moments(episodes, SPAN, normal, 1_000_000)]


# --- the contract -------------------------------------------------------------------------------------------------


def test_the_contract_tells_readings_and_controls_and_nothing_of_boxes() -> None:
    told = text(context(ROD, TORQUE), "Contract and scene")
    assert "scene.rod: reading of `angle` from -3 to 3 rad, where the one end is the other" in told
    assert '`return torque, "why"`' in told and "An action is a number: torque from -2 to 2." in told
    assert "A slot has" not in told and "required" not in told
    assert "reading of `x` from -2.5 to 2.5 m, required" in text(context(POLE, PUSH), "Contract and scene")


def test_several_controls_are_a_tuple_in_their_order() -> None:
    told = text(context(ROD, Box(("hip", "knee"), (-1.0, -2.0), (1.0, 0.5))), "Contract and scene")
    assert '`return (hip, knee), "why"`' in told
    assert "a tuple of 2 numbers, in this order: hip from -1 to 1, knee from -2 to 0.5" in told


# --- what counts as a failure -------------------------------------------------------------------------------------


def test_an_end_that_the_clock_did_not_bring_is_a_failure_where_every_step_wins() -> None:
    assert found(fallen()) == [(EARLY, 89, 89)]
    assert found(fallen(truncated=True)) == [] and found(fallen(frames=1_000_000)) == []
    assert found(fallen(finished=False)) == []  # cut off from outside: nobody knows how it would have ended


def test_an_end_is_none_where_every_step_costs() -> None:
    reached = episode([scene(POLE, cart=0.0, pole=0.0)] * 90, [-1] * 90)
    assert found(reached) == []


def test_the_costliest_stretch_of_a_dense_reward_is_found() -> None:
    n = 300
    cost = np.full(n, -1.0)
    cost[120:160] = -1.12  # too little for a setback, together more than any other second
    ((kind, first, last),) = found(episode([scene(ROD, rod=0.0)] * n, cost.tolist(), truncated=True), schema=ROD)
    assert kind == COSTLY and last - first == SPAN - 1 and first <= 120 and last >= 159


def test_an_even_reward_has_no_costly_stretch_and_a_plunge_is_a_setback() -> None:
    assert found(episode([scene(ROD, rod=0.0)] * 300, [-1.0] * 300, truncated=True), schema=ROD) == []
    plunge = [-1.0] * 250 + [-40.0] + [-1.0] * 49
    kinds = [k for k, *_ in found(episode([scene(ROD, rod=0.0)] * 300, plunge, truncated=True), schema=ROD)]
    assert POINTS in kinds


def test_small_costs_are_no_setbacks_where_a_goal_is_held_for_long() -> None:
    cost = [*np.linspace(-5.0, -0.1, 40), *[-0.0001] * 260]
    cost[200] = -0.002
    told = found(episode([scene(ROD, rod=0.0)] * 300, cost, truncated=True), schema=ROD)
    assert [kind for kind, *_ in told] == [POINTS, COSTLY] and told[0][1] == 0  # the worst steps of the way there


# --- what is said of one ------------------------------------------------------------------------------------------


def features(e: Episode, *others: Episode, schema: SceneSchema = POLE) -> dict[str, str]:
    batch = [e, *others]
    normal = usual(batch, SPAN, schema)
    first = next(m for m in moments(batch, SPAN, normal, 1_000_000) if m.episode == 0)
    return window(first, e, schema, cast(schema, batch), normal, SPAN).features


def test_the_field_that_is_far_from_its_usual_is_named() -> None:
    told = features(fallen(angle=0.2), fallen(angle=-0.2))
    assert told["away"] == "pole angle far above its usual" and told["moved"] == "pole angle rises"
    other = features(fallen(angle=-0.2), fallen(angle=0.2))
    assert other["away"] == "pole angle far below its usual" and other["moved"] == "pole angle falls"


def test_falls_to_either_side_are_two_groups() -> None:
    falls = [fallen(i, angle=0.2 if i % 3 else -0.2) for i in range(9)]
    groups = {c.name: len(c.members) for c in Findings(context(POLE, PUSH, *falls)).clusters}
    assert groups == {
        "ended early; pole angle far above its usual": 6, "ended early; pole angle far below its usual": 3
    }  # fmt: skip


def test_a_reading_that_was_lost_is_said_and_the_window_ends_where_all_was_read() -> None:
    e = fallen(lost=70)
    normal = usual([e], SPAN, POLE)
    (moment,) = moments([e], SPAN, normal, 1_000_000)
    w = window(moment, e, POLE, cast(POLE, [e]), normal, SPAN)
    assert w.anchor == 19 and w.features["sight"] == "pole not seen"  # not "carried on": nothing carries readings on


def test_where_a_field_usually_is_knows_that_a_turn_closes() -> None:
    e = episode([scene(ROD, rod=v) for v in (2.9, -2.9, 2.8, -2.8) * 20], [-1.0] * 80)
    (norm,) = norms(ROD, [e])
    assert abs(norm.number.spec.away(np.array([norm.middle]), 3.0).item()) < 0.05  # at the seam, not at 0
    assert numbers_of(ROD)[0].spec.away(np.array([-2.9]), np.array([2.9])) == pytest.approx(0.2)


def test_no_episode_and_a_reading_never_seen_are_told_too() -> None:
    blind = episode([scene(POLE, cart=None, pole=None)] * 90, [1] * 90)
    assert features(blind)["sight"] in ("cart not seen", "pole not seen")
    assert "pole angle | 100 %    | -" in text(context(POLE, PUSH, blind), "Statistics")
    assert "No episode" in text(context(POLE, PUSH), "Failures")


# --- tables and figures -------------------------------------------------------------------------------------------


def test_a_step_is_told_with_what_was_read_and_how_it_changed() -> None:
    told = text(context(POLE, PUSH, fallen(lost=3)), "Failures")
    head, *rows = [line for line in told.splitlines() if " | " in line]
    assert [cell.strip() for cell in head.split("|")] == ["step", "action", "pole angle", "score", "said"]
    assert any(r.startswith("86*") and "0.14 +0.02" in r for r in rows)  # the last one at which all was read
    assert [cell.strip() for cell in rows[-1].split("|")] == ["89", "LEFT", "-", "90 +1", ""]
    assert "px" not in told and "tracker" not in told


def test_a_change_over_the_seam_is_small() -> None:
    e = episode([scene(ROD, rod=2.95 if i % 2 else -2.95) for i in range(200)], [-8.0] * 60 + [-1.0] * 140)
    told = text(context(ROD, PUSH, e), "Failures")
    assert "2.95 -0.1" in told and "-2.95 +0.1" in told and "5.9" not in told


def test_controls_are_told_by_name_and_value() -> None:
    told = text(context(ROD, TORQUE, swung()), "Failures")
    assert "torque=+2" in told and "torque=-0.5" in told
    assert "score over these 64 steps -528, of -850 in 200 steps" in told


def test_statistics_tell_what_a_step_brings_and_where() -> None:
    told = text(context(ROD, TORQUE, swung()), "Statistics")
    assert '"push"' in told and "| -4.25  |" in told  # a step
    assert "rod angle | 0 %      | 0 " in told
    assert "2 to 3: -8.25 (100 steps)" in told and "0 to 1: -0.25 (100 steps)" in told and "never there" in told
    assert "before a loss (lives or points lost, episodes that ended early: 1)" in text(
        context(POLE, PUSH, fallen()), "Statistics"
    )


def test_scores_are_told_with_the_decimals_that_they_need() -> None:
    small = Scoreboard({0: 0.412, 1: 0.4388}, GateSummary(20, 0.4211, 0.4032, 0.4399, 0.3901))
    trial = {"trial": 1, "verdict": "reject", "numbers": {"full_difference": 0.0123, "full_low95": -0.0021,
             "full_high95": 0.0311, "full_pairs": 20.0}}  # fmt: skip
    c = context(POLE, PUSH, scoreboard=small, trials=[trial])
    assert "mean 0.4211, 95 % interval [0.4032, 0.4399]" in text(c, "Scoreboard")
    assert "+0.0123 [-0.0021, 0.0311] on 20 pairs" in text(c, "Failed directions")
    whole = dataclasses.replace(c, scoreboard=Scoreboard({0: 3.0}, GateSummary(20, 3.25, 3.0, 3.5, 2.0)))
    assert "mean 3.2," in text(whole, "Scoreboard") and "effect 0 [0, 0] on" in text(whole, "Failed directions")


@pytest.mark.parametrize(
    ("scores", "digits"),
    [([], 1), ([0.0], 1), ([21.0, -3.0], 1), ([-1636.08], 1), ([25.5], 2), ([-0.18, 0.0], 4), ([float("nan"), 2.5], 3)],
)
def test_decimals_follow_the_size_of_scores(scores: list[float], digits: int) -> None:
    assert places(scores) == digits


# --- pictures -----------------------------------------------------------------------------------------------------


def frames(e: Episode, steps: Sequence[int]) -> list[np.ndarray]:
    return [np.full((400, 600, 3), 200, np.uint8) for _ in steps]


def test_a_large_frame_is_shrunk_to_its_crop_and_told_in_numbers() -> None:
    c = context(POLE, PUSH, fallen(lost=3), frames=frames)
    (image,) = build(c).images
    width, height = png.size(image.data)
    assert 700 <= width <= 1000 and height <= 700 and len(image.data) < 400_000
    other = context(POLE, PUSH, fallen(lost=3, angle=0.25), frames=frames)
    assert build(other).images[0].data != image.data  # what was read stands under the same pictures


def test_pictures_of_any_size_stay_within_a_sheet() -> None:
    for height, width in ((64, 64), (480, 640), (1080, 1920)):
        schema = dataclasses.replace(POLE, crop=(0, 0, height, width))
        whole = np.full((height, width, 3), 90, np.uint8)
        c = context(schema, PUSH, fallen(), frames=lambda e, steps, f=whole: [f for _ in steps], limits=Limits(shown=1))
        (image,) = build(c).images
        assert max(png.size(image.data)) <= 1400, (height, width)
