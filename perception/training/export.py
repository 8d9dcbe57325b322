"""Trained detector -> one `.onnx` file without a sidecar, its decoding inside, its origin in the metadata.

Knows: the metadata (schema, fingerprint, versions, provenance, metrics), the check that the file says what torch says,
atomic writing. Does not know: the nodes (`graph.py`), training.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from perception.detector import FORMAT, Eyes
from perception.errors import PerceptionError
from perception.training.graph import build
from perception.training.network import Detector

TOLERANCE = 2e-2  # px or probability: float32 sums in another order, amplified by the patches' normalisation


def export(net: Detector, path: str | Path, provenance: dict[str, Any], check: np.ndarray) -> float:
    """Write `net` to `path` and return its largest disagreement with torch on `check` uint8[N, H, W, 3].

    PerceptionError when they disagree beyond rounding, or the disk is full: nothing is written then.
    """
    net.eval()
    model = build(net)
    schema = net.layout.schema
    helper_metadata = {
        "triune.format": str(FORMAT),
        "triune.schema": json.dumps(schema.to_config()),
        "triune.fingerprint": schema.fingerprint,
        "triune.versions": json.dumps(
            {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        ),
        "triune.provenance": json.dumps(provenance, sort_keys=True),
    }
    onnx.helper.set_model_props(model, helper_metadata)
    data = model.SerializeToString()
    gap = disagreement(net, Eyes.parse(data, schema), check)
    if gap > TOLERANCE:
        raise PerceptionError(f"the exported eyes differ from the trained ones by {gap:.4f}; nothing was written")
    _write(Path(path), data)
    return gap


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing; PerceptionError says why nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())  # a verdict that names this file may be on disk soon after
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        fix = "not written: free some space or name another place, then run the same command again"
        raise PerceptionError(f"{path}: {error.strerror or error}; {fix}") from error


def disagreement(net: Detector, eyes: Eyes, frames: np.ndarray) -> float:
    """Largest difference between torch and ONNX Runtime over fields of the Scene, ties on a threshold left out."""
    wanted = net.scenes(torch.from_numpy(frames)).numpy()
    found = np.stack([eyes.look(frame).copy() for frame in frames])
    starts = net.layout.slot_starts
    close = np.abs(wanted[:, starts + 7] - 0.5) < TOLERANCE  # seen or not is a matter of rounding there
    different = np.abs(wanted - found)
    for column, start in enumerate(starts):
        different[close[:, column], start : start + 8] = 0
    grids = [schema_grid for schema_grid in net.layout.schema.grids]
    for grid in grids:
        cells = different[:, net.layout.schema.grid(grid.name)]
        if cells.mean() < 1e-3:  # a cell on the threshold may fall either way
            cells[:] = 0
    return float(different.max(initial=0.0))
