"""Tables of the page: where trials stopped, what was learned, which seeds were opened, what was asked, integrity.

Knows runs and markup. Does not know the rules of the gate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from supervisor.gate.seeds import role_of
from supervisor.gate.types import STAGES
from triune.report import report_parts as parts
from triune.report.improve import words
from triune.report.improve.lineage import ended
from triune.report.improve.markup import table, to_trial
from triune.report.improve.plot import sign
from triune.report.improve.record import KINDS, ImproveRun, Trial

ASKS = {
    "schema": "is the answer complete, does the edit apply", "compile": "does the policy compile",
    "size": "is it small and fast enough", "locks": "are kept moments and score floors kept",
    "duplicate": "does it decide anything differently", "screen": "the first few seeds: clearly worse?",
    "full": "first block: better?", "probe": "more seeds of the first block", "confirm": "fresh block: still better?",
    "simplify": "would less text do", "accept": "becomes the incumbent",
}  # fmt: skip


def stages(run: ImproveRun) -> str:
    """How many reached each stage and how many ended there, by verdict."""
    ended = [t for t in run.trials.values() if t.stage]
    places = [STAGES.index(t.stage) for t in ended]  # type: ignore[arg-type]
    rows = []
    for i, stage in enumerate(STAGES):
        here, reached = [t for t in ended if t.stage == stage], sum(p >= i for p in places)
        kinds = Counter(t.kind for t in here)
        chips = " ".join(f'<span class="chip">{sign(k)} {n} {KINDS[k]}</span>' for k, n in kinds.items())
        share = 100 * reached / max(1, len(ended))
        fill = f'<rect class="fill" width="{share:.1f}%" height="100%" rx="3"/>'
        bar = f'<svg class="meter" aria-hidden="true">{fill}</svg>'
        rows.append(
            f'<tr class="{"" if here else "none"}"><th>{stage}<small>{ASKS[stage]}</small></th>'
            f'<td class="n">{reached}</td><td class="meter">{bar}</td><td>{chips or "–"}</td></tr>'
        )
    other = Counter(t.kind for t in run.trials.values() if not t.stage)
    note = ", ".join(f"{words.count(n, 'trial')}: {KINDS[k]}" for k, n in other.items())
    head = '<thead><tr><th>stage</th><th class="n">reached</th><th></th><th>ended here</th></tr></thead>'
    shown = f'<div class="scroll"><table class="stages">{head}<tbody>{"".join(rows)}</tbody></table></div>'
    return parts.card("How far each trial came", shown, f"Without a verdict of the gate: {note}." if note else "")


def lessons(run: ImproveRun) -> str:
    """What each idea that did not get in has taught, in the proposer's words."""
    failed = [t for t in run.trials.values() if t.kind not in ("accept", "open") and t.say("lesson")]
    if not failed:
        return parts.card("Lessons", '<p class="dim">No rejected idea has left a lesson.</p>')
    items = "".join(f"<li>{words.esc(t.say('lesson'), 600)} {_source(t)}</li>" for t in failed)
    return parts.card("In the proposer's words", f'<ul class="lessons">{items}</ul>')


def _source(t: Trial) -> str:
    return f'<a class="dim" href="#trial-{t.number}">trial {t.number}, {ended(t)}</a>'


def seeds(run: ImproveRun) -> str:
    """The ledger of openings, and how many seeds of each range were played."""
    played = run.seeds_played()
    rows = [
        (_span(opened), words.esc(role, 40), to_trial(n), str(len(opened)), str(_used(run, n, opened)))
        for n, role, opened in run.openings
    ]
    shown = table(("seeds", "opened to", "trial", ">opened", ">played"), rows) if rows else '<p class="dim">none</p>'
    used = ", ".join(f"{n:,} {name}" for name, n in sorted(played.items())) or "none"
    card = parts.card("Blocks opened", shown, f"Different seeds played: {used}.")
    return f'<div class="stack">{_audit(run, played)}{card}</div>'


def _span(opened: list[int]) -> str:
    if len(opened) > 2 and opened == list(range(opened[0], opened[-1] + 1)):
        return f"{opened[0]}–{opened[-1]}"
    return words.esc(opened, 60)


def _used(run: ImproveRun, number: int, opened: list[int]) -> int:
    """Seeds of a block that the trial's child or a variant has played."""
    trial = run.trials[number]
    mine = [run.scores.get(p, {}) for p in (trial.child, *trial.variants.values()) if p]
    return sum(any(s in scores for scores in mine) for s in opened)


def _audit(run: ImproveRun, played: Mapping[str, int]) -> str:
    opened = [o for o in run.openings if o[1] == "audit" or any(role_of(s) == "audit" for s in o[2])]
    foul = [name for name in ("audit", "forbidden") if played.get(name)]
    if not opened and not foul:
        return '<p class="note good">Audit seeds: never opened in this run.</p>'
    said = words.count(len(opened), "opening")
    return f'<p class="note bad">Audit seeds: {said}; played in this run: {words.esc(foul or "none")}.</p>'


def integrity(run: ImproveRun) -> str:
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
    return parts.card("The log", parts.rows(cells))


def _end(run: ImproveRun) -> str:
    """What the head file and the bytes after the last line say."""
    path = run.folder / "events.jsonl"
    tail = len(path.read_bytes().rsplit(b"\n", 1)[-1]) if path.is_file() else 0
    head = "confirmed by events.head" if path.with_suffix(".head").is_file() else "events.head is missing: not checked"
    return f"{head}; an unfinished line of {tail} bytes after it" if tail else head


def asked(run: ImproveRun) -> str:
    """Settings, versions, hashes."""
    data = run.started
    request = {k: data.get(k, "") for k in ("run", "task", "folder", "protocol", "eyes", "proposer")}
    cells = {**request, **flattened(data.get("settings", {}))}
    for pause in run.pauses:
        if pause.kind == "run.resumed":
            cells |= flattened({f"resumed {words.moment(pause.at)}": pause.data})
    hashes = {f"sha256 {k}" if k != "schema" else k: v or "none" for k, v in dict(data.get("hashes") or {}).items()}
    cards = [
        parts.card(title, parts.rows({k: words.visible(words.flat(v)) for k, v in found.items()}))
        for title, found in (("Request", cells), ("Versions", dict(data.get("versions") or {})), ("Hashes", hashes))
        if found
    ]
    return f'<div class="pair">{cards[0]}<div class="stack">{"".join(cards[1:])}</div></div>'


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `gate.looks`: text."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flattened(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: "none" if value is None else words.flat(value)} if name else {}
