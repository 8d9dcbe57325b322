"""Where the policies of one task are examined and played for the supervisor, no game twice."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.files import atomic_write
from data_flywheel.storage.log import append, read_lines
from envs import shape
from envs.actions import Action
from envs.executor import Item
from envs.files import loads
from envs.spec import SOFT
from logic.errors import LogicError
from logic.runtime.controller import Controller
from perception.scene import SceneSchema
from supervisor.protocols import Compiled, Score
from triune.errors import TriuneError, nearest
from triune.play.evaluation import evaluate, hashes_of, make_request
from triune.play.workers import Players, Record, game
from triune.system import System, sha256

# ----------------------------------------------------------------------------------------------------
# Finished games in a file, so that no run plays one again that another run has played under the same conditions.
#
# A line that a kill cut off, or one of other conditions, is passed over.


def _score(value: Any, key: str) -> None:
    """As the simulator gave it: the gate asks whether it is finite."""
    if type(value) not in (int, float):
        raise shape.Misfit(f"{key} is no number")


_GAME = shape.table({
    "under": shape.text, "policy": shape.text, "seed": shape.whole(0), "score": _score, "hard": shape.number(0),
    "frames": shape.whole(0), "decisions": shape.whole(0),
})  # fmt: skip


class GameStore:
    """Scores by policy (sha256 of its text) and seed. `conditions`: JSON values, all else that decides a score."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self.path, self.under = path, sha256(json.dumps(conditions, sort_keys=True))[:16]
        self.known: dict[tuple[str, int], Score] = {}
        for number, line in enumerate(read_lines(path, TriuneError)[0], 1):
            self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        try:
            told = loads(line)
            _GAME(told, "")
            under, policy = told.pop("under"), told.pop("policy")
            score = Score(**told)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TriuneError(f"{self.path}, line {number}: not a game; restore the file, or name another") from None
        if under == self.under:
            self.known[policy, score.seed] = score

    def get(self, policy: str, seed: int) -> Score | None:
        """The game, if it has been played."""
        return self.known.get((policy, seed))

    def add(self, policy: str, score: Score) -> None:
        """Write one more game down."""
        if (policy, score.seed) in self.known:
            return
        line = json.dumps({"under": self.under, "policy": policy, **score._asdict()}) + "\n"
        append(self.path, line.encode(), sync=False)
        self.known[policy, score.seed] = score


# ----------------------------------------------------------------------------------------------------
# Where the policies of one task are examined and played for the supervisor: `supervisor.protocols.Evaluator`.
#
# Every text is compiled and run in isolated workers, the shipped one too: parent and child meet the same
# conditions.


MOST_STEPS = 4000  # of one recorded episode, when behaviours are compared
NUDGES, NUDGE = 2, 1.5  # copies of an episode with everything moved, by about so many px
NUDGE_READ = 0.005  # of its range: by how much about the field of a reading is moved
WALKS, WALK_STEPS, STRIDE = 4, 250, 0.02  # made-up scenes of readings; share of its range that a field goes in a step
TIMED = 300  # decisions that the latency is measured on
T = TypeVar("T")


def undisturbed(controller: Controller, look: Callable[[], T]) -> T:
    """What a look at a policy finds, which begins with a reset; again when its worker was killed from outside."""
    again = Item("a look at a policy")
    while True:
        found = look()
        if not controller.lost:
            return found
        again.again(controller.lost)


