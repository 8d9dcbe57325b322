"""Several trials that are judged together: what the later ones are asked, the games of all, and merged edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from supervisor.budget import BudgetSpent
from supervisor.edits.merge import Conflict, merged
from supervisor.gate.gate import Ask, Evidence, Verdict
from supervisor.gate.race import Race, Round
from supervisor.loop import folder as project
from supervisor.loop import trial as stages
from supervisor.loop.parts import Run
from supervisor.loop.state import Trial
from supervisor.protocols import Request, Section, Usage

# ----------------------------------------------------------------------------------------------------
# One more question about the same parent: the evidence of the first one, and what the others answered.


OTHERS = "Other answers of this round"
_ASKED = (
    "This question is asked several times, and the answers are judged against each other on the same games: one is "
    "kept. Answer with another idea than these, best about another cause."
)
_WORDS = 300  # characters of a hypothesis


def question(run: Run, trial: Trial) -> Request | None:
    """What a later trial of a race is asked; None for one that has to be made from games."""
    field = run.state.together
    if trial.race is None or trial is field[0]:
        return None
    if trial.request is None:
        with run.meter.job("evidence", 10.0) as job:
            told = project.keep(_beside(run, field), run.blobs)
            job.settle("evidence.made", {"trial": trial.number, **told})
    assert trial.request is not None
    return project.fetch(trial.request, run.blobs)


def _beside(run: Run, field: Sequence[Trial]) -> Request:
    """The first question as the last trial of the field is asked it."""
    assert field[0].request is not None
    first = project.fetch(field[0].request, run.blobs)
    if not first.sections:  # whoever asks for no evidence draws by the number of the trial
        return replace(first, trial=field[-1].number)
    told = [line for other in field[:-1] for line in _said(other)]
    return replace(
        first, trial=field[-1].number, sections=(*first.sections, Section(OTHERS, "\n".join([_ASKED, *told])))
    )


def _said(trial: Trial) -> list[str]:
    """What a trial has answered: its hypothesis, and the names that it changes."""
    from supervisor.evidence.context import quoted

    read = trial.read
    if read is None or not read["changes"]:
        return []
    names = ", ".join(next(str(c[k]) for k in ("replace", "add", "remove") if k in c) for c in read["changes"])
    return [f"- trial {trial.number} ({read['target']}): {quoted(read['hypothesis'], _WORDS)}; changes {names}"]


def affordable(run: Run, first: int) -> bool:
    """Whether the budgets allow one more question of a race."""
    request = run.state.trials[first - 1].request
    assert request is not None
    asked = replace(project.fetch(request, run.blobs), trial=len(run.state.trials) + 1)
    return run.meter.budgets.affords(**run.parts.proposer.estimate(asked))


# ----------------------------------------------------------------------------------------------------
# The games of a race, all of them one stream. Each answer is one event, as in a trial of its own.


def judge(run: Run, field: Sequence[Trial]) -> dict[int, Verdict]:
    """The verdicts on all children, by trial. BudgetSpent leaves the race open: with a larger budget it goes on.

    They become one event: a race that was cut off after it has the same end."""
    first = field[0].number
    kept = run.state.races[first].get("verdicts")
    if kept is None:
        ends = {trial.number: end for trial in field if (end := stages.idle(trial))}
        runners = {f"trial {trial.number}": trial for trial in field if trial.number not in ends}
        found = _verdicts(run, runners) if runners else {}
        ends |= {runners[name].number: verdict for name, verdict in found.items()}
        kept = {str(number): _plain(ends[number]) for number in sorted(ends)}
        run.meter.record("race.judged", {"race": first, "verdicts": kept})
    return {int(number): _verdict(told) for number, told in kept.items()}


def _plain(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"reasons": list(verdict.reasons), "numbers": dict(verdict.numbers)}


def _verdict(told: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**told, "reasons": tuple(told["reasons"])})


def _verdicts(run: Run, runners: Mapping[str, Trial]) -> Mapping[str, Verdict]:
    race, watched, said = Race(run.gate.config), False, set[str]()
    while True:
        children = {name: stages.gather(run, trial) for name, trial in runners.items()}
        found = race.next(children)
        for name, verdict in found.verdicts.items():
            if name not in said and found.asks:
                stages.tell(run, runners[name], f"out of the race: {'; '.join(verdict.reasons)}")
                said.add(name)
        if not found.asks:
            return found.verdicts
        if not watched:
            stages.watch(run, next(iter(runners.values())))
            watched = True
        try:
            _answer(run, runners, children, found)
        except BudgetSpent:
            if all(ask.stage in ("probe", "simplify") for ask in found.asks.values()):
                return race.conclude(children).verdicts
            raise


def _answer(run: Run, runners: Mapping[str, Trial], children: Mapping[str, Evidence], found: Round) -> None:
    """Do what the race asks for."""
    asks = found.asks
    unopened = [name for name, ask in asks.items() if ask.stage == "full" and ask.count and not ask.seeds]
    if unopened:
        racing = [runners[name] for name in runners if name not in found.verdicts]
        _open_block(run, racing, [runners[name] for name in unopened], asks[unopened[0]].count)
        return
    if not any(ask.seeds and ask.who == "child" for ask in asks.values()):
        for name, ask in asks.items():
            stages.answer(run, runners[name], ask)
        return
    first = next(iter(asks))
    stages.tell(run, runners[first], f"{stages.stage_of(asks[first], children[first])}, of {', '.join(asks)}")
    _play(run, {runners[name].number: (runners[name], ask) for name, ask in asks.items()})
    for name, ask in asks.items():
        stages.tell(run, runners[name], stages.so_far(run, runners[name], ask))


def _play(run: Run, asks: Mapping[int, tuple[Trial, Ask]]) -> None:
    """The children and their parent, whose games are played once."""
    leader = min(asks)
    sides = [stages.Side(asks[leader][0], "parent", asks[leader][0].parent)]
    sides += [stages.Side(trial, "child", trial.child or "") for trial, _ in asks.values()]
    seeds = list(dict.fromkeys(seed for _, ask in asks.values() for seed in ask.seeds))
    stages.play(run, sides, seeds)


def _open_block(run: Run, racing: Sequence[Trial], unopened: Sequence[Trial], count: int) -> None:
    """The selecting block of a race, for those that have none yet."""
    first = racing[0].race
    assert first is not None
    at = f"{run.name}, race {first}"
    names = [_name(run, trial, at) for trial in racing]
    block = run.ledger.race(names, racing[0].parent[:16], at, run.state.races[first]["draw"])
    for trial in unopened:
        stages.opened_block(run, trial, "select", block, count)


def _name(run: Run, trial: Trial, at: str) -> str:
    """A child's name in the ledger. One that has run out of games in an earlier trial is selected anew."""
    assert trial.child is not None
    name = stages.ledger_name(run, trial.child[:16], trial.parent[:16])
    before = any(use.child == name and use.role == "select" and use.at != at for use in run.ledger.uses)
    return f"{name}.{trial.race}" if before else name


