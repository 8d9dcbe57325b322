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
        if v == 0.0 or left <= 0:
            break
        gap = high - x if v > 0.0 else x - low
        if gap <= 0.0:
            gap = 0.0
        steps = math.ceil(gap / abs(v))
        if steps >= left and (steps > left or gap > 0.0):
            x = x + v * left
            if x >= high and v > 0.0 or x <= low and v < 0.0:
                v = 0.0 - v
            left = 0
            break
        x = x + v * steps
        v = 0.0 - v
        left = left - steps
    return x, v


def frames_until(gap, v):
    """Whole frames until a distance `gap` has been covered at `v` px a frame; 0 when it lies behind."""
    if gap <= 0.0 or v <= 0.0:
        return 0
    return math.ceil(gap / v)
