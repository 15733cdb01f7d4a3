"""Bytes as a text that a person can read, a terminal can be given, and nothing is lost in."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["data_of", "text_of"]

_ESCAPED: Final = re.compile(r"\\(?:x([0-9a-f]{2})|\\)")


def text_of(data: bytes) -> str:
    r"""Return *data* as text: UTF-8 as it is; what is none, or is not printable, as ``\xff``; ``\`` twice."""
    text = data.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode())


def data_of(text: str) -> bytes:
    """Return the bytes that `text_of` has made *text* of."""
    found = bytearray()
    end = 0
    for match in _ESCAPED.finditer(text):
        found += text[end : match.start()].encode(errors="surrogateescape")
        found += bytes.fromhex(match[1]) if match[1] else b"\\"
        end = match.end()
    return bytes(found + text[end:].encode(errors="surrogateescape"))
