"""The page of an improve run: its figures are those of the log, and nothing in a log can act on whoever reads it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from html_kit import Page
from improve_ideas import HOSTILE, IDEAS
from improve_report_kit import fabricate

from supervisor.budget import Budgets
from supervisor.errors import SupervisorError
from supervisor.events import Event, EventLog, LogDamaged, read
from supervisor.gate import statistics as stats
from triune.cli import main
from triune.report import html as words
from triune.report import plots as plot
from triune.report.improve import page, write_improve_report
from triune.report.improve import record as figures
from triune.report.improve.record import ImproveRun, amount
from triune.report.plots import VERDICTS as KINDS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ImproveRun:
    return ImproveRun.read(fabricate(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def text(run: ImproveRun) -> str:
    return page.html(run)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log full of markup, still running, of unknown price."""
    return fabricate(tmp_path_factory.mktemp("hostile"), HOSTILE, priced=False, ends=False)


def part(text: str, name: str) -> str:
    """The markup of one section."""
    found = re.search(rf'<section><h2 id="{name}">.*?</section>', text, re.S)
    assert found
    return found[0]


def story(text: str, number: int) -> str:
    """The markup of one trial."""
    found = re.search(rf'<li class="trial [a-z]+" id="trial-{number}">.*?</details></li>', text, re.S)
    assert found
    return found[0]


# --- figures


def test_amounts_are_those_of_the_budgets(run: ImproveRun, text: str) -> None:
    told = Budgets(events=read(run.folder / "events.jsonl")).table()
    for which, row in told.items():
        assert run.spending.spent(which) == row["spent"] > 0
        assert run.spending.known[which] == pytest.approx(row["at_least"])
    shown = Page(text).shown
    assert f"{words.short(told['steps']['spent'])} simulated frames" in shown
    assert f"{words.dollars(told['usd']['spent'])} of $2.00" in shown


def test_the_pause_of_a_day_is_no_work(run: ImproveRun) -> None:
    events = run.events
    assert events[-1].at - events[0].at > 86_400 > 7200 > run.seconds() > 600


def test_every_trial_is_told_with_its_verdict(run: ImproveRun, text: str) -> None:
    judged = {e.data["trial"]: e.data["verdict"] for e in run.events if e.kind == "trial.judged"}
    assert len(judged) == len(IDEAS) == len(run.trials)
    assert {v["kind"] for v in judged.values()} == {"accept", "reject", "indecisive", "invalid", "probe"}
    for number, verdict in judged.items():
        told, idea = Page(story(text, number)).shown, IDEAS[number - 1]
        assert verdict["reasons"][0] in told
        assert " ".join(idea.hypothesis.split()) in told and idea.lesson in told and idea.prediction in told
        if verdict["kind"] not in ("accept",) and not idea.fails:
            assert f"{KINDS[verdict['kind']]} at {verdict['stage']}" in told
    assert "no answer" in Page(story(text, 9)).shown


def test_stages_are_counted(run: ImproveRun, text: str) -> None:
    found = Counter(e.data["verdict"]["stage"] for e in run.events if e.kind == "trial.judged")
    rows = re.findall(r"<th>(\w+)<small>.*?</small></th><td class=\"n\">(\d+)</td>.*?<td>(.*?)</td></tr>", text, re.S)
    assert len(rows) == 11
    left = len(run.trials)
    for stage, reached, chips in rows:
        assert int(reached) == left
        here = sum(map(int, re.findall(r"</svg> (\d+) ", chips)))
        assert here == found[stage]
        left -= here
    assert left == 0 and sum(found.values()) == len(run.trials)


def test_a_level_leaves_out_the_seeds_that_chose_the_policy(run: ImproveRun) -> None:
    trial = next(t for t in run.trials.values() if t.kind == "accept" and t.won == t.child)
    chosen = set(trial.of.seeds["select"])
    scores = {s: v for s, v in run.scores[trial.won].items() if s not in chosen}
    assert 0 < len(scores) < len(run.scores[trial.won])
    found = figures.level(run, trial.won)
    assert found and found.n == len(scores) and found.mean == pytest.approx(np.mean(list(scores.values())))
    assert found.low < found.mean < found.high


