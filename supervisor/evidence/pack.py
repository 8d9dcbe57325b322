"""One request from one context: the sections in their order, each within its limit, and the pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import atomic_write
from envs.actions import ActionSpace, Discrete
from perception.scene import SceneSchema
from supervisor.budget import KINDS, UNKNOWN
from supervisor.errors import SupervisorError
from supervisor.evidence import child, meetings, motion, tables
from supervisor.evidence import pictures as png
from supervisor.evidence.context import (
    Context,
    Fitted,
    GateSummary,
    LockNote,
    Scoreboard,
    clean,
    fit,
    number,
    numbered,
    quoted,
    signed,
    table,
    word,
)
from supervisor.evidence.failures import Failure, Findings
from supervisor.evidence.moments import sheet_steps
from supervisor.evidence.pictures import sheet
from supervisor.protocols import Image, Request, Section

# ----------------------------------------------------------------------------------------------------
# What no trial changes: the contract of a policy, the rules above it, its own text, and the question.


_SLOT = (
    "A slot has `seen` (bool: detected in this frame), `x`, `y` (px, centre of the visible box; origin top left, x "
    "right, y down), `w`, `h` (px), `vx`, `vy` (px per agent step), `sure` (probability). A slot that is not seen may "
    "be carried on by the tracker for a few steps with falling `sure`; else all its values are 0."
)
_READING = (
    "A reading has `seen` (bool: it could be read off this frame), `sure` (probability) and numbers of its own. "
    "One that is not seen has 0 for all of them: nothing carries it on, the policy predicts for itself."
)
QUESTION = (
    "Improve the policy. Judge by the mean score on seeds that you have not seen: a change is accepted only if it is "
    "better there beyond chance, keeps every lock, needs no more interventions, and leaves the worst tenth no worse. "
    "Rules for single seeds, step numbers or recorded positions cannot help.",
    "Find the one cause that costs most, and change what mends it. Do not repeat a direction that failed unless you "
    "can say what is different now.",
    "Name in your diagnosis the failures (F1, F2 ...) and steps that show the cause, and predict what can be measured.",
)


def contract(context: Context) -> list[str]:
    """What a policy is given and must return; one block a paragraph."""
    c = context
    return [
        f"Task {word(c.task)}, trial {c.trial}. `act(scene, memory)` is called once per agent step and returns an "
        f"action and a reason: `return {_example(c.actions)}`. It sees the scene and its own Memory, nothing else: no "
        "pixels, score, lives or step number.",
        _actions(c.actions),
        _protocol(c),
        *[_SLOT] * bool(c.schema.things),
        *[_READING] * bool(c.schema.readings),
        *_scene(c.schema),
    ]  # fmt: skip


def _example(actions: ActionSpace) -> str:
    if isinstance(actions, Discrete):
        return 'LEFT, "why"'
    names = ", ".join(actions.names)
    return f'({names}), "why"' if len(actions.names) > 1 else f'{names}, "why"'


def _actions(actions: ActionSpace) -> str:
    if isinstance(actions, Discrete):
        return f"Actions: {', '.join(f'{clean(a)} = {i}' for i, a in enumerate(actions.names))}."
    ends = zip(actions.names, actions.low, actions.high, strict=True)
    told = ", ".join(f"{clean(name)} from {number(low, 6)} to {number(high, 6)}" for name, low, high in ends)
    n = len(actions.names)
    what = f"a tuple of {n} numbers, in this order" if n > 1 else "a number"
    return f"An action is {what}: {told}. What lies beyond is cut off, and counts as an intervention of a hard rule."


def _protocol(c: Context) -> str:
    p = c.protocol
    known = ", ".join(f"{clean(k)} = {number(v, 6)}" for k, v in c.constants.items() if k not in c.actions.names)
    return f"Protocol {word(p.name)}: {p.about}. Constants that a policy can use: {known or 'none'}."


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
    for reading in schema.readings:
        told = (
            f"`{f.name}` from {number(f.low, 4)} to {number(f.high, 4)}{f' {clean(f.unit)}' if f.unit else ''}"
            f"{', where the one end is the other' if f.wrap else ''}"
            for f in reading.fields
        )
        yield f"- scene.{reading.name}: reading of {', '.join(told)}{', required' if reading.required else ''}"


def rules(context: Context) -> list[str]:
    """The safety text with line numbers."""
    above = "These rules run after the policy, may replace its action, and cannot be changed or reached by a revision."
    if not context.safety.strip():
        return [above, "(This task has none of its own.)"]
    return [above, *numbered(context.safety)]


def policy(context: Context) -> list[str]:
    """The incumbent with line numbers, one block a line."""
    return numbered(context.policy)


# ----------------------------------------------------------------------------------------------------
# Where the search stands: scores, locks, what was accepted, what failed and why, what may still be spent.


ACCEPT = "accept"
WORDS = 300  # characters of a hypothesis or a lesson


def scoreboard(board: Scoreboard, digits: int = 1) -> list[str]:
    """The incumbent's scores, most telling first; `digits`: decimals of each."""
    lines = []
    if board.gate:
        g = board.gate
        hard = "" if g.hard is None else f", hard interventions and faults per 1000 decisions {number(g.hard, 3)}"
        lines.append(f"Gate seeds (never shown): {_figures(g, digits)}{hard}.")
    else:
        lines.append("Gate seeds: the incumbent has not been played there yet.")
    if board.train:
        scores = [float(board.train[seed]) for seed in sorted(board.train)]
        lines.append(f"Training seeds: {_figures(GateSummary.of(scores), digits)}, best {number(max(scores), digits)}.")
        each = (f"{seed}: {number(board.train[seed], digits)}" for seed in sorted(board.train))
        lines.append(f"By seed: {', '.join(each)}.")
    others = board.others.items()
    return lines + [f"For comparison, {quoted(name, 60)}: mean {number(mean, digits)}." for name, mean in others]


