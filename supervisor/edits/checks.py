"""What is wrong with the changes of an edit, whatever policy they are meant for."""

from __future__ import annotations

import difflib
import io
import re
import tokenize
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from logic.language.frontend.text import LIBRARY, valid_name
from supervisor.edits.definitions import DOC, Unreadable, identity, tree_of
from supervisor.errors import SupervisorError

MOST_CHANGES = 80  # a whole rewrite is one idea too: from following the ball to planning where to meet it
CODE_CHARS = 24_000  # one change
EDIT_CHARS = 60_000  # all changes of an edit
RESULT_CHARS = 80_000
ACTIONS = ("replace", "add", "remove")
REASONS = {
    "malformed": "not a list of changes with known keys",
    "oversized": "too many changes, too much code, or too long a policy",
    "another-file": "an attempt at anything but policy.py",
    "safety": "an attempt at a safety rule",
    "unknown-name": "policy.py has no such thing",
    "ambiguous": "policy.py has the thing twice, or beside another on one line",
    "exists": "to be added, but there already",
    "duplicate": "two changes of one thing, or one name for two things",
    "act": "a policy needs its `act`",
    "wrong-kind": "a function for a constant, or the like",
    "defines-more": "the code defines more than the named thing",
    "defines-another": "the code defines something else",
    "nothing-defined": "the code defines nothing that has a name",
    "syntax": "not Python",
    "too-complex": "beyond the compiler's caps on nesting, numbers, size",
    "does-not-fit": "the code would swallow lines around it",
    "encoding": "not UTF-8 text",
    "nul": "a NUL character",
    "tab": "tabs; policies are indented with spaces",
    "carriage-return": "carriage returns; lines end with LF",
    "control": "control or invisible characters",
    "non-ascii-name": "a name outside ASCII, however it looks",
    "not-tunable": "a value for a constant that is no tunable",
    "out-of-range": "a value outside a tunable's range",
    "not-a-number": "a value that is no finite number of the tunable's type",
    "policy": "policy.py itself cannot be read",
}
Refuse = Callable[[str, str], NoReturn]  # (reason, why)
_FILE = re.compile(
    r"[/\\]|\.(py|toml|jsonl?|onnx|md|txt)\b|^\s*(safety|locks?|system|perception|teacher)\b\s*[.:\[]", re.I
)
_FILE_KEYS = {"file", "path", "filename", "target_file", "folder", "module"}
_EXAMPLE = '{"replace": "act", "code": "def act(scene, memory): ..."}'


class EditError(SupervisorError):
    """An edit that does not apply: `reason` is a key of REASONS, `item` the change (from 1; 0 for the whole)."""

    def __init__(self, reason: str, message: str, item: int = 0) -> None:
        super().__init__(message)
        self.reason, self.item = reason, item


