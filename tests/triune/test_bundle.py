"""The bundle's file: its format, and everything that is refused before anything loads it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from perception import protobuf
from perception.graph import Foreign, check_graph
from triune import runtime as bundle
from triune.errors import TriuneError

PARTS = {"system.toml": "s", "policy.py": "p", "lib/ball": "b"}


def model(*nodes: onnx.NodeProto, constants: Any = (), domain: str = "") -> onnx.ModelProto:
    """A model of these nodes from x to y."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    held = [numpy_helper.from_array(np.array(True), "c"), *constants]
    graph = helper.make_graph(nodes or [helper.make_node("Neg", ["x"], ["y"])], "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), *(
        [helper.make_opsetid(domain, 1)] if domain else [])])  # fmt: skip


def about(**changes: Any) -> dict[str, Any]:
    """A manifest with every key."""
    made: dict[str, Any] = dict.fromkeys(bundle.NEEDED, "")
    return made | {"memory": {"size": 3, "start": [[1, 7.0], [2, "NaN"]]}, **changes}


PLAIN = model().SerializeToString()
PACKED = bundle.pack(PLAIN, PARTS, about())


def entries_of(packed: bytes) -> dict[str, str]:
    """The metadata, read by the onnx package."""
    return {p.key: p.value for p in onnx.load_model_from_string(packed).metadata_props}


def repacked(entries: dict[str, str]) -> bytes:
    return PLAIN + bundle.metadata_bytes(entries)


def test_metadata_bytes_are_protobuf() -> None:
    # field 14, length 8: key "a" (field 1), value "bc" (field 2), written out by hand from the protobuf encoding
    assert bundle.metadata_bytes({"a": "bc"}) == bytes([0x72, 7, 0x0A, 1, 97, 0x12, 2, 98, 99])
    long = bundle.metadata_bytes({"k": "v" * 300})
    assert long[:3] == bytes([0x72, 0xB2, 0x02]) and len(long) == 3 + 3 + 3 + 300


def test_fields_of_every_wire_type_and_of_nonsense() -> None:
    data = bytes([0x08, 0x96, 0x01, 0x15, 1, 2, 3, 4, 0x19, *range(8), 0x22, 2, 9, 9])
    assert [(f.number, f.wire, f.value, f.stop - f.start) for f in protobuf.fields(data)] == [
        (1, 0, 150, 2), (2, 5, 0, 4), (3, 1, 0, 8), (4, 2, 0, 2)
    ]  # fmt: skip
    for bad in (b"\x22\x05abc", b"\x08", b"\x08" + b"\xff" * 12, b"\x0b", b"\x00\x00"):
        with pytest.raises(ValueError):
            list(protobuf.fields(bad))


def test_what_was_packed_is_read_and_any_onnx_tool_reads_it_too() -> None:
    contents = bundle.read(PACKED, "x")
    assert contents.parts == PARTS and contents.manifest["memory"]["size"] == 3
    assert entries_of(PACKED)["triune.bundle.format"] == "2"
    assert json.loads(entries_of(PACKED)[bundle.MANIFEST])["hashes"].keys() == {*PARTS, "graph"}


def test_every_changed_added_or_removed_part_is_noticed() -> None:
    entries = entries_of(PACKED)
    assert bundle.read(repacked(entries), "x").parts == PARTS
    for key in entries:
        changed = {**entries, key: entries[key] + " "}
        with pytest.raises(TriuneError, match="changed after|format 2 |pip install"):
            bundle.read(repacked(changed), "x")
        if key != bundle.MANIFEST:
            with pytest.raises(TriuneError, match="changed after|format 1"):
                bundle.read(repacked({k: v for k, v in entries.items() if k != key}), "x")
    for key in (bundle.PART + "lib/evil", "triune.other"):
        with pytest.raises(TriuneError, match="changed after"):
            bundle.read(repacked({**entries, key: "x"}), "x")
    with pytest.raises(TriuneError, match="no bundle"):
        bundle.read(PLAIN, "x")