def _figures(g: GateSummary, digits: int) -> str:
    known = math.isfinite(g.low) and math.isfinite(g.high)
    interval = f"[{number(g.low, digits)}, {number(g.high, digits)}]" if known else "unknown (too few)"
    worst = number(g.worst_decile, digits)
    return f"mean {number(g.mean, digits)}, 95 % interval {interval}, n {g.n}, worst decile {worst}"


def locks(notes: Sequence[LockNote], broken: frozenset[str] = frozenset()) -> list[str]:
    """A line each; those that the policy itself does not keep are not asked of a revision, and only named."""
    asked = [n for n in notes if n.name not in broken]
    lost = [word(n.name) for n in notes if n.name in broken]
    free = [f"Not asked, because the policy itself does not keep them: {', '.join(lost)}."] if lost else []
    if not asked:
        return free or ["None yet."]
    return [
        f"- {word(n.name)}{f' ({word(n.kind)})' if n.kind else ''}{f': {quoted(n.note, 160)}' if n.note else ''}"
        for n in asked
    ] + free  # fmt: skip


def lineage(trials: Sequence[Mapping[str, Any]], digits: int = 1) -> list[str]:
    """Accepted trials, newest first: hypothesis and measured effect."""
    found, runs = [t for t in trials if t.get("verdict") == ACCEPT], _runs(trials)
    return [
        f"- trial {_trial(t, runs)}{_target(t)}: {quoted(t.get('hypothesis') or '', WORDS)}; "
        f"effect {_effect(t, digits)}"
        for t in reversed(found)
    ] or ["Nothing has been accepted yet."]  # fmt: skip


def failed(trials: Sequence[Mapping[str, Any]], digits: int = 1) -> list[str]:
    """All other trials, newest first: hypothesis, where and why it ended, the lesson drawn."""
    found, runs = [t for t in trials if t.get("verdict") != ACCEPT], _runs(trials)
    return ["\n".join(_failed(t, runs, digits)) for t in reversed(found)] or ["Nothing has failed yet."]


def _failed(t: Mapping[str, Any], runs: int, digits: int) -> Iterator[str]:
    yield (
        f"- trial {_trial(t, runs)}{_target(t)}: {quoted(t.get('hypothesis') or '', WORDS)}; "
        f"{word(t.get('verdict') or UNKNOWN)} at {word(t.get('stage') or UNKNOWN)}; effect {_effect(t, digits)}"
    )
    reasons = t.get("reasons")
    if isinstance(reasons, (list, tuple)) and reasons:
        more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
        yield f"  because {', '.join(quoted(r, 160) for r in reasons[:2])}{more}"
    if t.get("lesson"):
        yield f"  lesson {quoted(t['lesson'], WORDS)}"


def _runs(trials: Sequence[Mapping[str, Any]]) -> int:
    return len({str(t.get("run")) for t in trials})


