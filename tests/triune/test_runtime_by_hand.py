"""A bundle's step over a graph that answers what it is told to; the fallback is an action of its own, not the first."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envs.errors import EnvError
from triune import runtime
from triune.errors import TriuneError
from triune.runtime import DEADLINE, FAULT, NEEDED, OUTPUTS, Bundle, Contents

SCENE = {"crop": [0, 0, 4, 6], "things": {"ball": {}}}
TEXT = """format = 1
name = "toy"
title = "Toy"
[env]
backend = "gymnasium"
id = "CartPole-v1"
height = 4
width = 6
{actions}
fallback = {fallback}
[scene]
crop = [0, 0, 4, 6]
[scene.things.ball]
"""
ACTIONS = ["NOOP", "LEFT", "RIGHT", "DUCK"]
FRAME = np.zeros((4, 6, 3), np.uint8)
SAW = np.array([1, 2, 3, 1, 1, 0, 0, 0.5], np.float32)
WHOLE, DOUBLE, FLAGS, REAL = "tensor(int64)", "tensor(double)", "tensor(bool)", "tensor(float)"


class Graph:
    """`run` gives `answer` changed by `told`, or raises it; `ports` are those of a sound bundle."""

    def __init__(self, controls: int = 0) -> None:
        self.told: dict[str, Any] = {}
        self.asked: dict[str, Any] = {}
        action = [1.0] * controls if controls else [2]
        kind, shape = (REAL, [controls]) if controls else (WHOLE, [1])
        self.answer = {
            "action": np.array(action, np.float32 if controls else np.int64), "reason": np.array([1]),
            "proposed": np.array(action, np.float32 if controls else np.int64),
            "interventions": np.zeros(2, bool), "faults": np.zeros(3, bool), "next_memory": np.array([7.0, 8.0]),
            "scene": SAW,
        }  # fmt: skip
        self.ports: dict[str, tuple[str, list[int]]] = {
            "frame": ("tensor(uint8)", [4, 6, 3]), "memory": (DOUBLE, [2]), "action": (kind, shape),
            "reason": (WHOLE, [1]), "proposed": (kind, shape), "interventions": (FLAGS, [2]), "faults": (FLAGS, [3]),
            "next_memory": (DOUBLE, [2]), "scene": (REAL, [8]),
        }  # fmt: skip

    def run(self, outputs: Any, inputs: dict[str, Any]) -> list[np.ndarray]:
        self.asked = inputs
        if error := self.told.get("raise"):
            raise error
        return [self.told.get(name, self.answer[name]) for name in outputs]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=n, type=t, shape=s) for n, (t, s) in self.ports.items() if n not in OUTPUTS]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name=n, type=t, shape=s) for n, (t, s) in self.ports.items() if n in OUTPUTS]


def manifest(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = dict.fromkeys(NEEDED, "") | {
        "task": "toy", "title": "Toy", "actions": ACTIONS, "fallback": "DUCK", "reasons": ["wait", "chase"],
        "rules": ["Brake", "Duck"], "scene": {"schema": SCENE}, "memory": {"size": 2, "start": [[1, "-Infinity"]]},
        "protocol": {"name": "plain"}, "frame": [4, 6, 3], "deadline_ms": 20.0,
    }  # fmt: skip
    return made | changes


def bundle(graph: Graph, clock: Any = lambda: 0.0, deadline: float | None = None, **changes: Any) -> Bundle:
    told = manifest(**changes)
    words, fallback = f"actions = {json.dumps(ACTIONS)}", '"DUCK"'
    if "controls" in told:
        words, fallback = "actions = { hip = [-1.0, 1.0], knee = [-2.0, 2.0] }", "[0.5, -1.5]"
    text = TEXT.format(actions=words, fallback=fallback)
    return Bundle(graph, Contents(told, {"system.toml": text}), "toy.onnx", deadline, clock)  # type: ignore[arg-type]


def test_a_step_tells_what_the_graph_told() -> None:
    graph = Graph()
    bot = bundle(graph)
    start = bot.start()
    assert start.memory.tolist() == [0.0, -np.inf] and not start.memory.flags.writeable
    action, state, why = bot.step(FRAME, start)
    assert (action, type(action)) == (2, int) and state.memory.tolist() == [7.0, 8.0]
    assert not state.memory.flags.writeable and graph.asked["frame"] is FRAME and graph.asked["memory"] is start.memory
    assert why[:5] == ("chase", "RIGHT", "RIGHT", (), "") and why.wanted == 2
    assert (why.scene.ball.x, why.scene.ball.sure) == (2.0, 0.5)
    assert bot.step(FRAME, start)[1] is not start and bot.start() is start


def test_rules_that_step_in_are_named_in_order_and_what_was_proposed_is_kept() -> None:
    graph = Graph()
    graph.told = {"proposed": np.array([1]), "interventions": np.array([False, True])}
    action, _, why = bundle(graph).step(FRAME, bundle(graph).start())
    assert (action, why.action, why.proposed, why.wanted, why.overruled_by) == (2, "RIGHT", "LEFT", 1, ("Duck",))
    graph.told["interventions"] = np.array([True, True])
    assert bundle(graph).step(FRAME, bundle(graph).start())[2].overruled_by == ("Brake", "Duck")


@pytest.mark.parametrize(("took_ms", "late"), [(0, False), (20, False), (20.5, True), (900, True)])
def test_a_step_that_took_too_long_is_the_fallback(took_ms: float, late: bool) -> None:
    ticks = iter([0.0, took_ms / 1000] * 2)
    graph = Graph()
    graph.told = {"interventions": np.array([True, False])}
    bot = bundle(graph, lambda: next(ticks))
    action, state, why = bot.step(FRAME, bot.start())
    assert action == (3 if late else 2) and why.overruled_by == (("Brake", DEADLINE) if late else ("Brake",))
    assert (why.action, why.proposed) == ("DUCK" if late else "RIGHT", "RIGHT") and state.memory.tolist() == [7.0, 8.0]


def test_a_deadline_of_the_caller_goes_before_the_manifests() -> None:
    assert bundle(Graph()).deadline == 0.02 and bundle(Graph(), deadline=500.0).deadline == 0.5
    assert bundle(Graph(), deadline=0).deadline == 0.0


@pytest.mark.parametrize(("faults", "who"), [([1, 0, 0], "the policy"), ([0, 1, 1], "Brake"), ([0, 0, 1], "Duck")])
def test_a_fault_names_the_first_who_could_not_answer(faults: list[int], who: str) -> None:
    graph = Graph()
    graph.told = {"faults": np.array(faults, bool), "reason": np.array([-1 if faults[0] else 0])}
    _, _, why = bundle(graph).step(FRAME, bundle(graph).start())
    assert why.fault.startswith(f"{who} could not answer") and why.reason == (FAULT if faults[0] else "wait")


BROKEN: dict[str, dict[str, Any]] = {
    "an error": {"raise": RuntimeError("no\nmemory")},
    "an error at length": {"raise": RuntimeError("x" * 200)},
    "an error without words": {"raise": ValueError()},
    "an action that is none": {"action": np.array([4])}, "an action below the first": {"action": np.array([-1])},
    "a proposal that is none": {"proposed": np.array([4])}, "a reason that is none": {"reason": np.array([2])},
    "a reason below none": {"reason": np.array([-2])}, "NaN where a place is": {"scene": SAW * np.nan},
    "an infinite place": {"scene": np.array([1, np.inf, 3, 1, 1, 0, 0, 0.5], np.float32)},
    "too short a scene": {"scene": SAW[:7]},
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_graph_that_fails_is_a_fault_with_the_fallback_and_the_old_state(name: str) -> None:
    graph = Graph()
    bot = bundle(graph)
    _, before, _ = bot.step(FRAME, bot.start())
    graph.told = BROKEN[name]
    action, state, why = bot.step(FRAME, before)
    assert (action, why.action, why.proposed, why.wanted) == (3, "DUCK", "DUCK", 3) and state is before
    assert why.reason == FAULT and why.overruled_by == () and not why.scene.ball.seen
    assert why.fault.startswith("the graph failed: ") and "\n" not in why.fault and len(why.fault) < 200
    if name.startswith("an error"):
        said = {"an error": "no", "an error at length": "x" * 160}.get(name, "ValueError")
        assert why.fault == f"the graph failed: {said}"


@pytest.mark.parametrize(
    ("frame", "says"),
    [(FRAME.tolist(), "got a list; give the native frame as a numpy array"),
     (FRAME[:3], r"got uint8\[3, 6, 3\]; give the native RGB"),
     (FRAME[:, :, 0], "unscaled"), (FRAME.astype(np.float32), r"got float32\[4, 6, 3\]; give colour levels 0..255"),
     (np.ma.array(FRAME), "give colour levels")],
)  # fmt: skip
def test_a_frame_of_another_kind_is_refused_in_words(frame: Any, says: str) -> None:
    with pytest.raises(TriuneError, match=rf"toy reads uint8\[4, 6, 3\], {says}" if says.startswith("got") else says):
        bundle(Graph()).step(frame, bundle(Graph()).start())


CONTROLS = {"controls": {"hip": [-1.0, 1.0], "knee": [-2.0, 2.0]}, "actions": ["hip", "knee"], "fallback": [0.5, -1.5]}


def test_controls_are_vectors_and_may_be_proposed_beyond_their_bounds() -> None:
    graph = Graph(controls=2)
    graph.told = {"proposed": np.array([9.0, -9.0], np.float32)}
    bot = bundle(graph, **CONTROLS)
    action, _, why = bot.step(FRAME, bot.start())
    assert isinstance(action, np.ndarray) and action.tolist() == [1.0, 1.0]
    assert isinstance(why.wanted, np.ndarray) and why.wanted.tolist() == [9.0, -9.0]
    graph.told = {"raise": RuntimeError("no")}
    action, _, why = bot.step(FRAME, bot.start())
    assert isinstance(action, np.ndarray) and action.tolist() == [0.5, -1.5]
    with pytest.raises(ValueError, match="read-only"):
        action[0] = 0.0
    with pytest.raises(ValueError, match="other names"):
        bundle(graph, **{**CONTROLS, "actions": ["knee", "hip"]})


# --- what is checked when it is loaded


@pytest.mark.parametrize("controls", [0, 2])
@pytest.mark.parametrize("port", ["frame", "memory", *OUTPUTS])
def test_every_port_of_the_graph_has_its_type_and_shape(port: str, controls: int) -> None:
    graph = Graph(controls)
    more = CONTROLS if controls else {}
    bundle(graph, **more)._check_shapes("toy.onnx")
    kind, shape = graph.ports[port]
    for wrong in ((kind, [*shape, 1]), (kind, [shape[0] + 1, *shape[1:]]), ("tensor(string)", shape), None):
        graph = Graph(controls)
        if wrong is None:
            del graph.ports[port]
        else:
            graph.ports[port] = wrong
        with pytest.raises(TriuneError, match="does not have the inputs and outputs"):
            bundle(graph, **more)._check_shapes("toy.onnx")


def test_a_graph_that_cannot_run_is_refused_and_one_that_faults_is_not() -> None:
    graph = Graph()
    graph.told = {"faults": np.array([True, False, False]), "reason": np.array([-1])}
    bundle(graph)._check_shapes("toy.onnx")
    assert graph.asked["frame"].shape == (4, 6, 3) and not graph.asked["frame"].any()
    graph.told = {"raise": RuntimeError("no")}
    with pytest.raises(TriuneError, match=r"toy\.onnx cannot be run: the graph failed: no; export it again"):
        bundle(graph)._check_shapes("toy.onnx")


GOOD_AND_BAD: list[tuple[str, Any, Any]] = [
    ("task", "t", ""), ("task", "a-b", "../a"), ("title", "x" * 1000, "x" * 1001), ("title", "", 3),
    ("reasons", ["r"] * 65_534, ["r"] * 65_535), ("reasons", ["x" * 1000], ["x" * 1001]), ("rules", [], [3]),
    ("rules", ["a"], "ab"), ("deadline_ms", 0.001, 0), ("deadline_ms", 5, True), ("deadline_ms", 1e9, float("inf")),
    ("deadline_ms", 1, "1"), ("deadline_ms", 1, -1), ("frame", [1, 1, 3], [0, 1, 3]), ("frame", [4, 6, 3], [4, 6, 4]),
    ("frame", [4, 6, 3], [4, 6]), ("frame", [4, 6, 3], [4.0, 6, 3]), ("frame", [4, 6, 3], "463"),
    ("frame", [4, 6, 3], [4, 6, True]),
    ("frame", [4096, 1, 3], [4097, 1, 3]), ("frame", [1, 4096, 3], [1, 4097, 3]), ("rules", ["a"], ["a", 3]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "good", "bad"), GOOD_AND_BAD)
def test_keys_of_the_manifest_at_their_edges(key: str, good: Any, bad: Any) -> None:
    bundle(Graph(), **{key: good})
    with pytest.raises(ValueError, match=f"^{key} is a |^{key} is \\["):
        bundle(Graph(), **{key: bad})


def test_no_ranges_no_watch_and_ranges_of_another_scene_are_refused() -> None:
    assert bundle(Graph()).watch() is None
    for bad in ({"scene": []}, {}, {"scene": ["ball"]}):
        with pytest.raises(TriuneError, match="toy: the bundle's ranges make no sense"):
            bundle(Graph(), drift=bad).watch()


def test_ranges_of_this_scene_make_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runtime, "check", lambda *what: seen.append(what))
    monkeypatch.setattr(runtime, "Watch", dict)
    bot = bundle(Graph(), drift={"scene": 1})
    assert bot.watch() == {"scene": 1} and seen == [({"scene": 1}, runtime.scene_parts(bot.schema))]

    def refuse(*what: Any) -> None:
        raise ValueError("scene is odd")

    monkeypatch.setattr(runtime, "check", refuse)
    with pytest.raises(TriuneError, match=r"toy: the bundle's ranges make no sense \(scene is odd\)"):
        bot.watch()


@pytest.mark.parametrize(
    ("error", "said"),
    [(EnvError("odd"), "odd"), (ValueError("odd"), "odd"), (KeyError("k"), r"KeyError\('k'\)"),
     (IndexError(), r"IndexError\(\)"), (TypeError("t"), r"TypeError\('t'\)"),
     (AttributeError("a"), r"AttributeError\('a'\)"), (OverflowError("o"), r"OverflowError\('o'\)")],
)  # fmt: skip
def test_whatever_a_manifest_makes_fail_is_told(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Odd(Bundle):
        def __init__(self, *_: Any) -> None:
            raise error

    (tmp_path / "toy").write_bytes(b"")
    monkeypatch.setattr(runtime, "read", lambda data, name: None)
    monkeypatch.setattr(runtime, "_session", lambda data, name: None)
    with pytest.raises(TriuneError, match=rf"toy has a manifest that makes no sense \({said}\); export it again"):
        Odd.load(tmp_path / "toy")


def test_a_bundle_is_tried_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = Graph()
    text = TEXT.format(actions=f"actions = {json.dumps(ACTIONS)}", fallback='"DUCK"')
    (tmp_path / "toy").write_bytes(b"")
    monkeypatch.setattr(runtime, "read", lambda data, name: Contents(manifest(), {"system.toml": text}))
    monkeypatch.setattr(runtime, "_session", lambda data, name: graph)
    assert Bundle.load(tmp_path / "toy", 30.0, lambda: 1.0).deadline == 0.03 and graph.asked
    del graph.ports["scene"]
    with pytest.raises(TriuneError, match="does not have the inputs and outputs"):
        Bundle.load(tmp_path / "toy")


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("one\ntwo"), r"damaged or no ONNX file \(one\)"), (RuntimeError(), r"\(RuntimeError\)"),
     (RuntimeError("x" * 200), rf"\({'x' * 160}\)"), (runtime.graph.Foreign("evil"), "toy is refused: evil")],
)  # fmt: skip
def test_a_graph_that_is_none_is_refused_in_a_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(data: bytes, control: bool) -> None:
        assert control, "policies branch and loop"
        raise error

    monkeypatch.setattr(runtime.graph, "session", session)
    with pytest.raises(TriuneError, match=said):
        runtime._session(b"", "toy")
