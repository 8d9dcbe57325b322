"""Locks: exact files, clear errors, verified when they are made, and the shipped ones still hold."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from compiler_kit import ACTIONS, CONSTANTS, SCHEMA, SPACE

import triune
from logic.errors import LogicError
from logic.runtime import regression as locks
from logic.runtime.controller import Controller
from logic.runtime.logic import compile_logic
from logic.runtime.regression import FloorLock, Recording, ScenesLock, check_scenes, make_scenes
from perception.scene import SceneSchema
from triune.system import Texts, build_controller

ZOO = Path(__file__).parents[2] / "zoo"
SHIPPED = sorted(ZOO.glob("*/locks/*.json"))
ABOUT = {"name": "moment", "task": "toy", "protocol": "sticky", "note": "why é", "triune": "0.1.0"}
# Goes right where the ball is right of the middle of the last two sightings; counts to be slow to start.
POLICY = '''"""Toy."""


class Memory:
    last: float = 0.0
    steps: int = 0


def act(scene, memory):
    middle = (memory.last + scene.ball.x) * 0.5
    memory.last = scene.ball.x
    memory.steps += 1
    if memory.steps <= WAIT:
        return NOOP, "wait"
    if scene.ball.x > middle:
        return RIGHT, "rising"
    return LEFT, "falling"
'''


def controller(text: str = POLICY, wait: int = 0) -> Controller:
    """The toy policy, ready."""
    logic = compile_logic(SCHEMA, text.replace("WAIT", str(wait)), "", CONSTANTS, SPACE, 0, lost_after=10_000)
    return Controller(logic, clock=lambda: 0)


def record(n: int = 60, seed: int = 3, by: Controller | None = None) -> Recording:
    """What a controller decided on random scenes."""
    rng = np.random.default_rng(seed)
    scenes = rng.normal(80, 30, (n, SCHEMA.size)).astype(np.float32)
    by = by or controller()
    by.reset()
    decisions = [by.decide(SCHEMA.read(v)) for v in scenes]
    return Recording(scenes, [ACTIONS[d.action] for d in decisions], [d.reason for d in decisions])


def lock_of(recording: Recording, start: int = 30, stop: int = 40, warmup: int = 4, reasons: bool = True) -> ScenesLock:
    return make_scenes(recording, start, stop, warmup, controller(), reasons, source={"seed": 7}, **ABOUT)


def saved(tmp_path: Path) -> Path:
    return locks.write(lock_of(record()), tmp_path / "locks" / "moment.json", SCHEMA)


# --- checking and making --------------------------------------------------------------------------


def test_a_lock_holds_for_the_logic_it_was_made_with_and_names_what_changed() -> None:
    lock = lock_of(record())
    assert check_scenes(lock, controller()) == []
    contrary = controller(POLICY.replace("scene.ball.x > middle", "scene.ball.x <= middle"))
    found = check_scenes(lock, contrary)
    assert [d.step for d in found] == list(range(30, 40))  # the warm-up is not compared
    assert {d.expected for d in found} <= {"LEFT", "RIGHT"} and all(d.expected != d.decided for d in found)
    assert f"step 30: {found[0].decided} instead of {found[0].expected}" in str(found[0])


def test_reasons_count_only_when_they_are_locked() -> None:
    renamed = controller(POLICY.replace('"rising"', '"going up"'))
    assert check_scenes(lock_of(record(), reasons=False), renamed) == []
    found = check_scenes(lock_of(record()), renamed)
    assert found and {d.reason for d in found} == {"going up"} and all(d.expected == d.decided for d in found)


def test_a_lock_starts_from_fresh_memory_every_time() -> None:
    lock, judge = lock_of(record()), controller(POLICY.replace("LEFT, ", "(LEFT if memory.steps < 15 else NOOP), "))
    assert check_scenes(lock, judge) == check_scenes(lock, judge) == []
    assert judge.memory.steps == 14  # type: ignore[attr-defined]


def test_too_short_a_warm_up_is_refused_with_one_that_is_enough() -> None:
    slow = controller(wait=20)
    recording = record(by=slow)
    with pytest.raises(LogicError, match="after 4 steps of warm-up step 40: NOOP instead of .* --warmup 32 is enough"):
        make_scenes(recording, 40, 50, 4, slow, **ABOUT)
    assert make_scenes(recording, 40, 50, 32, slow, **ABOUT).warmup == 32
    assert make_scenes(recording, 40, 50, None, slow, **ABOUT).warmup == 32  # found by itself
    assert make_scenes(recording, 10, 14, None, slow, **ABOUT).warmup == 10  # no more than there is


def test_a_policy_that_has_changed_cannot_be_locked_to_the_old_recording() -> None:
    changed = controller(POLICY.replace("RIGHT", "FIRE"))
    with pytest.raises(LogicError, match="the logic has changed since it was recorded"):
        make_scenes(record(), 30, 50, 8, changed, **ABOUT)
    with pytest.raises(LogicError, match="not all in this episode: 0 to 59"):
        make_scenes(record(), 30, 61, 8, controller(), **ABOUT)


# --- files ----------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    lock = lock_of(record())
    found = locks.read(saved(tmp_path), SCHEMA)
    assert isinstance(found, ScenesLock)
    assert found.scenes.tobytes() == lock.scenes.tobytes()
    assert vars(found) | {"scenes": 0} == vars(lock) | {"scenes": 0}
    floor = FloorLock(**ABOUT, seed=7, floor=-3, scored=1, shift="dim")  # type: ignore[arg-type]
    assert locks.read(locks.write(floor, tmp_path / "moment.json", SCHEMA), SCHEMA) == floor


def test_every_float32_survives_the_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 2**32, (200, SCHEMA.size), np.uint32).view(np.float32)
    scenes = np.where(np.isnan(scenes), np.float32(np.nan), scenes)
    scenes[0, :6] = [np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38]
    scenes[1, 3] = 0.0  # from minus zero to zero is a change
    lock = ScenesLock(**ABOUT, schema=SCHEMA.fingerprint, warmup=0, first=0, scenes=scenes, actions=("NOOP",) * 200)
    path = tmp_path / "bits.json"
    path.write_text(locks.text_of(lock, SCHEMA))
    found = locks.read(path, SCHEMA)
    assert isinstance(found, ScenesLock) and found.scenes.tobytes() == scenes.tobytes()


def test_one_step_a_line_with_what_changed(tmp_path: Path) -> None:
    scenes = np.zeros((6, SCHEMA.size), np.float32)
    scenes[2:, 1] = 0.1
    names = SCHEMA.names
    lock = ScenesLock(**ABOUT, schema=SCHEMA.fingerprint, warmup=3, first=9, scenes=scenes, actions=("LEFT",) * 3)
    lines = locks.text_of(lock, SCHEMA).split("\n")
    steps = [json.loads(line.strip().rstrip(",")) for line in lines if line.startswith('  {"step"')]
    assert [s["step"] for s in steps] == list(range(9, 15))
    assert [s["scene"] for s in steps] == [{}, {}, {names[1]: 0.1}, {}, {}, {}]
    assert [s.get("action") for s in steps] == [None] * 3 + ["LEFT"] * 3
    assert json.loads("\n".join(lines))["note"] == "why é" and '"note": "why é"' in "\n".join(lines)


def test_a_lock_too_large_to_be_a_moment_is_not_written(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    big = record(n=400)
    with pytest.raises(LogicError, match="shorter window"):
        locks.write(lock_of(big, 10, 400), path, SCHEMA)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["moment.json"]


DAMAGES = [
    (lambda t: t[: len(t) // 2], "damaged"),
    (lambda t: "", "damaged"),
    (lambda t: "[1]", "damaged"),
    (lambda t: "\0" + t, "damaged"),
    (lambda t: t.replace('"warmup": 4', '"warmup": 400'), "warm-up of 400"),
    (lambda t: t.replace('"warmup": 4', '"warmup": true'), "warmup is True"),
    (lambda t: t.replace('"kind": "scenes"', '"kind": "seens"'), "neither scenes nor floor"),
    (lambda t: t.replace('"ball.x"', '"bull.x"', 1), "no 'bull.x'"),
    (lambda t: t.replace('"ball.x": ', '"ball.x": 1', 1), "digest"),
    (lambda t: t.replace('"ball.x": ', '"ball.x": NaN, "ball.y": ', 1), "NaN is no JSON"),
    (lambda t: t.replace('"LEFT"', '"RIGHT"', 1), "digest"),
    (lambda t: t.replace('"protocol": "sticky"', '"protocol": "seed"'), "digest"),
    (lambda t: t.replace('"format": 1', '"format": 2'), "reads format 1; update Triune"),
    (lambda t: t.replace('"format": 1', '"format": "x"'), "format 'x'"),
    (lambda t: "[" * 100_000, "damaged"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_lock_is_named_in_words(damage: object, words: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    text = path.read_text()
    broken = damage(text)  # type: ignore[operator]
    assert broken != text
    path.write_text(broken)
    with pytest.raises(LogicError, match=words) as caught:
        locks.read(path, SCHEMA)
    assert "moment.json" in str(caught.value)


def test_random_damage_never_goes_unnoticed_or_escapes(tmp_path: Path) -> None:
    path, rng = saved(tmp_path), random.Random(1)
    good, kept = path.read_bytes(), locks.read(path, SCHEMA)
    assert isinstance(kept, ScenesLock)
    for _ in range(300):
        at = rng.randrange(len(good))
        path.write_bytes(good[:at] + bytes([rng.randrange(256)]) + good[at + 1 :])
        try:
            found = locks.read(path, SCHEMA)
        except LogicError:
            continue
        assert isinstance(found, ScenesLock) and found.digest == kept.digest


def test_another_schema_and_a_missing_file_are_said(tmp_path: Path) -> None:
    other = SceneSchema.from_config({"crop": [0, 0, 9, 9], "things": {"ball": {}}})
    with pytest.raises(LogicError, match="another scene schema"):
        locks.read(saved(tmp_path), other)
    lock = lock_of(record())
    toy = compile_logic(other, 'def act(scene, memory):\n    return NOOP, "x"\n', "", CONSTANTS, SPACE, 0)
    with pytest.raises(LogicError, match="another scene schema"):
        check_scenes(lock, Controller(toy))
    with pytest.raises(LogicError, match="gone.json: no such lock"):
        locks.read(tmp_path / "gone.json", SCHEMA)


@pytest.mark.parametrize("name", ["../up", "", "A", "a b", "x" * 80, ".hidden", "a/b"])
def test_a_name_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LogicError, match="cannot name a lock"):
        locks.path_of(tmp_path, name)


# --- the shipped ones -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_a_shipped_lock_holds(path: Path) -> None:
    system = triune.load(path.parent.parent.name)
    lock = next(k for k in system.locks() if k.name == path.stem)
    assert lock.task == system.name and lock.note and path.stat().st_size <= 60_000
    if isinstance(lock, ScenesLock):
        assert check_scenes(lock, build_controller(system.spec, system.schema, system.texts,
                                                   system.protocol(lock.protocol), clock=lambda: 0)) == []  # fmt: skip
    else:
        assert lock.floor < lock.scored and 0 <= lock.seed < 1000


def test_every_task_ships_moments_and_a_floor() -> None:
    for task in ("breakout", "pong"):
        kinds = [k.kind for k in triune.load(task).locks()]
        assert kinds.count("scenes") >= 2 and kinds.count("floor") == 1


def test_the_shipped_locks_notice_a_changed_policy() -> None:
    system = triune.load("pong")
    text = system.texts.policy
    broken = text.replace("        return RIGHT, reason", "        return LEFT, reason")
    assert broken != text
    noticed = []
    for lock in system.locks():
        if isinstance(lock, ScenesLock):
            texts = Texts(broken, system.texts.safety)
            judge = build_controller(system.spec, system.schema, texts, system.protocol(lock.protocol), clock=lambda: 0)
            noticed.append(bool(check_scenes(lock, judge)))
    assert any(noticed)
