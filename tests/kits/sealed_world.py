"""The stranger's world without a door for states."""

from dataclasses import replace

from tests.kits.dot_world import DOT, Dot


class Sealed(Dot):
    """Nothing can be written to it."""

    write = None


SEALED = replace(DOT, simulator=f"{__name__}:Sealed")
