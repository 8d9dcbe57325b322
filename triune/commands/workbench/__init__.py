"""The workbench: what a coding agent or a person can try in a workspace before answering (docs/workbench.md)."""
