"""What the page of an improve run shows, gathered from the run; `templates/improve.html` says how it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from envs.files import read_file
from envs.repeat import command_line, seeds_text
from envs.spec import called
from supervisor.budget import KINDS as BUDGETS
from supervisor.budget import UNKNOWN
from supervisor.edits.edits import diff
from supervisor.errors import SupervisorError
from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from triune.report import html as words
from triune.report.improve.record import (
    Accepted,
    ImproveRun,
    Pair,
    Trial,
    amount,
    decisive,
    difference,
    headline,
    held,
    level,
    pairs,
)
from triune.report.improve.replays import Replays, play_replays
from triune.report.plots import VERDICTS, Estimate, Point, Row, Span, curve, differences, gauge, meter, sign, tag

if TYPE_CHECKING:
    from triune.console import Console

SECTIONS = {
    "curve": "Learning curve", "replays": "Before and after", "lineage": "Lineage", "stages": "Verdicts by stage",
    "pairs": "Paired differences", "lessons": "Learned from rejected ideas", "seeds": "Seeds",
    "asked": "What was asked", "integrity": "Integrity",
}  # fmt: skip
STOPS = {
    "done": "finished", "budget": "stopped: a budget is used up", "interrupted": "interrupted",
    "proposer": "stopped: the proposer cannot answer", "trials": "finished: all trials done",
}  # fmt: skip
NAMES = {"usd": "cost", "tokens": "tokens", "steps": "frames", "wall_s": "wall time"}
AXES = {"steps": "simulated frames", "usd": "US dollars", "tokens": "tokens"}
ASKS = {
    "schema": "is the answer complete, does the edit apply", "compile": "does the policy compile",
    "size": "is it small and fast enough", "locks": "are kept moments and score floors kept",
    "duplicate": "does it decide anything differently", "screen": "the first few seeds: clearly worse?",
    "full": "first block: better?", "probe": "more seeds of the first block", "confirm": "fresh block: still better?",
    "simplify": "would less text do", "accept": "becomes the incumbent",
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What was written, and where."""

    path: Path
    run: ImproveRun
    replays: int


def write_improve_report(
    folder: Path, out: Path | None = None, console: Console | None = None, replays: bool = True, trust: bool = False
) -> Written:
    """Write the page of a run (default: report.html in its folder); SupervisorError when its log cannot be trusted.

    `replays`: play the policies that got in, before and after. `trust`: a teacher.py of unknown origin may run for it.
    """
    run = ImproveRun.read(folder)
    shown = play_replays(run, console, trust) if replays else Replays()
    return Written(words.write_page(out or folder / "report.html", html(run, shown)), run, shown.count)


def html(run: ImproveRun, replays: Replays | None = None) -> str:
    """The whole page; without `replays` that section is empty. The same run gives the same text."""
    view = {
        **_top(run), **_curves(run), "replays": replays or Replays(), "sections": SECTIONS,
        "lineage": lineage(run), **stages(run), **_differences(run),
        "lessons": [
            (t.say("lesson"), t.number, ended(t)) for t in run.trials.values()
            if t.kind not in ("accept", "open") and t.say("lesson")
        ],
        **seeds(run), **asked(run),
    }  # fmt: skip
    log = integrity(run)  # last: it counts the texts that the others showed
    return words.render("improve.html", **view, log=log, script=words.asset("improve.js"))


def to_trial(number: int) -> Markup:
    """A link to a trial's story."""
    return tag("a", number, href=f"#trial-{number}")


# ----------------------------------------------------------------------------------------------------
# The top of the page: what was improved, by how much, what it took, whether it is still running.


def _top(run: ImproveRun) -> dict[str, Any]:
    data, spent, last = run.started, run.spending, level(run, run.chain[-1].policy)
    scenes = words.SCENES.get(str(data.get("eyes")), data.get("eyes"))
    between = words.interval(last.low, last.high) if last else ""
    return {
        "title": title(run), "state": state(run), "budgets": budgets(run),
        "conditions": f"protocol {words.cut(data.get('protocol'), 60)} · played {words.cut(scenes, 60)} · "
        f"proposer {words.cut(data.get('proposer'), 80)} · started {words.moment(run.pauses[0].at)}",
        "tiles_of": [
            (words.points(last.mean) if last else "–", "mean score now" + (f", 95 % {between}" if between else "")),
            (len(run.trials), "trial" if len(run.trials) == 1 else "trials"),
            (len(run.chain) - 1, "accepted"),
            (amount("steps", spent.spent("steps")), "simulated frames"),
            (amount("tokens", spent.spent("tokens")), "tokens"),
            (amount("usd", spent.spent("usd")), "cost"),
            (words.duration(run.seconds()), "at work"),
        ],
    }  # fmt: skip


