"""Do the tests bite? `make mutants`: small faults are planted one by one in the modules that decide, and the tests that
guard each have to fail.

`benchmarks/mutants.toml` says which tests guard which module, which kinds of fault are planted, and which of them
change nothing that anyone could see. Cosmic Ray finds the places and writes the faults; here each is tried in a fork
of one process that has loaded the heavy libraries already, in a copy of the working tree under `build/mutants`.
Results are kept there: a run goes on where the last one stopped, and tries again what survived when its tests have
changed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import fcntl
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "mutants"
TREE = WORK / "tree"
HEAVY = ("pytest", "numpy", "cv2", "onnxruntime", "gymnasium", "hypothesis", "jinja2", "onnx", "openai", "pydantic")
SWAPS = {"min": "max", "any": "all", "minimum": "maximum", "floor": "ceil", "argmin": "argmax"}
SWAPS |= {new: old for old, new in SWAPS.items()}
SILENT = "lru_cache|cache$"
NO_COPY = (".*", "build", "runs", "node_modules", "__pycache__", "*.egg-info")
MEMORY = 8 * 2**30  # bytes: a fault may ask for more than there is
PATIENCE = 10  # times the time of the sound module, and as many seconds more


@dataclass(frozen=True)
class Mutant:
    """One fault: what stands at `line` and what would stand there."""

    name: str  # operator and occurrence
    line: int
    was: str
    now: str
    source: str


# ----------------------------------------------------------------------------------------------------
# The faults.


def operators(wanted: list[str]) -> Iterator[tuple[str, Any]]:
    """Those of Cosmic Ray that fully match one of `wanted`, and two more."""
    from cosmic_ray.plugins import get_operator, operator_names

    for name in operator_names():
        if any(re.fullmatch(pattern, name.partition("/")[2]) for pattern in wanted):
            yield name.partition("/")[2], get_operator(name)()
    yield "DropStatement", DropStatement()
    yield "SwapName", SwapName()


class DropStatement:
    """A call, a raise, a change of something, that is left out."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Where a whole statement can go without leaving a name undefined."""
        if node.type == "simple_stmt" and self._drops(node.children[0]):
            yield node.start_pos, node.end_pos

    @staticmethod
    def _drops(statement: Any) -> bool:
        if statement.type == "expr_stmt":
            target, sign = statement.children[0], statement.children[1]
            plain = target.type == "name" and getattr(sign, "value", "") == "="
            return not plain and sign.type != "annassign"
        return statement.type in ("atom_expr", "raise_stmt", "del_stmt")

    def mutate(self, node: Any, index: int) -> Any:
        """`pass` in its place."""
        import parso

        new = parso.parse("pass\n").children[0]
        new.children[0].prefix = node.get_first_leaf().prefix
        return new


class SwapName:
    """The opposite function: min for max, any for all."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Names that have an opposite."""
        if node.type == "name" and node.value in SWAPS and node.parent.type != "argument":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The opposite name."""
        node.value = SWAPS[node.value]
        return node


def mutants(source: str, wanted: list[str]) -> list[Mutant]:
    """Every fault that changes what the module does."""
    import parso
    from cosmic_ray.ast import ast_nodes
    from cosmic_ray.mutating import mutate_code

    found, seen, sound = [], {meaning(source)}, parso.parse(source)
    for name, operator in operators(wanted):
        count = sum(1 for node in ast_nodes(sound) for _ in operator.mutation_positions(node))
        for occurrence in range(count):
            try:
                code = mutate_code(source, operator, occurrence)
            except AttributeError:  # Cosmic Ray cannot replace an exception whose name has a dot
                continue
            means = meaning(code)
            if means and means not in seen:
                seen.add(means)
                found.append(Mutant(f"{name}/{occurrence}", *_change(source, code), code))
    return found


def meaning(source: str) -> str:
    """The module without what only people, type checkers and clocks see: annotations, the words of errors, the digits
    that a figure is rounded to, caches, frozen classes, `zip`'s check of its own arguments. Empty where it is no
    Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = [d for d in node.decorator_list if not re.match(SILENT, ast.unparse(d))]
            if isinstance(node, ast.FunctionDef):
                node.returns = None
        elif isinstance(node, ast.Raise):
            for text in (n for n in ast.walk(node) if isinstance(n, ast.JoinedStr)):
                text.values = []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "round":
            node.args = node.args[:1]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("dataclass", "zip"):
            node.keywords = [k for k in node.keywords if k.arg not in ("frozen", "strict")]
    return ast.dump(tree)


def _kept(source: str, wanted: list[str]) -> list[Mutant]:
    """The faults of a text, found once: finding them takes as long as trying some."""
    path = WORK / "faults" / _digest(Path(__file__).read_bytes(), source.encode(), *map(str.encode, wanted))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([astuple(m) for m in mutants(source, wanted)]))
    return [Mutant(*values) for values in json.loads(path.read_text())]


def _change(old: str, new: str) -> tuple[int, str, str]:
    """The first line that differs, and the lines that do, as one line each."""
    a, b = old.splitlines(), new.splitlines()
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, False).get_opcodes():
        if kind != "equal":
            return i + 1, " ".join(map(str.strip, a[i:j])), " ".join(map(str.strip, b[k:m]))
    raise AssertionError("a fault changes a line")


# ----------------------------------------------------------------------------------------------------
# Trying them.


