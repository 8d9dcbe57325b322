"""Breakout: know where the hidden paddle really is, know where the ball comes down, and look up how to meet it.

Knows: the measured dynamics below, which hold on every screen of this game; the protocol (FRAMESKIP, STICKY).
Does not know: the emulator's memory, the score, the lives, any recorded trajectory. All it gets are boxes.

Screen pixels throughout: "left" is the paddle's left edge, a ball's position is its centre, velocities are per
emulated frame, y grows downwards. Three parts, one per step of `act`: a belief over the paddle (its knob is
hidden, the display lags, actions stick), a ball tracker, and a look-up in tables made by backward induction.
"""

from logic.lib.ball import fly, frames_until, track
from logic.lib.knob import advance, advance_surely, keep_best, knob_moves, likelihood, one_guess, restart, sticky_ways
from logic.lib.reach import (
    displayed_offsets,
    reach_table,
    reach_values,
    reach_values_of_one,
    seen_from,
    within,
)

TURN_LEFT = 8.5  # the ball turns once its whole-pixel centre is at or beyond 8 or 152;
TURN_RIGHT = 151.5  # half a pixel is left for noise
MEET = 187.5  # centre height from which a paddle that covers it returns the ball (188 with whole pixels) ...
CEILING = 35.5
PAST = 195.0  # ... until here
ACROSS = array((0.5, 1.0, 1.5, 2.0))
DOWN = array((1.0, 1.5, 2.0, 3.375))
NEAR = 2.0 if FRAMESKIP == 1 else 2.5  # px; a slow ball's bounce shows as 2 px in one frame
BRICKS_TOP = 57.0
BRICKS_LEFT = 9.0  # a brick is touched one pixel to the right of where it is drawn
CELL = 8.0
# Left edge to which each resting place of the knob draws the paddle, from left to right (measured): after a reset,
# after the right end was touched, after the left end was touched. 187 is far outside: the knob winds up there.
PLACES = array((
    7, 13, 19, 23, 29, 35, 41, 47, 53, 59, 65, 71, 75, 81, 87, 93, 99,
    105, 111, 115, 121, 127, 133, 139, 143, 149, 155, 161, 165, 171, 187, 187, 187,
    5, 9, 15, 21, 27, 33, 39, 45, 51, 57, 61, 67, 73, 79, 85, 91, 97,
    103, 107, 113, 119, 125, 131, 137, 141, 147, 153, 159, 163, 169, 175, 187, 187, 187,
    3, 9, 15, 21, 27, 33, 37, 43, 49, 55, 61, 67, 73, 79, 83, 89, 95,
    101, 107, 113, 119, 123, 129, 135, 141, 147, 153, 157, 163, 169, 175, 187, 187, 187,
))  # fmt: skip
MOVES = knob_moves()
WAYS = FRAMESKIP + 1  # numbers of frames an old action may stick
STICKS = sticky_ways(FRAMESKIP, STICKY)[:, None]
GUESSES = 16
SLACK = 4.0 + 3.0 * FRAMESKIP  # px of tolerance while waiting: a sticky step overshoots by up to three frames
LAG = 12  # px the display can be behind
HORIZON = 34  # frames: a fast ball comes down from the bricks in 25 to 35
SOFT = 1.5  # px over which a hit fades at the ends of the paddle
PITCH = 5.74  # px a frame the knob moves on average ...
SCALE = 6.0 / PITCH  # ... where the tables step 6
BONUS = tunable(0.05, 0.0, 0.3)  # what the wanted half of the paddle is worth beside the hit itself
REACH = 38.0  # px; beyond it there is only one way to go
AWAY = 0.00001  # per px and frame: prefer to be there early, but never at the price of a hit
TABLES = concat(meeting(1.0), meeting(-1.0))


class Memory:
    """Everything remembered between steps."""

    asked: int = 0  # move asked for in the last step: 0 stay, 1 right, 2 left
    certain: bool = True  # of one guess about the paddle, else there are GUESSES
    knob: int = 16
    shown: int = 99
    last: int = 0
    knobs: Int[16] = zeros_int(16)
    showns: Int[16] = zeros_int(16)
    lasts: Int[16] = zeros_int(16)
    weights: Float[16] = zeros(16)
    width: float = 16.0
    odd: int = 0  # steps in a row in which the paddle was not where it had to be
    x: float = 80.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    from_x: float = 0.0
    from_y: float = 0.0
    age: int = 0
    lost: int = 1000
    land_x: float = 80.0
    land_in: int = 0
    aim: float = 1.0
    aim_x: float = -100.0  # landing point the aim was chosen for
    down: bool = False


