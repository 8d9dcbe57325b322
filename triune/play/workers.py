"""Episodes over worker processes: `python -m triune.play.workers JOB` reads a seed a line and answers with a record a
line (JSON).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from data_flywheel.episodes.episode import Episode
from envs.process import start
from triune.errors import TriuneError, one_line
from triune.play.loop import Rollout, deadline_misses
from triune.play.recording import open_recorder

if TYPE_CHECKING:
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# Episodes over worker processes.
#
# Workers are plain `python -m triune.play.workers` processes: nothing is pickled, a script without a main guard may
# evaluate, a crash is named.


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
    job = {**request, "keep": str(keep.resolve()) if keep else None}
    crew = [_start(job) for _ in range(min(workers, len(seeds)))]
    try:
        yield from _serve(crew, iter(seeds))
    finally:
        for worker in crew:
            _stop(worker)


def episode_record(episode: Episode) -> Record:
    """The line of one episode: JSON values only."""
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


def play_one(rollout: Rollout, seed: int, limit: int | None, keep: Path | None) -> Record:
    """Play, keep and describe one episode."""
    episode = rollout.record(seed, limit)
    if keep:
        episode.save(keep / f"{seed}.npz")
    return episode_record(episode)


def _start(job: dict[str, Any]) -> subprocess.Popen[str]:
    variables = {"OMP_NUM_THREADS": "1"}
    worker: subprocess.Popen[str] = start("triune.play.workers", json.dumps(job), variables=variables, text=True)
    return worker


def _serve(crew: list[subprocess.Popen[str]], seeds: Iterator[int]) -> Iterator[Record]:
    with selectors.DefaultSelector() as selector:
        for worker in crew:
            if _hand(worker, seeds):
                assert worker.stdout
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
        while selector.get_map():
            for key, _ in selector.select():
                worker = key.data
                line = worker.stdout.readline()
                if not line:
                    raise TriuneError(f"a worker process died (exit code {worker.wait()}); finished episodes are kept")
                answer: Record = json.loads(line)
                if "error" in answer:
                    raise TriuneError(answer["error"])
                yield answer
                if not _hand(worker, seeds):
                    selector.unregister(key.fileobj)


def _hand(worker: subprocess.Popen[str], seeds: Iterator[int]) -> bool:
    seed = next(seeds, None)
    if seed is None:
        return False
    assert worker.stdin
    try:
        print(seed, file=worker.stdin, flush=True)
    except BrokenPipeError:
        raise TriuneError(f"a worker process died (exit code {worker.wait()}); finished episodes are kept") from None
    return True


def _stop(worker: subprocess.Popen[str]) -> None:
    """Workers hold nothing that matters: what is finished is on disk."""
    worker.terminate()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe:
            pipe.close()


# ----------------------------------------------------------------------------------------------------
# A worker process: `python -m triune.play.workers JOB` reads a seed a line and answers with a record a line (JSON).
#
# Ends when its input closes; ignores Ctrl-C, which is the parent's to handle.


def main() -> int:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # whose recording is being written finishes it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints may speak into the protocol
    try:
        _work(json.loads(sys.argv[1]), answers)
    except Exception as error:
        line = one_line(error)
        if line is None:
            traceback.print_exc()
            line = f"a worker failed: {type(error).__name__}: {error}"
        print(json.dumps({"error": line}), file=answers, flush=True)
        return 1
    return 0


def _work(job: dict[str, object], answers: TextIO) -> None:
    from triune.play.recording import open_recorder
    from triune.system import load, silence

    keep = Path(str(job["keep"])) if job["keep"] else None
    limit = job["limit"] if isinstance(job["limit"], int) else None
    shift = str(job["shift"]) if job["shift"] else None
    silence()  # the process that started this one has said what there is to say
    policy = str(job["policy"]) if job.get("policy") else None
    system = load(str(job["folder"]), bool(job["trust"]), bool(job["isolate"]), bool(job["require_isolation"]), policy)
    with Rollout(system, str(job["protocol"]), shift, str(job["eyes"])) as rollout:
        rollout.recorder = open_recorder(job.get("record"), system)  # type: ignore[arg-type]
        for line in sys.stdin:
            print(json.dumps(play_one(rollout, int(line), limit, keep)), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
