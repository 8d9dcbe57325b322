"""What everybody may know of the Atari backend: its protocols. The emulator itself is behind the wall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from envs.env import Backend, Rules, nearest
from envs.errors import EnvError

FRAME_HZ = 60.0
MOST_FRAMES = 108_000  # half an hour, as everybody plays them


@dataclass(frozen=True)
class Protocol(Rules):
    """`frameskip` emulated frames per agent step; `sticky` is the chance, per emulated frame, that the emulator
    repeats its previous action; up to `noop_max` no-op frames at the start; `max_frames` emulated frames at most."""

    frameskip: int
    sticky: float
    noop_max: int
    max_frames: int = MOST_FRAMES

    def __post_init__(self) -> None:
        whole = {"frameskip": (1, 1000), "noop_max": (0, 1000), "max_frames": (1, 10**9)}
        good = all(type(v := getattr(self, key)) is int and low <= v <= high for key, (low, high) in whole.items())
        if not good or type(self.sticky) not in (int, float) or not 0 <= self.sticky < 1:  # a bundle brings its own
            raise EnvError(f"protocol {self.name}: frameskip from 1, noop_max from 0, sticky below 1, got {vars(self)}")

    frames_per_step = property(lambda self: self.frameskip)
    frame_hz = property(lambda self: FRAME_HZ)
    frame_limit = property(lambda self: self.max_frames)
    # without sticky actions a game differs from another by its first frames only: `seed` knows one, `classic` thirty
    independent_seeds = property(lambda self: self.sticky > 0.0)
    constants = property(lambda self: {"FRAMESKIP": self.frameskip, "STICKY": self.sticky})

    def under(self, options: Mapping[str, Any]) -> Protocol:
        """`max_frames`: the task's own last frame, where the console stops playing before the protocol does."""
        most = options.get("max_frames", self.max_frames)
        if not 1 <= most <= MOST_FRAMES:
            raise EnvError(f"max_frames is a whole number from 1 to {MOST_FRAMES}, got {most}")
        return replace(self, max_frames=min(most, self.max_frames))

    @property
    def about(self) -> str:
        """In words; stored exchanges with models are found by them, so they stay as they are."""
        sticky = f"per emulated frame the game repeats its previous action with probability {self.sticky:.3g}"
        return (
            f"one decision per {self.frameskip} emulated frames; "
            f"{sticky if self.sticky else 'actions are carried out as given'}; "
            f"up to {self.noop_max} idle frames at the start; at most {self.max_frames} emulated frames"
        )


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("seed", 1, 0.0, 1),
        Protocol("seed-sticky", 1, 0.25, 30),
        Protocol("classic", 4, 0.0, 30),
        Protocol("sticky", 4, 0.25, 0),
    )
}


def get_protocol(name: str) -> Protocol:
    """The Atari protocol called `name`; EnvError names the nearest one."""
    if name not in PROTOCOLS:
        raise EnvError(f"unknown protocol {name!r}{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


BACKEND = Backend(
    "envs.backends.atari:AtariCore", Protocol, PROTOCOLS, {"max_frames": int}, "sticky", packages={"ale_py": "ale-py"}
)
