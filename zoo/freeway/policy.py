"""Cross between the cars: where every car will be is known, so look ahead which way up is free, and soonest."""

AHEAD = 44                                  # steps that are looked ahead, a crossing
CELLS = 45                                  # heights the chicken can be at, STEP apart, from the kerb up
STEP = 1.0 * FRAMESKIP                      # px a decision, up or down
KERB = 191.0                                # px, where it starts
TOP = 23.0                                  # px: beyond it the crossing is done
COLUMN = 47.0                               # px, it only moves up and down
LEFT_END = 4.0                              # px: a car that leaves at one end comes in at the other
ROUND = 160.0                               # px from there until it is there again

LANES = array((34.0, 50.0, 66.0, 82.0, 98.0, 114.0, 130.0, 146.0, 162.0, 178.0))
SPEEDS = array((-0.2, -0.25, -0.333333, -0.5, -1.0, 1.0, 0.5, 0.333333, 0.25, 0.2)) * FRAMESKIP

BESIDE = tunable(8.5, 6.5, 14.0)            # px between the middles of chicken and car that is a hit
ABOVE = tunable(9.5, 7.0, 13.0)
HIT = tunable(14.0, 2.0, 40.0)              # cells that a hit costs
HASTE = tunable(1.0, 0.2, 4.0)              # cells that a step less to the other side is worth


def heights():
    return KERB - STEP * to_float(arange(CELLS))


def rows_of_lanes():
    """Float[CELLS, 10]: 1 where a chicken at a height meets the cars of a lane."""
    return to_float(abs_of(heights()[:, None] - LANES[None, :]) < ABOVE)


MEETS = rows_of_lanes()
ACROSS = heights() < TOP
WORTH = minimum(to_float(arange(CELLS)), (KERB - TOP) / STEP)


class Memory:
    x: Float[10] = full(10, -100.0)         # px, the car of each lane, where it is or should be
    y: float = 191.0


def foresee(memory):
    """Every car one step on; round the picture."""
    moved = memory.x + SPEEDS
    memory.x = where(moved < LEFT_END, moved + ROUND, where(moved > LEFT_END + ROUND, moved - ROUND, moved))


def observe(scene, memory):
    foresee(memory)
    for car in scene.car:
        if car.seen:
            lane = nearest(LANES, car.y)
            if abs(LANES[lane] - car.y) < 6.0 and car.w > 5.0:
                memory.x = put(memory.x, lane, car.x)
    if scene.chicken.seen:
        memory.y = scene.chicken.y


def values_of(memory):
    """Float[CELLS]: what each height is worth at the next step, if all goes as it should from there."""
    values = WORTH
    for i in range(AHEAD):
        ahead = AHEAD - i
        place = memory.x + SPEEDS * ahead
        place = where(place < LEFT_END, place + ROUND, where(place > LEFT_END + ROUND, place - ROUND, place))
        hit = matmul(MEETS, to_float(abs_of(place - COLUMN) < BESIDE)) > 0.5
        up = concat(values[1:], values[-1:])
        down = concat(values[:1], values[:-1])
        best = maximum(maximum(up, values), down)
        best = where(ACROSS, WORTH + HASTE * i, best)
        values = where(hit, best - HIT, best)
    return values


def act(scene, memory):
    observe(scene, memory)
    values = values_of(memory)
    at = clip(int(round((KERB - memory.y) / STEP)), 0, CELLS - 1)
    up = values[min(at + 1, CELLS - 1)]
    stay = values[at]
    down = values[max(at - 1, 0)]
    if up >= stay and up >= down:
        return UP, "the way up is free"
    if stay >= down:
        return NOOP, "let a car pass"
    return DOWN, "back from a car"
