"""The boxes of a film by the number of the picture, from COCO or YOLO, to compare with what is seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_flywheel.labels.boxes import read_boxes
from data_flywheel.labels.label import vector_of
from perception.scene import SceneSchema
from triune.errors import TriuneError


@dataclass(frozen=True)
class FilmLabels:
    """Scene vectors float32[size] of the labelled pictures, by their numbers; what was left out, in words."""

    vectors: dict[int, np.ndarray]
    notes: tuple[str, ...] = ()


def read_labels(path: Path, schema: SceneSchema, size: tuple[int, int]) -> FilmLabels:
    """From a file or folder; `size`: (height, width) of the task's pictures. TriuneError: neither COCO nor YOLO, a
    picture without a number or of another size."""
    boxes = read_boxes(path, schema, size, raises=TriuneError)
    values, crowded, _ = boxes.values(schema, size)
    notes = boxes.notes(schema)
    notes += [f"{n} boxes of {t} beyond the {schema.count(t)} at once that the task has" for t, n in crowded.items()]
    return FilmLabels({place.number: vector_of(schema, v) for place, v in values.items()}, tuple(notes))
