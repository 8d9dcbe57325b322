"""Simulators that hang, die, raise, and draw or tell what they may not: each is named, and nothing is left running."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs import env as registry
from envs.actions import Discrete
from envs.env import Rules, protocol_of
from envs.errors import EnvError
from envs.remote import PixelEnv
from envs.remote_process import Host
from envs.spec import EnvSpec

WORLD = '''
import os, sys, time
import numpy as np
from envs.env import Backend, Rules

class World:
    """Well-behaved, but for its mood at step 3."""
    def __init__(self, env, rules):
        self.mood, self.shape, self.n = env.options["mood"], env.shape, 0
        self.act("start")
    done = property(lambda self: "x" if self.mood == "endless" else self.n >= 9)
    score = property(lambda self: self.odd("score", 0.5))
    frames = property(lambda self: self.n)
    def odd(self, what, else_):
        return ODD[self.mood] if self.mood.startswith(what) and self.n >= 3 else else_
    def act(self, when):
        if self.mood == when + " hangs": time.sleep(1000)
        if self.mood == when + " dies": os._exit(7)
        if self.mood == when + " raises": raise KeyError("boom\\nand more")
        if self.mood == when + " leaves": sys.exit(3)
    def reset(self, seed): self.n = 0; self.act("reset")
    def advance(self, action): self.n += 1; self.n == 3 and self.act("step")
    def metrics(self): return {"lives": self.odd("lives", 1), "other": self.odd("other", 1)}
    def truth(self): return {}
    def frame(self, out=None): return self.odd("draws", np.zeros(self.shape, np.uint8))

ODD = {
    "score nan": float("nan"), "score inf": float("inf"), "score text": "many", "score list": [1],
    "score array": np.ones(2),
    "lives nan": np.float32("nan"), "lives none": None, "other text": "x", "draws small": np.zeros((2, 2, 3), np.uint8),
    "draws floats": np.zeros((4, 6, 3)), "draws grey": np.zeros((4, 6), np.uint8), "draws nothing": None,
    "draws a list": [[1]], "draws wide": np.zeros((4, 6, 4), np.uint8),
}
MINE = Backend("moody_world:World", Rules, {"default": Rules("default")}, {"mood": str})
'''


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("backend")
    (folder / "moody_world.py").write_text(WORLD)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        patch.setattr(registry, "_registered", dict(registry._registered))
        registry.register("moody", "moody_world:MINE")
        yield


def spec(mood: str) -> EnvSpec:
    return EnvSpec("mood-1", 4, 6, Discrete(("A", "B")), 0, "default", None, "moody", {"mood": mood})


@pytest.mark.parametrize(
    "mood, words",
    [
        ("step hangs", "mood-1: no answer from the simulator for 0.2 s"),
        ("step dies", r"ended unexpectedly \(exit code 7"),
        ("step raises", r"mood-1: KeyError: 'boom.*moody_world.py, line"),
        ("step leaves", r"exit code 3"),
        ("start raises", "KeyError"),
        ("reset dies", "ended unexpectedly"),
        ("endless", ""),
    ],
)
def test_a_simulator_that_fails_is_named_and_gone(
    mood: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PixelEnv, "_step_s", 0.2 if "hangs" in mood else 60.0)
    made: list[PixelEnv] = []

    def played() -> int:
        game = PixelEnv(spec(mood), protocol_of(spec(mood)))
        made.append(game)
        game.reset(1)
        for n in range(9):
            if game.done:
                return n
            game.step(0)
        return 9

    if not words:  # `done` may be anything that has a truth
        assert played() == 0
        made[0].close()
        return
    with pytest.raises(EnvError, match=words):
        played()
    for game in made:
        assert game._process.poll() is not None and game.done
        with pytest.raises(EnvError):
            game.reset(0)
        game.close()
    assert "Traceback" not in capfd.readouterr().err


def test_a_start_and_a_reset_that_hang_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = PixelEnv._start
    monkeypatch.setattr(PixelEnv, "_start_s", 60.0)
    game = PixelEnv(spec("reset hangs"), Rules("default"))
    monkeypatch.setattr(PixelEnv, "_start_s", 0.1)
    with pytest.raises(EnvError, match="for 0.1 s"):
        game.reset(0)
    monkeypatch.setattr(PixelEnv, "_start", lambda self, *job: (start(self, *job), started.append(self._process)))
    with pytest.raises(EnvError, match="for 0.1 s"):
        PixelEnv(spec("start hangs"), Rules("default"))
    assert game._process.poll() is not None


def host(mood: str, tmp_path: Path) -> Host:
    (tmp_path / "shared").write_bytes(bytes(4 * 6 * 3))
    env = spec(mood)
    job = {"backend": "moody_world:MINE", "env": env.to_config(), "protocol": {"name": "default"}}
    return Host({**job, "shared": str(tmp_path / "shared")})


@pytest.mark.parametrize(
    "mood, words",
    [
        ("score nan", "its score is nan"),
        ("score inf", "its score is inf"),
        ("score text", "its score is 'many'"),
        ("score list", "its score"),
        ("score array", "its score"),
        ("lives nan", "its lives"),
        ("lives none", "its lives"),
        ("draws small", r"it draws uint8\[2, 2, 3\], system.toml says uint8\[4, 6, 3\]"),
        ("draws floats", "draws float64"),
        ("draws grey", r"draws uint8\[4, 6\]"),
        ("draws nothing", "draws NoneType"),
        ("draws a list", "draws list"),
        ("draws wide", r"draws uint8\[4, 6, 4\]"),
    ],
)
def test_frames_and_figures_are_checked_in_the_middle_of_a_game(mood: str, words: str, tmp_path: Path) -> None:
    game = host(mood, tmp_path)
    game.reset(0)
    game.step(0)
    game.step(0)
    with pytest.raises(EnvError, match=words):
        game.step(0)


def test_other_figures_are_checked_when_the_outcome_is_told(tmp_path: Path) -> None:
    game = host("other text", tmp_path)
    game.reset(0)
    for _ in range(3):
        game.step(0)
    with pytest.raises(EnvError, match="its other is 'x'"):
        game.outcome()
    sound = host("sound", tmp_path)
    sound.reset(0)
    sound.step(0)
    assert b'"score": 0.5' in sound.outcome() and np.array_equal(sound.frame, np.zeros((4, 6, 3)))
