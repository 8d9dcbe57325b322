"""The one JSON object of an answer, read strictly: nothing around it, no key twice, no number that is none.

Knows: JSON, fences, sizes. Does not know: what an answer holds.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple, NoReturn

ANSWER_CHARS = 120_000
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.S)
_SHOWN = 80


class Defect(NamedTuple):
    """Something wrong with an answer: the place, what is wrong there, what to write instead."""

    where: str
    wrong: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.wrong}" + (f"; {self.instead}" if self.instead else "")


class NotJson(Exception):
    """There is no single strict JSON object in the text; `defect` says why."""

    def __init__(self, wrong: str, instead: str) -> None:
        super().__init__(wrong)
        self.defect = Defect("answer", wrong, instead)


def shown(value: object) -> str:
    """Something from an answer as it may stand in a message: short, on one line, ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def read_object(text: str) -> dict[str, Any]:
    """The object; NotJson when the text is anything else."""
    if len(text) > ANSWER_CHARS:
        raise NotJson(f"{len(text)} characters", f"write at most {ANSWER_CHARS}")
    body = _unfenced(text)
    try:
        made = json.loads(
            body, object_pairs_hook=_once, parse_constant=_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise _explained(error) from None
    except RecursionError:
        raise NotJson("nested too deep", "write the keys that the instructions name") from None
    if not isinstance(made, dict):
        raise NotJson(f"not an object but {shown(made)}", 'write {"diagnosis": ...} with the keys of the instructions')
    return made


def _unfenced(text: str) -> str:
    body = text.strip(" \n\r\t")
    if not body:
        raise NotJson("nothing was written", "write one JSON object")
    if body.startswith("```"):
        if sum(line.lstrip().startswith("```") for line in body.split("\n")) > 2:
            raise NotJson("more than one fenced block", "write one JSON object and nothing else")
        found = _FENCED.fullmatch(body)
        if not found:
            raise NotJson("a fence that does not hold the whole answer", "write the JSON object without fences")
        body = found[1].strip(" \n\r\t")
    if body[:1] not in "{[":
        raise NotJson(f"it begins with {shown(body[:30])}", "begin with { and write nothing before it")
    return body


def _explained(error: json.JSONDecodeError) -> NotJson:
    """What the parser says, with the place, and what it means for an answer."""
    if error.msg == "Extra data":
        return NotJson(f"text after the object: {shown(error.doc[error.pos : error.pos + 30])}", "end with its last }")
    if not error.doc[error.pos :].strip() or error.msg.startswith("Unterminated string"):
        return NotJson("it is cut off before its end", "write a shorter answer: change fewer things, explain less")
    place = f"line {error.lineno}, column {error.colno}"
    near = shown(error.doc[max(0, error.pos - 15) : error.pos + 15])
    return NotJson(
        f"not JSON at {place}: {error.msg} near {near}", "escape quotes and line ends in strings, no comments"
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"the key {shown(twice)} stands twice in one object", "keep one of them")
    return made


def _constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is not JSON", "write a finite number")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise NotJson(f"{shown(word)} is too large for a number", "write a finite number")
    return value


def _whole(word: str) -> int:
    if len(word) > 16:
        raise NotJson(f"{shown(word)} is too large for a number", "write a number below 2**53")
    return int(word)
