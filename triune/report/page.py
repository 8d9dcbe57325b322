"""`report.html` of an evaluation: scores, replays, worst moments, what decided, how to repeat it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_flywheel.episodes.episode import Episode, dense
from envs.repeat import command_line, seeds_text
from envs.spec import called
from triune.console import Console, told_score
from triune.errors import TriuneError
from triune.play.evaluation import Result, Run, summarise
from triune.play.workers import Record
from triune.report.drawing import Painter
from triune.report.html import SCENES, count, hash_names, render, webp, write_page
from triune.report.plots import meter, scores
from triune.report.replay import pictures, write_replay
from triune.system import System, load

REPLAY = 260  # pictures of each replay in the page
MOMENTS = 3  # worst moments shown
BEFORE, AFTER, STRIDE = 13, 1, 2  # the window around a loss, in steps
Moment = tuple[str, str, list[tuple[bytes, str, str]]]


def write_report(run: Run, out: Path | None = None, console: Console | None = None, trust: bool = False) -> Path:
    """Write the page of a run (default: report.html in its folder); TriuneError when no episode is finished.

    `trust`: as the user says now. What the run's own record says of it counts for nothing: it may be a stranger's.
    """
    request = run.info["request"]
    records = run.records()
    if not records:
        raise TriuneError(
            f"{run.path} holds no finished episode; continue it: "
            + command_line("eval", called(Path(request["folder"])), resume=run.path)
        )
    system = load(request["folder"], trust, policy=request.get("policy"))
    result = run.result() or summarise(request, records, sum(r["seconds"] for r in records), 1)
    return write_page(out or run.path / "report.html", render("evaluation.html", **_view(run, system, result, console)))


def _view(run: Run, system: System, r: Result, console: Console | None) -> dict[str, Any]:
    assert r.mean is not None
    request, records = run.info["request"], sorted(run.records(), key=lambda record: record["score"])
    interval = []
    if r.ci95:
        digits = 0 if min(map(abs, r.ci95)) >= 100 else 1
        interval = [(f"{r.ci95[0]:.{digits}f} to {r.ci95[1]:.{digits}f}", "95 % interval of the mean")]
    return {
        "title": f"{system.spec.title}: {r.mean:.1f} points",
        "subtitle": _subtitle(run, r),
        "figures": [
            (f"{r.mean:.1f}", "mean score"),
            *interval,
            (f"{r.iqm:.1f}", "interquartile mean"), (f"{r.worst_decile:.1f}", "worst decile"),
            (told_score(min(r.scores)), "worst seed"), (f"{r.frames_per_second or 0:,.0f}", "frames a second"),
        ],
        "plot": scores(r.seeds, r.scores, r.mean, r.ci95),
        "replays": _replays(run, system, records, console),
        "moments": _moments(run, system, records),
        "reasons": counts(r.reasons, r.steps), "rules": counts(r.interventions, r.steps, "alert"),
        "faults": counts(r.fault_texts, r.steps, "alert") if r.faults else [],
        "totals": f"faults {r.faults}, deadline misses {r.deadline_misses}, decisions {r.steps}, frames {r.frames}",
        "command": _command(system, request, r),
        "versions": run.info["versions"],
        "hashes": hash_names(run.info["hashes"]),
    }  # fmt: skip


def _subtitle(run: Run, r: Result) -> str:
    shift = f", visual shift {r.shift}" if r.shift else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.info.get("started")))
    cut = " · episodes cut short: not a score" if r.unfinished else ""
    if policy := run.info["request"].get("policy"):
        cut += f" · by another policy than the folder's: {policy}"
    return f"protocol {r.protocol}{shift} · played {SCENES[r.detector]} · {count(len(r.seeds), 'seed')} · {when}{cut}"


def _replays(run: Run, system: System, ordered: list[Record], console: Console | None) -> list[tuple[object, ...]]:
    """(name, words, note, WebP) of the episode nearest the median, and of the worst when that is another."""
    middle, worst = ordered[len(ordered) // 2], ordered[0]
    chosen = {"The episode" if len(ordered) == 1 else "Typical episode": middle}
    if worst is not middle:
        chosen["Worst episode"] = worst
    found: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, record in chosen.items():
            path = Path(folder) / "replay.webp"
            note = write_replay(system, run.episode(record["seed"]), path, console, most=REPLAY)
            words = f"seed {record['seed']}, score {told_score(record['score'])}"
            found.append((name, words, note.split(";")[0], path.read_bytes()))
    return found


def _moments(run: Run, system: System, ordered: list[Record]) -> list[Moment]:
    """(title, command, pictures) of the first loss of each of the lowest-scoring episodes."""
    found: list[Moment] = []
    for record in ordered:
        episode = run.episode(record["seed"])
        lost = episode.losses()
        if lost and len(found) < MOMENTS:
            found.append(_moment(system, episode, lost[0], run.episodes / f"{record['seed']}.npz"))
    return found


def _moment(system: System, episode: Episode, step: int, file: Path) -> Moment:
    steps = [i for i in range(step - BEFORE, step + AFTER + 1, STRIDE) if 0 <= i < len(episode)]
    painter = Painter(system.schema, system.spec.env.actions.names, panel=False)
    cells = []
    for i, drawn in zip(steps, pictures(system, episode, steps, painter), strict=False):
        rule = f" [{episode.overruled_by(i)}]" if episode.overruled_by(i) else ""
        action = system.spec.env.actions.tell(episode.actions[i])
        cells.append((webp(drawn), f"{i}: {action}", episode.reason(i) + rule))
    setback = "a setback" if dense(episode.rewards()) else "a point lost"
    what = "a life lost" if episode.lives[step] < episode.lives[step - 1] else setback
    command = command_line("explain", system.called, episode=file, step=step)
    return f"Seed {episode.meta['seed']}: {what} at step {step}", command, cells


def counts(found: Mapping[str, int], total: int, kind: str = "") -> list[tuple[str, Markup, int, str]]:
    """(text, bar, number, per cent of `total` steps), the most frequent first."""
    most = max(found.values(), default=1)
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return [(text, meter(n / most, kind), n, f"{100 * n / max(1, total):.1f} %") for text, n in ordered]


def _command(system: System, request: Mapping[str, Any], r: Result) -> str:
    return command_line(
        "eval", system.called, protocol=r.protocol, seeds=seeds_text(r.seeds), eyes=r.detector, shift=r.shift,
        policy=request.get("policy"), steps=request.get("limit"), trust=system.vouched(r.detector),
    )  # fmt: skip
