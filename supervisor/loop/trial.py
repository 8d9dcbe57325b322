"""One trial: evidence and the answer to it, the games that the gate asks for, what follows an acceptance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from data_flywheel.episodes.episode import Episode
from supervisor.budget import Amount, BudgetSpent
from supervisor.edits.checks import too_many
from supervisor.edits.edits import Edit, EditError, Variant, apply, size_of, variants
from supervisor.errors import SupervisorError
from supervisor.events import plain
from supervisor.gate.gate import Ask, Evidence, Pair, Simpler, Verdict
from supervisor.gate.rules import figures, over_limits
from supervisor.gate.seeds import BLOCK, TRAIN, role_of
from supervisor.loop import folder as project
from supervisor.loop.parts import Gated, Refused, Run, Situation
from supervisor.loop.state import Job, Trial, score_data
from supervisor.protocols import Compiled, ProposerError, Reply, Request, Waiting

# ----------------------------------------------------------------------------------------------------
# The first half of a trial: evidence, the proposer's answer, the child that it makes.


IDLE = ("perception_data", "stop")  # targets that change no policy
DEFECT_CHARS = 600
WORDS = ("target", "diagnosis", "hypothesis", "prediction", "lesson")


def tell(run: Run, trial: Trial, text: str) -> None:
    """A line about what begins now, or what came of it: a run takes hours, and whoever waits sees where it is."""
    run.parts.say(f"trial {trial.number}: {text}"[:400])


def training_seeds(run: Run) -> list[int]:
    """The training seeds of the present parent: each parent has its own, so that no few are learnt by heart."""
    shown = run.state.setting("shown")
    first = shown * sum(trial.accepted is not None for trial in run.state.trials)
    return [TRAIN[(first + i) % len(TRAIN)] for i in range(shown)]


def episodes_of(run: Run, trial: Trial, policy: str, seeds: Sequence[int]) -> list[Episode]:
    """Recorded training episodes, each played once in a run, its frames paid for."""
    new = [seed for seed in seeds if (policy, seed) not in run.state.training]
    if new:
        other = "accepted" if trial.judged and policy == trial.judged["policy"] else "refused"
        kind = "present" if policy == trial.parent else "archived" if policy == trial.base else other
        whose = f"the {kind} policy"
        tell(run, trial, f"evidence: playing {len(new)} training game{'s' * (len(new) > 1)} of {whose}")
    jobs: dict[int, Job] = {}
    try:
        for seed in new:
            jobs[seed] = run.meter.reserve(f"training episode {seed}", 20.0, steps=episode_steps(run))
        for seed, episode in zip(new, run.evaluator.record(run.text(policy), new), strict=True):
            frames = int(episode.meta["frames"])
            told = {"trial": trial.number, "policy": policy, "seed": seed, "score": float(episode.meta["score"])}
            told |= {"frames": frames, "decisions": len(episode)}
            jobs.pop(seed).settle("evidence.episode", told, steps=frames)
    finally:
        for job in jobs.values():
            job.reservation.abandon()
    return run.evaluator.record(run.text(policy), seeds)


def episode_steps(run: Run) -> float:
    """Frames to set aside for one more episode: a little more than the longest one so far."""
    seen = [s.frames for s in run.state.scores.values()] + [s.frames for s in run.state.training.values()]
    return 1.1 * max(seen) if seen else run.evaluator.frames_per_episode


def watch(run: Run, trial: Trial, policy: str = "") -> list[Episode]:
    """The training episodes of the parent, or of `policy`: the evaluator judges behaviour on them from here on."""
    episodes = episodes_of(run, trial, policy or trial.parent, training_seeds(run))
    run.evaluator.watch(episodes)
    return episodes


def prepare(run: Run, trial: Trial, lines: Sequence[Mapping[str, Any]]) -> Request:
    """The request of this trial, made once and then kept: about the text that the edit is to be of."""
    base = trial.base
    if trial.request is None:
        if base != trial.parent:
            watch(run, trial)
        episodes = watch(run, trial, base)
        gated = [s for (policy, seed), s in run.state.scores.items() if policy == base and _gate(seed)]
        gated.sort()
        situation = Situation(
            trial.number, run.text(base), episodes,
            {seed: run.state.training[base, seed].score for seed in training_seeds(run)},
            Gated(tuple(s.score for s in gated), sum(s.hard for s in gated) / len(gated)) if gated else None,
            lines, run.meter.told(), run.state.locks.get((trial.parent, base), {}), refused(run, trial),
        )  # fmt: skip
        with run.meter.job("evidence", 10.0) as job:
            request = run.parts.evidence(situation)
            job.settle("evidence.made", {"trial": trial.number, **project.keep(request, run.blobs)})
    assert trial.request is not None
    return project.fetch(trial.request, run.blobs)


SPARED = 0.05  # of the frames that are left: what games of a refused child may take


def refused(run: Run, trial: Trial) -> Refused | None:
    """The last child of this parent that could be played and was not kept, with a few training games of its own: on the
    parent's seeds, so that it shows where they part. None where there is none, or its games cost too much."""
    found = [
        t for t in run.state.trials
        if (t.parent, t.base) == (trial.parent, trial.base) and t.verdict and t.child and not t.won
        and not run.state.compiled.get(t.child, {"defects": True})["defects"]
    ]  # fmt: skip
    seeds = training_seeds(run)[: run.parts.refused]
    if not found or not seeds:
        return None
    last = found[-1]
    assert last.child is not None
    left = run.meter.told()["steps"]["left"]
    new = [seed for seed in seeds if (last.child, seed) not in run.state.training]
    if left is not None and len(new) * episode_steps(run) > SPARED * left:
        return None
    try:
        return Refused(last.number, episodes_of(run, trial, last.child, seeds))
    except BudgetSpent:
        return None


