"""What no trial changes: the contract of a policy, the rules above it, its own text, and the question.

Knows: the schema, the actions, the protocol, the texts. Does not know: what happened, how an answer is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator

from perception.scene import SceneSchema
from supervisor.evidence.context import Context
from supervisor.evidence.text import clean, number, numbered, word

_SLOT = (
    "A slot has `seen` (bool: detected in this frame), `x`, `y` (px, centre of the visible box; origin top left, x "
    "right, y down), `w`, `h` (px), `vx`, `vy` (px per agent step), `sure` (probability). A slot that is not seen may "
    "be carried on by the tracker for a few steps with falling `sure`; else all its values are 0."
)
QUESTION = (
    "Improve the policy. Judge by the mean score on seeds that you have not seen: a change is accepted only if it is "
    "better there beyond chance, keeps every lock, needs no more interventions, and leaves the worst tenth no worse. "
    "Rules for single seeds, step numbers or recorded positions cannot help.",
    "Find the one cause that costs most, and change what mends it. Do not repeat a direction that failed unless you "
    "can say what is different now.",
    "Answer with:",
    "- diagnosis: what goes wrong and why, with the failures (F1, F2 ...) and steps that show it",
    "- target: logic (functions), constants (values of tunables), perception_data (the scene itself is wrong: ask for "
    "frames), or stop (nothing is worth trying)",
    "- hypothesis: what the change does about the cause",
    "- prediction: what will be measured if the hypothesis is right, so that it can turn out false",
    "- edit: whole functions, constants or Memory of policy.py, replaced, added or removed by name; nothing else can "
    "change",
    "- new_locks: moments (seed, step) that a revision must never unlearn, if any",
    "- data_requests: kinds of frames the eyes should learn from, if any",
    "- lesson: what is learnt if the trial fails",
)


def contract(context: Context) -> list[str]:
    """What a policy is given and must return; one block a paragraph."""
    c = context
    return [
        f"Task {word(c.task)}, trial {c.trial}. `act(scene, memory)` is called once per agent step and returns an "
        'action and a reason: `return LEFT, "why"`. It sees the scene and its own Memory, nothing else: no pixels, '
        "score, lives or step number.",
        f"Actions: {', '.join(f'{clean(a)} = {i}' for i, a in enumerate(c.actions))}.",
        _protocol(c),
        _SLOT,
        *_scene(c.schema),
    ]  # fmt: skip


def _protocol(c: Context) -> str:
    p = c.protocol
    sticky = f"per emulated frame the game repeats its previous action with probability {number(p.sticky, 3)}"
    known = ", ".join(f"{clean(k)} = {number(v, 6)}" for k, v in c.constants.items() if k not in c.actions)
    return (
        f"Protocol {word(p.name)}: one decision per {p.frameskip} emulated frames; "
        f"{sticky if p.sticky else 'actions are carried out as given'}; up to {p.noop_max} idle frames at the start; "
        f"at most {p.max_frames} emulated frames. Constants that a policy can use: {known or 'none'}."
    )


def _scene(schema: SceneSchema) -> Iterator[str]:
    top, left, bottom, right = schema.crop
    yield f"Looked at: x from {left} to {right}, y from {top} to {bottom}."
    for t in schema.things:
        name = f"scene.{t.name}" if t.count == 1 else f"scene.{t.name}[0 .. {t.count - 1}]"
        yield (
            f"- {name}: thing of about {number(t.size[0])} x {number(t.size[1])} px, at most "
            f"{number(t.max_speed)} px per step{', required' if t.required else ''}"
        )
    for g in schema.grids:
        yield (
            f"- scene.{g.name}[row, col]: grid of bools, {g.rows} rows x {g.cols} columns, cells of "
            f"{number(g.cell[0])} x {number(g.cell[1])} px, the first one's top left corner at x {number(g.left)}, "
            f"y {number(g.top)}"
        )
    for gauge in schema.gauges:
        yield f"- scene.{gauge.name}: number read off the screen, {number(gauge.low)} to {number(gauge.high)}"


def rules(context: Context) -> list[str]:
    """The safety text with line numbers."""
    above = "These rules run after the policy, may replace its action, and cannot be changed or reached by a revision."
    if not context.safety.strip():
        return [above, "(This task has none of its own.)"]
    return [above, *numbered(context.safety)]


def policy(context: Context) -> list[str]:
    """The incumbent with line numbers, one block a line."""
    return numbered(context.policy)
