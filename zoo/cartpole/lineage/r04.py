"""Push to the side to which the pole leans, or will, and lean it towards the middle of the rail."""

AHEAD = tunable(6.0, 1.0, 20.0)             # steps that the pole's turning is carried on

TO_X = tunable(0.05, 0.0, 0.3)              # rad per m: how far the pole is to lean back from the side where the cart is

TO_SPEED = tunable(4.0, 0.0, 20.0)          # steps that the cart's way is carried on


class Memory:
    angle: float = 0.0
    x: float = 0.0
    seen: bool = False


def act(scene, memory):
    turning = scene.pole.angle - memory.angle if memory.seen else 0.0
    going = scene.cart.x - memory.x if memory.seen else 0.0
    memory.angle = scene.pole.angle
    memory.x = scene.cart.x
    memory.seen = True
    lean = scene.pole.angle + AHEAD * turning
    drift = TO_X * (scene.cart.x + TO_SPEED * going)
    if lean + drift > 0.0:
        return RIGHT, "will lean right"
    return LEFT, "will lean left"
