"""`report.html` of an improve run: a projection of its events and blobs, self-contained, loading nothing.

Everything but the replays follows from `events.jsonl` and `blobs/` alone: the same log gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_flywheel.storage.files import atomic_write
from triune.report.improve import page
from triune.report.improve.record import LOG, ImproveRun

if TYPE_CHECKING:
    from triune.console import Console

__all__ = ["ImproveRun", "Written", "is_improve_run", "write_improve_report"]


@dataclass(frozen=True)
class Written:
    """What was written, and where."""

    path: Path
    run: ImproveRun
    replays: int


def is_improve_run(folder: Path) -> bool:
    """Whether a folder holds an improve run."""
    return (folder / LOG).is_file()


def write_improve_report(
    folder: Path, out: Path | None = None, console: Console | None = None, replays: bool = True, trust: bool = False
) -> Written:
    """Write the page of a run (default: report.html in its folder); SupervisorError when its log cannot be trusted.

    `replays`: play the policies that got in, before and after. `trust`: a teacher.py of unknown origin may run for it.
    """
    from triune.report.improve.replays import section

    run = ImproveRun.read(folder)
    shown, count = section(run, console, trust) if replays else section(None)
    out = out or folder / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, page.html(run, shown).encode("utf-8", "backslashreplace"))
    return Written(out, run, count)
