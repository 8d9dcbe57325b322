"""The loop of a bundle that watches pictures as they come: what it does with each, and when there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envs.writing import atomic_write
from triune.live.conditions import BLIND, DRIFT, END, SIZE, STALL, Conditions, Limits
from triune.live.feed import Arrival, Feed
from triune.live.telling import Teller
from triune.play.drift import warning
from triune.play.film import fitted
from triune.runtime import Bundle

if TYPE_CHECKING:
    from triune.play.recording import BundleRecorder

REPEAT = 1.0  # seconds after which the fallback is told again while there is no picture
METRICS = 5.0  # seconds between two writings of the metrics
ENDED, LOST, DEAF, ENOUGH, STOPPED = "ended", "source lost", "sink lost", "enough", "stopped"
Say = Callable[[str], None]


class Worker:
    """One run on a feed. `run` returns how it ended: ENDED (a film), LOST (a live source that stayed away for
    `patience` seconds), DEAF (nobody carries actions out any more), ENOUGH (`most` pictures)."""

    def __init__(
        self, bot: Bundle, feed: Feed, teller: Teller, say: Say, source: str = "the source",
        fit: str | None = None, most: int | None = None,
        patience: float = 30.0, metrics: Path | None = None, book: BundleRecorder | None = None,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.perf_counter,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.bot, self.feed, self.teller, self.book = bot, feed, teller, book
        self.limits = limits or Limits.of(bot.spec, bot.protocol.control_hz)
        self.conditions = Conditions(self.limits, bot.frame_shape)
        self.watch = bot.watch()
        self.wrong_size = 0
        self._say, self._source, self._fit, self._most, self._patience, self._metrics = (
            say,
            source,
            fit,
            most,
            patience,
            metrics,
        )
        self._wall, self._clock = wall, clock
        self._state, self._fresh = bot.start(), False
        self._condition, self._since, self._absent = "", 0.0, False
        self._written = -METRICS
        self._heard = self._told = 0.0

    def run(self) -> str:
        """Until the end; KeyboardInterrupt comes as it is. `finish` afterwards."""
        feed, conditions = self.feed, self.conditions
        self._heard = feed.now()
        conditions.start(self._heard)
        while self.teller.tally.steps != self._most:
            arrival = feed.take(self._wait(feed.now()))
            if arrival is not None and arrival.frame is not None:
                self._decide(arrival, arrival.frame)
            elif arrival is not None:
                self._without(END, arrival.at, arrival.reason)
                if not feed.live:
                    return ENDED
            elif self._absent or conditions.overdue(feed.now()):
                self._without(self._condition if self._absent else STALL, feed.now())
            if self._absent and feed.now() - self._heard >= self._patience:
                return LOST
            if self.teller.sink and self.teller.sink.gone:
                return DEAF
            self._write_metrics()
        return ENOUGH

    def finish(self, ended: str) -> None:
        """The last word: whoever carries actions out is left with the fallback."""
        if ended != ENDED:
            second = self._wall() if self.feed.live else self.feed.now()
            self.teller.blind(second, None, self._condition if ended == LOST else STOPPED)
        self._write_metrics(last=True)

    def _wait(self, now: float) -> float:
        """Seconds until something has to be said even if no picture comes."""
        until = self._told + REPEAT - now if self._absent else self.conditions.left(now)
        return min(max(0.0, until), REPEAT)

    def _decide(self, arrival: Arrival, frame: np.ndarray) -> None:
        began, feed, tally = self._clock(), self.feed, self.teller.tally
        if feed.live and tally.steps and not self._absent:
            gap = round((arrival.at - self._heard) * self.limits.hz) - 1
            tally.dropped += max(0, gap - arrival.skipped)
        self._heard, self._absent = arrival.at, False
        tally.skipped += arrival.skipped
        tally.at(arrival.at)
        if self._fit or not tally.steps:  # one that begins with pictures of another size is refused
            frame = fitted(frame, self.bot.frame_shape, self._fit, self._source)
        condition = self.conditions.see(frame, arrival.at)
        self.wrong_size += condition == SIZE and frame.shape != self.bot.frame_shape
        second = self._wall() if feed.live else arrival.at
        if condition in BLIND:
            self._change(condition, arrival.at)
            self._fresh = True
            self.teller.blind(second, arrival.number, condition, self._latency(arrival, began))
            return
        if self._fresh:  # what it remembers is of another moment
            self._state, self._fresh = self.bot.start(), False
            if self.watch:
                self.watch.start()
        action, self._state, why = self.bot.step(frame, self._state)
        if self.watch and self.watch.see(frame, why.scene.vector):
            self._say(warning(self.watch.report(), self.bot.task, None))
        if self.watch and self.limits.drift and self.watch.out_of_range:
            condition, action = DRIFT, self.bot.fallback
        self._change(condition, arrival.at)
        self.teller.decided(second, arrival.number, action, why, self._latency(arrival, began), condition)
        if self.book:
            self.book.see(frame, action, why)

    def _latency(self, arrival: Arrival, began: float) -> float:
        """Milliseconds since the picture was there: of a film, since it was taken."""
        seconds = self.feed.now() - arrival.at if self.feed.live else self._clock() - began
        return 1000 * seconds

    def _without(self, condition: str, at: float, reason: str = "") -> None:
        """No picture: the fallback, again and again."""
        self.conditions.miss(condition)
        self._fresh = self._absent = True
        self._change(condition, at, reason)
        self._told = at
        self.teller.blind(self._wall() if self.feed.live else at, None, condition)

    def _change(self, condition: str, at: float, reason: str = "") -> None:
        """Say it once when a condition begins, changes or is over."""
        if condition == self._condition:
            return
        if condition:
            more = f": {reason}" if reason else ""
            fallback = self.bot.action_space.tell(self.bot.fallback)
            self._say(f"condition  {condition} after picture {self.teller.tally.steps}, so {fallback}{more}")
        else:
            self._say(f"condition  {self._condition} is over after {at - self._since:.2f} s")
        if not self._condition:
            self._since = at
        self._condition = condition

    def _write_metrics(self, last: bool = False) -> None:
        now = self._clock()
        if self._metrics is None or not last and now - self._written < METRICS:
            return
        self._written = now
        sink = self.teller.sink
        more = {
            "condition": float(bool(self._condition)),
            "last_picture_age_seconds": self.feed.now() - self._heard,
            "reconnects_total": float(getattr(self.feed, "reconnects", 0)),
            "sink_lost_total": float(sink.lost if sink else 0),
            "updated_timestamp_seconds": self._wall(),
        }
        text = self.teller.tally.metrics(more, {"task": self.bot.task})
        atomic_write(self._metrics, text.encode())
