"""The whole road of a camera's task on a conveyor that is drawn, without a line of Python of the user's: it prints how
well boxes, discs and hands are seen on a film of another seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import inside
from conveyor_kit import hands_of, write_film

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytestmark = [pytest.mark.slow, pytest.mark.train]

STEPS = 1200
WORDS = (
    "--camera", "--size", "320x240", "--fps", "30", "--thing", "box:3:26x26", "--thing", "disc:3:26x26", "--thing",
    "hand:1:36x110", "--action", "NOOP", "--action", "PUSH_LEFT", "--action", "PUSH_RIGHT", "--action", "STOP",
)  # fmt: skip


@pytest.mark.xfail(reason="of hands 0.73 were found, 0.97 are wanted (docs/camera.md)", raises=AssertionError)
def test_from_new_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "train.mp4", 3600, 1, labels=tmp_path / "boxes.json", hands=40)
    truth = write_film(tmp_path / "held.mp4", 1500, 2, labels=tmp_path / "held.json", hands=90)

    def triune(*words: str) -> str:
        done = inside(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    triune("new", "belt", *WORDS)
    triune("record", "belt", "--source", "train.mp4")
    triune("labels", "import", "belt", "boxes.json")
    trained = json.loads(triune("train", "belt", "--steps", str(STEPS), "--json"))["metrics"]
    told = json.loads(triune("eval", "belt", "--source", "held.mp4", "--labels", "held.json", "--json"))
    triune("export", "belt", "belt.onnx")
    lines = [
        json.loads(line) for line in triune("run", "belt.onnx", "--source", "held.mp4", "--sink", "stdout").splitlines()
    ]
    with capsys.disabled():
        print(f"\n{STEPS} steps, {trained['cpu_s']} processor seconds, {told['labelled_frames']} pictures held out")
        for name, m in told["things"].items():
            print(f"{name:<6}{m['labels']:>6}  precision {m['precision']}  recall {m['recall']}  {m['median_px']} px")
    assert len(lines) == 1501 and lines[-1]["action"] == "STOP"
    stopped = {line["frame"] for line in lines if line["action"] == "STOP"}
    came = [first for first, _ in hands_of(truth)]
    in_time = sum(any(n in stopped for n in range(first, first + 3)) for first in came)
    with capsys.disabled():
        print(f"STOP within two pictures of {in_time} of {len(came)} hands; {told['latency_ms']}")
    assert len(came) >= 8 and in_time >= 0.99 * len(came), (in_time, came)
    for name in ("box", "disc"):
        m = told["things"][name]
        assert m["precision"] >= 0.95 and m["recall"] >= 0.95 and m["median_px"] <= 1, (name, m)
    assert told["things"]["hand"]["recall"] >= 0.97