def title(run: ImproveRun) -> str:
    """`Improving breakout: mean score 21.0 → 58.3`."""
    first, last = (level(run, run.chain[i].policy) for i in (0, -1))
    task = words.visible(str(run.started.get("task", "?")))[:60]
    if first is None:
        return f"Improving {task}"
    if len(run.chain) == 1 or last is None:
        return f"Improving {task}: mean score {words.points(first.mean)} so far unbeaten"
    return f"Improving {task}: mean score {words.points(first.mean)} → {words.points(last.mean)}"


def state(run: ImproveRun) -> dict[str, str]:
    """Whether and why it has stopped."""
    last = run.pauses[-1]
    why = str(last.data.get("why", ""))
    if last.kind != "run.stopped":
        detail = f"no end is on record; last event {words.moment(run.events[-1].at)}"
        return {"tone": "busy", "word": "running, or cut off", "detail": detail}
    tone = "good" if why in ("done", "trials") else "warn"
    return {"tone": tone, "word": STOPS.get(why, f"stopped: {why}"), "detail": str(last.data.get("detail", ""))}


def budgets(run: ImproveRun) -> list[dict[str, Any]]:
    """What was spent of each budget, with a bar where it has a limit."""
    s, found = run.spending, []
    for which in BUDGETS:
        limit, spent, least, reserved = s.limits[which], s.spent(which), s.known[which], s.reserved(which)
        said = amount(which, spent)
        if spent == UNKNOWN:
            said += f" (at least {amount(which, least)} known or set aside)" if least else ""
        said += f", {amount(which, reserved)} reserved" if reserved else ""
        told: dict[str, Any] = {"name": NAMES[which], "said": said, "bar": None}
        if limit:
            told |= {"said": f"{said} of {amount(which, limit)}", "share": f"{100 * least / limit:.0f} %",
                     "bar": gauge(least / limit, reserved / limit)}  # fmt: skip
        found.append(told)
    return found


# ----------------------------------------------------------------------------------------------------
# The learning curve: the incumbent's score and every trial, against what had been used by then.


def _curves(run: ImproveRun) -> dict[str, Any]:
    bought, counts = run.bought(), Counter(t.kind for t in run.trials.values())
    unknown, why = run.spending.unknown, ""
    if unknown["usd"] and bought == "tokens":
        why = "The price in money is unknown, so the curve runs over tokens."
    elif unknown["usd"] or unknown["tokens"]:
        why = "What the answers cost is unknown, so there is no curve over it."
    elif not bought:
        why = "Nothing was bought: no answer of this run cost money or tokens."
    return {
        "no_curve": tag("p", "No episode has been played yet.", kind="dim"),
        "curve": _curve(run, "steps"), "cost_curve": _curve(run, bought) if bought else None,
        "bought": AXES[bought] if bought else "", "why": why,
        "legend": [(sign(k), counts[k], word) for k, word in VERDICTS.items() if counts[k]],
        "trials": [_trial_row(run, t) for t in run.trials.values()],
    }  # fmt: skip


def _curve(run: ImproveRun, which: str) -> Markup | None:
    """None when nothing has been played."""
    steps, points = spans(run, which), []
    for trial in run.trials.values():
        base, diff = level(run, trial.parent), headline(run, trial)
        own = level(run, trial.won) if trial.won else None
        y = own.mean if own else base.mean + diff.mean if base and diff else None
        x = _known(trial.spent or run.spending.now(), which)
        points.append(Point(trial.number, trial.kind, tip(run, trial), x, y))
    show = words.dollars if which == "usd" else words.short
    return curve(steps, points, _edge(run, which), AXES[which], show) if steps else None


