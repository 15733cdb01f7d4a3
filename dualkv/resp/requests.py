"""Bytes from a client → requests.

Rules:

1. A `Request` carries its arguments and its canonical RESP bytes. What reaches a backend is always
   those bytes: bad input from a client cannot disturb a lane that it shares with others.
2. The fast path parses a read chunk with hiredis and encodes it again. If the result is the chunk
   itself, byte for byte, the chunk was canonical RESP (all client libraries send that) and complete.
   Everything else goes to `_ExactParser`, which knows what Redis makes of odd input.
3. Time and memory are linear in the input, however it is cut into chunks.

Limits and error texts are those of Redis, measured on Redis 6.2.14, 7.0.15, 8.2.3 and Valkey 9.1.2:
64 KiB for an inline request and for a length line, 512 MiB for an argument. The number of arguments
is that of Redis 6.2 (1,048,576); later versions take 2,147,483,647, which would be memory without
bound in a process that many clients share.
"""

from __future__ import annotations

import re
from typing import Final

import attrs
import hiredis

from dualkv.errors import RequestProtocolError
from dualkv.resp.encode import pack
from dualkv.resp.integers import parse_integer

__all__ = ["MAX_ARGUMENTS", "MAX_BULK_BYTES", "MAX_LINE_BYTES", "Request", "RequestParser"]

MAX_LINE_BYTES: Final = 64 * 1024
"""Longest inline request or length line (Redis: PROTO_INLINE_MAX_SIZE)."""

MAX_ARGUMENTS: Final = 1024 * 1024
"""Most arguments of one request."""

MAX_BULK_BYTES: Final = 512 * 1024 * 1024
"""Longest single argument (Redis: proto-max-bulk-len)."""

_SPARE_BYTES: Final = 1024
"""Buffer that hiredis keeps for an idle client (its own default is 16 KiB)."""

_LONG_ARRAY: Final = re.compile(rb"\*[0-9]{4}")
_LONG_OTHER: Final = re.compile(rb"[~>|][0-9]{4}")
"""hiredis allocates an aggregate's slots before it has seen an element, and takes ages to free billions of
them: it must not see the header of a long one. Inside a value this only costs speed.
"""

_INCOMPLETE: Final = object()


@attrs.define(eq=False)
class Request:
    """One command of a client."""

    args: tuple[bytes, ...]
    """The command's name and its arguments; never empty."""
    raw: bytes
    """The same as a RESP array of bulk strings, ready to forward."""


