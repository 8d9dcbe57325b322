"""What a run of `improve` is doing, redrawn on a terminal as it happens. All of it follows from the run's events."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from triune.console import Console, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from supervisor.loop.loop import Loop
    from supervisor.loop.parts import Run
    from supervisor.loop.state import Trial

TRIALS = 6  # finished ones that are shown
LOOKS = 4  # of each block of seeds
WIDTH = 36  # characters of an interval's picture
EVERY = 0.1  # seconds between two drawings
COLOURS = {"accept": "green", "reject": "red", "invalid": "magenta"}


@contextlib.contextmanager
def view(console: Console, loop: Loop, events: bool = False) -> Iterator[None]:
    """Draw the run while it goes, where stderr is a terminal that can be drawn on; elsewhere there are lines and bars.
    `events`: write its events to stdout, as they stand in its log, while they happen."""
    meter = loop.run_.meter
    if events:
        meter.heard = lambda event: console.stream(dataclasses.asdict(event))
    if console.as_json or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield
        return
    from rich.console import Console as Terminal
    from rich.live import Live

    plain = {"markup": False, "emoji": False, "highlight": False}
    terminal = Terminal(file=_Drawn(), force_terminal=True, **plain)  # type: ignore[arg-type]
    # Without a thread that redraws: policies run in forks of this process.
    still = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    with Live(console=terminal, transient=True, **still) as live:  # type: ignore[arg-type]
        screen = Screen(loop.run_, live)
        console.screen = screen
        meter.heard = lambda event: screen.draw()
        try:
            yield
        finally:
            console.screen = None


class _Drawn:
    """stderr for the drawing alone: its control characters are ours, and what they frame has been cleaned."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        getattr(sys.stderr, "put", sys.stderr.write)(text)
        return len(text)


class Screen:
    """The drawing of one run. `live`: a rich.live.Live, or anything with its `update` and `console`."""

    def __init__(self, run: Run, live: Any) -> None:
        self.run, self.live = run, live
        self.began = time.monotonic()
        self.doing = ""
        self._bar: tuple[float, float, str] | None = None
        self._last = -math.inf

    def line(self, text: str) -> None:
        """A line about the work: it stays above the drawing."""
        self.doing, self._bar = text.rsplit("\n", 1)[-1], None
        self.live.console.print(text, soft_wrap=True)
        self.draw(True)

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the present piece of work has come."""
        self._bar = (done, total, text) if done < total else None
        self.draw()

    def draw(self, now: bool = False) -> None:
        """Draw the run as its events have it."""
        at = time.monotonic()
        if now or at - self._last >= EVERY:
            self._last = at
            self.live.update(picture(self.run, at - self.began, self.doing, self._bar), refresh=True)


def picture(run: Run, seconds: float, doing: str = "", bar: tuple[float, float, str] | None = None) -> RenderableType:
    """Trials so far, the present question and how its answer narrows, what is played, and what it has cost."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    state = run.state
    parts: list[RenderableType] = []
    done = [trial for trial in state.trials if trial.judged]
    if done:
        parts.append(_trials(done))
    racing = [trial for trial in state.together if trial.open]
    for trial in racing:
        idea = trial.read["hypothesis"] if trial.read else "looking at what happened"
        parts.append(Text(f"trial {trial.number}: {printable(str(idea))[:300]}", "bold"))
        looks = narrowing(run, trial, max(1, LOOKS // len(racing)))
        if looks:
            parts.append(Text("\n".join(looks)))
    if doing:
        parts.append(Text(printable(doing)[:300], "dim"))
    if bar:
        finished, total, text = bar
        share = min(1.0, finished / total) if total else 1.0
        full = round(share * WIDTH)
        parts.append(Text.assemble(("█" * full, "cyan"), "·" * (WIDTH - full), f" {share:4.0%} {printable(text)}"))
    about = state.started or {}
    title = f"{about.get('task', '')} · {about.get('protocol', '')} · {about.get('proposer', '')}"
    return Panel(Group(*parts), title=Text(printable(title)), subtitle=Text(costs(run, seconds)), border_style="dim")


def _trials(done: Sequence[Trial]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for trial in done[-TRIALS:]:
        verdict = trial.verdict or {}
        kind, why = str(verdict.get("kind", "")), "; ".join(map(str, verdict.get("reasons", ())))
        table.add_row(str(trial.number), Text(kind, COLOURS.get(kind, "yellow")), Text(_gain(verdict)),
                      Text(printable(why), no_wrap=True, overflow="ellipsis"))  # fmt: skip
    return table


def _gain(verdict: Any) -> str:
    told = verdict.get("numbers", {})
    if "full_parent" not in told:
        return ""
    return f"{told['full_parent']:.4g} → {told['full_child']:.4g}"


def narrowing(run: Run, trial: Trial, most: int = LOOKS) -> list[str]:
    """A line for each of the last looks at either block: the difference of the means, its interval, and a picture."""
    from supervisor.gate.rules import differences
    from supervisor.gate.statistics import lower_bound, upper_bound
    from supervisor.loop.trial import pairs_of

    rows: list[tuple[str, int, float, float, float]] = []
    for role, stage in (("select", "full"), ("confirm", "confirm")) if trial.child else ():
        pairs = pairs_of(run, trial, trial.child or "", trial.seeds.get(role, ())).values()
        played = [pair for pair in pairs if pair.finite()]
        looks = [n for n in run.gate.config.looks if n < len(played)] + [len(played)] * bool(played)
        for n in looks[-most:]:
            diff = differences(played[:n])
            rows.append((stage, n, sum(diff) / n, lower_bound(diff, 0.05), upper_bound(diff, 0.05)))
    ends = [0.0, *(x for row in rows for x in row[2:] if math.isfinite(x))]
    return [
        f"{stage:7} {n:4} pairs {mean:+10.4g} [{low:+.4g}, {high:+.4g}]".ljust(50)
        + interval(low, mean, high, (min(ends), max(ends)))
        for stage, n, mean, low, high in rows
    ]


def interval(low: float, mean: float, high: float, scale: tuple[float, float], width: int = WIDTH) -> str:
    """`··┃··├──●──┤··`: an interval and where nothing would have changed (┃), between the ends of `scale`."""
    left, right = scale
    if right <= left:
        return "●".center(width)

    def at(x: float) -> int:
        return round((min(max(x, left), right) - left) / (right - left) * (width - 1))

    cells = ["·"] * width
    cells[at(0.0)] = "┃"
    first, last = at(low), at(high)
    for i in range(first, last + 1):
        cells[i] = "┃" if cells[i] == "┃" else "─"
    if math.isfinite(low):
        cells[first] = "├"
    if math.isfinite(high):
        cells[last] = "┤"
    cells[at(mean)] = "●"
    return "".join(cells)


def costs(run: Run, seconds: float) -> str:
    """What the run has spent, and of how much."""
    from supervisor.budget import UNKNOWN

    words = []
    for which, told in run.meter.told().items():
        spent, limit = told["spent"], told.get("limit")
        if limit is None and spent in (0, UNKNOWN):
            continue
        amount = spent if spent == UNKNOWN else f"{spent:,.2f}" if which == "usd" else f"{spent:,.0f}"
        name = {"steps": "frames", "usd": "dollars"}.get(which, which)
        words.append(f"{amount} {name}" if limit is None else f"{amount} of {limit:,.0f} {name}")
    minutes, rest = divmod(int(seconds), 60)
    return " · ".join([*words, f"{minutes}:{rest:02d}"])