def _gate(seed: int) -> bool:
    return role_of(seed) == "gate"


def ask(run: Run, trial: Trial, request: Request) -> None:
    """One answer, or the reason why it is none. ProposerError when nothing was said: only answers are trials."""
    proposer = run.parts.proposer
    estimate = dict(proposer.estimate(request))
    none: dict[str, Amount] = {"steps": 0.0} if "steps" in estimate else {}
    tell(run, trial, f"asking {proposer.name}")
    with run.meter.job(f"proposal {trial.number}", estimate.pop("wall_s", 1.0), **estimate) as job:
        try:
            reply = proposer.propose(request)
        except ProposerError as error:
            told = {"trial": trial.number, "message": str(error)[:2000], "fatal": error.fatal}
            told |= {} if error.wait is None else {"wait_s": round(error.wait, 3)}
            played = none | error.usage.played()
            job.settle("proposal.failed", told, usd=error.usage.usd, tokens=error.usage.tokens, **played)
            tell(run, trial, f"no answer: {error}")
            if error.fatal:
                raise
            return
        except Waiting:
            job.reservation.release()
            raise
        used, played = reply.usage, none | reply.usage.played()
        job.settle("proposal.received", _received(run, trial, reply), usd=used.usd, tokens=used.tokens, **played)


def _received(run: Run, trial: Trial, reply: Reply) -> dict[str, Any]:
    secrets = run.meter.log.secrets
    turns = None
    if reply.turns:
        kept = plain(list(reply.turns), secrets)
        turns = run.blobs.put(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"))
    answer = plain(reply.text, secrets).encode(errors="replace")
    name = run.parts.proposer.name
    told = {"trial": trial.number, "proposer": name, "answer": run.blobs.put(answer), "turns": turns}
    return told | {"usage": reply.usage.told()}


def read(run: Run, trial: Trial) -> None:
    """What the answer says, and the child that its edit makes; everything that is wrong with it becomes a defect."""
    assert trial.answer is not None
    made = _read(run.text(trial.answer["answer"]), run.gate.config.most_changes)
    child = None
    if made["changes"]:
        try:
            text = apply(run.text(trial.base), Edit.of(made["changes"]), run.parts.rules)
            if text == run.text(trial.base):
                made["defects"] = ["the edit changes nothing"]
            else:
                child = run.blobs.put(text.encode())
        except EditError as error:
            made["defects"] = [f"{error.reason}: {error}"[:DEFECT_CHARS]]
    # Not before: whoever answers cannot have known it. For a race it is drawn when the last answer is there.
    draw = run.parts.draw() if trial.race is None else ""
    drawn = {"draw": draw} if draw else {}
    run.meter.record("proposal.read", {"trial": trial.number, **made, "child": child, **drawn})
    changes = len(made["changes"])
    words = "; ".join(map(str, made["defects"])) or " ".join(str(made["diagnosis"]).split())
    tell(run, trial, f"answer: {changes or 'no'} change{'s' * (changes != 1)}: {words}")


def _read(text: str, most: int) -> dict[str, Any]:
    from supervisor.edits.answer import AnswerError, Defect, read_answer

    try:
        told = read_answer(text).as_dict()
        if len(told["edit"]) > most:
            raise AnswerError([Defect("edit", too_many(len(told["edit"]), most))])
    except AnswerError as error:
        nothing: dict[str, Any] = {
            **dict.fromkeys(WORDS, ""),
            **dict.fromkeys(("changes", "locks", "data_requests"), []),
        }
        return nothing | {"defects": [str(d)[:DEFECT_CHARS] for d in error.defects]}
    lists = {"changes": told["edit"], "locks": told["new_locks"], "data_requests": told["data_requests"]}
    return {word: told[word] for word in WORDS} | lists | {"defects": []}


# ----------------------------------------------------------------------------------------------------
# The second half of a trial: whatever the gate asks is found out, paid for, written down, and shown to the gate
# again.
#
# Each answer is one event, and the evidence is made of events only, so a trial that was interrupted goes on with
# the next open question.


MOST_DEFECTS = 20


def idle(trial: Trial) -> Verdict | None:
    """The verdict on a trial that leaves nothing to judge."""
    if trial.failed is not None:
        return Verdict("invalid", "schema", (f"no answer: {trial.failed}"[:600],))
    assert trial.read is not None
    if trial.read["target"] in IDLE and not trial.read["defects"]:
        return Verdict("indecisive", "schema", (f"changes no policy: target {trial.read['target']}",))
    return None


def judge(run: Run, trial: Trial) -> Verdict:
    """The verdict on a child. BudgetSpent leaves the trial open: with a larger budget it goes on."""
    watched, told = False, ""
    while True:
        evidence = gather(run, trial)
        step = run.gate.next(evidence)
        if isinstance(step, Verdict):
            return step
        stage = "" if step.count and not step.seeds else stage_of(step, evidence)
        if stage and stage != told:
            tell(run, trial, stage)
            told = stage
        if not watched:
            watch(run, trial)
            watched = True
        try:
            answer(run, trial, step)
            if step.seeds:
                tell(run, trial, so_far(run, trial, step))
        except BudgetSpent:
            if step.stage in ("probe", "simplify"):  # the full stage, or both blocks, are judged: that can be told
                return run.gate.conclude(evidence)
            raise


def stage_of(step: Ask, evidence: Evidence) -> str:
    """The stage of the gate; how many paired games are behind it, and how many come next."""
    if not step.seeds:
        return step.stage
    pairs = len(evidence.confirm if step.stage == "confirm" else evidence.full)
    of = "" if step.who == "child" else f" of the simpler {step.who}"
    return f"{step.stage}: {pairs} pairs so far, playing {len(step.seeds)} more{of}"


def so_far(run: Run, trial: Trial, step: Ask) -> str:
    """How the interval narrows: the paired difference after the games that were just played."""
    evidence = gather(run, trial)
    pairs: Sequence[Pair] = list((evidence.confirm if step.stage == "confirm" else evidence.full).values())
    if step.who != "child":
        pairs = next(list(s.pairs.values()) for s in evidence.simpler or () if s.name == step.who)
    found = figures("x", [p for p in pairs if p.finite()]) if any(p.finite() for p in pairs) else {}
    if not found:
        return "no finite score"
    low, high = found.get("x_low95", -math.inf), found.get("x_high95", math.inf)
    told = f"{found['x_parent']:.4g} -> {found['x_child']:.4g} in {len(pairs)} pairs"
    return f"{told}: {found['x_difference']:+.4g} [{low:+.4g}, {high:+.4g}], p {found['x_p']:.4f}"


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
        full_seeds=full, full=pairs_of(run, trial, child, full),
        confirm_seeds=confirm, confirm=pairs_of(run, trial, child, confirm),
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
    race = [t for t in state.trials if t.race is not None and t.race == trial.race]
    judged = [t for t in state.trials if t.verdict and t.child and t.verdict["kind"] != "probe" and t not in race]
    judged += [t for t in race if t.number < trial.number and (t.parent, t.child) in state.behaviours]
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


def pairs_of(run: Run, trial: Trial, policy: str, seeds: Sequence[int]) -> dict[int, Pair]:
    """Those of the seeds that both the trial's parent and `policy` have played."""
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
        Simpler(v["name"], v["size"], v["sound"], pairs_of(run, trial, v["policy"], seeds)) for v in trial.variants
    )


