"""One HTML file out of the parts, with a policy that lets the browser run our one script and load nothing.

Knows the order of the sections. The hashes in the policy admit this style and this script only: markup that somebody
smuggled in would neither run nor be styled, even if escaping had failed.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

from triune.report.improve import curve, head, lineage, pairs, tables
from triune.report.improve.record import ImproveRun

FOLDER = Path(__file__).parent.parent
SCRIPT = """(() => {
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip"; tip.hidden = true;
  const hide = () => { tip.hidden = true; };
  for (const mark of document.querySelectorAll("a.mark")) {
    const title = mark.querySelector("title"), words = title.textContent;
    title.remove();
    const show = () => {
      tip.textContent = words; tip.hidden = false;
      const at = mark.querySelector(".area").getBoundingClientRect(), width = tip.offsetWidth;
      const left = Math.max(8, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 24));
      tip.style.left = left + scrollX + "px";
      tip.style.top = at.top + scrollY - tip.offsetHeight - 4 + "px";
    };
    mark.addEventListener("pointerenter", show); mark.addEventListener("focus", show);
    mark.addEventListener("pointerleave", hide); mark.addEventListener("blur", hide);
  }
  const go = () => {
    hide();
    const target = document.getElementById(location.hash.slice(1)), box = target && target.querySelector("details");
    if (box && target.classList.contains("trial")) { box.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", go); go();
  const all = document.getElementById("all");
  all.hidden = false;
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    for (const box of document.querySelectorAll(".trial > details")) box.open = open;
    all.setAttribute("aria-pressed", open); all.textContent = open ? "Close all" : "Open all";
  });
})();"""


def html(run: ImproveRun, replays: str) -> str:
    """The whole page. `replays` is the markup of that section."""
    sections = [
        ("curve", "Learning curve", curve.curves(run)),
        ("replays", "Before and after", replays),
        ("lineage", "Lineage", _lineage(run)),
        ("stages", "Verdicts by stage", tables.stages(run)),
        ("pairs", "Paired differences", pairs.forest(run)),
        ("lessons", "Learned from rejected ideas", tables.lessons(run)),
        ("seeds", "Seeds", tables.seeds(run)),
        ("asked", "What was asked", tables.asked(run)),
    ]
    sections.append(("integrity", "Integrity", tables.integrity(run)))  # last: it counts the texts the others showed
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(f'<section><h2 id="{name}">{title}</h2>{text}</section>' for name, title, text in sections)
    top = f"{head.top(run)}{head.tiles(run)}{head.budgets(run)}<nav>{links}</nav>"
    return _document(head.title(run), f"<main>{top}{body}</main>")


def _lineage(run: ImproveRun) -> str:
    button = '<button id="all" type="button" hidden aria-pressed="false">Open all</button>'
    note = '<p class="dim">Each policy that got in, and under it every child tried on it. Open one for its story.</p>'
    return f'<div class="row">{note}{button}</div>{lineage.tree(run)}'


def _document(title: str, body: str) -> str:
    style = "\n" + "".join((FOLDER / name).read_text("utf-8") for name in ("report.css", "improve/improve.css"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(SCRIPT)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{style}</style>"
    )
    body = f"<body>{body}<script>{SCRIPT}</script></body>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
