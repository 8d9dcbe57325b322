"""How work spreads over a cluster: frames a second by workers, what an item and a start cost, and what follows from
these for many cores.

Without --executor the cluster is a Ray of this machine's cores.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from envs.crew import choose, chosen, cores, crew
from envs.parcels import wrap
from triune.commands import common
from triune.console import Console, table
from triune.play.evaluation import make_request
from triune.play.workers import Players, game
from triune.system import System, load

NULLS = 300  # items that ask for nothing
WAITED = 1000  # answers that a driver waits for at once
SWEEP_GAMES, SWEEP_SEEDS, SWEEP_FRAMES, SWEEP_CORES = 57, 30, 108_000, 1000


@contextmanager
def nothing(job: Any) -> Iterator[Callable[[Any], Any]]:
    """Work that is none: what is left is what an item costs."""
    yield lambda item: item


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Task, games for each worker, rounds."""
    parser.add_argument("--task", default="breakout", metavar="T", help="default breakout")
    parser.add_argument("--protocol", metavar="P", help="default: the task's")
    parser.add_argument("--games", type=common.positive, default=2, metavar="N", help="for each worker (default 2)")
    parser.add_argument("--steps", type=common.positive, default=1500, metavar="N", help="of a game (default 1500)")
    parser.add_argument("--rounds", type=common.positive, default=3, metavar="N", help="default 3")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Payload: `rates`, `item`, `start_s`, `parcel`, `estimate`."""
    if chosen() == "local":
        choose("ray")
    system = load(args.task)
    began = time.perf_counter()
    most = cores()
    started = {"cluster": time.perf_counter() - began}
    began = time.perf_counter()
    list(crew("benchmarks.cluster:nothing", 1).map({}, [0]))
    started["worker"] = time.perf_counter() - began
    item = _item()
    rates = _rates(system, args, most, console)
    parcel = len(wrap(system.folder))
    found = {
        "task": system.name, "executor": chosen(), "cores": most, "rates": rates, "item": item,
        "start_s": {k: round(v, 2) for k, v in started.items()}, "parcel_bytes": parcel,
    }  # fmt: skip
    found["estimate"] = estimate(rates[0]["frames_per_second"], item["driver_ms"], started["worker"])
    _show(found, console)
    return found


def _item() -> dict[str, float]:
    """Milliseconds: of an item from hand to hand, and of the driver's processor; then those of one `wait` for many."""
    with crew("benchmarks.cluster:nothing", 1).crew({}) as work:
        list(work.map(range(20)))
        began, used = time.perf_counter(), time.process_time()
        list(work.map(range(NULLS)))
        wall, used = time.perf_counter() - began, time.process_time() - used
    wait = _wait()
    driver = 1000 * used / NULLS
    return {"trip_ms": round(1000 * wall / NULLS, 3), "wait_ms": round(wait, 3), "driver_ms": round(driver + wait, 3)}


def _wait() -> float:
    """Milliseconds of asking once which of WAITED answers is ready."""
    from envs.cluster import connected

    cluster = connected(chosen())
    crowd = [cluster.hire() for _ in range(cores() + 1)]  # one more than there is room for: it never answers
    coming = [crowd[-1].actor.hello.remote() for _ in range(WAITED)]
    times = []
    for _ in range(20):
        began = time.perf_counter()
        cluster.ray.wait(coming, num_returns=1, timeout=0)
        times.append(time.perf_counter() - began)
    for place in crowd:
        cluster.dismiss(place)
    return 1000 * median(times)


def _rates(system: System, args: argparse.Namespace, most: int, console: Console) -> list[dict[str, Any]]:
    """Frames a second with 1, 2, 4 ... workers, here and on the cluster in turns; children are warm."""
    sizes = sorted({*(2**k for k in range(int(math.log2(most)) + 1)), most})
    request, digest = make_request(system, args.protocol, [], None, "cnn", args.steps), system.hashes()["policy"]
    where = chosen()
    sides = [(n, side) for n in sizes for side in (("local", where) if n <= common.cores() else (where,))]
    speeds: dict[tuple[int, str], list[float]] = {side: [] for side in sides}
    for turn in range(args.rounds):
        for n, side in sides if turn % 2 else sides[::-1]:
            choose(side)
            with Players(system, request, n) as players:
                list(players.play([game(None, digest, 1000 + i) for i in range(n)]))  # starts the children
                began = time.perf_counter()
                games = [game(None, digest, 1000 + i) for i in range(args.games * n)]
                frames = sum(record["frames"] for _, record in players.play(games))
                speeds[n, side].append(frames / (time.perf_counter() - began))
        console.progress(turn + 1, args.rounds, f"round {turn + 1} of {args.rounds}")
    choose(where)
    rate = {side: round(median(found), 1) for side, found in speeds.items()}
    alone = rate[1, where]
    return [
        {"workers": n, "frames_per_second": rate[n, where], "efficiency": round(rate[n, where] / n / alone, 3),
         "local": rate.get((n, "local"))} for n in sizes
    ]  # fmt: skip


def estimate(
    speed: float, driver_ms: float, start_s: float, workers: int = SWEEP_CORES, games: int = SWEEP_GAMES,
    seeds: int = SWEEP_SEEDS, frames: int = SWEEP_FRAMES,
) -> dict[str, Any]:  # fmt: skip
    """What a sweep would take: every game as long as a protocol lets it be, and no core slower than this one.

    speed: frames a second of one worker; driver_ms: of the driver for an item; start_s: of a worker.
    """
    items, each = games * seeds, frames / speed
    rounds = math.ceil(items / workers)
    wall = start_s + max(rounds * each, items * driver_ms / 1000)
    return {
        "games": games, "seeds": seeds, "frames": frames, "workers": workers, "game_s": round(each, 1),
        "wall_s": round(wall, 1), "one_core_h": round(items * each / 3600, 1),
        "efficiency": round(items * each / workers / wall, 3),
        "items_per_second_at_most": round(1000 / driver_ms), "workers_at_most": int(1000 / driver_ms * each),
    }  # fmt: skip


def _show(found: dict[str, Any], console: Console) -> None:
    rows = [
        [str(r["workers"]), f"{r['frames_per_second']:.0f}", f"{r['efficiency']:.3f}", f"{r['local'] or 0:.0f}"]
        for r in found["rates"]
    ]
    console.say(table(rows, ["workers", "frames a second", "efficiency", "local workers"], {0, 1, 2, 3}))
    item, start, e = found["item"], found["start_s"], found["estimate"]
    console.say(f"item       {item['trip_ms']:.2f} ms there and back; {item['driver_ms']:.2f} ms of the driver")
    console.say(f"start      {start['cluster']:.1f} s to connect, {start['worker']:.1f} s a worker")
    console.say(f"parcel     {found['parcel_bytes']} bytes, once a node")
    console.say(
        f"estimate   {e['games']} games, {e['seeds']} seeds, {e['frames']} frames each, on {e['workers']} cores: "
        f"{e['wall_s']:.0f} s (one core: {e['one_core_h']:.0f} h), efficiency {e['efficiency']:.2f}"
    )
