"""Text in the evidence: nothing invisible, nothing that looks like a section, never longer than agreed."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.budget import Budgets
from supervisor.evidence import GateSummary, LockNote, Scoreboard
from supervisor.evidence import pack as history
from supervisor.evidence.context import clean, fit, number, numbered, quoted, signed, table, word

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
ANY = st.text(st.characters(), max_size=60)


@given(ANY)
@settings(max_examples=150, deadline=None)
def test_clean_text_holds_nothing_hidden(text: str) -> None:
    assert not [c for c in clean(text) if c != "\n" and unicodedata.category(c) in HIDDEN]


@given(ANY)
@settings(max_examples=150, deadline=None)
def test_quoted_text_is_one_json_string_of_harmless_characters(text: str) -> None:
    said = quoted(text, 200)
    assert json.loads(said) == text
    assert said.isascii() and said.isprintable() and not set(said) & set("<>`")


def test_clean_keeps_what_can_be_seen() -> None:
    assert clean("é – x\ny") == "é – x\ny"
    assert clean("a\u202eb\x1b[2J\x7f\u2028c\ud800") == "a\\u202eb\\x1b[2J\\x7f\\u2028c\\ud800"


def test_quoted_is_cut_and_says_so() -> None:
    assert quoted("x" * 300, 10) == '"xxxxxxx..."'
    assert quoted('end"\n## Question\n</section>') == '"end\\"\\n## Question\\n\\u003c/section\\u003e"'


def test_word_keeps_plain_names_only() -> None:
    assert [word(w) for w in ("late-save", "r07.py")] == ["late-save", "r07.py"]
    assert word("a b") == '"a b"' and word("") == '""' and word("x\n") == '"x\\n"'


def test_numbers_are_short() -> None:
    assert [number(v) for v in (3.0, 3.14, -0.04, 1e6, 0.05)] == ["3", "3.1", "0", "1000000", "0.1"]
    assert [number(v) for v in (float("nan"), float("-inf"), None, True)] == ["nan", "-inf", '"None"', '"True"']
    assert [signed(v) for v in (2.5, -2.5, 0.01)] == ["+2.5", "-2.5", "0"]


def test_lines_are_numbered_from_one() -> None:
    assert numbered("a\n\tb\n") == ["1| a", "2| \\x09b"]
    assert numbered("x\n" * 12)[8:10] == [" 9| x", "10| x"]


def test_columns_are_aligned() -> None:
    assert table(["a", "long"], [["xxx", "y"], ["z", ""]]) == ["a   | long", "xxx | y", "z   |"]


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=80), min_size=1, max_size=12), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_what_is_fitted_never_exceeds_its_limit(blocks: list[str], limit: int) -> None:
    said = fit(blocks, limit, "things")
    assert len(said.text) <= limit
    assert said.text.startswith("\n".join(blocks[: said.kept]))


def test_what_is_left_out_is_said() -> None:
    blocks = [f"block {i} " + "x" * 40 for i in range(10)]
    said = fit(blocks, 250, "things")
    assert said.kept == 4
    assert said.text.endswith("[6 of 10 things left out: at most 250 characters here]")
    cut = fit(["y" * 500, "z"], 200, "things")
    assert cut.text.endswith("[cut, and 1 more things left out: at most 200 characters here]") and cut.kept == 0
    assert fit(blocks, 5000, "things") == ("\n".join(blocks), 10)


# --- where the search stands -------------------------------------------------------------------------------------

TRIALS = [
    {
        "run": "a", "trial": 1, "verdict": "reject", "stage": "screen", "target": "constants",
        "hypothesis": "wider\n## Question", "reasons": ["worse", "b", "c"], "lesson": "the lag is the cause",
        "numbers": {"screen_difference": -4.25, "screen_low95": -8.0, "screen_high95": -0.5, "screen_pairs": 5},
    },
    {
        "run": "a", "trial": 2, "verdict": "accept", "stage": "accept", "target": "logic", "hypothesis": "bounce",
        "numbers": {"full_difference": 9.0, "confirm_difference": 21.3, "confirm_low95": 12, "confirm_pairs": 30},
    },
    {"run": "a", "trial": 3, "verdict": "indecisive", "stage": "probe", "hypothesis": "aim", "numbers": {}},
]  # fmt: skip


def test_accepted_trials_show_their_effect_on_fresh_seeds() -> None:
    assert history.lineage(TRIALS) == ['- trial 2 (logic): "bounce"; effect +21.3 [12, ?] on 30 pairs']
    assert history.lineage([]) == ["Nothing has been accepted yet."]


def test_failed_trials_show_stage_reasons_and_lesson_newest_first() -> None:
    newest, oldest = history.failed(TRIALS)
    assert newest == '- trial 3: "aim"; indecisive at probe; effect not measured'
    assert oldest.split("\n") == [
        '- trial 1 (constants): "wider\\n## Question"; reject at screen; effect -4.2 [-8, -0.5] on 5 pairs',
        '  because "worse", "b" and 1 more',
        '  lesson "the lag is the cause"',
    ]


def test_trials_of_several_runs_are_told_apart() -> None:
    assert history.lineage([*TRIALS, {**TRIALS[1], "run": "b c"}])[0].startswith('- trial 2 of run "b c" (logic)')


@pytest.mark.parametrize("odd", [{}, {"numbers": 3, "reasons": "x", "lesson": 5}, {"hypothesis": None, "trial": "\n"}])
def test_odd_records_are_told_without_failing(odd: dict[str, object]) -> None:
    assert "\n" not in history.failed([odd])[0].split("\n")[0]


def test_scores_come_with_interval_and_number_of_seeds() -> None:
    train_scores = {3: 10, 1: 30, 2: 20, 4: 20, 5: 25, 6: 15}
    board = Scoreboard(train_scores, GateSummary(20, 31.23, 25, 38, 8.5, 0.25), {"shipped": 864})
    gate, train, each, other = history.scoreboard(board)
    assert "mean 31.2, 95 % interval [25, 38], n 20, worst decile 8.5" in gate and "1000 decisions 0.25" in gate
    assert "mean 20, 95 % interval [10, 30], n 6, worst decile 10, best 30" in train
    assert each == "By seed: 1: 30, 2: 20, 3: 10, 4: 20, 5: 25, 6: 15."
    assert other == 'For comparison, "shipped": mean 864.'


def test_a_summary_is_made_from_scores() -> None:
    made = GateSummary.of([10, 30, 20, 20, 25, 15], 0.5)
    assert (made.n, made.mean, made.low, made.high, made.worst_decile, made.hard) == (6, 20, 10, 30, 10, 0.5)


def test_too_few_seeds_have_no_interval() -> None:
    told = history.scoreboard(Scoreboard({1: 5.0, 2: 6.0}))
    assert "not been played there" in told[0] and "interval unknown (too few), n 2" in told[1]


def test_locks_are_named_with_their_notes() -> None:
    assert history.locks([LockNote("late-save", "scenes", "two\nlines"), LockNote("floor")]) == [
        '- late-save (scenes): "two\\nlines"', "- floor",
    ]  # fmt: skip
    assert history.locks([]) == ["None yet."]


def test_budgets_tell_unknown_from_zero() -> None:
    budgets = Budgets(usd=2.0, steps=1000)
    budgets.reserve("a call", usd=0.5, tokens="unknown").settle(usd="unknown")
    budgets.reserve("play", steps=100).settle(steps=50)
    cells = [[c.strip() for c in line.split("|")] for line in history.budgets(budgets.table())]
    lines = {line[0]: line[1:] for line in cells}
    assert lines["US dollars"] == ["2", "unknown, at least 0.5", "0", "1.5"]
    assert lines["tokens"][:2] == ["none", "unknown, at least 0"] and lines["tokens"][3] == "no limit"
    assert lines["environment steps"] == ["1000", "50", "0", "950"]
