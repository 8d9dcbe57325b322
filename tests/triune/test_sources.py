"""Sources of every form: turned, grey, transparent, of 16 bits, unevenly spaced; what reads a live one; who is told."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from test_camera import write

from triune.errors import TriuneError, UsageError
from triune.live.feed import Arrival, FilmFeed, Mailbox, Reader
from triune.live.sinks import Mailed, open_sink
from triune.play.film import Film, rgb, told, uneven

WIDE, HIGH = 64, 48


def ramp(i: int = 0) -> np.ndarray:
    """RGB uint8[HIGH, WIDE, 3] without two corners alike."""
    rows, cols = np.mgrid[0:HIGH, 0:WIDE]
    return np.stack([rows * 5, cols * 3, np.full_like(rows, 40 + i)], -1).astype(np.uint8)


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_of_a_folder_are_right_whatever_their_form(tmp_path: Path) -> None:
    true = ramp()
    bgr = true[..., ::-1]
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    half = np.dstack([bgr, np.full((HIGH, WIDE), 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "p1.png"), bgr)
    cv2.imwrite(str(tmp_path / "p2.png"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "p9.png"), grey)
    cv2.imwrite(str(tmp_path / "p10.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "p11.PNG"), np.dstack([bgr, np.full((HIGH, WIDE), 255, np.uint8)]))
    cv2.imwrite(str(tmp_path / "p12.png"), half)
    (tmp_path / "p13.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("beside them")
    film = Film(str(tmp_path), hz=30)
    found = dict((film.number, frame) for frame in film)
    assert list(found) == [0, 1, 2, 3, 4, 5] and film.undecodable == 1 and not film.live
    for number in (0, 1, 4):
        assert np.array_equal(found[number], true), number
    for number in (2, 3):
        assert np.array_equal(found[number], np.dstack([grey] * 3)), "in the order of the numbers"
    assert np.abs(found[5].astype(int) - true // 2).max() <= 1, "what is half transparent stands on black"


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    good, data = cv2.imencode(".jpg", ramp()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    # an Exif segment: little-endian TIFF with one entry, Orientation = 6 (turn to the right)
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = data.tobytes()[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data.tobytes()[2:]
    (tmp_path / "a.jpg").write_bytes(turned)
    (frame,) = list(Film(str(tmp_path)))
    assert good and frame.shape == (WIDE, HIGH, 3)
    assert np.abs(frame.astype(int) - np.rot90(ramp(), -1)).mean() < 6


def test_pictures_of_other_numbers_are_refused_by_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tiff"), ramp().astype(np.float32))
    with pytest.raises(TriuneError, match="a.tiff gives pictures of float32 numbers; pictures are grey, RGB or RGBA"):
        list(Film(str(tmp_path)))
    with pytest.raises(TriuneError, match="camera 0 gives pictures of 2 channels"):
        rgb(np.zeros((4, 4, 2), np.uint8), "camera 0")
    grey = rgb(np.full((4, 4), 65535, np.uint16), "x")
    assert grey.shape == (4, 4, 3) and grey.min() == 255


def mp4(path: Path, count: int = 24) -> bytearray:
    """The bytes of a film."""
    return bytearray(write(path, [ramp(i) for i in range(count)], "mp4v").read_bytes())


def test_a_film_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    data = mp4(path, 4)
    at = data.index(b"tkhd") + 4 + 40  # its matrix: nine numbers, 16.16
    a, b, c, d = ((v & 0xFFFFFFFF).to_bytes(4, "big") for v in (0, 65536, -65536, 0))
    data[at : at + 8], data[at + 12 : at + 20] = a + b, c + d
    path.write_bytes(data)
    frame = next(iter(Film(str(path))))
    assert frame.shape == (WIDE, HIGH, 3), "upright"
    assert np.abs(frame.astype(int) - np.rot90(ramp(), -1)).mean() < 12


def spaced(path: Path, runs: list[tuple[int, int]]) -> None:
    """Give the pictures of a film other lengths: (how many, how long) one after the other, in the `stts` table."""
    data = mp4(path, sum(n for n, _ in runs))
    at = data.index(b"stts") - 4
    old = int.from_bytes(data[at : at + 4], "big")
    step = int.from_bytes(data[at + 20 : at + 24], "big")
    entries = b"".join(n.to_bytes(4, "big") + (k * step).to_bytes(4, "big") for n, k in runs)
    table = (16 + len(entries)).to_bytes(4, "big") + b"stts" + bytes(4) + len(runs).to_bytes(4, "big") + entries
    grown = len(table) - old
    assert data.index(b"mdat") < at, "what stands behind it may move"
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = data.index(box) - 4
        data[start : start + 4] = (int.from_bytes(data[start : start + 4], "big") + grown).to_bytes(4, "big")
    data[at : at + old] = table
    path.write_bytes(data.replace(b"edts", b"free"))  # which would end it when the old one did


def test_an_uneven_film_is_taken_by_its_times(tmp_path: Path) -> None:
    spaced(tmp_path / "a.mp4", [(10, 1), (6, 3), (8, 1)])  # thirty a second, ten, thirty
    film = Film(str(tmp_path / "a.mp4"), hz=30)
    assert film.variable and film.rate == 30
    seen = [(film.number, round(film.at * 30)) for _ in film]
    assert [n for n, _ in seen][:10] == list(range(10)) and [at for _, at in seen] == list(range(len(seen)))
    slow = [n for n, _ in seen if 11 <= n <= 14]
    assert slow == sorted([11, 12, 13, 14] * 3), "one that stands three times as long is seen three times"
    assert seen[-1][0] == 23 and len(seen) == pytest.approx(10 + 18 + 8, abs=1)
    slower = Film(str(tmp_path / "a.mp4"), hz=15)
    assert len(list(slower)) == pytest.approx(18, abs=1)
    (tmp_path / "even.mp4").write_bytes(mp4(tmp_path / "b.mp4"))
    assert not Film(str(tmp_path / "even.mp4"), hz=30).variable
    assert uneven([0, 33, 66, 199]) and not uneven([0, 33, 67, 100]) and not uneven([0, 0, 0]) and not uneven([])


def test_passwords_of_addresses_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told("rtsp://me:secret@camera/1") == "rtsp://camera/1" and told("a@b.mp4") == "a@b.mp4"

    class Nothing:
        def __init__(self, *_: object) -> None:
            pass

        def isOpened(self) -> bool:
            return False

    monkeypatch.setattr(cv2, "VideoCapture", Nothing)
    with pytest.raises(TriuneError) as said:
        Film("rtsp://me:secret@camera/1")
    assert "secret" not in str(said.value) and "rtsp://camera/1 cannot be opened" in str(said.value)


# --- the reader of a live source --------------------------------------------------------------------


class Source:
    """A live film of some pictures, after which it says that it ends, or fails."""

    def __init__(self, levels: list[int], error: str = "") -> None:
        self.number, self.at, self.closed, self._levels, self._error = -1, 0.0, False, levels, error

    def __iter__(self) -> Any:
        for number, level in enumerate(self._levels):
            self.number = number
            yield np.full((2, 2, 3), level, np.uint8)
        if self._error:
            raise TriuneError(self._error)

    def close(self) -> None:
        self.closed = True


class Kept(Mailbox):
    """A mailbox that keeps everything."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)
        self.all: list[Arrival] = []

    def put(self, frame: np.ndarray | None, number: int = -1, reason: str = "") -> None:
        super().put(frame, number, reason)
        self.all.append(Arrival(0.0, frame, number, 0, reason))


