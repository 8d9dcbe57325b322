"""Compile a policy text that a model wrote, in an isolated worker: what `triune check` would say, and its size.

Knows: what is sent back (JSON), how it is checked. Does not know: how text is compiled, what becomes of the findings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from logic.errors import LogicError
from logic.sandbox import Limits, run_isolated
from logic.sandbox.confined_compile import DIAGNOSTICS_MOST, shipped_texts
from supervisor.protocols import Compiled
from triune.checked_text import Checked, check_text, figures

if TYPE_CHECKING:
    from triune.system import System

LIMITS = Limits(wall_s=240.0, cpu_s=120, memory_mib=1024)  # walls behind the compiler's own budgets; four protocols
FIGURES = ("ops", "worst_us", "code_lines", "memory_values", "table_bytes")


def check_isolated(system: System, protocol: str, text: str) -> Compiled:
    """Diagnostics for every protocol; figures for `protocol`, and `characters`. Never raises on the text's account."""
    library = shipped_texts()

    def fetch(name: str) -> str:
        if name not in library:
            raise LogicError(f"no library module {name!r}; there are: {', '.join(sorted(library))}")
        return library[name]

    def work(request: bytes) -> bytes:
        return _packed(check_text(request, "policy.py", False, system.spec, system.schema, fetch), protocol)

    outcome = run_isolated(work, text.encode(), DIAGNOSTICS_MOST, LIMITS, system.require_isolation)
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
