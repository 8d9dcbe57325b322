"""The rules of the gate, each one a function of paired scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from supervisor.gate import statistics as stats
from supervisor.gate.types import GateConfig, Pair, Stage, Verdict

SHRINK = 1.0  # standard errors taken off the gain seen, because it was selected
SEEN = 3.0  # what happens once in n games is seen in 3 n games 19 times in 20


def missing(pairs: Mapping[int, Pair], seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds still to be played."""
    return tuple(s for s in seeds if s not in pairs)


def in_order(pairs: Mapping[int, Pair], seeds: Sequence[int]) -> list[Pair]:
    """The played pairs, in the order of the block."""
    return [pairs[s] for s in seeds if s in pairs]


def parent_finite(pair: Pair) -> bool:
    """The parent has been played before: a bad score of it is the driver's fault."""
    return math.isfinite(pair.parent) and math.isfinite(pair.parent_hard)


def broken(pairs: Sequence[Pair]) -> str:
    """What is wrong with the child's scores, or ""."""
    bad = sum(not p.finite() for p in pairs)
    return f"{bad} of {len(pairs)} episodes gave no finite score" if bad else ""


def over_limits(measured: Mapping[str, float], limits: Mapping[str, float]) -> tuple[str, ...]:
    """Figures that exceed their limit (NaN exceeds every limit)."""
    return tuple(
        f"{name} is {measured[name]:g}, at most {most:g}"
        for name, most in sorted(limits.items())
        if not measured[name] <= most
    )


def differences(pairs: Sequence[Pair]) -> list[float]:
    """Child minus parent, score."""
    return [p.child - p.parent for p in pairs]


def better(pairs: Sequence[Pair], level: float) -> bool:
    """The lower bound of the mean difference is above zero."""
    return stats.p_greater(differences(pairs)) <= level


def figures(block: str, pairs: Sequence[Pair]) -> dict[str, float]:
    """What a verdict shows about a block: every figure that a rule has used."""
    diff = differences(pairs)
    parent, child = [p.parent for p in pairs], [p.child for p in pairs]
    found: dict[str, Any] = {
        "pairs": len(pairs), "parent": np.mean(parent), "child": np.mean(child), "difference": np.mean(diff),
        "ties": sum(d == 0 for d in diff), "p": stats.p_greater(diff),
        "low95": stats.lower_bound(diff, 0.05), "high95": stats.upper_bound(diff, 0.05),
        "parent_worst_decile": stats.worst_decile(parent), "child_worst_decile": stats.worst_decile(child),
        "parent_hard": np.mean([p.parent_hard for p in pairs]), "child_hard": np.mean([p.child_hard for p in pairs]),
    }  # fmt: skip
    return {f"{block}_{name}": float(value) for name, value in found.items() if math.isfinite(value)}


def harms(pairs: Sequence[Pair], level: float) -> tuple[str, ...]:
    """Ways in which the child is worse than the parent although its mean may be better, beyond noise."""
    parent, child = [p.parent for p in pairs], [p.child for p in pairs]
    found = []
    if stats.p_worse_decile(parent, child) <= level:
        old, new = stats.worst_decile(parent), stats.worst_decile(child)
        found.append(f"the worst decile falls from {old:g} to {new:g}")
    if stats.p_greater([p.child_hard - p.parent_hard for p in pairs]) <= level:
        rates = [float(np.mean(values)) for values in zip(*[(p.parent_hard, p.child_hard) for p in pairs], strict=True)]
        found.append(f"hard safety rules step in more often: {rates[0]:.3g} to {rates[1]:.3g} per 1000 decisions")
    return tuple(found)


