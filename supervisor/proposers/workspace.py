"""The folder in which a coding agent, or a person, works on one revision: made here, and read back here.

README.md says what lies in it. `BENCH.json` holds what the commands of the workbench (`triune/commands/workbench/`)
need to know, `REQUEST.json` which question this is, and whether the folder is complete.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from data_flywheel.episodes.episode import Episode
from data_flywheel.storage.files import atomic_write
from envs.actions import ActionSpace
from envs.files import read_json
from logic.language.frontend.text import plain_lines
from logic.language.reference import library_page
from perception.scene import SceneSchema
from supervisor.edits.difference import changes_between
from supervisor.errors import SupervisorError
from supervisor.evidence import page
from supervisor.proposers import spending
from supervisor.proposers.instructions import language_text
from supervisor.proposers.raw_games import EPISODE, STEPS, games_page, lines_of
from supervisor.protocols import Request

ROOT = Path(__file__).resolve().parents[2]
TEXTS = Path(__file__).with_name("bench")
ANSWER, POLICY, PARENT, REQUEST, REPAIR = "answer.json", "policy.py", "parent.py", "REQUEST.json", "REPAIR.md"
SETTINGS, GAMES = "BENCH.json", "games"
KEPT = (GAMES, spending.LOG, spending.LOCK)  # of the same question, asked again
COMMANDS = {
    "eval": "play policy.py on some training seeds: a table of scores, lengths, ends and reasons",
    "play": "record one training game of policy.py, with a picture of it",
    "explain": "why it did what it did at some steps of a recorded game",
    "watch": "pictures of some steps of a recorded game",
    "check": "is policy.py sound: errors with their lines, size, tunables",
    "compare": "play two policy files on the same training seeds, and tell the difference with its interval",
}
MOST_BYTES = 400_000  # of each file that is read back
SCRIPT = """#!/bin/sh
# {what}. More: ./{name} --help
cd "$(dirname "$0")" && PYTHONPATH={root} exec {python} -P -m triune.commands.workbench {name} "$@"
"""


class Unusable(SupervisorError):
    """What was left in a workspace is no answer; the message says why."""


@dataclass(frozen=True)
class Furniture:
    """What a workbench is furnished with. `settings`: protocol, detector and what else its commands play under;
    `episodes`: the recorded games of a text on some seeds; `compile`: what is unsound about a text, in lines; `rules`:
    names of the functions in safety.py."""

    schema: SceneSchema
    actions: ActionSpace
    settings: Mapping[str, Any]
    episodes: Callable[[str, Sequence[int]], Sequence[Episode]]
    compile: Callable[[str], Sequence[str]]
    rules: frozenset[str] = field(default_factory=frozenset)


def prepare(
    folder: Path, request: Request, task: Path, furniture: Furniture | None = None, allowance: float = 0.0,
    shown: Sequence[int] = (),
) -> None:  # fmt: skip
    """Make the folder, afresh if it holds another question; of the same one what was played is kept. SupervisorError
    for a folder that is somebody else's. `shown`: seeds of the training games to put there."""
    again = _told(folder).get("key") == request.key
    if folder.exists() and any(folder.iterdir()):
        if not (folder / REQUEST).is_file():
            raise SupervisorError(f"{folder} is not empty and no workspace; name another folder")
        _clear(folder, KEPT if again else ())
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"task": request.task, "trial": request.trial, "key": request.key}
    _put(folder / REQUEST, asked | {"complete": False})
    for image in request.images:
        if Path(image.name).name != image.name:
            raise SupervisorError(f"a picture cannot be called {image.name!r}; give it a plain name")
        atomic_write(folder / image.name, image.data)
    for name, text in texts_of(request).items():
        atomic_write(folder / name, text.encode())
    for name, what in COMMANDS.items():
        _script(folder / name, what)
    settings: dict[str, Any] = {"task": str(task.resolve())}
    if furniture:
        settings |= {**furniture.settings, "longest": _games(folder, request, furniture, shown)}
    _put(folder / SETTINGS, settings)
    spent = spending.read(folder)
    if not again or not spent.damaged and spent.allowance != allowance:
        spending.begin(folder, allowance)
    _put(folder / REQUEST, asked | {"complete": True})


def _put(path: Path, told: Mapping[str, Any]) -> None:
    atomic_write(path, (json.dumps(told, indent=1) + "\n").encode())


