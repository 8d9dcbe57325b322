"""Imports run one way (DESIGN section 2)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "envs": set(),
    "perception": {"envs"},
    "logic": {"perception.scene", "envs.actions"},
    "data_flywheel": {"perception", "envs", "logic"},
    "supervisor": {"data_flywheel", "perception", "envs", "logic"},
    "triune": {"supervisor", "data_flywheel", "perception", "envs", "logic"},
}
LAYERS = set(ALLOWED)


def imported(source: str) -> set[str]:
    """Every module name that a text imports, absolute or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} if not node.level else {"." * node.level}
    return found


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


def test_scene_imports_no_layer() -> None:
    assert not violations("", (ROOT / "perception" / "scene.py").read_text(), set())


def test_the_check_can_fail() -> None:
    assert violations("envs", "def f():\n    from perception.scene import Scene\n", set()) == ["perception.scene"]
    assert violations("logic", "import perception.detector", {"perception.scene"}) == ["perception.detector"]


def test_zoo_policies_import_only_the_library() -> None:
    for path in (*ROOT.glob("zoo/*/policy.py"), *ROOT.glob("zoo/*/safety.py")):
        assert all(n.startswith("logic.lib.") for n in imported(path.read_text())), path
