"""`--policy FILE`: a task played and evaluated with another text, without touching its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli_kit import ROOT, inside
from test_arena import LAZY

QUICK = ("--eyes", "teacher", "--steps", "40", "--json")


def payload(*words: str, cwd: Path) -> dict[str, Any]:
    result = inside(*words, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_another_text_decides_and_is_isolated(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    played = payload("play", "breakout", "--policy", "lazy.py", *QUICK, cwd=tmp_path)
    assert set(played["reasons"]) == {"serve", "hold still"}
    words = ("eval", "breakout", "--seeds", "3:5", "--out", "run", *QUICK)
    one = payload(*words, "--policy", "lazy.py", "--workers", "2", cwd=tmp_path)
    assert set(one["reasons"]) == {"serve", "hold still"} and one["isolated"]
    again = payload("eval", "breakout", "--resume", "run", "--workers", "1", *QUICK, cwd=tmp_path)
    assert again["scores"] == one["scores"] and again["reasons"] == one["reasons"]
    shipped = ROOT / "zoo" / "breakout" / "policy.py"
    words = ("eval", "breakout", "--seeds", "3:4", "--workers", "1", *QUICK)
    assert not payload(*words, "--policy", str(shipped), cwd=tmp_path)["isolated"]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LAZY)
    missing = inside("eval", "breakout", "--policy", "nowhere.py", *QUICK, cwd=tmp_path)
    assert missing.returncode == 1 and "no file nowhere.py" in missing.stderr
    card = inside("eval", "breakout", "--policy", "lazy.py", "--card", cwd=tmp_path)
    assert card.returncode == 2 and "score card" in card.stderr
