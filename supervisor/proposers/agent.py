"""Revisions by a coding-agent command that works in a folder, or by whoever fills in that folder by hand.

Without a command the run stops with the folder ready, and goes on when it is resumed and `answer.json` is there.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import atomic_write
from envs.process import start_file
from supervisor import secrets
from supervisor.budget import KEY, UNKNOWN, Amount, Budgets
from supervisor.edits.answer import problems
from supervisor.errors import SupervisorError
from supervisor.events import Event
from supervisor.proposers import process_tree, spending
from supervisor.proposers.workspace import (
    ANSWER,
    POLICY,
    Furniture,
    Unusable,
    answer,
    ask_for_repair,
    is_of,
    open_plain,
    prepare,
    read_text,
    texts_of,
)
from supervisor.protocols import ProposerError, Reply, Request, Usage, Waiting

PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR", "TZ")
OUTPUT = "output{}.txt"
OUTPUT_BYTES = 2_000_000
SHOWN = 20_000  # characters of the output's end that are kept with the answer
HIDDEN = "[secret]"  # in place of a key that it prints
GRACE = 30.0  # seconds for the killing itself
REPAIRS = 2  # times that a command may mend an answer that cannot be used
SHARE = 0.1  # of the run's frames that the workbench may spend on one trial
FRAMES = 300_000.0  # the same where the run has no limit on frames


class AgentProposer:
    """`command`: words, or one string split as a shell would; None waits for a person. `home`: a folder for the
    workspaces, one for each trial. `time_limit`: seconds, repairs included. `keep`: names of environment variables that
    the command may see besides PASSED, such as the one that holds its key. `task`: the task's folder. `furniture`: what
    the workbench needs; without it nothing can be played there. `share`: of the run's frames that the workbench may
    spend on one trial."""

    name = "agent"

    def __init__(
        self, home: Path, task: Path, command: str | Sequence[str] | None = None, time_limit: float = 1800.0,
        keep: Sequence[str] = (), furniture: Furniture | None = None, share: float = SHARE,
    ) -> None:  # fmt: skip
        words = shlex.split(command) if isinstance(command, str) else list(command or ())
        if command is not None and not words:
            raise SupervisorError("the agent's command is empty; give one, or leave it out to answer by hand")
        self.home, self.task, self.command, self.time_limit = home, task, words, time_limit
        self.keep, self.furniture, self.share = tuple(keep), furniture, share
        missing = [name for name in self.keep if name not in os.environ]
        if missing:
            raise SupervisorError(f"the environment has no {', '.join(missing)}, which the agent's command needs")
        self._events: Sequence[Event] = ()
        self._budgets: Budgets | None = None
        self._allowed: dict[int, float] = {}

    def attach(self, events: Sequence[Event], budgets: Budgets) -> None:
        """Play at the run's expense: its events, and what it may still spend."""
        self._events, self._budgets = events, budgets

    def folder(self, trial: int) -> Path:
        """The workspace of a trial."""
        return self.home / f"trial-{trial:03d}"

    def texts(self, request: Request) -> dict[str, str]:
        """What the workspace would say."""
        return texts_of(request)

    # --- what it may take

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """Nobody tells what a command spends; it takes at most its time limit, and the workbench its allowance."""
        wall = self.time_limit + GRACE if self.command else 0.0
        most: dict[str, Amount] = {"tokens": UNKNOWN, "usd": UNKNOWN, "wall_s": wall}
        if self.furniture and self._budgets:
            paid, limit = self._paid(request.trial), self._budgets.limits["steps"]
            wanted = FRAMES if limit is None else self.share * limit
            left = self._budgets.left("steps")
            self._allowed[request.trial] = float(int(wanted if left is None else min(wanted, left + paid)))
            most["steps"] = max(0.0, self._allowed[request.trial] - paid)
        return most

    def _paid(self, trial: int) -> float:
        """Frames of the trial's workbench that the run has paid for, with earlier questions that brought no answer."""
        mine = (e.data for e in self._events if e.kind.startswith("proposal.") and e.data.get("trial") == trial)
        return sum(float(told.get(KEY, {}).get("amounts", {}).get("steps", 0.0)) for told in mine)

    def _usage(self, request: Request, seconds: float) -> Usage:
        """What is to be paid now."""
        frames = 0.0
        if request.trial in self._allowed:
            spent = spending.read(self.folder(request.trial), self._allowed[request.trial])
            frames = max(0.0, spent.frames - self._paid(request.trial))
        return Usage(UNKNOWN, UNKNOWN, round(seconds, 3), frames)

    def _prepare(self, request: Request) -> Path:
        folder = self.folder(request.trial)
        policy = sha256(request.policy.encode()).hexdigest()
        mine = (e.data for e in self._events if e.kind == "evidence.episode" and e.data["policy"] == policy)
        shown = sorted({int(told["seed"]) for told in mine})
        prepare(folder, request, self.task, self.furniture, self._allowed.get(request.trial, 0.0), shown)
        return folder

    # --- proposing

    def propose(self, request: Request) -> Reply:
        """Run the command, or look whether somebody has answered; Waiting when nobody has."""
        if not self.command:
            return self._by_hand(request)
        folder, began, turns = self._prepare(request), time.monotonic(), list[dict[str, Any]]()
        while True:
            before = _left_in(folder)
            outcome = self._run(folder, self.time_limit - (time.monotonic() - began), len(turns))
            turns.append({"command": self.command, **outcome})
            text, defects = self._read(folder, request)
            silent = not os.path.lexists(folder / ANSWER)
            stuck = len(turns) > 1 and _left_in(folder) == before
            if not defects or silent or stuck or outcome["exit"] is None or len(turns) > REPAIRS:
                break
            ask_for_repair(folder, defects, REPAIRS - len(turns))
        usage = self._usage(request, time.monotonic() - began)
        if self.furniture:
            turns[-1]["bench"] = spending.read(folder, self._allowed.get(request.trial)).told()
        if text is None:
            how = "ran out of time" if outcome["exit"] is None else f"ended with exit code {outcome['exit']}"
            raise ProposerError(f"the agent {how}; {defects[0]}", usage, fatal=silent)
        return Reply(text, usage, tuple(turns))

    def _by_hand(self, request: Request) -> Reply:
        folder = self.folder(request.trial)
        if not is_of(folder, request):
            self._prepare(request)
        if not (folder / ANSWER).exists():
            raise Waiting(f"waiting for {folder / ANSWER} (see ANSWER.md there)")
        text, defects = self._read(folder, request)
        if text is None or defects:
            raise Waiting(f"{folder}: {defects[0]}; mend it, then resume")
        return Reply(text, self._usage(request, 0.0))

    def _read(self, folder: Path, request: Request) -> tuple[str | None, list[str]]:
        """The answer, if there is one, and what keeps it from being judged."""
        try:
            text = answer(folder, request.policy)
        except Unusable as error:
            return None, [str(error)]
        known = (self.furniture.rules, self.furniture.compile) if self.furniture else ()
        return text, [str(defect) for defect in problems(text, request.policy, *known)]

    def _run(self, folder: Path, seconds: float, turn: int) -> dict[str, Any]:
        """Exit code (None: out of time), bytes of output, its end."""
        name = OUTPUT.format(f"-{turn + 1}" if turn else "")
        words = [str(max(0.0, seconds)), str(OUTPUT_BYTES), name]
        names = (*PASSED, *self.keep)
        env = {name: os.environ[name] for name in names if name in os.environ}
        try:
            with process_tree.nothing_left():
                said, ended = self._guarded(folder, words, env)
        finally:  # the command has its keys, and may print them
            _blot(folder / name, [env[name] for name in self.keep])
        if ended < 0:
            told = f"the agent's command ended the process that watches it (signal {-ended}); use another command"
            raise ProposerError(told, Usage(UNKNOWN, UNKNOWN, 0.0), fatal=True)
        try:
            outcome: dict[str, Any] = json.loads(said)
        except ValueError:
            raise ProposerError(f"the agent's command cannot be run: {shlex.join(self.command)}", fatal=True) from None
        return {**outcome, "output": _end_of(folder / name)}

    def _guarded(self, folder: Path, words: Sequence[str], env: Mapping[str, str]) -> tuple[bytes, int]:
        """What the process that watches the command says in the end, and its exit code."""
        process = start_file(
            process_tree.__file__, *words, *self.command, env=env, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=self.time_limit + GRACE)
        except BaseException as error:
            process.terminate()  # it kills everything below it before it ends
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ProposerError("the agent's processes could not be ended in time", fatal=True) from None
            raise
        return said, process.returncode


def _blot(path: Path, keys: Sequence[str]) -> None:
    """Take keys out of what a command has printed."""
    try:
        with open_plain(path) as file:
            text = file.read(2 * OUTPUT_BYTES).decode(errors="surrogateescape")
    except Unusable:
        return
    plain = secrets.hide(text, secrets.forms(keys), HIDDEN)
    if plain != text:
        atomic_write(path, plain.encode(errors="surrogateescape"))


def _end_of(path: Path) -> str:
    try:
        with open_plain(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - SHOWN))
            return file.read(SHOWN).decode("utf-8", "replace")
    except Unusable:
        return ""


def _left_in(folder: Path) -> list[str]:
    """What an answer is made of, as it is now."""
    found = []
    for name in (POLICY, ANSWER):
        try:
            found.append(read_text(folder / name))
        except Unusable as error:
            found.append(str(error))
    return found
