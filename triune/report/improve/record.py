"""An improve run as its page needs it: the state of the loop, and when and at what cost each step of it came."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.budget import KEY, KINDS, RESERVED, UNKNOWN, Amount
from supervisor.errors import SupervisorError
from supervisor.events import Event, read
from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from supervisor.loop import folder as blobs
from supervisor.loop import state as run_state

# ----------------------------------------------------------------------------------------------------
# Text from logs and models made harmless, and amounts as people read them.


LONGEST = 2000  # characters of one text that are shown
# Controls, direction marks, invisible characters, lone surrogates: what could hide or reorder text. Not \t and \n.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """The text with every character that cannot be seen written as its code point."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def harmless(value: Any) -> Any:
    """A JSON value in which every string is `visible`, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(k)): harmless(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(v) for v in value]
    return value


def flat(value: Any) -> str:
    """Any JSON value as one text: lists by commas, objects as `name: value` pairs."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {flat(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(flat, value))
    if isinstance(value, float):
        return plain(value)
    return "" if value is None else str(value)


def esc(value: Any, most: int = LONGEST) -> str:
    """HTML text of any JSON value, cut after `most` characters."""
    text = visible(flat(value))
    more = len(text) - most
    return escape(text if more <= 0 else f"{text[:most]} … ({more:,} more characters)")


def first_line(value: Any, most: int = 140) -> str:
    """The beginning of a text, as HTML text: a whole sentence where one ends in time."""
    text = " ".join(visible(flat(value)).split())
    if len(text) <= most:
        return escape(text)
    end = text.rfind(". ", 30, most)
    return escape(text[: end + 1] if end > 0 else f"{text[: most - 1].rsplit(' ', 1)[0]}…")


def plain(value: float) -> str:
    """1,234 or 0.123: whole numbers whole, others to four figures."""
    if not math.isfinite(value):
        return str(value)
    whole = value == int(value) or abs(value) >= 10_000
    return (f"{value:,.0f}" if whole else f"{value:,.4g}").replace("-", "−")


def points(value: float) -> str:
    """A score: one decimal, none from 1000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def signed(value: float) -> str:
    """A difference of scores, with its sign."""
    text = points(abs(value))
    return text if float(text.replace(",", "")) == 0 else f"{'+' if value > 0 else '−'}{text}"


def signed_short(value: float) -> str:
    """A difference on an axis."""
    return "0" if value == 0 else f"{'+' if value > 0 else '−'}{short(abs(value))}"


def interval(low: float, high: float, signs: bool = False) -> str:
    """[low, high]; "" when an end is not known."""
    if not math.isfinite(low) or not math.isfinite(high):
        return ""
    show = signed if signs else points
    return f"[{show(low)}, {show(high)}]"


def short(value: float) -> str:
    """1.2M, 340k, 12."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def dollars(value: float) -> str:
    """$1.24, or more digits below a cent."""
    return f"${value:,.2f}" if value == 0 or abs(value) >= 0.1 else f"${value:.2g}"


def duration(seconds: float) -> str:
    """2 h 13 min, 25 min, 4 min 10 s, 12 s."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
    if whole >= 600 or minutes and not rest:
        return f"{minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(at: float) -> str:
    """A day and time, UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return plain(at)


SHOW = {"usd": dollars, "tokens": short, "steps": short, "wall_s": duration}


def amount(which: str, value: Amount) -> str:
    """An amount of a budget, "unknown" as such."""
    return UNKNOWN if isinstance(value, str) else SHOW[which](value)


def whole_number(value: Any, otherwise: int = 0) -> int:
    """An int that is one; booleans are none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def count(n: int, one: str, many: str = "") -> str:
    """1 trial, 2 trials."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


# ----------------------------------------------------------------------------------------------------
# What a run has used so far, event by event: the x axis of every curve.
#
# Unlike Budgets it leaves open what a running process has reserved.


