"""What follows a verdict of acceptance: the new policy's training episodes, a lock, and the event that installs both.

Knows: the order of these. Does not know: which moment is locked (autolock.py), how files are written (projection.py).
"""

from __future__ import annotations

from supervisor.autolock import best_episode, moments
from supervisor.budget import BudgetSpent
from supervisor.driver_answer import episodes_of, training_seeds
from supervisor.errors import SupervisorError
from supervisor.loop_types import Run
from supervisor.run_state import Trial

TRIES = 5  # moments tried until one can be locked


def accept(run: Run, trial: Trial) -> None:
    """Ends in `policy.accepted`, with a lock where one could be made and else a note that says why not."""
    assert trial.judged is not None
    policy = str(trial.judged["policy"])
    locks: dict[str, str] = {}
    note = ""
    if run.state.setting("auto_lock"):
        try:
            made = _lock(run, trial, policy)
            if made is None:
                note = "no lock: no moment at which the old and the new policy surely do the same and score"
            else:
                locks[made[0]] = run.blobs.put(made[1].encode())
        except (BudgetSpent, SupervisorError) as error:
            note = f"no lock: {error}"
    data = {"trial": trial.number, "policy": policy, "locks": list(locks), "files": locks, "note": note}
    run.meter.record("policy.accepted", data)
    if note:
        run.parts.say(note)


def _lock(run: Run, trial: Trial, policy: str) -> tuple[str, str] | None:
    """Name and text of a lock."""
    from logic.errors import LogicError

    texts = [run.text(trial.parent), run.text(policy)]
    number = run.state.revisions[policy]
    for episode in best_episode(episodes_of(run, trial, policy, training_seeds(run))):
        settled, fallback = run.arena.settled(texts, episode)
        for steps in moments(episode, settled, fallback)[:TRIES]:
            name = f"auto-r{number:02d}-{steps.start}"
            why = f"Accepted as r{number:02d}: at this moment old and new policy agree, and points follow."
            try:
                return name, run.arena.lock_text(texts[1], episode, steps, name, why)
            except LogicError:
                continue
    return None
