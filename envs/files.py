"""Files that a stranger wrote are opened here: what they are and how large is known before a byte is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Unreadable(Exception):
    """The file is not what it should be; the message names it and says what to do."""


def read_file(path: Path, kind: str, most: int, within: Path | None = None) -> bytes:
    """The bytes of a regular file of at most `most` bytes. `within`: a folder that no link may leave.

    Unreadable for a pipe, device or folder, for one that is too large, and for a link that leads out.
    """
    try:
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise Unreadable(f"{path}: this {kind} is a link out of {within}; put the file itself there")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)  # of what is open: the name may mean another file by now
            if not stat.S_ISREG(found.st_mode):
                raise Unreadable(f"{path}: not a regular file, so no {kind}; put the file itself there")
            data = file.read(most + 1) if found.st_size <= most else b""
    except FileNotFoundError:
        raise Unreadable(f"{path}: no such {kind}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle, before Python 3.13
        raise Unreadable(f"{path}: cannot read this {kind}: {error}") from None
    if found.st_size > most or len(data) > most:
        raise Unreadable(f"{path}: larger than the {most} bytes that a {kind} may have; is it another file?")
    return data
