"""Keep the pole up: what is seen corrects what the equations of the cart foresee, then one push per step."""

TO_X = tunable(1.0, 0.1, 4.0)               # weights of the sum whose sign is the push

TO_SPEED = tunable(1.9, 0.2, 6.0)          # steps that the cart's way is carried on
STEP = 0.02                                 # s between decisions
GRAVITY = 9.8                               # m/s^2
PUSH = 10.0                                 # N, the size of either action
MASS = 1.1                                  # kg, cart and pole
POLE_MASS = 0.1                             # kg
HALF_POLE = 0.5                             # m, from the joint to the pole's middle
TRUST_X = tunable(0.25, 0.05, 0.9)          # share of a surprise in place that is believed
TRUST_SPEED = tunable(1.0, 0.2, 8.0)        # per s: speed learnt from a surprise in place
TRUST_ANGLE = tunable(0.25, 0.05, 0.9)      # share of a surprise in angle that is believed
TRUST_SPIN = tunable(1.5, 0.2, 10.0)        # per s: spin learnt from a surprise in angle
WILD = tunable(0.08, 0.03, 0.3)             # rad or m: a larger surprise is a slip of the detector
PATIENCE = 3                                # slips in a row that are not believed
TO_ANGLE = tunable(24.0, 5.0, 60.0)
TO_SPIN = tunable(5.0, 1.0, 15.0)


class Memory:
    x: float = 0.0
    speed: float = 0.0
    angle: float = 0.0
    spin: float = 0.0
    push: float = 0.0                       # N, what was done last
    slips: int = 0                          # frames in a row that surprised too much


def foresee(memory):
    """Place, speed, angle and spin after one step of the equations with the last push."""
    c = math.cos(memory.angle)
    s = math.sin(memory.angle)
    pull = (memory.push + POLE_MASS * HALF_POLE * memory.spin * memory.spin * s) / MASS
    turn = (GRAVITY * s - c * pull) / (HALF_POLE * (4.0 / 3.0 - POLE_MASS * c * c / MASS))
    drive = pull - POLE_MASS * HALF_POLE * turn * c / MASS
    x = memory.x + STEP * memory.speed
    angle = memory.angle + STEP * memory.spin
    return x, memory.speed + STEP * drive, angle, memory.spin + STEP * turn


def observe(scene, memory):
    """Foreseen state, corrected by what is seen: whether it was. An episode starts at rest in the middle, nearly."""
    memory.x, memory.speed, memory.angle, memory.spin = foresee(memory)
    dx = scene.cart.x - memory.x
    da = scene.pole.angle - memory.angle
    if not (scene.cart.seen and scene.pole.seen) or max(abs(dx), abs(da)) > WILD and memory.slips < PATIENCE:
        memory.slips = min(memory.slips + 1, PATIENCE)
        return False
    memory.slips = 0
    memory.x += TRUST_X * dx
    memory.speed += TRUST_SPEED * dx
    memory.angle += TRUST_ANGLE * da
    memory.spin += TRUST_SPIN * da
    return True


def act(scene, memory):
    believed = observe(scene, memory)
    fall = TO_ANGLE * memory.angle + TO_SPIN * memory.spin
    drift = TO_X * memory.x + TO_SPEED * memory.speed
    if fall + drift > 0.0:
        memory.push = PUSH
        if not believed:
            return RIGHT, "by reckoning alone"
        return (RIGHT, "under the falling pole") if fall > 0.0 else (RIGHT, "lean back to the middle")
    memory.push = -PUSH
    if not believed:
        return LEFT, "by reckoning alone"
    return (LEFT, "under the falling pole") if fall < 0.0 else (LEFT, "lean back to the middle")
