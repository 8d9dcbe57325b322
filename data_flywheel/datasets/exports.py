"""Recordings and data sets for other people's tools: COCO, Minari, Parquet."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import KeptFrames
from data_flywheel.episodes.recording import FRAMES, Recording
from data_flywheel.episodes.recording import MANIFEST as RECORDING
from data_flywheel.errors import DataError
from data_flywheel.labels.label import values_of
from data_flywheel.splits import split_of
from data_flywheel.storage.dataset import MANIFEST, Dataset, Manifest, Shard
from data_flywheel.storage.files import DiskFull, atomic_write, canonical_json
from envs.actions import Box
from envs.writing import whole
from perception.scene import SLOT_FIELDS, SceneSchema

# ----------------------------------------------------------------------------------------------------
# What is exported: the games of a recording, or the shards of a data set, in one form.
#
# A damaged episode or shard is named in `problems` and left out; the rest is exported.


U8 = NDArray[np.uint8]
Pictures = Callable[[], Iterable[tuple[int, U8]]]  # row and uint8[H, W, 3] (a view that the next one overwrites)


@dataclass(frozen=True)
class Part:
    """One game or shard of N rows. `steps`: of the game (of a shard: its rows). `columns`: more of each row.

    In a game, `actions[i]` was decided at row i; in a shard it led to row i. `kept`: rows that have a picture.
    """

    name: str
    seed: int | None
    split: str  # "" where the seed must not teach
    meta: dict[str, Any]
    steps: NDArray[np.int64]
    scenes: NDArray[np.float32]
    actions: NDArray[Any]  # uint8[N], or float32[N, n]
    columns: dict[str, Any] = field(repr=False)
    kept: int = 0
    pictures: Pictures = field(default=lambda: (), repr=False)


class Source:
    """A recording folder or a data set folder, opened by what lies in it."""

    def __init__(self, folder: str | Path, place: str | Path | None = None) -> None:
        """`place`: the task's folder, where it is not found by its name. DataError: neither is there, a damaged
        manifest."""
        self.folder, self.place, self.problems = Path(folder), place, list[str]()
        if (self.folder / RECORDING).exists():
            recording = Recording(folder)
            self.task, self.schema, self._parts = recording.task, recording.schema, _games(recording, self.problems)
            self.kind = "recording"
        elif (self.folder / MANIFEST).exists():
            dataset = Dataset(folder)
            self.task, self.schema = dataset.manifest.task, _schema(dataset.manifest, self.folder, place)
            self._parts, self.kind = _shards(dataset, self.problems), "data set"
        else:
            raise DataError(
                f"{folder}: neither a recording nor a data set; make one with `triune eval TASK --record {folder}` "
                "or `triune collect TASK`"
            )

    def __iter__(self) -> Iterator[Part]:
        """Every part that can be read, once."""
        return self._parts


def _games(recording: Recording, problems: list[str]) -> Iterator[Part]:
    for name in recording.names():
        try:
            episode, frames = recording.episode(name), recording.frames(name)
            if frames is not None and len(frames) and int(frames.steps.max()) >= len(episode):
                raise DataError(f"{recording.path(name, FRAMES)}: frames of steps that the game lacks; record it again")
        except DataError as error:
            problems.append(str(error))
            continue
        yield _game(name, episode, frames)
    problems += [text for text in recording.problems if text not in problems]


def _game(name: str, episode: Episode, frames: KeptFrames | None) -> Part:
    columns = {
        "proposed": episode.proposed,
        "reason": [episode.reason_table[i] for i in episode.reasons],
        "overruled": [episode.overruled_table[i] for i in episode.overruled],
        "fault": [episode.fault_table[i] for i in episode.faults],
        "score": episode.scores,
        "lives": episode.lives,
    }
    seed, kept = episode.meta.get("seed"), len(frames) if frames is not None else 0
    pictures: Pictures = (lambda: frames) if frames is not None else tuple
    if episode.frames is not None:  # of a film
        own, kept = episode.frames, len(episode)
        pictures = lambda: ((step, own.rgb(step)) for step in range(len(own)))  # noqa: E731
    steps = np.arange(len(episode))
    return Part(name, seed, _split(seed), episode.meta, steps, episode.scenes, episode.actions, columns, kept, pictures)


def _shards(dataset: Dataset, problems: list[str]) -> Iterator[Part]:
    for number in dataset.numbers():
        try:
            shard = dataset.read(number)
        except DataError as error:
            problems.append(str(error))
            continue
        yield _shard(shard, dataset.manifest)


def _shard(shard: Shard, manifest: Manifest) -> Part:
    name = f"{manifest.task}-seed{shard.seed}-shard{shard.number}"  # as `DatasetFrames` names it
    rows, columns = np.arange(len(shard)), dict(shard.truth)
    meta = {"task": manifest.task, "teacher": manifest.teacher, "triune": manifest.triune, **shard.meta}

    def pictures() -> Iterator[tuple[int, U8]]:
        return ((row, shard.frames.rgb(row)) for row in range(len(shard)))

    return Part(name, shard.seed, shard.split, meta, rows, shard.scenes, shard.actions, columns, len(shard), pictures)


def _split(seed: int | None) -> str:
    try:
        return split_of(seed) if seed is not None else ""
    except DataError:
        return ""


def _schema(manifest: Manifest, folder: Path, place: str | Path | None) -> SceneSchema:
    """Of the manifest, whose JSON is sorted: the order of things is found again by the fingerprint."""
    from envs.errors import EnvError
    from envs.spec import load_spec

    schema = SceneSchema.from_config(manifest.schema)
    with suppress(EnvError):  # a task that is not here is told below
        if schema.fingerprint != manifest.fingerprint:
            schema = SceneSchema.from_config(load_spec(place or manifest.task).scene)
    if schema.fingerprint != manifest.fingerprint:
        raise DataError(f"{folder}: its scene schema is not that of {manifest.task} any more; collect anew")
    return schema


# ----------------------------------------------------------------------------------------------------
# COCO: a folder of PNG files and `instances.json` with a box for every thing that is seen.
#
# Things become categories; grids and gauges, which COCO has no place for, stand in fields of the images; `score` is
# how sure the detector was. Frames without a stored picture have no image.


COCO_FILE = "instances.json"


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
    atomic_write(out / COCO_FILE, canonical_json(record).encode())
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
    atomic_write(path, data.tobytes())


# ----------------------------------------------------------------------------------------------------
# Minari: an offline data set that `minari.load_dataset` reads, without loss (no JPEG).
#
# An observation is the scene, and the frame where every frame of the game is stored. Minari wants one observation
# more than actions: a recording ends with its last decision, so its last observation stands twice.


_HOME = "MINARI_DATASETS_PATH"


def dataset_id(task: str) -> str:
    """The name under which the export is loaded."""
    return f"triune/{task}-v0"


def export_minari(source: Source, out: Path) -> dict[str, Any]:
    """Write into `out`, for `MINARI_DATASETS_PATH=out`; the id to load, counts of episodes and steps.

    DataError: a data set (its frames are no sequence), or games of which only some have all their frames.
    """
    if source.kind != "recording":
        raise DataError(
            f"{source.folder}: Minari holds games, not single frames; use --to coco or parquet, or a recording"
        )
    with _home(out), warnings.catch_warnings():
        import minari

        warnings.simplefilter("ignore", UserWarning)  # about an e-mail address and environments: there are none

        parts = iter(source)
        first = next(parts, None)
        if first is None:
            raise DataError(
                f"{source.folder}: nothing in it can be read: {'; '.join(source.problems) or 'it is empty'}"
            )
        framed = _whole(first)
        written = minari.create_dataset_from_buffers(
            dataset_id(source.task), _buffers(first, parts, framed, source.problems), data_format="hdf5",
            jpeg_encoding=False, **_spaces(source, first, framed), description=f"{source.task}, recorded by Triune",
            author="Triune", code_permalink="", algorithm_name=str(first.meta.get("policy") or ""),
        )  # fmt: skip
        episodes = int(written.storage.total_episodes)
        return {"id": dataset_id(source.task), "episodes": episodes, "steps": int(written.storage.total_steps)}


def _whole(part: Part) -> bool:
    return part.kept == len(part.steps)


def _spaces(source: Source, part: Part, framed: bool) -> dict[str, Any]:
    import gymnasium as gym

    from envs.errors import EnvError
    from envs.spec import load_spec

    try:
        spec = load_spec(source.place or source.task)
    except EnvError as error:
        raise DataError(f"{error}; for the actions of {source.task}, name its folder: --task FOLDER") from None
    if spec.env.actions.shape != part.actions.shape[1:]:
        raise DataError(f"{source.folder} has other actions than {spec.folder}; name the right one: --task FOLDER")
    scene = gym.spaces.Box(-np.inf, np.inf, (source.schema.size,), np.float32)
    spaces: dict[str, Any] = {"scene": scene}
    if framed:
        spaces["frame"] = gym.spaces.Box(0, 255, (spec.env.height, spec.env.width, 3), np.uint8)
    told, actions = spec.env.actions, gym.spaces.Discrete(len(spec.env.actions.names))
    if isinstance(told, Box):
        actions = gym.spaces.Box(np.array(told.low, np.float32), np.array(told.high, np.float32))
    return {"observation_space": gym.spaces.Dict(spaces), "action_space": actions}


def _buffers(first: Part, rest: Iterator[Part], framed: bool, problems: list[str]) -> Iterator[Any]:
    """One game at a time, so that memory holds one."""
    from itertools import chain

    for part in chain([first], rest):
        if not len(part.steps):
            continue
        if framed and not _whole(part):
            problems.append(f"{part.name}: {part.kept} of {len(part.steps)} frames are stored; left out")
            continue
        yield _buffer(part, framed)


def _buffer(part: Part, framed: bool) -> Any:
    from minari.data_collector import EpisodeBuffer

    n, scores = len(part.steps), part.columns["score"].astype(np.float64)
    observations: dict[str, Any] = {"scene": np.concatenate([part.scenes, part.scenes[-1:]])}
    if framed:
        frames = [rgb.copy() for _, rgb in part.pictures()]
        observations["frame"] = np.stack([*frames, frames[-1]])
    over = np.zeros(n, bool)
    over[-1] = True
    finished = bool(part.meta.get("finished", True))
    texts = {name: part.columns[name] for name in ("reason", "overruled", "fault")}
    numbers = {name: part.columns[name] for name in ("proposed", "score", "lives")}
    return EpisodeBuffer(
        seed=part.seed, observations=observations, rewards=np.diff(scores, prepend=0.0),
        actions=part.actions.astype(np.int64) if part.actions.ndim == 1 else part.actions, terminations=over & finished,
        truncations=over & (not finished), infos={**texts, **numbers},
    )  # type: ignore[arg-type]  # fmt: skip


@contextmanager
def _home(out: Path) -> Iterator[None]:
    """Minari finds its folder by the environment."""
    before = os.environ.get(_HOME)
    out.mkdir(parents=True, exist_ok=True)
    os.environ[_HOME] = str(out.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HOME]
        else:
            os.environ[_HOME] = before


# ----------------------------------------------------------------------------------------------------
# Parquet: `steps.parquet`, a row for every step (of a data set: every labelled frame), bit for bit.
#
# Each number of the scene is a column under its name in the schema; the cells of a grid are one list. The file's
# own metadata holds task, schema and the facts of every episode. Pictures are not in it.


PARQUET_FILE = "steps.parquet"


def export_parquet(source: Source, out: Path) -> dict[str, int]:
    """Write into `out`; counts of episodes and rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metas, rows, writer = dict[str, Any](), 0, None
    with whole(out / PARQUET_FILE, DiskFull) as partial:
        try:
            for part in source:
                table = pa.table(dict(_columns(part, source.schema)))
                if writer is None:
                    writer = pq.ParquetWriter(partial, table.schema)
                writer.write_table(table)
                metas[part.name], rows = part.meta, rows + table.num_rows
            if writer is None:
                raise DataError(
                    f"{source.folder}: nothing in it can be read: {'; '.join(source.problems) or 'it is empty'}"
                )
            facts = {"task": source.task, "schema": source.schema.to_config(), "episodes": metas}
            writer.add_key_value_metadata({"triune": _json(facts)})
        finally:
            if writer is not None:
                writer.close()
    return {"episodes": len(metas), "rows": rows}


