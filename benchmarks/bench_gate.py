"""`triune bench gate`: how often the gate is wrong, on synthetic scores, on recorded ones and in really played trials.

Knows: where recorded scores lie and what the figures are called. Does not know how the gate decides or how trials are
drawn (`supervisor.gate_bench`), nor how episodes are played (`triune.bench_gate_real`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gate_bench
from benchmarks.gate_models import recorded
from data_flywheel.storage.container import atomic_write
from supervisor.gate.gate import GateConfig
from triune.errors import TriuneError

RECORDED = Path(__file__).resolve().parent.parent / "benchmarks" / "gate_scores.json"
FORMAT = 1
TRIALS = 200  # of each kind of scores, equal and better each
TARGET = 0.8  # share of better children that should get in


def read_recorded(path: Path = RECORDED) -> dict[str, Any] | None:
    """What `--real` has measured; None outside a checkout. TriuneError for a damaged file."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TriuneError(f"{path} is damaged ({error}); measure again with `triune bench gate --real`") from None
    if found.get("format") != FORMAT:
        raise TriuneError(f"{path} has another format; measure again with `triune bench gate --real`")
    return found


def write_recorded(found: Mapping[str, Any], path: Path = RECORDED) -> None:
    """Keep a measurement, lists of numbers on one line each."""
    text = re.sub(
        r"\[[-+\d\s.,e]*\]", lambda m: m.group().replace("\n", "").replace(" ", ""), json.dumps(found, indent=1)
    )
    atomic_write(path, (text + "\n").encode())


def kinds(found: Mapping[str, Any] | None) -> list[gate_bench.Kind]:
    """Synthetic kinds of scores, then recorded ones."""
    made = gate_bench.synthetic()
    if found is None:
        return made
    source = f"recorded, {found['task']}, {found['protocol']}"
    rough, calm = (found["recorded"][name]["scores"] for name in ("unsteady", "follower"))
    made.append(gate_bench.Kind("unsteady hand", recorded(*(rough[k] for k in ("parent", "equal", "better"))), source))
    made.append(gate_bench.Kind("follows the ball", recorded(calm["parent"], calm["equal"], None), source))
    for name, card in found["cards"].items():
        draw = recorded(card["scores"], card["scores"][1:] + card["scores"][:1], None)
        made.append(gate_bench.Kind(name, draw, f"score card: {card['command']}", better=False))
    return made


def measure(trials: int, tick: Callable[[int, int], object], config: GateConfig | None = None) -> dict[str, Any]:
    """The figures of `triune bench gate --json`. `tick`: trials done, trials in all."""
    found = read_recorded()
    every = kinds(found)
    done, todo = 0, trials * (len(every) + sum(k.better for k in every))

    def step() -> None:
        nonlocal done
        done += 1
        tick(done, todo)

    rows = list(gate_bench.bench(every, trials, trials, config, step))
    return {**figures(rows, config or GateConfig()), "real": real(found)}


def figures(rows: Sequence[Mapping[str, Any]], config: GateConfig) -> dict[str, Any]:
    """Shares over all kinds of scores. A tenth that is smaller than what the gate was made to find is counted apart."""
    null = gate_bench.total(rows, "null")
    near = [r for r in rows if "better" in r and r["effect"] >= 0.95 * gate_bench.DESIGN_EFFECT]
    far = [r for r in rows if "better" in r and r not in near]
    better, beyond = gate_bench.total(near, "better"), gate_bench.total(far, "better")
    return {
        "null_trials": null["trials"], "false_accept_rate": null["rate"], "false_accept_ci95": null["ci95"],
        "false_accept_bound": round(config.bound, 6), "better_trials": better["trials"], "power": better["rate"],
        "power_ci95": better["ci95"], "power_beyond_reach": beyond["rate"],
        "beyond_reach": [r["scores"] for r in far], "seeds_spent": {"null": null["seeds"], "better": better["seeds"]},
        "scenarios": list(rows),
        "ok": null["rate"] <= config.total_level and (better["rate"] or 0.0) >= TARGET,
    }  # fmt: skip


def real(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What was measured on episodes really played."""
    if found is None:
        return None
    from benchmarks.gate_played import summary

    return {**summary(found), "command": found["command"], "episodes": found["episodes"]}
