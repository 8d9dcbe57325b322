"""The folder of one evaluation: its request, every finished episode, the result.

    RUN/run.json            what was asked, versions, hashes of what decided
    RUN/episodes/SEED.npz   one file per finished episode, written atomically
    RUN/result.json         once all are done

Knows files only. An interrupted run lacks episodes and the result, and is continued by opening it again.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.container import atomic_write
from triune import __version__
from triune.console import jsonable
from triune.errors import TriuneError
from triune.play.evaluate import Record, Result, episode_record

if TYPE_CHECKING:
    from triune.system import System

HOME = Path("runs")


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
        path = Path(path)
        if not (path / "run.json").is_file():
            info = {"request": request, "hashes": system.hashes(), "versions": versions(), "started": time.time()}
            _write(path / "run.json", info)
            return cls(path, info)
        run = cls.read(path)
        for key in ("task", "protocol", "shift", "eyes", "limit"):
            if run.info["request"].get(key) != request[key]:
                raise TriuneError(f"{path} holds a run with another {key}; name another folder")
        changed = [k for k, v in system.hashes().items() if run.info["hashes"].get(k) != v]
        if changed:
            raise TriuneError(f"{path} was made with another {', '.join(changed)}; start a new run instead of resuming")
        return run

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """An existing run; TriuneError when the folder holds none."""
        path = Path(path)
        try:
            info = json.loads((path / "run.json").read_text())
            return cls(path, {**info, "request": dict(info["request"])})
        except (OSError, ValueError, KeyError, TypeError):
            raise TriuneError(
                f"{path} holds no evaluation run (run.json is missing or damaged); see `triune eval`"
            ) from None

    def records(self) -> list[Record]:
        """The lines of the episodes that are done."""
        return [episode_record(Episode.load(p)) for p in self.files()]

    def files(self) -> list[Path]:
        """Episode files, by seed."""
        return sorted(self.episodes.glob("*.npz"), key=lambda p: int(p.stem))

    def episode(self, seed: int) -> Episode:
        """One recorded episode; TriuneError lists the seeds there are."""
        path = self.episodes / f"{seed}.npz"
        if not path.is_file():
            have = ", ".join(p.stem for p in self.files()[:20]) or "none"
            raise TriuneError(f"{self.path} has no episode of seed {seed}; it has {have}")
        return Episode.load(path)

    def finish(self, result: Result) -> None:
        """Write the result."""
        _write(self.path / "result.json", result.to_dict())

    def result(self) -> Result | None:
        """The result, or None while episodes are missing."""
        try:
            return Result(**json.loads((self.path / "result.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None


def new_folder(task: str, protocol: str, shift: str | None, eyes: str) -> Path:
    """A name for a new run under runs/eval."""
    parts = [task, protocol, *([shift] if shift else []), *([eyes] if eyes != "cnn" else [])]
    stem = "-".join(parts) + time.strftime("-%Y%m%d-%H%M%S")
    path, n = HOME / "eval" / stem, 1
    while path.exists():
        path, n = HOME / "eval" / f"{stem}.{n}", n + 1
    return path


def latest(task: str | None = None, unfinished: bool = False) -> Path:
    """The newest run (of a task, still unfinished); TriuneError when there is none."""
    found = sorted((HOME / "eval").glob("*/run.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in found:
        run = Run.read(path.parent)
        if task and run.info["request"]["task"] != task:
            continue
        if unfinished and (path.parent / "result.json").exists():
            continue
        return path.parent
    what = f"{'unfinished ' if unfinished else ''}run{f' of {task}' if task else ''}"
    raise TriuneError(f"there is no {what} under {HOME / 'eval'}; make one with `triune eval {task or 'TASK'}`")


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    from importlib import metadata

    found = {"triune": __version__, "python": platform.python_version()}
    for name in ("numpy", "onnxruntime", "ale-py", "opencv-python"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write(path: Path, value: Any) -> None:
    atomic_write(path, (json.dumps(jsonable(value), indent=1) + "\n").encode())