def _next_variant(run: Run, trial: Trial) -> Variant | None:
    assert trial.read is not None
    if sum(v["sound"] for v in trial.variants) >= run.gate.config.simpler_most:
        return None
    found = _variants(run.text(trial.base), json.dumps(trial.read["changes"]), run.parts.rules)
    return found[len(trial.variants)] if len(trial.variants) < len(found) else None


@cache
def _variants(parent: str, changes: str, rules: frozenset[str]) -> list[Variant]:
    return variants(parent, json.loads(changes), rules)


# --- answers


def answer(run: Run, trial: Trial, step: Ask) -> None:
    """Do what the gate asks for; it ends in at least one event."""
    assert trial.child is not None
    if step.count and not step.seeds:
        _open_block(run, trial, "confirm" if step.stage == "confirm" else "select", step.count)
    elif step.seeds:
        policy = trial.child
        if step.who != "child":
            policy = next(v["policy"] for v in trial.variants if v["name"] == step.who)
        play(run, [Side(trial, "parent", trial.parent), Side(trial, step.who, policy)], step.seeds)
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
        found = run.evaluator.compile(run.text(policy))
        data = {"trial": trial.number, "policy": policy, **_told(found)}
        job.settle("gate.compiled", data)


def _told(found: Compiled) -> dict[str, Any]:
    defects = [d[:600] for d in found.defects]
    more = [f"and {len(defects) - MOST_DEFECTS} more"] if len(defects) > MOST_DEFECTS else []
    return {"defects": defects[:MOST_DEFECTS] + more, "measured": dict(found.measured)}


