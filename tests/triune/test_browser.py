"""The page of `triune web` in a real browser: the bundle plays a recorded game there as it does natively.

Needs Chromium and npm; skips with a reason where they are missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chrome_kit import Chrome, find_chromium
from cli_kit import copy_task
from controls_kit import swing

from triune.deploy.web import CASES, EPISODE, PAGE, RUNTIME, RUNTIME_FILES, decode, server, write_site

pytestmark = pytest.mark.browser

STEPS = 300
SCENE_TOLERANCE = 1e-3  # px, velocities and probabilities alike: float32 sums in another order
VALUE_TOLERANCE = 1e-5  # of float32 arrays in memory, after one step from the same memory
WAIT = 240.0
BRIGHT = """(() => {
    const game = document.getElementById("game");
    const { data } = game.getContext("2d").getImageData(0, 0, game.width, game.height);
    return data.reduce((count, value, i) => count + (i % 4 < 3 && value > 60), 0);
})()"""
DROP = """fetch("bundle.onnx").then((answer) => answer.blob()).then((blob) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([blob], "dropped.onnx"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
})"""
SCALAR = """
class Memory:
    tick: int = 0
    x: float = 0.0
    speed: float = 0.0
    lost: bool = False


def act(scene, memory):
    memory.tick = (memory.tick * 7 - 3) % 1009 - memory.tick // 5
    memory.lost = not scene.ball.seen
    if memory.lost:
        memory.speed = memory.speed * 0.9
        return FIRE, "serve"
    memory.speed = 0.8 * memory.speed + 0.2 * (scene.ball.x - memory.x)
    memory.x = scene.ball.x
    time = (188.0 - scene.ball.y) / abs(scene.ball.vy)  # a ball that stands still is a fault
    ahead = memory.x + memory.speed * min(8.0, max(0.0, time)) % 160.0
    if math.sqrt((ahead - scene.paddle.x) ** 2 + 1.0) < 3.0:
        return NOOP, "there"
    return (RIGHT, "go right") if ahead > scene.paddle.x else (LEFT, "go left")
