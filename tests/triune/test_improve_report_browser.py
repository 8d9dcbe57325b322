"""The page of an improve run in a real browser: it fits, it works without scripts, and hostile logs do nothing.

Needs Chromium; skips with a reason where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from chrome_kit import Chrome, find_chromium
from improve_ideas import BAD, HOSTILE, IDEAS, MARKUP
from improve_report_kit import fabricate

from triune.report.improve import write_improve_report

pytestmark = pytest.mark.browser

SCREENS = [(1280, 900, False, False), (1280, 900, True, False), (390, 844, False, True), (390, 844, True, True)]
OPEN_ALL = "document.querySelectorAll('details').forEach((box) => { box.open = true; })"
WIDER = "document.documentElement.scrollWidth > innerWidth"
# Elements whose text runs out of their box, except where it may be scrolled.
SPILLS = """[...document.querySelectorAll(".tile b, .badge, td, th, dd, summary, h1, .note, .budgets span")]
    .filter((e) => e.checkVisibility() && !e.closest("pre, .scroll") && e.scrollWidth > e.clientWidth + 1
        && getComputedStyle(e).display !== "inline").map((e) => e.textContent.slice(0, 60))"""
# Plots of which not exactly one drawing shows, or whose letters are too small to read.
PLOTS = """[...document.querySelectorAll(".wide")].filter((wide) => {
    const both = [wide, wide.nextElementSibling].filter((e) => e.checkVisibility());
    if (wide.closest("details:not([open])")) return false;
    const svg = both[0].querySelector("svg"), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return both.length !== 1 || scale * 12 < 9.5;
}).length"""
LOADED = (
    "performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith('data:'))"
)
CONTRAST = """(() => {
    const shade = (text) => text.match(/[\\d.]+/g).map(Number);
    const back = (e) => { for (; e; e = e.parentElement) {
        const c = shade(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
    const linear = (v) => (v <= 10 ? v / 3294 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const kinds = ".badge, .dim, .gain, .held, dt, th, a, pre span, .note, .chip";
    return [...document.querySelectorAll(kinds)].filter((e) => {
        if (e.closest("svg")) return false;
        const two = [light(shade(getComputedStyle(e).color)), light(back(e))].sort((a, b) => b - a);
        return (two[0] + 0.05) / (two[1] + 0.05) < 4.5;
    }).map((e) => `${e.className} ${e.textContent.slice(0, 40)}`);
})()"""


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if find_chromium() is None:
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    with Chrome(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_improve_report(fabricate(tmp_path_factory.mktemp("good")), replays=False).path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fabricate(tmp_path_factory.mktemp("hostile"), HOSTILE, priced=False, ends=False)
    return write_improve_report(folder, replays=False).path


def show(chrome: Chrome, path: Path, at: str = "") -> None:
    """Open a file anew, and wait until it is there."""
    chrome.errors.clear()
    chrome.open("about:blank")
    chrome.open(f"{path.as_uri()}{at}")
    chrome.wait(f"document.readyState === 'complete' && location.pathname.endsWith('{path.name}')")


@pytest.mark.parametrize("which", ["good", "hostile"])
@pytest.mark.parametrize(("width", "height", "dark", "phone"), SCREENS)
def test_it_fits_every_screen(
    chrome: Chrome, which: str, width: int, height: int, dark: bool, phone: bool, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    chrome.look(width, height, dark, phone)
    show(chrome, request.getfixturevalue(which))
    for opened in (False, True):
        if opened:
            chrome.value(OPEN_ALL)
        assert not chrome.value(WIDER), f"wider than a screen of {width}"
        assert chrome.value(SPILLS) == []
        assert chrome.value(PLOTS) == 0
    assert chrome.value(CONTRAST) == []
    assert chrome.value("document.querySelectorAll('.wide').length") > 3
    assert chrome.picture(tmp_path / "page.png").stat().st_size > 20_000
    assert chrome.errors == []


def test_a_mark_tells_and_leads_to_its_trial(chrome: Chrome, good: Path) -> None:
    chrome.look(1280, 900)
    show(chrome, good)
    assert chrome.value("document.querySelector('.tip').hidden")
    mark = "document.querySelector('#curve ~ .stack .wide a.mark[href=\"#trial-10\"]')"
    chrome.value(f"{mark}.dispatchEvent(new PointerEvent('pointerenter'))")
    told = chrome.value("document.querySelector('.tip').textContent")
    assert not chrome.value("document.querySelector('.tip').hidden")
    assert told.startswith("Trial 10: accepted, +") and IDEAS[9].hypothesis[:40] in told
    box = chrome.value("(({left, right}) => [left, right])(document.querySelector('.tip').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 1280
    assert not chrome.value("document.querySelector('#trial-10 > details').open")
    chrome.value(f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}}))")
    chrome.wait("document.querySelector('#trial-10 > details').open")
    assert 0 <= chrome.value("document.getElementById('trial-10').getBoundingClientRect().top") < 60
    assert chrome.value("document.querySelector('.tip').hidden")
    chrome.value("document.getElementById('all').click()")
    assert chrome.value("document.querySelectorAll('.trial > details[open]').length") == len(IDEAS)
    assert chrome.errors == []


def test_a_link_to_a_trial_opens_it(chrome: Chrome, good: Path) -> None:
    show(chrome, good, "#trial-12")
    assert chrome.value("document.querySelector('#trial-12 > details').open")


def test_it_works_without_scripts(chrome: Chrome, good: Path) -> None:
    chrome.look(1280, 900)
    chrome.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(chrome, good)
        assert chrome.value("document.querySelector('.tip')") is None
        assert chrome.value("document.getElementById('all').hidden")
        assert chrome.value("document.querySelectorAll('.wide a.mark title').length") >= 2 * len(IDEAS)
        at = chrome.value(
            "(({left, top}) => [left + 30, top + 15])(document.querySelector('#trial-1 summary')"
            ".getBoundingClientRect())"
        )
        chrome.value("document.querySelector('#trial-1 summary').scrollIntoView()")
        top = chrome.value("document.querySelector('#trial-1 summary').getBoundingClientRect().top")
        for kind in ("mousePressed", "mouseReleased"):
            chrome.ask("Input.dispatchMouseEvent", type=kind, x=at[0], y=top + 15, button="left", clickCount=1)
        chrome.wait("document.querySelector('#trial-1 > details').open")
        assert chrome.value("document.querySelector('#trial-1 .diff').checkVisibility()")
    finally:
        chrome.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_nothing_hostile_runs_or_asks_for_anything(chrome: Chrome, hostile: Path) -> None:
    show(chrome, hostile)
    chrome.value(OPEN_ALL)
    assert chrome.value("document.title").startswith("Improving breakout")
    assert chrome.value(LOADED) == [] and chrome.errors == []
    assert chrome.value("document.querySelectorAll('img, iframe, object, script[src], link').length") == 0
    assert BAD in chrome.value("document.querySelector('#trial-3 dd').parentElement.textContent")


class Asked(BaseHTTPRequestHandler):
    """Remembers every request."""

    paths: list[str] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_even_unescaped_markup_would_neither_run_nor_load(chrome: Chrome, hostile: Path, tmp_path: Path) -> None:
    """The page's policy stands by itself; without it the same markup does run, so the test can fail."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            raw = (BAD + MARKUP).replace("127.0.0.1:9", f"127.0.0.1:{server.server_port}").replace("alert(1)", "1")
            text = hostile.read_text("utf-8").replace("<main>", f"<main>{raw}", 1)
            (tmp_path / "guarded.html").write_text(text, "utf-8")
            (tmp_path / "open.html").write_text(text.replace("Content-Security-Policy", "x-none"), "utf-8")
            show(chrome, tmp_path / "guarded.html")
            chrome.wait("document.querySelector('.tip') !== null")
            assert chrome.value("document.title").startswith("Improving") and Asked.paths == []
            show(chrome, tmp_path / "open.html")
            chrome.wait("document.title === 'owned'")
        finally:
            server.shutdown()
            thread.join()
    assert Asked.paths
