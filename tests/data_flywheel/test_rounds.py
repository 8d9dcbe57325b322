"""What trainings on labelled films came to, and whether more labels helped: said only where it is more than chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_flywheel.labels.rounds import FILE, Outcome, advice, note_round, read_rounds


def told(folder: Path, learned: int, held: int, share: float | None) -> None:
    note_round(folder, {"box": learned}, {"box": {"labels": held, "precision": share, "recall": share, "more": 1}})


def test_rounds_come_back_in_order_and_damage_costs_its_line(tmp_path: Path) -> None:
    told(tmp_path, 40, 10, 0.5)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"kind":"triune round","version":1,"at":0,"things":{"box":{"learned":-1}}}\nno JSON\n[]\n')
    told(tmp_path, 80, 0, None)
    assert read_rounds(tmp_path) == [{"box": Outcome(40, 10, 0.5, 0.5)}, {"box": Outcome(80, 0, None, None)}]
    assert read_rounds(tmp_path / "gone") == []
    note_round(tmp_path, {"box": 3}, {})  # nothing was held out at all
    assert read_rounds(tmp_path)[-1] == {"box": Outcome(3, 0, None, None)}


@pytest.mark.parametrize(
    ("rounds", "now", "words"),
    [
        ([], 50, "150 more make a good beginning"), ([], 200, ""), ([(40, 0, None)], 150, "50 more"),
        ([(40, 20, 0.8)], 60, "F1 0.80 on 20 held out, learned from 40"),
        ([(40, 20, 0.8), (44, 20, 0.9)], 60, "F1 0.90 on 20 held out, learned from 44"),  # hardly more labels
        ([(40, 200, 0.5), (80, 200, 0.9)], 90, "40 → 80 labels: F1 0.50 → 0.90 on 200 held out; more helped"),
        ([(40, 20, 0.9), (80, 20, 0.95)], 90, "no more than chance; more of the same help little"),
        ([(40, 20, 0.5), (80, 20, 0.55)], 90, "no more than chance; try other looks"),
    ],
)  # fmt: skip
def test_what_more_labels_did(rounds: list[tuple[int, int, Any]], now: int, words: str) -> None:
    seen = [{"box": Outcome(learned, held, share, share)} for learned, held, share in rounds]
    assert words in advice(seen, {"box": now})["box"] and (words or not advice(seen, {"box": now})["box"])
