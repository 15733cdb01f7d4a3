"""Bytes from a backend become the exact raw frames, however they are cut and whatever they are."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from typing import Any

import attrs
import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dualkv.errors import ReplyProtocolError
from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter, elements_of, is_error, value_of
from tests.resp.feeding import THOROUGH, at_most, cut, cut_positions, pieces, read_frames

_FRAMES = {
    "simple string": b"+OK\r\n",
    "empty simple string": b"+\r\n",
    "lone carriage return in a line": b"+a\rb\nc\r\n",
    "error": b"-ERR no\r\n",
    "error that is not text": b"-ERR \xff\r\n",
    "integer": b":-1\r\n",
    "bulk string": b"$5\r\nhello\r\n",
    "empty bulk string": b"$0\r\n\r\n",
    "line end in a bulk string": b"$4\r\na\r\nb\r\n",
    "line ends only": b"$4\r\n\r\n\r\n\r\n",
    "frame in a bulk string": b"$11\r\n$5\r\nhello\r\n\r\n",
    "carriage return at the end of a bulk string": b"$2\r\na\r\r\n",
    "bulk string of 1 KiB": b"$1024\r\n" + b"x" * 1024 + b"\r\n",
    "bulk string above 1 KiB": b"$1025\r\n" + b"x" * 1025 + b"\r\n",
    "nil string": b"$-1\r\n",
    "nil array": b"*-1\r\n",
    "empty array": b"*0\r\n",
    "flat array": b"*2\r\n$1\r\na\r\n$0\r\n\r\n",
    "line end in a flat array": b"*2\r\n$2\r\n\r\n\r\n$1\r\nb\r\n",
    "length line as an element": b"*2\r\n$2\r\n$1\r\n$1\r\n$\r\n",
    "nil in an array": b"*3\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n",
    "array of integers": b"*3\r\n:1\r\n:2\r\n:3\r\n",
    "flat array of 1024": b"*1024\r\n" + b"$1\r\na\r\n" * 1024,
    "flat array of 1025": b"*1025\r\n" + b"$1\r\na\r\n" * 1025,
    "nested arrays": b"*2\r\n*2\r\n$1\r\na\r\n*0\r\n*1\r\n*1\r\n:1\r\n",
    "deeply nested arrays": b"*1\r\n" * 500 + b"+x\r\n",
    "array with an error": b"*2\r\n-ERR a\r\n:1\r\n",
    "stream entries": b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
    "nil": b"_\r\n",
    "boolean": b"#t\r\n",
    "double": b",3.5e-7\r\n",
    "infinity": b",-inf\r\n",
    "big number": b"(3492890328409238509324850943850943825024385\r\n",
    "bulk error": b"!21\r\nSYNTAX invalid syntax\r\n",
    "line end in a bulk error": b"!6\r\nERR\r\nx\r\n",
    "verbatim string": b"=15\r\ntxt:Some string\r\n",
    "map": b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    "empty map": b"%0\r\n",
    "map with a map as key": b"%1\r\n%1\r\n+a\r\n+b\r\n+c\r\n",
    "set": b"~3\r\n+a\r\n:1\r\n_\r\n",
    "push": b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
    "attribute before a reply": b"|1\r\n+ttl\r\n:10\r\n$1\r\nv\r\n",
    "attributes before attributes": b"|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n*1\r\n:3\r\n",
    "empty attribute": b"|0\r\n:1\r\n",
    "attribute in an array": b"*2\r\n:1\r\n|1\r\n+ttl\r\n:10\r\n:2\r\n",
    "attribute in an attribute": b"|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n+d\r\n+value\r\n",
}
_EACH_FRAME = pytest.mark.parametrize("frame", _FRAMES.values(), ids=_FRAMES)


@_EACH_FRAME
def test_frame_is_found_whole_bytewise_and_with_trailing_bytes(frame: bytes) -> None:
    """A frame of any kind comes out byte for byte: whole, in single bytes, and with others around it."""
    assert ([frame], None) == read_frames([frame])
    assert ([frame], None) == read_frames(pieces(frame, 1))
    assert ([b"+a\r\n", frame, b"$1\r\nb\r\n"], None) == read_frames([b"+a\r\n" + frame + b"$1\r\nb\r\n"])
    assert ([frame] * 3, None) == read_frames(pieces(frame * 3, 7))
    assert ([frame, frame], None) == read_frames([frame + frame + b"*2\r\n$1"])


@_EACH_FRAME
def test_unfinished_frame_is_awaited(frame: bytes) -> None:
    """Nothing comes out before a frame's last byte, and `is_empty` tells that something is awaited."""
    splitter = ReplySplitter()

    assert splitter.is_empty()
    assert splitter.feed(frame[:-1]) == []
    assert not splitter.is_empty()
    assert splitter.feed(b"") == []
    assert [frame] == splitter.feed(frame[-1:])
    assert splitter.is_empty()


