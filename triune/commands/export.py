"""`triune export TASK FILE.onnx`: one deployable file."""

from __future__ import annotations

import argparse
from typing import Any

from envs.repeat import command_line
from triune.commands import common
from triune.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, file, protocol."""
    common.add_task(parser)
    parser.add_argument("file", help="the bundle to write, NAME.onnx")
    parser.add_argument("--protocol", metavar="P", help="the control rate it is made for (default: the task's)")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: file, size, manifest."""
    from triune.deploy.export import export

    system = common.load_system(args)
    common.check_protocol(system.spec.env, args.protocol)
    path = common.out_file(args.file, ".onnx")
    manifest = export(system, path, args.protocol)
    size = path.stat().st_size
    console.say(f"bundle     {path}, {size / 1024:.0f} kB, for protocol {manifest['protocol']['name']}")
    for name, value in sorted(manifest["hashes"].items()):
        console.say(f"           {value[:16]}  {name}")
    console.say(f"try it     {command_line('run', path)}")
    return {"task": system.name, "file": str(path), "bytes": size, "manifest": manifest}
