"""Push to the side to which the pole leans, or will."""

AHEAD = tunable(6.0, 1.0, 20.0)             # steps that the pole's turning is carried on


class Memory:
    angle: float = 0.0
    seen: bool = False


def act(scene, memory):
    turning = scene.pole.angle - memory.angle if memory.seen else 0.0
    memory.angle = scene.pole.angle
    memory.seen = True
    if scene.pole.angle + AHEAD * turning > 0.0:
        return RIGHT, "will lean right"
    return LEFT, "will lean left"
