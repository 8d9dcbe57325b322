"""The review page in headless Chromium, with a person's hands: mouse, fingers, keys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from chrome_kit import Chrome

from data_flywheel.labels.resolve import resolve
from data_flywheel.labels.store import LabelStore
from triune.review.session import ReviewSession

READY = "globalThis.review?.state === 'ready' && !globalThis.review.saving"
NAMES = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46}
LEAVES = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"


class Page:
    """The page in a browser, with a person's hands."""

    def __init__(self, chrome: Chrome, url: str) -> None:
        self.chrome, self.url = chrome, url

    def open(self, width: int = 1280, height: int = 860, dark: bool = False, phone: bool = False) -> None:
        self.leave()
        self.chrome.look(width, height, dark, phone)
        self.chrome.open(self.url)
        self.ready()

    def leave(self) -> None:
        """Go away; where something was not saved, the browser asks, and is told yes."""
        if self.value(LEAVES):
            return self.chrome.open("about:blank")
        self.value("void setTimeout(() => location.assign('about:blank'))")
        self._patiently(lambda: self.chrome.ask("Page.handleJavaScriptDialog", accept=True) == {})
        self._patiently(lambda: self.value("location.href") == "about:blank")

    def _patiently(self, done: Callable[[], bool]) -> None:
        """Until it is done; the browser refuses some questions while it is on its way to another page."""
        for _ in range(200):
            with suppress(AssertionError):
                if done():
                    return
            time.sleep(0.05)
        raise AssertionError("the browser did not leave the page")

    def ready(self) -> None:
        self.chrome.wait(READY)

    def value(self, script: str) -> Any:
        return self.chrome.value(script)

    def text(self, name: str) -> str:
        return str(self.value(f"document.getElementById('{name}').textContent"))

    def key(self, name: str, shift: bool = False) -> None:
        """A real key press; waits until what it did is saved."""
        code = NAMES.get(name, ord(name.upper()) if len(name) == 1 else 0)
        more = {"text": "\r" if name == "Enter" else name} if len(name) == 1 or name == "Enter" else {}
        common = {"key": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.chrome.ask("Input.dispatchKeyEvent", type="keyDown", **common, **more)
        self.chrome.ask("Input.dispatchKeyEvent", type="keyUp", **common)
        self.ready()

    def centre(self, selector: str) -> tuple[float, float]:
        found = self.value(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        return found[0], found[1]

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        self.mouse(self.centre(selector), None)

    def mouse(self, start: tuple[float, float], by: tuple[float, float] | None, shift: bool = False) -> None:
        """Press at `start`, and drag; `shift` is held."""
        self.chrome.ask("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self._mouse("mousePressed", *start, shift)
        end = start
        if by is not None:
            for part in (0.3, 0.7, 1.0):
                end = start[0] + by[0] * part, start[1] + by[1] * part
                self.chrome.ask(
                    "Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], button="left", buttons=1
                )
        self._mouse("mouseReleased", *end)
        self.ready()

    def _mouse(self, kind: str, x: float, y: float, shift: bool = False) -> None:
        more = {"buttons": int(kind != "mouseReleased"), "modifiers": 8 * shift}
        self.chrome.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1, **more)

    def touch(self, start: tuple[float, float], by: tuple[float, float] = (0, 0)) -> None:
        """Put a finger down at `start`, drag, lift."""
        self.chrome.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        if by != (0, 0):
            for part in (0.3, 0.7, 1.0):
                points = [{"x": start[0] + by[0] * part, "y": start[1] + by[1] * part}]
                self.chrome.ask("Input.dispatchTouchEvent", type="touchMove", touchPoints=points)
        self.chrome.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.ready()

    def tap(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        self.touch(self.centre(selector))

    @property
    def scale(self) -> float:
        """Screen px for one px of the frame."""
        return float(
            self.value("document.getElementById('picture').getBoundingClientRect().width / review.page.info.width")
        )


def whole(session: ReviewSession) -> int:
    """A frame of the queue on which every thing is there."""
    for index in range(len(session.queue.items)):
        if all(part["value"][0] for part in session.frame(index)["parts"].values()):
            return index
    raise AssertionError("no frame shows everything")


def go(page: Page, index: int) -> None:
    while page.value("review.page.index") != index:
        page.key("n" if page.value("review.page.index") < index else "p")


def holds(session: ReviewSession, index: int, part: str) -> Any:
    """What the store says, read afresh."""
    store = LabelStore(session.store.folder)
    return resolve(store.schema, store.standing(session.queue.items[index].frame)).parts[part]
