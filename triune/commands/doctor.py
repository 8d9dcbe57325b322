"""`triune doctor`: what works here, and the fix for what does not. Starts nothing heavy."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envs.env import packages
from envs.repeat import command_line
from triune.console import Console

ROOT = Path(__file__).resolve().parent.parent.parent
LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "zoo")
CORE = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    **packages(),
    "cv2": "opencv-python",
    "jinja2": "jinja2",
    "rich": "rich",
}
EXTRAS = {
    "train": ("torch", "onnx", "onnxscript", "safetensors"),
    "export": ("onnx",),
    "supervisor": ("openai", "pydantic"),
    "agent": ("mcp",),
    "mqtt": ("paho",),
    "mujoco": ("mujoco", "imageio"),
}
MARKS = {"ok": "ok  ", "note": "note", "problem": "FIX "}
Finding = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `findings` (name, state ok|note|problem, detail, fix) and `ok`."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _python, _layers, _core, _engine, _worlds, _tasks, _extras, _isolation, _display, _disk,
    )  # fmt: skip
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # a doctor who faints helps nobody
            findings.append(
                _finding(check.__name__[1:], "problem", f"{type(error).__name__}: {error}", "reinstall Triune")
            )
    for f in findings:
        console.say(f"{MARKS[f['state']]}  {f['name']:<14} {f['detail']}")
        if f["fix"]:
            console.say(f"      {'':<14} -> {f['fix']}")
    problems = sum(f["state"] == "problem" for f in findings)
    console.say()
    console.say(f"{problems} problem{'s' if problems != 1 else ''} to fix" if problems else "ready to play")
    return {"ok": not problems, "findings": findings, "exit_code": 1 if problems else 0}


def _finding(name: str, state: str, detail: str, fix: str = "") -> Finding:
    return {"name": name, "state": state, "detail": detail, "fix": fix}


def _python() -> list[Finding]:
    from triune.version import __version__

    text = f"triune {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    good = sys.version_info >= (3, 11)
    return [_finding("python", "ok" if good else "problem", text, "" if good else "use Python 3.11 or newer")]


def _layers() -> list[Finding]:
    """A package from the index may carry the name of one of our layers."""
    found = []
    for layer in LAYERS:
        spec = importlib.util.find_spec(layer)
        places = [Path(p).resolve() for p in (spec.submodule_search_locations or ())] if spec else []
        if ROOT / layer not in places[:1]:
            where = str(places[0]) if places else "nowhere"
            fix = f"use an environment of its own, or pip uninstall the package that installed {where}"
            found.append(_finding(layer, "problem", f"Triune's {layer} is hidden by {where}", fix))
    return found or [_finding("layers", "ok", f"all of Triune's own, from {ROOT}")]


def _core() -> list[Finding]:
    from importlib import metadata

    found, lines = [], []
    for module, package in CORE.items():
        try:
            importlib.import_module(module)
            lines.append(f"{package} {_version(metadata, package)}")
        except ImportError as error:
            gl = "apt-get install libgl1 libglib2.0-0, or pip install opencv-python-headless"
            fix = gl if "lib" in str(error) and module == "cv2" else f"pip install {package}"
            found.append(_finding(package, "problem", f"cannot be imported: {error}", fix))
    return [_finding("packages", "ok", ", ".join(lines)), *found]


def _version(metadata: Any, package: str) -> str:
    for name in (package, f"{package}-headless"):
        try:
            return str(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return "(version unknown)"


def _engine() -> list[Finding]:
    """Which engine sees, and the networks of the zoo that it does not know."""
    import native
    from envs.files import read_file
    from envs.spec import load_spec, task_names
    from perception.errors import PerceptionError
    from perception.native_detector import open_detector

    if not native.available():
        fix = "" if native.engine else native.FIX
        return [_finding("engine", "note", native.described(), fix)]
    found = [_finding("engine", "ok", native.described())]
    for name in task_names():
        try:
            spec = load_spec(name)
            if spec.env.observed:
                continue  # reads declared numbers: there is no network
            path = spec.folder / "perception.onnx"
            engine = open_detector(read_file(path, "weights", PerceptionError)).engine
        except PerceptionError:  # told with the tasks
            continue
        if engine != "native":
            found.append(_finding("engine", "note", f"{name}: {engine}"))
    return found


def _worlds() -> list[Finding]:
    from envs.env import protocol_of
    from envs.errors import EnvError
    from envs.remote import PixelEnv
    from envs.spec import load_spec, task_names

    found, good = [], []
    for name in task_names():
        try:
            env = load_spec(name).env
            with PixelEnv(env, protocol_of(env)):
                good.append(env.id)
        except (EnvError, ImportError) as error:
            bare = env.observed and importlib.util.find_spec("mujoco") is None
            extra, state = ("mujoco", "note") if bare else ("classic", "problem")
            found.append(_finding("world", state, f"{name}: {error}", f'pip install "triune[{extra}]"'))
    return [_finding("worlds", "ok", ", ".join(good)), *found] if good else found


def _tasks() -> list[Finding]:
    from envs.spec import load_spec, task_names
    from perception.errors import PerceptionError
    from perception.weights import read_weights

    found = []
    for name in task_names():
        spec = load_spec(name)
        folder, observed = spec.folder, spec.env.observed
        parts = ("policy.py",) if observed else ("policy.py", "perception.onnx")
        lacking = [n for n in parts if not (folder / n).is_file()]
        fix = command_line("train", name) if lacking == ["perception.onnx"] else f"restore {folder}"
        if lacking:
            found.append(_finding(name, "problem", f"no {', '.join(lacking)}", fix))
            continue
        try:
            if not observed:
                read_weights(folder / "perception.onnx")
            found.append(_finding(name, "ok", "complete"))
        except PerceptionError as error:
            found.append(_finding(name, "note", f"plays, but {error}"))
    return found


def _extras() -> list[Finding]:
    found = []
    for extra, modules in EXTRAS.items():
        lacking = [m for m in modules if importlib.util.find_spec(m) is None]
        text = f"not installed ({', '.join(lacking)} missing)" if lacking else "installed"
        found.append(
            _finding(
                f"extra {extra}", "note" if lacking else "ok", text, f'pip install "triune[{extra}]"' if lacking else ""
            )
        )
    return found


def _isolation() -> list[Finding]:
    """The layers that hold a stranger's policy here, found by putting them on."""
    from logic.sandbox import layers
    from logic.sandbox.harden import missing

    reasons = {name: layer.reason for name, layer in layers().items()}
    active = [name for name, why in reasons.items() if not why]
    found = [_finding("isolation", "ok", f"{len(active)} of {len(reasons)} layers: {', '.join(active) or 'none'}")]
    fix = "use Linux 5.13 or later outside a restricted container; until then the compiler alone guards some of this"
    return found + [_finding("isolation", "note", f"without {lack}", fix) for lack in missing(reasons)]


def _display() -> list[Finding]:
    there = (
        os.name != "posix" or sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if there:
        return [_finding("display", "ok", "--watch can open a window")]
    return [
        _finding("display", "note", "none: --watch cannot open a window", "write a replay instead: --video replay.webp")
    ]


def _disk() -> list[Finding]:
    found = []
    for name, folder in (("runs", Path.cwd()), ("zoo", ROOT / "zoo")):
        try:
            with tempfile.TemporaryFile(dir=folder):
                found.append(_finding(f"write {name}", "ok", str(folder)))
        except OSError as error:
            hurts = name == "runs"
            fix = "work in a folder of yours" if hurts else "give --out FILE when training, or copy the task's folder"
            found.append(_finding(f"write {name}", "problem" if hurts else "note", f"{folder}: {error.strerror}", fix))
    return found
