"""Stands in for redis-cli where there is none: reads commands, quoted as it wants them; prints replies."""

from __future__ import annotations

import re
import socket
import sys

import hiredis

_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")


def arguments_of(line: bytes) -> list[bytes]:
    """Return the arguments of a line that quotes all of them."""
    assert not _ARGUMENT.sub(b"", line).strip(), line
    return [_ESCAPE.sub(_meant, quoted) for quoted in _ARGUMENT.findall(line)]


def _meant(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1][1:].decode()) if len(escape[1]) > 1 else escape[1]


def packed(request: list[bytes]) -> bytes:
    """Return a command in RESP (dualkv's own would take longer to import than the whole test)."""
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in request)


def main(options: list[str]) -> None:
    """Send what stands on standard input to the server that ``-h``, ``-p`` and ``-n`` name."""
    named = dict(zip(options[::2], options[1::2], strict=True))
    requests = [[b"SELECT", named["-n"].encode()], *map(arguments_of, sys.stdin.buffer.read().splitlines())]
    reader = hiredis.Reader()
    with socket.create_connection((named["-h"], int(named["-p"]))) as connection:
        for number, request in enumerate(requests):
            connection.sendall(packed(request))
            while (reply := reader.gets()) is False:
                reader.feed(connection.recv(65536))
            if number:
                sys.stdout.write(f"{reply}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
