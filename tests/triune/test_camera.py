"""The road of a camera's task: new, check, record, eval, export, run; and what commands say that need a simulator."""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, colour_detector, make_task, picture
from cli_kit import ROOT, inside
from conveyor_kit import Conveyor, coco, hands_of, write_film

from data_flywheel.episodes.films import pictures, pieces
from data_flywheel.episodes.recording import Recording
from triune.live.conditions import BLIND, DRIFT
from triune.play import recording as recorders

BOX = (WIDTH / 2, 20)


def write(path: Path, frames: list[np.ndarray], code: str = "FFV1", rate: float = FPS) -> Path:
    """RGB pictures as a film, every bit of them."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task `belt`, its bundle, and a film: a box at the line, then a hand, then a black picture."""
    folder = tmp_path_factory.mktemp("camera")
    make_task(folder / "belt")
    assert inside("export", "belt", "belt.onnx", cwd=folder).returncode == 0
    frames = [picture(i, box=BOX) for i in range(20)] + [picture(i, box=BOX, hand=(20, 30)) for i in range(20, 30)]
    frames += [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 4 + [picture(i) for i in range(34, 60)]
    write(folder / "held.avi", frames)
    return folder


def told(done: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- new ------------------------------------------------------------------------------------------


def test_a_new_task_passes_check_without_a_detector(tmp_path: Path) -> None:
    words = ("--camera", "--size", "320x240", "--fps", "30", "--thing", "box:3", "--thing", "disc:3:24x24", "--thing")
    actions = ("--action", "NOOP", "--action", "PUSH_LEFT", "--action", "PUSH_RIGHT", "--action", "STOP")
    made = inside("new", "belt", *words, "hand", *actions, "--json", cwd=tmp_path)
    assert told(made)["fallback"] == "STOP" and told(made)["rules"][0].startswith("STOP while a hand is in view")
    checked = inside("check", "belt", "--json", cwd=tmp_path)
    assert checked.returncode == 0 and told(checked)["ok"], checked.stdout
    assert "none yet" in next(c["detail"] for c in told(checked)["checks"] if c["name"] == "eyes")
    assert 'fallback = "STOP"' in (tmp_path / "belt/system.toml").read_text()
    again = inside("new", "belt", *words, "hand", *actions, cwd=tmp_path)
    assert again.returncode == 2 and "is there already" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["belt"]


@pytest.mark.parametrize(
    "words",
    [
        ("--thing", "ball", "--action", "A"),
        ("--thing", "crate:4", "--action", "GO", "--action", "HALT"),
        ("--thing", "hand:2", "--thing", "person", "--action", "WAIT", "--action", "OFF"),
        ("--thing", "a:1:9x9", "--thing", "b", "--action", "X", "--action", "Y", "--fallback", "Y", "--stop-for", "b"),
    ],
)
def test_whatever_was_asked_for_compiles(tmp_path: Path, words: tuple[str, ...]) -> None:
    made = inside("new", "t", "--camera", "--size", "250x331", "--fps", "12.5", *words, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert inside("check", "t", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--camera"),
        (("--camera", "--thing", "a", "--action", "A"), "--size 320x240"),
        (("--camera", "--size", "0x240", "--thing", "a", "--action", "A"), "320x240"),
        (("--camera", "--size", "320x240", "--action", "A"), "--thing box:3"),
        (("--camera", "--size", "320x240", "--thing", "a"), "--action NOOP"),
        (("--camera", "--size", "320x240", "--thing", "a:0", "--action", "A"), "NAME:COUNT"),
        (("--camera", "--size", "320x240", "--thing", "for", "--action", "A"), "for"),
        (("--camera", "--size", "320x240", "--thing", "a", "--thing", "a", "--action", "A"), "a"),
        (("--camera", "--size", "320x240", "--thing", "a", "--action", "STOP", "--fallback", "STPO"), "'STOP'"),
        (("--camera", "--size", "320x240", "--thing", "a", "--action", "A", "--fps", "5000"), "0.1 to 1000"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_there(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    made = inside("new", "t", *words, cwd=tmp_path)
    assert made.returncode in (1, 2) and said in made.stderr and "Traceback" not in made.stderr, made.stderr
    assert not list(tmp_path.iterdir())


# --- what needs a simulator -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("play", "belt"), "needs a simulator"), (("collect", "belt"), "needs a simulator"),
        (("web", "belt"), "needs a simulator"),
        (("eval", "belt"), "--source FILE"), (("run", "belt.onnx"), "--source FILE"),
        (("blame", "belt"), "--episode FOLDER"), (("explain", "belt"), "--episode FOLDER"),
        (("report", "belt"), "--episode FOLDER"), (("discover", "--game", "belt"), "not an Atari environment"),
        (("drift", "belt"), "--measure"),
    ],
)  # fmt: skip
def test_commands_for_games_say_in_a_line_what_to_do_instead(place: Path, words: tuple[str, ...], said: str) -> None:
    done = inside(*words, cwd=place)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("triune:")]
    assert said in line


# --- record ---------------------------------------------------------------------------------------


def test_a_film_is_recorded_bit_by_bit_and_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "PIECE", 25)
    words = ("record", str(place / "belt"), "--source", str(place / "held.avi"), "--json")
    begun = told(inside(*words, "--frames", "30", cwd=tmp_path))
    assert (begun["frames"], begun["pieces"], begun["there_before"]) == (30, 2, 0) and begun["bytes_a_minute"] > 0
    done = told(inside(*words, cwd=tmp_path))
    assert (done["frames"], done["there_before"]) == (30, 30)
    assert told(inside(*words, cwd=tmp_path))["frames"] == 0, "all of it is there"
    folder = tmp_path / "runs/recordings/belt"
    found = pieces(folder)
    assert [n for piece in found for n in piece.numbers] == list(range(60)) and found[1].at == pytest.approx(
        25 / FPS, abs=1e-3
    )
    shown = [frame.copy() for _, _, frame in pictures(folder)]
    assert np.array_equal(shown[3], picture(3, box=BOX)) and np.array_equal(shown[59], picture(59)) and len(shown) == 60
    assert found[0].step(7) == 7 and found[1].step(26) == 1 and found[1].step(7) is None
    assert not Recording(folder).problems


def test_jpeg_pictures_are_a_choice(place: Path, tmp_path: Path) -> None:
    words = ("record", str(place / "belt"), "--source", str(place / "held.avi"), "--json")
    whole = told(inside(*words, "--out", "whole", cwd=tmp_path))["bytes_a_minute"]
    small = told(inside(*words, "--out", "small", "--lossy", "90", cwd=tmp_path))["bytes_a_minute"]
    assert 0 < small < whole / 2
    shown = [frame for _, _, frame in pictures(tmp_path / "small")]
    assert len(shown) == 60 and np.abs(shown[3].astype(int) - picture(3, box=BOX)).mean() < 6
    assert [np.array_equal(a, b[2]) for a, b in zip(shown, pictures(tmp_path / "small"), strict=True)] == [True] * 60
    data = Recording(tmp_path / "small")
    ((_, episode),) = list(data)
    assert episode.frames is not None and len(episode.frames.rgb([3, 5])) == 2


def test_a_film_stops_before_pieces_would_have_to_go(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "PIECE", 10)
    monkeypatch.setattr(recorders, "SPARE", 1000)
    words = ("record", str(place / "belt"), "--source", str(place / "held.avi"), "--disk", "150KB", "--json")
    done = inside(*words, cwd=tmp_path)
    assert done.returncode == 1 and 10 <= told(done)["frames"] < 60 and "larger --disk" in done.stderr
    found = pieces(tmp_path / "runs/recordings/belt")
    assert [n for piece in found for n in piece.numbers] == list(range(told(done)["frames"]))


def test_ctrl_c_ends_a_recording_well(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.play.recording import FilmRecorder

    see, seen = FilmRecorder.see, []

    def interrupted(self: FilmRecorder, frame: np.ndarray, number: int, second: float) -> bool:
        if len(seen) == 12:
            raise KeyboardInterrupt
        seen.append(number)
        return see(self, frame, number, second)

    monkeypatch.setattr(FilmRecorder, "see", interrupted)
    done = inside("record", str(place / "belt"), "--source", str(place / "held.avi"), "--json", cwd=tmp_path)
    assert done.returncode == 0 and told(done)["stopped"] and told(done)["frames"] == 12
    assert [n for piece in pieces(tmp_path / "runs/recordings/belt") for n in piece.numbers] == list(range(12))


def test_what_cannot_be_recorded(place: Path, tmp_path: Path) -> None:
    write(tmp_path / "large.avi", [np.repeat(picture(i), 2, axis=0) for i in range(4)])
    write(tmp_path / "fast.avi", [picture(i) for i in range(4)], rate=90)
    (tmp_path / "empty").mkdir()
    for source, words in (
        ("large.avi", "--fit letterbox"), ("fast.avi", "--every 3"), ("none.avi", "no such video"),
        ("empty", "has no pictures"), ("gopher://x/y", "no stream that is read"),
    ):  # fmt: skip
        done = inside("record", str(place / "belt"), "--source", source, cwd=tmp_path)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    fitted = inside("record", str(place / "belt"), "--source", "large.avi", "--fit", "stretch", "--json", cwd=tmp_path)
    assert told(fitted)["frames"] == 4


# --- eval -----------------------------------------------------------------------------------------


def labelled(path: Path, boxes: dict[int, dict[str, tuple[float, float]]]) -> Path:
    """Boxes of 8 x 8 around places, by picture and thing, with a class that the task does not have."""
    names = ["Box", "hand", "spoon"]
    rows = [(n, names.index(name), place) for n, there in boxes.items() for name, place in there.items()]
    path.write_text(json.dumps({
        "images": [{"id": n, "file_name": f"pics/Frame_{n:06d}.PNG", "width": WIDTH, "height": HEIGHT} for n in boxes],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": k, "image_id": n, "category_id": c, "bbox": [x - 4, y - 4, 8, 8]}
            for k, (n, c, (x, y)) in enumerate(rows)
        ],
    }))  # fmt: skip
    return path


def test_a_film_is_evaluated_with_and_without_labels(place: Path, tmp_path: Path) -> None:
    words = ("eval", "belt", "--source", "held.avi", "--json")
    bare = told(inside(*words, cwd=place))
    assert bare["things"] == {} and bare["frames"] == 60 and bare["seen"] == {"box": 0.5, "hand": 0.1667}
    assert [(s["from"], s["to"], s["action"], s["condition"]) for s in bare["timeline"][:3]] == [
        (0, 19, "PUSH", ""), (20, 29, "STOP", ""), (30, 35, "STOP", "black"),
    ]  # fmt: skip
    assert bare["timeline"][1]["rules"] and bare["conditions"] == {"black": 6} and bare["faults"] == 0
    assert set(bare["latency_ms"]) == {"perception", "step"} and bare["latency_ms"]["step"]["p99"] > 0
    truth = labelled(tmp_path / "held.json", {
        3: {"Box": BOX}, 12: {"Box": (BOX[0] + 3, BOX[1])}, 25: {"Box": BOX, "hand": (20, 30)}, 50: {"Box": (10, 10)},
        51: {"spoon": (9, 9)},
    })  # fmt: skip
    done = inside(*words, "--labels", str(truth), cwd=place)
    things = told(done)["things"]
    assert "1 boxes of 'spoon'" in done.stderr
    assert things["box"] == {"labels": 4, "precision": 1.0, "recall": 0.75, "f1": 0.85714, "median_px": 0.0}
    assert things["hand"]["recall"] == things["hand"]["precision"] == 1.0 and told(done)["labelled_frames"] == 5
    shown = inside("eval", "belt", "--source", "held.avi", "--labels", str(truth), cwd=place)
    assert "0.750" in shown.stdout and "20 - 29" in shown.stdout and "p99" in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "held.avi", "--seeds", "1:3"), "--seeds is for games"),
        (("--source", "0"), "cannot be opened"),
        (("--labels", "x.json"), "go with --source"),
        (("--source", "held.avi", "--labels", "none.json"), "no such boxes"),
        (("--source", "held.avi", "--labels", "belt/system.toml"), "COCO 1.0"),
    ],
)
def test_what_cannot_be_evaluated(place: Path, words: tuple[str, ...], said: str) -> None:
    done = inside("eval", "belt", *words, cwd=place)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr, done.stderr


