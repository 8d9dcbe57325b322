"""A request for people: how large it is, and its exact content as files.

Knows: requests. Does not know: how they are made, prices, proposers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from data_flywheel.storage.files import replace_file
from supervisor.errors import SupervisorError
from supervisor.evidence import png
from supervisor.evidence.text import word
from supervisor.protocols import Image, Request

PER_TOKEN = 3.0  # characters; code and tables take more tokens than prose, so that this is a cautious guess
TILE, BASE, EACH = 512, 85, 170  # tokens of a picture as vision models commonly count them: a base, and each tile
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[a-z0-9]+")


def describe(request: Request) -> dict[str, Any]:
    """Sizes as JSON values. Tokens are estimates: no two models count alike."""
    sections = [
        {"title": s.title, "characters": len(s.text), "tokens_estimate": _tokens(len(s.text))} for s in request.sections
    ]  # fmt: skip
    images = [_image(image) for image in request.images]
    characters = sum(len(s.title) + len(s.text) for s in request.sections)
    return {
        "task": request.task, "trial": request.trial, "key": request.key, "characters": characters,
        "tokens_estimate": _tokens(characters) + sum(image["tokens_estimate"] for image in images),
        "sections": sections, "images": images, "image_bytes": sum(image["bytes"] for image in images),
    }  # fmt: skip


def _tokens(characters: int) -> int:
    return round(characters / PER_TOKEN)


def _image(image: Image) -> dict[str, Any]:
    width, height = png.size(image.data)
    tiles = -(-width // TILE) * -(-height // TILE)
    size = {"bytes": len(image.data), "width": width, "height": height, "tokens_estimate": BASE + EACH * tiles}
    return {"name": image.name, "caption": image.caption, **size}


def write(request: Request, folder: Path) -> list[Path]:
    """What would be sent: request.json (what the key is made of), evidence.md to read, the pictures. The files written.

    Pictures of an earlier request are removed from the folder.
    """
    odd = [i.name for i in request.images if not _NAME.fullmatch(i.name)]
    if odd:
        raise SupervisorError(f"a picture cannot be called {odd[0]!r}; use letters, digits, - and _, and one ending")
    folder.mkdir(parents=True, exist_ok=True)
    files = {"request.json": request.canonical, "evidence.md": page(request).encode()}
    files |= {image.name: image.data for image in request.images}
    for old in folder.glob("failure-*.png"):
        if old.name not in files:
            old.unlink()
    for name, data in files.items():
        replace_file(folder / name, data)
    return [folder / name for name in files]


def page(request: Request) -> str:
    """The request as Markdown; every section stands between fences that its text cannot close."""
    lines = [f"# {word(request.task)}, trial {request.trial}", "", f"key {request.key}", ""]
    for section in request.sections:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", section.text)), default=0))
        lines += [f"## {section.title}", "", f"{fence}text", section.text, fence, ""]
    for image in request.images:
        lines += [image.caption, "", f"![{image.name}]({image.name})", ""]
    return "\n".join(lines)
