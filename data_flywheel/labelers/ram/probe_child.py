"""The process that perturbs memory: `python -m data_flywheel.probe_child JOB`, questions as JSON lines on stdin.

Knows the emulator and how to gather evidence about one byte, or compare a teacher with causal masks on one game.
Job: {"system", "states", "seed"}. Questions: {"do": "byte", "byte": 72}, {"do": "mirror", "byte": 60, "horizon": 1},
{"do": "joint", "bytes": [99, 101], "horizon": 2}, {"do": "audit", "things", "cells", "seed", "frames"},
{"do": "pairs", "catalogue", "seed", "frames"}, {"do": "agree", "catalogue", "pairs", "seed", "frames"}.
Does not draw conclusions: `discover.py`, `audit.py` and `agree.py` do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

import numpy as np

from data_flywheel.labelers.ram.agree_game import agree_in_game, pairs_in_game
from data_flywheel.labelers.ram.audit_game import audit_game
from data_flywheel.labelers.ram.catalogue import Catalogue
from data_flywheel.labelers.ram.causal import Effect, Prober
from envs.backends.atari import AtariCore
from envs.backends.rom import find_system
from envs.protocol import get_protocol
from envs.spec import SystemSpec

HORIZONS = (1, 2, 3)
PREFILTER = (10, -10)


def sample_states(core: AtariCore, wanted: int, seed: int) -> list[Any]:
    """Saved states spread over games of random play, alive and with something moving in most of them."""
    rng = np.random.default_rng(seed)
    moving: list[Any] = []
    still: list[Any] = []
    core.reset(seed % 1000)
    for game in range(40):
        if core.done or game % 4 == 3:  # loading a game takes as long as 1000 frames of it
            core.reset((seed + game) % 1000)
        action = 0
        for step in range(int(rng.integers(60, 400))):
            if step % 6 == 0:
                action = int(rng.integers(len(core.env.actions)))
            core.advance(action)
            if core.done:
                break
        if core.done or len(np.unique(core.palette_frame())) < 2:
            continue
        state, before = core.clone(), core.palette_frame()
        for _ in range(4):
            core.advance(core.env.actions.index(core.env.fallback))
        (moving if (core.palette_frame() != before).any() else still).append(state)
        if len(moving) >= wanted:
            break
    return (moving + still)[:wanted]


class Examiner:
    """Evidence about bytes over a fixed set of states."""

    def __init__(self, spec: SystemSpec, states: int, seed: int) -> None:
        self.spec = spec
        self.core = AtariCore(spec.env, get_protocol("seed"))
        self.states = sample_states(self.core, states, seed)
        self.prober = Prober(self.core)
        self._plain = [self.prober.futures(state, {}, len(HORIZONS)) for state in self.states]

    def byte(self, address: int) -> dict[str, Any]:
        """Where and when changing the byte shows; its effect in every state; what its single bits do."""
        shows = self._shows(address)
        if max(shows) == 0:
            return {"shows": 0.0}
        horizon = next(h for h, share in zip(HORIZONS, shows, strict=True) if share >= 0.5 * max(shows))
        effects = [self.prober.effect(state, [address], horizon) for state in self.states]
        moved = any(effect.box for effect in effects)
        later = [self.prober.effect(state, [address], horizon + 2) for state in self.states[:4] if moved]
        flips = [self.prober.flips(state, address, horizon) for state in self.states[::2]]
        return {
            "shows": max(shows),
            "horizon": horizon,
            "effects": [_record(effect) for effect in effects],
            "slopes": [_slope(effects[:4]), _slope(later)],
            "flips": [[box and asdict(box) for box in boxes] for boxes in flips],
        }

    def joint(self, addresses: list[int], horizon: int) -> list[dict[str, Any]]:
        """The effect of changing several bytes, each in turn, in every state: the whole thing that they place."""
        return [_record(self.prober.effect(state, addresses, horizon)) for state in self.states]

    def mirror(self, address: int, horizon: int) -> list[list[Any]]:
        """[ram, box] of many futures in which a byte was changed: which bytes follow the thing it moves?"""
        found: list[list[Any]] = []
        for state in self.states:
            effect = self.prober.effect(state, [address], horizon)
            futures = {outcome.written: outcome.box for outcome in effect.outcomes} | {effect.written: effect.box}
            for written, box in futures.items():
                if box:
                    _, ram = self.prober.future(state, {address: written}, horizon)
                    found.append([ram.tolist(), asdict(box)])
        return found

    def _shows(self, address: int) -> list[float]:
        """Share of the states in which a change of the byte is visible after 1, 2 and 3 frames."""
        found = np.zeros(len(HORIZONS))
        for state, base in zip(self.states, self._plain, strict=True):
            value = int(self.prober.ram_of(state)[address])
            different = np.zeros(len(HORIZONS), bool)
            for delta in PREFILTER:
                frames = self.prober.futures(state, {address: (value + delta) % 256}, len(HORIZONS))
                different |= [not np.array_equal(a, b) for a, b in zip(frames, base, strict=True)]
            found += different
        return (found / len(self.states)).tolist()


def _record(effect: Effect) -> dict[str, Any]:
    return {
        "written": effect.written,
        "value": effect.value,
        "mask": effect.mask.tolist(),
        "box": effect.box and asdict(effect.box),
        "colours": effect.colours,
        "outcomes": [[o.written, o.value, o.box and asdict(o.box)] for o in effect.outcomes],
    }


def _slope(effects: list[Effect]) -> float:
    """Median distance in px by which the thing moves per unit of the byte (as it is in the future looked at)."""
    slopes = []
    for effect in effects:
        for outcome in effect.outcomes:
            pair = (outcome.value, effect.value) if outcome.value != effect.value else (outcome.written, effect.written)
            change = abs((pair[0] - pair[1] + 128) % 256 - 128)
            if not (effect.box and outcome.box and change):
                continue
            if (outcome.box.width, outcome.box.height) == (effect.box.width, effect.box.height):
                distance = abs(outcome.box.left - effect.box.left) + abs(outcome.box.top - effect.box.top)
                slopes.append(distance / change)
    return float(np.median(slopes)) if slopes else 0.0


def answer(examiner: Examiner, question: dict[str, Any]) -> Any:
    """Dispatch one question about a byte."""
    if question["do"] == "byte":
        return examiner.byte(int(question["byte"]))
    if question["do"] == "joint":
        return examiner.joint(question["bytes"], int(question["horizon"]))
    return examiner.mirror(int(question["byte"]), int(question["horizon"]))


def answer_game(spec: SystemSpec, question: dict[str, Any]) -> dict[str, Any]:
    """Answer a question about a game of its own, which needs no states."""
    if question["do"] == "pairs":
        return pairs_in_game(spec, Catalogue.from_record(question["catalogue"]), question["seed"], question["frames"])
    if question["do"] == "agree":
        catalogue = Catalogue.from_record(question["catalogue"])
        return agree_in_game(spec, catalogue, question["pairs"], question["seed"], question["frames"])
    return audit_game(spec, question["things"], question["cells"], question["seed"], question["frames"])


def main() -> int:
    """Answer questions until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the emulator prints about illegal instructions
    job = json.loads(sys.argv[1])
    examiner: Examiner | None = None
    for line in sys.stdin:
        try:
            reply: dict[str, Any] = {}
            question = json.loads(line)
            if question["do"] in ("audit", "pairs", "agree"):
                reply = {"answer": answer_game(find_system(job["system"]), question)}
            else:
                examiner = examiner or Examiner(find_system(job["system"]), job["states"], job["seed"])
                reply = {"answer": answer(examiner, question)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(reply), file=answers, flush=True)
        except BrokenPipeError:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