# --- run ------------------------------------------------------------------------------------------


def test_a_bundle_on_a_film_says_a_line_a_picture(place: Path, tmp_path: Path) -> None:
    done = inside("run", "belt.onnx", "--source", "held.avi", "--sink", "stdout", cwd=place)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == 61 and "steps      60" in done.stderr
    assert [line["frame"] for line in lines] == [*range(60), None]
    assert lines[7]["time"] == pytest.approx(7 / FPS, abs=1e-3) and lines[7]["action"] == "PUSH"
    assert lines[31]["condition"] == "black" and lines[60]["condition"] == "end of stream"
    assert lines[60]["action"] == "STOP"
    same = told(inside("eval", "belt", "--source", "held.avi", "--json", cwd=place))
    flat = {n: s["action"] for s in same["timeline"] for n in range(s["from"], s["to"] + 1)}
    assert flat == {line["frame"]: line["action"] for line in lines[:60]}, "as the folder decides"
    log, metrics = tmp_path / "log.jsonl", tmp_path / "m.prom"
    words = ("--source", "held.avi", "--sink", "exec:false", "--shadow", "--log", str(log), "--metrics", str(metrics))
    shadow = told(inside("run", "belt.onnx", *words, "--json", cwd=place))
    assert shadow["steps"] == 60 and shadow["ended"] == "ended" and all(json.loads(s)["shadow"] for s in log.open())
    assert "triune_frames_total" in metrics.read_text()
    for words in (("--sink", "stdout", "--json"), ("--sink", "stdot"), ("--sink", "http://u:p@h/")):
        assert inside("run", "belt.onnx", "--source", "held.avi", *words, cwd=place).returncode == 2


