"""Parquet: `steps.parquet`, a row for every step (of a data set: every labelled frame), bit for bit.

Knows pyarrow. Each number of the scene is a column under its name in the schema; the cells of a grid are one list. The
file's own metadata holds task, schema and the facts of every episode. Pictures are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_flywheel.datasets.export_source import Part, Source
from data_flywheel.errors import DataError
from data_flywheel.storage.container import canonical_json
from perception.scene import SLOT_FIELDS, SceneSchema

FILE = "steps.parquet"


def export_parquet(source: Source, out: Path) -> dict[str, int]:
    """Write into `out`; counts of episodes and rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.mkdir(parents=True, exist_ok=True)
    partial, metas, rows = out / f".{FILE}.part", dict[str, Any](), 0
    writer = None
    try:
        for part in source:
            table = pa.table(dict(_columns(part, source.schema)))
            if writer is None:
                writer = pq.ParquetWriter(partial, table.schema)
            writer.write_table(table)
            metas[part.name], rows = part.meta, rows + table.num_rows
        if writer is None:
            raise DataError(
                f"{source.folder}: nothing in it can be read: {'; '.join(source.problems) or 'it is empty'}"
            )
        facts = {"task": source.task, "schema": source.schema.to_config(), "episodes": metas}
        writer.add_key_value_metadata({"triune": _json(facts)})
    finally:
        if writer is not None:
            writer.close()
    os.replace(partial, out / FILE)
    return {"episodes": len(metas), "rows": rows}


def _columns(part: Part, schema: SceneSchema) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa

    n = len(part.steps)
    yield "episode", pa.array([part.name] * n, pa.string()).dictionary_encode()
    yield "seed", pa.array([part.seed] * n, pa.int64())
    yield "split", pa.array([part.split] * n, pa.string())
    yield "step", pa.array(part.steps, pa.int64())
    yield "action", pa.array(part.actions, pa.uint8())
    for name, values in part.columns.items():
        kind = None if isinstance(values, np.ndarray) else pa.binary() if name == "ram" else pa.string()
        yield name, pa.array(values, kind)
    columns = np.ascontiguousarray(part.scenes.T)
    for thing in schema.things:
        at = schema.slot(thing.name).start
        for i in range(at, at + thing.count * len(SLOT_FIELDS)):
            yield schema.names[i], pa.array(columns[i], pa.float32())
    for grid in schema.grids:
        cells = np.ascontiguousarray(part.scenes[:, schema.grid(grid.name)]).reshape(-1)
        yield grid.name, pa.FixedSizeListArray.from_arrays(pa.array(cells, pa.float32()), grid.rows * grid.cols)
    for gauge in schema.gauges:
        yield gauge.name, pa.array(columns[schema.gauge(gauge.name)], pa.float32())


def _json(value: dict[str, Any]) -> str:
    import json

    return canonical_json({**value, "schema": json.dumps(value["schema"])})  # as text: the order of things counts