_LINES = st.binary(max_size=12).map(lambda text: text.replace(b"\r\n", b""))
_LEAVES = (
    st.tuples(st.sampled_from([b"+", b"-", b":", b",", b"(", b"#", b"_"]), _LINES).map(
        lambda leaf: leaf[0] + leaf[1] + b"\r\n"
    )
    | st.tuples(st.sampled_from([b"$", b"!", b"="]), st.binary(max_size=20) | st.just(b"x" * 1030)).map(
        lambda leaf: b"%b%d\r\n%b\r\n" % (leaf[0], len(leaf[1]), leaf[1])
    )
    | st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"*0\r\n"])
)


def _aggregates(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return aggregates of *children*."""
    one_by_one = st.tuples(st.sampled_from([b"*", b"~", b">"]), st.lists(children, max_size=5)).map(
        lambda made: b"%b%d\r\n%b" % (made[0], len(made[1]), b"".join(made[1]))
    )
    pairs = st.lists(st.tuples(children, children).map(b"".join), max_size=3)
    maps = pairs.map(lambda made: b"%%%d\r\n%b" % (len(made), b"".join(made)))
    attributes = st.tuples(pairs, children).map(
        lambda made: b"|%d\r\n%b%b" % (len(made[0]), b"".join(made[0]), made[1])
    )
    return one_by_one | maps | attributes


_REPLIES = st.recursive(_LEAVES, _aggregates, max_leaves=12)


@given(st.lists(_REPLIES, max_size=6), cut_positions(), st.integers(0, 20))
@THOROUGH
def test_cuts_make_no_difference(frames: list[bytes], positions: list[int], missing: int) -> None:
    """Replies of any form come out as they were written, wherever the stream is cut and where it ends."""
    stream = b"".join(frames)

    assert (frames, None) == read_frames([stream])
    assert (frames, None) == read_frames(cut(stream, positions))
    assert (frames, None) == read_frames(pieces(stream, 1))

    unfinished = stream[: len(stream) - missing]
    complete, _ = read_frames([unfinished])
    assert frames[: len(complete)] == complete
    assert (complete, None) == read_frames(cut(unfinished, positions))


_SNIPPETS = st.sampled_from(
    [
        b"*", b"$", b":", b"+", b"-", b"~", b"%", b">", b"_", b",", b"|", b"#", b"(", b"!", b"=", b";", b".",
        b"\r\n", b"\r", b"\n", b"0", b"1", b"2", b"-1", b"?", b"x", b"\0", b"\xff", b"+OK\r\n", b"$1\r\naXX",
        b"$1\r\na\r\n", b"*1\r\n", b"*2\r\n", b"$5\r\nab\r\nc\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"%1\r\n", b"|1\r\n",
    ]
)  # fmt: skip


@given(st.lists(_SNIPPETS, max_size=25).map(b"".join) | st.binary(max_size=100), cut_positions(150))
@example(b"$1\r\naXX+OK\r\n", [9])
@example(b"*9999999999999999999999\r\n" * 3, [])
@example(b"$9999999999999999999999\r\n" * 3, [5])
@example(b"$" + b"9" * 5000 + b"\r\n", [])
@THOROUGH
def test_any_bytes_are_frames_or_one_error_however_cut(stream: bytes, positions: list[int]) -> None:
    """Any bytes are frames up to at most one protocol error; cuts change neither frames nor error."""
    bytewise, error = read_frames(pieces(stream, 1))

    for parts in ([stream], cut(stream, positions)):
        frames, same_error = read_frames(parts)
        assert error == same_error
        assert bytewise[: len(frames)] == frames
        assert error is not None or bytewise == frames


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"@\r\n", "unknown reply type '@'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "unknown reply type 'H'"),
        (b"\x15\x03\x01", "unknown reply type '\\x15'"),
        (b"\r\n", "unknown reply type '\\r'"),
        (b"*2\r\n:1\r\n\r\n", "unknown reply type '\\r'"),
        (b"$\r\n", "bad length b'' in a reply"),
        (b"*x\r\n", "bad length b'x' in a reply"),
        (b"*2\r\n$1x\r\n", "bad length b'1x' in a reply"),
        (b"%" + b"z" * 100 + b"\r\n", f"bad length {b'z' * 32!r} in a reply"),
        (b"$?\r\n;4\r\nabcd\r\n;0\r\n", "streamed replies are not supported"),
        (b"*?\r\n:1\r\n.\r\n", "streamed replies are not supported"),
        (b"%?\r\n+a\r\n:1\r\n.\r\n", "streamed replies are not supported"),
        (b"~?\r\n:1\r\n.\r\n", "streamed replies are not supported"),
        (b">?\r\n:1\r\n.\r\n", "streamed replies are not supported"),
        (b"|?\r\n:1\r\n.\r\n", "streamed replies are not supported"),
        (b"*1\r\n*?\r\n", "streamed replies are not supported"),
        (b";4\r\nabcd\r\n", "unknown reply type ';'"),
        (b".\r\n", "unknown reply type '.'"),
        (b"$" + b"1" * 70_000, "a line of a reply is too long"),
    ],
)
def test_what_is_not_resp_is_refused(stream: bytes, text: str) -> None:
    """Bytes that are no reply, and streamed replies, are an error that says what is wrong with them."""
    assert ([], text) == read_frames([stream])
    assert ([], text) == read_frames(pieces(stream, 1 + len(stream) // 1000))
    assert ([b"+OK\r\n", b"*1\r\n_\r\n"], text) == read_frames([b"+OK\r\n", b"*1\r\n_\r\n", stream])


def _ask(port: int, *args: str) -> bytes:
    """Return all that the server at *port* says to a command, before it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(command(*args) + command("QUIT"))
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize("script", ["status_reply", "error_reply"])
def test_long_lines_that_servers_do_send_are_frames(script: str, valkey_port: int) -> None:
    """A status or error of 100 KB, as any script can make one, is a frame however it arrives."""
    stream = _ask(valkey_port, "EVAL", f"return redis.{script}('A' .. string.rep('x', 100000))", "0")
    frame, ok = stream[:-5], stream[-5:]

    assert len(frame) > 100_000
    assert ([frame, ok], None) == read_frames([stream])
    assert ([frame, ok], None) == read_frames(pieces(stream, 65536))
    assert ([frame, ok], None) == read_frames(pieces(stream, 1000))


@pytest.mark.parametrize("size", [65_532, 65_533, 65_534, 65_535, 65_536, 65_537, 70_000])
def test_long_line_is_the_same_to_both_ways_of_parsing(size: int) -> None:
    """Whether a long line is taken does not depend on where the stream was cut."""
    frame = b"+" + b"x" * size + b"\r\n"
    whole = read_frames([frame])

    assert whole == read_frames([frame[:-1], frame[-1:]])
    assert whole == read_frames([frame[:1], frame[1:]])
    assert whole == read_frames(pieces(frame, 16384))


# --- what a frame says


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"-ERR x\r\n", True),
        (b"!5\r\nERR x\r\n", True),
        (b"+ERR\r\n", False),
        (b"$4\r\n-ERR\r\n", False),
        (b"*1\r\n-ERR x\r\n", False),
        (b"_\r\n", False),
    ],
)
def test_error_frames_are_told_by_their_type(frame: bytes, expected: bool) -> None:
    """Both forms of an error are errors; an array with one inside, or a text that looks like one, is not."""
    assert expected is is_error(frame)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"*0\r\n", []),
        (b"*-1\r\n", []),
        (b"%0\r\n", []),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"$1\r\na\r\n", b"*1\r\n:1\r\n"]),
        (b"*2\r\n$2\r\n\r\n\r\n$-1\r\n", [b"$2\r\n\r\n\r\n", b"$-1\r\n"]),
        (b"~2\r\n+a\r\n#t\r\n", [b"+a\r\n", b"#t\r\n"]),
        (b">2\r\n+a\r\n_\r\n", [b"+a\r\n", b"_\r\n"]),
        (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", [b"+a\r\n", b":1\r\n", b"+b\r\n", b"*1\r\n:2\r\n"]),
        (b"*1\r\n|1\r\n+k\r\n+v\r\n:1\r\n", [b"|1\r\n+k\r\n+v\r\n:1\r\n"]),
    ],
)
def test_elements_of_an_aggregate_are_raw_frames(frame: bytes, expected: list[bytes]) -> None:
    """An aggregate's elements come out as they were written: a map's keys and values alike, none of a nil."""
    assert expected == elements_of(frame)


