"""One place belongs to one thing: the exported graph drops what the network drops, and only that."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.train

from perception.detector import OnnxDetector  # noqa: E402
from perception.scene import SceneError, SceneSchema  # noqa: E402
from perception.training.export import serialised  # noqa: E402
from perception.training.layout import Layout  # noqa: E402
from perception.training.network import DetectorNet, beaten  # noqa: E402

CONFIG = {
    "crop": [0, 0, 64, 96], "things": {"a": {"count": 2, "size": [12, 12]}, "b": {"count": 2, "size": [12, 12]},
    "c": {"size": [20, 20]}},
}  # fmt: skip


def schema(exclusive: bool) -> SceneSchema:
    return SceneSchema.from_config(CONFIG | ({"exclusive": True} if exclusive else {}))


def test_it_is_part_of_the_schema_where_it_is_on() -> None:
    assert "exclusive" not in schema(False).to_config() and schema(True).fingerprint != schema(False).fingerprint
    assert SceneSchema.from_config(schema(True).to_config()) == schema(True)
    with pytest.raises(SceneError, match="true or false"):
        SceneSchema.from_config(CONFIG | {"exclusive": 1})


def test_the_surer_of_two_kinds_stays() -> None:
    boxes = torch.tensor([[[10.0, 10, 8, 8], [11, 10, 8, 8], [40, 40, 8, 8], [10, 10, 40, 40]]])
    rivals = torch.tensor([[i != j for j in range(4)] for i in range(4)])
    logits = torch.tensor([[1.0, 3.0, 2.0, 9.0]])
    assert beaten(boxes, logits, rivals).tolist() == [[True, False, False, False]], "a large thing around is no rival"
    same = torch.zeros_like(rivals)
    assert not beaten(boxes, logits, same).any(), "two of one kind may touch"


def test_the_graph_does_as_the_network() -> None:
    torch.manual_seed(1)
    nets = {on: DetectorNet(Layout(schema(on), (64, 96))) for on in (True, False)}
    for refiner in nets[True].refiners:
        refiner.kind.data.normal_()  # the kinds differ
        refiner.out.bias.data[0] = 1.0  # everything is seen
    nets[True].place.data.zero_()
    nets[True].place.data[:, 27] = 40.0  # of every kind one is here
    nets[False].load_state_dict(nets[True].state_dict())
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (24, 64, 96, 3), np.uint8)
    seen = {}
    for on, net in nets.items():
        data, gap = serialised(net, {}, frames)
        assert gap < 0.02
        seen[on] = np.stack([OnnxDetector.parse(data, schema(on)).look(f).copy() for f in frames])
    starts = Layout(schema(True), (64, 96)).slot_starts
    dropped = (seen[False][:, starts] > 0.5) & ~(seen[True][:, starts] > 0.5)
    assert dropped.any() and not dropped.all(1).any(), "some go, never all"
    gone = seen[True][:, starts[:, None] + np.arange(8)][dropped]
    assert not gone.any(), "nothing of what is dropped is left"
