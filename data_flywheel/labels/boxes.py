"""Boxes that people drew in other tools: COCO (CVAT, Label Studio) and YOLO text, read and written.

A picture is known by its number: the last in its name (`frame_000123.png`, whatever its case and extension), as CVAT
names the pictures of a video. The folder that its name has, if any, names the film. Classes are matched to the things
of the task by name.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from data_flywheel.errors import DataError
from envs import shape
from envs.files import read_json, read_text
from envs.writing import atomic_write, whole
from perception.scene import SceneSchema

Box = tuple[float, float, float, float]  # centre x, y, width, height in px
Values = dict[str, list[list[float] | None]]
FIX = "export the labels as COCO 1.0, or give the unpacked folder of a YOLO export"
LEAST = 0.5  # px: a box whose visible part is thinner than this is none
TYPO = 0.5  # likeness from which an unknown class is taken for a misspelt thing


class Place(NamedTuple):
    """A picture: the folder in its name, "" without one, and its number."""

    film: str
    number: int


@dataclass
class Boxes:
    """What a file says. `pictures`: of each, the boxes of each thing (none: background); `unknown`: boxes of classes
    that the task does not have, by class."""

    pictures: dict[Place, dict[str, list[Box]]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    astray: int = 0  # boxes of pictures that the file does not list
    turned: int = 0  # boxes that were drawn turned

    def notes(self, schema: SceneSchema) -> list[str]:
        """What was not taken as it stood, in words."""
        names = [thing.name for thing in schema.things]
        found = []
        for name, n in self.unknown.items():
            close = difflib.get_close_matches(name.lower(), names, 1, TYPO)
            hint = f"the nearest is {close[0]!r}" if close else f"it has {', '.join(names)}"
            found.append(f"{n} boxes of {name!r}, which the task does not have; {hint}")
        if self.astray:
            found.append(f"{self.astray} boxes of pictures that the file does not list")
        if self.turned:
            found.append(f"{self.turned} turned boxes were taken as the upright ones around them")
        return found

    def values(
        self, schema: SceneSchema, size: tuple[int, int]
    ) -> tuple[dict[Place, Values], Counter[str], Counter[str]]:
        """Of every picture the slots of every thing, the largest first; how many boxes of each thing are beyond what
        the task has at once, and how many had nothing inside a picture of `size` (height, width)."""
        found, crowded, outside = dict[Place, Values](), Counter[str](), Counter[str]()
        for place, there in self.pictures.items():
            found[place] = {}
            for thing in schema.things:
                boxes = [_inside(box, size) for box in there.get(thing.name, ())]
                seen = sorted((box for box in boxes if box), key=lambda b: -b[2] * b[3])
                outside[thing.name] += len(boxes) - len(seen)
                crowded[thing.name] += max(0, len(seen) - thing.count)
                slots: list[list[float] | None] = [list(box) for box in seen[: thing.count]]
                found[place][thing.name] = slots + [None] * (thing.count - len(slots))
        return found, +crowded, +outside


def read_boxes(
    path: str | Path, schema: SceneSchema, size: tuple[int, int], called: Mapping[str, str] | None = None,
    raises: type[Exception] = DataError,
) -> Boxes:  # fmt: skip
    """From a COCO file, or a folder of YOLO texts. `size`: (height, width) of the task's pictures; `called`: the task's
    name of a class that the file calls otherwise, "" to leave it out.

    `raises`: neither of both, no number in a name, pictures of another size.
    """
    names = {_plain(thing.name): thing.name for thing in schema.things}
    names |= {_plain(theirs): ours for theirs, ours in (called or {}).items()}
    path = Path(path)
    if path.is_dir():
        return _yolo(path, names, size, raises)
    if path.suffix.lower() == ".zip":
        raise raises(f"{path}: unpack it first, and name the .json file or the folder in it")
    return _coco(path, names, size, raises)


def _plain(name: str) -> str:
    """How names are compared."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def place_of(name: str, where: str, raises: type[Exception] = DataError) -> Place:
    """The picture that a file name means; `where` names the file it stands in."""
    plain = PurePosixPath(name.replace("\\", "/"))
    found = re.findall(r"frame_?([0-9]+)", plain.stem, re.IGNORECASE) or re.findall(r"[0-9]+", plain.stem)
    if not found or len(found[-1]) > 15:
        raise raises(f"{where}: {name!r:.80} has no number; pictures of a film are frame_000123.png")
    return Place(plain.parent.name, int(found[-1]))