@given(st.lists(_REPLIES, max_size=6))
@THOROUGH
def test_elements_are_what_the_aggregate_was_made_of(frames: list[bytes]) -> None:
    """Whatever stands in an array comes out of it."""
    assert frames == elements_of(b"*%d\r\n%b" % (len(frames), b"".join(frames)))


@pytest.mark.parametrize(
    "frame", [b"+OK\r\n", b"-ERR\r\n", b":1\r\n", b"$4\r\n*1\r\n\r\n", b"$-1\r\n", b"_\r\n"]
)
def test_elements_of_no_aggregate_are_refused(frame: bytes) -> None:
    """Asking for the elements of anything but an aggregate is an error."""
    with pytest.raises(ReplyProtocolError, match=r"^not an aggregate reply$"):
        elements_of(frame)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"+OK\r\n", b"OK"),
        (b"$2\r\nOK\r\n", b"OK"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b":-5\r\n", -5),
        (b"#f\r\n", False),
        (b",1.5\r\n", 1.5),
        (b",inf\r\n", math.inf),
        (b"(123456789012345678901234567890\r\n", b"123456789012345678901234567890"),
        (b"=7\r\ntxt:abc\r\n", b"abc"),
        (b"*2\r\n*1\r\n:1\r\n$1\r\na\r\n", [[1], b"a"]),
        (b"~2\r\n:1\r\n:1\r\n", [1, 1]),
        (b"%1\r\n+a\r\n%1\r\n+b\r\n:1\r\n", {b"a": {b"b": 1}}),
        (b">2\r\n+a\r\n:1\r\n", [b"a", 1]),
        (b"*1\r\n" * 8 + b":1\r\n", [[[[[[[[1]]]]]]]]),
    ],
)
def test_value_is_what_hiredis_makes_of_a_frame(frame: bytes, expected: Any) -> None:
    """Frames become Python values: sets lists, maps dicts, both forms of nil None."""
    found = value_of(frame)

    assert expected == found
    assert expected is None or isinstance(found, type(expected))


