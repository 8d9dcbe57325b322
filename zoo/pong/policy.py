"""Pong: return every ball, and aim the returns the opponent cannot reach.

Knows: the measured dynamics below, which hold on every screen of this game; the protocol (FRAMESKIP, STICKY).
Does not know: the emulator's memory, the score, any recorded trajectory. All it gets are boxes.

The ball flies exactly (whole pixels, two walls), so its landing is known once the opponent has hit it. The paddle is
the hard part: each executed frame turns a hidden knob by one step, the screen shows a lagging average of it, and
actions stick. So a belief over the knob is kept (`logic.lib.knob`), and while the ball comes, values are carried
back from the moment of contact, one layer a step (`logic.lib.foresight`), until they reach the present step.

Units are the game's own: x is the screen's + 48, a ball's y its centre + 12, a paddle's its top + 13; speeds are px
per emulated frame. Heights grow downwards, from 37 to 207.
"""

from logic.lib.foresight import asked_worth, best_of, entries, first_contact, phase_of, step_tables, way_chances  # noqa: I001
from logic.lib.knob import advance, advance_surely, keep_best, knob_moves, knob_resistance
from logic.lib.knob import likelihood, restart, sticky_ways

# --- the ball ---------------------------------------------------------------------------------------------------
CEILING = 45  # the ball turns in the frame after it has reached these heights, and is then one px further on
FLOOR = 206
FIRST_CONTACT = 188  # ball x in the first frame in which the paddle can hit it ...
LAST_CONTACT = 192  # ... and in the last: a paddle that comes late still saves the ball
ENEMY_CONTACT = 68
FASTEST = 3  # |vy| of the opponent's rarest return; ours are -2 .. 2, |vx| is always 1
STRANGE = 30.0  # px; no return jumps that far off the track within 4 frames, so this is not our ball
BLIND = 12  # frames a track outlives the last sighting; at the walls the ball vanishes for one or two

# --- the paddle -------------------------------------------------------------------------------------------------
UP = 1  # moves of `logic.lib.knob`; 0 is to stay
DOWN = 2
# The display follows the knob every second frame, so each knob stands twice: 0..100 are followed in the next frame.
MOVES = concat(knob_moves() + 101, knob_moves())
TARGETS = concat(paddle_targets(), paddle_targets())
RESISTANCE = concat(knob_resistance(), knob_resistance())
FRESH = arange(202) < 101
STICKS = sticky_ways(FRAMESKIP, STICKY)
GUESSES = 8  # 1.1 to 1.3 matter on average
SURE = 0.99
SIGMA = 0.7  # px, how far a paddle sighting is trusted
DOUBT = 0.00001

# --- meeting the ball -------------------------------------------------------------------------------------------
HORIZON = 8 if FRAMESKIP == 4 else 24  # steps: the knob's whole range takes 33 frames
WAYS = 6 * FRAMESKIP - 3
CONTACT_LAYERS = 5 if FRAMESKIP == 1 else 2  # the last steps, in which the paddle can be hit
LAYERS_A_STEP = 3 if FRAMESKIP == 1 else 2
CHANCES = way_chances(FRAMESKIP, STICKS)
STEPS = step_tables(paddle_targets(), FRAMESKIP)
MIDDLE = 120.0  # px; from here every landing is in reach: the ball takes 120 frames to come back
MISSED = -9.0  # as in `logic.lib.foresight`
ZONES = zone_table()
WORTH = worth_table()


class Memory:
    """The ball's track, the belief over the paddle, and the values carried back so far."""

    ball_x: int = 0
    ball_y: int = 0
    ball_vx: int = 0  # 1 towards us
    ball_vy: int = 0
    tracked: bool = False
    drift_x: float = 0.0  # smoothed sighting minus track
    drift_y: float = 0.0
    seen_x: float = 0.0  # the last sighting ...
    seen_y: float = 0.0
    unseen: int = 99  # ... and how many steps ago
    returns: int = 0  # of ours since the serve

    move: int = 0  # asked for in the last step
    sure: bool = False  # is the belief one guess?
    lead: int = 16  # the likeliest knob, what it shows, the move executed last
    lead_shown: int = 109
    lead_last: int = 0
    knob: Int[8] = array((16, 117, 16, 16, 16, 16, 16, 16))  # after a reset, in either beat
    shown: Int[8] = zeros_int(8) + 109
    last: Int[8] = zeros_int(8)
    weight: Float[8] = array((0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))

    plan: int = -1  # the landing for which the layers hold ...
    phase: int = 0  # ... and the knob's phase when they were begun
    ready: int = 0  # how many there are
    layers: Float[HORIZON + 1, 2142] = zeros(HORIZON + 1, 2142) - 1.0  # by steps to go; with none, the point is lost


# --- tables, computed once --------------------------------------------------------------------------------------


