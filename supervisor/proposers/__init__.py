"""Those who propose revisions. Each follows `supervisor.protocols.Proposer`; the loop knows nothing else of them."""