def _trial(t: Mapping[str, Any], runs: int) -> str:
    """Its number, and its run when there are several."""
    return number(t.get("trial", UNKNOWN), 0) + (f" of run {word(t.get('run', UNKNOWN))}" if runs > 1 else "")


def _target(t: Mapping[str, Any]) -> str:
    return f" ({word(t['target'])})" if t.get("target") else ""


def _effect(t: Mapping[str, Any], digits: int) -> str:
    """The paired difference of means with its bounds, on the fresh block if it was played."""
    numbers = t.get("numbers")
    if isinstance(numbers, Mapping):
        for block in ("confirm", "full", "probe", "screen"):
            if f"{block}_difference" in numbers:
                got = {k: numbers.get(f"{block}_{k}") for k in ("difference", "low95", "high95", "pairs")}
                low, high = _number(got["low95"], digits), _number(got["high95"], digits)
                return f"{_signed(got['difference'], digits)} [{low}, {high}] on {_number(got['pairs'], 0)} pairs"
    return "not measured"


def _number(value: object, digits: int = 1) -> str:
    return "?" if value is None else number(value, digits)


def _signed(value: object, digits: int) -> str:
    return signed(value, digits) if isinstance(value, (int, float)) else _number(value, digits)


def budgets(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What `Budgets.table()` says, a line for each kind."""
    if not told:
        return ["No limits were told."]
    head = ["of", "limit", "spent", "reserved", "left"]
    order = [*(k for k in KINDS if k in told), *sorted(set(told) - set(KINDS))]
    return table(head, [_budget(which, told[which]) for which in order])


def _budget(which: str, row: Mapping[str, Any]) -> list[str]:
    digits = 4 if which == "usd" else 0
    spent = row.get("spent")
    known = isinstance(spent, (int, float))
    said = number(spent, digits) if known else f"unknown, at least {_number(row.get('at_least'), digits)}"
    limit, left = row.get("limit"), row.get("left")
    return [
        KINDS.get(which) or word(which), "none" if limit is None else number(limit, digits), said,
        _number(row.get("reserved"), digits), "no limit" if left is None else number(left, digits),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# One request from one context: the sections in their order, each within its limit, and the pictures.


MEDIA = "image/png"
TITLES = (
    "Contract and scene", "Immutable rules", "Policy", "Scoreboard", "What the actions move", "Failures",
    "Statistics", "Locks to keep", "Accepted so far", "Failed directions", "The last child", "Remaining budgets",
    "Question",
)  # fmt: skip
POLICY, FAILURES = 2, 5


def build(context: Context) -> Request:
    """All that is said for one trial. The same context gives the same request, whatever the order of its episodes."""
    found = Findings(context)
    parts = _parts(context, found)
    spare = context.limits.total - sum(len(part.text) for i, part in enumerate(parts) if i != POLICY)
    parts[POLICY] = fit(policy(context), max(spare, context.limits.policy), "lines of the policy")
    sections = tuple(Section(title, part.text) for title, part in zip(TITLES, parts, strict=True))
    told = found.shown[: max(0, parts[FAILURES].kept - 1)]  # the first block is the overview
    images = _images(context, told) if _pictures(context) else ()
    return Request(context.task, context.trial, context.policy, sections, images)


def _pictures(context: Context) -> bool:
    return context.frames is not None and context.limits.cells > 0


def _parts(c: Context, found: Findings) -> list[Fitted]:
    """The sections in order; the policy's as short as it may have to be."""
    most = c.limits
    statistics = tables.statistics(found.episodes, found.windows, c.actions, c.schema, c.span)
    met = meetings.told(found.meetings, found.cast, found.episodes, found.losses, c.span)
    board = [*scoreboard(c.scoreboard, c.digits), *tables.ends(found.episodes, c.protocol)]
    return [
        fit(contract(c), most.contract, "parts of the contract"),
        fit(rules(c), most.rules, "lines of the rules"),
        Fitted("", 0),
        fit(board, most.scoreboard, "lines"),
        fit(motion.told(c.schema, c.actions, found.cast, found.episodes), most.motion, "lines"),
        fit(found.blocks(_pictures(c)), most.failures, "parts"),
        fit([*met, *statistics], most.statistics, "lines"),
        fit(locks(c.locks, c.broken), most.locks, "locks"),
        fit(lineage(c.trials, c.digits), most.lineage, "accepted trials"),
        fit(failed(c.trials, c.digits), most.failed, "failed trials"),
        fit(child.told(c, found), most.child, "lines"),
        fit(budgets(c.budgets), most.budgets, "budgets"),
        fit(QUESTION, most.question, "lines of the question"),
    ]


def _images(c: Context, told: Sequence[Failure]) -> tuple[Image, ...]:
    """A contact sheet for each failure. Frames are asked for once per episode: they may have to be played again."""
    assert c.frames is not None
    if not c.draw:
        return tuple(Image(f"failure-{at}.png", MEDIA, b"", f.title) for at, f in enumerate(told, 1))
    wanted = {f.label: sheet_steps(f.window, c.limits.cells) for f in told}
    frames: dict[int, dict[int, Any]] = {}
    for which in dict.fromkeys(f.window.moment.episode for f in told):
        mine = [f for f in told if f.window.moment.episode == which]
        steps = sorted({step for f in mine for step in wanted[f.label]})
        frames[which] = dict(zip(steps, c.frames(mine[0].episode, steps), strict=True))
    images = []
    for at, f in enumerate(told, 1):
        shown = [frames[f.window.moment.episode][step] for step in wanted[f.label]]
        data = sheet(f.title, f.episode, wanted[f.label], shown, c.schema, c.actions)
        images.append(Image(f"failure-{at}.png", MEDIA, data, f.title))
    return tuple(images)


# ----------------------------------------------------------------------------------------------------
# A request for people: how large it is, and its exact content as files.


PER_TOKEN = 3.0  # characters; code and tables take more tokens than prose, so that this is a cautious guess
TILE, BASE, EACH = 512, 85, 170  # tokens of a picture as vision models commonly count them: a base, and each tile
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[a-z0-9]+")


def describe(request: Request) -> dict[str, Any]:
    """Sizes as JSON values. Tokens are estimates: no two models count alike."""
    sections = [
        {"title": s.title, "characters": len(s.text), "tokens_estimate": _tokens(len(s.text))} for s in request.sections
    ]  # fmt: skip
    images = [_image(image) for image in request.images]
    characters = sum(len(s.title) + len(s.text) for s in request.sections)
    return {
        "task": request.task, "trial": request.trial, "key": request.key, "characters": characters,
        "tokens_estimate": _tokens(characters) + sum(image["tokens_estimate"] for image in images),
        "sections": sections, "images": images, "image_bytes": sum(image["bytes"] for image in images),
    }  # fmt: skip


def _tokens(characters: int) -> int:
    return round(characters / PER_TOKEN)


def _image(image: Image) -> dict[str, Any]:
    width, height = png.size(image.data)
    tiles = -(-width // TILE) * -(-height // TILE)
    size = {"bytes": len(image.data), "width": width, "height": height, "tokens_estimate": BASE + EACH * tiles}
    return {"name": image.name, "caption": image.caption, **size}


def write(request: Request, folder: Path, texts: Mapping[str, str] | None = None) -> list[Path]:
    """What would be sent: request.json (what the key is made of), evidence.md to read, the pictures, and `texts`, which
    the proposer says by name. The files written.

    Pictures of an earlier request are removed from the folder.
    """
    odd = [i.name for i in request.images if not _NAME.fullmatch(i.name)]
    if odd:
        raise SupervisorError(f"a picture cannot be called {odd[0]!r}; use letters, digits, - and _, and one ending")
    folder.mkdir(parents=True, exist_ok=True)
    files = {"request.json": request.canonical, "evidence.md": page(request).encode()}
    files |= {name: text.encode(errors="replace") for name, text in (texts or {}).items()}
    files |= {image.name: image.data for image in request.images}
    for old in folder.glob("failure-*.png"):
        if old.name not in files:
            old.unlink()
    for name, data in files.items():
        atomic_write(folder / name, data)
    return [folder / name for name in files]


def page(request: Request) -> str:
    """The request as Markdown; every section stands between fences that its text cannot close."""
    lines = [f"# {word(request.task)}, trial {request.trial}", "", f"key {request.key}", ""]
    for section in request.sections:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", section.text)), default=0))
        lines += [f"## {section.title}", "", f"{fence}text", section.text, fence, ""]
    for image in request.images:
        lines += [image.caption, "", f"![{image.name}]({image.name})", ""]
    return "\n".join(lines)
