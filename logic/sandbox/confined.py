"""Play a stranger's compiled policy: `Controller`'s interface, with a hardened worker of its own for every episode.

Knows: what runs in the worker and what stays here, what a step is when the worker has ended. Does not know: text,
frames, scores.

In the worker: the policy, and safety rules whose text is a stranger's too. Here: everything else. Rules that ship with
Triune and the built-in one run on what comes back, so that code which got out of the language could still only choose
among the task's actions, under these rules. What the worker sends is checked; nothing of it is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from envs.actions import Action, ActionSpace
from logic.errors import LogicError
from logic.language import CompiledModule, CompiledProgram
from logic.language.artifact import read
from logic.language.program import Module
from logic.runtime.compiled import Logic, own
from logic.runtime.controller import FAULT, Controller, Decision
from logic.runtime.tracker import compile_tracker
from logic.sandbox import Kind, Limits, Outcome, Stopped, Worker
from logic.sandbox.confined_step import ACTIONS_MOST, FAULTED, Checker, Step, make_step, reply_of, request
from perception.scene import Scene, SceneSchema

# An episode. A decision takes 20 ms at worst by the compiler's estimate; the wall clock only ends what hangs.
LIMITS = Limits(start_s=60.0, wall_s=10.0, life_s=24 * 3600.0, cpu_s=3600, memory_mib=256)
KNOWN_MOST = 10_000  # replies


class ConfinedController(Controller):
    """A policy from `compile_confined` and the rules that are run here, for one episode at a time.

    `reset` starts a worker, `decide` asks it. When it ends early, `outcome` says how, and every remaining step of the
    episode is the fallback action with the outcome as its fault (rules that are run here still have the last word).
    `rules`: modules compiled from text that is trusted, in order of running; `titles` names the rules in the worker,
    which come before them. IsolationError from `reset` when `require_isolation` is set and a layer is missing.
    There is no deadline for a decision but `limits`.
    """

    def __init__(
        self, artifact: bytes, schema: SceneSchema, actions: ActionSpace, fallback: Action,
        rules: Sequence[CompiledModule] = (), limits: Limits = LIMITS, require_isolation: bool = False,
    ) -> None:  # fmt: skip
        if len(actions.names) > ACTIONS_MOST:
            told = f"the task has {len(actions.names)}"
            raise LogicError(f"at most {ACTIONS_MOST} actions can be run in isolation, {told}")
        made, fallback = read(artifact), own(actions.check(fallback))
        program = CompiledProgram(
            Module("policy.py", {}, (), {}, {}), _elsewhere, {reason: list(n) for reason, n in made.reasons.items()}
        )
        super().__init__(Logic(schema, actions, fallback, program, tuple(rules), compile_tracker(schema)))
        self.titles, self._reasons = made.titles, tuple(made.reasons)
        self._checker = Checker(actions, len(self._reasons), len(self.titles), fallback)
        self.outcome: Outcome | None = None
        start = partial(make_step, artifact, schema, actions, fallback)
        self._worker = Worker(start, 4 * schema.size, reply_of(actions).size, limits, require_isolation)
        self._step: Step = self._worker.step
        self._known: dict[bytes, Decision] = {}

    def reset(self) -> None:
        """Forget the episode: another worker, fresh memory."""
        super().reset()
        self.outcome, self._step = None, self._worker.step
        try:
            self._worker.start()
        except Stopped as stopped:
            self._end(stopped.outcome)

    def decide(self, scene: Scene) -> Decision:
        """The action for this scene. Never raises on a policy's account."""
        try:
            reply = self._step(request(scene.vector))
            asked = self._known.get(reply) or self._asked(reply)
        except Stopped as stopped:
            asked = self._end(stopped.outcome)
        action, reason, proposed, overruled, fault = asked
        for i, rule in self._rules:
            ruled, why = self._apply(rule, self.rule_memories[i], scene, action)
            fault = fault or why
            if ruled is not action and not self._same(ruled, action):
                overruled = (*overruled, rule.title)
                action = ruled
        if self._bounds is not None:
            action, limited = self._within(self._bounds, action)
            overruled += limited
        return Decision(action, reason, proposed, overruled, fault)

    def _asked(self, reply: bytes) -> Decision:
        """What a reply says. Without a fault it is kept: the next like it needs no check."""
        answer = self._checker.check(reply)
        if answer is None:
            self._worker.close()
            return self._end(Outcome(Kind.PROTOCOL, detail="a reply that no compiled policy gives"))
        reason = FAULT if answer.reason == FAULTED else self._reasons[answer.reason]
        names = self._names(answer.overruled)
        made = Decision(answer.action, reason, answer.proposed, names, answer.fault)
        if not answer.fault and len(self._known) < KNOWN_MOST:
            self._known[reply] = made
        return made

    def _end(self, outcome: Outcome) -> Decision:
        """From here on the episode is the fallback action."""
        self.outcome = outcome

        def ended(request: bytes) -> bytes:
            raise Stopped(outcome)

        self._step = ended
        return Decision(self.fallback, FAULT, self.fallback, (), f"isolated policy: {outcome}")

    def _names(self, bits: int) -> tuple[str, ...]:
        return tuple(title for i, title in enumerate(self.titles) if bits >> i & 1)

    def close(self) -> None:
        """End the worker. Safe to call twice; `reset` starts another."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _elsewhere(scene: Any, memory: Any) -> tuple[Action, str]:
    """What stands for the policy here."""
    raise LogicError("this policy runs in an isolated worker: ask the controller")