class TaskEvaluator:
    """`work`: a folder for texts and recorded episodes, which may be deleted when the run is over.

    `floors`: play the score floors of the task too when locks are asked for.
    """

    frames_per_episode = 20_000.0  # until episodes have been seen

    def __init__(
        self, system: System, protocol: str | None, detector: str, work: Path, workers: int = 1, floors: bool = True
    ) -> None:
        self.system, self.protocol, self.detector = system, system.protocol(protocol), detector
        self.work, self.workers = work, workers
        self._with_floors, self.floor_frames = floors, 0
        self.reload()
        self._watched: list[np.ndarray] = []
        self.store: GameStore | None = None
        self._players: Players | None = None
        self._with = lru_cache(maxsize=4)(self._make)
        self._compiled = lru_cache(maxsize=8)(self._compile)
        self._soft = frozenset(system.spec.safety.get("soft", SOFT))
        self._check_soft()

    def _check_soft(self) -> None:
        if not self._soft:
            return
        titles = set(self.system.logic(self.protocol.name).rules)
        for title in sorted(self._soft - titles):
            raise TriuneError(f"system.toml, [safety] soft: there is no rule {title!r}; {nearest(title, titles)}")

    # --- texts

    def _make(self, text: str) -> System:
        path = self.work / "texts" / f"{sha256(text)}.py"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, text.encode())
        of = self.system
        return System(of.spec, of.trust, True, of.require_isolation, path)

    def _compile(self, text: str) -> tuple[str, str] | None:
        """The file of the text as compiled for isolated workers, so that not each of those who play compiles it again,
        and its sha256; None when it does not compile: whoever plays it says why."""
        try:
            data = self._with(text).artifact(self.protocol.name)
        except LogicError:
            return None
        path = self.work / "texts" / f"{sha256(text)}.{self.protocol.name}"
        atomic_write(path, data)
        return str(path.resolve()), sha256(data)

    def player(self, text: str) -> System:
        """The system that plays the text, isolated."""
        return self._with(text)

    def controller(self, text: str) -> Controller:
        """An isolated controller of the text. Close it. LogicError when the text does not compile."""
        return self._with(text).controller(self.protocol.name)

    def compile(self, text: str) -> Compiled:
        """Diagnostics and figures; `latency_ms` too once there are recorded episodes to decide on."""
        from triune.check import check_isolated

        found = check_isolated(self.system, self.protocol.name, text)
        if found.defects:
            return found
        try:
            measured = self._latency(text)
        except LogicError as error:
            return Compiled((str(error),), found.measured, found.records)
        return Compiled((), {**found.measured, **measured}, found.records)

    def _latency(self, text: str) -> Mapping[str, float]:
        """The median time of a decision in an isolated worker, the least of five medians: a busy machine is slower."""
        controller = self.controller(text)
        try:
            scenes = [self.system.schema.read(v) for v in (self._watched[0][:TIMED] if self._watched else ())]
            medians = [_median(controller, scenes) for _ in range(5)] if scenes else []
        finally:
            controller.close()
        return {"latency_ms": round(min(medians), 4)} if medians else {}

    # --- locks and behaviour

    def watch(self, episodes: Sequence[Episode]) -> None:
        """Recorded episodes on which latency and behaviour are judged from now on."""
        self._watched = [e.scenes[:MOST_STEPS] for e in episodes]

    def reload(self) -> None:
        """Read the locks of the task's folder again."""
        self._locks = [lock for lock in self.system.locks() if self._with_floors or lock.kind != "floor"]
        self.floors = sum(lock.kind == "floor" for lock in self._locks)

    def locks(self, text: str) -> Mapping[str, bool]:
        """Scenes first; floors are played only when no lock is broken by then, and count as held otherwise."""
        self.floor_frames = 0
        found = self.scenes_kept(text)
        for lock in self._locks:
            if lock.kind == "floor":
                found[lock.name] = not all(found.values()) or self._keeps_floor(text, lock)
        return found

    def scenes_kept(self, text: str) -> dict[str, bool]:
        """Each lock on decisions, and whether the text keeps it; plays nothing. LogicError: it does not compile."""
        from logic.runtime.regression import ScenesLock, check_scenes

        found: dict[str, bool] = {}
        for lock in self._locks:
            if isinstance(lock, ScenesLock):
                controller = self._with(text).controller(lock.protocol)
                try:
                    found[lock.name] = not undisturbed(controller, partial(check_scenes, lock, controller))
                finally:
                    controller.close()
        return found

    def _keeps_floor(self, text: str, lock: Any) -> bool:
        result = evaluate(self._with(text), lock.protocol, [lock.seed], lock.shift, lock.detector)
        self.floor_frames += result.frames
        return bool(result.scores[0] >= lock.floor)

    def decisions(self, text: str, scenes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the text decides (uint8[T], or float32[T, n] of controls) on each sequence float32[T, size], each from
        fresh memory."""
        controller, read, space = self.controller(text), self.system.schema.read, self.system.spec.env.actions

        def decided(sequence: np.ndarray) -> np.ndarray:
            controller.reset()
            actions = [controller.decide(read(vector)).action for vector in sequence]
            return np.array(actions, space.dtype).reshape(-1, *space.shape)

        try:
            return [undisturbed(controller, partial(decided, sequence)) for sequence in scenes]
        finally:
            controller.close()

    def behaviour(self, text: str) -> str:
        """sha256 hex over the decisions on the scenes of all locks and of the watched episodes.

        Readings also go anywhere in their ranges: a poor parent's episodes may end before two children differ.
        """
        from logic.runtime.regression import ScenesLock

        recorded = [lock.scenes for lock in self._locks if isinstance(lock, ScenesLock)]
        digest = hashlib.sha256()
        for actions in self.decisions(text, [*recorded, *self._watched, *walks(self.system.schema)]):
            digest.update(len(actions).to_bytes(8, "little") + actions.tobytes())
        return digest.hexdigest()

    # --- playing

    def play(self, games: Sequence[tuple[str, int]]) -> Iterator[tuple[str, Score]]:
        """Each of the (text, seed) as it is done, over worker processes that stay; those of the store are not played
        again."""
        todo = []
        for text, seed in games:
            known = self.store.get(sha256(text), seed) if self.store else None
            if known:
                yield text, known
            else:
                todo.append((text, seed))
        for text, record in self._records(todo, None):
            score = Score(record["seed"], float(record["score"]), self.hard(record), record["frames"], record["steps"])
            if self.store:
                self.store.add(sha256(text), score)
            yield text, score

    def keep_games(self, path: Path) -> None:
        """Look for games in this file before playing them, and add new ones to it."""
        hashes = {k: v for k, v in hashes_of(self.system, self.detector).items() if k != "policy"}
        under = {"protocol": self.protocol.name, "eyes": self.detector, "soft": sorted(self._soft), **hashes}
        self.store = GameStore(path, under)

    def hard(self, record: Record) -> float:
        """Interventions of hard rules, and faults, per 1000 decisions of an episode."""
        hard = sum(n for title, n in record["interventions"].items() if title not in self._soft)
        return 1000.0 * (hard + record["faults"]) / max(1, record["steps"])

    def record(self, text: str, seeds: Sequence[int]) -> list[Episode]:
        """Whole episodes, kept in the work folder: what is there already is not played again."""
        keep = self.work / "episodes" / sha256(text)[:24]
        keep.mkdir(parents=True, exist_ok=True)
        missing = [(text, s) for s in seeds if not (keep / f"{s}.npz").is_file()]
        for _ in self._records(missing, keep):
            pass
        return [Episode.load(keep / f"{s}.npz") for s in seeds]

    def _records(self, games: Sequence[tuple[str, int]], keep: Path | None) -> Iterator[tuple[str, Record]]:
        if not games:
            return
        of = {sha256(text): text for text, _ in games}
        if self._players is None:
            system = self._with(games[0][0])
            request = make_request(system, self.protocol.name, [], None, self.detector, None)
            self._players = Players(system, request, self.workers)
        path = {text: str(self._with(text).policy_path.resolve()) for text in of.values()}
        made = {text: self._compiled(text) for text in of.values()}
        asked = [game(path[text], sha256(text), seed, keep, made[text]) for text, seed in games]
        for digest, record in self._players.play(asked):
            yield of[str(digest)], record

    def close(self) -> None:
        """End the worker processes; the next game starts new ones."""
        if self._players:
            self._players.close()
        self._players = None

    def frames(self, episode: Episode, steps: Sequence[int]) -> list[Any]:
        """uint8[H, W, 3] of these steps, in their order."""
        from triune.play.loop import frames_of

        wanted = set(steps)
        kept = {
            i: frame.copy() for i, frame in enumerate(frames_of(self.system, episode, max(wanted))) if i in wanted
        } if wanted else {}  # fmt: skip
        return [kept[i] for i in steps]

    # --- a lock that keeps what a revision has won

    def settled(self, texts: Sequence[str], episode: Episode) -> tuple[np.ndarray, Action]:
        """bool[T]: where every text decides what was done, also with all places moved a little; the fallback action."""
        scenes = [episode.scenes, *(self._nudged(episode.scenes, k) for k in range(NUDGES))]
        agree = np.ones(len(episode), bool)
        for text in texts:
            for actions in self.decisions(text, scenes):
                same = actions == episode.actions
                agree &= same if same.ndim == 1 else same.all(axis=1)
        return agree, self.system.spec.env.fallback

    def _nudged(self, scenes: np.ndarray, k: int) -> np.ndarray:
        """Scenes float32[T, size] with the place of everything moved by NUDGE px or so at each step, and every reading
        by NUDGE_READ of its range."""
        schema, draw, moved = self.system.schema, np.random.default_rng(k), scenes.copy()
        columns = [schema.slot(t.name, i).start + at for t in schema.things for i in range(t.count) for at in (1, 2)]
        noise = draw.normal(0.0, NUDGE, (len(scenes), len(columns)))
        moved[:, columns] += np.where(scenes[:, columns] != 0.0, noise, 0.0).astype(np.float32)
        for reading in schema.readings:
            seen = scenes[:, schema.slot(reading.name).start] > 0.5
            for at, f in enumerate(reading.fields, schema.slot(reading.name).start + 1):
                values = scenes[:, at] + draw.normal(0.0, NUDGE_READ * (f.high - f.low), len(scenes))
                inside = (values - f.low) % (f.high - f.low) + f.low if f.wrap else np.clip(values, f.low, f.high)
                moved[:, at] = np.where(seen, inside, scenes[:, at])
        return moved

    def lock_text(self, text: str, episode: Episode, steps: range, name: str, note: str) -> str:
        """The file of a lock on the decisions of `steps`; LogicError when there can be none."""
        from logic.runtime.regression import Recording, make_scenes, recorded, text_of

        actions = [recorded(self.system.spec.env.actions, action) for action in episode.actions]
        recording, about = Recording(episode.scenes, actions, []), self._about(episode, name, note)
        controller = self.controller(text)
        try:
            lock = make_scenes(recording, steps.start, steps.stop, None, controller, False, **about)
        finally:
            controller.close()
        return text_of(lock, self.system.schema)

    def floor_text(self, episode: Episode, floor: float, name: str, note: str) -> str:
        """The file of a lock on the score of the episode's seed."""
        from logic.runtime.regression import FloorLock, text_of

        meta = {"seed": episode.meta["seed"], "detector": episode.meta["eyes"], "shift": episode.meta["shift"]}
        lock = FloorLock(floor=floor, scored=episode.meta["score"], **meta, **self._about(episode, name, note))
        return text_of(lock, self.system.schema)

    def _about(self, episode: Episode, name: str, note: str) -> dict[str, Any]:
        """What a lock's file says of where it comes from."""
        from triune.version import __version__

        return {
            "name": name, "task": self.system.name, "protocol": self.protocol.name, "note": note,
            "triune": __version__, "source": {k: episode.meta.get(k) for k in ("seed", "eyes", "shift", "policy")},
        }  # fmt: skip


def walks(schema: SceneSchema) -> list[np.ndarray]:
    """Made-up scenes float32[WALK_STEPS, size] in which every field of every reading wanders through its range; the
    same ones for the same schema, none without readings."""
    draw, found = np.random.default_rng(0), []
    for _ in range(WALKS if schema.readings else 0):
        scenes = np.tile(schema.empty(), (WALK_STEPS, 1))
        for reading in schema.readings:
            scenes[:, schema.slot(reading.name)] = 1.0
            for at, f in enumerate(reading.fields, schema.slot(reading.name).start + 1):
                way = draw.uniform() + np.cumsum(draw.normal(0.0, STRIDE, WALK_STEPS))
                share = way % 1.0 if f.wrap else 1.0 - np.abs(way % 2.0 - 1.0)  # turned back at either end
                scenes[:, at] = f.low + share * (f.high - f.low)
        found.append(scenes)
    return found


def _median(controller: Controller, scenes: Sequence[Any]) -> float:
    """Milliseconds of a decision."""
    controller.reset()
    times = []
    for scene in scenes:
        began = time.perf_counter()
        controller.decide(scene)
        times.append(time.perf_counter() - began)
    return 1000.0 * statistics.median(times)