def test_differences_are_paired_and_from_the_fresh_block(run: ImproveRun) -> None:
    trial = run.trials[15]
    assert trial.stage == "confirm"
    seeds = [s for s in trial.of.seeds["confirm"] if s in run.scores[trial.child]]
    by_hand = [run.scores[trial.child][s] - run.scores[trial.parent][s] for s in seeds]
    found = figures.headline(run, trial)
    assert found and found.n == len(by_hand) and found.mean == pytest.approx(np.mean(by_hand))
    assert (found.low, found.high) == (stats.lower_bound(by_hand, 0.025), stats.upper_bound(by_hand, 0.025))
    assert not set(seeds) & set(trial.of.seeds["select"])


@pytest.mark.parametrize(("number", "word"), [(1, "yes"), (2, "untested"), (7, "no"), (11, "open"), (15, "no")])
def test_whether_a_prediction_held(run: ImproveRun, number: int, word: str) -> None:
    assert figures.held(run, run.trials[number])[0] == word


def test_scores_that_are_no_numbers_draw_nothing_odd(run: ImproveRun) -> None:
    events = [_with_score(e, "nan") if e.kind == "gate.episode" and e.data["trial"] == 7 else e for e in run.events]
    broken = ImproveRun(run.folder, events)
    assert figures.headline(broken, broken.trials[7]) is None
    drawn = page.html(broken)
    assert not re.search(r'[ "MHVh,-](nan|inf)\b', drawn) and "score nan" not in drawn


def _with_score(event: Event, score: str) -> Event:
    return Event(event.n, event.at, event.kind, {**event.data, "score": score}, event.prev, event.hash)


# --- drawings


def test_the_curve_has_a_mark_for_every_trial_and_says_so_in_words(run: ImproveRun, text: str) -> None:
    drawn = part(text, "curve")
    for size in ("wide", "narrow"):
        figure = re.search(rf'<div class="{size}">(.*?)</svg>', drawn, re.S)
        assert figure
        marks = re.findall(r'<a class="mark" href="#trial-(\d+)" aria-label="([^"]+)"><title>', figure[1])
        assert sorted(int(n) for n, _ in marks) == sorted(run.trials)
        assert all(KINDS[run.trials[int(n)].kind] in said for n, said in marks)
    assert "Score against US dollars" in drawn
    table = re.findall(r'<tr><td><a href="#trial-(\d+)">', drawn)
    assert [int(n) for n in table] == list(run.trials)


def test_the_incumbent_steps_up_where_it_was_accepted(run: ImproveRun) -> None:
    spans = page.spans(run, "steps")
    assert [s.trial for s in spans] == [0, 1, 10, 16]
    accepted = [e for e in run.events if e.kind == "policy.accepted"]
    for event, span in zip(accepted, spans[1:], strict=True):
        before = Budgets(events=[e for e in run.events if e.n < event.n]).known["steps"]
        assert span.start == before
    assert spans[0].start == 0 and spans[0].end == spans[1].start


def test_verdicts_differ_in_shape_not_only_in_colour() -> None:
    shapes = {re.sub(r' class="[^"]*"', "", plot.mark(kind, 9, 9)) for kind in KINDS if kind != "open"}
    assert len(shapes) == len(KINDS) - 1
    assert plot.mark('"><script>', 1, 1) == plot.mark("open", 1, 1)


def test_marks_are_spread_within_their_lane() -> None:
    placed = plot.spread([10, 10, 10, 11, 99], 8, 0, 100)
    assert placed == sorted(placed) and min(np.diff(placed)) >= 8 - 1e-9 and placed[0] >= 0 and placed[-1] <= 100
    crowded = plot.spread([50.0] * 40, 8, 0, 100)
    assert crowded[0] >= -1e-9 and crowded[-1] <= 100 + 1e-9 and min(np.diff(crowded)) > 2


