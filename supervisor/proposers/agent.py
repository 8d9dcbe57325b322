"""Revisions by a coding-agent command that works in a folder, or by whoever fills in that folder by hand."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from data_flywheel.storage.files import atomic_write
from envs.files import read_json
from envs.process import start_file
from logic.language.frontend.text import plain_lines
from supervisor import secrets
from supervisor.budget import UNKNOWN, Amount
from supervisor.edits.definitions import Text, Unit, Unreadable
from supervisor.edits.edits import Edit, EditError, apply
from supervisor.errors import SupervisorError
from supervisor.evidence import page
from supervisor.proposers import process_tree
from supervisor.protocols import ProposerError, Reply, Request, Usage, Waiting

# ----------------------------------------------------------------------------------------------------
# The edit that leads from one policy text to another: what differs, by named units.
#
# Comments and blank lines that belong to no unit are not carried over; anything else that cannot be said by names
# is refused.


class NoEdit(SupervisorError):
    """The two texts do not differ by whole named things."""


def changes_between(old: str, new: str) -> list[dict[str, str]]:
    """The changes, as `supervisor.edits` reads them; [] when nothing with a name differs. NoEdit says what is wrong."""
    before, after = _text(old, "the policy before"), _text(new, "policy.py")
    for unit in after.units:
        if not unit.sure:
            raise NoEdit(f"policy.py: {unit.name!r} shares a line with something else; give it lines of its own")
    twice = sorted(name for name, n in Counter(after.names).items() if n > 1)
    if twice:
        raise NoEdit(f"policy.py defines {', '.join(map(repr, twice))} twice; keep one of each")
    if _nameless(before) != _nameless(after):
        raise NoEdit("policy.py has a statement that defines nothing with a name; remove it")
    changes = [change for unit in after.units if (change := _change(before, after, unit))]
    changes += [{"remove": name} for name in dict.fromkeys(before.names) if name not in after.names]
    _check(old, changes, after)
    return changes


def _text(text: str, what: str) -> Text:
    if "\r" in text:
        raise NoEdit(f"{what} has carriage returns; lines end with LF")
    try:
        return Text(text)
    except Unreadable as error:
        raise NoEdit(f"{what} cannot be read: {error}") from None


def _nameless(text: Text) -> list[str]:
    named = {id(u.node) for u in text.units}
    return [ast.dump(node) for node in text.tree.body if id(node) not in named]


def _change(before: Text, after: Text, unit: Unit) -> dict[str, str] | None:
    code = _whole(after, unit)
    found = before.find(unit.name)
    if not found:
        return {"add": unit.name, "code": code}
    if _whole(before, found[0]) == code:
        return None
    return {"replace": unit.name, "code": code}


def _whole(text: Text, unit: Unit) -> str:
    """The unit with the comment over it."""
    return "\n".join(text.lines[text.top(unit) : unit.stop])


def _check(old: str, changes: list[dict[str, str]], after: Text) -> None:
    """Applied, the changes must give the meaning of the new text; changes that do not apply are judged by the gate."""
    if not changes:
        return
    try:
        made = Text(apply(old, Edit.of(changes)))
    except EditError:
        return
    if Counter(u.dump for u in made.units) != Counter(u.dump for u in after.units):
        raise NoEdit("policy.py differs in more than its functions, constants, Memory and imports; change only those")


# ----------------------------------------------------------------------------------------------------
# The folder in which a coding agent, or a person, works on one revision.
#
# EVIDENCE.md what happened, with its pictures LANGUAGE.md the policy language ANSWER.md what answer.json must say
# policy.py to be changed check is policy.py sound? (executable) REQUEST.json which question this is


ROOT = Path(__file__).resolve().parents[2]
ANSWER, POLICY, REQUEST = "answer.json", "policy.py", "REQUEST.json"
MOST_BYTES = 400_000  # of each file that is read back
ANSWER_TEXT = """# The answer

Change `policy.py` here: its functions, constants, `Memory` and imports. One idea, as little text as it needs. `./check`
tells whether it is sound. Nothing else in this folder is looked at.

