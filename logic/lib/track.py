"""Following things from detection to detection: velocity, coasting, identity among equals.

Know: one step of one thing, or of all things of a kind. Do not know: what the things are. Positions in px, velocities
in px per agent step; `away` is the number of steps since the last sighting, beyond COAST there is no track.
"""

COAST = 6.0  # steps a lost thing is predicted before it is forgotten
DECAY = 0.75  # of `sure` per coasted step
SLACK = 6.0  # px a detection may lie off the prediction beyond the kind's largest speed


def follow(seen, x, y, w, h, sure, old_x, old_y, old_w, old_h, old_vx, old_vy, old_sure, away, reach):
    """One step of a single thing: x, y, w, h, vx, vy, sure, away. `reach`: its largest speed."""
    if not seen:
        if away >= COAST:
            return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, COAST + 1.0
        return old_x + old_vx, old_y + old_vy, old_w, old_h, old_vx, old_vy, old_sure * DECAY, away + 1.0
    if away > COAST:
        return x, y, w, h, 0.0, 0.0, sure, 0.0
    # The memory of a coasting thing is its prediction: measure from the last sighting.
    vx = (x - old_x) / (away + 1.0) + old_vx * away / (away + 1.0)
    vy = (y - old_y) / (away + 1.0) + old_vy * away / (away + 1.0)
    if abs(vx) > reach or abs(vy) > reach:  # too fast to be the same thing
        return x, y, w, h, 0.0, 0.0, sure, 0.0
    return x, y, w, h, vx, vy, sure, 0.0


def assign(seen, x, y, old_x, old_y, old_vx, old_vy, away, n, reach):
    """For each of n tracks the index of its detection, -1 for none: the nearest free one within reach of the
    prediction, tracks in order; then what is left, for slots without a track."""
    taken = zeros_int(n) - 1
    free = seen
    most = (reach + SLACK) * (reach + SLACK)
    for i in range(n):
        if away[i] <= COAST:
            dx = x - (old_x[i] + old_vx[i])
            dy = y - (old_y[i] + old_vy[i])
            far = where(free, dx * dx + dy * dy, 1e30)
            best = argmin(far)
            if far[best] <= most:
                taken = put(taken, i, best)
                free = put(free, best, False)
    for i in range(n):
        if away[i] > COAST and any_of(free):
            first = argmax(free)
            taken = put(taken, i, first)
            free = put(free, first, False)
    return taken


def follow_all(taken, x, y, w, h, sure, old_x, old_y, old_w, old_h, old_vx, old_vy, old_sure, away, reach):
    """One step of all things of a kind: arrays x, y, w, h, vx, vy, sure, away in the order of the tracks."""
    got = taken >= 0
    at = maximum(taken, 0)
    known = got & (away <= COAST)
    coasts = ~got & (away < COAST)
    k = away + 1.0
    new_x, new_y = take(x, at), take(y, at)
    vx = (new_x - old_x) / k + old_vx * away / k
    vy = (new_y - old_y) / k + old_vy * away / k
    known = known & (abs_of(vx) <= reach) & (abs_of(vy) <= reach)
    keep_x, keep_y = where(coasts, old_vx, 0.0), where(coasts, old_vy, 0.0)
    return (
        where(got, new_x, where(coasts, old_x + old_vx, 0.0)),
        where(got, new_y, where(coasts, old_y + old_vy, 0.0)),
        where(got, take(w, at), where(coasts, old_w, 0.0)),
        where(got, take(h, at), where(coasts, old_h, 0.0)),
        where(known, vx, keep_x),
        where(known, vy, keep_y),
        where(got, take(sure, at), where(coasts, old_sure * DECAY, 0.0)),
        where(got, 0.0, where(coasts, k, COAST + 1.0)),
    )
