"""Pictures that nobody simulates: a camera, a stream, a film. `fps` is how many a second the task decides on.

There is no world to step here: what is seen is recorded (`triune record`), looked at (`triune eval --source`) or
decided on as it comes (`triune run`). What reads the pictures is `triune/play/film.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from envs.env import Backend, Rules
from envs.errors import EnvError

LEAST_HZ, MOST_HZ = 0.1, 1000.0


@dataclass(frozen=True)
class Camera(Rules):
    """Every picture is decided on; there are `hz` of them a second."""

    hz: float = 30.0

    def __post_init__(self) -> None:
        number = isinstance(self.hz, (int, float)) and not isinstance(self.hz, bool)
        if not number or not LEAST_HZ <= self.hz <= MOST_HZ:  # a bundle brings its own
            raise EnvError(f"fps is a number of pictures a second from {LEAST_HZ:g} to {MOST_HZ:g}, got {self.hz!r}")

    frame_hz = property(lambda self: float(self.hz))
    constants = property(lambda self: {"FRAMESKIP": 1, "STICKY": 0.0, "FPS": float(self.hz)})

    def under(self, options: Mapping[str, Any]) -> Rules:
        """At the task's own rate."""
        return replace(self, hz=options.get("fps", self.hz))

    @property
    def about(self) -> str:
        """In words."""
        return f"one decision per picture of a camera, {self.hz:g} a second; nobody tells a score"


BACKEND = Backend(
    "",  # nobody simulates it
    Camera,
    {"live": Camera("live")},
    {"fps": (int, float)},
    packages={"cv2": "opencv-python"},
)
