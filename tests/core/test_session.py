"""What dualkv answers by itself, byte by byte. The texts were measured on Valkey 9.1.2 and Redis 7.0.15."""

from __future__ import annotations

import pytest

from dualkv.commands.table import COMMANDS
from dualkv.core.answers import answer
from dualkv.core.auth import User, Users
from dualkv.core.clients import describe
from dualkv.core.routing import Route, plan_for, plan_of
from dualkv.core.session import (
    HelloRequest,
    SessionState,
    hello_reply,
    parse_hello,
    parse_select,
    reset,
    switch_protocol,
)
from dualkv.core.transaction import Transaction, queue_command
from dualkv.resp import encode
from dualkv.resp.replies import ReplySplitter
from tests.core.building import Word, ask, planned

BAD_NAME = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
NO_INTEGER = b"-ERR value is not an integer or out of range\r\n"
NO_VERSION = b"-ERR Protocol version is not an integer or out of range\r\n"
NO_CLUSTER = b"-ERR This instance has cluster support disabled\r\n"
WRONG_PASSWORD = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
BOTH_VERSIONS = (2, 3)
ANYBODY = User()
USERS = Users([ANYBODY])


def reply_to(state: SessionState, *args: Word) -> bytes:
    """Return dualkv's answer to a request, as the session asks for it."""
    request = ask(*args)
    spec = plan_of(request.args).spec
    assert spec.takes(len(request.args))
    return answer(state, request.args, spec.label)


def hello(state: SessionState, *args: Word) -> HelloRequest | bytes:
    """Return what HELLO with *args* asks for, or the error."""
    return parse_hello(state, ask("HELLO", *args).args, USERS)


# --- every answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH_VERSIONS)
@pytest.mark.parametrize(
    "name",
    [spec.name for spec in COMMANDS if plan_for(spec).route is Route.LOCAL],
)
def test_every_local_command_is_answered_with_one_frame(name: str, protocol: int) -> None:
    """Each command that is called local has an answer, exactly one, in both RESP versions."""
    words = name.split()
    spec = plan_of(ask(*words).args).spec
    padding = ["x"] * (abs(spec.arity) - len(words))
    state = SessionState(client_id=7, protocol=protocol)

    reply = reply_to(state, *words, *padding)

    assert [reply] == ReplySplitter().feed(reply)


@pytest.mark.parametrize("protocol", BOTH_VERSIONS)
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("PING",), b"+PONG\r\n"),
        (("ping", "hello"), b"$5\r\nhello\r\n"),
        (("PING", ""), b"$0\r\n\r\n"),
        (("PING", b"\r\n\x00"), b"$3\r\n\r\n\x00\r\n"),
        (("PING", "a", "b"), b"-ERR wrong number of arguments for 'ping' command\r\n"),
        (("ECHO", "x"), b"$1\r\nx\r\n"),
        (("ECHO", b"\xff\r\n"), b"$3\r\n\xff\r\n\r\n"),
        (("QUIT",), b"+OK\r\n"),
        (("QUIT", "now"), b"+OK\r\n"),
        (("READONLY",), NO_CLUSTER),
        (("READWRITE",), NO_CLUSTER),
        (("ASKING",), NO_CLUSTER),
        (("CLIENT", "ID"), b":42\r\n"),
        (("client", "id"), b":42\r\n"),
        (("CLIENT", "GETREDIR"), b":-1\r\n"),
        (("CLIENT", "SETNAME", "worker-1"), b"+OK\r\n"),
        (("CLIENT", "SETNAME", ""), b"+OK\r\n"),
        (("CLIENT", "SETNAME", "!~"), b"+OK\r\n"),
        (("CLIENT", "SETNAME", "a b"), BAD_NAME),
        (("CLIENT", "SETNAME", "a\nb"), BAD_NAME),
        (("CLIENT", "SETNAME", b"\x7f"), BAD_NAME),
        (("CLIENT", "SETNAME", b"\xc3\xa9"), BAD_NAME),
        (("CLIENT", "SETINFO", "LIB-NAME", "redis-py"), b"+OK\r\n"),
        (("CLIENT", "SETINFO", "lib-ver", "8.1"), b"+OK\r\n"),
        (("CLIENT", "SETINFO", "LIB-NAME", ""), b"+OK\r\n"),
        (("CLIENT", "SETINFO", "foo", "x"), b"-ERR Unrecognized option 'foo'\r\n"),
        (
            ("CLIENT", "SETINFO", "LIB-NAME", "a b"),
            b"-ERR LIB-NAME cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            ("CLIENT", "SETINFO", "LIB-VER", b"\xff"),
            b"-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
        ),
        (("CLIENT", "NO-EVICT", "ON"), b"+OK\r\n"),
        (("CLIENT", "NO-EVICT", "off"), b"+OK\r\n"),
        (("CLIENT", "NO-EVICT", "maybe"), b"-ERR syntax error\r\n"),
        (("CLIENT", "NO-TOUCH", "on"), b"+OK\r\n"),
        (("CLIENT", "NO-TOUCH", ""), b"-ERR syntax error\r\n"),
    ],
)
def test_answer_is_redis_own(args: tuple[Word, ...], expected: bytes, protocol: int) -> None:
    """Good and bad arguments get the bytes that Redis answers, the same in both RESP versions."""
    assert expected == reply_to(SessionState(client_id=42, protocol=protocol), *args)


