"""How good a detector is, on frames of episodes that it was never trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from perception.scene import SLOT, ReadingSpec, SceneSchema, ThingSpec
from perception.training.data import Samples

See = Callable[[np.ndarray], np.ndarray]
NOTHING_HELD_OUT = "not measured: no frame is held out for it (the split test, of seeds 900 to 999, is empty)"
BINS = 10  # of the calibration error


def evaluate(
    see: See, samples: Samples, schema: SceneSchema, limit: int | None = None, near: bool = False
) -> dict[str, Any]:
    """Metrics of `see(frame uint8[H, W, 3]) -> float32[size]` over `samples` (evenly thinned to `limit` frames)."""
    rows = np.arange(len(samples))
    if limit is not None and limit < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, limit).astype(int)]
    found = np.stack([see(samples.rgb(int(r))).copy() for r in rows]) if len(rows) else np.zeros((0, schema.size))
    return compare(found, samples.scenes[rows], schema, near)


def compare(found: np.ndarray, truth: np.ndarray, schema: SceneSchema, near: bool = False) -> dict[str, Any]:
    """Metrics of float32[N, size] against labels of the same shape; of no frames none but their number.

    near: also a thing that is there once is right only within its own size of where it is labelled.
    """
    result: dict[str, Any] = {"frames": len(truth), "things": {}, "grids": {}, "gauges": {}}
    if not len(truth):
        return result
    if schema.readings:
        result["readings"] = {r.name: _reading(found, truth, schema, r) for r in schema.readings}
    for thing in schema.things:
        result["things"][thing.name] = _thing(found, truth, schema, thing, near)
    for grid in schema.grids:
        set_ = truth[:, schema.grid(grid.name)] > 0.5
        right = (found[:, schema.grid(grid.name)] > 0.5) == set_
        result["grids"][grid.name] = {"accuracy": _share(right), "frames_all_right": _share(right.all(1))}
        if set_.all() or not set_.any():
            result["grids"][grid.name]["all_alike"] = True
    for gauge in schema.gauges:
        wanted = truth[:, schema.gauge(gauge.name)]
        error = np.abs(found[:, schema.gauge(gauge.name)] - wanted)
        result["gauges"][gauge.name] = {"error_mean": _round(error.mean()), "error_p99": _quantile(error, 99)}
        if np.ptp(wanted) == 0:
            result["gauges"][gauge.name]["all_alike"] = True
    return result


def _thing(found: np.ndarray, truth: np.ndarray, schema: SceneSchema, thing: ThingSpec, near: bool) -> dict[str, Any]:
    starts = np.array([schema.slot(thing.name, i).start for i in range(thing.count)])
    slots = starts[:, None] + np.arange(SLOT)
    got, want = found[:, slots], truth[:, slots]  # [N, count, SLOT]
    pairs = _matches(got, want, near)
    hits, seen, real = len(pairs[0]), int((got[..., 0] > 0.5).sum()), int((want[..., 0] > 0.5).sum())
    a, b = got[pairs[0], pairs[1]], want[pairs[0], pairs[2]]
    error, size = np.hypot(*(a[:, 1:3] - b[:, 1:3]).T), np.abs(a[:, 3:5] - b[:, 3:5]).max(1, initial=0.0)
    good = int((_iou(a, b) >= 0.5).sum())
    return {
        "labels": real,
        "error_px": {"median": _quantile(error, 50), "p95": _quantile(error, 95), "p99": _quantile(error, 99)},
        "bias_px": [_round(v) for v in (a[:, 1:3] - b[:, 1:3]).mean(0)] if hits else None,
        "size_error_px_p99": _quantile(size, 99),
        "precision": _round(hits / seen) if seen else None,
        "recall": _round(hits / real) if real else None,
        "f1_iou50": _round(2 * good / (seen + real)) if seen + real else None,
        "sure_ece": calibration_error(got[..., 7], want[..., 0] > 0.5 if thing.count == 1 else _hit(got, pairs)),
    }


def _reading(found: np.ndarray, truth: np.ndarray, schema: SceneSchema, reading: ReadingSpec) -> dict[str, Any]:
    slot = schema.slot(reading.name)
    got, want = found[:, slot], truth[:, slot]
    seen, real = got[:, 0] > 0.5, want[:, 0] > 0.5
    both, errors = seen & real, {}
    for k, f in enumerate(reading.fields, 1):
        error = np.abs(f.away(got[both, k], want[both, k]))
        errors[f.name] = {f"p{q}" if q != 50 else "median": _quantile(error, q) for q in (50, 95, 99)}
    return {
        "labels": int(real.sum()), "errors": errors,
        "precision": _round(both.sum() / seen.sum()) if seen.any() else None,
        "recall": _round(both.sum() / real.sum()) if real.any() else None,
        "sure_ece": calibration_error(got[:, -1], real),
    }  # fmt: skip


def _matches(got: np.ndarray, want: np.ndarray, near: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, found slots and label slots of pairs, nearest first; a single thing is paired wherever it is, or `near`."""
    if got.shape[1] == 1 and not near:
        rows = np.flatnonzero((got[:, 0, 0] > 0.5) & (want[:, 0, 0] > 0.5))
        return rows, np.zeros_like(rows), np.zeros_like(rows)
    away = np.hypot(*(got[:, :, None, 1:3] - want[:, None, :, 1:3]).transpose(3, 0, 1, 2))
    reach = np.maximum(want[:, None, :, 3:5].max(-1), 4.0)
    away[~((got[:, :, None, 0] > 0.5) & (want[:, None, :, 0] > 0.5)) | (away > reach)] = np.inf
    triples = []
    for row, table in enumerate(away):
        while np.isfinite(table).any():
            i, j = np.unravel_index(int(table.argmin()), table.shape)
            triples.append((row, int(i), int(j)))
            table[i], table[:, j] = np.inf, np.inf
    columns = np.array(triples, int).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of slots' boxes, row by row."""
    low = np.maximum(a[:, 1:3] - a[:, 3:5] / 2, b[:, 1:3] - b[:, 3:5] / 2)
    high = np.minimum(a[:, 1:3] + a[:, 3:5] / 2, b[:, 1:3] + b[:, 3:5] / 2)
    both = np.clip(high - low, 0, None).prod(1)
    iou: np.ndarray = both / np.maximum(a[:, 3:5].prod(1) + b[:, 3:5].prod(1) - both, 1e-6)
    return iou


