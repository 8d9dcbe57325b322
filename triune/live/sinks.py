"""Who is told what to do: a line of JSON a picture, to standard output, over the network, or into a command.

Whoever listens slowly, or not at all, never holds up a decision: what cannot be sent at once waits in a place for one,
where the next line replaces it.
"""

from __future__ import annotations

import contextlib
import http.client
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from envs.process import start_command
from triune.errors import TriuneError, UsageError, nearest

KINDS = ("stdout", "http", "https", "udp", "exec", "mqtt")
TIMEOUT = 2.0  # seconds that a server may take
GRACE = 2.0  # seconds for the last line at the end


class Sink(Protocol):
    """Takes lines of JSON. `lost`: lines that were replaced by newer ones or could not be sent; `trouble`: why, ""
    while all is well; `gone`: whether nobody will ever listen again."""

    lost: int
    trouble: str
    gone: bool

    def send(self, line: str) -> None:
        """One line without its end. Returns at once, never raises."""

    def close(self) -> None:
        """After the last line."""


def open_sink(where: str) -> Sink:
    """stdout, http://..., udp://HOST:PORT, exec:COMMAND or mqtt://HOST/TOPIC; UsageError for anything else."""
    if where == "stdout":
        return Stdout()
    if where.startswith("exec:"):
        words = shlex.split(where[5:])
        if not words:
            raise UsageError("exec: needs a command, which gets a line of JSON a picture on its standard input")
        return Mailed(_command(words))
    address = urlsplit(where)
    if "://" not in where or address.scheme not in KINDS or not address.hostname:
        kind = where.partition(":")[0]
        raise UsageError(f"--sink {kind}: {nearest(kind, KINDS)}; http://HOST/PATH, udp://HOST:PORT, exec:COMMAND")
    if address.username or address.password:
        raise UsageError("--sink: no user or password in the address, which logs and process lists would show")
    if address.scheme == "udp":
        return Udp(address)
    return Mailed(_posts(address) if address.scheme.startswith("http") else _publishes(address))


class Stdout:
    """Standard output, each line at once."""

    lost, trouble, gone = 0, "", False

    def send(self, line: str) -> None:
        """ReaderGone ends the command as for every other."""
        print(line, flush=True)

    def close(self) -> None:
        """Nothing is held."""


class Udp:
    """A datagram a line."""

    def __init__(self, address: SplitResult) -> None:
        if not address.port:
            raise UsageError("--sink udp: needs a port: udp://HOST:PORT")
        self.lost, self.trouble, self.gone = 0, "", False
        try:
            found = socket.getaddrinfo(address.hostname, address.port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise TriuneError(f"--sink: {address.hostname} is not known ({error.strerror or error})") from None
        self._where: Any = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, line: str) -> None:
        """Whether it arrives is not known."""
        try:
            self._socket.sendto(line.encode(), self._where)
            self.trouble = ""
        except OSError as error:
            self.lost, self.trouble = self.lost + 1, error.strerror or str(error)

    def close(self) -> None:
        """Let the port go."""
        self._socket.close()


Send = Callable[[str], None]
Opened = tuple[Send, Callable[[], None]]


class Mailed:
    """A slow listener: a thread sends the newest line. `connect` opens it, and again after every failure."""

    def __init__(self, connect: Callable[[], Opened]) -> None:
        self.lost, self.trouble, self.gone = 0, "", False
        self._connect, self._line, self._over = connect, "", False
        self._there = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    def send(self, line: str) -> None:
        """The thread takes it; one that it did not take yet is lost."""
        with self._there:
            self.lost += bool(self._line)
            self._line = line
            self._there.notify()

    def close(self) -> None:
        """The last line is still sent, within GRACE seconds."""
        with self._there:
            self._over = True
            self._there.notify()
        self._thread.join(GRACE)

    def _work(self) -> None:
        opened: Opened | None = None
        while True:
            with self._there:
                self._there.wait_for(lambda: self._line or self._over)
                line, self._line = self._line, ""
            if not line:
                break
            try:
                opened = opened or self._connect()
                opened[0](line)
                self.trouble = ""
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.lost, self.trouble = self.lost + 1, str(error) or type(error).__name__
                self.gone = isinstance(error, CommandEnded)
                _close(opened)
                opened = None
                if self.gone:
                    return
        _close(opened)


def _close(opened: Opened | None) -> None:
    if opened:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            opened[1]()


# ----------------------------------------------------------------------------------------------------
# The listeners.


class CommandEnded(OSError):
    """The command of an exec: sink is gone."""


def _command(words: list[str]) -> Callable[[], Opened]:
    """A command that reads lines on its standard input, started once; what it prints goes to standard error."""
    try:
        child = start_command(
            words, stdin=subprocess.PIPE, stdout=sys.stderr.fileno() if _real(sys.stderr) else None,
            start_new_session=True,  # Ctrl-C is for us: the last line is still sent
        )  # fmt: skip
    except OSError as error:
        raise TriuneError(f"--sink exec: {words[0]} cannot be started: {error.strerror or error}") from None

    def send(line: str) -> None:
        assert child.stdin
        try:
            child.stdin.write(line.encode() + b"\n")
            child.stdin.flush()
        except OSError:
            raise CommandEnded(f"{words[0]} has ended (exit code {child.poll()})") from None

    def close() -> None:
        assert child.stdin
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    return lambda: (send, close)


def _real(stream: Any) -> bool:
    """Whether a stream is a file of the system, which a child could write to."""
    try:
        return stream.fileno() >= 0
    except (OSError, AttributeError, ValueError):
        return False


def _posts(address: SplitResult) -> Callable[[], Opened]:
    """POST of application/json over one connection that is kept; an answer from 400 on is trouble."""

    def connect() -> Opened:
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        assert address.hostname
        link = kind(address.hostname, address.port, timeout=TIMEOUT)
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")

        def send(line: str) -> None:
            link.request("POST", path, line.encode(), {"Content-Type": "application/json"})
            answer = link.getresponse()
            answer.read(1 << 16)
            if answer.status >= 400:
                raise OSError(f"it answers {answer.status} {answer.reason}")

        return send, link.close

    return connect


def _publishes(address: SplitResult) -> Callable[[], Opened]:
    """MQTT, quality of service 0; needs the extra."""
    from paho.mqtt import client as mqtt

    topic = address.path.strip("/")
    if not topic:
        raise UsageError("--sink mqtt: needs a topic: mqtt://HOST/TOPIC")

    def connect() -> Opened:
        link = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        link.connect(address.hostname, address.port or 1883, keepalive=30)
        link.loop_start()

        def send(line: str) -> None:
            told = link.publish(topic, line)
            if told.rc != mqtt.MQTT_ERR_SUCCESS:
                raise OSError(mqtt.error_string(told.rc))

        def close() -> None:
            link.disconnect()
            link.loop_stop()

        return send, close

    return connect
