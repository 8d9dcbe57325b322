"""The folder in which a coding agent, or a person, works on one revision.

Knows: which files it holds, how what is left there is read back safely. Does not know: who works there.

    EVIDENCE.md   what happened, with its pictures    LANGUAGE.md   the policy language
    ANSWER.md     what answer.json must say           policy.py     to be changed
    check         is policy.py sound? (executable)    REQUEST.json  which question this is
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import replace_file
from supervisor.errors import SupervisorError
from supervisor.evidence import page
from supervisor.proposers.differences import changes_between
from supervisor.protocols import Request

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
cd "$(dirname "$0")" && PYTHONPATH={root} exec {python} -m triune check policy.py --task {task} "$@"
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
        (folder / image.name).write_bytes(image.data)
    texts = {"EVIDENCE.md": page(request), "ANSWER.md": ANSWER_TEXT, POLICY: request.policy}
    language = ROOT / "docs" / "language.md"
    if language.is_file():
        texts["LANGUAGE.md"] = language.read_text(encoding="utf-8")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    quote = shlex.quote
    script = CHECK_TEXT.format(root=quote(str(ROOT)), python=quote(sys.executable), task=quote(str(task.resolve())))
    (folder / "check").write_text(script)
    (folder / "check").chmod(0o755)
    told = {"task": request.task, "trial": request.trial, "key": request.key}
    replace_file(folder / REQUEST, (json.dumps(told) + "\n").encode())  # last: the folder is complete


def is_of(folder: Path, request: Request) -> bool:
    """Whether the folder holds this very question."""
    try:
        return bool(json.loads((folder / REQUEST).read_text(encoding="utf-8"))["key"] == request.key)
    except (OSError, ValueError, KeyError, TypeError):
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
        edit = changes_between(request.policy, _read(folder / POLICY))
    except SupervisorError as error:
        raise Unusable(str(error)) from None
    return json.dumps({"new_locks": [], "data_requests": [], **told, "edit": edit})


def _read(path: Path) -> str:
    """A plain file of sane size: no link, no pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unusable(f"{path.name}: {error.strerror or error}") from None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unusable(f"{path.name} is not a plain file")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unusable(f"{path.name} has more than {MOST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{path.name} is not UTF-8 text") from None
