"""`triune improve`: read what happened, ask for a revision of the policy, prove it, keep it only if it is better."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from triune.commands import common
from triune.console import Console, table
from triune.errors import UsageError, nearest

if TYPE_CHECKING:
    from supervisor.loop.loop import Ended
    from supervisor.loop.parts import Parts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, proposer, budgets, where the run is kept."""
    parser.add_argument("task", nargs="?", help="a name from `triune list`, or a folder (not needed with --resume)")
    parser.add_argument("--proposer", metavar="P", help="tuner (default), openai, agent or replay")
    parser.add_argument("--protocol", metavar="P", help="a protocol of the task (default: its own)")
    parser.add_argument("--detector", "--eyes", metavar="E", help="cnn (pixels, default), teacher (exact), colour")
    parser.add_argument("--trials", type=common.positive, metavar="N", help="at most N (default: 10 without a budget)")
    parser.add_argument("--policy", metavar="FILE", help="start from this text (with --out)")
    parser.add_argument("--out", metavar="FOLDER", help="improve a copy of the task's folder")
    parser.add_argument("--run", dest="home", metavar="DIR", help="folder of the run (default: under runs/improve)")
    parser.add_argument("--resume", metavar="DIR", help="go on with a run; budgets and trials may be raised")
    common.add_workers(parser)
    parser.add_argument("--games", metavar="FILE", help="do not play again what is in this file; add new games to it")
    parser.add_argument("--dry-run", action="store_true", help="write what would be asked, and ask nothing")
    _add_budgets(parser)
    _add_proposers(parser)
    _add_gate(parser)


def _add_budgets(parser: argparse.ArgumentParser) -> None:
    for name, what in (
        ("usd", "US dollars"), ("tokens", "tokens"), ("steps", "simulated frames"), ("wall", "seconds of wall time")
    ):  # fmt: skip
        parser.add_argument(f"--budget-{name}", type=common.finite, metavar="N", help=f"at most N {what}")


def _add_proposers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="openai: the model's name")
    parser.add_argument("--base-url", metavar="URL", help="openai: a server with this interface")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="openai: any other setting")
    parser.add_argument(
        "--command", dest="agent_command", metavar="'WORDS'", help="agent: the command that works in the folder"
    )
    parser.add_argument("--workspace", metavar="DIR", help="agent: where; without --command, answer there by hand")
    parser.add_argument("--agent-time", type=common.amount, metavar="S", help="agent: seconds an answer (default 1800)")
    parser.add_argument("--keep-env", action="append", metavar="NAME", help="agent: a variable that it may see")
    parser.add_argument(
        "--bench-share", type=float, metavar="S", help="agent: part of the run's frames for test drives (default 0.1)"
    )
    parser.add_argument("--recording", metavar="FILE", help="replay: the exchanges")
    parser.add_argument(
        "--rekey", metavar="FILE",
        help="replay: answer by trial and policy, and write the exchanges with the present questions to FILE",
    )  # fmt: skip
    parser.add_argument("--record", metavar="FILE", help="write all exchanges down, for replay")


