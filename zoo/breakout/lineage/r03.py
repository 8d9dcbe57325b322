"""Breakout: go where the ball will land, from its velocity as tracked, also while it rises.

Knows: the scene as it is seen now, the side walls, the lower edge of the wall. Does not know: how the paddle answers.
"""

DEADBAND = tunable(10.0, 2.0, 20.0)  # px within which the paddle rests: a step of four frames moves it by some 23
TURN_LEFT = 8.5
TURN_RIGHT = 151.5
MEET = 187.5  # centre height at which the paddle returns the ball
TURN_UP = 97.0  # centre height at which the lowest row of bricks turns a rising ball


class Memory:
    """What is remembered between steps."""

    unseen: int = 0  # steps in a row without a ball


def serve(memory):
    """A ball is asked for now and then while none is seen."""
    return FIRE if memory.unseen % 8 == 1 else NOOP


def folded(x):
    """A straight path's x, folded back at the side walls."""
    for i in range(4):
        if x < TURN_LEFT:
            x = 2.0 * TURN_LEFT - x
        if x > TURN_RIGHT:
            x = 2.0 * TURN_RIGHT - x
    return x


def landing(scene):
    """Where the ball comes down: a falling ball flies on; a rising one turns at the lowest row of bricks."""
    if abs(scene.ball.vy) < 0.5:
        return scene.ball.x
    way = max(MEET - scene.ball.y, 0.0)
    if scene.ball.vy < 0.0:
        way = max(scene.ball.y - TURN_UP, 0.0) + MEET - TURN_UP
    return folded(scene.ball.x + scene.ball.vx * way / abs(scene.ball.vy))


def act(scene, memory):
    """One decision per agent step."""
    if not scene.ball.seen:
        memory.unseen += 1
        return serve(memory), "serve"
    memory.unseen = 0
    gap = landing(scene) - scene.paddle.x
    if abs(gap) <= DEADBAND:
        return NOOP, "under the landing point"
    return (RIGHT, "landing point to the right") if gap > 0.0 else (LEFT, "landing point to the left")
