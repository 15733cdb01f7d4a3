"""Bytes from a client become requests, however they are cut and whatever they are."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dualkv.errors import RequestProtocolError
from dualkv.resp.encode import array, bulk, command, error
from dualkv.resp.requests import MAX_ARGUMENTS, MAX_BULK_BYTES, MAX_LINE_BYTES, RequestParser, split_inline
from tests.resp.feeding import THOROUGH, Args, at_most, cut, cut_positions, first_reply, pieces, read_requests

_STREAMS: list[tuple[bytes, list[Args]]] = [
    (b"*1\r\n$4\r\nPING\r\n", [(b"PING",)]),
    (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [(b"GET", b"")]),
    (b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n", [(b"GET", b"\r\n")]),
    (b"*2\r\n$3\r\nGET\r\n$14\r\n*1\r\n$4\r\nPING\r\n\r\n", [(b"GET", b"*1\r\n$4\r\nPING\r\n")]),
    (b"*2\r\n$3\r\nGET\r\n$12\r\n\n*90000000\r\n\r\n", [(b"GET", b"\n*90000000\r\n")]),
    (b"*2\r\n$3\r\nGET\r\n$4\r\n\x00\xff\r\x80\r\n", [(b"GET", b"\x00\xff\r\x80")]),
    (b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nping\r\n", [(b"PING",), (b"ping",)]),
    (b"*0\r\n*1\r\n$4\r\nPING\r\n*-1\r\n", [(b"PING",)]),
    (b"PING\r\n", [(b"PING",)]),
    (b"PING\n", [(b"PING",)]),
    (b"  SET \t k  v  \r\n", [(b"SET", b"k", b"v")]),
    (b"\r\n\n \r\nPING\r\n", [(b"PING",)]),
    (b"PING\r\n*1\r\n$4\r\nPING\r\nECHO x\n", [(b"PING",), (b"PING",), (b"ECHO", b"x")]),
    (b"*1\r\n$4\r\nPING\r\nECHO 'a b'\n*0\r\n*1\r\n$1\r\nx\r\n", [(b"PING",), (b"ECHO", b"a b"), (b"x",)]),
    (b"$4\r\nPING\r\n", [(b"$4",), (b"PING",)]),
    (b"+OK\r\n:1\r\n", [(b"+OK",), (b":1",)]),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", [(b"GET", b"/", b"HTTP/1.1"), (b"Host:", b"x")]),
    (command(*[b"x"] * 999), [(b"x",) * 999]),
    (command(*[b"x"] * 1000), [(b"x",) * 1000]),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "expected"), _STREAMS)
def test_stream_is_read_whole_bytewise_and_with_trailing_bytes(stream: bytes, expected: list[Args]) -> None:
    """The same requests come out of a stream whole, byte by byte, and with another request behind it."""
    assert (expected, None) == read_requests([stream])
    assert (expected, None) == read_requests(pieces(stream, 1))
    assert ([*expected, (b"LAST", b"")], None) == read_requests([stream + command("LAST", "")])
    assert ([*expected, (b"LAST",)], None) == read_requests([stream + b"LAST\r\n"])
    assert (expected, None) == read_requests([stream + command("LAST", "")[:-1]])
    assert (expected, None) == read_requests([stream + b"LAST"])


def test_request_is_returned_by_the_feed_that_completes_it() -> None:
    """A request comes out as soon as its last byte is there, not before."""
    parser = RequestParser()
    stream = command("SET", "k", "v") + b"PING\n" + command("GET", "k")
    counts = [len(parser.feed(byte)) for byte in pieces(stream, 1)]
    first = len(command("SET", "k", "v"))

    assert [first - 1, first + 4, len(stream) - 1] == [at for at, count in enumerate(counts) if count]
    assert sum(counts) == 3


@given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=6), max_size=5), cut_positions())
@THOROUGH
def test_canonical_raw_is_what_hiredis_packs(requests: list[list[bytes]], positions: list[int]) -> None:
    """Whatever the arguments and the cuts, the raw bytes are those of ``hiredis.pack_command``."""
    packed = [hiredis.pack_command(tuple(args)) for args in requests]  # type: ignore[arg-type] # its stub knows one argument
    parser = RequestParser()
    found = [request for part in cut(b"".join(packed), positions) for request in parser.feed(part)]

    assert [tuple(args) for args in requests] == [request.args for request in found]
    assert packed == [request.raw for request in found]


def test_inline_request_is_forwarded_as_an_array() -> None:
    """What a client typed reaches a backend in canonical form."""
    (request,) = RequestParser().feed(b"set 'my key'  \"a\\r\\nb\"\n")

    assert request.raw == b"*3\r\n$3\r\nset\r\n$6\r\nmy key\r\n$4\r\na\r\nb\r\n"


_SNIPPETS = st.sampled_from(
    [
        b"*", b"$", b":", b"+", b"-", b"~", b"%", b">", b"_", b",", b"|", b"\r\n", b"\n", b"\r", b"\0", b" ",
        b'"', b"'", b"\\", b"\\x", b"0", b"1", b"2", b"3", b"-1", b"07", b"PING", b"\xff", b"1048577",
        b"536870913", b"*1\r\n", b"*2\r\n", b"*0\r\n", b"*-1\r\n", b"$1\r\na\r\n", b"$0\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"*1\r\n*1\r\n", b"*1\r\n+PING\r\n", b"$1\r\naXX",
    ]
)  # fmt: skip
_ODD_STREAMS = st.lists(_SNIPPETS, max_size=25).map(b"".join)


@given(_ODD_STREAMS | st.binary(max_size=100), cut_positions(150))
@example(b"*1\r\n*1\r\n", [])
@example(b"*1\r\n%1\r\n*0\r\n+a\r\n", [])
@example(b"*1\r\n-\xff\r\n", [])
@example(b"*1\r\n(" + b"9" * 5000 + b"\r\n", [])
@example(b"*" + b"9" * 5000 + b"\r\n", [7])
@THOROUGH
def test_any_bytes_give_the_same_requests_or_error_however_cut(stream: bytes, positions: list[int]) -> None:
    """Any bytes are requests up to at most one protocol error, and cuts make no difference."""
    whole = read_requests([stream])

    assert whole == read_requests(cut(stream, positions))
    assert whole == read_requests(pieces(stream, 1))


# --- inline requests


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", []),
        (b" \t\r", []),
        (b"a", [b"a"]),
        (b"a b\tc\rd", [b"a", b"b", b"c", b"d"]),
        (b'""', [b""]),
        (b"'' \"\" x", [b"", b"", b"x"]),
        (b'"a b"', [b"a b"]),
        (b"'a b'", [b"a b"]),
        (b'foo"bar baz"', [b"foobar baz"]),
        (b"foo'bar baz' x", [b"foobar baz", b"x"]),
        (rb'"\n\r\t\b\a\\\""', [b'\n\r\t\b\a\\"']),
        (rb'"\x00\xfF\x41"', [b"\x00\xffA"]),
        (rb'"\x4\xzz\q"', [b"x4xzzq"]),
        (rb"'\n\x41\''", [rb"\n\x41'"]),
        (rb"'\\ '", [b"\\\\ "]),
        (rb"a\nb \x41", [rb"a\nb", rb"\x41"]),
        (b'"it\'s" \'say "x"\'', [b"it's", b'say "x"']),
        (b"\xff\xfe \x80", [b"\xff\xfe", b"\x80"]),
    ],
)
def test_inline_request_is_split_as_redis_does(line: bytes, expected: list[bytes]) -> None:
    """Quotes, escapes and white space of an inline request mean what they mean to Redis."""
    assert expected == split_inline(line)


@pytest.mark.parametrize("line", [b"a\x0bb", b"a\x0cb c\x0b", b"\x0ba \x0cb"])
def test_vertical_tabs_and_form_feeds_split_as_in_redis(line: bytes, valkey_port: int) -> None:
    """A vertical tab or form feed is skipped before an argument, and part of it elsewhere."""
    typed = b"EVAL 'return ARGV' 0 " + line
    reply = first_reply(valkey_port, typed + b"\r\n")

    assert reply == array(map(bulk, split_inline(typed)[3:]))


@pytest.mark.parametrize(
    "line", [b'"', b"'", b'"a', b"'a", b'a"', b"a'", rb'"a\"', rb"'a\'", b'"a\\', b"SET k 'v"]
)
def test_unbalanced_quotes_are_a_protocol_error(line: bytes) -> None:
    """A quote that is not closed ends the conversation."""
    expected: tuple[list[Args], str] = ([], "ERR Protocol error: unbalanced quotes in request")

    assert expected == read_requests([line + b"\r\nPING\r\n"])
    assert expected == read_requests(pieces(line + b"\n", 1))


@pytest.mark.parametrize("line", [b'"a"b', b"'a'b", b'"a""b"'])
def test_closing_quote_ends_the_argument(line: bytes) -> None:
    """Behind a closing quote there must be white space (Valkey 9.1 is laxer than all others)."""
    assert read_requests([line + b"\n"]) == ([], "ERR Protocol error: unbalanced quotes in request")


@pytest.mark.parametrize(
    "line",
    [
        b"", b"a b", b"  a \t b  ", b'"a b" \'c d\'', b'foo"bar baz"', rb'"\n\r\t\b\a\\\"\x41\xzz\q"',
        rb"'\n\'\\ '", rb"a\nb \x41", b"'' \"\"", b"\x80\xfe", b'"\x80"',
    ],
)  # fmt: skip
def test_inline_request_is_split_as_a_live_server_does(line: bytes, valkey_port: int) -> None:
    """The arguments of an inline request are those that a real server sees."""
    typed = b"EVAL 'return ARGV' 0 " + line + b"\r\n"
    requests, problem = read_requests([typed])

    assert problem is None
    assert first_reply(valkey_port, typed) == array(map(bulk, requests[0][3:]))


# --- protocol errors


def _shortly(value: bytes | str) -> str:
    """Return the id of a parameter."""
    return repr(value[:30])


_ERRORS = {
    b"*\r\n": "invalid multibulk length",
    b"*a\r\n": "invalid multibulk length",
    b"* 1\r\n": "invalid multibulk length",
    b"*+1\r\n": "invalid multibulk length",
    b"*01\r\n": "invalid multibulk length",
    b"*-0\r\n": "invalid multibulk length",
    b"*1_0\r\n": "invalid multibulk length",
    b"*99999999999999999999\r\n": "invalid multibulk length",
    b"*-99999999999999999999\r\n": "invalid multibulk length",
    b"*" + b"9" * 5000 + b"\r\n": "invalid multibulk length",
    b"*1\r\n\r\n": "expected '$', got ' '",
    b"*1\r\nPING\r\n": "expected '$', got 'P'",
    b"*1\r\n*1\r\n": "expected '$', got '*'",
    b"*1\r\n:1\r\n": "expected '$', got ':'",
    b"*1\r\n+PING\r\n": "expected '$', got '+'",
    b"*1\r\n_\r\n": "expected '$', got '_'",
    b"*1\r\n#t\r\n": "expected '$', got '#'",
    b"*1\r\n~1\r\n": "expected '$', got '~'",
    b"*1\r\n$\r\n": "invalid bulk length",
    b"*1\r\n$x\r\n": "invalid bulk length",
    b"*1\r\n$-1\r\n": "invalid bulk length",
    b"*1\r\n$04\r\nPING\r\n": "invalid bulk length",
    b"*1\r\n$+4\r\nPING\r\n": "invalid bulk length",
    b"*1\r\n$4 \r\nPING\r\n": "invalid bulk length",
    b"*1\r\n$536870913\r\n": "invalid bulk length",
    b"*1\r\n$99999999999999999999\r\n": "invalid bulk length",
    b"*1\r\n$4\r\nPINGxx": "invalid CRLF in request",
    b"*1\r\n$4\r\nPING\n\n": "invalid CRLF in request",
    b"*1\r\n$4\r\nPING\r\r": "invalid CRLF in request",
    b"*" + b"1" * 65537: "too big mbulk count string",
    b"*1\r\n$" + b"1" * 65537: "too big bulk count string",
    b"*1\r\n" + b"x" * 65537: "too big bulk count string",
    b"x" * 65537: "too big inline request",
}


@pytest.mark.parametrize(("stream", "text"), _ERRORS.items(), ids=_shortly)
def test_protocol_error_has_the_text_of_a_live_server(stream: bytes, text: str, valkey_port: int) -> None:
    """What is not RESP is refused in the words of a real server."""
    expected = f"ERR Protocol error: {text}"

    assert ([], expected) == read_requests([stream])
    assert error(expected) == first_reply(valkey_port, stream)


@pytest.mark.parametrize(("stream", "text"), _ERRORS.items(), ids=_shortly)
def test_protocol_error_comes_bytewise_and_behind_requests(stream: bytes, text: str) -> None:
    """An error is the same byte by byte, and requests before it are still returned."""
    expected = f"ERR Protocol error: {text}"

    assert ([], expected) == read_requests(pieces(stream, 1))
    assert ([(b"GET", b"k")], expected) == read_requests([command("GET", "k") + stream + command("PING")])
    assert ([(b"PING",)], expected) == read_requests([b"PING\r\n" + stream])
    assert ([(b"PING",), (b"PING",)], expected) == read_requests([b"PING\r\n", command("PING") + stream])


def test_error_is_raised_after_the_requests_before_it_and_from_then_on() -> None:
    """The feed that finds an error returns what is before it; every later one raises, whatever it gets."""
    parser = RequestParser()
    requests = parser.feed(command("PING") + b"*x\r\n" + command("PING"))

    assert [request.args for request in requests] == [(b"PING",)]
    assert parser.has_failed
    for more in (b"", command("PING"), b"*x\r\n"):
        with pytest.raises(RequestProtocolError, match=r"^ERR Protocol error: invalid multibulk length$"):
            parser.feed(more)


def test_error_without_a_request_before_it_is_raised_by_the_next_feed() -> None:
    """A feed never both loses requests and raises: the first feed of a bad stream returns nothing."""
    parser = RequestParser()

    assert parser.feed(b"*x\r\n") == []
    assert parser.has_failed
    with pytest.raises(RequestProtocolError):
        parser.feed(b"")


# --- limits


def test_longest_inline_request_is_64_kib() -> None:
    """An inline request of 64 KiB is taken, one byte more is not, even without a line end."""
    longest = b"ECHO " + b"x" * (MAX_LINE_BYTES - 5)

    assert MAX_LINE_BYTES == 65536
    assert ([(b"ECHO", longest[5:])], None) == read_requests([longest, b"\n"])
    assert read_requests([longest]) == ([], None)
    for too_long in ([longest + b"x\n"], [longest, b"x"], pieces(longest + b"x", 4096)):
        assert read_requests(too_long) == ([], "ERR Protocol error: too big inline request")


def test_longest_length_line_is_64_kib() -> None:
    """A length line of 64 KiB is awaited (and found invalid), a longer one is refused at once."""
    longest = b"*" + b"1" * (MAX_LINE_BYTES - 1)

    assert read_requests([longest]) == ([], None)
    assert read_requests([longest, b"\r\n"]) == ([], "ERR Protocol error: invalid multibulk length")
    assert read_requests([longest, b"1"]) == ([], "ERR Protocol error: too big mbulk count string")
    assert read_requests([b"*1\r\n", longest.replace(b"*", b"$"), b"\r\n"]) == (
        [],
        "ERR Protocol error: invalid bulk length",
    )


def test_most_arguments_are_a_million_and_some() -> None:
    """A request may have 1,048,576 arguments; one that announces more is refused before they arrive."""
    most = b"*%d\r\n" % MAX_ARGUMENTS

    assert MAX_ARGUMENTS == 1_048_576
    assert read_requests([most]) == ([], None)
    assert read_requests([b"*1048577\r\n"]) == ([], "ERR Protocol error: invalid multibulk length")
    with at_most(cpu_seconds=30):
        (args,), problem = read_requests([most, b"$0\r\n\r\n" * MAX_ARGUMENTS])
    assert (MAX_ARGUMENTS, {b""}, None) == (len(args), set(args), problem)


def test_longest_argument_is_512_mib() -> None:
    """An argument of 512 MiB is awaited; one byte more is refused before it arrives."""
    assert MAX_BULK_BYTES == 536_870_912
    assert read_requests([b"*1\r\n$536870912\r\n"]) == ([], None)
    assert read_requests([b"*1\r\n$536870913\r\n"]) == ([], "ERR Protocol error: invalid bulk length")


# --- time and memory

_HUGE = 900_000_000


@pytest.mark.parametrize(
    "stream",
    [
        b"*%d\r\n" % _HUGE,
        b"*1\r\n*%d\r\n" % _HUGE,
        b"*1\r\n>%d\r\n" % _HUGE,
        b"*2\r\n~%d\r\n" % _HUGE,
        b"*1\r\n%%%d\r\n" % _HUGE,
        b"*1\r\n|%d\r\n" % _HUGE,
        b"*1\r\n$%d\r\n" % _HUGE,
        b"*2\r\n$1\r\na\r\n>%d\r\n" % _HUGE,
        command("PING") + b"*%d\r\n" % _HUGE,
        b"PING\r\n*%d\r\n" % _HUGE,
        b"*2\r\n$1\r\naXX*%d\r\n" % _HUGE,
        b"*1\r\n$1\r\naXX*%d\r\n" % _HUGE,
        b"*2\r\n$1\r\naXX>100000000\r\n",
        b"*2\r\n$1\r\naXX~4000000000\r\n",
        b"*1\r\n" + b"*999\r\n" * 10_000,
    ],
)  # fmt: skip
def test_hostile_header_costs_nothing(stream: bytes) -> None:
    """A header that announces much is refused without the time and the memory that it announces."""
    with at_most(cpu_seconds=1, mib=128):
        found, problem = read_requests([stream])

    assert problem is not None
    assert problem.startswith("ERR Protocol error: ")
    assert [args for args in found if args != (b"PING",)] == []


def test_announced_value_is_not_reserved() -> None:
    """Memory for a long argument is taken as it arrives, not when it is announced."""
    with at_most(cpu_seconds=1, mib=8):
        assert read_requests([b"*2\r\n$3\r\nSET\r\n$500000000\r\n", b"x" * 100_000]) == ([], None)


@pytest.mark.parametrize(
    ("request_bytes", "repeats", "size"),
    [
        pytest.param(b"PING\r\n", 10_000, None, id="inline in one chunk"),
        pytest.param(b"PING\r\n", 100_000, None, id="very many inline in one chunk"),
        pytest.param(b"PING\r\n" + command("PING"), 50_000, None, id="mixed in one chunk"),
        pytest.param(command("PING") + b"PING\r\n", 50_000, 65536, id="mixed in 64 KiB"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n*0\r\n", 50_000, None, id="with empty requests"),
        pytest.param(command("PING"), 100_000, 101, id="pipeline cut small"),
        pytest.param(b"PING\r\n", 100_000, 101, id="inline cut small"),
    ],
)
def test_many_requests_take_linear_time(request_bytes: bytes, repeats: int, size: int | None) -> None:
    """A long pipeline is read in time linear in its length, however it is written and cut."""
    stream = request_bytes * repeats
    with at_most(cpu_seconds=10):
        found, problem = read_requests(pieces(stream, size or len(stream)))

    assert (request_bytes.count(b"PING") * repeats, {(b"PING",)}, None) == (len(found), set(found), problem)


def test_long_argument_in_small_pieces_takes_linear_time() -> None:
    """A value of 20 MB that arrives in 64 KiB pieces is not looked at again with each piece."""
    value = b"x\r\n*" * 5_000_000
    with at_most(cpu_seconds=5):
        found, problem = read_requests(pieces(command("SET", "k", value), 65536))

    assert ([(b"SET", b"k", value)], None) == (found, problem)


def test_many_arguments_in_small_pieces_take_linear_time() -> None:
    """A request of 100,000 arguments that arrives in 4 KiB pieces is not begun again with each piece."""
    args = (b"DEL", *(b"key:%d" % number for number in range(100_000)))
    with at_most(cpu_seconds=5):
        found, problem = read_requests(pieces(command(*args), 4096))

    assert ([args], None) == (found, problem)


@pytest.mark.parametrize("start", [b"", b"*", b"*1\r\n$"])
def test_line_without_an_end_in_single_bytes_takes_linear_time(start: bytes) -> None:
    """A line that never ends is not searched from its beginning with each byte."""
    with at_most(cpu_seconds=5):
        assert read_requests([start, *pieces(b"1" * 65_000, 1)]) == ([], None)
