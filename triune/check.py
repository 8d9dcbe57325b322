"""Compile a text for every protocol and say what is wrong with it, or how large it came out. Nothing of it is run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envs.actions import ActionSpace
from envs.env import protocols_of
from envs.errors import Lost
from logic.errors import LogicError
from logic.language import (
    CompiledModule,
    CompiledProgram,
    CompileError,
    Diagnostic,
    Worked,
    compile_program,
    compile_safety,
)
from logic.language.ir import Graph, walk
from logic.language.ops import table_bytes, worst_ns
from logic.language.program import Library, shipped_library
from logic.sandbox import Limits, run_isolated
from logic.sandbox.compiling import DIAGNOSTICS_MOST, shipped_texts
from supervisor.protocols import Compiled
from triune.console import printable
from triune.system import constants_of

if TYPE_CHECKING:
    from envs.spec import SystemSpec
    from perception.scene import SceneSchema
    from triune.system import System


# ----------------------------------------------------------------------------------------------------
# Compile a text for every protocol and say what is wrong with it, or how large it came out. Nothing of it is run.


CompiledText = CompiledProgram | CompiledModule
WIDTH = 110  # of a quoted source line


@dataclass
class Checked:
    """One text under all protocols. `made` and `seconds` have the protocols for which it compiled."""

    file: str
    rules: bool
    text: bytes
    made: dict[str, CompiledText] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    found: dict[Diagnostic, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Does it compile everywhere?"""
        return not self.found

    @property
    def tried(self) -> int:
        """Under how many protocols it was compiled."""
        return len({*self.made, *(name for names in self.found.values() for name in names)})

    def records(self) -> list[dict[str, Any]]:
        """Diagnostics as JSON, each with the protocols it holds for."""
        return [d.as_dict() | {"protocols": protocols} for d, protocols in self.found.items()]


def check_text(
    text: bytes, file: str, rules: bool, spec: SystemSpec, schema: SceneSchema, library: Library = shipped_library
) -> Checked:  # fmt: skip
    """Compile for every protocol."""
    checked, worked = Checked(file, rules, text), Worked()
    for name, protocol in protocols_of(spec.env).items():
        began = time.perf_counter()
        made = compile_text(text, file, rules, schema, constants_of(spec, protocol), spec.env.actions, library, worked)
        if isinstance(made, list):
            for diagnostic in made:
                checked.found.setdefault(diagnostic, []).append(name)
        else:
            checked.made[name], checked.seconds[name] = made, time.perf_counter() - began
    checked.found = dict(sorted(checked.found.items(), key=lambda item: (item[0].file, item[0].line, item[0].column)))
    return checked


def compile_text(
    text: bytes,
    file: str,
    rules: bool,
    schema: SceneSchema,
    constants: Mapping[str, Any],
    actions: ActionSpace,
    library: Library = shipped_library,
    worked: Worked | None = None,
) -> CompiledText | list[Diagnostic]:
    """The one place where `check` compiles: what was made, or everything that is wrong. Never raises."""
    work = compile_safety if rules else compile_program
    try:
        return work(text, schema, constants, library, name=file, actions=actions, worked=worked)
    except CompileError as error:
        return error.diagnostics
    except LogicError as error:  # of the task, not of the text: its actions, its names
        return [Diagnostic(1, 1, "task", "", str(error), "correct system.toml", file)]
    except Exception as error:  # a bug of ours is told like everything else that is wrong
        message = f"internal compiler error: {type(error).__name__}: {error}"
        return [Diagnostic(1, 1, "internal", "", message, "please report it with this text", file)]


# --- figures --------------------------------------------------------------------------------------


def figures(checked: Checked) -> list[dict[str, Any]]:
    """Size and worst-case cost by protocol. `worst_us` is an estimate, the dearer side of every branch."""
    return [
        {"protocol": name, "file": checked.file, **_sizes(made), "compile_s": round(checked.seconds[name], 3)}
        for name, made in checked.made.items()
    ]


def _sizes(made: CompiledText) -> dict[str, Any]:
    if isinstance(made, CompiledProgram):
        graphs: list[Graph] = [made.graph] if made.graph else []
        codes = [made.code]
    else:
        graphs, codes = list(made.graphs.values()), list(made.codes.values())
    fields = graphs[0].fields if graphs else {}
    return {
        "ops": sum(1 for g in graphs for _ in walk(g.body)),
        "worst_us": round(sum(worst_ns(g.body) for g in graphs) / 1000.0, 1),
        "code_lines": sum(code.count("\n") for code in codes),
        "memory_fields": len(fields),
        "memory_values": sum(f.type.size for f in fields.values()),
        "table_bytes": sum(table_bytes(g) for g in graphs),
    }


def tunables(checked: Checked) -> list[dict[str, Any]]:
    """Constants that a tuner may move, with their ranges."""
    found: dict[str, tuple[float, float, float]] = {}
    for made in checked.made.values():
        found |= (made.module if isinstance(made, CompiledProgram) else made).tunables
    return [
        {"file": checked.file, "name": name, "default": default, "low": low, "high": high}
        for name, (default, low, high) in found.items()
    ]


