"""`triune mcp` over real stdio, with the client of the protocol's own library."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_kit import ROOT, inside

from supervisor.proposers.workspace import prepare
from supervisor.protocols import Image, Request, Section
from triune.commands.improve_setup import furniture_of
from triune.play.evaluator import TaskEvaluator
from triune.system import load

anyio = pytest.importorskip("anyio")
pytest.importorskip("mcp")
WEAK = 'def act(scene, memory):\n    return LEFT, "left"\n'
LEAN = 'def act(scene, memory):\n    return (RIGHT, "right") if scene.pole.angle > 0.0 else (LEFT, "left")\n'
WORDS = {"diagnosis": "it falls", "target": "logic", "hypothesis": "h", "prediction": "p", "lesson": "l"}
TOOLS = [
    "read_evidence",
    "read_policy",
    "write_policy",
    "check",
    "eval",
    "compare",
    "play",
    "explain",
    "watch",
    "submit",
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    evaluator = TaskEvaluator(load("cartpole"), None, "cnn", tmp_path / "work", floors=False)
    furniture = furniture_of(SimpleNamespace(trust=False, require_isolation=False), evaluator, frozenset())  # type: ignore[arg-type]
    picture = Image("failure-1.png", "image/png", b"\x89PNG\r\n\x1a\n", "it fell")
    request = Request("cartpole", 1, WEAK, (Section("Failures", "it fell to the left"),), (picture,))
    prepare(tmp_path / "ws", request, evaluator.system.folder, furniture, 4000.0, [3])
    evaluator.close()
    return tmp_path / "ws"


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    done = inside("mcp", str(tmp_path))
    assert done.returncode == 1 and "BENCH.json" in done.stderr and "Traceback" not in done.stderr
    assert inside("mcp", str(tmp_path), "--json").returncode == 2


async def session(folder: Path) -> dict[str, Any]:
    """A revision from the first look to the hand-in, and what must not be possible."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = StdioServerParameters(command=sys.executable, args=["-P", "-m", "triune", "mcp", str(folder)], env=env)
    found: dict[str, Any] = {}
    async with Client(stdio_client(command)) as client:
        found["tools"] = [tool.name for tool in (await client.list_tools()).tools]

        async def call(told: str, name: str, **given: Any) -> None:
            result = await client.call_tool(name, given)
            texts = "".join(part.text for part in result.content if part.type == "text")
            pictures = [part.data for part in result.content if part.type == "image"]
            found[told] = SimpleNamespace(error=result.is_error, text=texts, pictures=pictures)

        await call("evidence", "read_evidence")
        await call("guide", "read_evidence", part="how to work")
        await call("library", "read_evidence", part="library")
        await call("none", "read_evidence", part="repair")
        await call("policy", "read_policy")
        for told, name in (("outside", "../../../etc/passwd"), ("settings", "BENCH.json"), ("link", "link.py")):
            await call(told, "read_policy", file=name)
        await call("parent", "write_policy", text=LEAN, file="parent.py")
        await call("script", "write_policy", text=LEAN, file="eval")
        await call("unsound", "write_policy", text=LEAN.replace("RIGHT", "RITE"))
        await call("broken", "eval", seeds="5")
        await call("sound", "write_policy", text=LEAN)
        await call("compared", "compare", seeds="5,6")
        await call("gate", "eval", seeds="1000:1004")
        await call("played", "play", seed=7)
        await call("why", "explain", game="play-1", steps="0:3")
        await call("seen", "watch", game="parent-3", steps="0:3")
        await call("option", "explain", game="--help")
        await call("typed", "eval", steps="many")
        await call("unknown", "run_shell", command="id")
        await call("empty", "submit", diagnosis="d", target="logic")
        await call("submitted", "submit", **WORDS)
    return found


def test_a_coding_agent_sits_down_at_the_bench(workspace: Path, tmp_path: Path) -> None:
    (workspace / "link.py").symlink_to("/etc/passwd")
    found = anyio.run(session, workspace)
    assert found["tools"] == TOOLS
    wrong = {name for name, told in found.items() if name != "tools" and told.error}
    outside = {"outside", "settings", "link", "parent", "script", "option", "unknown"}
    assert wrong == outside | {"none", "broken", "gate", "typed", "empty"}
    assert all("Traceback" not in found[name].text and found[name].text for name in wrong)
    assert "it fell to the left" in found["evidence"].text and len(found["evidence"].pictures) == 1
    assert "answer.json" in found["guide"].text and "logic.lib.ball" in found["library"].text
    assert found["policy"].text == WEAK
    assert "unknown name 'RITE'" in found["unsound"].text and "unknown name 'RITE'" in found["broken"].text
    assert "2 training seeds (5,6)" in found["compared"].text and "a gate seed" in found["gate"].text
    assert found["played"].pictures and json.loads(found["played"].text)["game"] == "play-1"
    assert "seed 7" in found["why"].text and found["seen"].pictures
    assert "submitted" in found["submitted"].text
    assert json.loads((workspace / "answer.json").read_text())["hypothesis"] == "h"
    assert (workspace / "parent.py").read_text() == WEAK and (workspace / "policy.py").read_text() == LEAN
