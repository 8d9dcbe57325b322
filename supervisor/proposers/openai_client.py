"""The proposer behind any OpenAI-compatible server: one question, at most one repair, all costs counted."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor import secrets
from supervisor.budget import UNKNOWN, Amount, Price, Tokens, total
from supervisor.edits.answer import ANSWER_CHARS, Compile, Defect, problems, schema
from supervisor.edits.checks import nearest
from supervisor.errors import SupervisorError
from supervisor.proposers.instructions import REPAIR_CHARS, messages, repair_text
from supervisor.proposers.transport import TOKEN_PARAMETERS, Caller, CallError, SdkTransport, Spent, Transport
from supervisor.protocols import ProposerError, Reply, Request, Usage

# ----------------------------------------------------------------------------------------------------
# How the `openai` proposer reaches its model, read from a table of settings.
#
# Does not hold a key, only the name of the variable that has it.


BASE_URL = "OPENAI_BASE_URL"  # the client reads it too
NO_KEY = "no-key-needed"  # servers on one's own machine want a header, whatever is in it
_OURS = {"model", "messages", "response_format", "stream", "n", "tools", *TOKEN_PARAMETERS}


@dataclass(frozen=True)
class Settings:
    """`extra`: more fields of the body, such as temperature. `sees`: pictures are sent. `image_tokens`: at most, each.
    `timeout_s`: of one call, `total_s`: of a proposal with all its calls. `attempts`: of one call."""

    model: str
    base_url: str | None = None  # None: what OPENAI_BASE_URL says, or the client's own default
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
        secrets.plain_fields(self.extra, "openai: extra")
        secrets.variable(self.key_env, "openai: key_env")
        if self.base_url is not None:
            secrets.address(self.base_url, "openai: base_url")
        if _OURS & set(self.extra):
            raise SupervisorError(f"openai: extra cannot hold {', '.join(sorted(_OURS & set(self.extra)))}")

    def address(self) -> str | None:
        """Where the server is: as set, or as the environment says; None for the client's own."""
        named = os.environ.get(BASE_URL, "").strip()
        return secrets.address(named, BASE_URL) if named and self.base_url is None else self.base_url

    def key(self) -> str:
        """The key, from the environment. SupervisorError when it is missing and no server of one's own is named, or
        when it could not be sent."""
        key = os.environ.get(self.key_env, "").strip()
        if not key and self.address() is None:
            raise SupervisorError(
                f"openai: no key; set {self.key_env}, or name a server that needs none with base_url, "
                "or use --proposer tuner"
            )
        return secrets.header(key, self.key_env) if key else NO_KEY


def _number(name: str, value: object, kind: type) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if not good or kind is int and not isinstance(value, int):
        raise SupervisorError(f"openai: {name} = {value!r}; give a {'whole ' if kind is int else ''}number above 0")


# ----------------------------------------------------------------------------------------------------
# The proposer behind any OpenAI-compatible server: one question, at most one repair, everything that it took
# counted.


TURNS = 2
CUT = "cut off"
_FRAME = 64  # tokens around each message, at most


class Said(NamedTuple):
    """The text of a response, and what kept it from being a whole one ('' if nothing did)."""

    text: str
    problem: str = ""


