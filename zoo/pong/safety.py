"""What the Pong paddle must never do, whatever the policy says.

Knows: where the paddle's travel ends on the screen, how long a ball may be out of sight between two points.
Does not know: the policy's plans, its memory, the score.
"""

TOP_END = 41.5  # px: with its lower edge here the paddle cannot rise (its last place shows rows 34..39 or 34..40)
AWAY = 120  # frames: between two points no ball is seen for some 60


class Memory:
    """Steps since the ball was last seen."""

    unseen: int = 0


def hold_at_the_top(scene, memory, action):
    """Do not wind the knob up beyond the top."""
    # There the emulator goes on counting up to five steps that nothing shows and that delay the way back.
    if action == RIGHT and scene.player.seen and scene.player.y + scene.player.h / 2.0 < TOP_END:
        return NOOP
    return action


def rest_when_blind(scene, memory, action):
    """Hold still when no ball has been seen for two seconds."""
    memory.unseen = 0 if scene.ball.seen else memory.unseen + 1
    if memory.unseen * FRAMESKIP > AWAY:
        return NOOP
    return action
