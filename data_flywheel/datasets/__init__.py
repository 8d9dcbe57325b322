"""Labelled frames for training: collection, curation, the frozen test set, exports."""
