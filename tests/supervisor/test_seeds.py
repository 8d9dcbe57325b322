"""Seed ranges and their ledger: fresh where it must be, the same after a kill, never edited by anyone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from supervisor.errors import SupervisorError
from supervisor.gate import seeds
from supervisor.gate.gate import GateConfig
from supervisor.gate.seeds import AUDIT, BLOCK, GATE, TENURE, SeedLedger, Use

ROOT = Path(__file__).parents[2]
FIRSTS = list(GATE[::BLOCK])


@pytest.mark.parametrize(
    ("seed", "role"),
    [
        (-1, "forbidden"), (0, "train"), (999, "train"), (1000, "gate"), (9999, "gate"), (10_000, "audit"),
        (19_999, "audit"), (20_000, "free"), (899_999, "free"), (900_000, "forbidden"), (10**12, "forbidden"),
    ],
)  # fmt: skip
def test_every_seed_has_one_role(seed: int, role: str) -> None:
    assert seeds.role_of(seed) == role


def test_blocks_fill_the_gate_range_and_serve_the_gate() -> None:
    assert len(GATE) % BLOCK == 0 and FIRSTS[-1] + BLOCK == GATE.stop
    assert GateConfig().looks[-1] <= BLOCK and GateConfig().confirm_most <= BLOCK


# --- rotation


def test_blocks_and_their_time_are_those_that_the_gate_was_measured_with() -> None:
    assert (seeds.BLOCK, seeds.TENURE, seeds.AUDIT_BLOCK, len(seeds.GATE[:: seeds.BLOCK])) == (450, 10, 100, 20)


def test_a_parent_keeps_its_block_for_some_children() -> None:
    ledger = SeedLedger()
    blocks = [ledger.select(f"c{i}", "p") for i in range(TENURE + 1)]
    assert len(set(blocks[:TENURE])) == 1 and blocks[TENURE] != blocks[0]
    assert all(len(b) == BLOCK and seeds.role_of(b[0]) == seeds.role_of(b[-1]) == "gate" for b in blocks)


def test_confirmation_is_fresh_for_child_and_parent() -> None:
    """A lineage of parents, each child confirmed: no confirmation block was ever opened for either before."""
    ledger, parent = SeedLedger(), "r0"
    for number in range(1, 9):
        for try_ in range(2):
            child = f"r{number}" if try_ else f"failed {number}"
            select = ledger.select(child, parent)
            known = {u.first for u in ledger.uses if {child, parent} & {u.child, u.parent}}
            confirm = ledger.confirm(child, parent)
            assert confirm.start not in known and not set(select) & set(confirm)
        parent = f"r{number}"


def test_a_new_parent_is_not_judged_on_the_blocks_that_chose_it() -> None:
    ledger = SeedLedger()
    chose = {ledger.select("b", "a").start, ledger.confirm("b", "a").start}
    for i in range(12):
        assert ledger.select(f"c{i}", "b").start not in chose
        assert ledger.confirm(f"c{i}", "b").start not in chose or len(ledger.uses) > len(FIRSTS)


def test_an_old_parent_that_comes_back_as_a_child_meets_new_seeds() -> None:
    ledger = SeedLedger()
    known = {ledger.select("b", "a").start, ledger.confirm("b", "a").start}
    assert ledger.select("a", "c").start not in known and ledger.confirm("a", "c").start not in known


def worn(*fresh: int) -> list[Use]:
    """A ledger of strangers that has used every block twice but the `fresh` ones."""
    firsts = [f for f in FIRSTS if f not in fresh] * 2
    return [Use("select", f, f"child {i}", f"parent {i}") for i, f in enumerate(firsts)]


def test_known_blocks_are_left_out_even_when_they_are_the_least_used() -> None:
    chose = [Use("select", FIRSTS[3], "b", "a"), Use("confirm", FIRSTS[4], "b", "a")]
    for child, parent in (("c", "b"), ("c", "a"), ("a", "c"), ("b2", "b")):
        ledger = SeedLedger(uses=[*chose, *worn(FIRSTS[3], FIRSTS[4])])
        if (child, parent) == ("c", "a"):  # its parent's block serves on
            assert ledger.select(child, parent).start == FIRSTS[3]
        else:
            assert ledger.select(child, parent).start not in FIRSTS[3:5]
        assert ledger.confirm(child, parent).start not in FIRSTS[3:5]
    stranger = SeedLedger(uses=[*chose, *worn(FIRSTS[3], FIRSTS[4])])
    assert stranger.select("x", "y").start == FIRSTS[3] and stranger.confirm("x", "y").start == FIRSTS[4]


def test_the_least_used_block_comes_first() -> None:
    ledger = SeedLedger(uses=worn(FIRSTS[7]))
    assert ledger.select("x", "y").start == FIRSTS[7] and ledger.confirm("x", "y").start == FIRSTS[8]


def test_blocks_are_used_evenly() -> None:
    ledger = SeedLedger()
    for i in range(len(FIRSTS)):
        ledger.select(f"child {i}", f"parent {i}")
        ledger.confirm(f"child {i}", f"parent {i}")
    assert set(Counter(u.first for u in ledger.uses).values()) == {2}


def test_a_parent_that_has_seen_every_block_gets_the_one_seen_longest_ago() -> None:
    ledger = SeedLedger()
    ledger.select("c0", "p")
    opened = [ledger.confirm("c0", "p").start]
    for i in range(1, 60):
        ledger.select(f"c{i}", "p")
        opened.append(ledger.confirm(f"c{i}", "p").start)
        mine = {u.first for u in ledger.uses if u.child == f"c{i}" and u.role == "select"}
        assert opened[-1] not in mine
    for at in range(30, 59):  # long after the first round: never one of the last ten
        assert opened[at] not in opened[at - 10 : at]


def test_the_choice_depends_on_the_ledger_alone() -> None:
    one, two = SeedLedger(), SeedLedger()
    for ledger, at in ((one, "monday"), (two, "friday")):
        for i in range(25):
            ledger.select(f"c{i}", f"p{i // 9}", at)
            ledger.confirm(f"c{i}", f"p{i // 9}", at)
    assert [u.first for u in one.uses] == [u.first for u in two.uses]


def test_opening_again_gives_the_same_and_writes_nothing(tmp_path: Path) -> None:
    ledger = SeedLedger.open(tmp_path / "seeds.jsonl")
    blocks = ledger.select("c", "p"), ledger.confirm("c", "p")
    before = (tmp_path / "seeds.jsonl").read_bytes()
    assert (ledger.select("c", "p"), ledger.confirm("c", "p")) == blocks
    again = SeedLedger.open(tmp_path / "seeds.jsonl")
    assert (again.select("c", "p", "later"), again.confirm("c", "p", "later")) == blocks
    assert (tmp_path / "seeds.jsonl").read_bytes() == before and again.uses == ledger.uses


# --- draws

DRAWS = ["0123456789abcdef" * 2, "f" * 32, "a" * 16]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_chooses_block_and_order_and_the_ledger_alone_tells_them_again(tmp_path: Path, draw: str) -> None:
    path = tmp_path / "seeds.jsonl"
    ledger = SeedLedger.open(path)
    select, confirm = ledger.select("c", "p", "", draw), ledger.confirm("c", "p", "", draw)
    for block in (select, confirm):
        assert sorted(block) == list(range(min(block), min(block) + BLOCK)) and min(block) in FIRSTS
        assert list(block[:12]) != sorted(block[:12])
    assert not set(select) & set(confirm)
    again = SeedLedger.open(path)
    assert [list(use.seeds) for use in again.uses] == [list(select), list(confirm)]
    assert (again.select("c", "p"), again.confirm("c", "p")) == (select, confirm), "as it was drawn, whatever is asked"
    whole = SeedLedger()
    assert (whole.select("c", "p", "", draw), whole.confirm("c", "p", "", draw)) == (select, confirm)


def test_draws_differ() -> None:
    def first(draw: str) -> tuple[int, ...]:
        return tuple(SeedLedger().select("c", "p", "", draw)[:5])

    made = {first(f"{n:032x}") for n in range(40)}
    assert (
        len(made) == 40 and len({min(range(1000, 10_000, BLOCK), key=lambda f, s=s: abs(f - s[0])) for s in made}) > 8
    )
    assert first("") == (1000, 1001, 1002, 1003, 1004), "without one they come in turn"


@pytest.mark.parametrize("tenure", [1, 2, TENURE])
def test_a_parent_keeps_a_drawn_block_as_long_as_it_may(tenure: int) -> None:
    ledger = SeedLedger(tenure=tenure)
    blocks = [tuple(ledger.select(f"c{i}", "p", "", f"{i:032x}")) for i in range(2 * tenure)]
    assert set(blocks[:tenure]) == {blocks[0]} and set(blocks[tenure:]) == {blocks[tenure]} != {blocks[0]}


def test_a_block_that_came_in_turn_is_no_drawn_one() -> None:
    ledger = SeedLedger()
    known = ledger.select("a", "p")
    drawn = ledger.select("b", "p", "", DRAWS[0])
    assert not set(known) & set(drawn) and ledger.select("c", "p", "", DRAWS[1]) == drawn
    assert ledger.select("d", "p") != drawn, "a run that takes them in turn goes on so"


@pytest.mark.parametrize("draw", ["xyz", "0123456789ABCDEF", "abc", 7, None])
def test_a_draw_that_was_edited_is_refused(tmp_path: Path, draw: object) -> None:
    path = tmp_path / "seeds.jsonl"
    told = json.loads(Use("select", 1000, "a", "p").line()) | {"draw": draw}
    path.write_text(json.dumps(told) + "\n")
    with pytest.raises(SupervisorError, match="line 1: not an entry"):
        SeedLedger.open(path)


# --- misuse


def test_misuse_is_an_error() -> None:
    ledger = SeedLedger()
    with pytest.raises(SupervisorError, match="call select before confirm"):
        ledger.confirm("c", "p")
    with pytest.raises(SupervisorError, match="child of itself"):
        ledger.select("p", "p")
    ledger.select("c", "p")
    for opened in (ledger.select, ledger.confirm):
        with pytest.raises(SupervisorError, match="judged against p; give the child a new name"):
            opened("c", "other")
    assert len(ledger.uses) == 1


# --- audits


def test_audits_are_counted_and_serve_a_release_once() -> None:
    ledger = SeedLedger()
    first, second = ledger.audit("1.0"), ledger.audit("1.1")
    assert first == range(10_000, 10_100) and second == range(10_100, 10_200)
    with pytest.raises(SupervisorError, match="audit of release 1.0 has been opened"):
        ledger.audit("1.0")
    ledger.select("c", "p")
    assert ledger.openings() == {"audit": 2, "select": 1}


def test_no_audit_seed_is_ever_opened_for_selection() -> None:
    ledger = SeedLedger()
    for i in range(60):
        block = ledger.select(f"c{i}", f"p{i}")
        assert set(block) <= set(GATE) and not set(block) & set(AUDIT)


def test_audit_blocks_run_out() -> None:
    ledger = SeedLedger()
    opened = [ledger.audit(f"r{i}") for i in range(100)]
    assert opened[-1].stop == AUDIT.stop and len({b.start for b in opened}) == 100
    with pytest.raises(SupervisorError, match="every audit block"):
        ledger.audit("one more")


# --- the file


def test_a_line_is_what_the_documentation_says(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seeds.jsonl"
    SeedLedger.open(path).select("child", "parent", "2030-01-01")
    data = json.loads(path.read_text())
    assert data == {"role": "select", "first": 1000, "child": "child", "parent": "parent", "at": "2030-01-01"}


@pytest.mark.parametrize(
    "line",
    [
        "", "{}", "[1]", "null", "not json", '{"role": "select"}',
        Use("select", 1001, "c", "p").line(), Use("select", 10_000, "c", "p").line(),
        Use("audit", 1000, "c").line(), Use("confirm", 900_000, "c", "p").line(),
        Use("spy", 1000, "c", "p").line(),  # type: ignore[arg-type]
        Use("select", 1000.0, "c", "p").line(),  # type: ignore[arg-type]
        Use("select", True, "c", "p").line(),
        Use("select", 1000, 7, "p").line(),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_an_edited_ledger_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text(Use("select", 1000, "a", "p").line() + "\n" + line + "\n")
    with pytest.raises(SupervisorError, match="line 2: not an entry"):
        SeedLedger.open(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "seeds.jsonl").write_bytes(b'{"role": "\xff"}\n')
    with pytest.raises(SupervisorError, match="line 1"):
        SeedLedger.open(tmp_path / "seeds.jsonl")


@pytest.mark.parametrize(
    "tail", [b'{"role": "conf', b"\0\0\0\0", "ü".encode()[:1], Use("select", 1450, "x", "p").line().encode()]
)
def test_a_torn_line_is_set_aside_and_never_trusted(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "seeds.jsonl"
    SeedLedger.open(path).select("c", "p")
    whole, good = SeedLedger(), path.read_bytes()
    whole.select("c", "p")
    path.write_bytes(good + tail)
    ledger = SeedLedger.open(path)
    assert ledger.uses == whole.uses and ledger.torn
    assert path.read_bytes() == good + tail  # reading changes nothing
    assert ledger.confirm("c", "p") == whole.confirm("c", "p")
    assert path.with_name("seeds.torn-0").read_bytes() == tail
    assert SeedLedger.open(path).uses == ledger.uses and not SeedLedger.open(path).torn


WRITER = """
import sys
from supervisor.gate.seeds import SeedLedger
ledger = SeedLedger.open(sys.argv[1])
print(len(ledger.uses), flush=True)
number = len({u.child for u in ledger.uses})
while True:
    number += 1
    print(ledger.select(f"c{number}", "p").start, ledger.confirm(f"c{number}", "p").start, flush=True)
