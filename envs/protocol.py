"""The named rules of a measurement: control rate, stickiness, random start, length."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from envs.errors import EnvError


@dataclass(frozen=True)
class Protocol:
    """`frameskip` emulated frames per agent step; `sticky` is the chance, per emulated frame, that the emulator
    repeats its previous action; up to `noop_max` no-op frames at the start; `max_frames` emulated frames at most."""

    name: str
    frameskip: int
    sticky: float
    noop_max: int
    max_frames: int = 108_000


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
    """The protocol called `name`; EnvError names the nearest one."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = difflib.get_close_matches(name, PROTOCOLS, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(PROTOCOLS)}"
    raise EnvError(f"unknown protocol {name!r}; {hint}")
