"""What the motor must never do, whatever the policy says."""

TWITCH = 2.5  # Nm: a larger change from step to step, again and again, wears the motor out
PATIENCE = 12  # such changes in a row: one second and more of shaking at full strength


class Memory:
    """The torque of the step before, and how many large changes have followed each other."""

    last: float = 0.0
    shaking: int = 0


def do_not_shake(scene, memory, action):
    """Let the motor rest after a second of shaking."""
    change = abs(action[TORQUE] - memory.last)
    memory.shaking = memory.shaking + 1 if change > TWITCH else 0
    torque = 0.0 if memory.shaking > PATIENCE else action[TORQUE]
    memory.last = torque
    return torque
