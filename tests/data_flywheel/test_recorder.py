"""Recording: lossless frames by policy, a budget that keeps what is worth most, several writers, kills."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import ROOT
from recorder_kit import SCHEMA, SIZE, game, kept, pictures, recording

from data_flywheel.episodes.frame_buffer import FrameBuffer, KeptFrames
from data_flywheel.episodes.recorder import Recorder
from data_flywheel.episodes.recording import (
    AFTER,
    BEFORE,
    EPISODE,
    FRAMES,
    FramePolicy,
    Recording,
    failures,
    parse_bytes,
)
from data_flywheel.errors import DataError


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("size", [SIZE, (21, 16), (2, 1)])
@pytest.mark.parametrize("steps", [None, [0], [3, 4, 5, 17, 29], list(range(0, 30, 7)), []])
def test_frames_come_back_bit_for_bit(
    noisy: bool, size: tuple[int, int], steps: list[int] | None, tmp_path: Path
) -> None:
    frames = np.ascontiguousarray(pictures(30, noisy=noisy)[:, : size[0], : size[1]])
    (tmp_path / "f.npz").write_bytes(kept(frames, steps, size).to_bytes("a"))
    found = KeptFrames.load(tmp_path / "f.npz", "a")
    wanted = list(range(30)) if steps is None else steps
    assert found.steps.tolist() == wanted
    assert all(np.array_equal(rgb, frames[step]) for step, rgb in found)
    assert np.array_equal(found.rgb(wanted[::-1]), frames[wanted[::-1]])
    with pytest.raises(DataError, match="no frame of step 77 was kept"):
        found.rgb([77])


def test_a_frame_that_is_written_over_and_one_that_lies_askew_are_both_read_right() -> None:
    frames, shared = pictures(6), np.empty((*SIZE, 3), np.uint8)
    for one in (shared, np.asfortranarray(shared)):
        frame_buffer = FrameBuffer(SIZE)
        for step, frame in enumerate(frames):
            one[:] = frame
            frame_buffer.see(step, one)
        assert np.array_equal(frame_buffer.keep().rgb(range(6)), frames)


def test_a_full_tape_says_so() -> None:
    frame_buffer = FrameBuffer(SIZE, most=5000)
    for step, frame in enumerate(pictures(30, noisy=True)):
        frame_buffer.see(step, frame)
    assert (
        frame_buffer.cut
        and frame_buffer.keep().steps.tolist() == list(range(frame_buffer.last + 1))
        and frame_buffer.last == 2
    )


def test_policies_keep_what_they_say() -> None:
    seen = {text: [s for s in range(20) if FramePolicy.parse(text).wants(s)] for text in ("none", "sampled:6", "all")}
    assert seen == {"none": [], "sampled:6": [0, 6, 12, 18], "all": list(range(20))}
    assert [s for s in range(13) if FramePolicy.parse("sampled:6", window=2).wants(s)] == [0, 5, 6, 11, 12]
    for text, words in (
        ("failure", "did you mean 'failures'"),
        ("sampled:0", "'sampled:N'"),
        ("x", "choose from none"),
    ):
        with pytest.raises(DataError, match=words):
            FramePolicy.parse(text)


def test_failures_and_the_steps_around_them() -> None:
    episode = game(steps=200, lost=(100,), overruled=(190,))
    found = {kind: steps.tolist() for kind, steps in failures(episode, SCHEMA).items() if len(steps)}
    assert found == {"life lost": [100], "overruled": [190]}
    steps = FramePolicy("failures", window=2).steps(episode, SCHEMA)
    assert steps.tolist() == [*range(100 - BEFORE - 1, 100 + AFTER + 1), *range(190 - BEFORE - 1, 200)]
    assert FramePolicy("failures").steps(game(), SCHEMA).tolist() == []


def test_perception_is_lost_when_a_seen_thing_is_only_carried_on() -> None:
    episode = game(steps=6)
    episode.scenes[2, 0], episode.scenes[2, 7] = 0.0, 0.8  # the ball, predicted
    episode.scenes[4, 8], episode.scenes[4, 15] = 0.0, 0.0  # an enemy that is gone for good
    assert failures(episode, SCHEMA)["perception lost"].tolist() == [2]


@pytest.mark.parametrize(("text", "size"), [("500MB", 5e8), ("2gb", 2e9), ("1.5k", 1500), ("77", 77), ("1e6", 1e6)])
def test_sizes_are_read(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5 apples", "0", "1.2.3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="500MB"):
        parse_bytes(text)


def test_a_recorder_writes_games_behind_the_play(tmp_path: Path) -> None:
    recorder, frames = Recorder(recording(tmp_path), "failures"), pictures(200)
    for seed in (1, 2):
        frame_buffer = recorder.frame_buffer()
        assert frame_buffer
        for step, frame in enumerate(frames):
            frame_buffer.see(step, frame)
        recorder.keep(game(seed, 200, (100,) if seed == 1 else ()), frame_buffer)
    recorder.close()
    place = Recording(tmp_path)
    first, second = place.names()
    held = place.frames(first)
    assert recorder.kept == 2 and held and place.frames(second) is None
    assert all(np.array_equal(rgb, frames[step]) for step, rgb in held) and len(held) == BEFORE + AFTER + 1
    assert np.array_equal(place.episode(second).scenes, game(2, 200).scenes)
    assert Recorder(place, "none").frame_buffer() is None


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def logged(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder's log, in order, with the seed of their game."""
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    found = [line for line in lines if line["kind"] != "header"]
    return [{**line, "seed": int(line["episode"].split("seed")[1].split("-")[0])} for line in found]


