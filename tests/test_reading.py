"""What a stranger wrote is opened by `envs.files` alone; everything else that opens files has its reason here."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = ("envs", "native", "perception", "logic", "data_flywheel", "supervisor", "triune")
READERS = {
    "open", "os.open", "io.open", "json.load", "tomllib.load", "np.load", "np.fromfile",
    "np.loadtxt", "np.memmap", "pickle.load", "pickle.loads", "onnx.load", "torch.load", "cv2.imread",
    "cv2.VideoCapture", "Image.open", "gzip.open", "gzip.decompress", "zlib.decompress", "zipfile.ZipFile",
    "tarfile.open", "pq.read_table", "InferenceSession", "onnxruntime.InferenceSession",
}  # fmt: skip
OWN, KERNEL = "ships with Triune", "/proc"
EXCEPTIONS = {
    "envs/files.py": ({"open", "os.open"}, "the reader"),
    "envs/arrays.py": ({"zipfile.ZipFile"}, "the reader of arrays"),
    "envs/remote_process.py": ({"open"}, "memory that the parent shares"),
    "envs/rewards.py": ({"open"}, "memory that the parent shares"),
    "envs/cluster_worker.py": ({"read_bytes"}, OWN),
    "envs/cluster_guard.py": ({"open"}, KERNEL),
    "envs/parcels.py": ({"os.open"}, "a folder, by no link"),
    "perception/graph.py": ({"onnxruntime.InferenceSession"}, "bytes that were read"),
    "perception/training/train.py": ({"torch.load"}, "its own checkpoint, tensors only"),
    "logic/language/builtins.py": ({"read_text"}, OWN),
    "logic/language/program.py": ({"read_text"}, OWN),
    "logic/sandbox/compiling.py": ({"read_text"}, OWN),
    "logic/sandbox/harden.py": ({"open"}, KERNEL),
    "logic/sandbox/worker.py": ({"open"}, KERNEL),
    "data_flywheel/attribution/signs.py": ({"read_text"}, OWN),
    "data_flywheel/storage/container.py": ({"zipfile.ZipFile"}, "writes"),
    "supervisor/loop/loop.py": ({"os.open"}, "locks a folder"),
    "supervisor/proposers/workspace.py": ({"open", "os.open", "read_text"}, "an agent's answer, by no link; docs"),
    "supervisor/proposers/instructions.py": ({"read_text"}, OWN),
    "supervisor/proposers/process_tree.py": ({"open", "os.open"}, KERNEL),
    "envs/terminal.py": ({"open", "os.open"}, "/dev/null"),
    "envs/writing.py": ({"os.open", "read_bytes"}, "writes; copies what was made here"),
    "triune/cli.py": ({"os.open"}, "/dev/null"),
    "triune/live/telling.py": ({"open"}, "a log"),
    "triune/deploy/web.py": ({"gzip.decompress", "read_text"}, "files of the page, which were made here"),
    "triune/play/film.py": ({"cv2.VideoCapture"}, "a camera, or a video that `open_file` looked at"),
    "triune/report/improve/replays.py": ({"read_bytes"}, "a picture that was made here"),
    "triune/report/html.py": ({"read_text"}, OWN),
    "triune/report/replay.py": ({"cv2.VideoCapture"}, "a film that was made here"),
    "triune/report/page.py": ({"read_bytes"}, "a picture that was made here"),
    "triune/review/server.py": ({"read_bytes"}, OWN),
    "triune/system.py": ({"read_bytes"}, OWN),
}


def called(source: str) -> set[str]:
    """The readers that a text calls, wherever it imported them from."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            tail = name.rpartition(".")[2]
            found |= {name} & READERS | ({tail} & {"read_text", "read_bytes"} if "." in name else set())
    return found


def test_files_are_read_in_one_place() -> None:
    seen = set()
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            allowed, _ = EXCEPTIONS.get(name, (set(), ""))
            found = called(path.read_text())
            assert not found - allowed, f"{name} calls {sorted(found - allowed)}; use envs.files, or say why not here"
            assert not allowed - found, f"{name} no longer calls {sorted(allowed - found)}: take it off the list"
            seen |= {name} & EXCEPTIONS.keys()
    assert seen == EXCEPTIONS.keys()


def test_the_check_can_fail() -> None:
    for text in ("open('x')", "import json\njson.load(f)", "Path(p).read_text()", "cv2.imread(p)", "np.load(p)"):
        assert called(text)
    assert not called("read_text(path, 'policy')\nLog.open(p)\njson.loads(t)")
