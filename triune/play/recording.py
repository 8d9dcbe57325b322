"""`--record`: what a command is told about recording, and the recorder that each process makes of it.

Knows the options and the task's labels. Does not know how a recording is written (`data_flywheel.recorder`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triune.errors import UsageError

if TYPE_CHECKING:
    from data_flywheel.episodes.recorder import Recorder
    from triune.system import System

Job = dict[str, Any]  # folder, frames, disk: JSON values, for worker processes


def add_record(parser: argparse.ArgumentParser) -> None:
    """Where to record, which frames, how much disk."""
    parser.add_argument("--record", metavar="FOLDER", help="add every game to this recording (see docs/recording.md)")
    parser.add_argument(
        "--record-frames", default="none", metavar="POLICY",
        help="frames kept: none (default; seed and actions give them again), failures, sampled:N, all",
    )  # fmt: skip
    parser.add_argument(
        "--disk", default="500MB", metavar="SIZE", help="bytes the recording may take; the least worth goes first"
    )


def record_job(args: argparse.Namespace, system: System) -> Job | None:
    """What was asked, checked before anything is played; the folder is made, and what labels speak of is kept."""
    from data_flywheel.episodes.recorder import want_labelled
    from data_flywheel.episodes.recorder_policy import FramePolicy, parse_bytes
    from data_flywheel.errors import DataError

    try:
        FramePolicy.parse(args.record_frames)
        job = {"folder": args.record, "frames": args.record_frames, "disk": parse_bytes(args.disk)}
    except DataError as error:
        raise UsageError(str(error)) from None
    if not args.record:
        if args.record_frames != "none":
            raise UsageError("--record-frames needs a folder to record into: --record FOLDER")
        return None
    recorder = open_recorder(job, system)
    assert recorder
    want_labelled(recorder.recording, str(Path("runs") / "labels" / system.name))
    return job | {"folder": str(Path(args.record).resolve())}


def open_recorder(job: Job | None, system: System) -> Recorder | None:
    """The recorder of this process; None when nothing is recorded. DataError: a folder of another task, damage."""
    if not job:
        return None
    from data_flywheel.episodes.recorder import Recorder
    from data_flywheel.episodes.recorder_folder import Recording

    size = (system.spec.env.height, system.spec.env.width)
    return Recorder(Recording.create(job["folder"], system.name, system.schema, size), job["frames"], job["disk"])
