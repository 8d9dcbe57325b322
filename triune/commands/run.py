"""`triune run BUNDLE`: a deployed system on its game, on a film, or live on a camera or stream."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console, told_score
from triune.errors import EXIT_FAILED, TriuneError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from envs.actions import Action
    from envs.remote import Outcome
    from logic.runtime.controller import Decision
    from perception.scene import Scene
    from triune.live.sinks import Sink
    from triune.live.telling import Teller
    from triune.play.recording import BundleRecorder
    from triune.runtime import Bundle

FITS = ("letterbox", "stretch")
PATIENCE = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bundle, source, what to do with the actions."""
    parser.add_argument("bundle", help="a file made by `triune export`")
    parser.add_argument(
        "--source", default="env", metavar="S",
        help="env (a game, default), a video file, a folder of pictures, a camera's number, rtsp://... or http://...",
    )  # fmt: skip
    parser.add_argument(
        "--sink", metavar="WHERE",
        help="who is told the action of every picture, as a line of JSON: stdout, http://..., udp://HOST:PORT, "
        "exec:COMMAND, mqtt://HOST/TOPIC (extra mqtt)",
    )  # fmt: skip
    parser.add_argument(
        "--shadow", action="store_true", help="decide and log, but touch no sink; in a game the fallback action plays"
    )
    parser.add_argument(
        "--every", type=common.positive, metavar="N",
        help="look at every Nth frame of a video or camera (default: all, refused where its rate is not the bundle's)",
    )  # fmt: skip
    parser.add_argument("--fit", choices=FITS, metavar="HOW", help="frames of another size: letterbox or stretch them")
    parser.add_argument(
        "--deadline", type=common.amount, metavar="MS", help="real time a step may take (default: the bundle's)"
    )
    parser.add_argument(
        "--patience", type=common.amount, default=PATIENCE, metavar="S",
        help=f"seconds that a camera or stream may be away before the run ends with exit code 1, default {PATIENCE:g}",
    )  # fmt: skip
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N", help="episode, with --source env")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="stop after N steps")
    parser.add_argument(
        "--log", metavar="FILE", help="write every decision as a line of JSON; a full one becomes FILE.1"
    )
    parser.add_argument("--metrics", metavar="FILE", help="counts and latencies for Prometheus, anew every 5 seconds")
    parser.add_argument("--record", metavar="FOLDER", help="add what was seen to this recording (docs/recording.md)")
    parser.add_argument("--disk", default="500MB", metavar="SIZE", help="bytes the recording may take")
    common.add_lossy(parser)
    common.add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: steps, milliseconds a step, actions, reasons, interventions, conditions, how it ended; the score with
    --source env; of controls, [least, mean, most] by name."""
    from envs.trust import vouch
    from triune.live.telling import Log, Teller
    from triune.play.film import told
    from triune.play.recording import a_minute
    from triune.runtime import Bundle

    bot = Bundle.load(args.bundle, args.deadline)
    _check(args, bot)
    if args.trust:
        vouch(bot.spec.env.id)
    source = told(args.source)
    console.log(f"{bot.task}, made for {bot.protocol.name}, on {source}{' (shadow)' if args.shadow else ''}")
    book = _book(bot, args, console) if args.record else None
    log = Log(common.out_file(args.log)) if args.log else None
    teller = Teller(bot, log, _sink(args, console), args.shadow)
    pilot = _Pilot(bot, teller, console, book)
    kept = 0
    try:
        payload = _env(pilot, args) if args.source == "env" else _live(pilot, args, console)
    finally:
        if log:
            log.close()
        if teller.sink:
            teller.sink.close()
        kept = book.close(pilot.sheet) if book else 0
    if book:
        minute = a_minute(book.recorder, book.frames, bot.protocol.control_hz)
        payload |= {"recorded": kept, "bytes_a_minute": minute}
    _show(payload, args, console)
    head = {"bundle": args.bundle, "task": bot.task, "source": source, "shadow": args.shadow}
    return {**head, **payload}


def _check(args: argparse.Namespace, bot: Bundle) -> None:
    """What cannot go together is refused before anything is opened."""
    from envs.env import simulated

    if args.source == "env":
        if not simulated(bot.spec.env):
            raise UsageError(f"{bot.task} is seen by a camera: --source FILE, FOLDER, camera number or rtsp://...")
        if args.sink or args.metrics:
            raise UsageError(
                "--sink and --metrics go with pictures: --source FILE, FOLDER, camera number or rtsp://..."
            )
    if args.sink == "stdout" and args.json:
        raise UsageError("--sink stdout and --json both write to standard output: use --log FILE for the lines")


def _sink(args: argparse.Namespace, console: Console) -> Sink | None:
    """Who is told. In shadow nobody is: the lines go to standard output, where it is free."""
    from triune.live.sinks import Stdout, open_sink

    if not args.sink:
        return None
    if not args.shadow:
        return open_sink(args.sink)
    return None if console.as_json else Stdout()


def _show(payload: dict[str, Any], args: argparse.Namespace, console: Console) -> None:
    """The figures, for people: on standard error where the lines are on standard output."""
    lines = args.sink == "stdout" or args.sink and args.shadow
    say = console.log if lines else console.say
    if "score" in payload:
        ended = "" if payload["finished"] else "   (stopped early)"
        say(f"score      {told_score(payload['score'])}{ended}")
    say(f"steps      {payload['steps']}")
    latency = payload["latency_ms"]
    say(f"time       {payload['ms_per_step']} ms a step (median); p99 {latency['p99']}, longest {latency['max']}")
    if "ended" in payload:
        say(
            f"pictures   {payload['frames_per_second']} a second; {payload['skipped']} skipped, {payload['dropped']} "
            f"dropped by the source, {payload['late']} deadlines missed"
        )
    for name, (low, middle, high) in payload.get("controls", {}).items():
        say(f"control    {name} {low:+.3g} .. {high:+.3g}, {middle:+.3g} on average")
    say("reasons    " + ", ".join(f"{k} {n}" for k, n in payload["reasons"].items()))
    if args.record:
        kept = payload["recorded"]
        cost = f", {payload['bytes_a_minute'] / 1e6:.1f} MB a minute"
        say(f"recorded   {kept} episode{'' if kept == 1 else 's'} in {args.record}{cost}")
    say("overruled  " + (", ".join(f"{k} {n}" for k, n in payload["interventions"].items()) or "none"))
    if payload["conditions"]:
        say("conditions " + ", ".join(f"{k} {n}" for k, n in payload["conditions"].items()))
    if payload["faults"]:
        say(f"faults     {payload['faults']}")
        for fault, n in payload["fault_texts"].items():
            say(f"fault      {n} x  {fault}")
    if payload.get("ended") not in (None, "ended", "enough"):
        say(f"ended      {payload['ended']}")


def _book(bot: Bundle, args: argparse.Namespace, console: Console) -> BundleRecorder:
    from data_flywheel.episodes.recording import parse_bytes
    from data_flywheel.errors import DataError
    from triune.play.film import told
    from triune.play.recording import BundleRecorder

    try:
        disk = parse_bytes(args.disk)
    except DataError as error:
        raise UsageError(str(error)) from None
    seed = args.seed if args.source == "env" else None
    return BundleRecorder(bot, args.record, disk, told(args.source), seed, console.log, args.lossy)


# ----------------------------------------------------------------------------------------------------
# On a game.


class _Pilot:
    """Plays a bundle in its game. `sent`: what is carried out whatever is decided; `sheet`: of the game that was
    played, once it has ended."""

    def __init__(self, bot: Bundle, teller: Teller, console: Console, book: BundleRecorder | None) -> None:
        self.bot, self.teller, self.state, self.console, self.book = bot, teller, bot.start(), console, book
        self.sent: Action | None = None
        self.sheet: Outcome | None = None
        self.watch = bot.watch()
        self._steps = 0

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """What the bundle believes and decides on a frame uint8[H, W, 3]."""
        from logic.runtime.controller import Decision

        began = time.perf_counter()
        action, self.state, why = self.bot.step(frame, self.state)
        latency = 1000 * (time.perf_counter() - began)
        if self.watch and self.watch.see(frame, why.scene.vector):
            from triune.play.drift import warning

            self.console.log(warning(self.watch.report(), self.bot.task, None))
        self.teller.decided(self._steps / self.bot.protocol.control_hz, self._steps, action, why, latency)
        self._steps += 1
        carried_out = action if self.sent is None else self.sent
        if self.book:
            self.book.see(frame, carried_out, why)
        return why.scene, Decision(carried_out, why.reason, why.wanted, why.overruled_by, why.fault)


def _env(pilot: _Pilot, args: argparse.Namespace) -> dict[str, Any]:
    from envs.remote import PixelEnv
    from triune.play.loop import steps

    bot = pilot.bot
    pilot.sent = bot.fallback if args.shadow else None
    with PixelEnv(bot.spec.env, bot.protocol) as env:
        for _ in steps(env, pilot, env.reset(args.seed), args.steps):
            pass
        sheet = pilot.sheet = env.outcome()
    drift = {"drift": pilot.watch.report() if pilot.watch else {}}
    told = {"score": sheet.score, "finished": sheet.finished, "frames": sheet.frames}
    return {**told, **pilot.teller.summary(), **drift}


# ----------------------------------------------------------------------------------------------------
# On pictures.


def _live(pilot: _Pilot, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """A film, every picture of it, or a camera or stream, until it is lost. What carries actions out is the sink."""
    from triune.live.feed import Feed, FilmFeed, Reader
    from triune.live.worker import DEAF, LOST, STOPPED, Worker
    from triune.play.film import Film, check_rate

    bot, teller = pilot.bot, pilot.teller
    (high, wide, _), hz = bot.frame_shape, bot.protocol.control_hz

    def again() -> Film:
        return Film(args.source, args.every or 1, hz, (wide, high))

    film = again()
    try:
        if warning := check_rate(film.rate, hz, args.every, film.source):
            console.log(f"rate       {warning}")
        if film.variable:
            console.log(
                f"rate       {film.source} is unevenly spaced: {hz:g} pictures a second are taken by their times"
            )
    except TriuneError:
        film.close()
        raise
    feed: Feed = Reader(film, again).start() if film.live else FilmFeed(film)
    metrics = common.out_file(args.metrics) if args.metrics else None
    worker = Worker(
        bot, feed, teller, console.log, film.source, args.fit, args.steps, args.patience, metrics, pilot.book
    )
    ended = STOPPED
    try:
        with _stoppable():
            ended = worker.run()
    except KeyboardInterrupt:
        console.log("")
    finally:
        feed.close()
        worker.finish(ended)
    if not teller.tally.steps and ended != STOPPED:
        raise TriuneError(f"no frame could be read from {film.source}; is it a video that OpenCV decodes (mp4, avi)?")
    _lacks(film, worker.wrong_size, console)
    failed = {"exit_code": EXIT_FAILED} if ended in (LOST, DEAF) else {}
    lost = teller.sink.lost if teller.sink else 0
    if lost and teller.sink:
        why = f": {teller.sink.trouble}" if teller.sink.trouble else ", for newer ones"
        console.log(f"sink       {lost} lines were not sent{why}")
    return {
        "left_out": worker.wrong_size, "undecodable": film.undecodable, "rate": film.rate, **teller.summary(),
        "drift": worker.watch.report() if worker.watch else {}, "ended": ended, "sink_lost": lost, **failed,
    }  # fmt: skip


def _lacks(film: Any, wrong: int, console: Console) -> None:
    if wrong:
        console.log(f"left out   {wrong} frames of another size; --fit letterbox or --fit stretch takes them")
    if film.undecodable:
        whole = f" of {film.promised}" if film.promised else ""
        console.log(f"left out   {film.undecodable}{whole} frames of {film.source}, which cannot be decoded")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A service manager's request to end is taken as Ctrl-C is: the last line is the fallback."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
