"""`triune labels import|export TASK FILE`: boxes drawn in other tools, and back: COCO (CVAT, Label Studio), YOLO.

`triune labels expect TASK FILE`: what should be done, as marks on a film's timeline.
"""

from __future__ import annotations

import argparse
import difflib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from triune.commands import common, record
from triune.console import Console
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from collections import Counter

    from data_flywheel.labels.boxes import Boxes
    from data_flywheel.labels.film_labels import Films
    from data_flywheel.labels.store import LabelStore
    from triune.system import System

RECORDINGS = Path("runs") / "recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, task, file, where the pictures are."""
    parser.add_argument(
        "what", choices=("import", "export", "expect"), metavar="import|export|expect",
        help="boxes in, boxes out, or what should be done on the timeline",
    )  # fmt: skip
    common.add_task(parser, trust=False)
    parser.add_argument("file", help="a COCO file (.json), or the folder of a YOLO export; marks")
    add_recordings(parser)
    parser.add_argument(
        "--source", metavar="NAME", help="import: the film that is labelled, where several are recorded"
    )
    parser.add_argument("--labels", metavar="FOLDER", help="where labels are kept, default runs/labels/TASK")
    parser.add_argument(
        "--class", dest="called", action="append", default=[], metavar="THEIRS=OURS",
        help="import: the thing that a class of the file is; nothing after the = leaves it out (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-empty", action="store_true",
        help="import: pictures without a box are not labelled yet (default: they are background)",
    )  # fmt: skip
    parser.add_argument("--who", default="reviewer", metavar="NAME", help="import: your name, default reviewer")


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Which recordings the pictures are in."""
    parser.add_argument(
        "--recording", action="append", metavar="FOLDER",
        help="a recording with the pictures (may be repeated; default: all of this task under runs/recordings)",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: counts of pictures and boxes."""
    system = common.load_system(args)
    films = open_films(system, args.recording, console)
    store = open_labels(system, args.labels, console)
    what = {"import": _import, "export": _export, "expect": _expect}[args.what]
    return what(system, args, films, store, console)


def open_films(system: System, folders: list[str] | None, console: Console) -> Films:
    """The films of some recordings, or of all recordings of the task. DataError says how to get one."""
    from data_flywheel.labels.film_labels import EPISODES, Films

    if not folders:
        first = record.recording_folder(system.name)
        around = sorted(p.parent for p in RECORDINGS.glob(f"*/{EPISODES}")) if RECORDINGS.is_dir() else []
        folders = [str(p) for p in around if p == first or _of(p, system.name)]
    if not folders:
        again = f"{command_line('record', system.called)} --source FILE"
        raise TriuneError(f"{first}: nothing is recorded yet; record what the camera sees: {again}")
    films = Films(folders, system.spec)
    for problem in films.problems:
        console.log(f"left out   {problem}")
    return films


def _of(folder: Path, task: str) -> bool:
    """Whether a recording is of this task; not, where it cannot be read."""
    from data_flywheel.episodes.recording import Recording
    from data_flywheel.errors import DataError

    try:
        return Recording(folder).task == task
    except (DataError, OSError):
        return False


def open_labels(system: System, folder: str | None, console: Console) -> LabelStore:
    """The task's labels, begun where there are none; damage is told."""
    from data_flywheel.labels.store import LabelStore

    size = (system.spec.env.height, system.spec.env.width)
    store = LabelStore.create(folder or f"runs/labels/{system.name}", system.name, system.schema, size)
    for problem in store.problems:
        console.log(f"damaged    {problem}")
    return store


def _import(
    system: System, args: argparse.Namespace, films: Films, store: LabelStore, console: Console
) -> dict[str, Any]:
    from data_flywheel.labels.boxes import read_boxes
    from data_flywheel.labels.film_labels import enter

    schema, size = system.schema, store.size
    if schema.grids or schema.gauges or schema.readings:
        raise TriuneError(f"{system.name} has parts that no box can tell (grids, gauges, readings); use triune review")
    boxes = read_boxes(args.file, schema, size, _called(args.called, system))
    _check_typos(boxes, system, args.file)
    values, crowded, outside = boxes.values(schema, size)
    bare = [place for place in values if not boxes.pictures[place]]
    if args.skip_empty:
        values = {place: found for place, found in values.items() if boxes.pictures[place]}
    for line in [*boxes.notes(schema), *_counts(crowded, outside, system)]:
        console.log(f"left out   {line}")
    entered = enter(
        store, films, values, args.who, args.source, f"import {Path(args.file).name}"[:200],
        lambda done: console.progress(done, len(values), f"{done} of {len(values)} pictures"),
    )  # fmt: skip
    console.clear()
    if entered.missing and not entered.labelled + entered.same:
        raise TriuneError(
            f"{args.file}: none of its {len(values)} pictures is recorded (the first is number {entered.missing[0]}); "
            "is it of another film? name its recording with --recording, or record the film"
        )
    counts = {t.name: sum(box is not None for v in values.values() for box in v[t.name]) for t in schema.things}
    told = ", ".join(f"{n} x {name}" for name, n in counts.items())
    console.say(f"labelled   {entered.labelled} pictures, {entered.same} had these labels already: {told}")
    if bare:
        what = "left out (--skip-empty)" if args.skip_empty else "taken as background; if not, add --skip-empty"
        console.say(f"empty      {len(bare)} pictures have no box: {what}")
    if entered.missing:
        console.log(f"left out   {len(entered.missing)} pictures that are not recorded, such as {entered.missing[0]}")
    console.say(f"next       {command_line('train', system.called)}")
    return {
        "task": system.name, "labels": str(store.folder), "pictures": entered.labelled, "same": entered.same,
        "not_recorded": len(entered.missing), "background": 0 if args.skip_empty else len(bare), "boxes": counts,
        "unknown": dict(boxes.unknown), "beyond_count": dict(crowded), "outside": dict(outside),
    }  # fmt: skip


