"""The gate: pure functions from paired scores to the next request or the verdict."""
