"""Which seeds may judge what, and a ledger of every use.

JSON lines, append-only. Time is passed in as text.

Rotation. A parent keeps one block for selecting children for `TENURE` children, so that its own scores are played once
and used many times; then it gets the next. A confirmation block is fresh: never opened for this child or for its parent
in any role, as parent or as the child it once was. Among the blocks that may be opened, the least used comes first.
A parent that has seen all 20 blocks gets back the one it has not seen for the longest time.

Draws. The rotation can be worked out by anybody. With a `draw` (a word from the system's randomness, made when a
trial's answer is there and cannot be changed any more) chance chooses among the blocks that rotation would take in
turn, and the order of the seeds in it, of which the gate plays the first few. Block and draw stand in the ledger:
nothing else is needed to know the seeds again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from data_flywheel.storage.log import append, read_lines
from envs.files import loads
from supervisor.errors import SupervisorError

TRAIN = range(0, 1000)  # the proposer sees replays of these
GATE = range(1000, 10_000)  # scores only
AUDIT = range(10_000, 20_000)  # once per release
FORBIDDEN = 900_000  # seeds from here on are nobody's
BLOCK = 450  # gate seeds come in blocks of this many: what the last look of the gate needs
AUDIT_BLOCK = 100
TENURE = 10  # children of one parent that one block selects
_DRAW = re.compile(r"([0-9a-f]{16,64})?")

Role = Literal["select", "confirm", "audit"]


def role_of(seed: int) -> str:
    """ "train", "gate", "audit", "forbidden" (nobody may play it) or "free"."""
    for name, seeds in (("train", TRAIN), ("gate", GATE), ("audit", AUDIT)):
        if seed in seeds:
            return name
    return "forbidden" if seed >= FORBIDDEN or seed < 0 else "free"


def ranges() -> str:
    """The ranges, for error messages."""
    return "train is 0-999, gate 1000-9999, audit 10000-19999"


@dataclass(frozen=True)
class Use:
    """One opening of a block, which begins with seed `first`."""

    role: Role
    first: int
    child: str  # for an audit: the release
    parent: str = ""
    at: str = ""
    draw: str = ""  # "": the seeds are played in their order

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the block, in the order in which they are played."""
        block = range(self.first, self.first + (AUDIT_BLOCK if self.role == "audit" else BLOCK))
        return sorted(block, key=lambda seed: _lot(self.draw, seed)) if self.draw else block

    def line(self) -> str:
        """One line of the ledger."""
        told = {"role": self.role, "first": self.first, "child": self.child, "parent": self.parent, "at": self.at}
        return json.dumps(told | ({"draw": self.draw} if self.draw else {}))


def _lot(draw: str, *what: object) -> bytes:
    """What chance says of something: the same for the same draw."""
    return sha256(repr((draw, *what)).encode()).digest()


