"""How anything is written down: containers, frames, data sets, append-only logs, atomic files."""
