"""Samples: what the trainer accepts and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from perception.errors import SampleError
from perception.scene import SceneSchema
from perception.training.data import Samples

SCHEMA = SceneSchema.from_config({"crop": [0, 0, 8, 8], "things": {"ball": {}}})


def make(n: int = 6, palette: bool = True, **changes: np.ndarray) -> Samples:
    rng = np.random.default_rng(n)
    shape = (n, 8, 8) if palette else (n, 8, 8, 3)
    parts = {
        "frames": rng.integers(0, 256, shape).astype(np.uint8),
        "palette": np.arange(768).reshape(256, 3).astype(np.uint8) if palette else None,
        "scenes": np.zeros((n, SCHEMA.size), np.float32),
        "episodes": np.arange(n) // 2,
        "splits": (np.arange(n) // 2 % 3).astype(np.uint8),
    }
    return Samples(**{**parts, **changes})


def test_splits_hold_whole_episodes():
    samples = make()
    assert [len(samples.of(s)) for s in ("train", "val", "test")] == [2, 2, 2]
    assert samples.of("val").episodes.tolist() == [1, 1]
    with pytest.raises(SampleError, match="episode 0 stands in two splits"):
        make(splits=np.array([0, 1, 1, 1, 2, 2], np.uint8))


def test_frames_must_fit_the_palette():
    with pytest.raises(SampleError, match="frames are uint8"):
        make(frames=np.zeros((6, 8, 8, 3), np.uint8))
    with pytest.raises(SampleError, match="frames are uint8"):
        make(frames=np.zeros((6, 8, 8), np.float32))
    with pytest.raises(SampleError, match="RGB"):
        make(**{"palette": False, "frames": np.zeros((6, 8, 8), np.uint8)})


def test_labels_must_fit_the_schema_and_be_finite():
    with pytest.raises(SampleError, match="label again"):
        make(scenes=np.zeros((6, SCHEMA.size + 1), np.float32)).check(SCHEMA)
    with pytest.raises(SampleError, match="NaN"):
        make(scenes=np.full((6, SCHEMA.size), np.nan, np.float32)).check(SCHEMA)
    with pytest.raises(SampleError, match="6 frames need 6 scenes"):
        make(scenes=np.zeros((5, SCHEMA.size), np.float32))


@pytest.mark.parametrize("palette", [True, False])
def test_save_and_load_give_the_same_back(tmp_path, palette):
    samples = make(palette=palette)
    samples.save(tmp_path / "s.npz")
    back = Samples.load(tmp_path / "s.npz")
    assert back.fingerprint() == samples.fingerprint()
    assert (back.rgb(3) == samples.rgb(3)).all() and back.rgb(3).shape == (8, 8, 3)
    changed = samples.scenes.copy()
    changed[0, 0] = 1
    assert Samples.fingerprint(make(palette=palette, scenes=changed)) != samples.fingerprint()


def test_join_needs_equal_palettes():
    assert len(Samples.join([make(), make()])) == 12
    with pytest.raises(SampleError, match="different palettes"):
        Samples.join([make(), make(palette=False)])
    with pytest.raises(SampleError, match="nothing to join"):
        Samples.join([])
