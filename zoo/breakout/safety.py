"""Rules that stand above Breakout's policy, whoever wrote it. Edited by people only.

Know: the scene and the action about to be taken. Do not know: the policy, its memory, its reasons.
"""


class Memory:
    """What the rules remember between steps."""

    unseen: int = 0  # steps in a row without a ball
    pressed: int = 0  # emulated frames in a row that pressed into the right wall


def no_serve_in_play(scene, memory, action):
    """Never serve while a ball is in play: FIRE does nothing then, and the paddle stands still for a step."""
    memory.unseen = 0 if scene.ball.seen else memory.unseen + 1
    if action == FIRE and scene.ball.seen:
        return NOOP
    return action


def no_winding_up(scene, memory, action):
    """Never keep pressing into the right wall: the knob winds up there, and every frame of it must be undone unseen."""
    at_wall = scene.paddle.seen and scene.paddle.x + scene.paddle.w * 0.5 >= 151.0 and scene.paddle.w < 9.5
    memory.pressed = memory.pressed + FRAMESKIP if at_wall and action == RIGHT else 0
    if memory.pressed > 12:
        return NOOP
    return action
