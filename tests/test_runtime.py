"""Bundles: what is refused, what decides, and that numpy and onnxruntime are enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_kit import ROOT, copy_task, triune

from triune import bundle
from triune.errors import TriuneError

needs_eyes = pytest.mark.skipif(not (ROOT / "zoo/pong/perception.onnx").is_file(), reason="pong has no eyes yet")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of Pong, made by the command."""
    path = tmp_path_factory.mktemp("bundle") / "pong.onnx"
    result = triune("export", "pong", str(path))
    assert result.returncode == 0, result.stderr
    return path


def test_metadata_bytes_are_protobuf() -> None:
    # field 14, length 8: key "a" (field 1), value "bc" (field 2), written out by hand from the protobuf encoding
    assert bundle.metadata_bytes({"a": "bc"}) == bytes([0x72, 7, 0x0A, 1, 97, 0x12, 2, 98, 99])
    long = bundle.metadata_bytes({"k": "v" * 300})
    assert long[:3] == bytes([0x72, 0xB2, 0x02]) and len(long) == 3 + 3 + 3 + 300


def entries_of(packed: bytes, eyes: bytes) -> dict[str, str]:
    """Read the appended metadata back with a reader of its own."""
    found, at, data = {}, 0, packed[len(eyes) :]

    def chunk(start: int) -> tuple[bytes, int]:
        n = shift = 0
        while True:
            byte = data[start]
            n, shift, start = n | (byte & 127) << shift, shift + 7, start + 1
            if byte < 128:
                return data[start : start + n], start + n

    while at < len(data):
        end = chunk(at + 1)[1]
        key, middle = chunk(end - len(chunk(at + 1)[0]) + 1)
        found[key.decode()] = chunk(middle + 1)[0].decode()
        at = end
    return found


def test_every_changed_part_is_noticed() -> None:
    eyes, parts = b"weights", {"system.toml": "s", "policy.py": "p", "lib/ball": "b"}
    packed = bundle.pack(eyes, parts, {"task": "t", "protocol": {}})
    entries = entries_of(packed, eyes)
    assert bundle.unpack(packed, entries, "x")[1] == parts
    for key in entries:
        with pytest.raises(TriuneError, match="changed after"):
            bundle.unpack(packed, {**entries, key: entries[key] + " "}, "x")
    with pytest.raises(TriuneError, match="eyes"):
        bundle.unpack(b"W" + packed[1:], entries, "x")
    with pytest.raises(TriuneError, match="policy.py"):
        bundle.unpack(packed, {k: v for k, v in entries.items() if not k.endswith("policy.py")}, "x")
    with pytest.raises(TriuneError, match="lib/evil"):
        bundle.unpack(packed, {**entries, bundle.PART + "lib/evil": "x"}, "x")
    with pytest.raises(TriuneError, match="no bundle"):
        bundle.unpack(eyes, {}, "x")


ONLY = """
import sys
ALLOWED = {"numpy", "onnxruntime", "envs", "perception", "logic", "triune"}
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Wall())
try:
    import cv2
except ImportError as error:
    assert "blocked" in str(error)
else:
    raise SystemExit("the wall has a hole")
import numpy as np
from triune.runtime import Bundle
bot = Bundle.load(sys.argv[1])
state = bot.start()
rng = np.random.default_rng(0)
for _ in range(30):
    action, state, why = bot.step(rng.integers(0, 256, (210, 160, 3), dtype=np.uint8), state)
    assert 0 <= action < len(bot.actions) and why.action == bot.actions[action] and why.reason
print("fine", *sorted({m.split(".")[0] for m in sys.modules} & {"cv2", "gymnasium", "ale_py", "torch", "onnx"}))
"""


