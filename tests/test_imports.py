"""Imports run one way (DESIGN section 2)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "envs": {"native"},
    "native": set(),
    "perception": {"envs", "native"},
    "logic": {"native", "perception.scene", "envs.actions", "envs.files", "envs.writing"},
    "data_flywheel": {"perception", "envs", "logic"},
    "supervisor": {"data_flywheel", "perception", "envs", "logic"},
    "triune": {"supervisor", "data_flywheel", "perception", "envs", "logic", "native"},
}
LAYERS = set(ALLOWED)


@cache
def imported(source: str) -> frozenset[str]:
    """Every module name that a text imports, absolute or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} if not node.level else {"." * node.level}
    return frozenset(found)


def violations(layer: str, source: str, allowed: set[str]) -> list[str]:
    bad = []
    for name in imported(source):
        top = name.split(".")[0]
        ok = top not in LAYERS or top == layer or top in allowed or name in allowed
        if not ok or name.startswith("."):
            bad.append(name)
    return bad


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_layer_imports_only_below(layer: str) -> None:
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    for path in files:
        bad = violations(layer, path.read_text(), ALLOWED[layer])
        assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


def modules_of(layer: str) -> dict[str, Path]:
    """Every module of a layer by its dotted name."""
    found = {}
    for path in (ROOT / layer).rglob("*.py"):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        found[name.removesuffix(".__init__")] = path
    return found


def needs(sources: dict[str, str]) -> dict[str, set[str]]:
    """Which modules each one imports, lazily or not, by their names."""
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                wanted |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{a.name}" for a in node.names}
                wanted |= {i if i in sources else node.module for i in inner}
        graph[name] = {w for w in wanted if w in sources and w != name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Nodes from which a walk along the arrows comes back."""

    def reaches(start: str) -> bool:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            node = todo.pop()
            if node == start:
                return True
            if node not in seen:
                seen.add(node)
                todo += graph[node]
        return False

    return sorted(node for node in graph if reaches(node))


def rooms(graph: dict[str, set[str]], layer: str) -> dict[str, set[str]]:
    """The same between the folders of a layer; a module that stands beside them is a room of its own."""

    def room(name: str) -> str:
        folder = ".".join(name.split(".")[:2])
        return folder if (ROOT / folder.replace(".", "/")).is_dir() or folder == name else name

    made: dict[str, set[str]] = {}
    for name, wanted in graph.items():
        mine = made.setdefault(room(name), set())
        mine |= {room(w) for w in wanted} - {room(name)}
    made.pop(layer, None)
    return {k: {w for w in v if w in made} for k, v in made.items()}


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_no_circle_inside_a_layer(layer: str) -> None:
    graph = needs({name: path.read_text() for name, path in modules_of(layer).items()})
    assert not circles(graph)
    assert not circles(rooms(graph, layer))


def test_libraries_never_import_commands() -> None:
    for layer in LAYERS:
        for name, path in modules_of(layer).items():
            if not name.startswith("triune.commands") and name != "triune.cli":
                assert not {n for n in imported(path.read_text()) if n.startswith("triune.commands")}, name


def test_a_circle_is_found() -> None:
    graph = needs({"a": "import b", "b": "def f():\n    from c import x\n", "c": "import a", "d": "import a"})
    assert circles(graph) == ["a", "b", "c"]


def test_scene_imports_no_layer() -> None:
    assert not violations("", (ROOT / "perception" / "scene.py").read_text(), set())


def test_the_check_can_fail() -> None:
    assert violations("envs", "def f():\n    from perception.scene import Scene\n", set()) == ["perception.scene"]
    assert violations("logic", "import perception.detector", {"perception.scene"}) == ["perception.detector"]


def test_zoo_policies_import_only_the_library() -> None:
    for path in (*ROOT.glob("zoo/*/policy.py"), *ROOT.glob("zoo/*/safety.py")):
        assert all(n.startswith("logic.lib.") for n in imported(path.read_text())), path


# Modules that both step a world and ask what sees or decides: the loop, and what only looks like another one.
LOOPS = {
    "triune.play.loop": "the loop",
    "data_flywheel.labelers.causal.probe_child": "a planned data job: a teacher's player leads to states of memory",
}
WORLDS, MINDS = {"step", "advance"}, {"see", "look", "decide", "act", "scripted"}


def loops_over_frames(source: str) -> bool:
    """Whether a text carries an action out, and uses what makes one of a frame."""
    if not any(f".{word}" in source for word in WORLDS):
        return False
    nodes = list(ast.walk(ast.parse(source)))
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    # a world is told an action and nothing else: a bundle's `step(frame, state)` is none
    carried_out = any(c.func.attr in WORLDS and len(c.args) == 1 for c in calls)  # type: ignore[attr-defined]
    return carried_out and any(isinstance(n, ast.Attribute) and n.attr in MINDS for n in nodes)


def test_one_module_turns_frames_into_actions() -> None:
    """Everybody else follows `steps` of triune.play.loop; `envs` is what is stepped."""
    found = {
        name
        for layer in sorted(LAYERS - {"envs"})
        for name, path in modules_of(layer).items()
        if loops_over_frames(path.read_text())
    }
    assert found == set(LOOPS)


def test_another_loop_is_found() -> None:
    by_hand = "while not env.done:\n    frame = env.step(controller.decide(read(see(frame))).action)\n"
    assert loops_over_frames(by_hand)
    assert loops_over_frames("see = eyes.see\nfor _ in range(9):\n    world.advance(hand(see(world.frame())))\n")
    assert not loops_over_frames(
        "for step in steps(env, player, frame):\n    step.action = 0\n    eyes.see(step.frame)\n"
    )
    assert not loops_over_frames("for action in actions:\n    frame = env.step(action)\n")
    assert not loops_over_frames("optimiser.step()\nmodel.look(frame)\n")