def _add(boxes: Boxes, there: dict[str, list[Box]], names: Mapping[str, str], title: str, box: Box) -> None:
    """One box to its picture, or to what is unknown."""
    thing = names.get(_plain(title))
    if thing is None:
        boxes.unknown[title] += 1
    elif thing:
        there.setdefault(thing, []).append(box)


def _inside(box: Box, size: tuple[int, int]) -> Box | None:
    """The part inside a picture of (height, width)."""
    x, y, w, h = box
    left, right = max(0.0, x - w / 2), min(float(size[1]), x + w / 2)
    top, bottom = max(0.0, y - h / 2), min(float(size[0]), y + h / 2)
    if right - left < LEAST or bottom - top < LEAST:
        return None
    if (left, top, right, bottom) == (x - w / 2, y - h / 2, x + w / 2, y + h / 2):
        return box  # to the bit
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


# ----------------------------------------------------------------------------------------------------
# COCO.


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


def _coco(path: Path, names: Mapping[str, str], size: tuple[int, int], raises: type[Exception]) -> Boxes:
    told: dict[str, Any] = read_json(path, "boxes", raises, FIX, shape=_COCO)
    titles = {c["id"]: c["name"] for c in told["categories"]}
    found, places = Boxes(), dict[int, Place]()
    for image in told["images"]:
        high, wide = image.get("height", size[0]), image.get("width", size[1])
        if (high, wide) != size:
            raise raises(f"{path}: {image['file_name']} is {wide}x{high}, the task's are {size[1]}x{size[0]}")
        place = places[image["id"]] = place_of(image["file_name"], str(path), raises)
        found.pictures.setdefault(place, {})
    for row in told["annotations"]:
        if row["image_id"] not in places:
            found.astray += 1
            continue
        x, y, w, h = map(float, row["bbox"])
        turn = _turn(row)
        if turn:
            found.turned += 1
        box = _upright((x + w / 2, y + h / 2, w, h), turn)
        title = titles.get(row["category_id"], f"class {row['category_id']}")
        _add(found, found.pictures[places[row["image_id"]]], names, title, box)
    return found


def _turn(row: Mapping[str, Any]) -> float:
    """Degrees by which CVAT says that a box is turned."""
    attributes = row.get("attributes")
    turn = attributes.get("rotation", 0) if isinstance(attributes, Mapping) else 0
    return float(turn) % 180 if isinstance(turn, (int, float)) and abs(turn) < 1e6 else 0.0


def _upright(box: Box, degrees: float) -> Box:
    if not degrees:
        return box
    (x, y, w, h), c, s = box, abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    return x, y, w * c + h * s, w * s + h * c


# ----------------------------------------------------------------------------------------------------
# YOLO: a folder with a text for each picture, a line `class x y w h` for each box in shares of the picture, and a file
# that names the classes: `data.yaml`, `obj.names` or `classes.txt`.


_LISTS = {"classes.txt", "train.txt", "val.txt", "valid.txt", "validation.txt", "test.txt", "requirements.txt"}


def _yolo(folder: Path, names: Mapping[str, str], size: tuple[int, int], raises: type[Exception]) -> Boxes:
    titles = _titles(folder, raises)
    found = Boxes()
    texts = [p for p in sorted(folder.rglob("*.txt")) if p.name.lower() not in _LISTS and re.search("[0-9]", p.stem)]
    if not texts:
        raise raises(f"{folder}: no text of a picture in it (frame_000123.txt); {FIX}")
    for path in texts:
        place = place_of(str(path.relative_to(folder)), str(folder), raises)
        if place.film.lower() in ("labels", "train", "val", "valid", "test", "obj_train_data", "obj_valid_data"):
            place = Place("", place.number)  # a folder of the format's own
        there = found.pictures.setdefault(place, {})
        for number, line in enumerate(read_text(path, "boxes", raises).splitlines(), 1):
            if not line.strip():
                continue
            which, box = _line(line, f"{path}, line {number}", raises)
            title = titles.get(which, f"class {which}")
            x, y, w, h = box
            _add(found, there, names, title, (x * size[1], y * size[0], w * size[1], h * size[0]))
    return found


