"""Answers for the tests: a sound one, and a seeded stream of broken and hostile ones.

Each hostile answer carries the stage at which it must stop at the latest: "schema" (read_answer, or the edit does not
apply), "compile", or "judged": it compiles, and playing it, or a lock, must show that it is no better.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from answer_kit import ACT, INJECTED, POLICY, Against, answer, request, written
from hostile_code_kit import bomb, escaping, faulty, memorised, script, stubborn, wrong_program
from hostile_schema_kit import (
    bad_code,
    disagreeing,
    injected_text,
    malformed,
    nested,
    no_number,
    odd_characters,
    other_file,
    oversized,
    repeated_key,
    truncated,
    unknown_name,
    wrong_keys,
    wrong_type,
)

__all__ = [
    "ACT",
    "FAMILIES",
    "INJECTED",
    "POLICY",
    "STAGES",
    "Against",
    "Hostile",
    "answer",
    "hostile",
    "request",
    "written",
]

STAGES = ("schema", "compile", "judged")
Family = Callable[[Against], str]


class Hostile(NamedTuple):
    """One answer text, what it tries, where it must stop at the latest."""

    kind: str
    text: str
    stage: str


# name -> (stage, share, family)
FAMILIES: dict[str, tuple[str, int, Family]] = {
    "truncated": ("schema", 8, truncated), "malformed": ("schema", 8, malformed),
    "repeated key": ("schema", 3, repeated_key), "no number": ("schema", 3, no_number), "nested": ("schema", 1, nested),
    "wrong type": ("schema", 6, wrong_type), "wrong keys": ("schema", 6, wrong_keys),
    "oversized": ("schema", 4, oversized), "odd characters": ("schema", 6, odd_characters),
    "disagreeing": ("schema", 5, disagreeing), "unknown name": ("schema", 6, unknown_name),
    "other file": ("schema", 6, other_file), "bad code": ("schema", 6, bad_code),
    "injected text": ("schema", 4, injected_text), "escaping": ("compile", 10, escaping), "bomb": ("compile", 4, bomb),
    "wrong program": ("compile", 6, wrong_program), "script": ("judged", 3, script),
    "memorised": ("judged", 2, memorised), "faulty": ("judged", 2, faulty), "stubborn": ("judged", 1, stubborn),
}  # fmt: skip


def hostile(count: int = 1200, seed: int = 0, **against: Any) -> Iterator[Hostile]:
    """`count` different texts; the same for the same arguments. `against`: fields of Against."""
    rng = random.Random(seed)
    target = Against(rng=rng, **against)
    seen: set[str] = set()
    names = [name for name, (_, share, _) in FAMILIES.items() for _ in range(share)]
    while len(seen) < count:
        name = rng.choice(names)
        stage, _, family = FAMILIES[name]
        text = family(target)
        if text not in seen:
            seen.add(text)
            yield Hostile(name, text, stage)
