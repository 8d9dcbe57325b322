"""Contact sheets: some steps of an episode side by side, with what was detected, done and why.

Knows: one episode, which steps to show, their frames. Does not know: why these steps, clusters, text evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_flywheel.episodes.episode import Episode
from perception.scene import SceneSchema
from supervisor.errors import SupervisorError
from supervisor.evidence import letters, png
from supervisor.evidence.drawing import BACK, WHITE, Canvas, Colour
from supervisor.evidence.moments import lost_lives, rewards

Array = NDArray[Any]
Words = list[tuple[str, Colour]]
COLUMNS = 3
GAP, EDGE, LINE = 6, 3, 21  # px between cells, around a picture, per line of words
WORDS = 2  # lines of reasons and alerts under a picture
CARD: Colour = (34, 37, 48)
DIM: Colour = (160, 166, 180)
ACCENT: Colour = (94, 200, 255)
GOOD: Colour = (110, 230, 120)
BAD: Colour = (255, 92, 92)


def sheet(
    title: str, episode: Episode, steps: Sequence[int], frames: Sequence[Any], schema: SceneSchema,
    actions: Sequence[str],
) -> bytes:  # fmt: skip
    """PNG of about 1000 px width. `frames`: uint8[H, W, 3] for each of `steps`; SupervisorError when they are not."""
    if len(frames) != len(steps):
        raise SupervisorError(f"{len(steps)} frames were asked for and {len(frames)} came; play the episode again")
    change, lives = rewards(episode), lost_lives(episode)
    pictures = [Canvas(_checked(f), schema).draw(episode.scenes[i]) for i, f in zip(steps, frames, strict=True)]
    words = [_words(episode, step, picture.shape[1] - 4) for step, picture in zip(steps, pictures, strict=True)]
    most = max(map(len, words))
    cells = [
        _cell(picture, episode, step, _badge(int(change[step]), int(lives[step])), actions, said, most)
        for picture, step, said in zip(pictures, steps, words, strict=True)
    ]
    high, wide = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    image = np.full((LINE + GAP + rows * (high + GAP), GAP + columns * (wide + GAP), 3), BACK, np.uint8)
    letters.write(image, (letters.wrapped(title, image.shape[1] - 2 * GAP, 1) or [""])[0], GAP, GAP, WHITE)
    for i, cell in enumerate(cells):
        y, x = LINE + GAP + i // columns * (high + GAP), GAP + i % columns * (wide + GAP)
        image[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return png.encode(image)


def _checked(frame: Any) -> Array:
    image = np.asarray(frame)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise SupervisorError(f"a frame is uint8[H, W, 3], not {image.dtype}{list(image.shape)}")
    return image


def _words(e: Episode, step: int, room: int) -> Words:
    """The reason, and in red the fault or the rule that changed the action."""
    alert = e.fault(step) or e.overruled_by(step)
    lines = [(line, ACCENT) for line in letters.wrapped(e.reason(step), room, WORDS - bool(alert))]
    return lines + [(line, BAD) for line in letters.wrapped(alert, room, WORDS - len(lines))]


def _cell(
    picture: Array, e: Episode, step: int, badge: str, actions: Sequence[str], words: Words, most: int
) -> Array:  # fmt: skip
    """The picture in a border that tells loss and gain; below it step, action, badge and at most `most` lines."""
    border = (BAD if "-" in badge else GOOD) if badge else CARD
    height, width = picture.shape[:2]
    image = np.full((height + 2 * EDGE + (1 + most) * LINE + 5, width + 2 * EDGE, 3), CARD, np.uint8)
    image[: height + 2 * EDGE] = border
    image[EDGE : EDGE + height, EDGE : EDGE + width] = picture
    y, room = height + 2 * EDGE + 4, width - 4
    at = letters.write(image, str(step), EDGE + 2, y, WHITE, bold=True)
    if badge:
        letters.write(image, badge, EDGE + room - letters.width(badge), y, border, bold=True)
    did, wanted = _action(actions, int(e.actions[step])), _action(actions, int(e.proposed[step]))
    said = did if did == wanted else f"{did}, wanted {wanted}"
    space = EDGE + room - letters.width(badge) - at - 20
    letters.write(image, (letters.wrapped(said, space, 1) or [""])[0], at + 8, y, DIM)
    for i, (line, colour) in enumerate(words, 1):
        letters.write(image, line, EDGE + 2, y + i * LINE, colour)
    return image


def _badge(change: int, lives: int) -> str:
    """What a step won or lost: "+4", "-1 life"."""
    said = [f"{change:+d}"] if change else []
    said += [f"-{lives} {'life' if lives == 1 else 'lives'}"] if lives else []
    return " ".join(said)


def _action(actions: Sequence[str], index: int) -> str:
    return actions[index] if index < len(actions) else f"action {index}"
