"""Policies of a task that nobody simulates, examined on clips of recorded film: the score of a clip is how far the
decisions agree with the marks of a person.

A clip takes the place of a seed. Every third clip teaches (seeds 0 to 999, over and over), every third selects children
(seed 1000 and on) and every third confirms them (1450 and on); none serves two of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from data_flywheel.labels.expected import Clip
from data_flywheel.labels.film_labels import Films
from data_flywheel.labels.label import FrameRef
from supervisor.gate.seeds import BLOCK, GATE, TRAIN
from supervisor.protocols import Score
from triune.errors import TriuneError
from triune.play.evaluator import TaskEvaluator, undisturbed
from triune.play.loop import Pipeline
from triune.system import System, sha256
from triune.version import __version__

FEWEST = 5  # clips that select, and that confirm: what the gate's first look needs
TEACH, SELECT, CONFIRM = range(3)


@dataclass(frozen=True)
class Seen:
    """A clip with what was seen on it. `scenes`: float32[T, size], tracked; `numbers`, `refs`: of its T pictures."""

    clip: Clip
    numbers: tuple[int, ...]
    refs: tuple[FrameRef, ...]
    scenes: np.ndarray


def watched(
    system: System, films: Films, clips: Sequence[Clip], progress: Callable[[int, int], None] = lambda done, of: None
) -> list[Seen]:
    """Every clip with what the detector sees on it and the tracker makes of that. TriuneError names a clip that is not
    recorded."""
    player, found = Pipeline(system.schema, system.detector(), None), []
    for done, clip in enumerate(clips):
        film = films.film(clip.film) if clip.film or len(films.films) > 1 else next(iter(films.films))
        known = {n for piece in films.films[film] for n in piece.numbers if clip.first <= n <= clip.last}
        places = [(n, films.find(film, n)) for n in sorted(known)]  # a clip may claim any stretch
        there = [(n, films.ref(*place)) for n, place in places if place]
        numbers = tuple(n for n, _ in there)
        if not there or any(not any(m.first <= n <= m.last for n in numbers) for m in clip.marks):
            raise TriuneError(
                f"the clip from picture {clip.first} to {clip.last} of {film[1]} is not recorded as a whole; record "
                "the film, or take the clip out"
            )
        player.reset()
        scenes = np.stack([player.act(films.rgb(ref))[0].vector.copy() for _, ref in there])
        found.append(Seen(clip, numbers, tuple(ref for _, ref in there), scenes))
        progress(done + 1, len(clips))
    return found


class ClipEvaluator(TaskEvaluator):
    """As its base, with clips for games; everything happens in one isolated worker."""

    def __init__(self, system: System, films: Films, clips: Sequence[Seen], work: Path) -> None:
        """TriuneError: too few clips."""
        super().__init__(system, None, "cnn", work, floors=False)
        self.films = films
        self.clips = [list(clips[part::3]) for part in range(3)]
        if len(self.clips[CONFIRM]) < FEWEST:
            raise TriuneError(
                f"{len(clips)} clips are marked, and {3 * FEWEST} is the least: a third teaches, a third selects and a "
                "third confirms; mark more, and import them with `triune labels expect`"
            )
        self.frames_per_episode = float(max(len(c.numbers) for c in clips))

    @property
    def few(self) -> tuple[int, int]:
        """How many clips select, and how many confirm."""
        return len(self.clips[SELECT]), len(self.clips[CONFIRM])

    def clip(self, seed: int) -> Seen:
        """The clip that a seed stands for; TriuneError where it stands for none."""
        if seed in TRAIN:
            return self.clips[TEACH][seed % len(self.clips[TEACH])]
        part, at = divmod(seed - GATE.start, BLOCK)
        if seed in GATE and part < 2 and at < len(self.clips[SELECT + part]):
            return self.clips[SELECT + part][at]
        raise TriuneError(f"seed {seed} stands for no clip")

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        """Each of the (text, seed), in order."""
        for text, seed in games:
            episode = self._decided(text, seed)
            told = {"interventions": episode.interventions(), "faults": int((episode.faults > 0).sum())}
            hard = self.hard({**told, "steps": len(episode)})
            yield text, Score(seed, float(episode.meta["score"]), hard, len(episode), len(episode))

    def record(self, text: str, seeds: Sequence[int]) -> list[Episode]:
        """What the text decides on these clips."""
        return [self._decided(text, seed) for seed in seeds]

    def _decided(self, text: str, seed: int) -> Episode:
        seen, told = self.clip(seed), self.system.spec.env.actions.tell
        with closing(self.controller(text)) as controller:
            decisions = undisturbed(controller, partial(self._decide, controller, seen))
        wrong = seen.clip.wrong(seen.numbers, [told(d.action) for d in decisions])
        scores = (-np.cumsum(wrong)).tolist()
        hashes = self.system.hashes()
        recorder = EpisodeRecorder({
            "task": self.system.name, "protocol": self.protocol.name, "seed": seed, "shift": None, "eyes": "cnn",
            "schema": hashes["schema"], "policy": sha256(text), "safety": hashes["safety"], "weights": hashes["eyes"],
            "triune": __version__, "source": seen.clip.film, "numbers": list(seen.numbers),
        })  # fmt: skip
        for vector, decision, score in zip(seen.scenes, decisions, scores, strict=True):
            recorder.add(vector, decision, score, 0)
        return recorder.finish(score=scores[-1], lives_at_end=0, frames=len(scores), finished=True)

    def _decide(self, controller: Any, seen: Seen) -> list[Any]:
        controller.reset()
        return [controller.decide(self.system.schema.read(vector)) for vector in seen.scenes]

    def frames(self, episode: Episode, steps: Sequence[int]) -> list[Any]:
        """uint8[H, W, 3] of these steps, from the recording."""
        seen = self.clip(episode.meta["seed"])
        return [self.films.rgb(seen.refs[step]) for step in steps]
