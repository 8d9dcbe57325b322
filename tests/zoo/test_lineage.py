"""The shipped lineages: complete, and their figures come out again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT, triune

from supervisor.loop.folder import read_lines

ZOO = ROOT / "zoo"
TASKS = sorted(folder.parent.name for folder in ZOO.glob("*/lineage"))
AS_RECORDED = {"TRIUNE_ENGINE": "python"}  # a real-valued score's last digits follow the arithmetic of its network
REPLAYED = {"breakout": 4}  # trials that are judged anew, to save time: one rejected, two accepted, one invalid


def games_of(task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ZOO / task / "lineage" / "games.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_a_lineage_is_complete_and_has_its_failures_on_record(task: str) -> None:
    lines = read_lines(ZOO / task)
    assert {"accept", "reject"} <= {line["verdict"] for line in lines}
    read = [line for line in lines if line["verdict"] != "invalid"]
    assert all(line["hypothesis"] and line["prediction"] and line["lesson"] for line in read)
    for line in lines:
        if line["verdict"] == "accept":
            assert line["numbers"]["confirm_difference"] > 0 and (ZOO / task / line["accepted"]).is_file()
        if line["revision"]:
            assert (ZOO / task / line["revision"]).is_file()


def test_breakout_leads_from_a_naive_policy_to_a_perfect_score() -> None:
    lines = read_lines(ZOO / "breakout")
    accepted = [line for line in lines if line["verdict"] == "accept"]
    assert len(lines) >= 8 and "invalid" in {line["verdict"] for line in lines}
    assert accepted[0]["numbers"]["confirm_parent"] < 60 and accepted[-1]["numbers"]["confirm_child"] > 800


@pytest.mark.parametrize("task", TASKS)
def test_seeds_of_a_lineage_are_gate_seeds(task: str) -> None:
    assert {1000 <= game["seed"] < 10_000 for game in games_of(task)} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("which", [0.0, 0.5])
@pytest.mark.parametrize("task", TASKS)
def test_a_figure_comes_out_again(task: str, which: float, tmp_path: Path) -> None:
    from triune.system import sha256

    short = sorted((g for g in games_of(task) if g["frames"] < 12_000), key=lambda g: (g["policy"], g["seed"]))
    game = short[int(which * len(short))]
    texts = {sha256(p.read_bytes()): p for p in (ZOO / task / "lineage").glob("r*.py")}
    text, seed = texts[game["policy"]], game["seed"]
    words = ("eval", task, "--policy", str(text), "--seeds", f"{seed}:{seed + 1}", "--json")
    done = triune(*words, cwd=tmp_path, **AS_RECORDED)
    found = json.loads(done.stdout)
    assert (found["scores"], found["frames"]) == ([pytest.approx(game["score"], rel=1e-6)], game["frames"])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_stored_exchange_leads_to_the_same_ledger(task: str, tmp_path: Path) -> None:
    """Every answer is read, compiled and judged anew; only the games come from the record."""
    kept, lines = ZOO / task / "lineage", read_lines(ZOO / task)
    games, out = tmp_path / "games.jsonl", tmp_path / "again"
    trials = REPLAYED.get(task, len(lines))
    shutil.copyfile(kept / "games.jsonl", games)
    triune(
        "improve", task, "--proposer", "replay", "--recording", str(kept / "exchange.jsonl"),
        "--policy", str(kept / "r00.py"), "--out", str(out), "--run", str(tmp_path / "run"),
        "--gate", str(kept / "gate.json"), "--games", str(games), "--trials", str(trials), "--json",
        cwd=tmp_path, **AS_RECORDED,
    )  # fmt: skip
    assert [_told(line) for line in read_lines(out)] == [_told(line) for line in lines[:trials]]
    assert games.read_bytes() == (kept / "games.jsonl").read_bytes()


def _told(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the ledger without what differs by who answered and how fast."""
    cost = {k: v for k, v in line["cost"].items() if k == "steps"}
    return {**{k: v for k, v in line.items() if k not in ("run", "proposer")}, "cost": cost}
