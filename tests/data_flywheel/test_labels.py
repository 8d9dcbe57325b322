"""Labels on disk: checked at the door, kept for good, taken back openly; damage costs what it touched and is named."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from labels_kit import ALL, BALL, SCHEMA, SIZE, frame, label, store

from data_flywheel.errors import DataError
from data_flywheel.labels.label import FrameRef, Retraction, check_label, values_of, vector_of
from data_flywheel.labels.store import LabelStore, StaleLabels
from perception.scene import SceneSchema

ROOT = Path(__file__).parents[2]
NAN = float("nan")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bal": [[10, 20, 2, 4]]}, "no 'bal'; did you mean 'ball'"),
        ({"ball": [[59.5, 20, 2, 4]]}, r"ball reaches outside the frame of 60x40: from \(58.5, 18\) to \(60.5, 22\)"),
        ({"ball": [[10, 1.9, 2, 4]]}, "outside the frame"),
        ({"ball": [[NAN, 20, 2, 4]]}, "ball is four finite numbers"),
        ({"enemy": [None, [10, float("inf"), 2, 4]]}, r"enemy\[1\] is four finite numbers"),
        ({"ball": [[10, 20, 2]]}, "four finite numbers"),
        ({"ball": [[10, 20, True, 4]]}, "four finite numbers"),
        ({"ball": [[10, 20, 0, 4]]}, "ball is 0 by 4 px; .* an absent thing is null"),
        ({"ball": [10, 20, 2, 4]}, "ball is a list of 1 boxes"),
        ({"enemy": [None]}, "enemy is a list of 2 boxes"),
        ({"bricks": ["111"]}, "bricks is 2 rows of 3 characters"),
        ({"bricks": ["112", "111"]}, "each 0 or 1"),
        ({"oxygen": 1.5}, "oxygen is a number from 0 to 1, got 1.5"),
        ({"oxygen": NAN}, "oxygen is a number"),
        ({}, "values for at least one part"),
    ],
)
def test_values_that_cannot_be_are_refused_in_words(values: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_label(label(values), SCHEMA, SIZE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "teecher"}, "unknown source 'teecher'; choose from person, causal"),
        ({"trust": 1.2}, "trust is a number from 0 to 1, got 1.2"),
        ({"trust": NAN}, "trust is a number"),
        ({"frame": frame(size=(84, 84))}, "the frame is 84x84, those of this task are 60x40"),
        ({"frame": frame(seed=1000)}, "seed 1000 must not be trained on"),
        ({"frame": frame(-1)}, "a step from 0"),
        ({"frame": FrameRef("", 0, "0" * 64, SIZE, 1)}, "an episode's name"),
        ({"verdict": "accept"}, "a person says accept or reject"),
        ({"source": "person", "verdict": "accept"}, "missing: enemy, bricks, oxygen"),
        ({"source": "person", "verdict": "reject"}, "a rejected frame has none"),
        ({"note": "x" * 401}, "at most 400 characters"),
    ],
)
def test_labels_that_cannot_be_are_refused_in_words(change: dict[str, object], words: str, tmp_path: Path) -> None:
    labels = store(tmp_path)
    with pytest.raises(DataError, match=words):
        labels.add([label(frame=frame(7)), label(**change)])
    assert labels.frames() == [] and LabelStore(tmp_path).frames() == []  # all or nothing


def test_a_wrong_array_is_no_frame() -> None:
    with pytest.raises(DataError, match=r"uint8\[H, W, 3\], got float32\[4, 4, 3\]"):
        FrameRef.of(np.zeros((4, 4, 3), np.float32), "a", 0)  # type: ignore[arg-type]


def test_scene_vectors_come_back_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        vector = SCHEMA.empty()
        for start in (SCHEMA.slot("ball"), SCHEMA.slot("enemy", 1)):
            vector[start] = (1, *rng.uniform(5, 30, 2), *rng.uniform(0.1, 4, 2), 0, 0, 1)
        vector[SCHEMA.grid("bricks")] = rng.integers(0, 2, 6)
        vector[SCHEMA.gauge("oxygen")] = rng.random()
        values = json.loads(json.dumps(values_of(SCHEMA, vector)))
        assert vector_of(SCHEMA, values).tobytes() == vector.tobytes()
    assert values_of(SCHEMA, SCHEMA.empty(), ["enemy"]) == {"enemy": [None, None]}


def test_an_episode_is_never_torn_between_splits(tmp_path: Path) -> None:
    labels = store(tmp_path)
    labels.add([label(frame=frame(0, seed=3))])
    with pytest.raises(DataError, match="labelled as seed 950, other frames of this episode as seed 3"):
        labels.add([label(frame=frame(1, seed=950))])
    splits = {frame(0, f"camera {i}", None).split for i in range(60)}
    assert splits == {"train", "val", "test"}
    assert len({frame(step, "camera 1", None).split for step in range(20)}) == 1


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_what_is_added_is_read_by_others(tmp_path: Path) -> None:
    labels, other = store(tmp_path), store(tmp_path)
    added = labels.add([label(ALL, note="ü\n"), label(source="causal", frame=frame(1, seed=None, episode="camera"))])
    assert [a.id for a in added] == ["000001-000001", "000001-000002"] and added[0].at == 12.5
    other.sync()
    for opened in (labels, other, LabelStore(tmp_path)):
        assert list(opened) == added and opened.problems == []
        assert opened.standing(added[0].frame) == (added[0],) and opened.label(added[1].id) == added[1]
        assert opened.frames() == [frame(1, "camera", None), frame()]


def test_undo_is_a_retraction_and_history_stays(tmp_path: Path) -> None:
    labels = store(tmp_path)
    first, second = labels.add([label(), label(source="person", who="anna")])
    taken = labels.retract(second.id, "anna", "slipped")
    for opened in (labels, LabelStore(tmp_path)):
        assert opened.standing(frame()) == (first,) and opened.history(frame()) == (first, second, taken)
        assert opened.retracted(second.id) and not opened.retracted(first.id) and opened.revision(frame()) == taken.id
    with pytest.raises(DataError, match="taken back already"):
        labels.retract(second.id, "anna")
    for nothing in ("000009-000001", taken.id):
        with pytest.raises(DataError, match="no label"):
            labels.retract(nothing, "anna")


def test_a_stale_write_is_refused_with_what_changed(tmp_path: Path) -> None:
    mine, theirs = store(tmp_path), store(tmp_path)
    seen = mine.add([label()])[0].id
    other = theirs.add([label(source="person", who="ben")], after=seen)
    for attempt in (lambda: mine.add([label(who="x")], after=seen), lambda: mine.retract(seen, "x", after=seen)):
        with pytest.raises(StaleLabels, match="changed meanwhile by ben") as stale:
            attempt()
        assert list(stale.value.news) == other
    mine.add([label(who="x")], after=other[0].id)
    with pytest.raises(StaleLabels):
        theirs.add([label(frame=frame(5))], after="000001-000001")
    assert len(theirs.standing(frame())) == 3 and not theirs.standing(frame(5))


def test_files_are_followed_by_the_next(tmp_path: Path) -> None:
    labels = store(tmp_path)
    labels._log.file_bytes = 2000
    added = [labels.add([label(frame=frame(i))])[0] for i in range(20)]
    files = sorted(tmp_path.glob("labels-*.jsonl"))
    assert len(files) >= 4 and list(LabelStore(tmp_path)) == added
    header = json.loads(files[1].read_text().splitlines()[0])
    assert header["version"] == 1 and header["before"] == [a.id for a in added if a.id[:6] == "000001"][-1]


def test_another_task_or_schema_is_refused(tmp_path: Path) -> None:
    store(tmp_path)
    other = SceneSchema(SCHEMA.crop, SCHEMA.things[:1])
    for task, schema, size in (("pong", SCHEMA, SIZE), ("toy", other, SIZE), ("toy", SCHEMA, (84, 84))):
        with pytest.raises(DataError, match="holds labels .*; name another folder"):
            LabelStore.create(tmp_path, task, schema, size)
    with pytest.raises(DataError, match="no such labels manifest"):
        LabelStore(tmp_path / "gone")


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files with 18 labels, one a frame."""
    labels = store(tmp_path)
    labels._log.file_bytes = 2200
    for i in range(18):
        labels.add([label(frame=frame(i))])
    found = sorted(tmp_path.glob("labels-*.jsonl"))
    assert len(found) == 3
    return found


