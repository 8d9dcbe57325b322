"""What calls of a model cost: token counts as a server told them, times prices that the user named.

Knows: arithmetic with what may be unknown. Does not know: any price, any server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from supervisor.errors import SupervisorError
from supervisor.loop.budget import UNKNOWN, Amount

_MOST = 10**9  # tokens in one call; more is no count


class Tokens(NamedTuple):
    """One call. `cached` is the part of `prompt` that the server had seen before."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens. `cached` None: as `input`."""

    input: float
    output: float
    cached: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None and name == "cached":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise SupervisorError(f"price.{name}: {value!r}; give US dollars per million tokens, 0 if it is free")

    def of(self, tokens: Tokens) -> float:
        """US dollars of one call."""
        cached = self.input if self.cached is None else self.cached
        fresh = tokens.prompt - tokens.cached
        return (fresh * self.input + tokens.cached * cached + tokens.completion * self.output) / 1e6

    def at_most(self, tokens: Tokens) -> float:
        """The same where nobody knows what is cached."""
        dearest = max(self.input, self.cached or 0.0)
        return (tokens.prompt * dearest + tokens.completion * self.output) / 1e6


def tokens_of(response: Mapping[str, Any]) -> Tokens | None:
    """The `usage` of a chat completion; None when it is missing or cannot be true."""
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    prompt, completion, cached = usage.get("prompt_tokens"), usage.get("completion_tokens"), cached or 0
    counts = (prompt, completion, cached)
    if any(type(n) is not int or not 0 <= n <= _MOST for n in counts) or cached > prompt:  # type: ignore[operator]
        return None
    return Tokens(*counts)  # type: ignore[arg-type]


def total(calls: Iterable[Tokens | None], price: Price | None) -> tuple[Amount, Amount]:
    """Tokens and US dollars of several calls; UNKNOWN as soon as one call or the price is not known."""
    known: list[Tokens] = []
    for call in calls:
        if call is None:
            return UNKNOWN, UNKNOWN
        known.append(call)
    tokens = float(sum(t.prompt + t.completion for t in known))
    if price is None:
        return tokens, 0.0 if not known else UNKNOWN
    return tokens, round(math.fsum(map(price.of, known)), 9)