def test_axes_have_round_values() -> None:
    assert plot.ticks(0, 1_610_000, 4) == [0, 500_000, 1_000_000, 1_500_000]
    assert plot.ticks(-21, 34, 5) == [-20, -10, 0, 10, 20, 30] and plot.ticks(3, 3, 5) == [3]


def test_every_seed_is_a_dot(run: ImproveRun, text: str) -> None:
    trial, told = run.trials[13], story(text, 13)
    found = figures.pairs(run, trial, "select")
    dots = re.search(r'<path class="dots" d="([^"]*)"', told)
    assert dots and dots[1].count("M") == len(found) == 20
    assert "<td>first block</td>" in told and f'<td class="n">{found[3].seed}</td>' in told  # fmt: skip
    assert 'class="zero"' in told


def test_diffs_show_what_was_changed_asked_and_taken_instead(text: str) -> None:
    plain, asked, simpler = (story(text, n) for n in (1, 2, 10))
    assert '<span class="del">-SLACK = tunable(0.0, 0.0, 20.0)  # px</span>' in plain
    assert '<span class="add">+SLACK = tunable(4.0, 0.0, 20.0)' in plain
    assert "What was asked for (the changes did not apply)" in asked and "@ replace wantedd" in asked
    taken = simpler[simpler.index("a simpler variant") :]
    assert "waited: int = 3" in simpler and "waited: int = 3" not in taken and "304.0 - x" in taken


def test_scores_can_be_repeated(run: ImproveRun, text: str) -> None:
    said = Page(story(text, 7)).shown
    trial = run.trials[7]
    seeds = [p.seed for p in figures.pairs(run, trial, "select")]
    words = "triune eval breakout --policy zoo/breakout/lineage/r06.py --eyes teacher --protocol sticky --seeds"
    assert run.name(trial.child) == "r06" and f"{words} {seeds[0]}:{seeds[-1] + 1}" in said


def test_lessons_seeds_and_budgets(run: ImproveRun, text: str) -> None:
    lessons = part(text, "lessons")
    assert lessons.count("<li>") == sum(1 for i, t in zip(IDEAS, run.trials.values(), strict=True)
                                        if t.kind != "accept" and not i.fails)  # fmt: skip
    assert IDEAS[0].lesson not in lessons and IDEAS[6].lesson in lessons
    seeds = Page(part(text, "seeds")).shown
    opened = [e.data["seeds"] for e in run.events if e.kind == "gate.seeds"]
    assert "never opened in this run" in seeds and all(f"{o[0]}–{o[-1]}" in seeds for o in opened)
    played = {e.data["seed"] for e in run.events if e.kind == "gate.episode"}
    assert f"{len(played)} gate, 3 train" in seeds
    assert text.count('<line x1="50%" x2="50%"') == text.count('<line x1="80%" x2="80%"') == 4


def test_settings_and_hashes_have_names_that_a_reader_knows(run: ImproveRun, text: str) -> None:
    shown = Page(part(text, "asked")).shown
    assert f"detector {run.started['eyes']}" in shown and f"sha256 detector {run.started['hashes']['eyes']}" in shown
    assert "eyes" not in shown.split() and "--eyes" in text


def test_an_audit_opening_is_flagged(run: ImproveRun) -> None:
    events = [*run.events[:-1], *_audit(run.events[-1])]
    flagged = part(page.html(ImproveRun(run.folder, events)), "seeds")
    assert 'class="note bad"' in flagged and "1 opening" in flagged


def _audit(last: Event) -> list[Event]:
    told = [("gate.seeds", {"trial": 16, "role": "audit", "seeds": [10_000, 10_001]}), (last.kind, last.data)]
    return [Event(last.n + i, last.at, kind, data, "", "") for i, (kind, data) in enumerate(told)]


# --- the log


