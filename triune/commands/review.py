"""`triune review TASK`: a page on this machine where people look at suspicious frames and correct their labels, and
where they label the films of a camera's task."""

from __future__ import annotations

import argparse
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.env import simulated
from triune.commands import collect, common
from triune.commands.labels import add_recordings, open_films
from triune.console import Console
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from data_flywheel.labels.frames import DatasetFrames
    from data_flywheel.labels.review_queue import ReviewQueue
    from data_flywheel.labels.store import LabelStore
    from triune.review.session import ReviewSession
    from triune.review.strip import Strip
    from triune.system import System

MOST = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, frames, labels, server."""
    common.add_task(parser)
    parser.add_argument("--queue", metavar="FILE", help="the frames to look at, in order (default: made from --data)")
    parser.add_argument(
        "--data", metavar="FOLDER",
        help="a collected data set, or recorded episodes, to take suspicious frames from (default runs/data/TASK; of a "
        "camera its recordings)",
    )  # fmt: skip
    add_recordings(parser)
    parser.add_argument("--labels", metavar="FOLDER", help="where labels are kept, default runs/labels/TASK")
    parser.add_argument("--who", default="reviewer", metavar="NAME", help="your name in the labels, default reviewer")
    parser.add_argument(
        "--most", type=common.positive, default=MOST, metavar="N", help=f"frames in the queue, default {MOST}"
    )
    parser.add_argument("--port", type=common.port, default=0, metavar="N", help="default: any free one")
    parser.add_argument("--no-open", action="store_true", help="print the address, start no browser")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: counts of open, edited, accepted and rejected frames, conflicts, problems, folder of the labels."""
    from triune.review.server import ReviewServer

    system = common.load_system(args)
    session = open_session(system, args, console)
    for problem in session.store.problems:
        console.log(f"damaged    {problem}")
    with ReviewServer(session, args.port) as server:
        console.log(f"open       {server.url}   (Ctrl-C ends; everything is saved)")
        if not args.no_open:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            console.log("")
    summary = session.summary()
    console.say(
        f"{summary['done']} of {summary['total']} frames reviewed: {summary['accepted']} accepted, "
        f"{summary['rejected']} rejected, {summary['edited']} corrected but open; labels in {session.store.folder}"
    )
    return {"task": system.name, "labels": str(session.store.folder), **summary}


def open_session(system: System, args: argparse.Namespace, console: Console) -> ReviewSession:
    """Queue, labels and frames; DataError or TriuneError says what is missing and how to get it."""
    from data_flywheel.labels.frames import DatasetFrames, Places, open_frames
    from data_flywheel.labels.review_queue import ReviewQueue
    from triune.review.session import ReviewSession

    if args.recording and (args.data or args.queue or simulated(system.spec.env)):
        raise UsageError("--recording is for the films of a camera's task, without --data and --queue; leave it out")
    if not (args.data or args.queue or simulated(system.spec.env)):
        return _open_films(system, args, console)
    queue = ReviewQueue.load(args.queue) if args.queue else None
    folders = [args.data] if args.data else list(queue.data) if queue else [str(collect.data_folder(system.name))]
    sources = [open_frames(folder, system.spec) for folder in folders]
    if queue is None:
        queue = make_queue(system, sources[0], folders[0], args.most, console)
    store = _open_store(system, args)
    strip = _strip(queue, system, store)
    session = ReviewSession(queue, store, Places(sources), args.who, system.spec.title, strip)
    for source in sources:
        if isinstance(source, DatasetFrames):
            _keep_teacher(session, source, console)
    return session


def _open_store(system: System, args: argparse.Namespace) -> LabelStore:
    from data_flywheel.labels.store import LabelStore

    size = (system.spec.env.height, system.spec.env.width)
    return LabelStore.create(Path(args.labels or f"runs/labels/{system.name}"), system.name, system.schema, size)


def _strip(queue: ReviewQueue, system: System, store: LabelStore) -> Strip | None:
    """The films that a queue names; None of games, and where its folder is no recording."""
    from data_flywheel.errors import DataError
    from data_flywheel.labels.film_labels import Films
    from triune.review.strip import Strip

    if not queue.films:
        return None
    try:
        return Strip(Films(queue.data, system.spec), store, system.protocol().control_hz)
    except DataError:
        return None


def _open_films(system: System, args: argparse.Namespace, console: Console) -> ReviewSession:
    """All films that were recorded for a camera's task: what to label first, and every other picture besides."""
    from data_flywheel.datasets.film_queue import film_queue
    from triune.review.session import ReviewSession
    from triune.review.strip import Strip

    films = open_films(system, args.recording, console)
    store = _open_store(system, args)
    hz = system.protocol().control_hz
    look = system.detector().look if system.detector_path.is_file() else None
    how = "by what the detector is unsure of" if look else "spread over time and looks"
    console.log(f"choosing   what to label first, {how}")
    told = lambda done, of: console.progress(done, of, f"{done} of {of} pictures")  # noqa: E731
    queue = film_queue(films, store, hz, look, args.most, told)
    console.clear()
    return ReviewSession(queue, store, films, args.who, system.spec.title, Strip(films, store, hz))


def make_queue(system: System, source: Any, folder: str, most: int, console: Console) -> ReviewQueue:
    """The most suspicious frames of a data set or of recorded episodes, by what the detector says of them."""
    from data_flywheel.labels.frames import DatasetFrames
    from data_flywheel.labels.review_queue import ReviewQueue, of_dataset, of_episodes

    console.log(f"looking for suspicious frames in {folder}")
    if isinstance(source, DatasetFrames):
        problems: list[str] = []
        found = of_dataset(system.schema, source, system.detector().look, problems)
    else:
        problems = source.problems
        found = of_episodes(system.schema, source, problems)
    queue = ReviewQueue.build(system.name, system.schema, found, [folder], most)
    for problem in problems:
        console.log(f"left out   {problem}")
    if not queue.items:
        raise TriuneError(
            f"{folder}: nothing suspicious in it (left out: {queue.left_out}); name a --queue of your own"
        )
    return queue


def _keep_teacher(session: ReviewSession, source: DatasetFrames, console: Console) -> None:
    """Enter a data set's own labels of the queue's frames, once, so that people see them and rows can be traced."""
    from data_flywheel.errors import DataError
    from data_flywheel.labels.label import check_label

    found = []
    for item in session.queue.items:
        try:
            label = source.labels(session.schema, [item.frame])[0]
            found.append(check_label(label, session.schema, session.store.size))
        except DataError as error:
            console.log(f"without its label: {error}")  # of another place, damaged, or not valid: the rest goes on
    known = {(label.frame, label.who) for item in session.queue.items for label in session.store.standing(item.frame)}
    session.store.add([label for label in found if (label.frame, label.who) not in known])
