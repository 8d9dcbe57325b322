"""`triune web TASK`: the task's bundle playing a recorded game in a web page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from triune.commands import common
from triune.console import Console, told_score
from triune.errors import UsageError

PORT = 8000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, folder, episode, server."""
    common.add_task(parser)
    parser.add_argument("--out", metavar="FOLDER", help="default runs/web/TASK")
    parser.add_argument("--protocol", metavar="P", help="the control rate (default: the task's)")
    parser.add_argument("--seed", type=common.seed, default=0, metavar="N", help="the episode to record, default 0")
    parser.add_argument("--steps", type=common.positive, default=600, metavar="N", help="steps to record, default 600")
    parser.add_argument(
        "--policy", dest="more", action="append", default=[], metavar="FILE",
        help="one more policy text whose logic the page checks by itself (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--serve", nargs="?", type=common.port, const=PORT, metavar="PORT",
        help=f"then serve the folder on this machine (default port {PORT})",
    )  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: folder, files, steps, score, manifest; url when served."""
    from triune.deploy.web import write_site

    system = common.load_system(args)
    common.check_protocol(system.spec.env, args.protocol)
    for path in args.more:
        if not Path(path).is_file():
            raise UsageError(f"no policy at {path}")
    folder = Path(args.out or f"runs/web/{system.name}")
    console.log(f"{system.name}: exporting the bundle and playing {args.steps} steps of seed {args.seed}")
    facts = write_site(system, folder, args.protocol, args.seed, args.steps, [Path(p) for p in args.more])
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    console.say(
        f"page       {folder}, {len(files)} files, {_megabytes(folder):.1f} MB; any static web server can serve it"
    )
    console.say(f"episode    {facts['steps']} steps of seed {facts['seed']}, score {told_score(facts['score'])}")
    if facts["site"]["onnxruntime_web"] is None:
        console.say("lacking    onnxruntime-web: run `npm install` in web/, then this command again (or `make web`)")
    payload = {"task": system.name, "folder": str(folder), "files": files, **facts}
    return payload if args.serve is None else payload | {"url": _serve(folder, args.serve, console)}


def _serve(folder: Path, port: int, console: Console) -> str:
    """Serve until Ctrl-C; the address."""
    from triune.deploy.web import server
    from triune.loopback import HOST

    with server(folder, port) as running:
        url = f"http://{HOST}:{running.server_port}/"
        console.say(f"open       {url}   (Ctrl-C ends)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            console.log("")
    return url


def _megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