def _hit(got: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """bool[N, count]: the found slots that belong to a label."""
    right = np.zeros(got.shape[:2], bool)
    right[pairs[0], pairs[1]] = True
    return right


def calibration_error(sure: np.ndarray, right: np.ndarray) -> float | None:
    """Expected calibration error of probabilities against what was so, over ten bins; None without any."""
    sure, right = sure.ravel(), right.ravel()
    if not len(sure):
        return None
    which = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(sure[which == k].mean() - right[which == k].mean()) * (which == k).mean() for k in np.unique(which)]
    return _round(sum(gaps))


def time_per_frame(see: See, frame: np.ndarray, rounds: int = 400) -> dict[str, float]:
    """Median and 10th percentile of `see(frame)` in milliseconds, after a warm-up."""
    for _ in range(50):
        see(frame)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        see(frame)
        times.append(1e3 * (time.perf_counter() - start))
    return {"median": _round(float(np.median(times))), "p10": _round(float(np.percentile(times, 10)))}


def table(metrics: dict[str, Any]) -> str:
    """The metrics as lines for people; they say which labels could not put a detector to the test."""
    if not metrics["frames"]:
        return NOTHING_HELD_OUT
    alike = {True: "; all labels alike", None: ""}
    heads = ("labels", "median", "p95", "p99", "size p99", "precision", "recall", "F1", "ECE")
    lines = [f"{'thing':<10}" + "".join(f"{head:>10}" for head in heads)]
    for name, m in metrics["things"].items():
        e = m["error_px"]
        cells = [e["median"], e["p95"], e["p99"], m["size_error_px_p99"], m["precision"], m["recall"], m["f1_iou50"]]
        text = "".join(f"{'-' if v is None else format(v, '.4g'):>10}" for v in [*cells, m["sure_ece"]])
        lines.append(f"{name:<10}{m['labels']:>10}{text}")
    for name, m in metrics.get("readings", {}).items():
        for field, e in m["errors"].items():
            cells = [e["median"], e["p95"], e["p99"], None, m["precision"], m["recall"], None, m["sure_ece"]]
            text = "".join(f"{'-' if v is None else format(v, '.4g'):>10}" for v in cells)
            lines.append(f"{f'{name}.{field}':<10}{m['labels']:>10}{text}")
    for name, m in metrics["grids"].items():
        right = f"cells right {m['accuracy']:.5f}, whole frames right {m['frames_all_right']:.4f}"
        lines.append(f"{name:<10} {right}{alike[m.get('all_alike')]}")
    for name, m in metrics["gauges"].items():
        lines.append(f"{name:<10} error mean {m['error_mean']}, p99 {m['error_p99']}{alike[m.get('all_alike')]}")
    unseen = [n for part in ("things", "readings") for n, m in metrics.get(part, {}).items() if not m["labels"]]
    lines += [f"{name} is on none of the {metrics['frames']} held-out frames: not measured" for name in unseen]
    return "\n".join(lines)


def _share(mask: np.ndarray) -> float | None:
    return round(float(mask.mean()), 6) if mask.size else None


def _round(value: float) -> float:
    return round(float(value), 5)


def _quantile(values: np.ndarray, q: float) -> float | None:
    return _round(float(np.percentile(values, q))) if len(values) else None
