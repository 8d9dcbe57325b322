"""The shipped lineage of Breakout: complete, and its figures come out again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_kit import ROOT, triune

from supervisor.loop.folder import read_lines

TASK = ROOT / "zoo" / "breakout"
LINEAGE = TASK / "lineage"
LINES = read_lines(TASK)
GAMES = [json.loads(line) for line in (LINEAGE / "games.jsonl").read_text("utf-8").splitlines()]


def test_it_leads_from_a_naive_policy_to_a_perfect_score_with_failures_on_record() -> None:
    assert len(LINES) >= 8 and {"accept", "reject", "invalid"} <= {line["verdict"] for line in LINES}
    read = [line for line in LINES if line["verdict"] != "invalid"]
    assert all(line["hypothesis"] and line["prediction"] and line["lesson"] for line in read)
    accepted = [line for line in LINES if line["verdict"] == "accept"]
    assert accepted[0]["numbers"]["confirm_parent"] < 60 and accepted[-1]["numbers"]["confirm_child"] > 800
    for line in LINES:
        if line["verdict"] == "accept":
            assert line["numbers"]["confirm_difference"] > 0 and (TASK / line["accepted"]).is_file()
        if line["revision"]:
            assert (TASK / line["revision"]).is_file()


def test_seeds_of_the_lineage_are_gate_seeds() -> None:
    assert {1000 <= game["seed"] < 10_000 for game in GAMES} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("which", [0.0, 0.5])
def test_a_figure_comes_out_again(which: float, tmp_path: Path) -> None:
    from triune.system import sha256

    short = sorted((g for g in GAMES if g["frames"] < 12_000), key=lambda g: (g["policy"], g["seed"]))
    game = short[int(which * len(short))]
    texts = {sha256(p.read_bytes()): p for p in LINEAGE.glob("r*.py")}
    text, seed = texts[game["policy"]], game["seed"]
    done = triune(
        "eval", "breakout", "--policy", str(text), "--seeds", f"{seed}:{seed + 1}", "--json", cwd=tmp_path
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["scores"], found["frames"]) == ([game["score"]], game["frames"])


@pytest.mark.slow
def test_the_stored_exchange_leads_to_the_same_ledger(tmp_path: Path) -> None:
    """Every answer is read, compiled and judged anew; only the games come from the record. Four trials, to save time:
    one rejected, two accepted, one invalid."""
    games, out = tmp_path / "games.jsonl", tmp_path / "again"
    shutil.copyfile(LINEAGE / "games.jsonl", games)
    triune(
        "improve", "breakout", "--proposer", "replay", "--recording", str(LINEAGE / "exchange.jsonl"),
        "--policy", str(LINEAGE / "r00.py"), "--out", str(out), "--run", str(tmp_path / "run"), "--protocol", "sticky",
        "--gate", str(LINEAGE / "gate.json"), "--games", str(games), "--trials", "4", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert [_told(line) for line in read_lines(out)] == [_told(line) for line in LINES[:4]]
    assert games.read_bytes() == (LINEAGE / "games.jsonl").read_bytes()


def _told(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the ledger without what differs by who answered and how fast."""
    cost = {k: v for k, v in line["cost"].items() if k == "steps"}
    return {**{k: v for k, v in line.items() if k not in ("run", "proposer")}, "cost": cost}