@needs_eyes
def test_numpy_and_onnxruntime_are_enough(exported: Path) -> None:
    result = subprocess.run([sys.executable, "-c", ONLY, str(exported)], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "fine", result.stderr


@needs_eyes
def test_a_bundle_decides_as_its_folder_does(exported: Path) -> None:
    import triune as front
    from triune.runtime import Bundle

    bot = Bundle.load(exported)
    state, other = bot.start(), bot.start()
    for step in front.load("pong").play(seed=5):
        action, state, why = bot.step(step.frame, state)
        assert (action, why.reason) == (step.decision.action, step.decision.reason)
        np.testing.assert_array_equal(why.scene.vector, step.scene.vector)
        if step.index % 7 == 0:  # another episode beside it does not disturb
            bot.step(np.zeros_like(step.frame), other)
        if step.index == 150:
            break


@needs_eyes
def test_wrong_frames_are_refused_in_words(exported: Path) -> None:
    from perception.errors import PerceptionError
    from triune.runtime import Bundle

    bot = Bundle.load(exported)
    for frame in (np.zeros((84, 84, 3), np.uint8), np.zeros((210, 160, 3), np.float32), np.zeros((210, 160), np.uint8)):
        with pytest.raises(PerceptionError, match=r"uint8\[210, 160, 3\]"):
            bot.step(frame, bot.start())


@needs_eyes
def test_tampered_truncated_and_strange_bundles_are_refused(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    at = data.rindex(b"def act(scene, memory)")
    (tmp_path / "bad.onnx").write_bytes(data[:at] + b"def Act" + data[at + 7 :])
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 3])
    (tmp_path / "eyes.onnx").write_bytes((ROOT / "zoo/pong/perception.onnx").read_bytes())
    for name, words in (("bad", "policy.py does not match"), ("cut", "damaged"), ("eyes", "no bundle")):
        for trust in ((), ("--trust",)):
            result = triune("run", f"{name}.onnx", "--steps", "3", *trust, "--json", cwd=tmp_path)
            assert result.returncode == 1 and words in json.loads(result.stdout)["error"]


@needs_eyes
def test_a_strangers_bundle_needs_trust(tmp_path: Path) -> None:
    copy_task(tmp_path / "mine")
    policy = tmp_path / "mine" / "policy.py"
    policy.write_text(policy.read_text() + "\n# mine\n")
    assert triune("export", "mine", "mine.onnx", "--trust", cwd=tmp_path).returncode == 0
    refused = triune("run", "mine.onnx", "--steps", "3", cwd=tmp_path)
    assert refused.returncode == 1 and "--trust" in refused.stderr
    assert triune("run", "mine.onnx", "--steps", "3", "--trust", cwd=tmp_path).returncode == 0


@needs_eyes
def test_run_on_the_game_logs_and_shadow_sends_the_fallback(exported: Path, tmp_path: Path) -> None:
    words = ("run", str(exported), "--steps", "120", "--json")
    played = json.loads(triune(*words, "--log", "log.jsonl", cwd=tmp_path).stdout)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert played["steps"] == len(lines) == 120 and sum(played["reasons"].values()) == 120
    assert {line["action"] for line in lines} - {"NOOP"}
    shadow = json.loads(triune(*words, "--shadow", "--log", "shadow.jsonl", cwd=tmp_path).stdout)
    # nobody carries the decisions out, so the same episode ends otherwise
    assert shadow["reasons"] != played["reasons"]
    assert shadow["shadow"] and shadow["steps"] == 120
    assert {json.loads(line)["proposed"] for line in (tmp_path / "shadow.jsonl").read_text().splitlines()} - {"NOOP"}


@needs_eyes
def test_run_on_a_video(exported: Path, tmp_path: Path) -> None:
    import cv2

    for name, size in (("native.avi", (160, 210)), ("small.avi", (80, 80))):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 15, size)
        for _ in range(12):
            writer.write(np.zeros((size[1], size[0], 3), np.uint8))
        writer.release()
    good = triune("run", str(exported), "--source", "native.avi", "--json", cwd=tmp_path)
    assert json.loads(good.stdout)["steps"] == 12
    for source, words in (("small.avi", "[210, 160, 3]"), ("gone.mp4", "no such source")):
        bad = triune("run", str(exported), "--source", source, cwd=tmp_path)
        assert bad.returncode == 1 and words in bad.stderr and "Traceback" not in bad.stderr
