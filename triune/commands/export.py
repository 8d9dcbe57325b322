"""`triune export TASK FILE.onnx`: one deployable file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from envs.repeat import command_line
from triune.commands import common
from triune.commands.record import recording_folder
from triune.console import Console

if TYPE_CHECKING:
    import numpy as np

    from triune.system import System


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, file, protocol."""
    common.add_task(parser)
    parser.add_argument(
        "file",
        help="the bundle to write: NAME.onnx, a graph that any ONNX Runtime runs, or NAME.triune, which the native "
        "engine and C programs run",
    )
    parser.add_argument("--protocol", metavar="P", help="the control rate it is made for (default: the task's)")
    parser.add_argument(
        "--check", type=common.positive, metavar="N", help="frames of play that it is compared on before (default 48)"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: file, size, manifest."""
    from envs.env import simulated
    from triune.native_bundle import SUFFIX

    system = common.load_system(args)
    common.check_protocol(system.spec.env, args.protocol)
    path = common.out_file(args.file, ".onnx", SUFFIX)
    if path.suffix.lower() == SUFFIX:
        from triune.deploy.native import export_native as export
    else:
        from triune.deploy.export import export
    if unwatched := system.unwatched():
        console.log(f"drift      the bundle will not watch for it: {unwatched}")
    manifest = export(system, path, args.protocol, _recorded(system), args.check)
    size = path.stat().st_size
    console.say(f"bundle     {path}, {size / 1024:.0f} kB, for protocol {manifest['protocol']['name']}")
    for name, value in sorted(manifest["hashes"].items()):
        console.say(f"           {value[:16]}  {name}")
    checked = ", ".join(f"{n} {source}" for source, n in manifest["checked"].items() if n or source == "ties")
    console.say(f"checked    as play decides: {checked}")
    more = "" if simulated(system.spec.env) else " --source S"
    console.say(f"try it     {command_line('run', path)}{more}")
    return {"task": system.name, "file": str(path), "bytes": size, "manifest": manifest}


def _recorded(system: System) -> Iterator[np.ndarray]:
    """What a camera's task was recorded from, where it usually lies: nobody plays it."""
    from data_flywheel.episodes.films import pictures
    from envs.env import simulated

    if not simulated(system.spec.env):
        yield from (frame for _, _, frame in pictures(recording_folder(system.name)))
