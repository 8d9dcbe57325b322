"""The second half of a trial: whatever the gate asks is found out, paid for, written down, and shown to the gate again.

Knows: how each question of the gate is answered. Does not know: how the gate decides (`supervisor.gate`), or how a
policy is played. Each answer is one event, and the evidence is made of events only, so a trial that was interrupted
goes on with the next open question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supervisor.edits.variants import Variant, size_of, variants
from supervisor.errors import SupervisorError
from supervisor.gate.gate import Ask, Evidence, Pair, Simpler, Verdict
from supervisor.gate.rules import over_limits
from supervisor.gate.seeds import BLOCK
from supervisor.loop.budget import BudgetSpent
from supervisor.loop.driver_answer import episode_steps, watch
from supervisor.loop.parts import Run
from supervisor.loop.run_state import Trial, score_data
from supervisor.protocols import Compiled

MOST_DEFECTS = 20


def judge(run: Run, trial: Trial) -> Verdict:
    """The verdict on a child. BudgetSpent leaves the trial open: with a larger budget it goes on."""
    watched = False
    while True:
        evidence = gather(run, trial)
        step = run.gate.next(evidence)
        if isinstance(step, Verdict):
            return step
        if not watched:
            watch(run, trial)
            watched = True
        try:
            _answer(run, trial, step)
        except BudgetSpent:
            if step.stage in ("probe", "simplify"):  # the full stage, or both blocks, are judged: that can be told
                return run.gate.conclude(evidence)
            raise


def gather(run: Run, trial: Trial) -> Evidence:
    """All that the events say about the child of a trial."""
    state, child = run.state, trial.child
    assert trial.read is not None
    if child is None:
        return Evidence(schema=tuple(trial.read["defects"]))
    made = state.compiled.get(child)
    full, confirm = trial.seeds.get("select", ()), trial.seeds.get("confirm", ())
    return Evidence(
        schema=tuple(trial.read["defects"]),
        compile=None if made is None else tuple(made["defects"]),
        measured=None if made is None else made["measured"],
        locks=_locks(run, trial, child),
        behaviour=state.behaviours.get((trial.parent, child)),
        known=_known(run, trial, child),
        full_seeds=full, full=_pairs(run, trial, child, full),
        confirm_seeds=confirm, confirm=_pairs(run, trial, child, confirm),
        simpler=_simpler(run, trial), child_size=size_of(trial.read["changes"]),
    )  # fmt: skip


def _locks(run: Run, trial: Trial, policy: str) -> dict[str, bool] | None:
    """A lock that the parent itself does not keep cannot be broken by its child."""
    parent = run.state.locks.get((trial.parent, trial.parent))
    own = run.state.locks.get((trial.parent, policy))
    if parent is None or own is None:
        return None
    return {name: held or not parent.get(name, True) for name, held in own.items()}


def _known(run: Run, trial: Trial, child: str) -> dict[str, str]:
    """Behaviours that have been judged: the parent's, and of every child of this parent but those that ran out of
    seeds. A text that was judged before is known whoever was its parent."""
    state = run.state
    assert state.started is not None
    judged = [t for t in state.trials if t.verdict and t.child and t.verdict["kind"] != "probe"]
    known = {}
    for t in reversed(judged):  # the first one that did so is named
        made = state.behaviours.get((t.parent, t.child or ""))
        if made is not None and t.parent == trial.parent:
            known[made] = f"trial {t.number}"
    own, parent = state.behaviours.get((trial.parent, child)), state.behaviours.get((trial.parent, trial.parent))
    again = {t.child: f"trial {t.number}" for t in reversed(judged)} | state.started.get("judged", {})
    if own is not None and child in again:
        known[own] = again[child]
    return known | ({parent: "its parent"} if parent is not None else {})


def _pairs(run: Run, trial: Trial, policy: str, seeds: Sequence[int]) -> dict[int, Pair]:
    scores, found = run.state.scores, {}
    for seed in seeds:
        parent, child = scores.get((trial.parent, seed)), scores.get((policy, seed))
        if parent is not None and child is not None:
            found[seed] = Pair(parent.score, child.score, parent.hard, child.hard)
    return found


def _simpler(run: Run, trial: Trial) -> tuple[Simpler, ...] | None:
    """None while there are variants that nobody has looked at."""
    if _next_variant(run, trial) is not None:
        return None
    seeds = trial.seeds.get("confirm", ())
    return tuple(
        Simpler(v["name"], v["size"], v["sound"], _pairs(run, trial, v["policy"], seeds)) for v in trial.variants
    )


def _next_variant(run: Run, trial: Trial) -> Variant | None:
    assert trial.read is not None
    if sum(v["sound"] for v in trial.variants) >= run.gate.config.simpler_most:
        return None
    found = variants(run.text(trial.parent), trial.read["changes"], run.parts.rules)
    return found[len(trial.variants)] if len(trial.variants) < len(found) else None


# --- answers


def _answer(run: Run, trial: Trial, step: Ask) -> None:
    """Do what the gate asks for; it ends in at least one event."""
    assert trial.child is not None
    if step.count and not step.seeds:
        _open_block(run, trial, "confirm" if step.stage == "confirm" else "select", step.count)
    elif step.seeds:
        policy = trial.child
        if step.who != "child":
            policy = next(v["policy"] for v in trial.variants if v["name"] == step.who)
        play(run, trial, "parent", trial.parent, step.seeds)
        play(run, trial, step.who, policy, step.seeds)
    elif step.stage in ("compile", "size"):
        if trial.child in run.state.compiled:
            known = ", ".join(run.state.compiled[trial.child]["measured"])
            raise SupervisorError(f"a limit of the gate names a figure that nobody measures; there are {known}")
        _compile(run, trial, trial.child)
    elif step.stage == "locks":
        for policy in (trial.parent, trial.child):
            _check_locks(run, trial, policy)
    elif step.stage == "duplicate":
        for policy in (trial.parent, trial.child):
            _behave(run, trial, policy)
    elif step.stage == "simplify":
        _try_variant(run, trial)
    else:
        raise AssertionError(f"the gate asks for {step}")


def _compile(run: Run, trial: Trial, policy: str) -> None:
    with run.meter.job("compiling", 10.0) as job:
        found = run.arena.compile(run.text(policy))
        data = {"trial": trial.number, "policy": policy, **_told(found)}
        job.settle("gate.compiled", data)


def _told(found: Compiled) -> dict[str, Any]:
    defects = [d[:600] for d in found.defects]
    more = [f"and {len(defects) - MOST_DEFECTS} more"] if len(defects) > MOST_DEFECTS else []
    return {"defects": defects[:MOST_DEFECTS] + more, "measured": dict(found.measured)}


def _check_locks(run: Run, trial: Trial, policy: str) -> None:
    if (trial.parent, policy) in run.state.locks:
        return
    arena = run.arena
    with run.meter.job("locks", 10.0, steps=arena.floors * episode_steps(run)) as job:
        held = dict(arena.locks(run.text(policy)))
        data = {"trial": trial.number, "policy": policy, "locks": held}
        job.settle("gate.locks", data, steps=arena.floor_frames)
    broken = [name for name, kept in held.items() if not kept]
    if broken and policy == trial.parent:
        run.parts.say(f"the parent itself breaks {', '.join(broken)}: its children need not keep that")


def _behave(run: Run, trial: Trial, policy: str) -> None:
    if (trial.parent, policy) not in run.state.behaviours:
        with run.meter.job("behaviour", 10.0) as job:
            made = run.arena.behaviour(run.text(policy))
            job.settle("gate.behaviour", {"trial": trial.number, "policy": policy, "hash": made})


def _open_block(run: Run, trial: Trial, role: str, count: int) -> None:
    assert trial.child is not None
    parent = trial.parent[:16]
    child = _ledger_name(run, trial.child[:16], parent)
    opened = run.ledger.select if role == "select" else run.ledger.confirm
    block = opened(child, parent, f"{run.name}, trial {trial.number}")
    if len(block) < count:
        raise SupervisorError(f"a block has {BLOCK} seeds, but the gate asks for {count}; use fewer looks")
    data = {"trial": trial.number, "role": role, "seeds": list(block[:count])}
    run.meter.record("gate.seeds", data)


def _ledger_name(run: Run, child: str, parent: str) -> str:
    """The child's name in the ledger, which knows each child with one parent only."""
    other = any(u.child == child and u.role == "select" and u.parent != parent for u in run.ledger.uses)
    return f"{child}.{parent[:8]}" if other else child


