"""Locks place by place: each field of a file, each step of a window, each length of a warm-up."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler_kit import constants_with

from envs.actions import Box, Discrete
from logic.errors import LogicError
from logic.runtime import regression as locks
from logic.runtime.controller import Controller
from logic.runtime.logic import compile_logic
from logic.runtime.regression import Difference, FloorLock, Recording, ScenesLock, check_scenes, make_scenes
from perception.scene import SceneSchema

SCHEMA = SceneSchema.from_config({"crop": [0, 0, 9, 9], "things": {"ball": {}}})
ACTIONS = ("NOOP", "LEFT", "RIGHT")
CONSTANTS = constants_with(ACTIONS)
# Waits for WAIT steps, then goes right wherever the ball was seen at 5 or more.
POLICY = '''"""Toy."""


class Memory:
    n: int = 0


def act(scene, memory):
    memory.n += 1
    if memory.n <= WAIT:
        return NOOP, "wait"
    return (RIGHT, "right") if scene.ball.x >= 5.0 else (LEFT, "left")
'''
ABOUT: dict[str, Any] = {"name": "moment", "task": "toy", "protocol": "sticky"}


def controller(wait: int = 0, text: str = POLICY) -> Controller:
    logic = compile_logic(SCHEMA, text.replace("WAIT", str(wait)), "", CONSTANTS, Discrete(ACTIONS), 1, 10_000)
    return Controller(logic, clock=lambda: 0)


def scenes(*xs: float) -> np.ndarray:
    """float32[T, 8]: the ball at these places."""
    made = np.zeros((len(xs), SCHEMA.size), np.float32)
    made[:, 0], made[:, 1], made[:, 7] = 1, xs, 1
    return made


def recording(n: int, wait: int = 0) -> Recording:
    """What the policy decides where the ball goes 0, 1, 2 ... 9, 0, 1 ..."""
    made = scenes(*(float(i % 10) for i in range(n)))
    by = controller(wait)
    told = [by.decide(SCHEMA.read(v)) for v in made]
    return Recording(made, [ACTIONS[int(d.action)] for d in told], [d.reason for d in told])  # type: ignore[call-overload]


def lock(**changes: Any) -> ScenesLock:
    """Steps 5, 6, 7 with a warm-up of one; the last two count."""
    fields: dict[str, Any] = {
        **ABOUT, "schema": SCHEMA.fingerprint, "warmup": 1, "first": 5, "scenes": scenes(5, 6, 3),
        "actions": ("RIGHT", "LEFT"), "reasons": ("right", "left"),
    }  # fmt: skip
    return ScenesLock(**{**fields, **changes})


FLOOR = FloorLock(**ABOUT, seed=7, floor=-3.5, scored=1.25, detector="teacher", shift="dim", note="é", source={"a": 1})


# --- what is decided


def test_steps_after_the_warm_up_are_compared_with_what_is_locked() -> None:
    assert lock().compared == range(6, 8) and check_scenes(lock(), controller()) == []
    wrong = lock(actions=("LEFT", "RIGHT"), reasons=("left", "right"))
    assert check_scenes(wrong, controller()) == [
        Difference(6, "LEFT", "RIGHT", "left", "right"), Difference(7, "RIGHT", "LEFT", "right", "left")
    ]  # fmt: skip
    assert check_scenes(lock(warmup=0, actions=("LEFT", "RIGHT", "LEFT"), reasons=None), controller()) == [
        Difference(5, "LEFT", "RIGHT")
    ]


def test_reasons_count_where_they_are_locked_and_alone() -> None:
    other = lock(reasons=("left", "left"))
    assert check_scenes(other, controller()) == [Difference(6, "RIGHT", "RIGHT", "left", "right")]
    assert check_scenes(lock(reasons=None), controller()) == []


def test_a_fault_is_told_with_the_difference() -> None:
    faulty = controller(text=POLICY.replace("scene.ball.x >= 5.0", "1.0 / (scene.ball.x - 3.0) > 0.0"))
    found = check_scenes(lock(actions=("RIGHT", "RIGHT"), reasons=("right", "right")), faulty)
    assert [(d.step, d.decided) for d in found] == [(7, "LEFT")] and found[0].fault.startswith("ZeroDivisionError")
    assert str(found[0]) == f"step 7: LEFT instead of RIGHT ('right' became 'fault'), fault: {found[0].fault}"
    assert str(Difference(3, "A", "B")) == "step 3: B instead of A"
    assert Difference(3, "A", "B").as_dict() == {
        "step": 3, "expected": "A", "decided": "B", "expected_reason": "", "reason": "", "fault": ""
    }  # fmt: skip


def test_every_check_begins_with_fresh_memory_and_its_own_schema() -> None:
    slow, one = controller(wait=1), lock()
    assert check_scenes(one, slow) == check_scenes(one, slow) == [] and slow.memory.n == 3  # type: ignore[attr-defined]
    with pytest.raises(LogicError, match="lock moment: made for another scene schema"):
        check_scenes(lock(schema="0" * 64), controller())


BODY = Box(("hip", "knee"), (-1.0, -1.0), (1.0, 1.0))


def test_actions_are_recorded_by_name_or_as_float32() -> None:
    assert locks.recorded(Discrete(ACTIONS), 2) == "RIGHT"
    assert locks.recorded(BODY, np.array([0.1, -1])) == (float(np.float32(0.1)), -1.0)
    assert locks._told(BODY, (0.1, -1.0)) == "hip=0.1 knee=-1.0"
    assert locks._told(BODY, (0.5,)) == "hip=0.5 knee=?" and locks._told(BODY, (0.5, 1.0, 2.0)).endswith("?=2.0")
    assert locks._told(Discrete(ACTIONS), "LEFT") == "LEFT"


# --- making


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 3), (0, 21), (20, 21)])
def test_a_window_lies_in_its_episode(start: int, stop: int) -> None:
    with pytest.raises(LogicError, match=f"steps {start} to {stop - 1} are not all in this episode: 0 to 19"):
        make_scenes(recording(20), start, stop, None, controller(), **ABOUT)


@pytest.mark.parametrize(("start", "stop", "warmup"), [(0, 1, 0), (0, 20, 0), (19, 20, 16), (5, 8, 5)])
def test_a_window_may_be_all_of_it(start: int, stop: int, warmup: int) -> None:
    made = make_scenes(recording(20), start, stop, None, controller(), **ABOUT)
    assert (made.warmup, made.first, len(made.scenes)) == (warmup, start - warmup, stop - start + warmup)
    assert made.compared == range(start, stop) and made.reasons is None
    assert made.actions == tuple(recording(20).actions[start:stop])
    assert made.scenes.tobytes() == recording(20).scenes[made.first : stop].tobytes()
    told = make_scenes(recording(20), start, stop, None, controller(), True, **ABOUT)
    assert told.reasons == tuple(recording(20).reasons[start:stop])


@pytest.mark.parametrize(("most", "lengths"), [
    (0, [0]), (15, [15]), (16, [16]), (17, [16, 17]), (32, [16, 32]), (33, [16, 32, 33]), (100, [16, 32, 64, 100]),
])  # fmt: skip
def test_warm_ups_that_are_tried(most: int, lengths: list[int]) -> None:
    assert list(locks._lengths(most)) == lengths


@pytest.mark.parametrize(("wait", "warmup"), [(0, 16), (16, 16), (17, 32), (32, 32), (33, 50), (50, 50)])
def test_the_shortest_warm_up_that_does_is_taken(wait: int, warmup: int) -> None:
    made = make_scenes(recording(60, wait), 50, 60, None, controller(wait), **ABOUT)
    assert made.warmup == warmup


def test_a_warm_up_that_is_asked_for_is_tried_alone_and_a_longer_one_named() -> None:
    assert make_scenes(recording(60), 50, 60, 3, controller(), **ABOUT).warmup == 3
    assert make_scenes(recording(60), 50, 60, 99, controller(), **ABOUT).warmup == 50, "no more than there is"
    for asked, enough in ((3, 16), (15, 16), (16, 32), (31, 32), (32, 50)):
        wait = asked + 1 if asked != 3 else 10
        with pytest.raises(LogicError) as found:
            make_scenes(recording(60, wait), 50, 60, asked, controller(wait), **ABOUT)
        assert f"after {asked} steps of warm-up step 50: NOOP instead of LEFT; --warmup {enough} is" in str(found.value)
    with pytest.raises(LogicError, match="even from the start of the episode step 50: NOOP instead of LEFT: the logic"):
        make_scenes(recording(60), 50, 60, 3, controller(wait=51), **ABOUT)
    with pytest.raises(LogicError, match="even from the start"):
        make_scenes(recording(60), 50, 60, None, controller(wait=51), **ABOUT)


# --- the file


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_written(value: float) -> None:
    for one in (replace(FLOOR, floor=value), lock(source={"score": value})):
        with pytest.raises(ValueError, match="JSON"):
            locks.text_of(one, SCHEMA)


def test_files_of_a_folder_and_names(tmp_path: Path) -> None:
    assert locks.files(tmp_path) == []
    for name in ("b", "a", "0-x_9", "x" * 60):
        locks.write(FLOOR, locks.path_of(tmp_path, name), SCHEMA)
    (tmp_path / "locks" / "c.txt").write_text("no lock")
    assert [p.stem for p in locks.files(tmp_path)] == ["0-x_9", "a", "b", "x" * 60]
    assert locks.path_of(tmp_path, "a") == tmp_path / "locks" / "a.json"
    for name in ("x" * 61, "-a", "_a", "a\n", "A"):
        with pytest.raises(LogicError, match="cannot name a lock"):
            locks.path_of(tmp_path, name)


def test_a_lock_may_be_as_large_as_the_limit_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(locks.text_of(FLOOR, SCHEMA).encode())
    monkeypatch.setattr(locks, "MOST_BYTES", size)
    path = locks.write(FLOOR, tmp_path / "new" / "moment.json", SCHEMA)
    before = path.read_bytes()
    assert len(before) == size and [p.name for p in path.parent.iterdir()] == ["moment.json"]
    monkeypatch.setattr(locks, "MOST_BYTES", size - 1)
    with pytest.raises(LogicError, match="at most 0"):
        locks.write(FLOOR, path, SCHEMA)
    monkeypatch.undo()

    def broken(one: Any, two: Any) -> None:
        assert Path(one).parent == path.parent and Path(one).name.startswith(".moment.json.")
        raise OSError("no")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="no"):
        locks.write(lock(), path, SCHEMA)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["moment.json"]


def test_a_floor_as_text_and_back(tmp_path: Path) -> None:
    text = locks.text_of(FLOOR, SCHEMA)
    assert text.endswith("\n}\n") and '"note": "é"' in text and '\n "kind": "floor"' in text
    assert json.loads(text) == {
        "format": 1, "kind": "floor", "task": "toy", "protocol": "sticky", "seed": 7, "floor": -3.5, "scored": 1.25,
        "eyes": "teacher", "shift": "dim", "note": "é", "triune": "", "source": {"a": 1},
    }  # fmt: skip
    path = tmp_path / "moment.json"
    path.write_text(text)
    assert locks.read(path, SCHEMA) == FLOOR
    path.write_text(locks.text_of(FloorLock(**ABOUT, seed=7, floor=0, scored=1), SCHEMA))
    told = locks.read(path, SCHEMA)
    assert isinstance(told, FloorLock) and (told.shift, told.detector, told.note) == (None, "cnn", "")


def test_scenes_as_text_and_back(tmp_path: Path) -> None:
    text = locks.text_of(lock(source={"seed": 3}), SCHEMA)
    told = json.loads(text)
    assert list(told) == [
        "format", "kind", "task", "protocol", "schema", "warmup", "note", "triune", "source", "digest", "steps",
    ]  # fmt: skip
    assert told["steps"] == [
        {"step": 5, "scene": {"ball.seen": 1.0, "ball.x": 5.0, "ball.sure": 1.0}},
        {"step": 6, "action": "RIGHT", "reason": "right", "scene": {"ball.x": 6.0}},
        {"step": 7, "action": "LEFT", "reason": "left", "scene": {"ball.x": 3.0}},
    ]
    path = tmp_path / "moment.json"
    path.write_text(text)
    found = locks.read(path, SCHEMA)
    assert isinstance(found, ScenesLock) and found.scenes.tobytes() == lock().scenes.tobytes()
    assert vars(found) | {"scenes": 0} == vars(lock(source={"seed": 3})) | {"scenes": 0}
    path.write_text(locks.text_of(lock(reasons=None), SCHEMA))
    bare = locks.read(path, SCHEMA)
    assert (
        isinstance(bare, ScenesLock)
        and bare.reasons is None
        and "reason" not in json.loads(path.read_text())["steps"][1]
    )


def test_vectors_as_text_and_back(tmp_path: Path) -> None:
    values = ((float(np.float32(0.1)), -1.0), (float("inf"), 2.0))
    text = locks.text_of(lock(actions=values[:1] * 2, reasons=None), SCHEMA)
    assert [s.get("action") for s in json.loads(text)["steps"]] == [None, [0.1, -1.0], [0.1, -1.0]]
    path = tmp_path / "moment.json"
    path.write_text(text)
    found = locks.read(path, SCHEMA)
    assert isinstance(found, ScenesLock) and found.actions == values[:1] * 2


@pytest.mark.parametrize("value", [0.1, 1 / 3, 16777216.0, 1e-45, 3.4028235e38, -0.0, float("inf"), -float("inf")])
def test_numbers_are_short_and_exact(value: float) -> None:
    told = locks._number(np.float32(value))
    back = locks._ODD[told] if isinstance(told, str) else told
    assert np.float32(back).tobytes() == np.float32(value).tobytes()
    assert told in (0.1, 0.33333334, 16777216.0, 1e-45, 3.4028235e38, 0.0, "inf", "-inf")
    assert locks._number(np.float32("nan")) == "nan"


def test_the_digest_is_over_everything_that_decides() -> None:
    one = lock()
    told = json.dumps(["sticky", SCHEMA.fingerprint, 1, 5, ["RIGHT", "LEFT"], ["right", "left"]])
    assert one.digest == hashlib.sha256(told.encode() + one.scenes.astype("<f4").tobytes()).hexdigest()
    changes: list[dict[str, Any]] = [
        {"protocol": "x"}, {"schema": "x"}, {"warmup": 2}, {"first": 6}, {"actions": ("LEFT", "LEFT")},
        {"reasons": None}, {"scenes": scenes(5, 6, 4)},
    ]  # fmt: skip
    assert len({one.digest, *(lock(**c).digest for c in changes)}) == 8


def changed(
    path: Path, told: ScenesLock | FloorLock, change: dict[str, Any], steps: dict[int, Any] | None = None
) -> Path:
    """A file with some keys of another value; `steps`: changes of single steps. ... takes a key away."""
    record = json.loads(locks.text_of(told, SCHEMA))
    for target, values in ((record, change), *((record["steps"][i], v) for i, v in (steps or {}).items())):
        for key, value in values.items():
            target.pop(key, None) if value is ... else target.update({key: value})
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("kind", ["floor", "scenes"])
@pytest.mark.parametrize(
    ("change", "says"),
    [({"format": 0}, "format 0"), ({"format": 1.0}, "format 1.0"), ({"format": "1"}, "format '1'"),
     ({"format": ...}, "no 'format'"), ({"kind": "x"}, "kind 'x' is neither"), ({"kind": ...}, "no 'kind'"),
     ({"task": 3}, "task is 3, a str is needed"), ({"protocol": None}, "protocol is None"), ({"note": 1}, "note is 1"),
     ({"triune": []}, r"triune is \[\]"), ({"source": []}, "source is .*a dict is"), ({"source": ...}, "source")],
)  # fmt: skip
def test_keys_of_any_lock(kind: str, change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = changed(tmp_path / "moment.json", FLOOR if kind == "floor" else lock(), change)
    with pytest.raises(LogicError, match=rf"moment\.json: damaged lock \(.*{says}.*restore the file, or make it again"):
        locks.read(path, SCHEMA)


@pytest.mark.parametrize("kind", ["floor", "scenes"])
def test_a_newer_format_is_no_damage(kind: str, tmp_path: Path) -> None:
    path = changed(tmp_path / "moment.json", FLOOR if kind == "floor" else lock(), {"format": 2})
    with pytest.raises(LogicError, match="lock format 2, but this program reads format 1; update Triune"):
        locks.read(path, SCHEMA)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"floor": "1"}, "floor is '1', a number is needed"), ({"floor": True}, "floor is True"),
     ({"scored": None}, "scored"), ({"seed": 7.0}, "seed is 7.0, a int is needed"), ({"seed": True}, "seed is True"),
     ({"eyes": 1}, "eyes is 1"),
     ({"shift": 1}, "shift is 1"), ({"shift": ...}, "no 'shift'"), ({"floor": 10**400}, "")],
)  # fmt: skip
def test_keys_of_a_floor(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(LogicError, match=f"damaged lock.*{says}"):
        locks.read(changed(tmp_path / "moment.json", FLOOR, change), SCHEMA)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_floor_is_finite(number: str, tmp_path: Path) -> None:
    path = tmp_path / "moment.json"
    path.write_text(locks.text_of(FLOOR, SCHEMA).replace("-3.5", number))
    with pytest.raises(LogicError, match="floor and scored are finite numbers"):
        locks.read(path, SCHEMA)


SCENES: list[tuple[dict[str, Any], dict[int, Any], str]] = [
    ({"warmup": 3}, {}, "a warm-up of 3 steps in a window of 3"), ({"warmup": -1}, {}, "a warm-up of -1"),
    ({"warmup": 0}, {}, "no 'action'"), ({"warmup": 2}, {}, "digest"), ({"warmup": True}, {}, "warmup is True"),
    ({"warmup": 1.0}, {}, "warmup is 1.0"), ({"steps": {}}, {}, "steps is"), ({"steps": []}, {}, "in a window of 0"),
    ({"digest": "0"}, {}, "its digest does not fit its steps"), ({"digest": ...}, {}, "no 'digest'"),
    ({"schema": 3}, {}, "schema is 3"),
    ({}, {0: {"step": "5"}}, "step is '5'"), ({}, {0: {"step": 6}}, "digest"), ({}, {0: {"scene": []}}, "scene is"),
    ({}, {1: {"scene": {"bull.x": 1}}}, "no 'bull.x'"), ({}, {1: {"scene": {"ball.x": "far"}}}, "no 'far'"),
    ({}, {1: {"scene": {"ball.x": 7}}}, "digest"), ({}, {1: {"action": 3}}, "action is 3"),
    ({}, {1: {"action": []}}, r"action is \[\]"), ({}, {1: {"action": [1, "x"]}}, "action is"),
    ({}, {1: {"action": [True]}}, "action is"), ({}, {1: {"reason": 3}}, "reason is 3"),
    ({}, {2: {"reason": ...}}, "no 'reason'"), ({}, {1: {"reason": ...}}, "digest"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "steps", "says"), SCENES)
def test_keys_of_scenes(change: dict[str, Any], steps: dict[int, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(LogicError, match=f"damaged lock.*{says}"):
        locks.read(changed(tmp_path / "moment.json", lock(), change, steps), SCHEMA)


def test_another_schema_is_said_as_such(tmp_path: Path) -> None:
    path = changed(tmp_path / "moment.json", lock(), {"schema": "abcdef" * 11})
    with pytest.raises(LogicError, match=rf"lock moment: .*\(abcdefabcdef, this task has {SCHEMA.fingerprint[:12]}\)"):
        locks.read(path, SCHEMA)
