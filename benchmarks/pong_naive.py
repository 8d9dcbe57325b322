"""Pong: follow the ball."""

BAND = 4.0  # px; closer than this the paddle rests


def act(scene, memory):
    """Go where the ball is."""
    if not scene.ball.seen or not scene.player.seen:
        return NOOP, "nothing to follow"
    away = scene.ball.y - scene.player.y
    if away > BAND:
        return LEFT, "the ball is below"
    if away < -BAND:
        return RIGHT, "the ball is above"
    return NOOP, "level with the ball"
