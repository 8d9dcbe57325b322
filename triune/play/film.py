"""Pictures that were filmed: a video file, a folder of pictures, a camera or a stream, whatever form they have there.

Positions, speeds and the policy's counting are in steps, so what decides must see as many pictures a second as it was
made for. Everything is read with OpenCV, which playing needs anyway.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from envs.files import open_file, read_file
from triune.errors import TriuneError

NEAR = 0.05  # of the control rate: what a clock may be off (29.97 for 30)
MOST_PIXELS = 2**25  # of a picture: 8K
PATIENCE = 600  # pictures in a row that cannot be decoded before the rest of a file is given up
PROBED, UNEVEN = 90, 1.7  # pictures whose times are compared; how many times the usual step a variable rate has
OPEN_MS, READ_MS = 5000, 5000  # what a stream may take to open, and to send a picture
STREAMS = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt", "rtp")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


class Film:
    """Iterate: every `every`-th picture, RGB uint8[H, W, 3].

    rate         pictures a second, None where the source does not say
    live         whether it comes as it happens: a camera or a stream
    number, at   of the last picture: its place in the source, and its second there (of a live one as the source says)
    undecodable  those that could not be read so far, at the end also those that a file promises and lacks
    variable     of a file: whether its pictures are unevenly spaced; with `hz` they are taken so often by their times
    """

    def __init__(
        self, source: str, every: int = 1, hz: float | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """`hz`, `size` (width, height): what a camera is asked for. TriuneError: nothing there, or nothing that
        OpenCV reads; a play list, which may name any other file or address."""
        self.source, self.every, self.undecodable = told(source), every, 0
        self.number, self.at, self.variable, self.promised = -1, 0.0, False, 0
        device, scheme = _device(source), urlsplit(source).scheme if "://" in source else ""
        self._hz = hz
        self.live, self._files = device is not None or bool(scheme), list[Path]()
        if scheme and scheme.lower() not in STREAMS:
            raise TriuneError(f"{self.source}: {scheme}:// is no stream that is read; there are {', '.join(STREAMS)}")
        if not self.live and os.path.isdir(source):
            self._files, self.rate = _pictures(Path(source)), None
            self.promised = len(self._files)
            return
        if not self.live:
            with open_file(Path(source), "video", TriuneError) as file:  # OpenCV would wait for a pipe
                if b"\0" not in file.read(4096):
                    raise TriuneError(f"{source} cannot be opened: it is text or empty; give the video file itself")
        self._capture = _open(source, device, scheme)
        if not self._capture.isOpened():
            what = f"camera {device}" if device is not None else self.source
            raise TriuneError(f"{what} cannot be opened; is it there, and in a format that OpenCV reads?")
        if device is not None and size and hz:
            for key, value in ((cv2.CAP_PROP_FRAME_WIDTH, size[0]), (cv2.CAP_PROP_FRAME_HEIGHT, size[1])):
                self._capture.set(key, value)
            self._capture.set(cv2.CAP_PROP_FPS, hz * every)
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            raise TriuneError(f"{self.source} has pictures of {width:g} x {height:g}, more than 8K; scale it down")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < math.inf else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = int(count) if 0 < count < math.inf and not self.live else 0
        if not self.live and hz and uneven(_times(source)):
            self.variable, self.rate = True, hz * every

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._files:
            return self._folder()
        return self._steady() if self.variable else self._film()

    def _film(self) -> Iterator[np.ndarray]:
        at = shown = failed = 0
        while failed < PATIENCE and (shown < self.promised or not failed):
            good, picture = self._read(wanted=at % self.every == 0)
            at += 1
            if not good:
                failed += 1
                continue
            self.undecodable, failed, shown = self.undecodable + failed, 0, shown + 1
            if picture is not None:
                self.number, self.at = at - 1, self._second(at - 1)
                yield rgb(picture, self.source)
        self.undecodable = max(self.undecodable, self.promised - shown)

    def _steady(self) -> Iterator[np.ndarray]:
        """`hz` pictures a second: of each moment the newest one that there was by then."""
        assert self._hz
        step, tick = 1 / self._hz, 0
        self.every, before, first = 1, None, None
        for picture in self._film():
            number, at = self.number, self.at
            first = at if first is None else first
            while before is not None and tick * step < at - first - step / 2:
                self.number, self.at = before[1], first + tick * step
                yield before[0]
                tick += 1
            before = picture, number
        if before is not None:
            self.number, self.at = before[1], (first or 0.0) + tick * step
            yield before[0]

    def _folder(self) -> Iterator[np.ndarray]:
        for number, path in enumerate(self._files):
            if number % self.every:
                continue
            picture = _decoded(read_file(path, "picture", TriuneError))
            if picture is None:
                self.undecodable += 1
                continue
            if picture.shape[0] * picture.shape[1] > MOST_PIXELS:
                raise TriuneError(f"{path} is a picture of more than 8K; scale it down")
            self.number, self.at = number, number / (self._hz or 30.0)
            yield rgb(picture, str(path))

    def _second(self, number: int) -> float:
        told_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if told_ms > 0 and math.isfinite(told_ms):
            return float(told_ms) / 1000
        return number / self.rate if self.rate else 0.0

    def _read(self, wanted: bool) -> tuple[bool, np.ndarray | None]:
        """Go on by one picture: whether there was one, and it, when it is `wanted`."""
        try:
            return self._capture.read() if wanted else (self._capture.grab(), None)
        except cv2.error:
            return False, None

    def close(self) -> None:
        """Let the file or camera go."""
        if not self._files:
            self._capture.release()


def told(source: str) -> str:
    """The source for logs and records: an address without the password that it may carry."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", source)


