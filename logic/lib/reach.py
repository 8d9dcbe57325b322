"""Backward induction, done once at load: how surely can a lagging, sticky paddle meet the ball in j frames?

Offsets are relative to the place where the ball arrives (the goal), so that one table serves every landing point. The
ends of the paddle's range are ignored, which only makes it more careful there.

State: target minus goal (OFFSETS bins of 1 px), target minus displayed (`lag` bins of 1 px on each side of 0: 12
where the display is refreshed every frame, 24 where every second), move executed last. Moves are 0 stay, 1 towards
larger positions, 2 towards smaller ones. Values run over rows `3 * last + asked` and columns of states.
"""

PITCH = 6  # px the target moves per executed frame (measured: 6, 6, 6, 6, 6, 6, 4; mean 5.74)
SPAN = 45  # px on each side; beyond it there is nothing to weigh, only distance to cover
OFFSETS = 91


def displayed_offsets(lag):
    """Float[S]: displayed position minus goal, px, in each of the S = OFFSETS * (2 * lag + 1) states."""
    place = arange(OFFSETS) - SPAN
    behind = arange(2 * lag + 1) - lag
    return to_float(reshape(place[:, None] - behind[None, :], OFFSETS * (2 * lag + 1)))


def within(offsets, low, high, soft):
    """Chance that an offset lies in [low, high] when it is only known to about `soft` px: 1 inside, fading outside."""
    return clip(0.5 + minimum(offsets - low, high - offsets) / soft, 0.0, 1.0)


def next_states(direction, refreshed, lag):
    """Int[S]: the state one frame later when the target moves in `direction` (-1, 0, 1)."""
    lags = 2 * lag + 1
    place = clip(arange(OFFSETS) + direction * PITCH, 0, OFFSETS - 1)
    behind = arange(lags) - lag
    if refreshed:
        behind = behind // 2
    behind = clip(behind + direction * PITCH + lag, 0, lags - 1)
    return reshape(place[:, None] * lags + behind[None, :], OFFSETS * lags)


def in_range(lag):
    """Float[S]: 0 in the outermost places, where a clip would forget how far away the paddle really is, else 1."""
    edge = abs_of(arange(OFFSETS) - SPAN) == SPAN
    return reshape(where(edge, 0.0, 1.0)[:, None] + zeros(OFFSETS, 2 * lag + 1), OFFSETS * (2 * lag + 1))


def one_frame_earlier(ahead, refreshed, sticky, lag):
    """Float[9, S]: values before a frame that executes `last` with probability `sticky`, else `asked`."""
    stay = next_states(0, refreshed, lag)
    up = next_states(1, refreshed, lag)
    down = next_states(-1, refreshed, lag)
    rows = zeros(9, len(stay))
    for last in range(3):
        kept = stay if last == 0 else up if last == 1 else down
        for asked in range(3):
            done = stay if asked == 0 else up if asked == 1 else down
            old = take(take(ahead, 3 * last + asked), kept)
            new = take(take(ahead, 4 * asked), done)
            rows = put(rows, 3 * last + asked, sticky * old + (1.0 - sticky) * new)
    return rows


def free_choice(values):
    """Float[9, S]: values at the start of an agent step, when `asked` may still be chosen."""
    rows = values
    for last in range(3):
        best = maximum(take(values, 3 * last), maximum(take(values, 3 * last + 1), take(values, 3 * last + 2)))
        for asked in range(3):
            rows = put(rows, 3 * last + asked, best)
    return rows


def reach_table(frames, sticky, horizon, refreshed, hit, worth, cost, lag):
    """Float[(horizon + 1) * 9 * S]: value of each move with j frames to go to the last frame of contact.

    `frames`, `sticky`: of the protocol; `refreshed` Bool[horizon]: does the display follow in the frame after
    which j frames are left; `hit`, `worth` Float[W, S]: chance of contact and what it is then worth, on arrival
    with j < W frames left (a missed contact may be made up in a later frame); `cost` Float[S]: per frame.
    """
    states = len(cost)
    inside = in_range(lag)
    layers = zeros(frames + 1, 9 * states)  # by frames left in the agent step; with 0 left the choice is free
    table = zeros(horizon + 1, 9 * states)
    for j in range(1, horizon + 1):
        fresh = layers
        for left in range(1, frames + 1):
            ahead = reshape(take(layers, left - 1), 9, states)
            if j - 1 < len(hit):
                chance = take(hit, j - 1)
                ahead = (chance * take(worth, j - 1))[None, :] + (1.0 - chance)[None, :] * ahead
            values = one_frame_earlier(ahead, refreshed[j - 1], sticky, lag) - cost[None, :]
            values = values * inside[None, :]
            fresh = put(fresh, left, reshape(values, 9 * states))
        asked = take(fresh, frames)
        table = put(table, j, asked)
        layers = put(fresh, 0, reshape(free_choice(reshape(asked, 9, states)), 9 * states))
    return reshape(table, (horizon + 1) * 9 * states)


def seen_from(side, offset, behind, last):
    """(offset, behind, last) as they stand (`side` 1) or mirrored (-1), so that a table made for one side serves both.

    Exact: the display rounds up, so the mirror of `target - displayed = n` is -n - 1. Swap moves 1 and 2 in the values.
    """
    if side > 0.0:
        return offset, behind, last
    return -1.0 - offset, -1 - behind, (3 - last) % 3


def reach_index(j, offset, behind, last, lag):
    """Int[K]: where in the table the value of staying stands for each guess; `states` further on come up, then down."""
    lags = 2 * lag + 1
    place = clip(to_int(floor_of(offset + 0.5)) + SPAN, 0, OFFSETS - 1)
    return (j * 9 + last * 3) * (OFFSETS * lags) + place * lags + clip(behind + lag, 0, lags - 1)


def reach_values(table, j, offset, behind, last, weight, lag):
    """Float[3]: value of asking for each move with j frames to go, averaged over a belief of K guesses.

    `offset` Float[K]: target minus goal, px; `behind` Int[K]: target minus displayed, px; `last` Int[K];
    `weight` Float[K]; j from 1 to the table's horizon. Offsets beyond SPAN count as worthless.
    """
    index = reach_index(j, offset, behind, last, lag)
    states = OFFSETS * (2 * lag + 1)
    return matmul(weight, take(table, index[:, None] + (arange(3) * states)[None, :]))


def reach_values_of_one(table, j, offset, behind, last, lag):
    """The same for one guess given as three scalars, an order of magnitude faster: (stay, up, down)."""
    lags = 2 * lag + 1
    states = OFFSETS * lags
    place = clip(math.floor(offset + 0.5) + SPAN, 0, OFFSETS - 1)
    index = (j * 9 + last * 3) * states + place * lags + clip(behind + lag, 0, lags - 1)
    return take(table, index), take(table, index + states), take(table, index + 2 * states)


def reach_best(table, j, offset, behind, last, lag):
    """Float[K]: value of each of K guesses when the next move may be chosen freely, with j frames to go."""
    index = reach_index(j, offset, behind, last, lag)
    states = OFFSETS * (2 * lag + 1)
    return maximum(take(table, index), maximum(take(table, index + states), take(table, index + 2 * states)))
