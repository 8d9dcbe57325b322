"""Read `system.toml`: what the task is, checked, with the line of whatever is wrong."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from envs.actions import Action, ActionSpace, action_space
from envs.env import Rules, backend, nearest, simulated
from envs.errors import EnvError
from envs.files import OutOfRange, check_numbers, read_text
from envs.readings import OBSERVATION, declared
from envs.shape import MOST_LETTERS, is_name

SYSTEM_FORMAT = 1
MOST_PIXELS = 4096  # of a frame's height and width
MOST_SCORE = 10**12
BUDGETS = ("policy_ms", "perception_ms")
ZOO = Path(__file__).resolve().parent.parent / "zoo"


@dataclass(frozen=True)
class EnvSpec:
    """An environment and what the task does with it.

    `actions`: one of some named actions, or a vector of named controls, in the policy's order; `fallback` is one of
    them. At `max_score` nothing is left to win and the referee ends the episode. `reward_range`: the least and the most
    that one simulated frame can give, where that is known. `options` belong to the backend.
    """

    id: str
    height: int
    width: int
    actions: ActionSpace
    fallback: Action = field(compare=False)  # an array has no truth value, so it can't be compared with the rest
    protocol: str = "sticky"
    max_score: int | None = None
    backend: str = "atari"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    reward_range: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a frame: (height, width, 3)."""
        return self.height, self.width, 3

    @property
    def observed(self) -> bool:
        """Whether the frame holds declared readings of the observation and no picture (`envs.readings`)."""
        return OBSERVATION in self.options

    def to_config(self) -> dict[str, Any]:
        """JSON-able; `from_config` reads it back."""
        fallback = self.fallback.tolist() if isinstance(self.fallback, np.ndarray) else self.fallback
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"actions": self.actions.to_config(), "fallback": fallback, "options": dict(self.options)}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> EnvSpec:
        """Back from `to_config`; EnvError when its actions are none."""
        actions, rewards = action_space(config["actions"]), config.get("reward_range")
        own = {"actions": actions, "fallback": actions.check(config["fallback"])}
        return EnvSpec(**{**config, **own, "reward_range": tuple(rewards) if rewards else None})


@dataclass(frozen=True)
class SystemSpec:
    """One `system.toml`. `scene` and `labels` are raw tables for the layers that understand them."""

    name: str
    title: str
    folder: Path
    env: EnvSpec
    scene: dict[str, Any]
    safety: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, float] = field(default_factory=dict)
    text: str = ""
    require_isolation: bool = False
    labels: dict[str, Any] = field(default_factory=dict)
    keep_colours: bool = False  # whether training leaves colours alone: they tell things apart

    @property
    def called(self) -> str:
        """What names it on a command line."""
        return called(self.folder)

    def constants(self, protocol: Rules) -> dict[str, float]:
        """The compile-time constants a policy sees under a protocol."""
        return {**protocol.constants, "HEIGHT": self.env.height, "WIDTH": self.env.width}


def task_names() -> list[str]:
    """Tasks of the zoo that ships with Triune."""
    return sorted(p.parent.name for p in ZOO.glob("*/system.toml"))