def _check_locks(run: Run, trial: Trial, policy: str) -> None:
    if (trial.parent, policy) in run.state.locks:
        return
    evaluator = run.evaluator
    with run.meter.job("locks", 10.0, steps=evaluator.floors * episode_steps(run)) as job:
        held = dict(evaluator.locks(run.text(policy)))
        data = {"trial": trial.number, "policy": policy, "locks": held}
        job.settle("gate.locks", data, steps=evaluator.floor_frames)
    broken = [name for name, kept in held.items() if not kept]
    if broken and policy == trial.parent:
        run.parts.say(f"the parent itself breaks {', '.join(broken)}: its children need not keep that")


def _behave(run: Run, trial: Trial, policy: str) -> None:
    if (trial.parent, policy) not in run.state.behaviours:
        with run.meter.job("behaviour", 10.0) as job:
            made = run.evaluator.behaviour(run.text(policy))
            job.settle("gate.behaviour", {"trial": trial.number, "policy": policy, "hash": made})


def _open_block(run: Run, trial: Trial, role: str, count: int) -> None:
    assert trial.child is not None and trial.read is not None
    parent = trial.parent[:16]
    child = ledger_name(run, trial.child[:16], parent)
    opened = run.ledger.select if role == "select" else run.ledger.confirm
    draw = trial.read.get("draw", "") if trial.race is None else run.state.races[trial.race]["draw"]
    block = opened(child, parent, f"{run.name}, trial {trial.number}", draw)
    opened_block(run, trial, role, block, count)


def opened_block(run: Run, trial: Trial, role: str, block: Sequence[int], count: int) -> None:
    """Write down that so many seeds of a block are there for a trial's child."""
    if len(block) < count:
        raise SupervisorError(f"a block has {BLOCK} seeds, but the gate asks for {count}; use fewer looks")
    data = {"trial": trial.number, "role": role, "seeds": list(block[:count])}
    run.meter.record("gate.seeds", data)


