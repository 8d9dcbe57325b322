"""Walk: both legs follow one clock, half a turn apart, and posture bends where their joints are to be.

Numbers of a joint: see Joint in logic/lib/gait.py. Both legs have the same ones. Found by search on training seeds;
the ranges are what a search may still try.
"""

from logic.lib.gait import Joint, Posture, torque

STEP = 0.008                                # s between decisions
TURN = 6.283185307179586

PACE = tunable(2.236, 0.5, 5.0)
CRUISE = tunable(8.363, -2.0, 16.0)

THIGH_MIDDLE = tunable(-0.4052, -1.5, 1.5)
THIGH_SINE = tunable(0.3097, -1.5, 1.5)
THIGH_COSINE = tunable(0.9903, -1.5, 1.5)
THIGH_SINE2 = tunable(-0.5161, -1.0, 1.0)
THIGH_COSINE2 = tunable(-0.0165, -1.0, 1.0)
THIGH_TILT = tunable(-2.122, -3.0, 3.0)
THIGH_SPIN = tunable(0.1741, -1.5, 1.5)
THIGH_HASTE = tunable(-0.7905, -1.0, 1.0)
THIGH_RISE = tunable(-0.04151, -1.0, 1.0)
THIGH_STIFFNESS = tunable(1.736, 0.0, 12.0)
THIGH_DAMPING = tunable(0.1204, -0.5, 2.0)

LEG_MIDDLE = tunable(-0.6457, -1.5, 1.5)
LEG_SINE = tunable(-1.069, -1.5, 1.5)
LEG_COSINE = tunable(0.9013, -1.5, 1.5)
LEG_SINE2 = tunable(0.002282, -1.0, 1.0)
LEG_COSINE2 = tunable(-0.7786, -1.0, 1.0)
LEG_TILT = tunable(0.6665, -3.0, 3.0)
LEG_SPIN = tunable(-0.1048, -1.5, 1.5)
LEG_HASTE = tunable(-0.06669, -1.0, 1.0)
LEG_RISE = tunable(-0.6837, -1.0, 1.0)
LEG_STIFFNESS = tunable(1.704, 0.0, 12.0)
LEG_DAMPING = tunable(0.3268, -0.5, 2.0)

FOOT_MIDDLE = tunable(-0.7604, -1.5, 1.5)
FOOT_SINE = tunable(-2.574, -3.0, 1.5)
FOOT_COSINE = tunable(1.556, -1.5, 3.0)
FOOT_SINE2 = tunable(-0.4496, -1.0, 1.0)
FOOT_COSINE2 = tunable(-0.4549, -1.0, 1.0)
FOOT_TILT = tunable(-3.916, -6.0, 3.0)
FOOT_SPIN = tunable(0.07124, -1.5, 1.5)
FOOT_HASTE = tunable(-0.7691, -1.0, 1.0)
FOOT_RISE = tunable(0.399, -1.0, 1.0)
FOOT_STIFFNESS = tunable(5.621, 0.0, 12.0)
FOOT_DAMPING = tunable(0.5285, -0.5, 2.0)


class Leg:
    """Angles in rad, how fast they turn in rad/s."""

    thigh: float = 0.0
    leg: float = 0.0
    foot: float = 0.0
    thigh_turning: float = 0.0
    leg_turning: float = 0.0
    foot_turning: float = 0.0


class Memory:
    phase: float = 0.0                      # rad, of the clock; the left leg is half a turn ahead


def step(leg, posture, phase):
    """Torques of one leg: thigh, leg, foot."""
    thigh = Joint(
        THIGH_MIDDLE, THIGH_SINE, THIGH_COSINE, THIGH_SINE2, THIGH_COSINE2,
        THIGH_TILT, THIGH_SPIN, THIGH_HASTE, THIGH_RISE, THIGH_STIFFNESS, THIGH_DAMPING,
    )
    shin = Joint(
        LEG_MIDDLE, LEG_SINE, LEG_COSINE, LEG_SINE2, LEG_COSINE2,
        LEG_TILT, LEG_SPIN, LEG_HASTE, LEG_RISE, LEG_STIFFNESS, LEG_DAMPING,
    )
    foot = Joint(
        FOOT_MIDDLE, FOOT_SINE, FOOT_COSINE, FOOT_SINE2, FOOT_COSINE2,
        FOOT_TILT, FOOT_SPIN, FOOT_HASTE, FOOT_RISE, FOOT_STIFFNESS, FOOT_DAMPING,
    )
    return (
        torque(thigh, posture, phase, leg.thigh, leg.thigh_turning),
        torque(shin, posture, phase, leg.leg, leg.leg_turning),
        torque(foot, posture, phase, leg.foot, leg.foot_turning),
    )


def act(scene, memory):
    r = scene.right
    s = scene.left
    torso = scene.torso
    posture = Posture(torso.tilt, torso.spin, torso.speed - CRUISE, torso.rise)
    now = memory.phase
    memory.phase = (now + TURN * PACE * STEP) % TURN
    right = Leg(r.thigh, r.leg, r.foot, r.thigh_turning, r.leg_turning, r.foot_turning)
    left = Leg(s.thigh, s.leg, s.foot, s.thigh_turning, s.leg_turning, s.foot_turning)
    a, b, c = step(right, posture, now)
    d, e, f = step(left, posture, now + 0.5 * TURN)
    torques = array((a, b, c, d, e, f))
    return (torques, "right leg's half") if now < 0.5 * TURN else (torques, "left leg's half")
