"""The boxes of a film in COCO form, as CVAT and Label Studio write it, by the number of the picture."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs import shape
from envs.files import read_json
from perception.scene import SceneSchema
from triune.errors import TriuneError

_ID = shape.whole(0)
_COCO = shape.table({
    "images": shape.each(shape.table({"id": _ID, "file_name": shape.text}, {
        "width": shape.whole(1, 1 << 16), "height": shape.whole(1, 1 << 16),
    })),
    "annotations": shape.each(shape.table({
        "image_id": _ID, "category_id": _ID, "bbox": shape.row(*[shape.number(-1e6, 1e6)] * 4),
    })),
    "categories": shape.each(shape.table({"id": _ID, "name": shape.text})),
})  # fmt: skip


@dataclass(frozen=True)
class FilmLabels:
    """Scene vectors float32[size] of the labelled pictures, by their numbers; what was left out, in words."""

    vectors: dict[int, np.ndarray]
    notes: tuple[str, ...] = ()


def read_labels(path: Path, schema: SceneSchema, size: tuple[int, int]) -> FilmLabels:
    """From a file; `size`: (height, width) of the task's pictures. A class is matched by its name, whatever its case;
    a picture's number is the last in its name (frame_000123.png). TriuneError: no COCO, no number, another size."""
    told: dict[str, Any] = read_json(path, "boxes", TriuneError, "export the labels as COCO 1.0", shape=_COCO)
    names = {thing.name.lower(): thing for thing in schema.things}
    classes = {c["id"]: names.get(c["name"].lower()) for c in told["categories"]}
    unknown = Counter[str]()
    titles = {c["id"]: c["name"] for c in told["categories"]}
    numbers: dict[int, int] = {}
    for image in told["images"]:
        found = re.findall(r"[0-9]+", Path(image["file_name"]).stem)
        if not found:
            raise TriuneError(f"{path}: {image['file_name']!r} has no number; pictures of a film are frame_000123.png")
        high, wide = image.get("height", size[0]), image.get("width", size[1])
        if (high, wide) != size:
            raise TriuneError(f"{path}: {image['file_name']} is {wide}x{high}, the task's are {size[1]}x{size[0]}")
        numbers[image["id"]] = int(found[-1])
    boxes: dict[int, dict[str, list[tuple[float, ...]]]] = {number: {} for number in numbers.values()}
    crowded = Counter[str]()
    for row in told["annotations"]:
        thing, number = classes.get(row["category_id"]), numbers.get(row["image_id"])
        if thing is None or number is None:
            unknown[titles.get(row["category_id"], str(row["category_id"]))] += 1
            continue
        boxes[number].setdefault(thing.name, []).append(tuple(row["bbox"]))
    vectors = {}
    for number, there in boxes.items():
        vectors[number] = schema.empty()
        for thing in schema.things:
            found_boxes = sorted(there.get(thing.name, ()), key=lambda b: -b[2] * b[3])
            crowded[thing.name] += max(0, len(found_boxes) - thing.count)
            for i, (x, y, w, h) in enumerate(found_boxes[: thing.count]):
                vectors[number][schema.slot(thing.name, i)] = 1, x + w / 2, y + h / 2, w, h, 0, 0, 1
    notes = [f"{n} boxes of {name!r}, which the task does not have" for name, n in unknown.items()]
    notes += [
        f"{n} boxes of {name} beyond the {schema.count(name)} at once that the task has"
        for name, n in crowded.items()
        if n
    ]
    return FilmLabels(vectors, tuple(notes))
