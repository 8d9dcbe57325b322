"""The first half of a trial: evidence, the proposer's answer, the child that it makes.

Knows: what is shown, what is paid, how an answer becomes a text. Does not know: whether the text is any good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from data_flywheel.episodes.episode import Episode
from supervisor.edits.edits import Edit, EditError, apply
from supervisor.gate.seeds import TRAIN, role_of
from supervisor.loop import requests
from supervisor.loop.chain import plain
from supervisor.loop.parts import Gated, Run, Situation
from supervisor.loop.run_state import Trial
from supervisor.protocols import ProposerError, Reply, Request, Waiting

IDLE = ("perception_data", "stop")  # targets that change no policy
DEFECT_CHARS = 600
WORDS = ("target", "diagnosis", "hypothesis", "prediction", "lesson")


def training_seeds(run: Run) -> list[int]:
    """The training seeds of the present parent: each parent has its own, so that no few are learnt by heart."""
    shown = run.state.setting("shown")
    first = shown * sum(trial.accepted is not None for trial in run.state.trials)
    return [TRAIN[(first + i) % len(TRAIN)] for i in range(shown)]


def episodes_of(run: Run, trial: Trial, policy: str, seeds: Sequence[int]) -> list[Episode]:
    """Recorded training episodes, each played once in a run, its frames paid for."""
    for seed in seeds:
        if (policy, seed) in run.state.training:
            continue
        with run.meter.job(f"training episode {seed}", 20.0, steps=episode_steps(run)) as job:
            episode = run.arena.record(run.text(policy), [seed])[0]
            frames = int(episode.meta["frames"])
            told = {"trial": trial.number, "policy": policy, "seed": seed, "score": float(episode.meta["score"])}
            told |= {"frames": frames, "decisions": len(episode)}
            job.settle("evidence.episode", told, steps=frames)
    return run.arena.record(run.text(policy), seeds)


def episode_steps(run: Run) -> float:
    """Frames to set aside for one more episode: a little more than the longest one so far."""
    seen = [s.frames for s in run.state.scores.values()] + [s.frames for s in run.state.training.values()]
    return 1.1 * max(seen) if seen else run.arena.frames_per_episode


def watch(run: Run, trial: Trial) -> list[Episode]:
    """The parent's training episodes, on which the arena judges behaviour from here on."""
    episodes = episodes_of(run, trial, trial.parent, training_seeds(run))
    run.arena.watch(episodes)
    return episodes


def prepare(run: Run, trial: Trial, lines: Sequence[Mapping[str, Any]]) -> Request:
    """The request of this trial, made once and then kept."""
    if trial.request is None:
        episodes = watch(run, trial)
        gated = [s for (policy, seed), s in run.state.scores.items() if policy == trial.parent and _gate(seed)]
        gated.sort()
        situation = Situation(
            trial.number, run.text(trial.parent), episodes,
            {seed: run.state.training[trial.parent, seed].score for seed in training_seeds(run)},
            Gated(tuple(s.score for s in gated), sum(s.hard for s in gated) / len(gated)) if gated else None,
            lines, run.meter.told(),
        )  # fmt: skip
        with run.meter.job("evidence", 10.0) as job:
            request = run.parts.evidence(situation)
            job.settle("evidence.made", {"trial": trial.number, **requests.keep(request, run.blobs)})
    assert trial.request is not None
    return requests.fetch(trial.request, run.blobs)


def _gate(seed: int) -> bool:
    return role_of(seed) == "gate"


def ask(run: Run, trial: Trial, request: Request) -> None:
    """One answer, or the reason why there is none. ProposerError when asking again would be no use."""
    proposer = run.parts.proposer
    estimate = dict(proposer.estimate(request))
    with run.meter.job(f"proposal {trial.number}", estimate.pop("wall_s", 1.0), **estimate) as job:
        try:
            reply = proposer.propose(request)
        except ProposerError as error:
            told = {"trial": trial.number, "message": str(error)[:2000], "fatal": error.fatal}
            job.settle("proposal.failed", told, usd=error.usage.usd, tokens=error.usage.tokens)
            if error.fatal:
                raise
            return
        except Waiting:
            job.reservation.release()
            raise
        job.settle("proposal.received", _received(run, trial, reply), usd=reply.usage.usd, tokens=reply.usage.tokens)


def _received(run: Run, trial: Trial, reply: Reply) -> dict[str, Any]:
    secrets = run.meter.log.secrets
    turns = None
    if reply.turns:
        kept = plain(list(reply.turns), secrets)
        turns = run.blobs.put(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"))
    usage = {"tokens": reply.usage.tokens, "usd": reply.usage.usd, "seconds": reply.usage.seconds}
    answer = plain(reply.text, secrets).encode(errors="replace")
    name = run.parts.proposer.name
    return {"trial": trial.number, "proposer": name, "answer": run.blobs.put(answer), "turns": turns, "usage": usage}


def read(run: Run, trial: Trial) -> None:
    """What the answer says, and the child that its edit makes; everything that is wrong with it becomes a defect."""
    assert trial.answer is not None
    made = _read(run.text(trial.answer["answer"]))
    child = None
    if made["changes"]:
        try:
            text = apply(run.text(trial.parent), Edit.of(made["changes"]), run.parts.rules)
            if text == run.text(trial.parent):
                made["defects"] = ["the edit changes nothing"]
            else:
                child = run.blobs.put(text.encode())
        except EditError as error:
            made["defects"] = [f"{error.reason}: {error}"[:DEFECT_CHARS]]
    run.meter.record("proposal.read", {"trial": trial.number, **made, "child": child})


def _read(text: str) -> dict[str, Any]:
    from supervisor.edits.answer import AnswerError, read_answer

    try:
        told = read_answer(text).as_dict()
    except AnswerError as error:
        nothing: dict[str, Any] = {
            **dict.fromkeys(WORDS, ""),
            **dict.fromkeys(("changes", "locks", "data_requests"), []),
        }
        return nothing | {"defects": [str(d)[:DEFECT_CHARS] for d in error.defects]}
    lists = {"changes": told["edit"], "locks": told["new_locks"], "data_requests": told["data_requests"]}
    return {word: told[word] for word in WORDS} | lists | {"defects": []}