@pytest.mark.parametrize(
    "number", ["+0", "00", "-0", "0_0", " 0", "0 ", "\u0660", "x", "", "1.0", "9" * 5000]
)
def test_database_number_is_written_as_redis_takes_it(number: str) -> None:
    """Other ways to write 0 are no integers to Redis, and so not to dualkv."""
    assert parse_select(ask("SELECT", number).args) == NO_INTEGER


@pytest.mark.parametrize(
    ("number", "expected"), [(0, 0), (15, 15), (-1, b"-ERR DB index is out of range\r\n")]
)
def test_database_number_is_understood(number: int, expected: int | bytes) -> None:
    """A number from 0 on is a database; whether it exists the primary knows."""
    assert expected == parse_select(ask("SELECT", number).args)


def test_library_option_is_named_as_the_client_wrote_it() -> None:
    """The error for a bad library name repeats the option in the client's own letters."""
    expected = b"-ERR lib-name cannot contain spaces, newlines or special characters.\r\n"

    assert expected == reply_to(SessionState(client_id=1), "CLIENT", "SETINFO", "lib-name", "a b")


# --- state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "nil"), [(2, b"$-1\r\n"), (3, b"_\r\n")])
def test_client_without_a_name_has_a_nil_name(protocol: int, nil: bytes) -> None:
    """CLIENT GETNAME answers nil, in the client's RESP version, before and after a name."""
    state = SessionState(client_id=1, protocol=protocol)
    replies = [reply_to(state, "CLIENT", "GETNAME")]
    reply_to(state, "CLIENT", "SETNAME", "worker")
    replies.append(reply_to(state, "CLIENT", "GETNAME"))
    reply_to(state, "CLIENT", "SETNAME", "")
    replies.append(reply_to(state, "CLIENT", "GETNAME"))

    assert [nil, b"$6\r\nworker\r\n", nil] == replies


def test_bad_name_changes_nothing() -> None:
    """A refused name leaves the earlier one; a refused library name too."""
    state = SessionState(client_id=1, name=b"good", lib_name=b"lib", lib_version=b"1")
    reply_to(state, "CLIENT", "SETNAME", "not good")
    reply_to(state, "CLIENT", "SETINFO", "LIB-NAME", "not good")
    reply_to(state, "CLIENT", "SETINFO", "LIB-VER", "not good")

    assert (state.name, state.lib_name, state.lib_version) == (b"good", b"lib", b"1")


def test_quit_ends_the_connection_behind_its_reply() -> None:
    """QUIT is remembered; nothing else is taken for it."""
    state = SessionState(client_id=1)
    reply_to(state, "PING")
    before = state.has_quit
    reply_to(state, "QUIT")

    assert (before, state.has_quit) == (False, True)


def test_reset_forgets_all_but_the_library() -> None:
    """RESET ends RESP3, the name and a transaction; the library's name stays, as in Redis."""
    state = SessionState(client_id=1, protocol=3, name=b"n", lib_name=b"lib", lib_version=b"2")
    state.transaction = Transaction()
    state.user = ANYBODY
    reset(state, USERS)

    assert SessionState(client_id=1, lib_name=b"lib", lib_version=b"2", user=ANYBODY) == state


def test_client_is_described_by_what_it_has_set() -> None:
    """CLIENT INFO is one line of the client's own settings."""
    state = SessionState(
        client_id=5, protocol=3, name=b"n", lib_name=b"py", lib_version=b"8", connected_at=90.0
    )

    assert describe(state, now=100.5) == (
        b"id=5 addr= laddr= name=n age=10 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 cmd=NULL user=default "
        b"redir=-1 resp=3 lib-name=py lib-ver=8\n"
    )


def test_client_info_counts_queued_commands() -> None:
    """Inside a transaction CLIENT INFO tells how many commands wait."""
    state = SessionState(client_id=5, transaction=Transaction())
    assert state.transaction is not None
    for _ in range(3):
        queue_command(state.transaction, *planned("INCR", "n"))

    line = describe(state, now=0.0)

    assert b" multi=3 " in line
    assert b" flags=x " in line


