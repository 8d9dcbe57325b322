"""What a collecting process does: it makes one planned shard after another, labelled, checked, curated frames.

The same job gives the same bytes on every run. Frames whose label does not account for the picture are counted and
left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.collection import PATIENCE, STATES, Curator, Job, Plan, make_player, situations
from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import Teacher, Truth, load_teacher
from data_flywheel.storage.dataset import Dataset, Shard
from data_flywheel.storage.frames import Frames
from envs.actions import Action
from envs.env import Simulator, protocol_of, simulator
from envs.errors import EnvError
from envs.spec import EnvSpec, SystemSpec, load_spec
from envs.trust import vouch

U8 = NDArray[np.uint8]
SALT = 0x7A6F6F
MOST_STEPS = 10_000  # agent steps of a whole game
OF_EACH = 5  # frames of a whole game that are kept of each situation
Simulators = dict[str, Simulator]  # by protocol


@dataclass
class _Log:
    """What a shard gathers."""

    frames: list[U8] = field(default_factory=list)
    scenes: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    situations: dict[str, int] = field(default_factory=dict)
    checked: int = 0
    refused: int = 0

    def consider(
        self, teacher: Teacher, truth: Truth, window: list[U8], vector: NDArray[np.float32], action: Action
    ) -> bool:
        """Keep the current frame if its label accounts for it."""
        self.checked += 1
        if teacher.unexplained(truth, window[-1], vector):
            self.refused += 1
            return False
        self.frames.append(np.maximum.reduce(window) if len(window) > 1 else window[-1])
        self.scenes.append(vector)
        self.actions.append(action)
        self.truths.append({name: np.array(value) for name, value in truth.items()})
        return True

    def shard(self, env: EnvSpec, size: int, job: Job) -> Shard:
        meta = {**asdict(job), "checked": self.checked, "refused": self.refused, "situations": self.situations}
        return Shard(
            job.number, job.number, job.seed,
            Frames.from_rgb(np.stack(self.frames) if self.frames else np.zeros((0, *env.shape), np.uint8)),
            np.stack(self.scenes) if self.scenes else np.zeros((0, size), np.float32),
            np.array(self.actions, env.actions.dtype).reshape(-1, *env.actions.shape),
            columns(self.truths), meta,
        )  # fmt: skip


def columns(truths: list[Truth]) -> Mapping[str, NDArray[Any]]:
    """By name, [N, ...]: what the simulator told beside every one of N frames."""
    names = [name for name in truths[0] if all(name in truth for truth in truths)] if truths else []
    return {name: np.stack([truth[name] for truth in truths]) for name in names}


def make_shard(spec: SystemSpec, teacher: Teacher, job: Job, simulators: Simulators | None = None) -> Shard:
    """Play (or write states) and label. May hold fewer frames than planned when there is too little that is new.

    simulators: kept by the caller between shards, because starting one can take as long as 1000 frames.
    """
    kept = {} if simulators is None else simulators
    if job.protocol not in kept:
        kept[job.protocol] = simulator(spec.env, protocol_of(spec.env, job.protocol))
    rng = np.random.default_rng([SALT, job.number, job.seed])
    make = _states if job.player == STATES else _whole if job.whole else _played
    log = make(spec, teacher, job, kept[job.protocol], rng)
    return log.shard(spec.env, teacher.schema.size, job)


def _played(spec: SystemSpec, teacher: Teacher, job: Job, world: Simulator, rng: np.random.Generator) -> _Log:
    """An episode (again from its start when it is over), with rare states written into it if the job says so."""
    rules = protocol_of(spec.env, job.protocol)
    frame, truth = _started(world, job.seed)
    vector = teacher.label(truth, frame)
    player = make_player(job.player, spec, teacher, rules, rng, job.noise)
    curator, log = Curator(teacher.schema, job.frames, rng), _Log()
    warmup = int(rng.integers(job.warmup + 1))
    next_poke = warmup + 1
    window = [frame]
    for step in range(warmup + PATIENCE * job.frames):
        if step == next_poke and job.poke and teacher.poke:
            _write(world, teacher.poke(truth, rng))
            next_poke += int(rng.integers(4, 28)) // rules.frames_per_step + 2
        action = player(truth, vector)
        world.advance(action)
        frame, truth = _started(world, job.seed) if world.done else (world.frame(), world.truth())
        vector = teacher.label(truth, frame)
        window = [*window, frame][-teacher.schema.window :]
        wanted = step >= warmup and curator.wants(vector, frame, rules.frames_per_step)
        if wanted and not log.consider(teacher, truth, window, vector, action):
            curator.kept -= 1
        if curator.kept >= job.frames:
            break
    log.situations = curator.counts
    return log


def _whole(spec: SystemSpec, teacher: Teacher, job: Job, world: Simulator, rng: np.random.Generator) -> _Log:
    """Frames of one whole game, half of them at equal distances, half in its rarest situations.

    Nobody knows how long the game will be: of twice as many equally spaced frames as are wanted every other one goes
    when there are too many. Of each situation a few frames are kept that lie anywhere in the game.
    """
    rules, draws = protocol_of(spec.env, job.protocol), np.random.default_rng([SALT, job.number])
    frame, truth = _started(world, job.seed)
    vector = teacher.label(truth, frame)
    player = make_player(job.player, spec, teacher, rules, rng, job.noise)
    even, rare, often = dict[int, _Kept](), dict[str, dict[int, _Kept]](), Counter[str]()
    apart, window = 1, [frame]
    for step in range(MOST_STEPS):
        action = player(truth, vector)
        world.advance(action)
        if world.done:
            break
        frame, truth = world.frame(), world.truth()
        vector = teacher.label(truth, frame)
        window = [*window, frame][-teacher.schema.window :]
        one = _Kept(truth, window, vector, action, situations(teacher.schema, vector))
        if step % apart == 0:
            even[step] = one
        if len(even) > 2 * job.frames:
            apart *= 2
            even = {at: there for at, there in even.items() if at % apart == 0}
        for name in one.names:
            often[name] += 1
            few = rare.setdefault(name, {})
            if len(few) >= OF_EACH and draws.random() < OF_EACH / often[name]:
                del few[list(few)[int(draws.integers(OF_EACH))]]
            if len(few) < OF_EACH:
                few[step] = one
    log = _Log()
    chosen = _chosen(even, [rare[name] for name in sorted(rare, key=lambda name: (often[name], name))], job.frames)
    for _, one in sorted(chosen.items()):
        if log.consider(teacher, one.truth, one.window, one.vector, one.action):
            for name in one.names or ("common",):
                log.situations[name] = log.situations.get(name, 0) + 1
    return log


@dataclass(frozen=True)
class _Kept:
    """A frame of a whole game that may be wanted."""

    truth: Truth
    window: list[U8]
    vector: NDArray[np.float32]
    action: Action
    names: tuple[str, ...]


def _chosen(even: dict[int, _Kept], rare: list[dict[int, _Kept]], wanted: int) -> dict[int, _Kept]:
    """By step: the rarest until half are there, then of the even ones those that are most evenly apart."""
    chosen: dict[int, _Kept] = {}
    for few in rare:
        if len(chosen | few) > wanted // 2:
            break
        chosen |= few
    rest = [step for step in even if step not in chosen]
    for i in np.unique(np.linspace(0, len(rest) - 1, min(len(rest), wanted - len(chosen))).round().astype(int)):
        chosen[rest[i]] = even[rest[i]]
    return chosen


def _states(spec: SystemSpec, teacher: Teacher, job: Job, world: Simulator, rng: np.random.Generator) -> _Log:
    """Frames of states that have nothing to do with each other. Every one is rare, so none is left out."""
    log = _Log()
    if teacher.spread is None:
        raise DataError(f"{spec.folder / 'teacher.py'}: missing spread(rng), which draws the states to write")
    _started(world, job.seed)
    for _ in range(PATIENCE * job.frames):
        _write(world, teacher.spread(rng))
        frame, truth = world.frame(), world.truth()
        vector = teacher.label(truth, frame)
        if log.consider(teacher, truth, [frame], vector, spec.env.fallback):
            for name in situations(teacher.schema, vector) or ("common",):
                log.situations[name] = log.situations.get(name, 0) + 1
        if len(log.frames) >= job.frames:
            break
    return log


def _started(world: Simulator, seed: int) -> tuple[U8, Truth]:
    world.reset(seed)
    return world.frame(), world.truth()


def _write(world: Simulator, values: Mapping[str, Any]) -> None:
    write = getattr(world, "write", None)
    if write is None:
        raise EnvError("this backend cannot be written to; its simulator needs write(values), or the teacher no poke")
    write(values)


@contextmanager
def shards(job: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """The work of a child (`envs.executor`): a shard's number to its figures, once the shard is safely on disk."""
    dataset = Dataset(job["data"], job["manifest"])
    spec, teacher, plan = load_spec(job["system"]), load_teacher(job["system"]), Plan.of(dataset)
    if job["trusted"]:
        vouch(spec.env.id)
    simulators: Simulators = {}

    def make(number: int) -> dict[str, Any]:
        shard = make_shard(spec, teacher, plan.job(number), simulators)
        dataset.write(shard)
        figures = {name: shard.meta[name] for name in ("checked", "refused", "situations")}
        return {"shard": number, "frames": len(shard), **figures}

    yield make


def explain(error: Exception) -> str | None:
    """The sentence for an error that names its own fix; a bug, in a teacher or here, deserves its traceback."""
    return f"{type(error).__name__}: {error}" if isinstance(error, (DataError, EnvError)) else None