def spans(run: ImproveRun, which: str) -> list[Span]:
    """Incumbents that have played; the last one's line goes on to the edge."""
    starts = [_known(a.spent, which) for a in run.chain] + [_edge(run, which)]
    found = []
    for i, accepted in enumerate(run.chain):
        score = level(run, accepted.policy)
        if score is not None:
            found.append(Span(accepted.trial, starts[i], max(starts[i], starts[i + 1]), score))
    return found


def _edge(run: ImproveRun, which: str) -> float:
    """The right end of the axis: a little more than was used."""
    return 1.04 * run.spending.known[which] or 1.0


def _known(spent: Mapping[str, Any], which: str) -> float:
    value = spent.get(which, 0.0)
    return 0.0 if value == UNKNOWN else float(value)


def tip(run: ImproveRun, trial: Trial) -> str:
    """One line about a trial."""
    found = headline(run, trial)
    gain = f", score {words.signed(found.mean)}" if found else ""
    return f"Trial {trial.number}: {ended(trial)}{gain}. {words.first_line(trial.say('hypothesis'), 110)}"


def _trial_row(run: ImproveRun, t: Trial) -> tuple[object, ...]:
    found, spent = headline(run, t), t.spent or run.spending.now()
    gain = f"{words.signed(found.mean)} {words.interval(found.low, found.high, True)}" if found else "not played"
    frames, cost = (amount(w, spent.get(w, UNKNOWN)) for w in ("steps", "usd"))
    return to_trial(t.number), VERDICTS[t.kind], t.stage or "–", gain, frames, cost


# ----------------------------------------------------------------------------------------------------
# The lineage: the accepted chain from top to bottom, and under each policy the children that were tried on it.


def lineage(run: ImproveRun) -> list[dict[str, Any]]:
    """Policies, and the trials that started from each while it was the incumbent."""
    ends = [a.trial for a in run.chain[1:]] + [max(run.trials, default=0)]
    return [
        _policy(run, accepted, [t for t in run.trials.values() if begin < t.number <= end])
        for accepted, begin, end in zip(run.chain, [0, *ends], ends, strict=False)
    ]


def _policy(run: ImproveRun, accepted: Accepted, trials: list[Trial]) -> dict[str, Any]:
    e = level(run, accepted.policy)
    name = f"Policy of trial {accepted.trial}" if accepted.trial else "The policy it began with"
    score = "not played yet"
    if e:
        score = f"mean score {words.points(e.mean)} {words.interval(e.low, e.high)}, {words.count(e.n, 'seed')}"
    return {
        "name": name + (" (incumbent)" if accepted is run.chain[-1] else ""), "score": score,
        "text": f"{run.name(accepted.policy)} {accepted.policy[:12]}", "trials": [story(run, t) for t in trials],
    }  # fmt: skip


def ended(t: Trial) -> str:
    """`rejected at full`."""
    return f"{VERDICTS[t.kind]} at {_place(t)}" if _place(t) else VERDICTS[t.kind]


def _place(t: Trial) -> str:
    """The stage where it failed, "" when it did not."""
    return t.stage if t.kind not in ("accept", "unanswered") else ""


# ----------------------------------------------------------------------------------------------------
# The story of one trial: what was said, what the gate answered, what was measured, and how to repeat it.


HELD = {"yes": "held", "no": "did not hold", "open": "open", "untested": "not tested"}
FIGURES = {
    "pairs": "seeds", "parent": "parent, mean", "child": "child, mean", "difference": "difference", "p": "p",
    "low95": "lower 95 % bound", "high95": "upper 95 % bound", "ties": "equal scores",
    "parent_worst_decile": "parent, worst decile", "child_worst_decile": "child, worst decile",
    "parent_hard": "parent, hard rules /1000", "child_hard": "child, hard rules /1000",
}  # fmt: skip
BLOCKS = ("screen", "full", "probe", "confirm")  # prefixes of the verdict's numbers
ROLES = {"select": "first block", "confirm": "fresh block"}
MOST_SETTINGS = 8  # of a search that are shown
OPEN = 60  # lines up to which a diff is open from the beginning
MOST_LINES = 500
MOST_CHARACTERS = 400_000  # of a text that is compared
LONGEST_LINE = 400


