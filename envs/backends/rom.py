"""A game that has no folder: the environment of any ROM that ale-py ships, with the actions the emulator calls minimal.

Knows ale-py and the name of a ROM. Does not know things, teachers or policies: such a system has no `[scene]`.
"""

from __future__ import annotations

from pathlib import Path

from envs.backends.atari import rom_path
from envs.spec import EnvSpec, SystemSpec, load_spec


def rom_spec(env_id: str) -> SystemSpec:
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
    env = EnvSpec(env_id, height, width, actions, "NOOP", "seed")
    return SystemSpec(path.stem, path.stem.replace("_", " ").title(), Path(env_id), env, {})


def find_system(name: str | Path) -> SystemSpec:
    """A ROM for a name that starts with 'ALE/', else a task by name or folder."""
    return rom_spec(str(name)) if str(name).startswith("ALE/") else load_spec(name)