def _add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gate", metavar="JSON", help="a file with settings of the gate (docs/gate.md)")
    parser.add_argument(
        "--gate-seeds", choices=("drawn", "in-turn"),
        help="drawn once an answer is there (default), or in turn, as anybody can work out (for replay)",
    )  # fmt: skip
    parser.add_argument("--shown", type=common.positive, metavar="N", help="training episodes shown (default 4)")
    parser.add_argument("--floors", choices=("on", "off"), help="play score floors for every child (default on)")
    parser.add_argument("--no-auto-lock", action="store_true", help="make no lock when a child is accepted")
    parser.add_argument(
        "--blame", action="store_true", default=None,
        help="tell whose each shown failure was; plays it again, some seconds each (for replay: as it was recorded)",
    )  # fmt: skip
    common.add_trust(parser, default=None)
    parser.add_argument(
        "--require-isolation", action="store_true", default=None,
        help="refuse to run where a layer of isolation is missing",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `run`, `folder`, `why`, `trials`, `accepted`, `budgets`; with --dry-run what would be sent."""
    from supervisor.events import EventLog
    from supervisor.loop.loop import LOG, Loop
    from triune.commands import improve_setup as setup

    home = _home(args)
    setup.check_words(args)
    system = setup.load_task(args)
    settings = setup.settings_of(args, system)
    if home is None:
        home = setup.new_home(system.name, args.proposer)
    root = setup.root_text(system, args.policy)
    parts = setup.parts_of(args, system, home, common.workers(args), console)
    with EventLog.open(home / LOG, secrets=setup.secrets_of(args)) as log:
        for note in log.notes:
            console.log(note)
        loop = Loop(parts, settings, log, root)
        setup.attach(parts.proposer, loop.run_.meter, loop.run_.gate.config)
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            ended = loop.run(only_evidence=args.dry_run)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"continue with: {command_line('improve', resume=home)}") from None
        finally:
            signal.signal(signal.SIGTERM, previous)
    if args.dry_run:
        return _asked(home, parts, ended, console)
    return _told(home, parts, ended, console)


def _home(args: argparse.Namespace) -> Path | None:
    """The run's folder, or None for a new one; fills in what a resumed run remembers."""
    from supervisor.events import read
    from supervisor.loop.loop import LOG
    from triune.commands.improve_setup import PROPOSERS, remembered

    if args.resume:
        if args.home or args.policy or args.out:
            raise UsageError("--resume goes on with a run as it was started; leave --run, --policy and --out away")
        started = next((e.data for e in read(Path(args.resume) / LOG) if e.kind == "run.started"), None)
        if started is not None:
            remembered(args, started)
        elif not args.task:
            raise UsageError(f"{args.resume} ended before it began; start it again with the task's name and --run")
    elif not args.task:
        raise UsageError("which task? triune improve TASK, or triune improve --resume RUN")
    elif args.home and _began(Path(args.home) / LOG):
        raise UsageError(f"{args.home} holds a run; go on with it: {command_line('improve', resume=args.home)}")
    args.proposer = args.proposer or "tuner"
    if args.proposer not in PROPOSERS:
        raise UsageError(f"unknown proposer {args.proposer!r}; {nearest(args.proposer, PROPOSERS)}")
    where = args.resume or args.home
    return Path(where) if where else None


def _began(log: Path) -> bool:
    """Whether a run has begun there: one that failed before it did is started again."""
    from supervisor.events import read

    return log.is_file() and any(event.kind == "run.started" for event in read(log))


def _asked(home: Path, parts: Parts, ended: Ended, console: Console) -> dict[str, Any]:
    """Write the request as it would be sent."""
    from supervisor.evidence import describe, write
    from supervisor.loop import folder as project
    from supervisor.loop.folder import Blobs
    from supervisor.loop.loop import BLOBS

    trial = ended.state.current
    if trial is None or trial.request is None:
        return {"run": str(home), "why": ended.why, "detail": ended.detail, "exit_code": 1}
    request = project.fetch(trial.request, Blobs(home / BLOBS))
    texts = getattr(parts.proposer, "texts", None)
    files = [str(path) for path in write(request, home / "request", texts(request) if texts else {})]
    size, most = describe(request), dict(parts.proposer.estimate(request))
    payload: dict[str, Any] = {"run": str(home), "files": files, "request": size, "estimate": most}
    asked = getattr(parts.proposer, "describe", None)
    if asked:
        payload["proposal"] = asked(request)
    console.say(f"request    {home / 'request'} ({size['characters']} characters, {len(request.images)} pictures)")
    for name, text in (texts(request) if texts else {}).items():
        console.say(f"sent       {name} ({len(text)} characters)")
    console.say(f"tokens     about {size['tokens_estimate']} to read")
    for which, amount in most.items():
        console.say(f"at most    {which} {amount}")
    return payload


def _told(home: Path, parts: Parts, ended: Ended, console: Console) -> dict[str, Any]:
    judged = [t for t in ended.state.trials if t.judged]
    lines = [_line(t) for t in judged]
    kinds = [line["verdict"] for line in lines]
    if lines:
        rows = [[str(x["trial"]), x["verdict"], x["stage"], "; ".join(x["reasons"])[:90]] for x in lines]
        console.say(table(rows, ["trial", "verdict", "stage", "why"], {0}))
    console.say(f"stopped    {ended.why}: {ended.detail}")
    console.say(f"accepted   {kinds.count('accept')} of {len(lines)}; policy {ended.state.incumbent[:12]}")
    console.say(f"run        {home}   (go on: {command_line('improve', resume=home)})")
    payload = {
        "run": str(home), "folder": str(parts.folder), "why": ended.why, "detail": ended.detail, "trials": lines,
        "accepted": kinds.count("accept"), "policy": ended.state.incumbent, "budgets": ended.budgets,
        "exit_code": 1 if ended.why == "proposer" and ended.state.current else 0,
    }  # fmt: skip
    if ended.wait_s is not None:
        payload["wait_s"] = ended.wait_s
    if ended.why == "waiting" and ended.state.current:
        folder = getattr(getattr(parts.proposer, "proposer", parts.proposer), "folder", None)
        payload["workspace"] = str(folder(ended.state.current.number)) if folder else None
    return payload


def _line(trial: Any) -> dict[str, Any]:
    v = trial.verdict
    return {"trial": trial.number, "verdict": v["kind"], "stage": v["stage"], "reasons": list(v["reasons"])}
