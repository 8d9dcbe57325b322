"""A ball that flies straight between bounces: velocity fitted since the last bounce, and where it will be.

Knows: constant velocity per frame, magnitudes from a legal set, two walls that flip the sign once the ball has
reached them. Does not know: any game's walls, speeds or paddles; they come as numbers.

Positions are px, velocities px per emulated frame. The ball turns after the first frame at or beyond a wall,
exactly as the games do it, so flights are reproduced to the frame.
"""


def snap(value, legal):
    """`value` with its magnitude replaced by the nearest of `legal` Float[n]."""
    speed = legal[nearest(legal, abs(value))]
    return float(speed) if value > 0.0 else 0.0 - float(speed)


def fly(x, v, frames, low, high):
    """(x, v) after `frames` whole frames between walls at `low` and `high` (v flips once x <= low or x >= high)."""
    left = frames
    for _leg in range(8):
        if left <= 0 or v == 0.0:
            break
        gap = high - x if v > 0.0 else x - low
        steps = max(math.ceil(gap / abs(v)), 1)
        if steps > left:
            return x + v * left, v
        x = x + v * steps
        v = 0.0 - v
        left = left - steps
    return x, v


def frames_until(gap, v):
    """Whole frames until a distance `gap` has been covered at `v` px a frame; 0 when it lies behind."""
    if gap <= 0.0 or v <= 0.0:
        return 0
    return math.ceil(gap / v)


def passing(x, y, vx, vy, frames, low, high, top, bottom):
    """(opens, places) Float[frames]: chance that the ball is between heights `top` and `bottom` in each coming frame,
    its height known to half a pixel, and where it is then across."""
    opens = zeros(frames)
    places = zeros(frames)
    for f in range(frames):
        x, vx = fly(x, vx, 1, low, high)
        y = y + vy
        opens = put(opens, f, clip(min(y - top + 0.5, bottom - y), 0.0, 1.0))
        places = put(places, f, x)
    return opens, places


def track(seen, at_x, at_y, x, y, vx, vy, from_x, from_y, age, lost, frames, low, high, legal_x, legal_y, near):
    """Follow a ball from one observation to the next: (x, y, vx, vy, from_x, from_y, age, lost).

    `at_x, at_y`: observed centre, walls at `low` and `high` in x; `from_x, from_y`: where the present straight leg
    was first seen, `age` frames ago; `lost`: frames since the last sighting; `near` px: a sighting that close to the
    prediction continues the leg. A leg that ends unpredicted is taken to keep its vx and reverse its vy when x fits
    (brick, bat), else it starts anew from two points. A far-off sighting is believed when nothing was there before.
    """
    ahead_x, ahead_vx = fly(x, vx, frames, low, high)
    ahead_y = y + vy * frames
    off_x = abs(at_x - ahead_x)
    off_y = abs(at_y - ahead_y)
    leap = 4.0 + 7.0 * (lost + frames)  # twice the top speed: a ball that turned back at once
    if not seen or lost == 0 and vy != 0.0 and (off_x > leap or off_y > leap):
        return ahead_x, ahead_y, ahead_vx, vy, ahead_x, ahead_y, 0, lost + frames
    if off_x > leap or off_y > leap:
        return at_x, at_y, 0.0, 0.0, at_x, at_y, 0, 0
    if off_x <= near and off_y <= near and vy != 0.0:
        return continued(at_x, at_y, ahead_x, ahead_y, vx, ahead_vx, vy, from_x, from_y, age + frames, legal_x, legal_y)
    if off_x <= near and vy != 0.0 and age > 0:
        return at_x, at_y, ahead_vx, 0.0 - vy, at_x, at_y, 0, 0
    return at_x, at_y, snap((at_x - x) / frames, legal_x), snap((at_y - y) / frames, legal_y), at_x, at_y, 0, 0


def continued(at_x, at_y, ahead_x, ahead_y, vx, ahead_vx, vy, from_x, from_y, age, legal_x, legal_y):
    """The same leg one sighting on: position averaged over the leg, velocity refitted once the leg is long enough."""
    if ahead_vx != vx:  # turned at a wall as predicted: a new leg of known velocity
        return at_x, at_y, ahead_vx, vy, at_x, at_y, 0, 0
    gain = 1.0 / (1.0 + min(age, 6))
    x = ahead_x + gain * (at_x - ahead_x)
    y = ahead_y + gain * (at_y - ahead_y)
    if age >= 8 and age % 8 < 4:  # often enough, and seldom enough to be cheap
        vx = snap((at_x - from_x) / age, legal_x)
        vy = snap((at_y - from_y) / age, legal_y)
    return x, y, vx, vy, from_x, from_y, age, 0
