"""What a workbench has spent is read back from its file, also after a kill, and never as less than it was."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from supervisor.proposers import spending
from supervisor.proposers.spending import LOG, read


def game(seed: int, frames: int = 100) -> dict[str, object]:
    return {"policy": "p", "seed": seed, "frames": frames, "score": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spending.begin(tmp_path, 1000.0)
    return tmp_path


def test_finished_games_count_as_they_were(folder: Path) -> None:
    with spending.work(folder, "eval", 2, 500.0, 2) as work:
        work.game(game(1, 120))
        work.game(game(2, 80))
    spent = read(folder)
    assert (spent.allowance, spent.frames, spent.left) == (1000.0, 200.0, 800.0)
    assert [g["seed"] for g in spent.games] == [1, 2] and spent.used == {"eval": 1}


@pytest.mark.parametrize(
    ("ended", "at_once", "frames"), [(0, 2, 600), (1, 2, 700), (2, 2, 800), (3, 2, 600), (4, 4, 400)]
)
def test_what_a_kill_cut_off_counts_as_was_expected(folder: Path, ended: int, at_once: int, frames: float) -> None:
    """Four games of about 300 frames; those that were under way are paid, those that had not begun are not."""
    with pytest.raises(KeyboardInterrupt), spending.work(folder, "eval", 4, 300.0, at_once) as work:
        for seed in range(ended):
            work.game(game(seed))
        raise KeyboardInterrupt
    assert read(folder).frames == frames


@pytest.mark.parametrize("cut", range(1, 12, 3))
def test_a_torn_line_is_no_spending_and_no_harm(folder: Path, cut: int) -> None:
    with spending.work(folder, "play", 1, 50.0, 1) as work:
        work.game(game(1, 40))
    path = folder / LOG
    path.write_bytes(path.read_bytes()[:-cut])  # the end is torn: as if it had been killed after its game
    assert read(folder).frames == 40
    with spending.work(folder, "play", 1, 50.0, 1) as work:
        work.game(game(2, 40))
    assert read(folder).frames == 80 and not read(folder).damaged


@pytest.mark.parametrize("text", [
    "", "{}\n", "[]\n", "null\n", '{"allowance": 10}\n{"of": 1, "game": {"frames": 3}}\n', '{"allowance": "much"}\n',
    '{"allowance": 10}\n{"ended": 7}\n', "\0\0\n",
    '{"began": 1, "what": "eval", "games": 1, "each": 1, "at_once": 1}\n',
])  # fmt: skip
def test_a_file_that_was_changed_counts_as_everything(folder: Path, text: str) -> None:
    (folder / LOG).write_text(text)
    spent = read(folder, 1000.0)
    assert spent.damaged and spent.frames == 1000.0 and spent.left == 0.0


def test_a_file_that_is_gone_counts_as_everything(folder: Path) -> None:
    (folder / LOG).unlink()
    assert read(folder, 700.0).frames == 700.0


def test_less_than_nothing_gives_nothing_back(folder: Path) -> None:
    with spending.work(folder, "eval", 1, 10.0, 1) as work:
        work.game(game(1, -500))
    assert read(folder).frames == 0


def test_an_allowance_may_be_raised(folder: Path) -> None:
    spending.begin(folder, 2500.0)
    assert read(folder).left == 2500.0


def test_one_command_plays_at_a_time(folder: Path) -> None:
    waited, order = threading.Event(), []

    def other() -> None:
        with spending.alone(folder, waited.set):
            order.append("second")

    with spending.alone(folder):
        thread = threading.Thread(target=other)
        thread.start()
        assert waited.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_it_is_told_in_plain_values(folder: Path) -> None:
    assert json.loads(json.dumps(read(folder).told())) == {"frames": 0.0, "games": 0, "used": {}, "damaged": False}
