"""Labelling the films of a camera in a real browser: boxes drawn from corner to corner, copied, filled in between,
undone and done again, at a desk and on a phone. And 60 drawn keyframes, trained on, see a conveyor.

Needs Chromium; skips with a reason where it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from camera_kit import FPS, HEIGHT, WIDTH, picture
from chrome_kit import Chrome, find_chromium
from cli_kit import inside
from conveyor_kit import Conveyor, Thing, coco
from review_kit import serving
from review_page_kit import Page

from data_flywheel.labels.resolve import resolve
from data_flywheel.labels.rounds import read_rounds
from data_flywheel.labels.store import LabelStore
from triune.cli import build_parser
from triune.commands.review import open_session
from triune.console import Console
from triune.review.session import ReviewSession
from triune.system import load

pytestmark = pytest.mark.browser

WORDS = (
    "--camera", "--size", f"{WIDTH}x{HEIGHT}", "--fps", str(FPS), "--thing", "box:3:8x8", "--thing", "hand", "--action",
    "NOOP", "--action", "STOP",
)  # fmt: skip
LENGTH = 90


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if find_chromium() is None:
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    with Chrome(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task `belt`, without a detector, and a recorded film."""
    folder = tmp_path_factory.mktemp("belt")
    assert inside("new", "belt", *WORDS, cwd=folder).returncode == 0
    writer = cv2.VideoWriter(str(folder / "a.avi"), cv2.VideoWriter.fourcc(*"FFV1"), FPS, (WIDTH, HEIGHT))
    for number in range(LENGTH):
        writer.write(cv2.cvtColor(picture(number, (8 + number / 2, 20)), cv2.COLOR_RGB2BGR))
    writer.release()
    assert inside("record", "belt", "--source", "a.avi", cwd=folder).returncode == 0
    return folder


def opened(place: Path, labels: Path, most: int = 6) -> ReviewSession:
    """As `triune review belt` opens it."""
    words = ("--labels", str(labels), "--recording", str(place / "runs/recordings/belt"), "--most", str(most))
    args = build_parser("review").parse_args(["review", str(place / "belt"), *words])
    return open_session(load(place / "belt"), args, Console())


@pytest.fixture
def session(place: Path, tmp_path: Path) -> ReviewSession:
    return opened(place, tmp_path / "labels")


@pytest.fixture
def page(chrome: Chrome, session: ReviewSession) -> Iterator[Page]:
    chrome.errors.clear()
    with serving(session) as client:
        yield Page(chrome, client.url)
        assert chrome.errors == []


