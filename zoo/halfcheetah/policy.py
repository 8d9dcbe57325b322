"""Run: both legs follow one clock, each joint with its own swing, and posture bends where they are to be.

Numbers of a joint: see Joint in logic/lib/gait.py. Found by search on training seeds; the ranges are what a search
may still try.
"""

from logic.lib.gait import Joint, Posture, torque

STEP = 0.05                                 # s between decisions
TURN = 6.283185307179586

PACE = tunable(3.968, 0.5, 8.0)
CRUISE = tunable(1.254, -4.0, 20.0)

BACK_THIGH_MIDDLE = tunable(-0.2414, -1.5, 1.5)
BACK_THIGH_SINE = tunable(-0.824, -1.5, 1.5)
BACK_THIGH_COSINE = tunable(0.7245, -1.5, 1.5)
BACK_THIGH_SINE2 = tunable(0.1047, -1.0, 1.0)
BACK_THIGH_COSINE2 = tunable(0.03496, -1.0, 1.0)
BACK_THIGH_TILT = tunable(0.409, -3.0, 3.0)
BACK_THIGH_SPIN = tunable(-0.1506, -1.5, 1.5)
BACK_THIGH_HASTE = tunable(-0.0644, -1.0, 1.0)
BACK_THIGH_RISE = tunable(0.00337, -1.0, 1.0)
BACK_THIGH_STIFFNESS = tunable(1.319, 0.0, 12.0)
BACK_THIGH_DAMPING = tunable(-0.06104, -0.5, 2.0)

BACK_SHIN_MIDDLE = tunable(-0.2614, -1.5, 1.5)
BACK_SHIN_SINE = tunable(-0.5893, -1.5, 1.5)
BACK_SHIN_COSINE = tunable(0.4553, -1.5, 1.5)
BACK_SHIN_SINE2 = tunable(-0.05234, -1.0, 1.0)
BACK_SHIN_COSINE2 = tunable(-0.2488, -1.0, 1.0)
BACK_SHIN_TILT = tunable(0.3307, -3.0, 3.0)
BACK_SHIN_SPIN = tunable(0.06463, -1.5, 1.5)
BACK_SHIN_HASTE = tunable(0.007416, -1.0, 1.0)
BACK_SHIN_RISE = tunable(0.06621, -1.0, 1.0)
BACK_SHIN_STIFFNESS = tunable(1.905, 0.0, 12.0)
BACK_SHIN_DAMPING = tunable(-0.005711, -0.5, 2.0)

BACK_FOOT_MIDDLE = tunable(-2.824, -3.0, 1.5)
BACK_FOOT_SINE = tunable(0.1586, -1.5, 1.5)
BACK_FOOT_COSINE = tunable(1.088, -1.5, 1.5)
BACK_FOOT_SINE2 = tunable(-0.3982, -1.0, 1.0)
BACK_FOOT_COSINE2 = tunable(0.2451, -1.0, 1.0)
BACK_FOOT_TILT = tunable(0.4395, -3.0, 3.0)
BACK_FOOT_SPIN = tunable(-0.03174, -1.5, 1.5)
BACK_FOOT_HASTE = tunable(0.01744, -1.0, 1.0)
BACK_FOOT_RISE = tunable(0.03037, -1.0, 1.0)
BACK_FOOT_STIFFNESS = tunable(0.9322, 0.0, 12.0)
BACK_FOOT_DAMPING = tunable(-0.01707, -0.5, 2.0)

FRONT_THIGH_MIDDLE = tunable(-0.918, -1.5, 1.5)
FRONT_THIGH_SINE = tunable(-0.2369, -1.5, 1.5)
FRONT_THIGH_COSINE = tunable(0.04919, -1.5, 1.5)
FRONT_THIGH_SINE2 = tunable(0.2672, -1.0, 1.0)
FRONT_THIGH_COSINE2 = tunable(-0.0797, -1.0, 1.0)
FRONT_THIGH_TILT = tunable(0.003728, -3.0, 3.0)
FRONT_THIGH_SPIN = tunable(0.1823, -1.5, 1.5)
FRONT_THIGH_HASTE = tunable(-0.1049, -1.0, 1.0)
FRONT_THIGH_RISE = tunable(-0.08667, -1.0, 1.0)
FRONT_THIGH_STIFFNESS = tunable(1.305, 0.0, 12.0)
FRONT_THIGH_DAMPING = tunable(-0.002206, -0.5, 2.0)

FRONT_SHIN_MIDDLE = tunable(-0.7841, -1.5, 1.5)
FRONT_SHIN_SINE = tunable(-0.05223, -1.5, 1.5)
FRONT_SHIN_COSINE = tunable(-0.5468, -1.5, 1.5)
FRONT_SHIN_SINE2 = tunable(-0.02991, -1.0, 1.0)
FRONT_SHIN_COSINE2 = tunable(-0.3967, -1.0, 1.0)
FRONT_SHIN_TILT = tunable(0.891, -3.0, 3.0)
FRONT_SHIN_SPIN = tunable(0.4769, -1.5, 1.5)
FRONT_SHIN_HASTE = tunable(-0.2731, -1.0, 1.0)
FRONT_SHIN_RISE = tunable(0.04268, -1.0, 1.0)
FRONT_SHIN_STIFFNESS = tunable(1.944, 0.0, 12.0)
FRONT_SHIN_DAMPING = tunable(-0.1114, -0.5, 2.0)

