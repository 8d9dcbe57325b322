"""What a run keeps beside its events (large texts by their hash), and the task's folder as the events say it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import atomic_write
from envs import shape
from envs.files import loads, read_file, read_text, stays
from supervisor.errors import SupervisorError
from supervisor.loop.state import State, Trial
from supervisor.protocols import Image, Request, Section

# ----------------------------------------------------------------------------------------------------
# Large texts and pictures of a run, each in a file named by the sha256 of its content.


_SHA = re.compile(r"[0-9a-f]{64}\Z")


class Blobs:
    """A folder of contents. `put` what is there already writes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Keep `data`; its sha256 hex. Once this returns it is on disk for good."""
        name = hashlib.sha256(data).hexdigest()
        path = self.folder / name
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        return name

    def get(self, name: str) -> bytes:
        """The content called `name`; SupervisorError when it is missing or not what it was."""
        if not _SHA.match(name):
            raise SupervisorError(f"{name[:80]!r} is not the sha256 of a blob")
        data = read_file(self.folder / name, "blob", SupervisorError, self.folder)
        if hashlib.sha256(data).hexdigest() != name:
            raise SupervisorError(f"{self.folder / name} was changed after it was written; restore it from a copy")
        return data

    def text(self, name: str) -> str:
        """The same as text (UTF-8)."""
        try:
            return self.get(name).decode()
        except UnicodeDecodeError:
            raise SupervisorError(f"{self.folder / name} holds no text") from None


# ----------------------------------------------------------------------------------------------------
# A request in the run's blobs, and back: what was asked is kept whole, pictures included.


def keep(request: Request, blobs: Blobs) -> dict[str, Any]:
    """What an event says of it: `request` and `images` are names of blobs."""
    from supervisor.evidence import describe

    size = describe(request)
    return {
        "request": blobs.put(request.canonical), "key": request.key,
        "images": [blobs.put(image.data) for image in request.images],
        "characters": size["characters"], "tokens_estimate": size["tokens_estimate"],
    }  # fmt: skip


def fetch(told: Mapping[str, Any], blobs: Blobs) -> Request:
    """The request of an event; SupervisorError when a blob is missing or changed."""
    plain = json.loads(blobs.get(told["request"]))
    shown = zip(plain["images"], told["images"], strict=True)
    images = tuple(Image(name, media, blobs.get(data), caption) for (name, media, caption, *_), data in shown)
    sections = tuple(Section(*s) for s in plain["sections"])
    return Request(plain["task"], plain["trial"], plain["policy"], sections, images)


# ----------------------------------------------------------------------------------------------------
# The task's folder as the events of a run say it is: policy.py, locks/, trials.jsonl, lineage/. Nothing else there.
#
# Writing again what is there already changes nothing, so it is done after every event that matters and at every
# start.


FORMAT = 1
LINES, LINEAGE, LOCKS, POLICY, SEEDS = "trials.jsonl", "lineage", "locks", "policy.py", "seeds.jsonl"
_REVISION = re.compile(r"r(\d{2,})\.py\Z")
_LINE = shape.table(
    {"run": shape.text, "trial": shape.whole(0)},
    {
        **dict.fromkeys(("parent", "proposer", "target", "verdict", "stage"), shape.words),
        **dict.fromkeys(("diagnosis", "hypothesis", "prediction", "lesson"), shape.words),
        **dict.fromkeys(("child", "revision", "accepted"), shape.maybe(shape.text)), "base": shape.text,
        "reasons": shape.each(shape.words), "numbers": shape.named(shape.number()), "locks": shape.each(shape.text),
        "cost": shape.named(shape.anything), "seeds": shape.named(shape.anything),
    },
)  # fmt: skip


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a folder's trials.jsonl, oldest first; SupervisorError for one that is none."""
    found = []
    for number, line in enumerate(_raw(folder), 1):
        try:
            told = loads(line)
            _LINE(told, "")
        except ValueError as error:
            raise SupervisorError(
                f"{folder / LINES}, line {number}: not a trial ({str(error):.200}); restore the file from a copy"
            ) from None
        found.append(told)
    return found


def _raw(folder: Path) -> list[str]:
    path = folder / LINES
    return read_text(path, "log", SupervisorError, folder).splitlines() if path.exists() else []