class Spending:
    """`known` amounts (unknown ones count as reserved), how many were `unknown`, what is `held`, the `limits`."""

    def __init__(self) -> None:
        self.known = dict.fromkeys(KINDS, 0.0)
        self.unknown = dict.fromkeys(KINDS, 0)
        self.held: dict[int, dict[str, Amount]] = {}
        self.limits: dict[str, float | None] = dict.fromkeys(KINDS)

    def see(self, event: Event) -> None:
        """Take one event into account."""
        told = event.data.get(KEY)
        if event.kind == RESERVED:
            self.held[event.data["id"]] = dict(event.data["amounts"])
        elif event.kind in ("run.started", "run.resumed"):
            told = event.data.get("settings", event.data).get("limits", {})
            self.limits |= {which: told[which] for which in KINDS if which in told}
        elif isinstance(told, Mapping) and "settles" in told:
            self._settle(told)

    def _settle(self, told: Mapping[str, Any]) -> None:
        reserved = self.held.pop(told["settles"], {})
        for which, value in told["amounts"].items():
            if value == UNKNOWN:
                self.unknown[which] += 1
                value = reserved.get(which, 0.0)
            if not isinstance(value, str):
                self.known[which] = round(self.known[which] + value, 9)

    def spent(self, which: str) -> Amount:
        """UNKNOWN if a part of it is."""
        return UNKNOWN if self.unknown[which] else self.known[which]

    def reserved(self, which: str) -> float:
        """Set aside and not settled."""
        amounts = (held.get(which, 0.0) for held in self.held.values())
        return sum(a for a in amounts if not isinstance(a, str))

    def now(self) -> dict[str, Amount]:
        """`spent` of every kind."""
        return {which: self.spent(which) for which in KINDS}


# ----------------------------------------------------------------------------------------------------
# Large texts of a run, by their hash: verified, and never an error of the page when one is missing.


class Texts:
    """`text(sha)`; what was `verified`, is `missing` or `damaged` is remembered for the page to say."""

    def __init__(self, folder: Path) -> None:
        self._blobs = blobs.Blobs(folder)
        self.verified: set[str] = set()
        self.missing: set[str] = set()
        self.damaged: set[str] = set()

    def text(self, sha: str) -> str | None:
        """The text, or None when it is not there or not what its name says. Bytes that are no text become \\xNN."""
        if not sha:
            return None
        try:
            found = self._blobs.get(sha)
        except SupervisorError:
            (self.damaged if (self._blobs.folder / sha).is_file() else self.missing).add(sha)
            return None
        self.verified.add(sha)
        return found.decode("utf-8", "backslashreplace")


# ----------------------------------------------------------------------------------------------------
# An improve run as the page needs it: the state of the loop, and when and at what cost each step of it came.
#
# What the events mean is `supervisor.loop.state`'s, what they cost spending.py's.


LOG = "events.jsonl"
ENDINGS = {
    "accept": "accepted", "probe": "undecided", "indecisive": "indecisive", "reject": "rejected",
    "invalid": "invalid", "unanswered": "no answer", "open": "not finished",
}  # fmt: skip
_ON_OPENING = ("log", "log.torn", "budget.abandoned")  # written before run.resumed, perhaps days after the kill


class Pause(NamedTuple):
    """The run started, stopped or went on: an event's kind and data."""

    kind: str
    at: float
    data: Mapping[str, Any]


class Accepted(NamedTuple):
    """A policy that was the incumbent, from when on (amounts spent by then), and the trial that brought it."""

    policy: str
    trial: int  # 0: the policy the run began with
    spent: Mapping[str, Amount]


@dataclass
class Trial:
    """A trial of the state, with what the run had spent by its end. Fields that are not known yet are empty."""

    of: run_state.Trial
    spent: Mapping[str, Amount] = field(default_factory=dict)
    tried: list[Mapping[str, Any]] = field(default_factory=list)  # settings that a search has played

    @property
    def number(self) -> int:
        """From 1."""
        return self.of.number

    @property
    def parent(self) -> str:
        """sha of the policy it started from."""
        return self.of.parent

    @property
    def child(self) -> str:
        """sha of the proposed text, "" when there is none."""
        return self.of.child or ""

    @property
    def won(self) -> str:
        """sha of the policy that was accepted: the child or a simpler variant; "" otherwise."""
        return str((self.of.judged or {}).get("policy") or "")

    @property
    def verdict(self) -> Mapping[str, Any]:
        """kind, stage, reasons, numbers, winner."""
        return self.of.verdict or {}

    @property
    def kind(self) -> str:
        """A key of KINDS."""
        if self.of.failed is not None:
            return "unanswered"
        kind = str(self.verdict.get("kind", ""))
        return kind if kind in ENDINGS else "open"

    @property
    def stage(self) -> str:
        """Where it ended; "" when it has not."""
        stage = self.verdict.get("stage", "")
        return stage if stage in STAGES else ""

    @property
    def accepted(self) -> Mapping[str, Any]:
        """Data of policy.accepted."""
        return self.of.accepted or {}

    @property
    def variants(self) -> dict[str, str]:
        """Simpler variants that were looked at: name -> sha."""
        return {str(v["name"]): str(v["policy"]) for v in self.of.variants}

    def say(self, name: str) -> Any:
        """A field of the answer, "" when it was not given."""
        return (self.of.read or {}).get(name) or ""


