"""A bundle on pictures as they come: every fault of a source means the fallback, in time and by name. No test waits:
clocks and sources are made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, FakeFeed, Heard, make_bundle, picture

from envs.errors import EnvError
from envs.spec import load_spec, parse_spec
from triune.errors import TriuneError
from triune.live.conditions import Limits
from triune.live.telling import Log, Teller
from triune.live.worker import DEAF, ENOUGH, LOST, STOPPED, Worker
from triune.runtime import Bundle

STEP = 1 / FPS
BOX = (WIDTH / 2, 20)  # at the line of the policy
Script = list[Any]


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a belt."""
    path = make_bundle(tmp_path_factory.mktemp("belt"))
    return Bundle.load(path, clock=lambda: 0.0)


def steady(count: int, start: float = 0.0, first: int = 0, **what: Any) -> Script:
    """Good pictures, one every STEP seconds."""
    return [(start + i * STEP, picture(first + i, **what)) for i in range(count)]


def at_work(bot: Bundle, script: Script, patience: float = 2.0, **more: Any) -> tuple[str, list[dict[str, Any]], Any]:
    """How the run ended, what was told and when, and what was said."""
    feed = FakeFeed(script)
    heard, said = Heard(feed), list[str]()
    teller = Teller(bot, None, heard)  # type: ignore[arg-type]
    worker = Worker(bot, feed, teller, said.append, patience=patience, clock=feed.now, wall=feed.now, **more)
    ended = worker.run()
    worker.finish(ended)
    return ended, heard.lines, (worker, said, feed)


def first(lines: list[dict[str, Any]], condition: str) -> dict[str, Any]:
    return next(line for line in lines if line["condition"] == condition)


def test_good_pictures_are_decided_on(bot: Bundle) -> None:
    ended, lines, (worker, said, _) = at_work(bot, steady(20, box=BOX), most=20)
    assert ended == ENOUGH and len(lines) == 21
    assert {line["action"] for line in lines[:20]} == {"PUSH"} and not said
    line = lines[5]
    assert list(line)[:10] == [
        "time", "frame", "action", "proposed", "reason", "rules", "condition", "faults", "scene", "latency_ms",
    ]  # fmt: skip
    assert line["frame"] == 5 and line["reason"] == "a box is at the line" and line["faults"] == []
    box = line["scene"]["box"]
    assert (box["x"], box["y"]) == pytest.approx(BOX, abs=0.6) and box["sure"] == 1 and line["scene"]["hand"] is None
    assert lines[20]["action"] == "STOP" and lines[20]["condition"] == STOPPED, "who listens is left with the fallback"
    assert worker.teller.summary()["frames_per_second"] == pytest.approx(FPS, rel=0.01)


def test_a_hand_stops_by_rule(bot: Bundle) -> None:
    script = steady(5, box=BOX) + steady(5, 5 * STEP, 5, box=BOX, hand=(20, 30)) + steady(20, 10 * STEP, 10, box=BOX)
    _, lines, _ = at_work(bot, script, most=30)
    assert [line["action"] for line in lines[:10]] == ["PUSH"] * 5 + ["STOP"] * 5
    assert lines[7]["proposed"] == "PUSH" and lines[7]["rules"] == [
        "STOP while a hand is in view, and for half a second after"
    ]
    # the tracker carries it on for some pictures, the rule waits for half a second more
    assert lines[20]["action"] == "STOP" and lines[7]["condition"] == ""


def test_a_stall_is_the_fallback_in_time_and_goes_on(bot: Bundle) -> None:
    script = steady(10, box=BOX) + steady(20, 1.7, 50, box=BOX)
    ended, lines, (worker, said, _) = at_work(bot, script, most=30)
    stalled = first(lines, "stall")
    last = 9 * STEP
    assert stalled["action"] == "STOP" and stalled["frame"] is None and stalled["scene"] is None
    assert stalled["at"] == pytest.approx(last + 0.25), "250 ms, since three pictures take less"
    assert sum(line["condition"] == "stall" and line["frame"] is None for line in lines) == 2, "and again every second"
    back = [line for line in lines if line["at"] >= 1.7]
    assert [line["action"] for line in back[:4]] == ["STOP", "STOP", "PUSH", "PUSH"], "three good pictures end it"
    assert "stall after picture 10, so STOP" in said[0] and "stall is over after" in said[1] and ended == ENOUGH
    assert worker.teller.tally.conditions["stall"] == 4


def test_three_pictures_are_the_least_that_a_stall_takes(bot: Bundle) -> None:
    slow = Limits(hz=2.0)
    assert slow.patience == 1.5 and Limits(hz=30).patience == 0.25 and Limits(hz=30, stall=0).patience == float("inf")
    _, lines, _ = at_work(bot, steady(3) + steady(5, 4.0, 9), limits=slow, most=5, patience=9)
    assert first(lines, "stall")["at"] == pytest.approx(2 * STEP + 1.5)


