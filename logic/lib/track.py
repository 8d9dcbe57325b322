"""Following things from detection to detection: velocity, coasting, identity among equals.

Know: one step of one thing, or of all things of a kind. Do not know: what the things are. Positions in px, velocities
in px per agent step; `away` is the number of steps since the last sighting, beyond COAST there is no track.
"""

COAST = 6.0  # steps a lost thing is predicted before it is forgotten
DECAY = 0.75  # of `sure` per coasted step
SLACK = 6.0  # px a detection may lie off the prediction beyond the kind's largest speed


class Detection:
    seen: bool = False
    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0
    sure: float = 0.0


class Track:
    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    sure: float = 0.0
    away: float = COAST + 1.0


def follow(new, old, reach):
    """One step of a single thing: its Detection and Track to the next Track. `reach`: its largest speed."""
    if not new.seen:
        if old.away >= COAST:
            return Track()
        return Track(old.x + old.vx, old.y + old.vy, old.w, old.h, old.vx, old.vy, old.sure * DECAY, old.away + 1.0)
    first = Track(new.x, new.y, new.w, new.h, 0.0, 0.0, new.sure, 0.0)
    if old.away > COAST:
        return first
    # The memory of a coasting thing is its prediction: measure from the last sighting.
    vx = (new.x - old.x) / (old.away + 1.0) + old.vx * old.away / (old.away + 1.0)
    vy = (new.y - old.y) / (old.away + 1.0) + old.vy * old.away / (old.away + 1.0)
    if abs(vx) > reach or abs(vy) > reach:  # too fast to be the same thing
        return first
    return Track(new.x, new.y, new.w, new.h, vx, vy, new.sure, 0.0)


def assign(new, old, reach):
    """For each Track of Track[n] the index of its Detection, -1 for none: the nearest free one within reach of the
    prediction, tracks in order; then what is left, for slots without a track."""
    n = len(old)
    taken = zeros_int(n) - 1
    free = new.seen
    most = (reach + SLACK) * (reach + SLACK)
    for i in range(n):
        if old.away[i] <= COAST:
            dx = new.x - (old.x[i] + old.vx[i])
            dy = new.y - (old.y[i] + old.vy[i])
            far = where(free, dx * dx + dy * dy, 1e30)
            best = argmin(far)
            if far[best] <= most:
                taken = put(taken, i, best)
                free = put(free, best, False)
    for i in range(n):
        if old.away[i] > COAST and any_of(free):
            first = argmax(free)
            taken = put(taken, i, first)
            free = put(free, first, False)
    return taken


def follow_all(new, old, reach):
    """One step of all things of a kind: Detection[n] and Track[n] to the next Track[n], tracks in their order."""
    taken = assign(new, old, reach)
    got = taken >= 0
    new = take(new, maximum(taken, 0))
    known = got & (old.away <= COAST)
    coasts = ~got & (old.away < COAST)
    k = old.away + 1.0
    vx = (new.x - old.x) / k + old.vx * old.away / k
    vy = (new.y - old.y) / k + old.vy * old.away / k
    known = known & (abs_of(vx) <= reach) & (abs_of(vy) <= reach)
    return Track(
        where(got, new.x, where(coasts, old.x + old.vx, 0.0)),
        where(got, new.y, where(coasts, old.y + old.vy, 0.0)),
        where(got, new.w, where(coasts, old.w, 0.0)),
        where(got, new.h, where(coasts, old.h, 0.0)),
        where(known, vx, where(coasts, old.vx, 0.0)),
        where(known, vy, where(coasts, old.vy, 0.0)),
        where(got, new.sure, where(coasts, old.sure * DECAY, 0.0)),
        where(got, 0.0, where(coasts, k, COAST + 1.0)),
    )
