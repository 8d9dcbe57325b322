"""COCO: a folder of PNG files and `instances.json` with a box for every thing that is seen.

Knows that format. Things become categories; grids and gauges, which COCO has no place for, stand in fields of the
images; `score` is how sure the eyes were. Frames without a stored picture have no image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.datasets.export_source import Part, Source
from data_flywheel.errors import DataError
from data_flywheel.labels.label import values_of
from data_flywheel.storage.container import atomic_write, canonical_json
from perception.scene import SceneSchema

FILE = "instances.json"


def export_coco(source: Source, out: Path) -> dict[str, int]:
    """Write into `out`; counts of images and annotations. The JSON comes last: without it, the export is unfinished."""
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    (out / "images").mkdir(parents=True, exist_ok=True)
    for part in source:
        for row, rgb in part.pictures():
            image = _image(part, row, source.schema, len(images) + 1, rgb.shape)
            _write_png(out / image["file_name"], rgb)
            images.append(image)
            boxes += _boxes(source.schema, part.scenes[row], image, len(boxes) + 1)
    if not images:
        raise DataError(f"{source.folder}: no frame is stored in it; record with --record-frames all")
    categories = [{"id": i, "name": t.name, "supercategory": "thing"} for i, t in enumerate(source.schema.things, 1)]
    info = {"description": f"{source.task}, a {source.kind}", "version": "1", "task": source.task}
    record = {"info": info, "licenses": [], "images": images, "annotations": boxes, "categories": categories}
    atomic_write(out / FILE, canonical_json(record).encode())
    return {"images": len(images), "annotations": len(boxes)}


def _image(part: Part, row: int, schema: SceneSchema, number: int, shape: tuple[int, ...]) -> dict[str, Any]:
    step = int(part.steps[row])
    grids, gauges = [grid.name for grid in schema.grids], [gauge.name for gauge in schema.gauges]
    values = values_of(schema, part.scenes[row], grids + gauges)
    return {
        "id": number, "file_name": f"images/{part.name}-{step:06d}.png", "height": shape[0], "width": shape[1],
        "episode": part.name, "step": step, "seed": part.seed, "split": part.split,
        "grids": {name: values[name] for name in grids}, "gauges": {name: values[name] for name in gauges},
    }  # fmt: skip


def _boxes(
    schema: SceneSchema, vector: NDArray[np.float32], image: dict[str, Any], first: int
) -> Iterator[dict[str, Any]]:
    """COCO boxes are left, top, width, height in px; what lies outside the picture is cut off."""
    for category, thing in enumerate(schema.things, 1):
        for index in range(thing.count):
            seen, x, y, w, h, _, _, sure = vector[schema.slot(thing.name, index)].astype(float).tolist()
            left, top = max(x - w / 2, 0.0), max(y - h / 2, 0.0)
            width, height = min(x + w / 2, image["width"]) - left, min(y + h / 2, image["height"]) - top
            if seen > 0.5 and width > 0 and height > 0:
                yield {
                    "id": first, "image_id": image["id"], "category_id": category, "bbox": [left, top, width, height],
                    "area": width * height, "iscrowd": 0, "segmentation": [], "score": sure, "slot": index,
                }  # fmt: skip
                first += 1


def _write_png(path: Path, rgb: NDArray[np.uint8]) -> None:
    import cv2

    good, data = cv2.imencode(".png", rgb[..., ::-1])
    if not good:
        raise DataError(f"{path}: OpenCV cannot write this picture")
    path.write_bytes(data.tobytes())
