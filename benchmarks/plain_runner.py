"""The reference: a policy as ordinary Python, to compare the compiler with. Tests only."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from logic.errors import LogicError
from logic.language.builtins import tunable, vocabulary
from logic.language.program import Library, Module, Program, shipped_library


def load_module(source: str, name: str, constants: Mapping[str, Any], library: Library = shipped_library) -> Module:
    """Load one text."""
    words = vocabulary()
    tree = ast.parse(source)
    namespace: dict[str, Any] = {**words, **constants, "__builtins__": {}}
    sources = {name: source}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            _link(node, namespace, sources, library)
    fields = _run(tree, name, namespace)
    functions = tuple(n for n in tree.body if isinstance(n, ast.FunctionDef))
    return Module(name, namespace, functions, fields, sources, _tunables(tree, namespace))


def _link(node: ast.ImportFrom, namespace: dict[str, Any], sources: dict[str, str], library: Library) -> None:
    """Bind the library functions one import asks for."""
    stem = (node.module or "").removeprefix("logic.lib.")
    part = load_module(library(stem), f"lib/{stem}", {}, library)
    sources.update(part.sources)
    for alias in node.names:
        if alias.name not in part.namespace or alias.name.startswith("_"):
            raise LogicError(f"library module {stem!r} has no {alias.name!r}")
        namespace[alias.name] = part.namespace[alias.name]


class _NoInPlace(ast.NodeTransformer):
    """`a += b` as `a = a + b`: arrays are values, and numpy would change a table or a snapshot in place."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.Assign:
        read = copy.deepcopy(node.target)
        read.ctx = ast.Load()
        return ast.copy_location(ast.Assign([node.target], ast.BinOp(read, node.op, node.value)), node)


def _run(tree: ast.Module, name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Execute constants and functions in order; evaluate Memory's defaults after them."""
    fields: dict[str, Any] = {}
    kinds = (ast.FunctionDef, ast.Assign, ast.ClassDef)
    body: list[ast.stmt] = [n for n in tree.body if isinstance(n, kinds) and getattr(n, "name", "") != "Memory"]
    # Tables are computed by helpers that may stand below them.
    body.sort(key=lambda n: not isinstance(n, ast.FunctionDef))
    try:
        for node in body:
            if isinstance(node, ast.ClassDef):
                namespace[node.name] = _record(node, name, namespace)
                continue
            plain = ast.fix_missing_locations(_NoInPlace().visit(ast.Module([node], [])))
            exec(compile(plain, name, "exec"), namespace)  # noqa: S102 - trusted text only, see above
        for node in tree.body:
            for item in node.body if isinstance(node, ast.ClassDef) and node.name == "Memory" else ():
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
                    code = compile(ast.Expression(item.value), name, "eval")
                    fields[item.target.id] = eval(code, namespace)  # noqa: S307 - trusted text only
    except Exception as e:
        raise LogicError(f"{name} cannot be loaded: {type(e).__name__}: {e}") from e
    for value in fields.values():
        if hasattr(value, "flags"):
            value.flags.writeable = False
    return fields


def _record(node: ast.ClassDef, name: str, namespace: dict[str, Any]) -> type:
    """A class of fields; arrays of records are not known here."""
    fields = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            made = item.value or ast.copy_location(ast.Call(item.annotation, [], []), item)
            default = eval(compile(ast.fix_missing_locations(ast.Expression(made)), name, "eval"), namespace)  # noqa: S307 - trusted text only
            fields.append((item.target.id, Any, field(default_factory=lambda value=default: value)))  # type: ignore[misc]
    return make_dataclass(node.name, fields, frozen=True)


def _tunables(tree: ast.Module, namespace: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            call = node.value
            if isinstance(call.func, ast.Name) and call.func.id == tunable.__name__:
                default, low, high = (ast.literal_eval(a) for a in call.args)
                found[node.targets[0].id] = (float(default), float(low), float(high))
    return found


def reason_lines(functions: tuple[ast.FunctionDef, ...]) -> dict[str, list[int]]:
    """Each string that a function returns beside an action, with the lines where it stands."""
    found = [
        (node.lineno, node.value)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _documents(node, function)
    ]
    lines: dict[str, list[int]] = {}
    for line, reason in sorted(found):
        lines.setdefault(reason, []).append(line)
    return lines


def _documents(node: ast.Constant, function: ast.FunctionDef) -> bool:
    first = function.body[0]
    return isinstance(first, ast.Expr) and first.value is node


def load_program(
    source: str, constants: Mapping[str, Any], library: Library = shipped_library, name: str = "policy"
) -> Program:
    """A Program from policy text. `constants`: FRAMESKIP, STICKY, HEIGHT, WIDTH and the action names."""
    module = load_module(source, name, constants, library)
    act = [f for f in module.functions if f.name == "act"]
    if not act or [a.arg for a in act[0].args.args] != ["scene", "memory"]:
        raise LogicError(f"{name} needs `def act(scene, memory):` that returns an action and a reason")
    return Program(module, module.namespace["act"], reason_lines(module.functions))


def load_policy(path: Path | str, actions: tuple[str, ...], constants: Mapping[str, Any]) -> Program:
    """Read `path` and load it for one protocol's constants."""
    path = Path(path)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise LogicError(f"cannot read {path}: {e}") from e
    return load_program(source, {**constants, **{a: i for i, a in enumerate(actions)}}, name=path.name)