def never_before(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """A child that makes hard rules step in where its parent never does is unsafe, however rarely it happens."""
    episodes = sum(p.child_hard > 0 for p in pairs)
    if not episodes or any(p.parent_hard > 0 for p in pairs):
        return ()
    return (f"hard safety rules step in during {episodes} of {len(pairs)} episodes, for the parent in none",)


def early_reject(pairs: Sequence[Pair], stage: Stage, config: GateConfig) -> Verdict | None:
    """Stop a child that is probably worse. Never lets one in, so it costs no level."""
    p = stats.p_greater([-d for d in differences(pairs)])
    if p > config.worse_at:
        return None
    return Verdict("reject", stage, (f"worse after {len(pairs)} seeds (p {p:.3f})",), figures(stage, pairs))


def selected(pairs: Sequence[Pair], i: int, config: GateConfig) -> bool:
    """Whether the selecting block is passed at look `i`: shown to be better by then, on so many games that
    `crash_share` of what `_for_crashes` asks for has been seen, and still so. A small gain in every game is not
    believed on a handful."""
    diff, looks, spend = differences(pairs), config.looks[: i + 1], config.spend[: i + 1]
    at = stats.first_passed(diff, looks, spend)
    if at is None or at < i and stats.p_greater(diff) > sum(spend):
        return False
    return len(pairs) >= min(config.crash_share * (len(pairs) + _for_crashes(pairs)), config.looks[-1])


def look(pairs: Sequence[Pair], stage: Stage, i: int, config: GateConfig) -> Verdict | Literal["better", "more"]:
    """Judge the selecting block at look `i`. A harm ends it at any look; where the block is not passed it has to be
    plainer, so that chance alone does not find one at some look in more than `harm_level` of good children."""
    won = selected(pairs, i, config)
    harm = harms(pairs, config.harm_level if won else config.harm_level / len(config.looks))
    if harm:
        return Verdict("reject", stage, harm, figures("full", pairs))
    if won:
        return "better"
    n, p = len(pairs), stats.p_greater(differences(pairs))
    last = i + 1 == len(config.looks)
    if p <= config.hopeful[i] and not last:
        return "more"
    if not any(differences(pairs)):
        kind, why = "reject", f"every one of {n} seeds gave the same score"
    elif p > config.hopeful[i]:
        kind, why = "reject", f"not better after {n} seeds (p {p:.3f})"
    else:
        kind, why = "indecisive", f"promising, but undecided after {n} seeds (p {p:.3f})"
    return Verdict(kind, stage, (why,), figures("full", pairs))  # type: ignore[arg-type]


class Look(NamedTuple):
    """When a block is judged: after `n` pairs, at a level, and how small p has to be to go on."""

    n: int
    level: float
    hopeful: float


def confirm_looks(pairs: Sequence[Pair], config: GateConfig) -> list[Look]:
    """When the fresh block is judged, given the pairs that showed a gain.

    `confirm_size` of them confirm it with `confirm_power`; looks before that are for gains as large as they seem, looks
    after it for smaller ones. None is so early that a rare crash could not have shown.
    """
    size, least = confirm_size(pairs, config), max(config.confirm_least, _for_crashes(pairs))
    looks: list[Look] = []
    for part, share, hopeful in zip(config.confirm_at, config.confirm_share, config.confirm_hopeful, strict=True):
        n = min(max(math.ceil(part * size), least), config.confirm_most)
        before = looks.pop().level if looks and looks[-1].n == n else 0.0
        looks.append(Look(n, before + share * config.confirm_level, hopeful))
    return looks


def confirm_size(pairs: Sequence[Pair], config: GateConfig) -> int:
    """Seeds that confirm the gain seen, less SHRINK standard errors, with `confirm_power`, were they judged at once."""
    diff = np.asarray(differences(pairs))
    spread = float(diff.std(ddof=1))
    mean = float(diff.mean()) - SHRINK * spread / math.sqrt(len(diff))
    normal = NormalDist()
    reach = normal.inv_cdf(1 - config.confirm_level) + normal.inv_cdf(config.confirm_power)
    need = math.ceil((reach * spread / mean) ** 2) if mean > 0 else config.confirm_most
    return min(max(need, _for_crashes(pairs), config.confirm_least), config.confirm_most)


def _for_crashes(pairs: Sequence[Pair]) -> int:
    """Seeds that bring both blocks to so many that a crash to nothing, often enough to cost the whole gain, would
    have been seen 19 times in 20: a child that gains a little in every game may lose a whole one now and then."""
    gain = float(np.mean(differences(pairs)))
    nothing = min(0.0, *(min(p.parent, p.child) for p in pairs))
    fall = float(np.mean([p.child for p in pairs])) - nothing
    return math.ceil(SEEN * fall / gain) - len(pairs) if gain > 0 else 0


def confirmed(passed: Sequence[Pair], pairs: Sequence[Pair], config: GateConfig) -> Verdict | Literal["yes", "more"]:
    """Judge the fresh block as far as it has been played, which is up to one of its looks, and the harms over both."""
    numbers = {**figures("full", passed), **figures("confirm", pairs)}
    both = [*passed, *pairs]
    harm = harms(both, config.harm_level) or never_before(both)
    if harm:
        return Verdict("reject", "confirm", harm, numbers)
    looks = confirm_looks(passed, config)
    seen = [look for look in looks if look.n <= len(pairs)]
    if stats.first_passed(differences(pairs), [k.n for k in seen], [k.level for k in seen]) is not None:
        return "yes"
    p = stats.p_greater(differences(pairs))
    if len(seen) < len(looks) and p <= seen[-1].hopeful:
        return "more"
    said = f"not confirmed on {len(pairs)} fresh seeds (p {p:.3f})"
    return Verdict("indecisive" if p <= 0.5 else "reject", "confirm", (said,), numbers)


def keeps_half(simple: Sequence[Pair], child: Sequence[Pair]) -> bool:
    """Whether a simpler variant is worth playing on: it keeps half of the child's gain on the first games."""
    return not broken(simple) and float(np.mean(differences(simple))) >= float(np.mean(differences(child))) / 2


def not_worse(simple: Sequence[Pair], child: Sequence[Pair], config: GateConfig) -> bool:
    """A simpler variant is taken when it beats the parent too, does no harm, and loses no notable part of the gain."""
    if broken(simple) or not better(simple, config.confirm_level) or harms(simple, config.harm_level):
        return False
    gain = float(np.mean(differences(child)))
    against = [s.child - c.child for s, c in zip(simple, child, strict=True)]
    return not any(against) or stats.lower_bound(against, config.confirm_level) >= -config.slack * gain
