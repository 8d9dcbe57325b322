"""What a proposer answers: read strictly, refused with everything that is wrong with it, written back the same."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator
from pydantic_core import ErrorDetails

from supervisor.edits.checks import MOST_CHANGES, Change, EditError, changes_of, nearest
from supervisor.edits.definitions import CONSTANT
from supervisor.edits.edits import apply
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import role_of

# ----------------------------------------------------------------------------------------------------
# The one JSON object of an answer, read strictly: no key twice, no number that is none, no second object.
#
# Around it stand what chat models write there: reasoning, words, a fence, marks of their templates. They are taken off.


ANSWER_CHARS = 120_000
_REASONING = r"(?:think|thinking|thought|thoughts|reasoning|reflection|analysis)"
_OPENED = re.compile(rf"<{_REASONING}>|\[THINK\]|\u25c1think\u25b7|(?:<\|start\|>\w+)?<\|channel\|>(?!final)", re.I)
_CLOSED = re.compile(
    rf"</{_REASONING}>|\[/THINK\]|\u25c1/think\u25b7|<\|channel\|>final[\w\s]{{0,20}}(?:<\|constrain\|>\w+)?<\|message\|>",
    re.I,
)
_MOST_THOUGHTS = 8
_BRACKETS = frozenset("{}[]")
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
    """The object; NotJson when the text holds none, or something beside it that may be part of another."""
    if len(text) > ANSWER_CHARS:
        raise NotJson(f"{len(text)} characters", f"write at most {ANSWER_CHARS}")
    body = text.strip("\ufeff \n\r\t")
    if not body:
        raise NotJson("nothing was written", "write one JSON object")
    wrong: NotJson | None = None
    for rest in _rests(body):
        if not _OPENED.match(rest):
            try:
                return _alone(rest)
            except NotJson as error:
                wrong = wrong or error
    raise wrong or NotJson("its reasoning has no end", "think less, then write one JSON object")


def _rests(body: str) -> Iterator[str]:
    """The text, and what follows each mark that may be the end of a reasoning: a string can hold one, too."""
    yield body
    if not body.startswith("{"):
        for found in islice(_CLOSED.finditer(body), _MOST_THOUGHTS):
            yield body[found.end() :].strip()


def _alone(body: str) -> dict[str, Any]:
    """The object with nothing but words around it."""
    start = body.find("{")
    if start < 0 or not _words(body[:start]):
        raise NotJson(f"it begins with {shown(body[:30])}", "begin with { and write nothing before it")
    try:
        made, end = _READER.raw_decode(body, start)
    except json.JSONDecodeError as error:
        raise _explained(error) from None
    except RecursionError:
        raise NotJson("nested too deep", "write the keys that the instructions name") from None
    if not _words(body[end:]):
        raise NotJson(f"text after the object: {shown(body[end:].strip()[:30])}", "end with its last }")
    assert isinstance(made, dict)
    return made


def _words(text: str) -> bool:
    """Whether this can be no part of an object: words, a fence, a mark such as <|im_end|>."""
    return not _BRACKETS & set(text) and all(c.isprintable() or c in "\n\r\t" for c in text)


def _explained(error: json.JSONDecodeError) -> NotJson:
    """What the parser says, with the place, and what it means for an answer."""
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


_READER = json.JSONDecoder(
    object_pairs_hook=_once, parse_constant=_constant, parse_float=_finite, parse_int=_whole
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------
# The shape of an answer, for pydantic and as a JSON schema, and what its errors mean in plain words.
#
# Importing it loads pydantic (extra: supervisor); everything else imports it inside functions.


MOST_LOCKS = 5
MOST_REQUESTS = 8
LAST_STEP = 108_000  # the frame cap of every protocol
_DROPPED = {
    "title", "default", "maxLength", "minLength", "maxItems", "minItems", "maximum", "minimum", "$defs",
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _plain(cls, value: object) -> object:
        for c in value if isinstance(value, str) else "":
            if c != "\n" and (unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"):
                raise ValueError(f"the character {ord(c):#06x}, which does not show")
        return value


class NewLock(_Strict):
    """A moment whose decision no later revision may change."""

    seed: int = Field(description="training seed of a game that was shown")
    step: int = Field(ge=0, le=LAST_STEP, description="step of that game")
    why: str = Field(max_length=400, description="why the decision must stay")

    @field_validator("seed")
    @classmethod
    def _training(cls, seed: int) -> int:
        if role_of(seed) != "train":
            raise ValueError(f"{seed} is not a training seed")
        return seed


class DataRequest(_Strict):
    """Frames that the eyes should learn from next."""

    what: str = Field(max_length=400, description="which frames: what is on them, when they occur")
    why: str = Field(max_length=400, description="what was seen wrongly there")
    count: int = Field(ge=1, le=5000, description="how many frames, 1 to 5000")


_NAME = {"type": "string", "description": "name of the function or constant"}
_CODE = {"type": "string", "description": "its whole new text"}
_CHANGES = {
    "type": "array",
    "description": f"changes of policy.py by name, at most {MOST_CHANGES}; empty for perception_data and stop",
    "items": {
        "anyOf": [
            {"type": "object", "properties": {"replace": _NAME, "code": _CODE}},
            {"type": "object", "properties": {"add": _NAME, "code": _CODE}},
            {"type": "object", "properties": {"remove": _NAME}},
        ]
    },
}


class Shape(_Strict):
    """An answer. The order of the keys is the order in which a model should think."""

    diagnosis: str = Field(max_length=4000, description="what goes wrong and why, from the evidence")
    target: Literal["logic", "constants", "perception_data", "stop"] = Field(
        description="what has to change: rules, numbers only, what the eyes learn from, or nothing"
    )
    hypothesis: str = Field(max_length=1500, description="the one idea that is tried")
    prediction: str = Field(max_length=1000, description="a measurable consequence that could turn out false")
    edit: Annotated[list[Any], WithJsonSchema(_CHANGES)] = []
    new_locks: list[NewLock] = Field(default=[], max_length=MOST_LOCKS, description="decisions to keep")
    data_requests: list[DataRequest] = Field(default=[], max_length=MOST_REQUESTS, description="frames to label")
    lesson: str = Field(max_length=1000, description="what is learnt if it fails")


def shaped(made: Mapping[str, Any]) -> Shape | list[Defect]:
    """The answer's parts, or everything that is wrong with its shape."""
    try:
        return Shape.model_validate(made)
    except ValidationError as error:
        return [_defect(e) for e in error.errors(include_url=False, include_input=False)]