# --- diagnostics for people -----------------------------------------------------------------------


def render(checked: Iterable[Checked]) -> list[str]:
    """Every diagnostic with its line, a caret and what to write instead, file by file; the count at the end."""
    lines: list[str] = []
    counts: dict[str, int] = {}
    for part in checked:
        for diagnostic, protocols in part.found.items():
            counts[diagnostic.file] = counts.get(diagnostic.file, 0) + 1
            lines += [*_one(diagnostic, part, protocols), ""]
    total = sum(counts.values())
    if total:
        places = ", ".join(f"{n} in {file}" if len(counts) > 1 else f"in {file}" for file, n in counts.items())
        lines.append(f"{total} error{'s' if total > 1 else ''}{':' if len(counts) > 1 else ''} {places}")
    return lines


def _one(d: Diagnostic, part: Checked, protocols: list[str]) -> list[str]:
    under = "" if len(protocols) == part.tried else f"  [under {', '.join(protocols)}]"
    lines = [f"{d.file}:{d.line}:{d.column}: {printable(d.message)}{under}"]
    number = f"{d.line:5d}"
    source, column = quoted(d, part)
    if source.strip():
        lines += [f"{number} | {source}", f"{' ' * len(number)} | {' ' * column}^"]
    if d.instead:
        lines.append(f"{' ' * len(number)} = {printable(d.instead)}")
    return lines


def quoted(d: Diagnostic, part: Checked) -> tuple[str, int]:
    """The source line, cut to WIDTH, and where the caret stands in it."""
    text = part.text if d.file == part.file else _library(d.file)
    whole = text.split(b"\n")
    raw = whole[d.line - 1] if 0 < d.line <= len(whole) else b""
    if not raw.strip():
        return printable(d.source), 0
    column = d.column - 1
    line = printable(raw.decode("utf-8", "replace").rstrip())
    start = max(0, min(column - WIDTH // 2, len(line) - WIDTH))
    return line[start : start + WIDTH], min(column, len(line)) - start


def _library(file: str) -> bytes:
    try:
        return shipped_library(file.removeprefix("lib/")).encode()
    except LogicError:
        return b""


# ----------------------------------------------------------------------------------------------------
# Compile a policy text that a model wrote, in an isolated worker: what `triune check` would say, and its size.


LIMITS = Limits(wall_s=240.0, cpu_s=120, memory_mib=1024)  # walls behind the compiler's own budgets; four protocols
FIGURES = ("ops", "worst_us", "code_lines", "memory_values", "table_bytes")


def check_isolated(system: System, protocol: str, text: str) -> Compiled:
    """Diagnostics for every protocol; figures for `protocol`, and `characters`. Never raises on the text's account;
    Lost when the compiler is killed from outside again and again."""
    library = shipped_texts()

    def fetch(name: str) -> str:
        if name not in library:
            raise LogicError(f"no library module {name!r}; there are: {', '.join(sorted(library))}")
        return library[name]

    def work(request: bytes) -> bytes:
        return _packed(check_text(request, "policy.py", False, system.spec, system.schema, fetch), protocol)

    outcome = run_isolated(work, text.encode(), DIAGNOSTICS_MOST, LIMITS, system.require_isolation)
    if outcome.lost:
        raise Lost(f"the compiler was {outcome} again and again")
    if not outcome.ok:
        return Compiled((f"the compiler ended with {outcome.name} on this text ({_short(outcome.detail)})",))
    return _unpacked(outcome.reply, text)


def _packed(checked: Checked, protocol: str) -> bytes:
    """The worker's side: as many diagnostics as fit."""
    records = checked.records()
    sizes = {f["protocol"]: f for f in figures(checked)} if checked.ok else {}
    found = {name: sizes[protocol][name] for name in FIGURES} if protocol in sizes else {}
    while True:
        data = json.dumps({"records": records, "figures": found}).encode("ascii")
        if len(data) <= DIAGNOSTICS_MOST:
            return data
        records = records[: len(records) // 2]


def _unpacked(data: bytes, text: str) -> Compiled:
    """What the worker said, checked; a worker that says anything else has not compiled the text."""
    try:
        told = json.loads(data)
        records = tuple(_record(r) for r in told["records"])
        measured = {name: _finite(told["figures"][name]) for name in FIGURES} if not records else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return Compiled(("the compiler's answer about this text cannot be read",))
    defects = tuple(_said(r) for r in records)
    return Compiled(defects, measured | {"characters": float(len(text))}, records)


def _said(record: Mapping[str, Any]) -> str:
    """Line, message and what to write instead."""
    fix = f"; {record['instead']}" if record["instead"] else ""
    return _short(f"line {record['line']}: {record['message']}{fix}")


def _record(told: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = {"line": int, "column": int, "message": str, "instead": str, "file": str}
    if any(type(told[key]) is not kind for key, kind in kinds.items()):
        raise TypeError("not a diagnostic")
    return told


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a figure")
    return float(value)


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."
