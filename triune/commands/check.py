"""`triune check`: is this task folder, or this one text, sound? Text of any origin is compiled, never executed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.files import read_text
from envs.repeat import command_line
from triune.commands import common
from triune.console import Console, table, told_score
from triune.errors import TriuneError, UsageError, one_line

if TYPE_CHECKING:
    from logic.runtime.regression import FloorLock, ScenesLock
    from triune.check import Checked
    from triune.system import System

MOST_SHOWN = 3  # broken decisions of one lock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The task, or a text and the task it is for."""
    parser.add_argument("task", help="a name from `triune list`, a folder with a system.toml, or one policy: FILE.py")
    parser.add_argument("--task", dest="of", metavar="TASK", help="with FILE.py: the task whose scene it sees")
    parser.add_argument("--safety", action="store_true", help="with FILE.py: it holds safety rules, not a policy")
    common.add_trust(parser)
    common.add_isolation(parser)
    parser.add_argument("--floors", action="store_true", help="play the score floors too (a whole episode each)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `ok`, `checks` (name, ok, detail), `diagnostics`, `figures`, `tunables`, `rules`, `locks`; exit code 1
    when something fails."""
    if args.task.endswith(".py") and not Path(args.task).is_dir():
        return _file(args, console)
    if args.of or args.safety:
        raise UsageError("--task and --safety go with a single text: triune check FILE.py --task TASK")
    system = common.load_system(args)
    checks = [_record("system.toml", lambda: str(system.folder / "system.toml"))]
    checks += [_record(name, lambda check=check: check(system)) for name, check in PARTS.items()]  # type: ignore[misc]
    texts = _texts(system, checks)
    found = _locks(system, texts, args.floors, console)
    payload = _payload(texts, checks, found) | {"task": system.name, "rules": _rules(system, texts)}
    _show(payload, texts, console)
    return payload


def _file(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """One text against a task's scene."""
    from triune.check import check_text

    if not args.of:
        fix = command_line("check", args.task, task="breakout")
        raise UsageError(f"whose scene does {args.task} see? name it: {fix}")
    path = Path(args.task)
    system = common.load_system(argparse.Namespace(task=args.of))
    checked = check_text(_read(path), path.name, args.safety or path.name == "safety.py", system.spec, system.schema)
    checks = [_text_check("safety" if checked.rules else "policy", checked)]
    payload = _payload([checked], checks, []) | {"task": system.name, "file": str(path)}
    _show(payload, [checked], console)
    return payload


def _payload(texts: list[Checked], checks: list[dict[str, Any]], locks: list[dict[str, Any]]) -> dict[str, Any]:
    from triune.check import figures, tunables

    good = all(c["ok"] for c in checks) and all(k["ok"] is not False for k in locks)
    return {
        "ok": good, "checks": checks, "diagnostics": [d for t in texts for d in t.records()],
        "figures": [f for t in texts for f in figures(t)], "tunables": [u for t in texts for u in tunables(t)],
        "locks": locks, "exit_code": 0 if good else 1,
    }  # fmt: skip


# --- parts ----------------------------------------------------------------------------------------


def _record(name: str, check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "detail": check()}
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return {"name": name, "ok": False, "detail": line}


def _schema(system: System) -> str:
    from perception.training.layout import Layout

    s, env = system.schema, system.spec.env
    if not env.observed:  # a crop that does not fit is said now, not after hours of collecting
        _ = Layout(s, (env.height, env.width)).view
    things = [t.name if t.count == 1 else f"{t.name} x{t.count}" for t in s.things]
    parts = [*things, *(f"{g.name} {g.rows}x{g.cols}" for g in s.grids), *(g.name for g in s.gauges)]
    parts += [f"{r.name} ({', '.join(f.name for f in r.fields)})" for r in s.readings]
    return f"{', '.join(parts)}: {s.size} values, fingerprint {s.fingerprint[:12]}"


def _world(system: System) -> str:
    """The world behind the task is there, with whatever its backend needs to start."""
    from envs.env import simulated
    from envs.remote import PixelEnv

    env = system.spec.env
    if not simulated(env):
        return (
            f"a camera, {env.width}x{env.height}, {system.protocol().control_hz:g} pictures a second; nothing to start"
        )
    with PixelEnv(env, system.protocol()):
        return f"{env.id}: starts"


def _detector(system: System) -> str:
    import numpy as np

    from envs.env import simulated

    env = system.spec.env
    if not simulated(env) and not os.path.lexists(system.detector_path):
        return (
            f"none yet: `{command_line('record', system.called)}`, label, then `{command_line('train', system.called)}`"
        )
    detector = system.detector()
    if env.observed:
        return f"{env.width} declared numbers of the observation; nothing to train"
    vector = detector.see(np.zeros((env.height, env.width, 3), np.uint8))
    return f"{system.detector_path.stat().st_size // 1024} kB, {len(vector)} values a frame"


PARTS: dict[str, Callable[[Any], str]] = {"schema": _schema, "world": _world, "eyes": _detector}


def _texts(system: System, checks: list[dict[str, Any]]) -> list[Checked]:
    """Policy and safety compiled; their lines are added to the checks."""
    from triune.check import check_text

    made = []
    for name, rules in (("policy", False), ("safety", True)):
        path = system.folder / f"{name}.py"
        if rules and not os.path.lexists(path):
            continue  # a task may do with what is built in
        try:
            text = _read(path)
        except TriuneError as error:
            checks.append({"name": name, "ok": False, "detail": str(error)})
            continue
        made.append(check_text(text, path.name, rules, system.spec, system.schema))
        checks.append(_text_check(name, made[-1]))
    return made


def _read(path: Path) -> bytes:
    """A text as the compiler is to see it: UTF-8 without a byte order mark, lines that end in a newline."""
    kind = "policy" if path.name == "policy.py" else "policy or safety text"
    return read_text(path, kind, TriuneError).encode()


def _text_check(name: str, checked: Checked) -> dict[str, Any]:
    if checked.ok:
        lines = checked.text.count(b"\n")
        detail = f"{lines} lines, compiles for {', '.join(checked.made)}"
        return {"name": name, "ok": True, "detail": detail}
    first = next(iter(checked.found))
    more = f" and {len(checked.found) - 1} more" if len(checked.found) > 1 else ""
    return {"name": name, "ok": False, "detail": f"{first.file}, line {first.line}: {first.message}{more}"}


def _rules(system: System, texts: list[Checked]) -> list[str]:
    """Names of all rules in the order of running."""
    from logic.language import CompiledModule
    from logic.runtime.logic import LOST, rules_of

    made = [m for t in texts if t.rules for m in list(t.made.values())[:1] if isinstance(m, CompiledModule)]
    return [*(rule.title for module in made for rule in rules_of(module)), LOST]


# --- locks ----------------------------------------------------------------------------------------


def _locks(system: System, texts: list[Checked], floors: bool, console: Console) -> list[dict[str, Any]]:
    """One record a lock: what it holds, `ok` (None: not checked), `detail`, `differences`."""
    from logic.runtime import regression as locks

    return [_lock(system, path, texts, floors, console) for path in locks.files(system.folder)]


def _lock(system: System, path: Path, texts: list[Checked], floors: bool, console: Console) -> dict[str, Any]:
    from logic.runtime import regression as locks
    from triune.commands.lock import describe

    record: dict[str, Any] = {"name": path.stem, "ok": False, "differences": []}
    try:
        lock = locks.read(path, system.schema)
        record |= describe(lock)
        if lock.task != system.name:
            return record | {"detail": f"made for {lock.task}, not for {system.name}; remove it"}
        if not texts or not all(t.ok for t in texts):
            return record | {"ok": None, "detail": "not checked: the logic does not compile"}
        if isinstance(lock, locks.ScenesLock):
            return record | _check_scenes(system, lock, texts)
        if not floors:
            return record | {"ok": None, "detail": "not played; --floors does"}
        console.log(f"playing seed {lock.seed} for {lock.name}")
        return record | _check_floor(system, lock)
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return record | {"detail": line}


def _check_scenes(system: System, lock: ScenesLock, texts: list[Checked]) -> dict[str, Any]:
    from logic.runtime.regression import check_scenes

    name = lock.protocol
    made: dict[bool, Any] = {t.rules: t.made[name] for t in texts if name in t.made}
    wrong = check_scenes(lock, system.controller(name, (made[False], made.get(True)) if False in made else None))
    if not wrong:
        return {"ok": True, "detail": f"{len(lock.actions)} decisions as before"}
    shown = "; ".join(map(str, wrong[:MOST_SHOWN]))
    detail = (
        f"{len(wrong)} of {len(lock.actions)} decisions changed: {shown}{' ...' if len(wrong) > MOST_SHOWN else ''}"
    )
    return {"ok": False, "detail": detail, "differences": [d.as_dict() for d in wrong]}


def _check_floor(system: System, lock: FloorLock) -> dict[str, Any]:
    from triune.play.evaluation import evaluate

    result = evaluate(system, lock.protocol, [lock.seed], lock.shift, lock.detector)
    score = result.scores[0]
    good = score >= lock.floor
    detail = f"scored {told_score(score)}, the floor is {told_score(lock.floor)}"
    detail += "" if good else f" (it was {told_score(lock.scored)})"
    return {"ok": good, "detail": detail, "score": score}


# --- for people -----------------------------------------------------------------------------------


def _show(payload: dict[str, Any], texts: list[Checked], console: Console) -> None:
    from triune.check import render

    for c in payload["checks"]:
        console.say(f"{'ok  ' if c['ok'] else 'FAIL'}  {c['name']:<12} {c['detail']}")
    for k in payload["locks"]:
        state = {True: "ok  ", False: "FAIL", None: "-   "}[k["ok"]]
        console.say(f"{state}  {'lock':<12} {k['name']}: {k['detail']}{f'  ({_note(k)})' if k.get('note') else ''}")
    if payload["figures"]:
        console.say()
        console.say(_figures(payload["figures"]))
    for u in payload["tunables"]:
        console.say(f"tunable  {u['name']} = {u['default']:g} within {u['low']:g} .. {u['high']:g}  ({u['file']})")
    for rule in payload.get("rules", ()):
        console.say(f"rule     {rule}")
    for line in ["", *render(texts)] if payload["diagnostics"] else ():
        console.say(line)
    failed = sum(not c["ok"] for c in payload["checks"]) + sum(k["ok"] is False for k in payload["locks"])
    if failed:
        console.say(f"{failed} check{'s' if failed > 1 else ''} failed")


def _note(lock: dict[str, Any]) -> str:
    from triune.console import printable

    return printable(lock["note"])


def _figures(found: list[dict[str, Any]]) -> str:
    rows = [
        [f["file"], f["protocol"], str(f["ops"]), f"{f['worst_us']:.0f}", str(f["code_lines"]),
         f"{f['memory_fields']} ({f['memory_values']})", f"{f['table_bytes'] / 1024:.0f}", f"{f['compile_s']:.2f}"]
        for f in found
    ]  # fmt: skip
    header = ["", "protocol", "ops", "worst µs", "code lines", "memory (values)", "tables kB", "compile s"]
    return table(rows, header, set(range(2, 8)))
