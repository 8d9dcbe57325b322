"""Before and after, side by side: a child and its parent on the same training seed, as one animated picture.

Knows which policies to compare, which seconds to show, how to keep a picture small. Playing is `triune.rollout`'s,
drawing `triune.canvas`'s. It is the one part of the page that needs the task itself; where that cannot be played as
it was, a note says why.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from supervisor.gate.seeds import TRAIN
from triune.errors import TriuneError, one_line
from triune.report import report_parts as parts
from triune.report.improve import film, words
from triune.report.improve.record import ImproveRun

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from triune.console import Console
    from triune.system import System

MOST = 4  # comparisons on a page
PLAYED = 120.0  # seconds of the game that are played


class Comparison(NamedTuple):
    """Two policies on one seed."""

    title: str
    before: str  # sha
    after: str
    seed: int


class Shown(NamedTuple):
    """A finished comparison: the animation, one still picture of it, what it shows, a table of outcomes."""

    moving: bytes
    still: bytes
    note: str
    outcome: dict[str, str]


def section(run: ImproveRun | None, console: Console | None = None, trust: bool = False) -> tuple[str, int]:
    """Markup, and how many comparisons it holds. None: nobody wants replays."""
    if run is None:
        return _note("Replays were left out (--no-replays)."), 0
    wanted = comparisons(run)
    if not wanted:
        return _note("No child has been accepted yet, so there is nothing to compare."), 0
    cards, count = [], 0
    try:
        system = _system(run, trust)
    except Exception as error:  # a page without replays is better than none
        return _note(f"No replays: {_why(error)}"), 0
    for one in wanted:
        try:
            shown = compare(run, system, one, console)
        except Exception as error:
            cards.append(parts.card(one.title, _note(f"No replay: {_why(error)}")))
            continue
        cards.append(parts.card(f"{one.title}, training seed {one.seed}", _picture(one, shown), shown.note))
        count += 1
    return f'<div class="replays">{"".join(cards)}</div>', count


def comparisons(run: ImproveRun) -> list[Comparison]:
    """First policy against the incumbent, then the latest steps. The seed is fixed beforehand: the trial's number."""
    steps = [
        Comparison(f"Trial {new.trial}: parent and child", old.policy, new.policy, new.trial % len(TRAIN))
        for old, new in zip(run.chain, run.chain[1:], strict=False)
    ]
    if len(steps) < 2:
        return steps
    whole = Comparison("First policy and incumbent", run.chain[0].policy, run.chain[-1].policy, 0)
    return [whole, *reversed(steps[-(MOST - 1) :])]


def _note(text: str) -> str:
    return f'<p class="note">{escape(words.visible(text))}</p>'


def _why(error: Exception) -> str:
    return (one_line(error) or f"{type(error).__name__}: {error}")[:400]


def _system(run: ImproveRun, trust: bool) -> System:
    """The task as the run used it; TriuneError when something of it has changed since."""
    from triune.system import load

    folder, task = Path(str(run.started.get("folder", ""))), str(run.started.get("task", ""))
    system = load(folder if (folder / "system.toml").is_file() else task, trust)
    told, now = dict(run.started.get("hashes") or {}), system.hashes()
    changed = [k for k in ("system", "safety", "eyes", "schema") if k in told and told[k] != now.get(k)]
    if changed:
        raise TriuneError(f"the task's {', '.join(changed)} changed since the run, so it would not play as it did")
    return system


def compare(run: ImproveRun, system: System, one: Comparison, console: Console | None) -> Shown:
    """Play both, choose the seconds, draw."""
    before, after = (_play(run, system, policy, one.seed, console) for policy in (one.before, one.after))
    if not len(before) or not len(after):
        raise TriuneError("the episodes have no steps to show")
    second = _steps(run, system, 1.0)
    start, stop, why = film.window(before, after, second)
    stride = max(1, round(second / film.PICTURES))
    images = [i.copy() for i in film.side_by_side(system, [before, after], range(start, stop, stride))]
    played = max(len(before), len(after)) / second
    pace = f"{(stop - start) / second:.0f} s at the game's pace"
    note = f"{pace}, {why}; the table is about the first {played:.0f} s of play."
    outcome = {"before": _told(before, second), "after": _told(after, second)}
    return Shown(film.animation(images, second / stride), film.animation(images[-1:], 1.0), note, outcome)


def _steps(run: ImproveRun, system: System, seconds: float) -> float:
    """Decisions in so many seconds of the game."""
    return seconds * 60.0 / system.protocol(str(run.started.get("protocol"))).frameskip


def _play(run: ImproveRun, system: System, policy: str, seed: int, console: Console | None) -> Episode:
    """One episode of a policy text, which is compiled and isolated like any other text."""
    from triune.play.loop import Rollout
    from triune.policies import Texts
    from triune.system import System

    text = run.texts.text(policy)
    if text is None:
        raise TriuneError(f"the text of policy {policy[:12]} is missing or damaged (blobs/{policy[:12]}...)")
    revised = System(system.spec, system.trust)
    revised.texts = Texts(text, system.texts.safety)
    limit = round(_steps(run, system, PLAYED))

    def tell(step: object) -> None:
        if console:
            console.progress(getattr(step, "index", 0) + 1, limit, f"playing seed {seed} for the report")

    with Rollout(revised, str(run.started["protocol"]), None, str(run.started["eyes"])) as rollout:
        episode = rollout.record(seed, limit, tell)
    if console:
        console.clear()
    return episode


def _told(episode: Episode, second: float) -> str:
    """Score, losses and the time of the first; `second`: decisions in one."""
    from triune.commands.explain import losses

    lost = losses(episode)
    first = f"first loss after {lost[0] / second:.0f} s" if lost else "no loss"
    score = int(episode.scores[-1]) if len(episode) else 0
    return f"{score} points, {words.count(len(lost), 'loss', 'losses')}, {first}"


def _picture(one: Comparison, shown: Shown) -> str:
    """The animation, or its last picture for those who asked their system for less motion."""
    alt = f"{one.title} side by side: before {shown.outcome['before']}; after {shown.outcome['after']}"
    still = base64.b64encode(shown.still).decode()
    calm = f'<source media="(prefers-reduced-motion: reduce)" srcset="data:image/webp;base64,{still}">'
    return f"<picture>{calm}{parts.image(shown.moving, alt)}</picture>{parts.rows(shown.outcome)}"
