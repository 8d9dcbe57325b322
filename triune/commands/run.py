"""`triune run BUNDLE`: a deployed system on its game, a video or a camera."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from envs.writing import naming
from triune.commands import common
from triune.console import Console, told_score
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from envs.actions import Action
    from envs.remote import Outcome
    from logic.runtime.controller import Decision
    from perception.scene import Scene
    from triune.play.recording import BundleRecorder
    from triune.runtime import Bundle

FITS = ("letterbox", "stretch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bundle, source, what to do with the actions."""
    parser.add_argument("bundle", help="a file made by `triune export`")
    parser.add_argument("--source", default="env", metavar="S", help="env (default), a video file, or a camera number")
    parser.add_argument("--shadow", action="store_true", help="decide and log, but let the fallback action play")
    parser.add_argument(
        "--every", type=common.positive, metavar="N",
        help="look at every Nth frame of a video or camera (default: all, refused where its rate is not the bundle's)",
    )  # fmt: skip
    parser.add_argument("--fit", choices=FITS, metavar="HOW", help="frames of another size: letterbox or stretch them")
    parser.add_argument(
        "--deadline", type=common.amount, metavar="MS", help="real time a step may take (default: the bundle's)"
    )
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N", help="episode, with --source env")
    parser.add_argument("--steps", type=common.positive, metavar="N", help="stop after N steps")
    parser.add_argument("--log", metavar="FILE", help="write every decision as a line of JSON")
    parser.add_argument("--record", metavar="FOLDER", help="add what was seen to this recording (docs/recording.md)")
    parser.add_argument("--disk", default="500MB", metavar="SIZE", help="bytes the recording may take")
    common.add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: steps, milliseconds a step, reasons, interventions; the score with --source env; of controls,
    [least, mean, most] by name."""
    from envs.trust import vouch
    from triune.runtime import Bundle

    bot = Bundle.load(args.bundle, args.deadline)
    if args.trust:
        vouch(bot.spec.env.id)
    console.log(f"{bot.task}, made for {bot.protocol.name}, on {args.source}{' (shadow)' if args.shadow else ''}")
    book = _book(bot, args, console) if args.record else None
    log = open(common.out_file(args.log), "w", encoding="utf-8") if args.log else None  # noqa: SIM115 - closed below
    pilot = _Pilot(bot, log, console, book)
    try:
        payload = _env(pilot, args) if args.source == "env" else _frames(pilot, args)
    finally:
        if log:
            with naming(Path(log.name)):
                log.close()
        kept = book.close(pilot.sheet) if book else 0
    if "score" in payload:
        ended = "" if payload["finished"] else "   (stopped early)"
        console.say(f"score      {told_score(payload['score'])}{ended}")
    console.say(f"steps      {payload['steps']}")
    console.say(f"time       {payload['ms_per_step']} ms a step (median)")
    for name, (low, middle, high) in payload.get("controls", {}).items():
        console.say(f"control    {name} {low:+.3g} .. {high:+.3g}, {middle:+.3g} on average")
    console.say("reasons    " + ", ".join(f"{k} {n}" for k, n in payload["reasons"].items()))
    if book:
        console.say(f"recorded   {kept} episode{'' if kept == 1 else 's'} in {args.record}")
        payload["recorded"] = kept
    console.say("overruled  " + (", ".join(f"{k} {n}" for k, n in payload["interventions"].items()) or "none"))
    if pilot.faults:
        console.say(f"faults     {pilot.faults}")
        for fault, n in pilot.fault_texts.most_common(3):
            console.say(f"fault      {n} x  {fault}")
    return {"bundle": args.bundle, "task": bot.task, "source": args.source, "shadow": args.shadow, **payload}


def _book(bot: Bundle, args: argparse.Namespace, console: Console) -> BundleRecorder:
    from data_flywheel.episodes.recording import parse_bytes
    from data_flywheel.errors import DataError
    from triune.play.recording import BundleRecorder

    try:
        disk = parse_bytes(args.disk)
    except DataError as error:
        raise UsageError(str(error)) from None
    seed = args.seed if args.source == "env" else None
    return BundleRecorder(bot, args.record, disk, args.source, seed, console.log)


class _Pilot:
    """Plays a bundle and keeps count. `sent`: what is carried out whatever is decided; `sheet`: of the game that was
    played, once it has ended."""

    def __init__(self, bot: Bundle, log: TextIO | None, console: Console, book: BundleRecorder | None) -> None:
        self.bot, self.log, self.state, self.console, self.book = bot, log, bot.start(), console, book
        self.sent: Action | None = None
        self.sheet: Outcome | None = None
        self.watch = bot.watch()
        self.times: list[float] = []
        self.reasons: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.fault_texts: Counter[str] = Counter()
        self.controls: list[np.ndarray] = []

    def act(self, frame: np.ndarray) -> tuple[Scene, Decision]:
        """What the bundle believes and decides on a frame uint8[H, W, 3]."""
        from logic.runtime.controller import Decision

        began = time.perf_counter()
        action, self.state, why = self.bot.step(frame, self.state)
        self.times.append(1000 * (time.perf_counter() - began))
        self.reasons[why.reason] += 1
        self.rules.update(why.overruled_by)
        if why.fault:
            self.fault_texts[why.fault] += 1
        if self.watch and self.watch.see(frame, why.scene.vector):
            from triune.play.drift import warning

            self.console.log(warning(self.watch.report(), self.bot.task, None))
        if self.log:
            chosen = {"action": self._told(action, why.action), "proposed": self._told(why.wanted, why.proposed)}
            line = {"step": len(self.times) - 1, **chosen, "reason": why.reason}
            line |= {"overruled_by": list(why.overruled_by), "fault": why.fault}
            with naming(Path(self.log.name)):
                print(json.dumps(line), file=self.log)
        if not isinstance(action, int):
            self.controls.append(action)
        carried_out = action if self.sent is None else self.sent
        if self.book:
            self.book.see(frame, carried_out, why)
        return why.scene, Decision(carried_out, why.reason, why.wanted, why.overruled_by, why.fault)

    @property
    def faults(self) -> int:
        """Steps on which something failed."""
        return self.fault_texts.total()

    def _told(self, action: Action, words: str) -> Any:
        """For the log: the action's name, or the value of every control by its name."""
        return words if isinstance(action, int) else dict(zip(self.bot.actions, action.tolist(), strict=True))

    def summary(self) -> dict[str, Any]:
        middle = sorted(self.times)[len(self.times) // 2] if self.times else 0.0
        ranges = {}
        if self.controls:
            columns = zip(self.bot.actions, zip(*(a.tolist() for a in self.controls), strict=True), strict=True)
            ranges = {"controls": {n: [min(v), sum(v) / len(v), max(v)] for n, v in columns}}
        return {
            "steps": len(self.times), "ms_per_step": round(middle, 3), "reasons": dict(self.reasons.most_common()),
            "interventions": dict(self.rules.most_common()), "faults": self.faults,
            "drift": self.watch.report() if self.watch else {}, **ranges,
        }  # fmt: skip


def _env(pilot: _Pilot, args: argparse.Namespace) -> dict[str, Any]:
    from envs.remote import PixelEnv
    from triune.play.loop import steps

    bot = pilot.bot
    pilot.sent = bot.fallback if args.shadow else None
    with PixelEnv(bot.spec.env, bot.protocol) as env:
        for _ in steps(env, pilot, env.reset(args.seed), args.steps):
            pass
        sheet = pilot.sheet = env.outcome()
    return {"score": sheet.score, "finished": sheet.finished, "frames": sheet.frames, **pilot.summary()}


def _frames(pilot: _Pilot, args: argparse.Namespace) -> dict[str, Any]:
    """Nobody carries the actions out here: a video or a camera is watched, decisions are counted and logged.

    A source that begins with frames of another size is refused; one such frame later on is left out alone, and so is
    one that cannot be decoded.
    """
    from triune.play.film import Film, check_rate, fitted

    film, left_out = Film(args.source, args.every or 1), 0
    try:
        if warning := check_rate(film.rate, pilot.bot.protocol.control_hz, args.every, args.source):
            pilot.console.log(f"rate       {warning}")
        for i, frame in enumerate(film):
            if i == args.steps:
                break
            try:
                picture = fitted(frame, pilot.bot.frame_shape, args.fit, args.source)
            except TriuneError as error:
                if not pilot.times:
                    raise
                if not left_out:
                    pilot.console.log(f"left out   frame {i}, and all others like it: {error}")
                left_out += 1
                continue
            pilot.act(picture)
    finally:
        film.close()
    if not pilot.times:
        raise TriuneError(f"no frame could be read from {args.source}; is it a video that OpenCV decodes (mp4, avi)?")
    if film.undecodable:
        whole = f" of {film.promised}" if film.promised else ""
        pilot.console.log(f"left out   {film.undecodable}{whole} frames of {args.source}, which cannot be decoded")
    return {"left_out": left_out, "undecodable": film.undecodable, "rate": film.rate, **pilot.summary()}
