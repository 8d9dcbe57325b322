"""Swing up and hold: what is seen corrects what the equations of the pendulum foresee.

A table of costs to come, made by backward induction at compile time, is looked into one step ahead; near the top the
exact linear law holds.
"""

STEP = 0.05                                 # s between decisions
FALL = 15.0                                 # 1/s^2: 3 g / (2 l)
LIFT = 3.0                                  # 1/(s^2 Nm): 3 / (m l^2)
STRONGEST = 2.0                             # Nm, the strongest
FASTEST = 8.0                               # rad/s, the pendulum turns no faster
TURN = 6.283185307179586

ANGLES = 60                                 # cells of the table around the turn
SPEEDS = 41                                 # cells of the table over the speeds
CHOICES = 9                                 # torques tried in the table
SWEEPS = 120                                # steps of backward induction
FINE = 33                                   # torques tried in play

TRUST_ANGLE = tunable(0.35, 0.05, 0.9)      # share of a surprise in angle that is believed, once settled
TRUST_SPEED = tunable(1.5, 0.2, 10.0)       # per s: speed learnt from a surprise in angle, once settled
WILD = tunable(0.3, 0.05, 1.5)              # rad: a larger surprise is a slip of the detector
PATIENCE = 3                                # slips in a row that are not believed
NEAR_ANGLE = tunable(0.25, 0.05, 0.6)       # rad from the top within which the linear law holds
NEAR_SPEED = tunable(1.0, 0.2, 3.0)         # rad/s
HOLD_ANGLE = tunable(10.0, 5.0, 20.0)       # Nm per rad
HOLD_SPEED = tunable(2.4, 0.5, 6.0)         # Nm per rad/s
SOFT = tunable(0.35, 0.0, 1.0)              # Nm; weaker than this is "coast"


def wrap(a):
    """Into -pi..pi, 0 at the top."""
    return (a + 0.5 * TURN) % TURN - 0.5 * TURN


def read(table, angle, speed):
    """Value between the cells of the table, at arrays of angles and speeds."""
    row = (wrap(angle) + 0.5 * TURN) * (ANGLES / TURN)
    col = (speed + FASTEST) * ((SPEEDS - 1) / (2.0 * FASTEST))
    low = floor_of(row)
    left = minimum(floor_of(col), SPEEDS - 2.0)
    down = row - low
    along = col - left
    i = to_int(low) % ANGLES
    j = to_int(left)
    k = (i + 1) % ANGLES
    near = take(table, i * SPEEDS + j) * (1.0 - along) + take(table, i * SPEEDS + j + 1) * along
    beyond = take(table, k * SPEEDS + j) * (1.0 - along) + take(table, k * SPEEDS + j + 1) * along
    return near * (1.0 - down) + beyond * down


def sines():
    """Sine of every angle of the table."""
    found = zeros(ANGLES)
    for i in range(ANGLES):
        found = put(found, i, math.sin(i * TURN / ANGLES - 0.5 * TURN))
    return found


def costs():
    """Cost to come for every (angle, speed): SWEEPS steps of backward induction with CHOICES torques."""
    cell = arange(ANGLES * SPEEDS)
    angle = to_float(cell // SPEEDS) * (TURN / ANGLES) - 0.5 * TURN
    speed = to_float(cell % SPEEDS) * (2.0 * FASTEST / (SPEEDS - 1)) - FASTEST
    gravity = STEP * FALL * take(SINES, cell // SPEEDS)
    here = angle * angle + 0.1 * speed * speed
    table = here * 1.0
    for sweep in range(SWEEPS):
        best = here + 1.0e6
        for c in range(CHOICES):
            u = STRONGEST * (2.0 * c / (CHOICES - 1) - 1.0)
            after = clip(speed + gravity + STEP * LIFT * u, -FASTEST, FASTEST)
            best = minimum(best, here + 0.001 * u * u + read(table, angle + STEP * after, after))
        table = best
    return table


SINES = sines()
COSTS = costs()
TORQUES = to_float(arange(FINE)) * (2.0 * STRONGEST / (FINE - 1)) - STRONGEST


class Memory:
    age: int = 0
    angle: float = 0.0
    speed: float = 0.0
    torque: float = 0.0                     # what was done last
    slips: int = 0


def observe(scene, memory):
    """Foreseen state, corrected by what is seen: whether it was. At first the speed is not known and learnt quickly."""
    memory.age += 1
    if memory.age == 1:
        memory.angle = scene.rod.angle
        return True
    memory.speed = clip(memory.speed + STEP * (FALL * math.sin(memory.angle) + LIFT * memory.torque), -FASTEST, FASTEST)
    memory.angle += STEP * memory.speed
    surprise = wrap(scene.rod.angle - memory.angle)
    if not scene.rod.seen or abs(surprise) > WILD and memory.slips < PATIENCE:
        memory.slips = min(memory.slips + 1, PATIENCE)
        return False
    memory.slips = 0
    share = max(TRUST_ANGLE, 1.0 / memory.age)
    gain = max(TRUST_SPEED, 0.8 / STEP / (memory.age - 1)) if memory.age < 5 else TRUST_SPEED
    memory.speed += gain * surprise
    memory.angle = wrap(memory.angle + share * surprise)
    return True


def choose(angle, speed):
    """The torque whose next state is cheapest."""
    after = clip(speed + STEP * (FALL * math.sin(angle) + LIFT * TORQUES), -FASTEST, FASTEST)
    return TORQUES[argmin(0.001 * TORQUES * TORQUES + read(COSTS, angle + STEP * after, after))]


def act(scene, memory):
    believed = observe(scene, memory)
    if abs(memory.angle) < NEAR_ANGLE and abs(memory.speed) < NEAR_SPEED:
        memory.torque = clip(-(HOLD_ANGLE * memory.angle + HOLD_SPEED * memory.speed), -STRONGEST, STRONGEST)
        return (memory.torque, "hold") if believed else (memory.torque, "hold by reckoning alone")
    u = choose(memory.angle, memory.speed)
    memory.torque = u
    if abs(memory.angle) < 0.25 * TURN and memory.angle * memory.speed < 0.0:
        return u, "catch"
    if abs(u) < SOFT:
        return u, "coast"
    return (u, "pump left") if u > 0.0 else (u, "pump right")
