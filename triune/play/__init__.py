"""Systems at work: the loop, evaluation, recording, attribution, self-training."""
