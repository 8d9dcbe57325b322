"""Gaits: a clock swings the target angle of every joint, posture bends it, a spring and a damper follow it."""


class Joint:
    """How one joint moves. Targets in rad, torques as shares of the strongest."""

    middle: float = 0.0                     # where the target stands when nothing else moves it
    sine: float = 0.0                       # its swing with the clock
    cosine: float = 0.0
    sine2: float = 0.0                      # its swing at twice the pace
    cosine2: float = 0.0
    tilt: float = 0.0                       # per rad that the body leans
    spin: float = 0.0                       # per rad/s at which it does
    haste: float = 0.0                      # per m/s beyond the speed of the gait
    rise: float = 0.0                       # per m/s upwards
    stiffness: float = 1.0                  # torque per rad from the target
    damping: float = 0.0                    # torque per rad/s of the joint


class Posture:
    """What corrects a gait: lean, its speed, speed beyond that of the gait, upward speed."""

    tilt: float = 0.0
    spin: float = 0.0
    haste: float = 0.0
    rise: float = 0.0


def target(joint, posture, phase):
    """The angle at which a joint should be, at a phase of the clock in rad."""
    s = math.sin(phase)
    c = math.cos(phase)
    swing = joint.middle + joint.sine * s + joint.cosine * c
    swing += joint.sine2 * (2.0 * s * c) + joint.cosine2 * (c * c - s * s)
    lean = joint.tilt * posture.tilt + joint.spin * posture.spin
    return swing + lean + joint.haste * posture.haste + joint.rise * posture.rise


def torque(joint, posture, phase, angle, turning):
    """Spring and damper towards the target: the share of the strongest torque, -1 to 1."""
    return clip(joint.stiffness * (target(joint, posture, phase) - angle) - joint.damping * turning, -1.0, 1.0)