Then write `answer.json`, last of all:

    {
     "diagnosis": "what goes wrong in the episodes, and why",
     "target": "logic",
     "hypothesis": "what the change will do",
     "prediction": "a figure that would show you wrong: the mean score rises by ...",
     "lesson": "what is learnt if it fails",
     "new_locks": [],
     "data_requests": []
    }

`target` is `logic`, `constants`, `perception_data` (the eyes are at fault: leave `policy.py` as it is and say in
`data_requests` what they should learn from) or `stop` (no further idea).
"""
CHECK_TEXT = """#!/bin/sh
# Is the policy sound? Errors with their lines, size, tunables. More: ./check --help
cd "$(dirname "$0")" && PYTHONPATH={root} exec {python} -P -m triune check policy.py --task {task} "$@"
"""


class Unusable(SupervisorError):
    """What was left in a workspace is no answer; the message says why."""


def prepare(folder: Path, request: Request, task: Path) -> None:
    """Make the folder, afresh if it holds another question. SupervisorError for a folder that is somebody else's."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / REQUEST).is_file():
            raise SupervisorError(f"{folder} is not empty and no workspace; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for image in request.images:
        if Path(image.name).name != image.name:
            raise SupervisorError(f"a picture cannot be called {image.name!r}; give it a plain name")
        atomic_write(folder / image.name, image.data)
    texts = {"EVIDENCE.md": page(request), "ANSWER.md": ANSWER_TEXT, POLICY: request.policy}
    language = ROOT / "docs" / "language.md"
    if language.is_file():
        texts["LANGUAGE.md"] = language.read_text(encoding="utf-8")
    for name, text in texts.items():
        atomic_write(folder / name, text.encode())
    quote = shlex.quote
    script = CHECK_TEXT.format(root=quote(str(ROOT)), python=quote(sys.executable), task=quote(str(task.resolve())))
    atomic_write(folder / "check", script.encode())
    (folder / "check").chmod(0o755)
    told = {"task": request.task, "trial": request.trial, "key": request.key}
    atomic_write(folder / REQUEST, (json.dumps(told) + "\n").encode())  # last: the folder is complete


def is_of(folder: Path, request: Request) -> bool:
    """Whether the folder holds this very question."""
    try:
        return bool(read_json(folder / REQUEST, "settings", Unusable, within=folder)["key"] == request.key)
    except (Unusable, KeyError, TypeError):
        return False


def answer(folder: Path, request: Request) -> str:
    """The answer as JSON text, with the edit that leads to the policy.py of the folder; Unusable says why not."""
    raw = _read(folder / ANSWER)
    try:
        told: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{ANSWER} is not JSON ({str(error)[:100]}); see ANSWER.md") from None
    if not isinstance(told, dict):
        raise Unusable(f"{ANSWER} is not an object; see ANSWER.md")
    if told.get("edit"):
        raise Unusable(f"{ANSWER} holds an edit: change policy.py instead")
    try:
        edit = changes_between(request.policy, plain_lines(_read(folder / POLICY)))
    except SupervisorError as error:
        raise Unusable(str(error)) from None
    return json.dumps({"new_locks": [], "data_requests": [], **told, "edit": edit})


def _read(path: Path) -> str:
    """A plain file of sane size: no link, no pipe."""
    with _open(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unusable(f"{path.name} has more than {MOST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{path.name} is not UTF-8 text") from None


def _open(path: Path) -> IO[bytes]:
    """The file, if it is a plain one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unusable(f"{path.name}: {error.strerror or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unusable(f"{path.name} is not a plain file")
    return open(descriptor, "rb")


# ----------------------------------------------------------------------------------------------------
# Revisions by a coding-agent command that works in a folder, or by whoever fills in that folder by hand.
#
# Without a command the run stops with the folder ready, and goes on when it is resumed and `answer.json` is there.


PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TMPDIR", "TZ")
OUTPUT = "output.txt"
OUTPUT_BYTES = 2_000_000
SHOWN = 20_000  # characters of the output's end that are kept with the answer
HIDDEN = "[secret]"  # in place of a key that it prints
GRACE = 30.0  # seconds for the killing itself


class AgentProposer:
    """`command`: words, or one string split as a shell would; None waits for a person. `home`: a folder for the
    workspaces, one for each trial. `time_limit`: seconds. `keep`: names of environment variables that the command may
    see besides PASSED, such as the one that holds its key. `task`: the task's folder."""

    name = "agent"

    def __init__(
        self, home: Path, task: Path, command: str | Sequence[str] | None = None, time_limit: float = 1800.0,
        keep: Sequence[str] = (),
    ) -> None:  # fmt: skip
        words = shlex.split(command) if isinstance(command, str) else list(command or ())
        if command is not None and not words:
            raise SupervisorError("the agent's command is empty; give one, or leave it out to answer by hand")
        self.home, self.task, self.command, self.time_limit = home, task, words, time_limit
        self.keep = tuple(keep)
        missing = [name for name in self.keep if name not in os.environ]
        if missing:
            raise SupervisorError(f"the environment has no {', '.join(missing)}, which the agent's command needs")

    def folder(self, trial: int) -> Path:
        """The workspace of a trial."""
        return self.home / f"trial-{trial:03d}"

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """Nobody tells what a command spends; it takes at most its time limit."""
        wall = self.time_limit + GRACE if self.command else 0.0
        return {"tokens": UNKNOWN, "usd": UNKNOWN, "wall_s": wall}

    def propose(self, request: Request) -> Reply:
        """Run the command, or look whether somebody has answered; Waiting when nobody has."""
        folder = self.folder(request.trial)
        if not self.command:
            return self._by_hand(folder, request)
        prepare(folder, request, self.task)
        began = time.monotonic()
        outcome = self._run(folder)
        usage = Usage(UNKNOWN, UNKNOWN, round(time.monotonic() - began, 3))
        try:
            text = answer(folder, request)
        except Unusable as error:
            how = "ran out of time" if outcome["exit"] is None else f"ended with exit code {outcome['exit']}"
            silent = not os.path.lexists(folder / ANSWER)
            raise ProposerError(f"the agent {how}; {error}", usage, fatal=silent) from None
        return Reply(text, usage, ({"command": self.command, **outcome},))

    def _by_hand(self, folder: Path, request: Request) -> Reply:
        if not is_of(folder, request):
            prepare(folder, request, self.task)
        if not (folder / ANSWER).exists():
            raise Waiting(f"waiting for {folder / ANSWER} (see ANSWER.md there)")
        usage = Usage(UNKNOWN, UNKNOWN, 0.0)
        try:
            return Reply(answer(folder, request), usage)
        except Unusable as error:
            raise Waiting(f"{folder}: {error}; mend it, then resume") from None

    def _run(self, folder: Path) -> dict[str, Any]:
        """Exit code (None: out of time), bytes of output, its end."""
        words = [str(self.time_limit), str(OUTPUT_BYTES), OUTPUT]
        names = (*PASSED, *self.keep)
        env = {name: os.environ[name] for name in names if name in os.environ}
        try:
            with process_tree.nothing_left():
                said, ended = self._guarded(folder, words, env)
        finally:  # the command has its keys, and may print them
            _blot(folder / OUTPUT, [env[name] for name in self.keep])
        if ended < 0:
            told = f"the agent's command ended the process that watches it (signal {-ended}); use another command"
            raise ProposerError(told, Usage(UNKNOWN, UNKNOWN, 0.0), fatal=True)
        try:
            outcome: dict[str, Any] = json.loads(said)
        except ValueError:
            raise ProposerError(f"the agent's command cannot be run: {shlex.join(self.command)}", fatal=True) from None
        return {**outcome, "output": _end_of(folder / OUTPUT)}

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
        with _open(path) as file:
            text = file.read(2 * OUTPUT_BYTES).decode(errors="surrogateescape")
    except Unusable:
        return
    plain = secrets.hide(text, secrets.forms(keys), HIDDEN)
    if plain != text:
        atomic_write(path, plain.encode(errors="surrogateescape"))


def _end_of(path: Path) -> str:
    try:
        with _open(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - SHOWN))
            return file.read(SHOWN).decode("utf-8", "replace")
    except Unusable:
        return ""
