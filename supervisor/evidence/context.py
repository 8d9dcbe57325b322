"""What the evidence is made of, and how text from logs and policies is made fit to be shown to a model."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from data_flywheel.episodes.episode import Episode
from envs.actions import ActionSpace
from envs.env import Rules
from perception.scene import SceneSchema
from supervisor.gate import statistics as stats

# ----------------------------------------------------------------------------------------------------
# Text that can be shown to a model: nothing invisible, nothing that looks like a section, nothing longer than
# agreed.
#
# Whatever comes from logs, rules or earlier answers goes through `quoted`.


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, invisible marks, half characters, line separators
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_MARKS = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "`": "\\u0060", "\x7f": "\\u007f"}
)  # what delimiters are made of


def clean(text: str) -> str:
    r"""The same text with every control, invisible or line-separating character but "\n" written as an escape."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def quoted(text: object, most: int = 200) -> str:
    """A JSON string of one line, ASCII, of at most about `most` characters of `text`."""
    return json.dumps(shortened(str(text), most)).translate(_MARKS)


def shortened(text: str, most: int) -> str:
    """At most `most` characters, "..." at the end when there were more."""
    return text if len(text) <= most else text[: max(0, most - 3)] + "..."


def word(text: object) -> str:
    """A plain name as it is, anything else quoted."""
    said = str(text)
    return said if _WORD.fullmatch(said) else quoted(said, 60)


def number(value: object, digits: int = 1) -> str:
    """A number as short as can be: at most `digits` decimals, never "-0"; any other thing quoted."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return quoted(value, 40)
    if not math.isfinite(value):
        return str(value)
    said = f"{value:.{digits}f}"
    said = said.rstrip("0").rstrip(".") if "." in said else said
    return "0" if said == "-0" else said


def places(scores: Iterable[float]) -> int:
    """Decimals that means of such scores are told with: 1 where all are whole numbers or large, more where they are
    small."""
    known = [abs(s) for s in map(float, scores) if math.isfinite(s)]
    if all(s.is_integer() for s in known):
        return 1
    return max(1, 3 - math.floor(math.log10(max(known))))


def signed(value: float, digits: int = 1) -> str:
    """The same with its sign."""
    said = number(value, digits)
    return said if said.startswith("-") or said == "0" else f"+{said}"


def numbered(text: str) -> list[str]:
    """Its lines with their numbers from 1."""
    lines = clean(text).removesuffix("\n").split("\n")
    wide = len(str(len(lines)))
    return [f"{i:{wide}d}| {line}".rstrip() for i, line in enumerate(lines, 1)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns between bars; the last column is not padded."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    return [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in (head, *rows)]


def varying(head: Sequence[str], rows: Sequence[Sequence[str]], keep: Sequence[str]) -> list[str]:
    """The same as `table` without the columns that say one thing throughout, which a line before it tells; those in
    `keep` stay."""
    same = [i for i, name in enumerate(head) if name not in keep and len({row[i] for row in rows}) == 1 < len(rows)]
    said = [f"{head[i]} {rows[0][i]}" for i in same]
    kept = [i for i in range(len(head)) if i not in same]
    lines = table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return [f"the same at all of these steps: {'; '.join(said)}", *lines] if said else lines


class Fitted(NamedTuple):
    """A text, and how many of the blocks it was to hold stand in it."""

    text: str
    kept: int


def fit(blocks: Sequence[str], limit: int, what: str) -> Fitted:
    """As many of `blocks` as fit into `limit` characters, in order, and a note on what was left out.

    A first block that is too long by itself is cut.
    """
    whole = "\n".join(blocks)
    if len(whole) <= limit:
        return Fitted(whole, len(blocks))
    for kept in range(len(blocks) - 1, 0, -1):
        note = f"[{len(blocks) - kept} of {len(blocks)} {what} left out: at most {limit} characters here]"
        said = "\n".join([*blocks[:kept], note])
        if len(said) <= limit:
            return Fitted(said, kept)
    more = f", and {len(blocks) - 1} more {what} left out" if len(blocks) > 1 else ""
    note = f"\n[cut{more}: at most {limit} characters here]"
    return Fitted(blocks[0][: max(0, limit - len(note))] + note[: max(0, limit)], 0)


# ----------------------------------------------------------------------------------------------------
# What the evidence is made of, and how much of it may be said. Plain values.


SIDE = 0.025  # error on either side of a 95 % interval
Frames = Callable[[Episode, Sequence[int]], Sequence[Any]]  # (episode, steps) -> uint8[H, W, 3] for each step
# (episode, step) of each failure -> whose it was, in words; "" where nobody can surely tell
Blame = Callable[[Sequence[tuple[Episode, int]]], Sequence[str]]


@dataclass(frozen=True)
class Limits:
    """Characters of each section, and counts. The policy may also use what the other sections leave of `total`."""

    total: int = 60_000
    contract: int = 5_000
    rules: int = 4_500
    policy: int = 20_500
    scoreboard: int = 1_800
    motion: int = 2_200
    failures: int = 11_000
    statistics: int = 3_200
    locks: int = 1_500
    lineage: int = 2_500
    failed: int = 3_500
    child: int = 2_400
    budgets: int = 900
    question: int = 1_000
    shown: int = 5  # failures that are told in full
    clusters: int = 8  # groups of failures at most
    rows: int = 16  # steps in the table of a failure
    cells: int = 9  # frames on a contact sheet; 0: no pictures

    def __post_init__(self) -> None:
        """ValueError when the sections together may be longer than the total."""
        sections = [f.name for f in fields(self)][1:14]
        if sum(getattr(self, name) for name in sections) > self.total:
            raise ValueError("the sections' limits add up to more than the total; raise total or lower some of them")


@dataclass(frozen=True)
class GateSummary:
    """The incumbent on gate seeds: figures only, since what is known about single gate seeds must not leak.

    `low`, `high`: 95 % interval of the mean. `hard`: interventions of hard rules and faults per 1000 decisions.
    """

    n: int
    mean: float
    low: float
    high: float
    worst_decile: float
    hard: float | None = None

    @classmethod
    def of(cls, scores: Sequence[float], hard: float | None = None) -> GateSummary:
        """From finished episodes, at least one; the bounds are infinite where there are too few."""
        values = [float(s) for s in scores]
        mean = math.fsum(values) / len(values)
        low, high = stats.lower_bound(values, SIDE), stats.upper_bound(values, SIDE)
        return cls(len(values), mean, low, high, stats.worst_decile(values), hard)


@dataclass(frozen=True)
class Scoreboard:
    """The incumbent's score on each training seed, on gate seeds, and the mean of others worth knowing by name."""

    train: Mapping[int, float] = field(default_factory=dict)
    gate: GateSummary | None = None
    others: Mapping[str, float] = field(default_factory=dict)


