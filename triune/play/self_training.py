"""`triune flywheel`: a detector that stopped seeing learns from the task's own play, without labels or score."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.datasets.samples import load_samples
from data_flywheel.labelers import motion
from data_flywheel.labelers.cells import cells_of
from data_flywheel.self_training import judge as judging
from data_flywheel.self_training.capture import Capture
from data_flywheel.self_training.data import LEAST, TrainingSet, emptied, field_in, pictures, training_set, without
from data_flywheel.self_training.judge import Sight, Verdict
from data_flywheel.storage.files import atomic_write
from envs.files import read_file, read_json, stays
from envs.remote import PixelEnv
from envs.repeat import command_line
from envs.writing import atomic_copy
from perception.detector import OnnxDetector
from perception.training.augment import Augmentation
from perception.weights import read_weights, weights_beside
from triune.errors import TriuneError
from triune.play.evaluation import evaluate
from triune.play.loop import Pipeline, Wander, run_episode
from triune.system import sha256

if TYPE_CHECKING:
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# Play for self-training: at random, or by the task's own policy with a given detector and a few random actions.
#
# The side that decides has no memory, score or label of the game, as always.


HOLD = 6  # steps that a random action is held at most
STRAY = (0.03, 12)  # chance that the policy is left for so many random steps at most: a stuck game goes on


def play(
    system: System, weights: Path, shift: str | None, protocol: str, frames: int, seed: int, random: bool,
    most: int | None = None,
) -> Capture:  # fmt: skip
    """`frames` frames from games of seeds `seed`, `seed` + 1, ...; at most `most` of one game."""
    spec, size = system.spec.env, system.schema.size
    detector, rng = OnnxDetector.load(weights, system.schema), np.random.default_rng([seed, int(random)])
    out, seen = np.empty((frames, *spec.shape), np.uint8), np.empty((frames, size), np.float32)
    actions = np.empty((frames, *spec.actions.shape), spec.actions.dtype)
    episodes, seeds, i = np.empty(frames, np.int64), list[int](), 0
    wander = Wander(spec.actions, rng, HOLD) if random else Wander(spec.actions, rng, STRAY[1], STRAY[0])
    with closing(system.controller(protocol)) as controller, PixelEnv(spec, system.protocol(protocol), shift) as env:
        player = Pipeline(system.schema, detector, controller)
        while i < frames:
            wander.reset()
            for step in run_episode(env, player, seed + len(seeds), min(most or frames, frames - i)):
                wander.steer(step)
                out[i], seen[i], episodes[i], actions[i] = step.frame, player.seen, len(seeds), step.action
                i += 1
            seeds.append(seed + len(seeds))
            if not i:
                raise TriuneError(f"{system.name}: the game of seed {seed} was over before it began")
    meta = {"random": random, "shift": shift, "protocol": protocol, "eyes": str(weights.name)}
    return Capture(out, seen, actions, episodes, tuple(seeds), meta)


# ----------------------------------------------------------------------------------------------------
# The wheel: play, label from play alone, learn, judge, promote or keep; a few rounds, resumable at any instant.
#
# No teacher, memory of the game, score or label of the new look is used. The frozen test split of the memory is
# read to judge, never to learn.
#
# RUN/wheel.json what was asked, hashes of everything it starts from RUN/eyes.onnx the detector that is best so far
# RUN/round-K/play.npz what was played; pixels are played again from it RUN/round-K/candidate.onnx what was learned;
# its provenance names play, labels and memory by hash RUN/round-K/round.json the verdict and the figures it rests
# on: a round that has it is over RUN/result.json what came of it all


FORMAT = 1
CHECK = 0.2  # share of a round's frames that the candidate plays by itself
SHARES = {"new": 8, "memory": 16, "emptied": 4, "rendered": 20}  # frames of a batch
RECALL = {"new": 4, "memory": 18, "emptied": 6, "rendered": 20}  # ... for a detector that forgot
RATES = (2e-3, 2e-3, 1e-3)  # of one stretch of training after the other ...
ENOUGH = 0.98  # ... until a detector that forgets nothing sees so well; one that begins so well gets one stretch
BLEND = 0.6  # share of the way from the old weights that a detector keeps which still forgets
PLAIN = Augmentation(clean=0.8, recolour=0.5)  # of the memory: the old look as it is, and a few others
LIMIT = 3000  # decisions of a game whose score is compared
DONE, KEPT, LOST, PROMOTED = "nothing to learn", "kept", "cannot recover", "promoted"


@dataclass(frozen=True)
class Request:
    """What one run of the wheel is asked."""

    task: str
    shift: str | None
    protocol: str
    rounds: int = 3
    frames: int = 3000
    steps: int = 400  # of a stretch of training
    seed: int = 500
    games: int = 0  # whose score may not fall; 0: no score is looked at


class SelfTraining:
    """One run in `home`. `run()` goes through the rounds that are left; killed at any instant, a new one goes on."""

    def __init__(self, system: System, request: Request, home: Path, say: Callable[[str], object] = print) -> None:
        self.system, self.request, self.home, self.say = system, request, home, say
        self.schema, self.weights, self._plays = system.schema, home / "eyes.onnx", list[Capture]()
        memory = system.folder / "memory"
        if not (memory / "manifest.json").is_file():
            fix = f"make one with `{command_line('collect', system.called, frames=5000, out=memory)}`"
            raise TriuneError(f"{system.folder} has no memory of old labelled frames; {fix}")
        self.frozen = load_samples(memory, "test")
        train = load_samples(memory, "train")
        self.known = motion.priors(train.scenes, train.episodes, self.schema, train.shape)
        self.frozen_empty = emptied(self.frozen, self.schema, self.known)
        frozen = [p for part in (self.frozen, self.frozen_empty) for p in pictures(part)]
        self._pictures = FrozenSet(frozenset(frozen))
        self.memory = without(train, self._pictures)
        self.empty = without(emptied(self.memory, self.schema, self.known), self._pictures)
        self._open()

    def _open(self) -> None:
        """Start the folder, or go on with one that was asked the same."""
        path = self.home / "wheel.json"
        told = {
            "format": FORMAT, "request": asdict(self.request), "hashes": self.system.hashes(),
            "memory": self.memory.fingerprint(), "frozen": self.frozen.fingerprint(),
        }  # fmt: skip
        if path.is_file():
            found = _read(path, f"delete {self.home} and run the command again")
            changed = [k for k in told if found.get(k) != told[k]]
            if changed:
                raise TriuneError(f"{self.home} holds a run with another {', '.join(changed)}; name another folder")
            return
        read_weights(self.system.detector_path)  # without them nothing could be learned from what is played
        self.home.mkdir(parents=True, exist_ok=True)
        take_over(self.system.detector_path, self.weights)
        _write(path, told)

    def run(self) -> dict[str, Any]:
        """JSON values: `outcome`, `reason`, `rounds`, `eyes` (file). A round that promoted is followed by another one.

        A detector that got better in every round and still misses a thing on half of the frames is no recovery: the
        first one stays, and the learned ones lie in their rounds' folders.
        """
        rounds: list[dict[str, Any]] = []
        for number in range(1, self.request.rounds + 1):
            rounds.append(self._round(number))
            self.say(f"round {number}: {rounds[-1]['outcome']}; {rounds[-1]['reason']}")
            promoted = any(r["outcome"] == PROMOTED for r in rounds)
            spent = promoted and rounds[-1]["outcome"] == KEPT and not rounds[-1]["reason"].startswith(judging.FORGETS)
            if rounds[-1]["outcome"] in (DONE, LOST) or spent:
                break
        outcome, reason = PROMOTED if promoted else rounds[-1]["outcome"], rounds[-1]["reason"]
        if promoted and (score := _last_sight(rounds[-1])) < judging.SEES:
            take_over(self.system.detector_path, self.weights)
            outcome, reason = LOST, f"better, but still far from seeing: {score:.3f}, {judging.SEES} is needed"
        told = {"outcome": outcome, "reason": reason, "rounds": rounds, "eyes": str(self.weights)}
        told["request"] = asdict(self.request)
        _write(self.home / "result.json", told)
        return told

    def _round(self, number: int) -> dict[str, Any]:
        folder = self.home / f"round-{number}"
        done = folder / "round.json"
        if done.is_file():
            told = _read(done, "delete it and run the command again; the round is made again")
            self._settle(told, folder)
            return told
        stays(folder, self.home, TriuneError).mkdir(exist_ok=True)
        began, busy = time.monotonic(), time.process_time()
        told = self._made(number, folder)
        told |= {"wall_s": round(time.monotonic() - began, 1), "cpu_s": round(time.process_time() - busy, 1)}
        _write(done, told)
        self._settle(told, folder)
        return told

    def _settle(self, told: dict[str, Any], folder: Path) -> None:
        """What the verdict says becomes so; said twice, it is the same."""
        if told["outcome"] == PROMOTED and sha256(_weights(self.weights)) == told["before"]:
            made = folder / "candidate.onnx"
            if sha256(_weights(made)) != told["after"]:
                raise TriuneError(f"{folder}/candidate.onnx is not what was judged; delete {folder} and run again")
            take_over(made, self.weights)

    def _made(self, number: int, folder: Path) -> dict[str, Any]:
        before = sha256(_weights(self.weights))
        played = self._played(number)
        taught = training_set(played, self.memory, self.known, self.schema, self._pictures, number)
        told: dict[str, Any] = {"round": number, "before": before, "lesson": taught.record()}
        old = self._sight(self.weights, played, taught)
        told["sight"] = old.record()
        if taught.coverage < LEAST or not len(taught.rendered):
            reason = f"motion is sure of the things on {taught.coverage:.0%} of the frames, {LEAST:.0%} are needed"
            if taught.coverage >= LEAST:
                reason = "a thing was never seen whole and by itself, so it cannot be drawn"
            return told | {"outcome": LOST, "reason": reason}
        if old.score >= judging.GOOD:
            return told | {"outcome": DONE, "reason": f"the detector agrees with motion: {old.score:.3f}"}
        candidate = folder / "candidate.onnx"
        verdict = self._learned(candidate, taught, old, played, number)
        if verdict.promote:
            verdict = self._led(candidate, taught, verdict, number)
        return told | {
            "outcome": PROMOTED if verdict.promote else KEPT, "reason": verdict.reason, "figures": verdict.figures,
            "after": sha256(_weights(candidate)),
        }  # fmt: skip

    def _learned(self, candidate: Path, taught: TrainingSet, old: Sight, played: Capture, number: int) -> Verdict:
        """Train in stretches, each from where the last one ended; more of the old look when it is forgotten."""
        verdict: Verdict | None = None
        wrong = self._wrong(self.weights)
        for nth, rate in enumerate(RATES[:1] if old.score >= ENOUGH else RATES):
            shares = RECALL if verdict and verdict.forgets else SHARES
            self._stretch(candidate, taught, shares, rate, nth, number)
            verdict = self._weighed(candidate, played, taught, old, wrong)
            if verdict.promote and verdict.figures["new"]["score"] >= ENOUGH:
                return verdict
        assert verdict
        if verdict.forgets:
            self._blend(candidate, taught)
            verdict = self._weighed(candidate, played, taught, old, wrong)
        return verdict

    def _played(self, number: int) -> Capture:
        """All rounds' play so far, this one's last."""
        for nth in range(len(self._plays) + 1, number + 1):
            self._plays.append(self._play_of(nth))
        return Capture.join(self._plays)

    def _play_of(self, number: int) -> Capture:
        """A round's play: half at random in the first round, a quarter later; the rest by the policy."""
        path, spec = self.home / f"round-{number}" / "play.npz", self.system.spec.env
        protocol = self.system.protocol(self.request.protocol)
        if path.is_file():
            return Capture.load(path, spec, protocol, self.request.shift)
        n = int(self.request.frames * (1 - CHECK))
        lucky = n // 2 if number == 1 else n // 4
        seed = (self.request.seed + 40 * (number - 1)) % 700
        parts = [self._play(self.weights, lucky, seed, True), self._play(self.weights, n - lucky, seed + 20, False)]
        made = Capture.join(parts)
        made.save(path)
        return made

    def _play(self, weights: Path, frames: int, seed: int, random: bool) -> Capture:
        ask = self.request
        return play(self.system, weights, ask.shift, ask.protocol, frames, seed, random, most=None if random else 900)

    def _sight(self, weights: Path, played: Capture, taught: TrainingSet) -> Sight:
        """How this detector sees what was held back."""
        rows = np.flatnonzero(taught.held)
        part = taught.motion.take(rows)
        seen = looked(weights, played.frames[rows], self.system)
        return judging.sight(seen, played.episodes[rows], part, self.known, self.schema, taught.cells[rows])

    def _provenance(self, taught: TrainingSet) -> dict[str, Any]:
        """What the candidate can be traced to."""
        plays = sorted(self.home.glob("round-*/play.npz"))
        return {
            "wheel": {
                "plays": {str(p.relative_to(self.home)): _digest(p) for p in plays},
                "memory": self.memory.fingerprint(),
                "from": sha256(_weights(self.weights)), "labels": taught.record(), "shift": self.request.shift,
            }
        }  # fmt: skip

    def _stretch(
        self, candidate: Path, taught: TrainingSet, shares: dict[str, int], rate: float, nth: int, number: int
    ) -> None:
        from perception.training.finetune import GENTLE, Part, Schedule, adapt

        parts = [
            Part(taught.new, shares["new"], GENTLE, rare=True),
            Part(self.memory, shares["memory"], PLAIN, rare=True),
            Part(self.empty, shares["emptied"], PLAIN),
            Part(taught.rendered, shares["rendered"], GENTLE),
        ]
        start, schedule = candidate if nth else self.weights, Schedule(self.request.steps, rate)
        told = self._provenance(taught) | {"stretch": nth + 1}
        adapt(start, candidate, self.schema, parts, told, schedule, seed=10 * number + nth)

    def _blend(self, candidate: Path, taught: TrainingSet) -> None:
        from perception.training.finetune import blend

        check = np.stack([self.memory.rgb(i) for i in range(0, 320, 10)])
        blend(self.weights, candidate, BLEND, self.schema, check, self._provenance(taught))

    def _weighed(
        self, candidate: Path, played: Capture, taught: TrainingSet, old: Sight, wrong: NDArray[np.bool_]
    ) -> Verdict:
        """On frames that were held back, and on the frozen set."""
        new = self._sight(candidate, played, taught)
        return judging.judge(old, new, wrong, self._wrong(candidate))

    def _wrong(self, weights: Path) -> NDArray[np.bool_]:
        """Which frames of the frozen set, as they are and without what flies, this detector sees wrongly."""
        seen = [
            looked(weights, np.stack([samples.rgb(i) for i in range(len(samples))]), self.system)
            for samples in (self.frozen, self.frozen_empty)
            if len(samples)
        ]
        truth = np.concatenate([self.frozen.scenes, self.frozen_empty.scenes])
        return judging.wrong(np.concatenate(seen), truth, self.schema)

    def _led(self, candidate: Path, taught: TrainingSet, verdict: Verdict, number: int) -> Verdict:
        """On frames to which the candidate's own play leads, and by scores when they may be looked at."""
        own = self._play(candidate, int(self.request.frames * CHECK), 700 + 10 * number, False)
        field = taught.motion.field
        told = motion.label(own.frames, own.episodes, self.schema, self.known, field, field_in(self.memory))
        cells, _, _ = cells_of(own.frames, own.episodes, self.schema, field)
        old, new = (
            judging.sight(seen, own.episodes, told, self.known, self.schema, cells)
            for seen in (looked(self.weights, own.frames, self.system), own.seen)
        )
        verdict = judging.led(verdict, old, new)
        return judging.with_scores(verdict, *self._scores(candidate)) if verdict.promote else verdict

    def _scores(self, candidate: Path) -> tuple[list[int], list[int]]:
        """Of the old and the new detector on the same training seeds, when scores may be looked at; else none."""
        ask, found = self.request, list[list[int]]()
        for weights in (self.weights, candidate):
            system = with_detector(self.system, weights, candidate.parent / "task")
            seeds = range(ask.seed + 260, ask.seed + 260 + ask.games)
            made = evaluate(system, ask.protocol, seeds, ask.shift, limit=LIMIT).scores if ask.games else []
            found.append(made)
        return found[0], found[1]


