"""Two whole iterations of the loop with a real model: refused for the right reasons, and no key kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from improve_kit import ROOT_POLICY, Place, improve
from llm_kit import LocalServer, local_server

from supervisor.events import read
from supervisor.proposers.openai_client import OpenAIProposer, Settings

__all__ = ["local_server"]
pytestmark = pytest.mark.llm
KEY = "a-key-that-must-not-be-kept-0123456789"


def test_two_iterations_with_a_real_model(
    local_server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = Settings(local_server.model, local_server.base_url, max_output=300, timeout_s=300.0, attempts=1)
    place = Place(tmp_path)
    ended = improve(tmp_path / "run", place.folder, OpenAIProposer(settings), trials=2, limits={"tokens": 60_000})
    events = read(tmp_path / "run" / "events.jsonl")
    received = [e.data for e in events if e.kind == "proposal.received"]
    assert len(ended.state.trials) == len(received) == 2 and all(r["usage"]["tokens"] > 300 for r in received)
    for trial in ended.state.trials:
        assert trial.verdict is not None
        assert (trial.verdict["kind"], trial.verdict["stage"]) == ("invalid", "schema"), trial.verdict
        assert all(len(reason) > 20 for reason in trial.verdict["reasons"])  # it says what is wrong
    assert place.policy == ROOT_POLICY and [line["verdict"] for line in place.lines] == ["invalid", "invalid"]
    spent = ended.state.trials[-1].judged
    assert spent is not None and spent["cost"]["usd"] == "unknown"
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert not kept, f"the key stands in {kept}"
