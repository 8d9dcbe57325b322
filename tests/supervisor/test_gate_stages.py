"""The gate: every stage, every verdict, in order, from the evidence alone."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_kit import CONFIRM, SELECT, SMALL, answer, better, judged, passed, variant

from supervisor.errors import SupervisorError
from supervisor.gate import rules
from supervisor.gate.gate import Ask, Evidence, Gate, GateConfig, Pair, Verdict
from supervisor.gate.types import STAGES

GATE = Gate(SMALL)


def same(seed: int) -> Pair:
    return Pair(10.0 + seed % 3, 10.0 + seed % 3)


# --- before playing


@pytest.mark.parametrize(
    ("unknown", "stage"),
    [("schema", "schema"), ("compile", "compile"), ("locks", "locks"), ("behaviour", "duplicate")],
)
def test_what_is_unknown_is_asked_for(unknown: str, stage: str) -> None:
    assert GATE.next(passed(**{unknown: None})) == Ask(stage)  # type: ignore[arg-type]


def test_stages_come_in_order_from_cheap_to_dear() -> None:
    e, seen = Evidence(), []
    facts: dict[str, Any] = {
        "schema": {"schema": ()}, "compile": {"compile": ()}, "size": {"measured": {"latency_ms": 0.5}},
        "locks": {"locks": {}}, "duplicate": {"behaviour": "new"},
    }  # fmt: skip
    gate = Gate(replace(SMALL, limits={"latency_ms": 1.0}))
    while isinstance(step := gate.next(e), Ask):
        if not seen or seen[-1] != step.stage:
            seen.append(step.stage)
        if step.stage in facts:
            e = replace(e, **facts[step.stage])
        elif step.stage == "simplify":
            e = replace(e, simpler=())
        else:
            e = answer(e, step, better)
    assert step.kind == "accept"
    assert seen == ["schema", "compile", "size", "locks", "duplicate", "full", "screen", "full", "confirm", "simplify"]
    assert set(seen) | {"probe", "accept"} == set(STAGES)


@pytest.mark.parametrize(
    ("found", "kind", "stage", "says"),
    [
        ({"schema": ("no diagnosis", "no edit")}, "invalid", "schema", "no diagnosis"),
        ({"compile": ("line 3: unknown name",)}, "invalid", "compile", "line 3"),
        ({"locks": {"serve": False, "catch": True}}, "reject", "locks", "lock serve is broken"),
        ({"behaviour": "old"}, "reject", "duplicate", "its parent"),
    ],
)
def test_a_child_can_fail_before_it_plays(found: dict[str, Any], kind: str, stage: str, says: str) -> None:
    verdict = GATE.next(passed(**found))
    assert isinstance(verdict, Verdict) and (verdict.kind, verdict.stage) == (kind, stage)
    assert says in verdict.reasons[0] and verdict.winner == ""


def test_an_earlier_defect_is_told_before_a_later_one() -> None:
    verdict = GATE.next(passed(schema=("bad",), compile=("worse",), locks={"a": False}))
    assert isinstance(verdict, Verdict) and verdict.stage == "schema"


def test_limits_are_asked_for_and_kept() -> None:
    gate = Gate(replace(SMALL, limits={"latency_ms": 1.0, "nodes": 500.0}))
    assert gate.next(passed(measured=None)) == Ask("size")
    assert gate.next(passed(measured={"latency_ms": 0.5})) == Ask("size")
    over = gate.next(passed(measured={"latency_ms": 1.5, "nodes": math.nan}))
    assert isinstance(over, Verdict) and (over.kind, over.stage) == ("reject", "size")
    assert over.reasons == ("latency_ms is 1.5, at most 1", "nodes is nan, at most 500")
    within = gate.next(passed(measured={"latency_ms": 1.0, "nodes": 500.0, "other": 9e9}))
    assert within == Ask("full", count=30)


# --- playing


def test_seeds_are_asked_for_in_order_and_only_as_needed() -> None:
    asked: list[Ask] = []
    assert judged(better, asked=asked).kind == "accept"
    assert asked[0] == Ask("full", count=30)
    assert [(a.stage, a.seeds) for a in asked[1:4]] == [
        ("screen", SELECT[:4]), ("full", SELECT[4:7]), ("full", SELECT[7:10])
    ]  # fmt: skip
    assert asked[4] == Ask("confirm", count=8) and asked[5] == Ask("confirm", CONFIRM[:8])


def test_acceptance_tells_both_blocks() -> None:
    verdict = judged(better)
    assert (verdict.kind, verdict.stage, verdict.winner) == ("accept", "accept", "child")
    n = verdict.numbers
    assert n["full_pairs"] == 10 and n["confirm_pairs"] == 8
    assert n["full_low95"] > 0 and n["confirm_difference"] > 3 and n["full_p"] <= 0.05


def test_a_worse_child_stops_early() -> None:
    assert judged(lambda s: Pair(10.0, 9.0)).stage == "full"  # 4 pairs cannot show it at 0.05, 7 can
    quick = Gate(replace(SMALL, worse_at=0.1))
    verdict = judged(lambda s: Pair(10.0, 9.0), quick)
    assert (verdict.kind, verdict.stage) == ("reject", "screen") and verdict.numbers["screen_pairs"] == 4


def test_an_early_stop_never_accepts() -> None:
    """However good: the whole full block and a fresh one are played."""
    asked: list[Ask] = []
    assert judged(lambda s: Pair(0.0, 1e6), asked=asked).kind == "accept"
    assert sum(len(a.seeds) for a in asked) == 10 + 8


def test_the_same_scores_everywhere_are_no_gain() -> None:
    verdict = judged(same)
    assert (verdict.kind, verdict.stage) == ("reject", "full") and "same score" in verdict.reasons[0]


def test_a_parent_at_its_ceiling_stays() -> None:
    verdict = judged(lambda s: Pair(864.0, 864.0 if s % 7 else 500.0))
    assert verdict.kind == "reject"


def test_not_better_is_rejected_at_the_first_look() -> None:
    verdict = judged(lambda s: Pair(10.0, 10.0 + (-1.0) ** s * 3 - 0.5))
    assert (verdict.kind, verdict.stage) == ("reject", "full") and "not better after 10" in verdict.reasons[0]


def hesitant(seed: int) -> Pair:
    """Gains in 6 games of 10, losses of the same size in 4."""
    return Pair(10.0, 12.0) if seed % 10 in (0, 2, 3, 5, 7, 8) else Pair(12.0, 10.0)


def test_a_promising_child_is_probed_and_may_stay_undecided() -> None:
    gate = Gate(replace(SMALL, hopeful=(0.6, 0.5, 0.5), spend=(0.05, 0.02, 0.02)))
    asked: list[Ask] = []
    verdict = judged(hesitant, gate, asked=asked)
    assert [a.stage for a in asked if a.seeds] == ["screen", "full", "full", "probe", "probe"]
    assert asked[-1].seeds == SELECT[20:]
    assert (verdict.kind, verdict.stage) == ("indecisive", "probe") and "promising" in verdict.reasons[0]


def test_a_probe_that_disappoints_is_rejected() -> None:
    verdict = judged(lambda s: hesitant(s) if s < 1010 else Pair(12.0, 10.0))
    assert (verdict.kind, verdict.stage) == ("reject", "probe") and "not better after 20" in verdict.reasons[0]


def test_a_probe_can_succeed() -> None:
    verdict = judged(lambda s: hesitant(s) if s < 1010 else Pair(10.0, 12.0))
    assert verdict.kind == "accept" and verdict.numbers["full_pairs"] == 20


def test_a_lucky_block_is_not_confirmed() -> None:
    verdict = judged(lambda s: better(s) if s < 2000 else Pair(10.0, 10.0 + (-1.0) ** s * 3 - 0.5))
    assert (verdict.kind, verdict.stage) == ("reject", "confirm") and "not confirmed on 8" in verdict.reasons[0]
    assert verdict.numbers["full_p"] <= 0.05 < verdict.numbers["confirm_p"]


def test_half_confirmed_is_indecisive() -> None:
    verdict = judged(lambda s: better(s) if s < 2000 else hesitant(s))
    assert (verdict.kind, verdict.stage) == ("indecisive", "confirm")


def test_an_unsure_gain_is_confirmed_on_more_seeds() -> None:
    asked: list[Ask] = []
    judged(lambda s: Pair(10.0, 14.0 if s % 5 else 7.0), asked=asked)
    count = next(a.count for a in asked if a.stage == "confirm")
    assert 8 < count <= 30


@pytest.mark.parametrize("block", ["full", "confirm"])
@pytest.mark.parametrize("bad", [Pair(10.0, math.nan), Pair(10.0, math.inf), Pair(10.0, 14.0, 0.0, math.nan)])
def test_a_score_that_is_no_number_ends_it(block: str, bad: Pair) -> None:
    where = 1002 if block == "full" else 2002
    verdict = judged(lambda s: bad if s == where else better(s))
    assert (verdict.kind, verdict.stage) == ("invalid", "screen" if block == "full" else "confirm")


def test_a_broken_episode_ends_it_before_the_rest_is_played() -> None:
    e = passed(full_seeds=SELECT, full={1000: Pair(1.0, math.nan)})
    assert GATE.next(e) == Verdict("invalid", "screen", ("1 of 1 episodes gave no finite score",))


# --- simplify


def test_a_simpler_variant_that_is_as_good_wins() -> None:
    e = passed(simpler=(variant("without a", 60.0), variant("without b", 40.0)))
    asked: list[Ask] = []
    verdict = judged(better, evidence=e, variants={"without a": better, "without b": better}, asked=asked)
    assert (verdict.kind, verdict.winner) == ("accept", "without b")
    assert asked[-1] == Ask("simplify", CONFIRM[:8], who="without b")


@pytest.mark.parametrize(
    "play",
    [
        lambda s: Pair(better(s).parent, better(s).parent),  # loses the gain
        lambda s: Pair(better(s).parent, better(s).child - 2.0),  # half of it
        lambda s: Pair(better(s).parent, math.nan),
        lambda s: Pair(better(s).parent, better(s).child, 0.0, 5.0),  # hard rules step in
    ],
)
def test_a_simpler_variant_that_is_worse_does_not_win(play: Any) -> None:
    e = passed(simpler=(variant("without b", 40.0), variant("without a", 60.0)))
    verdict = judged(better, evidence=e, variants={"without b": play, "without a": better})
    assert verdict.winner == "without a"


def test_unsound_and_larger_variants_are_not_played() -> None:
    e = passed(simpler=(variant("without a", 10.0, sound=False), variant("without b", 100.0)))
    asked: list[Ask] = []
    assert judged(better, evidence=e, asked=asked).winner == "child"
    assert all(a.stage != "simplify" for a in asked)


def test_only_so_many_variants_are_tried() -> None:
    names = [f"without {c}" for c in "abcde"]
    e = passed(simpler=tuple(variant(n, 10.0 + i) for i, n in enumerate(names)))
    asked: list[Ask] = []
    verdict = judged(better, evidence=e, variants={n: same for n in names}, asked=asked)
    assert verdict.winner == "child" and {a.who for a in asked if a.stage == "simplify"} == set(names[:3])


# --- the settings that are used: looks from five pairs on, a fresh block judged early


def opened(**more: Any) -> Evidence:
    """Blocks as long as the last look of the defaults asks for."""
    return passed(full_seeds=tuple(range(1000, 1450)), confirm_seeds=tuple(range(2000, 2450)), **more)


LUCK = np.random.default_rng(0).normal(0.0, 3.0, 4000)


def lucky(seed: int) -> float:
    """What a game is worth besides the policy."""
    return float(LUCK[seed])


def test_a_gain_that_nobody_can_doubt_takes_ten_pairs() -> None:
    asked: list[Ask] = []
    verdict = judged(lambda s: Pair(lucky(s) - 21.0, lucky(s + 1000) + 4.0), Gate(), opened(), asked=asked)
    assert verdict.kind == "accept" and (verdict.numbers["full_pairs"], verdict.numbers["confirm_pairs"]) == (5, 5)
    assert sum(len(a.seeds) for a in asked) == 10


def test_four_gains_in_five_games_are_not_enough_and_the_ninth_may_be() -> None:
    def play(seed: int) -> Pair:
        return Pair(10.0 + lucky(seed), 18.0 + lucky(seed + 1000) - 16.0 * (seed == 1002))

    verdict = judged(play, Gate(), opened())
    assert verdict.kind == "accept" and verdict.numbers["full_pairs"] > 8


@pytest.mark.parametrize("by", [-4.0, -9.0, -30.0])
def test_a_child_that_is_plainly_worse_ends_at_the_first_look(by: float) -> None:
    asked: list[Ask] = []
    verdict = judged(lambda s: Pair(30.0 + lucky(s), 30.0 + by + lucky(s + 1000)), Gate(), opened(), asked=asked)
    assert verdict.kind == "reject" and sum(len(a.seeds) for a in asked) == 5


def test_a_gain_smaller_than_it_seemed_gets_the_games_that_it_needs() -> None:
    def play(seed: int) -> Pair:
        return Pair(lucky(seed), (4.0 if seed < 2000 else 1.0) + lucky(seed + 1000))

    asked: list[Ask] = []
    verdict = judged(play, Gate(), opened(), asked=asked)
    ends = [a.seeds[-1] - 1999 for a in asked if a.stage == "confirm"]
    size = rules.confirm_size([play(s) for s in range(1000, 1012)], GateConfig())
    assert verdict.kind == "accept" and verdict.numbers["full_pairs"] == 12
    assert ends == [5, math.ceil(size / 2), size]


def test_a_gain_that_does_not_come_again_is_given_up_early() -> None:
    verdict = judged(lambda s: Pair(lucky(s), (5.0 if s < 2000 else -2.0) + lucky(s + 1000)), Gate(), opened())
    assert verdict.kind == "reject" and verdict.reasons == ("not confirmed on 7 fresh seeds (p 0.812)",)


def test_the_heart_of_an_edit_is_seen_to_be_missing_after_four_games() -> None:
    def child(seed: int) -> Pair:
        return Pair(10.0 + lucky(seed), 18.0 + lucky(seed + 1000))

    def heartless(seed: int) -> Pair:
        return Pair(10.0 + lucky(seed), 11.0 + lucky(seed + 1000))

    e = opened(simpler=(variant("without the heart", 10.0), variant("without a frill", 60.0)))
    asked: list[Ask] = []
    verdict = judged(child, Gate(), e, {"without the heart": heartless, "without a frill": child}, asked)
    played = {who: sum(len(a.seeds) for a in asked if a.who == who) for who in ("without the heart", "without a frill")}
    assert verdict.winner == "without a frill"
    assert played == {"without the heart": 4, "without a frill": verdict.numbers["confirm_pairs"]}


@pytest.mark.parametrize(("keeps", "good"), [(0.5, True), (0.49, False), (1.5, True), (-1.0, False)])
def test_half_of_the_gain_keeps_a_variant_in_the_race(keeps: float, good: bool) -> None:
    child = [Pair(lucky(s), lucky(s) + 8.0) for s in range(4)]
    assert rules.keeps_half([Pair(p.parent, p.parent + keeps * 8.0) for p in child], child) is good
    assert not rules.keeps_half([Pair(0.0, math.nan)] * 4, child)


def test_a_look_of_the_fresh_block_is_never_so_early_that_a_crash_could_not_have_shown() -> None:
    sure = [Pair(75.0, 78.0 + i % 2 / 10) for i in range(5)]
    looks = rules.confirm_looks(sure, GateConfig())
    assert looks[0].n == math.ceil(3 * 78.04 / 3.04) - 5 and [k.n for k in looks] == sorted({k.n for k in looks})
    assert sum(k.level for k in looks) == pytest.approx(0.25), "looks that fall together have both levels"


# --- conclude


def test_without_a_budget_the_verdict_is_probe() -> None:
    gate = Gate(replace(SMALL, hopeful=(0.6, 0.5, 0.5)))
    e = passed(full_seeds=SELECT, full={s: hesitant(s) for s in SELECT[:10]})
    verdict = gate.conclude(e)
    assert (verdict.kind, verdict.stage) == ("probe", "probe") and "more seeds are needed" in verdict.reasons[0]
    assert verdict.numbers["full_pairs"] == 10


def test_an_open_stage_without_seeds_is_named() -> None:
    verdict = GATE.conclude(Evidence(schema=()))
    assert (verdict.kind, verdict.stage, dict(verdict.numbers)) == ("probe", "compile", {})
    assert "has not been run" in verdict.reasons[0]


def test_concluding_changes_no_verdict_and_accepts_nothing_unconfirmed() -> None:
    e = passed(full_seeds=SELECT, full={s: better(s) for s in SELECT[:10]})
    assert GATE.conclude(e).kind == "probe"
    e = replace(e, confirm_seeds=CONFIRM, confirm={s: better(s) for s in CONFIRM[:8]})
    assert GATE.conclude(e) == GATE.next(e) and GATE.next(e).kind == "accept"  # type: ignore[union-attr]
    played = {s: better(s) for s in CONFIRM[:5]}
    half = GATE.conclude(replace(e, confirm=played))
    assert (half.kind, half.stage, half.numbers["confirm_pairs"]) == ("probe", "confirm", 5)


@pytest.mark.parametrize("simpler", [None, (variant("without a", 10.0),)])
def test_only_the_wish_for_less_text_may_stay_open(simpler: Any) -> None:
    e = passed(
        simpler=simpler, full_seeds=SELECT, full={s: better(s) for s in SELECT[:10]}, confirm_seeds=CONFIRM,
        confirm={s: better(s) for s in CONFIRM[:8]},
    )  # fmt: skip
    verdict = GATE.conclude(e)
    assert verdict.kind == "accept" and verdict.winner == "child" and "not simplified: no budget" in verdict.reasons


# --- evidence that no driver should hand over


def played(**more: Any) -> Evidence:
    return passed(full_seeds=SELECT, full={s: better(s) for s in SELECT[:10]}, **more)


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (played(confirm_seeds=(1005, *CONFIRM[1:])), "seed 1005 is in both blocks"),
        (passed(full_seeds=(1000, 1000, *SELECT[2:])), "holds a seed twice"),
        (passed(full_seeds=(7, *SELECT[1:])), "seed 7 is not a gate seed"),
        (passed(full_seeds=(10_000, *SELECT[1:])), "seed 10000 is not a gate seed"),
        (played(confirm_seeds=(900_000, *CONFIRM[1:])), "seed 900000 is not a gate seed"),
        (passed(full_seeds=SELECT, full={1003: Pair(math.nan, 1.0)}), "parent's score on seed 1003"),
        (passed(full_seeds=SELECT, full={1003: Pair(1.0, 1.0, math.inf)}), "parent's score on seed 1003"),
        (passed(simpler=(variant("a", 1.0), variant("a", 2.0))), "names of their own"),
        (passed(simpler=(variant("child", 1.0),)), "names of their own"),
    ],
)
def test_misuse_is_an_error(evidence: Evidence, says: str) -> None:
    with pytest.raises(SupervisorError, match=says):
        GATE.next(evidence)
    with pytest.raises(SupervisorError, match=says):
        GATE.conclude(evidence)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"spend": (0.3, 0.1, 0.1)}, "let 0.125 of equal children in"),
        ({"spend": (0.3, -0.1, -0.1)}, "spend is"),
        ({"spend": (math.nan, 0.05, 0.05)}, "spend is"),
        ({"confirm_level": math.nan}, "confirm_level is nan"),
        ({"harm_level": 1.5}, "harm_level is 1.5"),
        ({"hopeful": (0.5, 0.5)}, "same number of entries"),
        ({"looks": (), "spend": (), "hopeful": ()}, "at least one"),
        ({"looks": (20, 10, 30)}, "looks must rise"),
        ({"looks": (10, 10, 30)}, "looks must rise"),
        ({"screen": 10}, "shorter than the first look"),
        ({"screen": -1}, "shorter than the first look"),
        ({"confirm_at": (1.0, 0.5), "confirm_share": (0.5, 0.5), "confirm_hopeful": (1.0, 1.0)}, "must rise"),
        ({"confirm_at": (0.0,)}, "rise from above 0"),
        ({"confirm_share": (0.5, 0.5)}, "confirm_hopeful need the same number"),
        ({"confirm_share": (1.1,)}, "confirm_share is"),
        (
            {"confirm_at": (1.0, 2.0), "confirm_share": (0.6, 0.6), "confirm_hopeful": (1.0, 1.0)},
            "confirm_share sums to 1.2",
        ),
        ({"confirm_least": 0}, "confirm_least must lie"),
        ({"confirm_least": 31}, "confirm_least must lie"),
    ],
)
def test_settings_that_promise_too_much_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SupervisorError, match=says):
        replace(SMALL, **settings)


def test_the_defaults_keep_the_promised_level() -> None:
    config = GateConfig()
    assert config.bound == pytest.approx(sum(config.spend) * config.confirm_level)
    assert config.bound <= config.total_level == 0.05


# --- purity


def test_the_gate_has_no_clock_no_files_and_no_random_draws() -> None:
    root = Path(__file__).parents[2] / "supervisor" / "gate"
    banned = {"time", "datetime", "random", "secrets", "os", "pathlib", "uuid", "subprocess", "io"}
    for name in ("gate", "rules", "types", "statistics"):
        source = (root / f"{name}.py").read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & banned, name
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, name
            elif isinstance(node, ast.Attribute):
                assert node.attr not in ("random", "default_rng", "now"), name


def test_judging_leaves_the_evidence_as_it_was() -> None:
    full = {s: better(s) for s in SELECT[:10]}
    e = passed(full_seeds=SELECT, full=full)
    before = dict(full)
    GATE.next(e)
    GATE.conclude(e)
    assert full == before and e == passed(full_seeds=SELECT, full=before)


def test_the_order_in_which_episodes_were_played_does_not_matter() -> None:
    full = {s: hesitant(s) for s in SELECT[:10]}
    e = passed(full_seeds=SELECT, full=full)
    turned = replace(e, full=dict(reversed(full.items())))
    assert GATE.next(e) == GATE.next(turned)


def test_what_was_played_beyond_a_look_does_not_count_at_it() -> None:
    """A driver that plays ahead cannot change a verdict."""
    verdict = judged(lambda s: Pair(10.0, 10.0 + (-1.0) ** s * 3 - 0.5))
    ahead = {s: Pair(10.0, 99.0) for s in SELECT[10:]}
    now = {s: Pair(10.0, 10.0 + (-1.0) ** s * 3 - 0.5) for s in SELECT[:10]}
    assert GATE.next(passed(full_seeds=SELECT, full={**now, **ahead})) == verdict
