"""Teachers describe the frame: labels against pixels found by other means, in ordinary and in poked states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from data_flywheel.errors import DataError
from data_flywheel.labelers.teacher import Teacher, load_teacher
from envs.backends.atari import AtariCore
from envs.backends.atari_protocols import get_protocol
from envs.spec import load_spec, task_names

SPECS = {name: load_spec(name) for name in task_names()}
CONSOLE = [n for n, s in SPECS.items() if s.env.backend == "atari" and (s.folder / "teacher.py").is_file()]
RED = (200, 72, 72)


def walk(
    task: str, steps: int, protocol: str = "sticky", seed: int = 0, poke_every: int = 9
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(truth, frame) of a game played by the teacher's script with pokes and random acts."""
    spec, teacher = load_spec(task), load_teacher(task)
    core = AtariCore(spec.env, get_protocol(protocol), seed)
    rng = np.random.default_rng(seed)
    frame = core.reset(seed)
    for step in range(steps):
        yield core.truth(), frame
        if poke_every and step % poke_every == poke_every - 1:
            core.write(teacher.poke(core.truth(), rng))
        action = int(rng.integers(4)) if rng.random() < 0.2 else teacher.scripted(core.truth(), rng)
        frame = core.step(action)
        if core.done:
            frame = core.reset(seed)


