"""`report.html` of a run of the wheel: what each round saw, learned and decided, self-contained.

White boxes are what the eyes said, green ones what motion said and was trusted.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from data_flywheel.datasets.samples import load_samples
from data_flywheel.labelers import motion
from data_flywheel.labelers.motion import slots
from data_flywheel.self_training.capture import Capture
from triune.report import page as parts

if TYPE_CHECKING:
    from triune.system import System

SHOWN, SCALE = 6, 2
WHITE, GREEN = (255, 255, 255), (80, 255, 120)


def write_report(system: System, home: Path) -> Path:
    """Of every finished round; the file's path."""
    asked = json.loads((home / "wheel.json").read_text("utf-8"))
    rounds = [json.loads(p.read_text("utf-8")) for p in sorted(home.glob("round-*/round.json"))]
    look = asked["request"]["shift"] or "the look it knows"
    title = f"{system.spec.title}: the wheel on {look}"
    body = "".join(_round(system, home, asked, told) for told in rounds)
    facts = {**asked["request"], **{f"{k} sha256": v for k, v in asked["hashes"].items()}, "memory": asked["memory"],
             "frozen test set": asked["frozen"]}  # fmt: skip
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    end = json.loads((home / "result.json").read_text("utf-8")) if (home / "result.json").is_file() else None
    words = f"{end['outcome']}: {end['reason']}" if end else "; ".join(t["outcome"] for t in rounds)
    outcome = f'<p class="sub">{escape(words)}</p>'
    page = (
        f"<h1>{escape(title)}</h1>{outcome}{body}<h2>From what</h2>{parts.card('Asked and given', parts.rows(facts))}"
    )
    out = home / "report.html"
    out.write_text(
        f'<!doctype html>\n<html lang="en"><head>{head}<style>\n{css}</style></head><body><main>\n{page}\n'
        "</main></body></html>\n", encoding="utf-8",
    )  # fmt: skip
    return out


def _round(system: System, home: Path, asked: dict[str, Any], told: dict[str, Any]) -> str:
    sight = {"before": told["sight"]}
    if "figures" in told:
        sight["after"] = told["figures"]["new"]
        sight |= {f"own play, {k}": v for k, v in told["figures"].get("played", {}).items()}
    words: dict[str, Any] = {who: _words(s) for who, s in sight.items()}
    words |= {f"scores, {k} eyes": v for k, v in told.get("figures", {}).get("scores", {}).items()}
    facts = parts.rows({k: v for k, v in told["lesson"].items() if k != "sources"} | words)
    sources = parts.rows(told["lesson"]["sources"])
    frozen = parts.rows(told["figures"]["frozen"]) if "figures" in told else "<p>nothing was learned</p>"
    cards = [
        parts.card("Play and labels", facts), parts.card("Where labels come from", sources),
        parts.card("On the frozen test set of the old look", frozen),
    ]  # fmt: skip
    head = f"<h2>Round {told['round']}: {escape(told['outcome'])}</h2><p>{escape(told['reason'])}</p>"
    return head + _strip(system, home, asked, told["round"]) + "".join(cards)


def _words(sight: dict[str, Any]) -> str:
    hits = ", ".join(f"{k} {v:.3f}" for k, v in sight["hits"].items())
    cells = "" if sight["cells"] is None else f", cells {sight['cells']:.3f}"
    return f"{sight['score']:.3f} ({hits}{cells}, resting {sight['ghosts']:.3f})"


def _strip(system: System, home: Path, asked: dict[str, Any], number: int) -> str:
    """Frames of the round's play, with what eyes and motion said of them."""
    ask = asked["request"]
    protocol = system.protocol(ask["protocol"])
    play = Capture.load(home / f"round-{number}" / "play.npz", system.spec.env, protocol, ask["shift"])
    memory = load_samples(system.folder / "memory", "train")
    known = motion.priors(memory.scenes, memory.episodes, system.schema, memory.shape)
    found = motion.label(play.frames, play.episodes, system.schema, known)
    trusted = np.flatnonzero(found.trust.all(1))
    pick = trusted[np.linspace(0, len(trusted) - 1, SHOWN).astype(int)] if len(trusted) else np.arange(0)
    pictures = []
    for i in pick.tolist():
        image = np.repeat(np.repeat(play.frames[i], SCALE, 0), SCALE, 1)
        for _, start in slots(system.schema):
            _box(image, play.seen[i, start : start + 5], WHITE)
            _box(image, found.scenes[i, start : start + 5], GREEN)
        data = cv2.imencode(".webp", image[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
        pictures.append((data, f"frame {i}", "white: the eyes; green: motion"))
    return parts.strip(pictures) if pictures else "<p>motion was sure of no whole frame</p>"


def _box(image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    seen, x, y, w, h = (float(v) for v in box)
    if seen > 0.5:
        corner = round(SCALE * (x - w / 2)) - 2, round(SCALE * (y - h / 2)) - 2
        cv2.rectangle(image, corner, (round(SCALE * (x + w / 2)) + 1, round(SCALE * (y + h / 2)) + 1), colour, 1)