def test_integrity_is_told(run: ImproveRun, text: str) -> None:
    told = Page(part(text, "integrity")).shown
    assert f"event 1 to event {run.events[-1].n}" in told and run.events[-1].hash in told
    assert "20 bytes set aside in events.torn-0" in told and "confirmed by events.head" in told
    assert told.count("UTC") == 3  # the last event and two resumptions


def test_the_same_log_gives_the_same_bytes(run: ImproveRun, text: str) -> None:
    assert page.html(ImproveRun.read(run.folder)) == text


def test_a_changed_log_is_refused(run: ImproveRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run.folder / "events.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_text("".join(lines).replace('"score":21.0', '"score":91.0', 1))
    with pytest.raises(LogDamaged, match="line"):
        write_improve_report(tmp_path)
    assert main(["report", str(tmp_path), "--no-replays"]) == 1
    assert "its text was changed" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_another_log_is_refused(tmp_path: Path) -> None:
    EventLog.open(tmp_path / "events.jsonl").close()
    with pytest.raises(SupervisorError, match="no event run.started"):
        write_improve_report(tmp_path)


def test_a_running_log_is_shown_with_its_half_line(hostile: Path, tmp_path: Path) -> None:
    with EventLog.open(_copy(hostile, tmp_path) / "events.jsonl") as log:
        budgets = Budgets(steps=1e6, events=log.events, record=log.append)
        budgets.reserve("episode", steps=77_000)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"n":')
    run = ImproveRun.read(tmp_path)
    assert page.state(run)["word"] == "running, or cut off"
    assert run.spending.reserved("steps") == 77_000 and run.spending.known["steps"] == budgets.known["steps"]
    shown = Page(page.html(run)).shown
    assert "77k reserved" in shown and "an unfinished line of 5 bytes" in shown


def _copy(folder: Path, to: Path) -> Path:
    for name in ("events.jsonl", "events.head"):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_missing_and_damaged_texts_are_named(run: ImproveRun, tmp_path: Path) -> None:
    _copy(run.folder, tmp_path)
    (tmp_path / "blobs").mkdir()
    child = run.trials[1].child
    (tmp_path / "blobs" / child).write_text("def act(scene, memory): ...")
    write_improve_report(tmp_path, replays=False)
    text = (tmp_path / "report.html").read_text()
    told = part(text, "integrity")
    assert child in told.split("damaged texts")[1] and run.chain[0].policy in told.split("missing texts")[1]
    assert "the policy texts are missing" in story(text, 1)


# --- hostile logs


def test_nothing_in_a_log_becomes_markup(hostile: Path) -> None:
    write_improve_report(hostile, replays=False)
    text = (hostile / "report.html").read_text("utf-8")
    found = Page(text)
    assert found.scripts == [words.asset("improve.js")] and found.tags["style"] == found.tags["script"] == 1
    assert not set(found.tags) & {"img", "iframe", "object", "embed", "form", "input", "base", "link", "b&amp;"}
    for tag, name, value in found.attributes:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "style", "xlink:href")
        assert name != "href" or re.fullmatch(r"#[a-z]+(-\d+)?", value), (tag, name, value)
    assert HOSTILE[0].hypothesis[:60] in found.shown  # it is all there, as text


def test_what_cannot_be_seen_is_shown_as_code_points(hostile: Path) -> None:
    write_improve_report(hostile, replays=False)
    text = (hostile / "report.html").read_text("utf-8")
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e\u2028]", text)
    assert "\\u202eright to left\\u0000\\u0007\\ud800\\u2028" in text and "\\u000d" in text
    assert len(text) < 150_000 and "more characters)" in text


