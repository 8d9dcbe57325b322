"""Videos and cameras: pictures at another rate than a bundle's, and pictures that cannot be decoded."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from envs.actions import Discrete
from perception.scene import SceneSchema
from triune.commands.run import _live
from triune.errors import TriuneError
from triune.live.telling import Teller
from triune.play import film as films
from triune.play.film import Film, check_rate
from triune.runtime import Why

SHAPE = (48, 64, 3)
COUNT = 101


def write(path: Path, rate: float = 15, count: int = COUNT, code: str = "MJPG") -> Path:
    """A video whose picture i is grey of level i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, (SHAPE[1], SHAPE[0]))
    for i in range(count):
        writer.write(np.full(SHAPE, i, np.uint8))
    writer.release()
    return path


def zeroed(path: Path, *damaged: int) -> Path:
    """The same file with the bytes of some pictures gone."""
    data = bytearray(path.read_bytes())
    at, index = data.index(b"movi"), data.index(b"idx1")
    for i in range(data.count(b"00dc", at, index)):
        at = data.index(b"00dc", at + 1)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if i in damaged:
            data[at + 8 : at + 8 + size] = bytes(size)
    path.write_bytes(data)
    return path


class Bot:
    """A bundle that remembers the grey level of what it is shown."""

    task, actions, fallback = "grey", ("STAY",), 0

    def __init__(self, hz: float) -> None:
        self.seen: list[int] = []
        self.frame_shape = SHAPE
        self.protocol = SimpleNamespace(control_hz=hz)
        self.action_space = Discrete(self.actions)
        self.schema = SceneSchema.from_config({"crop": [0, 0, 48, 64], "things": {"dot": {}}})
        self.spec = SimpleNamespace(env=SimpleNamespace(backend="atari"), safety={})

    def start(self) -> None:
        pass

    watch = start

    def step(self, frame: np.ndarray, state: None) -> tuple[int, None, Why]:
        self.seen.append(round(float(frame.mean())))
        return 0, None, Why("stay", "STAY", "STAY", (), "", self.schema.read(self.schema.empty()), 0)


def watch(source: Path | str, hz: float = 15, **words: Any) -> tuple[list[int], dict[str, Any], str]:
    """Grey levels that a bundle of `hz` decisions a second is shown, what the command tells, and what it logs."""
    said: list[str] = []
    bot: Any = Bot(hz)
    pilot: Any = SimpleNamespace(bot=bot, teller=Teller(bot), book=None)
    console: Any = SimpleNamespace(log=said.append)
    usual = {"every": None, "fit": None, "steps": None, "patience": 0.01, "metrics": None}
    args = argparse.Namespace(**{"source": str(source), **usual, **words})
    return bot.seen, _live(pilot, args, console), "\n".join(line for line in said if not line.startswith("condition"))


@pytest.mark.parametrize(
    ("rate", "hz", "fix"),
    [
        (60, 15, "one of 4 pictures, 15 a second: --every 4"),
        (15, 60, "export a bundle for a protocol of that rate.*--every 1"),
        (25, 50, "--every 1"),
        (120, 50, "one of 2 pictures, 60 a second: --every 2"),
        (30, 0.1, "--every 300"),
        (17, 15, "--every 1"),
    ],
)
def test_another_rate_is_refused_with_what_fits(tmp_path: Path, rate: float, hz: float, fix: str) -> None:
    path = write(tmp_path / "a.avi", rate, 3)
    with pytest.raises(TriuneError, match=f"shows {rate} pictures a second.*decides {hz:g} times a second.*{fix}"):
        watch(path, hz)


@pytest.mark.parametrize(("rate", "hz", "every"), [(60, 15, 4), (30, 15, 2), (59.94, 60, 1), (29.97, 15, 2)])
def test_every_nth_frame_is_seen_at_the_rate_of_the_bundle(tmp_path: Path, rate: float, hz: float, every: int) -> None:
    seen, told, said = watch(write(tmp_path / "a.avi", rate, 40), hz, every=every)
    assert seen == pytest.approx(list(range(0, 40, every)), abs=2) and not said
    assert told["rate"] == pytest.approx(rate, rel=0.01) and told["undecodable"] == 0


def test_who_chose_the_frames_is_warned_and_heard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", 60, 12)
    for every, words in ((1, "60 of them are looked at, but the bundle decides 15"), (3, "20 of them")):
        seen, _, said = watch(path, 15, every=every)
        assert len(seen) == 12 // every and words in said


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_source_without_a_rate_is_taken_with_a_word(tmp_path: Path, monkeypatch: Any, rate: float) -> None:
    path = write(tmp_path / "a.avi", 60, 5)

    real = cv2.VideoCapture

    class Rateless:
        def __init__(self, source: str) -> None:
            self.true = real(source)

        def get(self, which: int) -> float:
            return rate if which == cv2.CAP_PROP_FPS else self.true.get(which)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.true, name)

    monkeypatch.setattr(films.cv2, "VideoCapture", Rateless)
    seen, told, said = watch(path, 15)
    assert len(seen) == 5 and told["rate"] is None and "does not say its rate" in said and "15 times" in said


