"""Push to the side to which the pole leans."""


def act(scene, memory):
    if scene.pole.angle > 0.0:
        return RIGHT, "leans right"
    return LEFT, "leans left"
