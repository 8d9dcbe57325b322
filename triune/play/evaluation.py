"""Scores over seeds: figures, their intervals, and the run folder that keeps every episode."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_flywheel.episodes.episode import MADE_OF, TOLD, Episode
from data_flywheel.errors import DataError
from data_flywheel.storage.files import atomic_write
from envs import shape
from envs.env import SEEDS, backend, check_seed, simulated
from envs.files import read_file, read_json, stays
from envs.repeat import command_line, seeds_text
from envs.spec import called, load_spec
from triune.console import jsonable
from triune.errors import TriuneError, UsageError
from triune.play.drift import together
from triune.play.loop import DETECTORS
from triune.play.workers import Record, episode_record, play_seeds
from triune.version import __version__

if TYPE_CHECKING:
    from envs.spec import EnvSpec
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# Figures that summarise scores: mean, interquartile mean, bootstrap interval, worst decile.
#
# The bootstrap has a fixed seed, so the same scores always give the same interval.


RESAMPLES = 4000


def iqm(scores: Sequence[float]) -> float:
    """Mean of the middle half; with fewer than 4 scores, of all."""
    ordered = np.sort(np.asarray(scores, float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def worst_decile(scores: Sequence[float]) -> float:
    """Mean of the lowest tenth (at least one score)."""
    ordered = np.sort(np.asarray(scores, float))
    return float(ordered[: max(1, len(ordered) // 10)].mean())


def ci95(scores: Sequence[float]) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, 4000 resamples."""
    values = np.asarray(scores, float)
    picks = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def summary(scores: Sequence[float]) -> dict[str, Any]:
    """mean, iqm, ci95 [low, high], worst_decile; all None without scores, and no interval of a single one."""
    if not scores:
        return {"mean": None, "iqm": None, "ci95": None, "worst_decile": None}
    return {
        "mean": float(np.mean(scores)), "iqm": iqm(scores), "ci95": list(ci95(scores)) if len(scores) > 1 else None,
        "worst_decile": worst_decile(scores),
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# Scores over seeds: what an evaluation returns, and how episodes become figures.


Progress = Callable[[int, int, Record | None], None]  # episodes done, wanted, the last one


@dataclass
class Result:
    """An evaluation. `interventions` and `reasons` count steps; `ci95` is a bootstrap interval of the mean, None
    where there is but one game."""

    task: str
    protocol: str
    shift: str | None
    detector: str
    seeds: list[int]
    scores: list[int]
    mean: float | None = None
    iqm: float | None = None
    ci95: list[float] | None = None
    worst_decile: float | None = None
    frames: int = 0
    steps: int = 0
    frames_per_second: float | None = None
    seconds: float = 0.0
    workers: int = 1
    interventions: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    fault_texts: dict[str, int] = field(default_factory=dict)
    deadline_misses: int = 0
    unfinished: list[int] = field(default_factory=list)
    episodes: list[Record] = field(default_factory=list)
    run: str | None = None
    isolated: bool = False
    drift: dict[str, Any] = field(default_factory=dict)  # {} when nobody watched

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what saw is called "eyes" in files."""
        return {"eyes" if k == "detector" else k: v for k, v in asdict(self).items()}


def summarise(request: dict[str, Any], records: Sequence[Record], seconds: float, workers: int) -> Result:
    """The Result of finished episodes, in the order of their seeds."""
    records = sorted(records, key=lambda r: r["seed"])
    scores = [r["score"] for r in records]
    frames = sum(r["frames"] for r in records)

    def total(key: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for record in records:
            counts.update(record[key])
        return dict(counts.most_common())

    return Result(
        task=request["task"], protocol=request["protocol"], shift=request["shift"], detector=request["eyes"],
        seeds=[r["seed"] for r in records], scores=scores, **summary(scores), frames=frames,
        steps=sum(r["steps"] for r in records), frames_per_second=frames / seconds if seconds else None,
        seconds=round(seconds, 3), workers=workers, interventions=total("interventions"), reasons=total("reasons"),
        faults=sum(r["faults"] for r in records), fault_texts=total("fault_texts"),
        deadline_misses=sum(r["deadline_misses"] for r in records),
        unfinished=[r["seed"] for r in records if not r["finished"]], episodes=list(records),
        isolated=bool(request.get("isolate")), drift=together([r["drift"] for r in records if r.get("drift")]),
    )  # type: ignore[arg-type]  # fmt: skip


def make_request(
    system: System, protocol: str | None, seeds: Sequence[int], shift: str | None, detector: str, limit: int | None
) -> dict[str, Any]:
    """What is asked of an evaluation, as JSON values."""
    return {
        "task": system.name, "folder": str(system.folder.resolve()), "protocol": system.protocol(protocol).name,
        "shift": shift, "eyes": detector, "seeds": [int(s) for s in seeds], "limit": limit, "trust": system.trust,
        "isolate": system.isolated, "require_isolation": system.require_isolation,
        "policy": str(system.policy_path.resolve()) if system.policy_path != system.folder / "policy.py" else None,
    }  # fmt: skip


def evaluate(
    system: System, protocol: str | None = None, seeds: Iterable[int] = range(100, 110), shift: str | None = None,
    detector: str = "cnn", workers: int = 1, run: str | Path | None = None, limit: int | None = None,
    progress: Progress | None = None, record: dict[str, Any] | None = None,
) -> Result:  # fmt: skip
    """Play every seed and summarise. With a `run` folder every finished episode is kept; an existing one is continued.

    `limit` cuts episodes short after that many steps (for a quick look, never for a figure). `record`: where every
    game is recorded too, as `triune.play.recording` makes it.
    """
    seeds = [check_seed(seed) for seed in seeds]
    if not seeds:
        raise UsageError("no seeds to play; give some, such as --seeds 100:110")
    request = make_request(system, protocol, seeds, shift, detector, limit)
    folder = Run.open(run, request, system) if run else None
    records = folder.records() if folder else []
    done = {r["seed"] for r in records}
    todo = [s for s in dict.fromkeys(request["seeds"]) if s not in done]
    request |= {"record": record} if record else {}
    total, began = len(records) + len(todo), time.perf_counter()
    before = sum(r["seconds"] for r in records) / max(1, workers)
    for record in play_seeds(system, request, todo, workers, folder.episodes if folder else None):
        records.append(record)
        if progress:
            progress(len(records), total, record)
    result = summarise(request, records, time.perf_counter() - began + before, max(1, workers))
    if folder:
        result.run = str(folder.path)
        folder.finish(result)
    return result


# ----------------------------------------------------------------------------------------------------
# The folder of one evaluation: its request, every finished episode, the result.
#
# RUN/run.json what was asked, versions, hashes of what decided; RUN/episodes/SEED.npz one file per finished episode,
# written atomically; RUN/result.json once all are done.
#
# An interrupted run lacks episodes and the result, and is continued by opening it again. Figures are always made of the
# episodes of the seeds that were asked for: result.json is for other programs, and says here how long it took.


HOME = Path("runs")
_MOST = 1_000_000  # seeds of one run
_REQUEST = shape.table(
    {
        "task": shape.name, "folder": shape.text, "protocol": shape.name, "shift": shape.maybe(shape.text),
        "eyes": shape.one_of(*DETECTORS), "seeds": shape.each(shape.whole(0, SEEDS - 1), 1, _MOST),
        "limit": shape.maybe(shape.whole(1)),
    },
    {"policy": shape.maybe(shape.text), "isolate": shape.flag},
)  # fmt: skip
_RUN = shape.table({
    "request": _REQUEST, "hashes": shape.named(shape.maybe(shape.text)), "versions": shape.named(shape.text),
    "started": shape.number(0, 2e11),  # seconds; to the year 8307
})  # fmt: skip
_RESULT = shape.table({
    "seconds": shape.number(0), "workers": shape.whole(1), "frames_per_second": shape.maybe(shape.number(0)),
})  # fmt: skip
_MADE = shape.table(MADE_OF)
_PLAYED = shape.table({**MADE_OF, **TOLD})


@dataclass
class Run:
    """An evaluation's folder."""

    path: Path
    info: dict[str, Any]

    @property
    def episodes(self) -> Path:
        """Where episodes are kept."""
        return self.path / "episodes"

    @classmethod
    def open(cls, path: str | Path, request: dict[str, Any], system: System) -> Run:
        """Start a run, or continue one that asked the same with the same parts; TriuneError when it did not."""
        path, hashes = Path(path), hashes_of(system, request["eyes"])
        info = {"request": request, "hashes": hashes, "versions": versions(system.spec.env), "started": time.time()}
        if not os.path.lexists(path / "run.json"):
            with contextlib.suppress(FileExistsError):  # another began just now
                _readable(path / "run.json", info)
                _write(path / "run.json", info, new=True)
                return cls(path, info)
        run = cls.read(path)
        asked = run.info["request"]
        for key in ("task", "protocol", "shift", "eyes", "limit"):
            if asked[key] != request[key]:
                raise TriuneError(f"{path} holds a run with another {key}; name another folder")
        if set(asked["seeds"]) != set(request["seeds"]):
            have = seeds_text(sorted(set(asked["seeds"])))
            raise TriuneError(f"{path} holds a run of other seeds ({have:.60}); name another folder")
        changed = [k for k, v in hashes.items() if run.info["hashes"].get(k) != v]
        if changed:
            raise TriuneError(f"{path} was made with another {', '.join(changed)}; start a new run instead of resuming")
        return run

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """An existing run; TriuneError when the folder holds none."""
        path = Path(path)
        if not os.path.lexists(path / "run.json"):
            raise TriuneError(f"{path} holds no evaluation run (there is no run.json); see `triune eval`")
        stays(path / "episodes", path, TriuneError)
        info = read_json(path / "run.json", "run record", TriuneError, "make the run again", path, _RUN)
        return cls(path, info)

    def records(self) -> list[Record]:
        """The lines of the episodes that are done."""
        return list(map(episode_record, self))

    def __iter__(self) -> Iterator[Episode]:
        """The episodes that are done, by seed."""
        return map(self._load, self.files())

    def files(self) -> list[Path]:
        """Episode files of the seeds that were asked for, by seed."""
        asked = set(map(str, self.info["request"]["seeds"]))
        return sorted((p for p in self.episodes.glob("*.npz") if p.stem in asked), key=lambda p: int(p.stem))

    def episode(self, seed: int) -> Episode:
        """One recorded episode; TriuneError lists the seeds there are."""
        files = {int(path.stem): path for path in self.files()}
        if seed not in files:
            have = ", ".join(map(str, list(files)[:20])) or "none"
            raise TriuneError(f"{self.path} has no episode of seed {seed}; it has {have}")
        return self._load(files[seed])

    def _load(self, path: Path) -> Episode:
        """An episode that is what the run and its name say."""
        episode, request = load_played(path, _PLAYED), self.info["request"]
        wanted = {"seed": int(path.stem), **{key: request[key] for key in ("task", "protocol", "shift", "eyes")}}
        for key in ("policy", "safety", "schema", *(("weights",) if request["eyes"] == "cnn" else ())):
            wanted[key] = self.info["hashes"].get("eyes" if key == "weights" else key)
        for key, value in wanted.items():
            if episode.meta.get(key) != value:
                found = f"{episode.meta.get(key)!r:.40}"
                raise TriuneError(f"{path}: a game with {key} {found}, not {value!r:.40}; take it out")
        steps, finished, limit = len(episode), episode.meta["finished"], request["limit"]
        if finished and limit and steps > limit or not finished and steps != limit:
            cut = "whole" if finished else "cut"
            raise TriuneError(
                f"{path}: a {cut} game of {steps} steps, where the run has {limit or 'no'} limit; take it out"
            )
        return episode

    def finish(self, result: Result) -> None:
        """Write the result."""
        _write(self.path / "result.json", result.to_dict())

    def result(self) -> Result | None:
        """The figures of its episodes, or None while some are missing; TriuneError for a damaged result.json."""
        path = self.path / "result.json"
        if not os.path.lexists(path):
            return None
        fix = f"delete it, and make it again: {command_line('eval', 'TASK', resume=self.path)}"
        told = read_json(path, "run record", TriuneError, fix, shape=_RESULT)
        records = self.records()
        if len(records) < len(set(self.info["request"]["seeds"])):
            return None
        result = summarise(self.info["request"], records, told["seconds"], told["workers"])
        return replace(result, frames_per_second=told["frames_per_second"], run=str(self.path))


def hashes_of(system: System, eyes: str) -> dict[str, str | None]:
    """Of everything that decides a game: with other eyes than the detector's the teacher too."""
    teacher = system.folder / "teacher.py"
    if eyes == "cnn" or not teacher.is_file():
        return system.hashes()
    return system.hashes() | {"teacher": sha256(read_file(teacher, "teacher", TriuneError)).hexdigest()}


def new_folder(system: System, protocol: str, shift: str | None, detector: str) -> Path:
    """A new folder for a run, under runs/eval; it is made here, so that no other process has it."""
    parts = [system.name, protocol, *([shift] if shift else []), *([detector] if detector != "cnn" else [])]
    path = stem = HOME / "eval" / ("-".join(parts) + time.strftime("-%Y%m%d-%H%M%S"))
    for n in itertools.count(1):
        path = stem.with_name(f"{stem.name}.{n}") if n > 1 else stem
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    return path


def latest(folder: Path | None = None, unfinished: bool = False) -> Path:
    """The newest run that has played (of the task in `folder`, not of a copy; or still unfinished); TriuneError when
    there is none. Records that cannot be read are nobody's."""
    found = sorted((HOME / "eval").glob("*/run.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in found:
        try:
            run = Run.read(path.parent)
        except TriuneError:
            continue
        if folder and run.info["request"].get("folder") != str(folder.resolve()):
            continue
        if unfinished and (path.parent / "result.json").exists():
            continue
        if not unfinished and not run.records():  # never came to play
            continue
        return path.parent
    task = called(folder) if folder else "TASK"
    if folder and (folder / "system.toml").is_file() and not simulated(load_spec(folder.resolve()).env):
        raise TriuneError(
            f"{task} is seen by a camera and has no run of games: name a folder that `triune run FILE --record FOLDER`"
            " recorded (--episode FOLDER)"
        )
    what = f"{'unfinished ' if unfinished else ''}run{f' of {task}' if folder else ''}"
    raise TriuneError(f"there is no {what} under {HOME / 'eval'}; make one with `{command_line('eval', task)}`")


def versions(env: EnvSpec) -> dict[str, str]:
    """Versions of what decides a result in this environment."""
    from importlib import metadata

    found = {"triune": __version__, "python": platform.python_version()}
    for name in ("numpy", "onnxruntime", *backend(env.backend).packages.values(), "opencv-python"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _readable(path: Path, info: dict[str, Any]) -> None:
    """TriuneError where a record could not be read again, such as one with a folder that is called in no UTF-8."""
    try:
        _RUN(jsonable(info), "")
    except shape.Misfit as error:
        raise TriuneError(f"{path}: cannot be written ({error})") from None


def _write(path: Path, value: Any, new: bool = False) -> None:
    atomic_write(path, (json.dumps(jsonable(value), indent=1) + "\n").encode(), new)


def find_episode(system: System, wanted: str | None) -> tuple[Episode, str]:
    """An episode, and where it is: a file; the worst of a run's or recording's folder; a seed of the task's newest run
    (by default the worst there)."""
    seed = int(wanted) if wanted and wanted.isascii() and wanted.isdigit() and len(wanted) < 20 else None
    if seed is not None or wanted is None:
        run = Run.read(latest(system.folder))
        if seed is not None:
            return of_task(system, run.episode(seed), "it"), str(run.episodes / f"{seed}.npz")
        where, files = run.path, run.files()
    elif not os.path.isdir(wanted):
        return of_task(system, load_played(wanted), wanted), wanted
    else:
        where, files = Path(wanted), sorted((Path(wanted) / "episodes").glob("*.npz"))
    if not files:
        raise TriuneError(f"{where} holds no finished episode; name one with --episode FILE")
    worst = min(((load_played(file), file) for file in files), key=lambda found: found[0].meta.get("score") or 0)
    return of_task(system, worst[0], str(worst[1])), str(worst[1])


def load_played(path: str | Path, needs: shape.Check = _MADE) -> Episode:
    """An episode that says what made it; DataError where it does not, or not what it `needs`."""
    episode = Episode.load(path)
    try:
        needs(episode.meta, "")
    except shape.Misfit as error:
        raise DataError(f"{path}: no record of a game ({error}); play it again") from None
    return episode


def of_task(system: System, episode: Episode, where: str) -> Episode:
    """The episode; TriuneError unless it is one of this task, of its scenes and actions."""
    if episode.meta["task"] != system.name:
        raise TriuneError(f"{where} is an episode of {episode.meta['task']}, not of {system.name}")
    space, actions = system.spec.env.actions, episode.actions
    named = actions.dtype.kind != "f"
    if len(episode) and (actions.shape[1:] != space.shape or named != (not space.shape)):
        raise TriuneError(f"{where} has other actions than {system.name}; play it again")
    if len(episode) and episode.scenes.shape[1] != system.schema.size:
        raise TriuneError(f"{where} was recorded with another scene schema; play it again")
    return episode