def test_errors_become_values() -> None:
    """An error, alone or inside an array, is a value and not raised."""
    alone = value_of(b"-WRONGTYPE x\r\n")
    (inside,) = value_of(b"*1\r\n-ERR \xff\r\n")

    assert isinstance(alone, hiredis.ReplyError)
    assert str(alone) == "WRONGTYPE x"
    assert isinstance(inside, hiredis.ReplyError)


@pytest.mark.parametrize(
    "frame",
    [
        b"%1\r\n*0\r\n+a\r\n",
        b"%1\r\n%0\r\n+a\r\n",
        b"*1\r\n%1\r\n~0\r\n+a\r\n",
        b"!5\r\nERR x\r\n",
        b"*1\r\n!5\r\nERR x\r\n",
        b":99999999999999999999\r\n",
        b":x\r\n",
        b"#x\r\n",
        b",x\r\n",
        b"(x\r\n",
        b"=2\r\nab\r\n",
        b"$-2\r\n",
        b"$+1\r\na\r\n",
        b"*1\r\n" * 100_000 + b":1\r\n",
    ],
)
def test_frame_without_a_value_is_a_value_error(frame: bytes) -> None:
    """What hiredis cannot make a value of is a `ValueError`, never another exception."""
    assert [frame] == ReplySplitter().feed(frame)
    with pytest.raises(ValueError, match=r"\w"):
        value_of(frame)


