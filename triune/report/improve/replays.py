"""Before and after, side by side: a child and its parent on the same training seed, as one animated picture."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from supervisor.gate.seeds import TRAIN
from triune.errors import TriuneError, one_line
from triune.report.drawing import ACCENT, ALERT, BACK, INK, Painter, text
from triune.report.html import count, points
from triune.report.improve.record import ImproveRun

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from triune.console import Console
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# Two episodes drawn side by side: which seconds, the pictures, a small animation of them.


SECONDS = 20.0  # shown
LEAD = 1.0  # seconds shown before the first difference, or after the loss
PICTURES = 15.0  # a second
BYTES = 1_000_000
QUALITIES = (101, 80, 60, 40, 20)  # of WebP; 101 is lossless


def window(before: Episode, after: Episode, per_second: float) -> tuple[int, int, str]:
    """(first step, last step + 1, why these): the parent's first loss after they part, else from where they part."""

    both = min(len(before), len(after))
    parts_at = next((i for i in range(both) if (before.actions[i] != after.actions[i]).any()), both)
    lost = next((i for i in before.losses() if i >= parts_at), None)
    most, lead = round(SECONDS * per_second), round(LEAD * per_second)
    end = max(len(before), len(after))
    if lost is not None:
        stop = min(end, lost + lead + 1)
        return max(0, stop - most), stop, "up to the first loss of the policy on the left after the two part"
    start = max(0, parts_at - lead)
    return start, min(end, start + most), "from where the two first decide differently"


def side_by_side(system: System, episodes: Sequence[Episode], steps: range) -> Iterator[np.ndarray]:
    """Pictures of both at the same steps; one that is over stays on its last picture."""
    from triune.report.replay import pictures

    painter = Painter(system.schema, system.spec.env.actions.names, panel=False)
    streams = [pictures(system, e, [s for s in steps if s < len(e)] or [len(e) - 1], painter) for e in episodes]
    last: list[np.ndarray | None] = [None, None]
    for step, *drawn in zip_longest(steps, *streams):
        halves = []
        for i, image in enumerate(drawn):
            last[i] = image if image is not None else last[i]
            halves.append(_captioned(last[i], episodes[i], step if step is not None else steps[-1], i))
        yield _joined(halves)