def _last_sight(told: dict[str, Any]) -> float:
    """Of the detector that a round leaves."""
    sight = told["figures"]["new"] if told["outcome"] == PROMOTED else told["sight"]
    return float(sight["score"])


def take_over(source: Path, target: Path) -> None:
    """Copy the ONNX file `source` to `target`, and before it the trainable weights beside it, if there are any.

    Killed in between, the old detector still plays, and doing it again brings both.
    """
    if weights_beside(source).exists():
        atomic_write(weights_beside(target), read_weights(source)[1])
    else:
        weights_beside(target).unlink(missing_ok=True)
    atomic_write(target, _weights(source))


def with_detector(system: System, weights: Path, folder: Path) -> System:
    """The same system with another detector, in a folder of its own, to play with only."""
    from triune.system import load

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("system.toml", "policy.py", "safety.py"):
        atomic_copy(system.folder / name, folder / name)
    atomic_copy(weights, folder / "perception.onnx")
    return load(folder)


def looked(weights: Path, frames: np.ndarray, system: System) -> np.ndarray:
    """What this detector says of each frame, float32[N, size]."""
    see = OnnxDetector.load(weights, system.schema)
    return np.stack([see.look(np.ascontiguousarray(f)).copy() for f in frames])


def _digest(path: Path) -> str:
    return sha256(read_file(path, "triune capture", TriuneError))


def _weights(path: Path) -> bytes:
    return read_file(path, "weights", TriuneError)


def _write(path: Path, value: Any) -> None:
    atomic_write(path, json.dumps(value, indent=1).encode())


def _read(path: Path, fix: str) -> dict[str, Any]:
    """A JSON object that this module wrote."""
    found = read_json(path, "run record", TriuneError, fix)
    if not isinstance(found, dict):
        raise TriuneError(f"{path} holds no object; {fix}")
    return found
