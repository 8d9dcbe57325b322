"""Push to the side to which the pole leans."""


class Memory:
    angle: float = 0.0
    swings: int = 0                         # steps since the push last changed
    right: bool = False


def act(scene, memory):
    leans = scene.pole.angle > 0.0
    memory.swings += 1
    if leans != memory.right and memory.swings > 2:
        memory.right = leans
        memory.swings = 0
    return (RIGHT, "leans right") if memory.right else (LEFT, "leans left")
