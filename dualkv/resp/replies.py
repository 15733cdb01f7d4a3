r"""Bytes from a backend → exact raw frames; values only when somebody asks.

A frame is one reply as the backend wrote it. Clients get frames, never something rebuilt: hiredis
turns both ``+OK`` and ``$2\r\nOK`` into ``b"OK"``, sets into lists and maps into dicts.

Three ways, by what the bytes hold:

1. Simple replies, bulk strings and short flat arrays of them, up to 1 KiB each: the chunk is split at its
   line ends in C, and the lengths are checked against the announced ones. A line end inside a value
   makes them differ, and another way takes over.
2. Whole arrays of 1 KiB and more: hiredis parses them, five times as fast as we could, and tells how many
   bytes it did not need. Its values are thrown away.
3. Everything else: `_Scanner` walks over element headers. Nesting needs no stack: an aggregate of
   *n* elements just adds *n* to the number of elements that are missing.

`value_of` makes a Python value of a frame.

Time and memory are linear in the input. Streamed types (``$?``, ``*?``) are refused: no server sends
them unless asked to.
"""

from __future__ import annotations

import re
from typing import Any, Final

import hiredis

from dualkv.errors import ReplyProtocolError

__all__ = ["ReplySplitter", "elements_of", "is_error", "is_null", "value_of"]

_LINE_TYPES: Final = frozenset(b"+-:_#,(")
_BULK_TYPES: Final = frozenset(b"$=!")
_ELEMENTS_PER_UNIT: Final = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}

_ARRAY: Final = ord("*")

_BULK_LENGTHS: Final = {b"$%d" % length: length for length in range(1025)}
"""Length lines of short bulk strings: one look-up instead of slicing and ``int``."""

_FLAT_ARRAY_LENGTHS: Final = {b"*%d" % length: length for length in range(1, 33)}

_PIECE_TOKENS: Final = 512
"""Lines that are split at once."""

_MAX_LENGTH_LINE_BYTES: Final = 64 * 1024
"""A length line without an end up to here is not RESP."""

_MAX_LINE_BYTES: Final = 512 * 1024 * 1024
"""The same for simple replies and errors: scripts can make them as long as any value."""


def is_error(frame: bytes) -> bool:
    """Whether *frame* is an error reply (RESP3's long form included)."""
    return frame[0] == 0x2D or frame[0] == 0x21  # "-", "!"


def is_null(frame: bytes) -> bool:
    """Return whether a frame is nil, as either RESP version writes it."""
    return frame in (b"$-1\r\n", b"*-1\r\n", b"_\r\n")


def value_of(frame: bytes) -> Any:
    """Return the Python value of one whole *frame*, as hiredis sees it.

    Errors become `hiredis.ReplyError` values, sets lists, maps dicts.

    Raises:
        ValueError: hiredis cannot make a value of it: a map with a key that Python cannot hash, a
            RESP3 bulk error.
    """
    reader = hiredis.Reader()
    reader.feed(frame)
    try:
        return reader.gets()
    except (TypeError, hiredis.ProtocolError) as error:
        raise ValueError(str(error)) from None


class ReplySplitter:
    """The frames in one connection's byte stream."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        self._scanner: _Scanner | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that *data* completes, in order.

        Args:
            data: Bytes from the backend, cut anywhere.

        Raises:
            ReplyProtocolError: Not RESP. The connection is of no use any more.
        """
        frames: list[bytes] = []
        scanner = self._scanner
        if scanner is not None:
            scanner.append(data)
            if not scanner.take_frame(frames):
                return frames
            self._scanner = None
            data = scanner.leftover()
        while data:
            position = _split_simple(data, frames)
            if _CAN_MEASURE and data[position : position + 1] == b"*":
                data = data[position:]
                position = _split_arrays(data, frames)
            if position == 0:
                self._scan(data, frames)
                break
            data = data[position:]
        return frames

    def _scan(self, data: bytes, frames: list[bytes]) -> None:
        self._scanner = scanner = _Scanner()
        scanner.append(data)
        while scanner.take_frame(frames):
            pass
        if not scanner.leftover():
            self._scanner = None

    def is_empty(self) -> bool:
        """Whether no part of a frame is waiting for the rest."""
        return self._scanner is None


def _split_simple(data: bytes, frames: list[bytes]) -> int:
    """Append the simple frames at the front of *data*; return the position behind them."""
    position = 0
    while True:
        # A piece at a time: what is not simple would have been split in vain.
        tokens = data[position:].split(b"\r\n", _PIECE_TOKENS)
        end = _join_simple(tokens, data, position, frames)
        if end == position or len(tokens) <= _PIECE_TOKENS:
            return end
        position = end


def _join_simple(tokens: list[bytes], data: bytes, position: int, frames: list[bytes]) -> int:
    """Append the frames that *tokens* begin with; the last token has no line end."""
    last = len(tokens) - 1
    index = 0
    while index < last:
        token = tokens[index]
        length = _BULK_LENGTHS.get(token)
        if length is not None:
            if index + 1 >= last or len(tokens[index + 1]) != length:
                break
            end = position + len(token) + length + 4
            index += 2
        elif token and token[0] in _LINE_TYPES:
            end = position + len(token) + 2
            index += 1
        elif (count := _FLAT_ARRAY_LENGTHS.get(token)) is not None:
            behind = _behind_elements(tokens, index + 1, count, last)
            if not behind:
                break
            end = position + sum(map(len, tokens[index:behind])) + 2 * (behind - index)
            index = behind
        else:
            break
        frames.append(data[position:end])
        position = end
    return position


