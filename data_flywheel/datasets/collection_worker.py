"""The collecting process: plays one planned job after another and writes a shard for each."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.collection import PATIENCE, Curator, Job, make_player
from data_flywheel.labelers.teacher import Teacher
from data_flywheel.storage.dataset import Shard
from data_flywheel.storage.frames import Frames
from envs.backends.atari import AtariCore
from envs.backends.atari_protocols import get_protocol
from envs.spec import SystemSpec

# ----------------------------------------------------------------------------------------------------
# Play one planned job and make its shard: labelled, checked, curated frames of one episode.
#
# The same job gives the same bytes on every run. Frames whose label does not account for the picture are counted
# and left out.


U8 = NDArray[np.uint8]
SALT = 0x7A6F6F


@dataclass
class _Log:
    """What a shard gathers."""

    frames: list[U8] = field(default_factory=list)
    scenes: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rams: list[U8] = field(default_factory=list)
    checked: int = 0
    refused: int = 0

    def consider(
        self, curator: Curator, teacher: Teacher, ram: U8, window: list[U8], vector: NDArray[np.float32], action: int
    ) -> None:
        """Keep the current frame if its label accounts for it."""
        self.checked += 1
        if teacher.unexplained(ram, window[-1], vector):
            self.refused += 1
            curator.kept -= 1
            return
        self.frames.append(np.maximum.reduce(window) if len(window) > 1 else window[-1])
        self.scenes.append(vector)
        self.actions.append(action)
        self.rams.append(ram)


def make_shard(spec: SystemSpec, teacher: Teacher, job: Job, cores: dict[str, AtariCore] | None = None) -> Shard:
    """Play and label. May hold fewer frames than planned when the game shows too little that is new.

    cores: emulators by protocol, kept by the caller between shards because loading one takes as long as 1000 frames.
    """
    rng = np.random.default_rng([SALT, job.number, job.seed])
    core = _core(spec, job.protocol, {} if cores is None else cores)
    frame, ram = core.reset(job.seed), core.ram()
    vector = teacher.label(ram, frame)
    player = make_player(job.player, spec, teacher, core.protocol, rng, job.noise)
    curator, log = Curator(teacher.schema, job.frames, rng), _Log()
    warmup = int(rng.integers(job.warmup + 1))
    next_poke = warmup + 1
    window = [frame]
    for step in range(warmup + PATIENCE * job.frames):
        if step == next_poke and job.poke:
            core.poke(teacher.poke(ram, rng))
            next_poke += int(rng.integers(4, 28)) // core.protocol.frameskip + 2
        action = player(ram, vector)
        core.advance(action)
        frame = core.reset(job.seed) if core.done else core.frame()
        ram = core.ram()
        vector = teacher.label(ram, frame)
        window = [*window, frame][-teacher.schema.window :]
        if step >= warmup and curator.wants(vector, frame, core.protocol.frameskip):
            log.consider(curator, teacher, ram, window, vector, action)
        if curator.kept >= job.frames:
            break
    return _shard(spec, job, log, curator)


def _core(spec: SystemSpec, protocol: str, cores: dict[str, AtariCore]) -> AtariCore:
    if protocol not in cores:
        cores[protocol] = AtariCore(spec.env, get_protocol(protocol))
    return cores[protocol]


def _shard(spec: SystemSpec, job: Job, log: _Log, curator: Curator) -> Shard:
    size = (spec.env.height, spec.env.width, 3)
    meta = {**asdict(job), "checked": log.checked, "refused": log.refused, "situations": curator.counts}
    return Shard(
        job.number, job.number, job.seed,
        Frames.from_rgb(np.stack(log.frames) if log.frames else np.zeros((0, *size), np.uint8)),
        np.stack(log.scenes) if log.scenes else np.zeros((0, curator.schema.size), np.float32),
        np.array(log.actions, np.uint8),
        np.stack(log.rams) if log.rams else np.zeros((0, 128), np.uint8),
        meta,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# The collecting process: `python -m data_flywheel.datasets.collection_worker FOLDER SYSTEM`, shard numbers on stdin.
#
# Answers each number with a line of JSON once the shard is safely on disk. Ends when stdin closes, so it cannot
# outlive a killed parent by more than one shard.


def main() -> int:
    """Make the shards that are asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints may speak into the protocol

    from data_flywheel.datasets.collection import Plan
    from data_flywheel.labelers.teacher import load_teacher
    from data_flywheel.storage.dataset import Dataset
    from envs.spec import load_spec

    dataset = Dataset(sys.argv[1])
    spec, teacher = load_spec(sys.argv[2]), load_teacher(sys.argv[2])
    record = dataset.manifest.extra["plan"]
    plan = Plan(record["frames"], tuple(record["players"]), record["shard_frames"])
    cores: dict[str, AtariCore] = {}
    for line in sys.stdin:
        try:
            shard = make_shard(spec, teacher, plan.job(int(line)), cores)
            dataset.write(shard)
        except Exception as error:  # told to the parent, which stops the collection
            answer = {"shard": int(line), "error": f"{type(error).__name__}: {error}"}
        else:
            answer = {"shard": shard.number, "frames": len(shard), **_figures(shard.meta)}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return 1
    return 0


def _figures(meta: dict[str, object]) -> dict[str, object]:
    return {name: meta[name] for name in ("checked", "refused", "situations")}


if __name__ == "__main__":
    sys.exit(main())
