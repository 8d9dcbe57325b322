"""Replays: the frames of a recorded episode again, with what was seen and decided drawn on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from data_flywheel.episodes.episode import Episode
from envs.writing import whole
from triune.errors import TriuneError
from triune.play.loop import frames_of
from triune.report.drawing import Caption, Painter

if TYPE_CHECKING:
    from triune.console import Console
    from triune.play.loop import Rollout, Step
    from triune.system import System

_UNWRITTEN = "{} could not be written; is there space, and may this user write there?"
LONGEST = 600  # frames of an animated WebP, which are all in memory at once


def caption(episode: Episode, step: int, title: str) -> Caption:
    """The words of a step. The score shown is the one after it."""
    e = episode
    action, proposed = (int(a[step]) if a.ndim == 1 else a[step] for a in (e.actions, e.proposed))
    return Caption(
        title, step, len(e), e.scores[step].item(), int(e.lives[step]), action, proposed,
        e.reason(step), e.overruled_by(step), e.fault(step),
    )  # fmt: skip


def pictures(system: System, episode: Episode, steps: Iterable[int], painter: Painter) -> Iterator[np.ndarray]:
    """The drawn picture of each of `steps` (ascending)."""
    wanted = sorted(set(steps))
    chosen, last = set(wanted), wanted[-1] if wanted else -1
    title = f"{episode.meta['task']}  {episode.meta['protocol']}  seed {episode.meta['seed']}"
    for i, frame in enumerate(frames_of(system, episode, last)):
        if i in chosen:
            scene = system.schema.read(episode.scenes[i])
            yield painter.paint(frame, scene, caption(episode, i, title))


def stride_of(control_hz: float) -> int:
    """Steps between pictures, so that a replay has at most 30 a second."""
    return max(1, round(control_hz / 30))


def choose_steps(episode: Episode, stride: int, most: int = LONGEST) -> list[int]:
    """All steps if they fit, else the opening, a piece of the middle, and what led to the last change of score."""
    steps = list(range(0, len(episode), stride))
    if len(steps) <= most:
        return steps
    changed = np.flatnonzero(np.diff(episode.scores)) + 1
    end = min(len(steps), (int(changed[-1]) if len(changed) else len(episode)) // stride + most // 20)
    opening, closing = most * 4 // 10, most * 4 // 10
    closing_from = max(opening, end - closing)
    middle = (opening + closing_from) // 2
    chosen = {*range(opening), *range(closing_from, max(end, closing_from)), *range(middle, middle + most // 5)}
    return [steps[i] for i in sorted(chosen) if i < len(steps)][:most]


def write_replay(
    system: System, episode: Episode, path: Path, console: Console | None = None, most: int = LONGEST,
    painter: Painter | None = None,
) -> str:  # fmt: skip
    """Write `.webp` (at most `most` pictures) or `.mp4` (all steps); what was left out, in words."""
    control_hz = system.protocol(episode.meta["protocol"]).control_hz
    stride, movie = stride_of(control_hz), path.suffix.lower() == ".mp4"
    steps = list(range(0, len(episode), stride)) if movie else choose_steps(episode, stride, most)
    if not steps:
        raise TriuneError("the episode has no steps to show")
    painter = painter or Painter(system.schema, system.spec.env.actions)
    images = _counted(pictures(system, episode, steps, painter), len(steps), console)
    rate = control_hz / stride
    write_mp4(path, images, rate) if movie else write_webp(path, list(images), rate)
    shown = len(steps) * stride
    return f"{len(steps)} pictures" + (
        "" if shown >= len(episode) else f" of {len(episode)} steps; .mp4 shows them all"
    )


def write_webp(path: Path, images: list[np.ndarray], rate: float, quality: int = 101) -> None:
    """Animated WebP of RGB images, lossless by default; `rate` pictures a second."""
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(image, cv2.COLOR_RGB2BGR) for image in images]
    animation.durations = [round(1000 / rate)] * len(images)
    with whole(path, suffix=".webp") as partial:
        if not cv2.imwriteanimation(str(partial), animation, [cv2.IMWRITE_WEBP_QUALITY, quality]):
            raise TriuneError(_UNWRITTEN.format(path))


def write_mp4(path: Path, images: Iterable[np.ndarray], rate: float) -> None:
    """MPEG-4 of RGB images."""
    writer: Any = None
    with whole(path, suffix=".mp4") as partial:
        for image in images:
            if writer is None:
                size = (image.shape[1], image.shape[0])
                writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise TriuneError(f"this OpenCV cannot write {path}; use a .webp file")
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if writer is None:
            raise TriuneError(f"{path}: there is no picture to show")
        writer.release()
        if not cv2.VideoCapture(str(partial)).isOpened():  # its index comes last: was there room?
            raise TriuneError(_UNWRITTEN.format(path))


def _counted(images: Iterator[np.ndarray], total: int, console: Console | None) -> Iterator[np.ndarray]:
    for i, image in enumerate(images):
        if console:
            console.progress(i + 1, total, "drawing the replay")
        yield image
    if console:
        console.clear()


class Window:
    """A live view at the game's own pace. Needs a display."""

    def __init__(self, rollout: Rollout) -> None:
        spec = rollout.system.spec
        self.painter = Painter(rollout.schema, spec.env.actions)
        self.title = f"triune: {spec.name}"
        self.name = f"{spec.name}  {rollout.protocol.name}"
        self.stride = stride_of(rollout.protocol.control_hz)
        self.wait = max(1, round(1000 * self.stride / rollout.protocol.control_hz))

    def show(self, step: Step) -> None:
        """One step; score and lives stay behind the wall until the end, so they are not shown."""
        if step.index % self.stride:
            return
        d = step.decision
        overruled = ", ".join(d.overruled_by)
        words = Caption(self.name, step.index, step.index, 0, 0, d.action, d.proposed, d.reason, overruled, d.fault)
        image = self.painter.paint(step.frame, step.scene, words)
        cv2.imshow(self.title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(self.wait) in (27, ord("q")):
            raise KeyboardInterrupt("the window was closed")
