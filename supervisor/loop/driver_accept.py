"""What follows a verdict of acceptance: the new policy's training episodes, a lock, and the event that installs both.

Knows: the order of these. Does not know: how low a floor is (autolock.py), how files are written (projection.py).
"""

from __future__ import annotations

from data_flywheel.episodes.episode import Episode
from supervisor.loop.autolock import NAME, best_episode, floor_under
from supervisor.loop.budget import BudgetSpent
from supervisor.loop.driver_answer import episodes_of, training_seeds
from supervisor.loop.parts import Run
from supervisor.loop.run_state import Trial


def accept(run: Run, trial: Trial) -> None:
    """Ends in `policy.accepted`, with the locks that could be made and a note on those that could not."""
    assert trial.judged is not None
    policy = str(trial.judged["policy"])
    locks: dict[str, str] = {}
    notes: list[str] = []
    if run.state.setting("auto_lock"):
        try:
            locks, notes = _locks(run, trial, policy)
        except BudgetSpent as error:
            notes = [f"no lock: {error}"]
    files = {name: run.blobs.put(text.encode()) for name, text in locks.items()}
    data = {"trial": trial.number, "policy": policy, "locks": list(files), "files": files, "note": "; ".join(notes)}
    run.meter.record("policy.accepted", data)
    for note in notes:
        run.parts.say(note)


def _locks(run: Run, trial: Trial, policy: str) -> tuple[dict[str, str], list[str]]:
    """Names and texts of locks: a floor under the score, and the decisions that the answer asked for."""
    texts = [run.text(trial.parent), run.text(policy)]
    label = f"auto-r{run.state.revisions[policy]:02d}"
    made, notes = _asked_for(run, trial, texts, label)
    episodes = episodes_of(run, trial, policy, training_seeds(run))
    floor = floor_under([float(e.meta["score"]) for e in episodes])
    why = f"r{run.state.revisions[policy]:02d} was accepted; half of its worst training score must be left here."
    return made | {NAME: run.arena.floor_text(best_episode(episodes), floor, NAME, why)}, notes


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
            episode = run.arena.record(texts[0], [seed])[0]
            if step < len(episode) and run.arena.settled(texts, episode)[0][step]:
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
        return run.arena.lock_text(policy, episode, steps, name, note)
    except LogicError:
        return None
