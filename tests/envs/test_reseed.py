"""No ROM is loaded again for a seed: the emulator is as if it were, whatever was played before."""

from __future__ import annotations

import numpy as np
import pytest

from envs.backends.atari import AtariCore, Loaded, game_spec
from envs.backends.atari_protocols import PROTOCOLS


def compared(game: str, protocol: str, seeds: range, steps: int) -> None:
    """Games in one emulator beside games in new ones that load the ROM with their seed: all of both states, frames, RAM
    and scores are the same, bit by bit."""
    env, rng = game_spec(f"ALE/{game}-v5").env, np.random.default_rng(len(game))
    used = AtariCore(env, PROTOCOLS[protocol])
    assert used._loaded
    for seed in seeds:
        loads = AtariCore(env, PROTOCOLS[protocol], seed)
        loads._loaded = None  # it loads again, as every reset once did
        assert np.array_equal(loads.reset(seed), used.reset(seed))
        assert whole(loads) == whole(used)
        for step in range(steps):
            action = int(rng.integers(len(env.actions.names)))
            assert np.array_equal(loads.step(action), used.step(action)), (seed, step)
            assert loads.ram().tobytes() == used.ram().tobytes()
            assert (loads.score, loads.done, loads.frames) == (used.score, used.done, used.frames)
            if used.done:
                break
        assert whole(loads) == whole(used)


def whole(core: AtariCore) -> bytes:
    return core.ale.cloneState(include_rng=True).serialize()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("game", "protocol"), [("Pong", "sticky"), ("Breakout", "seed"), ("Asterix", "classic")])
def test_a_seed_gives_what_a_loaded_rom_would(game: str, protocol: str) -> None:
    compared(game, protocol, range(3), 60)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("game", ["Breakout", "Pong", "Asterix", "MontezumaRevenge", "Pitfall", "Seaquest"])
def test_many_seeds_give_what_a_loaded_rom_would(game: str, protocol: str) -> None:
    compared(game, protocol, range(100, 120), 300)


def test_a_state_that_holds_its_draws_otherwise_is_not_touched() -> None:
    env = game_spec("ALE/Pong-v5").env
    core = AtariCore(env, PROTOCOLS["sticky"], 4)
    assert Loaded.of(whole(core), 5) is None  # draws of another seed
    assert Loaded.of(b"1" + whole(core), 4) is None
    core._loaded = None
    state = core.reset(4), whole(core)
    core.reset(3)
    assert np.array_equal(state[0], core.reset(4)) and state[1] == whole(core)
