"""The review page in a real browser: dragged with a mouse and by touch, driven by keys, at a desk and on a phone.

Needs Chromium; skips with a reason where it is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chrome_kit import Chrome, find_chromium
from review_kit import collected, queue_of, serving, session_of
from review_page_kit import LEAVES, Page, go, holds, whole

from data_flywheel.labels.review_queue import ReviewQueue
from triune.review.session import ReviewSession

pytestmark = pytest.mark.browser

SMALL = """[...document.querySelectorAll('button, input, summary')]
    .filter((e) => e.checkVisibility() && !e.closest('dialog'))
    .map((e) => [e.id || e.className || e.textContent, e.getBoundingClientRect()])
    .filter(([, r]) => r.width < 44 || r.height < 44).map(([name, r]) => `${name} ${r.width}x${r.height}`)"""
OUTSIDE = """[...document.querySelectorAll('button')].filter((e) => e.checkVisibility() && !e.closest('dialog, aside'))
    .map((e) => [e.id, e.getBoundingClientRect()])
    .filter(([, r]) => r.left < 0 || r.top < 0 || r.right > innerWidth + 0.5 || r.bottom > innerHeight + 0.5)
    .map(([id]) => id)"""


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


# --- editing --------------------------------------------------------------------------------------------------------


def test_boxes_are_drawn_where_the_labels_say(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    frame = session.frame(index)
    left, top = page.value("(({left, top}) => [left, top])(document.getElementById('picture').getBoundingClientRect())")
    for name in ("ball", "player", "enemy"):
        x, y = page.centre(f"#overlay .box[data-part={name}]")
        wanted = frame["parts"][name]["value"][0]
        assert x == pytest.approx(left + wanted[0] * page.scale, abs=1) and y == pytest.approx(
            top + wanted[1] * page.scale, abs=1
        )
        sure = round(100 * frame["belief"]["sure"][name][0])
        tags = page.value("[...document.querySelectorAll('#overlay .tagtext')].map((t) => t.textContent)")
        assert f"{name} {sure} %" in tags
    assert page.value("getComputedStyle(document.getElementById('picture')).imageRendering") == "pixelated"
    assert page.scale == round(page.scale)  # every pixel is as wide as the next


def test_a_box_is_dragged_with_the_mouse_and_saved(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    x, y, w, h = holds(session, index, "player").value[0]
    page.mouse(page.centre("#overlay .box[data-part=player]"), (-10 * page.scale, -6 * page.scale))
    found = holds(session, index, "player")
    assert found.value == [[x - 10, y - 6, w, h]] and found.label.source == "person"
    page.mouse(page.centre("#overlay [data-handle=se]"), (3 * page.scale, -4 * page.scale))
    assert holds(session, index, "player").value == [[x - 8.5, y - 8, w + 3, h - 4]]
    assert page.text("saved") == "saved" and page.text("status") == "corrected" and page.value(LEAVES) is True
    page.key("z")
    assert holds(session, index, "player").value == [[x - 10, y - 6, w, h]]
    page.click("#undo")
    assert holds(session, index, "player").value == [[x, y, w, h]] and page.text("status") == "to do"
    assert page.value("document.getElementById('undo').disabled") is True


def test_a_box_cannot_be_dragged_out_of_the_frame(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    _, _, w, h = holds(session, index, "ball").value[0]
    page.key("1")
    start = page.centre("#overlay .box[data-part=ball]")
    page.mouse(start, (4 - start[0], 850 - start[1]))  # far off the frame, but still on the screen
    assert holds(session, index, "ball").value == [[w / 2, 210 - h / 2, w, h]]
    page.mouse(page.centre("#overlay [data-handle=nw]"), (300, 40))
    assert holds(session, index, "ball").value[0][2:] == [1, 1]


def test_a_thing_is_marked_absent_and_added_by_a_click(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    page.key("3")
    page.key("x")
    assert holds(session, index, "enemy").value == [None]
    page.click("[data-row=enemy] .add")
    assert "Click where enemy is" in page.text("hint")
    left, top = page.value("(({left, top}) => [left, top])(document.getElementById('picture').getBoundingClientRect())")
    page.mouse((left + 50.4 * page.scale, top + 90.3 * page.scale), None)
    assert holds(session, index, "enemy").value == [[50, 90, 4, 16]]
    page.key("3")
    page.key("3")
    for key, shift in (("ArrowLeft", False), ("ArrowUp", False), ("ArrowRight", True), ("ArrowDown", True)):
        page.key(key, shift)
    assert holds(session, index, "enemy").value == [[49.5, 89.5, 5, 17]]


def test_keys_accept_reject_undo_and_move(page: Page, session: ReviewSession) -> None:
    page.open()
    assert page.text("place") == "Frame 1 of 6" and page.text("counts") == "0 of 6 done"
    for key, place, counts in (
        ("Enter", 2, 1), ("r", 3, 2), ("n", 4, 2), ("a", 5, 3), ("ArrowRight", 6, 3), ("a", 3, 4), ("p", 2, 4),
        ("z", 6, 3), ("z", 4, 2),
    ):  # fmt: skip
        page.key(key)
        assert (page.text("place"), page.text("counts")) == (f"Frame {place} of 6", f"{counts} of 6 done"), key
    statuses = [session.frame(i)["status"] for i in range(6)]
    assert statuses == ["accepted", "rejected", "open", "open", "open", "open"]
    while page.text("counts") != "6 of 6 done":
        page.key("Enter")
    assert "All 6 frames are reviewed" in page.text("banner-text")
    page.open()  # another visit finds everything done
    assert page.text("counts") == "6 of 6 done" and page.text("status") in ("accepted", "rejected")


def test_a_clicked_button_does_not_keep_the_enter_key(page: Page, session: ReviewSession) -> None:
    page.open()
    page.click("#next")
    assert page.text("place") == "Frame 2 of 6"
    page.key("Enter")
    assert session.frame(1)["status"] == "accepted" and page.text("place") == "Frame 3 of 6"


def test_a_conflict_is_shown_side_by_side_and_settled(page: Page, session: ReviewSession) -> None:
    page.open()
    index = next(i for i in range(6) if session.frame(i)["parts"]["ball"]["rivals"])
    go(page, index)
    rivals = session.frame(index)["parts"]["ball"]["rivals"]
    assert page.value("document.querySelectorAll('.rival').length") == 2 and "disagree about ball" in page.text(
        "conflicts"
    )
    page.click(".rival:nth-child(2) button")
    assert holds(session, index, "ball").value == rivals[1]["value"] and not holds(session, index, "ball").rivals
    assert page.value("document.querySelectorAll('.rival').length") == 0


def test_zoom_keeps_pixels_and_boxes_together(page: Page, session: ReviewSession) -> None:
    page.open()
    index = whole(session)
    go(page, index)
    page.key("2")
    before = page.scale
    page.key("+")
    page.key("+")
    assert page.scale == 4 * before
    x, y, w, h = holds(session, index, "player").value[0]
    page.mouse(page.centre("#overlay .box[data-part=player]"), (-2 * page.scale, 0))
    assert holds(session, index, "player").value == [[x - 2, y, w, h]]
    left, top = page.value("(({left, top}) => [left, top])(document.getElementById('picture').getBoundingClientRect())")
    bx, by = page.centre("#overlay .box[data-part=player]")
    assert ((bx - left) / page.scale, (by - top) / page.scale) == pytest.approx((x - 2, y), abs=0.3)
    page.key("0")
    assert page.scale == before


# --- grids ----------------------------------------------------------------------------------------------------------


def test_cells_of_a_grid_are_painted(chrome: Chrome, tmp_path: Path) -> None:
    collected(tmp_path / "data", "breakout", 3, (3,))
    session = session_of(tmp_path / "data", tmp_path / "labels", queue_of(tmp_path / "data", "breakout"), "breakout")
    with serving(session) as client:
        page = Page(chrome, client.url)
        page.open()
        before = holds(session, 0, "bricks").value
        page.click("[data-row=bricks] .pick")
        page.mouse(page.centre("#overlay [data-cell='2,3']"), (2 * 8 * page.scale, 0))
        after = holds(session, 0, "bricks").value
        there = "10"[int(before[2][3])]
        assert after == [*before[:2], before[2][:3] + 3 * there + before[2][6:], *before[3:]]
        page.key("z")
        assert holds(session, 0, "bricks").value == before


# --- phones ---------------------------------------------------------------------------------------------------------


def test_a_box_is_dragged_by_touch(page: Page, session: ReviewSession) -> None:
    page.open(390, 844, phone=True)
    index = whole(session)
    while page.value("review.page.index") != index:
        page.tap("#next")
    x, y, w, h = holds(session, index, "ball").value[0]
    bx, by = page.centre("#overlay .box[data-part=ball]")
    page.touch((bx + 9, by + 9), (12 * page.scale, -8 * page.scale))  # a finger is not exact
    assert holds(session, index, "ball").value == [[x + 12, y - 8, w, h]]
    page.touch(page.centre("#overlay [data-handle=ne]"), (2 * page.scale, -3 * page.scale))
    assert holds(session, index, "ball").value == [[x + 13, y - 9.5, w + 2, h + 3]]
    page.tap("[data-row=ball] .arrow")
    assert holds(session, index, "ball").value == [[x + 12, y - 9.5, w + 2, h + 3]]
    page.tap("[data-row=ball] .absent")
    assert holds(session, index, "ball").value == [None]
    page.tap("#accept")
    assert session.frame(index)["status"] == "accepted"
    assert page.value("scrollX + scrollY") == 0  # dragging moved the box, not the page


@pytest.mark.parametrize(
    ("width", "height", "phone"),
    [(390, 844, True), (360, 640, True), (844, 390, True), (1280, 860, False), (820, 1180, True)],
)
def test_everything_fits_and_can_be_hit(
    page: Page, session: ReviewSession, width: int, height: int, phone: bool
) -> None:
    page.open(width, height, phone=phone)
    go(page, next(i for i in range(6) if session.frame(i)["parts"]["ball"]["rivals"]))
    page.key("2")
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("document.getElementById('side').scrollWidth <= document.getElementById('side').clientWidth")
    assert page.value(OUTSIDE) == []
    if phone:
        assert page.value(SMALL) == []
        corners = [page.centre(f"#overlay [data-handle={c}]") for c in ("nw", "ne", "sw", "se")]
        for i, (ax, ay) in enumerate(corners):
            assert all(max(abs(ax - bx), abs(ay - by)) >= 44 for bx, by in corners[:i])


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
@pytest.mark.parametrize("dark", [False, True])
def test_pictures_of_it(
    page: Page, session: ReviewSession, tmp_path: Path, width: int, phone: bool, dark: bool
) -> None:
    """Light and dark differ, and text stands out from its ground. REVIEW_PICTURES names a folder to keep them in."""
    page.open(width, 844, dark, phone)
    go(page, next(i for i in range(6) if session.frame(i)["parts"]["ball"]["rivals"]))
    page.key("1")
    folder = Path(os.environ.get("REVIEW_PICTURES", tmp_path))
    name = f"review-{width}-{'dark' if dark else 'light'}.png"
    assert page.chrome.picture(folder / name).stat().st_size > 20_000
    ink, paper = (
        sum(map(int, page.value(f"getComputedStyle(document.querySelector('aside')).{what}")[4:-1].split(",")[:3]))
        for what in ("color", "backgroundColor")
    )
    assert (ink > paper) == dark and abs(ink - paper) > 400
