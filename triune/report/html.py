"""Self-contained pages from Jinja templates, and how numbers and foreign texts are shown on them.

Whatever a template prints is made visible, cut and escaped, unless it is `Markup`: our own plots, pictures and style.
A template says `| cut(n)` for another length and `| whole` for all of a text.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.runtime import Undefined
from markupsafe import Markup, escape

from data_flywheel.storage.files import atomic_write
from triune.errors import TriuneError

FOLDER = Path(__file__).parent / "templates"
LONGEST = 2000  # characters of one text that are shown
SCENES = {"cnn": "from pixels", "teacher": "with the teacher's exact scenes (privileged)", "colour": "by colour rules"}
# Controls, direction marks, invisible characters, lone surrogates: what could hide or reorder text. Not \t and \n.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def write_page(path: Path, text: str) -> Path:
    """Write a page atomically, its folder too; the path."""
    atomic_write(path, text.encode("utf-8", "backslashreplace"))
    return path


def render(template: str, **view: Any) -> str:
    """The text of a template of `triune/report/templates`; UndefinedError when `view` lacks what it prints."""
    return _ENVIRONMENT.get_template(template).render(view)


def asset(name: str) -> Markup:
    """A style or script of ours, as it is."""
    return Markup((FOLDER / name).read_text("utf-8"))


def picture(data: bytes) -> Markup:
    """The address of a WebP picture inside the page."""
    return Markup(f"data:image/webp;base64,{base64.b64encode(data).decode()}")


def webp(image: np.ndarray, quality: int = 101) -> bytes:
    """WebP of an RGB image, lossless by default; TriuneError where OpenCV cannot."""
    good, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not good:
        raise TriuneError("this OpenCV cannot write WebP; pip install --upgrade opencv-python")
    return bytes(data)


def printed(value: Any) -> Any:
    """What a template prints for a value: text that can be seen, at most LONGEST characters; Markup stays."""
    return value if isinstance(value, (Markup, Undefined)) else cut(value)


def _digest(text: str) -> Markup:
    """How a Content-Security-Policy names an inline text."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")


# --- foreign text and names


def visible(text: str) -> str:
    """The text with every character that cannot be seen written as its code point."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def harmless(value: Any) -> Any:
    """A JSON value in which every string is `visible`, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(k)): harmless(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(v) for v in value]
    return value


def flat(value: Any) -> str:
    """Any JSON value as one text: lists by commas, objects as `name: value` pairs."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {flat(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(flat, value))
    if isinstance(value, float):
        return plain(value)
    return "" if value is None else str(value)


def cut(value: Any, most: int = LONGEST) -> str:
    """Any JSON value as visible text, which says how much of it is left out after `most` characters."""
    text = visible(flat(value))
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]} … ({more:,} more characters)"


def whole(value: Any) -> Markup:
    """All of it as visible text, however long."""
    return escape(visible(flat(value)))


def first_line(value: Any, most: int = 140) -> str:
    """The beginning of a text: a whole sentence where one ends in time."""
    text = " ".join(visible(flat(value)).split())
    if len(text) <= most:
        return text
    end = text.rfind(". ", 30, most)
    return text[: end + 1] if end > 0 else f"{text[: most - 1].rsplit(' ', 1)[0]}…"


def hash_names(hashes: Mapping[str, str | None]) -> dict[str, str]:
    """Hashes of a run under the names that pages give them."""
    names = {"schema": "schema", "eyes": "sha256 detector"}
    return {names.get(name, f"sha256 {name}"): sha or "none" for name, sha in hashes.items()}


# --- numbers


def plain(value: float) -> str:
    """1,234 or 0.123: whole numbers whole, others to four figures."""
    if not math.isfinite(value):
        return str(value)
    whole = value == int(value) or abs(value) >= 10_000
    return (f"{value:,.0f}" if whole else f"{value:,.4g}").replace("-", "−")


def points(value: float) -> str:
    """A score: one decimal, none from 1000 on, three digits below 1."""
    if 0 < abs(value) < 1:
        return f"{value:.3g}" if abs(value) >= 0.0005 else f"{value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def signed(value: float) -> str:
    """A difference of scores, with its sign."""
    text = points(abs(value))
    return text if float(text.replace(",", "")) == 0 else f"{'+' if value > 0 else '−'}{text}"


def signed_short(value: float) -> str:
    """A difference on an axis."""
    return "0" if value == 0 else f"{'+' if value > 0 else '−'}{short(abs(value))}"


def interval(low: float, high: float, signs: bool = False) -> str:
    """[low, high]; "" when an end is not known."""
    if not math.isfinite(low) or not math.isfinite(high):
        return ""
    show = signed if signs else points
    return f"[{show(low)}, {show(high)}]"


def short(value: float) -> str:
    """1.2M, 340k, 12."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def dollars(value: float) -> str:
    """$1.24, or more digits below a cent."""
    return f"${value:,.2f}" if value == 0 or abs(value) >= 0.1 else f"${value:.2g}"


def duration(seconds: float) -> str:
    """2 h 13 min, 25 min, 4 min 10 s, 12 s."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"
    if whole >= 600 or minutes and not rest:
        return f"{minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(at: float) -> str:
    """A day and time, UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return plain(at)


def count(n: int, one: str, many: str = "") -> str:
    """1 trial, 2 trials."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, finalize=printed, trim_blocks=True,
    lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
_ENVIRONMENT.filters |= {"cut": cut, "whole": whole, "csp": _digest, "picture": picture}
_ENVIRONMENT.globals |= {"style": asset("style.css"), "script": ""}