def _line(line: str, where: str, raises: type[Exception]) -> tuple[int, Box]:
    """`class x y w h`, and what some tools add: a confidence or a track."""
    words = line.split()
    try:
        which, (x, y, w, h) = int(words[0]), (float(word) for word in words[1:5])
        good = len(words) <= 6 and which >= 0 and all(-1 <= v <= 2 for v in (x, y, w, h))
    except ValueError:
        good = False
    if not good:
        raise raises(f"{where}: not `class x y w h` in shares of the picture, but {line[:60]!r}; export boxes as YOLO")
    return which, (x, y, w, h)


def _titles(folder: Path, raises: type[Exception]) -> dict[int, str]:
    """What the classes are called, by their numbers."""
    for pattern in ("*.yaml", "*.yml", "*.names", "classes.txt"):
        for path in sorted(folder.rglob(pattern)):
            text = read_text(path, "boxes", raises)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            found = _yaml_names(text) if path.suffix.startswith(".y") else dict(enumerate(lines))
            if found:
                return found
    raise raises(f"{folder}: no file that names the classes: put a classes.txt there, a name a line in their order")


def _yaml_names(text: str) -> dict[int, str]:
    """`names:` of a data.yaml: a list or a table by number, in a line or one below the other."""
    found = re.search(r"^names[ \t]*:[ \t]*(.*(?:\n(?:[ \t]+.*|-.*|[ \t]*))*)", text, re.MULTILINE)
    if not found:
        return {}
    body = re.sub(r"(?m)(^|[ \t])#.*$", "", found[1])
    items = [part.strip() for part in re.split(r"[,\n]", re.sub(r"[\[\]{}]", " ", body)) if part.strip()]
    titles: dict[int, str] = {}
    for at, item in enumerate(items):
        number = re.match(r"([0-9]{1,6})[ \t]*:", item)
        name = item[number.end() :] if number else item.removeprefix("-")
        titles[int(number[1]) if number else at] = name.strip().strip("'\"")
    return titles


# ----------------------------------------------------------------------------------------------------
# Written in either form.


def write_boxes(
    path: str | Path, pictures: Mapping[Place, Mapping[str, Sequence[Sequence[float] | None]]], schema: SceneSchema,
    size: tuple[int, int],
) -> str:  # fmt: skip
    """A COCO file where the name ends in .json, else a new folder of YOLO texts; "COCO" or "YOLO".

    DataError: the folder is not empty.
    """
    path, names = Path(path), [thing.name for thing in schema.things]
    ordered = sorted(pictures.items())
    if path.suffix.lower() == ".json":
        atomic_write(path, (json.dumps(_as_coco(ordered, names, size)) + "\n").encode())
        return "COCO"
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} is there already; name a new folder, or a file that ends in .json")
    with whole(path) as partial:
        partial.mkdir()
        atomic_write(partial / "classes.txt", ("\n".join(names) + "\n").encode())
        for place, values in ordered:
            lines = [
                f"{names.index(name)} {x / size[1]:.9g} {y / size[0]:.9g} {w / size[1]:.9g} {h / size[0]:.9g}\n"
                for name, (x, y, w, h) in _boxes(values)
            ]
            target = partial / place.film / f"frame_{place.number:06d}.txt"
            target.parent.mkdir(exist_ok=True)
            atomic_write(target, "".join(lines).encode())
    return "YOLO"


def _boxes(values: Mapping[str, Sequence[Sequence[float] | None]]) -> Iterator[tuple[str, Sequence[float]]]:
    for name, slots in values.items():
        for box in slots:
            if box is not None:
                yield name, box


def _as_coco(ordered: Sequence[tuple[Place, Any]], names: list[str], size: tuple[int, int]) -> dict[str, Any]:
    images, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for k, (place, values) in enumerate(ordered, 1):
        name = str(PurePosixPath(place.film) / f"frame_{place.number:06d}.png")
        images.append({"id": k, "file_name": name, "width": size[1], "height": size[0]})
        for title, (x, y, w, h) in _boxes(values):
            rows.append({
                "id": len(rows) + 1, "image_id": k, "category_id": names.index(title) + 1,
                "bbox": [x - w / 2, y - h / 2, w, h], "area": w * h, "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    return {"images": images, "annotations": rows, "categories": categories}
