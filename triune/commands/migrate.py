"""`triune migrate OLD.onnx NEW.onnx`: a bundle of format 1 becomes one of the present format."""

from __future__ import annotations

import argparse
from typing import Any

from triune.commands import common
from triune.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Old file, new file."""
    parser.add_argument("old", help="a bundle of format 1")
    parser.add_argument("new", help="the bundle to write, NAME.onnx")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: file, size, manifest."""
    from triune.deploy.export import migrate

    path = common.out_file(args.new, ".onnx")
    manifest = migrate(args.old, path)
    size = path.stat().st_size
    console.say(f"bundle     {path}, {size / 1024:.0f} kB, for protocol {manifest['protocol']['name']}")
    console.say(f"try it     triune run {path}")
    return {"old": args.old, "file": str(path), "bytes": size, "manifest": manifest}