def _device(source: str) -> int | None:
    """The number of a camera: 0, or /dev/video0."""
    found = re.fullmatch(r"(?:/dev/video)?([0-9]{1,4})", source, re.ASCII)
    return int(found[1]) if found else None


def _open(source: str, device: int | None, scheme: str) -> cv2.VideoCapture:
    if scheme:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    return cv2.VideoCapture(source if device is None else device)


def _times(path: str) -> list[float]:
    """The times of a file's first pictures in ms, as far as it tells them."""
    capture, found = cv2.VideoCapture(path), list[float]()
    while len(found) < PROBED and capture.grab():
        found.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
    capture.release()
    return found


def uneven(times: Sequence[float]) -> bool:
    """Whether pictures at these times come at a variable rate."""
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) > 1 else 0.0
    return usual > 0 and bool((steps > UNEVEN * usual).any() or (steps < usual / UNEVEN).any())


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names; TriuneError when there is none."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.name[0] != "."]
    if not found:
        raise TriuneError(f"{folder} has no pictures ({', '.join(PICTURES)}); name a folder of them, or a video file")
    return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in re.split("([0-9]+)", path.name)])


def _decoded(data: bytes) -> np.ndarray | None:
    """A picture's file as OpenCV holds it: turned as its camera says, 8 or 16 bits, transparent parts on black."""
    raw = np.frombuffer(data, np.uint8)
    try:
        picture = cv2.imdecode(raw, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if len(raw) else None
        if picture is None or data[:8] != b"\x89PNG\r\n\x1a\n" and data[8:12] != b"WEBP":
            return picture
        whole = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)  # with its transparency, which the other reading leaves out
    except cv2.error:
        return None
    return picture if whole is None or whole.ndim != 3 or whole.shape[2] != 4 else whole


def rgb(picture: np.ndarray, source: str) -> np.ndarray:
    """RGB uint8[H, W, 3] of what OpenCV gives: grey, BGR or BGRA, of 8 or 16 bits. TriuneError names anything else."""
    if picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    channels = 1 if picture.ndim == 2 else picture.shape[2] if picture.ndim == 3 else 0
    if picture.dtype != np.uint8 or channels not in (1, 3, 4):
        what = f"{picture.dtype} numbers" if picture.dtype != np.uint8 else f"{channels} channels"
        raise TriuneError(f"{source} gives pictures of {what}; pictures are grey, RGB or RGBA of 8 or 16 bits")
    if channels == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if channels == 1:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    colour, alpha = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB), picture[..., 3:]
    return (colour.astype(np.uint16) * alpha // 255).astype(np.uint8) if int(alpha.min()) < 255 else colour


def check_rate(rate: float | None, control_hz: float, every: int | None, source: str, who: str = "the bundle") -> str:
    """What to warn of, "" for nothing: of `rate` pictures a second every `every`-th is looked at, by what (`who`)
    decides `control_hz` times a second. TriuneError when these differ and nobody chose `every`."""
    needs = f"{who} decides {control_hz:.4g} times a second"
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