def steps(opened: LabelStore) -> list[int]:
    return [ref.step for ref in opened.frames()]


def test_a_damaged_line_costs_only_itself_and_is_named(files: list[Path]) -> None:
    lines = files[1].read_bytes().splitlines(keepends=True)
    lost = json.loads(lines[3])["frame"]["step"]
    files[1].write_bytes(b"".join([*lines[:3], lines[3].replace(b'"trust":0.9', b'"trust":0.8'), *lines[4:]]))
    opened = LabelStore(files[0].parent)
    assert steps(opened) == [i for i in range(18) if i != lost]
    assert [str(files[1]) in p and "damaged at line 4" in p and "restore" in p for p in opened.problems] == [True]
    opened.add([label(frame=frame(99))])  # the rest goes on
    assert 99 in steps(LabelStore(files[0].parent))


@pytest.mark.parametrize("where", [0, 1, 2])
def test_random_damage_never_stops_the_rest(files: list[Path], where: int) -> None:
    rng = random.Random(where)
    original = files[where].read_bytes()
    others = [json.loads(line) for i in range(3) if i != where for line in files[i].open()]
    kept_elsewhere = {record["frame"]["step"] for record in others if record["kind"] == "label"}
    for _ in range(12):
        data = bytearray(original)
        for _ in range(rng.choice([1, 3, 40])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        files[where].write_bytes(bytes(data))
        opened = LabelStore(files[0].parent)
        assert kept_elsewhere <= set(steps(opened))
        assert bytes(data) == original or any(str(files[where]) in p for p in opened.problems)
        assert all(entry.values == BALL for entry in opened)  # nothing false is read


def test_what_is_cut_off_or_gone_is_noticed(files: list[Path]) -> None:
    lines = files[0].read_bytes().splitlines(keepends=True)
    files[0].write_bytes(b"".join(lines[:-2]))
    problem = LabelStore(files[0].parent).problems
    assert len(problem) == 1 and f"although {len(lines) - 1} were written" in problem[0] and files[0].name in problem[0]
    files[0].unlink()
    assert "labels-000001.jsonl is missing" in LabelStore(files[0].parent).problems[0]


def test_a_file_under_another_name_is_not_counted_twice(files: list[Path]) -> None:
    files[0].with_name("labels-000009.jsonl").write_bytes(files[0].read_bytes())
    files[0].with_name("labels-000001 (copy).jsonl").write_bytes(files[0].read_bytes())
    opened = LabelStore(files[0].parent)
    assert steps(opened) == list(range(18)) and len(list(opened)) == 18
    assert all(len(opened.history(ref)) == 1 for ref in opened.frames())
    assert any("labels-000009.jsonl: damaged at line 2" in problem for problem in opened.problems)


def test_another_version_is_refused_but_only_that_file(files: list[Path]) -> None:
    from data_flywheel.storage.log import _line, _verified

    lines = files[1].read_bytes().splitlines(keepends=True)
    header = {**_verified(lines[0]), "version": 2}
    files[1].write_bytes(b"".join([_line(header), *lines[1:]]))
    opened = LabelStore(files[0].parent)
    assert "format version 2, but this program reads version 1" in opened.problems[0]
    assert 0 in steps(opened) and 17 in steps(opened) and 7 not in steps(opened)


@pytest.mark.parametrize("how", ["half", "changed", "version", "kind"])
def test_a_bad_manifest_is_a_clear_error(files: list[Path], how: str) -> None:
    path = files[0].parent / "labels.json"
    text = path.read_text()
    half, version = text[: len(text) // 2], text.replace('"version": 1', '"version": 7')
    changed, kind = text.replace("toy", "joy"), text.replace("triune labels", "else")
    path.write_text({"half": half, "changed": changed, "version": version, "kind": kind}[how])
    words = {
        "half": "half-written labels manifest .*delete",
        "changed": "changed by hand",
        "version": "version 7",
        "kind": "not the manifest",
    }
    with pytest.raises(DataError, match=f"labels.json: .*{words[how]}"):
        LabelStore(path.parent)


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = store(tmp_path)
    kept = labels.add([label()])
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        real(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(DataError, match="No space left on device; not saved: free some space"):
            labels.add([label(frame=frame(1))])
    assert list(LabelStore(tmp_path)) == kept
    more = labels.add([label(frame=frame(2))])
    assert list(LabelStore(tmp_path)) == kept + more and LabelStore(tmp_path).problems == []


# --- kills and crowds -----------------------------------------------------------------------------------------------


def worker(folder: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.kits.labels_kit", str(folder), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def told(lines: list[str], seed: int) -> dict[str, tuple[str, int]]:
    """Acknowledged labels: id -> episode and step."""
    whole = [line.split() for line in lines if line.endswith("\n") and not line.startswith("opened")]
    return {name: (f"game{seed}", int(step)) for name, step in whole}


def kept(folder: Path) -> dict[str, tuple[str, int]]:
    opened = LabelStore(folder)
    assert opened.problems == []
    return {entry.id: (entry.frame.episode, entry.frame.step) for entry in opened}


def killed_at_random(folder: Path, seeds: range) -> None:
    known: dict[str, tuple[str, int]] = {}
    for seed in seeds:
        process = worker(folder, seed)
        assert process.stdout is not None
        wanted = random.Random(seed).randrange(2, 40)
        lines = [process.stdout.readline() for _ in range(wanted)]
        process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        fresh = told(lines, seed)
        assert len(fresh) >= wanted - 1 and not fresh.keys() & known.keys()
        known |= fresh
        assert known.items() <= kept(folder).items()
    assert len(known) > 10 * len(seeds)


def test_killed_at_random_instants(tmp_path: Path) -> None:
    killed_at_random(tmp_path, range(4))


@pytest.mark.slow
def test_killed_at_many_random_instants(tmp_path: Path) -> None:
    killed_at_random(tmp_path, range(100, 130))


def killed_at_calls(folder: Path, cases: list[tuple[int, str]]) -> int:
    """How many kills left something unfinished behind."""
    known: dict[str, tuple[str, int]] = {}
    for seed, (call, how) in enumerate(cases):
        process = worker(folder, seed, 1000, call, how)
        lines, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        known |= told(lines.splitlines(True), seed)
        assert known.items() <= kept(folder).items()
    return len(list(folder.glob("*.torn-*")))


def test_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    assert killed_at_calls(tmp_path, [(11, "half"), (6, "half"), (7, "half"), (9, "half"), (12, "before")]) >= 1


@pytest.mark.slow
def test_killed_at_every_kind_of_system_call(tmp_path: Path) -> None:
    cases = [(call, how) for how in ("before", "after", "half") for call in range(1, 15)]
    random.Random(0).shuffle(cases)
    assert killed_at_calls(tmp_path, cases) >= 2


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    crowd = [worker(tmp_path, seed, 25) for seed in range(3)]
    known: dict[str, tuple[str, int]] = {}
    for seed, process in enumerate(crowd):
        lines, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        found = told(lines.splitlines(True), seed)
        assert len(found) == 25 and not found.keys() & known.keys()
        known |= found
    assert kept(tmp_path) == known


def test_retractions_of_lost_labels_do_no_harm(tmp_path: Path) -> None:
    labels = store(tmp_path)
    first, second = labels.add([label(), label(frame=frame(1))])
    labels.retract(first.id, "anna")
    path = next(tmp_path.glob("labels-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"#" + lines[1], *lines[2:]]))
    opened = LabelStore(tmp_path)
    assert list(opened) == [second] and isinstance(labels.history(frame())[-1], Retraction) and opened.problems
