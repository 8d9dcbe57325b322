"""Letters for pictures: one small alphabet, drawn by itself, so that a picture has the same pixels on every machine.

Knows: the shapes of printable ASCII, how words become pixels. Does not know: what is written.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
HEIGHT = 9  # rows of a letter: seven above the line and two below
UP = 7
# All characters from " " to "~", 19 in a band, a blank column between them.
_ART = """
... # #.# ..... ..#.. ##... .##.. # ..# #.. ..... ..... .. .... . ....# .###. .#. .###.
... # #.# .#.#. .#### ##..# #..#. # .#. .#. ..#.. ..#.. .. .... . ...#. #...# ##. #...#
... # ... ##### #.#.. ...#. #.#.. . #.. ..# #.#.# ..#.. .. .... . ...#. #..## .#. ....#
... # ... .#.#. .###. ..#.. .#... . #.. ..# .###. ##### .. #### . ..#.. #.#.# .#. ..##.
... # ... ##### ..#.# .#... #.#.# . #.. ..# #.#.# ..#.. .. .... . .#... ##..# .#. .#...
... . ... .#.#. ####. #..## #..#. . .#. .#. ..#.. ..#.. .# .... . .#... #...# .#. #....
... # ... ..... ..#.. ...## .##.# . ..# #.. ..... ..... .# .... # #.... .###. ### #####
... . ... ..... ..... ..... ..... . ... ... ..... ..... #. .... . ..... ..... ... .....
... . ... ..... ..... ..... ..... . ... ... ..... ..... .. .... . ..... ..... ... .....

####. #..#. ##### .###. ##### .###. .###. . .. ...# .... #... .###. .###. .###. ####. .###. ####. #####
....# #..#. #.... #.... ....# #...# #...# . .. ..#. .... .#.. #...# #...# #...# #...# #...# #...# #....
....# #..#. ####. #.... ...#. #...# #...# # .# .#.. #### ..#. ....# #.### #...# #...# #.... #...# #....
.###. ##### ....# ####. ...#. .###. .#### . .. #... .... ...# ..##. #.#.# ##### ####. #.... #...# ####.
....# ...#. ....# #...# ..#.. #...# ....# . .. .#.. #### ..#. ..#.. #.### #...# #...# #.... #...# #....
....# ...#. #...# #...# ..#.. #...# ....# # .# ..#. .... .#.. ..... #.... #...# #...# #...# #...# #....
####. ...#. .###. .###. ..#.. .###. .###. . .# ...# .... #... ..#.. .#### #...# ####. .###. ####. #####
..... ..... ..... ..... ..... ..... ..... . #. .... .... .... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... ..... . .. .... .... .... ..... ..... ..... ..... ..... ..... .....

##### .###. #...# ### ..### #...# #.... #...# #...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...#
#.... #...# #...# .#. ...#. #..#. #.... ##.## ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...#
#.... #.... #...# .#. ...#. #.#.. #.... #.#.# ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#.
####. #.### ##### .#. ...#. ##... #.... #.#.# #.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#..
#.... #...# #...# .#. ...#. #.#.. #.... #...# #..## #...# #.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#.
#.... #...# #...# .#. #..#. #..#. #.... #...# #..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...#
#.... .#### #...# ### .##.. #...# ##### #...# #...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...#
..... ..... ..... ... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
..... ..... ..... ... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....

#...# ##### ### #.... ### ..#.. ..... #. .... #... .... ...# .... ..## .... #... # ..# #...
#...# ....# #.. .#... ..# .#.#. ..... .# .... #... .... ...# .... .#.. .... #... . ... #...
.#.#. ...#. #.. .#... ..# #...# ..... .. .##. ###. .### .### .##. #### .### ###. # ..# #..#
..#.. ..#.. #.. ..#.. ..# ..... ..... .. ...# #..# #... #..# #..# .#.. #..# #..# # ..# #.#.
..#.. .#... #.. ...#. ..# ..... ..... .. .### #..# #... #..# #### .#.. #..# #..# # ..# ##..
..#.. #.... #.. ...#. ..# ..... ..... .. #..# #..# #... #..# #... .#.. #..# #..# # ..# #.#.
..#.. ##### ### ....# ### ..... ..... .. .### ###. .### .### .### .#.. .### #..# # ..# #..#
..... ..... ... ..... ... ..... ##### .. .... .... .... .... .... .... ...# .... . #.# ....
..... ..... ... ..... ... ..... ..... .. .... .... .... .... .... .... .##. .... . .#. ....

