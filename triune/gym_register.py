"""Gymnasium ids of the zoo's tasks: `triune/Breakout-v0` and so on. Registers names; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def register_all() -> list[str]:
    """Register every zoo task once; the ids."""
    from gymnasium.envs.registration import register, registry

    ids = []
    for path in sorted(ZOO.glob("*/system.toml")):
        name = path.parent.name
        env_id = f"triune/{''.join(part.capitalize() for part in name.split('_'))}-v0"
        ids.append(env_id)
        if env_id not in registry:
            register(env_id, entry_point="triune.gym_env:SceneEnv", kwargs={"task": name})
    return ids
