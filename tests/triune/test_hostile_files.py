"""Each kind of foreign file in each hostile form: the loader answers with the error of its layer, and never waits."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_kit import inside

from data_flywheel.datasets import curation
from data_flywheel.datasets.frozen import FrozenSet
from data_flywheel.episodes.episode import Episode
from data_flywheel.episodes.frame_buffer import KeptFrames
from data_flywheel.episodes.recording import Recording
from data_flywheel.errors import DataError
from data_flywheel.labelers.causal.colours import colour_teachers
from data_flywheel.labelers.causal.masks import Catalogue
from data_flywheel.labelers.teacher import load_teacher
from data_flywheel.labels.expected import read_clips
from data_flywheel.labels.review_queue import ReviewQueue
from data_flywheel.labels.store import LabelStore
from data_flywheel.storage.dataset import Dataset
from envs.actions import Discrete
from envs.errors import EnvError
from envs.files import KINDS
from envs.spec import ZOO, load_spec
from logic.errors import LogicError
from logic.runtime import regression
from perception.drift import load as load_ranges
from perception.drift import scene_parts
from perception.errors import PerceptionError
from perception.scene import SceneSchema
from perception.training.data import Samples
from perception.weights import read_weights
from supervisor import events
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import SeedLedger
from supervisor.loop.folder import Blobs, read_lines
from supervisor.proposers import replay
from triune.errors import TriuneError
from triune.live.labels import read_labels
from triune.play.evaluation import Run
from triune.play.evaluator import GameStore
from triune.play.film import Film
from triune.report.card import read_scores
from triune.runtime import Bundle, field
from triune.system import load

SCHEMA = SceneSchema.from_config(load_spec("pong").scene)
SHA = "0" * 64


def nested() -> bytes:
    return b"[" * 200_000 + b"\n"


def bomb() -> bytes:
    """An npz whose directory promises 8 GiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (8 << 30,)})
        archive.writestr("header.npy", head.getvalue())
        archive.writestr("frames.npy", head.getvalue())
    return buffer.getvalue()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unreadable(path: Path) -> None:
    path.write_bytes(b"{}")
    path.chmod(0)


def sock(path: Path) -> None:
    there = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(there)