def test_a_source_is_opened_again_ever_more_slowly() -> None:
    sources = [Source([1, 2]), None, Source([3], "the cable"), None, None, Source([4])]
    first, rest, waits, box = sources[0], iter(sources[1:]), list[float](), Kept()

    def again() -> Any:
        found = next(rest, None)
        if found is None:
            raise TriuneError("nobody there")
        return found

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 6

    reader = Reader(first, again, wait, box)  # type: ignore[arg-type]
    reader._read()
    got = [int(a.frame[0, 0, 0]) if a.frame is not None else a.reason for a in box.all]
    assert got == [1, 2, "it ended", "nobody there", 3, "the cable", "nobody there", "nobody there", 4, "it ended"]
    assert waits == [0.25, 0.5, 0.25, 0.5, 1.0, 0.25] and reader.reconnects == 2
    assert all(s.closed for s in sources if s)


def test_the_newest_picture_is_taken_and_the_others_are_counted() -> None:
    box = Mailbox(clock=lambda: 7.0)
    assert box.take(0) is None
    for i in range(5):
        box.put(np.full((1, 1, 3), i, np.uint8), i)
    found = box.take(0)
    assert found and (found.number, found.skipped, found.at) == (4, 4, 7.0) and box.take(0) is None
    box.put(np.zeros((1, 1, 3), np.uint8), 5)
    box.put(None, reason="it ended")
    found = box.take(0)
    assert found and found.frame is None and found.skipped == 1


