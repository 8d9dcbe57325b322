"""A task's folder -> one bundle file.

Knows: which parts go in and that the result is loaded once before it is called done. Does not know the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_flywheel.container import atomic_write
from triune.bundle import Parts, pack
from triune.runs import versions
from triune.system import System


def export(system: System, path: str | Path, protocol: str | None = None) -> dict[str, Any]:
    """Write the bundle of a system for a protocol; its manifest. A bad part is an error before a file is written."""
    from dataclasses import asdict

    from triune.runtime import Bundle

    rules = system.protocol(protocol)
    controller = system.controller(rules.name)
    system.eyes()
    parts: Parts = {"system.toml": system.spec.text}
    parts |= controller.program.module.sources
    if controller.safety:
        parts |= controller.safety.sources
    about = {
        "task": system.name,
        "protocol": asdict(rules),
        "versions": versions(),
        "schema": system.schema.fingerprint,
    }
    atomic_write(Path(path), pack(system.eyes_path.read_bytes(), parts, about))
    return Bundle.load(path, trust_policy=True).manifest