def test_a_run_is_recorded_and_drift_is_measured_on_what_was_recorded(place: Path, tmp_path: Path) -> None:
    frames = [picture(i, box=(20 + i % 20, 20)) for i in range(200)]
    write(tmp_path / "long.avi", frames)
    make_task(tmp_path / "belt")
    none = inside("drift", "belt", "--measure", cwd=tmp_path)
    assert none.returncode == 1 and "triune record belt" in none.stderr
    assert inside("record", "belt", "--source", "long.avi", cwd=tmp_path).returncode == 0
    measured = inside("drift", "belt", "--measure", "--json", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
    assert told(measured)["ranges"]["box presence"] is None and told(measured)["ranges"]["picture red"]
    exported = told(inside("export", "belt", "belt.onnx", "--json", cwd=tmp_path))["manifest"]
    assert exported["checked"]["recorded"] == 48 and exported["pictures"] == {
        "stall": 0.25, "frozen": 0.5, "black": 10.0, "flat": 2.0,
    }  # fmt: skip
    ran = told(inside("run", "belt.onnx", "--source", "long.avi", "--record", "rec", "--json", cwd=tmp_path))
    explained = inside("explain", "belt", "--episode", "rec", "--step", "9", cwd=tmp_path)
    assert explained.returncode == 0 and "box is at the line" in explained.stdout, explained.stderr
    assert ran["recorded"] == 1 and ran["conditions"] == {"end of stream": 1}


# --- the page -------------------------------------------------------------------------------------


def test_the_page_is_true_word_by_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/camera.md's road, in order, on films of the conveyor. In the place of training stands a
    detector that knows colours, so what it sees is not judged here."""
    monkeypatch.setattr(recorders, "PIECE", 150)
    write_film(tmp_path / "train.mp4", 140, seed=1, labels=tmp_path / "boxes.json")
    write_film(tmp_path / "held.mp4", 20, seed=2, labels=tmp_path / "held.json")
    page = (ROOT / "docs/camera.md").read_text()
    road = [line for line in page.split("```")[1].splitlines() if line.startswith("triune ")]
    assert [line.split()[1] for line in road] == [
        "new", "check", "record", "labels", "train", "drift", "eval", "export", "run",
    ]  # fmt: skip
    outputs = {}
    for line in road:
        words = shlex.split(line)[1:]
        if words[0] == "train":
            from triune.system import load

            schema = load(tmp_path / "belt").schema
            (tmp_path / "belt/perception.onnx").write_bytes(colour_detector(schema, (240, 320)))
            continue
        done = inside(*words, cwd=tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        outputs[words[0]] = done.stdout
    assert "runs/recordings/belt" in outputs["record"] and "MB a minute" in outputs["record"]
    assert "labelled   140 pictures" in outputs["labels"]
    assert "labelled   20 of 20 pictures" in outputs["eval"] and "p99" in outputs["eval"]
    lines = [json.loads(line) for line in outputs["run"].splitlines()]
    shown = json.loads(page.split("```json")[1].split("```")[0])
    assert len(lines) == 21 and all(list(line) == list(shown) for line in lines)
    assert list(lines[0]["scene"]) == list(shown["scene"]) and lines[-1]["condition"] == "end of stream"
    for condition in (*BLIND, DRIFT):
        assert f"| `{condition}` |" in page


# --- the conveyor ---------------------------------------------------------------------------------


def test_the_conveyor_is_drawn_again_and_its_labels_are_true() -> None:
    first, second = (list(Conveyor(3, hands=9).frames(24)) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, second, strict=True))
    assert hands_of([things for _, things in first]) and not np.array_equal(first[0][0], first[1][0])
    label = coco([things for _, things in first])
    assert len(label["images"]) == 24 and {c["name"] for c in label["categories"]} == {"box", "disc", "hand"}
    for frame, things in first:
        for thing in things:
            assert thing.x >= 0 and thing.x + thing.w <= 320 and thing.y >= 0 and thing.y + thing.h <= 240
            if thing.name == "box" and thing.shown > 0.95:
                middle = frame[int(thing.y + thing.h / 2), int(thing.x + thing.w / 2)].astype(int)
                assert middle[0] > middle[2] + 20, "cardboard is brown"


def test_threads_are_gone_at_the_end() -> None:
    assert not [t for t in threading.enumerate() if t.name in ("pictures", "sink")]