def test_a_changed_graph_is_noticed_wherever_the_change_stands() -> None:
    at = PACKED.index(b"Neg")
    with pytest.raises(TriuneError, match="graph does not match"):
        bundle.read(PACKED[:at] + b"Abs" + PACKED[at + 3 :], "x")
    # protobuf merges a second graph field into the first: one that is appended would add nodes
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["z"])], "g", [], [])
    more = protobuf.field(7, graph.SerializeToString())
    assert len(onnx.load_model_from_string(PACKED + more).graph.node) == 2
    for strange in (PACKED + more, PACKED + b"\x08\x0a", more + PACKED):
        with pytest.raises(TriuneError, match="changed after"):
            bundle.read(strange, "x")
    with pytest.raises(TriuneError, match="a second"):
        bundle.read(PACKED + bundle.metadata_bytes({bundle.PART + "policy.py": "other"}), "x")


@pytest.mark.parametrize("cut", [0, 1, 10, len(PLAIN) - 1, len(PLAIN) + 5, len(PACKED) - 1])
def test_truncated_files_are_damaged_in_words(cut: int) -> None:
    with pytest.raises(TriuneError, match="damaged|no bundle"):
        bundle.read(PACKED[:cut], "x")


def test_no_file_makes_the_reader_crash() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(PACKED)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        if bytes(data) != PACKED:
            with pytest.raises(TriuneError):
                bundle.read(bytes(data), "x")


def test_other_formats_say_what_to_do() -> None:
    entries = entries_of(PACKED)
    newer = {**entries, "triune.bundle.format": "3", "triune.bundle.reader": "0.9.1"}
    with pytest.raises(TriuneError, match=r"format 3.*0\.9\.1 reads it"):
        bundle.read(repacked(newer), "x")
    del newer["triune.bundle.reader"]
    with pytest.raises(TriuneError, match=r"format 3.*Triune a newer version reads it"):
        bundle.read(repacked(newer), "x")
    old = {bundle.MANIFEST: json.dumps({"format": "1"})}
    with pytest.raises(TriuneError, match="export it again"):
        bundle.read(repacked(old), "old.onnx")


def test_limits() -> None:
    for memory, words in (
        ({"size": 2**40, "start": []}, "wants a memory of"), ({"size": 0, "start": []}, "wants a memory of"),
        ({"size": 2, "start": [[2, 1.0]]}, "outside its memory"), ({"size": 2, "start": [[-1, 1.0]]}, "outside"),
        ({"size": 2}, "makes no sense"), ([], "makes no sense"), ({"size": 2, "start": [["a", 1]]}, "makes no sense"),
    ):  # fmt: skip
        with pytest.raises(TriuneError, match=words):
            bundle.read(bundle.pack(PLAIN, PARTS, about(memory=memory)), "x")
    with pytest.raises(TriuneError, match="x has 64 MiB, a bundle has at most 64"):
        bundle.read(bytes(2**26 + 1), "x")
    with pytest.raises(TriuneError, match="damaged"):
        bundle.read(bytes(2**26), "x")
    with pytest.raises(TriuneError, match="lacks rules"):
        bundle.read(bundle.pack(PLAIN, PARTS, {k: v for k, v in about().items() if k != "rules"}), "x")


def forged(text: str | None = None, parts: dict[str, str] = PARTS, **changes: Any) -> bytes:
    """A bundle whose manifest says this, with all its hashes right."""
    about_parts = {name: bundle.digest(part) for name, part in parts.items()} | {"graph": bundle.digest(PLAIN)}
    told = about(format=2, reader=bundle.__version__, graph_bytes=len(PLAIN), hashes=about_parts) | changes
    text = json.dumps(told) if text is None else text
    entries = {bundle.PART + name: part for name, part in parts.items()} | {bundle.MANIFEST: text}
    entries |= {bundle.DIGEST: bundle.digest(text)}
    return repacked(entries | {bundle.FORMAT_KEY: "2", bundle.READER: bundle.__version__})


ODD = r"x has a manifest that makes no sense \(graph_bytes, hashes\)"
MEMORY = r"x has a manifest that makes no sense \(memory\)"


