"""`python -m triune`. What it must not import by then: `triune/__init__.py`."""

from triune.cli import entry

if __name__ == "__main__":
    entry()