def test_a_camera_is_held_to_the_rate_and_a_live_source_that_is_gone_is_a_failure(monkeypatch: Any) -> None:
    opened: list[int] = []

    class Camera:
        def __init__(self, number: int) -> None:
            assert number == 0
            opened.append(number)
            self.left = [np.full(SHAPE, i, np.uint8) for i in range(4)] if len(opened) <= 2 else []
            self.asked: dict[int, float] = {}

        def isOpened(self) -> bool:
            return bool(self.left)

        def set(self, which: int, value: float) -> None:
            self.asked[which] = value

        def get(self, which: int) -> float:
            return 30.0 if which == cv2.CAP_PROP_FPS else -1.0

        def grab(self) -> bool:
            return bool(self.left) and self.left.pop(0) is not None

        def read(self) -> tuple[bool, np.ndarray | None]:
            return (True, self.left.pop(0)) if self.left else (False, None)

        def release(self) -> None:
            pass

    monkeypatch.setattr(films.cv2, "VideoCapture", Camera)
    with pytest.raises(TriuneError, match="0 shows 30 pictures a second.*--every 2"):
        watch("0")
    film = Film("0", every=2)
    assert film.live and [int(frame[0, 0, 0]) for frame in film] == [0, 2] and film.undecodable == 0
    with pytest.raises(TriuneError, match="camera 0 cannot be opened"):
        Film("/dev/video0")


def test_frames_of_another_size_are_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [SHAPE, (24, 64, 3), SHAPE, SHAPE, SHAPE, (1, 1, 3)]

    class Source:
        rate, promised, undecodable, live, variable, source = 15.0, 7, 1, False, False, "x"

        def __init__(self, *_: object) -> None:
            self.number, self.at = -1, 0.0

        def __iter__(self) -> Any:
            for self.number, shape in enumerate(shapes):
                yield np.full(shape, self.number, np.uint8)

        def close(self) -> None:
            pass

    monkeypatch.setattr(films, "Film", Source)
    seen, told, said = watch("x")
    assert told["left_out"] == 2 and told["undecodable"] == 1 and said.count("left out") == 2 and "--fit" in said
    assert seen == [0, 4], "what follows a picture of another size is waited for until it is steady"
    assert told["conditions"]["wrong size"] == 4
    assert len(watch("x", fit="stretch")[0]) == 6
    shapes.reverse()
    with pytest.raises(TriuneError, match="--fit letterbox"):
        watch("x")


@pytest.mark.parametrize("damaged", [(40,), (1,), (99, 100), tuple(range(30, 90)), (3, 50, 51, 97)])
def test_frames_that_cannot_be_decoded_are_counted_and_the_rest_is_seen(tmp_path: Path, damaged: tuple[int]) -> None:
    path = zeroed(write(tmp_path / "a.avi"), *damaged)
    seen, told, said = watch(path)
    assert len(seen) == COUNT - len(damaged) and told["undecodable"] == len(damaged)
    assert seen[-1] >= max(set(range(COUNT)) - set(damaged)) - 2, "also what comes after the damage"
    assert f"{len(damaged)} of {COUNT} frames of {path}, which cannot be decoded" in said
    some, told, _ = watch(path, steps=1)
    assert len(some) == 1 and told["undecodable"] <= len(damaged)


def test_a_file_that_breaks_off_says_what_it_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    seen, told, said = watch(path)
    assert 30 < len(seen) < 70 and told["undecodable"] == COUNT - len(seen) and "cannot be decoded" in said


def test_nothing_to_see_is_an_error(tmp_path: Path) -> None:
    for path in (zeroed(write(tmp_path / "all.avi", count=5), *range(5)), write(tmp_path / "none.avi", count=0)):
        with pytest.raises(TriuneError, match=r"no frame could be read|cannot be opened"):
            watch(path)


def test_a_file_that_promises_too_much_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(films, "PATIENCE", 5)
    film = Film(str(write(tmp_path / "a.avi", count=7)))
    film.promised = 1 << 31
    assert len(list(film)) == 7 and film.undecodable == (1 << 31) - 7


def test_rates_are_compared_within_what_a_clock_may_be_off() -> None:
    assert [check_rate(r, 15, None, "x") for r in (14.5, 15.0, 15.6)] == ["", "", ""]
    for rate in (14.0, 16.5):
        with pytest.raises(TriuneError):
            check_rate(rate, 15, None, "x")
