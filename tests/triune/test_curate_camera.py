"""Which pictures of a camera's task are worth a label next."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from camera_kit import make_task, picture
from cli_kit import inside

from data_flywheel.datasets.curation import read
from data_flywheel.labels.review_queue import ReviewQueue


def test_where_a_rule_steps_in_and_what_is_flagged_come_first(tmp_path: Path) -> None:
    make_task(tmp_path / "belt")
    (tmp_path / "film").mkdir()
    for i in range(120):
        frame = picture(i, (8 + i % 50, 20), (40, 30) if 50 <= i < 70 else None)
        cv2.imwrite(str(tmp_path / "film" / f"{i:05d}.png"), frame[:, :, ::-1])
    assert inside("record", "belt", "--source", "film", cwd=tmp_path).returncode == 0
    boxes = {
        "images": [{"id": 1, "file_name": "frame_000052.png", "width": 64, "height": 48}], "annotations": [],
        "categories": [{"id": 1, "name": "box"}],
    }  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    done = inside("labels", "import", "belt", "boxes.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = inside("curate", "belt", "--frames", "8", "--flag", "100:101", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pool_frames"] == 120 and told["folder"] == "runs/curated/belt-1" and told["count"] == 8
    chosen = read(tmp_path / told["folder"])["chosen"]
    flagged = [c["step"] for c in chosen if c["cause"] == "request"]
    rule = [c["step"] for c in chosen if c["cause"] == "failure window"]
    assert flagged == [100, 101] and chosen[0]["step"] == 100
    assert rule and all(47 <= step <= 53 or 80 <= step <= 90 for step in rule), rule
    assert 52 not in [c["step"] for c in chosen], "what is labelled is not chosen again"
    queue = ReviewQueue.load(tmp_path / told["folder"] / "queue.json")
    assert len(queue.items) == 8 and queue.data == ("runs/recordings/belt",)


def test_words_that_do_not_fit(tmp_path: Path) -> None:
    make_task(tmp_path / "belt")
    for words, said in ((("--flag", "x"), "no number of a picture"), ((), "nothing is recorded yet")):
        done = inside("curate", "belt", *words, cwd=tmp_path)
        assert done.returncode and said in done.stderr and "Traceback" not in done.stderr, done.stderr
