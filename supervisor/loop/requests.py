"""A request in the run's blobs, and back: what was asked is kept whole, pictures included.

Knows: the canonical text of a request. Does not know: what it says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from supervisor.loop.blobs import Blobs
from supervisor.protocols import Image, Request, Section


def keep(request: Request, blobs: Blobs) -> dict[str, Any]:
    """What an event says of it: `request` and `images` are names of blobs."""
    from supervisor.evidence import describe

    size = describe(request)
    return {
        "request": blobs.put(request.canonical), "key": request.key,
        "images": [blobs.put(image.data) for image in request.images],
        "characters": size["characters"], "tokens_estimate": size["tokens_estimate"],
    }  # fmt: skip


def fetch(told: Mapping[str, Any], blobs: Blobs) -> Request:
    """The request of an event; SupervisorError when a blob is missing or changed."""
    plain = json.loads(blobs.get(told["request"]))
    images = tuple(Image(name, media, blobs.get(sha), caption) for name, media, caption, sha in plain["images"])
    sections = tuple(Section(*s) for s in plain["sections"])
    return Request(plain["task"], plain["trial"], plain["policy"], sections, images)
