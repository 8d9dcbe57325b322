"""Somebody else's backend: a dark dot is pushed about and pays for its distance from the middle, at every step."""

import numpy as np

from envs.actions import Discrete
from envs.env import Backend, Rules
from envs.errors import EnvError

MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])


class Physics(Rules):
    frames_per_step = property(lambda self: 50)
    frame_hz = property(lambda self: 1500.0)


class Dot:
    def __init__(self, env, rules):
        self.named, self.steps = isinstance(env.actions, Discrete), env.options["steps"]
        if env.shape != (64, 96, 3):
            raise EnvError("a dot's picture has height = 64 and width = 96")

    def reset(self, seed):
        self.place = np.random.default_rng(seed).uniform((12, 12), (84, 52))  # x, y in px
        self.score, self.frames, self.done = 0.0, 0, False

    def advance(self, action):
        push = MOVES[action] if self.named else action
        self.place = np.clip(self.place + 3 * np.asarray(push, float), (4, 4), (91, 59))
        self.score, self.frames = self.score - self.metrics()["away"] / 100, self.frames + 50
        self.done = self.frames >= 50 * self.steps

    def frame(self, out=None):
        out, (x, y) = np.empty((64, 96, 3), np.uint8) if out is None else out, self.place.round().astype(int)
        out[:] = (240, 230, 220)
        out[y - 4 : y + 5, x - 4 : x + 5] = (200, 30, 30)
        return out

    def truth(self):
        return {"place": self.place.copy()}

    def write(self, values):
        self.place = np.array(values["place"], float)

    def metrics(self):
        return {"away": float(np.hypot(*(self.place - (48, 32))))}


DOT = Backend(f"{__name__}:Dot", Physics, {"plain": Physics("plain")}, {"steps": int})
