"""`triune review` without a browser: who may ask, what a save does, what a kill cannot take."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from review_kit import Client, queue_of, serving, session_of, shown

from data_flywheel.errors import DataError
from data_flywheel.labels.frames import DatasetFrames
from data_flywheel.labels.label import Label
from data_flywheel.labels.resolve import project
from data_flywheel.labels.review_queue import ReviewQueue
from data_flywheel.labels.store import LabelStore
from triune.errors import TriuneError
from triune.review.server import LARGEST, ReviewServer
from triune.review.session import ReviewSession


@pytest.fixture
def session(data: Path, queue: ReviewQueue, tmp_path: Path) -> ReviewSession:
    return session_of(data, tmp_path / "labels", queue)


@pytest.fixture
def client(session: ReviewSession) -> Iterator[Client]:
    with serving(session) as found:
        yield found


def ball(frame: Any) -> Any:
    return frame["parts"]["ball"]


# --- who may ask ----------------------------------------------------------------------------------------------------


def test_without_the_token_there_is_nothing(client: Client) -> None:
    token = client.base.strip("/")
    assert len(token) >= 30
    for path in (
        "/",
        "/state",
        f"/{token[:-1]}/state",
        f"/{token}x/state",
        f"/{token[::-1]}/state",
        "//state",
        "*",
        "/%00/",
    ):
        for method in ("GET", "POST"):
            status, headers, body = client.raw(path, method, b"{}", Content_Type="application/json")
            assert status in (400, 403), path
            assert token.encode() not in body and "access-control-allow-origin" not in headers
    assert client.raw(f"/{token}/state")[0] == 200
    assert client.raw(f"/{token}/state?x=1")[0] == 200


def test_the_token_is_compared_in_constant_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: bool(seen.append((a, b)) or real(a, b)))
    client.raw("/wrong/state")
    assert seen == [(b"wrong", client.base.strip("/").encode())]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"])
def test_another_host_name_is_refused(client: Client, host: str) -> None:
    assert client.raw(client.base + "state", Host=host)[0] in (400, 403)


def test_local_names_are_accepted_at_any_port(client: Client) -> None:
    for host in ("127.0.0.1:9", "localhost", "LOCALHOST:1234"):  # a forwarded port is another one
        assert client.raw(client.base + "state", Host=host)[0] == 200


def test_other_pages_cannot_save(client: Client) -> None:
    body = b'{"index":0,"revision":"","verdict":"reject","values":{}}'
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        status, headers, _ = client.raw(
            client.base + "save", "POST", body, Content_Type="application/json", Origin=origin
        )
        assert status == 403 and "access-control-allow-origin" not in headers
    assert client.raw(client.base + "save", "POST", body, Content_Type="text/plain")[0] == 415
    for method in ("OPTIONS", "PUT", "DELETE", "HEAD", "PATCH"):
        status, headers, _ = client.raw(client.base + "save", method)
        assert status == 405 and not any("access-control" in name for name in headers)
    own = f"http://{client.host}"
    assert client.raw(client.base + "save", "POST", body, Content_Type="application/json", Origin=own)[0] == 409


def test_only_this_machine_is_listened_on(session: ReviewSession) -> None:
    with ReviewServer(session) as server:
        assert server.server_address[0] == "127.0.0.1"
        other = ReviewServer(session)
        assert other.token != server.token
        other.server_close()
        with pytest.raises(TriuneError, match="from 0 to 65535"):
            ReviewServer(session, 1 << 20)
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(TriuneError, match="cannot be used .*--port"):
        ReviewServer(session, taken.getsockname()[1])


def test_every_answer_forbids_caches_and_strangers(client: Client) -> None:
    for name in ("", "page.js", "style.css", "state", "frame/0", "picture/0", "gone"):
        _, headers, _ = client.raw(client.base + name)
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer" and headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert client.raw(client.base + "page.js")[1]["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "name", ["../server.py", "%2e%2e/server.py", "page/page.js", "frame/-1", "frame/x", "picture/", "x"]
)
def test_nothing_else_is_served(client: Client, name: str) -> None:
    assert client.raw(client.base + name)[0] == 404


def test_bodies_that_make_no_sense_are_refused_in_words(client: Client, session: ReviewSession) -> None:
    good = {"index": 0, "revision": client.get("frame/0")["revision"], "verdict": "", "values": {}}
    cases: list[tuple[bytes, int]] = [(text, 400) for text in (b"", b"{", b"[]", b"[" * 100_000, b'{"index":0}')]
    cases.append((b" " * (LARGEST + 1), 413))
    boxes: list[Any] = [[1e999, 2, 3, 4], [1, 2, 3, 4], [10**400, 2, 3, 4]]
    for change in (
        {"index": "0"}, {"index": 99}, {"values": []}, {"values": {"bal": [None]}}, {"values": {}},
        {"verdict": "maybe"}, {"verdict": "accept", "values": {"ball": [None]}}, {"values": {"\ud800": 1}},
        {"revision": None},
        *({"values": {"ball": [box]}} for box in boxes),
    ):  # fmt: skip
        cases.append((json.dumps({**good, **change}).encode(), 400))
    before = list(session.store)
    for body, wanted in cases:
        status, _, answer = client.raw(client.base + "save", "POST", body, Content_Type="application/json")
        assert status == wanted and json.loads(answer)["error"], body[:100]
    assert client.raw(client.base + "save", "POST", None, Content_Type="application/json")[0] in (400, 411)
    assert list(session.store) == before


# --- what is shown and saved ----------------------------------------------------------------------------------------


def test_state_and_frames_are_what_the_queue_and_the_store_say(
    client: Client, session: ReviewSession, data: Path
) -> None:
    state = client.get("state")
    assert [t["name"] for t in state["things"]] == ["ball", "player", "enemy"] and state["counts"]["total"] == 6
    assert (state["width"], state["height"], state["first"], state["last"]) == (160, 210, 0, "")
    frames = DatasetFrames(data)
    for index, item in enumerate(session.queue.items):
        frame = client.get(f"frame/{index}")
        assert (frame["step"], frame["episode"]) == (item.frame.step, item.frame.episode)
        assert [r["reason"] for r in frame["reasons"]] == [reason for reason, _, _ in item.reasons]
        assert frame["belief"]["sure"]["ball"][0] == pytest.approx(item.belief[7], abs=1e-4)  # type: ignore[index]
        _, headers, png = client.raw(f"{client.base}picture/{index}")
        picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert headers["content-type"] == "image/png" and np.array_equal(picture, frames.rgb(item.frame))
    conflicts = [client.get(f"frame/{i}")["parts"]["ball"]["rivals"] for i in range(6)]
    assert sorted(map(len, conflicts)) == [0, 0, 0, 0, 2, 2]
    assert {said["source"] for said in next(c for c in conflicts if c)} == {"causal", "teacher"}


def test_edit_accept_reject_undo_one_record_each(client: Client, session: ReviewSession, tmp_path: Path) -> None:
    before = len(list(session.store))
    status, answer = client.save(0, values={"ball": [[80, 100, 2, 4]]})
    assert status == 200 and ball(answer["frame"])["value"] == [[80, 100, 2, 4]] and answer["statuses"][0] == "edited"
    status, answer = client.save(0, "accept", shown(answer["frame"]))
    assert answer["counts"]["done"] == 1 and answer["first"] == 1 and answer["frame"]["status"] == "accepted"
    accepted = answer["last"]
    _, answer = client.save(3, "reject")
    assert answer["counts"] == {"open": 4, "edited": 0, "accepted": 1, "rejected": 1, "done": 2, "total": 6}
    stored = LabelStore(tmp_path / "labels")
    assert len(list(stored)) == before + 3 and stored.label(accepted).who == "reviewer"
    assert stored.label(accepted).source == "person" and stored.label(accepted).version.startswith("triune ")
    # undo goes back through frames, newest first, and leaves the history
    for index, status, last in ((3, "open", accepted), (0, "edited", None), (0, "open", "")):
        code, answer = client.post("undo", last=answer["last"])
        assert code == 200 and answer["frame"]["index"] == index and answer["frame"]["status"] == status
        assert last is None or answer["last"] == last
    assert client.post("undo", last="")[0] == 400
    assert [e["kind"] for e in answer["frame"]["history"]][-4:] == ["label", "label", "retract", "retract"]
    assert [e["gone"] for e in answer["frame"]["history"] if e["kind"] == "label"][-2:] == [True, True]
    assert project(LabelStore(tmp_path / "labels")).left_out == {"conflict about ball": 2}


def test_choosing_a_side_settles_a_conflict(client: Client, session: ReviewSession) -> None:
    index = next(i for i in range(6) if ball(client.get(f"frame/{i}"))["rivals"])
    rivals = ball(client.get(f"frame/{index}"))["rivals"]
    _, answer = client.save(index, values={"ball": rivals[1]["value"]})
    assert ball(answer["frame"])["rivals"] == [] and ball(answer["frame"])["value"] == rivals[1]["value"]
    rows = {row.frame: row for row in project(session.store).rows}
    assert rows[session.queue.items[index].frame].sources["ball"].startswith("person reviewer")
    _, answer = client.post("undo", last=answer["last"])
    assert ball(answer["frame"])["rivals"] == rivals


def test_a_stale_save_is_refused_and_nothing_is_lost(client: Client, session: ReviewSession, tmp_path: Path) -> None:
    seen = client.get("frame/2")["revision"]
    assert client.save(2, values={"ball": [None]}, revision=seen)[0] == 200
    status, answer = client.save(2, values={"ball": [[50, 60, 2, 4]]}, revision=seen)  # the other tab
    assert status == 409 and "changed meanwhile by reviewer" in answer["error"] and len(answer["news"]) == 1
    assert ball(client.get("frame/2"))["value"] == [None]
    outside = LabelStore(tmp_path / "labels")  # another program
    outside.add([Label(session.queue.items[2].frame, "person", "ben", {"ball": [None]}, 1.0)])
    status, answer = client.save(2, "reject", revision=client.get("state")["last"])
    assert status == 409 and "by ben" in answer["error"]
    assert client.save(2, values={"ball": [[50, 60, 2, 4]]})[0] == 200
    assert [said["who"] for said in ball(client.get("frame/2"))["rivals"]] == ["reviewer", "ben"]


def test_a_stale_undo_is_refused(client: Client) -> None:
    first = client.save(0, values={"ball": [None]})[1]["last"]
    second = client.save(1, "reject")[1]["last"]
    assert client.post("undo", last=first)[0] == 409
    assert client.post("undo", last=second)[1]["last"] == first


def test_tabs_that_save_at_once_do_not_overwrite_each_other(client: Client, session: ReviewSession) -> None:
    seen = client.get("frame/4")["revision"]
    answers: list[int] = []

    def one(x: int) -> None:
        answers.append(client.save(4, values={"ball": [[40 + x, 60, 2, 4]]}, revision=seen)[0])

    threads = [threading.Thread(target=one, args=(x,)) for x in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 7
    assert sum(e.source == "person" for e in session.store.standing(session.queue.items[4].frame)) == 1


def test_a_frame_that_went_does_not_stop_the_others(data: Path, queue: ReviewQueue, session: ReviewSession) -> None:
    from dataclasses import replace

    moved = replace(queue.items[0], frame=replace(queue.items[0].frame, digest="0" * 64))
    other = ReviewSession(replace(queue, items=(moved, *queue.items[1:])), session.store, DatasetFrames(data))
    with serving(other) as client:
        status, _, answer = client.raw(client.base + "picture/0")
        assert status == 400 and "not those that were labelled" in json.loads(answer)["error"]
        assert client.get("frame/0")["parts"] == {} and client.raw(client.base + "picture/1")[0] == 200
        assert client.save(1, "reject")[0] == 200


def test_damaged_labels_are_told_and_the_rest_is_served(
    data: Path, queue: ReviewQueue, session: ReviewSession, tmp_path: Path
) -> None:
    path = next((tmp_path / "labels").glob("labels-*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"?" + lines[1], *lines[2:]]))
    with serving(session_of(data, tmp_path / "labels", queue)) as client:
        assert path.name in client.get("state")["problems"][0]
        assert client.save(0, "reject")[0] == 200
    assert len(list((tmp_path / "labels").glob("labels-*.jsonl"))) == 2  # a damaged file is not written to


def test_what_cannot_be_reviewed_is_refused(data: Path, session: ReviewSession) -> None:
    from dataclasses import replace

    frames = DatasetFrames(data)
    with pytest.raises(DataError, match="no frame .*6 left out: frozen test set"):
        ReviewSession(queue_of(data, split="test"), session.store, frames)
    tested = next(ref for ref in frames.refs() if ref.split == "test")
    smuggled = replace(session.queue, items=(replace(session.queue.items[0], frame=tested),))
    with pytest.raises(DataError, match="frozen test set"):
        ReviewSession(smuggled, session.store, frames)
    with pytest.raises(DataError, match="make it again"):
        ReviewSession(replace(session.queue, fingerprint="0"), session.store, frames)
