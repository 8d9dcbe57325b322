"""The search over a policy's constants: it finds what is better, and goes on from what it wrote."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from classic_kit import CARTPOLE

from benchmarks import mujoco
from supervisor.proposers.race import Space
from triune.console import Console
from triune.errors import UsageError
from triune.system import load

SEEN = "[observation.pole]\nangle = { at = 2, low = -0.5, high = 0.5 }\nspin = { at = 3, low = -4.0, high = 4.0 }\n"
POLICY = """TURN = tunable(-0.5, -1.0, 1.0)


def act(scene, memory):
    return (RIGHT, "right") if scene.pole.angle + TURN * scene.pole.spin > 0.0 else (LEFT, "left")
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    text = "\n".join(line for line in CARTPOLE.splitlines() if not line.startswith(("height", "width")))
    (tmp_path / "system.toml").write_text(text + "\n" + SEEN)
    (tmp_path / "policy.py").write_text(POLICY)
    return tmp_path


def searched(task: Path, *more: str) -> dict[str, Any]:
    pytest.importorskip("cma")
    parser = argparse.ArgumentParser()
    mujoco.add_arguments(parser)
    words = [
        str(task),
        "--out",
        str(task / "found.json"),
        "--spread",
        "0.3",
        "--population",
        "6",
        "--games",
        "1",
        *more,
    ]
    return mujoco.run(parser.parse_args(words), Console())


def test_it_plays_the_compiled_policy_with_the_constants_it_is_asked_for(task: Path) -> None:
    system = load(task)
    stage = mujoco.Stage(system, space := Space(system.texts.policy))
    bad, good = (stage.scores(space.unit((value,)), [3, 4]) for value in (-0.5, 0.5))
    assert max(bad) < 100 < min(good)
    assert stage.scores(space.unit((0.5,)), [3], limit=20) == [20.0]
    assert stage.scores(space.unit((-0.5,)), [3, 4]) == bad


def test_it_goes_on_from_what_it_wrote_and_refuses_what_another_wrote(task: Path) -> None:
    (task / "found.json").write_text(json.dumps({"format": 1, "constants": {"TURN": 0.5}}))
    told = searched(task, "--search", "0")
    assert told["constants"] == {"TURN": 0.5} and told["worst"] > 100 > told["start_worst"]
    (task / "found.json").write_text(json.dumps({"format": 1, "constants": {"OTHER": 0.5}}))
    with pytest.raises(UsageError, match="no constants of this policy"):
        searched(task, "--search", "0")


def test_constants_of_a_kind_are_scaled_together_and_stay_in_their_ranges() -> None:
    assert mujoco.groups(["KNEE_PULL", "HIP_PULL", "HIP_REST", "PACE"]) == {"_PULL": [0, 1], "HIP_": [1, 2]}
    assert mujoco.groups(["PACE"]) == {"all": [0]}
    space = Space("A = tunable(-0.2, -1.0, 1.0)\nB = tunable(0.5, 0.0, 1.0)\n")
    made = mujoco.scaled(space, space.unit(space.start), [0, 1], 3.0)
    assert mujoco.constants(space, made) == pytest.approx({"A": -0.6, "B": 1.0})


def test_small_constants_keep_their_digits() -> None:
    space = Space("A = tunable(0.0005664, -0.5, 2.0)\nB = tunable(3.0, -3.0, 3.0)\n")
    assert mujoco.constants(space, space.unit(space.start)) == {"A": 0.0005664, "B": 3.0}


def test_scaling_keeps_only_what_is_better(task: Path) -> None:
    told = searched(task, "--search", "0.03", "--scale")
    assert told["mean"] + told["worst"] >= told["start_mean"] + told["start_worst"]


def test_changed_bodies_play_in_turns(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco, "SHIFTS", {"late": {"latency": 8}})
    system = load(task)
    space = Space(system.texts.policy)
    good, seeds = space.unit((0.5,)), [3, 3, 4, 4]
    plain, shifted = (mujoco.Stage(system, space, s).scores(good, seeds) for s in (False, True))
    assert plain[0] == plain[1] == shifted[0] and plain[2] == shifted[2]
    assert shifted[1] < shifted[0] and shifted[3] < shifted[2]


def test_a_measurement_says_what_is_left_of_the_score_and_who_fell(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco, "SHIFTS", {"late": {"latency": 8}})
    (task / "policy.py").write_text(POLICY.replace("-0.5,", "0.5,"))
    parser = argparse.ArgumentParser()
    mujoco.add_arguments(parser)
    rows = mujoco.run(parser.parse_args([str(task), "--seeds", "1000:1002"]), Console())[str(task)]
    assert rows["nominal"]["share"] == 1.0 and rows["nominal"]["falls"] < rows["late"]["falls"] == 2
    assert rows["late"]["share"] == rows["late"]["mean"] / rows["nominal"]["mean"] < 0.8
