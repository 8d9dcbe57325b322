"""How the `openai` proposer reaches its model, read from a table of settings.

Knows: names, defaults, what they may be. Does not hold a key, only the name of the variable that has it.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.edits.checks import nearest
from supervisor.errors import SupervisorError
from supervisor.loop.prices import Price

TOKEN_PARAMETERS = ("max_completion_tokens", "max_tokens")
NO_KEY = "no-key-needed"  # servers on one's own machine want a header, whatever is in it
_OURS = {"model", "messages", "response_format", "stream", "n", "tools", *TOKEN_PARAMETERS}


@dataclass(frozen=True)
class Settings:
    """`extra`: more fields of the body, such as temperature. `sees`: pictures are sent. `image_tokens`: at most, each.
    `timeout_s`: of one call, `total_s`: of a proposal with all its calls. `attempts`: of one call."""

    model: str
    base_url: str | None = None  # None: the client's own default
    key_env: str = "OPENAI_API_KEY"
    sees: bool = False
    max_output: int = 16_000  # tokens, thinking included
    token_parameter: str = TOKEN_PARAMETERS[0]
    extra: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 300.0
    total_s: float = 900.0
    attempts: int = 5
    image_tokens: int = 2_500
    price: Price | None = None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Settings:
        """From a table such as TOML gives; SupervisorError names what is wrong and the nearest valid choice."""
        known = [f.name for f in dataclasses.fields(cls)]
        for name in table:
            if name not in known:
                raise SupervisorError(f"openai: unknown setting {name!r}; {nearest(str(name), known)}")
        if "model" not in table:
            raise SupervisorError("openai: no model; name one that the server has, for example --set model=NAME")
        price = table.get("price")
        if isinstance(price, Mapping):
            try:
                table = {**table, "price": Price(**price)}
            except TypeError:
                raise SupervisorError("openai: price has the keys input, output and, if you like, cached") from None
        return cls(**table)

    def __post_init__(self) -> None:
        for name in ("timeout_s", "total_s"):
            _number(name, getattr(self, name), float)
        for name in ("max_output", "attempts", "image_tokens"):
            _number(name, getattr(self, name), int)
        if not isinstance(self.model, str) or not self.model:
            raise SupervisorError("openai: model must be the name of a model")
        if self.token_parameter not in TOKEN_PARAMETERS:
            raise SupervisorError(f"openai: token_parameter is one of {', '.join(TOKEN_PARAMETERS)}")
        if self.price is not None and not isinstance(self.price, Price):
            raise SupervisorError("openai: price is a table with input and output, US dollars per million tokens")
        if not isinstance(self.extra, Mapping):
            raise SupervisorError("openai: extra is a table of fields, such as temperature = 0.5")
        if _OURS & set(self.extra):
            raise SupervisorError(f"openai: extra cannot hold {', '.join(sorted(_OURS & set(self.extra)))}")

    def key(self) -> str:
        """The key, from the environment. SupervisorError when it is missing and no server of one's own is named."""
        key = os.environ.get(self.key_env, "").strip()
        if not key and self.base_url is None:
            raise SupervisorError(
                f"openai: no key; set {self.key_env}, or name a server that needs none with base_url, "
                "or use --proposer tuner"
            )
        return key or NO_KEY


def _number(name: str, value: object, kind: type) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if not good or kind is int and not isinstance(value, int):
        raise SupervisorError(f"openai: {name} = {value!r}; give a {'whole ' if kind is int else ''}number above 0")
