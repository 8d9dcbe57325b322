"""A revision of a policy: definitions replaced, added or removed by name; every other byte stays as it was."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from supervisor.edits.checks import RESULT_CHARS, Change, EditError, changes_of, nearest
from supervisor.edits.definitions import CONSTANT, DOC, DOCSTRING, FUNCTION, IMPORT, MEMORY, Text, Unit, Unreadable
from supervisor.edits.tunables import Tunable, constants, with_constants

# ----------------------------------------------------------------------------------------------------
# Where the code of a change goes between the lines of a policy, and which comments stay.


class Splice(NamedTuple):
    """Lines `start` to `stop` (excluded) become `lines`."""

    start: int
    stop: int
    lines: list[str]


def replaced(text: Text, unit: Unit, change: Change) -> Splice:
    """New code for a thing. A comment over it stays unless the code brings its own; the one behind a constant too."""
    lines = change.code.split("\n")
    start = text.top(unit) if lines[0].startswith("#") else unit.start
    if unit.kind == CONSTANT and text.behind(unit) and not _ends_in_comment(change.code):
        lines[-1] = lines[-1].rstrip() + text.behind(unit)
    return Splice(start, unit.stop, lines)


def _ends_in_comment(code: str) -> bool:
    last = Text(code).units[0]
    return last.stop < len(code.split("\n")) or bool(Text(code).behind(last))


def removed(text: Text, unit: Unit) -> Splice:
    """A thing, the comment over it and the blank lines behind it go."""
    start, stop, end = text.top(unit), unit.stop, len(text.lines)
    if all(not line.strip() for line in text.lines[stop:]):  # the last thing: the blank lines before it go instead
        while start and not text.lines[start - 1].strip():
            start -= 1
        return Splice(start, stop, [])
    if not start or not text.lines[start - 1].strip():
        while stop < end and not text.lines[stop].strip():
            stop += 1
    return Splice(start, stop, [])


def placed(text: Text, adds: Sequence[Change], gone: Collection[str], new: Mapping[str, Unit]) -> list[Splice]:
    """Imports after imports, constants before the first constant that needs them, functions before their first user."""
    stay = [new_node(u, new) for u in text.units if u.name not in gone]
    constants = [c for c in adds if c.kind == CONSTANT]
    splices = []
    for change in adds:
        lines = change.code.split("\n")
        if change.kind in (FUNCTION, MEMORY):
            splices.append(_function(text, change, stay, lines))
        elif change.kind == CONSTANT:
            splices.append(_constant(text, constants, stay, new, lines))
        elif change.kind == IMPORT:
            splices.append(_after(_kept(stay, IMPORT) or _kept(stay, DOCSTRING), IMPORT, lines))
        else:
            splices.append(Splice(0, 0, [*lines, ""]))
    return splices


def new_node(unit: Unit, new: Mapping[str, Unit]) -> Unit:
    """The thing at its old place with what it will mean."""
    return Unit(unit.name, unit.kind, unit.start, unit.stop, new[unit.name].node) if unit.name in new else unit


def _kept(units: Sequence[Unit], kind: str) -> list[Unit]:
    return [u for u in units if u.kind == kind]


def _function(text: Text, change: Change, stay: Sequence[Unit], lines: list[str]) -> Splice:
    functions = _kept(stay, FUNCTION)
    users = functions if change.kind == MEMORY else [u for u in functions if change.name in u.mentions]
    users = users or [u for u in functions if u.name == "act"] or functions
    if not users:
        end = len(text.lines) - (text.lines[-1] == "")
        return Splice(end, end, ["", "", *lines])
    at = text.top(_first(text, users[0]))
    return Splice(at, at, [*lines, "", ""])


def _first(text: Text, unit: Unit) -> Unit:
    """The same thing as it stands in the old text."""
    return text.find(unit.name)[0]


def _constant(
    text: Text, block: Sequence[Change], stay: Sequence[Unit], new: Mapping[str, Unit], lines: list[str]
) -> Splice:
    """Before the first constant whose value depends on any new constant, through functions too, else after the last."""
    wanted = {c.name for c in block}
    by_name = {u.name: u for u in stay} | dict(new)
    constants = _kept(stay, CONSTANT)
    for unit in constants:
        if wanted & _reach(by_name[unit.name], by_name):
            at = text.top(_first(text, unit))
            return Splice(at, at, lines)
    return _after(constants or _kept(stay, IMPORT) or _kept(stay, DOCSTRING), CONSTANT, lines)


def _reach(unit: Unit, by_name: Mapping[str, Unit]) -> set[str]:
    seen: set[str] = set()
    todo = list(unit.mentions)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(by_name[name].mentions if name in by_name else ())
    return seen


def _after(units: Sequence[Unit], kind: str, lines: list[str]) -> Splice:
    """Behind the last of `units`; a different kind of thing is set off by a blank line."""
    if not units:
        return Splice(0, 0, [*lines, ""])
    at = units[-1].stop
    return Splice(at, at, lines if units[-1].kind == kind else ["", *lines])


# ----------------------------------------------------------------------------------------------------
# A revision of a policy: things replaced, added or removed by name; every other byte stays as it was.
#
# `[{"replace": name, "code": text}, {"add": name, "code": text}, {"remove": name}]` with the names of units.py.
# Whatever does not apply exactly as written is refused with a reason from REASONS, and then nothing applies.


__all__ = ["Change", "Edit", "EditError", "Tunable", "apply", "constants", "diff", "source", "with_constants"]


@dataclass(frozen=True)
class Edit:
    """Changes that apply together or not at all."""

    changes: tuple[Change, ...]

    @classmethod
    def of(cls, items: object) -> Edit:
        """From what JSON gives; EditError for everything that is wrong whatever the policy."""
        return cls(changes_of(items))

    def as_list(self) -> list[dict[str, str]]:
        """JSON-able, the form that `of` reads."""
        return [change.as_dict() for change in self.changes]


def apply(text: str, edit: Edit | Sequence[Mapping[str, Any]], rules: Collection[str] = ()) -> str:
    """The revised policy text; EditError says why not. `rules` are names in safety.py, for a better message."""
    made = edit if isinstance(edit, Edit) else Edit.of(edit)
    old = _policy(text)
    names = {c.name for c in made.changes}
    units = [_target(old, change, i, rules, names) for i, change in enumerate(made.changes, 1)]
    splices: list[Splice] = []
    for unit, change in zip(units, made.changes, strict=True):
        if unit is not None:
            splices.append(removed(old, unit) if change.action == "remove" else replaced(old, unit, change))
    gone = {c.name for c in made.changes if c.action == "remove"}
    splices += placed(old, [c for c in made.changes if c.action == "add"], gone, _nodes(made))
    lines = list(old.lines)
    for _, splice in sorted(enumerate(splices), key=lambda x: (x[1].start, x[1].stop, x[0]), reverse=True):
        lines[splice.start : splice.stop] = splice.lines
    result = "\n".join(lines)
    _check_result(old, made, result)
    return result


def source(text: str, name: str) -> str:
    """The lines of one named thing; EditError when there is none."""
    old = _policy(text)
    found = old.find(name)
    if not found:
        raise EditError("unknown-name", f"policy.py has no {name!r}; {nearest(name, old.names)}")
    return old.source(found[0])


def diff(old: str, new: str) -> str:
    """Unified diff of two policy texts; '' when they are equal."""
    lines = []
    for line in difflib.unified_diff(_ended(old), _ended(new), "policy.py (before)", "policy.py (after)"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def _ended(text: str) -> list[str]:
    return [line + "\n" for line in text.split("\n")[:-1]] + ([last] if (last := text.split("\n")[-1]) else [])


def _policy(text: str) -> Text:
    if "\r" in text:
        raise EditError("policy", "policy.py has carriage returns; convert its line ends to LF first")
    try:
        return Text(text)
    except Unreadable as error:
        raise EditError("policy", f"policy.py itself cannot be read: {error}") from None


def _nodes(edit: Edit) -> dict[str, Unit]:
    """What the code of a change defines, by name."""
    return {c.name: Text(c.code).units[0] for c in edit.changes if c.action != "remove" and Text(c.code).units}


def _target(old: Text, change: Change, item: int, rules: Collection[str], names: Collection[str]) -> Unit | None:
    """The thing to change; None for one to add. `names` are all that the edit changes."""

    def refuse(reason: str, why: str) -> NoReturn:
        raise EditError(reason, f"change {item}: {why}", item)

    name, found = change.name, old.find(change.name)
    if name in rules:
        refuse("safety", f"{name!r} is a rule in safety.py, which no revision can change; work within it")
    if change.action == "add":
        if found:
            refuse("exists", f'policy.py has {name!r} already; write {{"replace": "{name}", ...}}')
        if name in old.imported and old.imported[name] not in names:
            refuse("exists", f"{name!r} is imported from {old.imported[name]}; choose another name")
        return None
    if not found:
        refuse("unknown-name", _no_such(old, name))
    if len(found) > 1 or not found[0].sure:
        why = "stands there more than once" if len(found) > 1 else "shares a line with something else"
        refuse("ambiguous", f"{name!r} {why} in policy.py; that must be mended by hand")
    if change.action == "remove" and name == "act":
        refuse("act", "a policy needs `act`; replace it instead")
    if change.action == "replace" and change.kind != found[0].kind:
        refuse(
            "wrong-kind", f"{name!r} is a {found[0].kind} in policy.py and a {change.kind} in the code; keep its kind"
        )
    return found[0]


def _no_such(old: Text, name: str) -> str:
    if name in old.imported:
        where = f"{name!r} is imported from {old.imported[name]}"
        return f"{where}, which no revision can change; add a helper of another name"
    if name in old.fields:
        return f"{name!r} is a field of Memory; replace Memory as a whole"
    return f"policy.py has no {name!r}; {nearest(name, old.names)}"


def _check_result(old: Text, edit: Edit, result: str) -> None:
    """What stands there now is what was meant: the new things as written, all others as they were."""
    if len(result) > RESULT_CHARS:
        raise EditError("oversized", f"policy.py would have {len(result)} characters; the limit is {RESULT_CHARS}")
    try:
        new = Text(result)
    except Unreadable as error:
        raise EditError("syntax", f"the revised policy.py does not parse: {error}") from None
    twice = sorted(name for name, n in Counter(new.bound()).items() if n > 1)
    if twice:
        raise EditError("duplicate", f"policy.py would define {', '.join(map(repr, twice))} twice; keep one of each")
    changed = {c.name for c in edit.changes}
    meant = Counter(u.dump for u in old.units if u.name not in changed) + Counter(u.dump for u in _nodes(edit).values())
    if Counter(u.dump for u in new.units) != meant or len(new.tree.body) - len(new.units) != _nameless(old):
        raise EditError("does-not-fit", "the code does not stand alone between other lines; end it with a full line")


def _nameless(text: Text) -> int:
    return len(text.tree.body) - len(text.units)


# ----------------------------------------------------------------------------------------------------
# Simpler variants of a child: its edit with one change left out.


class Variant(NamedTuple):
    """A text that holds all changes but one. `size`: characters of the changes that are left."""

    name: str
    size: int
    text: str


def size_of(changes: Sequence[Mapping[str, Any]]) -> int:
    """Characters of an edit: its code, and the names that it removes."""
    return sum(len(change.get("code") or change.get("remove", "")) for change in changes)


def variants(parent: str, changes: Sequence[Mapping[str, Any]], rules: Collection[str] = ()) -> list[Variant]:
    """Every variant that applies to `parent`, differs from it and lacks nothing that it uses, the smallest first."""
    found = []
    mentioned = [_mentions(change) for change in changes]
    for i, change in enumerate(changes if len(changes) > 1 else ()):
        rest = [*changes[:i], *changes[i + 1 :]]
        if "add" in change and _binds(change) & set().union(*mentioned[:i], *mentioned[i + 1 :]):
            continue  # an `apply` saved: a rewrite adds dozens of things that need each other
        name = next(str(change[action]) for action in ("replace", "add", "remove") if action in change)
        if name == DOC:  # says what the whole change is about
            continue
        try:
            text = apply(parent, Edit.of(rest), rules)
        except EditError:
            continue
        if text != parent:
            found.append(Variant(f"without {name}", size_of(rest), text))
    return sorted(found, key=lambda v: (v.size, v.name))


def _mentions(change: Mapping[str, Any]) -> set[str]:
    """Names that the code of a change uses or binds."""
    return {n.id for n in ast.walk(ast.parse(change.get("code") or "")) if isinstance(n, ast.Name)}


def _binds(change: Mapping[str, Any]) -> set[str]:
    """Names that the text gets by a change that adds."""
    return set(Text(change["code"]).bound())
