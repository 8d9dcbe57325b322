"""The frozen set: what is in it, what it keeps from being chosen, and which files are believed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from data_flywheel.datasets.frozen import FROZEN, KIND, NOBODYS, VERSION, FrozenSet
from data_flywheel.errors import DataError
from data_flywheel.labels.label import FrameRef
from data_flywheel.storage.files import canonical_json


def ref(seed: int | None, digest: str, episode: str = "game") -> FrameRef:
    return FrameRef(episode, 3, digest, (10, 10), seed)


TRAIN, VAL, TEST, OTHERS = ref(5, "a"), ref(850, "b"), ref(950, "c"), ref(2000, "d")


def test_the_pictures_of_the_test_split_are_frozen_and_no_others() -> None:
    frozen = FrozenSet.of([TRAIN, VAL, TEST, OTHERS, ref(999, "e")])
    assert frozen.digests == {"c", "e"} and FrozenSet.of([]).digests == FrozenSet().digests == frozenset()


def test_two_sets_together_hold_the_pictures_of_both() -> None:
    one, two = FrozenSet(frozenset("ab")), FrozenSet(frozenset("bc"))
    assert (one | two).digests == {"a", "b", "c"} and one.digests == {"a", "b"}


@pytest.mark.parametrize(
    ("one", "why"),
    [(TRAIN, ""), (VAL, ""), (TEST, FROZEN), (OTHERS, NOBODYS), (ref(5, "z"), FROZEN), (ref(2000, "z"), NOBODYS),
     (ref(-1, "a"), NOBODYS), (ref(1000, "a"), NOBODYS), (ref(999, "a"), FROZEN)],
)  # fmt: skip
def test_why_a_frame_may_not_be_chosen(one: FrameRef, why: str) -> None:
    frozen = FrozenSet(frozenset("z"))
    assert frozen.why_not(one) == why
    frozen.guard([TRAIN, VAL])
    if not why:
        frozen.guard([one])
        return
    with pytest.raises(DataError) as found:
        frozen.guard([TRAIN, one])
    assert str(found.value) == f"step 3 of game must not be learned from ({why}); leave it out"


def written(path: Path, **changes: Any) -> Path:
    """A file with a right checksum over what it says."""
    record = {"kind": KIND, "version": VERSION, "digests": ["a", "b"], **changes}
    path.write_text(json.dumps({**record, "sha256": sha256(canonical_json(record).encode()).hexdigest()}))
    return path


def test_a_file_holds_sorted_digests_and_a_checksum_over_all_of_it(tmp_path: Path) -> None:
    frozen = FrozenSet(frozenset("ba"))
    path = frozen.save(str(tmp_path / "one.json"))
    assert path == tmp_path / "one.json"
    assert path.read_bytes() == written(tmp_path / "two.json").read_bytes()
    assert FrozenSet.load(str(path)) == FrozenSet.load(written(tmp_path / "two.json")) == frozen


@pytest.mark.parametrize("changes", [{"kind": "triune dataset"}, {"version": 2}, {"version": 0}, {"kind": None}])
def test_a_file_of_another_kind_or_version_is_refused_though_its_checksum_fits(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="not a triune frozen set of version 1; freeze the set again"):
        FrozenSet.load(written(tmp_path / "x.json", **changes))


@pytest.mark.parametrize("told", [[], "x", 7, None, {}])
def test_what_is_no_record_is_refused(told: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="not a triune frozen set|no JSON object|damaged"):
        FrozenSet.load(tmp_path / "x.json")


def test_a_checksum_that_does_not_fit_or_is_missing_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.json")
    told = json.loads(path.read_text())
    for changed in ({**told, "digests": ["a"]}, {**told, "sha256": "0" * 64}, {**told, "more": 1}):
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match="checksum mismatch; freeze the set again"):
            FrozenSet.load(path)
    del told["sha256"]
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="checksum"):
        FrozenSet.load(path)
    with pytest.raises(DataError, match="x.json"):
        FrozenSet.load(tmp_path / "none" / "x.json")
