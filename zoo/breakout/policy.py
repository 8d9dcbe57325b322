"""Breakout: know where the hidden paddle really is, know where the ball comes down, and look up how to meet it.

Knows: the measured dynamics below, which hold on every screen of this game; the protocol (FRAMESKIP, STICKY).
Does not know: the emulator's memory, the score, the lives, any recorded trajectory. All it gets are boxes.

Screen pixels throughout: "left" is the paddle's left edge, a ball's position is its centre, velocities are per
emulated frame, y grows downwards. Three parts, one per step of `act`: a belief over the paddle (its knob is
hidden, the display lags, actions stick), a ball tracker, and a look-up in tables made by backward induction.
"""

from logic.lib.ball import fly, frames_until, track
from logic.lib.knob import advance, advance_surely, keep_best, knob_moves, likelihood, restart, sticky_ways
from logic.lib.plans import after_step, branch, branch_asked, branch_late, branch_odds, play
from logic.lib.reach import displayed_offsets, reach_best, reach_table, reach_values, reach_values_of_one, seen_from, within

# --- the paddle -------------------------------------------------------------------------------------------------
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
FRESH = full(101, True)  # the display follows in every frame
LEFTMOST = 8
RIGHTMOST = 144
WALL = 152.0  # the visible paddle ends here
WIDE = 16.0
NARROW = 12.0  # once the ball has touched the ceiling
STICKS = sticky_ways(FRAMESKIP, STICKY)[:, None]
GUESSES = 16  # 1.1 to 1.3 matter on average
SIGMA = 0.8  # px, how far a paddle observation is trusted
DOUBT = 0.001

# --- the ball ---------------------------------------------------------------------------------------------------
TURN_LEFT = 8.5  # the ball turns once its whole-pixel centre is at or beyond 8 or 152;
TURN_RIGHT = 151.5  # half a pixel is left for noise
CEILING = 35.5
MEET = 187.5  # centre height from which a paddle that covers it returns the ball (188 with whole pixels) ...
PAST = 195.0  # ... until here
ACROSS = array((0.5, 1.0, 1.5, 2.0))
DOWN = array((1.0, 1.5, 2.0, 3.375))
FAST = 3.0
NEAR = 2.0 if FRAMESKIP == 1 else 2.5  # px; a slow ball's bounce shows as 2 px in one frame

# --- bricks -----------------------------------------------------------------------------------------------------
BRICKS_TOP = 57.0
BRICKS_LEFT = 8.0
ROWS = arange(6)
BOTTOMS = BRICKS_TOP + 6.0 * to_float(ROWS) + 8.0  # centre heights at which a rising ball meets each row
TOPS = BRICKS_TOP + 6.0 * to_float(ROWS)  # and a falling one

