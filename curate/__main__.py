"""`python -m curate`."""

from curate.cli import entry

if __name__ == "__main__":
    entry()
