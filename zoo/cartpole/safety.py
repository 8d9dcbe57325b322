"""What the cart must never do, whatever the policy says.

The rail ends 2.4 m from its middle, and so does the episode.
"""

RAIL_END = 2.0  # m: beyond it there is no room for another step outwards
SAFE_LEAN = 0.06  # rad: with the pole leaning further outwards the cart has to follow it


def stay_on_the_rail(scene, memory, action):
    """Do not push outwards at the end of the rail while the pole lets the cart turn."""
    if not (scene.cart.seen and scene.pole.seen):
        return action
    if scene.cart.x > RAIL_END and scene.pole.angle < SAFE_LEAN:
        return LEFT
    if scene.cart.x < -RAIL_END and scene.pole.angle > -SAFE_LEAN:
        return RIGHT
    return action