def paddle_targets():
    """Int[101]: where each knob sends the paddle (exact). At the top 4 or 5 knobs share the last place."""
    return to_int(clip(2.0 * floor_of((12.7 + 5.76 * knob_resistance()) / 2.0) + 1.0, 37.0, 203.0))


def zone_table():
    """Int[256, 256]: how a ball at height b leaves a paddle shown at p: zones 0..4 for vy -2..2, 5 for a miss.

    Contact is between what is drawn, and paddles are drawn on odd lines; the zone goes by b - p itself.
    """
    b = arange(256)[:, None]
    p = arange(256)[None, :]
    below = b - drawn(p)
    zone = clip((b - p + 7) // 4 - 1, 0, 4)  # ..0, 1..4, 5..8, 9..12, 13..
    return where((below >= -1) & (below <= 16), zone, 5)


def worth_table():
    """Float[256, 6]: worth of leaving the paddle at height b in each zone: 1 wins the point, -1 would lose it.

    A return that comes back is worth what the best answer to it is, three times in four; else any answer, and a risk.
    """
    won, back = rallies()
    best = zeros(256)
    worth = zeros(256, 5)
    for _again in range(8):
        worth = reshape(sum_over(reshape(where(won, 1.0, take(best, back)), 1280, 8), 1) / 8.0, 256, 5)
        best = 0.75 * max_over(worth, 1) + 0.25 * sum_over(worth, 1) / 5.0 - 0.02
    rows = zeros(0)
    for b in range(256):
        rows = concat(rows, worth[b], array((MISSED,)))
    return reshape(rows, 256, 6)


def rallies():
    """Bool[10240], Int[10240]: does a return win, else its height back at our paddle; by height, zone, enemy's beat.

    The enemy's top moves 2 px a frame towards the ball's and rests one frame in eight. So vy = 2 outruns it by
    0.25 px a frame; it covers -4..14 px below its top. Where it starts hardly matters: it has 120 frames.
    """
    n = arange(10240)
    y = clip(n // 40, CEILING - 1, FLOOR + 2)
    vy = n // 8 % 5 - 2
    beat = n % 8
    enemy = y // 2 * 2
    x = zeros_int(10240) + FIRST_CONTACT
    vx = zeros_int(10240) - 1
    back = zeros_int(10240)
    for _frame in range(2 * (FIRST_CONTACT - ENEMY_CONTACT) + 8):
        below = y - enemy
        met = (vx < 0) & (x <= ENEMY_CONTACT) & (x > ENEMY_CONTACT - 5) & (below >= -4) & (below <= 14)
        vy = where(met, clip((below + 7) // 4 - 3, -2, 2), vy)
        vx = where(met, 1, vx)
        back = where((vx > 0) & (x == FIRST_CONTACT), y, back)
        turn = where((y <= CEILING) & (vy < 0), 1, where((y >= FLOOR) & (vy > 0), -1, 0))
        vy = where(turn == 0, vy, -vy)
        x = x + vx
        y = y + vy + turn
        beat = (beat + 1) % 8
        enemy = where(beat == 1, enemy, enemy + 2 * sign(y - enemy))
    return vx < 0, back


# --- the ball ---------------------------------------------------------------------------------------------------


def fly(y, vy, frames):
    """(y, vy) of the ball after `frames`: straight between the walls, one px extra where it turns."""
    left = frames
    for _leg in range(6):
        gap = y - CEILING if vy < 0 else FLOOR - y
        flight = math.ceil(max(gap, 0) / max(abs(vy), 1))
        if vy == 0 or flight >= left:
            break
        y = y + vy * flight - vy + (1 if vy < 0 else -1)
        vy = -vy
        left = left - flight - 1
    return y + vy * left, vy


def ball_height(ball):
    """The ball's y from its visible part: rows 34..193 are the field, the walls hide the rest."""
    if ball.y < 37.0:
        return ball.y + ball.h / 2.0 + 10.0
    if ball.y > 191.0:
        return ball.y - ball.h / 2.0 + 14.0
    return ball.y + 12.0


def follow_ball(scene, memory):
    """Fly the track on, check it against the sighting, start it anew where they differ. Is there a track?"""
    y, vy = fly(memory.ball_y, memory.ball_vy, FRAMESKIP)
    memory.ball_x += memory.ball_vx * FRAMESKIP
    memory.ball_y = y
    memory.ball_vy = vy
    memory.unseen += 1
    at_x = scene.ball.x + 48.0
    at_y = ball_height(scene.ball)
    off_x = at_x - memory.ball_x
    off_y = at_y - memory.ball_y
    if not scene.ball.seen or memory.tracked and abs(off_x) + abs(off_y) > STRANGE:
        return memory.tracked and memory.unseen * FRAMESKIP <= BLIND
    if memory.tracked and abs(off_x) < 2.0 and abs(off_y) < 2.0:
        tracked = correct(memory, off_x, off_y)
    else:
        tracked = begin(memory, at_x, at_y)
    memory.seen_x = at_x
    memory.seen_y = at_y
    memory.unseen = 0
    return tracked


def correct(memory, off_x, off_y):
    """Shift the track by one px where sightings keep lying off it. Near our edge odd heights are drawn one px up."""
    memory.drift_x = 0.7 * memory.drift_x + 0.3 * off_x
    memory.drift_y = 0.7 * memory.drift_y + 0.3 * (off_y if memory.ball_x < 180 else 0.0)
    if abs(memory.drift_x) > 0.6:
        memory.ball_x += 1 if memory.drift_x > 0.0 else -1
        memory.drift_x = 0.0
    if abs(memory.drift_y) > 0.6:
        memory.ball_y += 1 if memory.drift_y > 0.0 else -1
        memory.drift_y = 0.0
    return True


def begin(memory, x, y):
    """A new track through the last two sightings. Is it one: do they lie as far apart as a ball flies?"""
    frames = memory.unseen * FRAMESKIP
    way = x - memory.seen_x
    if frames > 30:  # between points the ball is away for some 60 frames
        memory.returns = 0
    elif way < 0.0 and memory.ball_vx > 0:
        memory.returns += 1
    memory.ball_x = round(x)
    memory.ball_y = round(y)
    memory.ball_vx = 1 if way > 0.0 else -1
    memory.ball_vy = round((y - memory.seen_y) / frames)
    memory.drift_x = 0.0
    memory.drift_y = 0.0
    return abs(abs(way) - frames) < 1.5 and abs(memory.ball_vy) <= FASTEST and frames <= BLIND


# --- the paddle -------------------------------------------------------------------------------------------------


def drawn(shown):
    """The odd line on which a paddle at height `shown` (number or array) is drawn."""
    return (shown - 1) // 2 * 2 + 1


def paddle_top(player):
    """The line on which the paddle is drawn, from its visible part: above row 34 it is hidden."""
    if player.y - player.h / 2.0 < 36.0:
        return player.y + player.h / 2.0 - 3.0
    return player.y - player.h / 2.0 + 13.0


def follow_paddle(scene, memory):
    """Advance the belief by the move asked for and weigh it by the sighting. Is it down to one guess?"""
    seen = scene.player.seen
    top = paddle_top(scene.player)
    if memory.sure and (STICKY == 0.0 or memory.lead_last == memory.move):  # nothing to guess
        lead = memory.lead
        lead, shown = advance_surely(lead, memory.lead_shown, memory.move, FRAMESKIP, MOVES, TARGETS, FRESH, 0, 255)
        memory.lead = lead
        memory.lead_shown = shown
        memory.lead_last = memory.move
        if seen and abs(drawn(shown) - top) > 2.5:
            return scatter(memory, top)
        return True
    if memory.sure:
        memory.sure = spell_out(memory)
    knob = memory.knob
    knob, shown, last = advance(knob, memory.shown, memory.last, memory.move, FRAMESKIP, MOVES, TARGETS, FRESH, 0, 255)
    weight = reshape(STICKS[:, None] * memory.weight[None, :], GUESSES * (FRAMESKIP + 1))
    if seen:
        weight = weight * likelihood(to_float(drawn(shown)), top, SIGMA, DOUBT)
    if total(weight) < 10.0 * DOUBT:  # no guess explains what is seen
        return scatter(memory, top)
    return settle(memory, knob, shown, last, weight)


def settle(memory, knob, shown, last, weight):
    """Keep the likeliest guesses. Is one of them as good as certain?"""
    memory.knob, memory.shown, memory.last, memory.weight = keep_best(knob, shown, last, weight, GUESSES)
    best = argmax(memory.weight)
    memory.lead = memory.knob[best]
    memory.lead_shown = memory.shown[best]
    memory.lead_last = memory.last[best]
    return memory.weight[best] > SURE


def spell_out(memory):
    """Write the one sure guess out as a belief."""
    memory.knob = full(GUESSES, memory.lead)
    memory.shown = full(GUESSES, memory.lead_shown)
    memory.last = full(GUESSES, memory.lead_last)
    memory.weight = to_float(arange(GUESSES) == 0)
    return True


def scatter(memory, top):
    """Start the belief over, all around the paddle that is seen."""
    knob, shown, last, weight = restart(top, TARGETS, GUESSES)
    return settle(memory, knob, shown, last, weight)


# --- meeting the ball -------------------------------------------------------------------------------------------


def variety(returns):
    """Float[6]: after 4 returns without a point, a growing taste for another zone each time ends endless rallies."""
    zone = arange(6)
    strength = 0.04 * clip(returns - 4, 0, 5)
    return where(zone == 5, 0.0, strength * to_float((zone * 3 + returns * 2) % 5) / 4.0)


def contact_worth(y, vy, slack, beat, layer, taste):
    """Float[3, 256]: worth of contact in the step `layer` steps from the end, by refreshes so far and paddle shown.

    The ball lands at height y with vy; the end is `slack` frames after the last contact.
    """
    worth = zeros(3, 256) + MISSED
    for i in range(FRAMESKIP):  # from the last frame to the first, whose contact counts
        x = LAST_CONTACT + slack - (layer - 1) * FRAMESKIP - i
        if x >= FIRST_CONTACT and x <= LAST_CONTACT:
            height, _speed = fly(y, vy, x - FIRST_CONTACT)
            height = clip(height, 0, 255)
            here = take(take(WORTH, height) + taste, take(ZONES, height))
            refreshed = (FRAMESKIP - i + 1 - beat) // 2
            worth = put(worth, refreshed, where(here > MISSED, here, take(worth, refreshed)))
    return worth


def carry_back(memory, y, vy, slack, end_beat, wanted):
    """How many layers are ready, after adding some; none are left when the landing has changed.

    `end_beat`: is the display followed in the frame after the end (0) or in the one after that (1).
    """
    plan = (((y * 8 + vy + 4) * 8 + slack) * 2 + end_beat) * 16 + memory.returns % 16
    ready = memory.ready if plan == memory.plan else 0
    if ready == 0:
        memory.plan = plan
        memory.phase = phase_of(memory.lead % 101)
    for _more in range(LAYERS_A_STEP):
        if ready >= wanted:
            break
        layer = ready + 1
        beat = (end_beat + layer * FRAMESKIP) % 2
        step = take(STEPS, 3 * beat + memory.phase)
        value = take(take(memory.layers, ready), step[3])
        if layer <= CONTACT_LAYERS:
            value = first_contact(value, step[0:3], contact_worth(y, vy, slack, beat, layer, variety(memory.returns)))
        memory.layers = put(memory.layers, layer, best_of(value, CHANCES))
        ready = layer
        if FRAMESKIP > 1 and layer <= CONTACT_LAYERS:  # dear enough for one step
            break
    return ready


def best_move(memory, y, vy, slack, beat, layer):
    """The move of the highest expected worth over the belief, `layer` steps from the end."""
    if memory.sure:
        memory.sure = spell_out(memory)
    step = take(STEPS, 3 * beat + memory.phase)
    entry = entries(memory.phase, take(RESISTANCE, memory.knob), memory.shown, take(TARGETS, memory.knob), WAYS)
    value = take(take(memory.layers, layer - 1), take(step[3], entry))
    if layer <= CONTACT_LAYERS:
        shown = reshape(concat(take(step[0], entry), take(step[1], entry), take(step[2], entry)), 3, WAYS, GUESSES)
        value = first_contact(value, shown, contact_worth(y, vy, slack, beat, layer, variety(memory.returns)))
    mine = memory.knob // 101 == beat
    return argmax(asked_worth(value, CHANCES, memory.last, where(mine, memory.weight, 0.0)))


def go_to(memory, height):
    """The move towards a resting place near `height`; one step turns the knob by 6 px a frame."""
    away = height - TARGETS[memory.lead]
    if abs(away) <= 3.0 * FRAMESKIP:
        return 0
    return DOWN if away > 0.0 else UP


def decide(memory):
    """(move, reason) for the present track and belief."""
    frames = LAST_CONTACT - memory.ball_x
    if not memory.tracked or memory.ball_vx < 0 or frames <= 0:
        return go_to(memory, MIDDLE), "wait in the middle"
    y, vy = fly(memory.ball_y, memory.ball_vy, FIRST_CONTACT - memory.ball_x)
    layer = (frames + FRAMESKIP - 1) // FRAMESKIP
    if layer <= 2 * HORIZON:
        slack = layer * FRAMESKIP - frames
        beat = memory.lead // 101
        end_beat = (beat + layer * FRAMESKIP) % 2
        memory.ready = carry_back(memory, y, vy, slack, end_beat, min(layer - 1, HORIZON))
        if layer <= memory.ready + 1:
            return best_move(memory, y, vy, slack, beat, layer), "meet the ball"
    zone = argmax(take(WORTH, clip(y, 0, 255)))
    return go_to(memory, clip(y + 1 - 4 * zone, 37, 203)), "go where the ball will land"


def act(scene, memory):
    """One step: follow the ball, follow the paddle, decide. RIGHT moves the paddle up, LEFT down."""
    memory.tracked = follow_ball(scene, memory)
    memory.sure = follow_paddle(scene, memory)
    move, reason = decide(memory)
    memory.move = move
    if move == UP:
        return RIGHT, reason
    if move == DOWN:
        return LEFT, reason
    return NOOP, reason