# --- aiming: the fast ball's way up, and down again from the ceiling ----------------------------------------------
OUT = 3.375
FLIGHT = 2.0 * (MEET - CEILING) / OUT  # frames from paddle to paddle
TOUCH_ROWS = concat(ROWS, ROWS)
TOUCH_TIMES = concat((MEET - BOTTOMS) / OUT, (MEET - 2.0 * CEILING + TOPS) / OUT)
MIRROR_LEFT = 7.5  # a fast ball turns half a pixel beyond each wall on average
BETWEEN = 145.0  # px from there to the same place on the right
RETURNS = 4
ORDERS = 16
SIDES = to_float((arange(ORDERS)[None, :] // array((8, 4, 2, 1))[:, None]) % 2 * 4 - 2)  # all orders of left and right

# --- meeting the ball -------------------------------------------------------------------------------------------
LAG = 12  # px the display can be behind
HORIZON = 34  # frames: a fast ball comes down from the bricks in 25 to 35
SOFT = 1.5  # px over which a hit fades at the ends of the paddle
PITCH_SCALE = 6.0 / 5.74  # the tables step 6 px a frame, the knob 5.74 on average
BONUS = tunable(0.05, 0.0, 0.3)  # what the wanted half of the paddle is worth beside the hit itself
REACH = 38.0  # px; beyond it there is only one way to go
AWAY = 0.00001  # per px and frame: prefer to be there early, but never at the price of a hit
PATIENCE = 6  # returns without a brick before a loop is suspected
DOUBT_AIM = 12  # ... before a quarter of the aims is left to chance
GIVE_UP = 60  # ... before a spare ball is given up for a fresh one
SLACK = 4.0 + 3.0 * FRAMESKIP  # px of tolerance while waiting: a sticky step overshoots by up to three frames


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


TABLES = concat(meeting(1.0), meeting(-1.0))

# The last two steps are played out exactly, see `plan`.
WAYS = FRAMESKIP + 1
TRIED = 4  # guesses that are worth it
AHEAD = 2 * FRAMESKIP  # frames
ODDS = branch_odds(sticky_ways(FRAMESKIP, STICKY), WAYS)
ASKED = branch_asked(WAYS, TRIED)
LATE = branch_late(WAYS, TRIED)
ASKED_NEXT = branch_asked(WAYS, 3 * WAYS * TRIED)
LATE_NEXT = branch_late(WAYS, 3 * WAYS * TRIED)
FAR = 24
BESIDE = to_float(arange(2 * FAR + 1) - FAR)  # ball minus left edge, px
HIT_WIDE = within(BESIDE, -0.5, 16.5, SOFT)
HIT_NARROW = within(BESIDE, -0.5, 12.5, SOFT)
GAIN_WIDE_RIGHT = HIT_WIDE * (1.0 + BONUS * within(BESIDE, 8.5, 16.5, SOFT))
GAIN_WIDE_LEFT = HIT_WIDE * (1.0 + BONUS * within(BESIDE, -0.5, 7.5, SOFT))
GAIN_NARROW_RIGHT = HIT_NARROW * (1.0 + BONUS * within(BESIDE, 8.5, 12.5, SOFT))
GAIN_NARROW_LEFT = HIT_NARROW * (1.0 + BONUS * within(BESIDE, -0.5, 5.5, SOFT))


class Memory:
    """Everything remembered between steps."""

    asked: int = 0  # move asked for in the last step: 0 stay, 1 right, 2 left
    # the paddle: one certain guess, or a belief of GUESSES
    certain: bool = True
    knob: int = 16
    shown: int = 99
    last: int = 0
    knobs: Int[16] = zeros_int(16)
    showns: Int[16] = zeros_int(16)
    lasts: Int[16] = zeros_int(16)
    weights: Float[16] = zeros(16)
    width: float = 16.0
    odd: int = 0  # steps in a row in which the paddle was not where it had to be
    # the ball
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
    # the game
    bricks: int = 108
    walls: int = 0
    dry: int = 0  # returns since a brick last fell
    aim: float = 1.0
    aim_x: float = -100.0  # landing point the aim was chosen for
    coin: int = 1
    balls: int = 0  # served so far
    served: int = 0
    shuffled: int = 0  # the value of `dry` at which an end was last touched
    down: bool = False


def centre_of(left, width):
    """Centre of the visible box of a paddle at `left`: the right wall hides what is beyond it."""
    return (left + minimum(left + width, WALL)) * 0.5


def follow_paddle(scene, memory):
    """Carry the belief over the step that was executed and weigh it by what is seen. Returns whether it is certain."""
    if scene.paddle.seen and scene.paddle.x + scene.paddle.w * 0.5 < WALL - 1.0:
        memory.width = WIDE if scene.paddle.w > 14.0 else NARROW
    if not memory.certain:
        return follow_guesses(scene, memory)
    if STICKY > 0.0 and memory.last != memory.asked:
        first = arange(GUESSES) == 0
        memory.knobs = zeros_int(GUESSES) + memory.knob
        memory.showns = zeros_int(GUESSES) + memory.shown
        memory.lasts = zeros_int(GUESSES) + memory.last
        memory.weights = to_float(first)
        return follow_guesses(scene, memory)
    memory.last = memory.asked
    memory.knob, memory.shown = advance_surely(
        memory.knob, memory.shown, memory.asked, FRAMESKIP, MOVES, PLACES, FRESH, LEFTMOST, RIGHTMOST
    )
    expected = (memory.shown + min(memory.shown + memory.width, WALL)) * 0.5
    wrong = scene.paddle.seen and abs(scene.paddle.x - expected) > 2.5
    memory.odd = memory.odd + 1 if wrong else 0
    if memory.odd >= 3:  # not an outlier: the certainty was wrong
        memory.knobs, memory.showns, memory.lasts, memory.weights = restart(observed_left(scene, memory), PLACES, GUESSES)
        memory.certain = False
        memory.odd = 0
    return memory.certain


def observed_left(scene, memory):
    """Left edge of the paddle as seen, px."""
    left = scene.paddle.x - memory.width * 0.5
    if left + memory.width > WALL:  # the centre moves half as fast behind the wall
        left = 2.0 * scene.paddle.x - WALL
    return clip(left, 8.0, 144.0)


def follow_guesses(scene, memory):
    """The belief of several guesses through one step: every number of stuck frames, weighed, best ones kept."""
    knobs, showns, lasts = advance(
        memory.knobs, memory.showns, memory.lasts, memory.asked, FRAMESKIP, MOVES, PLACES, FRESH, LEFTMOST, RIGHTMOST
    )
    weights = reshape(STICKS * memory.weights[None, :], (FRAMESKIP + 1) * GUESSES)
    fit = 1.0
    if scene.paddle.seen:
        chances = likelihood(centre_of(showns, memory.width), scene.paddle.x, SIGMA, DOUBT)
        weighed = weights * chances
        fit = total(weighed)
        weights = weighed
    memory.knobs, memory.showns, memory.lasts, memory.weights = keep_best(knobs, showns, lasts, weights, GUESSES)
    memory.odd = memory.odd + 1 if fit < 2.0 * DOUBT else 0
    if memory.odd >= 3:
        memory.knobs, memory.showns, memory.lasts, memory.weights = restart(observed_left(scene, memory), PLACES, GUESSES)
        memory.odd = 0
    best = argmax(memory.weights)
    memory.certain = memory.weights[best] > 0.999
    if True:
        memory.knob = int(memory.knobs[best])
        memory.shown = int(memory.showns[best])
        memory.last = int(memory.lasts[best])
    return memory.certain


def follow_ball(scene, memory):
    """One observation into the tracker. Returns whether a ball is in play."""
    was_down = memory.vy > 0.0
    memory.x, memory.y, memory.vx, memory.vy, memory.from_x, memory.from_y, memory.age, memory.lost = track(
        scene.ball.seen, scene.ball.x, scene.ball.y, memory.x, memory.y, memory.vx, memory.vy,
        memory.from_x, memory.from_y, memory.age, memory.lost, FRAMESKIP, TURN_LEFT, TURN_RIGHT, ACROSS, DOWN, NEAR,
    )  # fmt: skip
    memory.down = memory.vy > 0.0
    if was_down and not memory.down and memory.y > 150.0:
        memory.dry += 1
    return memory.lost < 8 or memory.lost < 24 and memory.y < 120.0


def count_bricks(scene, memory):
    """Notice fallen bricks and a new wall. Returns the bricks that stand."""
    standing = count(scene.bricks)
    if standing < memory.bricks:
        memory.dry = 0
    if standing >= 100 and memory.bricks < 20:
        memory.walls += 1
    memory.bricks = standing
    return standing


def brick_at(scene, row, x):
    """Does a brick stand in `row` where a ball at `x` would touch it?"""
    return scene.bricks[row, clip(int((x - BRICKS_LEFT - 1.0) // 8.0), 0, 17)]


def rising_to(scene, x, y, vx, vy):
    """Centre height at which a rising ball meets its next brick, or the ceiling."""
    for i in range(6):
        height = BRICKS_TOP + 6.0 * (5 - i) + 8.0  # the ball's upper edge at the row's lower edge
        if height < y:
            at, turned = fly(x, vx, frames_until(y - height, 0.0 - vy), TURN_LEFT, TURN_RIGHT)
            if brick_at(scene, 5 - i, at):
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


def travel(memory, goal, slack):
    """Move that brings the knob's resting place near a left edge of `goal`."""
    place = PLACES[memory.knob] if memory.certain else PLACES[memory.knobs[argmax(memory.weights)]]
    if place < goal - slack:
        return 1
    return 2 if place > goal + slack else 0


def table_row(memory, frames):
    """Row of TABLES for the aim and `frames` to the last of two frames of contact; far is as good as farthest."""
    far = frames - HORIZON
    if far > 0:
        frames -= (far + FRAMESKIP - 1) // FRAMESKIP * FRAMESKIP  # same frame within the step
    return frames + (0 if memory.aim * memory.vx > 0.0 else HORIZON + 1)


def approach(memory, x, frames):
    """Best move by the reach tables; contact begins in `frames` frames at `x`."""
    goal = x - memory.width * 0.5
    row = table_row(memory, frames + 1)
    if memory.certain:
        place = int(PLACES[memory.knob])
        offset, behind, last = seen_from(memory.vx, (place - goal) * PITCH_SCALE, place - memory.shown, memory.last)
        stay, right, left = reach_values_of_one(TABLES, row, offset, behind, last, LAG)
        best = 0 if stay >= right and stay >= left else 1 if right >= left else 2
    else:
        places = take(PLACES, memory.knobs)
        offsets, lags, lasts = seen_from(
            memory.vx, (to_float(places) - goal) * PITCH_SCALE, places - memory.showns, memory.lasts
        )
        best = argmax(reach_values(TABLES, row, offsets, lags, lasts, memory.weights, LAG))
    return best if memory.vx > 0.0 else (3 - best) % 3


def plan(memory, x, frames):
    """Best move: two steps with every outcome played out, the tables after that."""
    knob, shown, last, weight = guesses(memory)
    opens, balls = contact(memory)
    hit, gain = contact_tables(memory)
    knob, shown, last, won, free = play(
        branch(knob, 3 * WAYS), branch(shown, 3 * WAYS), branch(last, 3 * WAYS), ASKED, LATE,
        zeros(3 * WAYS * TRIED), ones(3 * WAYS * TRIED), opens[0:FRAMESKIP], balls[0:FRAMESKIP], hit, gain,
        MOVES, PLACES, FRESH, LEFTMOST, RIGHTMOST,
    )  # fmt: skip
    knob, shown, last, won, free = play(
        branch(knob, 3 * WAYS), branch(shown, 3 * WAYS), branch(last, 3 * WAYS), ASKED_NEXT, LATE_NEXT,
        branch(won, 3 * WAYS), branch(free, 3 * WAYS), opens[FRAMESKIP:AHEAD], balls[FRAMESKIP:AHEAD], hit, gain,
        MOVES, PLACES, FRESH, LEFTMOST, RIGHTMOST,
    )  # fmt: skip
    rest = frames + 1 - AHEAD
    if rest > 0:
        places = take(PLACES, knob)
        goal = x - memory.width * 0.5
        offset, behind, last = seen_from(memory.vx, (to_float(places) - goal) * PITCH_SCALE, places - shown, last)
        won = won + free * reach_best(TABLES, table_row(memory, rest), offset, behind, last, LAG)
    else:
        away = abs_of(to_float(shown) + memory.width * 0.5 - balls[AHEAD - 1])
        won = won - 0.0001 * away
    return argmax(matmul(after_step(max_over_asked(after_step(won, ODDS)), ODDS), weight))


def max_over_asked(values):
    """Float[n]: the best of Float[3, n]."""
    return maximum(take(values, 0), maximum(take(values, 1), take(values, 2)))


def guesses(memory):
    """The TRIED heaviest guesses as four arrays."""
    if memory.certain:
        zero = zeros_int(TRIED)
        return zero + memory.knob, zero + memory.shown, zero + memory.last, to_float(arange(TRIED) == 0)
    return memory.knobs[0:TRIED], memory.showns[0:TRIED], memory.lasts[0:TRIED], memory.weights[0:TRIED]


def contact(memory):
    """(opens, balls) Float[AHEAD] each: chance that the ball is at the paddle's height in each coming frame, and where."""
    opens = zeros(AHEAD)
    balls = zeros(AHEAD)
    x = memory.x
    vx = memory.vx
    for f in range(AHEAD):
        x, vx = fly(x, vx, 1, TURN_LEFT, TURN_RIGHT)
        y = memory.y + memory.vy * (f + 1)
        opens = put(opens, f, clip(min(y - MEET + 0.5, PAST - y), 0.0, 1.0))
        balls = put(balls, f, x)
    return opens, balls


def contact_tables(memory):
    """(hit, gain) by ball minus left edge, for the paddle's width and the aim."""
    if memory.width > 14.0:
        return HIT_WIDE, (GAIN_WIDE_RIGHT if memory.aim > 0.0 else GAIN_WIDE_LEFT)
    return HIT_NARROW, (GAIN_NARROW_RIGHT if memory.aim > 0.0 else GAIN_NARROW_LEFT)


def meet(memory, x, frames):
    """Best move: exact plans when contact is near and a step is coarse, else the tables, else simply travel."""
    goal = x - memory.width * 0.5
    if FRAMESKIP == 1 and frames > HORIZON:
        return travel(memory, goal, SLACK)
    if abs(PLACES[memory.knob] - goal) > REACH and frames > AHEAD:
        return travel(memory, goal, 0.0)
    if FRAMESKIP > 1 and frames <= AHEAD:
        return plan(memory, x, frames)
    return approach(memory, x, frames)


def choose_aim(scene, memory, x, vx):
    """Half of the paddle to use, 1 or -1: where a brick falls after the fewest returns, for every order of halves.

    A fast ball leaves at 2 px a frame to the side of the half that met it, rises and comes back in FLIGHT frames.
    If no order fells a brick the ball keeps its direction: that takes it round all landing points it can have.
    """
    bricks = to_float(reshape(scene.bricks, 108))
    ball = full(ORDERS, x)
    worth = zeros(ORDERS)
    for i in range(RETURNS):
        side = take(SIDES, i)
        at = fold(ball[:, None] + side[:, None] * TOUCH_TIMES[None, :])
        column = clip(to_int(floor_of((at - BRICKS_LEFT - 1.0) / 8.0)), 0, 17)
        struck = max_over(take(bricks, TOUCH_ROWS[None, :] * 18 + column), 1)
        worth = maximum(worth, struck * (RETURNS - i))
        ball = fold(ball + side * FLIGHT)
    memory.aim_x = x
    left = largest(worth[0:8])
    right = largest(worth[8:16])
    memory.coin = (memory.coin * 1103 + 12345) % 65536
    if memory.dry >= DOUBT_AIM and memory.coin % 512 < 128:
        return 1.0 if memory.coin // 1024 % 2 == 0 else -1.0
    if left == right:
        return 1.0 if vx > 0.0 else -1.0
    return 1.0 if right > left else -1.0


def fold(x):
    """Positions Float[...] that ignored the side walls, brought back between them."""
    off = abs_of(x - MIRROR_LEFT)
    off = off - floor_of(off / (2.0 * BETWEEN)) * (2.0 * BETWEEN)
    return minimum(off, 2.0 * BETWEEN - off) + MIRROR_LEFT


def shuffle_end(memory, goal, frames):
    """Move towards an end of the paddle's range if it can be touched and left again in time, else 0.

    Without stickiness a step always moves the knob by FRAMESKIP places, so the same places come up for ever; only
    an end, where the knob clips, leads to others. The end changes with every dry return.
    """
    right = memory.dry % 4 < 2  # legs of a loop may alternate
    end = 187.0 if right else 3.0
    if PLACES[memory.knob] == end:
        memory.shuffled = memory.dry
    if memory.shuffled == memory.dry:
        return 0
    way = abs(PLACES[memory.knob] - end) + abs(end - goal) + 40.0
    if way > frames * 5.74:
        return 0
    return 1 if right else 2


def as_action(memory, move):
    """The action of a move, remembered as asked for."""
    memory.asked = move
    return RIGHT if move == 1 else LEFT if move == 2 else NOOP


def act(scene, memory):
    """One decision per agent step."""
    known = follow_paddle(scene, memory)
    playing = follow_ball(scene, memory)
    standing = count_bricks(scene, memory)
    if not playing:
        memory.balls += 1 if memory.served == 0 else 0
        memory.served = 1
        memory.dry = 0
        memory.asked = 0
        return FIRE, "serve"
    memory.served = 0
    if memory.walls > 0 and standing == 0:
        return as_action(memory, travel(memory, LEFTMOST if memory.x > 80.0 else RIGHTMOST, 8.0)), "let go: walls cleared"
    if memory.dry >= GIVE_UP and memory.balls < 5:
        return as_action(memory, travel(memory, LEFTMOST if memory.x > 80.0 else RIGHTMOST, 8.0)), "give up a ball: no brick for long"
    x, frames = landing(scene, memory)
    memory.land_x = x
    memory.land_in = frames
    goal = x - memory.width * 0.5
    if not memory.down:
        memory.aim_x = -100.0
        if STICKY == 0.0 and FRAMESKIP > 1 and memory.dry >= PATIENCE and shuffle_end(memory, goal, frames) != 0:
            return as_action(memory, shuffle_end(memory, goal, frames)), "touch the end to break a loop"
        return as_action(memory, meet(memory, x, frames)), "wait where the ball should return"
    if abs(x - memory.aim_x) > 4.0:
        memory.aim = choose_aim(scene, memory, x, memory.vx)
    if memory.y > PAST:
        return as_action(memory, 0), "ball missed"
    if frames > AHEAD:
        return as_action(memory, meet(memory, x, frames)), "approach the landing point"
    if frames == 0:
        return as_action(memory, meet(memory, x, frames)), "late save"
    return as_action(memory, meet(memory, x, frames)), "meet the ball"