#. ..... .... .... .... .... .... .... .#.. .... ..... ..... ..... .... .... ..## # ##.. .....
#. ..... .... .... .... .... .... .... .#.. .... ..... ..... ..... .... .... .#.. # ..#. .....
#. ##.#. ###. .##. ###. .### #.## .### #### #..# #...# #.#.# #...# #..# #### .#.. # ..#. .#...
#. #.#.# #..# #..# #..# #..# ##.. #... .#.. #..# #...# #.#.# .#.#. #..# ...# #... # ...# #.#.#
#. #.#.# #..# #..# #..# #..# #... .##. .#.. #..# .#.#. #.#.# ..#.. #..# .##. .#.. # ..#. ...#.
#. #.#.# #..# #..# #..# #..# #... ...# .#.. #..# .#.#. #.#.# .#.#. #..# #... .#.. # ..#. .....
.# #.#.# #..# .##. ###. .### #... ###. ..## .### ..#.. .#.#. #...# .### #### ..## # ##.. .....
.. ..... .... .... #... ...# .... .... .... .... ..... ..... ..... ...# .... .... # .... .....
.. ..... .... .... #... ...# .... .... .... .... ..... ..... ..... .##. .... .... . .... .....
"""


@cache
def _glyphs() -> dict[str, Array]:
    """Every character as bool[HEIGHT, width]."""
    found: dict[str, Array] = {}
    for band in _ART.strip("\n").split("\n\n"):
        rows = [line.split(" ") for line in band.split("\n")]
        for letter in zip(*rows, strict=True):
            found[chr(32 + len(found))] = np.array([[c == "#" for c in row] for row in letter])
    return found


def _glyph(character: str) -> Array:
    known = _glyphs()
    return known[character] if character in known else known["?"]


def width(words: str, scale: int = 2) -> int:
    """px that `write` needs."""
    return scale * max(0, sum(_glyph(c).shape[1] + 1 for c in words) - 1)


def write(
    image: Array, words: str, x: int, y: int, colour: tuple[int, int, int], scale: int = 2, bold: bool = False
) -> int:  # fmt: skip
    """Write one line into uint8[H, W, 3] with its top left at (x, y), cut at the edges. Returns x after it."""
    for character in words:
        shape = np.repeat(np.repeat(_glyph(character), scale, 0), scale, 1)
        for shift in range(1 + bold):
            paint(image, shape, x + shift, y, colour)
        x += shape.shape[1] + scale
    return x


def paint(image: Array, mask: Array, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Colour the pixels of a mask bool[h, w] placed at (x, y); what lies outside is left out."""
    top, left = max(0, -y), max(0, -x)
    seen = mask[top : max(top, image.shape[0] - y), left : max(left, image.shape[1] - x)]
    part = image[y + top : y + top + seen.shape[0], x + left : x + left + seen.shape[1]]
    part[seen] = colour


def wrapped(words: str, room: int, lines: int, scale: int = 2) -> list[str]:
    """At most `lines` lines no wider than `room` px; the last one ends in "..." when there was more."""
    out = [""]
    for word in words.split():
        longer = f"{out[-1]} {word}".strip()
        if width(longer, scale) <= room or not out[-1]:
            out[-1] = longer
        else:
            out.append(word)
    more = len(out) > lines
    out = [_cut(line, room, scale, more and i == lines - 1) for i, line in enumerate(out[:lines])]
    return [line for line in out if line]


def _cut(line: str, room: int, scale: int, more: bool) -> str:
    if not more and width(line, scale) <= room:
        return line
    while line and width(line + "...", scale) > room:
        line = line[:-1]
    return line + "..."
