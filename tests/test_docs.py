"""The pages are true to the tree: no dead link, no file that is not there, no page or command that is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from triune.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
BESIDE = ("README.md", "CHANGELOG.md", "web/README.md", "zoo/*/README.md")
PAGES = [*DOCS, *(page for pattern in BESIDE for page in sorted(ROOT.glob(pattern)))]
TOP = "(?:triune|envs|perception|logic|supervisor|data_flywheel|benchmarks|tests|zoo|docs|examples)"
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def dead_links(page: Path, text: str) -> list[str]:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    return [link for link in links if not (page.parent / link).exists()]


def missing_files(text: str) -> list[str]:
    """Of what stands in backticks, the files and (with a slash at the end) folders of the packages."""
    named = re.findall(rf"`({TOP}/(?:[\w./-]+\.(?:py|md|json|jsonl|toml|mjs)|(?:[\w-]+/)*))`", text)
    return [name for name in named if "NAME" not in name and not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    assert not dead_links(page, text_of(page))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_that_are_named_exist(page: Path) -> None:
    if page.name != "decisions.md":  # tells of files that are gone
        assert not missing_files(text_of(page))


def test_the_checks_can_fail() -> None:
    links = "[a](docs/none.md) [b](docs/gate.md) [c](https://example.org)"
    assert dead_links(ROOT / "README.md", links) == ["docs/none.md"]
    named = "`envs/none.py` `envs/env.py` `envs/none/` `zoo/NAME/` `triune/play/loop.py`"
    assert missing_files(named) == ["envs/none.py", "envs/none/"]


def test_the_index_lists_every_page_once() -> None:
    listed = re.findall(r"^\* \[([\w-]+\.md)\]", text_of(ROOT / "docs/README.md"), re.MULTILINE)
    assert sorted(listed) == [page.name for page in DOCS if page.name != "README.md"]


def test_the_readme_lists_every_command_once() -> None:
    block = text_of(ROOT / "README.md").split("## Commands")[1].split("```")[1]
    listed = [word for line in block.strip().splitlines() for word in line.split()[1:]]
    assert sorted(listed) == sorted(COMMANDS)