def _defect(error: ErrorDetails) -> Defect:
    *above, last = error["loc"] or ("answer",)
    where = _place(error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return Defect(_place(tuple(above)), f"unknown key {shown(last)}", nearest(str(last), _keys(above)))
    if kind == "missing":
        return Defect(_place(tuple(above)), f"no key {last!r}", "write every key, with '' or [] where there is nothing")
    instead = _INSTEAD.get(kind)
    if kind == "value_error":
        wrong = str(context.get("error", "not allowed"))
        return Defect(where, wrong, "name a seed from 0 to 999" if last == "seed" else "leave it out")
    wrong = f"{error['msg'][0].lower()}{error['msg'][1:]}"
    return Defect(where, wrong, instead(context) if instead else "")  # the others say what is allowed


_INSTEAD: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "literal_error": lambda c: f"write one of {c['expected']}",
    "string_too_long": lambda c: f"write at most {c['max_length']} characters",
    "too_long": lambda c: f"name the {c['max_length']} that matter most",
    "string_type": lambda c: "write a string",
    "list_type": lambda c: "write a list, [] where there is nothing",
    "int_type": lambda c: "write a whole number",
}


def _place(loc: tuple[int | str, ...] | list[int | str]) -> str:
    made = "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}" for part in loc)
    return made.lstrip(".") or "answer"


def _keys(above: list[int | str]) -> list[str]:
    inner: dict[str | int, type[BaseModel]] = {"new_locks": NewLock, "data_requests": DataRequest}
    return list(inner[above[0]].model_fields if above and above[0] in inner else Shape.model_fields)


def json_schema() -> dict[str, Any]:
    """For `response_format` in strict mode: every key required, none besides, limits told in the descriptions."""
    made = Shape.model_json_schema()
    return dict(_strict(made, made.get("$defs", {})))