def story(run: ImproveRun, t: Trial) -> dict[str, Any]:
    """Everything about a trial."""
    e, (outcome, why) = headline(run, t), held(run, t)
    empty = "under way" if t.kind == "open" else words.flat(t.say("target")) or "no hypothesis was given"
    asked = ("diagnosis", "hypothesis", "prediction", "lesson", "locks", "data_requests")
    return {
        "number": t.number, "kind": t.kind, "sign": sign(t.kind), "ended": ended(t),
        "what": words.first_line(t.say("hypothesis") or t.of.failed or empty),
        "gain": words.signed(e.mean) if e else "",
        "tone": "up" if e and e.low > 0 else "down" if e and e.high < 0 else "",  # where the interval leaves zero out
        **{name: t.say(name) for name in asked}, "held": (outcome, HELD[outcome], why),
        "verdict": VERDICTS[t.kind], "at": _place(t), "reasons": t.verdict.get("reasons"),
        "kept": t.accepted.get("locks", ()), "note": t.accepted.get("note"),
        **_measured(run, t), "changes": _changes(run, t), **_played(run, t),
        "tried_title": f"{words.count(len(t.tried), 'setting')} tried on training seeds", "tried": _tried(t),
        "commands": "\n".join(_commands(run, t)),
    }  # fmt: skip


def _measured(run: ImproveRun, t: Trial) -> dict[str, Any]:
    """Numbers of the verdict by block, other measurements, what the trial cost."""
    verdict = _numbers(t.verdict.get("numbers"))
    blocks = [b for b in BLOCKS if any(k.startswith(f"{b}_") for k in verdict)]
    table = []
    for key, name in FIGURES.items():
        cells = [verdict.get(f"{b}_{key}") for b in blocks]
        if any(c is not None for c in cells):
            table.append((name, ["–" if c is None else words.plain(c) for c in cells]))
    other = _numbers(run.state.compiled.get(t.child, {}).get("measured"))
    other |= {k: v for k, v in verdict.items() if k.split("_")[0] not in blocks}
    measured = {name: words.plain(value) for name, value in other.items()}
    locks = run.state.locks.get((t.parent, t.child), {})
    measured |= {f"lock {name}": "kept" if good else "broken" for name, good in locks.items()}
    cost, names = (t.of.judged or {}).get("cost") or t.of.spent, {"steps": "simulated frames", "wall_s": "time"}
    used = {names.get(w, NAMES[w]): amount(w, cost[w]) for w in BUDGETS if w in cost}
    return {"blocks": blocks, "numbers": table, "measured": measured, "used": used}


def _numbers(told: Any) -> dict[str, float]:
    found = told if isinstance(told, Mapping) else {}
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _changes(run: ImproveRun, t: Trial) -> list[dict[str, Any]]:
    """The diff from the parent to the child and to the simpler variant where that was taken; or what was asked for."""
    old, new = run.texts.text(t.parent), run.texts.text(t.child)
    blocks = []
    if old is not None and new is not None:
        blocks.append(_diff("What was changed", old, new))
    elif t.say("changes"):
        why = "the changes did not apply" if not t.child else "the policy texts are missing"
        blocks.append({**_lines(_asked_for(t)), "title": f"What was asked for ({why})", "open": False})
    variant = run.texts.text(t.won) if t.won and t.won != t.child else None
    if old is not None and variant is not None:
        blocks.append(_diff("What was taken instead: a simpler variant", old, variant))
    return blocks


def _diff(title: str, old: str, new: str) -> dict[str, Any]:
    if max(len(old), len(new)) > MOST_CHARACTERS:
        return {"title": title, "lines": []}
    lines = diff(old, new).split("\n")[2:-1]  # without the names of the files
    added, gone = (sum(line[:1] == sign for line in lines) for sign in "+-")
    size = tag("span", f"+{added}", kind="plus") + " " + tag("span", f"−{gone}", kind="minus")
    return {**_lines(lines), "title": Markup("{} {}").format(title, size), "open": len(lines) <= OPEN}


def _lines(lines: list[str]) -> dict[str, Any]:
    """(class, text) of the lines that are shown, and how many `more` there are."""
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    shown = [(kinds.get(line[:1], ""), words.cut(line, LONGEST_LINE)) for line in lines[:MOST_LINES]]
    return {"lines": shown, "more": f"{len(lines) - MOST_LINES:,}" if len(lines) > MOST_LINES else ""}