def find_folder(task: str | Path) -> Path:
    """The folder of a task given by name or path; EnvError with the nearest name when there is none. A text with a
    separator is a path: `./pong` is not the zoo's."""
    plain = not any(separator and separator in str(task) for separator in (os.sep, os.altsep))
    for folder in (ZOO / str(task), Path(task)) if plain else (Path(task),):
        if os.path.lexists(folder / "system.toml"):  # whatever it is: `read_text` says what is wrong with it
            return folder
    names = task_names()
    close = difflib.get_close_matches(str(task), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"the zoo has {', '.join(names) or 'nothing'}"
    raise EnvError(f"unknown task {str(task)!r}: no such name in the zoo and no folder with a system.toml; {hint}")


def called(folder: Path) -> str:
    """What names a task on a command line: in the zoo its name, elsewhere its folder, as `find_folder` finds it."""
    there = Path(os.path.realpath(folder)) if "\0" not in str(folder) else folder  # a record may say anything
    if there.parent == ZOO.resolve():
        return there.name
    return f".{os.sep}{folder}" if str(folder) in task_names() else str(folder)


def load_spec(task: str | Path) -> SystemSpec:
    """Read and check the `system.toml` of a task; EnvError gives file, line and fix."""
    path = find_folder(task) / "system.toml"
    return parse_spec(read_text(path, "system.toml", EnvError, path.parent), path)


def parse_spec(text: str, path: Path) -> SystemSpec:
    """A SystemSpec from the text of `system.toml`; `path` names it in errors."""
    try:
        config = tomllib.loads(text)
    except RecursionError:
        raise EnvError(f"{path}: nested too deeply for a page of settings; see docs/system.md") from None
    except ValueError as e:  # TOMLDecodeError, and numbers of thousands of digits
        found = re.search(r"line (\d+)", str(e))
        line = found.group(1) if found else str(text.count("\n") + 1)
        raise EnvError(f"{path}, line {line}: not valid TOML: {e}") from e
    reader = _Reader(config, text, path)
    try:
        check_numbers(config)
    except OutOfRange as error:
        reader.fail(error.key, str(error))
    reader.only((), "format", "name", "title", "env", "safety", "scene", "labels", OBSERVATION, "budget", "train")
    if reader.get((), "format", int) != SYSTEM_FORMAT:
        reader.fail(("format",), f"format {config['format']} is not {SYSTEM_FORMAT}, the one this Triune reads")
    scene, places = _scene(reader)
    env = _env(reader, places)
    return SystemSpec(
        name=_name(reader),
        title=_words(reader, (), "title", config["name"]),
        folder=path.parent,
        env=env,
        scene=scene,
        safety=_safety(reader),
        require_isolation=_require_isolation(reader),
        budget=_budget(reader),
        text=text,
        labels=reader.get((), "labels", dict, {}),
        keep_colours=_keep_colours(reader, env),
    )


def _words(reader: _Reader, path: Sequence[str], key: str, default: str | None = None) -> str:
    """A line of text: it goes to terminals, pages and file names as it is."""
    text: str = reader.get(path, key, str, default)
    if not text.strip() or not text.isprintable() or len(text) > MOST_LETTERS:
        reader.fail((*path, key), f"{key} is one line of 1 to {MOST_LETTERS} printable characters, got {text[:60]!r}")
    return text


def _name(reader: _Reader) -> str:
    """Folders of runs and data are called after it."""
    name = _words(reader, (), "name")
    if not is_name(name):
        reader.fail(("name",), f"name names folders: it has no / \\ : in it and no dot in front, got {name!r}")
    return name


def _keep_colours(reader: _Reader, env: EnvSpec) -> bool:
    """As `[train]` says; else of a camera, whose things differ by colour, and not of a game that is repainted."""
    if "train" not in reader.config:
        return not simulated(env)
    table = reader.get((), "train", dict)
    reader.only(("train",), "keep_colours")
    keep = table.get("keep_colours", not simulated(env))
    if not isinstance(keep, bool):
        reader.fail(("train", "keep_colours"), f"keep_colours is true or false, got {keep!r}")
    return bool(keep)


def _budget(reader: _Reader) -> dict[str, float]:
    """Milliseconds a frame, by who takes them."""
    table = reader.get((), "budget", dict, {})
    for key in table:
        if key not in BUDGETS:
            reader.fail(("budget", key), f"unknown key {key!r}{nearest(key, BUDGETS)}")
        if not 0 < reader.get(("budget",), key, (int, float)) < math.inf:
            reader.fail(("budget", key), f"{key} is a number of milliseconds above 0, got {table[key]!r}")
    return {key: float(value) for key, value in table.items()}


def _scene(reader: _Reader) -> tuple[dict[str, Any], list[list[float]]]:
    """The `[scene]` table, or that of the readings of `[observation]` and where these stand."""
    if OBSERVATION not in reader.config:
        return reader.get((), "scene", dict), []
    if "scene" in reader.config:
        reader.fail(
            ("scene",), "a task sees a picture ([scene]) or an observation ([observation]): leave one of them out"
        )
    try:
        return declared(reader.get((), OBSERVATION, dict))
    except KeyError as error:
        key, message = error.args
        return reader.fail((OBSERVATION, *key), message)  # type: ignore[no-any-return]


def _env(reader: _Reader, places: list[list[float]]) -> EnvSpec:
    """`places`: of the observation, where no picture is seen."""
    table = reader.get((), "env", dict)
    name = reader.get(("env",), "backend", str, "atari")
    try:
        found = backend(name)
    except EnvError as error:
        reader.fail(("env", "backend"), str(error))
    own: tuple[str, ...]
    own = ("backend", "id", "height", "width", "actions", "fallback", "protocol", "max_score", "reward_range")
    if places:
        own = tuple(key for key in own if key not in ("height", "width"))
        if OBSERVATION not in found.options:
            reader.fail((OBSERVATION,), f"the backend {name} has no observation to read; declare a [scene]")
    reader.only(("env",), *own, *(key for key in found.options if key != OBSERVATION))
    options = {key: value for key, value in table.items() if key not in own}
    for key, value in options.items():
        try:
            found.check_options({key: value})
        except EnvError as error:
            reader.fail(("env", key), str(error))
    actions, fallback = _actions(reader)
    protocol = reader.get(("env",), "protocol", str, found.default or next(iter(found.protocols)))
    if protocol not in found.protocols:
        reader.fail(("env", "protocol"), f"unknown protocol {protocol!r}{nearest(protocol, found.protocols)}")
    if places:
        options[OBSERVATION] = places
        height, width = 1, len(places)
    else:
        height, width = (_within(reader, k, MOST_PIXELS) for k in ("height", "width"))
    most = _within(reader, "max_score", MOST_SCORE) if "max_score" in table else None
    env_id = _words(reader, ("env",), "id")
    return EnvSpec(env_id, height, width, actions, fallback, protocol, most, name, options, _rewards(reader))


def _rewards(reader: _Reader) -> tuple[float, float] | None:
    """Two finite numbers, the first not above the second."""
    given = reader.get(("env",), "reward_range", list, [])
    if "reward_range" not in reader.config["env"]:
        return None
    finite = [v for v in given if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) <= MOST_SCORE]
    if len(given) != 2 or len(finite) != 2 or not given[0] <= given[1]:
        reader.fail(("env", "reward_range"), f"reward_range is [least, most] of one frame, such as [0, 1]; got {given}")
    return float(given[0]), float(given[1])


