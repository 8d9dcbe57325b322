"""The hidden paddle: a belief over the knob behind a paddle that is displayed late and moved stickily.

A guess is (knob, shown, last): index of the knob's resistance 0..100, displayed position in px, and the move
that was executed last: STAY 0, RIGHT 1 (index up; UP in Pong), LEFT 2 (index down). A belief is K guesses in
four arrays, best first. "Right" is the direction in which the game's target position grows.
"""

LOWEST = 27450  # emulator constants: resistance range, change per executed frame, value after reset
HIGHEST = 790196
STEP = 23000
CENTRE = 408823
START = 16  # knob index after reset
KNOBS = 101  # 33 values through the centre, 34 from the right end, 34 from the left end


def knob_resistance():
    """Float[101]: steps away from the right end; 0..32 start phase, 33..66 after a right clip, 67..100 a left clip."""
    k = to_float(arange(34))
    centre = (CENTRE - LOWEST) / STEP
    width = (HIGHEST - LOWEST) / STEP
    return concat(centre + 16.0 - k[0:33], 33.0 - k, width - k)


def knob_moves():
    """Int[303]: next knob index at `3 * knob + move`, the clips at both ends included."""
    table = zeros_int(303)
    for k in range(101):
        first = 0 if k < 33 else 33 if k < 67 else 67
        last = 32 if k < 33 else 66 if k < 67 else 100
        table = put(table, 3 * k, k)
        table = put(table, 3 * k + 1, k + 1 if k < last else 66)
        table = put(table, 3 * k + 2, k - 1 if k > first else 67)
    return table


def sticky_ways(frames, sticky):
    """Float[frames + 1]: probability that the old move is executed for g = 0..frames frames before the new one."""
    ways = zeros(frames + 1)
    left = 1.0
    for g in range(frames):
        ways = put(ways, g, left * (1.0 - sticky))
        left = left * sticky
    return put(ways, frames, left)


def advance(knob, shown, last, move, frames, moves, targets, fresh, low, high):
    """K guesses after one agent step that asks for `move`, once for each number g of frames the old move persists.

    For knob index k: `moves` Int[3 * N] next index, `targets` Int[N] where it sends the paddle, `fresh` Bool[N] whether
    the display follows in that frame (a game that refreshes every second frame doubles its indices); shown stays
    in [low, high]. Returns (knob, shown, last), each Int[(frames + 1) * K], g in the outer order.
    """
    n = len(knob)
    ways = frames + 1
    late = reshape(zeros_int(ways, n) + arange(ways)[:, None], ways * n)
    old = reshape(zeros_int(ways, n) + last[None, :], ways * n)
    knob = reshape(zeros_int(ways, n) + knob[None, :], ways * n)
    shown = reshape(zeros_int(ways, n) + shown[None, :], ways * n)
    for f in range(frames):
        shown = where(take(fresh, knob), clip((shown + take(targets, knob) + 1) // 2, low, high), shown)
        knob = take(moves, 3 * knob + where(late > f, old, move))
    return knob, shown, where(late == frames, old, move)


def advance_surely(knob, shown, move, frames, moves, targets, fresh, low, high):
    """One guess, as three scalars, after one agent step in which `move` is executed in every frame."""
    for _f in range(frames):
        if take(fresh, knob):
            shown = clip((shown + take(targets, knob) + 1) // 2, low, high)
        knob = take(moves, 3 * knob + move)
    return knob, shown


def likelihood(expected, observed, sigma, doubt):
    """How well each expected position (px) explains the observed one; `doubt` keeps an outlier from killing all."""
    miss = (expected - observed) / sigma
    return exp_of(miss * miss * -0.5) + doubt


def keep_best(knob, shown, last, weight, size):
    """The `size` heaviest guesses, equal ones merged, weights summing to 1. Call with total(weight) > 0."""
    best = top_k(weight, size)
    knob = take(knob, best)
    shown = take(shown, best)
    last = take(last, best)
    weight = take(weight, best)
    key = (knob * 256 + shown) * 3 + last
    same = key[:, None] == key[None, :]
    first = argmax_over(same, 1) == arange(size)
    weight = where(first, matmul(to_float(same), weight), 0.0)
    return knob, shown, last, weight / total(weight)


def one_guess(knob, shown, last, size):
    """Belief of `size` guesses that is certain of the first: (knob, shown, last, weight)."""
    same = zeros_int(size)
    return same + knob, same + shown, same + last, to_float(arange(size) == 0)


def restart(observed, targets, size):
    """Belief of `size` resting or moving guesses around an observed position (px of `shown`), after losing track."""
    away = abs_of(to_float(targets) - observed)
    knob = top_k(0.0 - away, size)
    shown = zeros_int(size) + int(round(observed))
    last = arange(size) - arange(size) // 3 * 3
    return knob, shown, last, full(size, 1.0 / size)