def spot(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the frame is on the screen."""
    left, top = page.value("(({left, top}) => [left, top])(document.getElementById('picture').getBoundingClientRect())")
    return left + x * page.scale, top + y * page.scale


def drag(page: Page, x: float, y: float, w: float, h: float) -> None:
    """From the upper left corner of a box in the frame to the lower right one."""
    page.mouse(spot(page, x, y), (w * page.scale, h * page.scale))


def said(session: ReviewSession, index: int | None = None) -> tuple[str, Any]:
    """Status and values that the store on disk has of a frame (None: of the one that was opened last)."""
    store = LabelStore(session.store.folder)
    found = resolve(store.schema, store.standing(session.items[-1 if index is None else index].frame))
    return found.status, found.values


def at(page: Page) -> int:
    return int(page.value("review.page.frame.film.at"))


def wind(page: Page, to: int) -> None:
    """Go to a picture of the film, as whoever moves the slider."""
    page.value(f"(tape.value = {to}, tape.dispatchEvent(new Event('change')))")
    page.chrome.wait(f"review.page.frame.film.at === {to}")
    page.ready()


# --- drawing --------------------------------------------------------------------------------------------------------


def test_boxes_are_drawn_from_corner_to_corner_and_saved_at_once(page: Page, session: ReviewSession) -> None:
    page.open()
    drag(page, 4.2, 10.1, 8.1, 9.2)
    assert said(session, 0) == ("edited", {"box": [[8, 14.5, 8, 9], None, None]})
    drag(page, 40, 30, -10, -12)  # from any corner to the opposite one
    page.key("2")
    drag(page, 50, 40, 30, 30)  # beyond the edge: only what is seen
    assert said(session, 0)[1] == {"box": [[8, 14.5, 8, 9], [35, 24, 10, 12], None], "hand": [[57, 44, 14, 8]]}
    assert page.text("saved") == "saved" and page.text("status") == "begun"
    assert page.value("[...document.querySelectorAll('.kind .dim')].map((e) => e.textContent)") == ["2/3", "1/1"]
    page.mouse(page.centre("#overlay .box[data-part=box][data-slot='0']"), (3 * page.scale, 2 * page.scale))
    assert said(session, 0)[1]["box"][0] == [11, 16.5, 8, 9]  # a box is moved, not drawn over
    page.mouse(page.centre("#overlay [data-handle=se]"), (2 * page.scale, page.scale))
    assert said(session, 0)[1]["box"][0] == [12, 17, 10, 10]
    page.key("x")
    assert said(session, 0)[1]["box"][0] is None
    page.key("Enter")
    assert said(session, 0)[0] == "accepted" and page.text("place") == "Frame 2 of 6"
    assert "1 pictures accepted, 0 of them background" in page.text("tallied")


def test_there_are_no_more_than_there_can_be(page: Page, session: ReviewSession) -> None:
    page.open()
    for x in (2, 20, 40):
        drag(page, x, 4, 8, 8)
    drag(page, 10, 30, 8, 8)
    assert "all 3 of box are drawn" in page.text("hint") and sum(map(bool, said(session, 0)[1]["box"])) == 3
    drag(page, 10, 40, 0.3, 0.3)  # a click is no box
    assert len(session.store.history(session.items[0].frame)) == 3


def test_keys_take_up_kinds_and_go_through_their_boxes(page: Page, session: ReviewSession) -> None:
    page.open()
    assert page.value("document.querySelector('[data-kind=box]').ariaPressed") == "true"
    drag(page, 4, 4, 8, 8)
    drag(page, 20, 4, 8, 8)
    page.key("2")
    assert page.value("review.page.armed.part") == "hand" and page.value("review.page.selected") is None
    for slot in (0, 1, 0):
        page.key("1")
        page.key("1") if slot == 0 and page.value("review.page.selected") is None else None
        assert page.value("review.page.selected.slot") == slot
    page.key("ArrowRight")
    assert said(session, 0)[1]["box"][0] == [9, 8, 8, 8]
    page.key("2")
    page.key("b")  # without a pointer
    page.key("ArrowDown", shift=True)
    assert said(session, 0)[1]["hand"] == [[32, 24.5, 6, 6]] or said(session, 0)[1]["hand"][0][0] == 32


def test_an_empty_frame_is_accepted_as_background(page: Page, session: ReviewSession) -> None:
    page.open()
    assert "background" in page.text("bare") and page.value("bare.hidden") is False
    page.key("Enter")
    assert said(session, 0) == ("accepted", {"box": [None] * 3, "hand": [None]})
    assert "1 pictures accepted, 1 of them background" in page.text("tallied")


def test_undo_and_redo_follow_what_was_done_from_frame_to_frame(page: Page, session: ReviewSession) -> None:
    page.open()
    drag(page, 4, 4, 8, 8)
    page.key("Enter")
    drag(page, 20, 20, 8, 8)
    for key in ("z", "z", "z"):
        page.key(key)
    assert page.text("place") == "Frame 1 of 6" and said(session, 0) == said(session, 1) == ("open", {})
    assert page.value("undo.disabled") is True
    page.key("y")
    assert said(session, 0) == ("edited", {"box": [[8, 8, 8, 8], None, None]})
    page.key("y")
    assert said(session, 0)[0] == "accepted"
    page.click("#redo")
    assert said(session, 1)[1]["box"][0] == [24, 24, 8, 8] and page.text("place") == "Frame 2 of 6"
    assert page.value("redo.disabled") is True


# --- proposals ------------------------------------------------------------------------------------------------------


def test_boxes_are_copied_as_proposals_and_are_truth_only_when_confirmed(page: Page, session: ReviewSession) -> None:
    page.open()
    drag(page, 4, 16, 8, 8)
    drag(page, 30, 30, 8, 8)
    page.key("2")
    drag(page, 50, 4, 8, 8)
    page.key("Enter")
    page.key("c")
    assert page.value("review.page.proposed.size") == 3 and said(session, 1) == ("open", {})
    assert page.value("document.querySelectorAll('#overlay .proposed').length") == 3
    page.mouse(page.centre("#overlay .box[data-part=box][data-slot='0']"), (10 * page.scale, 0))
    assert said(session, 1) == ("edited", {"box": [[18, 20, 8, 8], None, None]})  # the one that was moved
    assert page.value("review.page.proposed.size") == 2
    page.key("n")
    page.key("p")  # whoever leaves has not confirmed them
    assert page.value("review.page.proposed.size") == 0 and said(session, 1)[0] == "edited"
    page.key("c")
    page.key("2")
    page.key("2")
    page.key("x")
    page.key("Enter")
    assert said(session, 1) == ("accepted", {"box": [[18, 20, 8, 8], [34, 34, 8, 8], None], "hand": [None]})


def test_keys_work_while_the_slider_has_the_focus_and_undo_brings_proposals_back(
    page: Page, session: ReviewSession
) -> None:
    page.open()
    for place, x in ((20, 14), (40, 24)):
        wind(page, place)
        page.value("tape.focus()")
        page.key("1")
        drag(page, x, 16, 8, 8)
        page.value("tape.focus()")
        page.key("Enter")
    wind(page, 30)
    page.mouse(page.centre("#overlay .proposed"), (4 * page.scale, 0))
    assert said(session)[0] == "edited" and page.value("review.page.proposed.size") == 0
    page.key("z")
    assert said(session) == ("open", {}) and page.value("review.page.proposed.size") == 1
    page.value("tape.focus()")
    page.key("ArrowRight")
    page.chrome.wait("review.page.frame.film.at === 31")


def test_what_lies_between_two_keyframes_is_proposed(page: Page, session: ReviewSession) -> None:
    page.open()
    for place, x in ((20, 14), (40, 24)):
        wind(page, place)
        drag(page, x, 16, 8, 8)
        page.key("Enter")
    wind(page, 26)
    assert page.value("review.page.proposed.size") == 1 and said(session) == ("open", {})
    assert page.value("review.page.values.box[0]") == [21, 20, 8, 8]
    page.key("Enter")
    assert said(session) == ("accepted", {"box": [[21, 20, 8, 8], None, None], "hand": [None]})
    wind(page, 40)
    page.key("<")
    assert at(page) == 25
    page.key(".")
    page.key(".")
    assert at(page) == 27 and page.value("review.page.proposed.size") == 1
    page.key("Enter")  # going on as one came
    assert at(page) == 28 and page.text("place") == "A frame beside the queue"
    page.key("n")
    assert page.text("place").startswith("Frame ")


def test_drawing_over_a_proposal_takes_its_place_and_all_can_be_dropped(page: Page, session: ReviewSession) -> None:
    page.open()
    drag(page, 4, 16, 8, 8)
    drag(page, 30, 30, 8, 8)
    page.key("Enter")
    page.key("c")
    page.mouse(spot(page, 29, 31), (8 * page.scale, 9 * page.scale), shift=True)
    assert said(session, 1) == ("edited", {"box": [None, [33, 35.5, 8, 9], None]})
    assert page.value("review.page.proposed.size") == 1
    page.key("d")
    page.key("Enter")
    assert said(session, 1) == ("accepted", {"box": [None, [33, 35.5, 8, 9], None], "hand": [None]})


def test_nothing_is_lost_when_the_browser_is_closed(
    page: Page, session: ReviewSession, place: Path, chrome: Chrome
) -> None:
    page.open()
    drag(page, 4, 4, 8, 8)
    page.value("void setTimeout(() => location.assign('about:blank'))")
    page._patiently(lambda: page.value("location.href") == "about:blank")
    again = opened(place, session.store.folder)
    assert again.state()["labelled"]["begun"] == 1 and again.frame(0)["status"] == "edited"  # it stands at the head
    with serving(again) as client:
        other = Page(chrome, client.url)
        other.open()
        assert other.value("review.page.values.box[0]") == [8, 8, 8, 8] and other.text("status") == "begun"


# --- phones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_boxes_are_drawn_by_touch_and_everything_fits(page: Page, session: ReviewSession, dark: bool) -> None:
    page.open(390, 844, dark, phone=True)
    page.touch(spot(page, 10, 10), (12 * page.scale, 9 * page.scale))
    assert said(session, 0)[1]["box"][0] == [16, 14.5, 12, 9]
    page.tap("[data-kind=hand]")
    page.chrome.wait("review.page.armed.part === 'hand'")
    page.touch(spot(page, 40, 20), (14 * page.scale, 20 * page.scale))
    assert said(session, 0)[1]["hand"] == [[47, 30, 14, 20]]
    small = page.value("""[...document.querySelectorAll('button, input, summary')]
        .filter((e) => e.checkVisibility() && !e.closest('dialog'))
        .map((e) => [e.id || e.className, e.getBoundingClientRect()])
        .filter(([, r]) => r.width < 44 || r.height < 44).map(([name, r]) => `${name} ${r.width}x${r.height}`)""")
    assert small == [] and page.value("document.documentElement.scrollWidth") <= 390 and page.value("scrollY") == 0
    page.tap("#ahead")
    assert at(page) == 15
    page.tap("#undo")
    assert said(session, 0)[1].get("hand") is None


def test_everything_has_a_name_for_who_does_not_see_it(page: Page) -> None:
    page.open()
    nameless = page.value("""[...document.querySelectorAll('button, input')]
        .filter((e) => !(e.ariaLabel || e.textContent.trim())).map((e) => e.id)""")
    assert nameless == [] and "0:00.00" in page.value("tape.getAttribute('aria-valuetext')")
    page.value("document.querySelector('[data-kind=hand]').focus()")
    page.key("Enter")
    assert page.value("review.page.armed.part") == "hand"
    assert page.value("document.activeElement.dataset.kind") == "hand"  # drawn anew, it keeps the focus


# --- an hour's work ---------------------------------------------------------------------------------------------------


KEYFRAMES, STEPS = 60, 1100
ROAD = (
    "--camera", "--size", "320x240", "--fps", "30", "--thing", "box:3:26x26", "--thing", "disc:3:26x26", "--thing",
    "hand:1:34x90", "--action", "NOOP", "--action", "PUSH_LEFT", "--action", "PUSH_RIGHT", "--action", "STOP",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.train
def test_sixty_drawn_keyframes_are_enough(chrome: Chrome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A minute of a conveyor is labelled with the mouse, in the order that the page gives; what comes after that minute
    is seen by the detector that was trained on it."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    scene = Conveyor(1, hands=90)
    there = film(tmp_path / "train.mp4", scene, 1800)
    film(tmp_path / "later.mp4", scene, 600, tmp_path / "later.json")

    def triune(*words: str) -> str:
        done = inside(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    triune("new", "belt", *ROAD)
    triune("record", "belt", "--source", "train.mp4")
    labelling = opened(tmp_path, tmp_path / "runs/labels/belt", KEYFRAMES)
    with serving(labelling) as client:
        page = Page(chrome, client.url)
        page.open(1280, 860)
        drags = sum(label_frame(page, there) for _ in range(KEYFRAMES))
        assert f"All {KEYFRAMES} frames are reviewed" in page.text("banner-text")
        page.leave()
    labelled = labelling.summary()
    assert (labelled["accepted"], labelled["edited"]) == (KEYFRAMES, 0) and drags <= 300  # a second each: 5 minutes
    trained = json.loads(triune("train", "belt", "--steps", str(STEPS), "--json"))["metrics"]
    assert len(read_rounds(tmp_path / "runs/labels/belt")) == 1  # by which the page says whether more would help
    told = json.loads(triune("eval", "belt", "--source", "later.mp4", "--labels", "later.json", "--json"))["things"]
    with capsys.disabled():
        print(f"\n{drags} drags on {KEYFRAMES} keyframes, {STEPS} steps, {trained['cpu_s']} processor seconds")
        for name, m in told.items():
            n = trained["learned"]["labels"][name]
            print(f"{name:<6}{n:>5} learned {m['labels']:>6} later  precision {m['precision']}  recall {m['recall']}")
    for name in ("box", "disc"):
        assert told[name]["precision"] >= 0.90 and told[name]["recall"] >= 0.90, (name, told[name])
    assert told["hand"]["precision"] >= 0.90 and told["hand"]["recall"] >= 0.70, told["hand"]  # 18 labels to learn from


def film(path: Path, scene: Conveyor, count: int, labels: Path | None = None) -> list[list[Thing]]:
    """The next pictures of a scene, in RGB, as a film; what is there on each."""
    writer, found = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (320, 240)), []
    for shown, things in scene.frames(count):
        writer.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        found.append(things)
    writer.release()
    if labels:
        labels.write_text(json.dumps(coco(found)))
    return found


def label_frame(page: Page, there: list[list[Thing]]) -> int:
    """Draw what a person sees, kind by kind, and accept; how many drags that took."""
    things = there[page.value("review.page.frame.film.number")]
    page.key("d")  # every box is a person's
    for key, name in enumerate(("box", "disc", "hand"), 1):
        mine = [thing for thing in things if thing.name == name]
        if mine:
            page.key(str(key))
        for thing in mine:
            left, top = round(thing.x), round(thing.y)
            right, bottom = max(left + 2, round(thing.x + thing.w)), max(top + 2, round(thing.y + thing.h))
            page.mouse(spot(page, left, top), ((right - left) * page.scale, (bottom - top) * page.scale), shift=True)
    page.key("Enter")
    return len(things)