def _expect(
    system: System, args: argparse.Namespace, films: Films, store: LabelStore, console: Console
) -> dict[str, Any]:
    from data_flywheel.labels.expected import FILE, apart, merged, read_clips, write_clips

    space, path = system.spec.env.actions, store.folder / FILE
    new = read_clips(args.file, space)
    for i, clip in enumerate(new):
        film = films.film(clip.film) if clip.film or len(films.films) > 1 else next(iter(films.films))
        new[i] = replace(clip, film=film[1])  # its whole name: whatever it is called, it is one film
        absent = [n for n in (clip.first, clip.last) if films.find(film, n) is None]
        if absent:
            raise TriuneError(f"{args.file}: picture {absent[0]} of {film[1]} is not recorded; is it another film?")
    apart(new, args.file)
    clips = merged(read_clips(path, space) if path.is_file() else [], new)
    write_clips(path, clips)
    marks = sum(len(clip.marks) for clip in new)
    console.say(f"expected   {len(new)} clips with {marks} marks; {len(clips)} clips in all: {path}")
    console.say(f"next       {command_line('improve', system.called)}")
    return {"task": system.name, "labels": str(store.folder), "clips": len(new), "marks": marks, "all": len(clips)}


def _called(words: list[str], system: System) -> dict[str, str]:
    """--class as a table; UsageError with the nearest thing."""
    from envs.env import nearest

    names, table = [thing.name for thing in system.schema.things], dict[str, str]()
    for word in words:
        theirs, equals, ours = word.rpartition("=")
        if not equals or not theirs or (ours and ours not in names):
            raise UsageError(f"--class {word!r:.60} is written THEIRS=OURS{nearest(ours or word, names)}")
        table[theirs] = ours
    return table


def _check_typos(boxes: Boxes, system: System, file: str) -> None:
    """A class that is probably a misspelt thing is not left out: its pictures would teach that nothing is there."""
    from data_flywheel.labels.boxes import TYPO

    names = [thing.name for thing in system.schema.things]
    for name, n in boxes.unknown.items():
        close = difflib.get_close_matches(name.lower(), names, 1, TYPO)
        if close:
            raise UsageError(
                f"{file}: {n} boxes of {name!r}, which {system.name} does not have; is it {close[0]!r}? add "
                f"--class '{name}={close[0]}', or --class '{name}=' to leave them out"
            )


def _counts(crowded: Counter[str], outside: Counter[str], system: System) -> list[str]:
    most = {thing.name: thing.count for thing in system.schema.things}
    lines = [
        f"{n} boxes of {name}, the smallest where there are more than {most[name]} (system.toml: count)"
        for name, n in crowded.items()
    ]
    return lines + [f"{n} boxes of {name} that lie outside the picture" for name, n in outside.items()]


def _export(
    system: System, args: argparse.Namespace, films: Films, store: LabelStore, console: Console
) -> dict[str, Any]:
    from data_flywheel.labels.boxes import write_boxes
    from data_flywheel.labels.film_labels import leave

    for option, given in (("--source", args.source), ("--class", args.called), ("--skip-empty", args.skip_empty)):
        if given:
            raise UsageError(f"{option} is for import")
    pictures, left_out = leave(store, films)
    if not pictures:
        raise TriuneError(f"{store.folder}: no labelled picture of these recordings; label some with triune review")
    common.out_folder(str(Path(args.file).parent)).mkdir(parents=True, exist_ok=True)
    form = write_boxes(args.file, pictures, system.schema, store.size)
    boxes = sum(box is not None for values in pictures.values() for slots in values.values() for box in slots)
    console.say(f"wrote      {len(pictures)} pictures with {boxes} boxes as {form}: {args.file}")
    if left_out:
        console.log(f"left out   {left_out} labelled pictures: rejected, or of other recordings")
    return {"task": system.name, "file": args.file, "form": form, "pictures": len(pictures), "boxes": boxes,
            "left_out": left_out}  # fmt: skip
