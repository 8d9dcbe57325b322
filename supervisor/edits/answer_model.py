"""The shape of an answer, for pydantic and as a JSON schema, and what its errors mean in plain words.

Knows: keys, types, sizes, characters. Does not know: which keys go together (answer.py), code (edit_checks.py).
Importing it loads pydantic (extra: supervisor); everything else imports it inside functions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator
from pydantic_core import ErrorDetails

from supervisor.edits.answer_json import Defect, shown
from supervisor.edits.checks import MOST_CHANGES, nearest
from supervisor.gate.seeds import role_of

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
