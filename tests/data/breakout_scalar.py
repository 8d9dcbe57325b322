"""Breakout with scalars alone: be under the ball where it comes down. For timing a bundle whose policy is cheap."""

LEFT_WALL = 9.0
RIGHT_WALL = 151.0
PADDLE = 189.0  # px, height of the paddle
DEADBAND = tunable(4.0, 1.0, 8.0)
PATIENCE = 30


class Memory:
    """Where the ball will come down, how long none was seen, how often it was hit."""

    target: float = 80.0
    unseen: int = 0
    bounces: int = 0
    falling: bool = False


def landing(x, y, vx, vy):
    """Where a falling ball crosses the paddle's height, reflected at the side walls."""
    width = RIGHT_WALL - LEFT_WALL
    flat = x + vx * (PADDLE - y) / max(vy, 0.5) - LEFT_WALL
    folded = flat % (2.0 * width)
    return LEFT_WALL + (folded if folded <= width else 2.0 * width - folded)


def act(scene, memory):
    """Serve, then keep the paddle's middle near the landing point."""
    ball = scene.ball
    if not ball.seen:
        memory.unseen += 1
        if memory.unseen % PATIENCE > 2:
            return FIRE, "serve"
        return NOOP, "wait"
    memory.unseen = 0
    if memory.falling and ball.vy < 0.0:
        memory.bounces += 1
    memory.falling = ball.vy > 0.0
    if ball.vy > 0.0:
        memory.target = landing(ball.x, ball.y, ball.vx, ball.vy)
    else:
        memory.target = ball.x
    away = memory.target + (memory.bounces % 5 - 2) * 1.5 - scene.paddle.x
    if abs(away) <= DEADBAND:
        return NOOP, "under it"
    return (RIGHT if away > 0.0 else LEFT), "chase"