"""


def _runtime() -> None:
    """onnxruntime-web in web/node_modules, at the pinned version."""
    if all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        return
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so onnxruntime-web cannot be fetched")
    done = subprocess.run(["npm", "ci"], cwd=PAGE, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm could not install onnxruntime-web: {done.stderr.strip()[-200:]}")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's address while it is served."""
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written folder for Breakout, with a scalar policy to check besides."""
    if find_chromium() is None:
        pytest.skip("no Chromium here: install it, or name it in CHROMIUM")
    _runtime()
    import triune

    folder = tmp_path_factory.mktemp("web")
    scalar = folder / "scalar.py"
    scalar.write_text(SCALAR)
    write_site(triune.load("breakout"), folder / "site", seed=7, steps=STEPS, policies=[scalar])
    return folder / "site"


@pytest.fixture(scope="module")
def page(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chrome, str]]:
    """A browser and the address of the served folder."""
    with served(site) as url, Chrome(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome, url


@pytest.fixture(scope="module")
def outcome(page: tuple[Chrome, str]) -> dict[str, Any]:
    """What the page says of itself after the whole recording and the logic checks."""
    chrome, url = page
    chrome.open(f"{url}?auto=1&check=logic")
    chrome.wait("['done', 'failed'].includes(globalThis.triune?.state)", WAIT)
    found: dict[str, Any] = chrome.value("triune")
    assert found["state"] == "done", found["error"]
    assert chrome.errors == []
    return dict(found["result"])


def test_the_bundle_plays_in_the_browser_as_natively(outcome: dict[str, Any]) -> None:
    assert outcome["steps"] == STEPS and outcome["verified"] is True
    for kind in ("action", "reason", "interventions", "faults"):
        assert outcome[kind] >= 0.999 * STEPS, outcome["differences"]
    assert outcome["scene"] <= SCENE_TOLERANCE, outcome["sceneAt"]


def test_scalar_logic_is_bit_equal_to_generated_python(outcome: dict[str, Any], site: Path) -> None:
    check = next(c for c in outcome["checks"] if c["name"] == "scalar")
    assert check["steps"] == STEPS and check["values"] == 4 * STEPS
    assert check["action"] == check["reason"] == check["fault"] == STEPS
    assert check["differ"] == 0, check["first"]
    _, cases = decode((site / "logic-scalar.bin.gz").read_bytes(), CASES)
    assert 0 < cases["fault"].sum() < STEPS and len(set(cases["action"])) == 4
    assert next(c for c in json.loads((site / "site.json").read_text())["checks"] if c["name"] == "scalar")[
        "scalar_memory"
    ]


def test_the_task_s_own_logic_agrees(outcome: dict[str, Any]) -> None:
    check = next(c for c in outcome["checks"] if c["name"] == "policy")
    assert min(check["action"], check["reason"], check["fault"]) >= 0.999 * STEPS
    assert check["largest"] <= VALUE_TOLERANCE, check["first"]


def test_what_is_shown_is_what_was_played(page: tuple[Chrome, str], outcome: dict[str, Any], tmp_path: Path) -> None:
    chrome, url = page
    chrome.look(1280, 900)
    chrome.open(f"{url}?step=100")
    chrome.wait("globalThis.triune?.state === 'ready'", WAIT)
    text = "document.getElementById('%s').textContent"
    assert chrome.value(text % "step") == "100"
    assert chrome.value("document.querySelectorAll('.key.sent').length") == 1
    assert "policy.py" in chrome.value(text % "source") and chrome.value(text % "reason") in chrome.value(
        text % "source"
    )
    assert "ball" in chrome.value(text % "things") and "→" in chrome.value(text % "memory")
    shown = chrome.value(BRIGHT)
    assert shown > 10_000, "the canvas is black"
    for key, step in (("ArrowRight", "101"), ("ArrowLeft", "100"), ("End", str(STEPS - 1)), ("Home", "0")):
        chrome.value(
            f"dispatchEvent, document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
        )
        chrome.wait(f"{text % 'step'} === '{step}'")
    for width, height, dark, phone in ((390, 844, True, True), (1280, 900, False, False)):
        chrome.look(width, height, dark, phone)
        assert chrome.value("document.documentElement.scrollWidth <= innerWidth"), f"wider than a screen of {width}"
        assert chrome.picture(tmp_path / f"{width}.png", whole=phone).stat().st_size > 20_000
    assert chrome.errors == []


def test_other_files_can_be_loaded_and_bad_ones_are_refused_in_words(
    page: tuple[Chrome, str], outcome: dict[str, Any], site: Path, tmp_path: Path
) -> None:
    chrome, url = page
    chrome.open(f"{url}?step=3")
    chrome.wait("globalThis.triune?.state === 'ready'", WAIT)
    data = (site / "bundle.onnx").read_bytes()
    bad = {
        "changed.onnx": data.replace(b"FIRE", b"FIRF"),
        "cut.onnx": data[:-1000],
        "logic.onnx": (site / "logic.onnx").read_bytes(),
        "episode.bin.gz": (site / "episode.bin.gz").read_bytes()[:2000],
        "logic.bin.gz": (site / "logic.bin.gz").read_bytes(),
    }
    expected = ("changed after it was exported", "cut.onnx", "no bundle", "damaged", "holds a logic check")
    for (name, content), words in zip(bad.items(), expected, strict=True):
        (tmp_path / name).write_bytes(content)
        chrome.choose("#files", tmp_path / name)
        chrome.wait(f"document.getElementById('error').textContent.includes({json.dumps(words)})")
    (tmp_path / "again.onnx").write_bytes(data)
    chrome.choose("#files", tmp_path / "again.onnx", site / "episode.bin.gz")
    chrome.wait("document.getElementById('error').hidden && document.getElementById('step').textContent === '3'")
    assert "again.onnx" in chrome.value("document.getElementById('facts-table').textContent")
    chrome.value(DROP)
    chrome.wait("document.getElementById('facts-table').textContent.includes('dropped.onnx')")
    assert chrome.errors == []


def test_interventions_and_faults_come_out_alike(
    page: tuple[Chrome, str], outcome: dict[str, Any], tmp_path: Path
) -> None:
    """A policy that rules must stop now and then, and that divides by zero, as a bundle of its own."""
    import triune

    chrome, _ = page
    copy_task(tmp_path / "task", "breakout")
    (tmp_path / "task" / "policy.py").write_text(SCALAR)
    write_site(triune.load(tmp_path / "task"), tmp_path / "site", seed=7, steps=STEPS)
    _, recorded = decode((tmp_path / "site" / "episode.bin.gz").read_bytes(), EPISODE)
    steps = len(recorded["action"])  # it may lose all its lives before the last step
    assert recorded["interventions"].any() and 0 < recorded["fault"].sum() < steps
    with served(tmp_path / "site") as url:
        chrome.open(f"{url}?auto=1")
        chrome.wait("['done', 'failed'].includes(globalThis.triune?.state)", WAIT)
        found = chrome.value("triune.result")
    assert found["steps"] == steps
    assert all(found[kind] >= 0.999 * steps for kind in ("action", "reason", "interventions", "faults")), found
    assert chrome.errors == []


def test_controls_are_shown_by_name_and_agree(page: tuple[Chrome, str], tmp_path: Path) -> None:
    import triune

    chrome, _ = page
    write_site(triune.load(swing(tmp_path / "swing"), isolate=False), tmp_path / "site", seed=3, steps=60)
    _, recorded = decode((tmp_path / "site" / "episode.bin.gz").read_bytes(), EPISODE)
    assert recorded["action"].shape == (60, 1) and recorded["interventions"].any()
    with served(tmp_path / "site") as url:
        chrome.open(f"{url}?auto=1&check=logic")
        chrome.wait("['done', 'failed'].includes(globalThis.triune?.state)", WAIT)
        found = chrome.value("triune")
        keys = chrome.value("document.getElementById('keys').textContent")
        things = chrome.value("document.getElementById('things').textContent")
        spoken = chrome.value("document.getElementById('scrub').getAttribute('aria-valuetext')")
    assert found["state"] == "done", found["error"]
    assert all(found["result"][kind] == 60 for kind in ("action", "reason", "interventions", "faults")), found
    (check,) = found["result"]["checks"]
    assert check["action"] == check["reason"] == check["fault"] == 60 and check["differ"] == 0
    value = f"{recorded['action'][-1, 0]:+.2f}".replace("-", "−")
    assert "lean 0.25 rad" in things and keys == f"torque{value}" and f": torque {value}, " in spoken
    assert chrome.errors == []


def test_a_folder_without_the_runtime_says_what_to_do(page: tuple[Chrome, str], site: Path, tmp_path: Path) -> None:
    chrome, _ = page
    shutil.copytree(site, tmp_path / "site", ignore=shutil.ignore_patterns("ort"))
    with served(tmp_path / "site") as url:
        chrome.open(url)
        chrome.wait("globalThis.triune?.state === 'failed'", WAIT)
    assert "npm install" in chrome.value("document.getElementById('error').textContent")
    assert any("404" in error for error in chrome.errors)
    chrome.errors.clear()
