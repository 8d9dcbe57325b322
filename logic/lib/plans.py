"""Every two-step plan of a sticky paddle, played out frame by frame on its real places.

Used for the last two steps before contact, where one pixel decides; before that the tables of `logic.lib.reach` are
close enough.

The plans of K guesses lie in one array: what is asked for (3), frames g the old move persists, then the guess.
"""


def branch_asked(ways, n):
    """Int[3 * ways * n]: the move asked for in each branch that a step opens for n guesses."""
    return reshape(zeros_int(3, ways * n) + arange(3)[:, None], 3 * ways * n)


def branch_late(ways, n):
    """Int[3 * ways * n]: how many frames the old move persists in each branch."""
    late = arange(3 * ways) - arange(3 * ways) // ways * ways
    return reshape(zeros_int(3 * ways, n) + late[:, None], 3 * ways * n)


def branch_odds(sticks, ways):
    """Float[3, 3 * ways]: averages the branches of each move asked for; `sticks` as made by `knob.sticky_ways`."""
    late = arange(3 * ways) - arange(3 * ways) // ways * ways
    own = (arange(3 * ways) // ways)[None, :] == arange(3)[:, None]
    return where(own, take(sticks, late)[None, :], 0.0)


def branch(values, times):
    """The n values, int or float, repeated for every branch of the next step: [times * n]."""
    return take(values, reshape(zeros_int(times, len(values)) + arange(len(values))[None, :], times * len(values)))


def play(knob, shown, last, asked, late, won, free, opens, balls, hit, gain, moves, targets, fresh, low, high):
    """One agent step in every branch: (knob, shown, last, won, free).

    `opens` Float[F]: chance that the ball can be met in each frame, at `balls` Float[F] px; `hit`, `gain`
    Float[2 * R + 1]: chance of contact, and that times its worth, where ball minus shown paddle is -R .. R px;
    `won`: gains so far, `free`: chance that the ball has not been met yet. The rest as in `knob.advance`.
    """
    far = len(hit) // 2
    for f in range(len(opens)):
        shown = where(take(fresh, knob), clip((shown + take(targets, knob) + 1) // 2, low, high), shown)
        knob = take(moves, 3 * knob + where(late > f, last, asked))
        if opens[f] > 0.0:
            place = clip(math.floor(balls[f] + 0.5) + far - shown, 0, 2 * far)
            won = won + free * float(opens[f]) * take(gain, place)
            free = free * (1.0 - float(opens[f]) * take(hit, place))
    return knob, shown, where(late == len(opens), last, asked), won, free


def two_steps(knob, shown, last, opens, balls, hit, gain, moves, targets, fresh, low, high):
    """Two agent steps from each of K guesses: (knob, shown, last, won, free), each [(3 * ways) ** 2 * K].

    `opens`, `balls` Float[2 * F] for the frames of both steps; the rest as in `play`.
    """
    frames = len(opens) // 2
    ways = frames + 1
    many = 3 * ways * len(knob)
    knob, shown, last, won, free = play(
        branch(knob, 3 * ways), branch(shown, 3 * ways), branch(last, 3 * ways),
        branch_asked(ways, len(knob)), branch_late(ways, len(knob)), zeros(many), ones(many),
        opens[0:frames], balls[0:frames], hit, gain, moves, targets, fresh, low, high,
    )  # fmt: skip
    return play(
        branch(knob, 3 * ways), branch(shown, 3 * ways), branch(last, 3 * ways),
        branch_asked(ways, many), branch_late(ways, many), branch(won, 3 * ways), branch(free, 3 * ways),
        opens[frames : 2 * frames], balls[frames : 2 * frames], hit, gain, moves, targets, fresh, low, high,
    )  # fmt: skip


def after_step(values, odds):
    """Float[3, n]: value of each move asked for, from the values Float[3 * ways * n] of a step's branches."""
    ways = len(take(odds, 0))
    return matmul(odds, reshape(values, ways, len(values) // ways))


def best_asked(values):
    """Float[n]: the best of the three moves, from Float[3, n]."""
    return maximum(take(values, 0), maximum(take(values, 1), take(values, 2)))