def play(run: Run, trial: Trial, who: str, policy: str, seeds: Sequence[int]) -> None:
    """Play what has not been played; BudgetSpent once not a single episode more is affordable."""
    text = run.text(policy)
    while todo := [s for s in seeds if (policy, s) not in run.state.scores]:
        jobs = {}
        for seed in todo:
            try:
                jobs[seed] = run.meter.reserve(f"episode {seed}", 5.0, steps=episode_steps(run))
            except BudgetSpent:
                if not jobs:
                    raise
                break
        before = len(jobs)
        try:
            began = run.meter.clock()
            for score in run.arena.play(text, list(jobs)):
                job = jobs.pop(score.seed)
                job.began, began = began, run.meter.clock()
                told = {"trial": trial.number, "who": who, "policy": policy, **score_data(score)}
                job.settle("gate.episode", told, steps=score.frames)
        finally:
            for job in jobs.values():
                job.reservation.abandon()
        if len(jobs) == before:
            raise SupervisorError(f"no episode of {who} could be played on seeds {todo[:5]}; look at the arena")


def _try_variant(run: Run, trial: Trial) -> None:
    """Whether one simpler variant is sound: everything before playing is asked of it as of any child."""
    variant = _next_variant(run, trial)
    assert variant is not None
    policy = run.blobs.put(variant.text.encode())
    with run.meter.job("a simpler variant", 20.0, steps=run.arena.floors * episode_steps(run)) as job:
        frames = 0
        found = run.arena.compile(variant.text)
        sound = not found.defects and not over_limits(_limited(run, found), run.gate.config.limits)
        if sound:
            parent = run.state.locks[trial.parent, trial.parent]
            held = run.arena.locks(variant.text)
            frames = run.arena.floor_frames
            sound = all(kept or not parent.get(name, True) for name, kept in held.items())
        if sound:
            sound = run.arena.behaviour(variant.text) not in _known(run, trial, policy)
        told = {"trial": trial.number, "name": variant.name, "policy": policy, "size": variant.size, "sound": sound}
        job.settle("gate.variant", told, steps=frames)


def _limited(run: Run, found: Compiled) -> dict[str, float]:
    """A figure for every limit; one that is missing exceeds it."""
    return {name: found.measured.get(name, float("nan")) for name in run.gate.config.limits}
