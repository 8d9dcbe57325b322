"""The types that cross between the loop, those who propose, and those who play. Plain values; no behaviour."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from data_flywheel.episodes.episode import Episode
from supervisor.budget import Amount
from supervisor.errors import SupervisorError


class Section(NamedTuple):
    """One titled part of the evidence, in the order in which it is shown."""

    title: str
    text: str


class Image(NamedTuple):
    """A picture for models that see. `media` is a MIME type, `caption` says what it shows."""

    name: str
    media: str
    data: bytes
    caption: str = ""


@dataclass(frozen=True)
class Request:
    """All that a proposer is told for one trial. Equal requests have equal keys, whatever the machine or the day."""

    task: str
    trial: int
    policy: str  # the incumbent's text, byte for byte
    sections: tuple[Section, ...] = ()
    images: tuple[Image, ...] = ()

    @cached_property
    def canonical(self) -> bytes:
        """JSON with sorted keys; of a picture what it shows, not its bytes, which libraries write as they like."""
        images = [[i.name, i.media, i.caption] for i in self.images]
        told = {
            "format": 1, "task": self.task, "trial": self.trial, "policy": self.policy,
            "sections": [list(s) for s in self.sections], "images": images,
        }  # fmt: skip
        return json.dumps(told, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()

    @property
    def key(self) -> str:
        """sha256 hex of `canonical`."""
        return hashlib.sha256(self.canonical).hexdigest()


@dataclass(frozen=True)
class Usage:
    """What one proposal took. UNKNOWN (supervisor.budget) where nobody told; never 0 instead. `frames`: played in test
    drives."""

    tokens: Amount = 0.0
    usd: Amount = 0.0
    seconds: float = 0.0
    frames: float = 0.0

    def amounts(self) -> dict[str, Amount]:
        """For Reservation.settle."""
        return {"tokens": self.tokens, "usd": self.usd, "wall_s": self.seconds, **self.played()}

    def played(self) -> dict[str, Amount]:
        """The frames, where there were any: few proposers play."""
        return {"steps": self.frames} if self.frames else {}

    def told(self) -> dict[str, Amount]:
        """JSON-able; `Usage(**told)` comes back."""
        frames = {"frames": self.frames} if self.frames else {}
        return {"tokens": self.tokens, "usd": self.usd, "seconds": self.seconds, **frames}


@dataclass(frozen=True)
class Reply:
    """A proposer's answer as it came: `text` is JSON for edits/answer.py to read. `turns` are the raw exchanges."""

    text: str
    usage: Usage = Usage()
    turns: tuple[Mapping[str, Any], ...] = ()


class ProposerError(SupervisorError):
    """There is no answer. `fatal`: nothing was said (time-out, refused call, a recording without this request), so the
    run stops, no trial is used up, and resuming asks again; else something was said that is no answer, which is judged
    as one that failed. `wait`: seconds after which to ask again, where somebody told."""

    def __init__(
        self, message: str, usage: Usage | None = None, fatal: bool = False, wait: float | None = None
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.usage, self.fatal, self.wait = usage or Usage(), fatal, wait


class Waiting(SupervisorError):
    """The answer is made elsewhere and is not there yet: the run stops, and asks again when it is resumed."""


class Proposer(Protocol):
    """Gives an answer to a request."""

    name: str

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """An upper bound of what `propose` will use: any of usd, tokens, wall_s (the evaluator reserves steps)."""

    def propose(self, request: Request) -> Reply:
        """ProposerError when there is no answer. A malformed answer is not an error here: the gate judges it."""


class Score(NamedTuple):
    """One finished episode. `hard`: interventions of hard safety rules and faults per 1000 decisions."""

    seed: int
    score: float
    hard: float
    frames: int
    decisions: int


@dataclass(frozen=True)
class Compiled:
    """What compiling a text in an isolated worker found. `defects` empty: sound."""

    defects: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)  # operations, nodes, latency_ms ...
    records: tuple[Mapping[str, Any], ...] = ()  # the diagnostics as `triune check --json` gives them


class Evaluator(Protocol):
    """Plays and examines policy texts of one task under one protocol. Foreign text never runs in this process."""

    frames_per_episode: float  # a cautious guess, for reservations, until episodes have been seen
    floors: int  # score floors among the locks, each an episode to play
    floor_frames: int  # simulated frames that the last call of `locks` has played

    def watch(self, episodes: Sequence[Episode]) -> None:
        """Recorded episodes of the parent, on which latency and behaviour are judged from now on."""

    def reload(self) -> None:
        """Read the locks of the task's folder again."""

    def compile(self, text: str) -> Compiled:
        """Diagnostics and measured figures."""

    def locks(self, text: str) -> Mapping[str, bool]:
        """Each lock's name and whether the text keeps it (floors included)."""

    def behaviour(self, text: str) -> str:
        """sha256 hex over the decisions of the text on the scenes of all locks and of the watched episodes."""

    def settled(self, texts: Sequence[str], episode: Episode) -> tuple[Any, Any]:
        """bool[T]: where every text decides what was done in the episode, also when all is seen a little elsewhere; and
        the fallback action."""

    def lock_text(self, text: str, episode: Episode, steps: range, name: str, note: str) -> str:
        """The file of a lock on the decisions of `steps`; LogicError when there can be none."""

    def floor_text(self, episode: Episode, floor: float, name: str, note: str) -> str:
        """The file of a lock on the score of the episode's seed."""

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        """Each of the (text, seed) as it is done, in any order: one stream over all workers."""

    def record(self, text: str, seeds: Sequence[int]) -> list[Episode]:
        """Whole episodes of training seeds, for evidence; frames can be had from `frames`."""

    def frames(self, episode: Episode, steps: Sequence[int]) -> list[Any]:
        """uint8[H, W, 3] of these steps of an episode (played again when they were not kept)."""

    def close(self) -> None:
        """End whatever plays; what is asked for next begins anew."""
