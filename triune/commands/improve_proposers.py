"""The proposer of an improve run, from words of the command line.

Knows: which options go with which proposer, which variables hold secrets. Does not know: how any of them proposes.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from supervisor.errors import SupervisorError
from supervisor.gate.types import GateConfig
from supervisor.loop.meter import Meter
from supervisor.protocols import Proposer
from triune.errors import UsageError
from triune.play.arena import TaskArena

SPARE = 4  # games beyond the first look and the shortest confirmation: rounding, a variant that is simpler
PROPOSERS = ("tuner", "openai", "agent", "replay")


def secrets_of(args: argparse.Namespace) -> list[str]:
    """Values that must never reach a log: the model's key, and what the agent's command may see."""
    names = [openai_settings(args).key_env] if args.proposer == "openai" else []
    names += args.keep_env or []
    found = (os.environ.get(name, "").strip() for name in names)
    return [value for value in found if len(value) >= 8]


def proposer_of(
    args: argparse.Namespace, home: Path, folder: Path, rules: frozenset[str], arena: TaskArena
) -> Proposer:  # fmt: skip
    """The proposer by its name; UsageError for what does not go together."""
    made = _proposer(args, home, folder, rules, arena)
    if not args.record:
        return made
    from supervisor.proposers.replay import recording

    return recording(made, Path(args.record))


def attach(proposer: Proposer, meter: Meter, gate: GateConfig) -> None:
    """A search plays by itself: let it know what was played before, pay from the run's budgets, and leave the gate what
    it needs to be sure of a clear gain."""
    from supervisor.proposers.tuner import Tuner

    inner = getattr(proposer, "proposer", proposer)
    if isinstance(inner, Tuner):
        inner.attach(meter.log.events, meter.budgets, gate.looks[0] + gate.confirm_least + SPARE)


def _proposer(
    args: argparse.Namespace, home: Path, folder: Path, rules: frozenset[str], arena: TaskArena
) -> Proposer:  # fmt: skip
    if args.proposer == "openai":
        from supervisor.proposers.openai_client import OpenAIProposer

        return OpenAIProposer(openai_settings(args), rules=rules)
    if args.proposer == "agent":
        from supervisor.proposers.agent import AgentProposer

        if not args.agent_command and not args.workspace:
            raise UsageError("--proposer agent needs --command 'WORDS', or --workspace DIR to answer by hand")
        where = Path(args.workspace).resolve() if args.workspace else (home / "workspace").resolve()
        return AgentProposer(where, folder, args.agent_command or None, args.agent_time or 1800.0, args.keep_env or ())
    if args.proposer == "replay":
        from supervisor.proposers.replay import ReplayProposer

        if not args.recording:
            raise UsageError("--proposer replay needs --recording FILE")
        return ReplayProposer(Path(args.recording))
    from supervisor.proposers.tuner import Tuner

    return Tuner(arena)


def openai_settings(args: argparse.Namespace) -> Any:
    """Settings of the client from --model, --base-url and --set NAME=VALUE."""
    from supervisor.proposers.settings import Settings as Table

    table: dict[str, Any] = {}
    for word in args.set or ():
        name, sign, value = word.partition("=")
        if not sign:
            raise UsageError(f"--set takes NAME=VALUE, got {word!r}")
        try:
            table[name] = json.loads(value)
        except ValueError:
            table[name] = value
    table |= {name: getattr(args, name) for name in ("model", "base_url") if getattr(args, name)}
    try:
        return Table.of(table)
    except SupervisorError as error:
        raise UsageError(str(error)) from None