# ----------------------------------------------------------------------------------------------------
# Children that nobody is asked for: an edit that did well, brought together with the one that was accepted.


HOPE = 0.1  # the largest p-value at which an edit that lost a race is worth the games
MERGED = 3  # edits that are tried in one race, those that gained most first


def mergeable(run: Run) -> list[int]:
    """Trials whose edit is to be merged into the policy that was just accepted; those that cannot be are told once."""
    state = run.state
    field = state.together
    before = field[0].number - 1 if field and field[0].open else len(state.trials)
    last = state.trials[before - 1] if before else None
    round_ = [t for t in state.trials[:before] if last and (t is last or t.race is not None and t.race == last.race)]
    won = next((t for t in round_ if t.accepted), None)
    if won is None:
        return []
    found = []
    for source in _promising(state.trials, round_, won):
        try:
            _merged(run, won, source)
            found.append(source.number)
        except Conflict as error:
            if (source.number, won.number) not in state.unmerged:
                told = {"trial": source.number, "into": won.number, "why": str(error)}
                run.meter.record("merge.refused", told)
                run.parts.say(f"trial {source.number} is not merged into trial {won.number}: {error}")
    return found[:MERGED]


def _promising(trials: Sequence[Trial], round_: Sequence[Trial], won: Trial) -> list[Trial]:
    """Trials that lost to the one that won and had gained; and, where that began from an older policy, the one that
    made the policy which it beat."""
    lost = [t for t in round_ if t.verdict and t.verdict["kind"] == "indecisive" and t.child and t.base == won.base]
    lost = [t for t in lost if t.verdict and t.verdict["numbers"].get("full_p", 1.0) <= HOPE]
    lost.sort(key=lambda t: -t.verdict["numbers"]["full_difference"] if t.verdict else 0.0)
    other = [t for t in trials if t.accepted and t.accepted["policy"] == won.parent and won.base != won.parent]
    return [*other, *lost]


def _merged(run: Run, won: Trial, source: Trial) -> list[dict[str, str]]:
    """The changes that bring one trial's edit into the policy that the other has made; Conflict."""
    assert won.accepted is not None
    theirs = source.accepted["policy"] if source.accepted else source.child
    return merged(run.text(won.base), run.text(won.accepted["policy"]), run.text(theirs or ""))


def merge(run: Run, trial: Trial) -> None:
    """The answer of a trial that is a merge, as if it had been asked for."""
    from supervisor.edits.answer import Answer

    assert trial.merged is not None
    won = next(t for t in reversed(run.state.trials) if t.accepted)
    source = run.state.trials[trial.merged - 1]
    edit = tuple(_merged(run, won, source))
    hypothesis = str((source.read or {}).get("hypothesis", ""))
    made = Answer(
        diagnosis=f"Trial {source.number} changed other things of the same policy than trial {won.number} and gained.",
        target="logic",
        hypothesis=f"What trials {won.number} and {source.number} gained adds up: {hypothesis}"[:_WORDS],
        prediction=f"The mean score rises above that of trial {won.number}.",
        edit=edit,
        lesson=f"If this fails: what trials {won.number} and {source.number} gained does not add up.",
    )
    told = {"trial": trial.number, "proposer": "merge", "answer": run.blobs.put(made.to_json().encode()), "turns": None}
    run.meter.record("proposal.received", told | {"usage": Usage().told()})
    stages.tell(run, trial, f"merging trial {source.number} into trial {won.number}")
