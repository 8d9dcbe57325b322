"""`triune collect`: labelled frames from many games, made by several processes, resumable at any instant."""

from __future__ import annotations

import hashlib
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labelers.ram.agreement import audit
from data_flywheel.labelers.ram.causal import FILE, Catalogue
from data_flywheel.labelers.teacher import Teacher, load_teacher
from data_flywheel.storage.dataset import MANIFEST, Dataset, Manifest
from envs.backends.atari_protocols import Protocol, get_protocol
from envs.process import start
from envs.spec import SystemSpec, load_spec
from logic.errors import LogicError
from logic.language import CompiledProgram, compile_program
from perception.scene import SceneSchema

# ----------------------------------------------------------------------------------------------------
# What a collection will contain, decided before it starts: shard number -> player, protocol, seed, length.


SHARD_FRAMES = 100
# Player, whether rare states are poked in, and how many agent steps it may play before recording starts.
ROLES = (
    ("scripted", True, 0),
    ("policy", False, 1500),
    ("scripted", False, 800),
    ("random", True, 0),
    ("scripted", True, 200),
    ("policy", True, 0),
    ("scripted", False, 0),
    ("random", False, 0),
)
PROTOCOLS = ("seed-sticky", "sticky", "classic")
_STRIDE = 617  # coprime to the 1000 seeds: consecutive shards land in every split


@dataclass(frozen=True)
class Job:
    """One shard to make. `noise` is the chance per step that a scripted or policy player acts at random."""

    number: int
    player: str
    poke: bool
    warmup: int
    protocol: str
    seed: int
    frames: int
    noise: float