def data(made: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(made)


FORMS: dict[str, Callable[[Path], object]] = {
    "pipe": fifo, "device": device, "folder": Path.mkdir, "socket": sock, "circle": lambda p: p.symlink_to(p.name),
    "dangling": lambda p: p.symlink_to("nowhere"), "empty": data(b""), "binary": data(bytes(range(256)) * 9),
    "bad utf-8": data(b'{"a": "\xff\xfe"}'), "nul": data(b'{"a": 1}\0'), "utf-16": data('{"a": 1}\n'.encode("utf-16")),
    "nested": data(nested()), "digits": data(b"9" * 100_000), "null": data(b"null\n"), "list": data(b"[]\n"),
    "object": data(b"{}\n"), "bom crlf": data(b"\xef\xbb\xbf{}\r\n\r\n"), "bomb": data(bomb()),
    "zip": data(b"PK\3\4" * 9),
    "huge": lambda p: (p.touch(), os.truncate(p, 300 << 30)),
}  # fmt: skip
if os.geteuid():
    FORMS["unreadable"] = unreadable  # root reads it all the same


def task(path: Path) -> Path:
    """A task's folder around the file, the rest of it sound."""
    for name in ("system.toml", "policy.py", "safety.py", "perception.onnx"):
        if name != path.name:
            shutil.copyfile(ZOO / "cartpole" / name, path.parent / name)
    return path.parent


# kind -> the file's name, who reads it, the error of that layer; None: nothing there is an answer too
READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception] | None]] = {
    "system.toml": ("system.toml", lambda p: load(p.parent), EnvError),
    "policy": ("policy.py", lambda p: load(task(p)).logic(), TriuneError),
    "safety text": ("safety.py", lambda p: load(task(p)).logic(), TriuneError),
    "weights": ("perception.onnx", lambda p: load(task(p)).detector(), PerceptionError),
    "trainable weights": (
        "perception.safetensors",
        lambda p: read_weights(task(p) / "perception.onnx"),
        PerceptionError,
    ),
    "hashes": ("perception.onnx", lambda p: load(task(p)).hashes(), TriuneError),
    "teacher": ("teacher.py", lambda p: load_teacher(task(p)), DataError),
    "lock": ("x.json", lambda p: regression.read(p, SCHEMA), LogicError),
    "score card": ("scores.json", lambda p: read_scores(p.parent), None),
    "drift ranges": ("ranges.json", lambda p: load_ranges(p, SHA, scene_parts(SCHEMA)), PerceptionError),
    "bundle": ("x.onnx", Bundle.load, TriuneError),
    "triune catalogue": ("catalogue.json", Catalogue.load, DataError),
    "colour teachers": ("x.toml", colour_teachers, DataError),
    "triune episode": ("x.npz", Episode.load, DataError),
    "triune frames": ("x.npz", lambda p: KeptFrames.load(p, "x"), DataError),
    "samples": ("x.npz", Samples.load, PerceptionError),
    "data set manifest": ("manifest.json", lambda p: Dataset(p.parent), DataError),
    "recording manifest": ("recording.json", lambda p: Recording(p.parent), DataError),
    "labels manifest": ("labels.json", lambda p: LabelStore(p.parent), DataError),
    "triune review queue": ("x.json", ReviewQueue.load, DataError),
    "triune frozen set": ("x.json", FrozenSet.load, DataError),
    "triune curation": ("curation.json", lambda p: curation.read(p.parent), DataError),
    "run record": ("run.json", lambda p: Run.read(p.parent), TriuneError),
    "games": ("games.jsonl", lambda p: GameStore(p, {}), TriuneError),
    "exchanges": ("x.jsonl", replay.exchanges, SupervisorError),
    "seeds": ("seeds.jsonl", SeedLedger.open, SupervisorError),
    "trials": ("trials.jsonl", lambda p: read_lines(p.parent), SupervisorError),
    "events": ("events.jsonl", events.read, SupervisorError),
    "triune expected actions": ("x.json", lambda p: read_clips(p, Discrete(("NOOP",))), DataError),
    "boxes": ("x.json", lambda p: read_labels(p, SCHEMA, (210, 160)), TriuneError),
    "picture": ("x.png", lambda p: list(Film(str(p.parent))), TriuneError),
    "blob": (SHA, lambda p: Blobs(p.parent).get(p.name), SupervisorError),
}
# What is no damage: no file of lines, an empty one, and what a kill left after the last whole line.
TORN = {"empty", "dangling", "circle", "bad utf-8", "nul", "digits", "zip", "bomb"}
REGULAR = FORMS.keys() - {"pipe", "device", "folder", "socket", "circle", "dangling", "huge", "unreadable"}
SOUND = {
    "score card": FORMS.keys(), "hashes": REGULAR, "games": TORN, "seeds": TORN, "events": TORN,
    "trials": {"empty", "dangling", "circle"}, "exchanges": {"empty", "folder"}, "safety text": {"empty"},
    "colour teachers": {"empty"}, "picture": REGULAR,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", READERS)
def test_a_hostile_file_is_an_error_of_its_layer(tmp_path: Path, kind: str, form: str) -> None:
    name, read, error = READERS[kind]
    path = tmp_path / name
    FORMS[form](path)
    expected = (error or TriuneError, LogicError) if error is TriuneError else (error or TriuneError,)
    try:  # LogicError: what is text but no policy does not compile
        read(path)
    except expected as said:
        assert error and str(said)
    else:
        assert form in SOUND.get(kind, ())


COMMANDS = {
    "system.toml": ("check", "."), "policy.py": ("check", "."), "safety.py": ("check", "."),
    "perception.onnx": ("check", "."), "x.py": ("check", "x.py", "--task", "cartpole"),
    "x.onnx": ("run", "x.onnx"), "gate.json": ("improve", ".", "--gate", "gate.json", "--proposer", "tuner"),
    "requests.json": ("curate", "pool", "--frames", "1", "--out", "out", "--requests", "requests.json"),
    "x.npz": ("explain", ".", "--episode", "x.npz"), "queue.json": ("review", ".", "--queue", "queue.json"),
    "x.jsonl": ("migrate", "x.jsonl", "new.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["pipe", "nested"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_so_in_a_line(tmp_path: Path, name: str, form: str) -> None:
    FORMS[form](tmp_path / name)
    task(tmp_path / name)
    done = inside(*COMMANDS[name], "--json", cwd=tmp_path)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert told.get("error") or not told["ok"]


def test_a_video_may_not_be_a_pipe(tmp_path: Path) -> None:
    from triune.play.film import Film

    lists: dict[str, Callable[[Path], object]] = {
        "m3u": data(b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "concat": data(b"ffconcat version 1.0\nfile /etc/passwd\n"),
        "sdp": data(b"v=0\nc=IN IP4 192.0.2.1\nm=video 5004 RTP/AVP 96\n"),
    }  # fmt: skip
    for form in ("pipe", "folder", "dangling", "circle", "empty", "binary", *lists):
        path = tmp_path / form.replace(" ", "")
        (FORMS | lists)[form](path)
        with pytest.raises(TriuneError, match=f"{path.name}.*(is text or empty)" if form in lists else path.name):
            list(Film(str(path)))


@pytest.mark.parametrize("form", ["pipe", "device", "socket", "huge"])
@pytest.mark.parametrize("name", ["catalogue.json", "locks/a.json", "lineage/x"])
def test_a_copy_of_a_task_waits_for_nothing_and_ends(tmp_path: Path, name: str, form: str) -> None:
    from triune.commands.improve_setup import copy_folder

    there = tmp_path / "there"
    (there / name).parent.mkdir(parents=True)
    FORMS[form](there / name)
    task(there / "x")
    try:
        copy_folder(load(there), tmp_path / "out", history=True)
    except TriuneError as said:
        assert (there / name).name in str(said)
    assert not (tmp_path / "out" / name).is_fifo() and not (tmp_path / "out" / name).is_file()


def test_what_a_header_does_not_name_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are known before anything is inflated: the file's, and then those of its arrays."""
    from data_flywheel.storage.container import pack, unpack
    from envs import arrays

    class Lied(Exception):
        pass

    def inflated(*_: object) -> None:
        raise Lied

    big = pack("k", 1, {}, {"a": np.zeros(1 << 20, np.uint8)})
    monkeypatch.setattr(arrays, "MOST_INFLATED", 1 << 19)
    with pytest.raises(DataError, match="1048[0-9]* bytes, 524288 are read at most"):
        unpack(big, "k", 1, "x.npz", "fetch it again")
    assert unpack(pack("k", 1, {}, {"a": np.zeros(1 << 18, np.uint8)}), "k", 1, "x.npz", "")[1]["a"].size == 1 << 18
    stuffed = io.BytesIO(pack("k", 1, {}, {"a": np.zeros(9)}))
    with zipfile.ZipFile(stuffed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(1 << 21))
    assert unpack(stuffed.getvalue(), "k", 1, "x.npz", "")[1].keys() == {"a"}
    swollen = io.BytesIO()
    np.savez_compressed(swollen, header=np.zeros(65 << 20, np.uint8))
    monkeypatch.setattr(arrays, "MOST_INFLATED", 1 << 40)
    monkeypatch.setattr(np.lib.format, "read_array", inflated)
    with pytest.raises(DataError, match="67108864 are read at most"):
        unpack(swollen.getvalue(), "k", 1, "x.npz", "")


ELSEWHERE = [("../esc", "p"), ("t", "../../esc"), ("a/b", "p"), ("t", "a\\b"), (".t", "p"), ("t\n", "p")]


@pytest.mark.parametrize("meta", ELSEWHERE)
def test_an_episode_cannot_name_a_file_elsewhere(meta: tuple[str, str]) -> None:
    from types import SimpleNamespace

    from data_flywheel.episodes.recording import name_of
    from data_flywheel.storage.container import pack

    episode = SimpleNamespace(meta={"task": meta[0], "protocol": meta[1], "seed": 0})
    with pytest.raises(DataError, match="cannot name a file"):
        name_of(episode, pack("k", 1, {}, {}))  # type: ignore[arg-type]
    episode.meta = {"task": "my task", "protocol": "p", "seed": 0}
    assert name_of(episode, pack("k", 1, {}, {})).startswith("my task-p-seed0-")  # type: ignore[arg-type]


def test_text_as_windows_saves_it_is_accepted(tmp_path: Path) -> None:
    for name in ("system.toml", "policy.py", "safety.py"):
        text = (ZOO / "cartpole" / name).read_text()
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    shutil.copyfile(ZOO / "cartpole" / "perception.onnx", tmp_path / "perception.onnx")
    theirs, ours = load(tmp_path), load("cartpole")
    assert theirs.texts == ours.texts and theirs.schema.fingerprint == ours.schema.fingerprint
    done = inside("check", ".", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["ok"]


def test_a_link_out_of_a_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "secret").write_text("password\n")
    for name, (_, read, error) in {n: READERS[n] for n in ("system.toml", "policy", "safety text", "weights")}.items():
        path = tmp_path / "task" / READERS[name][0]
        path.unlink(missing_ok=True)
        path.symlink_to("../secret")
        assert error
        with pytest.raises(error, match="link out of") as said:
            read(path)
        assert "password" not in str(said.value)
        path.unlink()


@pytest.mark.parametrize(
    "part, words",
    [
        (field(7, field(5, field(13, b""))), "keeps a tensor in another file"),
        (field(7, field(1, field(7, b"evil"))), "operators of 'evil'"), (field(25, b""), "functions of its own"),
    ],
)  # fmt: skip
def test_weights_are_standard_operators_on_tensors_of_their_own(tmp_path: Path, part: bytes, words: str) -> None:
    path = tmp_path / "perception.onnx"
    path.write_bytes((ZOO / "cartpole" / path.name).read_bytes() + part)
    with pytest.raises(PerceptionError, match=f"refused: .*{words}"):
        load(task(path)).detector()


def test_every_kind_is_read_by_something() -> None:
    others = {"triune shard", "triune capture", "settings", "requests", "video", "log"}  # above, by command or content
    others |= {"file of a task", "page file", "policy or safety text", "constants"}
    assert set(KINDS) <= set(READERS) | others


@pytest.mark.parametrize("line", [
    '{"run": "x", "child": "aa"}', '{"run": "x", "trial": 1, "cost": 3}', '{"run": 3, "trial": 1}',
    '{"run": "x", "trial": 1, "numbers": {"full_p": "1"}}', '{"run": "x", "trial": 1, "reasons": "none"}', "[]",
])  # fmt: skip
def test_a_ledger_that_was_edited_by_hand_is_named_with_its_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('{"run": "x", "trial": 1, "lesson": "none"}\n' + line + "\n")
    with pytest.raises(SupervisorError, match="line 2: not a trial"):
        read_lines(tmp_path)


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triune.play import evaluation

    monkeypatch.setattr(evaluation, "HOME", tmp_path)
    broken = tmp_path / "eval" / "newest"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    with pytest.raises(TriuneError, match="there is no run"):
        evaluation.latest()
