"""Arguments that several commands share, checked with the nearest valid choice in the error."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from triune.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envs.spec import EnvSpec
    from triune.console import Console
    from triune.system import System

FORBIDDEN = 900_000  # seeds from here on are nobody's
MOST = 10**15  # of anything counted


def add_task(parser: argparse.ArgumentParser, trust: bool = True) -> None:
    """The task, by name or folder."""
    parser.add_argument("task", help="a name from `triune list`, or a folder with a system.toml")
    if trust:
        add_trust(parser)


def add_trust(parser: argparse.ArgumentParser, default: bool | None = False) -> None:
    """For every command that starts an environment: somebody vouches for the Python that comes with a task."""
    parser.add_argument(
        "--trust", action="store_true", default=default,
        help="Python of unknown origin may run: teacher.py, the module of an environment's id MODULE:NAME",
    )  # fmt: skip


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """Where the policy runs."""
    parser.add_argument(
        "--isolate", action=argparse.BooleanOptionalAction, default=None,
        help="run the policy in hardened workers (default: when it does not ship with Triune)",
    )  # fmt: skip
    parser.add_argument(
        "--require-isolation", action="store_true", help="refuse to run where a layer of isolation is missing"
    )


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Protocol, shift and eyes."""
    parser.add_argument("--protocol", metavar="P", help="of those that `triune check` lists (default: the task's)")
    parser.add_argument("--shift", metavar="S", help="repaint, dim, bright, noise, jitter, grey, occlude; a+b combines")
    parser.add_argument("--detector", "--eyes", metavar="E", help="cnn (pixels, default), teacher (exact), colour")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Another policy text for the task."""
    parser.add_argument(
        "--policy", metavar="FILE", help="play this policy text instead of the folder's (isolated unless it ships)"
    )


def add_episode(parser: argparse.ArgumentParser) -> None:
    """Which recorded game; `triune.play.evaluation.find_episode` finds it."""
    parser.add_argument(
        "--episode", metavar="E",
        help="an episode file, the folder of a run or recording (its worst game), or a seed of this task's newest run "
        "under runs/eval (default: the worst there)",
    )  # fmt: skip


def load_system(args: argparse.Namespace) -> System:
    """The system a command was asked for; an unknown name is a usage error."""
    from envs.errors import EnvError
    from triune.system import load

    try:
        isolate, required = getattr(args, "isolate", None), getattr(args, "require_isolation", False)
        return load(args.task, getattr(args, "trust", False), isolate, required, getattr(args, "policy", None))
    except EnvError as error:
        if str(error).startswith("unknown task"):
            raise UsageError(str(error)) from None
        raise


def check_protocol(env: EnvSpec, name: str | None) -> None:
    """UsageError for a protocol that the environment's backend does not have."""
    from envs.env import protocols_of

    known = protocols_of(env)
    if name and name not in known:
        raise UsageError(f"unknown protocol {name!r}; {nearest(name, known)}")


def check_conditions(args: argparse.Namespace) -> None:
    """Refuse unknown protocols, shifts and detectors before anything is started; where none was named, cnn it is."""
    from envs.spec import load_spec
    from envs.visual_shifts import MOVING, SHIFTS, STATIC, is_look
    from triune.play.loop import check_detector

    if args.protocol:
        check_protocol(load_spec(args.task).env, args.protocol)
    for part in args.shift.split("+") if args.shift else ():
        if part not in SHIFTS and not is_look(part):
            raise UsageError(f"unknown shift {part!r}; {nearest(part, [*SHIFTS, *STATIC, *MOVING])}")
    args.detector = "cnn" if args.detector is None else args.detector
    check_detector(args.detector)


def parse_seeds(text: str) -> list[int]:
    """`100:130` (130 not included), `100:130:2`, `7`, or `1,5,9`."""
    try:
        if ":" in text:
            seeds: Sequence[int] = range(*(int(part) for part in text.split(":")))
        else:
            seeds = [int(part) for part in text.split(",")]
    except (ValueError, TypeError):
        raise UsageError(f"seeds are written 100:130, 7 or 1,5,9; got {text!r}") from None
    if not seeds:
        raise UsageError(f"{text!r} holds no seeds; the end of a range is not included (100:130 is 100 to 129)")
    ends = (seeds[0], seeds[-1]) if isinstance(seeds, range) else seeds  # a range may be longer than memory
    if min(ends) < 0 or max(ends) >= FORBIDDEN:
        raise UsageError(f"seeds run from 0 to {FORBIDDEN - 1}, got {text!r:.60}")
    return list(seeds)


