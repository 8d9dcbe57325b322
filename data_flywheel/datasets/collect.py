"""`triune collect`: labelled frames from many games, made by several processes, resumable at any instant.

Knows the plan, the workers and the manifest. Does not know games, labels or training. The plan is fixed before
the start, so an interrupted and resumed collection has the same content hash as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_flywheel.datasets.plan import Plan
from data_flywheel.datasets.players import available
from data_flywheel.errors import DataError
from data_flywheel.labelers.ram.audit import audit
from data_flywheel.labelers.ram.catalogue import FILE, Catalogue
from data_flywheel.labelers.teachers import Teacher, load_teacher
from data_flywheel.storage.dataset import MANIFEST, Dataset, Manifest
from envs.spec import SystemSpec, load_spec

ROOT = Path(__file__).resolve().parents[2]
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
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "data_flywheel.datasets.collect_worker", str(folder), str(system)]
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    crew = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(number)
    ]
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
