"""Recorded games as text: one JSON line a step, for whoever wants to count in them by a program of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from data_flywheel.episodes.episode import Episode
from envs.actions import ActionSpace
from perception.scene import SLOT_FIELDS, SceneSchema

STEPS, EPISODE = "steps.jsonl", "episode.npz"  # of one game's folder
PAGE = """# Games

One folder a game: `parent-SEED` are the training games of the policy that is to be improved, `play-N` are yours.
`{steps}` has one JSON object a line, one line a step, in order:

| key | holds |
|---|---|
| `step` | from 0 |
| `scene` | what was seen before the action, by name: {scene} |
| `action`, `proposed` | what was done; what the policy wanted (a rule may have changed it) |
| `reason` | the policy's own |
| `overruled_by`, `fault` | names of the rules that changed the action; what went wrong in the policy; null if nothing |
| `score`, `lives` | after the action; a policy never sees them |

Places are px (origin top left, y down), speeds px per step. `./explain NAME --step N` tells why,
`./watch NAME --steps A:B` shows pictures.
"""


def games_page(schema: SceneSchema) -> str:
    """What the columns are."""
    told = [f"`{t.name}` ({'a list of ' if t.count > 1 else ''}{', '.join(SLOT_FIELDS)})" for t in schema.things]
    told += [f"`{g.name}` (a string of 0 and 1 for each row)" for g in schema.grids]
    told += [f"`{g.name}` (a number)" for g in schema.gauges]
    told += [f"`{r.name}` (seen, sure, {', '.join(f.name for f in r.fields)})" for r in schema.readings]
    return PAGE.format(steps=STEPS, scene="; ".join(told) or "nothing")


def lines_of(episode: Episode, schema: SceneSchema, actions: ActionSpace) -> Iterator[str]:
    """A line for each step."""
    for i in range(len(episode)):
        told = {
            "step": i, "action": actions.tell(episode.actions[i]), "proposed": actions.tell(episode.proposed[i]),
            "reason": episode.reason(i), "overruled_by": episode.overruled_by(i) or None,
            "fault": episode.fault(i) or None, "score": episode.scores[i].item(), "lives": int(episode.lives[i]),
            "scene": scene_of(episode, schema, i),
        }  # fmt: skip
        yield json.dumps(told, ensure_ascii=False)


def scene_of(episode: Episode, schema: SceneSchema, step: int) -> dict[str, Any]:
    """The scene of a step by name, numbers of five digits."""
    scene = schema.read(episode.scenes[step])
    found: dict[str, Any] = {}
    for thing in schema.things:
        slots = getattr(scene, thing.name)
        every = [_values(slot, SLOT_FIELDS) for slot in ([slots] if thing.count == 1 else slots)]
        found[thing.name] = every[0] if thing.count == 1 else every
    for grid in schema.grids:
        found[grid.name] = ["".join("1" if cell else "0" for cell in row) for row in getattr(scene, grid.name)]
    for gauge in schema.gauges:
        found[gauge.name] = _short(getattr(scene, gauge.name))
    for reading in schema.readings:
        names = ("seen", "sure", *(f.name for f in reading.fields))
        found[reading.name] = _values(getattr(scene, reading.name), names)
    return found


def _values(slot: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _short(getattr(slot, name)) for name in names}


def _short(value: Any) -> Any:
    return bool(value) if isinstance(value, bool) else float(f"{float(value):.5g}")
