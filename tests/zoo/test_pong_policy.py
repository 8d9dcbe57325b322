"""Pong's policy against the emulator: its flight, its belief, its worths, its points; and its safety rules."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.plain_runner import load_module, load_policy
from data_flywheel.labelers.teacher import load_teacher
from envs.backends.atari import AtariCore
from envs.backends.atari_protocols import get_protocol
from envs.spec import load_spec
from logic.language.program import Module, Program
from perception.scene import Scene, SceneSchema
from triune.system import load

SPEC = load_spec("pong")
SCHEMA = SceneSchema.from_config(SPEC.scene)
FOLDER = Path(SPEC.folder)
TEACHER = load_teacher("pong")
NOOP, FIRE, UP, DOWN = range(4)
PROTOCOLS = ("sticky", "classic", "seed-sticky", "seed")


def constants(protocol: str) -> dict[str, Any]:
    rules = get_protocol(protocol)
    return {"FRAMESKIP": rules.frameskip, "STICKY": rules.sticky, "HEIGHT": 210, "WIDTH": 160}


@cache
def policy(protocol: str) -> Program:
    return load_policy(FOLDER / "policy.py", SPEC.env.actions.names, constants(protocol))


def safety(protocol: str) -> Module:
    names = {a: i for i, a in enumerate(SPEC.env.actions.names)}
    return load_module((FOLDER / "safety.py").read_text(), "safety", {**constants(protocol), **names})


def scene(core: AtariCore) -> Scene:
    return SCHEMA.read(TEACHER.label(core.truth(), core.frame()))


def started(protocol: str, seed: int) -> AtariCore:
    core = AtariCore(SPEC.env, get_protocol(protocol), seed)
    core.reset()
    return core


def test_flight_is_exact_between_the_paddles() -> None:
    fly = policy("seed").module.namespace["fly"]
    core = started("seed", 3)
    rng = np.random.default_rng(0)
    checked = turned = 0
    for _ in range(3000):
        before = core.ram().astype(int)
        core.advance(TEACHER.scripted(core.truth(), rng))
        after = core.ram().astype(int)
        vy = (before[56] + 128) % 256 - 128
        if 69 < before[49] < 187 and before[54] and after[54] and after[49] != before[49]:
            y, speed = fly(int(before[54]), int(vy), 1)
            assert (y, speed) == (after[54], (after[56] + 128) % 256 - 128)
            checked += 1
            turned += speed != vy
    assert checked > 1500 and turned > 5


@pytest.mark.parametrize("protocol", ["sticky", "seed-sticky", "classic"])
def test_belief_follows_the_hidden_paddle(protocol: str) -> None:
    program = policy(protocol)
    follow, memory = program.module.namespace["follow_paddle"], program.start()
    core = started(protocol, 5)
    rng = np.random.default_rng(1)
    right, steps, move = 0, 600, 0
    for step in range(steps + 30):
        memory.sure = follow(scene(core), memory)
        right += step >= 30 and memory.lead_shown == core.ram()[51]
        if rng.random() < 0.3:
            move = int(rng.integers(3))
        memory.move = move
        core.advance((NOOP, UP, DOWN)[move])
    assert right / steps > 0.97


def test_worth_knows_what_beats_the_opponent() -> None:
    names = policy("sticky").module.namespace
    worth, zones, missed = names["WORTH"], names["ZONES"], names["MISSED"]
    assert worth[100, 4] == 1 and worth[145, 0] == 1, "steep returns with a wall and room behind it win"
    assert (worth[180:205, :5] < 1).all(), "nothing wins from the bottom"
    assert (worth[:, 5] == missed).all()
    assert list(zones[100, [117, 100, 98, 94, 90, 86, 83]]) == [5, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_policy_wins_points(protocol: str) -> None:
    controller = load("pong").controller(protocol)
    core = started(protocol, 7)
    played = 0
    while played < 3 and not core.done:
        decision = controller.decide(scene(core))
        assert not decision.fault
        before = core.score
        core.advance(decision.action)
        played += core.score != before
    assert core.score >= 2


def boxes(ball: tuple[float, float] | None, paddle: tuple[float, float] | None) -> Scene:
    vector = SCHEMA.empty()
    if ball:
        vector[SCHEMA.slot("ball")] = (1, *ball, 2, 4, 0, 0, 1)
    if paddle:
        vector[SCHEMA.slot("player")] = (1, 142, paddle[0], 4, paddle[1], 0, 0, 1)
    return SCHEMA.read(vector)


def test_safety_holds_the_paddle_at_the_top() -> None:
    rules = safety("sticky")
    rule, memory = rules.namespace["hold_at_the_top"], rules.start()
    assert rule(boxes((80, 80), (37.0, 6.0)), memory, UP) == NOOP
    assert rule(boxes((80, 80), (37.0, 6.0)), memory, DOWN) == DOWN
    assert rule(boxes((80, 80), (39.0, 10.0)), memory, UP) == UP
    assert rule(boxes((80, 80), None), memory, UP) == UP


def test_safety_rests_when_blind_and_wakes_with_the_ball() -> None:
    rules = safety("sticky")
    rule, memory = rules.namespace["rest_when_blind"], rules.start()
    taken = [rule(boxes(None, (100, 16)), memory, UP) for _ in range(40)]
    assert taken[:30] == [UP] * 30 and taken[30:] == [NOOP] * 10
    assert rule(boxes((80, 80), (100, 16)), memory, UP) == UP