def _within(reader: _Reader, key: str, most: int) -> int:
    """A whole number of [env] from 1."""
    value: int = reader.get(("env",), key, int)
    if not 1 <= value <= most:
        reader.fail(("env", key), f"{key} is a whole number from 1 to {most}, got {value}")
    return value


def _actions(reader: _Reader) -> tuple[ActionSpace, Action]:
    """What can be done, and what is done when there is no decision: by name, or a list or table of controls."""
    config, fallback = (reader.get(("env",), key, (str, list, dict)) for key in ("actions", "fallback"))
    try:
        actions = action_space(config)
    except EnvError as error:
        reader.fail(("env", "actions"), str(error))
    try:
        return actions, actions.parse(fallback)
    except EnvError as error:
        return reader.fail(("env", "fallback"), f"fallback: {error}")  # type: ignore[no-any-return]


WATCHED = ("stall_ms", "frozen_ms", "black_level", "flat_level")  # of a camera's pictures: `triune.live.conditions`
MOST_WATCHED = 3_600_000
SOFT = ["perception lost"]  # built in; it steps in when the detector fails, which says nothing about the policy


def _safety(reader: _Reader) -> dict[str, Any]:
    if "safety" not in reader.config:
        return {}
    reader.get((), "safety", dict)
    reader.only(("safety",), "lost_after", "deadline_ms", "require_isolation", "soft", *WATCHED)
    lost_after = reader.get(("safety",), "lost_after", int, 8)
    deadline_ms = reader.get(("safety",), "deadline_ms", (int, float), 100)
    for key, value, least in (("lost_after", lost_after, 1), ("deadline_ms", deadline_ms, 1e-9)):
        if not least <= value <= MOST_SCORE:
            reader.fail(("safety", key), f"{key} is a number above 0, at most {MOST_SCORE:g}, got {value}")
    soft = reader.get(("safety",), "soft", list, SOFT)
    if not all(isinstance(title, str) for title in soft):
        reader.fail(("safety", "soft"), "soft is a list of titles of safety rules, the first lines of their docstrings")
    watched = {}
    for key in (key for key in WATCHED if key in reader.config["safety"]):
        value = reader.get(("safety",), key, (int, float))
        if not 0 <= value <= MOST_WATCHED:
            reader.fail(("safety", key), f"{key} is a number from 0 (off) to {MOST_WATCHED}, got {value}")
        watched[key] = float(value)
    return {"lost_after": lost_after, "deadline_ms": float(deadline_ms), "soft": tuple(soft), **watched}


def _require_isolation(reader: _Reader) -> bool:
    """Whether this task may only be played where policies run in complete isolation."""
    value = reader.get((), "safety", dict, {}).get("require_isolation", False)
    if not isinstance(value, bool):
        reader.fail(("safety", "require_isolation"), f"require_isolation is true or false, got {value!r}")
    return bool(value)


class _Reader:
    """Typed access to nested tables; every failure carries the line of its key."""

    def __init__(self, config: Mapping[str, Any], text: str, path: Path) -> None:
        self.config, self.text, self.path = config, text, path

    def fail(self, key: Sequence[str], message: str) -> Any:
        raise EnvError(f"{self.path}, line {find_line(self.text, key)}: {message}")

    def table(self, path: Sequence[str]) -> Mapping[str, Any]:
        found: Any = self.config
        for part in path:
            found = found[part]
        return found  # type: ignore[no-any-return]

    def get(self, path: Sequence[str], key: str, kind: Any, default: Any = None) -> Any:
        value = self.table(path).get(key, default)
        if value is None:
            self.fail(path, f"missing {key!r}" + (f" in [{'.'.join(path)}]" if path else ""))
        if not isinstance(value, kind) or isinstance(value, bool):
            names = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}
            self.fail((*path, key), f"{key} is {names.get(kind, 'a number')}, got {value!r}")
        return value

    def only(self, path: Sequence[str], *known: str) -> None:
        for key in self.table(path):
            if key not in known:
                self.fail((*path, key), f"unknown key {key!r}{nearest(key, known)}")


def find_line(text: str, key: Sequence[str]) -> int:
    """The line (from 1) where the dotted `key` stands in TOML text, or its table, or 1."""
    table: list[str] = []
    best = 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            table = [p.strip().strip("\"'") for p in header.group(1).split(".")]
            if table == list(key):
                return number
            if table == list(key)[: len(table)]:
                best = number
        assigned = re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=", line)
        if assigned and [*table, assigned.group(1)] == list(key):
            return number
    return best
