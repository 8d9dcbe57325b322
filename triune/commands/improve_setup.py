"""An improve run put together from words of the command line: task folder, evaluator, evidence, proposer."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from envs.env import simulated
from envs.files import read_file, read_json, read_text
from envs.repeat import command_line
from envs.writing import atomic_write, whole
from supervisor import secrets
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import TENURE
from supervisor.gate.types import GateConfig
from supervisor.loop.parts import Evidence, Parts, Settings, Situation
from supervisor.loop.state import Meter
from supervisor.protocols import Proposer, Request
from triune.console import Console
from triune.errors import TriuneError, UsageError, nearest
from triune.play.evaluation import HOME, versions
from triune.play.evaluator import TaskEvaluator
from triune.system import System, constants_of, load

if TYPE_CHECKING:
    from supervisor.proposers.workspace import Furniture
    from triune.play.clips import ClipEvaluator

# ----------------------------------------------------------------------------------------------------
# The proposer of an improve run, from words of the command line.


SPARE = 4  # games beyond the first look and the shortest confirmation: rounding, a variant that is simpler
PROPOSERS = ("tuner", "openai", "agent", "replay")


def secrets_of(args: argparse.Namespace) -> list[str]:
    """Values that must never reach a log: the model's key, what the agent's command may see, a proxy's password."""
    names = [openai_settings(args).key_env] if args.proposer == "openai" else []
    names += args.keep_env or []
    found = [os.environ.get(name, "").strip() for name in names] + secrets.proxy_passwords()
    return [value for value in found if len(value) >= secrets.SHORTEST]


def check_words(args: argparse.Namespace) -> None:
    """UsageError where a word of the command line holds a key: words are shown, and kept in the log of the run."""
    try:
        secrets.plain_words(shlex.split(args.agent_command or ""), "--command")
        for name in args.keep_env or ():
            secrets.variable(name, "--keep-env")
        names = [openai_settings(args).key_env] if args.proposer == "openai" else []
        names += filter(secrets.names_one, args.keep_env or ())  # others may well stand in a path
        hidden = secrets.forms(os.environ.get(name, "").strip() for name in names)
        for option, value in options_of(args).items():
            if secrets.hide(str(value), hidden, "") != str(value):
                raise UsageError(f"{option} holds a key and is logged; leave the key in its environment variable")
    except (SupervisorError, ValueError) as error:  # ValueError: an open quotation mark
        raise UsageError(str(error)) from None


def proposer_of(
    args: argparse.Namespace, home: Path, folder: Path, rules: frozenset[str], evaluator: TaskEvaluator
) -> Proposer:  # fmt: skip
    """The proposer by its name; UsageError for what does not go together."""
    made = _proposer(args, home, folder, rules, evaluator)
    if not args.record:
        return made
    from supervisor.proposers.replay import recording

    return recording(made, Path(args.record), secrets_of(args))


def attach(
    proposer: Proposer, meter: Meter, gate: GateConfig, proposals: int, say: Callable[[str], object]
) -> None:  # fmt: skip
    """Proposers that play by themselves: let them know what was played before, pay from the run's budgets, leave the
    gate what it needs to be sure of a clear gain, and say where they are."""
    from supervisor.proposers.agent import AgentProposer
    from supervisor.proposers.tuner import Tuner

    inner = getattr(proposer, "proposer", proposer)
    if isinstance(inner, AgentProposer):
        inner.attach(meter.log.events, meter.budgets)
    if isinstance(inner, Tuner):
        games = (gate.looks[0] + gate.confirm_least + SPARE) * (1 + proposals) // 2  # the parent plays once for all
        inner.attach(meter.log.events, meter.budgets, games, proposals, say)


def _proposer(
    args: argparse.Namespace, home: Path, folder: Path, rules: frozenset[str], evaluator: TaskEvaluator
) -> Proposer:  # fmt: skip
    if args.proposer == "openai":
        from supervisor.proposers.openai_client import OpenAIProposer

        return OpenAIProposer(openai_settings(args), rules=rules, compile=compiler_of(evaluator))
    if args.proposer == "agent":
        from supervisor.proposers.agent import SHARE, AgentProposer

        if not args.agent_command and not args.workspace:
            raise UsageError("--proposer agent needs --command 'WORDS', or --workspace DIR to answer by hand")
        where = Path(args.workspace).resolve() if args.workspace else (home / "workspace").resolve()
        share = SHARE if args.bench_share is None else args.bench_share
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"--bench-share is a part of the run's frames, from 0 to 1; got {share:g}")
        return AgentProposer(
            where, folder, args.agent_command or None, args.agent_time or 1800.0, args.keep_env or (),
            furniture_of(args, evaluator, rules), share,
        )  # fmt: skip
    if args.proposer == "replay":
        from supervisor.proposers.replay import ReplayProposer

        if not args.recording:
            raise UsageError("--proposer replay needs --recording FILE")
        return ReplayProposer(Path(args.recording), _rekeyed(args))
    from supervisor.proposers.tuner import Tuner

    return Tuner(evaluator)