class LockNote(NamedTuple):
    """A lock that a revision must keep; `logic.runtime.regression` has the whole. kind: "scenes" or "floor"."""

    name: str
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class Child:
    """The last revision of this policy that was judged and not kept: its trial, its games of training seeds."""

    trial: int
    episodes: Sequence[Episode]


@dataclass(frozen=True)
class Context:
    """Everything one request is built from.

    `constants`: what a policy knows at compile time (FRAMESKIP and so on). `trials`: lines of trials.jsonl, oldest
    first. `budgets`: `supervisor.budget.Budgets.table()`. Without `frames` there are no pictures; with `draw` False
    they are named and not drawn, for whoever does not look. `broken`: locks that the policy itself does not keep.
    """

    task: str
    trial: int
    policy: str
    safety: str
    schema: SceneSchema
    actions: ActionSpace
    protocol: Rules
    constants: Mapping[str, float] = field(default_factory=dict)
    episodes: Sequence[Episode] = ()
    frames: Frames | None = None
    locks: Sequence[LockNote] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    scoreboard: Scoreboard = Scoreboard()
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    blame: Blame | None = None
    draw: bool = True
    broken: frozenset[str] = frozenset()
    child: Child | None = None
    limits: Limits = Limits()

    @property
    def digits(self) -> int:
        """Decimals that mean scores of this task are told with."""
        return places([*self.scoreboard.train.values(), *(e.scores[-1].item() for e in self.episodes if len(e))])

    @property
    def span(self) -> int:
        """Agent steps in about a second of play: how far back a cause is looked for."""
        return max(8, round(64 / max(1, self.protocol.frames_per_step)))