def evicted(folder: Path) -> list[tuple[int, str]]:
    return [(line["seed"], line["what"]) for line in logged(folder) if line["kind"] == "evicted"]


def test_the_least_worth_goes_first_and_is_logged(tmp_path: Path) -> None:
    place, budget = recording(tmp_path), 60_000
    for seed in range(14):
        place.add(game(seed, 30, (5,) if seed % 2 else ()), kept(pictures(30, seed, noisy=True)), budget)
        assert total(tmp_path) - (tmp_path / "recording.json").stat().st_size <= budget
    here: set[tuple[bool, bool, int, str]] = set()  # interesting, record (not frames), age, what
    for line in logged(tmp_path):
        seed = line["seed"]
        things = {what: (seed % 2 == 1, what == EPISODE, seed, what) for what in (FRAMES, EPISODE)}
        if line["kind"] == "recorded":
            here |= {things[what] for what, size in ((FRAMES, "frame_size"), (EPISODE, "size")) if line[size]}
        else:
            assert not [other for other in here if other < things[line["what"]]]
            here.discard(things[line["what"]])
    gone = evicted(tmp_path)
    assert (0, FRAMES) in gone and (0, EPISODE) in gone and (1, FRAMES) in gone
    reopened = Recording(tmp_path)
    assert reopened.problems == [] and reopened.names() == place.names()
    for name in reopened.names():
        reopened.episode(name)
        assert (reopened.frames(name) is not None) == bool(reopened.ledger.entries[name].kept)