"""


def test_killed_at_any_instant_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    kept = 0
    for round_ in range(6):
        worker = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout
        assert int(worker.stdout.readline()) >= kept
        lines = [worker.stdout.readline() for _ in range(1 + 3 * round_)]
        os.kill(worker.pid, signal.SIGKILL)
        lines += worker.stdout.read().splitlines(keepends=True)
        worker.wait()
        worker.stdout.close()
        told = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
        ledger = SeedLedger.open(path)
        opened: dict[str, list[int]] = {}
        for use in ledger.uses:
            opened.setdefault(use.child, []).append(use.first)
        both = [tuple(firsts) for firsts in opened.values() if len(firsts) == 2]
        assert told in (both[-len(told) :], both[-len(told) - 1 : -1])  # one more may be on disk, untold
        kept = len(ledger.uses)
    assert kept > 20


def test_what_was_torn_off_is_opened_again_the_same(tmp_path: Path) -> None:
    """Cut the file at every byte: the ledger goes on to the same uses as if nothing had happened."""
    path = tmp_path / "seeds.jsonl"

    def go_on() -> list[Use]:
        ledger = SeedLedger.open(path)
        for i in range(3):
            ledger.select(f"c{i}", "p")
            ledger.confirm(f"c{i}", "p")
        return ledger.uses

    whole = go_on()
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        assert go_on() == whole and path.read_bytes() == data


def test_few_games_select_or_confirm_and_never_both() -> None:
    ledger = seeds.FewLedger()
    for child in "bc":
        assert ledger.select(child, "a", draw="0123456789abcdef")[:3] == range(1000, 1003)
        assert ledger.confirm(child, "a")[:3] == range(1450, 1453)
    assert ledger.race(["d", "e"], "a")[:2] == range(1000, 1002)
    assert len(ledger.uses) == 6 and ledger.select("b", "a") and len(ledger.uses) == 6
