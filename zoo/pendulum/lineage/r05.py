"""Bring the swing to the energy of standing still at the top, and hold the rod there."""

STRONG = tunable(2.0, 0.0, 2.0)             # Nm
STEP = 0.05                                 # s between decisions
TURN = 6.283185307179586
FALL = 15.0                                 # 1/s^2: 3 g / (2 l)
STRONGEST = 2.0                             # Nm
PUMP = tunable(1.0, 0.1, 4.0)               # Nm for each unit of energy that is missing
NEAR_ANGLE = tunable(0.6, 0.1, 0.8)         # rad from the top within which the rod is held
NEAR_SPEED = tunable(2.5, 0.5, 5.0)         # rad/s
HOLD_ANGLE = tunable(10.0, 5.0, 20.0)       # Nm per rad
HOLD_SPEED = tunable(2.5, 0.5, 6.0)         # Nm per rad/s


class Memory:
    angle: float = 0.0
    seen: bool = False


def act(scene, memory):
    change = (scene.rod.angle - memory.angle + 0.5 * TURN) % TURN - 0.5 * TURN if memory.seen else 0.0
    memory.angle = scene.rod.angle
    memory.seen = True
    speed = change / STEP
    if abs(scene.rod.angle) < NEAR_ANGLE and abs(speed) < NEAR_SPEED:
        return clip(-(HOLD_ANGLE * scene.rod.angle + HOLD_SPEED * speed), -STRONGEST, STRONGEST), "hold"
    missing = FALL - (0.5 * speed * speed + FALL * math.cos(scene.rod.angle))
    push = clip(PUMP * missing, -STRONGEST, STRONGEST)
    if speed < 0.0:
        return -push, "bring the energy to that of the top"
    return push, "bring the energy to that of the top"
