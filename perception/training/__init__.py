"""From labelled frames to a detector. torch lives here and nowhere else."""
