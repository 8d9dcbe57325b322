"""`triune play`: one episode, with a replay, a live window or a report if asked."""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console, told_score
from triune.errors import TriuneError, UsageError

if TYPE_CHECKING:
    from data_flywheel.episodes.episode import Episode
    from triune.play.evaluation import Run
    from triune.play.loop import Detector, Rollout, Step
    from triune.system import System

VERIFY = 20  # frames from one comparison to the next


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, conditions, seed, outputs."""
    common.add_task(parser)
    common.add_conditions(parser)
    common.add_isolation(parser)
    common.add_policy(parser)
    common.add_record(parser)
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N", help="default 0")
    parser.add_argument("--video", metavar="FILE", help="write a replay: .webp, or .mp4 for long episodes")
    parser.add_argument("--report", metavar="HTML", help="write a report of this episode")
    parser.add_argument("--watch", action="store_true", help="live window (needs a display)")
    parser.add_argument(
        "--verify", nargs="?", type=common.positive, const=VERIFY, default=0, metavar="N",
        help=f"hold the native engine against ONNX Runtime every N frames (default {VERIFY}); stop where they differ",
    )  # fmt: skip
    parser.add_argument("--steps", type=common.positive, metavar="N", help="stop after N steps")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: the episode's line, and the files written."""
    from triune.play.loop import Rollout
    from triune.play.workers import episode_record

    system = common.load_system(args)
    common.check_conditions(args)
    for path, kinds in ((args.video, (".webp", ".mp4")), (args.report, (".html",))):
        if path:
            common.out_file(path, *kinds)  # refuse before playing, not after
    if args.watch:
        _check_display()
    from triune.play.recording import open_recorder, record_job

    job = record_job(args, system)
    with Rollout(system, args.protocol, args.shift, args.detector, verify=args.verify) as rollout:
        if args.verify:
            _check_engine(rollout.detector)
        rollout.recorder = open_recorder(job, system)
        console.log(f"{system.name}, {rollout.protocol.name}, seed {args.seed}, detector {args.detector}")
        episode = _play(rollout, args, console)
    record = episode_record(episode)
    speed = record["frames"] / max(record["seconds"], 1e-9)
    _show(record, speed, console)
    common.show_faults(system, record["fault_texts"], console)
    kept = _keep(system, args, episode)
    return _outputs(system, args, episode, kept, record | {"frames_per_second": speed}, console)


def _outputs(
    system: System, args: argparse.Namespace, episode: Episode, kept: Run, record: dict[str, Any], console: Console
) -> dict[str, Any]:
    """Write what was asked for; the payload."""
    payload = {
        "task": system.name,
        "protocol": episode.meta["protocol"],
        "shift": args.shift,
        "eyes": args.detector,
        **record,
    }
    payload |= {"episode": str(kept.episodes / f"{args.seed}.npz")}
    console.say(f"episode    {payload['episode']}")
    if args.record:
        from data_flywheel.episodes.recording import name_in_recording
        from triune.play.recording import told_recording

        payload |= told_recording(args.record, [name_in_recording(episode)], console)
    if args.video:
        from triune.report.replay import write_replay

        video = Path(args.video)
        payload["video"] = str(video)
        console.say(f"replay     {video} ({write_replay(system, episode, video, console)})")
    if args.report:
        from triune.report.page import write_report

        payload["report"] = str(write_report(kept, Path(args.report), console, args.trust))
        console.say(f"report     {payload['report']}")
    return payload


def _play(rollout: Rollout, args: argparse.Namespace, console: Console) -> Episode:
    """Play and record, with a bar and perhaps a window."""
    window = None
    if args.watch:
        from triune.report.replay import Window

        window = Window(rollout)
    limit = args.steps or rollout.protocol.frame_limit // rollout.protocol.frames_per_step

    told = "ok"

    def each(step: Step) -> None:
        nonlocal told
        if rollout.watch and rollout.watch.level != told:
            told = rollout.watch.level
            console.clear()
            from triune.play.drift import warning

            console.log(warning(rollout.watch.report(), rollout.system.called, args.shift))
        if step.index % 50 == 0:
            console.progress(step.index, limit, f"step {step.index}: {step.decision.reason}")
        if window:
            window.show(step)

    episode = rollout.record(args.seed, args.steps, each)
    console.clear()
    return episode


def _keep(system: System, args: argparse.Namespace, episode: Episode) -> Run:
    """The episode as a run of one seed, so that report and explain can read it; one of the same texts and conditions is
    replaced, one of others stays."""
    from triune.play.evaluation import HOME, Run, make_request, summarise
    from triune.play.workers import episode_record

    request = make_request(system, args.protocol, [args.seed], args.shift, args.detector, args.steps)
    stem = f"{system.name}-{episode.meta['protocol']}-{args.seed}"
    for n in itertools.count(1):
        folder = HOME / "play" / (f"{stem}.{n}" if n > 1 else stem)
        try:
            Run.open(folder, request, system)
            _fresh(folder)
            run = Run.open(folder, request, system)  # another process may have begun here just now
        except TriuneError:
            continue
        break
    episode.save(run.episodes / f"{args.seed}.npz")
    record = episode_record(episode)
    run.finish(summarise(request, [record], record["seconds"], 1))
    return run


def _show(record: dict[str, Any], speed: float, console: Console) -> None:
    ended = "" if record["finished"] else "   (stopped early)"
    score = told_score(record["score"])
    console.say(f"score      {score}   {record['frames']} frames, {record['steps']} decisions{ended}")
    console.say(f"speed      {speed:.0f} frames a second")
    top = sorted(record["reasons"].items(), key=lambda item: -item[1])[:6]
    console.say("reasons    " + ", ".join(f"{reason} {n}" for reason, n in top))
    rules = ", ".join(f"{name} {n}" for name, n in record["interventions"].items()) or "none"
    console.say(f"overruled  {rules}   faults {record['faults']}")


def _check_engine(detector: Detector) -> None:
    """There is something to verify only where the native engine sees."""
    engine = getattr(detector, "engine", "a detector that needs no engine")
    if engine != "native":
        raise UsageError(f"--verify has nothing to compare: what sees here is {engine}")


def _check_display() -> None:
    if os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise TriuneError("no display for --watch; write a replay instead: --video replay.webp")


def _fresh(folder: Path) -> None:
    """A report of a single game starts over; only this command writes here."""
    for name in ("run.json", "result.json", *(f"episodes/{p.name}" for p in (folder / "episodes").glob("*.npz"))):
        (folder / name).unlink(missing_ok=True)
