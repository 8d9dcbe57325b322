"""Trainable weights beside an ONNX file: they give the network back exactly, or say why they cannot."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.files import KINDS
from envs.spec import load_spec, task_names
from perception.detector import OnnxDetector
from perception.errors import PerceptionError
from perception.scene import SceneSchema
from perception.weights import read_weights, weights_beside
from triune.play.loop import play
from triune.system import load

ROOT = Path(__file__).parents[2]
SCHEMA = SceneSchema.from_config(
    {
        "crop": [4, 4, 60, 60],
        "things": {"a": {"size": [3, 3]}, "b": {"size": [14, 4], "count": 3}},
        "gauges": {"air": {"box": [60, 4, 66, 60], "low": -5.0, "high": 20.0}},
        "readings": {"pole": {"fields": {"angle": {"low": -3.0, "high": 3.0, "wrap": True}}}},
    }
)
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 72, 64, 3), np.uint8)
train = pytest.mark.train


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the smallest detector that ships, weights beside it."""
    path = ROOT / "zoo" / "pendulum" / "perception.onnx"
    shutil.copyfile(path, tmp_path / path.name)
    shutil.copyfile(weights_beside(path), weights_beside(tmp_path / path.name))
    return tmp_path / path.name


@pytest.mark.parametrize("task", [name for name in task_names() if not load_spec(name).env.observed])
def test_shipped_weights_belong_to_the_detector_beside_them(task: str) -> None:
    system = load(task)
    header, _ = read_weights(system.detector_path)
    assert header.fingerprint == system.schema.fingerprint and header.shape == system.spec.env.shape[:2]


def _flip(at: float) -> Callable[[Path], object]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 64
        path.write_bytes(data)

    return flip


def _claim(**values: Any) -> Callable[[Path], object]:
    """Other words in the metadata."""

    def claim(path: Path) -> None:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + size])
        head["__metadata__"]["triune"] = json.dumps(json.loads(head["__metadata__"]["triune"]) | values)
        text = json.dumps(head).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

    return claim


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such trainable weights"),
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-1000]), "damaged"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "damaged"),
    "size of the header": (_flip(0.0), "damaged"),
    "a bit in the middle": (_flip(0.5), "damaged"),
    "a bit at the end": (_flip(1.0), "damaged"),
    "no metadata": (lambda p: p.write_bytes(b"\2\0\0\0\0\0\0\0{}"), "damaged"),
    "nested": (lambda p: p.write_bytes((400_000).to_bytes(8, "little") + b"[" * 400_000), "damaged"),
    "another format": (_claim(format=9), "format 9.*update Triune"),
    "a wide net": (_claim(width={"hidden": 10**9}), "whole numbers"),
    "no shape": (_claim(shape=[[], "x"]), "whole numbers"),
    "another detector's": (_claim(onnx="0" * 64), "belongs to another ONNX file"),
    "huge": (lambda p: os.truncate(p, KINDS["trainable weights"].most + 1), "is it another file"),
    "pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "put the file itself there"),
}


@pytest.mark.parametrize("how", WRONG)
def test_weights_that_do_not_serve_are_named_with_the_fix(shipped: Path, how: str) -> None:
    """... and the ONNX file plays as before."""
    harm, reason = WRONG[how]
    harm(weights_beside(shipped))
    with pytest.raises(PerceptionError, match=f"perception.onnx cannot be trained further: .*{reason}") as said:
        read_weights(shipped)
    ends = ("train it again, or restore the .safetensors file", "is it another file?", "put the file itself there")
    assert str(said.value).endswith(ends)
    assert OnnxDetector.load(shipped).look(np.zeros((500, 500, 3), np.uint8)).shape == (load("pendulum").schema.size,)


def net(seed: int) -> Any:
    """A network with every kind of head, whose norms and sharpness are not those it was born with."""
    import torch

    from perception.training.layout import Layout
    from perception.training.network import DetectorNet, Width

    torch.manual_seed(seed)
    made = DetectorNet(Layout(SCHEMA, (72, 64)), Width(hidden=24))
    made.train()
    made(torch.from_numpy(FRAMES))
    made.sharpness.fill_(1.3)
    return made.eval()


