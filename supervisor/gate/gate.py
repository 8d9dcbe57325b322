"""The gate: evidence about one child in, the next request or the verdict out.

It is pure: no clock, no files, no environment, no random draws, so judging the same evidence again gives the same
answer. What it promises is in docs/gate.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supervisor.errors import SupervisorError
from supervisor.gate import rules
from supervisor.gate import seeds as blocks
from supervisor.gate import statistics as stats
from supervisor.gate.types import Ask, Evidence, GateConfig, Pair, Simpler, Stage, Verdict

__all__ = ["Ask", "Evidence", "Gate", "GateConfig", "Pair", "Simpler", "Verdict"]

Step = Ask | Verdict | None  # None: nothing against it so far


class Gate:
    """`next(evidence)` until it returns a Verdict; `conclude(evidence)` when there is no budget for what it asks."""

    def __init__(self, config: GateConfig | None = None) -> None:
        self.config = config or GateConfig()

    def next(self, evidence: Evidence) -> Ask | Verdict:
        """The cheapest open question, or the verdict."""
        self._check(evidence)
        step = self.before_playing(evidence) or self._full(evidence)
        if step:
            return step
        step = self._confirm(evidence)
        return step or self._simplify(evidence)

    def conclude(self, evidence: Evidence) -> Verdict:
        """The verdict if nothing more can be played: "probe" where more seeds could still decide."""
        step = self.next(evidence)
        if isinstance(step, Verdict):
            return step
        if step.stage == "simplify":  # both blocks are passed; only the wish for less text is open
            return self._accept(evidence, "child", ("not simplified: no budget",))
        blocks_ = (("full", evidence.full, evidence.full_seeds), ("confirm", evidence.confirm, evidence.confirm_seeds))
        numbers: dict[str, float] = {}
        for block, pairs, seeds in blocks_:
            played = [p for p in rules.in_order(pairs, seeds) if p.finite()]
            numbers |= rules.figures(block, played) if played else {}
        need = "more seeds are needed" if step.seeds or step.count else "that stage has not been run"
        return Verdict("probe", step.stage, (f"undecided at {step.stage}: {need}",), numbers)

    # -- stages without playing

    def before_playing(self, e: Evidence) -> Ask | Verdict | None:
        """The stages without games. None: nothing against it so far."""
        for stage, defects in (("schema", e.schema), ("compile", e.compile)):
            if defects is None:
                return Ask(stage)  # type: ignore[arg-type]
            if defects:
                return Verdict("invalid", stage, tuple(defects))  # type: ignore[arg-type]
        return self._size(e) or self._locks(e) or self._duplicate(e)

    def _size(self, e: Evidence) -> Step:
        limits = self.config.limits
        if any(name not in (e.measured or {}) for name in limits):
            return Ask("size")
        over = rules.over_limits(e.measured or {}, limits)
        return Verdict("reject", "size", over) if over else None

    def _locks(self, e: Evidence) -> Step:
        if e.locks is None:
            return Ask("locks")
        broken = tuple(f"lock {name} is broken" for name, held in sorted(e.locks.items()) if not held)
        return Verdict("reject", "locks", broken) if broken else None

    def _duplicate(self, e: Evidence) -> Step:
        if e.behaviour is None:
            return Ask("duplicate")
        if e.behaviour in e.known:
            same = f"decides the same as {e.known[e.behaviour]} on every recorded scene"
            return Verdict("reject", "duplicate", (same,))
        return None

    # -- the block that selects

    def _full(self, e: Evidence) -> Step:
        """Screen, full stage and probes. None: significantly better, go on to confirmation."""
        c = self.config
        if len(e.full_seeds) < c.looks[-1]:
            return Ask("full", count=c.looks[-1])
        early = {c.screen, (c.screen + c.looks[0]) // 2} if c.screen else set()
        for n in sorted({*early, *c.looks}):
            stage: Stage = "screen" if n == c.screen else "full" if n <= c.looks[0] else "probe"
            pairs = rules.in_order(e.full, e.full_seeds[:n])
            broken = rules.broken(pairs)
            if broken:
                return Verdict("invalid", stage, (broken,))
            missing = rules.missing(e.full, e.full_seeds[:n])
            if missing:
                return Ask(stage, missing)
            if n not in c.looks:
                worse = rules.early_reject(pairs, stage, c)
                if worse:
                    return worse
                continue
            verdict = rules.look(pairs, stage, c.looks.index(n), c)
            if verdict != "more":
                return None if verdict == "better" else verdict
        raise AssertionError("the last look decides")

    def _passed(self, e: Evidence) -> list[Pair]:
        """The pairs at which the full block was passed."""
        for i, n in enumerate(self.config.looks):
            pairs = rules.in_order(e.full, e.full_seeds[:n])
            if rules.selected(pairs, i, self.config):
                return pairs
        raise AssertionError("asked only after the full block is passed")

    # -- the block that confirms

    def _confirm(self, e: Evidence) -> Step:
        """Look by look. None: confirmed, go on to the wish for less text."""
        passed = self._passed(e)
        looks = rules.confirm_looks(passed, self.config)
        if len(e.confirm_seeds) < looks[-1].n:
            return Ask("confirm", count=looks[-1].n)
        for n, _, _ in looks:
            pairs = rules.in_order(e.confirm, e.confirm_seeds[:n])
            broken = rules.broken(pairs)
            if broken:
                return Verdict("invalid", "confirm", (broken,), rules.figures("full", passed))
            missing = rules.missing(e.confirm, e.confirm_seeds[:n])
            if missing:
                return Ask("confirm", missing)
            verdict = rules.confirmed(passed, pairs, self.config)
            if verdict != "more":
                return None if verdict == "yes" else verdict
        raise AssertionError("the last look decides")

    def _fresh(self, e: Evidence) -> tuple[int, ...]:
        """The seeds on which the child was confirmed."""
        looks = rules.confirm_looks(self._passed(e), self.config)
        pairs = _until(e.confirm, e.confirm_seeds, [k.n for k in looks], [k.level for k in looks])
        return e.confirm_seeds[: len(pairs)]

    # -- the wish for less text

    def _simplify(self, e: Evidence) -> Ask | Verdict:
        """The least text first. A variant that loses the heart of the gain is seen to after a few games."""
        if e.simpler is None:
            return Ask("simplify")
        seeds, few = self._fresh(e), self.config.simplify_screen
        offers = sorted((s for s in e.simpler if s.sound and s.size < e.child_size), key=lambda s: (s.size, s.name))
        for offer in offers[: self.config.simpler_most]:
            for some in (seeds[:few], seeds) if 0 < few < len(seeds) else (seeds,):
                missing = rules.missing(offer.pairs, some)
                if missing:
                    return Ask("simplify", missing, who=offer.name)
                simple, child = rules.in_order(offer.pairs, some), rules.in_order(e.confirm, some)
                whole = len(some) == len(seeds)
                if not (rules.not_worse(simple, child, self.config) if whole else rules.keeps_half(simple, child)):
                    break
            else:
                return self._accept(e, offer.name, (f"{offer.name} is simpler and not worse",))
        return self._accept(e, "child", ())

    def _accept(self, e: Evidence, winner: str, more: tuple[str, ...]) -> Verdict:
        passed = self._passed(e)
        fresh = rules.in_order(e.confirm, self._fresh(e))
        numbers = {**rules.figures("full", passed), **rules.figures("confirm", fresh)}
        return Verdict("accept", "accept", ("better on both blocks", *more), numbers, winner)

    # -- evidence that no driver should hand over

    def _check(self, e: Evidence) -> None:
        both = set(e.full_seeds) & set(e.confirm_seeds)
        if both:
            raise SupervisorError(f"seed {min(both)} is in both blocks of one child; open a fresh block to confirm")
        for seeds in (e.full_seeds, e.confirm_seeds):
            _check_block(seeds)
        names = [s.name for s in e.simpler or ()]
        if len(set(names)) != len(names) or {"", "child", "parent"} & set(names):
            raise SupervisorError(f"simpler variants need names of their own, none of them child or parent: {names}")
        variants: Sequence[Mapping[int, Pair]] = [s.pairs for s in e.simpler or ()]
        for pairs in (e.full, e.confirm, *variants):
            bad = [seed for seed, pair in pairs.items() if not rules.parent_finite(pair)]
            if bad:
                raise SupervisorError(f"the parent's score on seed {bad[0]} is not a number; play it again")


def _until(
    played: Mapping[int, Pair], seeds: Sequence[int], looks: Sequence[int], spend: Sequence[float]
) -> list[Pair]:
    """The pairs of a block up to the look that passed it."""
    for i, n in enumerate(looks, 1):
        pairs = rules.in_order(played, seeds[:n])
        if stats.first_passed(rules.differences(pairs), looks[:i], spend[:i]) is not None:
            return pairs
    raise AssertionError("asked only after the block is passed")


def _check_block(seeds: Sequence[int]) -> None:
    if len(set(seeds)) != len(seeds):
        raise SupervisorError("a block holds a seed twice; pairs must be of different seeds")
    for seed in seeds:
        if blocks.role_of(seed) != "gate":
            raise SupervisorError(f"seed {seed} is not a gate seed; {blocks.ranges()}")