class RequestParser:
    """The requests in one client's byte stream.

    Feed it what arrives; it keeps what is incomplete. After it has raised, it takes nothing more.
    """

    __slots__ = ("_failed", "_reader", "_rest")

    def __init__(self) -> None:
        self._reader = _new_reader()
        self._rest: _ExactParser | None = None
        self._failed: str | None = None

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that *data* completes.

        Args:
            data: Bytes from the client, cut anywhere.

        Raises:
            RequestProtocolError: At the first call after the requests before the error have been
                returned, so that they are answered first. Feed ``b""`` to ask for it.
        """
        requests: list[Request] = []
        if self._rest is None and not (data := self._parse_canonical(data, requests)):
            return requests
        return self._feed_rest(data, requests)

    def _feed_rest(self, data: bytes, requests: list[Request]) -> list[Request]:
        """Go on where the input is not canonical, or was not complete."""
        if self._failed is not None:
            raise RequestProtocolError(self._failed)
        try:
            if self._rest is not None:
                self._rest.append(data)
                if not self._rest.take_request(requests):
                    return requests
                data = self._parse_canonical(self._rest.leftover(), requests)
            self._rest = _ExactParser()
            self._rest.append(data)
            while self._rest.take_request(requests):
                pass
            if self._rest.is_empty():
                self._rest = None
        except RequestProtocolError as error:
            self._failed = str(error)
        return requests

    @property
    def has_failed(self) -> bool:
        """Whether the stream is broken; the next `feed` raises the reason."""
        return self._failed is not None

    def _parse_canonical(self, data: bytes, requests: list[Request]) -> bytes:
        """Append the canonical requests at the front of *data*; return the bytes behind them."""
        if not data.startswith(b"*") or _announces_much(data):
            return data
        reader = self._reader
        try:
            reader.feed(data)
            args = tuple(reader.gets())
            raw = pack(args)
            if raw == data and args:  # one request: what clients without pipelines send
                requests.append(Request(args, raw))
                return b""
            found = [args, *map(tuple, iter(reader.gets, _INCOMPLETE))]
            raws = list(map(pack, found))
        except (hiredis.HiredisError, TypeError):  # not RESP, not a command, or not a whole one
            self._reader = _new_reader()
            return data
        canonical = b"".join(raws)
        if canonical == data:
            rest = b""
        else:
            self._reader = _new_reader()  # this one holds the beginning of the next request
            if not data.startswith(canonical):
                return data
            rest = data[len(canonical) :]
        requests += map(Request, found, raws)
        if () in found:  # Redis skips an empty request
            requests[:] = [request for request in requests if request.args]
        return rest


def _announces_much(data: bytes) -> bool:
    """Whether *data* may hold the header of a long aggregate."""
    if _LONG_ARRAY.search(data):
        return True
    # Nearly always none of the three occurs, and looking for one byte is far cheaper than the pattern.
    return (b"~" in data or b">" in data or b"|" in data) and _LONG_OTHER.search(data) is not None


def _new_reader() -> hiredis.Reader:
    reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
    reader.setmaxbuf(_SPARE_BYTES)
    return reader


class _ExactParser:
    """Requests of any form that Redis takes, resumable, linear in their size."""

    __slots__ = ("_arg_length", "_args", "_arguments_left", "_buffer", "_position", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._searched = 0  # no line end before this
        self._arguments_left: int | None = None  # None: at the beginning of a request
        self._arg_length: int | None = None  # None: reading the length line
        self._args: list[bytes] = []

    def append(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def leftover(self) -> bytes:
        """Return what stands behind the last request."""
        return bytes(self._buffer[self._position :])

    def is_empty(self) -> bool:
        """Whether nothing of a request has been read yet."""
        return self._arguments_left is None and self._position == len(self._buffer)

    def take_request(self, requests: list[Request]) -> bool:
        """Append the next request; return whether there was a whole one (or something that Redis skips)."""
        if self._arguments_left is None:
            if self._position == len(self._buffer):
                return False
            if self._buffer[self._position] != 0x2A:  # "*"
                return self._take_inline(requests)
            line = self._line("too big mbulk count string")
            if line is None:
                return False
            count = parse_integer(line[1:])
            if count is None or count > MAX_ARGUMENTS:
                raise RequestProtocolError("ERR Protocol error: invalid multibulk length")
            self._arguments_left = count
        while self._arguments_left > 0:
            if self._arg_length is None:
                line = self._line("too big bulk count string")
                if line is None:
                    return False
                self._arg_length = _bulk_length(line)
            end = self._position + self._arg_length
            if len(self._buffer) < end + 2:
                return False
            if self._buffer[end : end + 2] != b"\r\n":
                raise RequestProtocolError("ERR Protocol error: invalid CRLF in request")
            with memoryview(self._buffer) as view:
                self._args.append(bytes(view[self._position : end]))
            self._position = self._searched = end + 2
            self._arg_length = None
            self._arguments_left -= 1
        self._finish(self._args, requests)
        self._args = []
        self._arguments_left = None
        return True

    def _finish(self, args: list[bytes], requests: list[Request]) -> None:
        if args:  # Redis skips an empty request
            requests.append(Request(tuple(args), pack(tuple(args))))

    def _line(self, too_big: str) -> bytes | None:
        """Return the next line without its end, or None if it is not complete."""
        end = self._buffer.find(b"\r\n", self._searched)
        length = (len(self._buffer) if end < 0 else end) - self._position
        if length > MAX_LINE_BYTES:
            raise RequestProtocolError(f"ERR Protocol error: {too_big}")
        if end < 0:
            # A "\r" at the end may be the first half of the line's end.
            self._searched = max(self._position, len(self._buffer) - 1)
            return None
        line = bytes(self._buffer[self._position : end])
        self._position = self._searched = end + 2
        return line

    def _take_inline(self, requests: list[Request]) -> bool:
        end = self._buffer.find(b"\n", self._searched)
        if (len(self._buffer) if end < 0 else end) - self._position > MAX_LINE_BYTES:
            raise RequestProtocolError("ERR Protocol error: too big inline request")
        if end < 0:
            self._searched = len(self._buffer)
            return False
        line = bytes(self._buffer[self._position : end])
        self._position = self._searched = end + 1
        self._finish(split_inline(line), requests)
        return True


def _bulk_length(line: bytes) -> int:
    """Return the length that an argument's first line announces."""
    if line[:1] != b"$":
        shown = chr(line[0]) if line and 32 < line[0] < 127 else " "
        raise RequestProtocolError(f"ERR Protocol error: expected '$', got '{shown}'")
    length = parse_integer(line[1:])
    if length is None or not 0 <= length <= MAX_BULK_BYTES:
        raise RequestProtocolError("ERR Protocol error: invalid bulk length")
    return length


_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}

_INLINE_PART: Final = re.compile(
    rb"""
    (?P<space> \s*)
    (?: "(?P<double> (?: \\. | [^"\\] )* )" (?=\s|\Z)       # a closing quote ends the argument
      | '(?P<single> (?: \\' | \\(?!') | [^'\\] )* )' (?=\s|\Z)
      | (?P<plain> [^ \n\r\t"']+ )                             # a vertical tab is part of it
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_DOUBLE_QUOTED_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def split_inline(line: bytes) -> list[bytes]:
    r"""Split an inline request as Redis does (``sdssplitargs``).

    Args:
        line: The request without its line feed.

    Returns:
        The arguments. ``"…"`` knows ``\n \r \t \b \a \xHH \"``; ``'…'`` knows ``\'`` only. A NUL
        byte ends the line.

    Raises:
        RequestProtocolError: Unbalanced quotes.
    """
    line = line.partition(b"\0")[0]
    arguments: list[bytes] = []
    position = 0
    end = len(line.rstrip())
    while position < end:
        part = _INLINE_PART.match(line, position)
        if part is None:
            raise RequestProtocolError("ERR Protocol error: unbalanced quotes in request")
        if part["space"] or not arguments:
            arguments.append(b"")
        arguments[-1] += _unquote(part)
        position = part.end()
    return arguments


def _unquote(part: re.Match[bytes]) -> bytes:
    if part["double"] is not None:
        return _DOUBLE_QUOTED_ESCAPE.sub(_unescape, part["double"])
    if part["single"] is not None:
        return part["single"].replace(b"\\'", b"'")
    return part["plain"]


def _unescape(escape: re.Match[bytes]) -> bytes:
    code, letter = escape.groups()
    return bytes([int(code, 16)]) if code else _ESCAPES.get(letter, letter)