@dataclass(frozen=True)
class Change:
    """One thing replaced, added or removed; `kind` is what `code` defines ('' for a removal)."""

    action: str
    name: str
    code: str = ""
    kind: str = ""

    def as_dict(self) -> dict[str, str]:
        """As in JSON."""
        return {self.action: self.name} | ({"code": self.code} if self.action != "remove" else {})


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` or what there is."""
    plain = unicodedata.normalize("NFKC", name)[:64]
    choices = sorted(set(known))
    folded = {c.lower(): c for c in choices}
    close = difflib.get_close_matches(plain.lower(), folded, 1, 0.5)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"it has {', '.join(choices)}"[:600] if choices else "it has nothing"


def too_many(changes: int, most: int) -> str:
    """What is said of an edit with more changes than it may have."""
    return f"{changes} changes in one edit; at most {most}: test one idea at a time"


def changes_of(items: object) -> tuple[Change, ...]:
    """The changes; EditError for the first thing that is wrong."""
    if not isinstance(items, (list, tuple)) or not items:
        raise EditError("malformed", f"an edit is a list of changes, for example [{_EXAMPLE}]")
    if len(items) > MOST_CHANGES:
        raise EditError("oversized", too_many(len(items), MOST_CHANGES))
    made = tuple(_change(item, i) for i, item in enumerate(items, 1))
    if sum(len(c.code) for c in made) > EDIT_CHARS:
        raise EditError("oversized", f"the code of all changes has more than {EDIT_CHARS} characters; change less")
    names = [c.name for c in made]
    for i, name in enumerate(names, 1):
        if name in names[: i - 1]:
            raise EditError("duplicate", f"change {i}: {name!r} is changed twice; put it all into one change", i)
    return made


def _change(item: object, i: int) -> Change:
    def refuse(reason: str, why: str) -> NoReturn:
        raise EditError(reason, f"change {i}: {why}", i)

    if not isinstance(item, Mapping) or not all(isinstance(key, str) for key in item):
        refuse("malformed", f"not an object like {_EXAMPLE}")
    if _FILE_KEYS & item.keys():
        refuse("another-file", "a change names no file: only policy.py can change")
    given = [a for a in ACTIONS if a in item]
    if len(given) != 1 or item.keys() - {given[0], "code"} or ("code" in item) != (given[0] != "remove"):
        keys = ", ".join(map(repr, list(item)[:6]))[:200]
        refuse("malformed", f"keys {keys}; a change has one of {', '.join(ACTIONS)}, and code unless it removes")
    name = item[given[0]]
    if not isinstance(name, str):
        refuse("malformed", "the name of the thing to change must be a string")
    _check_name(name, refuse)
    if given[0] == "remove":
        return Change("remove", name)
    code = _clean(item["code"], refuse)
    return Change(given[0], name, code, _kind(name, code, f"code of {name}", refuse))


def _check_name(name: str, refuse: Refuse) -> None:
    shown = ascii(name[:60])
    if len(name) > 80:
        refuse("oversized", f"a name of {len(name)} characters")
    if not name.isascii():
        refuse("non-ascii-name", f"{shown} is not ASCII; did you mean {unicodedata.normalize('NFKC', name)[:60]!a}?")
    if name == DOC or valid_name(name) and name != "_":
        return
    if name.startswith(LIBRARY) and valid_name(name[len(LIBRARY) :]):
        return
    if name.startswith("Memory."):
        refuse("unknown-name", f"{shown}: replace Memory as a whole")
    if _FILE.search(name) or "." in name:
        refuse("another-file", f"{shown}: only things in policy.py can change, each by its plain name")
    refuse("unknown-name", f"{shown} cannot name a thing in policy.py")


def _clean(code: object, refuse: Refuse) -> str:
    """The code without blank lines around it."""
    if isinstance(code, (bytes, bytearray)):
        refuse("encoding", "code must be text, not bytes")
    if not isinstance(code, str):
        refuse("malformed", "code must be a string")
    if len(code) > CODE_CHARS:
        refuse("oversized", f"{len(code)} characters of code; at most {CODE_CHARS}, change less")
    for number, line in enumerate(code.split("\n"), 1):
        for c in line if not (line.isascii() and line.isprintable()) else "":
            reason = _odd(c)
            if reason:
                refuse(reason, f"line {number} has {ord(c):#06x}: {REASONS[reason]}; remove it")
    lines = code.split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    while lines and not lines[-1].strip():
        del lines[-1]
    return "\n".join(lines)


def _odd(c: str) -> str:
    named = {"\0": "nul", "\t": "tab", "\r": "carriage-return"}
    if c in named:
        return named[c]
    category = unicodedata.category(c)
    if category == "Cs":
        return "encoding"
    return "control" if category[0] == "C" or category in ("Zl", "Zp") else ""


def _kind(name: str, code: str, what: str, refuse: Refuse) -> str:
    """What kind of thing the code defines, after making sure that it defines `name` and nothing else."""
    try:
        body = tree_of(code, what).body
    except Unreadable as error:
        refuse("syntax" if error.simple else "too-complex", str(error))
    if not body:
        refuse("nothing-defined", f'the code for {name!r} is empty; write {{"remove": "{name}"}} to take it out')
    named = [identity(node, name == DOC) for node in body]
    if len(body) > 1:
        others = [n[1] for n in named if n and n[1] != name]
        extra = f" (also {', '.join(others[:5])})" if others else ""
        refuse("defines-more", f"the code must define {name!r} alone{extra}; give every thing a change of its own")
    if named[0] is None:
        refuse(
            "nothing-defined",
            f"the code must be a function, `NAME = ...`, `class Memory` or a library import: {name!r}",
        )
    if not _plain_names(code):
        refuse("non-ascii-name", "names in code are plain ASCII letters, digits and _")
    if named[0][1] != name:
        refuse("defines-another", f"the code defines {named[0][1]!r}, not {name!r}; use one name for both")
    return named[0][0]


def _plain_names(code: str) -> bool:
    """Python reads `ａct` as `act`; whoever reads the text must see the same name."""
    if code.isascii():
        return True
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return False
    return all(t.string.isascii() for t in tokens if t.type == tokenize.NAME)
