"""Minari: an offline data set that `minari.load_dataset` reads, without loss (no JPEG).

Knows that package. An observation is the scene, and the frame where every frame of the game is stored. Minari wants one
observation more than actions: a recording ends with its last decision, so its last observation stands twice.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.datasets.export_source import Part, Source
from data_flywheel.errors import DataError

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

    from envs.spec import load_spec

    spec = load_spec(source.task)
    scene = gym.spaces.Box(-np.inf, np.inf, (source.schema.size,), np.float32)
    spaces: dict[str, Any] = {"scene": scene}
    if framed:
        spaces["frame"] = gym.spaces.Box(0, 255, (spec.env.height, spec.env.width, 3), np.uint8)
    actions = gym.spaces.Discrete(len(spec.env.actions))
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

    n, scores = len(part.steps), part.columns["score"].astype(np.int64)
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
        seed=part.seed, observations=observations, actions=part.actions.astype(np.int64),
        rewards=np.diff(scores, prepend=0).astype(np.float64), terminations=over & finished,
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
