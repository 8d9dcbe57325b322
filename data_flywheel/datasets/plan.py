"""What a collection will contain, decided before it starts: shard number -> player, protocol, seed, length.

Knows only arithmetic, so that a killed collection can be resumed to the same bytes. Knows no emulator and no files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SHARD_FRAMES = 100
# Player, whether rare states are poked in, and how many agent steps it may play before recording starts.
ROLES = (
    ("scripted", True, 0),
    ("policy", False, 1500),
    ("scripted", False, 800),
    ("random", True, 0),
    ("scripted", True, 200),
    ("policy", True, 0),
    ("scripted", False, 0),
    ("random", False, 0),
)
PROTOCOLS = ("seed-sticky", "sticky", "classic")
_STRIDE = 617  # coprime to the 1000 seeds: consecutive shards land in every split


@dataclass(frozen=True)
class Job:
    """One shard to make. `noise` is the chance per step that a scripted or policy player acts at random."""

    number: int
    player: str
    poke: bool
    warmup: int
    protocol: str
    seed: int
    frames: int
    noise: float


@dataclass(frozen=True)
class Plan:
    """A whole collection."""

    frames: int
    players: tuple[str, ...]
    shard_frames: int = SHARD_FRAMES

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.frames // self.shard_frames)

    def job(self, number: int) -> Job:
        """What shard `number` holds. Players that are not there are replaced by the scripted one."""
        player, poke, warmup = ROLES[number % len(ROLES)]
        player = player if player in self.players else "scripted"
        seed = number * _STRIDE % 1000
        protocol = PROTOCOLS[number // len(ROLES) % len(PROTOCOLS)]
        frames = min(self.shard_frames, self.frames - number * self.shard_frames)
        return Job(number, player, poke, warmup, protocol, seed, frames, (0.02, 0.1, 0.3)[number % 3])

    def record(self) -> dict[str, Any]:
        """JSON form for the manifest."""
        return {**asdict(self), "players": list(self.players)}
