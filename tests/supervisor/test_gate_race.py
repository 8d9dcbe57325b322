"""A race of several children: who plays on, who is dropped, who is taken, how often equal children get in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from gate_kit import SELECT, SMALL, judged, passed

from supervisor.gate.gate import Ask, Evidence, Pair, Verdict
from supervisor.gate.race import Race, among

Play = Callable[[int], float]
FRESH = {name: tuple(range(2000 + 100 * i, 2030 + 100 * i)) for i, name in enumerate("abcdefgh")}


def parent(seed: int) -> float:
    return 10.0 + seed % 3


def plus(gain: float) -> Play:
    """Better by `gain`, a little more on every other seed."""
    return lambda seed: parent(seed) + gain + 0.1 * (seed % 2)


def lucky(seed: int) -> float:
    """Better on the seeds that select, worse on fresh ones."""
    return parent(seed) + (9.0 + 0.1 * (seed % 2) if seed < 2000 else -9.0)


def equal(seed: int) -> float:
    return parent(seed) + (-1.0) ** (seed // 2) * (1 + seed % 5)


class Table:
    """Children at play. `games`: how many each has played; `asked`: who was asked for games at once."""

    def __init__(
        self, plays: Mapping[str, Play], race: Race | None = None, parent: Play = parent, **more: Evidence
    ) -> None:
        self.plays, self.race, self.parent = plays, race or Race(SMALL), parent
        self.asked: list[tuple[str, ...]] = []
        self.children = {name: more.get(name, passed(behaviour=name)) for name in plays}

    @property
    def games(self) -> dict[str, int]:
        return {name: len(e.full) + len(e.confirm) for name, e in self.children.items()}

    def step(self) -> Mapping[str, Verdict] | None:
        found = self.race.next(self.children)
        assert self.race.next(self.children) == found, "the same evidence must give the same answer"
        if any(ask.seeds for ask in found.asks.values()):
            self.asked.append(tuple(found.asks))
        for name, ask in found.asks.items():
            self.children[name] = self.answer(name, ask)
        return None if found.asks else found.verdicts

    def answer(self, name: str, ask: Ask) -> Evidence:
        e, block = self.children[name], "confirm" if ask.stage == "confirm" else "full"
        if not ask.seeds:
            return replace(e, **{f"{block}_seeds": FRESH[name] if block == "confirm" else SELECT})
        new = {seed: Pair(self.parent(seed), self.plays[name](seed)) for seed in ask.seeds}
        return replace(e, **{block: {**getattr(e, block), **new}})

    def run(self) -> Mapping[str, Verdict]:
        while (found := self.step()) is None:
            pass
        return found


def kinds(found: Mapping[str, Verdict]) -> dict[str, str]:
    return {name: verdict.kind for name, verdict in found.items()}


def test_a_race_of_one_is_the_gate() -> None:
    for play in (plus(3.0), plus(0.0), equal, lucky):
        alone = judged(lambda seed, play=play: Pair(parent(seed), play(seed)))  # type: ignore[misc]
        assert Table({"a": play}).run() == {"a": alone}


def test_the_best_is_taken_and_the_others_lose_to_it() -> None:
    table = Table({"a": plus(-5.0), "b": plus(3.0), "c": plus(2.95), "d": equal})
    found = table.run()
    assert kinds(found) == {"a": "reject", "b": "accept", "c": "indecisive", "d": "indecisive"}
    assert found["c"].reasons == ("lost the race to b: shown to be better first",), "it had passed, too"
    assert found["d"].reasons[0].startswith("lost the race to b") and found["d"].numbers["full_pairs"] == 10
    assert table.games["a"] == 7 and table.games["c"] < table.games["b"], "what is dropped costs no more games"
    assert not table.children["c"].confirm_seeds


def test_who_is_plainly_behind_another_costs_no_more_games() -> None:
    """Though the parent has not beaten it."""
    table = Table({"a": lambda seed: equal(seed) + 1.5, "b": lambda seed: equal(seed) + 0.5})
    found = table.run()
    assert (
        table.games["a"] > table.games["b"] == 10
        and "lost the race to a: plainly behind after 10" in found["b"].reasons[0]
    )


def test_who_fails_at_the_fresh_block_leaves_the_race_to_the_others() -> None:
    table = Table({"a": lucky, "b": plus(8.0 - 0.2), "c": plus(8.5)})
    found = table.run()
    assert kinds(found)["a"] == "reject" and found["a"].stage == "confirm"
    assert kinds(found)["c"] == "accept" and "lost the race to c" in found["b"].reasons[0]
    assert table.asked[-1] == ("c",) and not table.children["b"].confirm_seeds, "one is confirmed at a time"


def test_children_that_are_not_played_take_nothing_from_the_others() -> None:
    broken = passed(compile=("line 1: no",), behaviour="b")
    alone, beside = Table({"a": plus(3.0)}).run(), Table({"a": plus(3.0), "b": equal}, b=broken).run()
    assert beside == {**alone, "b": beside["b"]} and beside["b"].stage == "compile"


def test_stages_without_games_come_one_child_after_the_other() -> None:
    table = Table({"a": equal, "b": equal}, a=passed(locks=None, behaviour="a"), b=passed(locks=None, behaviour="b"))
    assert table.race.next(table.children).asks == {"a": Ask("locks")}


def test_nobody_goes_on_before_the_others_have_as_many_games() -> None:
    """A kill in the middle of a stream changes nothing of who is dropped or confirmed first."""
    table = Table({"a": plus(3.0), "b": plus(9.0)})
    while table.games != {"a": 4, "b": 4}:
        table.step()
    (ask,) = {ask.seeds for ask in table.race.next(table.children).asks.values()}
    table.children["a"] = table.answer("a", Ask("full", ask))
    assert list(table.race.next(table.children).asks) == ["b"]
    assert kinds(table.run()) == {"a": "indecisive", "b": "accept"}


def test_without_a_budget_whoever_may_still_win_is_told_so() -> None:
    table = Table({"a": equal, "b": plus(-5.0), "c": lambda seed: parent(seed) + (-1.0) ** seed * (1 + seed % 5)})
    while table.games["a"] < 10:
        table.step()
    found = table.race.conclude(table.children)
    assert not found.asks and kinds(found.verdicts)["a"] == kinds(found.verdicts)["c"] == "probe"
    assert kinds(found.verdicts)["b"] == "reject"


@pytest.mark.parametrize("children", [1, 2, 4, 10])
def test_all_together_have_the_share_of_one(children: int) -> None:
    assert children * among(SMALL, children).bound == pytest.approx(SMALL.bound)


def rate(race: Race, trials: int, draw: Callable[[np.random.Generator], np.ndarray]) -> float:
    """Races of equal children in which one was taken. `draw`: parent's and children's scores, a row each."""
    return float(np.mean([_taken(race, draw(np.random.default_rng(number))) for number in range(trials)]))


def _taken(race: Race, scores: np.ndarray) -> bool:
    at = {s: i for i, s in enumerate((*SELECT, *(s for name in "abcd" for s in FRESH[name])))}
    rows: list[Play] = [lambda seed, row=row: float(row[at[seed]]) for row in scores]  # type: ignore[misc]
    return "accept" in kinds(Table(dict(zip("abcd", rows[1:], strict=True)), race, rows[0]).run()).values()


def skewed(random: np.random.Generator) -> np.ndarray:
    """A heavy tail on one side: shared signs of all differences would not be exact here."""
    return np.exp(1.5 * random.standard_normal((5, 30 * 9)))


def test_equal_children_get_in_no_more_often_than_alone() -> None:
    plain = replace(SMALL, harm_level=0.0, hopeful=(1.0, 1.0, 1.0), worse_at=0.0, screen=0)  # nothing helps but levels
    assert rate(Race(plain), 25, skewed) <= plain.bound + 3 * (plain.bound * (1 - plain.bound) / 25) ** 0.5


def test_without_the_division_they_would() -> None:
    """The test above can fail."""
    lax = {"spend": (0.4, 0.3, 0.3), "confirm_level": 0.5, "harm_level": 0.0, "hopeful": (1.0, 1.0, 1.0), "screen": 0}
    assert rate(Race(replace(SMALL, total_level=1.0, **lax)), 10, skewed) > 0.15
