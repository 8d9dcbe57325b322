"""`report.html` of an improve run: a projection of its events and blobs, self-contained, loading nothing.

Everything but the replays follows from `events.jsonl` and `blobs/` alone: the same log gives the same bytes.
"""

from triune.report.improve.page import Written, write_improve_report

__all__ = ["Written", "write_improve_report"]