def ledger_name(run: Run, child: str, parent: str) -> str:
    """The child's name in the ledger, which knows each child with one parent only."""
    other = any(u.child == child and u.role == "select" and u.parent != parent for u in run.ledger.uses)
    return f"{child}.{parent[:8]}" if other else child


class Side(NamedTuple):
    """Who plays, and which policy, for whose trial."""

    trial: Trial
    who: str
    policy: str


def play(run: Run, sides: Sequence[Side], seeds: Sequence[int]) -> None:
    """Play what has not been played, all of it as one stream.

    BudgetSpent once not a single episode more is affordable. Pairs come in the order of the seeds, so that what a
    budget still allows makes whole pairs.
    """
    whose = {side.policy: side for side in sides}
    wanted = [(policy, seed) for seed in seeds for policy in whose]
    while todo := [game for game in wanted if game not in run.state.scores]:
        jobs: dict[tuple[str, int], Job] = {}
        for policy, seed in todo:
            try:
                jobs[policy, seed] = run.meter.reserve(f"episode {seed}", 5.0, steps=episode_steps(run))
            except BudgetSpent:
                if not jobs:
                    raise
                break
        before, frames = len(jobs), 0
        texts = {policy: run.text(policy) for policy in whose}
        named = {text: policy for policy, text in texts.items()}
        try:
            began = start = run.meter.clock()
            for text, score in run.evaluator.play([(texts[policy], seed) for policy, seed in jobs]):
                policy = named[text]
                job = jobs.pop((policy, score.seed))
                job.began, began = began, run.meter.clock()
                side = whose[policy]
                told = {"trial": side.trial.number, "who": side.who, "policy": policy, **score_data(score)}
                job.settle("gate.episode", told, steps=score.frames)
                frames += score.frames
                _progress(run, sides, before - len(jobs), before, frames, began - start)
        finally:
            for job in jobs.values():
                job.reservation.abandon()
        if len(jobs) == before:
            raise SupervisorError(f"no episode could be played on seeds {list(seeds[:5])}; look at the evaluator")


def _progress(run: Run, sides: Sequence[Side], done: int, total: int, frames: int, seconds: float) -> None:
    """Which games are played, and how long the rest of them takes."""
    left = (total - done) * seconds / done
    numbers = sorted({side.trial.number for side in sides})
    whose = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))}"
    text = f"{whose}: {done} of {total} games, {frames / 1000:,.0f} k frames"
    run.parts.progress(done, total, f"{text}, {left:.0f} s left" if done < total else text)


def _try_variant(run: Run, trial: Trial) -> None:
    """Whether one simpler variant is sound: everything before playing is asked of it as of any child."""
    variant = _next_variant(run, trial)
    assert variant is not None
    policy = run.blobs.put(variant.text.encode())
    with run.meter.job("a simpler variant", 20.0, steps=run.evaluator.floors * episode_steps(run)) as job:
        frames = 0
        found = run.evaluator.compile(variant.text)
        sound = not found.defects and not over_limits(_limited(run, found), run.gate.config.limits)
        if sound:
            parent = run.state.locks[trial.parent, trial.parent]
            held = run.evaluator.locks(variant.text)
            frames = run.evaluator.floor_frames
            sound = all(kept or not parent.get(name, True) for name, kept in held.items())
        if sound:
            sound = run.evaluator.behaviour(variant.text) not in _known(run, trial, policy)
        told = {"trial": trial.number, "name": variant.name, "policy": policy, "size": variant.size, "sound": sound}
        job.settle("gate.variant", told, steps=frames)


def _limited(run: Run, found: Compiled) -> dict[str, float]:
    """A figure for every limit; one that is missing exceeds it."""
    return {name: found.measured.get(name, float("nan")) for name in run.gate.config.limits}


# ----------------------------------------------------------------------------------------------------
# How far an accepted policy may be lost again: a floor under the score of one training seed.
#
# A lock on decisions would forbid better revisions: where two policies of one family surely agree, a wiser one may
# well decide otherwise (both followed a rising ball; the next one waited where it would come down). A score says
# what was won without saying how. Games are noisy, hence the seed that went best and a floor far below the worst of
# the others.


