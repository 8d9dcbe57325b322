"""Atari consoles under a protocol, on the privileged side of the wall: RAM, score, lives and saved states live here."""

from __future__ import annotations

import difflib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import native
from envs.actions import Discrete
from envs.backends.atari_protocols import PROTOCOLS, Protocol
from envs.env import Rules, nearest
from envs.errors import EnvError
from envs.spec import EnvSpec, SystemSpec, load_spec

# ----------------------------------------------------------------------------------------------------
# The Atari emulator under a protocol: the privileged side of the wall.
#
# Runs in the emulator process (envs.remote_process), in collection and in causal labelling.


def rom_path(env_id: str) -> Path:
    """Path of the ROM behind `ALE/Name-v5`; EnvError when it is unknown or not installed.

    The name is derived here and not asked of gymnasium, whose import would double the start of every worker.
    """
    from ale_py import roms

    found = re.fullmatch(r"ALE/(\w+)-v\d+", env_id)
    if not found:
        raise EnvError(f"{env_id!r} is not an Atari environment; use an id such as 'ALE/Breakout-v5'")
    game = re.sub(r"(?<=[a-z])(?=[A-Z]|\d[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", found.group(1)).lower()
    known = roms.get_all_rom_ids()
    if game not in known:
        close = difflib.get_close_matches(game, known, 1)
        name = "".join(w.capitalize() for w in close[0].split("_")) if close else "Breakout"
        raise EnvError(f"unknown environment {env_id!r}; did you mean 'ALE/{name}-v5'?")
    path = roms.get_rom_path(game)
    if path is None or not path.is_file():
        raise EnvError(f"no ROM for {env_id!r}: reinstall ale-py, whose wheels carry the ROMs (pip install -U ale-py)")
    return Path(path)


@dataclass(frozen=True)
class Loaded:
    """The saved state of a console whose ROM was just loaded, in two parts: the emulator's draws stand between them.

    Loading takes as long as a thousand frames, and a seed changes nothing but those draws: an mt19937 in words of text.
    """

    before: bytes
    behind: bytes

    @staticmethod
    def of(state: bytes, seed: int) -> Loaded | None:
        """The parts of the state that came of `seed`; None when it does not hold its draws in that form."""
        parts = state.split(_text(seed))
        made = Loaded(*parts) if len(parts) == 2 else None
        return made if made and made.under(seed) == state else None

    def under(self, seed: int) -> bytes:
        """The state that comes of `seed`."""
        text = _text(seed)
        held = len(self.before) + len(text) + len(self.behind) - HEAD - LENGTH.size - TAIL
        return self.before[:HEAD] + LENGTH.pack(held) + self.before[HEAD + LENGTH.size :] + text + self.behind


LENGTH = struct.Struct("<i")  # stands before every text in a saved state, and before all that the console saves,
HEAD, TAIL = 24, 8  # which so many bytes precede (paddles, mode, difficulty) and follow (numbers of frames)


def _text(seed: int) -> bytes:
    key = np.random.RandomState(seed).get_state(legacy=False)["state"]["key"]
    words = " ".join(map(str, [*key.tolist(), len(key)])).encode()
    return LENGTH.pack(len(words)) + words


DRAWS = 61  # frames' worth of random draws between one noise seed and the next