def rising_to(scene, x, y, vx, vy):
    """Centre height at which a rising ball meets its next brick, or the ceiling."""
    for i in range(6):
        height = BRICKS_TOP + 6.0 * (5 - i) + 8.0  # the ball's upper edge at the row's lower edge
        if height < y:
            at, turned = fly(x, vx, frames_until(y - height, 0.0 - vy), TURN_LEFT, TURN_RIGHT)
            if scene.bricks[5 - i, clip(int((at - BRICKS_LEFT) // CELL), 0, 17)]:
                return height
    return CEILING


def landing(scene, memory):
    """(x, frames): where and how soon the ball comes down to the paddle; a rising ball is reflected where it must."""
    if memory.down:
        frames = frames_until(MEET - memory.y, memory.vy)
    elif memory.age % (4 * FRAMESKIP) > 0:  # nothing new since the last time
        return memory.land_x, max(memory.land_in - FRAMESKIP, 0)
    else:
        height = rising_to(scene, memory.x, memory.y, memory.vx, memory.vy)
        frames = frames_until(memory.y - height + MEET - height, 0.0 - memory.vy)
    x, turned = fly(memory.x, memory.vx, frames, TURN_LEFT, TURN_RIGHT)
    return x, frames


def follow_ball(scene, memory):
    """One observation into the tracker. Returns whether a ball is in play; it may hide behind bricks for a while."""
    memory.x, memory.y, memory.vx, memory.vy, memory.from_x, memory.from_y, memory.age, memory.lost = track(
        scene.ball.seen, scene.ball.x, scene.ball.y, memory.x, memory.y, memory.vx, memory.vy,
        memory.from_x, memory.from_y, memory.age, memory.lost, FRAMESKIP, TURN_LEFT, TURN_RIGHT, ACROSS, DOWN, NEAR,
    )  # fmt: skip
    memory.down = memory.vy > 0.0
    return memory.lost < 8 or memory.lost < 24 and memory.y < 120.0


def centre_of(left, width):
    """Centre of the visible box of paddles with left edges Float[n]: the right wall hides what is beyond it."""
    return (left + minimum(left + width, 152.0)) * 0.5


def observed_left(scene, memory):
    """Left edge of the paddle as seen, px."""
    left = scene.paddle.x - memory.width * 0.5
    if left + memory.width > 152.0:  # the centre moves half as fast behind the wall
        left = 2.0 * scene.paddle.x - 152.0
    return clip(left, 8.0, 144.0)


def follow_paddle(scene, memory):
    """Carry the belief over the step that was executed and check it by what is seen. Returns whether it is certain."""
    if scene.paddle.seen and scene.paddle.x + scene.paddle.w * 0.5 < 152.0 - 1.0:
        memory.width = 16.0 if scene.paddle.w > 14.0 else 12.0
    if not memory.certain:
        return follow_guesses(scene, memory)
    if STICKY > 0.0 and memory.last != memory.asked:
        memory.knobs, memory.showns, memory.lasts, memory.weights = one_guess(
            memory.knob, memory.shown, memory.last, GUESSES
        )
        return follow_guesses(scene, memory)
    memory.last = memory.asked
    memory.knob, memory.shown = advance_surely(
        memory.knob, memory.shown, memory.asked, FRAMESKIP, MOVES, PLACES, full(101, True), 8, 144
    )
    return believe(scene, memory, scene.paddle.seen and abs(observed_left(scene, memory) - memory.shown) > 2.5)


def follow_guesses(scene, memory):
    """The same where the old action may have stuck for some frames: all cases, weighed by what is seen."""
    knobs, showns, lasts = advance(
        memory.knobs, memory.showns, memory.lasts, memory.asked, FRAMESKIP, MOVES, PLACES, full(101, True), 8, 144
    )
    weights = reshape(STICKS * memory.weights[None, :], WAYS * GUESSES)
    if scene.paddle.seen:
        weights = weights * likelihood(centre_of(to_float(showns), memory.width), scene.paddle.x, 0.8, 0.001)
    memory.knobs, memory.showns, memory.lasts, memory.weights = keep_best(knobs, showns, lasts, weights, GUESSES)
    best = argmax(memory.weights)
    memory.knob = take(memory.knobs, best)
    memory.shown = take(memory.showns, best)
    memory.last = take(memory.lasts, best)
    memory.certain = take(memory.weights, best) > 0.999
    return believe(scene, memory, total(weights) < 2.0 * 0.001)


def believe(scene, memory, wrong):
    """Start the belief anew when the paddle was not where it had to be three times in a row: no outlier does that."""
    memory.odd = memory.odd + 1 if wrong else 0
    if memory.odd >= 3:
        memory.knobs, memory.showns, memory.lasts, memory.weights = restart(
            observed_left(scene, memory), PLACES, GUESSES
        )
        memory.certain = False
        memory.odd = 0
    return memory.certain


def travel(memory, goal, slack):
    """Move that brings the knob's resting place within `slack` px of a left edge of `goal`."""
    place = take(PLACES, memory.knob)
    if place < goal - slack:
        return 1
    return 2 if place > goal + slack else 0


def approach(memory, goal, frames):
    """Best move by the reach tables; contact begins in `frames` frames, best with the left edge at `goal`."""
    row = table_row(memory, frames + 1)
    if memory.certain:
        place = take(PLACES, memory.knob)
        offset, behind, last = seen_from(memory.vx, (place - goal) * SCALE, place - memory.shown, memory.last)
        stay, right, left = reach_values_of_one(TABLES, row, offset, behind, last, LAG)
        best = 0 if stay >= right and stay >= left else 1 if right >= left else 2
    else:
        places = take(PLACES, memory.knobs)
        offsets, lags, lasts = seen_from(
            memory.vx, (to_float(places) - goal) * SCALE, places - memory.showns, memory.lasts
        )
        best = argmax(reach_values(TABLES, row, offsets, lags, lasts, memory.weights, LAG))
    return best if memory.vx > 0.0 else (3 - best) % 3


def meet(memory, goal, frames):
    """Best move: the tables, or simply travel while there is only one way to go."""
    if FRAMESKIP == 1 and frames > HORIZON:
        return travel(memory, goal, SLACK)
    if frames > 8 and abs(take(PLACES, memory.knob) - goal) > REACH:
        return travel(memory, goal, 0.0)
    return approach(memory, goal, frames)


def as_action(memory, move):
    """The action of a move, remembered as asked for."""
    memory.asked = move
    return RIGHT if move == 1 else LEFT if move == 2 else NOOP


def serve(memory):
    """A ball is needed."""
    memory.asked = 0
    return FIRE


def meeting(aim):
    """Reach table for a ball that drifts right, to be met with the right (1) or left (-1) half of the paddle.

    Only the narrow paddle's reach counts, whatever its width; fast balls and most slow ones drift by 2 px a frame.
    """
    offsets = displayed_offsets(LAG)
    last = within(offsets, -4.5, 8.5, SOFT)  # two frames of contact
    first = within(offsets, -6.5, 6.5, SOFT)
    liked = 1.0 + BONUS * within(0.0 - offsets * aim, 0.5, 6.5, SOFT)
    cost = AWAY * maximum(abs_of(offsets + 3.0 * aim) - 2.0, 0.0)
    hit = concat(last[None, :], first[None, :])
    worth = concat(liked[None, :], liked[None, :])
    return reach_table(FRAMESKIP, STICKY, HORIZON, full(HORIZON, True), hit, worth, cost, LAG)


def table_row(memory, frames):
    """Row of TABLES for the aim and `frames` to the last of two frames of contact; far is as good as farthest."""
    far = frames - HORIZON
    if far > 0:
        frames -= (far + FRAMESKIP - 1) // FRAMESKIP * FRAMESKIP  # same frame within the step
    return frames + (0 if memory.aim * memory.vx > 0.0 else HORIZON + 1)


def act(scene, memory):
    """One decision per agent step."""
    memory.certain = follow_paddle(scene, memory)
    if not follow_ball(scene, memory):
        return serve(memory), "serve"
    x, frames = landing(scene, memory)
    memory.land_x = x
    memory.land_in = frames
    goal = x - memory.width * 0.5
    if not memory.down:
        return as_action(memory, meet(memory, goal, frames)), "wait where the ball should return"
    if memory.y > PAST:
        return as_action(memory, 0), "ball missed"
    move = meet(memory, goal, frames)
    if frames > 8:
        return as_action(memory, move), "approach the landing point"
    return as_action(memory, move), "meet the ball" if frames > 0 else "late save"
