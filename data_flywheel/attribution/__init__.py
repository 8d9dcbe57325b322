"""Whose failure it was: the detector's, the policy's, both, or the world's."""
