"""One kind of world has no special place: what is Atari's is named by its backend and its labeler alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("envs", "perception", "logic", "data_flywheel", "supervisor", "triune")
KINDS = (".py", ".js", ".html", ".css", ".toml")
WORDS = re.compile(r"\b(ram|rom|ale)\b|AtariCore|get_protocol", re.IGNORECASE)
ITS_OWN = ("envs/backends/atari", "data_flywheel/labelers/ram/")
# Where its words stand elsewhere: the file, what is allowed there (a regular expression), why.
ELSEWHERE = {
    "data_flywheel/datasets/collection.py": (r"labelers\.ram", "audits labels with that labeler's catalogue"),
    "data_flywheel/storage/dataset.py": (r"truth\.ram", "the first format stored that memory only"),
    "data_flywheel/labelers/declared.toml": (r"ALE/", "colours of games, to hold that labeler against"),
    "triune/commands/discover.py": (r"labelers\.ram|--rom|\brom\b|ROMs|_rom|ALE/", "the command of that labeler"),
}


def found(text: str, allowed: str = "") -> list[str]:
    """Lines that name it, once what is allowed is taken out."""
    bare = re.sub(allowed, "", text) if allowed else text
    return [line.strip() for line in bare.splitlines() if WORDS.search(line)]


def files() -> list[Path]:
    every = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.suffix in KINDS)
    return [path for path in every if not path.relative_to(ROOT).as_posix().startswith(ITS_OWN)]


def test_nothing_else_names_what_is_ataris() -> None:
    named = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if lines := found(path.read_text(), ELSEWHERE.get(name, ("", ""))[0]):
            named[name] = lines
    assert not named, "use truth by name, envs.env.simulator and protocol_of"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_exception_is_needed(name: str) -> None:
    assert found((ROOT / name).read_text()), "take it off the list"


def test_the_check_can_fail() -> None:
    assert found("teacher.label(core.ram(), frame)") and found("x = AtariCore") and not found("a program of rams")
    assert not found("from data_flywheel.labelers.ram.causal import FILE", r"labelers\.ram")
    assert found("from data_flywheel.labelers.ram.causal import ram", r"labelers\.ram")
    assert len(files()) > 150
