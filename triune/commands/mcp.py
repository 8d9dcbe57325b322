"""`triune mcp`: the workbench of one workspace over the Model Context Protocol, for any coding agent that speaks it.

Each tool runs the command of the same name in a process of its own (`triune/commands/workbench/`), so that an agent
finds over stdio what a person finds in the folder; nothing but this folder is read or written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envs.files import read_file
from envs.process import start
from triune.commands.workbench.bench import Bench
from triune.console import Console
from triune.errors import TriuneError, UsageError, one_line

if TYPE_CHECKING:
    from mcp.server import MCPServer

PARTS = {
    "evidence": "EVIDENCE.md", "how to work": "ANSWER.md", "language": "LANGUAGE.md", "library": "LIBRARY.md",
    "repair": "REPAIR.md",
}  # fmt: skip
Target = Literal["logic", "constants", "perception_data", "stop"]
Part = Literal["evidence", "how to work", "language", "library", "repair"]
INSTRUCTIONS = """You sit at a workbench and improve one policy of a program that plays a task it can only see. Begin
with read_evidence, its parts "how to work" and "evidence"; where they name ./eval or another command, use the tool of
that name. Change policy.py with write_policy, test drive it with compare, eval, play, explain and watch (training seeds
0-999 only, within an allowance of frames), and end with submit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The workspace."""
    parser.add_argument(
        "workspace", nargs="?", default=".", metavar="DIR",
        help="a workspace of `triune improve --proposer agent` (default: the current folder)",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Serve until the client leaves. Payload: nothing; standard output belongs to the protocol."""
    if args.json:
        raise UsageError("standard output belongs to the protocol; leave --json away")
    folder = Path(args.workspace).resolve()
    server(folder).run("stdio")
    return {}


def server(folder: Path) -> MCPServer[Any]:
    """The server of one workspace; every error is a tool's error in one line."""
    from mcp.server import MCPServer

    made: MCPServer[Any] = MCPServer("triune-workbench", instructions=INSTRUCTIONS, log_level="WARNING")
    tools = Tools(folder)
    for name in TOOLS:
        tool = getattr(tools, name)
        made.add_tool(tool, description=" ".join((tool.__doc__ or "").split()), structured_output=False)
    return made


TOOLS = (
    "read_evidence", "read_policy", "write_policy", "check", "eval", "compare", "play", "explain", "watch", "submit"
)  # fmt: skip


class Tools:
    """The tools of one workspace. Their docstrings are what an agent reads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bench = folder, Bench(folder)

    def read_evidence(self, part: Part = "evidence", pictures: bool = True) -> list[Any]:
        """What happened in the training games, with pictures of the failures; or another part to read: how to work and
        to answer, the policy language, its library, why an answer has to be repaired."""
        text = _told(lambda: _read(self.folder / PARTS[part]))
        shown = sorted(self.folder.glob("failure-*.png")) if part == "evidence" and pictures else []
        return [text, *map(_picture, shown)]

    def read_policy(self, file: str = "policy.py") -> str:
        """A policy file of the workspace: policy.py, parent.py (as it was), or a draft of yours."""
        return str(_told(lambda: self.bench.text(file)))

    async def write_policy(self, text: str, file: str = "policy.py") -> str:
        """Write policy.py, or a draft under another name such as draft-2.py; says whether it is sound."""
        _told(lambda: self.bench.write(file, text))
        return await self._run("check", "--", file)

    async def check(self, file: str = "policy.py") -> str:
        """Is a policy file sound: errors with their lines, size, tunables; and the answer, once one is submitted."""
        return await self._run("check", "--", file)

    async def eval(self, seeds: str = "900:904", file: str = "policy.py", steps: int | None = None) -> str:
        """Play a policy file on training seeds (0-999, as 3, 1,5 or A:B): scores, lengths, ends, faults, reasons.
        `steps` cuts games short."""
        return await self._run("eval", f"--seeds={seeds}", f"--policy={file}", *_steps(steps))

    async def compare(
        self, old: str = "parent.py", new: str = "policy.py", seeds: str = "900:908", steps: int | None = None
    ) -> str:
        """Play two policy files on the same training seeds: the paired difference with its interval."""
        return await self._run("compare", f"--seeds={seeds}", *_steps(steps), "--", old, new)

    async def play(self, seed: int = 900, file: str = "policy.py", steps: int | None = None) -> list[Any]:
        """Record one training game, with a picture of twelve of its steps; its name is for explain and watch."""
        told = json.loads(await self._run("play", "--json", f"--seed={seed}", f"--policy={file}", *_steps(steps)))
        sheet = next(name for name in told["files"] if name.endswith("sheet.png"))
        return [json.dumps(told, indent=1), _picture(self.folder / sheet)]

    async def explain(self, game: str, step: int | None = None, steps: str | None = None) -> str:
        """Why it did what it did: one `step` of a recorded game in full, or several `steps` (A:B) in a table. Games are
        parent-SEED and play-N."""
        return await self._run("explain", *_where(step, steps), "--", game)

    async def watch(self, game: str, step: int | None = None, steps: str | None = None) -> list[Any]:
        """A picture of one `step` of a recorded game, or of at most twelve `steps` (A:B or A:B:EVERY)."""
        told = json.loads(await self._run("watch", "--json", *_where(step, steps), "--", game))
        return [json.dumps(told), _picture(self.folder / told["picture"])]

    async def submit(
        self, diagnosis: str, target: Target, hypothesis: str = "", prediction: str = "", lesson: str = "",
        new_locks: list[dict[str, Any]] | None = None, data_requests: list[dict[str, Any]] | None = None,
    ) -> str:  # fmt: skip
        """Hand the revision in, last of all: policy.py as it is now, and what you say about it."""
        told = {
            "diagnosis": diagnosis, "target": target, "hypothesis": hypothesis, "prediction": prediction,
            "lesson": lesson, "new_locks": new_locks or [], "data_requests": data_requests or [],
        }  # fmt: skip
        return await self._run("submit", given=json.dumps(told))

    async def _run(self, *words: str, given: str = "") -> str:
        """What a command of the workbench says; ToolError with its last line when it fails."""
        import anyio
        from mcp.server.mcpserver.exceptions import ToolError

        process = start("triune.commands.workbench", *words, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        try:
            said, log = await anyio.to_thread.run_sync(process.communicate, given, abandon_on_cancel=True)
        finally:
            if process.poll() is None:  # the client has called it off
                process.terminate()
        if process.returncode and not (words[0] == "check" and said):
            lines = [line for line in log.splitlines() if line.startswith("triune: ")] or [f"{words[0]} failed"]
            raise ToolError(lines[-1].removeprefix("triune: "))
        return str(said)


def _steps(steps: int | None) -> list[str]:
    return [] if steps is None else [f"--steps={steps}"]


def _where(step: int | None, steps: str | None) -> list[str]:
    return [*([] if step is None else [f"--step={step}"]), *([] if steps is None else [f"--steps={steps}"])]


def _picture(path: Path) -> Any:
    """A PNG as a tool gives it back."""
    from mcp.server.mcpserver import Image

    return Image(data=_told(lambda: _bytes(path)))


def _told(work: Callable[[], Any]) -> Any:
    """What `work` gives, or a tool's error in its words."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        return work()
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        raise ToolError(line) from None


def _read(path: Path) -> str:
    if not path.exists():
        raise TriuneError(f"there is no {path.name} here")
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    return read_file(path, "blob", TriuneError, path.parent)