# --- HELLO ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), HelloRequest(2, None, ANYBODY)),
        ((2,), HelloRequest(2, None, ANYBODY)),
        ((3,), HelloRequest(3, None, ANYBODY)),
        ((3, "AUTH", "default", "any"), HelloRequest(3, None, ANYBODY)),
        ((3, "SETNAME", "w"), HelloRequest(3, b"w", ANYBODY)),
        ((3, "setname", ""), HelloRequest(3, b"", ANYBODY)),
        ((3, "auth", "default", "", "setname", "w"), HelloRequest(3, b"w", ANYBODY)),
        ((3, "SETNAME", "a", "AUTH", "default", "x", "SETNAME", "b"), HelloRequest(3, b"b", ANYBODY)),
        ((3, "SETNAME", "AUTH"), HelloRequest(3, b"AUTH", ANYBODY)),
        ((1,), b"-NOPROTO unsupported protocol version\r\n"),
        ((4,), b"-NOPROTO unsupported protocol version\r\n"),
        ((-3,), b"-NOPROTO unsupported protocol version\r\n"),
        (("x",), NO_VERSION),
        (("",), NO_VERSION),
        (("3.0",), NO_VERSION),
        (("SETNAME", "w"), NO_VERSION),
        ((3, "SETNAME"), b"-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        ((3, "AUTH", "default"), b"-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        ((3, "foo", "x"), b"-ERR Syntax error in HELLO option 'foo'\r\n"),
        ((3, "a\r\nb"), b"-ERR Syntax error in HELLO option 'a  b'\r\n"),
        ((3, "AUTH", "bob", "x"), WRONG_PASSWORD),
        ((3, "SETNAME", "a b"), BAD_NAME),
    ],
)
def test_hello_is_understood_or_refused(args: tuple[Word, ...], expected: HelloRequest | bytes) -> None:
    """HELLO asks for a version and perhaps a name; what is wrong with it gets Redis's error."""
    assert expected == hello(SessionState(client_id=1, user=ANYBODY), *args)


@pytest.mark.parametrize("version", ["+3", "03", "0_3", " 3", "3 ", "\u0663"])
def test_version_is_written_as_redis_takes_it(version: str) -> None:
    """Other ways to write 3 are no integers to Redis, and so not to dualkv."""
    assert hello(SessionState(client_id=1), version) == NO_VERSION


@pytest.mark.parametrize("protocol", BOTH_VERSIONS)
def test_hello_without_a_version_keeps_it(protocol: int) -> None:
    """HELLO alone only asks: the RESP version stays."""
    assert HelloRequest(protocol, None, ANYBODY) == hello(
        SessionState(client_id=1, protocol=protocol, user=ANYBODY)
    )


@pytest.mark.parametrize(("spoken", "is_raised"), [((2,), True), ((2, 3), False)])
def test_version_that_the_primary_does_not_speak_is_made_of_resp2(
    spoken: tuple[int, ...], is_raised: bool
) -> None:
    """The client reads RESP3, its commands go to the primary as RESP2's; going back, or RESET, ends that."""
    state = SessionState(client_id=1)
    switch_protocol(state, HelloRequest(3, None, ANYBODY), spoken)
    assert (state.protocol, state.is_raised) == (3, is_raised)
    assert state.context.protocol == (2 if is_raised else 3)

    switch_protocol(state, HelloRequest(2, None, ANYBODY), spoken)
    assert (state.protocol, state.is_raised, state.context.protocol) == (2, False, 2)

    switch_protocol(state, HelloRequest(3, None, ANYBODY), spoken)
    reset(state, USERS)
    assert (state.protocol, state.is_raised, state.context.protocol) == (2, False, 2)


@pytest.mark.parametrize("args", [(4,), ("x",), (3, "SETNAME", "a b"), (3, "SETNAME", "new", "FOO")])
def test_refused_hello_changes_nothing(args: tuple[Word, ...]) -> None:
    """After an error the client is what it was, even if a part of the request was right."""
    state = SessionState(client_id=1, protocol=2, name=b"old", user=ANYBODY)
    reply = hello(state, *args)

    assert isinstance(reply, bytes)
    assert SessionState(client_id=1, protocol=2, name=b"old", user=ANYBODY) == state


@pytest.mark.parametrize(("asked", "name"), [(None, b"old"), (b"new", b"new"), (b"", b"")])
def test_hello_switches_and_names(asked: bytes | None, name: bytes) -> None:
    """A HELLO that was understood sets the version, and the name only if it says one."""
    state = SessionState(client_id=1, name=b"old")
    switch_protocol(state, HelloRequest(3, asked, ANYBODY), BOTH_VERSIONS)

    assert (3, name) == (state.protocol, state.name)


FACTS = {"server": encode.bulk("valkey"), "id": encode.integer(9), "modules": encode.array([])}


@pytest.mark.parametrize(
    ("protocol", "head"),
    [(2, b"*6\r\n"), (3, b"%3\r\n")],
)
def test_hello_answers_the_primarys_facts_with_the_clients_own_id(protocol: int, head: bytes) -> None:
    """The reply has the primary's fields in their order, a map in RESP3, and dualkv's id of the client."""
    expected = head + b"$6\r\nserver\r\n$6\r\nvalkey\r\n$2\r\nid\r\n:77\r\n$7\r\nmodules\r\n*0\r\n"

    assert expected == hello_reply(SessionState(client_id=77, protocol=protocol), FACTS)


def test_facts_of_the_primary_are_not_changed_by_a_hello() -> None:
    """Every client gets its own id: the shared facts keep theirs."""
    before = dict(FACTS)
    hello_reply(SessionState(client_id=77), FACTS)

    assert before == FACTS
