"""One kind of world has no special place: what is Atari's is named by its backend and its labeler alone."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune")
KINDS = (".py", ".js", ".html", ".css", ".toml")
WORDS = re.compile(r"\b(ram|rom|ale)\b|AtariCore|get_protocol", re.IGNORECASE)
ITS_OWN = ("envs/backends/atari", "data_flywheel/labelers/causal/")


def found(text: str) -> list[str]:
    """Lines that name it."""
    return [line.strip() for line in text.splitlines() if WORDS.search(line)]


def files() -> list[Path]:
    every = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.suffix in KINDS)
    return [path for path in every if not path.relative_to(ROOT).as_posix().startswith(ITS_OWN)]


def test_nothing_else_names_what_is_ataris() -> None:
    named = {}
    for path in files():
        if lines := found(path.read_text()):
            named[path.relative_to(ROOT).as_posix()] = lines
    assert not named, "use truth by name, envs.env.simulator and protocol_of"


def test_the_check_can_fail() -> None:
    assert found("teacher.label(core.ram(), frame)") and found("x = AtariCore") and not found("a program of rams")
    assert len(files()) > 150