def test_the_thread_reads_while_others_work_and_ends() -> None:
    there = threading.Event()

    class Endless(Source):
        def __iter__(self) -> Any:
            yield np.zeros((2, 2, 3), np.uint8)
            there.wait()

    reader = Reader(Endless([]), lambda: Endless([])).start()  # type: ignore[arg-type, return-value]
    found = reader.take(30)
    assert found and found.frame is not None and reader.take(0) is None
    there.set()
    reader.close()
    assert not reader._thread.is_alive()


def test_a_film_is_fed_picture_by_picture() -> None:
    feed = FilmFeed(Source([5, 6]))  # type: ignore[arg-type]
    assert [a.number if a.frame is not None else a.reason for a in (feed.take(0) for _ in range(3))] == [
        0, 1, "it is over",
    ]  # fmt: skip


# --- who is told ----------------------------------------------------------------------------------


def test_a_command_is_fed_lines(tmp_path: Path) -> None:
    out = tmp_path / "got"
    code = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    sink = open_sink(f"exec:{sys.executable} -c {json.dumps(code)}")
    sink.send('{"action": "STOP"}')
    sink.close()
    assert out.read_text() == '{"action": "STOP"}\n' and not sink.lost


def test_a_command_that_has_ended_is_gone() -> None:
    sink = open_sink(f"exec:{sys.executable} -c pass")
    assert isinstance(sink, Mailed)
    for _ in range(500):
        sink.send("x" * 70_000)  # more than a pipe holds
        sink._thread.join(0.02)
        if sink.gone:
            break
    sink.close()
    assert sink.gone and sink.lost and "has ended" in sink.trouble
    with pytest.raises(TriuneError, match="cannot be started"):
        open_sink("exec:/nowhere/to/be/found")


def test_a_server_is_posted_to_and_trouble_is_told() -> None:
    got: list[bytes] = []
    answers = [200, 503, 200]
    heard = threading.Semaphore(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answers[len(got) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            heard.release()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    sink = open_sink(f"http://127.0.0.1:{server.server_port}/act?x=1")
    for line in ("one", "two", "three"):
        sink.send(line)
        assert heard.acquire(timeout=30)
    sink.close()
    server.shutdown()
    server.server_close()
    assert got == [b"one", b"two", b"three"] and sink.lost == 1 and not sink.gone


def test_a_slow_listener_gets_the_newest_line_and_holds_nobody_up() -> None:
    begun, go = threading.Event(), threading.Event()
    got: list[str] = []

    def connect() -> tuple[Callable[[str], None], Callable[[], None]]:
        def send(line: str) -> None:
            got.append(line)
            begun.set()
            go.wait()

        return send, lambda: None

    sink = Mailed(connect)
    sink.send("first")
    assert begun.wait(30)
    for i in range(50):
        sink.send(str(i))
    go.set()
    sink.close()
    assert got == ["first", "49"] and sink.lost == 49


def test_a_datagram_a_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(30)
        sink = open_sink(f"udp://127.0.0.1:{ear.getsockname()[1]}")
        sink.send("stop")
        assert ear.recv(100) == b"stop" and not sink.lost
        sink.close()


def test_mqtt_is_published_to(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[Any, ...]] = []

    class Client:
        def __init__(self, version: int) -> None:
            done.append(("client", version))

        def connect(self, *where: Any, **how: Any) -> None:
            done.append(("connect", *where))

        def publish(self, topic: str, line: str) -> Any:
            done.append((topic, line))
            return types.SimpleNamespace(rc=0)

        loop_start = loop_stop = disconnect = lambda self: None

    api = types.SimpleNamespace(VERSION2=2)
    client = types.SimpleNamespace(Client=Client, CallbackAPIVersion=api, MQTT_ERR_SUCCESS=0, error_string=str)
    package = types.ModuleType("paho.mqtt")
    package.client = client  # type: ignore[attr-defined]
    for name, module in (("paho", types.ModuleType("paho")), ("paho.mqtt", package), ("paho.mqtt.client", client)):
        monkeypatch.setitem(sys.modules, name, module)
    sink = open_sink("mqtt://broker/belt/action")
    sink.send("stop")
    sink.close()
    assert done == [("client", 2), ("connect", "broker", 1883), ("belt/action", "stop")]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("stdot", "did you mean 'stdout'"), ("ftp://h/x", "choose from|did you mean"), ("udp://h", "needs a port"),
        ("http://me:pw@h/", "no user or password"), ("exec:", "needs a command"), ("http:///x", "HOST"),
    ],
)  # fmt: skip
def test_what_is_no_sink(where: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_sink(where)