def test_limits_are_the_tasks_and_a_game_has_none_of_its_pictures(bot: Bundle, tmp_path: Path) -> None:
    text = bot.spec.text.replace("frozen_ms = 500", "frozen_ms = 1500").replace("black_level = 10", "black_level = 0")
    limits = Limits.of(parse_spec(text, tmp_path / "system.toml"), 30)
    assert (limits.stall, limits.frozen, limits.black, limits.flat, limits.drift) == (0.25, 1.5, 0.0, 2.0, True)
    game = Limits.of(load_spec("pong"), 30)
    assert (game.stall, game.frozen, game.black, game.flat, game.drift) == (0.25, 0, 0, 0, False)
    for wrong, said in (
        ("frozen_ms = -1", "from 0"),
        ("frozen_ms = true", "a number"),
        ("frozn_ms = 1", "'frozen_ms'"),
    ):
        with pytest.raises(EnvError, match=f"line [0-9]+.*{said}"):
            parse_spec(bot.spec.text.replace("frozen_ms = 500", wrong), tmp_path / "system.toml")


def test_dropped_pictures_are_counted_and_a_short_gap_is_no_stall(bot: Bundle) -> None:
    script = steady(10, box=BOX) + steady(10, 16 * STEP, 16, box=BOX)
    _, lines, (worker, _, _) = at_work(bot, script, most=20)
    assert {line["action"] for line in lines[:20]} == {"PUSH"} and not any(line["condition"] for line in lines[:20])
    assert worker.teller.tally.dropped == 6 and worker.teller.tally.skipped == 0


def test_a_live_source_that_ends_is_lost(bot: Bundle) -> None:
    script: Script = [*steady(10, box=BOX), (10 * STEP, None, "it ended"), (0.6, None, "camera 0 cannot be opened")]
    ended, lines, (_, said, _) = at_work(bot, script, patience=3.0)
    assert ended == LOST and first(lines, "end of stream")["at"] == pytest.approx(10 * STEP)
    assert {line["action"] for line in lines[10:]} == {"STOP"} and said[0].endswith("so STOP: it ended")
    assert lines[-1]["at"] == pytest.approx(9 * STEP + 3.0, abs=1.01) and lines[-1]["condition"] == "end of stream"
    assert len(lines) < 20, "a line a second, not more"


