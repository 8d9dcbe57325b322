"""One place belongs to one thing: the exported graph drops what the network drops, and only that."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = pytest.mark.train

import native  # noqa: E402
from native.eyes import Eyes  # noqa: E402
from perception.detector import OnnxDetector  # noqa: E402
from perception.native_detector import NativeDetector, largest_difference, open_detector  # noqa: E402
from perception.plan import read_plan  # noqa: E402
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


def networks() -> tuple[dict[bool, DetectorNet], np.ndarray]:
    """With and without, of the same weights, and frames in which things of several kinds are at one place."""
    torch.manual_seed(1)
    nets = {on: DetectorNet(Layout(schema(on), (64, 96))) for on in (True, False)}
    for refiner in nets[True].refiners:
        refiner.kind.data.normal_()  # the kinds differ
        refiner.out.bias.data[0] = 1.0  # everything is seen
    nets[True].place.data.zero_()
    nets[True].place.data[:, 27] = 40.0  # of every kind one is here
    nets[False].load_state_dict(nets[True].state_dict())
    return nets, np.random.default_rng(0).integers(0, 256, (24, 64, 96, 3), np.uint8)


@pytest.mark.skipif(not native.available(), reason=native.why_not())
def test_the_engine_drops_the_same() -> None:
    nets, frames = networks()
    net, dropped = nets[True], []
    data = serialised(net, {}, frames)[0]
    detector = open_detector(data, schema(True))
    assert isinstance(detector, NativeDetector), detector.engine
    plan = read_plan(data, schema(True), (64, 96))
    every = open_detector(serialised(nets[False], {}, frames)[0], schema(False))
    for frame in (*frames, *frames[:4]):
        for pixel in range(3):  # now all of the picture changes, now a little
            frame = frame.copy()
            frame[20 + pixel, 40:60] = 80 * pixel
            found, wanted = detector.see(frame), detector.reference.look(frame)
            assert not largest_difference(schema(True), found, wanted)[0]
            assert found.tobytes() == Eyes(plan).look(frame, anew=True).tobytes()
            dropped.append(found.any() and not np.array_equal(found, every.see(frame)))
    assert sum(dropped) > len(dropped) / 4


def test_a_tie_between_kinds_is_no_difference() -> None:
    """Which of two kinds is at a place may be decided by rounding, and only that."""
    kept = {"a[0]": (10.0, 10.0, 8.0, 8.0, 0.9), "b[0]": (10.0, 11.0, 8.0, 8.0, 0.90005)}
    scenes = []
    for names in (kept, ["b[0]"]):
        scene = schema(True).empty()
        for name, slot in schema(True).slots():
            if name in names:
                x, y, w, h, sure = kept[name]
                scene[slot] = 1, x, y, w, h, 0, 0, sure
        scenes.append(scene)
    assert not largest_difference(schema(True), *scenes)[0] and not largest_difference(schema(True), *scenes[::-1])[0]
    scenes[0][schema(True).slot("a", 0).stop - 1] = 0.95  # surer: nothing may have beaten it
    assert largest_difference(schema(True), *scenes)[0].startswith("a[0]")
    assert largest_difference(schema(False), *scenes)[0]


def test_the_graph_does_as_the_network() -> None:
    nets, frames = networks()
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
