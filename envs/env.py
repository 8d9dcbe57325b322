"""The contract of an environment, and the registry of backends by name.

A backend is declared by a `Backend`: light, read by whoever decides. What simulates runs behind the wall only
(`envs.remote`), made by the factory that the declaration names. Third parties add backends through the entry point
group `triune.backends`; its objects are `Backend`s.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from envs.errors import EnvError

GROUP = "triune.backends"


@dataclass(frozen=True)
class Rules:
    """The named rules of a measurement: the fields are settings of the backend, JSON-able; each backend has its own
    subclass. The properties say what they mean to whoever does not know the backend."""

    name: str

    @property
    def frames_per_step(self) -> int:
        """Simulated frames per agent step."""
        return 1

    @property
    def frame_hz(self) -> float:
        """Simulated frames per second of the simulated world."""
        return 30.0

    @property
    def control_hz(self) -> float:
        """Agent steps per second of the simulated world."""
        return self.frame_hz / self.frames_per_step

    @property
    def frame_limit(self) -> int:
        """Simulated frames of an episode at most."""
        return 108_000

    @property
    def independent_seeds(self) -> bool:
        """Whether every seed is a game of its own."""
        return True

    @property
    def constants(self) -> dict[str, float]:
        """What a policy sees of the rules at compile time."""
        return {}

    def under(self, options: Mapping[str, Any]) -> Rules:
        """These rules for a task with these options of the backend; EnvError for an option out of bounds."""
        return self

    @property
    def about(self) -> str:
        """For people and models: what the rules do, as clauses joined by semicolons."""
        return f"one decision per {self.frames_per_step} frames; at most {self.frame_limit} frames"


class Simulator(Protocol):
    """What a backend runs behind the wall. `score`, `truth` and `metrics` are privileged: they never reach a policy.

    One whose episodes may end by a limit has `truncated` too: whether the last one ended so and not by its own rules on
    the very frame of the limit. Of one that does not say, those that reach the `frame_limit` of the rules did.

    One that can has `repaint(picture)` too: it brings the picture that it made last, and that nobody else has written
    to but before a `reset` or `load`, up to date, sooner than `frame` makes one.
    """

    done: bool
    score: Any  # int or float, or None when there is none

    @property
    def frames(self) -> int:
        """Simulated frames of this episode so far."""

    def reset(self, seed: int) -> Any:
        """Start the episode of `seed`; the same seed gives the same episode."""

    def advance(self, action: Any) -> None:
        """One agent step."""

    def frame(self, out: np.ndarray | None = None) -> np.ndarray:
        """The present picture, uint8[H, W, 3], into `out` when given."""

    def truth(self) -> Mapping[str, np.ndarray]:
        """The state behind the picture, by name; the backend says what it has."""

    def metrics(self) -> Mapping[str, float]:
        """Figures beside the score, by name; "lives" is one that episodes keep."""


class Rewindable(Simulator, Protocol):
    """A simulator that can be taken back."""

    def save(self) -> Any:
        """The whole state."""

    def load(self, state: Any, noise_seed: int = 0) -> None:
        """Back to a saved state. `noise_seed` 0: what follows is as it was; 1, 2 ...: other draws of chance."""


class Writable(Simulator, Protocol):
    """A simulator that can be put into a state. Privileged: for labelled data only."""

    def write(self, values: Mapping[str, Any]) -> None:
        """Set the state that `truth` tells, by the same names; what is not named stays. The next step follows from it,
        and the picture as soon as the backend can draw it. EnvError for an unknown name, with the nearest."""


@dataclass(frozen=True)
class Backend:
    """What everybody may know of a backend.

    simulator  "module:factory" of what runs behind the wall; called with (EnvSpec, Rules). "": nothing does, the task
               is seen by a camera
    kind       the subclass of Rules
    protocols  by name; `default` names one (else the first)
    options    keys of [env] that are the backend's own, each with the type of its value
    packages   what it needs: import name -> distribution; their versions stand beside results
    """

    simulator: str
    kind: type[Rules]
    protocols: Mapping[str, Rules]
    options: Mapping[str, type | tuple[type, ...]] = field(default_factory=dict)
    default: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """EnvError for an unknown option, with the nearest, or one of another type or out of bounds."""
        for key, value in options.items():
            if key not in self.options:
                raise EnvError(f"unknown key {key!r}{nearest(key, self.options)}")
            if not isinstance(value, self.options[key]):
                raise EnvError(f"{key} cannot be {value!r}")
        next(iter(self.protocols.values())).under(options)


BUILT_IN = {
    "atari": "envs.backends.atari_protocols:BACKEND",
    "gymnasium": "envs.backends.gymnasium:BACKEND",
    "video": "envs.backends.video:BACKEND",
}
VARIABLE = "TRIUNE_BACKENDS"  # tells a child what its parent registered (`envs.process.start`)
_registered: dict[str, str] = json.loads(os.environ.get(VARIABLE) or "{}")


def register(name: str, target: str) -> None:
    """Add a backend in this process and in the children that it starts from now on: `target` is "module:name" of a
    Backend. Packages use the entry point instead."""
    _registered[name] = target


def registered() -> dict[str, str]:
    """The environment variable by which a child knows what was registered here; nothing when nothing was."""
    return {VARIABLE: json.dumps(_registered)} if _registered else {}


def target_of(name: str) -> str:
    """Where the backend called `name` is declared, "module:name"; EnvError names the nearest one."""
    known = {**{e.name: e.value for e in entry_points(group=GROUP)}, **_registered, **BUILT_IN}
    if name not in known:
        raise EnvError(f"unknown backend {name!r}{nearest(name, known)}")
    return known[name]


def find(target: str) -> Any:
    """The object behind "module:name"; EnvError when there is none."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EnvError(f"cannot load {target}: {error}; is its package installed?") from error


