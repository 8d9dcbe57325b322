"""`report.html` of a self-training run: what each round saw, learned and decided, self-contained.

White boxes are what the detector said, green ones what motion said and was trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from data_flywheel.datasets.samples import load_samples
from data_flywheel.labelers import motion
from data_flywheel.labelers.motion import slots
from data_flywheel.self_training.capture import Capture
from envs.files import read_json
from triune.errors import TriuneError
from triune.report.html import hash_names, render, webp, write_page

if TYPE_CHECKING:
    from triune.system import System

SHOWN, SCALE = 6, 2
WHITE, GREEN = (255, 255, 255), (80, 255, 120)


def write_report(system: System, home: Path) -> Path:
    """Of every finished round; the file's path."""
    asked = _json(home / "wheel.json")
    request, shift = dict(asked["request"]), asked["request"]["shift"]
    request["visual shift"] = request.pop("shift") or "none"
    memory = load_samples(system.folder / "memory", "train")
    known = motion.priors(memory.scenes, memory.episodes, system.schema, memory.shape)
    rounds = []
    for path in sorted(home.glob("round-*/round.json")):
        play = Capture.load(path.parent / "play.npz", system.spec.env, system.protocol(request["protocol"]), shift)
        rounds.append(_round(_json(path), _pictures(system, play, known)))
    end = _json(home / "result.json") if (home / "result.json").is_file() else None
    text = render(
        "self_training.html",
        title=f"{system.spec.title}: self-training {f'on {shift}' if shift else 'without a visual shift'}",
        outcome=f"{end['outcome']}: {end['reason']}" if end else "; ".join(told["outcome"] for told in rounds),
        rounds=rounds,
        asked=request | hash_names(asked["hashes"]) | {"memory": asked["memory"], "frozen test set": asked["frozen"]},
    )
    return write_page(home / "report.html", text)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, "run record", TriuneError)
    return found


def _round(told: dict[str, Any], pictures: list[tuple[bytes, str, str]]) -> dict[str, Any]:
    figures, facts = told.get("figures", {}), dict(told["lesson"])
    sources = facts.pop("sources")
    sight = {"before": told["sight"]}
    if figures:
        sight["after"] = figures["new"]
        sight |= {f"own play, {k}": v for k, v in figures.get("played", {}).items()}
    facts |= {who: _words(s) for who, s in sight.items()}
    facts |= {f"scores, {k} detector": v for k, v in figures.get("scores", {}).items()}
    return {
        "number": told["round"], "outcome": told["outcome"], "reason": told["reason"], "facts": facts,
        "sources": sources, "frozen": figures.get("frozen"), "pictures": pictures,
    }  # fmt: skip


def _words(sight: dict[str, Any]) -> str:
    hits = ", ".join(f"{k} {v:.3f}" for k, v in sight["hits"].items())
    cells = "" if sight["cells"] is None else f", cells {sight['cells']:.3f}"
    return f"{sight['score']:.3f} ({hits}{cells}, resting {sight['ghosts']:.3f})"


def _pictures(system: System, play: Capture, known: list[motion.Prior]) -> list[tuple[bytes, str, str]]:
    """Frames of the round's play, with what detector and motion said of them."""
    found = motion.label(play.frames, play.episodes, system.schema, known)
    trusted = np.flatnonzero(found.trust.all(1))
    pick = trusted[np.linspace(0, len(trusted) - 1, SHOWN).astype(int)] if len(trusted) else np.arange(0)
    pictures = []
    for i in pick.tolist():
        image = np.repeat(np.repeat(play.frames[i], SCALE, 0), SCALE, 1)
        for _, start in slots(system.schema):
            _box(image, play.seen[i, start : start + 5], WHITE)
            _box(image, found.scenes[i, start : start + 5], GREEN)
        pictures.append((webp(image, 80), f"frame {i}", "white: detector; green: motion"))
    return pictures


def _box(image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    seen, x, y, w, h = (float(v) for v in box)
    if seen > 0.5:
        corner = round(SCALE * (x - w / 2)) - 2, round(SCALE * (y - h / 2)) - 2
        cv2.rectangle(image, corner, (round(SCALE * (x + w / 2)) + 1, round(SCALE * (y + h / 2)) + 1), colour, 1)