def _asked_for(t: Trial) -> list[str]:
    """The changes as they were proposed."""
    lines: list[str] = []
    changes = t.say("changes")
    for change in changes if isinstance(changes, list) else [changes]:
        if isinstance(change, dict):
            lines += [f"@ {k} {words.flat(v)}" for k, v in change.items() if k != "code"]
            lines += [f"+{line}" for line in words.flat(change.get("code", "")).split("\n")]
        else:
            lines.append(f"+{words.flat(change)}")
    return lines


def _played(run: ImproveRun, t: Trial) -> dict[str, Any]:
    """The blocks of one trial: a plot, and every seed."""
    blocks = [(name, pairs(run, t, role)) for role, name in ROLES.items()]
    blocks += [(f"simpler: {name}", pairs(run, t, "confirm", policy)) for name, policy in t.variants.items()]
    blocks = [(name, found) for name, found in blocks if found]
    rows = [Row(name, t.kind, [p.difference for p in found], difference(found)) for name, found in blocks]
    every = [
        (words.cut(name, 60), p.seed, words.plain(p.parent), words.plain(p.child), words.signed(p.difference))
        for name, found in blocks
        for p in found
    ]
    return {"plot": differences(rows, "paired differences of this trial") if rows else "", "seeds": every}


def _tried(t: Trial) -> list[tuple[str, str, int]]:
    """Settings that a search tried on training seeds, best first."""
    rows = []
    for tried in t.tried:
        scores = [float(s) for s in tried.get("scores") or ()]
        rows.append((sum(scores) / max(1, len(scores)), words.cut(tried.get("values"), 300), len(scores)))
    rows.sort(key=lambda row: -row[0])
    return [(values, words.points(mean), n) for mean, values, n in rows[:MOST_SETTINGS]]


def _commands(run: ImproveRun, t: Trial) -> list[str]:
    """Commands that give the scores of parent and child again, from the texts kept in the task's folder."""
    data, lines = run.started, []
    task = str(data.get("folder", ""))
    for role in ROLES:
        seeds = [p.seed for p in pairs(run, t, role)]
        if not seeds:
            continue
        for policy in (t.parent, t.child):
            text = f"{task}/lineage/{run.name(policy)}.py"
            what = {"policy": text, "eyes": data.get("eyes", ""), "protocol": data.get("protocol", "")}
            lines.append(command_line("eval", called(Path(task)), **what, seeds=seeds_text(seeds)))
    return lines


# ----------------------------------------------------------------------------------------------------
# Tables: where trials stopped, paired differences, which seeds were opened, what was asked, integrity.


def stages(run: ImproveRun) -> dict[str, Any]:
    """How many reached each stage and how many ended there, by verdict."""
    judged = [t for t in run.trials.values() if t.stage]
    places, rows = [STAGES.index(t.stage) for t in judged], []  # type: ignore[arg-type]
    for i, stage in enumerate(STAGES):
        kinds = Counter(t.kind for t in judged if t.stage == stage)
        reached = sum(place >= i for place in places)
        rows.append(
            {"name": stage, "asks": ASKS[stage], "reached": reached, "bar": meter(reached / max(1, len(judged))),
             "ended": [(sign(kind), n, VERDICTS[kind]) for kind, n in kinds.items()]}
        )  # fmt: skip
    other = Counter(t.kind for t in run.trials.values() if not t.stage)
    note = ", ".join(f"{words.count(n, 'trial')}: {VERDICTS[k]}" for k, n in other.items())
    return {"stages": rows, "unjudged": f"Without a verdict of the gate: {note}." if note else ""}


def _differences(run: ImproveRun) -> dict[str, Any]:
    """All judged children on one scale, with a table of the same."""
    rows, table = [], []
    for t in run.trials.values():
        found, e = decisive(run, t), headline(run, t)
        if not found or e is None:
            continue
        label = words.first_line(t.say("hypothesis") or t.say("target"), 33)
        said = f"Trial {t.number}, {VERDICTS[t.kind]}: {words.signed(e.mean)} on {words.count(e.n, 'seed')}"
        rows.append(Row(label, t.kind, [p.difference for p in found], e, t.number, said))
        table.append(_difference_row(t, found, e))
    return {"pairs": table, "forest": differences(rows, "paired difference of each judged child") if rows else ""}


