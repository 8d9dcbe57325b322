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
