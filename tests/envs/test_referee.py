"""The referee: a game ends before its console does, and a score that the game cannot give is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_kit import ROOT, copy_task

from envs.env import protocol_of, protocols_of
from envs.errors import EnvError
from envs.remote import PixelEnv
from envs.spec import load_spec, parse_spec
from triune.cli import main
from triune.play.loop import IMPOSSIBLE

PONG, BREAKOUT, CARTPOLE = (load_spec(name) for name in ("pong", "breakout", "cartpole"))


def short(frames: int, protocol: str) -> PixelEnv:
    env = replace(PONG.env, options={"max_frames": frames})
    return PixelEnv(env, protocol_of(env, protocol))


@pytest.mark.parametrize("protocol, frames", [("seed", 301), ("seed-sticky", 77), ("classic", 302), ("sticky", 64)])
def test_a_game_ends_at_the_tasks_own_last_frame(protocol: str, frames: int) -> None:
    with short(frames, protocol) as env:
        env.reset(2)
        while not env.done:
            env.step(0)
        told = env.outcome()
    assert told.finished and told.frames == frames


def test_the_limit_is_the_protocols_where_that_is_less() -> None:
    for most in (1, 65_200, 108_000):
        env = replace(PONG.env, options={"max_frames": most})
        assert {rules.frame_limit for rules in protocols_of(env).values()} == {most}
    assert {rules.frame_limit for rules in protocols_of(replace(PONG.env, options={})).values()} == {108_000}


@pytest.mark.slow
@pytest.mark.parametrize("task, hold", [("pong", {13: 3, 14: 3}), ("breakout", {57: 5})])
def test_the_zoos_games_end_before_the_console_ends_them(task: str, hold: dict[int, int]) -> None:
    from benchmarks.console import end_of

    env = load_spec(task).env
    for protocol, seed in (("seed", 0), ("seed-sticky", 5)):
        found = end_of(env, protocol, seed, hold)
        ends = [at for at in (found["colours_at"], found["reward_at"]) if at is not None]
        assert ends and 0 < min(ends) - protocol_of(env, protocol).frame_limit < 100


# --- scores ---------------------------------------------------------------------------------------


def test_a_step_that_the_game_cannot_give_is_named_by_the_referee() -> None:
    """As if Pong could not lose a point."""
    env = replace(PONG.env, reward_range=(0.0, 1.0))
    with PixelEnv(env, protocol_of(env, "sticky")) as world:
        world.reset(3)
        for _ in range(180):
            world.step(0)
        told = world.outcome()
    before = (0, *told.scores)
    lost = tuple(i for i, score in enumerate(told.scores) if score < before[i])
    assert len(lost) >= 2 and told.impossible == lost


@pytest.mark.parametrize("rewards, impossible", [((0, 1), 0), ((1, 1), 0), ((0, 0.5), 20), ((-3, 0), 20), ((2, 3), 0)])
def test_steps_beyond_the_range_are_faults_of_an_evaluation(
    rewards: tuple[float, float], impossible: int, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """CartPole gives 1 a step. A step may always give nothing, so a range without 0 reaches to it."""
    monkeypatch.chdir(tmp_path)
    copy_task(tmp_path / "mine", "cartpole")
    toml = tmp_path / "mine" / "system.toml"
    assert "reward_range = [0, 1]" in toml.read_text()
    toml.write_text(toml.read_text().replace("reward_range = [0, 1]", f"reward_range = {list(rewards)}"))
    assert main(["eval", "mine", "--seeds", "0:1", "--steps", "20", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == impossible and (IMPOSSIBLE in json.dumps(found)) == (impossible > 0)


def test_no_game_of_the_zoo_gives_what_it_cannot() -> None:
    for spec in (PONG, BREAKOUT, CARTPOLE):
        assert spec.env.reward_range is not None
        with PixelEnv(spec.env, protocol_of(spec.env)) as world:
            world.reset(1)
            for i in range(200):
                if not world.done:
                    world.step(i // 9 % 2)
            assert world.outcome().impossible == ()


@pytest.mark.parametrize(
    "line, said",
    [
        ("reward_range = [1, 0]", "reward_range is"),
        ("reward_range = [1]", "reward_range is"),
        ("reward_range = []", "reward_range is"),
        ("reward_range = [0, inf]", "reward_range is"),
        ("reward_range = [nan, 1]", "reward_range is"),
        ('reward_range = ["0", 1]', "reward_range is"),
        ("reward_range = 3", "a list"),
        ("max_frames = 0", "from 1 to 108000"),
        ("max_frames = -5", "from 1 to 108000"),
        ("max_frames = 108001", "from 1 to 108000"),
        ("max_frames = 1.5", "cannot be"),
        ("max_frame = 100", "did you mean 'max_frames'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(line: str, said: str) -> None:
    text = (ROOT / "zoo" / "pong" / "system.toml").read_text()
    kept = [own for own in text.splitlines() if not own.startswith(("max_frames", "reward_range"))]
    at = kept.index("[env]") + 1
    with pytest.raises(EnvError, match=said) as error:
        parse_spec("\n".join([*kept[:at], line, *kept[at:]]), Path("system.toml"))
    assert f"line {at + 1}" in str(error.value)
