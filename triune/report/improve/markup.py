"""Pieces of markup that several sections share: tables, folded blocks. HTML in, HTML out; nothing is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways where it must. A head that begins with ">" is that of a column of numbers."""
    right = [' class="n"' if head.startswith(">") else "" for head in heads]
    top = "".join(f"<th{kind}>{head.removeprefix('>')}</th>" for head, kind in zip(heads, right, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, right, strict=True))}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, body: str, kind: str = "", shown: bool = False) -> str:
    """A block that opens on demand, with scripts or without."""
    of = f' class="{kind}"' if kind else ""
    return f"<details{of}{' open' if shown else ''}><summary>{title}</summary>{body}</details>"


def to_trial(number: int) -> str:
    """A link to a trial's story."""
    return f'<a href="#trial-{number}">{number}</a>'
