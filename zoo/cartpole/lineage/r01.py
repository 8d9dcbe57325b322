"""Push to the side to which the pole leans."""

ROOM = 0.1                                  # m from the middle, beyond which the cart turns back


def act(scene, memory):
    if scene.cart.x > ROOM:
        return LEFT, "back to the middle"
    if scene.cart.x < -ROOM:
        return RIGHT, "back to the middle"
    if scene.pole.angle > 0.0:
        return RIGHT, "leans right"
    return LEFT, "leans left"