class ImproveRun:
    """Everything the page shows, in memory. `ImproveRun.read(folder)`."""

    def __init__(self, folder: Path, events: list[Event]) -> None:
        """SupervisorError when the events are not those of an improve run."""
        self.folder, self.events, self.texts = folder, events, Texts(folder / "blobs")
        self.state, self.spending = run_state.State(), Spending()
        self.trials: dict[int, Trial] = {}
        self.chain: list[Accepted] = []
        self.openings: list[tuple[int, str, list[int]]] = []  # trial, role, seeds
        self.pauses: list[Pause] = []
        self.torn: list[tuple[int, Mapping[str, Any]]] = []  # event, data
        self.memo: dict[tuple[str, object], Any] = {}  # figures that several parts of the page ask for
        for event in events:
            self._see(Event(event.n, event.at, event.kind, harmless(event.data), event.prev, event.hash))
        if not self.chain:
            raise SupervisorError(f"{folder / LOG} holds no event run.started; is it the log of an improve run?")
        self.scores: dict[str, dict[int, float]] = defaultdict(dict)  # gate episodes: policy -> seed -> score
        for (policy, seed), score in self.state.scores.items():
            self.scores[policy][seed] = score.score

    @classmethod
    def read(cls, folder: Path) -> ImproveRun:
        """The verified events of a run; LogDamaged when they were changed, SupervisorError when it is no such run."""
        return cls(folder, read(folder / LOG))

    @property
    def started(self) -> Mapping[str, Any]:
        """Data of run.started."""
        return self.state.started or {}

    def _see(self, event: Event) -> None:
        self.state.apply(event)
        self.spending.see(event)
        kind, data = event.kind, event.data
        if kind in ("run.started", "run.resumed", "run.stopped"):
            self.pauses.append(Pause(kind, event.at, data))
        if kind == "run.started":
            self.chain.append(Accepted(self.state.incumbent, 0, self.spending.now()))
        elif kind == "log.torn":
            self.torn.append((event.n, data))
        elif kind == "trial.started":
            self.trials[data["trial"]] = Trial(self.state.trials[-1])
        elif kind == "gate.seeds":
            self.openings.append((data["trial"], data["role"], list(data["seeds"])))
        elif kind == "tuner.tried":
            self.trials[data["trial"]].tried.append(data)
        elif kind in ("trial.judged", "policy.accepted"):
            self.trials[data["trial"]].spent = self.spending.now()
        if kind == "policy.accepted":
            self.chain.append(Accepted(self.state.incumbent, data["trial"], self.spending.now()))

    # -- what follows from all of it

    def name(self, policy: str) -> str:
        """`r07`, as in the task's lineage folder."""
        number = self.state.revisions.get(policy)
        return "" if number is None else f"r{number:02d}"

    def seeds_played(self) -> dict[str, int]:
        """How many different seeds of each range were played, for whatever purpose."""
        seeds = {seed for _, seed in (*self.state.scores, *self.state.training)}
        seeds |= {int(s) for t in self.trials.values() for tried in t.tried for s in tried.get("seeds", ())}
        found: dict[str, int] = defaultdict(int)
        for seed in seeds:
            found[role_of(seed)] += 1
        return dict(found)

    def bought(self) -> str:
        """What a curve against cost is drawn over: "usd", "tokens", or "" when nothing known was bought."""
        usable = (w for w in ("usd", "tokens") if self.spending.spent(w) != UNKNOWN and self.spending.known[w] > 0)
        return next(usable, "")

    def seconds(self) -> float:
        """Wall time in which the run was at work: from each start to the last event before the next one."""
        total, began, last = 0.0, None, 0.0
        for event in self.events:
            if event.kind in ("run.started", "run.resumed"):
                total += last - began if began is not None else 0.0
                began = event.at
            last = last if event.kind in _ON_OPENING else event.at
        return total + (last - began if began is not None else 0.0)
