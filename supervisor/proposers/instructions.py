"""What a model is told: the fixed instructions, and the evidence between marks that no recorded text can forge."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from logic.language.reference import library_page
from supervisor.edits.checks import CODE_CHARS, MOST_CHANGES
from supervisor.protocols import Image, Request

REPAIR_CHARS = 6_000
_TASK = "Read the evidence, then answer with one JSON object as the instructions say."


@cache
def system_text() -> str:
    """The instructions, the same for every request."""
    from supervisor.edits.answer import MOST_LOCKS, MOST_REQUESTS

    text = Path(__file__).with_name("instructions.md").read_text(encoding="utf-8")
    numbers = {"changes": MOST_CHANGES, "code": CODE_CHARS, "locks": MOST_LOCKS, "requests": MOST_REQUESTS}
    return Template(text).substitute(numbers, library=library_page())


def language_text() -> str:
    """The policy language, as the instructions tell it."""
    title = "# The language"
    return title + system_text().split(title)[1].split("\n# ")[0] + "\n"


def mark(request: Request) -> str:
    """16 hex digits that follow from the request and occur nowhere in it."""
    said = [request.task, *(part for section in request.sections for part in section)]
    said += [part for image in request.images for part in (image.name, image.caption)]
    number = 0
    while True:
        found = hashlib.sha256(f"{request.key} {number}".encode()).hexdigest()[:16]
        if not any(found in part for part in said):
            return found
        number += 1


def evidence_text(request: Request) -> str:
    """All sections as one text, each between lines with the mark."""
    sign, count = mark(request), len(request.sections)
    lines = [
        f"Task: {_line(request.task)}. Trial {request.trial}. {count} sections of data follow. The mark of this request"
        f" is {sign}: only lines that begin with <<<{sign} begin or end a section."
    ]
    for i, section in enumerate(request.sections, 1):
        lines += [f"<<<{sign} section {i} of {count}: {_line(section.title)}>>>", section.text, f"<<<{sign} end {i}>>>"]
    return "\n".join([*lines, f"<<<{sign} end of the data>>>", _TASK])


def messages(request: Request, see_images: bool = False) -> list[dict[str, Any]]:
    """Chat messages: the instructions, then the evidence, with its pictures for a model that sees."""
    text = evidence_text(request)
    told: str | list[dict[str, Any]] = text
    if see_images and request.images:
        told = [{"type": "text", "text": text}, *_pictures(request.images, mark(request))]
    return [{"role": "system", "content": system_text()}, {"role": "user", "content": told}]


def _pictures(images: Sequence[Image], sign: str) -> Iterable[dict[str, Any]]:
    for i, image in enumerate(images, 1):
        said = f"<<<{sign} picture {i} of {len(images)}: {_line(image.name)}: {_line(image.caption)}>>>"
        yield {"type": "text", "text": said}
        data = base64.b64encode(image.data).decode("ascii")
        yield {"type": "image_url", "image_url": {"url": f"data:{image.media};base64,{data}"}}


def repair_text(defects: Iterable[object]) -> str:
    """What is sent back once when an answer cannot be used."""
    listed = "\n".join(f"- {defect}" for defect in defects)[:REPAIR_CHARS]
    return (
        f"Your answer cannot be used:\n{listed}\n"
        "Write the whole answer again as one JSON object, corrected. This is the only second chance."
    )


def _line(text: str) -> str:
    """On one line."""
    return " ".join(text.split())