class AtariCore:
    """One emulator. `reset` starts the episode of `seed`; `step` advances one agent step. Reproducible to the byte."""

    def __init__(self, env: EnvSpec, protocol: Rules, seed: int = 0) -> None:
        from ale_py import ALEInterface, ALEState, LoggerMode

        if not isinstance(protocol, Protocol):
            raise EnvError(f"{protocol.name} is no protocol of the Atari backend; choose one of {', '.join(PROTOCOLS)}")
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.env, self.protocol, self.seed = env, protocol, seed
        self._rom = rom_path(env.id)
        self.ale = ALEInterface()
        self._screen = Screen(self.ale, env.height, env.width)
        self.ale.setFloat("repeat_action_probability", protocol.sticky)
        self._loaded: Loaded | None = None
        self._state_of = ALEState
        self._load()
        if self.ale.getScreenDims() != (env.height, env.width):
            raise EnvError(
                f"{env.id} shows {self.ale.getScreenDims()} pixels, system.toml says {env.height, env.width}"
            )
        legal = {a.name: a for a in self.ale.getLegalActionSet()}
        if not isinstance(env.actions, Discrete):
            raise EnvError(f"{env.id} has named actions, not controls; write actions as a list of {', '.join(legal)}")
        unknown = [a for a in env.actions.names if a not in legal]
        if unknown:
            raise EnvError(f"{env.id} has no action {unknown[0]!r}; it has {', '.join(legal)}")
        self._actions = [legal[a] for a in env.actions.names]
        self._noop = legal["NOOP"]

    def _load(self) -> None:
        """The console as it is when its ROM was just loaded with the seed, which is the only thing that differs."""
        words = np.random.SeedSequence(self.seed).generate_state(2)
        seed = int(words[0]) & 0x7FFFFFFF
        if self._loaded:
            self.ale.restoreState(self._state_of(self._loaded.under(seed)))
        else:
            self.ale.setInt("random_seed", seed)
            self.ale.loadROM(self._rom)
            self._loaded = Loaded.of(self.ale.cloneState(include_rng=True).serialize(), seed)
        self._screen.forget()
        self._start = np.random.default_rng(int(words[1]))

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Start the episode of `seed` (the last one again by default); its first frame, uint8[H, W, 3]."""
        self.seed = self.seed if seed is None else seed
        self._load()
        self.ale.reset_game()
        self.score = self._points = 0
        self.done = False
        if self.protocol.noop_max:
            for _ in range(int(self._start.integers(1, self.protocol.noop_max + 1))):
                self.ale.act(self._noop)
        return self.frame()

    def step(self, action: int) -> np.ndarray:
        """One agent step: `frameskip` emulated frames of `action`; the last frame, uint8[H, W, 3]."""
        self.advance(action)
        return self.frame()

    def advance(self, action: int) -> None:
        """`step` without fetching the frame."""
        if not 0 <= action < len(self._actions):
            raise EnvError(
                f"action {action} is outside 0 .. {len(self._actions) - 1} ({', '.join(self.env.actions.names)})"
            )
        for _ in range(self.protocol.frameskip):
            self._points += int(self.ale.act(self._actions[action]))
            self.score = self._points
            if self._ended() or self.frames >= self.protocol.max_frames:
                self.done = True
                return

    def _ended(self) -> bool:
        """Over by the game's own rules, or nothing is left to win."""
        won = self.env.max_score is not None and self._points >= self.env.max_score
        return won or bool(self.ale.game_over())

    @property
    def truncated(self) -> bool:
        """The limit of frames ended the episode, and nothing else did on that very frame."""
        return self.done and not self._ended()

    def frame(self, out: np.ndarray | None = None) -> np.ndarray:
        """The screen as uint8[H, W, 3] RGB, into `out` when given."""
        out = np.empty((self.env.height, self.env.width, 3), np.uint8) if out is None else out
        self.ale.getScreenRGB(out)
        return out

    def repaint(self, picture: np.ndarray) -> None:
        """`frame(picture)`, into one that holds the last picture that this made: only what changed is coloured."""
        self._screen.repaint(picture)

    def palette_frame(self) -> np.ndarray:
        """The screen as uint8[H, W] indices into the console's palette."""
        return self.ale.getScreen().copy()  # type: ignore[no-any-return]

    @property
    def frames(self) -> int:
        """Emulated frames of this episode so far."""
        return int(self.ale.getEpisodeFrameNumber())

    @property
    def lives(self) -> int:
        """Lives left."""
        return int(self.ale.lives())

    def ram(self) -> np.ndarray:
        """uint8[128]: the console's memory."""
        return self.ale.getRAM().copy()  # type: ignore[no-any-return]

    def poke(self, writes: Mapping[int, int]) -> None:
        """Overwrite bytes of RAM (training data and causal labels only)."""
        for address, value in writes.items():
            if not 0 <= int(address) < 128:
                raise EnvError(f"{self.env.id} has no byte {address} to write; there are 0 to 127")
            self.ale.setRAM(int(address), int(value) & 0xFF)

    def truth(self) -> dict[str, np.ndarray]:
        """`ram`, uint8[128]."""
        return {"ram": self.ram()}

    def write(self, values: Mapping[str, Any]) -> None:
        """`ram`: uint8[128], or only some bytes, {address: value}. The picture shows it after the next step."""
        for name, value in values.items():
            if name != "ram":
                raise EnvError(f"{self.env.id} has no {name!r} to write{nearest(name, ['ram'])}")
            self.poke(value if isinstance(value, Mapping) else dict(enumerate(np.asarray(value).tolist())))

    def metrics(self) -> dict[str, float]:
        """`lives` left."""
        return {"lives": self.lives}

    def save(self) -> Any:
        """The whole state, for `load`."""
        return self.clone(), self.ale.cloneState(include_rng=False)

    def load(self, state: Any, noise_seed: int = 0) -> None:
        """Back to a saved state; `noise_seed` 1, 2 ...: with other draws for sticky actions."""
        whole, unlucky = state
        self.restore(whole)
        if noise_seed:
            for _ in range(DRAWS * noise_seed):
                self.ale.act(self._noop)
                if self.ale.game_over():
                    self.ale.reset_game()
            self.ale.restoreState(unlucky)
            self._screen.forget()
            self.score = self._points = whole[1]

    def clone(self) -> tuple[Any, int, bool]:
        """The whole state, emulator randomness included."""
        return self.ale.cloneState(include_rng=True), self.score, self.done

    def restore(self, state: tuple[Any, int, bool]) -> None:
        """Back to a cloned state."""
        saved, self.score, self.done = state
        self._points = self.score
        self.ale.restoreState(saved)
        self._screen.forget()