class OpenAIProposer:
    """`rules`: names of the functions in safety.py, for better messages; `compile`: what is unsound about a text."""

    name = "openai"

    def __init__(
        self, settings: Settings, transport: Transport | None = None, rules: frozenset[str] = frozenset(),
        sleep: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random, compile: Compile = lambda text: (),
    ) -> None:  # fmt: skip
        self.settings, self.rules, self.clock, self.compile = settings, rules, clock, compile
        carrier = transport or SdkTransport(settings.key(), settings.address())
        self._caller = Caller(carrier, settings.attempts, sleep, clock, jitter)
        self._schema = schema()

    def __repr__(self) -> str:
        return f"OpenAIProposer({self.settings!r})"

    # --- what it may take ----------------------------------------------------------------------------------------

    def estimate(self, request: Request) -> Mapping[str, Amount]:
        """At most: a token for each byte, all output used, the repair asked for. Billed retries come on top."""
        most = self._most(request)
        price = self.settings.price
        usd: Amount = UNKNOWN if price is None else price.at_most(most)
        return {"tokens": float(most.prompt + most.completion), "usd": usd, "wall_s": self.settings.total_s}

    def _most(self, request: Request) -> Tokens:
        prompt = self._size(request, 1)
        echoed = self.settings.max_output + REPAIR_CHARS + 2 * _FRAME
        return Tokens(TURNS * prompt + echoed, TURNS * self.settings.max_output)

    def _size(self, request: Request, bytes_per_token: int) -> int:
        """Tokens of the question."""
        told = messages(request)
        size = sum(len(m["content"].encode(errors="replace")) for m in told) + len(json.dumps(self._schema))
        images = len(request.images) * self.settings.image_tokens if self.settings.sees else 0
        return -(-size // bytes_per_token) + images + _FRAME * len(told)

    def describe(self, request: Request) -> dict[str, Any]:
        """What one proposal is likely to take and takes at most, for people; JSON-able."""
        likely = Tokens(self._size(request, 4), self.settings.max_output // 4)
        price = self.settings.price
        return {
            "proposer": self.name, "model": self.settings.model, "base_url": self.settings.address(),
            "images": len(request.images) if self.settings.sees else 0, "prompt_tokens_likely": likely.prompt,
            "tokens_likely": likely.prompt + likely.completion,
            "usd_likely": UNKNOWN if price is None else round(price.at_most(likely), 6),
            "at_most": dict(self.estimate(request)), "turns_at_most": TURNS,
        }  # fmt: skip

    def texts(self, request: Request) -> dict[str, str]:
        """What is sent, word for word: the instructions, and the message that holds the evidence."""
        system, message = messages(request)
        return {"system.md": system["content"], "message.txt": message["content"]}

    # --- proposing -----------------------------------------------------------------------------------------------

    def propose(self, request: Request) -> Reply:
        """The first answer that can be used, or the second one whatever it is; ProposerError when neither is whole: a
        part of an answer is no idea that failed."""
        began, spent = self.clock(), Spent()
        talk = messages(request, self.settings.sees)
        turns: list[dict[str, Any]] = []
        best = Said("", "nothing")
        for turn in range(TURNS):
            try:
                said = self._ask(talk, began, spent, turns)
            except CallError as error:
                if turn == 0:
                    raise self._failed(error, self._usage(spent, began)) from None
                turns.append({"failed": str(error)})  # the first answer is on the table: the gate says why it fails
                break
            defects = self._defects(said, request)
            if not defects:
                best = Said(said.text)
                break
            if best.problem or not said.problem:
                best = said
            talk = [*talk, {"role": "assistant", "content": said.text[:ANSWER_CHARS] or "(nothing)"}]
            talk.append({"role": "user", "content": repair_text(defects)})
        if best.problem:
            fix = "; raise it with --set max_output=N" if best.problem.startswith(CUT) else ""
            why = f"the model gave no answer: {best.problem}{fix}"
            raise ProposerError(why, self._usage(spent, began), fatal=True)
        return Reply(best.text, self._usage(spent, began), tuple(turns))

    def _ask(self, talk: list[dict[str, Any]], began: float, spent: Spent, turns: list[dict[str, Any]]) -> Said:
        s = self.settings
        body = {**s.extra, "model": s.model, "messages": talk, s.token_parameter: s.max_output}
        response = self._caller.ask(body, self._schema, s.timeout_s, began + s.total_s, spent)
        asked = talk[-1]["content"] if turns else "the request"
        form = self._caller.form
        blind = {} if form.pictures else {"pictures": "refused"}
        turns.append({"asked": asked, "form": form.json, **blind, "tries": spent.tries, "response": response})
        return read(response, s.max_output)

    def _defects(self, said: Said, request: Request) -> list[Defect]:
        found = problems(said.text, request.policy, self.rules, self.compile)
        return [Defect("answer", said.problem), *found] if found and said.problem else found

    def _usage(self, spent: Spent, began: float) -> Usage:
        tokens, usd = total(spent.calls, self.settings.price)
        return Usage(tokens, usd, round(max(0.0, self.clock() - began), 3))

    def _failed(self, error: CallError, usage: Usage) -> ProposerError:
        said, fix = str(error), ""
        if error.status in (401, 403):
            fix = f"; check the key in {self.settings.key_env}"
        elif error.status == 404:
            fix = f"; check model ({self.settings.model}) and base_url"
        elif error.status in (400, 422) and any(name in said for name in TOKEN_PARAMETERS):
            fix = "; lower max_output, or set token_parameter to the name that this server knows"
        elif said.startswith("no connection"):
            fix = "; check base_url and that the server runs"
        elif error.wait:
            fix = f"; the server asks to wait {error.wait:.0f} s, go on then"
        return ProposerError(f"the model could not be asked: {said}{fix}", usage, fatal=True, wait=error.wait)


def read(response: Mapping[str, Any], limit: int) -> Said:
    """The text of a response's first choice."""
    choice = response["choices"][0]
    message = choice["message"]
    content = message.get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(str(p.get("text") or "") for p in content if isinstance(p, Mapping) and _answers(p))
    text = content if isinstance(content, str) else ""
    if choice.get("finish_reason") == "length":
        return Said(text, f"{CUT} after {limit} tokens, thinking included; write less")
    if choice.get("finish_reason") == "content_filter":
        return Said(text, "withheld by the server's filter")
    if not text and message.get("refusal"):
        return Said("", f"the model refused: {str(message['refusal'])[:300]}")
    if not text and (message.get("tool_calls") or message.get("function_call")):
        return Said("", "a call of a tool instead of an answer; there are no tools")
    return Said(text, "" if text.strip() else "no text")


def _answers(part: Mapping[str, Any]) -> bool:
    """Whether a part of a content is the answer, not the reasoning before it."""
    return part.get("type", "text") in ("text", "output_text") and not part.get("thought")