def _captioned(image: np.ndarray | None, episode: Episode, step: int, i: int) -> np.ndarray:
    assert image is not None
    at, over = min(step, len(episode) - 1), step >= len(episode)
    bar = np.full((34, image.shape[1], 3), BACK, np.uint8)
    text(bar, "after" if i else "before", 8, 23, 15, ACCENT if i else INK, bold=True)
    text(bar, f"score {_score(episode, at)}{', over' if over else ''}", 84, 23, 15, ALERT if over else INK)
    return np.concatenate([bar, image // 2 if over else image], axis=0)


def _joined(halves: list[np.ndarray]) -> np.ndarray:
    gap = np.zeros((halves[0].shape[0], 8, 3), np.uint8)
    return np.concatenate([halves[0], gap, halves[1]], axis=1)


def animation(images: list[np.ndarray], rate: float) -> bytes:
    """WebP of at most BYTES: less quality first, then fewer pictures."""
    from triune.report.replay import write_webp

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.webp"
        while True:
            for quality in QUALITIES:
                write_webp(path, images, rate, quality)
                data = path.read_bytes()
                if len(data) <= BYTES or len(images) == 1:
                    return data
            images, rate = images[::2], rate / 2


# ----------------------------------------------------------------------------------------------------
# Before and after, side by side: a child and its parent on the same training seed, as one animated picture.
#
# Playing is `triune.play.loop`'s, drawing `triune.report.drawing`'s. It is the one part of the page that needs the task
# itself; where that cannot be played as it was, a note says why.


MOST = 4  # comparisons on a page
PLAYED = 120.0  # seconds of the game that are played


class Comparison(NamedTuple):
    """Two policies on one seed."""

    title: str
    before: str  # sha
    after: str
    seed: int


class Shown(NamedTuple):
    """A comparison: animation, still picture, their `words` for readers, outcomes; or `why` it is missing."""

    title: str
    note: str = ""
    moving: bytes = b""
    still: bytes = b""
    outcome: dict[str, str] | None = None
    words: str = ""
    why: str = ""


@dataclass
class Replays:
    """What the page shows: comparisons, or a note that says why there are none."""

    note: str = "Replays were left out (--no-replays)."
    shown: list[Shown] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Comparisons with a picture."""
        return sum(bool(s.moving) for s in self.shown)


def play_replays(run: ImproveRun, console: Console | None = None, trust: bool = False) -> Replays:
    """Play the policies that got in, before and after. Raises nothing: a page without replays is better than none."""
    wanted = comparisons(run)
    if not wanted:
        return Replays("No child has been accepted yet, so there is nothing to compare.")
    try:
        system = _system(run, trust)
    except Exception as error:
        return Replays(f"No replays: {_why(error)}")
    found = Replays("")
    for one in wanted:
        try:
            found.shown.append(compare(run, system, one, console))
        except Exception as error:
            found.shown.append(Shown(one.title, why=f"No replay: {_why(error)}"))
    return found


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


def _why(error: Exception) -> str:
    return (one_line(error) or f"{type(error).__name__}: {error}")[:400]


def _system(run: ImproveRun, trust: bool) -> System:
    """The task as the run used it; TriuneError when something of it has changed since."""
    from triune.system import load

    folder, task = Path(str(run.started.get("folder", ""))), str(run.started.get("task", ""))
    system = load(folder if (folder / "system.toml").is_file() else task, trust)
    told, now = dict(run.started.get("hashes") or {}), system.hashes()
    names = {"system": "system", "safety": "safety", "eyes": "detector", "schema": "schema"}
    changed = [name for k, name in names.items() if k in told and told[k] != now.get(k)]
    if changed:
        raise TriuneError(f"the task's {', '.join(changed)} changed since the run, so it would not play as it did")
    return system


def compare(run: ImproveRun, system: System, one: Comparison, console: Console | None) -> Shown:
    """Play both, choose the seconds, draw."""
    before, after = (_play(run, system, policy, one.seed, console) for policy in (one.before, one.after))
    if not len(before) or not len(after):
        raise TriuneError("the episodes have no steps to show")
    second = _steps(run, system, 1.0)
    start, stop, why = window(before, after, second)
    stride = max(1, round(second / PICTURES))
    images = [i.copy() for i in side_by_side(system, [before, after], range(start, stop, stride))]
    played = max(len(before), len(after)) / second
    pace = f"{(stop - start) / second:.0f} s at the game's pace"
    note = f"{pace}, {why}; the table is about the first {played:.0f} s of play."
    outcome = {"before": _told(before, second), "after": _told(after, second)}
    alt = f"{one.title} side by side: before {outcome['before']}; after {outcome['after']}"
    moving, still = animation(images, second / stride), animation(images[-1:], 1.0)
    return Shown(f"{one.title}, training seed {one.seed}", note, moving, still, outcome, alt)


def _steps(run: ImproveRun, system: System, seconds: float) -> float:
    """Decisions in so many seconds of the game."""
    return seconds * system.protocol(str(run.started.get("protocol"))).control_hz


def _play(run: ImproveRun, system: System, policy: str, seed: int, console: Console | None) -> Episode:
    """One episode of a policy text, which is compiled and isolated like any other text."""
    from triune.play.loop import Rollout
    from triune.system import System, Texts

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

    lost = episode.losses()
    first = f"first loss after {lost[0] / second:.0f} s" if lost else "no loss"
    return f"score {_score(episode, -1) if len(episode) else 0}, {count(len(lost), 'loss', 'losses')}, {first}"


def _score(episode: Episode, step: int) -> str:
    """The score after a step; whole numbers without decimals."""
    value = float(episode.scores[step])
    return f"{value:.0f}" if value.is_integer() else points(value)
