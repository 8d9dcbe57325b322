"""How often the gate errs: simulated here in small, and what the benchmark claims."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import triune
from gate_kit import SELECT, SMALL, better

from benchmarks import gate as bench
from benchmarks import gate as bench_gate
from benchmarks import gate as models
from benchmarks.gate import run_trial
from supervisor.gate.gate import Gate, GateConfig, Pair
from supervisor.gate.seeds import SeedLedger
from triune.errors import TriuneError

KINDS = {kind.name: kind for kind in bench.synthetic()}


# --- kinds of scores


@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.better], ids=lambda k: k.name)
def test_better_children_are_a_tenth_better(kind: bench.Kind) -> None:
    old, new = kind.draw(np.random.default_rng(1), 400_000, True)
    low = -21.0 if "sides" in kind.name else 0.0
    assert (new.mean() - low) / (old.mean() - low) == pytest.approx(1.1, abs=0.012)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda k: k.name)
def test_equal_children_could_be_exchanged(kind: bench.Kind) -> None:
    """Parent and child scores of a pair have the same joint distribution the other way round."""
    old, new = kind.draw(np.random.default_rng(2), 200_000, False)
    error = 4 * np.std(new - old) / math.sqrt(len(old))
    assert abs(np.mean(new - old)) < error
    for scores in ((old, new), (new, old)):
        above = np.mean(scores[0] > np.median(old))
        assert np.mean((scores[0] > np.median(old)) & (scores[1] <= np.median(old))) == pytest.approx(
            np.mean((scores[1] > np.median(old)) & (scores[0] <= np.median(old))), abs=0.006
        )
        assert 0 <= above <= 1


def test_shared_luck_correlates_the_scores_of_a_seed() -> None:
    for name, least, most in (
        ("skewed, spread 0.9, much shared luck", 0.7, 0.85),
        ("two sides, -21 to 21", 0.05, 0.15),
    ):
        old, new = KINDS[name].draw(np.random.default_rng(3), 100_000, False)
        assert least < np.corrcoef(old, new)[0, 1] < most


def test_distributions_have_the_mean_and_spread_they_are_asked_for() -> None:
    skewed, heavy = models.gamma_scores(60.0, 0.5), models.lognormal_scores(60.0, 1.0)
    assert (skewed.mean, skewed.spread) == (pytest.approx(60, abs=1), pytest.approx(30, abs=1))
    assert (heavy.mean, heavy.spread) == (pytest.approx(60, abs=1), pytest.approx(60, rel=0.06))
    even = models.pong_scores(0.5)
    assert even.mean == pytest.approx(0.0) and even.weights[21] == 0.0  # nobody ends at 0
    assert models.pong_scores(0.6).mean > 5 > -5 > models.pong_scores(0.4).mean


def test_recorded_scores_are_drawn_in_pairs() -> None:
    draw = models.recorded([1.0, 2.0, 3.0], [10.0, 20.0, 30.0], None)
    old, new = draw(np.random.default_rng(0), 500, False)
    assert set(zip(old, new, strict=True)) == {(1, 10), (10, 1), (2, 20), (20, 2), (3, 30), (30, 3)}
    old, new = draw(np.random.default_rng(0), 100_000, True)
    assert new.mean() / old.mean() == pytest.approx(1.1, rel=0.02)


def test_a_recorded_better_policy_is_thinned_to_a_tenth() -> None:
    draw = models.recorded([4.0, 6.0], [6.0, 4.0], [9.0, 11.0])
    old, new = draw(np.random.default_rng(0), 200_000, True)
    assert (old.mean(), new.mean()) == (pytest.approx(5.0, abs=0.01), pytest.approx(5.5, abs=0.02))
    assert set(new) == {4.0, 6.0, 9.0, 11.0}


# --- whole trials


@pytest.mark.parametrize("name", ["skewed, spread 0.45 of the mean", "near the ceiling", "heavy tail, spread 1.0"])
def test_equal_children_get_in_within_the_bound(name: str) -> None:
    """A gate of short blocks, 300 trials: three standard errors above the bound at most."""
    gate = Gate(replace(SMALL, harm_level=0.0, hopeful=(1.0, 1.0, 1.0), worse_at=0.0))  # nothing but the levels helps
    found = bench.row(gate, KINDS[name], 300, better=False)
    bound = gate.config.bound
    assert found.accepted / 300 <= bound + 3 * math.sqrt(bound * (1 - bound) / 300)


def test_a_gate_without_levels_would_let_them_in() -> None:
    """The test above can fail."""
    lax = replace(SMALL, total_level=1.0, spend=(0.4, 0.4, 0.4), confirm_level=0.5, hopeful=(1.0, 1.0, 1.0))
    assert bench.row(Gate(lax), KINDS["skewed, spread 0.45 of the mean"], 100, better=False).accepted > 15


def test_children_that_are_much_better_get_in_on_few_seeds() -> None:
    parent = models.gamma_scores(60.0, 0.45)
    kind = bench.Kind("much better", models.drawn(parent, models.gamma_scores(110.0, 0.45), 0.1))
    found = bench.row(Gate(), kind, 60, better=True)
    assert found.accepted >= 58 and found.seeds < 60


def test_the_better_one_of_four_is_taken_and_the_parent_plays_once() -> None:
    parent = models.gamma_scores(60.0, 0.45)
    kind = models.drawn_kind("far better", parent, models.gamma_scores(160.0, 0.45), 0.1)
    ends = [bench.race_trial(GateConfig(), kind, number, True) for number in range(3)]
    assert {end.taken for end in ends} == {bench.RACERS[0]}
    assert all(end.parent < end.children <= 4 * end.parent and end.children < 150 for end in ends)
    assert ends[0] == bench.race_trial(GateConfig(), kind, 0, True)


def test_the_same_call_gives_the_same_figures() -> None:
    kind, gate = KINDS["near the ceiling"], Gate()
    assert bench.trial(gate, kind, 5, True) == bench.trial(gate, kind, 5, True)
    assert bench.trial(gate, kind, 5, False) != bench.trial(gate, kind, 6, False)


def test_a_trial_without_a_budget_for_probes_ends_in_a_probe() -> None:
    ledger = SeedLedger()

    def play(seeds: Any) -> dict[int, Pair]:
        return {s: Pair(8.0 if s % 10 in (0, 2, 3, 5, 7, 8) else 12.0, 10.0) for s in seeds}

    def block(role: Any) -> range:
        return ledger.select("child", "parent") if role == "select" else ledger.confirm("child", "parent")

    outcome = run_trial(Gate(), play, block, most=100)
    assert (outcome.verdict.kind, outcome.selecting, outcome.confirming) == ("probe", 80, 0)
    assert run_trial(Gate(), play, block).selecting > 80


def test_a_trial_counts_what_it_played() -> None:
    played: list[int] = []

    def play(seeds: Any) -> dict[int, Pair]:
        played.extend(seeds)
        return {s: better(s) for s in seeds}

    outcome = run_trial(Gate(SMALL), play, lambda role: SELECT if role == "select" else range(3000, 3030))
    assert outcome.verdict.kind == "accept" and outcome.seeds == len(played) == len(set(played)) == 18


# --- shares


def test_shares_are_bounded_as_clopper_and_pearson_do() -> None:
    assert bench.share_interval(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20), abs=1e-4))
    assert bench.share_interval(20, 20) == (pytest.approx(0.025 ** (1 / 20), abs=1e-4), 1.0)
    assert bench.share_interval(5, 50) == (pytest.approx(0.0333, abs=1e-4), pytest.approx(0.2181, abs=1e-4))
    assert bench.share_interval(0, 0) == (0.0, 1.0)
    low, high = bench.share_interval(1600, 2000)
    assert 0.78 < low < 0.8 < high < 0.82


@pytest.mark.parametrize("share", [0.03, 0.5, 0.87])
def test_the_interval_covers_the_share(share: float) -> None:
    random, n = np.random.default_rng(4), 60
    inside = [
        low <= share <= high for low, high in (bench.share_interval(int(k), n) for k in random.binomial(n, share, 200))
    ]
    assert np.mean(inside) >= 0.94


# --- the command


def told(null: int, power: int, effect: float = 0.2) -> list[dict[str, Any]]:
    def of(accepted: int) -> dict[str, Any]:
        return bench.Row(100, accepted, 50.0).told()

    return [
        {"scores": "a", "null": of(null), "better": of(power), "effect": effect},
        {"scores": "far", "null": of(0), "better": of(10), "effect": 0.05},
        {"scores": "equal only", "null": of(1)},
    ]


def test_figures_keep_what_is_beyond_reach_apart() -> None:
    found = bench_gate.figures(told(2, 90), GateConfig())
    assert (found["null_trials"], found["better_trials"]) == (300, 100)
    assert found["false_accept_rate"] == pytest.approx(0.01) and found["power"] == 0.9 and found["ok"]
    assert found["beyond_reach"] == ["far"] and found["power_beyond_reach"] == 0.1
    assert found["seeds_spent"] == {"null": 50.0, "better": 50.0}


@pytest.mark.parametrize(("null", "power"), [(16, 90), (2, 79)])
def test_a_gate_that_misses_its_promise_is_told(null: int, power: int) -> None:
    assert not bench_gate.figures(told(null, power), GateConfig())["ok"]


def test_the_command_prints_one_object() -> None:
    done = triune("bench", "gate", "--trials", "1", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["null_trials"] == len(found["scenarios"]) >= len(KINDS)
    assert {r["scores"] for r in found["race"]["scenarios"]} == set(bench.RACED) and found["race"]["children"] == 4
    names = {"false_accept_rate", "false_accept_ci95", "power", "power_ci95", "seeds_spent", "scenarios", "real"}
    assert names <= found.keys()


def test_without_a_checkout_only_synthetic_scores_are_tried(tmp_path: Path) -> None:
    assert bench_gate.read_recorded(tmp_path / "none.json") is None
    assert [k.name for k in bench_gate.kinds(None)] == list(KINDS)
    assert bench_gate.real(None) is None


@pytest.mark.parametrize("text", ["{", '{"format": 99}'])
def test_a_damaged_recording_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(TriuneError, match="triune bench gate --real"):
        bench_gate.read_recorded(path)


def test_a_recording_is_written_as_it_is_read(tmp_path: Path) -> None:
    found = {"format": 1, "a": {"scores": [1.0, 2.5], "none": []}, "b": ["x, y", "[1,  2 z]"]}
    bench_gate.write_recorded(found, tmp_path / "scores.json")
    assert bench_gate.read_recorded(tmp_path / "scores.json") == found
    assert "[1.0,2.5]" in (tmp_path / "scores.json").read_text()
