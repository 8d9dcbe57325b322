"""Whose failure it was: the eyes', the reflexes', both, or the world's; and how that is read off games played on.

The swap: the game goes on from some steps before the failure with the eyes and the policy of the record (`same`), with
exact scenes (`eyes`), with a reference policy (`reflexes`), with both, several times with other luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from data_flywheel.episodes.episode import Episode, setbacks

EYES, REFLEXES, BOTH, WORLD = "eyes", "reflexes", "both", "world"
PARTIES = (EYES, REFLEXES, BOTH, WORLD)
SAME = "same"
LIFE, POINT, STUCK = "life lost", "point lost", "stuck"
TOLD = "told"  # a person says that something went wrong
STUCK_STEPS = 600  # decisions without a change of score or lives, at the end of a game
GROUP = 8  # steps: points lost closer together are one failure
ENOUGH = 0.5  # share of games that must go well before a swap counts as a cure
LUCK = 0.75  # ... before the parts of the record itself count as sound
CLEAR = 0.5  # by how much both swaps should better that share at once; else longer games are asked for
GAIN = 0.3  # by how much both swaps must better that share for anybody to be blamed

Outcomes = Mapping[str, Sequence[bool]]  # what was swapped -> did the game go well, luck by luck


class Failure(NamedTuple):
    """What went wrong, and at which step it showed. `since`: the step after the failure before it."""

    kind: str
    step: int
    since: int = 0


@dataclass(frozen=True)
class Verdict:
    """`who` is one of PARTIES, `way` "oracle swap" or "estimate"; `odds` per party where estimated."""

    who: str
    way: str
    failure: Failure
    evidence: tuple[str, ...]
    figures: dict[str, float] = field(default_factory=dict)
    odds: dict[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """One line for people and for the supervisor's evidence."""
        sure = f", {100 * self.odds[self.who]:.0f} % sure" if self.odds else ""
        return f"{self.who} ({self.way}{sure}): {'; '.join(self.evidence)}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "failure": self.failure._asdict(), "line": self.line}


def failures(episode: Episode, stuck: int = STUCK_STEPS) -> list[Failure]:
    """Lives and points lost, in order; last, a game that was cut after `stuck` steps in which nothing happened. Where
    every step has its reward, a step that is far worse than most counts as a point lost."""
    score = episode.rewards()
    lives = np.diff(episode.lives.astype(np.int64), prepend=episode.lives[:1])
    found: list[Failure] = []
    for step in np.flatnonzero((setbacks(score) < 0) | (lives < 0)).tolist():
        if not found or step - found[-1].step > GROUP:
            since = found[-1].step + 1 if found else 0
            found.append(Failure(LIFE if lives[step] < 0 else POINT, step, since))
    events = np.flatnonzero((score != 0) | (lives != 0))
    last = int(events[-1]) if len(events) else -1
    if len(episode) - 1 - last >= stuck:
        found.append(Failure(STUCK, len(episode) - 1, last + 1))
    return found


def helped(outcomes: Outcomes, what: str) -> bool:
    """Whether a swap made the game go well often enough."""
    return _share(outcomes, what) >= ENOUGH


def unclear(outcomes: Outcomes) -> bool:
    """Whether longer games must tell: what failed gets through with other luck, hardly less often than both swaps."""
    return helped(outcomes, BOTH) and _share(outcomes, BOTH) - _share(outcomes, SAME) < CLEAR


def judge(failure: Failure, outcomes: Outcomes, back: int) -> Verdict:
    """The verdict of a swap that began `back` steps before the failure."""
    same, eyes, reflexes, both = (_share(outcomes, what) for what in (SAME, EYES, REFLEXES, BOTH))
    cured = (same + both) / 2.0  # nearer to what both swaps reach than to how it was
    if both < ENOUGH:
        who, why = WORLD, "not even exact scenes with the reference policy got through"
    elif same >= LUCK:
        who, why = WORLD, "the same eyes and policy get through with other luck"
    elif both - same < GAIN:
        who, why = WORLD, "exact scenes and the reference policy make no difference"
    elif eyes < cured and reflexes < cured:
        who, why = BOTH, "neither exact scenes nor the reference policy alone got through, together they did"
    elif eyes >= reflexes:
        who, why = EYES, "with exact scenes the same policy gets through"
    else:
        who, why = REFLEXES, "with the same eyes the reference policy gets through, exact scenes alone do not help"
    told = ", ".join(f"{name} {sum(outcomes[what])}/{len(outcomes[what])}" for what, name in _NAMES if outcomes[what])
    evidence = (why, f"games gone well from {back} steps before: {told}")
    figures = {SAME: same, EYES: eyes, REFLEXES: reflexes, BOTH: both, "back": float(back)}
    return Verdict(who, "oracle swap", failure, evidence, figures)


CURED, FAILED = 0.8, 0.5  # shares of games from which on a swap surely helps, and up to which it surely does not


def surely(outcomes: Outcomes, back: int) -> str:
    """Whose a failure surely was, in words: one swap alone helps nearly always, the other and none at all at most every
    other time; "" where the games do not tell that. `back`: how many steps before it they began."""
    same, eyes, reflexes = (_share(outcomes, what) for what in (SAME, EYES, REFLEXES))
    if same > FAILED or (eyes >= CURED) == (reflexes >= CURED) or min(eyes, reflexes) > FAILED:
        return ""
    who, other = (EYES, REFLEXES) if eyes >= CURED else (REFLEXES, EYES)
    names = {EYES: "exact scenes", REFLEXES: "the reference policy"}
    well, of, alone = (f"{sum(outcomes[w])} of {len(outcomes[w])}" for w in (who, SAME, other))
    return (
        f"{who}: from {back} steps before, {names[who]} alone went well in {well} games, "
        f"as it was in {of}, {names[other]} alone in {alone}"
    )


_NAMES = (
    (SAME, "as it was"), (EYES, "with exact scenes"), (REFLEXES, "with the reference policy"), (BOTH, "with both"),
)  # fmt: skip


def _share(outcomes: Outcomes, what: str) -> float:
    well = outcomes[what]
    return sum(well) / len(well) if well else 0.0
