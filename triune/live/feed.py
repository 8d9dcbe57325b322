"""Where live pictures come from: a thread reads them, and whoever decides takes the newest one or learns that there is
none. A source that ends or cannot be opened is tried again, ever more slowly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from triune.errors import TriuneError
from triune.play.film import Film

FIRST_WAIT, LONGEST_WAIT = 0.25, 10.0  # seconds before a source is opened again: doubled every time


@dataclass(frozen=True)
class Arrival:
    """A picture, or the news that there are no more for now (`frame` None, with the reason).

    at       seconds on the feed's clock
    number   of the picture in its source
    skipped  pictures that came since the last arrival and that nobody took
    """

    at: float
    frame: np.ndarray | None
    number: int = -1
    skipped: int = 0
    reason: str = ""


class Feed(Protocol):
    """What gives pictures. `live`: whether they come as they happen."""

    live: bool

    def now(self) -> float:
        """Seconds on its clock."""

    def take(self, within: float) -> Arrival | None:
        """The newest picture; None when there is none within so many seconds."""

    def close(self) -> None:
        """Let the source go."""


class FilmFeed:
    """A film: every picture, in order, as fast as it is taken; its clock is the film's."""

    live = False

    def __init__(self, film: Film) -> None:
        self._film, self._pictures, self._at = film, iter(film), 0.0

    def now(self) -> float:
        """The second of the last picture."""
        return self._at

    def take(self, within: float) -> Arrival:
        """The next picture, or the end."""
        frame = next(self._pictures, None)
        self._at = max(self._at, self._film.at)
        return Arrival(self._at, frame, self._film.number, reason="" if frame is not None else "it is over")

    def close(self) -> None:
        """Let the film go."""
        self._film.close()


class Mailbox:
    """Room for one arrival: a newer one takes its place, and is told how many did not get through."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._there = threading.Condition()
        self._arrival: Arrival | None = None

    def put(self, frame: np.ndarray | None, number: int = -1, reason: str = "") -> None:
        """From the reader's thread."""
        with self._there:
            old = self._arrival
            skipped = old.skipped + (old.frame is not None) if old else 0
            self._arrival = Arrival(self.clock(), frame, number, skipped, reason)
            self._there.notify()

    def take(self, within: float) -> Arrival | None:
        """The arrival, once there is one."""
        with self._there:
            self._there.wait_for(lambda: self._arrival is not None, within)
            found, self._arrival = self._arrival, None
            return found


class Reader:
    """A live source, read by a thread of its own, which may hang in a driver as long as it likes.

    The thread parses no Python: in some versions two threads that do so at once disturb each other.
    """

    live = True

    def __init__(
        self, film: Film, again: Callable[[], Film], wait: Callable[[float], bool] | None = None,
        mailbox: Mailbox | None = None,
    ) -> None:  # fmt: skip
        """`film`: opened already; `again` opens it another time; `wait(seconds)` is True once nobody wants more."""
        self._film, self._again = film, again
        self._over = threading.Event()
        self._wait = wait or self._over.wait
        self._box = mailbox or Mailbox()
        self.reconnects = 0
        self._thread = threading.Thread(target=self._read, name="pictures", daemon=True)

    def start(self) -> Reader:
        """Begin to read."""
        self._thread.start()
        return self

    def now(self) -> float:
        """Seconds on the clock of arrivals."""
        return self._box.clock()

    def take(self, within: float) -> Arrival | None:
        """The newest picture; None when there is none within so many seconds."""
        return self._box.take(within)

    def close(self) -> None:
        """End the thread, or leave one that hangs to the end of the process."""
        self._over.set()
        self._thread.join(1.0)

    def _read(self) -> None:
        pause = FIRST_WAIT
        film: Film | None = self._film
        while not self._over.is_set():
            reason = "it ended"
            if film is None:
                try:
                    film = self._again()
                    self.reconnects += 1
                except TriuneError as error:
                    reason = str(error)
            if film is not None:
                try:
                    for frame in film:
                        self._box.put(frame, film.number)
                        pause = FIRST_WAIT
                        if self._over.is_set():
                            break
                except TriuneError as error:
                    reason = str(error)
                film.close()
                film = None
            self._box.put(None, reason=reason)
            if self._wait(pause):
                return
            pause = min(2 * pause, LONGEST_WAIT)
