"""Feeding the parsers: byte streams cut in every way, what comes out of them, what a real server says."""

from __future__ import annotations

import socket
import time
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dualkv.errors import ReplyProtocolError, RequestProtocolError
from dualkv.resp.encode import pack
from dualkv.resp.replies import ReplySplitter
from dualkv.resp.requests import RequestParser

__all__ = [
    "THOROUGH",
    "Args",
    "at_most",
    "cut",
    "cut_positions",
    "first_reply",
    "pieces",
    "read_frames",
    "read_requests",
]

THOROUGH = settings(
    deadline=None,
    max_examples=150,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""Many examples, the same ones in each run."""

Args = tuple[bytes, ...]


def read_requests(parts: Iterable[bytes]) -> tuple[list[Args], str | None]:
    """Return the requests in a stream that arrives in *parts*, and the error that ends it, if any.

    Each request's raw bytes are checked to be the canonical ones.
    """
    parser = RequestParser()
    found: list[Args] = []
    try:
        for part in [*parts, b""]:
            for request in parser.feed(part):
                assert pack(request.args) == request.raw
                found.append(request.args)
    except RequestProtocolError as error:
        return found, str(error)
    assert not parser.has_failed
    return found, None


def read_frames(parts: Iterable[bytes]) -> tuple[list[bytes], str | None]:
    """Return the frames in a stream that arrives in *parts*, and the error that ends it, if any."""
    splitter = ReplySplitter()
    found: list[bytes] = []
    try:
        for part in parts:
            found += splitter.feed(part)
    except ReplyProtocolError as error:
        return found, str(error)
    return found, None


def first_reply(port: int, raw: bytes) -> bytes:
    """Return the first frame that the server at *port* says to *raw*."""
    splitter = ReplySplitter()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(raw)
        while True:
            data = sock.recv(65536)
            assert data, "closed without an answer"
            if frames := splitter.feed(data):
                return frames[0]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield *data* in pieces of *size* bytes."""
    return (data[start : start + size] for start in range(0, len(data), size))


def cut_positions(longest: int = 300) -> st.SearchStrategy[list[int]]:
    """Where a stream may be cut: see `cut`."""
    return st.lists(st.integers(0, longest), max_size=12)


def cut(data: bytes, positions: Sequence[int]) -> list[bytes]:
    """Return *data* cut at *positions*; those behind its end are ignored."""
    edges = [0, *sorted(position for position in positions if position < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@contextmanager
def at_most(*, cpu_seconds: float, mib: float | None = None) -> Iterator[None]:
    """Fail if the block takes more CPU time, or more memory at once.

    Args:
        cpu_seconds: A generous bound: what is meant to fail takes ten times as long, or never ends.
        mib: Python's memory at the peak; measuring it makes the block slow.
    """
    if mib is not None:
        tracemalloc.start()
    started = time.process_time()
    try:
        yield
        taken = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1] / 2**20 if mib is not None else 0.0
    finally:
        tracemalloc.stop()

    assert taken < cpu_seconds, f"{taken:.2f} s of CPU time"
    assert mib is None or peak < mib, f"{peak:.1f} MiB"
