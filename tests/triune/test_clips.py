"""A camera's policy judged on marked clips: what agrees with a person's marks counts, and improve finds it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_kit import make_task, picture
from cli_kit import inside

from data_flywheel.errors import DataError
from data_flywheel.labels.expected import Clip, Mark, merged, read_clips, write_clips
from envs.actions import Discrete
from triune.errors import TriuneError

ACTIONS = Discrete(("NOOP", "PUSH", "STOP"))
LENGTH, WANTED = 20, 20  # pictures of a clip, and where the box is to be pushed (x in pixels)


def test_agreement_counts_wrong_pictures() -> None:
    clip = Clip("", 10, 19, (Mark("STOP", 11, 12), Mark("PUSH", 14, 16, once=True)), "NOOP")
    right = ["NOOP", "STOP", "STOP", "NOOP", "NOOP", "PUSH", "NOOP", "NOOP", "NOOP", "NOOP"]
    assert clip.wrong(range(10, 20), right).sum() == 0
    never = [a if a != "PUSH" else "NOOP" for a in right]
    assert clip.wrong(range(10, 20), never).tolist() == [0, 0, 0, 0, 0, 0, 3, 0, 0, 0], "as many as the mark has"
    always = ["PUSH"] * 10
    assert clip.wrong(range(10, 20), always).tolist() == [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    other = [a if i != 4 else "STOP" for i, a in enumerate(right)]
    assert clip.wrong(range(10, 20), other).sum() == 1
    assert Clip("", 10, 19, clip.marks).wrong(range(10, 20), always).sum() == 2, "what is not marked is not judged"


def _file(path: Path, *clips: dict[str, object]) -> Path:
    path.write_text(json.dumps({"kind": "triune expected actions", "version": 1, "clips": clips}))
    return path


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        ({"from": 0, "to": 9, "expected": [{"action": "PUSHH", "from": 1, "to": 2}]}, "did you mean 'PUSH'"),
        ({"from": 0, "to": 9, "expected": [{"action": "PUSH", "from": 1, "to": 12}]}, "outside the clip"),
        ({"from": 0, "to": 9, "expected": []}, "otherwise"),
        ({"from": 9, "to": 0, "expected": [{"action": "PUSH", "from": 1, "to": 2}]}, "later one"),
        ({"from": 0, "expected": []}, "to is missing"),
        ({"from": 4, "to": 30, "otherwise": "NOOP", "expected": []}, "overlap"),
    ],
)
def test_marks_that_are_none(tmp_path: Path, clip: dict[str, object], said: str) -> None:
    path = _file(tmp_path / "m.json", clip, {"from": 20, "to": 40, "otherwise": "NOOP", "expected": []})
    with pytest.raises(DataError, match=said):
        read_clips(path, ACTIONS)


def test_marks_come_back(tmp_path: Path) -> None:
    clips = [Clip("a", 0, 9, (Mark("PUSH", 1, 3, True), Mark("STOP", 5, 5)), "NOOP"), Clip("b", 4, 5, (), "STOP")]
    write_clips(tmp_path / "m.json", clips)
    assert read_clips(tmp_path / "m.json", ACTIONS) == clips
    newer = [Clip("b", 7, 9, (), "NOOP")]
    assert merged(clips, newer) == [clips[0], *newer], "of a film the newer marks hold"


def boxes(k: int) -> list[tuple[float, float]]:
    start = float(np.random.default_rng(k).uniform(0, 6))
    return [(start + 2.4 * i, 12 + k % 25) for i in range(LENGTH)]


def _marked(folder: Path, count: int) -> None:
    """A recorded film of boxes that ride by at different heights, and marks that want each pushed at WANTED."""
    make_task(folder / "belt")
    (folder / "film").mkdir()
    clips = []
    for k in range(count):
        places = boxes(k)
        for i, place in enumerate(places):
            frame = picture(k * LENGTH + i, place)
            cv2.imwrite(str(folder / "film" / f"{k * LENGTH + i:05d}.png"), frame[:, :, ::-1])
        near = [k * LENGTH + i for i, (x, _) in enumerate(places) if abs(x - WANTED) < 4]
        mark = {"action": "PUSH", "from": near[0], "to": near[-1]}
        clips.append({"from": k * LENGTH, "to": (k + 1) * LENGTH - 1, "otherwise": "NOOP", "expected": [mark]})
    _file(folder / "marks.json", *clips)
    done = inside("record", "belt", "--source", "film", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_what_improve_needs_of_a_camera(tmp_path: Path) -> None:
    _marked(tmp_path, 9)
    first = inside("improve", "belt", cwd=tmp_path)
    assert first.returncode and "triune labels expect belt MARKS.json" in first.stderr
    done = inside("labels", "expect", "belt", "marks.json", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["all"] == 9, done.stderr
    few = inside("improve", "belt", cwd=tmp_path)
    assert few.returncode and "9 clips are marked, and 15 is the least" in few.stderr
    refused = inside("improve", "belt", "--proposer", "agent", cwd=tmp_path)
    assert refused.returncode and "nobody plays" in refused.stderr


def test_a_clip_serves_one_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.commands.improve_setup import on_clips
    from triune.console import Console
    from triune.system import load

    _marked(tmp_path, 15)
    assert inside("labels", "expect", "belt", "marks.json", cwd=tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    evaluator = on_clips(load("belt"), tmp_path / "work", Console())
    assert evaluator.few == (5, 5)
    seeds = [*range(5), *range(1000, 1005), *range(1450, 1455)]
    assert len({evaluator.clip(seed).numbers for seed in seeds}) == 15
    assert evaluator.clip(5) is evaluator.clip(0)
    with pytest.raises(TriuneError, match="no clip"):
        evaluator.clip(1005)
    text = (tmp_path / "belt" / "policy.py").read_text()
    good = text.replace("LINE = tunable(32.0", f"LINE = tunable({WANTED}.0")
    played = {name: [score.score for _, score in evaluator.play([(t, s) for s in (0, 1000)])]
              for name, t in (("old", text), ("good", good))}  # fmt: skip
    assert max(played["old"]) < -3 < min(played["good"]), played
    (episode,) = evaluator.record(text, [0])
    assert episode.losses() and np.array_equal(evaluator.frames(episode, [2])[0], picture(2, boxes(0)[2]))


@pytest.mark.slow
def test_improve_on_clips(tmp_path: Path) -> None:
    _marked(tmp_path, 30)
    assert inside("labels", "expect", "belt", "marks.json", cwd=tmp_path).returncode == 0
    done = inside("improve", "belt", "--trials", "1", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["accepted"] == 1, told
    policy = (tmp_path / "belt" / "policy.py").read_text()
    line = float(policy.split("LINE = tunable(")[1].split(",")[0])
    assert abs(line - WANTED) < 3, policy


def test_a_film_by_any_name_is_one_film(tmp_path: Path) -> None:
    _marked(tmp_path, 2)
    again = {"from": 0, "to": 9, "otherwise": "NOOP", "expected": []}
    first = inside("labels", "expect", "belt", "marks.json", "--json", cwd=tmp_path)
    _file(tmp_path / "named.json", {**again, "film": "film"})
    second = inside("labels", "expect", "belt", "named.json", "--json", cwd=tmp_path)
    assert json.loads(first.stdout)["all"] == 2, first.stderr
    assert json.loads(second.stdout)["all"] == 1, "the newer marks hold, and no picture is in two clips"
    _file(tmp_path / "both.json", again, {**again, "film": "film"})
    both = inside("labels", "expect", "belt", "both.json", cwd=tmp_path)
    assert both.returncode and "overlap" in both.stderr


def test_a_clip_longer_than_any_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.commands.labels import open_films
    from triune.console import Console
    from triune.play import clips
    from triune.system import load

    _marked(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    system = load("belt")
    films, asked = open_films(system, None, Console()), 0
    find = films.find

    def counted(film: tuple[str, str], number: int) -> tuple[str, int] | None:
        nonlocal asked
        asked += 1
        assert asked <= LENGTH, "only what is recorded is looked for"
        return find(film, number)

    monkeypatch.setattr(films, "find", counted)
    (seen,) = clips.watched(system, films, [Clip("", 0, 2**62, (), "NOOP")])
    assert seen.numbers == tuple(range(LENGTH))
