"""What `math.sin` and its kin mean: the same bits in every back end, which no two C libraries or browsers give.

Errors stay below 1 unit in the last place (sin, cos, exp, log), below 2 elsewhere; sin, cos and tan of more than a
million first take x % TAU, whose error grows with x. Faults are those of Python's own math.

Coefficients are Taylor's: 1 / k! and 1 / (2 k + 1). Constants in parts (HIGH + LOW) are the first 33 or 42 bits of the
number, so that whole multiples of them are exact, and what then remains.
"""

LARGEST = 1.7976931348623157e308
FAR = 1000000.0
TAU = 6.283185307179586
TWO_OVER_PI = 0.6366197723675814
QUARTER_TURN_1 = 1.5707963267341256  # pi / 2 = these three added
QUARTER_TURN_2 = 6.077100506303966e-11
QUARTER_TURN_3 = 2.0222662487959506e-21
HALF_PI = 1.5707963267948966
HALF_PI_LOW = 6.123233995736766e-17
PI_LOW = 1.2246467991473532e-16
ATAN_ONE = 0.7853981633974483
ATAN_ONE_LOW = 3.061616997868383e-17
ATAN_HALF = 0.4636476090008061
ATAN_HALF_LOW = 2.2698777452961687e-17
LN2_HIGH = 0.6931471805598903
LN2_LOW = 5.497923018708371e-14
ONE_OVER_LN2 = 1.4426950408889634


def powers_of_two(n):
    """Float[n]: 1, 2, 4, ..."""
    table = ones(n)
    for i in range(1, n):
        table = put(table, i, take(table, i - 1) * 2.0)
    return table


POWERS = powers_of_two(72)  # float32 holds them exactly


# --- sin, cos, tan ----------------------------------------------------------------------------------------------


def sin(x):
    """Sine of x radians; infinity is a fault."""
    return wave(x, 0)


def cos(x):
    """Cosine of x radians; infinity is a fault."""
    return wave(x, 1)


def tan(x):
    """Tangent of x radians; infinity is a fault."""
    return wave(x, 0) / wave(x, 1)


def wave(x, ahead):
    """sin(x + ahead * pi / 2): x less whole quarter turns, as r + low, |r| <= pi / 4; then a series."""
    if not abs(x) <= LARGEST:
        return math.sqrt(-abs(x))  # NaN gives NaN, infinity a fault
    near = x if abs(x) <= FAR else x % TAU
    turns = round(clip(near * TWO_OVER_PI, -700000.0, 700000.0))
    n = float(turns)
    first = near - n * QUARTER_TURN_1
    second = n * QUARTER_TURN_2
    rest = first - second
    third = n * QUARTER_TURN_3 - ((first - rest) - second)
    r = rest - third
    low = (rest - r) - third
    quadrant = (turns + ahead) % 4
    value = even_series(r, low) if quadrant % 2 == 1 else odd_series(r, low)
    return value if quadrant < 2 else -value


def odd_series(r, low):
    """sin(r + low) = r - r^3 / 3! + r^5 / 5! - ... + low * cos(r)."""
    z = r * r
    p = 1.0 / 6227020800.0 - z * (1.0 / 1307674368000.0 - z * (1.0 / 355687428096000.0))
    p = 1.0 / 5040.0 - z * (1.0 / 362880.0 - z * (1.0 / 39916800.0 - z * p))
    p = 1.0 / 6.0 - z * (1.0 / 120.0 - z * p)
    return r - (r * z * p - low * (1.0 - 0.5 * z))


def even_series(r, low):
    """cos(r + low) = 1 - r^2 / 2! + r^4 / 4! - ... - low * r, what 1 - r^2 / 2 loses put back."""
    z = r * r
    p = 1.0 / 479001600.0 - z * (1.0 / 87178291200.0 - z * (1.0 / 20922789888000.0))
    p = 1.0 / 24.0 - z * (1.0 / 720.0 - z * (1.0 / 40320.0 - z * (1.0 / 3628800.0 - z * p)))
    half = 0.5 * z
    whole = 1.0 - half
    return whole + (((1.0 - whole) - half) + (z * z * p - r * low))


# --- exp, log ---------------------------------------------------------------------------------------------------


def exp(x):
    """e to the power x; a finite x whose result is infinite is a fault."""
    if not x <= 709.782712893384:
        return x if x > LARGEST or x != x else math.sqrt(-x)
    if x < -745.2:
        return 0.0
    turns = round(clip(x, -746.0, 710.0) * ONE_OVER_LN2)  # x = turns * ln 2 + r, |r| <= ln 2 / 2
    n = float(turns)
    high = x - n * LN2_HIGH
    low = n * LN2_LOW
    r = high - low
    p = 1.0 / 3628800.0 + r * (1.0 / 39916800.0 + r * (1.0 / 479001600.0 + r * (1.0 / 6227020800.0)))
    p = 1.0 / 720.0 + r * (1.0 / 5040.0 + r * (1.0 / 40320.0 + r * (1.0 / 362880.0 + r * p)))
    p = 0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * p)))
    return scaled(1.0 + (r + (((high - r) - low) + r * r * p)), turns)


