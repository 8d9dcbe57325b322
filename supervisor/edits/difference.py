"""The edit that leads from one policy text to another: what differs, by named units.

Comments and blank lines that belong to no unit are not carried over; anything else that cannot be said by names is
refused.
"""

from __future__ import annotations

import ast
from collections import Counter

from supervisor.edits.definitions import Text, Unit, Unreadable
from supervisor.edits.edits import Edit, EditError, apply
from supervisor.errors import SupervisorError


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
