"""Systems at work: the loop, evaluation, recording, attribution, self-training."""

from triune.play.evaluation import evaluate
from triune.play.loop import play

__all__ = ["evaluate", "play"]
