"""How often the gate is wrong: on synthetic scores, on recorded ones."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from data_flywheel.storage.files import atomic_write
from envs.crew import crew
from supervisor.gate.gate import Ask, Evidence, Gate, GateConfig, Pair, Verdict
from supervisor.gate.race import Race
from supervisor.gate.seeds import BLOCK, GATE, Role
from triune.commands import common
from triune.console import Console, table
from triune.errors import TriuneError
from triune.play import evaluation as stats

# ----------------------------------------------------------------------------------------------------
# One trial of the gate on pairs that somebody supplies: what benchmarks and tests of the gate have in common.
#
# The stages before playing are taken as passed, and there is no simpler variant.


Play = Callable[[Sequence[int]], Mapping[int, Pair]]
Open = Callable[[Role], Sequence[int]]


class Outcome(NamedTuple):
    """A verdict and how many seeds of either block were played for it."""

    verdict: Verdict
    selecting: int
    confirming: int

    @property
    def seeds(self) -> int:
        """Pairs played in all."""
        return self.selecting + self.confirming


def run_trial(gate: Gate, play: Play, block: Open, most: int | None = None) -> Outcome:
    """Ask `play` for pairs until the gate decides. `most`: no probe beyond so many selecting seeds (a budget)."""
    e = Evidence(schema=(), compile=(), measured={}, locks={}, behaviour="child", simpler=())
    while True:
        step = gate.next(e)
        if isinstance(step, Ask) and step.stage == "probe" and most and len(e.full) + len(step.seeds) > most:
            step = gate.conclude(e)
        if isinstance(step, Verdict):
            return Outcome(step, len(e.full), len(e.confirm))
        if step.stage == "confirm":
            if step.seeds:
                e = replace(e, confirm={**e.confirm, **play(step.seeds)})
            else:
                e = replace(e, confirm_seeds=tuple(block("confirm")))
        elif step.seeds:
            e = replace(e, full={**e.full, **play(step.seeds)})
        else:
            e = replace(e, full_seeds=tuple(block("select")))


class Finish(NamedTuple):
    """Who was taken in a race ("": nobody), games of all children, games of the parent."""

    taken: str
    children: int
    parent: int


def run_race(
    race: Race, plays: Mapping[str, Play], blocks: Mapping[str, Sequence[int]], select: Sequence[int]
) -> Finish:
    """The same for several children. `blocks`: a fresh one for each; `select`: the one that all meet."""
    ready = Evidence(schema=(), compile=(), measured={}, locks={}, simpler=(), full_seeds=tuple(select))
    children = {name: replace(ready, behaviour=name, confirm_seeds=tuple(blocks[name])) for name in plays}
    parent: set[int] = set()
    while (found := race.next(children)).asks:
        for name, ask in found.asks.items():
            e, new = children[name], plays[name](ask.seeds)
            parent |= set(ask.seeds)
            fresh = ask.stage == "confirm"
            children[name] = replace(e, confirm={**e.confirm, **new}) if fresh else replace(e, full={**e.full, **new})
    taken = [name for name, verdict in found.verdicts.items() if verdict.kind == "accept"]
    return Finish("".join(taken), sum(len(e.full) + len(e.confirm) for e in children.values()), len(parent))


# ----------------------------------------------------------------------------------------------------
# Paired scores for trying the gate: of equal policies, and of one that is truly a tenth better.
#
# Equal policies are exchangeable: on every seed their two scores could be swapped. A gain counts from `low`, the
# score of doing nothing.


Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, bool], tuple[Floats, Floats]]  # (n, better) -> parent, child
Field = Callable[[np.random.Generator, int, int, bool], tuple[Floats, Floats]]  # (n, K, better) -> [n], [K, n]
GAIN = 0.1


@dataclass(frozen=True)
class Scores:
    """A distribution of scores: `values` rise, `weights` sum to 1."""

    values: Floats
    weights: Floats

    @property
    def mean(self) -> float:
        """Expected score."""
        return float(self.values @ self.weights)

    @property
    def spread(self) -> float:
        """Standard deviation."""
        return math.sqrt(float((self.values - self.mean) ** 2 @ self.weights))

    def of_normal(self, z: Floats) -> Floats:
        """The score at each standard normal deviate's quantile."""
        return self.values[np.searchsorted(self._cuts, z)]

    @cached_property
    def _cuts(self) -> Floats:
        """Deviates between which each value lies."""
        edges = np.cumsum(self.weights)[:-1]
        return np.array([NormalDist().inv_cdf(min(max(float(e), 1e-12), 1 - 1e-12)) for e in edges])


