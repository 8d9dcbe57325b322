"""Scores over seeds: what an evaluation returns, and how episodes become figures.

Knows: the record of an episode, the run folder that keeps it, the summary. Does not know how an episode is played
(`triune.rollout`) or how work is spread (`triune.pool`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.episodes.episode import Episode
from triune.errors import UsageError
from triune.play import stats
from triune.play.drift import together

if TYPE_CHECKING:
    from triune.system import System

Record = dict[str, Any]
Progress = Callable[[int, int, Record | None], None]  # episodes done, wanted, the last one


@dataclass
class Result:
    """An evaluation. `interventions` and `reasons` count steps; `ci95` is a bootstrap interval of the mean."""

    task: str
    protocol: str
    shift: str | None
    eyes: str
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
        """Plain JSON values."""
        return asdict(self)


def episode_record(episode: Episode) -> Record:
    """The line of one episode: JSON values only."""
    from triune.play.loop import deadline_misses

    meta = episode.meta
    rules: Counter[str] = Counter()
    for names, count in episode.interventions().items():
        rules.update({name: count for name in names.split(",")})
    faults = Counter(episode.fault_table[i] for i in episode.faults.tolist() if i)
    return {
        "seed": meta["seed"], "score": meta["score"], "lives": meta["lives_at_end"], "frames": meta["frames"],
        "steps": len(episode), "finished": meta["finished"], "seconds": meta["seconds"],
        "interventions": dict(rules), "reasons": episode.reason_counts(), "faults": sum(faults.values()),
        "fault_texts": dict(faults.most_common(5)), "deadline_misses": deadline_misses(episode),
        "drift": meta.get("drift", {}),
    }  # fmt: skip


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
        task=request["task"], protocol=request["protocol"], shift=request["shift"], eyes=request["eyes"],
        seeds=[r["seed"] for r in records], scores=scores, **stats.summary(scores), frames=frames,
        steps=sum(r["steps"] for r in records), frames_per_second=frames / seconds if seconds else None,
        seconds=round(seconds, 3), workers=workers, interventions=total("interventions"), reasons=total("reasons"),
        faults=sum(r["faults"] for r in records), fault_texts=total("fault_texts"),
        deadline_misses=sum(r["deadline_misses"] for r in records),
        unfinished=[r["seed"] for r in records if not r["finished"]], episodes=list(records),
        isolated=bool(request.get("isolate")), drift=together([r["drift"] for r in records if r.get("drift")]),
    )  # type: ignore[arg-type]  # fmt: skip


def make_request(
    system: System, protocol: str | None, seeds: Sequence[int], shift: str | None, eyes: str, limit: int | None
) -> dict[str, Any]:
    """What is asked of an evaluation, as JSON values."""
    return {
        "task": system.name, "folder": str(system.folder.resolve()), "protocol": system.protocol(protocol).name,
        "shift": shift, "eyes": eyes, "seeds": [int(s) for s in seeds], "limit": limit, "trust": system.trust,
        "isolate": system.isolated, "require_isolation": system.require_isolation,
        "policy": str(system.policy_path.resolve()) if system.policy_path != system.folder / "policy.py" else None,
    }  # fmt: skip


def evaluate(
    system: System, protocol: str | None, seeds: Sequence[int], shift: str | None = None, eyes: str = "cnn",
    workers: int = 1, run: str | Path | None = None, limit: int | None = None, progress: Progress | None = None,
    record: dict[str, Any] | None = None,
) -> Result:  # fmt: skip
    """Play every seed and summarise. With a `run` folder every finished episode is kept; an existing one is continued.

    `limit` cuts episodes short after that many steps (for a quick look, never for a figure). `record`: where every
    game is recorded too, as `triune.recording` makes it.
    """
    from triune.play.pool import play_seeds
    from triune.play.runs import Run

    if not seeds:
        raise UsageError("no seeds to play; give some, such as --seeds 100:110")
    request = make_request(system, protocol, seeds, shift, eyes, limit)
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
    result = summarise(request, records, time.perf_counter() - began + before, workers)
    if folder:
        result.run = str(folder.path)
        folder.finish(result)
    return result
