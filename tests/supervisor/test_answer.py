"""Answers: sound ones come back as they went, all others are refused with everything that is wrong with them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from compiler_kit import CONSTANTS
from proposer_kit import ACT, FAMILIES, POLICY, STAGES, answer, hostile, written

from logic.language import check_source
from logic.language.builtins import PORTABLE
from logic.language.frontend.calls import ARITY
from perception.scene import SceneSchema
from supervisor.edits.answer import AnswerError, problems, read_answer, schema
from supervisor.edits.edits import apply
from supervisor.proposers.instructions import system_text

RULES = ("no_serve_in_play", "no_winding_up")
SCENE = SceneSchema.from_config({"crop": [0, 0, 200, 160], "things": {"ball": {"required": True}, "paddle": {}}})
REPLACE = {"replace": "act", "code": ACT}
WISH = {"what": "frames with two balls", "why": "one of them is missed", "count": 40}


def defects(made: Any) -> list[str]:
    """What is wrong with an answer, as text."""
    with pytest.raises(AnswerError) as found:
        read_answer(made if isinstance(made, str) else json.dumps(made))
    assert str(found.value) == "\n".join(map(str, found.value.defects))
    return [str(d) for d in found.value.defects]


@pytest.mark.parametrize("made", [
    answer(), answer(edit=[REPLACE, {"remove": "gap"}, {"add": "X", "code": "X = 1"}], new_locks=[]),
    answer(target="constants"), answer(target="stop", edit=[], new_locks=[], hypothesis="", prediction="", lesson=""),
    answer(target="perception_data", edit=[], data_requests=[WISH]),
    answer(diagnosis="Ünïcode – “quotes”, 中文\nand lines", data_requests=[WISH] * 8),
], ids=["logic", "several", "constants", "stop", "data", "unicode"])  # fmt: skip
def test_sound_answers_come_back(made: dict[str, Any]) -> None:
    read = read_answer(json.dumps(made))
    assert read.as_dict() == made and list(read.as_dict()) == list(schema()["properties"])
    assert read_answer(read.to_json()) == read
    assert read_answer(f"```json\n{json.dumps(made, indent=2)}\n```\n") == read
    assert read_answer(f"  {json.dumps(made)} \n") == read


def test_optional_lists_may_be_left_out_but_not_invented() -> None:
    made = answer(target="stop")
    for key in ("edit", "new_locks", "data_requests"):
        del made[key]
    assert read_answer(json.dumps(made)).edit == ()
    assert defects({**made, "new_locks": None}) == ["new_locks: input should be a valid list; write a list, [] where "
                                                   "there is nothing"]  # fmt: skip


@pytest.mark.parametrize(("made", "said"), [
    ({**answer(), "edits": []}, "answer: unknown key 'edits'; did you mean 'edit'?"),
    ({k: v for k, v in answer().items() if k != "lesson"}, "answer: no key 'lesson'"),
    (answer(target="logik"), "target: input should be 'logic'"),
    (answer(diagnosis=3), "diagnosis: input should be a valid string; write a string"),
    (answer(lesson="x" * 1001), "lesson: string should have at most 1000 characters"),
    (answer(new_locks=[{"seed": 5000, "step": 1, "why": "w"}]), "new_locks[0].seed: 5000 is not a training seed; name"),
    (answer(new_locks=[{"seed": 1, "step": True, "why": "w"}]), "new_locks[0].step: input should be a valid integer"),
    (answer(new_locks=[{"seed": 1, "step": 1, "wy": "w"}]), "new_locks[0]: unknown key 'wy'; did you mean 'why'?"),
    (answer(data_requests=[WISH] * 9), "data_requests: list should have at most 8 items"),
    (answer(data_requests=[{**WISH, "count": 0}]), "data_requests[0].count: input should be greater"),
    (answer(prediction="a\x1b[31m"), "prediction: the character 0x001b, which does not show; leave it out"),
    (answer(edit=[REPLACE, {"replace": "safety.py", "code": "x = 1"}]), "edit[1]: 'safety.py': only things"),
    (answer(edit=[REPLACE, REPLACE]), "edit[1]: 'act' is changed twice"),
    (answer(edit=[REPLACE], target="constants"), "edit[0]: replace 'act' is not a new value of a constant"),
    (answer(edit=[], target="logic"), "edit: empty, but target is logic; change something, or answer with target stop"),
    (answer(target="stop", new_locks=[]), "edit: changes, but target is stop"),
    (answer(hypothesis=" "), "hypothesis: empty; say it in a sentence"),
    (answer(target="perception_data", edit=[]), "data_requests: empty, but target is perception_data"),
])  # fmt: skip
def test_what_is_wrong_and_what_to_write_instead(made: dict[str, Any], said: str) -> None:
    assert any(d.startswith(said) for d in defects(made)), defects(made)


def test_all_defects_are_named_at_once() -> None:
    lock = {"seed": 1, "step": -1, "why": "w" * 500}
    found = defects({**answer(diagnosis=None, target="x", new_locks=[lock]), "more": 1})
    assert [d.split(":")[0] for d in found] == [
        "diagnosis",
        "target",
        "new_locks[0].step",
        "new_locks[0].why",
        "answer",
    ]
    found = defects(answer(edit=[{"remove": "a b"}, REPLACE, {"add": "X", "code": "Y = 1"}], lesson=""))
    assert [d.split(":")[0] for d in found] == ["edit[0]", "edit[2]", "lesson"]
    assert len(defects(answer(edit=[{"x": i} for i in range(90)]))) == 20


@pytest.mark.parametrize(("text", "said"), [
    ("", "nothing was written"), ("Sure! [x] {}", "begins with 'Sure! [x] {}'"),
    ("{} thanks {}", "text after the object: 'thanks {}'"),
    ('{"a": 1, "a": 2}', "the key 'a' stands twice"), ('{"a": {"b": 1, "b": 1}}', "the key 'b' stands twice"),
    ('{"a": NaN}', "NaN is not JSON"), ('{"a": -Infinity}', "-Infinity is not JSON"), ('{"a": 1e999}', "too large"),
    ('{"a": ' + "9" * 5000 + "}", "too large"), ('{"a":' * 20_000, "nested too deep"), ('{"a": "b', "cut off"),
    ("{", "cut off"), ("[1]", "begins with '[1]'"), ('{"a" 1}', "line 1, column 6: Expecting ':'"),
    ("```json\n{}\n```\n```json\n{}\n```", "text after the object"), ("{}]", "text after the object: ']'"),
    ("<think>so {}", "its reasoning has no end"),
    ('{"a": "\n"}', "not JSON at line 1"), (" " * 130_000, "write at most 120000"),
], ids=range(19))  # fmt: skip
def test_only_one_strict_object_is_read(text: str, said: str) -> None:
    (found,) = defects(text)
    assert found.startswith("answer: ") and said in found


TEXT = json.dumps(answer(lesson="</think> and ``` are words here"), indent=1)


@pytest.mark.parametrize("around", [
    "<think>maybe {this}, or [that]</think>{}", "maybe {this}</think>\n\n{}", "<think>\n</think>\n{}",
    "<Thinking>a</Thinking><reasoning>b {</reasoning>{}", "[THINK]first: {[/THINK]{}",
    "\u25c1think\u25b7x\u25c1/think\u25b7{}",
    "<|channel|>analysis<|message|>{hm}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "<|start|>assistant<|channel|>analysis<|message|>a<|end|><|channel|>final <|constrain|>json<|message|>{}",
    "<think>I write </think> then </think>{}", "Here is the revision:\n\n{}", "The answer: {}\n\nLet me know!",
    "```JSON\n{}\n```", "```json\r\n{}\r\n```\r\n", "~~~\n{}\n~~~", "```json5\n{}", "Sure:\n```\n{}\n```\nGood luck.",
    "```json {}```", "{}<|im_end|>", "{}<|eot_id|>\n", "{}</s>",
    "{}<\uff5cend\u2581of\u2581sentence\uff5c>", "\ufeff{}",
    "<s> {}<end_of_turn>", "\ufeff<think>a</think>\r\n```Json\r\n{}\r\n```<|im_end|>", "<answer>{}</answer>",
], ids=range(25))  # fmt: skip
def test_what_chat_models_write_around_the_object_is_taken_off(around: str) -> None:
    assert read_answer(around.replace("{}", TEXT)).as_dict() == json.loads(TEXT)


def test_what_an_answer_says_is_quoted_short_and_plain() -> None:
    found = defects({**answer(), "x\n" + "\u202eé" * 500: 1})
    assert all(d.isascii() and "\n" not in d and len(d) < 400 for d in found)


def test_problems_with_this_policy() -> None:
    assert not problems(written(REPLACE), POLICY)
    assert "did you mean 'gap'?" in str(problems(written({"remove": "gaps"}), POLICY)[0])
    same = [{"replace": "DEADBAND", "code": "DEADBAND = tunable(3.0, 1.0, 8.0)"}]
    assert str(problems(written(*same), POLICY)[0]).startswith("edit: it changes nothing")
    rule = {"replace": "no_winding_up", "code": "def no_winding_up(scene, memory, action):\n    return action"}
    assert "rule in safety.py" in str(problems(written(rule), POLICY, RULES)[0])


def test_the_schema_is_strict_and_agrees_with_the_reader() -> None:
    def objects(node: Any) -> list[dict[str, Any]]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        here = [node] if isinstance(node, dict) and node.get("type") == "object" else []
        return here + [found for part in inner for found in objects(part)]

    made = schema()
    assert len(objects(made)) == 6
    for node in objects(made):
        assert node["required"] == list(node["properties"]) and node["additionalProperties"] is False
    text = json.dumps(made)
    assert not re.search(r'"(maxLength|maxItems|minimum|maximum|\$ref|\$defs|default|title)"', text)
    assert set(made["properties"]) == set(answer()) and "at most 4000 characters" in text


def test_the_example_in_the_instructions_can_be_read() -> None:
    (example,) = re.findall(r"```json\n(.*?)\n```", system_text(), re.S)
    assert read_answer(example).target == "constants"
    for key in schema()["properties"]:
        assert f'"{key}"' in system_text()


def test_the_instructions_name_words_that_the_compiler_knows() -> None:
    for title in ("Numbers", "Arrays"):
        (line,) = re.findall(rf"^- {title}: (.*)$", system_text(), re.M)
        words = re.sub(r"[`(].*?[`)]|math\.\w+", "", line.split(". ")[0]).strip(" .").split()
        assert len(words) > 8 and not set(words) - set(ARITY), set(words) - set(ARITY)
    assert set(re.findall(r"math\.(\w+)", system_text())) == {*PORTABLE, "sqrt", "floor", "ceil", "pi"}


HOSTILE = list(hostile(1200))


def test_hostile_answers_are_many_and_always_the_same() -> None:
    kinds = Counter(h.kind for h in HOSTILE)
    assert len({h.text for h in HOSTILE}) == 1200 and set(kinds) == set(FAMILIES)
    assert {h.stage for h in HOSTILE} == set(STAGES) and min(kinds.values()) >= 5
    assert list(hostile(50)) == HOSTILE[:50] and list(hostile(50, seed=1)) != HOSTILE[:50]


def test_hostile_answers_stop_where_they_must() -> None:
    """Those for the compiler too: what reads and applies must not compile; the rest does compile."""
    for made in HOSTILE:
        found = problems(made.text, POLICY, RULES)
        assert found or made.stage != "schema", made
        assert all(len(str(d)) < 1200 for d in found), made
        if not found:
            child = apply(POLICY, read_answer(made.text).edit, RULES)
            assert bool(check_source(child, SCENE, CONSTANTS)) == (made.stage == "compile"), made