def backend(name: str) -> Backend:
    """The backend called `name`; EnvError names the nearest one."""
    # built-in names are looked up first: reading the entry points of every package takes a while
    found = find(BUILT_IN.get(name) or _registered.get(name) or target_of(name))
    if not isinstance(found, Backend):
        raise EnvError(f"backend {name!r} is no envs.env.Backend; its package declares the wrong object")
    return found


def packages() -> dict[str, str]:
    """What the backends that come with Triune need: import name -> distribution."""
    return {name: dist for known in BUILT_IN for name, dist in backend(known).packages.items()}


def simulator(env: Declared, rules: Rules) -> Simulator:
    """The simulator of an environment, in this process: for labelled data, never in play (that is `envs.remote`)."""
    made: Simulator = factory_of(backend(env.backend))(env, rules)
    return made


def factory_of(declared: Backend) -> Callable[[Declared, Rules], Any]:
    """What makes the backend's simulators; EnvError where nothing plays its environments."""
    if not declared.simulator:
        raise EnvError(
            "this needs a simulator, and the task has none: its pictures come from a camera. Record some (triune"
            " record), look at them (triune eval --source FILE), or decide live (triune run FILE --source S)"
        )
    made: Callable[[Declared, Rules], Any] = find(declared.simulator)
    return made


def simulated(env: Declared) -> bool:
    """Whether something plays the environment, as opposed to pictures that come from a camera."""
    return bool(backend(env.backend).simulator)


def check_simulated(env: Declared) -> None:
    """EnvError where nothing plays the environment."""
    factory_of(backend(env.backend))


class Declared(Protocol):
    """What names a backend and a protocol: an `EnvSpec`."""

    @property
    def backend(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...


SEEDS = 2**31


def check_seed(seed: Any) -> int:
    """The seed of an episode as an int; EnvError unless it is a whole number from 0 to SEEDS - 1."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < SEEDS:
        raise EnvError(f"seeds are whole numbers from 0 to {SEEDS - 1}, got {seed!r:.40}")
    return int(seed)


def protocols_of(env: Declared) -> Mapping[str, Rules]:
    """The protocols of an environment's backend, under the task's options."""
    return {name: rules.under(env.options) for name, rules in backend(env.backend).protocols.items()}


def protocol_of(env: Declared, name: str | None = None) -> Rules:
    """The protocol called `name` (the task's own by default); EnvError names the nearest one."""
    name, known = name or env.protocol, protocols_of(env)
    if name not in known:
        raise EnvError(f"unknown protocol {name!r}{nearest(name, known)}")
    return known[name]


def nearest(name: str, choices: Any) -> str:
    """The end of an error message: the nearest choice, or all of them."""
    close = difflib.get_close_matches(name, list(choices), 1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose one of {', '.join(choices) or 'nothing'}"
