"""Breakout: move towards the ball.

Knows: the scene as it is seen now. Does not know: where the ball is going, how the paddle answers.
"""

DEADBAND = tunable(4.0, 0.0, 16.0)  # px within which the paddle rests


class Memory:
    """What is remembered between steps."""

    unseen: int = 0  # steps in a row without a ball


def serve(memory):
    """A ball is asked for now and then while none is seen."""
    return FIRE if memory.unseen % 8 == 1 else NOOP


def act(scene, memory):
    """One decision per agent step."""
    if not scene.ball.seen:
        memory.unseen += 1
        return serve(memory), "serve"
    memory.unseen = 0
    gap = scene.ball.x - scene.paddle.x
    if abs(gap) <= DEADBAND:
        return NOOP, "below the ball"
    return (RIGHT, "ball to the right") if gap > 0.0 else (LEFT, "ball to the left")
