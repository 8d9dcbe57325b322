"""Which side to return a ball to, so that it fells a brick after the fewest returns.

Tries every order of sides at once.
"""


def orders(returns, speed):
    """Float[returns, 2 ** returns]: sideways velocity in each return of every order; the first half goes left first."""
    many = 2**returns
    table = zeros(returns, many)
    for i in range(returns):
        bit = to_float(arange(many) // 2 ** (returns - 1 - i) % 2)
        table = put(table, i, (bit * 2.0 - 1.0) * speed)
    return table


def fold(x, left, between):
    """Float array of positions that ignored the mirrors at `left` and `left + between`, brought back between them."""
    off = abs_of(x - left)
    off = off - floor_of(off / (2.0 * between)) * (2.0 * between)
    return minimum(off, 2.0 * between - off) + left


def worth_of_sides(bricks, x, sides, rows, times, flight, left, between, bricks_left, cell):
    """(left, right): how many returns are saved, at best, by returning the ball from `x` px to either side first.

    `bricks` Bool[R, C] with cells `cell` px wide from `bricks_left`; `sides` from `orders`; the ball crosses row
    `rows` Int[T] at `times` Float[T] frames after it left, and is back at the paddle after `flight` frames.
    """
    columns = len(take(bricks, 0))
    standing = to_float(reshape(bricks, len(bricks) * columns))
    many = len(take(sides, 0))
    ball = full(many, x)
    worth = zeros(many)
    for i in range(len(sides)):
        side = take(sides, i)
        at = fold(ball[:, None] + side[:, None] * times[None, :], left, between)
        column = clip(to_int(floor_of((at - bricks_left) / cell)), 0, columns - 1)
        struck = max_over(take(standing, rows[None, :] * columns + column), 1)
        worth = maximum(worth, struck * float(len(sides) - i))
        ball = fold(ball + side * flight, left, between)
    return largest(worth[0 : many // 2]), largest(worth[many // 2 : many])
