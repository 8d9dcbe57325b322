"""A stranger's folder can be opened, checked, played and exported; nothing in it is ever run."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
from cli_kit import inside, triune

from envs.spec import ZOO

ROOT = Path(__file__).parents[2]
LAYERS = ("triune", "envs", "native", "perception", "logic", "supervisor", "data_flywheel")
# Where text may become code: what the compiler generates, the same thawed in a worker, teachers when asked for.
MAY_RUN = {
    "logic/language/api.py": {"exec", "compile"},
    "logic/language/artifact.py": {"exec", "compile"},
    "data_flywheel/labelers/teacher.py": {"exec", "compile"},  # what the owner asks for
    "logic/language/builtins.py": {"exec", "compile"},  # logic/lib/maths.py, which ships
    "envs/env.py": {"import_module"},  # a backend or observer that the parent names, never a folder
    "triune/commands/doctor.py": {"import_module"},  # is a package there?
    "triune/cli.py": {"import_module"},  # triune.commands.NAME, from a fixed list
    "triune/commands/bench.py": {"import_module"},  # benchmarks.NAME, from a fixed list
}
RUNS = {"exec", "eval", "compile", "exec_module", "import_module", "__import__", "run_path", "run_module"}
HOSTILE = {
    "import": "import os\nos.mkdir({path!r})\n",
    "default argument": "def helper(x=__import__('os').mkdir({path!r})):\n    return x\n",
    "annotation": "X: __import__('os').mkdir({path!r}) = 1\n",
    "decorator": "@__import__('os').mkdir({path!r})\ndef helper():\n    return 1\n",
    "class body": "class Memory:\n    n: int = __import__('os').mkdir({path!r})\n",
    "constant": "X = open({path!r}, 'w')\n",
    "table": "def make():\n    return ().__class__.__mro__[1].__subclasses__()\n\n\nX = make()\n",
}
COMMANDS = (
    ("list",),
    ("check", "mine"),
    ("play", "mine", "--steps", "5"),
    ("eval", "mine", "--seeds", "0:1", "--steps", "5"),
    ("export", "mine", "mine.onnx"),
)


def called(path: Path) -> set[str]:
    """Names in RUNS that a file calls; re.compile and network.eval are not meant."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            f = node.func
            if isinstance(f, ast.Name) and f.id in RUNS:
                found.add(f.id)
            elif isinstance(f, ast.Attribute) and f.attr in RUNS - {"compile", "eval"}:
                found.add(f.attr)
    return found


def test_text_becomes_code_only_where_it_is_known_to() -> None:
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            extra = called(path) - MAY_RUN.get(name, set())
            assert not extra, f"{name} calls {extra}"


@pytest.mark.parametrize("where", ["policy.py", "safety.py"])
@pytest.mark.parametrize("attack", sorted(HOSTILE))
def test_hostile_text_is_a_diagnostic_and_never_runs(tmp_path: Path, attack: str, where: str) -> None:
    from logic.errors import LogicError
    from triune.system import load

    folder, mark = tmp_path / "mine", tmp_path / "mark"
    shutil.copytree(ZOO / "cartpole", folder)
    text = (folder / where).read_text()
    (folder / where).write_text(HOSTILE[attack].format(path=str(mark)) + text)
    with pytest.raises(LogicError) as error:
        load(folder).controller()
    assert f"{where}, line " in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda w: w[0])
def test_no_command_runs_a_strangers_teacher_or_policy(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The policy compiles; teacher.py, any other Python file and locks lie in wait."""
    folder, mark = tmp_path / "mine", tmp_path / "mark"
    shutil.copytree(ZOO / "cartpole", folder)
    trap = f"import os\nos.mkdir({str(mark)!r})\n"
    for name in ("teacher.py", "__init__.py", "conftest.py", "sitecustomize.py"):
        (folder / name).write_text(trap)
    policy = folder / "policy.py"
    policy.write_text(policy.read_text() + "\n# a stranger's\n")
    result = triune(*words, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) and not mark.exists()


def test_a_strangers_teacher_needs_trust(tmp_path: Path) -> None:
    shutil.copytree(ZOO / "cartpole", tmp_path / "mine")
    words = ("play", "mine", "--eyes", "teacher", "--steps", "3", "--json")
    refused = inside(*words, cwd=tmp_path)
    assert refused.returncode == 1 and "--trust" in json.loads(refused.stdout)["error"]
    assert inside(*words, "--trust", cwd=tmp_path).returncode == 0
