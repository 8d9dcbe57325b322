"""`triune explain`: the conditions that held at a step of a recorded game, what was remembered, which rule spoke."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import copy_task

from data_flywheel.episodes.episode import Episode, EpisodeRecorder
from logic.runtime.controller import DEADLINE, Controller, Decision
from triune.cli import main
from triune.report.explain import trace_step
from triune.system import System, load

STEPS = 60
POLICY = '''"""Follow the ball."""
from logic.lib.ball import frames_until

NEAR = 4.0


class Memory:
    seen: int = 0
    gap: float = 0.0


def act(scene, memory):
    if not scene.ball.seen:
        return FIRE, "serve"
    memory.seen += 1
    memory.gap = scene.ball.y - scene.player.y
    soon = frames_until(100.0, 2.0) < 9
    if abs(memory.gap) < NEAR or soon:
        return NOOP, "level"
    return (LEFT, "down") if memory.gap > 0.0 else (RIGHT, "up")
'''


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A task of one's own with the small policy."""
    copy_task(tmp_path / "mine")
    (tmp_path / "mine" / "policy.py").write_text(POLICY)
    return load(tmp_path / "mine")


def scenes(system: System) -> np.ndarray:
    """The ball is seen but for every seventh step, and wanders; the paddle stays."""
    vectors = np.tile(system.schema.empty(), (STEPS, 1))
    ball, player = system.schema.slot("ball").start, system.schema.slot("player").start
    vectors[:, ball] = np.arange(STEPS) % 7 != 0
    vectors[:, ball + 2] = 100.0 + 20.0 * np.sin(np.arange(STEPS) / 5.0)
    vectors[:, player], vectors[:, player + 2], vectors[:, player + 7] = 1.0, 100.0, 1.0
    return vectors.astype(np.float32)


def record(system: System, late: int = -1) -> Episode:
    """A game as it would have been recorded; step `late` missed its deadline."""
    meta = {"task": system.name, "protocol": "sticky", "seed": 3, "shift": None, "eyes": "cnn"}
    hashes = {key: system.hashes()[key] for key in ("policy", "schema")}
    recorder = EpisodeRecorder(meta | hashes)
    controller = Controller(system.logic("sticky"), clock=lambda: 0)
    for i, vector in enumerate(scenes(system)):
        d = controller.decide(system.schema.read(vector))
        if i == late:
            d = Decision(0, d.reason, d.proposed, (*d.overruled_by, DEADLINE))
        recorder.add(vector, d, 0, 3)  # type: ignore[arg-type]
    return recorder.finish(score=0, finished=True)


