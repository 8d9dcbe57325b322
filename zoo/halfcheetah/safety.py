"""What the legs must never do, whatever the policy says."""

OVER = 2.0                                  # rad; on its back, where legs only beat the air
PATIENCE = 40                               # decisions in a row: two seconds


class Memory:
    over: int = 0                           # decisions in a row on its back


def rest_on_the_back(scene, memory, action):
    """Rest after two seconds on the back."""
    memory.over = min(memory.over + 1, PATIENCE) if abs(scene.torso.tilt) > OVER else 0
    return zeros(6) if memory.over >= PATIENCE else action
