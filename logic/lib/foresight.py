"""Exact lookahead for a paddle with a hidden knob: backward induction one agent step at a time, on line.

Use it where the landing point is known early: carry one layer back per agent step while the ball is still
coming and keep the layers in memory (about 80 us each at 4 frames a step, 20 us at 1), then look them up.
`reach` is the cheaper sister: one table at load, relative to the goal, with an idealised knob.

A way is the list of moves (0 stay, 1 right, 2 left) executed in the frames of one step: some frames of the old
move, then the new one. Ways 0..2 are pure; the others are numbered by (old, new, frames of the old).
A state is (knob within its phase, lag bin): `place * BINS + bin`, the lag being shown minus target, GRAIN px a
bin. Each of the three phases of the knob (see `knob`) has its own states, and each display parity its own table.
"""

from logic.lib.knob import knob_resistance

PLACES = 34  # the longest phase of the knob
BINS = 21
GRAIN = 2  # px; one step later the error is a quarter of it
STATES = 714  # PLACES * BINS
FIRST = take(knob_resistance(), array((0, 33, 67)))  # where each phase begins
MISSED = -9.0  # "no contact here": below every worth a policy may use


def way_moves(frames):
    """Int[ways, frames]: the move executed in each frame; 3 + 6 * (frames - 1) ways."""
    rows = zeros_int(0)
    for move in range(3):
        rows = concat(rows, full(frames, move))
    for pair in range(6):
        old = pair // 2
        new = (old + 1 + pair % 2) % 3
        for late in range(1, frames):
            rows = concat(rows, where(arange(frames) < late, old, new))
    return reshape(rows, 6 * frames - 3, frames)


def way_chances(frames, ways):
    """Float[9, ways]: probability of each way for row `3 * last + asked`; `ways` Float[frames + 1] from `knob`."""
    table = zeros(9, 6 * frames - 3)
    for old in range(3):
        for new in range(3):
            row = zeros(6 * frames - 3)
            for late in range(frames + 1):
                way = 3 + (2 * old + (new - old - 1) % 3) * (frames - 1) + late - 1
                if late == 0 or old == new:
                    way = new
                elif late == frames:
                    way = old
                row = put(row, way, row[way] + ways[late])
            table = put(table, 3 * old + new, row)
    return table


def state_of(place, shown, target):
    """State index (arrays or numbers) of a knob `place` within its phase, far lags counting as the farthest."""
    return place * BINS + clip((shown - target + BINS) // GRAIN, 0, BINS - 1)


def step_table(targets, size, parity, frames, what):
    """Int[ways * STATES]: what one agent step does to each state, way by way, in one phase of `size` knobs.

    `targets` Int[PLACES]; `parity` 0: the display follows in the 1st, 3rd ... frame, 1: in the 2nd, 4th ...
    `what` 0, 1, 2: displayed position after that many refreshes (as far as there are so many within the step);
    3: the state after the step plus STATES times the move executed last.
    """
    moves = way_moves(frames)
    states = arange(STATES)
    start = minimum(states // BINS, size - 1)
    table = zeros_int(len(moves), STATES)
    for way in range(len(moves)):
        place = start
        shown = take(targets, place) + (states % BINS - BINS // 2) * GRAIN
        pick = shown
        refreshed = 0
        for f in range(frames):
            if (parity + f) % 2 == 0:
                shown = (shown + take(targets, place) + 1) // 2
                refreshed = refreshed + 1
                if refreshed <= what:
                    pick = shown
            turn = moves[way, f]
            place = clip(place + (1 if turn == 1 else -1 if turn == 2 else 0), 0, size - 1)
        if what == 3:
            pick = state_of(place, shown, take(targets, place)) + STATES * moves[way, frames - 1]
        table = put(table, way, clip(pick, 0, 3 * STATES - 1))
    return reshape(table, len(moves) * STATES)


def step_tables(targets, frames):
    """Int[6, 4, ways * STATES]: every `step_table`, by row `3 * parity + phase` and `what`; `targets` Int[101]."""
    parts = zeros_int(0)
    for row in range(6):
        phase = row % 3
        places = minimum(arange(PLACES) + (0 if phase == 0 else PLACES * phase - 1), 100)
        size = PLACES - 1 if phase == 0 else PLACES
        for what in range(4):
            parts = concat(parts, step_table(take(targets, places), size, row // 3, frames, what))
    return reshape(parts, 6, 4, (6 * frames - 3) * STATES)


def phase_of(knob):
    """Which of the three phases of the knob (0..100, number or array): 0 up to 32, 1 up to 66, 2."""
    return (knob + 1) // PLACES


def first_contact(value, shown, worth):
    """`value` of each way, overridden by the worth of its first contact in this step, where there is one.

    `value`: of what follows the step, per entry of `step_table` 3; `shown`: the same entries of tables 0, 1, 2 along
    axis 0; `worth` Float[3, W]: of contact while displaying position 0 .. W-1 after 0, 1, 2 refreshes, or MISSED.
    """
    for late in range(3):
        refreshed = 2 - late
        row = take(worth, refreshed)
        if largest(row) > MISSED:
            met = take(row, take(shown, refreshed))
            value = where(met > MISSED, met, value)
    return value


def best_of(value, chances):
    """Float[3 * STATES]: value of each state and last move if the best move is asked for; `value` by way, as above."""
    asked = matmul(chances, reshape(value, len(value) // STATES, STATES))
    return reshape(max_over(reshape(asked, 3, 3, STATES), 1), 3 * STATES)


def entries(phase, resistance, shown, target, ways):
    """Int[ways, K]: where each way of K guesses stands in the `step_table` of `phase`.

    `resistance` Float[K]: of the guesses' knobs; one of another phase counts as the nearest place, so that a plan
    outlives a touch of either end. `shown`, `target` Int[K] px; far lags count as the farthest.
    """
    place = to_int(floor_of(FIRST[phase] - resistance + 0.5))
    state = state_of(clip(place, 0, PLACES - 1), shown, target)
    return (arange(ways) * STATES)[:, None] + state[None, :]


def asked_worth(value, chances, last, weight):
    """Float[3]: worth of asking for each move, over K guesses that moved `last`; `value` Float[ways, K]."""
    guesses = len(weight)
    asked = reshape(matmul(chances, value), 9 * guesses)
    rows = (arange(3)[:, None] + 3 * last[None, :]) * guesses + arange(guesses)[None, :]
    return matmul(take(asked, rows), weight)
