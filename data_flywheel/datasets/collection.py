"""`triune collect`: labelled frames from many games, made by several processes, resumable at any instant."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.agreement import audit
from data_flywheel.labelers.causal.masks import FILE, Catalogue
from data_flywheel.labelers.teacher import Teacher, Truth, load_teacher
from data_flywheel.storage.dataset import MANIFEST, Dataset, Manifest
from envs.actions import Action, Discrete
from envs.crew import crew
from envs.env import Rules, protocol_of, protocols_of
from envs.executor import WorkerError
from envs.files import read_file, read_text
from envs.spec import SystemSpec, load_spec
from envs.trust import vouched
from logic.errors import LogicError
from logic.language import CompiledProgram, compile_program
from logic.runtime.controller import Controller
from logic.runtime.engine import fast_controller, fast_tracker
from logic.runtime.logic import Logic
from logic.runtime.tracker import compile_tracker
from perception.scene import SceneSchema, ThingSpec

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
# Where no script knows the game: frames of whole games of the policy, from start to end, and of random play.
# Player, and whether it plays a whole game; rare states are poked into the others.
UNSCRIPTED = (("policy", True), ("random", False), ("policy", True), ("policy", True))
STATES = "states"  # nobody plays: every frame is of a state of its own, which the teacher drew
_STRIDE = 617  # coprime to the 1000 seeds: consecutive shards land in every split


@dataclass(frozen=True)
class Job:
    """One shard to make. `noise` is the chance per step that a scripted or policy player acts at random; `whole`: its
    frames are spread over one whole game."""

    number: int
    player: str
    poke: bool
    warmup: int
    protocol: str
    seed: int
    frames: int
    noise: float
    whole: bool = False


@dataclass(frozen=True)
class Plan:
    """A whole collection: who plays (STATES: nobody), under which protocols in turn, of which the task's own is first:
    whole games are played under that."""

    frames: int
    players: tuple[str, ...]
    protocols: tuple[str, ...]
    shard_frames: int = SHARD_FRAMES

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.frames // self.shard_frames)

    def job(self, number: int) -> Job:
        """What shard `number` holds. Players that are not there are replaced by the last one that is no policy."""
        player, poke, warmup = ROLES[number % len(ROLES)]
        whole = False
        if "policy" in self.players and "scripted" not in self.players:
            player, whole = UNSCRIPTED[number % len(UNSCRIPTED)]
            poke, warmup = not whole, 0
        if player not in self.players:
            player = [name for name in self.players if name != "policy"][-1]
        seed = number * _STRIDE % 1000
        protocol = self.protocols[0 if whole else number // len(ROLES) % len(self.protocols)]
        frames = min(self.shard_frames, self.frames - number * self.shard_frames)
        noise = (0.02, 0.1, 0.3)[number % 3]
        return Job(number, player, poke, warmup, protocol, seed, frames, noise, whole)

    def record(self) -> dict[str, Any]:
        """JSON form for the manifest."""
        return {**asdict(self), "players": list(self.players), "protocols": list(self.protocols)}

    @staticmethod
    def of(dataset: Dataset) -> Plan:
        """Back from the manifest of a collected data set."""
        record = dataset.manifest.extra["plan"]
        return Plan(**{**record, "players": tuple(record["players"]), "protocols": tuple(record["protocols"])})


# ----------------------------------------------------------------------------------------------------
# Who plays while data is collected: at random, by the teacher's script, or by the system's own policy.


PATIENT_MS = 1e6  # of a decision: nobody waits for it
# (truth, scene vector) -> action
Player = Callable[[Truth, NDArray[np.float32]], Action]


def available(spec: SystemSpec, teacher: Teacher) -> tuple[str, ...]:
    """The players this system has: STATES alone where the teacher draws states, else "random", "scripted" where the
    teacher has a script, "policy" where the folder has one that loads."""
    if teacher.spread:
        return (STATES,)
    players = ("random", "scripted") if teacher.scripted else ("random",)
    try:
        _compile(spec, teacher.schema, protocol_of(spec.env))
    except LogicError:
        return players
    return (*players, "policy")


def make_player(
    name: str, spec: SystemSpec, teacher: Teacher, protocol: Rules, rng: np.random.Generator, noise: float
) -> Player:
    """A player whose choices depend on `rng` and the game alone. A random act lasts a few steps."""
    actions, idle = spec.env.actions, spec.env.fallback
    if name == "policy":
        decide = _policy(spec, teacher, protocol)
    elif name == "scripted" and teacher.scripted:
        script = teacher.scripted

        def decide(truth: Truth, vector: NDArray[np.float32]) -> Action:
            return actions.check(script(truth, rng))

    else:
        name = "random"

    share = 1.0 if name == "random" else noise
    left, held = 0, idle  # steps of a random act

    def play(truth: Truth, vector: NDArray[np.float32]) -> Action:
        nonlocal left, held
        wanted = idle if name == "random" else decide(truth, vector)
        if left == 0 and rng.random() < share:
            left, held = int(rng.integers(1, 7)), actions.sample(rng)
        if left:
            left -= 1
            return held
        return wanted

    return play


def _compile(spec: SystemSpec, schema: SceneSchema, protocol: Rules) -> CompiledProgram:
    path = spec.folder / "policy.py"
    source = read_text(path, "policy", LogicError)
    known, actions = spec.constants(protocol), spec.env.actions
    if isinstance(actions, Discrete):
        known |= {name: i for i, name in enumerate(actions.names)}
    return compile_program(source, schema, known, name=path.name, actions=actions)


def _policy(spec: SystemSpec, teacher: Teacher, protocol: Rules) -> Player:
    """The folder's policy on the teacher's scenes, tracked as in play, without the task's safety rules: collecting may
    be reckless."""
    try:
        program = _compile(spec, teacher.schema, protocol)
    except LogicError as error:
        raise LogicError(f"cannot collect with {spec.folder / 'policy.py'}: {error}") from error
    schema, tracker = teacher.schema, fast_tracker(teacher.schema)
    logic = Logic(schema, spec.env.actions, spec.env.fallback, program, (), compile_tracker(schema))
    controller = fast_controller(Controller(logic, PATIENT_MS))

    def decide(truth: Truth, vector: NDArray[np.float32]) -> Action:
        return controller.decide(schema.glance(tracker.update(vector))).action

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
    """Names of the rare situations in a scene, such as "absent ball", "ball among bricks", "ball touches paddle": of
    things, which are boxes. Readings have no place in the picture."""
    found: list[str] = []
    boxes: list[Placed] = []
    for thing in schema.things:
        slots = [vector[schema.slot(thing.name, i)][:5].tolist() for i in range(thing.count)]
        if not any(slot[0] for slot in slots):
            found.append(f"absent {thing.name}")
        if thing.count > 1:
            found.append(f"{sum(slot[0] > 0 for slot in slots)} x {thing.name}")
        for _, x, y, w, h in (slot for slot in slots if slot[0]):
            box = (thing.name, x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            found += _of_box(schema, thing, box, boxes)
            boxes.append(box)
    return tuple(dict.fromkeys(found))


Placed = tuple[str, float, float, float, float]  # a thing's name; left, top, right, bottom


def _of_box(schema: SceneSchema, thing: ThingSpec, box: Placed, others: Sequence[Placed]) -> list[str]:
    """What is rare about one box among those before it."""
    found = []
    top, left, bottom, right = schema.crop
    w, h = box[3] - box[1], box[4] - box[2]
    if w < thing.size[0] or h < thing.size[1]:
        found.append(f"cut {thing.name}")
    margin = min(box[1] - left, right - box[3], box[2] - top, bottom - box[4])
    if thing.size[0] * thing.size[1] <= SMALL and margin < EDGE:
        found.append(f"edge {thing.name}")
    for grid in schema.grids:
        end_x, end_y = grid.left + grid.cols * grid.cell[0], grid.top + grid.rows * grid.cell[1]
        if _near(box, (grid.name, grid.left, grid.top, end_x, end_y)):
            found.append(f"{thing.name} among {grid.name}")
    return found + [f"{thing.name} touches {other[0]}" for other in others if _near(box, other)]


def _near(a: Placed, b: Placed) -> bool:
    """Whether two boxes are at most NEAR px apart."""
    return a[1] - b[3] <= NEAR and b[1] - a[3] <= NEAR and a[2] - b[4] <= NEAR and b[2] - a[4] <= NEAR


class Curator:
    """Decides frame by frame for one shard; its answers depend on the game and `rng` alone."""

    def __init__(self, schema: SceneSchema, wanted: int, rng: np.random.Generator) -> None:
        self.schema, self.wanted, self.rng = schema, wanted, rng
        self.kept = self._seen = 0
        self.counts: dict[str, int] = {}
        self._absent = dict[str, int]()  # of all frames that were looked at, those that lack a thing
        self._last: U8 | None = None
        self._since = 0

    def wants(self, vector: NDArray[np.float32], frame: U8, frameskip: int) -> bool:
        """Whether to keep this frame. At frameskip 1 at least two frames pass between two kept ones."""
        self._since += frameskip
        names = situations(self.schema, vector)
        self._seen += 1
        for name in (name for name in names if name.startswith("absent ")):
            self._absent[name] = self._absent.get(name, 0) + 1
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
        """Enough frames lack the same thing. One that is seldom there may be lacking where another is seen."""
        cap, absent = max(1, int(self.wanted * ABSENT_SHARE)), [name for name in names if name.startswith("absent ")]
        bare = len(absent) == len(self.schema.things)
        full = [name for name in absent if self.counts.get(name, 0) >= cap]
        return any(bare or 2 * self._absent[name] <= self._seen for name in full)


# ----------------------------------------------------------------------------------------------------
# `triune collect`: labelled frames from many games, made by several processes, resumable at any instant.
#
# The plan is fixed before the start, so an interrupted and resumed collection has the same content hash as an
# uninterrupted one.


_WORKER = "data_flywheel.datasets.collection_worker:"
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
    progress: called now and then.
    audit_frames: how many fresh frames to compare with causal masks at the end, if `triune discover` left a catalogue.
    """
    spec = system if isinstance(system, SystemSpec) else load_spec(system)
    if frames < 1 or workers < 1:
        raise DataError(f"collect needs at least 1 frame and 1 worker, got {frames} and {workers}")
    dataset = _open(spec, load_teacher(spec.folder), Path(out_dir), frames, resume)
    report, plan = CollectReport(str(out_dir), shards=dataset.manifest.shards), Plan.of(dataset)
    began, missing = time.monotonic(), dataset.missing()
    done = frames - sum(plan.job(number).frames for number in missing)
    data = {"data": str(dataset.folder), "manifest": str(dataset.folder / MANIFEST)}
    job = {**data, "system": str(spec.folder), "trusted": vouched(spec.env.id)}
    makers = crew(_WORKER + "shards", workers, _WORKER + "explain", ("manifest", "system"), "data")
    try:
        for answer in makers.map(job, missing):
            report.count(answer)
            done += plan.job(answer["shard"]).frames
            if progress:
                progress(done, frames, time.monotonic() - began)
    except WorkerError as error:
        where = "" if error.item is None or error.died else f"shard {error.item}: "
        raise DataError(f"{where}{error}" + ("; run again to resume" if error.died else "")) from None
    report.seconds = time.monotonic() - began
    if audit_frames and (spec.folder / FILE).is_file():
        report.audit = audit(spec, Catalogue.load(spec.folder / FILE), audit_frames).record()
    return _finish(dataset, report)


def _open(spec: SystemSpec, teacher: Teacher, folder: Path, frames: int, resume: bool) -> Dataset:
    """The data set to fill: a new one, or the one there if it follows the same plan."""
    own = protocol_of(spec.env).name
    plan = Plan(frames, available(spec, teacher), tuple(sorted(protocols_of(spec.env), key=lambda name: name != own)))
    policy = spec.folder / "policy.py"
    digest = hashlib.sha256(read_file(policy, "policy", DataError)).hexdigest() if policy.is_file() else ""
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
