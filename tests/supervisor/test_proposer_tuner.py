"""The tuner: what it finds, what it may spend, what it says, and that a kill changes nothing."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import improve_kit
import numpy as np
import pytest
from tuner_kit import TOP, Desk, FakeArena, Landscape, LoopArena, ask

from benchmarks import detune_breakout
from supervisor.budget import Budgets, BudgetSpent
from supervisor.edits.answer import Answer, read_answer
from supervisor.edits.edits import apply, with_constants
from supervisor.edits.tunables import constants
from supervisor.events import EventLog
from supervisor.gate.seeds import TRAIN, role_of
from supervisor.loop.loop import Loop
from supervisor.loop.parts import Settings
from supervisor.proposers.race import Games, Race, Space
from supervisor.proposers.search import Ideas, looked
from supervisor.proposers.tuner import Tuner, TunerSettings
from supervisor.protocols import ProposerError
from triune.play import evaluate

SHORT = TunerSettings(share=0.5, gate_games=10)
TIGHT = 1_000_000.0  # frames, which end a search of these games


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def land(seed: int, size: int = 5, off: int = 2) -> tuple[Landscape, FakeArena]:
    made = Landscape(seed, size, off)
    return made, FakeArena(lambda text, game: made.game(made.values(text), game))


def answered(desk: Desk, policy: str, trial: int = 1) -> Answer:
    return read_answer(desk.tuner.propose(ask(policy, trial)).text)


def policy(*lines: str) -> str:
    return "\n".join(["X = 1.0", *lines, "", "", "def act(scene, memory):", '    return NOOP, "wait"', ""])


@pytest.mark.parametrize("seed", [1, 4])
def test_a_detuned_policy_comes_back(tmp_path: Path, seed: int) -> None:
    made, evaluator = land(seed, 10, 3)
    with Desk(tmp_path, evaluator) as desk:
        told = answered(desk, made.policy())
    child = apply(made.policy(), told.edit)
    assert made.truth(made.policy()) < TOP / 2
    assert told.target == "constants" and made.truth(child) >= 0.95 * TOP
    found = constants(child)
    assert child == with_constants(made.policy(), {name: t.value for name, t in found.items()})
    assert all(t.low <= t.value <= t.high for t in found.values())


@pytest.mark.parametrize("steps", [400_000, 1_500_000])
def test_a_search_keeps_to_its_share_and_leaves_the_gate_its_games(tmp_path: Path, steps: float) -> None:
    made, evaluator = land(3, 10, 3)
    settings = TunerSettings(share=0.5, gate_games=20)
    with Desk(tmp_path, evaluator, steps, settings) as desk:
        try:
            told: Answer | None = answered(desk, made.policy())
        except ProposerError as error:
            assert steps == 400_000 and "too little" in str(error)
            told = None
        left = desk.budgets.left("steps")
        known = desk.budgets.known["steps"]
    child = apply(made.policy(), told.edit) if told and told.edit else made.policy()
    longest = 600 + 95 * 1400
    games = [made.game(made.values(text), seed)[1] for text in (child, made.policy()) for seed in range(20)]
    assert known == evaluator.frames == sum(t["frames"] for t in desk.tried)
    assert known <= settings.share * steps + 2 * longest
    assert left is not None and left >= sum(games) - 4 * longest


def test_the_same_request_gives_the_same_search(tmp_path: Path) -> None:
    made, evaluator = land(1)
    replies, tried = [], []
    before = np.random.get_state()[1]  # type: ignore[index]
    for name in ("a", "b"):
        with Desk(tmp_path / name, evaluator, settings=SHORT) as desk:
            replies.append(desk.tuner.propose(ask(made.policy())).text)
            tried.append(desk.tried)
    with Desk(tmp_path / "c", evaluator, settings=SHORT) as desk:
        desk.tuner.propose(ask(made.policy(), 2))
        other = desk.tried
    assert replies[0] == replies[1] and tried[0] == tried[1]
    assert other[0]["seeds"] != tried[0][0]["seeds"]
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


KILLED = [(1, 0.03), (1, 0.4), (2, 0.75), (5, 0.41), (5, 0.99)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[str, list[dict[str, Any]], int]]:
    """Searches that nobody interrupts, by the seed of their game: reply, what was tried, how many games were played."""
    found = {}
    for seed in {seed for seed, _ in KILLED}:
        made, evaluator = land(seed)
        with Desk(tmp_path_factory.mktemp("whole"), evaluator, TIGHT, SHORT) as desk:
            reply = desk.tuner.propose(ask(made.policy())).text
            found[seed] = reply, [{**t, "budget": 0} for t in desk.tried], len(evaluator.played)
    return found


@pytest.mark.parametrize(("seed", "part"), KILLED)
def test_a_killed_search_goes_on_and_plays_nothing_again(
    tmp_path: Path, seed: int, part: float, whole: dict[int, tuple[str, list[dict[str, Any]], int]]
) -> None:
    reply, tried, games = whole[seed]
    made, evaluator = land(seed)
    evaluator.stop_after = int(part * games)
    with Desk(tmp_path, evaluator, TIGHT, SHORT) as desk, pytest.raises(KeyboardInterrupt):
        desk.tuner.propose(ask(made.policy()))
    kept = {(t["policy"], seed) for t in desk.tried for seed in t["seeds"]}
    evaluator.stop_after = None
    played = len(evaluator.played)
    with Desk(tmp_path, evaluator, TIGHT, SHORT) as desk:
        assert desk.tuner.propose(ask(made.policy())).text == reply
        assert [{**t, "budget": 0} for t in desk.tried] == tried
    again = {(hashlib.sha256(text.encode()).hexdigest(), seed) for text, seed in evaluator.played[played:]}
    assert again and not again & kept


@pytest.mark.parametrize(("steps", "lines"), [
    (30_000.0, 1), (40_000.0, 4), (30_000.0, 5),
])  # fmt: skip
def test_too_little_is_no_ground_for_a_conclusion(tmp_path: Path, steps: float, lines: int) -> None:
    """Long games, few frames: the run stops and can go on with more, which uses what was played."""
    text = policy(*(f"C{i} = tunable(0.5, 0.0, 1.0)" for i in range(lines)))
    evaluator = FakeArena(lambda text, seed: (100.0, 2000), 2000)
    settings = TunerSettings(share=0.7, gate_games=1)
    with Desk(tmp_path, evaluator, steps, settings) as desk, pytest.raises(ProposerError, match="too little") as found:
        desk.tuner.propose(ask(text))
    need = int(str(found.value).split("needs about ")[1].split(" frames")[0])
    played = list(evaluator.played)
    with Desk(tmp_path, evaluator, need / 0.7 + 1, settings) as desk:
        told = answered(desk, text)
    assert found.value.fatal and told.target == "stop" and "Constants are not what holds" in told.diagnosis
    assert evaluator.played[: len(played)] == played and len(set(evaluator.played)) == len(evaluator.played)


@pytest.mark.parametrize("line", ["A = tunable(0, 0, 1)", "A = tunable(1, 0, 2)", "A = tunable(0.5, 0.0, 1.0)"])
def test_a_constant_with_few_values_is_known_when_they_have_played(tmp_path: Path, line: str) -> None:
    with Desk(tmp_path, FakeArena(lambda text, seed: (7.0, 100), 200), 20_000, SHORT) as desk:
        assert answered(desk, policy(line)).target == "stop"


def test_only_training_seeds_are_played_and_shown_games_are_not_played_again(tmp_path: Path) -> None:
    made, evaluator = land(1)
    sha = hashlib.sha256(made.policy().encode()).hexdigest()
    with Desk(tmp_path, evaluator, settings=SHORT) as desk:
        for seed in (7, 8, 9):
            score, frames = made.game(made.start, seed)
            desk.log.append("evidence.episode", {"trial": 1, "policy": sha, "seed": seed, "score": score,
                                                 "hard": 0.0, "frames": frames, "decisions": 1})  # fmt: skip
        desk.tuner.propose(ask(made.policy()))
        first = desk.tried[1]
    assert {role_of(seed) for _, seed in evaluator.played} == {"train"}
    assert not {(made.policy(), seed) for seed in (7, 8, 9)} & set(evaluator.played)
    assert first["seeds"] == [7] and first["policy"] != sha


def test_a_policy_at_its_best_is_left_alone(tmp_path: Path) -> None:
    made, evaluator = land(2)
    text = made.policy(made.good)
    with Desk(tmp_path, evaluator, settings=SHORT) as desk:
        told = answered(desk, text)
    assert told.target == "stop" and not told.edit
    assert "None of them beat the incumbent" in told.diagnosis and "864 on every seed" in told.diagnosis


def test_what_is_proposed_on_noise_says_how_likely_luck_is(tmp_path: Path) -> None:
    """Scores that have nothing to do with the constants: few proposals, and each names its p-value."""

    def noise(text: str, seed: int) -> tuple[float, int]:
        digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
        return float(np.random.default_rng(list(digest)).normal()), 50

    text = policy("A = tunable(0.5, 0.0, 1.0)", "B = tunable(0.5, 0.0, 1.0)")
    with Desk(tmp_path, FakeArena(noise), 1e6, TunerSettings(share=0.006, gate_games=10)) as desk:
        told = [answered(desk, text, trial) for trial in (1, 2)]
    for answer in told:
        assert (answer.target == "constants") == bool(answer.edit)
        if answer.edit:
            assert 0 < float(answer.hypothesis.split("(p ")[1].split(")")[0]) <= 0.2


def test_without_tunables_the_error_names_the_fix(tmp_path: Path) -> None:
    with Desk(tmp_path, FakeArena(None)) as desk:
        for text in (policy(), policy("A = tunable(1.0, 1.0, 1.0)")):
            with pytest.raises(ProposerError, match=r"no tunable constant.*tunable\(2.5, 1.0, 8.0\)") as error:
                desk.tuner.propose(ask(text))
            assert error.value.fatal
        with pytest.raises(ProposerError, match="cannot be read"):
            desk.tuner.propose(ask("def act(:"))
        assert not desk.tried


@pytest.mark.parametrize("line", ["A = tunable(2, 0, 9)", "A = tunable(2.0, 0.0, 9.0)"])
def test_one_constant_whole_or_not(tmp_path: Path, line: str) -> None:
    evaluator = FakeArena(lambda text, seed: (100 - 10 * abs(constants(text)["A"].value - 7) + seed % 3, 100), 200)
    with Desk(tmp_path, evaluator, 20_000, SHORT) as desk:
        told = answered(desk, policy(line))
        values = [t["values"]["A"] for t in desk.tried if t["values"]]
    value = constants(apply(policy(line), told.edit))["A"].value
    assert abs(value - 7) < 0.5 and len(desk.tried) > 4
    if "2, 0" in line:
        assert value == 7 and all(v == int(v) for v in values)


def test_what_cannot_be_played_or_scores_no_number_never_leads(tmp_path: Path) -> None:
    def score(text: str, seed: int) -> tuple[float, int]:
        found = constants(text)
        bad = found["B"].value > 0.7
        return (float("nan") if bad else 10 * found["A"].value + 5 * found["BROKEN"].value + seed % 2), 100

    text = policy(*(f"{name} = tunable(0.2, 0.0, 1.0)" for name in ("A", "B", "BROKEN")))
    with Desk(tmp_path, FakeArena(score, 200), 30_000, SHORT) as desk:
        told = answered(desk, text)
        tried = desk.tried
    found = constants(apply(text, told.edit))
    assert found["A"].value > 0.6 and found["B"].value <= 0.7 and found["BROKEN"].value <= 0.5
    broken = [t for t in tried if "defect" in t]
    assert broken and all(t["defect"] == "line 3: BROKEN is too large" and t["frames"] == 0 for t in broken)
    assert len({t["policy"] for t in broken}) == len(broken), "what does not compile is asked for once"
    assert any("-inf" in map(str, t["scores"]) or "nan" in map(str, t["scores"]) for t in tried)


def test_a_failing_arena_is_no_candidates_fault(tmp_path: Path) -> None:
    def score(text: str, seed: int) -> tuple[float, int]:
        raise OSError("the emulator is gone")

    with Desk(tmp_path, FakeArena(score), settings=SHORT) as desk:
        with pytest.raises(OSError, match="emulator is gone"):
            desk.tuner.propose(ask(policy("A = tunable(0.2, 0.0, 1.0)")))
        assert not desk.tried and not desk.budgets.reserved and desk.budgets.known["steps"] == 0


def test_a_child_that_was_judged_is_not_proposed_again(tmp_path: Path) -> None:
    made, evaluator = land(1)
    children = []
    with Desk(tmp_path, evaluator, 3e6, SHORT) as desk:
        for trial in (1, 2):
            told = answered(desk, made.policy(), trial)
            if told.edit:
                children.append(hashlib.sha256(apply(made.policy(), told.edit).encode()).hexdigest())
                desk.log.append("proposal.read", {"trial": trial, "child": children[-1]})
        repeat = read_answer(desk.tuner.propose(ask(made.policy(), 1)).text)
    again = apply(made.policy(), repeat.edit) if repeat.edit else made.policy()
    assert children and hashlib.sha256(again.encode()).hexdigest() not in children


def test_without_frames_for_the_incumbent_the_budget_is_named(tmp_path: Path) -> None:
    made, evaluator = land(1)
    with Desk(tmp_path, evaluator, 30_000, SHORT) as desk, pytest.raises(BudgetSpent, match="larger budget"):
        desk.tuner.propose(ask(made.policy()))
    assert not evaluator.played


def test_wall_time_ends_a_search(tmp_path: Path) -> None:
    made, evaluator = land(1)
    clock = iter(range(0, 10**6, 15))
    log = EventLog.open(tmp_path / "events.jsonl", now=lambda: 0.0)
    with log:
        budgets = Budgets(wall_s=300, record=log.append)
        tuner = Tuner(evaluator, log.events, budgets, SHORT, lambda: float(next(clock)))  # type: ignore[arg-type]
        told = read_answer(tuner.propose(ask(made.policy())).text)
    assert 7 <= len(evaluator.streams) <= 10
    assert "because the share of the wall time" in told.diagnosis


def test_the_games_of_a_step_are_one_stream(tmp_path: Path) -> None:
    made, evaluator = land(1)
    with Desk(tmp_path, evaluator, TIGHT, SHORT) as desk:
        desk.tuner.propose(ask(made.policy()))
        bills = [t["policy"] for t in desk.tried]
    assert evaluator.streams[:3] == [8, 5, 5]  # the incumbent, then one value of each of five constants at a time
    assert len(bills) > 1.5 * len(evaluator.streams), "each candidate of a stream has its own bill"


def test_with_one_obstacle_gone_the_next_look_shows_the_second(tmp_path: Path) -> None:
    """B does nothing as long as A is wrong: the second look finds it, around the value of A of the first."""
    text = policy(*(f"{name} = tunable(0.05, 0.0, 1.0)" for name in ("A", "B", "C", "D")))

    def score(text: str, seed: int) -> tuple[float, int]:
        found = constants(text)
        return 10.0 + seed % 5 + 50 * (found["A"].value > 0.5) * (1 + (found["B"].value > 0.5)), 100

    evaluator = FakeArena(score, 200)
    with Desk(tmp_path, evaluator) as desk:
        race = Race(Space(text), Games(evaluator, desk.budgets, [], 1, range(100)))  # type: ignore[arg-type]
        ideas = Ideas(race.space, np.random.default_rng(0))
        assert looked(race, ideas, lambda: None)
        assert ideas.base[0] > 0.5 and ideas.base[1:] == race.start[1:] and len(race.scores[ideas.base]) == 4
        assert looked(race, ideas, lambda: None)
        assert ideas.base[0] > 0.5 and ideas.base[1] > 0.5
        assert not looked(race, ideas, lambda: None), "C and D do nothing"
    assert len(evaluator.played) <= 8 + 3 * (16 + 6 + 4)


def test_the_last_race_drops_what_is_surely_behind(tmp_path: Path) -> None:
    """On the same seeds: luck that all share hides no difference, however large it is."""
    text = policy("A = tunable(0.0, 0.0, 1.0)")

    def score(text: str, seed: int) -> tuple[float, int]:
        a = constants(text)["A"].value
        return 1000.0 * (seed % 7) + 10 * min(a, 0.8) + (3 * ((seed * 13) % 5 - 2) if a > 0.8 else 0), 100

    evaluator = FakeArena(score, 200)
    with Desk(tmp_path, evaluator) as desk:
        games = Games(evaluator, desk.budgets, [], 1, range(100))  # type: ignore[arg-type]
        race = Race(Space(text), games)
        race.finish([(0.2,), (0.8,), (0.9,), (0.7,)])
    assert {p[0]: len(scores) for p, scores in race.scores.items()} == {0.0: 16, 0.2: 4, 0.7: 4, 0.8: 16, 0.9: 16}
    assert race.leader in ((0.8,), (0.9,))


def test_short_of_frames_the_better_of_the_last_are_judged(tmp_path: Path) -> None:
    text = policy("A = tunable(0.0, 0.0, 1.0)")
    evaluator = FakeArena(lambda text, seed: (10 * constants(text)["A"].value, 100), 100)
    with Desk(tmp_path, evaluator) as desk:
        games = Games(evaluator, desk.budgets, [], 1, range(100))  # type: ignore[arg-type]
        race = Race(Space(text), games)
        race.grow({(0.2,): 1, (0.5,): 1, (0.6,): 1, (0.4,): 1})
        games.limit = lambda: 2200.0
        race.finish([(0.2,), (0.5,), (0.6,), (0.4,)])
    assert race.leader == (0.6,) and games.spent == 2200.0


def test_without_the_package_it_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cma", None)
    made, evaluator = land(1)
    with Desk(tmp_path, evaluator, settings=SHORT) as desk:
        told = answered(desk, made.policy())
    assert told.edit and made.truth(apply(made.policy(), told.edit)) > 2 * made.truth(made.policy())
    assert "The package cma is not installed" in told.diagnosis


def test_the_answer_tells_what_was_tried_and_what_was_not(tmp_path: Path) -> None:
    def score(text: str, seed: int) -> tuple[float, int]:
        return 100 * constants(text)["A"].value + seed % 3, 100

    text = policy("A = tunable(0.2, 0.0, 1.0)", "B = tunable(4, 0, 9)")
    with Desk(tmp_path, FakeArena(score, 200), 12_000, SHORT) as desk:
        told = answered(desk, text).diagnosis
        tried = desk.tried
    values = sorted({t["values"].get("B", 4) for t in tried})
    assert f"{len({t['policy'] for t in tried})} settings of 2 constants" in told
    assert f"played {sum(len(t['seeds']) for t in tried)} games" in told
    assert f"B {len(values)} from {values[0]:g} to {values[-1]:g} in [0, 9], none in (" in told
    alone, both = (len({t["policy"] for t in tried if len(t["values"]) == n}) for n in (1, 2))
    assert f"{alone} settings change one constant, {both} several" in told


def test_points_read_back_as_the_values_they_are() -> None:
    space = Space(
        policy("A = tunable(3, 1, 9)", "B = tunable(-2.5, -8.0, 40.0)  # px", "C = tunable(0.00001, 0.0, 0.0003)")
    )
    for unit in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.313, 0.777, 0.123), (-0.2, 1.4, 0.5)):
        point = space.point(unit)
        assert tuple(t.value for t in constants(space.policy(point)).values()) == point
    assert space.point(space.unit(space.start)) == space.start
    assert 3.0 not in space.levels(0, 9, 0.5) and all(v == int(v) for v in space.levels(0, 5, 0.3))


def test_the_loop_accepts_what_the_tuner_finds(tmp_path: Path) -> None:
    made, _ = land(1)
    folder = improve_kit.make_folder(tmp_path / "task", made.policy())
    evaluator = LoopArena(made)
    tuner = Tuner(evaluator, settings=SHORT, clock=lambda: 0.0)  # type: ignore[arg-type]
    with EventLog.open(tmp_path / "run" / "events.jsonl", now=lambda: 0.0) as log:
        parts = improve_kit.parts(tmp_path / "run", folder, tuner, evaluator)
        loop = Loop(
            parts, Settings(trials=1, shown=2, limits={"steps": 2e6}, gate=improve_kit.GATE), log, made.policy()
        )
        tuner.attach(loop.run_.meter.log.events, loop.run_.meter.budgets)
        ended = loop.run()
    text = (folder / "policy.py").read_text()
    assert improve_kit.verdicts(ended) == [("accept", "accept")]
    assert made.truth(text) > 3 * made.truth(made.policy())
    spent: Any = ended.budgets["steps"]["spent"]
    assert spent <= 2e6 and ended.state.trials[0].spent["steps"] == spent
    assert set(TRAIN) >= {seed for _, seed in evaluator.tried}


def test_the_detuned_breakout_is_the_shipped_one_but_for_three_constants(tmp_path: Path) -> None:
    folder = detune_breakout.write(tmp_path / "detuned")
    same = detune_breakout.write(tmp_path / "same", shipped=True)
    off = constants((folder / "policy.py").read_text())
    right = constants((same / "policy.py").read_text())
    assert {name for name in off if off[name] != right[name]} == set(detune_breakout.OFF)
    assert set(detune_breakout.RANGES) <= set(right)
    for name in ("safety.py", "system.toml", "perception.onnx"):
        assert (folder / name).read_bytes() == (detune_breakout.SHIPPED / name).read_bytes()
    with pytest.raises(FileExistsError):
        detune_breakout.write(folder)


@pytest.mark.slow
def test_the_detuned_breakout_scores_less_than_half(tmp_path: Path) -> None:
    import triune

    folder = detune_breakout.write(tmp_path / "detuned")
    scores = evaluate(triune.load(folder, isolate=False), seeds=[0, 1, 2, 3]).scores
    assert sum(scores) < 4 * TOP / 2