def same(a: Any, b: Any) -> bool:
    import torch

    left, right = a.state_dict(), b.state_dict()
    return list(left) == list(right) and all(
        torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(left.values(), right.values(), strict=True)
    )


@train
@pytest.mark.parametrize("task", [name for name in task_names() if not load_spec(name).env.observed])
def test_shipped_weights_say_what_the_shipped_detector_says(task: str) -> None:
    from perception.training.export import disagreement, load_net

    system = load(task)
    frames = [step.frame.copy() for step, _ in zip(play(system, 3), range(40), strict=False)][::4]
    assert disagreement(load_net(system.detector_path, system.schema), system.detector(), np.stack(frames)) < 1e-3


@train
def test_an_exported_network_comes_back_exactly(tmp_path: Path) -> None:
    import torch

    from perception.training.export import export, load_net

    made, path = net(0), tmp_path / "eyes.onnx"
    export(made, path, {}, FRAMES)
    again = load_net(path, SCHEMA)
    assert same(made, again) and again.width == made.width and not again.training
    assert [n for n, p in again.named_parameters() if p.requires_grad] == [n for n, _ in made.named_parameters()]
    assert torch.equal(made.scenes(torch.from_numpy(FRAMES)), again.scenes(torch.from_numpy(FRAMES)))
    before = path.read_bytes(), weights_beside(path).read_bytes()
    export(again, path, {}, FRAMES)
    assert (path.read_bytes(), weights_beside(path).read_bytes()) == before


@train
def test_weights_of_another_schema_are_refused(shipped: Path) -> None:
    from perception.training.export import load_net

    with pytest.raises(PerceptionError, match=r"another scene schema.*system\.toml"):
        load_net(shipped, SCHEMA)


@train
@pytest.mark.parametrize(
    ("harm", "reason"),
    [(_claim(width={"hidden": 4096}), "does not hold this network's weights"), (_claim(width={"deep": 2}), "deep")],
)
def test_weights_of_another_network_are_refused(shipped: Path, harm: Callable[[Path], object], reason: str) -> None:
    from perception.training.export import load_net

    harm(weights_beside(shipped))
    with pytest.raises(PerceptionError, match=f"{reason}.*train it again, or restore"):
        load_net(shipped, load("pendulum").schema)


@train
def test_frames_of_another_size_do_not_train(shipped: Path, tmp_path: Path) -> None:
    from perception.errors import SampleError
    from perception.training.data import Samples
    from perception.training.finetune import Part, adapt

    schema = load("pendulum").schema
    zeros = np.zeros(4, np.int64)
    small = Samples(np.zeros((4, 400, 400, 3), np.uint8), None, np.zeros((4, schema.size), np.float32), zeros, zeros)
    with pytest.raises(SampleError, match="400x400 px.*reads 500x500"):
        adapt(shipped, tmp_path / "new.onnx", schema, [Part(small, 2)], {})


@train
@pytest.mark.parametrize("how", ["before", "half"])
@pytest.mark.parametrize("call", range(1, 6))
def test_a_killed_export_leaves_a_detector_that_plays(tmp_path: Path, call: int, how: str) -> None:
    """SIGKILL before, or half way through, each act that changes a file; after the fourth there is none left."""
    from flywheel_kit import arm

    from perception.training.export import export, load_net

    path, old, new = tmp_path / "eyes.onnx", net(0), net(1)
    export(old, path, {"which": "old"}, FRAMES)

    def child() -> None:
        arm(tmp_path, call, how)
        export(new, path, {"which": "new"}, FRAMES)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == (0 if call == 5 else -signal.SIGKILL)
    which = OnnxDetector.load(path, SCHEMA).provenance["which"]
    assert which == ("new" if call == 5 else "old")
    if call == 4:  # the weights are new, the ONNX file is old
        with pytest.raises(
            PerceptionError, match=r"belongs to another ONNX file; train it again, or restore the \.saf"
        ):
            load_net(path, SCHEMA)
    else:
        assert same(load_net(path, SCHEMA), {"old": old, "new": new}[which])
    export(new, path, {"which": "new"}, FRAMES)
    assert same(load_net(path, SCHEMA), new)
    kept = sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".part"))  # a kill leaves its half file
    assert kept == ["eyes.onnx", "eyes.safetensors"]
