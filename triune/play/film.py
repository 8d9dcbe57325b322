"""Pictures that were filmed: a video file or a camera, at a rate of its own, some of them perhaps beyond reading.

Positions, speeds and the policy's counting are in steps, so what decides must see as many pictures a second as it was
made for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from envs.files import open_file
from triune.errors import TriuneError

NEAR = 0.05  # of the control rate: what a clock may be off (29.97 for 30)
MOST_PIXELS = 2**25  # of a picture: 8K
PATIENCE = 600  # pictures in a row that cannot be decoded before the rest of a file is given up


class Film:
    """Iterate: every `every`-th picture, RGB uint8[H, W, 3]. `rate`: pictures a second, None where the source does not
    say; `undecodable`: those that could not be read so far, at the end also those that a file promises and lacks."""

    def __init__(self, source: str, every: int = 1) -> None:
        """TriuneError: no such file or camera, or none that OpenCV reads."""
        camera = source.isascii() and source.isdigit() and len(source) <= 4
        if not camera:
            with open_file(Path(source), "video", TriuneError) as file:  # OpenCV would wait for a pipe
                if b"\0" not in file.read(4096):  # a play list, which may name any other file or address
                    raise TriuneError(f"{source} cannot be opened: it is text or empty; give the video file itself")
        self._capture = cv2.VideoCapture(int(source) if camera else source)
        if not self._capture.isOpened():
            what = f"camera {source}" if camera else source
            raise TriuneError(f"{what} cannot be opened; is it there, and in a format that OpenCV reads?")
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            raise TriuneError(f"{source} has pictures of {width:g} x {height:g}, more than 8K; scale it down")
        self.source, self.every, self.undecodable = source, every, 0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < math.inf else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = int(count) if 0 < count < math.inf and not camera else 0

    def __iter__(self) -> Iterator[np.ndarray]:
        at = shown = failed = 0
        while failed < PATIENCE and (shown < self.promised or not failed):
            good, picture = self._read(wanted=at % self.every == 0)
            at += 1
            if not good:
                failed += 1
                continue
            self.undecodable, failed, shown = self.undecodable + failed, 0, shown + 1
            if picture is not None:
                yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        self.undecodable = max(self.undecodable, self.promised - shown)

    def _read(self, wanted: bool) -> tuple[bool, np.ndarray | None]:
        """Go on by one picture: whether there was one, and it, when it is `wanted`."""
        try:
            return self._capture.read() if wanted else (self._capture.grab(), None)
        except cv2.error:
            return False, None

    def close(self) -> None:
        """Let the file or camera go."""
        self._capture.release()


def check_rate(rate: float | None, control_hz: float, every: int | None, source: str) -> str:
    """What to warn of, "" for nothing: of `rate` pictures a second every `every`-th is looked at, by what decides
    `control_hz` times a second. TriuneError when these differ and nobody chose `every`."""
    needs = f"the bundle decides {control_hz:.4g} times a second"
    if rate is None:
        return f"{source} does not say its rate; {needs}, so give it as many pictures a second"
    if abs(rate / (every or 1) / control_hz - 1) <= NEAR:
        return ""
    shows = f"{source} shows {rate:.4g} pictures a second"
    if every:
        return f"{shows}, {rate / every:.4g} of them are looked at, but {needs}: what it says of speeds is not true"
    apart = max(1, round(rate / control_hz))
    if apart == 1:
        fix = f"export a bundle for a protocol of that rate, or take the pictures as they are: --every {apart}"
    else:
        fix = f"take one of {apart} pictures, {rate / apart:.4g} a second: --every {apart}"
    raise TriuneError(f"{shows}, {needs}; {fix}")


def fitted(frame: np.ndarray, shape: tuple[int, ...], how: str | None, source: str) -> np.ndarray:
    """The frame in the size that the detector was trained on."""
    if frame.shape == shape:
        return frame
    (height, width, _), (high, wide, _) = shape, frame.shape
    if how is None:
        raise TriuneError(
            f"{source} gives frames of {wide}x{high}, the detector reads {width}x{height}; add --fit letterbox "
            "(keeps the proportions, black borders) or --fit stretch"
        )
    scale = min(height / high, width / wide)
    h, w = (height, width) if how == "stretch" else (max(1, round(high * scale)), max(1, round(wide * scale)))
    picture = cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA if h * w < high * wide else cv2.INTER_LINEAR)
    out = np.zeros(shape, np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = picture
    return out