def mask(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (frame[..., 0] == colour[0]) & (frame[..., 1] == colour[1]) & (frame[..., 2] == colour[2])


def bounding(found: np.ndarray, top: int, left: int) -> list[float] | None:
    ys, xs = np.nonzero(found)
    if len(ys) == 0:
        return None
    x0, x1, y0, y1 = xs.min() + left, xs.max() + 1 + left, ys.min() + top, ys.max() + 1 + top
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def thing(teacher: Teacher, vector: np.ndarray, name: str) -> list[float] | None:
    values = vector[teacher.schema.slot(name)].tolist()
    assert values[0] == values[7] and values[5] == values[6] == 0
    return values[1:5] if values[0] else None


@pytest.mark.parametrize("task", CONSOLE)
@pytest.mark.parametrize(("protocol", "poke_every"), [("sticky", 9), ("seed-sticky", 0)])
@pytest.mark.parametrize("steps", [500, pytest.param(4000, marks=pytest.mark.slow)])
def test_labels_account_for_every_pixel(task: str, protocol: str, poke_every: int, steps: int) -> None:
    teacher = load_teacher(task)
    wrong = total = 0
    for truth, frame in walk(task, steps, protocol, poke_every=poke_every):
        wrong += teacher.unexplained(truth, frame, teacher.label(truth, frame)) > 0
        total += 1
    assert wrong / total <= 0.002  # memory may run ahead of the picture for a frame: such frames are left out


@pytest.mark.parametrize("task", CONSOLE)
def test_the_pixel_check_can_fail(task: str) -> None:
    teacher = load_teacher(task)
    caught = tried = 0
    for truth, frame in walk(task, 150):
        vector = teacher.label(truth, frame)
        for spec in teacher.schema.things:
            if not vector[teacher.schema.slot(spec.name)][0]:
                continue
            for change in ("shifted", "missing"):
                wrong = vector.copy()
                wrong[teacher.schema.slot(spec.name)] = 0
                if change == "shifted":
                    wrong[teacher.schema.slot(spec.name)] = vector[teacher.schema.slot(spec.name)]
                    wrong[teacher.schema.slot(spec.name).start + 1] += 1
                tried += 1
                caught += teacher.unexplained(truth, frame, wrong) > 0
    assert caught / tried > 0.97  # a ball over the paddle may go missing unseen


def test_breakout_ball_and_paddle_where_the_colour_is_unambiguous() -> None:
    teacher = load_teacher("breakout")
    seen: Counter[str] = Counter()
    for truth, frame in walk("breakout", 1000):
        vector = teacher.label(truth, frame)
        ball, paddle = thing(teacher, vector, "ball"), thing(teacher, vector, "paddle")
        alone = bounding(mask(frame[189:193, 8:152], RED), 189, 8)
        if ball is None or ball[1] < 180:  # nothing but the paddle is red down there
            assert paddle == alone
            seen["paddle"] += 1
        in_field = bounding(mask(frame[93:187, 8:152], RED), 93, 8)
        if ball is not None and 100 < ball[1] < 180:
            assert ball == in_field
            seen["ball"] += 1
        if ball is None:
            assert in_field is None
            seen["absent"] += 1
        above = bounding(mask(frame[32:57, 8:152], (142, 142, 142)), 32, 8)
        if ball is not None and ball[1] < 50:
            assert ball == above
            seen["above"] += 1
    assert min(seen[name] for name in ("paddle", "ball", "absent", "above")) > 20, seen


def test_breakout_bricks_in_memory_and_in_the_picture_agree() -> None:
    from importlib import util

    path = load_spec("breakout").folder / "teacher.py"
    spec = util.spec_from_file_location("breakout_teacher", path)
    assert spec and spec.loader
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counts = set()
    for truth, frame in walk("breakout", 800):
        assert np.array_equal(module.bricks_of_memory(truth["ram"]), module.bricks_of_frame(frame))
        counts.add(int(module.bricks_of_frame(frame).sum()))
    assert min(counts) < 30 and max(counts) == 108  # late and early game were both there


def test_breakout_sees_narrow_and_clipped_paddles_and_hidden_balls() -> None:
    teacher = load_teacher("breakout")
    widths: Counter[int] = Counter()
    heights: Counter[int] = Counter()
    for truth, frame in walk("breakout", 1200, poke_every=5):
        vector = teacher.label(truth, frame)
        ball, paddle = thing(teacher, vector, "ball"), thing(teacher, vector, "paddle")
        assert paddle is not None and paddle[0] + paddle[2] / 2 <= 152
        widths[int(paddle[2])] += 1
        heights[int(ball[3]) if ball else 0] += 1
    assert widths[16] > 50 and widths[12] > 50 and sum(widths[w] for w in range(8, 12)) > 10
    assert all(heights[h] > 5 for h in range(5))


def test_pong_things_where_the_colour_is_unambiguous() -> None:
    teacher = load_teacher("pong")
    colours = {"ball": (236, 236, 236), "player": (92, 186, 92), "enemy": (213, 130, 74)}
    seen: Counter[str] = Counter()
    for step, (truth, frame) in enumerate(walk("pong", 1000)):
        if (frame[100, 80] == (109, 118, 43)).all():  # the palette of a reset
            continue
        vector = teacher.label(truth, frame)
        for name, colour in colours.items():
            found = bounding(mask(frame[34:194], colour), 34, 0)
            assert thing(teacher, vector, name) == found, (step, name)
            seen[f"{name} {'seen' if found else 'absent'}"] += 1
            if found and found[3] < 16 and name != "ball":
                seen["clipped"] += 1
    assert min(seen[k] for k in ("ball seen", "ball absent", "player seen", "enemy seen", "clipped")) > 20, seen


@pytest.mark.parametrize("task", CONSOLE)
def test_scripted_players_score(task: str) -> None:
    spec, teacher = load_spec(task), load_teacher(task)
    core = AtariCore(spec.env, get_protocol("sticky"), 1)
    rng = np.random.default_rng(1)
    core.reset(1)
    for _ in range(3000):
        before = core.score
        core.advance(teacher.scripted(core.truth(), rng))
        if core.score > before:
            return
    pytest.fail("the script never scored")


def test_missing_and_broken_teachers_are_named(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "system.toml").write_text((load_spec("pong").folder / "system.toml").read_text())
    with pytest.raises(DataError, match=r"teacher\.py: no such teacher; write one"):
        load_teacher(folder)
    (folder / "teacher.py").write_text("def scripted(truth, rng): return 0\n")
    with pytest.raises(DataError, match="missing label"):
        load_teacher(folder)
    (folder / "teacher.py").write_text("def label(truth, frame, schema): return schema.empty()\npoke = {}\n")
    with pytest.raises(DataError, match="poke is no function"):
        load_teacher(folder)
    (folder / "teacher.py").write_text("def label(truth, frame, schema): return schema.empty()\n")
    teacher = load_teacher(folder)
    assert teacher.scripted is teacher.poke is teacher.spread is None
    (folder / "teacher.py").write_text("import nothing_like_it\n")
    with pytest.raises(DataError, match="does not load: ModuleNotFoundError"):
        load_teacher(folder)