@pytest.mark.parametrize(
    "data, words",
    [
        (forged("[]"), "x has a manifest that is no JSON object"),
        (forged("{"), "x has a manifest that is no JSON object"),
        (forged(json.dumps({"format": 2})), f"x lacks {', '.join(bundle.NEEDED)} in its manifest"),
        (forged(format=3), r"changed after it was exported \(the format does"),
        (forged(reader="0.0"), r"\(the format does"),
        (forged(graph_bytes="9"), ODD), (forged(graph_bytes=0), ODD), (forged(graph_bytes=2**26 + 1), ODD),
        (forged(hashes=[]), ODD), (forged(graph_bytes=1), r"\(graph does"),
        (forged(graph_bytes=2**26), r"\(graph does"),
        (forged(hashes={}), r"\(graph, lib/ball, policy.py, system.toml does not match"),
        (PACKED + b"\x08\x0a", r"\(what stands after the graph does not"),
        (repacked(entries_of(PACKED) | {"more": ""}), r"\(more does"),
        (forged(parts={"policy.py": "p"}), "x lacks system.toml or policy.py"),
        (forged(parts={"system.toml": "s", "lib/a": ""}), "x lacks system.toml or policy.py"),
        (forged(memory={"size": 2**22 + 1, "start": []}), "memory of 4194305 values, a bundle has 1 to 4194304"),
        (forged(memory={"size": 0, "start": []}), "memory of 0 values"),
        (forged(memory={"size": float("inf"), "start": []}), MEMORY), (forged(memory=3), MEMORY),
        (forged(memory={"size": "x", "start": []}), MEMORY), (forged(memory={"size": 1}), MEMORY),
        (forged(memory={"size": 1, "start": 3}), MEMORY),
        (forged(memory={"size": 2, "start": [[0, 1], [2, 1]]}), "x has start values outside its memory"),
        (forged(memory={"size": 2, "start": [[-1, 1], [0, 1]]}), "x has start values outside its memory"),
    ],
)  # fmt: skip
def test_what_is_refused_names_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(TriuneError, match=words):
        bundle.read(data, "x")


@pytest.mark.parametrize("memory", [{"size": 1, "start": [[0, 1]]}, {"size": 2**22, "start": [[2**22 - 1, "NaN"]]}])
def test_what_is_just_allowed(memory: dict[str, Any]) -> None:
    assert bundle.read(forged(memory=memory, parts={"system.toml": "", "policy.py": ""}), "x").manifest["graph_bytes"]


def test_metadata_ends_where_something_else_does() -> None:
    some = bundle.metadata_bytes({"a": "b"})
    odd = protobuf.field(14, protobuf.field(2, b"v") + b"\x18\x01" + protobuf.field(5, b"w"))  # with fields unknown
    for data, found in (
        (some, ({"a": "b"}, 0)), (b"\x08\x01" + some, ({"a": "b"}, 2)), (b"\x70\x01" + some, ({"a": "b"}, 2)),
        (protobuf.field(14, protobuf.field(1, b"k")), ({"k": ""}, 0)),
        (some + b"\x08\x01" + odd, ({"a": "b", "": "v"}, len(some) + 2)), (b"", ({}, 0)),
    ):  # fmt: skip
        assert bundle.metadata(data, "x") == found


def test_what_is_packed_is_plain_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        bundle.pack(PLAIN, PARTS, about(title=float("nan")))
    told = bundle.read(bundle.pack(PLAIN, PARTS, about(format=9, graph_bytes=1)), "x").manifest
    assert (told["format"], told["graph_bytes"]) == (2, len(PLAIN))


def inside(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node in a branch."""
    out = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])]
    branches = [helper.make_graph([n], "b", [], out) for n in (helper.make_node("Neg", ["x"], ["z"]), node)]
    return helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])


def elsewhere() -> onnx.TensorProto:
    """A tensor whose data lie in a file of the sender's choice."""
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "far")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def test_foreign_operators_and_files_are_refused_before_loading() -> None:
    odd = helper.make_node("Run", ["x"], ["z"], domain="evil")
    function = model()
    function.functions.add(name="f", domain="mine")
    deep = helper.make_node("Neg", ["x"], ["z"])
    for _ in range(30):
        deep = inside(deep)
    held = helper.make_node("Constant", [], ["y"], value=elsewhere())
    for wrong, words in (
        (model(odd), "'evil'"), (model(inside(odd)), "'evil'"), (model(domain="com.microsoft"), "'com.microsoft'"),
        (model(constants=[elsewhere()]), "another file"), (model(held), "operator Constant"),
        (model(inside(held)), "operator Constant"), (function, "functions"), (model(deep), "deep"),
    ):  # fmt: skip
        with pytest.raises(Foreign, match=words):
            check_graph(wrong.SerializeToString())
    check_graph(model(inside(helper.make_node("Neg", ["x"], ["z"]))).SerializeToString())
