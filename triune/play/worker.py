"""A worker process: `python -m triune.worker JOB` reads a seed a line and answers with a record a line (JSON).

Knows the job it was given. Ends when its input closes; ignores Ctrl-C, which is the parent's to handle.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from triune.errors import one_line


def main() -> int:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # whose recording is being written finishes it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that prints may speak into the protocol
    try:
        _work(json.loads(sys.argv[1]), answers)
    except Exception as error:
        line = one_line(error)
        if line is None:
            traceback.print_exc()
            line = f"a worker failed: {type(error).__name__}: {error}"
        print(json.dumps({"error": line}), file=answers, flush=True)
        return 1
    return 0


def _work(job: dict[str, object], answers: TextIO) -> None:
    from triune.isolate import silence
    from triune.play.loop import Rollout
    from triune.play.pool import play_one
    from triune.play.recording import open_recorder
    from triune.system import load

    keep = Path(str(job["keep"])) if job["keep"] else None
    limit = job["limit"] if isinstance(job["limit"], int) else None
    shift = str(job["shift"]) if job["shift"] else None
    silence()  # the process that started this one has said what there is to say
    policy = str(job["policy"]) if job.get("policy") else None
    system = load(str(job["folder"]), bool(job["trust"]), bool(job["isolate"]), bool(job["require_isolation"]), policy)
    with Rollout(system, str(job["protocol"]), shift, str(job["eyes"])) as rollout:
        rollout.recorder = open_recorder(job.get("record"), system)  # type: ignore[arg-type]
        for line in sys.stdin:
            print(json.dumps(play_one(rollout, int(line), limit, keep)), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
