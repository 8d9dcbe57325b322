"""The one reader of files that a stranger wrote: what a file is, and how large, is known before a byte is read.

`read_file` gives bytes, `read_text` text, `read_json` a value, `open_file` a handle; `envs.arrays` reads an npz. Each
takes the kind of file, a key of KINDS, and the error class of the layer that asks. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from envs.shape import Check

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Unreadable(Exception):
    """The file is not what it should be; the message names it and says what to do."""


@dataclass(frozen=True)
class Kind:
    """How large a kind of file may be, why that is enough, and what to do where there is none."""

    most: int
    why: str
    missing: str = "is the path right?"


KINDS = {
    "system.toml": Kind(256 * KIB, "a page of settings", "write one, see docs/system.md"),
    "policy": Kind(MIB, "50 times the longest that ships", "write `def act(scene, memory):` there (see zoo/pong)"),
    "safety text": Kind(MIB, "as a policy"),
    "policy or safety text": Kind(MIB, "as a policy"),
    "teacher": Kind(MIB, "as a policy", "write one, see docs/new-task.md"),
    "lock": Kind(4_000_000, "thousands of scenes", "restore it, or make it again with `triune lock`"),
    "score card": Kind(MIB, "a few figures a protocol", "make it: triune eval TASK --card"),
    "drift ranges": Kind(4 * MIB, "some hundred numbers", "measure them: triune drift TASK --measure"),
    "constants": Kind(MIB, "a number a constant", "make it: triune bench mujoco TASK"),
    "settings": Kind(MIB, "a page of JSON"),
    "colour teachers": Kind(MIB, "some lines a game"),
    "requests": Kind(16 * MIB, "thousands of wishes"),
    "run record": Kind(32 * MIB, "a line a game, thousands of games", "see `triune eval`"),
    "weights": Kind(256 * MIB, "500 times the detectors that ship", "train one: triune train TASK"),
    "trainable weights": Kind(256 * MIB, "as weights", "train it again, or restore the .safetensors file"),
    "bundle": Kind(64 * MIB, "detector, logic and texts of one task", "make one: triune export TASK FILE"),
    "triune catalogue": Kind(64 * MIB, "a record a byte of memory", "run `triune discover`"),
    "triune episode": Kind(2 * GIB, "the longest recorded games are far below", "play it: triune eval TASK"),
    "triune frames": Kind(2 * GIB, "as an episode", "record them with --record-frames"),
    "triune shard": Kind(2 * GIB, "as an episode", "make it: triune collect TASK"),
    "triune capture": Kind(2 * GIB, "as an episode"),
    "samples": Kind(2 * GIB, "as an episode"),
    "data set manifest": Kind(64 * MIB, "a schema and its figures", "make the data: triune collect TASK"),
    "recording manifest": Kind(64 * MIB, "a schema", "record some: triune eval TASK --record FOLDER"),
    "labels manifest": Kind(64 * MIB, "a schema", "make it: triune review TASK"),
    "triune review queue": Kind(GIB, "100 000 items and their boxes", "make it: triune review TASK"),
    "triune frozen set": Kind(GIB, "ten million pictures, 64 bytes each"),
    "triune curation": Kind(GIB, "reasons for a million frames", "make it: triune curate"),
    "blob": Kind(256 * MIB, "one request, answer or picture", "restore it, or start a new run"),
    "log": Kind(GIB, "years of play; each line is checked for itself"),
    "file of a task": Kind(256 * MIB, "the largest are weights"),
    "page file": Kind(256 * MIB, "a bundle or a recorded game"),
    "picture": Kind(256 * MIB, "an 8K picture without compression"),
    "triune expected actions": Kind(64 * MIB, "a hundred thousand clips", "see docs/camera.md"),
    "boxes": Kind(256 * MIB, "a million boxes in COCO form"),
    "video": Kind(256 * GIB, "days of film: it is read frame by frame", "give a video file, a camera number or env"),
}


def read_file(
    path: Path, kind: str, raises: type[Exception] = Unreadable, within: Path | None = None, most: int | None = None
) -> bytes:
    """The bytes of a regular file. `within`: a folder that no link may leave; `most`: bytes, instead of the kind's.

    `raises` for a pipe, device or folder, for a file that is too large or cannot be opened, for a link that leads out.
    """
    most = KINDS[kind].most if most is None else most
    with open_file(path, kind, raises, within, most) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise raises(f"{path}: cannot read this {kind}: {error.strerror or error}") from None
    if len(data) > most:  # it grew since it was opened
        _too_large(path, kind, raises, most)
    return data


def open_file(
    path: Path, kind: str, raises: type[Exception] = Unreadable, within: Path | None = None, most: int | None = None
) -> IO[bytes]:
    """The same file, open for reading, for what is too large to be held at once. Never waits for a pipe."""
    most = KINDS[kind].most if most is None else most
    if within is not None:
        stays(path, within, raises, f"this {kind}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise raises(f"{path}: no such {kind}; {KINDS[kind].missing}") from None
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a circle of links, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fix = "; let this user read it" if isinstance(error, PermissionError) else ""
        raise raises(f"{path}: cannot read this {kind}: {reason}{fix}") from None
    found = os.fstat(descriptor)  # of what is open: the name may mean another file by now
    if not stat.S_ISREG(found.st_mode) or found.st_size > most:
        os.close(descriptor)
        if found.st_size > most and stat.S_ISREG(found.st_mode):
            _too_large(path, kind, raises, most)
        raise raises(f"{path}: not a regular file, so no {kind}; put the file itself there")
    return open(descriptor, "rb")


def stays(path: Path, within: Path, raises: type[Exception] = Unreadable, what: str = "this folder") -> Path:
    """The path; `raises` where a link leads from it out of the folder `within`. Asked before anything is read, written
    or removed in a folder that came from somebody else: nothing of theirs reaches what is beside it."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()  # since Python 3.13 a circle of links resolves to itself
        if path.resolve().is_relative_to(within.resolve()):
            return path
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise raises(f"{path}: cannot read {what}: {error}") from None
    raise raises(f"{path}: {what} is a link out of {within}; put what it leads to there")


