"""Episodes over worker processes, as `envs.executor` runs them: seeds go out, records come back (JSON)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_flywheel.episodes.episode import Episode, rules_in
from data_flywheel.episodes.recording import name_in_recording
from envs.crew import chosen, crew
from envs.errors import Lost
from envs.executor import Item, WorkerError
from envs.files import read_file
from logic.language.artifact import LARGEST
from triune.errors import TriuneError, UsageError
from triune.play.loop import Rollout, deadline_misses
from triune.play.recording import open_recorder

if TYPE_CHECKING:
    from triune.system import System

Record = dict[str, Any]  # what is kept of a finished episode besides its file


def play_seeds(
    system: System, request: dict[str, Any], seeds: Sequence[int], workers: int, keep: Path | None
) -> Iterator[Record]:
    """The record of each seed as it is done; episodes go to `keep`. One worker of this machine, or one seed, is played
    in this process."""
    if not seeds:
        return
    if len(seeds) == 1 or (workers <= 1 and chosen() == "local"):
        yield from _play_here(system, request, seeds, keep)
        return
    digest = system.hashes()["policy"]
    with Players(system, request, workers) as players:
        for _, record in players.play([game(request["policy"], digest, seed, keep) for seed in seeds]):
            yield record


def _play_here(
    system: System, request: dict[str, Any], seeds: Sequence[int], keep: Path | None
) -> Iterator[Record]:  # fmt: skip
    todo = deque(map(Item, seeds))
    while todo:
        try:
            with Rollout(system, request["protocol"], request["shift"], request["eyes"]) as rollout:
                rollout.recorder = open_recorder(request.get("record"), system)
                while todo:
                    record = play_one(rollout, todo[0].value, request["limit"], keep)
                    todo.popleft()
                    yield record
        except Lost as error:
            todo[0].again(str(error))


Game = dict[str, Any]


def game(
    policy: str | None, digest: str | None, seed: int, keep: Path | None = None, made: tuple[str, str] | None = None
) -> Game:
    """One game for `Players`: of a policy (a path, None: the folder's own) with this sha256; `keep`: the folder where
    the episode goes; `made`: the file of what `System.artifact` gives, and its sha256."""
    kept = str(keep.resolve()) if keep else None
    return {"policy": policy, "digest": digest, "seed": seed, "keep": kept, "made": made}


class Players:
    """Worker processes that play games of any policies of one task under one request, for as long as they are kept. A
    game that is lost with its worker, simulator or isolated policy is played again."""

    def __init__(self, system: System, request: dict[str, Any], workers: int) -> None:
        if request.get("record") and chosen() != "local":
            raise UsageError("--record writes into a folder of one machine: leave it out, or --executor")
        job = {k: v for k, v in request.items() if k not in ("seeds", "policy")} | {"hashes": system.hashes()}
        who = crew("triune.play.workers:episodes", workers, "triune.errors:one_line", ("folder", "policy"), "keep")
        self._crew = who.crew(job)

    def play(self, games: Sequence[Game]) -> Iterator[tuple[str | None, Record]]:
        """The policy's sha256 and the record of each game as it is done. TriuneError when one cannot be played,
        Lost when whatever plays it is killed again and again."""
        try:
            yield from self._crew.map(games)
        except WorkerError as error:
            raise (Lost(f"{error}; finished games are kept") if error.died else TriuneError(str(error))) from None

    def close(self) -> None:
        """End the processes."""
        self._crew.close()

    def __enter__(self) -> Players:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    """Play, keep and describe one episode; of one that is recorded, what it is `recorded_as`."""
    episode = rollout.record(seed, limit)
    if keep:
        episode.save(keep / f"{seed}.npz")
    return episode_record(episode) | ({"recorded_as": name_in_recording(episode)} if rollout.recorder else {})


def _as_made(path: str, digest: str) -> bytes | None:
    """The compiled policy in a file; None where it is not the one with this sha256, which came by the pipe: whoever can
    write the file does not decide what is played, and what is not there is compiled here."""
    from triune.system import sha256

    with suppress(TriuneError):
        data = read_file(Path(path), "policy", TriuneError, most=LARGEST)
        return data if sha256(data) == digest else None
    return None


MOST_POLICIES = 4  # that a worker keeps ready at a time


@contextmanager
def episodes(job: dict[str, Any]) -> Iterator[Callable[[Game], list[Any]]]:
    """The work of a child: play a game; its policy's sha256, and its record. One simulator and one detector serve every
    policy."""
    from triune.system import load, silence

    silence()  # the process that started this one has said what there is to say
    ready: dict[str | None, Rollout] = {}

    def rollout_of(policy: str | None, digest: str | None, compiled: Sequence[str] | None) -> Rollout:
        if policy not in ready:
            system = load(job["folder"], job["trust"], job["isolate"], job["require_isolation"], policy)
            wanted = {**job["hashes"], "policy": digest}
            changed = [name for name, found in system.hashes().items() if found != wanted[name]]
            if changed:
                what = f"another {', '.join(changed)} since the games began"
                raise TriuneError(f"{system.folder}: {what}; start a new run")
            if compiled and (data := _as_made(*compiled)):
                system.artifacts[system.protocol(job["protocol"]).name] = data
            first = next(iter(ready.values()), None)
            made = Rollout(system, job["protocol"], job["shift"], job["eyes"], beside=first)
            made.recorder = open_recorder(job.get("record"), system)
            ready[policy] = made
            if len(ready) > MOST_POLICIES:
                oldest = list(ready)[1]  # the first one holds the simulator
                ready.pop(oldest).close()
        return ready[policy]

    def play(asked: Game) -> list[Any]:
        keep = Path(asked["keep"]) if asked["keep"] else None
        rollout = rollout_of(asked["policy"], asked["digest"], asked["made"])
        return [asked["digest"], play_one(rollout, asked["seed"], job["limit"], keep)]

    try:
        yield play
    finally:
        for made in reversed(ready.values()):
            made.close()
