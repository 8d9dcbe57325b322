"""The collecting process: `python -m data_flywheel.collect_worker FOLDER SYSTEM`, shard numbers on stdin.

Knows one data set folder and one system. Answers each number with a line of JSON once the shard is safely on disk.
Ends when stdin closes, so it cannot outlive a killed parent by more than one shard.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> int:
    """Make the shards that are asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints may speak into the protocol

    from data_flywheel.datasets.plan import Plan
    from data_flywheel.datasets.record import make_shard
    from data_flywheel.labelers.teachers import load_teacher
    from data_flywheel.storage.dataset import Dataset
    from envs.backends.atari import AtariCore
    from envs.spec import load_spec

    dataset = Dataset(sys.argv[1])
    spec, teacher = load_spec(sys.argv[2]), load_teacher(sys.argv[2])
    record = dataset.manifest.extra["plan"]
    plan = Plan(record["frames"], tuple(record["players"]), record["shard_frames"])
    cores: dict[str, AtariCore] = {}
    for line in sys.stdin:
        try:
            shard = make_shard(spec, teacher, plan.job(int(line)), cores)
            dataset.write(shard)
        except Exception as error:  # told to the parent, which stops the collection
            answer = {"shard": int(line), "error": f"{type(error).__name__}: {error}"}
        else:
            answer = {"shard": shard.number, "frames": len(shard), **_figures(shard.meta)}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return 1
    return 0


def _figures(meta: dict[str, object]) -> dict[str, object]:
    return {name: meta[name] for name in ("checked", "refused", "situations")}


if __name__ == "__main__":
    sys.exit(main())
