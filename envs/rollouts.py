"""Many episodes over worker processes.

Knows: how to spread seeds over processes and hand back each result as it is done, in a way Ctrl-C stops cleanly.
Does not know: what an episode is; the caller brings a picklable function of a seed.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")


def run_seeds(play: Callable[[int], T], seeds: Sequence[int], workers: int = 1) -> Iterator[tuple[int, T]]:
    """Yield (seed, play(seed)) as each finishes. One worker runs in this process. A worker's error is raised here."""
    if workers <= 1 or len(seeds) <= 1:
        for seed in seeds:
            yield seed, play(seed)
        return
    # spawn: threads of onnxruntime do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(seeds)), mp_context=context) as pool:
        futures = {pool.submit(play, s): s for s in seeds}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
