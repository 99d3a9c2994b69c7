"""How the checks say that a demand is not met."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def demand(met: bool, sentence: str) -> None:
    """Raises AssertionError(sentence) unless `met`; unlike the statement `assert`, also under `python -O`."""
    if not met:
        raise AssertionError(sentence)


@contextmanager
def raising(kinds: type[Exception] | tuple[type[Exception], ...], sentence: str) -> Iterator[None]:
    """Demands that the block raises one of `kinds`, and nothing else."""
    try:
        yield
    except kinds:
        return
    except Exception as err:
        raise AssertionError(f"{sentence}; it raised {type(err).__name__}: {err}") from err
    raise AssertionError(f"{sentence}; nothing was raised")
