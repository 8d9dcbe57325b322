"""The table of `make mutants` names what there is, and a fault that only people would see is none."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks.mutants import meaning

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads((ROOT / "benchmarks" / "mutants.toml").read_text())


@pytest.mark.parametrize("module", TABLE["modules"])
def test_modules_and_the_tests_that_guard_them_are_there(module: str) -> None:
    assert (ROOT / module).is_file() and TABLE["modules"][module]
    for test in TABLE["modules"][module]:
        assert (ROOT / test.partition("::")[0]).is_file(), test


@pytest.mark.parametrize("entry", TABLE["unseen"], ids=lambda e: f"{e['in'][0]}: {e['was'][:40]}")
def test_what_nobody_could_see_is_explained_and_still_there(entry: dict[str, str]) -> None:
    assert entry["why"] and entry["was"] != entry["now"]
    for module in entry["in"]:
        assert module in TABLE["modules"]
        text = " ".join(line.strip() for line in (ROOT / module).read_text().splitlines())
        assert entry["was"] in text, f"{module} has changed; take the entry out of benchmarks/mutants.toml"


SOUND = """@lru_cache(maxsize=3)
def f(a: int) -> str:
    if a > 1:
        raise ValueError(f'{a + 1}')
    return round(a, 2)
"""


@pytest.mark.parametrize(
    ("was", "now", "seen"),
    [
        ("a: int", "a: str", False), ("-> str", "-> int", False), ("a + 1", "a - 1", False),
        ("(a, 2)", "(a, 3)", False), ("maxsize=3", "maxsize=4", False), ("@lru_cache(maxsize=3)\n", "", False),
        ("a > 1", "a >= 1", True),
        ("raise ValueError(f'{a + 1}')", "pass", True), ("(a, 2)", "(-a, 2)", True), ("a > 1", "a > 2", True),
    ],
)  # fmt: skip
def test_what_only_people_and_clocks_see_is_no_fault(was: str, now: str, seen: bool) -> None:
    assert was in SOUND and (meaning(SOUND) != meaning(SOUND.replace(was, now))) is seen


def test_what_is_no_python_has_no_meaning() -> None:
    assert meaning("def f(:") == ""


def test_what_is_being_tried_ends_with_who_tries_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (begun, begins), pause = os.pipe(), time.sleep

    def endless(tests: list[str], log: Path) -> None:
        os.setsid()
        os.write(begins, f"{os.getpid()}\n".encode())
        pause(60)
        os._exit(0)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt(os.read(begun, 20).decode())

    monkeypatch.setattr(mutants, "_pytest", endless)
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt) as found:
        mutants.run_tests([], 60.0, tmp_path / "log")
    pid = int(found.value.args[0])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