def lineage(folder: Path) -> dict[str, int]:
    """sha256 of every text in lineage/ and its number."""
    found = {}
    for path in sorted((folder / LINEAGE).glob("r*.py")):
        match = _REVISION.match(path.name)
        if match:
            found[hashlib.sha256(read_file(path, "policy", SupervisorError, folder)).hexdigest()] = int(match.group(1))
    return found


def revision(number: int) -> str:
    """The file of a revision, from the task's folder."""
    return f"{LINEAGE}/r{number:02d}.py"


class Projection:
    """Writes the folder of one run called `name`."""

    def __init__(self, folder: Path, blobs: Blobs, name: str) -> None:
        self.folder, self.blobs, self.name = folder, blobs, name
        for inner in (LINEAGE, LOCKS):
            stays(folder / inner, folder, SupervisorError)

    def write(self, state: State) -> None:
        """Bring every file up to the state. Locks go before the policy that they belong to, lines come last."""
        for sha, number in state.revisions.items():
            path = self.folder / revision(number)
            if not path.is_file():  # texts of earlier runs are there already
                self._put(path, self.blobs.get(sha))
        locks: dict[str, str] = {}  # a later one of the same name replaces an earlier one
        for trial in state.trials:
            locks |= (trial.accepted or {}).get("files", {})
        for name, sha in locks.items():
            self._put(self.folder / LOCKS / f"{name}.json", self.blobs.get(sha))
        self._put(self.folder / POLICY, self.blobs.get(state.incumbent))
        lines = [json.dumps(self.line(state, t), ensure_ascii=False) for t in state.trials if not t.open]
        self._put(self.folder / LINES, "".join(f"{line}\n" for line in self._among_others(lines)).encode())

    def _put(self, path: Path, data: bytes) -> None:
        there = path.exists() and read_file(path, "blob", SupervisorError, self.folder)
        if there == data or not data and there is False:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)

    def _among_others(self, mine: list[str]) -> list[str]:
        """The lines of other runs as they are, with those of this run at the place of its first one."""
        others: list[str] = []
        at = None
        for line in _raw(self.folder):
            if json.loads(line).get("run") == self.name:
                at = len(others) if at is None else at
            else:
                others.append(line)
        at = len(others) if at is None else at
        return [*others[:at], *mine, *others[at:]]

    def line(self, state: State, trial: Trial) -> dict[str, Any]:
        """What trials.jsonl says of a finished trial."""
        assert trial.judged is not None and trial.verdict is not None
        read: Mapping[str, Any] = trial.read or {}
        child, won = trial.child, trial.judged["policy"]
        words = {word: read.get(word, "") for word in ("target", "diagnosis", "hypothesis", "prediction")}
        seeds = {role: _block(trial.seeds.get(role), state, child) for role in ("select", "confirm")}
        base = {} if trial.base == trial.parent else {"base": revision(state.revisions[trial.base])}
        return {
            "format": FORMAT, "run": self.name, "trial": trial.number, "parent": trial.parent, **base, "child": child,
            "proposer": (trial.answer or {}).get("proposer", ""), **words, "verdict": trial.verdict["kind"],
            "stage": trial.verdict["stage"], "reasons": trial.verdict["reasons"],
            "numbers": trial.verdict["numbers"], "lesson": read.get("lesson", ""), "cost": trial.judged["cost"],
            "seeds": seeds, "revision": revision(state.revisions[child]) if child else None,
            "accepted": revision(state.revisions[won]) if won else None,
            "locks": list((trial.accepted or {}).get("locks", ())),
        }  # fmt: skip

    def sweep(self) -> None:
        """Remove what a kill left half written. Only for whoever holds the folder."""
        for folder in (self.folder, self.folder / LINEAGE, self.folder / LOCKS):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)


def _block(seeds: tuple[int, ...] | None, state: State, child: str | None) -> list[int] | dict[str, list[int]] | None:
    """First seed and how many were opened; of seeds that were drawn, those that the child has played."""
    if not seeds:
        return None
    if seeds == tuple(range(seeds[0], seeds[0] + len(seeds))):
        return [seeds[0], len(seeds)]
    return {"drawn": [seed for seed in seeds if (child, seed) in state.scores]}
