"""A ball that flies straight between bounces: velocity fitted since the last bounce, and where it will be.

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


class Leg:
    x: float = 0.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    from_x: float = 0.0  # where this straight leg was first seen
    from_y: float = 0.0
    age: int = 0  # frames since then
    lost: int = 0  # frames since the last sighting


def watch(seen, x, y, leg, frames, low, high, legal_x, legal_y, near):
    """Follow a ball from one observation to the next: the Leg it was on to the Leg it is on.

    `x, y`: observed centre, walls at `low` and `high` in x; `near` px: a sighting that close to the prediction
    continues the leg. A leg that ends unpredicted is taken to keep its vx and reverse its vy when x fits (brick, bat),
    else it starts anew from two points. A far-off sighting is believed when nothing was there before.
    """
    ahead_x, ahead_vx = fly(leg.x, leg.vx, frames, low, high)
    ahead_y = leg.y + leg.vy * frames
    off_x = abs(x - ahead_x)
    off_y = abs(y - ahead_y)
    leap = 4.0 + 7.0 * (leg.lost + frames)  # twice the top speed: a ball that turned back at once
    if not seen or leg.lost == 0 and leg.vy != 0.0 and (off_x > leap or off_y > leap):
        return Leg(ahead_x, ahead_y, ahead_vx, leg.vy, ahead_x, ahead_y, 0, leg.lost + frames)
    if off_x > leap or off_y > leap:
        return begun(x, y, 0.0, 0.0)
    if off_x <= near and off_y <= near and leg.vy != 0.0:
        if ahead_vx != leg.vx:  # turned at a wall as predicted: a new leg of known velocity
            return begun(x, y, ahead_vx, leg.vy)
        return continued(x, y, leg, ahead_x, ahead_y, leg.age + frames, legal_x, legal_y)
    if off_x <= near and leg.vy != 0.0 and leg.age > 0:
        return begun(x, y, ahead_vx, 0.0 - leg.vy)
    return begun(x, y, snap((x - leg.x) / frames, legal_x), snap((y - leg.y) / frames, legal_y))


def begun(x, y, vx, vy):
    """A leg that starts here."""
    return Leg(x, y, vx, vy, x, y, 0, 0)


def continued(x, y, leg, ahead_x, ahead_y, age, legal_x, legal_y):
    """The same leg one sighting on: position averaged over the leg, velocity refitted once the leg is long enough."""
    gain = 1.0 / (1.0 + min(age, 6))
    vx = leg.vx
    vy = leg.vy
    if age >= 8 and age % 8 < 4:  # often enough, and seldom enough to be cheap
        vx = snap((x - leg.from_x) / age, legal_x)
        vy = snap((y - leg.from_y) / age, legal_y)
    return Leg(
        ahead_x + gain * (x - ahead_x), ahead_y + gain * (y - ahead_y), vx, vy, leg.from_x, leg.from_y, age, 0,
    )  # fmt: skip


def track(seen, at_x, at_y, x, y, vx, vy, from_x, from_y, age, lost, frames, low, high, legal_x, legal_y, near):
    """`watch` with the values of a Leg one by one: (x, y, vx, vy, from_x, from_y, age, lost)."""
    old = Leg(x, y, vx, vy, from_x, from_y, age, lost)
    leg = watch(seen, at_x, at_y, old, frames, low, high, legal_x, legal_y, near)
    return leg.x, leg.y, leg.vx, leg.vy, leg.from_x, leg.from_y, leg.age, leg.lost
