"""What the legs must never do, whatever the policy says."""

TOPPLE = 0.9                                # rad; a fall that nothing catches


def let_go(scene, memory, action):
    """Do not fight on when the body has toppled."""
    return zeros(6) if abs(scene.torso.tilt) > TOPPLE else action
