"""What the tests of the evidence share: a small game written down by hand, and a real one played badly."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from envs.actions import Discrete
from envs.backends.atari_protocols import get_protocol
from perception.scene import SceneSchema
from supervisor.evidence import Context, Limits, LockNote

ACTIONS = Discrete(("NOOP", "FIRE", "RIGHT", "LEFT"))
SCHEMA = SceneSchema.from_config(
    {
        "crop": [10, 10, 110, 90],
        "things": {"ball": {"size": [2, 4]}, "bat": {"size": [16, 4], "required": True}, "ghost": {"count": 2}},
        "grids": {"bricks": {"rows": 2, "cols": 3, "top": 20, "left": 30, "cell": [8, 6]}},
        "gauges": {"air": {"box": [0, 0, 4, 4], "low": 0, "high": 9}},
    }
)
NAIVE = '''"""Move towards the ball."""

DEADBAND = tunable(3.0, 1.0, 8.0)  # px


def act(scene, memory):
    if not scene.ball.seen:
        return FIRE, "serve"
    gap = scene.ball.x - scene.paddle.x
    if abs(gap) < DEADBAND:
        return NOOP, "close enough"
    return (RIGHT, "move towards the ball") if gap > 0.0 else (LEFT, "move towards the ball")
'''


def vector(ball: tuple[float, ...] | None, bat: float = 50.0, air: float = 5.0) -> np.ndarray:
    """float32[size]: a ball at (x, y[, vx, vy]) or none, a bat at x on the ground, all bricks."""
    scene = SCHEMA.empty()
    if ball:
        x, y, vx, vy = (*ball, 0.0, 0.0)[:4]
        scene[SCHEMA.slot("ball")] = (1, x, y, 2, 4, vx, vy, 0.99)
    scene[SCHEMA.slot("bat")] = (1, bat, 100, 16, 4, 0, 0, 0.98)
    scene[SCHEMA.grid("bricks")] = 1
    scene[SCHEMA.gauge("air")] = air
    return scene


class Script:
    """An episode written step by step."""

    def __init__(self, seed: int = 0, **meta: Any) -> None:
        told = {"task": "game", "protocol": "sticky", "seed": seed, "finished": True, "frames": 400}
        self.recorder = EpisodeRecorder({**told, **meta})
        self.score, self.lives, self.bat = 0, 3, 50.0

    def step(
        self, n: int = 1, ball: tuple[float, ...] | None = (40.0, 60.0), action: int = 0, reason: str = "wait",
        proposed: int | None = None, rule: str = "", fault: str = "", won: int = 0, lost: int = 0,
    ) -> Script:  # fmt: skip
        """`n` equal steps; the bat goes 5 px the way of the action after each. The reward comes with the last one."""
        for i in range(n):
            if i == n - 1:
                self.score += won
                self.lives -= lost
            wanted = action if proposed is None else proposed
            told = SimpleNamespace(action=action, proposed=wanted, reason=reason, overruled_by=rule, fault=fault)
            self.recorder.add(vector(ball, self.bat), told, self.score, self.lives)
            self.bat = min(85.0, max(15.0, self.bat + {2: 5.0, 3: -5.0}.get(action, 0.0)))
        return self

    def sway(self, n: int, **more: Any) -> Script:
        """`n` steps to and fro, so that it shows which thing obeys."""
        for i in range(n):
            self.step(action=2 if i // 3 % 2 else 3, **more)
        return self

    def end(self) -> Episode:
        return self.recorder.finish()


def miss(script: Script, ball_x: float, reason: str = "chase", rule: str = "") -> Script:
    """A ball comes down at `ball_x` beside the bat, leaves the screen, and a life is lost."""
    for y in range(40, 101, 6):
        script.step(ball=(ball_x, float(y), 0.0, 6.0), action=0, reason=reason, rule=rule)
    return script.step(4, ball=None, action=1, reason="serve").step(ball=None, action=1, reason="serve", lost=1)


def frames(episode: Episode, steps: Sequence[int]) -> list[np.ndarray]:
    """Grey pictures, each a little lighter than the one before."""
    return [np.full((120, 100, 3), 40 + i % 100, np.uint8) for i in steps]


def context(*episodes: Episode, **more: Any) -> Context:
    """Everything there can be, small; two frames on a sheet."""
    told: dict[str, Any] = {
        "task": "game", "trial": 1, "policy": NAIVE, "safety": '"""Rules."""\n', "schema": SCHEMA, "actions": ACTIONS,
        "protocol": get_protocol("sticky"), "constants": {"FRAMESKIP": 4, "STICKY": 0.25}, "episodes": episodes,
        "frames": frames, "locks": (LockNote("first-save", "scenes", "under the ball in time"),),
        "limits": Limits(cells=2),
    }  # fmt: skip
    return Context(**{**told, **more})


def naive_breakout() -> Any:
    """The Breakout system with a policy that only moves towards the ball, compiled in this process."""
    import triune
    from triune.system import Texts

    system = triune.load("breakout", isolate=False)
    system.texts = Texts(NAIVE, system.texts.safety)
    return system


def real_context(system: Any, episodes: Sequence[Episode], **more: Any) -> Context:
    """A context of recorded games, with their real frames."""
    from triune.play.loop import frames_of
    from triune.system import constants_of

    def again(episode: Episode, steps: Sequence[int]) -> list[np.ndarray]:
        wanted = set(steps)
        return [f.copy() for i, f in enumerate(frames_of(system, episode, max(wanted))) if i in wanted]

    protocol = system.protocol("sticky")
    told = {
        "task": system.name, "trial": 1, "policy": system.texts.policy, "safety": system.texts.safety,
        "schema": system.schema, "actions": system.spec.env.actions, "protocol": protocol,
        "constants": constants_of(system.spec, protocol), "episodes": episodes, "frames": again,
    }  # fmt: skip
    return Context(**{**told, **more})
