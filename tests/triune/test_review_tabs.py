"""The review page beside others: what another tab, person or a kill does to work on it. Needs Chromium."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chrome_kit import Chrome, find_chromium
from review_kit import serving, session_of, started
from review_page_kit import LEAVES, Page, go, holds, whole

from data_flywheel.labels.label import Label
from data_flywheel.labels.resolve import resolve
from data_flywheel.labels.review_queue import ReviewQueue
from data_flywheel.labels.store import LabelStore
from triune.review.session import ReviewSession

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if find_chromium() is None:
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    with Chrome(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def session(data: Path, queue: ReviewQueue, tmp_path: Path) -> ReviewSession:
    return session_of(data, tmp_path / "labels", queue)


@pytest.fixture
def page(chrome: Chrome, session: ReviewSession) -> Iterator[Page]:
    """The page, on a frame where everything is there; no error may be left in the console."""
    chrome.errors.clear()
    with serving(session) as client:
        yield Page(chrome, client.url)
        assert [error for error in chrome.errors if "409" not in error] == []


def test_what_another_did_is_shown_before_it_is_overwritten(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    x, y, w, h = holds(session, index, "player").value[0]
    other = LabelStore(session.store.folder)
    ref = session.queue.items[index].frame
    told = other.add([Label(ref, "person", "ben", {"ball": [None]}, 1.0)])[0]
    page.key("2")
    page.key("ArrowUp")
    assert "changed meanwhile by ben" in page.text("banner-text") and page.text("saved") == "not saved"
    assert page.value(LEAVES) is False
    page.key("n")  # nothing else can be done before a decision
    page.key("r")
    assert page.value("review.page.index") == index and session.store.revision(ref) == told.id
    page.click("#banner-buttons button:nth-child(2)")  # save mine over it
    assert holds(session, index, "player").value == [[x, y - 1, w, h]] and holds(session, index, "ball").value == [None]
    other.add([Label(ref, "person", "ben", {"enemy": [None]}, 1.0)])
    page.key("ArrowUp")
    page.click("#banner-buttons button:nth-child(1)")  # show what changed
    assert holds(session, index, "player").value == [[x, y - 1, w, h]]
    assert page.value("review.page.values.enemy[0]") is None and page.value("document.getElementById('banner').hidden")


def test_two_tabs_lose_nothing(chrome: Chrome, session: ReviewSession, tmp_path: Path) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(serving(session))
        second = stack.enter_context(Chrome(tmp_path / "profile"))
        pages = [Page(chrome, client.url), Page(second, client.url)]
        index = whole(session)
        for page in pages:
            page.open()
            go(page, index)
        x, y, w, h = holds(session, index, "player").value[0]
        pages[0].key("2")
        pages[0].key("ArrowUp")
        pages[1].key("2")
        pages[1].key("ArrowDown")
        assert "changed meanwhile" in pages[1].text("banner-text")
        assert holds(session, index, "player").value == [[x, y - 1, w, h]]
        pages[1].click("#banner-buttons button")
        assert pages[1].value("review.page.values.player[0][1]") == y - 1
        pages[1].key("a")
        assert session.frame(index)["status"] == "accepted"
        pages[0].key("z")  # its newest action is not what this page thinks
        assert "changed meanwhile" in pages[0].text("banner-text") and session.frame(index)["status"] == "accepted"
        pages[0].leave()


def test_frames_and_names_from_files_are_only_text(chrome: Chrome, session: ReviewSession) -> None:
    evil = "<img src=x onerror=alert(1)><script>globalThis.hacked=1</script>"
    with serving(session) as client:
        session.store.add([Label(session.queue.items[0].frame, "person", evil, {"ball": [None]}, 1.0, evil, note=evil)])
        page = Page(chrome, client.url)
        page.open()
        page.value("document.querySelector('.past').open = true")
        assert evil in page.text("history") and page.value("globalThis.hacked") is None
        assert page.value("document.querySelectorAll('aside img, aside script').length") == 0


def killed_under_the_page(chrome: Chrome, queue: ReviewQueue, folder: Path, rounds: range) -> None:
    """Kill the program while somebody works on the page: what the page called saved is there."""
    queue.save(folder / "queue.json")
    for number in rounds:
        words = ("pong", "--queue", str(folder / "queue.json"), "--labels", str(folder / "labels"), "--port", "0")
        process, client = started(*words)
        page, generator = Page(chrome, client.url), random.Random(number)
        page.open()
        for _ in range(generator.randrange(1, 5)):
            page.key(generator.choice("arn"))
            page.key(generator.choice("123"))
            page.key(generator.choice(("ArrowUp", "ArrowLeft", "Delete", "Escape")))
        known = client.get("state")["last"], client.get("state")["statuses"]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        store = LabelStore(folder / "labels")
        assert store.problems == [] and (not known[0] or store.label(known[0]))
        assert [resolve(store.schema, store.standing(i.frame)).status for i in queue.items] == known[1]
        page.key("r")
        assert "does not answer" in page.text("banner-text") and page.text("saved") == "not saved"
        assert page.value(LEAVES) is False  # the browser would ask before the page is left
        page.leave()
        assert [resolve(store.schema, store.standing(i.frame)).status for i in queue.items] == known[1]


def test_the_page_tells_when_the_program_was_killed(chrome: Chrome, queue: ReviewQueue, tmp_path: Path) -> None:
    killed_under_the_page(chrome, queue, tmp_path, range(2))


@pytest.mark.slow
def test_the_page_tells_every_time_the_program_was_killed(chrome: Chrome, queue: ReviewQueue, tmp_path: Path) -> None:
    killed_under_the_page(chrome, queue, tmp_path, range(100, 120))


def test_a_wrong_token_shows_no_page(chrome: Chrome, session: ReviewSession) -> None:
    with serving(session) as client:
        chrome.open(client.url[:-3] + "xx/")
        chrome.wait("document.body?.textContent.includes('its token is missing')")
        assert chrome.value("globalThis.review") is None
