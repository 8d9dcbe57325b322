"""What breaks a recording is told in words that name file and fix, and everything else goes on."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from faults_kit import small_files, spoil
from recorder_kit import SCHEMA, SIZE, game, kept, pictures, recording

from data_flywheel.datasets.exports import Source
from data_flywheel.episodes.frame_buffer import FrameBuffer
from data_flywheel.episodes.recorder import Recorder
from data_flywheel.episodes.recording import FRAMES, MANIFEST, Recording
from data_flywheel.errors import DataError
from perception.scene import SceneSchema, ThingSpec


def three(folder: Path) -> tuple[Recording, list[str]]:
    place = recording(folder)
    return place, [str(place.add(game(seed), kept(pictures(30, seed)))) for seed in range(3)]


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_episode_is_named_and_the_others_are_read(how: str, tmp_path: Path) -> None:
    place, names = three(tmp_path)
    spoil(place.path(names[1]), how)
    with pytest.raises(DataError, match=rf"{names[1]}\.npz: .*play the game again"):
        place.episode(names[1])
    again = Recording(tmp_path)
    assert [name for name, _ in again] == [names[0], names[2]]
    assert len(again.problems) == 1 and names[1] in again.problems[0]
    assert again.add(game(9)) in again.names()
    source = Source(tmp_path)
    assert [part.seed for part in source] == [0, 2, 9] and names[1] in source.problems[0]


def test_damaged_frames_are_named_and_the_episode_stays(tmp_path: Path) -> None:
    place, names = three(tmp_path)
    spoil(place.path(names[1], FRAMES), "cut")
    with pytest.raises(DataError, match=rf"frames/{names[1]}\.npz: .*delete it: the scenes and decisions .* stay"):
        place.frames(names[1])
    place.path(names[1], FRAMES).unlink()  # the fix
    assert place.frames(names[1]) is None and len(place.episode(names[1])) == 30 and place.frames(names[2])


def test_frames_of_another_episode_are_not_taken_for_its_own(tmp_path: Path) -> None:
    place, names = three(tmp_path)
    place.path(names[0], FRAMES).write_bytes(place.path(names[1], FRAMES).read_bytes())
    with pytest.raises(DataError, match=f"holds frames of {names[1]}"):
        place.frames(names[0])


def test_a_missing_episode_is_noticed(tmp_path: Path) -> None:
    place, names = three(tmp_path)
    place.path(names[0]).unlink()
    assert any(names[0] in text and "missing" in text for text in Recording(tmp_path).problems)


def test_a_damaged_line_of_the_log_costs_nothing_that_is_on_disk(tmp_path: Path) -> None:
    _, names = three(tmp_path)
    path = next(tmp_path.glob("recording-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"#" + lines[2], *lines[3:]]))
    again = Recording(tmp_path)
    assert sorted(again.names()) == sorted(names) and any("line 3" in text for text in again.problems)
    assert sorted(Recording(tmp_path).names()) == sorted(names)


def test_a_full_disk_refuses_a_game_and_takes_the_next(tmp_path: Path) -> None:
    place, names = three(tmp_path)
    with small_files(2000), pytest.raises(DataError, match=r"npz: .*not recorded: free some space"):
        place.add(game(7), kept(pictures(30)))
    assert not list(tmp_path.rglob("*seed7*")) and Recording(tmp_path).names() == names
    assert place.add(game(7), kept(pictures(30))) in Recording(tmp_path).names()


def test_a_disk_that_fills_up_at_the_log_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, names = three(tmp_path)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".jsonl"):  # the log, not the game's files
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DataError, match="No space left on device; not saved: free some space"):
            place.add(game(7), kept(pictures(30)))
    assert not list(tmp_path.rglob("*seed7*")) and Recording(tmp_path).names() == names
    assert len(names) + 1 == len([place.add(game(7)), *names]) and len(Recording(tmp_path).names()) == 4


def test_a_run_goes_on_when_a_game_cannot_be_written(tmp_path: Path) -> None:
    heard: list[str] = []
    recorder = Recorder(recording(tmp_path), "none", tell=heard.append)
    with small_files(2000):
        recorder.keep(game(1))
        recorder.settle()
    recorder.keep(game(2))
    recorder.settle()
    recorder.disk = 2000
    recorder.keep(game(3))
    recorder.close()
    assert [text.partition(": ")[2][:6] for text in heard] == ["seed 1", "seed 3"] and "raise --disk" in heard[1]
    assert (recorder.kept, recorder.left_out) == (1, 2)


@pytest.mark.parametrize(
    "frame", [np.zeros((480, 640, 3), np.uint8), np.zeros((*SIZE, 4), np.uint8), np.zeros((*SIZE, 3), np.float32)]
)
def test_a_camera_frame_of_the_wrong_size_is_left_out_alone(frame: np.ndarray, tmp_path: Path) -> None:
    frame_buffer, frames = FrameBuffer(SIZE), pictures(4)
    frame_buffer.see(0, frames[0])
    with pytest.raises(DataError, match=r"frame of step 1 is .* holds 17x21 pixels.* scale the camera's picture"):
        frame_buffer.see(1, frame)
    frame_buffer.see(2, frames[2])
    held = frame_buffer.keep()
    assert held.steps.tolist() == [0, 2] and np.array_equal(held.rgb([2])[0], frames[2])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_half_written_manifest_is_named_and_its_fix_works(how: str, tmp_path: Path) -> None:
    _, names = three(tmp_path)
    spoil(tmp_path / MANIFEST, how)
    with pytest.raises(DataError, match=rf"{MANIFEST}: .*delete .* the episodes in it stay"):
        Recording(tmp_path)
    (tmp_path / MANIFEST).unlink()
    assert sorted(recording(tmp_path).names()) == sorted(names)


def test_other_versions_tasks_and_schemas_are_refused(tmp_path: Path) -> None:
    three(tmp_path)
    other = SceneSchema((0, 0, 21, 17), (ThingSpec("ball"),))
    for task, schema, size in (("pong", SCHEMA, SIZE), ("toy", other, SIZE), ("toy", SCHEMA, (84, 84))):
        with pytest.raises(DataError, match="name another folder"):
            Recording.create(tmp_path, task, schema, size)
    record = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**record, "version": 2}))
    with pytest.raises(DataError, match="format version 2, but this program reads version 1"):
        Recording(tmp_path)
    with pytest.raises(DataError, match="no such recording"):
        Recording(tmp_path / "nowhere")
