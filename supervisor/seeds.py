"""Which seeds may judge what, and a ledger of every use.

Knows: the ranges (train, gate, audit), blocks of gate seeds and their rotation, the ledger: JSON lines, append-only.
Does not know scores or policies; children and parents are names here. Time is passed in as text.

Rotation. A parent keeps one block for selecting children for `TENURE` children, so that its own scores are played once
and used many times; then it gets the next. A confirmation block is fresh: never opened for this child or for its parent
in any role, as parent or as the child it once was. Among the blocks that may be opened, the least used comes first.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from supervisor.errors import SupervisorError

TRAIN = range(0, 1000)  # the proposer sees replays of these
GATE = range(1000, 10_000)  # scores only
AUDIT = range(10_000, 20_000)  # once per release
FORBIDDEN = 900_000  # seeds from here on are nobody's
BLOCK = 100  # gate and audit seeds come in blocks of this many
TENURE = 10  # children of one parent that one block selects

Role = Literal["select", "confirm", "audit"]


def role_of(seed: int) -> str:
    """ "train", "gate", "audit", "forbidden" (nobody may play it) or "free"."""
    for name, seeds in (("train", TRAIN), ("gate", GATE), ("audit", AUDIT)):
        if seed in seeds:
            return name
    return "forbidden" if seed >= FORBIDDEN else "free"


def ranges() -> str:
    """The ranges, for error messages."""
    return "train is 0-999, gate 1000-9999, audit 10000-19999"


@dataclass(frozen=True)
class Use:
    """One opening of a block: seeds `first` to `first + BLOCK - 1`."""

    role: Role
    first: int
    child: str  # for an audit: the release
    parent: str = ""
    at: str = ""

    @property
    def seeds(self) -> range:
        """The seeds of the block."""
        return range(self.first, self.first + BLOCK)

    def line(self) -> str:
        """One line of the ledger."""
        return json.dumps(
            {"role": self.role, "first": self.first, "child": self.child, "parent": self.parent, "at": self.at}
        )


@dataclass
class SeedLedger:
    """The uses so far, and the choice of the next block, which depends on nothing else.

    Without a path it lives in memory (simulations). Opening what is open already gives the same block again and writes
    nothing, so that a resumed run goes on with its seeds.
    """

    path: Path | None = None
    uses: list[Use] = field(default_factory=list)
    torn: str = ""  # a last line that a kill cut off; set aside, never trusted

    @classmethod
    def open(cls, path: str | Path) -> SeedLedger:
        """Read a ledger, or begin one at the first use."""
        ledger = cls(Path(path))
        if not Path(path).exists():
            return ledger
        text = Path(path).read_text(encoding="utf-8")
        *lines, ledger.torn = text.split("\n")
        for number, line in enumerate(lines, 1):
            ledger.uses.append(_parse(line, f"{path}, line {number}"))
        return ledger

    def select(self, child: str, parent: str, at: str = "") -> range:
        """The block that selects `child`: its parent's current one, or the next when that has served its time."""
        old = self._mine("select", child, parent)
        if old:
            return old.seeds
        now = [u for u in self.uses if u.role == "select" and u.parent == parent]
        if now and sum(u.first == now[-1].first for u in now) < TENURE:
            first = now[-1].first
        else:
            first = self._next({u.first for u in self._about(child, parent)})
        return self._add(Use("select", first, child, parent, at))

    def confirm(self, child: str, parent: str, at: str = "") -> range:
        """A fresh block for `child`: opened neither for it nor for its parent before."""
        old = self._mine("confirm", child, parent)
        if old:
            return old.seeds
        if not self._mine("select", child, parent):
            raise SupervisorError(f"{child} has no selecting block yet; call select before confirm")
        return self._add(Use("confirm", self._next({u.first for u in self._about(child, parent)}), child, parent, at))

    def audit(self, release: str, at: str = "") -> range:
        """Open the next audit block for a release; a second opening for the same release is refused."""
        opened = [u for u in self.uses if u.role == "audit"]
        if any(u.child == release for u in opened):
            raise SupervisorError(f"the audit of release {release} has been opened; audit seeds serve one release once")
        if len(opened) == len(AUDIT) // BLOCK:
            raise SupervisorError("every audit block has been opened; widen AUDIT in supervisor/seeds.py")
        return self._add(Use("audit", AUDIT.start + BLOCK * len(opened), release, "", at))

    def openings(self) -> dict[str, int]:
        """How often each role has opened a block."""
        return dict(Counter(u.role for u in self.uses))

    def _mine(self, role: Role, child: str, parent: str) -> Use | None:
        mine = [u for u in self.uses if u.role == role and u.child == child]
        if mine and mine[0].parent != parent:
            raise SupervisorError(f"{child} was judged against {mine[0].parent or 'nobody'}; give the child a new name")
        return mine[0] if mine else None

    def _about(self, child: str, parent: str) -> Iterator[Use]:
        """Uses that have told anything about either: as child, or (the parent) as parent."""
        return (u for u in self.uses if u.role != "audit" and (u.child in (child, parent) or u.parent == parent))

    def _next(self, taken: set[int]) -> int:
        """The least used block outside `taken`; among those, the one after the block opened last."""
        firsts = list(range(GATE.start, GATE.stop, BLOCK))
        counts = Counter(u.first for u in self.uses if u.role != "audit")
        last = next((u.first for u in reversed(self.uses) if u.role != "audit"), firsts[-1])
        free = [f for f in firsts if f not in taken] or self._oldest(firsts, taken)
        return min(free, key=lambda f: (counts[f], (f - last - 1) % len(GATE)))

    def _oldest(self, firsts: list[int], taken: set[int]) -> list[int]:
        """When a parent has seen every block: the one it saw longest ago, which the child has not seen."""
        order = {u.first: i for i, u in enumerate(self.uses) if u.role != "audit"}
        last = self.uses[-1].first if self.uses else -1
        return [min((f for f in firsts if f != last), key=lambda f: order.get(f, -1))]

    def _add(self, use: Use) -> range:
        if self.path:
            _append(self.path, use.line(), bool(self.torn))
            self.torn = ""
        self.uses.append(use)
        return use.seeds


def _parse(line: str, where: str) -> Use:
    """A line of the ledger, checked."""
    try:
        data: dict[str, Any] = json.loads(line)
        use = Use(data["role"], data["first"], data["child"], data["parent"], data["at"])
        pool = AUDIT if use.role == "audit" else GATE
        good = use.role in ("select", "confirm", "audit") and use.first in pool[::BLOCK]
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise SupervisorError(f"{where}: not an entry of a seed ledger; restore the file, it is never edited")
    return use


def _append(path: Path, line: str, torn: bool) -> None:
    """Write one line to disk for good; a torn line before it is cut off and kept beside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if torn:
        data = path.read_bytes()
        keep = data.rfind(b"\n") + 1
        path.with_suffix(".torn").write_bytes(data[keep:])
        os.truncate(path, keep)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
