"""Take the nearest prize that can be had safely: everything crosses its lane evenly, so look ahead where it will be."""

AHEAD = 14                                  # steps that are looked ahead
LANES = array((31.5, 47.5, 63.5, 79.5, 95.5, 111.5, 127.5, 143.5))
COLS = 8.0 + 8.0 * to_float(arange(18))     # px: where Asterix can stand, a step apart

BESIDE = tunable(14.0, 9.0, 24.0)           # px between the middles that is a touch, of a lyre
REACH = tunable(9.0, 4.0, 14.0)             # and of a prize, for sure
SOON = tunable(0.9, 0.7, 0.99)              # what a prize is worth a step later
AFTER = tunable(0.5, 0.0, 0.95)             # what comes after a prize counts so much
DEATH = tunable(12.0, 2.0, 50.0)            # prizes that a life is worth
EDGE = tunable(0.1, 0.0, 2.0)               # prizes that standing at either end costs: something may appear there
NEAR_END = 20.0                             # px


def ends():
    return to_float((COLS < 8.0 + NEAR_END) | (COLS > 144.0 - NEAR_END))


RISK = ends()


def beside(way):
    """Float[18, 18]: times a row of columns, every column's neighbour on one side."""
    at = arange(18)
    return to_float(at[:, None] + way == at[None, :])


TO_RIGHT = beside(-1)
TO_LEFT = beside(1)


class Group:
    """All lyres, or all prizes: where, how fast; far off where there is none."""

    x: Float[8] = full(8, -200.0)
    y: Float[8] = full(8, -200.0)
    v: Float[8] = zeros(8)


class Memory:
    fast: float = 4.0                       # px a step, of what moved last


def speed(thing, fast):
    if abs(thing.vx) > 1.0:
        return thing.vx
    return fast if thing.x < 76.0 else -fast


def joined(group, i, thing, fast):
    """The group with one of its kind in slot i."""
    if not thing.seen:
        return group
    return Group(put(group.x, i, thing.x), put(group.y, i, thing.y), put(group.v, i, speed(thing, fast)))


def touched(group, t, near):
    """Bool[8, 18]: the places that one of them is at in t steps."""
    x = group.x + group.v * t
    there = to_float(abs_of(LANES[:, None] - group.y[None, :]) < 7.0)
    return matmul(there, to_float(abs_of(x[:, None] - COLS[None, :]) < near)) > 0.5


def best_move(values):
    """Float[8, 18]: the best of staying and of the eight moves, from every place."""
    up = concat(values[:1], values[:-1])
    down = concat(values[1:], values[-1:])
    best = maximum(maximum(up, down), values)
    return maximum(maximum(matmul(best, TO_RIGHT), matmul(best, TO_LEFT)), best)


def value_now(lyres, prizes, values, t):
    """What every place is worth in t steps, `values` being what it is worth a step later."""
    later = SOON * best_move(values)
    had = where(touched(prizes, t, REACH), 1.0 + AFTER * later, later) - EDGE * RISK[None, :]
    return where(touched(lyres, t, BESIDE), later - DEATH, had)


def act(scene, memory):
    if not scene.player.seen:
        return NOOP, "where is he?"
    lyres = Group()
    for i, thing in enumerate(scene.enemy):
        lyres = joined(lyres, i, thing, memory.fast)
        if thing.seen and abs(thing.vx) > 1.0:
            memory.fast = max(abs(thing.vx), 3.0)
    prizes = Group()
    for i, thing in enumerate(scene.reward):
        prizes = joined(prizes, i, thing, memory.fast)
    values = zeros(8, 18)
    for i in range(AHEAD):
        values = value_now(lyres, prizes, values, AHEAD - i)
    lane = nearest(LANES, scene.player.y)
    col = nearest(COLS, scene.player.x)
    up = max(lane - 1, 0)
    down = min(lane + 1, 7)
    left = max(col - 1, 0)
    right = min(col + 1, 17)
    around = array((
        values[lane, col] + 0.001, values[up, col], values[lane, right], values[lane, left], values[down, col],
        values[up, right], values[up, left], values[down, right], values[down, left],
    ))
    way = argmax(around)
    return way, "to the best prize" if around[way] > 0.2 else "out of the way"
