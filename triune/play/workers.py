"""Episodes over worker processes, as `envs.executor` runs them: seeds go out, records come back (JSON)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.episodes.episode import Episode, rules_in
from envs.executor import Processes, WorkerError
from triune.errors import TriuneError
from triune.play.loop import Rollout, deadline_misses
from triune.play.recording import open_recorder

if TYPE_CHECKING:
    from triune.system import System

Record = dict[str, Any]  # what is kept of a finished episode besides its file


def play_seeds(
    system: System, request: dict[str, Any], seeds: Sequence[int], workers: int, keep: Path | None
) -> Iterator[Record]:
    """The record of each seed as it is done; episodes go to `keep`. One worker runs in this process."""
    if not seeds:
        return
    if workers <= 1 or len(seeds) == 1:
        with Rollout(system, request["protocol"], request["shift"], request["eyes"]) as rollout:
            rollout.recorder = open_recorder(request.get("record"), system)
            for seed in seeds:
                yield play_one(rollout, seed, request["limit"], keep)
        return
    job = {**request, "keep": str(keep.resolve()) if keep else None, "hashes": system.hashes()}
    crew = Processes("triune.play.workers:episodes", workers, "triune.errors:one_line")
    try:
        yield from crew.map(job, seeds)
    except WorkerError as error:
        raise TriuneError(f"{error}; finished episodes are kept" if error.died else str(error)) from None


def episode_record(episode: Episode) -> Record:
    """The line of one episode: JSON values only."""
    meta = episode.meta
    rules: Counter[str] = Counter()
    for names, count in episode.interventions().items():
        rules.update({name: count for name in rules_in(names)})
    faults = Counter(episode.fault_table[i] for i in episode.faults.tolist() if i)
    return {
        "seed": meta["seed"], "score": meta["score"], "lives": meta["lives_at_end"], "frames": meta["frames"],
        "steps": len(episode), "finished": meta["finished"], "seconds": meta["seconds"],
        "interventions": dict(rules), "reasons": episode.reason_counts(), "faults": sum(faults.values()),
        "fault_texts": dict(faults.most_common(5)), "deadline_misses": deadline_misses(episode),
        "drift": meta.get("drift", {}),
    }  # fmt: skip


def play_one(rollout: Rollout, seed: int, limit: int | None, keep: Path | None) -> Record:
    """Play, keep and describe one episode."""
    episode = rollout.record(seed, limit)
    if keep:
        episode.save(keep / f"{seed}.npz")
    return episode_record(episode)


@contextmanager
def episodes(job: dict[str, Any]) -> Iterator[Callable[[int], Record]]:
    """The work of a child: play a seed; its record."""
    from triune.system import load, silence

    keep = Path(job["keep"]) if job["keep"] else None
    silence()  # the process that started this one has said what there is to say
    system = load(job["folder"], job["trust"], job["isolate"], job["require_isolation"], job["policy"])
    changed = [name for name, digest in system.hashes().items() if digest != job["hashes"][name]]
    if changed:
        raise TriuneError(f"{system.folder}: another {', '.join(changed)} since the games began; start a new run")
    with Rollout(system, job["protocol"], job["shift"], job["eyes"]) as rollout:
        rollout.recorder = open_recorder(job.get("record"), system)
        yield lambda seed: play_one(rollout, seed, job["limit"], keep)
