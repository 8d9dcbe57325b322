"""Breakout: track the ball at its legal speeds, foresee where it comes down, and rest there.

Knows: walls, bricks and legal speeds of the ball. Does not know: how the paddle answers: its knob is hidden.
"""

from logic.lib.ball import fly, frames_until, track

DEADBAND = tunable(10.0, 2.0, 20.0)  # px within which the paddle rests: a step of four frames moves it by some 23
TURN_LEFT = 8.5
TURN_RIGHT = 151.5  # half a pixel is left for noise
MEET = 187.5  # centre height from which a paddle that covers it returns the ball
CEILING = 35.5
PAST = 195.0
ACROSS = array((0.5, 1.0, 1.5, 2.0))
DOWN = array((1.0, 1.5, 2.0, 3.375))
NEAR = 2.0 if FRAMESKIP == 1 else 2.5  # px; a slow ball's bounce shows as 2 px in one frame
BRICKS_TOP = 57.0
BRICKS_LEFT = 9.0  # a brick is touched one pixel to the right of where it is drawn
CELL = 8.0


class Memory:
    """Everything remembered between steps."""

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


def act(scene, memory):
    """One decision per agent step."""
    if not follow_ball(scene, memory):
        return FIRE, "serve"
    x, frames = landing(scene, memory)
    memory.land_x = x
    memory.land_in = frames
    if memory.y > PAST:
        return NOOP, "ball missed"
    gap = clip(x, 16.0, 144.0) - scene.paddle.x
    if abs(gap) <= DEADBAND:
        return NOOP, "under the landing point"
    return (RIGHT, "landing point to the right") if gap > 0.0 else (LEFT, "landing point to the left")
