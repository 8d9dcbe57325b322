"""Where the network looks: the view, the patches around cells, and crops or grids that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.scene import SceneSchema
from perception.training.layout import CELL, Layout

CONFIG = {
    "crop": [30, 4, 195, 156],
    "things": {
        "crowd": {"count": 3, "size": [8, 8]},
        "ball": {"size": [2, 4]},
        "paddle": {"size": [16, 4]},
    },
    "grids": {"bricks": {"rows": 6, "cols": 18, "top": 57, "left": 8, "cell": [8, 6]}},
}


def layout(**changes) -> Layout:
    return Layout(SceneSchema.from_config({**CONFIG, **changes}), (210, 160))


def test_the_view_is_the_crop_in_whole_cells_inside_the_frame():
    top, left, height, width = layout().view
    assert (height % CELL, width % CELL) == (0, 0)
    assert top <= 30 and top + height >= 195 and left <= 4 and left + width >= 156
    assert layout(crop=[40, 0, 209, 160]).view == (34, 0, 176, 160), "moved up to stay inside"
    with pytest.raises(PerceptionError, match="write at most 208 x 160 px"):
        _ = layout(crop=[0, 0, 210, 160]).view


def test_single_things_come_first_and_slots_know_their_place():
    made = layout()
    assert [t.name for t in made.things] == ["ball", "paddle", "crowd"]
    assert made.singles == 2 and len(made.slots) == 5
    wanted = [made.schema.slot(n, i).start for n, i in [("ball", 0), ("paddle", 0), *(("crowd", i) for i in range(3))]]
    assert made.slot_starts.tolist() == wanted


def test_every_patch_lies_in_the_view_and_holds_a_thing_centred_in_its_cell():
    made = layout()
    top, left, height, width = made.view
    for thing in made.things:
        patch = made.patch_of(thing)
        origins = made.origins(patch)
        assert (origins >= 0).all() and (origins + patch <= (height, width)).all()
        pixels = origins[:, :1] * width + origins[:, 1:] + made.offsets(patch)
        assert pixels.min() >= 0 and pixels.max() < height * width
        inner = origins - (made.centres() - (top, left))  # a thing anywhere in the cell of an inner patch fits
        middle = inner[np.abs(inner + np.array(patch) / 2).max(1) == 0]
        assert len(middle) > len(inner) / 2
        assert (patch >= np.array(thing.size[::-1]) + CELL).all()


def test_grids_need_whole_pixels_inside_the_frame():
    bricks = CONFIG["grids"]["bricks"]
    assert layout().grid_window("bricks") == (57, 8, 6, 8)
    with pytest.raises(PerceptionError, match="whole pixels"):
        layout(grids={"bricks": {**bricks, "left": 8.5}}).grid_window("bricks")
    with pytest.raises(PerceptionError, match="beyond"):
        layout(grids={"bricks": {**bricks, "cols": 20}}).grid_window("bricks")