def gamma_scores(mean: float, ratio: float, top: int = 864) -> Scores:
    """Whole scores from 0 to `top`, skewed to the right; `ratio` is spread over mean."""
    values = np.arange(top + 1, dtype=np.float64)
    shape = 1 / ratio**2
    weights = np.exp((shape - 1) * np.log(values + 0.5) - (values + 0.5) * shape / mean)
    return Scores(values, weights / weights.sum())


def lognormal_scores(mean: float, ratio: float, top: int = 864) -> Scores:
    """Whole scores with a heavy tail."""
    values = np.arange(top + 1, dtype=np.float64)
    sigma = math.sqrt(math.log(1 + ratio**2))
    middle = math.log(mean) - sigma**2 / 2
    weights = np.exp(-((np.log(values + 0.5) - middle) ** 2) / (2 * sigma**2)) / (values + 0.5)
    return Scores(values, weights / weights.sum())


def ceiling_scores(full: float, below: Scores, top: int = 864) -> Scores:
    """`top` in a share `full` of the games, else as `below`."""
    weights = below.weights * (1 - full)
    weights[top] += full
    return Scores(below.values, weights)


def pong_scores(rally: float) -> Scores:
    """Own points less the other's when 21 end the game and `rally` is the chance of a point."""
    wins = [math.comb(20 + k, k) * rally**21 * (1 - rally) ** k for k in range(21)]  # 21 : k
    losses = [math.comb(20 + k, k) * (1 - rally) ** 21 * rally**k for k in range(21)]  # k : 21
    weights = np.array([*losses, 0.0, *reversed(wins)])
    return Scores(np.arange(-21.0, 22.0), weights / weights.sum())


def improved(family: Callable[[float], Scores], at: float, most: float, low: float = 0.0) -> Scores:
    """Of a family of distributions that rise with their parameter: the one a tenth better than `family(at)`."""
    wanted = low + (1 + GAIN) * (family(at).mean - low)
    below, above = at, most
    for _ in range(60):
        middle = (below + above) / 2
        below, above = (middle, above) if family(middle).mean < wanted else (below, middle)
    return family(below)


def drawn(parent: Scores, child: Scores | None, shared: float) -> Draw:
    """`shared`: correlation of the two deviates on a seed. Without a `child` there are only equal children."""

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        first, second = random.standard_normal((2, n))
        second = shared * first + math.sqrt(1 - shared**2) * second
        other = child if better else parent
        assert other is not None
        return parent.of_normal(first), other.of_normal(second)

    return draw


def field(parent: Scores, child: Scores | None, shared: float) -> Field:
    """The same for several children of one parent, of which the first may be the better one."""

    def draw(random: np.random.Generator, n: int, children: int, better: bool) -> tuple[Floats, Floats]:
        first = random.standard_normal(n)
        others = shared * first + math.sqrt(1 - shared**2) * random.standard_normal((children, n))
        who = [child if better and child and not k else parent for k in range(children)]
        return parent.of_normal(first), np.array([one.of_normal(z) for one, z in zip(who, others, strict=True)])

    return draw


def recorded(parent: Sequence[float], equal: Sequence[float], better: Sequence[float] | None, low: float = 0.0) -> Draw:
    """Scores that two equal policies, and perhaps a better one, really had on the same seeds; seeds are drawn again.

    Which of the equal two is the parent is drawn for each seed. The better child plays as the better policy did in
    such a share of the games that it is a tenth better in the mean; without one, its scores are the equal one's with
    a tenth added.
    """
    one, two = np.asarray(parent, np.float64), np.asarray(equal, np.float64)
    base = float((one.mean() + two.mean()) / 2)
    best = None if better is None else np.asarray(better, np.float64)
    share = 0.0 if best is None else GAIN * (base - low) / (float(best.mean()) - base)

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        at, swap = random.integers(0, len(one), n), random.random(n) < 0.5
        old, new = np.where(swap, two[at], one[at]), np.where(swap, one[at], two[at])
        if not better:
            return old, new
        if best is None:
            return old, low + (1 + GAIN) * (new - low)
        return old, np.where(random.random(n) < share, best[at], new)

    return draw