def scaled(x, n):
    """x * 2 ** n for |n| < 1150, rounded once: half of the factors at a time, so that none is infinite."""
    many = abs(n)
    half = many // 2
    fine = take(POWERS, half // 8)
    one = fine * fine
    one = one * one
    one = one * one * take(POWERS, half % 8)
    other = one * 2.0 if many % 2 == 1 else one
    return x * one * other if n >= 0 else x / one / other


def log(x):
    """Natural logarithm; zero and less are faults."""
    if not x > 0.0:
        return math.sqrt(x - 1.0)
    if x > LARGEST:
        return x
    m, e = (x * 18014398509481984.0, -54) if x < 2.3e-308 else (x, 0)
    m, e = (m * 1.3407807929942597e154, e - 512) if m < 1.0 else (m, e)
    m, e = (m * 1.3407807929942597e154, e - 512) if m < 1.0 else (m, e)
    m, e = lower(m, e, 1.3407807929942597e154, 512)
    m, e = lower(m, e, 1.157920892373162e77, 256)
    m, e = lower(m, e, 3.402823669209385e38, 128)
    m, e = lower(m, e, 1.8446744073709552e19, 64)
    m, e = lower(m, e, 4294967296.0, 32)
    m, e = lower(m, e, 65536.0, 16)
    m, e = lower(m, e, 256.0, 8)
    m, e = lower(m, e, 16.0, 4)
    m, e = lower(m, e, 4.0, 2)
    m, e = lower(m, e, 2.0, 1)
    m, e = (0.5 * m, e + 1) if m > 1.4142135623730951 else (m, e)
    return logarithm(m - 1.0, float(e))


def lower(m, e, power, bits):
    """m * 2 ** e with m below `power`: half as many digits left to look at."""
    return (m / power, e + bits) if m >= power else (m, e)


def logarithm(f, n):
    """log(1 + f) + n log 2, where 0.7 < 1 + f < 1.42: with s = f / (2 + f), log(1 + f) = 2 (s + s^3 / 3 + ...)."""
    s = f / (2.0 + f)
    z = s * s
    p = 2.0 / 17.0 + z * (2.0 / 19.0 + z * (2.0 / 21.0 + z * (2.0 / 23.0)))
    p = 2.0 / 9.0 + z * (2.0 / 11.0 + z * (2.0 / 13.0 + z * (2.0 / 15.0 + z * p)))
    p = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * p)))
    square = 0.5 * f * f
    return n * LN2_HIGH - ((square - (s * (square + p) + n * LN2_LOW)) - f)


# --- atan and its kin, hypot ------------------------------------------------------------------------------------


def atan(x):
    """Angle whose tangent is x."""
    return atan2(x, 1.0)


def asin(x):
    """Angle whose sine is x; beyond -1 .. 1 is a fault."""
    return atan2(x, math.sqrt((1.0 - x) * (1.0 + x)))


def acos(x):
    """Angle whose cosine is x; beyond -1 .. 1 is a fault."""
    return atan2(math.sqrt((1.0 - x) * (1.0 + x)), x)


def atan2(y, x):
    """Angle of the point (x, y), -pi .. pi. Zeros have no sign: atan2(0, x) is 0 or pi."""
    a = abs(y)
    b = abs(x)
    if a != a or b != b:
        return x + y
    least = min(a, b)
    most = max(a, b)
    q = 1.0 if least > LARGEST else least / most if most > 0.0 else 0.0
    angle = slope(q)
    angle = HALF_PI - (angle - HALF_PI_LOW) if a > b else angle
    angle = math.pi - (angle - PI_LOW) if x < 0.0 else angle
    return -angle if y < 0.0 else angle


def slope(q):
    """Arc tangent of 0 <= q <= 1, by c = 0, 1/2 or 1: atan q = atan c + atan((q - c) / (1 + c q))."""
    c = 0.0 if q < 0.25 else 0.5 if q < 0.75 else 1.0
    t = (q - c) / (1.0 + c * q)
    z = t * t
    p = 1.0 / 19.0 - z * (1.0 / 21.0 - z * (1.0 / 23.0 - z * (1.0 / 25.0 - z * (1.0 / 27.0))))
    p = 1.0 / 11.0 - z * (1.0 / 13.0 - z * (1.0 / 15.0 - z * (1.0 / 17.0 - z * p)))
    p = 1.0 / 3.0 - z * (1.0 / 5.0 - z * (1.0 / 7.0 - z * (1.0 / 9.0 - z * p)))
    high = 0.0 if q < 0.25 else ATAN_HALF if q < 0.75 else ATAN_ONE
    low = 0.0 if q < 0.25 else ATAN_HALF_LOW if q < 0.75 else ATAN_ONE_LOW
    return high - ((t * z * p - low) - t)


def hypot(x, y):
    """Length of (x, y)."""
    return math.sqrt(x * x + y * y)
