"""`triune record TASK --source S`: pictures of a film, a camera or a stream, kept to be labelled. No detector needed.

Ctrl-C ends it well; of a film, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from triune.commands import common
from triune.console import Console
from triune.errors import EXIT_FAILED, TriuneError, UsageError

if TYPE_CHECKING:
    from triune.play.film import Film
    from triune.play.recording import FilmRecorder
    from triune.system import System

DISK = "4GB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, source, how much, how."""
    common.add_task(parser, trust=False)
    parser.add_argument(
        "--source", required=True, metavar="S",
        help="a video file, a folder of pictures, a camera's number, rtsp://... or http://...",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", help="the recording, default runs/recordings/TASK; it is added to")
    parser.add_argument("--frames", type=common.positive, metavar="N", help="stop after so many pictures")
    parser.add_argument("--minutes", type=common.amount, metavar="M", help="stop after so many minutes of pictures")
    parser.add_argument("--every", type=common.positive, metavar="N", help="keep every Nth picture of the source")
    parser.add_argument(
        "--fit", choices=("letterbox", "stretch"), metavar="HOW", help="pictures of another size: letterbox or stretch"
    )
    common.add_lossy(parser)
    parser.add_argument("--disk", default=DISK, metavar="SIZE", help=f"bytes the recording may take, default {DISK}")


def recording_folder(task: str) -> Path:
    """Where a task's pictures lie unless told otherwise."""
    return Path("runs") / "recordings" / task


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: folder, pictures recorded now, those of this source that were there, left out, bytes a minute."""
    from data_flywheel.episodes.recording import parse_bytes
    from data_flywheel.errors import DataError
    from triune.play.film import Film, check_rate
    from triune.play.recording import FilmRecorder

    system = common.load_system(args)
    env, hz = system.spec.env, system.protocol().control_hz
    try:
        disk = parse_bytes(args.disk)
    except DataError as error:
        raise UsageError(str(error)) from None
    folder = common.out_folder(args.out) if args.out else recording_folder(system.name)
    film = Film(args.source, args.every or 1, hz, (env.width, env.height))
    try:
        if warning := check_rate(film.rate, hz, args.every, film.source, "the task"):
            console.log(f"rate       {warning}")
        if film.variable:
            console.log(
                f"rate       {film.source} is unevenly spaced: {hz:g} pictures a second are taken by their times"
            )
        size = 0 if film.live or os.path.isdir(args.source) else os.path.getsize(args.source)
        recorder = FilmRecorder(system, folder, film.source, size, disk, args.lossy, console.log)
        return _record(system, args, film, recorder, disk, console)
    finally:
        film.close()


def _record(
    system: System, args: argparse.Namespace, film: Film, recorder: FilmRecorder, disk: int, console: Console
) -> dict[str, Any]:
    from triune.play.recording import a_minute

    hz = system.protocol().control_hz
    before, kept, wrong = -1 if film.live else recorder.last, 0, 0
    wanted = min(n for n in (args.frames, round(args.minutes * 60 * hz) if args.minutes else None, 10**15) if n)
    full = stopped = False
    if before >= 0:
        console.log(f"goes on    after picture {before} of {film.source}, which is recorded already")
    console.log(f"recording  {film.source} into {recorder.recorder.recording.folder}   (Ctrl-C ends)")
    try:
        for frame in film:
            if film.number <= before:
                continue
            picture = _fitting(frame, system, args.fit, film.source, first=not kept)
            if picture is None:
                wrong += 1
                continue
            whole = recorder.see(picture, film.number, film.at)
            kept += 1
            if kept >= wanted:
                break
            if whole and not film.live and (full := not recorder.has_room(disk)):
                break
            if kept % 15 == 0:
                console.progress(kept, film.promised or wanted, f"{kept} pictures, {kept / hz:.0f} s")
    except KeyboardInterrupt:
        stopped = True
        console.log("")
    pieces = recorder.close()
    console.clear()
    if not kept and not wrong and before < 0 and not stopped:
        raise TriuneError(f"no picture could be read from {film.source}; is it in a format that OpenCV decodes?")
    place = recorder.recorder.recording
    minute = a_minute(recorder.recorder, kept, hz)
    told = "" if kept or before < 0 else "; all of it was recorded already"
    console.say(f"recorded   {kept} pictures ({kept / hz:.1f} s) in {pieces} pieces: {place.folder}{told}")
    if minute:
        console.say(f"cost       {minute / 1e6:.1f} MB a minute{'' if args.lossy else '; less with --lossy 90'}")
    if wrong:
        console.log(f"left out   {wrong} pictures of another size; --fit letterbox or --fit stretch takes them")
    if film.undecodable:
        console.log(f"left out   {film.undecodable} pictures of {film.source}, which cannot be decoded")
    if full:
        console.log(f"full       {args.disk} are not enough: go on with a larger --disk, or begin anew with --lossy 90")
    elif recorder.recorder.left_out:
        console.log(f"not kept   {recorder.recorder.left_out} pieces, for want of room: raise --disk")
    else:
        console.say(f"next       {command_line('review', system.called)}, or import labels: triune labels import")
    lacking = full or bool(recorder.recorder.left_out)
    return {
        "task": system.name, "recording": str(place.folder), "source": film.source, "frames": kept, "pieces": pieces,
        "there_before": before + 1, "left_out": wrong, "undecodable": film.undecodable, "bytes_a_minute": minute,
        "stopped": stopped, **({"exit_code": EXIT_FAILED} if lacking else {}),
    }  # fmt: skip


def _fitting(frame: Any, system: System, how: str | None, source: str, first: bool) -> Any:
    """The picture in the task's size; None for one of another. A source that begins with such is refused."""
    from triune.play.film import fitted

    shape = system.spec.env.shape
    return fitted(frame, shape, how, source) if how or first or frame.shape == shape else None
