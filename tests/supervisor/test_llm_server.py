"""A small real model behind a real server: the protocol is spoken, and its poor proposals are refused for a reason."""

from __future__ import annotations

import json

import pytest
from answer_kit import POLICY, request
from llm_kit import LocalServer, local_server

from supervisor.edits.answer import TARGETS, problems
from supervisor.proposers.openai_client import OpenAIProposer, Settings
from supervisor.protocols import ProposerError, Section

__all__ = ["local_server"]
pytestmark = pytest.mark.llm
ASKED = request(sections=(Section("The policy", POLICY), Section("Failures", "The ball passes left of the paddle.")))


def test_a_real_answer_over_the_real_protocol(local_server: LocalServer) -> None:
    settings = Settings(local_server.model, local_server.base_url, max_output=400, timeout_s=300.0, attempts=1)
    proposer = OpenAIProposer(settings)
    most = proposer.estimate(ASKED)
    reply = proposer.propose(ASKED)
    assert reply.text and isinstance(reply.usage.tokens, float) and 500 < reply.usage.tokens <= float(most["tokens"])
    assert reply.usage.usd == "unknown"
    assert [turn["form"] for turn in reply.turns] == ["json_schema"] * len(reply.turns)
    for choice in (turn["response"]["choices"][0] for turn in reply.turns):
        text = choice["message"]["content"]
        defects = [str(d) for d in problems(text, POLICY)]
        assert defects, text  # so small a model finds no revision that applies
        if choice["finish_reason"] == "length":
            assert "cut off before its end" in defects[0]
        else:  # the server keeps to the schema, so what is wrong is what the schema cannot say
            assert json.loads(text)["target"] in TARGETS
            assert not any("key" in d or "should be a valid" in d for d in defects), defects


def test_a_prompt_that_does_not_fit_ends_the_run(local_server: LocalServer) -> None:
    settings = Settings(local_server.model, local_server.base_url, max_output=50, attempts=1)
    with pytest.raises(ProposerError, match="status 400") as found:
        OpenAIProposer(settings).propose(request(sections=(Section("Log", "step 1: LEFT\n" * 9000),)))
    assert found.value.fatal and found.value.usage.tokens == 0