def furniture_of(args: argparse.Namespace, evaluator: TaskEvaluator, rules: frozenset[str]) -> Furniture:
    """What the workbench of an agent needs of the task."""
    from supervisor.proposers.workspace import Furniture

    system = evaluator.system
    settings = {
        "protocol": evaluator.protocol.name, "detector": evaluator.detector, "workers": evaluator.workers,
        "trust": bool(args.trust), "require_isolation": bool(args.require_isolation),
    }  # fmt: skip
    actions, compile = system.spec.env.actions, compiler_of(evaluator)
    return Furniture(system.schema, actions, settings, evaluator.record, compile, rules)


def compiler_of(evaluator: TaskEvaluator) -> Callable[[str], Sequence[str]]:
    """What an isolated compiler finds unsound about a text."""
    return lambda text: evaluator.compile(text).defects


def _rekeyed(args: argparse.Namespace) -> Path | None:
    """The file for the exchanges with the present questions, if one is asked for."""
    if not args.rekey:
        return None
    path = Path(args.rekey)
    if path.exists() and not args.resume:
        raise UsageError(f"{path} is there already; name another file with --rekey")
    return path


def openai_settings(args: argparse.Namespace) -> Any:
    """Settings of the client from --model, --base-url and --set NAME=VALUE."""
    from supervisor.proposers.openai_client import Settings as Table

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


# ----------------------------------------------------------------------------------------------------
# An improve run put together: task folder, evaluator, evidence, proposer, from words of the command line.


