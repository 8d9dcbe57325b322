"""`python -m triune`."""

from triune.cli import entry

if __name__ == "__main__":
    entry()
