"""The scene as the worker sees it: the names and values of `SceneSchema.read`, in one object that every step fills.

Knows: the flat layout. Does not know: what the values mean. A policy keeps no reference to a scene, so nothing need be
made anew; parts that the code does not name are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from struct import Struct
from types import SimpleNamespace
from typing import Any

import numpy as np

from perception.scene import SLOT, SceneSchema, ThingView

_NAMED = re.compile(r"\bscene\.([A-Za-z_]\w*)")


def reader(schema: SceneSchema, codes: Iterable[str]) -> Callable[[bytes], Any]:
    """From the bytes of a scene vector to the scene, with the parts that the codes name."""
    named = {name for code in codes for name in _NAMED.findall(code)}
    scene = SimpleNamespace()
    slots: list[tuple[ThingView, int]] = []
    for thing in schema.things:
        if thing.name in named:
            views = [ThingView([0.0] * SLOT) for _ in range(thing.count)]
            setattr(scene, thing.name, views[0] if thing.count == 1 else tuple(views))
            slots += [(view, schema.slot(thing.name, i).start) for i, view in enumerate(views)]
    end = max((at + SLOT for _, at in slots), default=0)
    grids = [(g.name, g.rows * g.cols, 4 * schema.grid(g.name).start, (g.rows, g.cols)) for g in schema.grids]
    grids = [grid for grid in grids if grid[0] in named]
    gauges = [(g.name, schema.gauge(g.name)) for g in schema.gauges if g.name in named]
    unpack, number = Struct(f"<{end}f").unpack_from, Struct("<f").unpack_from
    as_vector, kind = np.frombuffer, np.dtype("<f4")

    def read(data: bytes) -> Any:
        flat = unpack(data)
        for view, k in slots:
            seen, view.x, view.y, view.w, view.h, view.vx, view.vy, view.sure = flat[k : k + SLOT]
            view.seen = seen > 0.5
        for name, count, at, shape in grids:
            setattr(scene, name, as_vector(data, kind, count, at).reshape(shape) > 0.5)
        for name, place in gauges:
            setattr(scene, name, number(data, 4 * place)[0])
        return scene

    return read