@dataclass
class SeedLedger:
    """The uses so far, and the choice of the next block, which depends on nothing else.

    Without a path it lives in memory (simulations). Opening what is open already gives the same block again and writes
    nothing, so that a resumed run goes on with its seeds. `tenure`: children of a parent that a block selects; 1 where
    whoever proposes may have read the ledger.
    """

    path: Path | None = None
    uses: list[Use] = field(default_factory=list)
    torn: str = ""  # a last line that a kill cut off; set aside, never trusted
    tenure: int = TENURE

    @classmethod
    def open(cls, path: str | Path, tenure: int = TENURE) -> SeedLedger:
        """Read a ledger, or begin one at the first use."""
        ledger = cls(Path(path), tenure=tenure)
        lines, torn = read_lines(Path(path), SupervisorError)
        ledger.torn = torn.decode("utf-8", "replace")
        for number, line in enumerate(lines, 1):
            ledger.uses.append(_parse(line, f"{path}, line {number}"))
        return ledger

    def select(self, child: str, parent: str, at: str = "", draw: str = "") -> Sequence[int]:
        """The block that selects `child`: its parent's current one, or the next when that has served its time."""
        if child == parent:
            raise SupervisorError(f"{child} cannot be a child of itself; name every policy differently")
        old = self._mine("select", child, parent)
        if old:
            return old.seeds
        now = [u for u in self.uses if u.role == "select" and u.parent == parent]
        last = now[-1] if now else None
        served = sum((u.first, u.draw) == (last.first, last.draw) for u in now) if last else 0
        if last and served < self.tenure and bool(last.draw) == bool(draw):
            return self._add(Use("select", last.first, child, parent, at, last.draw))
        return self._add(Use("select", self._next(child, parent, draw), child, parent, at, draw))

    def race(self, children: Sequence[str], parent: str, at: str = "", draw: str = "") -> Sequence[int]:
        """One selecting block for several children that are judged together; for each it is an opening of its own.

        SupervisorError when one of them has met another block: then it needs a name of its own."""
        seeds = self.select(children[0], parent, at, draw)
        use = self._mine("select", children[0], parent)
        assert use is not None
        for child in children[1:]:
            old = self._mine("select", child, parent)
            if old and (old.first, old.draw) != (use.first, use.draw):
                raise SupervisorError(f"{child} was selected on another block; give the child a new name")
            if not old:
                self._add(Use("select", use.first, child, parent, at, use.draw))
        return seeds

    def confirm(self, child: str, parent: str, at: str = "", draw: str = "") -> Sequence[int]:
        """A fresh block for `child`: opened neither for it nor for its parent before."""
        old = self._mine("confirm", child, parent)
        if old:
            return old.seeds
        if not self._mine("select", child, parent):
            raise SupervisorError(f"{child} has no selecting block yet; call select before confirm")
        return self._add(Use("confirm", self._next(child, parent, draw), child, parent, at, draw))

    def audit(self, release: str, at: str = "") -> Sequence[int]:
        """Open the next audit block for a release; a second opening for the same release is refused."""
        opened = [u for u in self.uses if u.role == "audit"]
        if any(u.child == release for u in opened):
            raise SupervisorError(f"the audit of release {release} has been opened; audit seeds serve one release once")
        if len(opened) == len(AUDIT) // AUDIT_BLOCK:
            raise SupervisorError("every audit block has been opened; widen AUDIT in supervisor/gate/seeds.py")
        return self._add(Use("audit", AUDIT.start + AUDIT_BLOCK * len(opened), release, "", at))

    def openings(self) -> dict[str, int]:
        """How often each role has opened a block."""
        return dict(Counter(u.role for u in self.uses))

    def _mine(self, role: Role, child: str, parent: str) -> Use | None:
        mine = [u for u in self.uses if u.role == role and u.child == child]
        if mine and mine[0].parent != parent:
            raise SupervisorError(f"{child} was judged against {mine[0].parent or 'nobody'}; give the child a new name")
        return mine[0] if mine else None

    def _about(self, child: str, parent: str) -> Iterator[Use]:
        """Uses that have told anything about either, as child or as parent."""
        return (u for u in self.uses if u.role != "audit" and {u.child, u.parent} & {child, parent})

    def _next(self, child: str, parent: str, draw: str) -> int:
        """The least used block that is new to both; among those as the draw says, or the one after the block opened
        last."""
        uses = [u for u in self.uses if u.role != "audit"]
        firsts, about = list(GATE[::BLOCK]), list(self._about(child, parent))
        counts = Counter(u.first for u in uses)
        last = uses[-1].first if uses else firsts[-1]
        seen, mine = {u.first for u in about}, {u.first for u in about if child in (u.child, u.parent)}
        free = [f for f in firsts if f not in seen]
        if free and draw:
            return min(free, key=lambda f: (counts[f], _lot(draw, "block", f)))
        if free:
            return min(free, key=lambda f: (counts[f], (f - last - 1) % len(GATE)))
        when = {u.first: i for i, u in enumerate(about)}  # all are known: the one opened longest ago, the child's last
        return min(firsts, key=lambda f: (f in mine, when[f]))

    def _add(self, use: Use) -> Sequence[int]:
        if self.path:
            append(self.path, f"{use.line()}\n".encode())
            self.torn = ""
        self.uses.append(use)
        return use.seeds


class FewLedger(SeedLedger):
    """Where there are only a few games, such as the clips of a recording: every child is selected on the first block
    and confirmed on the second, whose seeds are taken in turn. No game does both; a block may confirm many children,
    none of which was made knowing its games one by one."""

    def select(self, child: str, parent: str, at: str = "", draw: str = "") -> Sequence[int]:
        """The first block."""
        if child == parent:
            raise SupervisorError(f"{child} cannot be a child of itself; name every policy differently")
        old = self._mine("select", child, parent)
        return old.seeds if old else self._add(Use("select", GATE.start, child, parent, at))

    def confirm(self, child: str, parent: str, at: str = "", draw: str = "") -> Sequence[int]:
        """The second block."""
        old = self._mine("confirm", child, parent)
        return old.seeds if old else self._add(Use("confirm", GATE.start + BLOCK, child, parent, at))


def _parse(line: bytes, where: str) -> Use:
    """A line of the ledger, checked."""
    try:
        data: dict[str, Any] = loads(line)
        use = Use(data["role"], data["first"], data["child"], data["parent"], data["at"], data.get("draw", ""))
        firsts = AUDIT[::AUDIT_BLOCK] if use.role == "audit" else GATE[::BLOCK]
        names = (
            all(isinstance(v, str) for v in (use.child, use.parent, use.at)) and _DRAW.fullmatch(use.draw) is not None
        )
        good = use.role in ("select", "confirm", "audit") and type(use.first) is int and use.first in firsts and names
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise SupervisorError(f"{where}: not an entry of a seed ledger; restore the file, it is never edited")
    return use