def _too_large(path: Path, kind: str, raises: type[Exception], most: int) -> NoReturn:
    reason = f"{most} bytes that a {kind} may have ({KINDS[kind].why})"
    raise raises(f"{path}: larger than the {reason}; is it another file?")


# ----------------------------------------------------------------------------------------------------
# Text and JSON.


def read_text(path: Path, kind: str, raises: type[Exception] = Unreadable, within: Path | None = None) -> str:
    """UTF-8 text with "\\n" at the ends of lines, whatever they were; a byte order mark is dropped."""
    return decoded(read_file(path, kind, raises, within), str(path), kind, raises)


def decoded(data: bytes, name: str, kind: str, raises: type[Exception] = Unreadable) -> str:
    """As `read_text`, from bytes that `name` names. Refused: other encodings and NUL bytes, with their line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise raises(f"{name}, line {line}: not UTF-8 text ({error.reason}); save this {kind} as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise raises(f"{name}, line {line}: a NUL byte, so no text; save this {kind} as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(
    path: Path, kind: str, raises: type[Exception] = Unreadable, fix: str = "", within: Path | None = None,
    shape: Check | None = None,
) -> Any:  # fmt: skip
    """The value in a JSON file; `fix` says what to do when it holds none, or none of this `shape` (`envs.shape`)."""
    return json_of(read_file(path, kind, raises, within), str(path), kind, raises, fix, shape)


def json_of(
    data: bytes, name: str, kind: str, raises: type[Exception] = Unreadable, fix: str = "", shape: Check | None = None
) -> Any:
    """The value in JSON text that `name` names."""
    try:
        value = loads(decoded(data, name, kind))
        if shape:
            shape(value, "")
        return value
    except (ValueError, Unreadable) as error:
        reason = str(error).removeprefix(f"{name}, ")
        remedy = fix or KINDS[kind].missing
        raise raises(f"{name}: damaged or half-written {kind} ({reason}); {remedy}") from None


def loads(text: str | bytes, **options: Any) -> Any:
    """The value in foreign JSON text; ValueError when it is none, is nested too deeply, has over MOST_VALUES values or
    a number beyond 64 bits, which no float and no array would take. options: of `json.loads`."""
    try:
        plain = text if isinstance(text, str) else text.decode()
        if len(plain) > MOST_VALUES and sum(map(plain.count, ",[{")) > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        return json.loads(plain, parse_int=_whole if _LONG.search(plain) else None, **options)
    except RecursionError:
        raise ValueError("nested too deeply") from None


MOST_VALUES = 1 << 24  # "[]," is 3 bytes of a file and 72 of memory
_LONG = re.compile(r"\d{19}")  # only then is every number looked at


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"{digits[:12]}... is a whole number of more than 64 bits")
    return int(digits)


def check_numbers(value: Any, key: tuple[str, ...] = ()) -> None:
    """The same of a table that was read otherwise, TOML; `OutOfRange` has the path of the key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            check_numbers(inner, (*key, name))
    elif isinstance(value, list):
        for inner in value:
            check_numbers(inner, key)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise OutOfRange(f"{'.'.join(key)} has a whole number of more than 64 bits", key)


class OutOfRange(ValueError):
    """A number that nothing can use; `key` is where it stands."""

    def __init__(self, message: str, key: tuple[str, ...]) -> None:
        super().__init__(message)
        self.key = key
