"""`triune check`: is this task folder sound? Text that is not trusted is only read, never run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from triune.commands import common
from triune.console import Console
from triune.errors import one_line

if TYPE_CHECKING:
    from triune.system import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The task."""
    common.add_task(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `checks` (name, ok, detail) and `ok`; exit code 1 when something fails."""
    system = common.load_system(args)
    checks: list[dict[str, Any]] = [{"name": "system.toml", "ok": True, "detail": str(system.folder / "system.toml")}]
    for name, check in CHECKS.items():
        checks.append(_result(name, check, system))
        if name == "policy" and system.trust:
            checks += [
                _result(f"compile {p}", _protocol(p), system) for p in ("seed", "seed-sticky", "classic", "sticky")
            ]
    for c in checks:
        console.say(f"{'ok  ' if c['ok'] else 'FAIL'}  {c['name']:<20} {c['detail']}")
    good = all(c["ok"] for c in checks)
    console.say("" if good else f"\n{sum(not c['ok'] for c in checks)} failed")
    return {"task": system.name, "ok": good, "checks": checks, "exit_code": 0 if good else 1}


def _result(name: str, check: Callable[[System], str], system: System) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "detail": check(system)}
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        return {"name": name, "ok": False, "detail": line}


def _schema(system: System) -> str:
    s = system.schema
    things = ", ".join(t.name if t.count == 1 else f"{t.name} x{t.count}" for t in s.things)
    grids = "".join(f", {g.name} {g.rows}x{g.cols}" for g in s.grids)
    return f"{things}{grids}: {s.size} values, fingerprint {s.fingerprint[:12]}"


def _rom(system: System) -> str:
    from envs.atari import rom_path

    return f"{system.spec.env.id}: {rom_path(system.spec.env.id)}"


def _eyes(system: System) -> str:
    import numpy as np

    eyes = system.eyes()
    env = system.spec.env
    vector = eyes.see(np.zeros((env.height, env.width, 3), np.uint8))
    return f"{system.eyes_path.stat().st_size // 1024} kB, {len(vector)} values a frame"


def _policy(system: System) -> str:
    """The language check, without running anything."""
    from logic import subset
    from logic.errors import LogicError
    from logic.language import vocabulary
    from triune.policies import read_texts

    spec, texts = system.spec, read_texts(system.spec)
    known = {*vocabulary(), *spec.constants(1, 0.0), *spec.env.actions}
    for name, text in (("policy.py", texts.policy), ("safety.py", texts.safety)):
        tree = subset.parse(text, name)
        found = [tree] if isinstance(tree, subset.Diagnostic) else subset.check(tree, known)
        if found:
            raise LogicError("; ".join(f"{name}, {d}" for d in found))
    lines = texts.policy.count("\n")
    return f"{lines} lines in the language" + ("" if system.trust else "; not loaded: text of unknown origin (--trust)")


def _safety(system: System) -> str:
    import ast

    from triune.policies import read_texts

    tree = ast.parse(read_texts(system.spec).safety)
    rules = [
        (ast.get_docstring(n) or n.name).split("\n")[0].rstrip(".")
        for n in tree.body
        if isinstance(n, ast.FunctionDef) and len(n.args.args) == 3 and n.args.args[2].arg == "action"
    ]
    lost = ", ".join(t.name for t in system.schema.things if t.required) or "nothing required"
    return f"{'; '.join(rules) or 'no rules of its own'} (built in: {lost})"


def _protocol(name: str) -> Callable[[System], str]:
    """Load policy and safety for a protocol and decide once on an empty scene."""

    def check(system: System) -> str:
        controller = system.controller(name)
        controller.reset()
        decision = controller.decide(system.schema.read(system.schema.empty()))
        if decision.fault:
            from logic.errors import LogicError

            raise LogicError(f"policy.py faults on an empty scene: {decision.fault}")
        return f"loads; on an empty scene {system.spec.env.actions[decision.action]}, {decision.reason!r}"

    return check


CHECKS: dict[str, Callable[[System], str]] = {
    "schema": _schema, "rom": _rom, "eyes": _eyes, "policy": _policy, "safety": _safety,
}  # fmt: skip