SHARE = 0.5  # of the worst score's size, by which the floor lies below it
NAME = "auto-floor"  # one lock: each accepted policy replaces it


def best_episode(episodes: Sequence[Episode]) -> Episode:
    """The one with the highest score; of equal ones that of the lowest seed."""
    return min(episodes, key=lambda e: (-float(e.meta["score"]), int(e.meta["seed"])))


def floor_under(scores: Sequence[float]) -> float:
    """A score that a better policy hardly ever misses on the seed that went best: a whole number where all scores are,
    else one of three digits or so."""
    worst = min(scores)
    floor = worst - SHARE * abs(worst)
    if all(float(score).is_integer() for score in scores):
        return math.floor(floor)
    unit = 10.0 ** (math.floor(math.log10(abs(floor))) - 2) if floor else 1.0
    return float(f"{math.floor(floor / unit) * unit:.12g}")


def _left(scores: Sequence[float]) -> str:
    """What a floor under these scores asks for, in words."""
    if min(scores) >= 0:
        return "half of its worst training score must be left here."
    return "the score here must not fall below its worst training score by more than half of that."


# ----------------------------------------------------------------------------------------------------
# What follows a verdict of acceptance: the new policy's training episodes, a lock, and the event that installs
# both.


def accept(run: Run, trial: Trial) -> None:
    """Ends in `policy.accepted`, with the locks that could be made and a note on those that could not."""
    assert trial.judged is not None
    policy = str(trial.judged["policy"])
    locks: dict[str, str] = {}
    notes: list[str] = []
    if run.state.setting("auto_lock"):
        try:
            locks, notes = _new_locks(run, trial, policy)
        except BudgetSpent as error:
            notes = [f"no lock: {error}"]
    files = {name: run.blobs.put(text.encode()) for name, text in locks.items()}
    data = {"trial": trial.number, "policy": policy, "locks": list(files), "files": files, "note": "; ".join(notes)}
    run.meter.record("policy.accepted", data)
    for note in notes:
        run.parts.say(note)


def _new_locks(run: Run, trial: Trial, policy: str) -> tuple[dict[str, str], list[str]]:
    """Names and texts of locks: a floor under the score, and the decisions that the answer asked for."""
    texts = [run.text(trial.parent), run.text(policy)]
    label = f"auto-r{run.state.revisions[policy]:02d}"
    made, notes = _asked_for(run, trial, texts, label)
    episodes = episodes_of(run, trial, policy, training_seeds(run))
    scores = [float(e.meta["score"]) for e in episodes]
    why = f"r{run.state.revisions[policy]:02d} was accepted; {_left(scores)}"
    return made | {NAME: run.evaluator.floor_text(best_episode(episodes), floor_under(scores), NAME, why)}, notes


def _asked_for(run: Run, trial: Trial, texts: list[str], label: str) -> tuple[dict[str, str], list[str]]:
    """Decisions that the answer wants kept, in the episodes it was shown, where old and new policy surely agree."""
    assert trial.read is not None
    made: dict[str, str] = {}
    notes = []
    for wish in trial.read["locks"]:
        seed, step = int(wish["seed"]), int(wish["step"])
        name = f"{label}-{seed}-{step}"
        text = None
        if seed in training_seeds(run):
            episode = run.evaluator.record(texts[0], [seed])[0]
            if step < len(episode) and run.evaluator.settled(texts, episode)[0][step]:
                text = _text(run, texts[1], episode, range(step, step + 1), name, str(wish["why"]))
        if text is None:
            notes.append(f"not locked: seed {seed}, step {step}: not shown, or the policies do not surely agree there")
        else:
            made[name] = text
    return made, notes


def _text(run: Run, policy: str, episode: Episode, steps: range, name: str, why: str) -> str | None:
    """The lock's file, or None when the policy does not decide so from fresh memory."""
    from logic.errors import LogicError

    note = f"{name.split('-')[1]}: {' '.join(why.split())}"
    try:
        return run.evaluator.lock_text(policy, episode, steps, name, note)
    except LogicError:
        return None
