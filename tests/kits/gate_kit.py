"""Evidence for the gate by hand: short blocks, scores as functions of the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from supervisor.gate.gate import Ask, Evidence, Gate, GateConfig, Pair, Simpler, Verdict

SELECT, CONFIRM = tuple(range(1000, 1030)), tuple(range(2000, 2030))
# The whole fresh block is judged at once, and variants play it all.
AT_ONCE: dict[str, Any] = {
    "confirm_at": (1.0,), "confirm_share": (1.0,), "confirm_hopeful": (1.0,), "confirm_power": 0.95,
    "simplify_screen": 0, "crash_share": 0.0,
}  # fmt: skip
SMALL = GateConfig(
    **AT_ONCE, screen=4, looks=(10, 20, 30), spend=(0.05, 0.05, 0.1), hopeful=(0.6, 0.4, 0.3),
    confirm_least=8, confirm_most=30,
)  # fmt: skip
Play = Callable[[int], Pair]


def passed(**more: Any) -> Evidence:
    """A child that has passed everything before playing; no seeds opened."""
    fields: dict[str, Any] = {
        "schema": (), "compile": (), "measured": {}, "locks": {"a": True}, "behaviour": "new",
        "known": {"old": "its parent"}, "simpler": (), "child_size": 100.0,
    }  # fmt: skip
    return Evidence(**{**fields, **more})


def answer(e: Evidence, step: Ask, play: Play, variants: Mapping[str, Play] | None = None) -> Evidence:
    """What a driver does with a question about seeds."""
    if step.stage == "simplify":
        assert e.simpler is not None and variants is not None
        made = {s: variants[step.who](s) for s in step.seeds}
        parts = [replace(s, pairs={**s.pairs, **made}) if s.name == step.who else s for s in e.simpler]
        return replace(e, simpler=tuple(parts))
    if step.stage == "confirm":
        if not step.seeds:
            assert 0 < step.count <= len(CONFIRM)
            return replace(e, confirm_seeds=CONFIRM)
        return replace(e, confirm={**e.confirm, **{s: play(s) for s in step.seeds}})
    if not step.seeds:
        assert 0 < step.count <= len(SELECT)
        return replace(e, full_seeds=SELECT)
    return replace(e, full={**e.full, **{s: play(s) for s in step.seeds}})


def judged(
    play: Play, gate: Gate | None = None, evidence: Evidence | None = None,
    variants: Mapping[str, Play] | None = None, asked: list[Ask] | None = None,
) -> Verdict:  # fmt: skip
    """Play what the gate asks for until it decides."""
    gate, e = gate or Gate(SMALL), evidence or passed()
    for _ in range(100):
        step = gate.next(e)
        assert gate.next(e) == step, "the same evidence must give the same answer"
        if isinstance(step, Verdict):
            return step
        if asked is not None:
            asked.append(step)
        e = answer(e, step, play, variants)
    raise AssertionError("the gate never decides")


def better(seed: int) -> Pair:
    """A child that scores 3 to 5 more, on every seed."""
    return Pair(10.0 + seed % 3, 14.0 + seed % 5 % 2)


def pairs(scores: Sequence[tuple[float, float]]) -> list[Pair]:
    """Pairs of parent and child."""
    return [Pair(old, new) for old, new in scores]


def variant(name: str, size: float, sound: bool = True) -> Simpler:
    """An offer that nobody has played."""
    return Simpler(name, size, sound)
