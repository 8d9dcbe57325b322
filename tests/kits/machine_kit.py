"""The native machine beside generated Python: graphs as programs, and programs that were tampered with."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
from compiler_agree import Steps, equal
from compiler_kit import SCHEMA

import native
from logic.language.backends.bytecode import MemoryBytes, Part, program
from logic.language.ir import Graph

ENGINE: Any = native.engine
HEAD, PROGRAM, WORDS = 10, 7, 10  # words, as bytecode.py writes them


class Machine:
    """One graph on the machine."""

    def __init__(self, graph: Graph, scene: int = SCHEMA.size, fallback: Any = 0) -> None:
        self.layout, self.graph = MemoryBytes(graph.fields), graph
        self.program = program([Part(graph, 0)], [self.layout], scene, fallback)
        self.machine = ENGINE.machine_new(self.program)

    def step(self, vector: np.ndarray, before: dict[str, Any]) -> tuple[bool, Any, int, dict[str, Any]]:
        """(was it a fault, action, reason, memory after it) from a memory."""
        ENGINE.machine_load(self.machine, 0, self.layout.pack(before))
        ENGINE.machine_decide(self.machine, vector)
        ((fault, _, action, reason),) = ENGINE.machine_told(self.machine)
        return fault, action, reason, self.layout.unpack(ENGINE.machine_save(self.machine, 0))


def check_machine(steps: Steps) -> None:
    """The same answers and memories as generated Python gave, bit by bit."""
    graph, machine = steps.graph, Machine(steps.graph)
    for i, (action, reason) in enumerate(steps.answers):
        *said, after = machine.step(steps.vectors[i], steps.before[i])
        wanted = [True, 0, -1] if action < 0 else [False, action, graph.reasons.index(reason)]
        assert said == wanted, f"{steps.source}\nmachine, scene {i}: {said}, Python {wanted} {reason}"
        for f in graph.fields:
            told = f"{steps.source}\nmachine, scene {i}, {f}: {after[f]}, Python {steps.after[i][f]}"
            assert equal(after[f], steps.after[i][f]), told


def instructions(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(int32 words of a program of one graph, its instructions int32[n, WORDS], a view of them)."""
    words = np.frombuffer(data, np.int32).copy()
    count = int(words[HEAD + 1 + 2 + 5])
    return words, words[len(words) - count * WORDS :].reshape(count, WORDS)


ODD = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 255, 1 << 16, 1 << 24, 1 << 30, -(1 << 30), -(1 << 31), (1 << 31) - 1)


def tampered(data: bytes, r: random.Random) -> bytes:
    """A program with a few of its words changed, instructions more often than constants."""
    words = list(struct.unpack(f"<{len(data) // 4}i", data))
    code = struct.unpack_from("<i", data, 4 * (HEAD + 1 + 2 + 5))[0] * WORDS  # of the one program's instructions
    first = max(len(words) - code, 0)
    for _ in range(r.choice((1, 1, 1, 2, 3, 8))):
        at = r.randrange(first, len(words)) if r.random() < 0.9 else r.randrange(len(words))
        kind = r.random()
        if kind < 0.3:
            words[at] = r.choice(ODD)
        elif kind < 0.6:
            words[at] = _word(words[at] + r.choice((-16, -8, -4, -1, 1, 4, 8, 16)))
        elif kind < 0.8:
            words[at] = words[r.randrange(first, len(words))]
        elif kind < 0.95 and (at - first) % WORDS == 0:
            words[at] = r.randrange(0, 180)
        else:
            words[at] = _word(words[at] ^ (1 << r.randrange(32)))
    made = struct.pack(f"<{len(words)}i", *words)
    return made if r.random() < 0.99 else made[: r.randrange(len(made))]


def _word(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)