def _strict(node: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_strict(item, named) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _strict(named[node["$ref"].rsplit("/", 1)[1]], named)
    kept = {
        k: {name: _strict(v, named) for name, v in v.items()} if k == "properties" else _strict(v, named)
        for k, v in node.items()
        if k not in _DROPPED
    }
    for limit, word in (("maxLength", "characters"), ("maxItems", "items")):
        if limit in node:
            kept["description"] = f"{node.get('description', '')} (at most {node[limit]} {word})"
    if kept.get("type") == "object":
        kept["required"], kept["additionalProperties"] = list(kept["properties"]), False
    return kept


# ----------------------------------------------------------------------------------------------------
# What a proposer answers: read strictly, refused with everything that is wrong with it, written back the same.


__all__ = ["ANSWER_CHARS", "TARGETS", "Answer", "AnswerError", "Defect", "problems", "read_answer", "schema"]

TARGETS = ("logic", "constants", "perception_data", "stop")
_CHANGING = ("logic", "constants")
_MOST_DEFECTS = 20


class AnswerError(SupervisorError):
    """An answer that cannot be used. `defects` are all that were found, in a form to send back."""

    def __init__(self, defects: list[Defect]) -> None:
        self.defects = defects[:_MOST_DEFECTS]
        super().__init__("\n".join(map(str, self.defects)))


@dataclass(frozen=True)
class Answer:
    """A proposal. `edit` has the items of supervisor/edits/edits.py; `new_locks` {seed, step, why}; `data_requests`
    {what, why, count}."""

    diagnosis: str
    target: str
    hypothesis: str
    prediction: str
    edit: tuple[Mapping[str, str], ...] = ()
    new_locks: tuple[Mapping[str, Any], ...] = ()
    data_requests: tuple[Mapping[str, Any], ...] = ()
    lesson: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, the keys in the order of the schema."""
        lists = {"edit": self.edit, "new_locks": self.new_locks, "data_requests": self.data_requests}
        return {**vars(self), **{name: [dict(item) for item in items] for name, items in lists.items()}}

    def to_json(self) -> str:
        """Text from which `read_answer` makes an equal answer."""
        return json.dumps(self.as_dict(), ensure_ascii=True, indent=1)


def read_answer(text: str) -> Answer:
    """The answer in a text; AnswerError with all its defects when there is none that can be used."""

    try:
        made = shaped(read_object(text))
    except NotJson as error:
        raise AnswerError([error.defect]) from None
    if isinstance(made, list):
        raise AnswerError(made)
    changes, defects = _changes(made.edit)
    answer = Answer(
        made.diagnosis, made.target, made.hypothesis, made.prediction, tuple(c.as_dict() for c in changes),
        tuple(lock.model_dump() for lock in made.new_locks),
        tuple(request.model_dump() for request in made.data_requests), made.lesson,
    )  # fmt: skip
    defects += _agreement(answer, changes, bool(made.edit))
    if defects:
        raise AnswerError(defects)
    return answer


Compile = Callable[[str], Sequence[str]]  # a policy text to what is unsound about it, in lines


def problems(
    text: str, policy: str, rules: Collection[str] = (), unsound: Compile = lambda text: ()
) -> list[Defect]:  # fmt: skip
    """What keeps the answer from making a sound revision of `policy`; `rules` are the names in safety.py."""
    try:
        answer = read_answer(text)
        child = apply(policy, answer.edit, rules) if answer.edit else ""
        if child == policy:
            return [Defect("edit", "it changes nothing", "change something, or answer with target stop")]
        return [Defect("policy.py", line) for line in (unsound(child) if child else ())]
    except AnswerError as error:
        return error.defects
    except EditError as error:
        return [_of_edit(error)]


def schema() -> dict[str, Any]:
    """JSON schema of an answer, for `response_format` in strict mode."""

    return json_schema()


def _of_edit(error: EditError) -> Defect:
    where = f"edit[{error.item - 1}]" if error.item else "edit"
    return Defect(where, str(error).removeprefix(f"change {error.item}: "))  # the message names the fix


def _changes(items: list[Any]) -> tuple[list[Change], list[Defect]]:
    """The changes that are sound, and what is wrong with the others."""
    made: list[Change] = []
    defects: list[Defect] = []
    for i, item in enumerate(items):
        try:
            made += changes_of([item])
        except EditError as error:
            defects.append(_of_edit(error)._replace(where=f"edit[{i}]"))
            if len(defects) == _MOST_DEFECTS:
                break
    if items and not defects:
        try:
            changes_of(items)
        except EditError as error:
            defects.append(_of_edit(error))
    return made, defects


def _agreement(answer: Answer, changes: list[Change], edits: bool) -> list[Defect]:
    """What target, edit and texts say against each other."""
    target, defects = answer.target, list[Defect]()
    texts = ("diagnosis", *(("hypothesis", "prediction", "lesson") if target in _CHANGING else ()))
    for name in texts:
        if not getattr(answer, name).strip():
            defects.append(Defect(name, "empty", "say it in a sentence"))
    if target in _CHANGING and not edits:
        defects.append(Defect("edit", f"empty, but target is {target}", "change something, or answer with target stop"))
    if target not in _CHANGING and edits:
        fix = "write [], or target logic; eyes and policy never change together"
        defects.append(Defect("edit", f"changes, but target is {target}", fix))
    if target == "constants":
        for i, change in enumerate(changes):
            if change.action != "replace" or change.kind != CONSTANT:
                wrong = f"{change.action} {change.name!r} is not a new value of a constant"
                defects.append(Defect(f"edit[{i}]", wrong, "only replace constants, or answer with target logic"))
    if target == "perception_data" and not answer.data_requests:
        defects.append(Defect("data_requests", "empty, but target is perception_data", "say which frames to label"))
    if target == "stop" and (answer.data_requests or answer.new_locks):
        defects.append(Defect("target", "stop, but something is asked for", "write [], or another target"))
    return defects
