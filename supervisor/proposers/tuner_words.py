"""What a search came to, as an answer: measured numbers, the changed lines, a prediction that could turn out false.

Knows: the race at its end. Does not know: how it was run.
"""

from __future__ import annotations

from supervisor.edits.answer import Answer
from supervisor.edits.edits import apply, source
from supervisor.errors import SupervisorError
from supervisor.gate import statistics as stats
from supervisor.proposers.search_race import Race

HOPE = 0.2  # the largest p-value of a gain on training seeds that is worth the gate's games
MOST_NAMED = 8


def answer(race: Race, why: str) -> Answer:
    """An edit of the constants, or target "stop" when the search found nothing that is worth the gate's games."""
    if race.leader == race.start or race.chance() > HOPE:
        return _nothing(race, why)
    changed = race.space.changed(race.leader)
    parent, child = race.space.text, race.space.policy(race.leader)
    names = [race.space.names[i] for i in changed]
    edit = [{"replace": name, "code": source(child, name)} for name in names]
    if apply(parent, edit) != child:
        raise SupervisorError(f"the lines of {', '.join(names)} cannot be replaced one by one; one constant a line")
    n, gain = len(race.differences()), race.gain()
    now, before = race.mean(race.leader, n), race.mean(race.start, n)
    least = max(gain / 2, stats.lower_bound(race.differences(), HOPE))
    return Answer(
        diagnosis=_effort(race, why),
        target="constants",
        hypothesis=f"{_moves(race, changed)}: mean {now:.1f} against {before:.1f} "
        f"on the same {n} training seeds (p {race.chance():.3f}).",
        prediction=f"On seeds that the search has not seen, the mean score rises by more than {least:.1f}.",
        edit=tuple(edit),
        lesson=f"If this fails: {', '.join(names[:MOST_NAMED])} at these values fit {n} training seeds, not the game; "
        "a gain has to show on more of them.",
    )  # fmt: skip


def _nothing(race: Race, why: str) -> Answer:
    n = len(race.scores[race.leader])
    best = "none of them beat the incumbent"
    if race.leader != race.start:
        best = f"the best is {race.gain():+.1f} on {n} seeds, which may well be luck (p {race.chance():.3f})"
    elif len(set(race.scores[race.start])) == 1:
        best += f", which scores {race.scores[race.start][0]:g} on every seed"
    said = f"{_effort(race, why)} {best[0].upper()}{best[1:]}. Constants are not what holds this policy back, or their "
    return Answer(said + "ranges are too narrow.", "stop", "", "", lesson="")


def _effort(race: Race, why: str) -> str:
    names, games = race.space.names, race.games
    return (
        f"{len(race.scores)} settings of {len(names)} constants ({', '.join(names[:MOST_NAMED])}"
        f"{', ...' if len(names) > MOST_NAMED else ''}) played {games.count()} games on training seeds; ended because "
        f"{why}."
    )


def _moves(race: Race, changed: list[int]) -> str:
    told = [f"{race.space.names[i]} {race.start[i]:g} -> {race.leader[i]:g}" for i in changed]
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(told[:MOST_NAMED]) + more
