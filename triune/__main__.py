"""`python -m triune`."""

import os
import sys
from pathlib import Path

# `-m` puts the current folder first, and a stranger's `numpy.py` there would run. A checkout is a folder of ours.
if os.path.abspath(sys.path[0]) == os.getcwd() != str(Path(__file__).resolve().parent.parent):
    del sys.path[0]

from triune.cli import entry

if __name__ == "__main__":
    entry()
