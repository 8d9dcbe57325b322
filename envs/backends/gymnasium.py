"""Any registered Gymnasium environment that renders `rgb_array` or observes numbers, by its id: `id = "CartPole-v1"`,
or with the module that registers it, `id = "module:Name-v0"`, where somebody vouches for that module (--trust).

What decides sees the rendered picture; or, where the task declares `[observation]`, those numbers as a frame
(`envs.readings`), and nothing is rendered. The observation and attributes of the environment (`state`, and those that
`[env] truth` names) are truth (labels, comparison); the sum of rewards is the score. gymnasium is imported behind the
wall only.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.actions import Discrete
from envs.backends.dynamics import Between, Dynamics
from envs.env import Backend, Rules, nearest
from envs.errors import EnvError
from envs.readings import OBSERVATION, encode
from envs.spec import EnvSpec
from envs.trust import vouched


@dataclass(frozen=True)
class Protocol(Rules):
    """`frame_skip` simulator steps per decision, of which the last is seen; `horizon` steps at most (0: what the
    environment's own time limit says); `hz` simulator steps per second of the simulated world."""

    frame_skip: int = 1
    horizon: int = 0
    hz: float = 50.0

    def __post_init__(self) -> None:
        whole = type(self.frame_skip) is type(self.horizon) is int
        good = whole and 1 <= self.frame_skip <= 1000 and 0 <= self.horizon <= 10**9
        if not good or not isinstance(self.hz, (int, float)) or not 0 < self.hz < 1e6:  # a bundle brings its own
            raise EnvError(f"protocol {self.name}: frame_skip from 1, horizon from 0 and hz above 0, got {vars(self)}")

    frames_per_step = property(lambda self: self.frame_skip)
    frame_hz = property(lambda self: self.hz)
    frame_limit = property(lambda self: self.horizon or 1_000_000)
    constants = property(lambda self: {"FRAMESKIP": self.frame_skip, "STICKY": 0.0})

    def under(self, options: Mapping[str, Any]) -> Protocol:
        """With the task's own rate of simulator steps, where it says one; EnvError for dynamics that there are not."""
        Dynamics.of(options)
        return replace(self, hz=options["hz"]) if "hz" in options else self

    @property
    def about(self) -> str:
        """In words."""
        every = "every frame" if self.frame_skip == 1 else f"every {self.frame_skip} frames"
        return f"one decision {every}; actions are carried out as given"


BACKEND = Backend(
    "envs.backends.gymnasium:GymnasiumSimulator",
    Protocol,
    {"default": Protocol("default")},
    {"kwargs": dict, "truth": list, "hz": (int, float), "dynamics": dict, OBSERVATION: list},
    packages={"gymnasium": "gymnasium"},
)


class GymnasiumSimulator:
    """One environment. The same seed gives the same episode, as far as the environment keeps Gymnasium's contract."""

    def __init__(self, env: EnvSpec, protocol: Rules) -> None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a display
        import gymnasium

        if not isinstance(protocol, Protocol):
            raise EnvError(f"{protocol.name} is no protocol of the gymnasium backend; choose default")
        if ":" in env.id and not vouched(env.id):
            raise EnvError(
                f"{env.id!r} would import and run the module {env.id.partition(':')[0]!r}; pass --trust (Python: "
                "trust=True) if you have read it, or use the id of a registered environment"
            )
        self.env, self.protocol = env, protocol
        kwargs = dict(env.options.get("kwargs", {}))
        try:
            _quiet(env.id)
            drawn = {} if env.observed else {"render_mode": "rgb_array"}
            self.world = gymnasium.make(env.id, **drawn, **kwargs)
        except Exception as error:
            raise EnvError(_unmade(env.id, kwargs, error)) from None
        self._check_actions(self.world.action_space)
        dynamics = Dynamics.of(env.options)
        if dynamics.noise and not env.observed:
            raise EnvError(f"{env.id}: noise is of declared numbers, and this task sees a picture; see --shift")
        dynamics.change(self.world.unwrapped, env.id)
        self._between = Between(dynamics, env.fallback)
        self._places = np.array(env.options.get(OBSERVATION, np.zeros((0, 3))), np.float64)
        self.done = self.truncated = False
        self.score: float = 0.0
        self.frames = 0
        self._picture: np.ndarray | None = None
        self.reset(0)
        self._told = [n for n in ("state",) if getattr(self.world.unwrapped, n, None) is not None]
        self._told += [n for n in env.options.get("truth", ()) if n not in self._told]
        for name in self._told:
            self._check_attribute(name)
        try:
            self.truth()
        except (TypeError, ValueError) as error:
            raise EnvError(f"{env.id}: truth names what is no number: {error}") from None
        self.frame()

    def _check_actions(self, space: Any) -> None:
        """EnvError unless the task's actions are the environment's."""
        mine = self.env.actions
        if isinstance(mine, Discrete):
            count = getattr(space, "n", None)
            if count != len(mine.names):
                what = f"{count} named actions" if count is not None else f"controls {space}: write a table of them"
                raise EnvError(f"{self.env.id} has {what}, system.toml names {len(mine.names)}")
            return
        low, high = (np.asarray(getattr(space, edge, ())) for edge in ("low", "high"))
        if low.shape != mine.shape:
            raise EnvError(f"{self.env.id} has the action space {space}, system.toml has {len(mine.names)} controls")
        if (np.array(mine.low, np.float32) < low).any() or (np.array(mine.high, np.float32) > high).any():
            raise EnvError(f"{self.env.id} takes controls within {low.tolist()} .. {high.tolist()}; narrow the bounds")

    def _check_attribute(self, name: Any) -> None:
        """EnvError unless the environment has an attribute of that name, which is not a method."""
        held = vars(self.world.unwrapped)
        if name not in held:
            raise EnvError(f"{self.env.id} has no {name!r}{nearest(str(name), [n for n in held if n[0] != '_'])}")

    def reset(self, seed: int) -> np.ndarray:
        """Start the episode of `seed`; its first frame."""
        observation, _ = self.world.reset(seed=seed)
        self._between.reset(seed)
        self._observed: np.ndarray | None = np.asarray(observation)
        self.done, self.score, self.frames, self._picture = False, 0.0, 0, None
        return self.frame()

    def advance(self, action: Any) -> None:
        """One decision: `frame_skip` steps of the simulator with one action."""
        action = self._between.arriving(action)
        told = int(action) if isinstance(self.env.actions, Discrete) else np.asarray(action, np.float32)
        for _ in range(self.protocol.frame_skip):
            observation, reward, terminated, truncated, _ = self.world.step(told)
            self._observed = np.asarray(observation)
            try:
                self.score += float(reward)
            except (TypeError, ValueError):
                self.score = math.nan
            if not math.isfinite(self.score):
                raise EnvError(f"{self.env.id} gave the reward {reward!r}; a score is a finite number")
            self.frames += 1
            self._picture = None
            if terminated or truncated or self.frames >= self.protocol.frame_limit:
                self.done, self.truncated = True, not terminated
                return

    def step(self, action: Any) -> np.ndarray:
        """`advance`, then the frame."""
        self.advance(action)
        return self.frame()

    def frame(self, out: np.ndarray | None = None) -> np.ndarray:
        """The rendered picture uint8[H, W, 3], rendered once a step, into `out` when given."""
        picture = self._picture
        if picture is None:
            picture = self._reading() if self.env.observed else np.asarray(self._rendered())
            if picture.dtype != np.uint8 or picture.shape != self.env.shape:
                drawn, wanted = f"{picture.dtype}{list(picture.shape)}", f"uint8{list(self.env.shape)}"
                raise EnvError(f"{self.env.id} renders {drawn}, system.toml says {wanted}")
            self._picture = picture
        if out is None:
            return picture.copy()
        out[:] = picture
        return out

    def _reading(self) -> np.ndarray:
        """The declared numbers of the observation as a frame; EnvError where it has no such place."""
        index, low, high = self._places.T
        seen = self._observed
        if seen is None or seen.ndim != 1 or seen.dtype.kind not in "fiu":
            raise EnvError(f"{self.env.id} observes {self.world.observation_space}; [observation] reads a vector")
        if (index >= len(seen)).any():
            raise EnvError(
                f"{self.env.id} observes {len(seen)} numbers, [observation] asks for at = {int(index.max())}"
            )
        values = seen[index.astype(int)].astype(np.float64)
        if not np.isfinite(values).all():
            raise EnvError(f"{self.env.id} observes what is no number (NaN or infinite)")
        return encode(self._between.read(values, low, high), low, high)

    def _rendered(self) -> Any:
        from gymnasium.error import DependencyNotInstalled

        try:
            return self.world.render()
        except DependencyNotInstalled as error:
            fix = 'install what draws it, for classic control: pip install "triune[classic]"'
            raise EnvError(f"{self.env.id} cannot be drawn: {str(error).splitlines()[0]}; {fix}") from None

    def truth(self) -> Mapping[str, np.ndarray]:
        """`observation` (unknown after a `write`, where the environment cannot be asked again), `state` where the
        environment has one, and what `[env] truth` names: its attributes as float64[...], NaN for None."""
        found = {} if self._observed is None else {"observation": self._observed.copy()}
        return found | {name: np.array(getattr(self.world.unwrapped, name), np.float64) for name in self._told}

    def write(self, values: Mapping[str, Any]) -> None:
        """Set attributes of the environment, such as {"state": [0, 0, 0.1, 0]}: numbers or arrays of them; None or NaN
        for nothing. Time limit and end of the episode begin anew."""
        world = self.world.unwrapped
        for name, value in values.items():
            if name not in self._told:
                raise EnvError(f"{self.env.id}: {name!r} is not in its truth{nearest(str(name), self._told)}")
            try:
                array, there = np.array(value, np.float64), np.shape(getattr(world, name))
            except (TypeError, ValueError):
                raise EnvError(f"{name} of {self.env.id} takes numbers, got {str(value)[:60]!r}") from None
            if array.ndim and array.shape != there:
                raise EnvError(f"{name} of {self.env.id} has the shape {there}, not {array.shape}")
            setattr(world, name, array if array.ndim else None if np.isnan(array) else float(array))
        for name in _ENDING:
            if hasattr(world, name):
                setattr(world, name, None)
        if hasattr(self.world, "_elapsed_steps"):
            self.world._elapsed_steps = 0
        observe = getattr(world, "_get_obs", None)
        self._observed = np.asarray(observe()) if observe else None
        self.done, self.frames, self._picture = False, 0, None

    def metrics(self) -> Mapping[str, float]:
        """Whether the clock ended the episode (`truncated`, 1), not what was done in it (0)."""
        return {"truncated": float(self.done and self.truncated)}

    def save(self) -> Any:
        """The whole state, where the environment can be copied."""
        try:
            held = copy.deepcopy({k: v for k, v in vars(self.world.unwrapped).items() if k not in _DRAWING})
        except Exception as error:
            raise EnvError(f"{self.env.id} cannot be taken back: {type(error).__name__}: {error}") from None
        return (
            held,
            copy.copy(self._observed),
            self.score,
            self.frames,
            (self.done, self.truncated),
            getattr(self.world, "_elapsed_steps", 0),
            copy.deepcopy(self._between),
            self._picture if self.env.observed else None,  # its noise has been drawn
        )

    def load(self, state: Any, noise_seed: int = 0) -> None:
        """Back to a saved state; `noise_seed` above 0 draws other chances from there on."""
        held, observed, self.score, self.frames, (self.done, self.truncated), elapsed, between, picture = state
        vars(self.world.unwrapped).update(copy.deepcopy(held))
        if hasattr(self.world, "_elapsed_steps"):
            self.world._elapsed_steps = elapsed
        self._observed, self._picture = copy.copy(observed), picture
        self._between = copy.deepcopy(between)
        if noise_seed:
            self.world.unwrapped.np_random = np.random.default_rng(noise_seed)
            self._between.rng = np.random.default_rng(noise_seed)


def _quiet(name: str) -> None:
    """MuJoCo would write its warnings into a file in the folder where the command runs."""
    from gymnasium import registry

    if name in registry and str(registry[name].entry_point).startswith("gymnasium.envs.mujoco"):
        import mujoco

        mujoco.set_mju_user_warning(lambda said: None)


def _unmade(name: str, kwargs: Mapping[str, Any], error: Exception) -> str:
    """Why there is no such environment; what is not installed is named by the extra that brings it."""
    from gymnasium.error import Error

    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    lacking = [package for package in _EXTRA if package in said.lower()]
    if lacking and isinstance(error, (Error, ImportError)):
        fix = f'pip install "triune[{_EXTRA[lacking[0]]}]"'
        return f"{name!r} needs the package {lacking[0]}, which is not installed: {fix}"
    if isinstance(error, Error):
        return f"{name!r}: {said}"
    return f"{name!r} cannot be made with {kwargs or 'no kwargs'}: {error!r}"  # an error of the environment's own code


_EXTRA = {"mujoco": "mujoco", "imageio": "mujoco", "pygame": "classic"}
_ENDING = ("steps_beyond_terminated",)  # by which an environment remembers that its episode is over
_DRAWING = ("screen", "clock", "surf", "renderer", "mujoco_renderer", "viewer", "isopen", "spec")  # made anew on use