def pairs(draw: Draw, random: np.random.Generator, n: int, better: bool) -> list[Pair]:
    """`n` pairs of one trial."""
    return [Pair(float(old), float(new)) for old, new in zip(*draw(random, n, better), strict=True)]


def effect(draw: Draw) -> float:
    """The better child's mean difference over the standard deviation of differences."""
    old, new = draw(np.random.default_rng(0), 200_000, True)
    return float((new - old).mean() / (new - old).std())


# ----------------------------------------------------------------------------------------------------
# How often the gate lets equal children in, and better ones, over many trials of each kind of scores.
#
# Every trial draws its own scores from a stream named by kind and number: the same call gives the same figures.


DESIGN_EFFECT = 0.134  # what the gate's defaults are made to find (docs/gate.md)


@dataclass(frozen=True)
class Kind:
    """One kind of scores; `better` False where no child can be a tenth better."""

    name: str
    draw: Draw
    source: str = "synthetic"
    better: bool = True
    field: Field | None = None  # several children


class Row(NamedTuple):
    """Trials of one kind: how many were accepted, and the seeds each took on average."""

    trials: int
    accepted: int
    seeds: float

    def told(self) -> dict[str, Any]:
        """JSON-able, with the Clopper-Pearson interval of the share."""
        rate = self.accepted / self.trials if self.trials else None
        low, high = share_interval(self.accepted, self.trials)
        return {
            "trials": self.trials,
            "accepted": self.accepted,
            "rate": rate,
            "ci95": [low, high],
            "seeds": self.seeds,
        }


def synthetic() -> list[Kind]:
    """Kinds of scores that games show: skewed, near a ceiling, of two sides, heavy-tailed."""

    def skewed(ratio: float, shared: float, name: str) -> Kind:
        parent = gamma_scores(60.0, ratio)
        child = improved(lambda mean: gamma_scores(mean, ratio), 60.0, 90.0)
        return drawn_kind(name, parent, child, shared)

    def ceiling(full: float) -> Scores:
        return ceiling_scores(full, gamma_scores(450.0, 0.4))

    tails = improved(lambda mean: lognormal_scores(mean, 1.0), 60.0, 90.0)
    return [
        skewed(0.45, 0.1, "skewed, spread 0.45 of the mean"),
        skewed(0.5, 0.0, "skewed, spread 0.5, no shared luck"),
        skewed(0.9, 0.8, "skewed, spread 0.9, much shared luck"),
        drawn_kind("near the ceiling", ceiling(0.6), improved(ceiling, 0.6, 1.0), 0.2),
        drawn_kind("at the ceiling", ceiling(0.97), None, 0.0),
        drawn_kind("two sides, -21 to 21", pong_scores(0.4), improved(pong_scores, 0.4, 0.6, -21.0), 0.1),
        drawn_kind("heavy tail, spread 1.0", lognormal_scores(60.0, 1.0), tails, 0.1),
    ]


def drawn_kind(name: str, parent: Scores, child: Scores | None, shared: float) -> Kind:
    """Scores from a distribution, of one child or of several."""
    draw, several = drawn(parent, child, shared), field(parent, child, shared)
    return Kind(name, draw, better=child is not None, field=several)


def trial(gate: Gate, kind: Kind, number: int, better: bool) -> Outcome:
    """Trial `number` of a kind."""
    stream = np.random.default_rng([crc32(kind.name.encode()), number, better])
    blocks = {
        "select": range(GATE.start, GATE.start + BLOCK),
        "confirm": range(GATE.start + BLOCK, GATE.start + 2 * BLOCK),
    }
    scores = dict(
        zip([*blocks["select"], *blocks["confirm"]], pairs(kind.draw, stream, 2 * BLOCK, better), strict=True)
    )

    def block(role: Role) -> range:
        return blocks[role]

    return run_trial(gate, lambda seeds: {s: scores[s] for s in seeds}, block)


RACERS = tuple(f"trial {n}" for n in range(1, 5))