def copy_tree() -> None:
    """The working tree in TREE, without environments, results and what is built."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns(*NO_COPY))


def run_tests(tests: list[str], limit: float, log: Path) -> str:
    """ "survived" or "killed" (by a failure, a crash, or the time limit), tried in a fork."""
    pid = os.fork()
    if not pid:
        _pytest(tests, log)
    began = time.monotonic()
    try:
        while time.monotonic() - began < limit:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return "survived" if status == 0 else "killed"
            time.sleep(0.02)
    finally:
        _end(pid)
    os.waitpid(pid, 0)
    return "killed"


def _end(pid: int) -> None:
    """The fork's whole group: a fault may leave children behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _pytest(tests: list[str], log: Path) -> None:
    """Never returns."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for fd in (1, 2):
            os.dup2(out, fd)
        os.chdir(TREE)
        sys.argv = ["pytest"]
        sys.path[:] = [str(TREE), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
        os.environ["PYTHONPATH"] = str(TREE)
        sys.modules.pop("benchmarks", None)
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
        code = int(pytest.main([*options, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class Trial:
    """The faults of one module and what became of them, kept in a file."""

    def __init__(self, module: str, tests: list[str], wanted: list[str]) -> None:
        self.module, self.tests = module, tests
        self.source = (ROOT / module).read_text()
        self.all = _kept(self.source, wanted)
        random.Random(0).shuffle(self.all)
        self.path = WORK / (module.replace("/", ".") + ".json")
        guard = _digest(*((ROOT / t.partition("::")[0]).read_bytes() for t in tests))
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.state = {"source": _digest(self.source.encode()), "tests": guard, "results": {}}
        if kept.get("source") == self.state["source"]:
            same = kept["tests"] == guard
            self.state["results"] = {k: v for k, v in kept["results"].items() if same or v == "killed"}
        self._stamp = 1_000_000_000

    @property
    def results(self) -> dict[str, str]:
        """ "survived" or "killed", by the name of the mutant."""
        return self.state["results"]  # type: ignore[return-value]

    def run(self, chosen: list[Mutant], say: Callable[[str], None]) -> None:
        """Try those of `chosen` that have no result yet."""
        todo = [m for m in chosen if m.name not in self.results]
        if not todo:
            return
        log = self.path.with_suffix(".log")
        began = time.monotonic()
        self._write(self.source)
        if run_tests(self.tests, 3600, log) != "survived":
            raise AssertionError(f"{self.module}: its tests fail as they are; see {log}")
        limit = PATIENCE * (time.monotonic() - began + 1)
        try:
            for i, mutant in enumerate(todo, 1):
                self._write(mutant.source)
                self.results[mutant.name] = run_tests(self.tests, limit, log)
                self.path.write_text(json.dumps(self.state))
                say(f"{self.module} {i}/{len(todo)} {self.results[mutant.name]}")
        finally:
            self._write(self.source)

    def _write(self, text: str) -> None:
        """Into the copy, at a time of its own: compiled files are told apart by size and second alone."""
        path = TREE / self.module
        path.write_text(text)
        self._stamp += 1
        os.utime(path, (self._stamp, self._stamp))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


# ----------------------------------------------------------------------------------------------------
# The command.


def main(words: list[str] | None = None) -> int:
    """Exit 1 when a module's tests kill fewer than the share that the table asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths or parts of them (default: every module of the table)")
    parser.add_argument("--sample", type=int, help="at most this many faults a module; a larger sample holds a smaller")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is kept")
    asked = parser.parse_args(words)
    table = tomllib.loads((ROOT / "benchmarks" / "mutants.toml").read_text())
    names = [m for m in table["modules"] if not asked.modules or any(part in m for part in asked.modules)]
    if not names:
        sys.exit(f"no module of benchmarks/mutants.toml matches {' '.join(asked.modules)}")
    WORK.mkdir(parents=True, exist_ok=True)
    if not asked.show:
        lock = os.open(WORK / "lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{WORK} is in use by another run; wait for it")
        copy_tree()
        for name in HEAVY:
            importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is being tried ends too
    rows, low = [], False
    for module in names:
        trial = Trial(module, table["modules"][module], table["operators"])
        unseen = {(e["was"], e["now"]) for e in table.get("unseen", []) if module in e["in"]}
        skipped = [re.compile(s["line"]) for s in table.get("skip", [])]
        counted = [m for m in trial.all if not any(s.search(m.was) for s in skipped)]
        counted = [m for m in counted if (m.was, m.now) not in unseen][: asked.sample]
        if not asked.show:
            try:
                trial.run(counted, lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True))
            except AssertionError as error:
                print(error)
                low = True
                continue
            print("\r\033[K", end="", file=sys.stderr)
        tried = [m for m in counted if m.name in trial.results]
        alive = sorted((m for m in tried if trial.results[m.name] == "survived"), key=lambda m: m.line)
        for m in alive:
            print(f"{module}:{m.line}  {m.name}\n  - {m.was}\n  + {m.now}")
        killed = len(tried) - len(alive)
        share = f"{killed / len(tried):.1%}" if tried else "-"  # of nothing there is no share
        low = low or killed < table["least"] * len(tried)
        rows.append(f"{module:45}{len(trial.all):8}{len(unseen):8}{len(tried):8}{killed:8}{share:>8}")
    print("\n" + f"{'module':45}{'faults':>8}{'unseen':>8}{'tried':>8}{'killed':>8}{'share':>8}", *rows, sep="\n")
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
