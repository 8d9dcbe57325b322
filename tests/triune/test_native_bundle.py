"""The native bundle: it decides as play does, in Python and in C, and refuses what it was not given by an export."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from bundle_kit import ROOT, compiled, fuzz, small
from cli_kit import inside

import native
import triune
from triune import native_bundle, runtime
from triune.deploy.native import export_native
from triune.errors import TriuneError
from triune.play import play
from triune.runtime import Bundle

pytestmark = pytest.mark.skipif(not native.available(), reason=f"the native engine: {native.why_not()}")
COMPILERS = [c for c in ("clang", os.environ.get("CC", "cc")) if shutil.which(c)]
STEPS = 60


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "pong.triune"
    export_native(triune.load("pong"), path, frames=8)
    return path


def again(data: bytes, **changed: bytes) -> bytes:
    """With other sections, and a checksum that is right."""
    return native_bundle.pack(native_bundle.unpack(data) | changed)


def forged(data: bytes, **changed: bytes) -> bytes:
    """The same, and the manifest's hashes are right too: what only the engine can refuse."""
    sections = native_bundle.unpack(data) | changed
    told, texts = json.loads(sections.pop("manifest")[:-1]), json.loads(sections.pop("parts"))
    return runtime.pack_native(sections, texts, told)


def refusal(data: bytes) -> str:
    with pytest.raises(TriuneError) as error:
        Bundle.parse(data, "x.triune")
    return str(error.value)


# ----------------------------------------------------------------------------------------------------
# What it decides.


def test_it_decides_as_play_does(exported: Path) -> None:
    bot = Bundle.load(exported, clock=lambda: 0.0)
    state, actions = bot.start(), set()
    for step in play(triune.load("pong"), seed=3):
        action, state, why = bot.step(step.frame, state)
        decision = step.decision
        assert (action, why.reason, why.overruled_by) == (decision.action, decision.reason, decision.overruled_by)
        assert why.proposed == bot.actions[decision.proposed] and not why.fault
        actions.add(action)
        if step.index == STEPS:
            break
    assert len(actions) > 1


def test_states_are_values(exported: Path) -> None:
    bot, frames = Bundle.load(exported, 1e9), np.random.default_rng(0).integers(0, 256, (5, 210, 160, 3), np.uint8)
    state, states = bot.start(), []
    for frame in frames:
        states.append((state, *bot.step(frame, state)))
        state = states[-1][2]
    for (before, action, after, why), frame in zip(states[::-1], frames[::-1], strict=True):
        once_more = bot.step(frame, before)
        assert (once_more[0], once_more[1].memory.tobytes()) == (action, after.memory.tobytes())
        assert once_more[2].scene.vector.tobytes() == why.scene.vector.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        state.memory[0] = 1


@pytest.mark.parametrize(
    "compiler", [*COMPILERS[:1], *(pytest.param(c, marks=pytest.mark.slow) for c in COMPILERS[1:])]
)
def test_a_program_in_c_decides_the_same(exported: Path, tmp_path: Path, compiler: str) -> None:
    made = compiled(compiler, ROOT / "examples" / "bundle_plain.c", tmp_path / "plain", ["-Wall", "-Wextra", "-Werror"])
    assert made.returncode == 0, made.stderr
    bot, state, frames, wanted = Bundle.load(exported, 1e9), None, [], []
    for step in play(triune.load("pong"), seed=3):
        action, state, why = bot.step(step.frame, state or bot.start())
        frames.append(step.frame.tobytes())
        wanted.append(f"{bot.actions[action]} {why.reason}")
        if step.index == STEPS:
            break
    ran = subprocess.run([tmp_path / "plain", exported], input=b"".join(frames), capture_output=True)
    assert ran.stdout.decode().splitlines() == wanted
    (tmp_path / "cut.triune").write_bytes(exported.read_bytes()[:-1])
    ran = subprocess.run([tmp_path / "plain", tmp_path / "cut.triune"], input=b"", capture_output=True)
    assert ran.returncode == 1 and b"it is damaged" in ran.stderr


def test_controls_and_a_window_are_remembered() -> None:
    """Of a bundle with controls, past frames are part of the state: to go on from it is to go on."""
    session = native_bundle.NativeSession(small(3))
    frames = np.random.default_rng(1).integers(0, 256, (6, *session.frame), np.uint8)
    state, made = session.start, []
    for frame in frames:
        made.append(session.run(runtime.OUTPUTS, {"frame": frame, "memory": state}))
        state = made[-1][5]
    assert {m[0].shape for m in made} == {(2,)} and len({m[0].tobytes() for m in made}) > 1
    for i in (4, 1, 5):
        found = session.run(runtime.OUTPUTS, {"frame": frames[i], "memory": made[i - 1][5]})
        assert [a.tobytes() for a in found] == [a.tobytes() for a in made[i]]


# ----------------------------------------------------------------------------------------------------
# What it refuses.


