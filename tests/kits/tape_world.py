"""Somebody else's backend: it plays back a tape of scores and lives, a step each, and notes what it is told."""

import os
import signal
import sys
from dataclasses import dataclass

import numpy as np

from envs.actions import Discrete
from envs.env import Backend, Rules
from envs.spec import EnvSpec

ESCAPE = "\x1b[2J"


@dataclass(frozen=True)
class Speed(Rules):
    speed: int = 2
    most: int = 100
    frames_per_step = property(lambda self: self.speed)  # type: ignore[assignment]
    frame_limit = property(lambda self: self.most)  # type: ignore[assignment]


class Tape:
    """A picture is its seed plus the number of steps, everywhere; without scores or lives it has none."""

    def __init__(self, env, rules):
        self.shape, self.speed, self.scores, self.lives = env.shape, rules.speed, env.options["scores"], None
        self.lives, self.loud = env.options.get("lives"), env.options.get("loud")
        self.told, self.n, self.in_place = [], 0, 0
        if env.options.get("broken"):
            raise KeyError("no tape")

    done = property(lambda self: self.n >= len(self.scores))
    score = property(lambda self: self.scores[self.n - 1] if self.n else 0)
    frames = property(lambda self: self.n * self.speed)

    def reset(self, seed):
        self.seed, self.n = seed, 0
        self.told.append(seed)

    def advance(self, action):
        self.n += 1
        self.told.append("ABC"[action])
        if self.loud:
            os.kill(os.getpid(), signal.SIGINT)
            os.write(1, b"speaks past Python")
            print("and through it", ESCAPE, file=sys.stderr, flush=True)
            print("in the way", flush=True)

    def metrics(self):
        return {"tape": np.float32(0.5)} | ({} if self.lives is None else {"lives": self.lives[self.n - 1]})

    def truth(self):
        return {"n": np.array([self.n]), "seed": np.array([self.seed])}

    def frame(self, out=None):
        self.in_place += out is not None
        out = np.empty(self.shape, np.uint8) if out is None else out
        out[:] = 100 + self.seed + self.n
        return out


def labels(argument):
    """An observer: the number of steps, and the brightness of what it is shown times `argument`."""
    return lambda truth, frame: [truth["n"][0], float(argument) * frame[0, 0, 0]]


TAPE = Backend("tests.kits.tape_world:Tape", Speed, {"plain": Speed("plain")}, {"scores": list})


def tape(scores, rewards=None, **options):
    """The environment of a tape."""
    actions = Discrete(("A", "B", "C"))
    return EnvSpec("tape-1", 4, 6, actions, 2, "plain", None, "tape", {"scores": scores, **options}, rewards)