@dataclass(frozen=True)
class Plan:
    """A whole collection."""

    frames: int
    players: tuple[str, ...]
    shard_frames: int = SHARD_FRAMES

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.frames // self.shard_frames)

    def job(self, number: int) -> Job:
        """What shard `number` holds. Players that are not there are replaced by the scripted one."""
        player, poke, warmup = ROLES[number % len(ROLES)]
        player = player if player in self.players else "scripted"
        seed = number * _STRIDE % 1000
        protocol = PROTOCOLS[number // len(ROLES) % len(PROTOCOLS)]
        frames = min(self.shard_frames, self.frames - number * self.shard_frames)
        return Job(number, player, poke, warmup, protocol, seed, frames, (0.02, 0.1, 0.3)[number % 3])

    def record(self) -> dict[str, Any]:
        """JSON form for the manifest."""
        return {**asdict(self), "players": list(self.players)}


# ----------------------------------------------------------------------------------------------------
# Who plays while data is collected: at random, by the teacher's script, or by the system's own policy.


# (ram, scene vector) -> action
Player = Callable[[NDArray[np.uint8], NDArray[np.float32]], int]


def available(spec: SystemSpec) -> tuple[str, ...]:
    """The players this system has: "policy" only where the folder has one that loads."""
    try:
        _compile(spec, SceneSchema.from_config(spec.scene), get_protocol("sticky"))
    except LogicError:
        return ("random", "scripted")
    return ("random", "scripted", "policy")


def make_player(
    name: str, spec: SystemSpec, teacher: Teacher, protocol: Protocol, rng: np.random.Generator, noise: float
) -> Player:
    """A player whose choices depend on `rng` and the game alone. A random act lasts a few steps."""
    n_actions = len(spec.env.actions.names)
    if name == "policy":
        decide = _policy(spec, teacher, protocol)
    else:

        def decide(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
            return teacher.scripted(ram, rng)

    share = 1.0 if name == "random" else noise
    holding = [0, 0]  # steps left, action

    def play(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
        wanted = 0 if name == "random" else decide(ram, vector)
        if holding[0] == 0 and rng.random() < share:
            holding[:] = int(rng.integers(1, 7)), int(rng.integers(n_actions))
        if holding[0]:
            holding[0] -= 1
            return holding[1]
        return wanted

    return play


def _compile(spec: SystemSpec, schema: SceneSchema, protocol: Protocol) -> CompiledProgram:
    path = spec.folder / "policy.py"
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogicError(f"cannot read {path}: {error}") from error
    actions = {name: i for i, name in enumerate(spec.env.actions.names)}
    return compile_program(source, schema, {**spec.constants(protocol), **actions}, name=path.name)


def _policy(spec: SystemSpec, teacher: Teacher, protocol: Protocol) -> Player:
    """The folder's policy on the teacher's scenes, without safety rules: collecting may be reckless."""
    try:
        program = _compile(spec, teacher.schema, protocol)
    except LogicError as error:
        raise LogicError(f"cannot collect with {spec.folder / 'policy.py'}: {error}") from error
    memory, fallback = program.start(), int(spec.env.fallback)

    def decide(ram: NDArray[np.uint8], vector: NDArray[np.float32]) -> int:
        try:
            return int(program.act(teacher.schema.read(vector), memory)[0])
        except Exception:  # a fault: generated code leaves memory as it was
            return fallback

    return decide


# ----------------------------------------------------------------------------------------------------
# Which frames of a game are worth keeping: rare situations always, ordinary ones seldom, repeats never.


U8 = NDArray[np.uint8]
NEAR = 4.0  # px between boxes that still counts as touching
EDGE = 8.0  # px from the edge of the crop, which holds a rim of border
SMALL = 16.0  # px^2: larger things are at the edge too often for that to be rare
KEEP_COMMON = 0.25
RARE_SHARE = 0.2  # a situation that fills this share of a shard is rare no longer
ABSENT_SHARE = 0.2  # at most this share of a shard may lack the same thing
PATIENCE = 40  # agent steps per wanted frame before a shard is closed short


def situations(schema: SceneSchema, vector: NDArray[np.float32]) -> tuple[str, ...]:
    """Names of the rare situations in a scene, such as "absent ball", "ball among bricks", "ball touches paddle"."""
    found: list[str] = []
    boxes: list[tuple[str, float, float, float, float]] = []
    top, left, bottom, right = schema.crop
    for thing in schema.things:
        seen, x, y, w, h = vector[schema.slot(thing.name)][:5].tolist()
        if not seen:
            found.append(f"absent {thing.name}")
            continue
        box = (thing.name, x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        if w < thing.size[0] or h < thing.size[1]:
            found.append(f"cut {thing.name}")
        margin = min(box[1] - left, right - box[3], box[2] - top, bottom - box[4])
        if thing.size[0] * thing.size[1] <= SMALL and margin < EDGE:
            found.append(f"edge {thing.name}")
        for grid in schema.grids:
            end_x, end_y = grid.left + grid.cols * grid.cell[0], grid.top + grid.rows * grid.cell[1]
            if _near(box, (grid.name, grid.left, grid.top, end_x, end_y)):
                found.append(f"{thing.name} among {grid.name}")
        found += [f"{thing.name} touches {other[0]}" for other in boxes if _near(box, other)]
        boxes.append(box)
    return tuple(found)


def _near(a: tuple[str, float, float, float, float], b: tuple[str, float, float, float, float]) -> bool:
    """Whether two boxes are at most NEAR px apart."""
    return a[1] - b[3] <= NEAR and b[1] - a[3] <= NEAR and a[2] - b[4] <= NEAR and b[2] - a[4] <= NEAR


class Curator:
    """Decides frame by frame for one shard; its answers depend on the game and `rng` alone."""

    def __init__(self, schema: SceneSchema, wanted: int, rng: np.random.Generator) -> None:
        self.schema, self.wanted, self.rng = schema, wanted, rng
        self.kept = 0
        self.counts: dict[str, int] = {}
        self._last: U8 | None = None
        self._since = 0

    def wants(self, vector: NDArray[np.float32], frame: U8, frameskip: int) -> bool:
        """Whether to keep this frame. At frameskip 1 at least two frames pass between two kept ones."""
        self._since += frameskip
        names = situations(self.schema, vector)
        if self._since < 3 or self._too_many(names):
            return False
        rare = any(self.counts.get(name, 0) < RARE_SHARE * self.wanted for name in names)
        if self.rng.random() >= (1.0 if rare else KEEP_COMMON):
            return False
        top, left, bottom, right = self.schema.crop
        crop = frame[top:bottom, left:right]
        if self._last is not None and np.array_equal(self._last, crop):
            return False
        self._last, self._since = crop.copy(), 0
        self.kept += 1
        for name in names or ("common",):
            self.counts[name] = self.counts.get(name, 0) + 1
        return True

    def _too_many(self, names: tuple[str, ...]) -> bool:
        cap = max(1, int(self.wanted * ABSENT_SHARE))
        return any(name.startswith("absent ") and self.counts.get(name, 0) >= cap for name in names)


# ----------------------------------------------------------------------------------------------------
# `triune collect`: labelled frames from many games, made by several processes, resumable at any instant.
#
# The plan is fixed before the start, so an interrupted and resumed collection has the same content hash as an
# uninterrupted one.


Progress = Callable[[int, int, float], None]  # frames done, frames wanted, seconds


@dataclass
class CollectReport:
    """What a collection did. `refused`: frames left out because their label did not account for the picture."""

    folder: str
    frames: int = 0
    shards: int = 0
    made: int = 0
    seconds: float = 0.0
    checked: int = 0
    refused: int = 0
    situations: dict[str, int] = field(default_factory=dict)
    hash: str = ""
    audit: dict[str, Any] | None = None  # agreement with causal masks, where the task has a catalogue

    def count(self, answer: dict[str, Any]) -> None:
        """Add one worker's answer."""
        self.frames += answer["frames"]
        self.made += 1
        self.checked += answer["checked"]
        self.refused += answer["refused"]
        for name, number in answer["situations"].items():
            self.situations[name] = self.situations.get(name, 0) + number


def collect(
    system: str | Path | SystemSpec, out_dir: str | Path, frames: int = 20_000, workers: int = 2,
    resume: bool = True, progress: Progress | None = None, audit_frames: int = 100,
) -> CollectReport:  # fmt: skip
    """Fill `out_dir` with `frames` labelled frames. DataError: another plan's data there, a worker failed.

    resume: keep the shards that are there and make the missing ones; False refuses a folder that has shards.
    progress: called now and then; default a bar on stderr when that is a terminal.
    audit_frames: how many fresh frames to compare with causal masks at the end, if `triune discover` left a catalogue.
    """
    spec = system if isinstance(system, SystemSpec) else load_spec(system)
    if frames < 1 or workers < 1:
        raise DataError(f"collect needs at least 1 frame and 1 worker, got {frames} and {workers}")
    dataset = _open(spec, load_teacher(spec.folder), Path(out_dir), frames, resume)
    report = CollectReport(str(out_dir), shards=dataset.manifest.shards)
    began, missing = time.monotonic(), dataset.missing()
    todo = iter(missing)
    show = progress or _bar()
    done = frames - sum(_planned(dataset, number) for number in missing)
    with _workers(dataset.folder, spec.folder, min(workers, max(1, len(missing)))) as crew:
        for answer in _serve(crew, todo):
            report.count(answer)
            done += _planned(dataset, answer["shard"])
            show(done, frames, time.monotonic() - began)
    report.seconds = time.monotonic() - began
    if audit_frames and (spec.folder / FILE).is_file():
        report.audit = audit(spec, Catalogue.load(spec.folder / FILE), audit_frames).record()
    return _finish(dataset, report)


def _plan(dataset: Dataset) -> Plan:
    record = dataset.manifest.extra["plan"]
    return Plan(record["frames"], tuple(record["players"]), record["shard_frames"])


def _planned(dataset: Dataset, number: int) -> int:
    return _plan(dataset).job(number).frames


def _open(spec: SystemSpec, teacher: Teacher, folder: Path, frames: int, resume: bool) -> Dataset:
    """The data set to fill: a new one, or the one there if it follows the same plan."""
    plan = Plan(frames, available(spec))
    policy = spec.folder / "policy.py"
    digest = hashlib.sha256(policy.read_bytes()).hexdigest() if policy.is_file() else ""
    wanted = Manifest(
        spec.name, teacher.schema.to_config(), teacher.schema.fingerprint, teacher.digest, _version(), plan.shards,
        {"plan": plan.record(), "policy": digest},
    )  # fmt: skip
    if not (folder / MANIFEST).exists():
        return Dataset.create(folder, wanted)
    there = Dataset(folder)
    if not resume and there.numbers():
        raise DataError(f"{folder} has {len(there.numbers())} shards already; resume, or name another folder")
    for name in ("task", "fingerprint", "teacher", "triune", "shards"):
        _same(folder, name, getattr(there.manifest, name), getattr(wanted, name))
    _same(folder, "plan", there.manifest.extra.get("plan"), wanted.extra["plan"])
    if len(there.numbers()) < wanted.shards:  # a finished set is what it is; half a set must not mix two policies
        _same(folder, "policy", there.manifest.extra.get("policy"), digest)
    return there


def _same(folder: Path, name: str, there: object, wanted: object) -> None:
    if there != wanted:
        what = f"another {name} ({there!r}, now {wanted!r})"
        raise DataError(f"{folder} was collected with {what}; remove it or name another folder")


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("triune")
    except metadata.PackageNotFoundError:
        return "0"


@contextmanager
def _workers(folder: Path, system: Path, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the collecting processes; at the end (or on an error) close their stdin and wait."""
    command = ("data_flywheel.datasets.collection_worker", str(folder), str(system))
    crew = [start(*command, variables={"OMP_NUM_THREADS": "1"}, text=True) for _ in range(number)]
    try:
        yield crew
    finally:
        for worker in crew:
            assert worker.stdin
            with suppress(BrokenPipeError):
                worker.stdin.close()
        for worker in crew:
            worker.wait()
            assert worker.stdout
            worker.stdout.close()


def _serve(crew: list[subprocess.Popen[str]], todo: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Hand out shard numbers, one at a time to each worker, and yield the answers as they come."""
    with selectors.DefaultSelector() as selector:
        for worker in crew:
            if _hand(worker, todo):
                assert worker.stdout
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
        while selector.get_map():
            for key, _ in selector.select():
                worker = key.data
                line = worker.stdout.readline()
                if not line:
                    raise DataError(f"a collecting process died (exit code {worker.wait()}); run again to resume")
                answer = json.loads(line)
                if "error" in answer:
                    raise DataError(f"shard {answer['shard']}: {answer['error']}")
                yield answer
                if not _hand(worker, todo):
                    selector.unregister(key.fileobj)


def _hand(worker: subprocess.Popen[str], todo: Iterator[int]) -> bool:
    """Give the worker its next shard; False when none is left."""
    number = next(todo, None)
    if number is None:
        return False
    assert worker.stdin
    try:
        print(number, file=worker.stdin, flush=True)
    except BrokenPipeError:
        raise DataError(f"a collecting process died (exit code {worker.wait()}); run again to resume") from None
    return True


def _finish(dataset: Dataset, report: CollectReport) -> CollectReport:
    """Verify what is there and remember the figures of the whole data set in the manifest."""
    totals = CollectReport(report.folder, shards=report.shards, made=report.made, seconds=report.seconds)
    checked = dataset.check()
    for shard in dataset:
        totals.count({"frames": len(shard), **shard.meta})
    totals.made, totals.hash, totals.audit = report.made, checked["hash"], report.audit
    figures = {name: checked[name] for name in ("frames", "episodes", "hash")}
    figures |= {name: getattr(totals, name) for name in ("checked", "refused", "situations", "audit")}
    manifest = dataset.manifest
    Dataset.create(dataset.folder, Manifest(**{**vars(manifest), "extra": {**manifest.extra, "figures": figures}}))
    return totals


def _bar() -> Progress:
    """A progress bar on stderr; silent when that is not a terminal."""

    def show(done: int, wanted: int, seconds: float) -> None:
        if not sys.stderr.isatty():
            return
        filled = 30 * done // wanted
        end = "\n" if done >= wanted else ""
        text = f"\rcollect [{'#' * filled}{'.' * (30 - filled)}] {done}/{wanted} frames, {seconds:.0f} s"
        print(text, end=end, file=sys.stderr, flush=True)

    return show