def test_damaged_files_are_refused_in_words(exported: Path) -> None:
    data, rng = exported.read_bytes(), np.random.default_rng(0)
    for cut in (0, 7, 8, 11, 12, 15, 16, 63, 64, 65, len(data) // 2, len(data) - 1):
        assert "x.triune" in refusal(data[:cut])
        with pytest.raises(ValueError):
            native.engine.bundle_open(data[:cut])
    assert "damaged or changed" in refusal(data + bytes(64))
    for at in rng.integers(12, len(data), 12):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << rng.integers(8)
        assert "damaged or changed" in refusal(bytes(spoilt))
    newer = data[:8] + struct.pack("<I", 2) + data[12:]
    assert "version 2 of the native form, this Triune reads 1" in refusal(newer)


def test_changed_parts_do_not_match_their_hashes(exported: Path) -> None:
    data = exported.read_bytes()
    sections = native_bundle.unpack(data)
    texts = json.loads(sections["parts"])
    texts["policy.py"] += "\n"
    assert "policy.py does not match its hash" in refusal(again(data, parts=json.dumps(texts).encode()))
    for name in native_bundle.SECTIONS[2:]:
        assert f"{name} does not match its hash" in refusal(again(data, **{name: sections[name] + b"\0\0\0\0"}))
    assert "manifest" in refusal(again(data, manifest=b"[]\0"))
    told = json.loads(sections["manifest"][:-1])
    assert "bundle format 9" in refusal(again(data, manifest=json.dumps(told | {"format": 9}).encode() + b"\0"))


def test_what_only_the_engine_can_refuse(exported: Path) -> None:
    data = exported.read_bytes()
    sections = native_bundle.unpack(data)
    numbers = np.frombuffer(sections["numbers"], "<i4").copy()
    numbers[1] = 1 << 20
    changes: dict[str, dict[str, bytes]] = {
        "its parts speak of different scenes": {"names": native_bundle.names([["A"], [], [], []])},
        "its memory begins otherwise": {"start": sections["start"][:-8]},
        "its controls have no bounds": {"bounds": bytes(8)},
        "a program is refused": {"decider": sections["decider"][:-4]},
        "its programs are none of a bundle": {"decider": sections["tracker"]},
        "half a number": {"weights": sections["weights"][:-1]},
        "there is more than its names": {"names": sections["names"] + b"x"},
        "a number of it is out of range": {"numbers": numbers.tobytes()},
    }
    for words, change in changes.items():
        assert words in refusal(forged(data, **change))
    told = json.loads(sections["manifest"][:-1])
    told["actions"] = told["actions"][::-1]
    swapped = again(data, manifest=json.dumps(told).encode() + b"\0")
    assert "are not those that its manifest promises" in refusal(swapped)


def test_without_the_engine_it_says_what_is_needed(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "engine", None)
    monkeypatch.setattr(native, "_lack", f"it was not built; {native.FIX}")
    assert "needs the native engine: it was not built; install Triune where a C compiler" in refusal(
        exported.read_bytes()
    )


def test_tampered_sections_are_refused_or_run() -> None:
    """The checksum is right each time, so that the reader behind it is what is asked."""
    rng, refused = np.random.default_rng(0), 0
    for seed in (0, 3, 7):
        data = small(seed)
        frame = np.zeros(native_bundle.NativeSession(data).frame, np.uint8)
        for _ in range(150):
            spoilt = bytearray(data)
            for at in rng.integers(16, len(data) // 4, rng.integers(1, 4)):
                value = rng.choice([0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, rng.integers(2**32)])
                spoilt[4 * at : 4 * at + 4] = struct.pack("<I", value)
            spoilt[12:16] = struct.pack("<I", zlib.crc32(spoilt[16:]))
            try:
                session = native_bundle.NativeSession(bytes(spoilt))
            except ValueError as error:
                refused += bool(str(error))
                continue
            if session.frame == frame.shape:
                session.run(runtime.OUTPUTS, {"frame": frame, "memory": session.start})
    assert 10 < refused < 440


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_memory_is_kept_under_sanitizers(tmp_path: Path, compiler: str) -> None:
    try:
        counts = fuzz(40, compiler, tmp_path)
    except RuntimeError as error:
        if "-lasan" in str(error) or "libclang_rt" in str(error):
            pytest.skip(f"{compiler} has no address sanitizer")
        raise
    assert all(min(map(int, re.findall(r"\d+", line))) > 50 for line in counts.splitlines())


# ----------------------------------------------------------------------------------------------------
# What is said of it.


def test_every_function_of_the_header_is_documented() -> None:
    header = (ROOT / "native" / "triune.h").read_text()
    functions = set(re.findall(r"\b(triune_[a-z]+)\(", header))
    told = (ROOT / "docs" / "bundle.md").read_text()
    assert len(functions) >= 11 and not [f for f in sorted(functions) if f not in told]


def test_run_plays_it(exported: Path) -> None:
    result = inside("run", str(exported), "--steps", "20", "--json")
    assert result.returncode == 0, result.stderr