def _difference_row(t: Trial, found: Sequence[Pair], e: Estimate) -> tuple[object, ...]:
    better, ties = sum(p.difference > 0 for p in found), sum(not p.difference for p in found)
    won = f"{better} / {ties} / {len(found) - better - ties}"
    between = words.interval(e.low, e.high, True) or "too few"
    return to_trial(t.number), VERDICTS[t.kind], e.n, words.signed(e.mean), between, won


def seeds(run: ImproveRun) -> dict[str, Any]:
    """The ledger of openings, how many seeds of each range were played, and what was done with audit seeds, if any."""
    played = run.seeds_played()
    audit = [o for o in run.openings if o[1] == "audit" or any(role_of(s) == "audit" for s in o[2])]
    foul = [name for name in ("audit", "forbidden") if played.get(name)]
    said = f"{words.count(len(audit), 'opening')}; played in this run: {words.flat(foul) or 'none'}"
    return {
        "audit": said if audit or foul else "",
        "opened": [
            (_span(opened), words.cut(role, 40), to_trial(n), len(opened), _used(run, n, opened))
            for n, role, opened in run.openings
        ],
        "played": ", ".join(f"{n:,} {name}" for name, n in sorted(played.items())) or "none",
    }  # fmt: skip


def _span(opened: list[int]) -> str:
    if len(opened) > 2 and opened == list(range(opened[0], opened[-1] + 1)):
        return f"{opened[0]}–{opened[-1]}"
    return words.cut(opened, 60)


def _used(run: ImproveRun, number: int, opened: list[int]) -> int:
    """Seeds of a block that the trial's child or a variant has played."""
    trial = run.trials[number]
    mine = [run.scores.get(p, {}) for p in (trial.child, *trial.variants.values()) if p]
    return sum(any(s in scores for scores in mine) for s in opened)


def asked(run: ImproveRun) -> dict[str, dict[str, str]]:
    """Settings, versions, hashes."""
    data = run.started
    names = {"run": "run", "task": "task", "folder": "folder", "protocol": "protocol", "eyes": "detector",
             "proposer": "proposer"}  # fmt: skip
    request = {name: words.flat(data.get(key, "")) for key, name in names.items()}
    request |= flattened(data.get("settings", {}))
    for pause in run.pauses:
        if pause.kind == "run.resumed":
            request |= flattened({f"resumed {words.moment(pause.at)}": pause.data})
    versions, hashes = dict(data.get("versions") or {}), words.hash_names(data.get("hashes") or {})
    return {"request": request, "versions": versions, "hashes": hashes}


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `gate.looks`: text."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flattened(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: "none" if value is None else words.flat(value)} if name else {}


def integrity(run: ImproveRun) -> dict[str, str]:
    """Whether the log is whole, and what happened to it."""
    last, texts = run.events[-1], run.texts
    resumed = [p for p in run.pauses if p.kind == "run.resumed"]
    cells = {
        "chain": f"verified from event 1 to event {last.n}",
        "hash of the last event": last.hash,
        "last event": f"{last.kind}, {words.moment(last.at)}",
        "end of the log": _end(run),
        "resumed": ", ".join(words.moment(p.at) for p in resumed) or "never",
        "texts": f"{words.count(len(texts.verified), 'text')} shown here, each verified by its hash",
    }
    for n, torn in run.torn:
        cells[f"torn end, event {n}"] = f"{torn.get('bytes')} bytes set aside in {torn.get('file')}"
    for name, missing in (("missing texts", texts.missing), ("damaged texts", texts.damaged)):
        if missing:
            cells[name] = ", ".join(sorted(missing))
    return cells


def _end(run: ImproveRun) -> str:
    """What the head file and the bytes after the last line say."""
    path = run.folder / "events.jsonl"
    tail = len(read_file(path, "log", SupervisorError).rsplit(b"\n", 1)[-1]) if path.is_file() else 0
    head = "confirmed by events.head" if path.with_suffix(".head").is_file() else "events.head is missing: not checked"
    return f"{head}; an unfinished line of {tail} bytes after it" if tail else head