def explained(
    system: System, episode: Path, capsys: pytest.CaptureFixture[str], step: int, *more: str
) -> dict[str, Any]:
    words = ["explain", str(system.folder), "--episode", str(episode), "--step", str(step), "--json", *more]
    assert main(words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_conditions_memory_and_rules_of_a_step(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explained(system, record(system).save(tmp_path / "e.npz"), capsys, 10)
    trace = found["trace"]
    assert trace["agrees"] and trace["first_difference"] is None and not found["source_changed"]
    policy, *rules = trace["parts"]
    y = found["scene"]["ball.y"]
    told = [(c["line"], c["kind"], c["text"], c["outcome"]) for c in policy["conditions"]]
    assert told == [
        (13, "if", "not scene.ball.seen", False),
        (18, "if", "abs(memory.gap) < NEAR or soon", False),
        (20, "ternary", "memory.gap > 0.0", True),
        (20, "return", '(LEFT, "down") if memory.gap > 0.0 else (RIGHT, "up")', ["LEFT", "down"]),
    ]
    assert policy["conditions"][1]["values"] == {"memory.gap": pytest.approx(y - 100.0), "NEAR": 4.0, "soon": False}
    assert [m["field"] for m in policy["memory"]] == ["seen", "gap"]
    assert (policy["memory"][0]["old"], policy["memory"][0]["new"]) == (8, 9)  # the memory of that very step
    assert [r["title"] for r in rules][-1] == "perception lost" and not any(r["overruled"] for r in rules)
    assert found["decision"]["action"] == policy["action"] == "LEFT"


def test_library_lines_come_with_full(system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episode = record(system).save(tmp_path / "e.npz")

    def files(*more: str) -> set[str]:
        found = explained(system, episode, capsys, 10, *more)
        return {c["file"] for c in found["trace"]["parts"][0]["conditions"]}

    assert files() == {"policy.py"} and files("--full") == {"policy.py", "lib/ball"}


def test_text_shows_lines_outcomes_and_rules(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = record(system).save(tmp_path / "e.npz")
    assert main(["explain", str(system.folder), "--episode", str(episode), "--step", "10"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert "conditions in policy.py, in order" in lines
    at = next(i for i, line in enumerate(lines) if line.split()[:3] == ["18", "false", "if"])
    assert "NEAR 4" in lines[at + 1] and "soon false" in lines[at + 1]
    assert "  seen: 8 -> 9" in lines and any(line.split() == ["held", "perception", "lost"] for line in lines)
    assert not any(line.startswith("!") for line in lines)


def test_a_changed_policy_and_another_decision_are_said(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = record(system).save(tmp_path / "e.npz")
    (system.folder / "policy.py").write_text(POLICY.replace("memory.gap > 0.0", "memory.gap < 0.0"))
    found = explained(load(system.folder), episode, capsys, 20)
    assert found["source_changed"] and found["trace"]["first_difference"] is not None
    assert not found["trace"]["agrees"] and found["trace"]["replayed"]["action"] != found["decision"]["action"]
    assert main(["explain", str(system.folder), "--episode", str(episode), "--step", "20"]) == 0
    told = [line for line in capsys.readouterr().out.split("\n") if line.startswith("!")]
    assert "policy.py has changed" in told[0] and "differs from the recording from step" in told[1]
    assert found["trace"]["replayed"]["action"] in told[1]


def test_a_policy_that_no_longer_compiles_leaves_the_record(
    system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = record(system).save(tmp_path / "e.npz")
    (system.folder / "policy.py").write_text("import os\n")
    found = explained(load(system.folder), episode, capsys, 20)
    assert found["trace"] is None and "triune check" in found["trace_error"] and found["decision"]["reason"]
    assert main(["explain", str(system.folder), "--episode", str(episode), "--step", "20"]) == 0
    assert "no trace: policy.py, line 1" in capsys.readouterr().out


def test_an_overruled_and_a_late_step(system: System) -> None:
    rule = 'def r(scene, memory, action):\n    """Never go down."""\n    return NOOP if action == LEFT else action\n'
    (system.folder / "safety.py").write_text(rule)
    system = load(system.folder)
    episode = record(system, late=30)
    trace = trace_step(system, episode, 10)
    [spoke] = [p for p in trace["parts"] if p["overruled"]]
    assert (spoke["title"], spoke["from"], spoke["action"], spoke["file"]) == (
        "Never go down",
        "LEFT",
        "NOOP",
        "safety.py",
    )
    assert spoke["conditions"][0]["outcome"] is True and trace["agrees"]
    late = trace_step(system, episode, 30)
    assert late["late"] and late["first_difference"] is None and not trace["late"]


def test_many_rounds_are_shortened_in_text_only(system: System) -> None:
    from triune.report.explain import lines_of

    loop = "def act(scene, memory):\n    for i in range(40):\n        if i * 1.0 > scene.ball.y:\n"
    (system.folder / "policy.py").write_text(loop + '            return FIRE, "over"\n    return NOOP, "under"\n')
    system = load(system.folder)
    trace = trace_step(system, record(system), 10)
    assert len([c for c in trace["parts"][0]["conditions"] if c["line"] == 3]) == 40
    shown = lines_of(trace, False)
    assert sum(line.split()[:1] == ["3"] for line in shown) == 3 and any("37 more rounds of line 3" in s for s in shown)
    assert any("round 39" in line for line in shown)