def test_the_page_admits_its_own_script_and_style_and_loads_nothing(text: str) -> None:
    found = Page(text)
    policy = next(v for tag, name, v in found.attributes if tag == "meta" and "script-src" in v)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'" and rules["img-src"] == "data:"
    for kind, content in (("script-src", found.scripts), ("style-src", found.styles)):
        digest = base64.b64encode(hashlib.sha256("".join(content).encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert not re.search(r"url\(|@import|https?:", "".join(found.styles + found.scripts))


def test_an_unknown_price_is_never_nothing(hostile: Path) -> None:
    run = ImproveRun.read(hostile)
    shown = Page(page.html(run)).shown
    assert run.spending.spent("usd") == "unknown" and "unknown cost" in shown and "$0" not in shown
    assert run.bought() == "tokens" and "The price in money is unknown" in shown


def test_nothing_bought_has_no_curve_over_cost(tmp_path: Path) -> None:
    ideas = [i for i in IDEAS if i.tried]
    run = ImproveRun.read(fabricate(tmp_path, ideas, proposer="tuner"))
    shown = Page(page.html(run)).shown
    assert run.bought() == "" and "Nothing was bought" in shown and "9 settings tried on training seeds" in shown


def test_an_early_log_makes_a_page(run: ImproveRun) -> None:
    for n in (2, 3, 5, 12, 60):
        shown = Page(page.html(ImproveRun(run.folder, run.events[:n]))).shown
        assert "running, or cut off" in shown


# --- words


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.signed(-0.04), "−0.04"), (words.signed(3.25), "+3.2"), (words.signed(-1234.6), "−1,235"),
        (words.short(1_610_000), "1.61M"), (words.short(999_900), "1M"), (words.dollars(0.0042), "$0.0042"),
        (words.duration(7980), "2 h 13 min"), (words.duration(61), "1 min 1 s"), (words.interval(1, float("nan")), ""),
        (words.plain(-2.0448), "−2.045"), (words.cut({"a": [1, "<"]}), "a: 1, <"),
        (words.cut("abcdef", 2), "ab … (4 more characters)"),
        (words.visible("a\tb\nc\r\u202e"), "a\tb\nc\\u000d\\u202e"), (words.moment(1e20), f"{10**20:,}"),
        (words.first_line("Here stands one whole sentence. " + "x " * 99, 60), "Here stands one whole sentence."),
    ],
)  # fmt: skip
def test_words(said: str, expected: str) -> None:
    assert said == expected


# --- the command


def test_the_command_knows_both_kinds_of_runs(
    run: ImproveRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "there" / "page.html"
    assert main(["report", str(run.folder), "--no-replays", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trials"] == 16 and told["accepted"] == 3 and told["replays"] == 0 and told["report"] == str(out)
    assert told["mean"] == pytest.approx(figures.level(run, run.chain[-1].policy).mean)  # type: ignore[union-attr]
    assert "Replays were left out" in out.read_text()
    assert main(["report", str(tmp_path)]) == 1  # neither
    assert "no evaluation run" in capsys.readouterr().err


def test_a_run_of_the_real_loop_makes_the_same_page(tmp_path: Path) -> None:
    """What the made-up log looks like is what the loop writes: every line of trials.jsonl is on the page."""
    pytest.importorskip("pydantic")
    from improve_kit import Scripted, improve, make_folder, script

    folder, home = make_folder(tmp_path / "fake"), tmp_path / "home"
    with mock.patch("os.fsync"):
        improve(home, folder, Scripted(script(3, 10)), trials=10)
    run = write_improve_report(home, replays=False).run
    text = (home / "report.html").read_text("utf-8")
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert len(lines) == len(run.trials) == 10 and {line["verdict"] for line in lines} > {"accept", "reject"}
    for line in lines:
        told = Page(story(text, line["trial"])).shown
        assert line["lesson"] in told and all(reason in told for reason in line["reasons"])
        assert line["revision"] is None or f"lineage/{run.name(line['child'])}.py" == line["revision"]
        steps = amount("steps", line["cost"]["steps"])
        assert f"simulated frames {steps}" in told
    for accepted in run.chain[1:]:
        assert accepted.spent == run.trials[accepted.trial].spent  # its mark stands on the line
    assert "finished: all trials done" in text and not run.texts.missing and not run.texts.damaged
