"""Text from outside, as it is safe to look at."""

from __future__ import annotations

from typing import Any


def shown(text: Any, length: int = 60) -> str:
    """Control and direction characters spelled out, the middle of a text longer than `length` characters left out."""
    whole = str(text)
    if len(whole) <= length and whole.isprintable():
        return whole
    room = 10 * length  # one character is spelled with at most ten
    head, tail = _spelled(whole[:room]), _spelled(whole[-room:])
    if len(whole) <= room and len(head) <= length:
        return head
    end = length // 3
    return f"{head[: length - end - 1]}…{tail[-end:]}"


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _spelled(text: str) -> str:
    return "".join(character if character.isprintable() else _code(character) for character in text)


def _code(character: str) -> str:
    if character in "\n\t\r":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