def test_what_is_wanted_stays_and_a_newcomer_that_is_worth_less_is_left_out(tmp_path: Path) -> None:
    place = recording(tmp_path)
    names = [place.add(game(seed, 30), kept(pictures(30, seed, noisy=True))) for seed in range(3)]
    assert place.want([str(names[0]), "unknown"], "labels of anna") == [names[0]]
    budget = total(tmp_path)
    assert place.add(game(7, 200), None, budget // 3) is None  # the wanted one alone fills it
    assert Recording(tmp_path).names() == [names[0]] and place.frames(str(names[0])) is not None
    assert (7, EPISODE) in evicted(tmp_path) and (0, FRAMES) not in evicted(tmp_path)


def test_a_game_larger_than_the_budget_drives_nothing_out(tmp_path: Path) -> None:
    place = recording(tmp_path)
    first = place.add(game(1, 30, (5,)))
    assert place.add(game(2, 400, (5,)), None, 20_000) is None and place.names() == [first]


def test_labelled_games_are_wanted(tmp_path: Path) -> None:
    from data_flywheel.labels.label import FrameRef, Label
    from data_flywheel.labels.store import LabelStore, want_labelled

    place, frames = recording(tmp_path / "r"), pictures(30)
    name = str(place.add(game(1), kept(frames)))
    other = str(place.add(game(2), kept(frames)))
    assert want_labelled(place, str(tmp_path / "nowhere")) == []
    labels = LabelStore.create(tmp_path / "l", "toy", SCHEMA, SIZE)
    labels.add([Label(FrameRef.of(frames[3], name, 3, 1), "teacher", "t", {"oxygen": 0.5}, 0.9)])
    assert want_labelled(place, str(tmp_path / "l")) == [name]
    entries = Recording(tmp_path / "r").ledger.entries
    assert entries[name].wanted and entries[name].interesting and not entries[other].interesting


def writer(folder: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.kits.recorder_kit", str(folder), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def told(lines: list[str]) -> dict[str, int]:
    """Acknowledged games: name -> the number it was made from."""
    whole = [line.split() for line in lines if line.endswith("\n") and not line.startswith("opened")]
    return {name: int(number) for name, number in whole if name != "-"}


def check(folder: Path, known: dict[str, int], fresh: dict[str, int], disk: int) -> None:
    """Everything acknowledged is there, whole, or was evicted and logged so."""
    place = Recording(folder)
    assert place.problems == [] and not list(folder.rglob(".*.part"))
    assert known.keys() - set(place.names()) <= place.ledger.gone
    assert disk or fresh.keys() <= set(place.names())
    for name in place.names():
        episode, frames = place.episode(name), place.frames(name)
        if name in fresh:
            assert np.array_equal(episode.scenes, game(fresh[name], len(episode)).scenes)
            assert frames is not None or name in place.ledger.frames_gone
            if frames is not None:
                assert np.array_equal(frames.rgb([len(episode) - 1])[0], pictures(len(episode), fresh[name])[-1])
    assert not disk or not fresh or total(folder) - (folder / "recording.json").stat().st_size <= disk + 20_000


def killed_at_random(folder: Path, rounds: int, start: int = 0, most: int = 12) -> None:
    """Two writers, both killed at a random instant, again and again; every third round within a budget."""
    known: dict[str, int] = {}
    for turn in range(start, start + rounds):
        disk = 150_000 if turn % 3 == 2 else 0
        crew, dice = [writer(folder, 2 * turn + i, 1000000, disk) for i in range(2)], random.Random(turn)
        lines: list[str] = []
        for process in crew:
            assert process.stdout is not None
            lines += [process.stdout.readline() for _ in range(dice.randrange(2, most))]
        for process in dice.sample(crew, 2):
            process.kill()
        for process in crew:
            assert process.stdout is not None
            lines += process.stdout.readlines()
            process.stdout.close()
            assert process.wait() == -signal.SIGKILL
        fresh = told(lines)
        known |= fresh
        check(folder, known, fresh, disk)
    assert len(known) > 2 * rounds


def test_two_writers_killed_at_random_instants(tmp_path: Path) -> None:
    killed_at_random(tmp_path, 3, most=7)


@pytest.mark.slow
def test_two_writers_killed_at_many_random_instants(tmp_path: Path) -> None:
    killed_at_random(tmp_path, 25, start=100)


def killed_at_calls(folder: Path, cases: list[tuple[int, str]]) -> None:
    known: dict[str, int] = {}
    for seed, (call, how) in enumerate(cases):
        disk = 60_000 if seed % 2 else 0
        lines, _ = (process := writer(folder, seed, 1000, disk, call, how)).communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        fresh = told(lines.splitlines(True))
        known |= fresh
        check(folder, known, fresh, disk or 1 << 40)


def test_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    killed_at_calls(tmp_path, [(8, "half"), (5, "before"), (9, "after")])


@pytest.mark.slow
def test_killed_at_every_kind_of_system_call(tmp_path: Path) -> None:
    killed_at_calls(tmp_path, [(call, how) for how in ("before", "after", "half") for call in range(1, 14)])


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    crew = [writer(tmp_path, seed, 8) for seed in range(3)]
    known: dict[str, int] = {}
    for process in crew:
        lines, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        known |= told(lines.splitlines(True))
    assert len(known) == 24 and sorted(Recording(tmp_path).names()) == sorted(known)


def test_frames_of_a_game_that_is_listed_are_kept_while_its_episode_is_away(tmp_path: Path) -> None:
    """Who is told to restore a file from a copy finds what belongs to it."""
    place = recording(tmp_path / "rec")
    name = place.add(game(1, 30), kept(pictures(30, 1)))
    stray = place.path("never-listed", FRAMES)
    stray.write_bytes(b"half of something")
    away = place.path(name).rename(tmp_path / "away.npz")
    (problem,) = Recording(tmp_path / "rec").problems
    assert "restore it from a copy" in problem and not stray.exists()
    away.rename(place.path(name))
    again = Recording(tmp_path / "rec")
    assert again.problems == [] and again.frames(name) is not None
