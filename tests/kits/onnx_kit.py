"""What the tests of the ONNX back end share: graphs of one op; generated Python beside the ONNX session and a batch.

Values agree when they are equal bit by bit (all NaN are one). Of the elements of arrays the sign of a zero does not
count: numpy and onnxruntime choose it as they like in maxima.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from logic.language.backends.batch import start_batch, step_batch
from logic.language.backends.onnx import logic_model
from logic.language.backends.python import ENTRY, to_python
from logic.language.diagnostics import Limits, Meter
from logic.language.frontend.values import Builder
from logic.language.ir import Block, Field, Graph, Op, Type, Value
from logic.language.layout import MemoryLayout
from logic.language.ops import DTYPE

START = {"float": 0.0, "int": 0, "bool": False}
onnxruntime.set_default_logger_severity(4)


def session(model: Any, level: str = "ORT_ENABLE_ALL") -> onnxruntime.InferenceSession:
    """As the runtime opens it: one thread, in order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def equal(a: Any, b: Any) -> bool:
    """Equal in value, NaN equal to NaN, and of scalars in the sign of zero."""
    x, y = np.atleast_1d(np.asarray(a, np.float64)), np.atleast_1d(np.asarray(b, np.float64))
    same = x == y
    if not isinstance(b, np.ndarray) or b.dtype == np.float64:
        same &= np.signbit(x) == np.signbit(y)
    return bool(np.all(same | (np.isnan(x) & np.isnan(y))))


class OneOp:
    """A policy `memory.out = op(...)`: operands are types (memory fields) or constants."""

    def __init__(self, name: str, operands: Sequence[Type | Any], attrs: Mapping[str, Any], level: str = "") -> None:
        builder = Builder(Meter(Limits()))
        fields: dict[str, Field] = {}
        args: list[Value] = []
        for i, operand in enumerate(operands):
            if isinstance(operand, Type):
                fields[f"a{i}"] = Field(operand, start_of(operand))
                args.append(load(builder.block, f"a{i}", operand))
            else:
                args.append(builder.const(operand))
        made = builder.emit(name, *args, **attrs)
        fields["out"] = Field(made.type, start_of(made.type))
        load(builder.block, "out", made.type)
        self.graph = Graph("act", builder.block, fields, ["done"], 1)
        kept = [a for a in args if a.const is None]
        builder.block.results = [builder.const(0), builder.reason(0), *kept, made]
        text, names = to_python(self.graph)
        exec(text, names)  # noqa: S102 - generated from the IR
        self.step = names[ENTRY]
        self.layout = MemoryLayout.of(fields)
        self.session = session(logic_model(self.graph, 1, 0), level or "ORT_ENABLE_ALL")
        self.ran: list[tuple[dict[str, Any], bool, Any]] = []  # fields before, was it a fault, what Python made

    def compare(self, values: Sequence[Any]) -> bool:
        """Is it a fault? Asserts that both back ends say the same."""
        given = dict(zip((f for f in self.graph.fields if f != "out"), values, strict=True))
        state = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}
        memory = SimpleNamespace(**state, out=self.graph.fields["out"].default)
        try:
            with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
                self.step(None, memory)
            fault = False
        except Exception:
            fault = True
        before = self.layout.pack({**given, "out": self.graph.fields["out"].default})
        feed = {"scene": np.zeros(1, np.float32), "memory": before}
        action, reason, after, faulted = self.session.run(None, feed)
        told = f"{values}: Python {'fault' if fault else memory.out}, ONNX {'fault' if faulted[0] else after}"
        assert bool(faulted[0]) == fault, told
        assert (action[0], reason[0]) == (0, -1 if fault else 0), told
        out = self.layout.unpack(after)["out"]
        assert equal(out, memory.out), told
        assert not fault or equal(before, after), told
        self.ran.append(({**given, "out": self.graph.fields["out"].default}, fault, memory.out))
        return fault

    def compare_batch(self) -> None:
        """Asserts that one batch of everything compared so far gives the same, float sums included, bit by bit."""
        fields = self.graph.fields
        memory = {n: np.array([b[n] for b, _, _ in self.ran], start_batch(self.graph, 1)[n].dtype) for n in fields}
        result = step_batch(self.graph, np.zeros((len(self.ran), 1), np.float32), memory)
        for i, (before, fault, out) in enumerate(self.ran):
            told = f"{before}: Python {'fault' if fault else out}, batch {result.faults[i], result.memory['out'][i]}"
            assert bool(result.faults[i]) == fault, told
            assert equal(result.memory["out"][i], before["out"] if fault else out), told


def start_of(type: Type) -> Any:
    """A default of a type."""
    return START[type.kind] if type.shape is None else np.zeros(type.shape, DTYPE[type.kind])


def load(block: Block, field: str, type: Type) -> Value:
    """The memory field as a value."""
    op = Op("memory", [], {"field": field})
    op.results.append(Value(type, op))
    block.ops.append(op)
    return op.results[0]