def test_one_that_comes_back_is_taken_up(bot: Bundle) -> None:
    script: Script = [*steady(10, box=BOX), (10 * STEP, None, "it ended"), *steady(10, 1.2, 30, box=BOX)]
    ended, lines, _ = at_work(bot, script, most=20)
    assert ended == ENOUGH and lines[-2]["action"] == "PUSH" and lines[-2]["condition"] == ""


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (6, "black"), (255, "flat"), (128, "flat")])
def test_a_picture_without_anything_is_the_fallback_at_once(bot: Bundle, level: int, name: str) -> None:
    noise = np.random.default_rng(1)
    dead = [
        np.clip(noise.normal(level, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for _ in range(6)
    ]  # with the noise of a sensor
    script = (
        steady(10, box=BOX) + [((10 + i) * STEP, p) for i, p in enumerate(dead)] + steady(6, 16 * STEP, 40, box=BOX)
    )
    _, lines, (worker, said, _) = at_work(bot, script, most=22)
    assert [line["condition"] for line in lines[10:16]] == [name] * 6
    assert {line["action"] for line in lines[10:18]} == {"STOP"} and lines[18]["action"] == "PUSH"
    assert lines[12]["proposed"] is None and lines[12]["reason"] == name and len(said) == 2
    assert worker.teller.tally.conditions[name] == 8, "and two more until it is over"


def test_a_frozen_picture_is_the_fallback_within_half_a_second(bot: Bundle) -> None:
    still = picture(9, box=BOX)
    script = steady(9, box=BOX) + [((9 + i) * STEP, still.copy()) for i in range(30)]
    _, lines, _ = at_work(bot, script, most=39)
    frozen = first(lines, "frozen")
    assert frozen["at"] <= 9 * STEP + 0.5 + 1e-6 and frozen["action"] == "STOP"
    assert lines[9 + 13]["action"] == "PUSH", "not before"
    blinking = [still.copy() for _ in range(30)]
    for i, frame in enumerate(blinking):
        frame[0, 0] = i  # a pixel that changes is no picture that does
    _, lines, _ = at_work(bot, [(i * STEP, p) for i, p in enumerate(blinking)], most=30)
    assert first(lines, "frozen")
    off = Limits(hz=FPS, frozen=0)
    _, lines, _ = at_work(bot, script, limits=off, most=39)
    assert not any(line["condition"] == "frozen" for line in lines)


def test_another_size_is_refused_at_the_beginning_and_a_condition_later(bot: Bundle) -> None:
    large = np.repeat(picture(1), 2, axis=0)
    with pytest.raises(TriuneError, match="gives frames of 64x96, the detector reads 64x48; add --fit"):
        at_work(bot, [(0.0, large)], most=1)
    script: Script = [*steady(5, box=BOX), (5 * STEP, large), *steady(5, 6 * STEP, 6, box=BOX)]
    _, lines, (worker, _, _) = at_work(bot, script, most=11)
    assert lines[5]["condition"] == "wrong size" and lines[5]["action"] == "STOP" and worker.wrong_size == 1
    assert lines[8]["action"] == "PUSH"
    _, lines, _ = at_work(bot, script, most=11, fit="stretch")
    assert not any(line["condition"] for line in lines[:11])


def test_a_drifted_picture_is_the_fallback_while_it_lasts(bot: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from perception.drift import Gauge, scene_parts

    gauge = Gauge(scene_parts(bot.schema))
    gauge.start()
    for i in range(400):
        gauge.see(picture(i), bot.schema.empty())
    ranges = gauge.ranges()
    monkeypatch.setitem(bot.manifest, "drift", ranges)
    dark = [(8 + i * STEP, picture(i) // 2) for i in range(240)]
    script = steady(240) + dark + steady(240, 16.0, 300)
    _, lines, (_, said, _) = at_work(bot, script, most=720)
    drifted = [line for line in lines if line["condition"] == "drift"]
    assert 240 < drifted[0]["frame"] <= 240 + 4 * 32 and drifted[0]["action"] == "STOP"
    assert drifted[0]["proposed"] == "NOOP" and drifted[0]["scene"], "it is decided on, and not carried out"
    assert lines[719]["condition"] == "", "it is over when the picture is what it was"
    assert any("drift" in text for text in said)


def test_memory_begins_anew_after_a_blind_time(bot: Bundle) -> None:
    script = steady(5, hand=(20, 30)) + [((5 + i) * STEP, np.zeros((HEIGHT, WIDTH, 3), np.uint8)) for i in range(3)]
    script += steady(6, 8 * STEP, 60, box=BOX)
    _, lines, _ = at_work(bot, script, most=14)
    assert lines[10]["condition"] == "" and lines[10]["action"] == "PUSH" and not lines[10]["rules"]


def test_a_late_decision_counts_and_is_the_fallback(tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    late = Bundle.load(make_bundle(tmp_path), clock=lambda: float(next(ticks)))
    _, lines, (worker, _, _) = at_work(late, steady(5, box=BOX), most=5)
    assert worker.teller.tally.late == 5 and lines[0]["action"] == "STOP" and lines[0]["rules"] == ["deadline missed"]
    text = worker.teller.tally.metrics({"condition": 0.0}, {"task": 'a"b'})
    assert 'triune_deadline_missed_total{task="a\\"b"} 5' in text and 'quantile="0.99"' in text


def test_a_sink_that_is_gone_ends_the_run(bot: Bundle) -> None:
    feed = FakeFeed(steady(50))
    heard = Heard()
    teller = Teller(bot, None, heard)  # type: ignore[arg-type]
    worker = Worker(bot, feed, teller, print, clock=feed.now, wall=feed.now)
    heard.gone = True
    assert worker.run() == DEAF and teller.tally.steps == 1


def test_shadow_touches_no_sink_and_says_what_it_would_do(bot: Bundle, tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    feed = FakeFeed(steady(5, box=BOX))
    Worker(bot, feed, Teller(bot, log, None, shadow=True), print, clock=feed.now, wall=feed.now, most=5).run()
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 5 and all(line["shadow"] and line["action"] == "PUSH" for line in lines)


def test_a_log_takes_no_more_than_it_may(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", most=1000)
    for i in range(500):
        log.write(f"line {i:04d} " + "x" * 40)
    log.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["log.jsonl", "log.jsonl.1"] and all(p.stat().st_size <= 1051 for p in tmp_path.iterdir())
    assert (tmp_path / "log.jsonl").read_text().splitlines()[-1].startswith("line 0499")


def test_metrics_are_written_while_it_runs_and_at_the_end(bot: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "m.prom"
    seen: list[str] = []

    def script() -> Iterator[Any]:
        for i, (at, frame) in enumerate(steady(400, box=BOX)):
            if i in (3, 300):
                seen.append(path.read_text())
            yield at, frame

    at_work(bot, script(), most=400, metrics=path)  # type: ignore[arg-type]
    told = [
        float(text.split("triune_frames_total{")[1].split("} ")[1].split("\n")[0]) for text in (*seen, path.read_text())
    ]
    assert told[0] <= 3 and 100 < told[1] <= 300 and told[2] == 400
    assert 'triune_actions_total{task="belt",action="PUSH"} 400' in path.read_text()


def test_nothing_grows(bot: Bundle) -> None:
    """Counts of a long run take the room of a short one."""
    import pickle

    sizes = []
    for count in (100, 600):
        feed = FakeFeed((i * STEP, picture(i % 50, box=BOX)) for i in range(count))
        teller = Teller(bot)
        Worker(bot, feed, teller, print, clock=feed.now, wall=feed.now, most=count).run()
        teller.tally.latency.total = teller.tally.began = teller.tally.ended = 0.0
        sizes.append(len(pickle.dumps(vars(teller.tally))))
    assert abs(sizes[1] - sizes[0]) < 64