def race_trial(config: GateConfig, kind: Kind, number: int, better: bool) -> Finish:
    """Race `number` of a kind: equal children, or a better one before equal ones."""
    assert kind.field is not None
    stream = np.random.default_rng([crc32(kind.name.encode()), number, better, len(RACERS)])
    select, *fresh = (range(GATE.start + i * BLOCK, GATE.start + (i + 1) * BLOCK) for i in range(1 + len(RACERS)))
    old, new = kind.field(stream, (1 + len(RACERS)) * BLOCK, len(RACERS), better)

    def play(scores: Floats) -> Play:
        return lambda seeds: {s: Pair(float(old[s - GATE.start]), float(scores[s - GATE.start])) for s in seeds}

    plays = {name: play(scores) for name, scores in zip(RACERS, new, strict=True)}
    return run_race(Race(config), plays, dict(zip(RACERS, fresh, strict=True)), select)


def row(gate: Gate, kind: Kind, trials: int, better: bool, tick: Callable[[], object] = lambda: None) -> Row:
    """Judge so many children."""
    accepted = seeds = 0
    for number in range(trials):
        outcome = trial(gate, kind, number, better)
        accepted += outcome.verdict.kind == "accept"
        seeds += outcome.seeds
        tick()
    return Row(trials, accepted, round(seeds / trials, 1) if trials else 0.0)


# What the gate was before it looked early and often: first at 20 games, and at a fresh block once.
BEFORE = GateConfig(
    looks=(20, 60, 150, 250, 450), spend=(0.01, 0.03, 0.03, 0.02, 0.11), hopeful=(0.95, 0.8, 0.6, 0.45, 0.3), screen=5,
    confirm_least=20, confirm_power=0.95, confirm_at=(1.0,), confirm_share=(1.0,), confirm_hopeful=(1.0,),
    simplify_screen=0, crash_share=0.0,
)  # fmt: skip
# For a budget of few games: the same level, no small gains.
SHORT = GateConfig(
    looks=(5, 8, 12, 20, 32, 50, 80), spend=(0.032, 0.01, 0.015, 0.025, 0.032, 0.04, 0.046),
    hopeful=(0.97, 0.95, 0.9, 0.8, 0.65, 0.45, 0.3), confirm_most=80,
)  # fmt: skip
GATES = {"now": GateConfig(), "before": BEFORE, "short": SHORT}
RACE = "race"  # in the place of a gate: four children at once, by the gate "now"
RACED = (
    "skewed, spread 0.5, no shared luck", "skewed, spread 0.9, much shared luck", "two sides, -21 to 21",
    "heavy tail, spread 1.0",
)  # fmt: skip
LOST = (5, 10, 20, 33)  # a child that gains 4 % in every game loses one in so many: equal in the mean only
EFFECTS = (0.0, DESIGN_EFFECT, 0.2, 0.3, 0.5, 0.8, 2.5)  # mean difference over its standard deviation
CHUNK = 25  # trials that one worker is given


def of_effect(effect: float) -> Kind:
    """Normal scores around 200, spread 30, without shared luck."""

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        old, new = 200 + 30 * random.standard_normal((2, n))
        return old, new + 30 * math.sqrt(2) * effect * better

    return Kind(f"effect {effect:g}", draw)


def uneven(lost: int) -> Kind:
    """A child that scores 78 where the parent scores 75, but loses one game in `lost`, so that the means are equal."""

    def draw(random: np.random.Generator, n: int, better: bool) -> tuple[Floats, Floats]:
        return np.full(n, 75.0), np.where(random.random(n) < 1 / lost, 75.0 - 3.0 * (lost - 1), 78.0)

    return Kind(f"loses one game in {lost}", draw)


class Part(NamedTuple):
    """Trials that one worker judges: by which gate, of which kind, equal or better children, from which number on."""

    gate: str
    kind: str
    better: bool
    first: int
    trials: int


@contextmanager
def judging(job: Mapping[str, Mapping[str, Any]]) -> Iterator[Callable[[Sequence[Any]], list[Any]]]:
    """The work of a child: a Part to itself, trials accepted, seeds played. `job`: settings of gates by name."""
    gates = {name: Gate(GateConfig(**_tuples(settings))) for name, settings in job.items()}
    every = {kind.name: kind for kind in [*kinds(read_recorded()), *map(of_effect, EFFECTS), *map(uneven, LOST)]}

    def work(item: Sequence[Any]) -> list[Any]:
        part = Part(*item)
        if part.gate == RACE:
            config = gates["now"].config
            ends = [
                race_trial(config, every[part.kind], n, part.better)
                for n in range(part.first, part.first + part.trials)
            ]
            taken = sum(bool(end.taken) and (not part.better or end.taken == RACERS[0]) for end in ends)
            return [list(part), taken, sum(end.children for end in ends)]
        found = [
            trial(gates[part.gate], every[part.kind], number, part.better)
            for number in range(part.first, part.first + part.trials)
        ]
        return [list(part), sum(o.verdict.kind == "accept" for o in found), sum(o.seeds for o in found)]

    yield work


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}


