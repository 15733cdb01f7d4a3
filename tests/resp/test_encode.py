"""What dualkv says itself is well-formed, and in a real server's words where that has words."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.resp import encode
from dualkv.resp.replies import elements_of, is_error, value_of
from tests.resp.feeding import THOROUGH, first_reply, read_frames, read_requests

_CONSTANTS = {
    name: value for name, value in vars(encode).items() if name.isupper() and isinstance(value, bytes)
}


@pytest.mark.parametrize("name", _CONSTANTS)
def test_constant_is_one_whole_frame(name: str) -> None:
    """Each reply that is kept ready is exactly one frame."""
    assert ([_CONSTANTS[name]], None) == read_frames([_CONSTANTS[name]])


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (encode.OK, b"+OK\r\n"),
        (encode.PONG, b"+PONG\r\n"),
        (encode.QUEUED, b"+QUEUED\r\n"),
        (encode.RESET, b"+RESET\r\n"),
        (encode.EXECABORT, b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        (encode.TOO_MANY_CLIENTS, b"-ERR max number of clients reached\r\n"),
        (encode.bulk(b""), b"$0\r\n\r\n"),
        (encode.bulk(b"a\r\n\xff"), b"$4\r\na\r\n\xff\r\n"),
        (encode.bulk("é"), b"$2\r\n\xc3\xa9\r\n"),
        (encode.integer(0), b":0\r\n"),
        (encode.integer(-7), b":-7\r\n"),
        (encode.null(2), b"$-1\r\n"),
        (encode.null(3), b"_\r\n"),
        (encode.array([]), b"*0\r\n"),
        (encode.array([b":1\r\n", b"+a\r\n"]), b"*2\r\n:1\r\n+a\r\n"),
        (encode.array(frame for frame in [b":1\r\n"]), b"*1\r\n:1\r\n"),
        (encode.mapping({}, 2), b"*0\r\n"),
        (encode.mapping({}, 3), b"%0\r\n"),
        (encode.mapping({"a": b":1\r\n", "b": b"_\r\n"}, 2), b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n"),
        (encode.mapping({"a": b":1\r\n", "b": b"_\r\n"}, 3), b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n"),
        (encode.error("ERR no"), b"-ERR no\r\n"),
        (encode.error(b"ERR \xff"), b"-ERR \xff\r\n"),
        (encode.error("ERR a\r\nb\nc"), b"-ERR a  b c\r\n"),
        (encode.command("GET", b"k\r\n", 5), b"*3\r\n$3\r\nGET\r\n$3\r\nk\r\n\r\n$1\r\n5\r\n"),
    ],
)
def test_frame_is_written_as_redis_writes_it(frame: bytes, expected: bytes) -> None:
    """Each encoder writes the bytes that Redis would."""
    assert expected == frame


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
@THOROUGH
def test_command_is_read_back_as_it_was(args: list[bytes]) -> None:
    """A command that dualkv writes is what it would read, and what hiredis would write."""
    written = encode.command(*args)

    assert ([tuple(args)], None) == read_requests([written])
    assert hiredis.pack_command(tuple(args)) == written  # type: ignore[arg-type] # its stub knows one argument


@given(st.lists(st.binary(max_size=40), max_size=8))
@THOROUGH
def test_array_is_read_back_as_it_was(values: list[bytes]) -> None:
    """An array of bulk strings has the elements and the value that it was made of."""
    frames = list(map(encode.bulk, values))
    frame = encode.array(frames)

    assert frames == elements_of(frame)
    assert values == value_of(frame)


@given(st.text(alphabet="aé\r\n") | st.binary())
@THOROUGH
def test_error_is_one_frame_whatever_its_text(text: str | bytes) -> None:
    """No text can break an error reply out of its line."""
    frame = encode.error(text)

    assert ([frame], None) == read_frames([frame])
    assert is_error(frame)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (encode.not_supported("MONITOR"), b"-ERR dualkv: MONITOR is not supported yet\r\n"),
        (
            encode.refused("SHUTDOWN", (b"SHUTDOWN",)),
            b"-NOPERM dualkv refuses SHUTDOWN: it is not safe through a proxy\r\n",
        ),
    ],
)
def test_error_of_dualkv_names_dualkv(frame: bytes, expected: bytes) -> None:
    """What only a proxy can say tells the user who speaks."""
    assert expected == frame


@pytest.mark.parametrize("frame", [encode.PRIMARY_UNREACHABLE, encode.OUTCOME_UNKNOWN])
def test_failure_of_the_primary_is_an_error_that_names_dualkv(frame: bytes) -> None:
    """A request that got no reply is answered with an ``ERR dualkv``."""
    assert frame.startswith(b"-ERR dualkv ")


@pytest.mark.parametrize(
    "args",
    [
        (b"NOSUCH",),
        (b"nosuch", b"a", b"b"),
        (b"N" * 200, b"a"),
        (b"NO\r\nSUCH", b"a\nb"),
        (b"no\xffsuch", b"\xff"),
        (b"NOSUCH", b"", b"'"),
        (b"NOSUCH", b"a" * 100, b"b" * 100, b"c"),
        (b"NOSUCH", b"a" * 124, b"b", b"c"),
        (b"NOSUCH", b"a" * 125, b"b", b"c"),
        (b"NOSUCH", b"a" * 500, b"b"),
        (b"NOSUCH", *[b"x"] * 100),
    ],
    ids=lambda args: repr(args)[:40],
)
def test_unknown_command_is_refused_in_the_words_of_a_live_server(
    args: tuple[bytes, ...], valkey_port: int
) -> None:
    """The error for a command that does not exist is that of a real server, cut where it cuts."""
    assert first_reply(valkey_port, encode.command(*args)) == encode.unknown_command(args)


@pytest.mark.parametrize(
    "args",
    [
        (b"CLIENT", b"NOSUCH"),
        (b"config", b"nosuch", b"x"),
        (b"OBJECT", b"x" * 200, b"k"),
        (b"xgroup", b"a\r\nb"),
    ],
    ids=lambda args: repr(args)[:40],
)
def test_unknown_subcommand_is_refused_in_the_words_of_a_live_server(
    args: tuple[bytes, ...], valkey_port: int
) -> None:
    """The error for a sub-command that does not exist is that of a real server."""
    assert first_reply(valkey_port, encode.command(*args)) == encode.unknown_subcommand(args)


@pytest.mark.parametrize(
    ("args", "full_name"),
    [
        ((b"GET",), "get"),
        ((b"PING", b"a", b"b"), "ping"),
        ((b"CLIENT", b"SETNAME"), "client|setname"),
        ((b"OBJECT",), "object"),
    ],
)
def test_wrong_arity_is_refused_in_the_words_of_a_live_server(
    args: tuple[bytes, ...], full_name: str, valkey_port: int
) -> None:
    """The error for a wrong number of arguments is that of a real server."""
    assert first_reply(valkey_port, encode.command(*args)) == encode.wrong_arity(full_name)