def _columns(part: Part, schema: SceneSchema) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa

    n = len(part.steps)
    yield "episode", pa.array([part.name] * n, pa.string()).dictionary_encode()
    yield "seed", pa.array([part.seed] * n, pa.int64())
    yield "split", pa.array([part.split] * n, pa.string())
    yield "step", pa.array(part.steps, pa.int64())
    yield "action", _column(part.actions)
    for name, values in part.columns.items():
        if name == "score":  # of one kind in all games, also where one of them happens to count in whole numbers
            values = values.astype(np.float64)
        yield name, _column(values) if isinstance(values, np.ndarray) else pa.array(values, pa.string())
    columns = np.ascontiguousarray(part.scenes.T)
    for thing in schema.things:
        at = schema.slot(thing.name).start
        for i in range(at, at + thing.count * len(SLOT_FIELDS)):
            yield schema.names[i], pa.array(columns[i], pa.float32())
    for grid in schema.grids:
        cells = np.ascontiguousarray(part.scenes[:, schema.grid(grid.name)]).reshape(-1)
        yield grid.name, pa.FixedSizeListArray.from_arrays(pa.array(cells, pa.float32()), grid.rows * grid.cols)
    for gauge in schema.gauges:
        yield gauge.name, pa.array(columns[schema.gauge(gauge.name)], pa.float32())
    for reading in schema.readings:
        for i in range(schema.size)[schema.slot(reading.name)]:
            yield schema.names[i], pa.array(columns[i], pa.float32())


def _column(values: NDArray[Any]) -> Any:
    """One value a row, or the bytes of a row of bytes, or a list of fixed size."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    if values.dtype == np.uint8:
        return pa.array([row.tobytes() for row in values], pa.binary())
    rows = np.ascontiguousarray(values.reshape(len(values), -1))
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _json(value: dict[str, Any]) -> str:
    import json

    return canonical_json({**value, "schema": json.dumps(value["schema"])})  # as text: the order of things counts
