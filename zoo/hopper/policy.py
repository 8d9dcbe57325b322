"""Hop: a clock swings the three joints of the leg about their middles, and posture bends where they are to be.

Numbers of a joint: see Joint in logic/lib/gait.py. Found by search on training seeds; the ranges are what a search
may still try.
"""

from logic.lib.gait import Joint, Posture, torque

STEP = 0.008                                # s between decisions
TURN = 6.283185307179586

PACE = tunable(1.313, 0.5, 4.0)            # hops a second
CRUISE = tunable(0.8452, -2.0, 6.0)          # m/s, the speed at which haste corrects nothing

THIGH_MIDDLE = tunable(-0.1372, -1.5, 1.5)
THIGH_SINE = tunable(0.08143, -1.5, 1.5)
THIGH_COSINE = tunable(-0.5916, -1.5, 1.5)
THIGH_SINE2 = tunable(0.2166, -1.0, 1.0)
THIGH_COSINE2 = tunable(-0.3238, -1.0, 1.0)
THIGH_TILT = tunable(-2.455, -3.0, 3.0)
THIGH_SPIN = tunable(-1.007, -1.5, 1.5)
THIGH_HASTE = tunable(-0.3505, -1.0, 1.0)
THIGH_RISE = tunable(-0.06835, -1.0, 1.0)
THIGH_STIFFNESS = tunable(1.663, 0.0, 12.0)
THIGH_DAMPING = tunable(0.2683, -0.5, 2.0)

LEG_MIDDLE = tunable(0.5507, -1.5, 1.5)
LEG_SINE = tunable(0.2057, -1.5, 1.5)
LEG_COSINE = tunable(-0.8771, -1.5, 1.5)
LEG_SINE2 = tunable(0.342, -1.0, 1.0)
LEG_COSINE2 = tunable(-0.04903, -1.0, 1.0)
LEG_TILT = tunable(1.821, -3.0, 3.0)
LEG_SPIN = tunable(-0.4808, -1.5, 1.5)
LEG_HASTE = tunable(-0.005421, -1.0, 1.0)
LEG_RISE = tunable(-0.2215, -1.0, 1.0)
LEG_STIFFNESS = tunable(2.131, 0.0, 12.0)
LEG_DAMPING = tunable(0.1304, -0.5, 2.0)

FOOT_MIDDLE = tunable(0.6515, -1.5, 1.5)
FOOT_SINE = tunable(0.4974, -1.5, 1.5)
FOOT_COSINE = tunable(0.8507, -1.5, 1.5)
FOOT_SINE2 = tunable(-0.7403, -1.0, 1.0)
FOOT_COSINE2 = tunable(-0.256, -1.0, 1.0)
FOOT_TILT = tunable(-1.299, -3.0, 3.0)
FOOT_SPIN = tunable(-0.222, -1.5, 1.5)
FOOT_HASTE = tunable(-0.6869, -1.0, 1.0)
FOOT_RISE = tunable(0.1326, -1.0, 1.0)
FOOT_STIFFNESS = tunable(6.198, 0.0, 12.0)
FOOT_DAMPING = tunable(0.2649, -0.5, 2.0)


class Memory:
    phase: float = 0.0                      # rad, of the clock


def act(scene, memory):
    thigh = Joint(
        THIGH_MIDDLE, THIGH_SINE, THIGH_COSINE, THIGH_SINE2, THIGH_COSINE2,
        THIGH_TILT, THIGH_SPIN, THIGH_HASTE, THIGH_RISE, THIGH_STIFFNESS, THIGH_DAMPING,
    )
    leg = Joint(
        LEG_MIDDLE, LEG_SINE, LEG_COSINE, LEG_SINE2, LEG_COSINE2,
        LEG_TILT, LEG_SPIN, LEG_HASTE, LEG_RISE, LEG_STIFFNESS, LEG_DAMPING,
    )
    foot = Joint(
        FOOT_MIDDLE, FOOT_SINE, FOOT_COSINE, FOOT_SINE2, FOOT_COSINE2,
        FOOT_TILT, FOOT_SPIN, FOOT_HASTE, FOOT_RISE, FOOT_STIFFNESS, FOOT_DAMPING,
    )
    torso = scene.torso
    posture = Posture(torso.tilt, torso.spin, torso.speed - CRUISE, torso.rise)
    now = memory.phase
    memory.phase = (now + TURN * PACE * STEP) % TURN
    torques = array((
        torque(thigh, posture, now, scene.angle.thigh, scene.turning.thigh),
        torque(leg, posture, now, scene.angle.leg, scene.turning.leg),
        torque(foot, posture, now, scene.angle.foot, scene.turning.foot),
    ))
    return (torques, "push off") if torso.rise > 0.0 else (torques, "come down")
