"""`triune list`: the tasks of the zoo, what each has, and its score card. Reads files only."""

from __future__ import annotations

import argparse
from typing import Any

from triune.console import Console, table

PARTS = {
    "policy": "policy.py", "safety": "safety.py", "eyes": "perception.onnx", "weights": "perception.safetensors",
    "teacher": "teacher.py",
}  # fmt: skip
SEEING = ("eyes", "weights", "teacher")  # what a task without a picture does without


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `tasks`, each with name, title, environment, parts, protocols' figures."""
    from envs.spec import load_spec, task_names
    from triune.report.card import read_scores

    tasks: list[dict[str, Any]] = []
    for name in task_names():
        spec = load_spec(name)
        needed = {p: f for p, f in PARTS.items() if not (spec.env.observed and p in SEEING)}
        parts = {part: (spec.folder / file).is_file() for part, file in needed.items()}
        tasks.append(
            {"name": name, "title": spec.title, "env": spec.env.id, "protocol": spec.env.protocol,
             "actions": list(spec.env.actions.names), "folder": str(spec.folder), "parts": parts,
             "scores": read_scores(spec.folder)}
        )  # fmt: skip
    rows = [[t["name"], t["env"], _missing(t["parts"]), _figures(t["scores"])] for t in tasks]
    console.say(table(rows, ["task", "environment", "parts", "mean score [95 % interval]"]))
    return {"tasks": tasks}


def _missing(parts: dict[str, bool]) -> str:
    lacking = [name for name, there in parts.items() if not there]
    return "complete" if not lacking else f"no {', '.join(lacking)}"


def _figures(card: dict[str, Any]) -> str:
    cells = [
        f"{protocol} {f['mean']:.1f}" + (f" [{f['ci95'][0]:.0f}, {f['ci95'][1]:.0f}]" if f.get("ci95") else "")
        for protocol, f in card.items()
        if isinstance(f, dict) and isinstance(f.get("mean"), (int, float))
    ]
    return "   ".join(cells) or "not measured"
