"""Measurements behind the figures of README and docs. `triune bench` finds them here."""