Rows = dict[tuple[str, str, bool], Row]


def judge_all(
    gates: Mapping[str, GateConfig], wanted: Mapping[tuple[str, str, bool], int], workers: int,
    tick: Callable[[int, int], object],
) -> Rows:  # fmt: skip
    """A Row for each (gate, kind, better) of `wanted`, which says how many trials."""
    parts = [
        Part(*which, first, min(CHUNK, count - first))
        for which, count in wanted.items() for first in range(0, count, CHUNK)
    ]  # fmt: skip
    accepted, seeds, done = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0), 0
    judges = crew("benchmarks.gate:judging", workers, "triune.errors:one_line")
    for item, got, played in judges.map({name: asdict(config) for name, config in gates.items()}, parts):
        part = Part(*item)
        accepted[part[:3]] += got
        seeds[part[:3]] += played
        done += part.trials
        tick(done, sum(wanted.values()))
    return {which: Row(n, accepted[which], round(seeds[which] / n, 1) if n else 0.0) for which, n in wanted.items()}


def total(rows: Sequence[Mapping[str, Any]], which: str) -> dict[str, Any]:
    """All trials of `which` ("null" or "better") together."""
    mine = [r[which] for r in rows if which in r]
    trials = sum(m["trials"] for m in mine)
    seeds = sum(m["seeds"] * m["trials"] for m in mine) / trials if trials else 0.0
    return Row(trials, sum(m["accepted"] for m in mine), round(seeds, 1)).told()