class Screen:
    """An emulator's screen, kept up to date in colours. The emulator has a number for each pixel, and only those that
    changed are looked up where the native engine runs; else it colours all of them.

    It does not tell its table of colours: what a number means is learned from the first frame that shows it.
    """

    def __init__(self, ale: Any, height: int, width: int) -> None:
        self._ale = ale
        self._numbers, self._last = (np.zeros((height, width), np.uint8) for _ in range(2))
        self._colours = np.zeros((256, 4), np.uint8)  # red, green, blue, whether known
        self._paint = native.engine.screen_paint if native.engine and native.available() else None
        self._kept = False

    def forget(self) -> None:
        """The next picture is made anew."""
        self._kept = False

    def repaint(self, picture: np.ndarray) -> None:
        """Bring the picture, uint8[H, W, 3], up to date."""
        if self._paint is None:
            self._ale.getScreenRGB(picture)
            return
        self._ale.getScreen(self._numbers)
        if self._kept and self._paint(self._numbers, self._last, self._colours, picture):
            return
        self._ale.getScreenRGB(picture)
        self._colours[self._numbers, :3], self._colours[self._numbers, 3] = picture, 1
        self._last[:], self._kept = self._numbers, True


# ----------------------------------------------------------------------------------------------------
# A game that has no folder: the environment of any ROM that ale-py ships, with the actions the emulator calls
# minimal.


def game_spec(env_id: str) -> SystemSpec:
    """The system of 'ALE/Freeway-v5': screen size and minimal actions from the emulator. EnvError: no such ROM.

    Its folder is the id, which no folder of a task can be called.
    """
    from ale_py import ALEInterface, LoggerMode

    path = rom_path(env_id)
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.loadROM(path)
    height, width = ale.getScreenDims()
    actions = tuple(action.name for action in ale.getMinimalActionSet())
    env = EnvSpec(env_id, height, width, Discrete(actions), actions.index("NOOP"), "seed")
    return SystemSpec(path.stem, path.stem.replace("_", " ").title(), Path(env_id), env, {})


def find_system(name: str | Path) -> SystemSpec:
    """A ROM for a name that starts with 'ALE/', else a task by name or folder."""
    return game_spec(str(name)) if str(name).startswith("ALE/") else load_spec(name)