OPTIONS = (
    "proposer", "protocol", "detector", "model", "base_url", "set", "recording", "rekey", "agent_command", "workspace",
    "agent_time", "keep_env", "record", "games", "floors", "trust", "require_isolation", "blame", "bench_share",
    "gate_seeds", "executor",
)  # fmt: skip
COPIED = (
    "system.toml", "policy.py", "safety.py", "teacher.py", "perception.safetensors", "perception.onnx", "ranges.json",
    "catalogue.json", "seeds.jsonl",
)  # fmt: skip
DRAWN, IN_TURN = "drawn", "in-turn"
HISTORY = ("locks", "lineage", "trials.jsonl")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What a run remembers of its command line, without secrets."""
    return {name: getattr(args, name) for name in OPTIONS}


def remembered(args: argparse.Namespace, started: Mapping[str, Any]) -> None:
    """Fill in what is not said again when a run is resumed."""
    options = {"gate_seeds": IN_TURN} | started.get("options", {})  # as runs of earlier versions drew them
    for said, value in options.items():
        name = "detector" if said == "eyes" else said  # as runs of earlier versions call it
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    args.task = started["folder"]


def new_home(task: str, proposer: str) -> Path:
    """A name for a new run under runs/improve."""
    stem = f"{task}-{proposer}" + time.strftime("-%Y%m%d-%H%M%S")
    path, n = HOME / "improve" / stem, 1
    while path.exists():
        path, n = HOME / "improve" / f"{stem}.{n}", n + 1
    return path


def copy_folder(system: System, out: Path, history: bool) -> Path:
    """The run's own copy of a task's folder; an existing one is used as it is. Without `history` the lineage is new."""
    if (out / "system.toml").is_file():
        return out
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and no task's folder; name another one with --out")
    if out.resolve() == Path.cwd():
        raise UsageError("a copy takes the place of its folder: name another one than you are in with --out")
    with whole(out.resolve()) as partial:  # killed on the way, it would go on without the locks
        partial.mkdir()
        for name in (*COPIED, *(HISTORY if history else ())):
            source = system.folder / name
            if source.is_dir():
                shutil.copytree(source, partial / name, symlinks=True, copy_function=_copy)
            elif source.is_file():
                _copy(source, partial / name)
    return out


def _copy(source: str | Path, target: str | Path) -> None:
    """A regular file of bounded size, or a TriuneError."""
    atomic_write(Path(target), read_file(Path(source), "file of a task", TriuneError))


def root_text(system: System, policy: str | None) -> str:
    """The text to start from, its lines ending with LF; TriuneError for a file that holds none, or none that any edit
    could be applied to."""
    from supervisor.edits.definitions import Text

    path = Path(policy) if policy else system.folder / "policy.py"
    text = read_text(path, "policy", TriuneError, None if policy else system.folder)
    Text(text, str(path))
    return text


def settings_of(args: argparse.Namespace, system: System) -> Settings:
    """Trials, budgets and gate of a new run."""
    limits = {which: getattr(args, f"budget_{short}") for which, short in BUDGETS.items()}
    trials = args.trials
    if trials is None and not args.resume and not any(v is not None for v in limits.values()):
        trials = 10
    gate = _gate(args.gate) | {"limits": _limits(system)}
    share = args.from_archive or 0.0
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"--from-archive is a part of the questions, from 0 to 1; got {share:g}")
    rest = (limits, GateConfig(**gate), args.proposals or 1, share)
    locks = not args.no_auto_lock and simulated(system.spec.env)  # a floor is a score of a game; marks say it here
    return Settings(trials, args.shown or 4, locks, *rest)


BUDGETS = {"usd": "usd", "tokens": "tokens", "steps": "steps", "wall_s": "wall"}


def _limits(system: System) -> dict[str, float]:
    """The latency that system.toml allows a policy."""
    most = system.spec.budget.get("policy_ms")
    return {} if most is None else {"latency_ms": float(most)}


def _gate(path: str | None) -> dict[str, Any]:
    """Settings of the gate from a JSON file; UsageError names the nearest one."""
    if path is None:
        return {}
    told = read_json(Path(path), "settings", UsageError, "write an object with settings of the gate")
    known = [name for name in GateConfig.__dataclass_fields__ if name != "limits"]
    if not isinstance(told, dict):
        raise UsageError(f"{path}: an object with any of {', '.join(known)} is needed")
    for name in told:
        if name not in known:
            raise UsageError(f"{path}: unknown setting {name!r}; {nearest(name, known)}")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}


def parts_of(
    args: argparse.Namespace, system: System, home: Path, workers: int, console: Console
) -> Parts:  # fmt: skip
    """Everything a run works with, but its log."""
    args.gate_seeds = args.gate_seeds or (IN_TURN if args.proposer == "replay" else DRAWN)
    protocol = varied(system, args.protocol)
    evaluator: TaskEvaluator
    few = None
    if simulated(system.spec.env):
        evaluator = TaskEvaluator(
            system, protocol, args.detector or "cnn", home / "work", workers, floors=args.floors != "off"
        )
    else:
        evaluator = on_clips(system, home / "work", console)
        few, args.gate_seeds = evaluator.few, IN_TURN
    if args.games:
        evaluator.keep_games(Path(args.games))
    rules = rule_names(system)
    about = {
        "task": system.name, "protocol": protocol, "eyes": evaluator.detector, "versions": versions(system.spec.env),
        "options": options_of(args) | {"workspace": args.workspace and str(Path(args.workspace).resolve())},
    }  # fmt: skip
    folder = system.folder.resolve()
    searches = args.proposer == "tuner"  # it looks at nothing but the policy
    evidence = tell_policy(system.name) if searches else tell_all(system, evaluator, bool(args.blame), _looks(args))
    proposer = proposer_of(args, home, folder, rules, evaluator)
    drawn = args.gate_seeds == DRAWN
    reads = drawn and args.proposer == "agent"  # it may have read the ledger: no block of seeds judges twice
    return Parts(
        home, folder, proposer, evaluator, evidence, system.hashes, time.monotonic,
        console.log, console.progress, rules, 0 if searches else REFUSED, about,
        (lambda: token_hex(16)) if drawn else (lambda: ""), 1 if reads else TENURE, few,
    )  # fmt: skip


def on_clips(system: System, work: Path, console: Console) -> ClipEvaluator:
    """For a task that nobody simulates: judged on the clips that a person has marked. TriuneError: there are none."""
    from data_flywheel.labels.expected import FILE, read_clips
    from triune.commands.labels import open_films, open_labels
    from triune.play.clips import ClipEvaluator, watched

    films, store = open_films(system, None, console), open_labels(system, None, console)
    if not (store.folder / FILE).is_file():
        again = command_line("labels", "expect", system.called, "MARKS.json")
        raise TriuneError(
            f"{system.called} is seen by a camera, and nothing tells a score: mark on recorded film what should be "
            f"done, and bring it in with `{again}` (docs/camera.md)"
        )
    clips = read_clips(store.folder / FILE, system.spec.env.actions)
    seen = watched(system, films, clips, lambda done, of: console.progress(done, of, f"{done} of {of} clips"))
    console.clear()
    return ClipEvaluator(system, films, seen, work)


def _looks(args: argparse.Namespace) -> bool:
    """Whether anybody will see the pictures."""
    if args.proposer == "openai" and not args.dry_run:
        return bool(openai_settings(args).sees)
    return args.dry_run or args.proposer != "replay"


def varied(system: System, name: str | None) -> str:
    """The protocol's name; UsageError where seeds are no independent games, so that the gate would count one game
    often: `seed` knows a single one, `classic` about thirty."""
    from envs.env import protocols_of

    protocol = system.protocol(name)
    if not protocol.independent_seeds:
        known = protocols_of(system.spec.env).values()
        fit = ", ".join(p.name for p in known if p.independent_seeds)
        raise UsageError(f"under {protocol.name} seeds are not independent games; improve under one of {fit}")
    return protocol.name


def rule_names(system: System) -> frozenset[str]:
    """Names of what safety.py defines, so that an edit of one of them is answered with its own message."""
    import ast

    try:
        tree = ast.parse(system.texts.safety)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


# --- evidence


def tell_policy(task: str) -> Evidence:
    """Nothing but the policy, for a search that looks at nothing else."""
    return lambda situation: Request(task, situation.trial, situation.policy)


REFUSED = 2  # training games of the last refused child that are shown


def tell_all(system: System, evaluator: TaskEvaluator, blame: bool = False, draw: bool = True) -> Evidence:
    """Everything that the evidence can hold. `blame`: whose each failure was, where that is sure. `draw`: pictures, for
    a proposer that looks at them."""
    from supervisor.evidence import Child, Context, GateSummary, LockNote, Scoreboard, build
    from triune.play.attribution import teller

    def tell(situation: Situation) -> Request:
        protocol = evaluator.protocol
        known = constants_of(system.spec, protocol)
        gated = situation.gated and GateSummary.of(situation.gated.scores, situation.gated.hard)
        board = Scoreboard(situation.training, gated)
        notes = [LockNote(lock.name, lock.kind, lock.note) for lock in system.locks()]
        kept = {**evaluator.scenes_kept(situation.policy), **situation.locks}
        return build(
            Context(
                system.name, situation.trial, situation.policy, system.texts.safety, system.schema,
                system.spec.env.actions, protocol, known, situation.episodes, evaluator.frames, notes,
                [{**line} for line in situation.lines], board, situation.budgets,
                teller(evaluator.player(situation.policy)) if blame else None, draw,
                frozenset(name for name, held in kept.items() if not held),
                situation.refused and Child(*situation.refused),
            )
        )  # fmt: skip

    return tell


def _check_filmed(args: argparse.Namespace) -> None:
    """UsageError for what needs a simulator."""
    for option in ("detector", "protocol", "games", "blame"):
        if getattr(args, option, None):
            raise UsageError(f"--{option} is for tasks that can be played; a camera's task is judged on marked clips")
    if args.proposer == "agent":
        raise UsageError("an agent test-drives games, and nobody plays a camera's task: --proposer tuner or openai")


def load_task(args: argparse.Namespace) -> System:
    """The task whose folder is to be improved: itself, or a copy of it."""
    from triune.commands import common

    system = common.load_system(args)
    if not simulated(system.spec.env):
        _check_filmed(args)
    common.check_conditions(
        argparse.Namespace(task=args.task, protocol=args.protocol, shift=None, detector=args.detector or "cnn")
    )
    if not args.out:
        if args.policy and root_text(system, args.policy) != root_text(system, None):
            raise UsageError(f"--policy would replace {system.folder / 'policy.py'}; name a copy with --out FOLDER")
        return system
    folder = copy_folder(system, common.out_folder(args.out), history=not args.policy)
    folder = folder.resolve()  # a bare name would mean the task of the zoo
    return load(folder, bool(args.trust), require_isolation=bool(args.require_isolation))