def share_interval(found: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share: it covers at least `level`, whatever the share is."""
    if not trials:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if found == 0 else _root(lambda p: 1 - _at_most(found - 1, trials, p), tail)
    high = 1.0 if found == trials else _root(lambda p: 1 - _at_most(found, trials, p), 1 - tail)
    return round(low, 4), round(high, 4)


def _at_most(k: int, n: int, p: float) -> float:
    """Chance of at most `k` of `n`."""
    i = np.arange(k + 1)
    return float(np.exp(_ways(n)[: k + 1] + i * math.log(p) + (n - i) * math.log1p(-p)).sum())


@cache
def _ways(n: int) -> np.ndarray:
    """Logarithms of the binomial coefficients of n."""
    return np.array([math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in range(n + 1)])


def _root(rising: Callable[[float], float], value: float) -> float:
    """Where a rising function of (0, 1) takes `value`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


# ----------------------------------------------------------------------------------------------------
# `triune bench gate`: how often the gate is wrong, on synthetic scores, on recorded ones and in really played
# trials.


RECORDED = Path(__file__).resolve().parent.parent / "benchmarks" / "gate_scores.json"
FORMAT = 1
TRIALS = 200  # of each kind of scores, equal and better each
TARGET = 0.85  # share of better children that should get in
SURE = 2000  # equal children in all from which on the upper end of the interval has to keep the level


def read_recorded(path: Path = RECORDED) -> dict[str, Any] | None:
    """What `--real` has measured; None outside a checkout. TriuneError for a damaged file."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TriuneError(f"{path} is damaged ({error}); measure again with `triune bench gate --real`") from None
    if found.get("format") != FORMAT:
        raise TriuneError(f"{path} has another format; measure again with `triune bench gate --real`")
    return found


def write_recorded(found: Mapping[str, Any], path: Path = RECORDED) -> None:
    """Keep a measurement, lists of numbers on one line each."""
    text = re.sub(
        r"\[[-+\d\s.,e]*\]", lambda m: m.group().replace("\n", "").replace(" ", ""), json.dumps(found, indent=1)
    )
    atomic_write(path, (text + "\n").encode())


def kinds(found: Mapping[str, Any] | None) -> list[Kind]:
    """Synthetic kinds of scores, then recorded ones."""
    made = synthetic()
    if found is None:
        return made
    source = f"recorded, {found['task']}, {found['protocol']}"
    rough, calm = (found["recorded"][name]["scores"] for name in ("unsteady", "follower"))
    made.append(Kind("unsteady hand", recorded(*(rough[k] for k in ("parent", "equal", "better"))), source))
    made.append(Kind("follows the ball", recorded(calm["parent"], calm["equal"], None), source))
    for name, card in found["cards"].items():
        draw = recorded(card["scores"], card["scores"][1:] + card["scores"][:1], None)
        made.append(Kind(name, draw, f"score card: {card['command']}", better=False))
    return made


def measure(
    trials: int, tick: Callable[[int, int], object], config: GateConfig | None = None, workers: int = 1
) -> dict[str, Any]:
    """The figures of `triune bench gate --json`. `tick`: trials done, trials in all."""
    found, now = read_recorded(), config or GateConfig()
    every = kinds(found)
    wanted = {("now", kind.name, better): trials for kind in every for better in (False, True)[: 1 + kind.better]}
    few = min(trials, 300)
    wanted |= {(gate, of_effect(effect).name, True): few for effect in EFFECTS for gate in GATES}
    raced = [kind for kind in every if kind.name in RACED]
    some = min(max(1, trials // 2), 500)
    wanted |= {(RACE, kind.name, better): some for kind in raced for better in (False, True)}
    wanted |= {("now", uneven(lost).name, False): few for lost in LOST}
    rows = judge_all({**GATES, "now": now}, wanted, workers, tick)
    scenarios = []
    for kind in every:
        told: dict[str, Any] = {"scores": kind.name, "source": kind.source}
        told["null"] = rows["now", kind.name, False].told()
        if kind.better:
            told |= {"effect": round(effect(kind.draw), 4), "better": rows["now", kind.name, True].told()}
        scenarios.append(told)
    effects = [
        {"effect": e, **{gate: rows[gate, of_effect(e).name, True].told() for gate in GATES}} for e in EFFECTS
    ]  # fmt: skip
    crashes = [{"one_in": lost, **rows["now", uneven(lost).name, False].told()} for lost in LOST]
    races = [race_figures(rows, kind) for kind in raced]
    found_ = figures(scenarios, now)
    return {**found_, "race": race_totals(races, scenarios), "effects": effects, "uneven": crashes, "real": real(found)}


def race_figures(rows: Rows, kind: Kind) -> dict[str, Any]:
    """Races of one kind. `null`: any of four equal children taken; `better`: the better one of four taken."""
    null, better = (rows[RACE, kind.name, which].told() for which in (False, True))
    return {"scores": kind.name, "null": null, "effect": round(effect(kind.draw), 4), "better": better}


def race_totals(races: Sequence[Mapping[str, Any]], scenarios: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All races, and beside them the gate with one child over the same kinds, as far as a tenth is within reach."""
    near = [r for r in races if r["effect"] >= 0.95 * DESIGN_EFFECT]
    alone = [r for r in scenarios if r["scores"] in {n["scores"] for n in near}]
    return {
        "children": len(RACERS), "null": total(races, "null"), "better": total(near, "better"),
        "alone": total(alone, "better"), "scenarios": list(races),
    }  # fmt: skip


def figures(rows: Sequence[Mapping[str, Any]], config: GateConfig) -> dict[str, Any]:
    """Shares over all kinds of scores. A tenth that is smaller than what the gate was made to find is counted apart."""
    null = total(rows, "null")
    near = [r for r in rows if "better" in r and r["effect"] >= 0.95 * DESIGN_EFFECT]
    far = [r for r in rows if "better" in r and r not in near]
    better, beyond = total(near, "better"), total(far, "better")
    return {
        "null_trials": null["trials"], "false_accept_rate": null["rate"], "false_accept_ci95": null["ci95"],
        "false_accept_bound": round(config.bound, 6), "better_trials": better["trials"], "power": better["rate"],
        "power_ci95": better["ci95"], "power_beyond_reach": beyond["rate"],
        "beyond_reach": [r["scores"] for r in far], "seeds_spent": {"null": null["seeds"], "better": better["seeds"]},
        "scenarios": list(rows),
        "ok": (null["ci95"][1] if null["trials"] >= SURE else null["rate"]) <= config.total_level
        and (better["rate"] or 0.0) >= TARGET,
    }  # fmt: skip


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the README and docs/gate.md quote of a measurement."""
    scores = found["recorded"]["unsteady"]["scores"]
    base = float(np.mean(scores["parent"]))
    truth = {
        name: {"n": len(s), "mean": round(float(np.mean(s)), 3), "ci95": [round(v, 3) for v in stats.ci95(s)],
               "gain": round(float(np.mean(s)) / base - 1, 4)}
        for name, s in scores.items()
    }  # fmt: skip
    return {"truth": truth, "trials": {kind: _tally(found["trials"], kind) for kind in ("equal", "better")}}


def _tally(trials: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    mine = [t for t in trials if t["kind"] == kind]
    seeds = [t["selecting"] + t["confirming"] for t in mine]
    accepted = sum(t["verdict"] == "accept" for t in mine)
    return {"trials": len(mine), "accepted": accepted, "seeds": round(float(np.mean(seeds)), 1) if seeds else None}


def real(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What was measured on episodes really played."""
    if found is None:
        return None
    return {**summary(found), "command": found["command"], "episodes": found["episodes"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `triune bench gate`."""
    parser.add_argument("--trials", type=common.positive, metavar="N", help="of each kind")
    parser.add_argument(
        "--real", action="store_true", help="play and judge real episodes first (about 40 minutes, goes on)"
    )
    parser.add_argument("--workers", type=common.positive, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--minutes", type=common.positive, default=60, metavar="M", help="--real: stop after")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the measurement."""

    if args.real:
        from benchmarks import gate_played

        write_recorded(gate_played.measure(console.log, args.minutes))
    tick: Callable[[int, int], object] = lambda i, n: console.progress(i, n, "trials")  # noqa: E731
    found = measure(args.trials or TRIALS, tick, workers=common.workers(args))
    console.clear()
    head = ["scores", "equal", "accepted", "seeds", "better", "accepted", "seeds", "gain / spread"]
    console.say(table([_gate_row(r) for r in found["scenarios"]], head, set(range(1, 8))))
    low, high = found["false_accept_ci95"]
    console.say(f"equal children accepted: {found['false_accept_rate']:.3f} [{low:.3f}, {high:.3f}]")
    low, high = found["power_ci95"]
    console.say(f"children a tenth better: {found['power']:.3f} [{low:.3f}, {high:.3f}]")
    if found["beyond_reach"]:
        away = f"where games spread too much ({', '.join(found['beyond_reach'])})"
        console.say(f"  {away}: {found['power_beyond_reach']:.3f}")
    _say_races(found["race"], console)
    head = ["gain / spread", *(cell for gate in GATES for cell in (f"{gate}: accepted", "games"))]
    console.say(table([_effect_row(r) for r in found["effects"]], head, set(range(len(head)))))
    for told in found["uneven"]:
        console.say(f"gains 4 % in every game, loses one in {told['one_in']}: {told['rate']:.3f} accepted")
    for kind, told in (found["real"] or {"trials": {}})["trials"].items():
        console.say(
            f"really played, {kind}: {told['accepted']} of {told['trials']} accepted, {told['seeds']} seeds each"
        )
    return found


def _say_races(race: Mapping[str, Any], console: Console) -> None:
    head = ["scores, four children", "equal", "one taken", "games", "one better", "taken", "games", "gain / spread"]
    console.say(table([_gate_row(r) for r in race["scenarios"]], head, set(range(1, 8))))
    for name, which in (("one of four equal children taken", "null"), ("the better one of four", "better")):
        low, high = race[which]["ci95"]
        console.say(f"{name}: {race[which]['rate']:.3f} [{low:.3f}, {high:.3f}], {race[which]['seeds']:.0f} games")
    low, high = race["alone"]["ci95"]
    console.say(f"  alone: {race['alone']['rate']:.3f} [{low:.3f}, {high:.3f}], {race['alone']['seeds']:.0f} games")


def _effect_row(row: dict[str, Any]) -> list[str]:
    sides = [row[gate] for gate in GATES]
    return [f"{row['effect']:g}", *(cell for s in sides for cell in (f"{s['rate']:.3f}", f"{s['seeds']:.0f}"))]


def _gate_row(row: dict[str, Any]) -> list[str]:
    cells = [row["scores"]]
    for which in ("null", "better"):
        told = row.get(which)
        cells += [str(told["trials"]), f"{told['rate']:.3f}", f"{told['seeds']:.0f}"] if told else ["", "", ""]
    return [*cells, f"{row['effect']:.3f}" if "effect" in row else ""]
