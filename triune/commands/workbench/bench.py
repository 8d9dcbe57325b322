"""A workspace as its commands see it: the task, the policy files, the frames that may be spent, the recorded games."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.files import atomic_write
from envs.files import read_json
from envs.repeat import seeds_text
from logic.language.frontend.text import plain_lines
from supervisor.gate.seeds import TRAIN, role_of
from supervisor.proposers import spending
from supervisor.proposers.raw_games import EPISODE
from supervisor.proposers.workspace import GAMES, MOST_BYTES, PARENT, POLICY, SETTINGS, keep_game, read_text
from triune.commands import common
from triune.console import Console
from triune.errors import TriuneError, UsageError
from triune.play.evaluation import make_request
from triune.play.evaluator import TaskEvaluator
from triune.play.workers import Players, Record, game, play_seeds
from triune.system import System, load, sha256

LEAST = 20  # steps that a game must be able to have, to be worth its start
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.py")
_GAME = re.compile(r"(parent|play)-[0-9]{1,6}")


class Bench:
    """The workspace in `folder`. Whatever is played is paid from its allowance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        told = read_json(folder / SETTINGS, "settings", TriuneError, "work in a workspace of `triune improve`")
        self.settings: dict[str, Any] = dict(told)

    @cached_property
    def system(self) -> System:
        """The task."""
        told = self.settings
        required = bool(told.get("require_isolation"))
        return load(told["task"], bool(told.get("trust")), None, required)

    @cached_property
    def evaluator(self) -> TaskEvaluator:
        """Where policies are compiled and played, in isolated workers."""
        told, work = self.settings, self.folder / ".work"
        return TaskEvaluator(self.system, told.get("protocol"), told.get("detector", "cnn"), work, floors=False)

    # --- files

    def text(self, name: str) -> str:
        """A policy file of the workspace; TriuneError for a path that leads elsewhere."""
        if not _FILE.fullmatch(name):
            raise UsageError(f"{name!r}: a policy is a file of this folder, such as {POLICY}, {PARENT} or draft-2.py")
        return plain_lines(read_text(self.folder / name))

    def write(self, name: str, text: str) -> None:
        """Write a policy file; TriuneError for a path that leads elsewhere."""
        if not _FILE.fullmatch(name) or name == PARENT:
            raise UsageError(f"{name!r}: write {POLICY}, or a draft such as draft-2.py")
        if len(text.encode()) > MOST_BYTES:
            raise UsageError(f"a policy has at most {MOST_BYTES} bytes")
        atomic_write(self.folder / name, text.encode())

    def game(self, name: str | None) -> tuple[str, Episode, str]:
        """A recorded game by its name (default: your newest, else the parent's worst): name, episode, policy text."""
        found = sorted(p.parent.name for p in (self.folder / GAMES).glob(f"*/{EPISODE}"))
        if not found:
            raise TriuneError("no game is recorded here; record one with ./play")
        if name is None:
            mine = [n for n in found if n.startswith("play-")]
            name = max(mine, key=lambda n: int(n[5:])) if mine else min(found, key=self._score)
        if not _GAME.fullmatch(name) or name not in found:
            raise UsageError(f"there is no game {name!r} here; there are {', '.join(found)}")
        here = self.folder / GAMES / name
        return name, Episode.load(here / EPISODE), read_text(here / POLICY)

    def _score(self, name: str) -> float:
        return float(Episode.load(self.folder / GAMES / name / EPISODE).meta["score"])

    # --- games

    def seeds(self, text: str) -> list[int]:
        """Training seeds, as `common.parse_seeds` reads them; UsageError for any other."""
        found = common.parse_seeds(text)
        for seed in found:
            if (role := role_of(seed)) != "train":
                what = {"gate": "a gate seed", "audit": "an audit seed"}.get(role, "none of the training seeds")
                raise UsageError(
                    f"seed {seed} is {what}: here training seeds are played, {TRAIN.start} to {TRAIN.stop - 1}. What "
                    "judges a revision must be new to it, so those seeds are drawn once the answer is there"
                )
        return list(dict.fromkeys(found))

    def spent(self) -> spending.Spent:
        """What has been spent so far."""
        return spending.read(self.folder)

    def budget(self) -> str:
        """What is left, for people."""
        spent = self.spent()
        if spent.damaged:
            return f"bench      {spending.LOG} is missing or was changed: nothing more can be played for this trial"
        return f"bench      {spent.left:,.0f} of {spent.allowance:,.0f} frames left for this trial"

    def play(self, what: str, texts: Sequence[str], seeds: Sequence[int], steps: int | None, console: Console) -> None:
        """Have every text's game of every seed in the log, as far as it is not there yet."""
        for text in dict.fromkeys(texts):
            self.evaluator.controller(text).close()  # an unsound text is told before anything is spent
        with spending.alone(self.folder, lambda: console.log("another command plays here; waiting until it is done")):
            known, different = self.known(), dict.fromkeys(texts)
            todo = [(t, s) for t in different for s in seeds if not _serves(known.get((sha256(t), s)), steps)]
            if todo:
                self._play(what, todo, steps, console)

    def _play(self, what: str, todo: Sequence[tuple[str, int]], steps: int | None, console: Console) -> None:
        limit = self._limit(len(todo), steps)
        workers = min(int(self.settings.get("workers", 1)), len(todo))
        done = 0
        with spending.work(self.folder, what, len(todo), self._expected(limit), workers) as work:
            for text, record in self._records(todo, limit, workers):
                work.game(_told(text, record, limit))
                done += 1
                console.progress(done, len(todo), f"{done}/{len(todo)} games")
        console.clear()

    def _records(
        self, games: Sequence[tuple[str, int]], limit: int, workers: int, keep: Path | None = None
    ) -> Iterator[tuple[str, Record]]:
        """Text and record of each (text, seed) as it is done; one worker is this process."""
        e = self.evaluator
        players = {str(e.player(text).policy_path.resolve()): text for text, _ in games}
        path = {text: policy for policy, text in players.items()}

        def request(text: str, seeds: Sequence[int]) -> dict[str, Any]:
            return make_request(e.player(text), e.protocol.name, seeds, None, e.detector, limit)

        if workers > 1:
            with Players(e.player(games[0][0]), request(games[0][0], []), workers) as crew:
                todo = [game(path[text], sha256(text), seed, keep) for text, seed in games]
                yield from ((players[str(policy)], record) for policy, record in crew.play(todo))
            return
        for text in path:
            seeds = [seed for other, seed in games if other == text]
            for record in play_seeds(e.player(text), request(text, seeds), seeds, 1, keep):
                yield text, record

    def _limit(self, games: int, steps: int | None) -> int:
        """Steps that each of some games may take; TriuneError when the allowance is spent."""
        spent, per_step = self.spent(), self.evaluator.protocol.frames_per_step
        fits = int(spent.left / games / per_step)
        if fits < LEAST:
            raise TriuneError(
                f"the workbench's {spent.allowance:,.0f} frames for this trial are spent ({len(spent.games)} games); "
                "explain and watch still show recorded games, check still compiles: answer with what you know"
            )
        whole = self.evaluator.protocol.frame_limit // per_step
        return min(fits, whole, steps or whole)

    def _expected(self, limit: int) -> float:
        """Frames of a game, for what a kill leaves unsaid: as the longest so far, or as many as it may take."""
        longest = max((game["frames"] for game in self.spent().games), default=self.settings.get("longest", 0))
        most = float(limit * self.evaluator.protocol.frames_per_step)
        return min(1.1 * longest, most) if longest else most

    def known(self) -> dict[tuple[str, int], spending.Game]:
        """Finished games by policy and seed."""
        return {(game["policy"], game["seed"]): game for game in self.spent().games}

    def record(self, text: str, seed: int, steps: int | None, console: Console) -> tuple[str, Episode]:
        """Play one game and keep it: its name, and the episode."""
        self.evaluator.controller(text).close()
        waits = "another command plays here; waiting until it is done"
        with spending.alone(self.folder, lambda: console.log(waits)), tempfile.TemporaryDirectory() as scratch:
            limit = self._limit(1, steps)
            with spending.work(self.folder, "play", 1, self._expected(limit), 1) as work:
                for _, record in self._records([(text, seed)], limit, 1, Path(scratch)):
                    work.game(_told(text, record, limit))
            episode = Episode.load(Path(scratch) / f"{seed}.npz")
            taken = [int(p.name[5:]) for p in (self.folder / GAMES).glob("play-*") if p.name[5:].isdigit()]
            name = f"play-{max(taken, default=0) + 1}"
            keep_game(self.folder / GAMES / name, episode, text, self.system.schema, self.system.spec.env.actions)
        return name, episode


def _told(text: str, record: Record, limit: int) -> dict[str, Any]:
    """What is kept of a game."""
    kept = ("seed", "score", "frames", "steps", "finished", "faults", "fault_texts", "interventions", "reasons")
    end = "its end" if record["finished"] else "cut here" if record["steps"] >= limit else "time limit"
    return {"policy": sha256(text), "end": end, **{name: record[name] for name in kept}}


def _serves(game: spending.Game | None, steps: int | None) -> bool:
    """Whether a game that was played needs not be played again."""
    return game is not None and (game["end"] != "cut here" or bool(steps) and game["steps"] == steps)


def span(seeds: Sequence[int]) -> str:
    """For people."""
    return f"{len(seeds)} training {'seed' if len(seeds) == 1 else 'seeds'} ({seeds_text(seeds)})"
