"""The loop by itself: its order, its hooks, its ends; on a world that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.actions import Box, Discrete
from logic.runtime.controller import Decision
from triune.play.loop import Step, Wander, replay, steps


class Counting:
    """Its picture is the number of actions carried out; over after `last` of them."""

    def __init__(self, last: int) -> None:
        self.last, self.done, self.did = last, False, list[Any]()
        self.picture = np.zeros((1, 1, 3), np.uint8)

    def reset(self, seed: int) -> np.ndarray:
        self.did, self.done, self.picture[:] = [], self.last == 0, 0
        return self.picture

    def step(self, action: Any) -> np.ndarray:
        assert not self.done
        self.did.append(action)
        self.done = len(self.did) == self.last
        self.picture[:] = len(self.did)
        return self.picture


class Echo:
    """Decides the number that it sees."""

    def __init__(self) -> None:
        self.saw = list[int]()

    def act(self, frame: np.ndarray) -> tuple[Any, Decision]:
        self.saw.append(int(frame[0, 0, 0]))
        return None, Decision(self.saw[-1], "echo", self.saw[-1])


def play(last: int, **more: Any) -> tuple[list[Step], Counting, Echo]:
    world, player = Counting(last), Echo()
    return list(steps(world, player, world.reset(0), **more)), world, player


def test_every_frame_is_decided_on_once_and_in_order() -> None:
    made, world, player = play(4)
    assert player.saw == world.did == [0, 1, 2, 3] and [s.index for s in made] == [0, 1, 2, 3]
    assert not any(s.over for s in made)


@pytest.mark.parametrize(("last", "limit", "carried_out"), [(5, 3, 3), (3, 5, 3), (3, 0, 0), (0, None, 0)])
def test_a_limit_counts_actions_and_nobody_decides_beyond_it(last: int, limit: int | None, carried_out: int) -> None:
    made, world, player = play(last, limit=limit)
    assert len(made) == len(world.did) == len(player.saw) == carried_out


@pytest.mark.parametrize("last", [0, 3])
def test_to_the_end_the_last_frame_is_a_step_that_does_nothing(last: int) -> None:
    made, world, player = play(last, to_the_end=True)
    assert player.saw == list(range(last + 1)) and len(world.did) == last
    assert [s.over for s in made] == [False] * last + [True]


def test_whoever_follows_sets_what_is_carried_out() -> None:
    world = Counting(4)
    for step in steps(world, Echo(), world.reset(0)):
        if step.index % 2:
            step.action = 70
        assert step.decision.action == step.index, "what was decided stays on record"
    assert world.did == [0, 70, 2, 70]


def test_nothing_is_carried_out_once_nobody_follows() -> None:
    world = Counting(9)
    for step in steps(world, Echo(), world.reset(0)):
        if step.index == 2:
            break
    assert world.did == [0, 1]


def test_a_tape_sees_every_frame_before_the_player() -> None:
    told = list[tuple[str, int]]()

    class FrameBuffer:
        def see(self, step: int, frame: np.ndarray) -> None:
            told.append(("tape", step))

    class Told(Echo):
        def act(self, frame: np.ndarray) -> tuple[Any, Decision]:
            told.append(("player", int(frame[0, 0, 0])))
            return super().act(frame)

    world = Counting(2)
    list(steps(world, Told(), world.reset(0), frame_buffer=FrameBuffer()))  # type: ignore[arg-type]
    assert told == [("tape", 0), ("player", 0), ("tape", 1), ("player", 1)]


@pytest.mark.parametrize(("last", "shown"), [(9, [0, 1, 2]), (2, [0, 1, 2]), (1, [0, 1])])
def test_a_replay_shows_the_frame_before_each_action(last: int, shown: list[int]) -> None:
    world = Counting(last)
    frames = [int(f[0, 0, 0]) for f in replay(world, 0, [5, 6, 7])]  # type: ignore[arg-type]
    assert frames == shown and world.did == [5, 6, 7][:last]


def test_wandering_holds_an_action_and_is_begun_by_chance() -> None:
    def wandered(space: Any, most: int, chance: float) -> list[Any]:
        wander, world = Wander(space, np.random.default_rng(3), most, chance), Counting(200)
        for step in steps(world, Echo(), world.reset(0)):
            wander.steer(step)
        return world.did

    names = wandered(Discrete(("A", "B", "C")), 6, 1.0)
    assert set(names) == {0, 1, 2} and any(names[i : i + 3] == [a] * 3 for i in range(190) for a in range(3))
    now_and_then = [did != i for i, did in enumerate(wandered(Discrete(("A",)), 4, 0.05))]
    assert 0 < sum(now_and_then) < 100
    values = np.array(wandered(Box(("hip",), (-2.0,), (0.5,)), 1, 1.0))
    assert values.dtype == np.float32 and -2 <= values.min() < -1.5 and 0 < values.max() <= 0.5
