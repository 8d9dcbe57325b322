"""Breakout with an unsteady hand: towards the ball, and off by up to SPREAD pixels. For measuring the gate.

SALT starts the sequence of errors, which then depends on what is seen, so it is another one in every game: policies
that differ in SALT alone play other games equally well. A smaller SPREAD plays better. Games last seconds.
"""

SPREAD = tunable(60.0, 0.0, 100.0)  # px
SALT = tunable(1, 1, 60000)
DEADBAND = 4.0  # px


class Memory:
    """The error to come, and how long no ball was seen."""

    error: int = SALT
    unseen: int = 0


def act(scene, memory):
    """Serve; go where the ball seems to be."""
    memory.error = (memory.error * 75 + int(scene.ball.x * 64.0) + int(scene.paddle.x * 64.0)) % 65537
    if not scene.ball.seen:
        memory.unseen += 1
        return (FIRE if memory.unseen % 4 == 1 else NOOP), "serve"
    memory.unseen = 0
    away = scene.ball.x + SPREAD * (memory.error / 32768.0 - 1.0) - scene.paddle.x
    if abs(away) <= DEADBAND:
        return NOOP, "under it"
    return (RIGHT if away > 0.0 else LEFT), "chase"