def _clear(folder: Path, kept: Sequence[str]) -> None:
    for path in folder.iterdir():
        if path.name in kept and not path.is_symlink():
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def texts_of(request: Request) -> dict[str, str]:
    """What a workspace says: the texts of its files by name."""
    texts = {"EVIDENCE.md": page(request), POLICY: request.policy, PARENT: request.policy}
    texts |= {name: (TEXTS / name).read_text(encoding="utf-8") for name in ("README.md", "ANSWER.md")}
    texts["LIBRARY.md"] = f"# The library of the policy language\n\n{library_page()}"
    page_of_it = ROOT / "docs" / "language.md"  # which an installed package lacks
    texts["LANGUAGE.md"] = page_of_it.read_text(encoding="utf-8") if page_of_it.is_file() else language_text()
    return texts


def _script(path: Path, what: str) -> None:
    quote = shlex.quote
    words = {"what": what.capitalize(), "name": path.name, "root": quote(str(ROOT)), "python": quote(sys.executable)}
    atomic_write(path, SCRIPT.format(**words).encode())
    path.chmod(0o755)


def _games(folder: Path, request: Request, furniture: Furniture, shown: Sequence[int]) -> float:
    """Training games of the policy that is to be improved; the frames of the longest."""
    episodes = furniture.episodes(request.policy, shown) if shown else ()
    for episode in episodes:
        here = folder / GAMES / f"parent-{episode.meta['seed']}"
        keep_game(here, episode, request.policy, furniture.schema, furniture.actions)
    (folder / GAMES).mkdir(exist_ok=True)
    atomic_write(folder / GAMES / "README.md", games_page(furniture.schema).encode())
    return max((float(episode.meta["frames"]) for episode in episodes), default=0.0)


def keep_game(folder: Path, episode: Episode, policy: str, schema: SceneSchema, actions: ActionSpace) -> None:
    """One game's folder: the episode, its steps as text, and the policy that played it."""
    folder.mkdir(parents=True, exist_ok=True)
    episode.save(folder / EPISODE)
    atomic_write(folder / POLICY, policy.encode())
    lines = "".join(f"{line}\n" for line in lines_of(episode, schema, actions))
    atomic_write(folder / STEPS, lines.encode())


# --- what comes back


def is_of(folder: Path, request: Request) -> bool:
    """Whether the folder holds this very question, in full."""
    told = _told(folder)
    return told.get("key") == request.key and told.get("complete", True) is True


def _told(folder: Path) -> dict[str, Any]:
    """Which question a folder holds; {} for none."""
    try:
        return dict(read_json(folder / REQUEST, "settings", Unusable, within=folder))
    except (Unusable, ValueError, TypeError):
        return {}


def answer(folder: Path, parent: str) -> str:
    """The answer as JSON text, with the edit that leads from `parent` to the policy.py of the folder; Unusable says why
    not."""
    raw = read_text(folder / ANSWER)
    try:
        told: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{ANSWER} is not JSON ({str(error)[:100]}); see ANSWER.md") from None
    if not isinstance(told, dict):
        raise Unusable(f"{ANSWER} is not an object; see ANSWER.md")
    if told.get("edit"):
        raise Unusable(f"{ANSWER} holds an edit: change policy.py instead")
    try:
        edit = changes_between(parent, plain_lines(read_text(folder / POLICY)))
    except SupervisorError as error:
        raise Unusable(str(error)) from None
    return json.dumps({"new_locks": [], "data_requests": [], **told, "edit": edit})


def ask_for_repair(folder: Path, defects: Iterable[str], left: int) -> None:
    """Say in the folder what keeps the answer from being used."""
    listed = "\n".join(f"- {defect}" for defect in defects)
    more = f"{left} more {'time' if left == 1 else 'times'}"
    text = (
        f"# The answer cannot be used yet\n\n{listed}\n\nMend `{POLICY}` or `{ANSWER}` in this folder; `./check` tells "
        f"whether they are sound. This is no failed idea so far: you may be asked {more}.\n"
    )
    atomic_write(folder / REPAIR, text.encode())


def read_text(path: Path) -> str:
    """A plain file of sane size: no link, no pipe."""
    with open_plain(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unusable(f"{path.name} has more than {MOST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{path.name} is not UTF-8 text") from None


def open_plain(path: Path) -> IO[bytes]:
    """The file, if it is a plain one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unusable(f"{path.name}: {error.strerror or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unusable(f"{path.name} is not a plain file")
    return open(descriptor, "rb")