@given(_REPLIES)
@THOROUGH
def test_any_frame_has_a_value_or_is_a_value_error(frame: bytes) -> None:
    """No frame makes `value_of` raise anything but `ValueError`."""
    with suppress(ValueError):
        value_of(frame)


# --- time and memory


@attrs.frozen
class _Load:
    """A stream, how it is cut, and how many frames are in it."""

    stream: bytes
    size: int
    count: int


_LOADS = {
    "bulk string of 20 MB in 64 KiB": _Load(b"$20000000\r\n" + b"x\r\n*" * 5_000_000 + b"\r\n", 65536, 1),
    "100,000 nested elements in 4 KiB": _Load(b"*50000\r\n" + b"*2\r\n$1\r\na\r\n:1\r\n" * 50_000, 4096, 1),
    "100,000 flat elements in 4 KiB": _Load(b"*100000\r\n" + b"$1\r\na\r\n" * 100_000, 4096, 1),
    "100,000 levels in 4 KiB": _Load(b"*1\r\n" * 100_000 + b":1\r\n", 4096, 1),
    "200,000 simple replies at once": _Load(b"+OK\r\n" * 200_000, 1 << 30, 200_000),
    "100,000 maps at once": _Load(b"%1\r\n+a\r\n+b\r\n" * 100_000, 1 << 30, 100_000),
    "100,000 maps in odd pieces": _Load(b"%1\r\n+a\r\n+b\r\n" * 100_000, 101, 100_000),
    "simple replies behind a complex one": _Load(b"*-1\r\n" + b"+OK\r\n" * 200_000, 1 << 30, 200_001),
    "long arrays in 4 KiB": _Load((b"*1000\r\n" + b"$1\r\na\r\n" * 1000) * 200, 4096, 200),
}


@pytest.mark.parametrize("load", _LOADS.values(), ids=_LOADS)
def test_long_streams_take_linear_time(load: _Load) -> None:
    """A long reply or many of them are read in time linear in their length, however they are cut."""
    with at_most(cpu_seconds=5):
        frames, error = read_frames(pieces(load.stream, load.size))

    assert (load.count, None) == (len(frames), error)
    assert load.stream == b"".join(frames)


def test_line_in_single_bytes_takes_linear_time() -> None:
    """A line is not searched from its beginning with each byte that arrives."""
    frame = b"+" + b"\r" * 60_000 + b"\r\n"
    with at_most(cpu_seconds=2):
        assert ([frame], None) == read_frames(pieces(frame, 1))


@pytest.mark.parametrize(
    "stream",
    [
        b"*900000000\r\n",
        b"*2\r\n~900000000\r\n",
        b"*1\r\n>900000000\r\n",
        b"%900000000\r\n|900000000\r\n",
        b"*900000000\r\n" * 1000,
        b"$900000000\r\nabc",
        b"*1000\r\n" * 1000,
    ],
)
def test_announced_elements_cost_nothing(stream: bytes) -> None:
    """What a header announces is awaited without the time and the memory for it."""
    splitter = ReplySplitter()
    with at_most(cpu_seconds=1, mib=8):
        assert splitter.feed(stream) == []
        assert not splitter.is_empty()
