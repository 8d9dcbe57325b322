"""The score card: what enters, what it says, and that it survives damage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from data_flywheel.errors import DataError
from data_flywheel.storage import files
from data_flywheel.storage.files import try_lock
from envs.spec import ZOO
from triune.errors import UsageError
from triune.play.evaluation import Result
from triune.report import card as cards
from triune.report.card import read_scores, record
from triune.system import System, load


@pytest.fixture
def system(tmp_path: Path) -> System:
    shutil.copytree(
        ZOO / "pong", tmp_path / "pong", ignore=shutil.ignore_patterns("scores.json", "README.md", "*.onnx")
    )
    return load(tmp_path / "pong", trust=True)


def result(detector: str = "cnn", shift: str | None = None, protocol: str = "sticky") -> Result:
    scores = [20, 21, 19]
    figures = {"mean": 20.0, "iqm": 20.0, "ci95": [19.2, 20.8], "worst_decile": 19.0}
    return Result("pong", protocol, shift, detector, [1000, 1001, 1002], scores, **figures)  # type: ignore[arg-type]


def test_card_keeps_both_sights_and_every_protocol(system: System) -> None:
    for detector, protocol in (("teacher", "sticky"), ("cnn", "sticky"), ("cnn", "classic")):
        card = record(system, result(detector, protocol=protocol), None)
    scores = read_scores(system.folder)
    assert set(scores) == {"sticky", "classic"} and scores["sticky"]["teacher"]["worst"] == 19
    text = card.read_text()
    assert f"`triune eval {system.folder} --protocol sticky --seeds 1000:1003`" in text
    assert f"`triune eval {system.folder} --card`" in text, "a copy is not the zoo's"
    assert text.index("`classic`") < text.index("`sticky`") and "not measured" in text


def test_what_is_no_score_is_refused(system: System) -> None:
    for bad, limit in ((result(shift="dim"), None), (result(detector="colour"), None), (result(), 50)):
        with pytest.raises(UsageError, match="leave --card out"):
            record(system, bad, limit)
    assert read_scores(system.folder) == {}


def test_damaged_card_reads_as_empty(system: System) -> None:
    (system.folder / "scores.json").write_text('{"format": 1, "protocols"')
    assert read_scores(system.folder) == {}


def test_a_card_is_read_and_written_by_one_process_at_a_time(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost update: two evaluations that end at once read the same card. Whoever is waited for in vain is told of."""

    def watched(folder: Path) -> dict[str, Any]:
        with (folder / "system.toml").open("rb") as other:
            assert not try_lock(other.fileno())
        return read_scores(folder)

    monkeypatch.setattr(cards, "read_scores", watched)
    for protocol in ("sticky", "classic"):
        record(system, result(protocol=protocol), None)
    before = {name: (system.folder / name).read_bytes() for name in ("scores.json", "README.md")}
    monkeypatch.setattr(files, "PATIENCE", 0.0)
    with (system.folder / "system.toml").open("rb") as other:
        assert try_lock(other.fileno())
        with pytest.raises(DataError, match=r"scores\.json: another process has been writing"):
            record(system, result(protocol="seed"), None)
    assert before == {name: (system.folder / name).read_bytes() for name in before}
    assert set(read_scores(system.folder)) == {"sticky", "classic"}