FRONT_FOOT_MIDDLE = tunable(-0.06313, -1.5, 1.5)
FRONT_FOOT_SINE = tunable(-0.2712, -1.5, 1.5)
FRONT_FOOT_COSINE = tunable(0.3134, -1.5, 1.5)
FRONT_FOOT_SINE2 = tunable(-0.3721, -1.0, 1.0)
FRONT_FOOT_COSINE2 = tunable(-0.127, -1.0, 1.0)
FRONT_FOOT_TILT = tunable(-0.3911, -3.0, 3.0)
FRONT_FOOT_SPIN = tunable(0.1719, -1.5, 1.5)
FRONT_FOOT_HASTE = tunable(0.2117, -1.0, 1.0)
FRONT_FOOT_RISE = tunable(-0.04045, -1.0, 1.0)
FRONT_FOOT_STIFFNESS = tunable(1.475, 0.0, 12.0)
FRONT_FOOT_DAMPING = tunable(0.0005664, -0.5, 2.0)


class Memory:
    phase: float = 0.0                      # rad, of the clock


def act(scene, memory):
    back_thigh = Joint(
        BACK_THIGH_MIDDLE, BACK_THIGH_SINE, BACK_THIGH_COSINE, BACK_THIGH_SINE2, BACK_THIGH_COSINE2,
        BACK_THIGH_TILT, BACK_THIGH_SPIN, BACK_THIGH_HASTE, BACK_THIGH_RISE,
        BACK_THIGH_STIFFNESS, BACK_THIGH_DAMPING,
    )
    back_shin = Joint(
        BACK_SHIN_MIDDLE, BACK_SHIN_SINE, BACK_SHIN_COSINE, BACK_SHIN_SINE2, BACK_SHIN_COSINE2,
        BACK_SHIN_TILT, BACK_SHIN_SPIN, BACK_SHIN_HASTE, BACK_SHIN_RISE,
        BACK_SHIN_STIFFNESS, BACK_SHIN_DAMPING,
    )
    back_foot = Joint(
        BACK_FOOT_MIDDLE, BACK_FOOT_SINE, BACK_FOOT_COSINE, BACK_FOOT_SINE2, BACK_FOOT_COSINE2,
        BACK_FOOT_TILT, BACK_FOOT_SPIN, BACK_FOOT_HASTE, BACK_FOOT_RISE,
        BACK_FOOT_STIFFNESS, BACK_FOOT_DAMPING,
    )
    front_thigh = Joint(
        FRONT_THIGH_MIDDLE, FRONT_THIGH_SINE, FRONT_THIGH_COSINE, FRONT_THIGH_SINE2, FRONT_THIGH_COSINE2,
        FRONT_THIGH_TILT, FRONT_THIGH_SPIN, FRONT_THIGH_HASTE, FRONT_THIGH_RISE,
        FRONT_THIGH_STIFFNESS, FRONT_THIGH_DAMPING,
    )
    front_shin = Joint(
        FRONT_SHIN_MIDDLE, FRONT_SHIN_SINE, FRONT_SHIN_COSINE, FRONT_SHIN_SINE2, FRONT_SHIN_COSINE2,
        FRONT_SHIN_TILT, FRONT_SHIN_SPIN, FRONT_SHIN_HASTE, FRONT_SHIN_RISE,
        FRONT_SHIN_STIFFNESS, FRONT_SHIN_DAMPING,
    )
    front_foot = Joint(
        FRONT_FOOT_MIDDLE, FRONT_FOOT_SINE, FRONT_FOOT_COSINE, FRONT_FOOT_SINE2, FRONT_FOOT_COSINE2,
        FRONT_FOOT_TILT, FRONT_FOOT_SPIN, FRONT_FOOT_HASTE, FRONT_FOOT_RISE,
        FRONT_FOOT_STIFFNESS, FRONT_FOOT_DAMPING,
    )
    torso = scene.torso
    b = scene.back
    f = scene.front
    spin = clip(torso.spin, -10.0, 10.0)
    posture = Posture(torso.tilt, spin, clip(torso.speed, -10.0, 10.0) - CRUISE, clip(torso.rise, -10.0, 10.0))
    now = memory.phase
    memory.phase = (now + TURN * PACE * STEP) % TURN
    torques = array((
        torque(back_thigh, posture, now, b.thigh, b.thigh_turning),
        torque(back_shin, posture, now, b.shin, b.shin_turning),
        torque(back_foot, posture, now, b.foot, b.foot_turning),
        torque(front_thigh, posture, now, f.thigh, f.thigh_turning),
        torque(front_shin, posture, now, f.shin, f.shin_turning),
        torque(front_foot, posture, now, f.foot, f.foot_turning),
    ))
    return (torques, "upwards") if torso.rise > 0.0 else (torques, "downwards")
