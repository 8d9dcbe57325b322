"""What a proposer answers: read strictly, refused with everything that is wrong with it, written back the same.

Knows: the parts of an answer, which of them go together. Does not know: the policy's meaning, the gate, who answered.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.edits.answer_json import ANSWER_CHARS, Defect, NotJson, read_object
from supervisor.edits.checks import Change, EditError, changes_of
from supervisor.edits.definitions import CONSTANT
from supervisor.edits.edits import apply
from supervisor.errors import SupervisorError

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
    """A proposal. `edit` has the items of supervisor/edits.py; `new_locks` {seed, step, why}; `data_requests`
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
    from supervisor.edits.answer_model import shaped

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


def problems(text: str, policy: str, rules: Collection[str] = ()) -> list[Defect]:
    """What keeps the answer from making a revision of `policy`; `rules` are the names in safety.py."""
    try:
        answer = read_answer(text)
        if answer.edit and apply(policy, answer.edit, rules) == policy:
            return [Defect("edit", "it changes nothing", "change something, or answer with target stop")]
    except AnswerError as error:
        return error.defects
    except EditError as error:
        return [_of_edit(error)]
    return []


def schema() -> dict[str, Any]:
    """JSON schema of an answer, for `response_format` in strict mode."""
    from supervisor.edits.answer_model import json_schema

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
