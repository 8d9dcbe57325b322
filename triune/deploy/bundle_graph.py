"""What a bundle's graph may not hold, looked up in its bytes before anything loads it.

Knows: the field numbers of ONNX messages that lead to nodes and tensors. Does not know: what a graph computes.
Refused: operators outside the standard set (they would need a library of the sender's), functions and training parts,
tensors kept in other files (a path of the sender's choice would be read here).
"""

from __future__ import annotations

from triune.deploy.protobuf import BYTES, VARINT, fields

STANDARD = ("", "ai.onnx")
DEEPEST = 24  # levels of graphs inside graphs
# message -> {field: message it holds}
_INSIDE = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_REFUSED = {
    ("model", 20): "it has a training part",
    ("model", 25): "it defines functions of its own",
    ("tensor", 13): "it keeps a tensor in another file",
}
_DOMAIN = {("node", 7), ("opset", 1)}
_LOCATION = ("tensor", 14)


class Foreign(ValueError):
    """Something that a bundle may not hold."""


def check_graph(model: bytes) -> None:
    """Foreign when the model asks for anything but standard operators on tensors of its own."""
    try:
        _check(model, "model", 0, len(model), 0)
    except ValueError as error:
        raise error if isinstance(error, Foreign) else Foreign(f"its graph is damaged ({error})") from None


def _check(data: bytes, message: str, start: int, stop: int, depth: int) -> None:
    if depth > DEEPEST:
        raise Foreign(f"its graphs are nested more than {DEEPEST} deep")
    inside = _INSIDE.get(message, {})
    for item in fields(data, start, stop):
        here = (message, item.number)
        if here in _REFUSED:
            raise Foreign(_REFUSED[here])
        if here == _LOCATION and item.wire == VARINT and item.value:
            raise Foreign(_REFUSED["tensor", 13])
        if item.wire != BYTES:
            continue
        if here in _DOMAIN:
            domain = data[item.start : item.stop].decode(errors="replace")
            if domain not in STANDARD:
                raise Foreign(f"it needs operators of {domain!r}, outside the ONNX standard")
        elif item.number in inside:
            child = inside[item.number]
            _check(data, child, item.start, item.stop, depth + (child == "graph"))