def out_folder(text: str) -> Path:
    """A folder to write into; UsageError where a file stands in its place, or on the way there."""
    path = Path(text)
    there = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    if os.path.lexists(there) and not there.is_dir():
        raise UsageError(f"{text}: {there} is no folder; name another one")
    return path


def add_lossy(parser: argparse.ArgumentParser) -> None:
    """How the pictures of a recording are kept."""
    parser.add_argument(
        "--lossy", type=quality, metavar="Q", help="keep JPEG pictures of quality Q, 50 to 100 (default: every bit)"
    )


def quality(text: str) -> int:
    """An argparse type."""
    value = positive(text)
    if not 50 <= value <= 100:
        raise argparse.ArgumentTypeError(f"a quality is a number from 50 to 100, such as 90; got {text!r:.60}")
    return value


def finite(text: str) -> float:
    """An argparse type: a number, neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"a number is needed, got {text!r:.60}")
    return value


def amount(text: str) -> float:
    """An argparse type: a number above 0."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, got {text!r:.60}")
    return value


def positive(text: str) -> int:
    """An argparse type: a whole number from 1."""
    return _whole(text, 1, MOST)


def seed(text: str) -> int:
    """An argparse type: the seed of an episode."""
    try:
        return _whole(text, 0, FORBIDDEN - 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"seeds run from 0 to {FORBIDDEN - 1}, got {text!r:.60}") from None


def port(text: str) -> int:
    """An argparse type: a port of this machine, 0 for any free one."""
    return _whole(text, 0, 65535)


def _whole(text: str, least: int, most: int) -> int:
    value = finite(text)
    if not least <= value <= most or value != int(value):
        upto = f" to {most}" if most < MOST else ""
        raise argparse.ArgumentTypeError(f"a whole number from {least}{upto} is needed, got {text!r:.60}")
    return int(value)


def told_fault(system: System, fault: str) -> str:
    """A fault with the line of the task's texts that it names, as far as one is named."""
    found = re.search(r"\((policy|safety)\.py, line ([0-9]{1,6})\)$", fault)
    lines = getattr(system.texts, found[1]).split("\n") if found else []
    at = int(found[2]) - 1 if found else 0
    return f"{fault}: `{lines[at].strip()}`" if 0 <= at < len(lines) else fault


def show_faults(system: System, texts: Mapping[str, int], console: Console) -> None:
    """The most frequent faults, with their lines."""
    for fault, n in sorted(texts.items(), key=lambda item: -item[1])[:3]:
        console.say(f"fault      {n} x  {told_fault(system, fault)}")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """How many work at once, and where."""
    parser.add_argument("--workers", type=positive, metavar="N", help="worker processes (default: one per core)")
    add_executor(parser)


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Where work is done."""
    parser.add_argument(
        "--executor", metavar="E",
        help="local (default), ray or ray://HOST:PORT, a cluster (docs/cluster.md); also by TRIUNE_EXECUTOR",
    )  # fmt: skip


def use_executor(args: argparse.Namespace) -> None:
    """Have work done where --executor says; UsageError names the nearest choice."""
    from envs.crew import choose, chosen
    from envs.errors import EnvError

    asked = getattr(args, "executor", None)
    try:
        choose(asked) if asked else chosen()
    except EnvError as error:
        raise UsageError(str(error)) from None


def workers(args: argparse.Namespace) -> int:
    """As asked, or one for each core there."""
    from envs.crew import cores

    use_executor(args)
    return args.workers or cores()


def cores() -> int:
    """Cores that this process may use."""
    from envs.executor import cores

    return cores()


def out_file(path: str, *suffixes: str) -> Path:
    """An output file whose folder exists; UsageError for a kind that cannot be written."""
    target = Path(path)
    if suffixes and target.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: this command writes {' or '.join(suffixes)} files")
    out_folder(str(target.parent)).mkdir(parents=True, exist_ok=True)
    return target


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