def _behind_elements(tokens: list[bytes], index: int, count: int, last: int) -> int:
    """Return the index behind *count* simple elements from *index* on; 0 if something else is there."""
    behind = index + 2 * count
    if behind <= last:  # mostly: all of them bulk strings
        lengths = list(map(len, tokens[index + 1 : behind : 2]))
        if lengths == list(map(_BULK_LENGTHS.get, tokens[index:behind:2])):
            return behind
    for _ in range(count):
        if index >= last:
            return 0
        token = tokens[index]
        length = _BULK_LENGTHS.get(token)
        if length is not None:
            if index + 1 >= last or len(tokens[index + 1]) != length:
                return 0
            index += 2
        elif token and token[0] in _LINE_TYPES:
            index += 1
        else:
            return 0
    return index


def _split_arrays(data: bytes, frames: list[bytes]) -> int:
    """Append the arrays of some size at the front of *data*; return the position behind them."""
    position = 0
    if _HUGE_ARRAY.match(data) or _UNFIT_PART.search(data):
        return position  # hiredis would make room for all elements that are announced, or end elsewhere
    reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
    reader.feed(data)
    while position < len(data) and data[position] == _ARRAY:
        try:
            value = reader.gets()
        except Exception:  # noqa: BLE001 - whatever it cannot parse, or has no value for
            break
        end = len(data) - reader.len()
        if value is _NOT_ENOUGH or end == position:  # not whole, or too short to be measured
            break
        frames.append(data[position:end])
        position = end
    return position


_NOT_ENOUGH: Final = object()
_HUGE_ARRAY: Final = re.compile(rb"\*\d{6}")
_UNFIT_PART: Final = re.compile(rb"\n(?:\||[*~%>]\d{6})")
"""An attribute (hiredis does not count it as a part of its own), or a huge part."""


def _can_measure() -> bool:
    """Whether this hiredis forgets what it has parsed, from 1 KiB on, so that the rest can be measured."""
    reader = hiredis.Reader()
    reader.feed(b"*100\r\n" + b"$20\r\n01234567890123456789\r\n" * 100 + b"+OK\r\n")
    reader.gets()
    return reader.len() == len(b"+OK\r\n")


_CAN_MEASURE: Final = _can_measure()


class _Scanner:
    """Frames of any form, resumable: what was looked at is not looked at again."""

    __slots__ = ("_buffer", "_missing", "_position", "_searched", "_start")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the frame that is being looked at
        self._position = 0  # of the next header to look at; may lie behind the buffer's end
        self._searched = 0  # the line at the position has no end before this
        self._missing = 1  # elements until the frame is complete

    def append(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def leftover(self) -> bytes:
        """Return what stands behind the last frame."""
        return bytes(self._buffer[self._start :])

    def take_frame(self, frames: list[bytes]) -> bool:
        """Append the next frame; return whether there was a whole one."""
        buffer, position, missing = self._buffer, self._position, self._missing
        available = len(buffer)
        while missing and position < available:
            end = buffer.find(b"\r\n", max(position, self._searched))
            if end < 0:
                # A "\r" at the end may be the first half of the line's end.
                self._searched = available - 1
                self._check_unfinished(position, available)
                break
            kind = buffer[position]
            missing -= 1
            if kind in _LINE_TYPES:
                position = end + 2
                continue
            if kind not in _BULK_TYPES and kind not in _ELEMENTS_PER_UNIT:
                raise ReplyProtocolError(f"unknown reply type {chr(kind)!r}")
            if end - position > _MAX_LENGTH_LINE_BYTES:
                raise ReplyProtocolError(_TOO_LONG)
            length = _length(buffer[position + 1 : end])
            position = end + 2
            if kind in _BULK_TYPES:
                if length >= 0:
                    position += length + 2
            else:
                if length > 0:
                    missing += length * _ELEMENTS_PER_UNIT[kind]
                if kind == 0x7C:  # "|": attributes stand before the reply they belong to
                    missing += 1
        is_whole = not missing and position <= available
        if is_whole:
            with memoryview(buffer) as view:
                frames.append(bytes(view[self._start : position]))
            self._start = position
            missing = 1
        self._position, self._missing = position, missing
        return is_whole

    def _check_unfinished(self, position: int, available: int) -> None:
        kind = self._buffer[position]
        if kind not in _LINE_TYPES and kind not in _BULK_TYPES and kind not in _ELEMENTS_PER_UNIT:
            raise ReplyProtocolError(f"unknown reply type {chr(kind)!r}")
        if available - position > (_MAX_LINE_BYTES if kind in _LINE_TYPES else _MAX_LENGTH_LINE_BYTES):
            raise ReplyProtocolError(_TOO_LONG)


_TOO_LONG: Final = "a line of a reply is too long"


def _length(digits: bytearray) -> int:
    if digits[:1] == b"?":
        raise ReplyProtocolError("streamed replies are not supported")
    try:
        return int(digits)
    except ValueError:
        raise ReplyProtocolError(f"bad length {bytes(digits[:32])!r} in a reply") from None


def elements_of(frame: bytes) -> list[bytes]:
    """Return the raw frames of an aggregate's elements (a map's keys and values alike).

    A nil or empty aggregate has none. Raises `ReplyProtocolError` if *frame* is no aggregate.
    """
    if frame[0] not in _ELEMENTS_PER_UNIT:
        raise ReplyProtocolError("not an aggregate reply")
    return ReplySplitter().feed(frame[frame.index(b"\r\n") + 2 :])
