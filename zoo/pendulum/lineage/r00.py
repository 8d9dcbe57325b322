"""Pump energy: push along with the swing, as strongly as can be."""

STRONG = tunable(2.0, 0.0, 2.0)             # Nm
STEP = 0.05                                 # s between decisions
TURN = 6.283185307179586


class Memory:
    angle: float = 0.0
    seen: bool = False


def act(scene, memory):
    change = (scene.rod.angle - memory.angle + 0.5 * TURN) % TURN - 0.5 * TURN if memory.seen else 0.0
    memory.angle = scene.rod.angle
    memory.seen = True
    if change > 0.0:
        return STRONG, "along with the swing"
    return -STRONG, "along with the swing"
