"""MULTI … EXEC in the proxy: what is queued, what is refused, what is sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.session import SessionState, transaction_reply
from dualkv.core.transaction import Transaction, queue_command
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.core.building import planned


def queue(transaction: Transaction, line: str) -> bytes:
    """Queue the request on *line*; return the reply."""
    return queue_command(transaction, *planned(*line.split()))


def session_in_multi(*lines: str) -> SessionState:
    """Return a client's state after MULTI and the commands on *lines*."""
    state = SessionState(client_id=1)
    assert transaction_reply(state, "MULTI") == encode.OK
    assert state.transaction is not None
    for line in lines:
        queue(state.transaction, line)
    return state


# --- queueing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "SET a 1", "get a", "EVAL x 0", "BLPOP k 0", "SELECT 1", "WAIT 1 0", "CLIENT ID", "UNWATCH",
        "FLUSHALL", "CONFIG GET x", "PUBLISH c m",
        "XREAD STREAMS s 0", "SCRIPT LOAD x", "INFO", "KEYS *",
    ],
)  # fmt: skip
def test_what_the_lane_takes_is_queued(line: str) -> None:
    """An ordinary command waits for EXEC with its plan; whether it exists only the primary knows."""
    transaction = Transaction()

    assert queue(transaction, line) == b"+QUEUED\r\n"
    assert [line.encode()] == [b" ".join(request.args) for _, request in transaction.queued]
    assert not transaction.is_broken


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET", b"-ERR wrong number of arguments for 'get' command\r\n"),
        ("SET a", b"-ERR wrong number of arguments for 'set' command\r\n"),
        ("get a b", b"-ERR wrong number of arguments for 'get' command\r\n"),
        ("CONFIG GET", b"-ERR wrong number of arguments for 'config|get' command\r\n"),
        ("CONFIG", b"-ERR wrong number of arguments for 'config' command\r\n"),
        ("config nosuch x", b"-ERR unknown subcommand 'nosuch'. Try CONFIG HELP.\r\n"),
        ("CLIENT FOO", b"-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
        ("SYNC", b"-ERR Command not allowed inside a transaction\r\n"),
        ("SHUTDOWN", b"-ERR Command not allowed inside a transaction\r\n"),
        ("DEBUG SLEEP 1", b"-NOPERM dualkv refuses DEBUG: it is not safe through a proxy\r\n"),
        ("CONFIG SET a b", b"-NOPERM dualkv refuses CONFIG SET: it is not safe through a proxy\r\n"),
        ("MONITOR", b"-NOPERM dualkv refuses MONITOR: it is not safe through a proxy\r\n"),
        ("SUBSCRIBE c", b"-ERR Command not allowed inside a transaction\r\n"),
        ("HELLO 3", b"-ERR Command not allowed inside a transaction\r\n"),
        ("NOSUCH a", b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"),
        ("CLIENT LIST", b"-ERR dualkv: CLIENT LIST inside a transaction is not supported yet\r\n"),
    ],
)
def test_what_cannot_be_queued_is_refused_at_once(line: str, expected: bytes) -> None:
    """Wrong arity, unknown sub-commands and what the lane must not see break the transaction at once."""
    transaction = Transaction()

    assert expected == queue(transaction, line)
    assert (transaction.queued, transaction.is_broken) == ([], True)


def test_broken_transaction_still_answers_queued() -> None:
    """After a refusal later commands are answered as before, like in Redis; EXEC tells the rest."""
    transaction = Transaction()
    queue(transaction, "GET")

    assert queue(transaction, "SET a 1") == b"+QUEUED\r\n"
    assert transaction.is_broken


# --- the transaction commands --------------------------------------------------------------------------


def test_multi_begins_a_transaction() -> None:
    """MULTI answers OK, and from then on there is an empty transaction."""
    state = session_in_multi()

    assert Transaction() == state.transaction


def test_multi_cannot_be_nested() -> None:
    """A second MULTI is an error that leaves the transaction as it was, able to EXEC."""
    state = session_in_multi("SET a 1")
    transaction = state.transaction

    assert transaction_reply(state, "MULTI") == b"-ERR MULTI calls can not be nested\r\n"
    assert transaction is state.transaction
    assert transaction_reply(state, "EXEC") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EXEC", b"-ERR EXEC without MULTI\r\n"),
        ("DISCARD", b"-ERR DISCARD without MULTI\r\n"),
    ],
)
def test_command_without_a_transaction(name: str, expected: bytes) -> None:
    """EXEC and DISCARD need a MULTI."""
    state = SessionState(client_id=1)

    assert expected == transaction_reply(state, name)
    assert state.transaction is None


def test_exec_with_commands_is_for_the_primary() -> None:
    """A whole transaction has no local answer: it stays for the session to send."""
    state = session_in_multi("SET a 1")

    assert transaction_reply(state, "EXEC") is None
    assert state.transaction is not None


@pytest.mark.parametrize(
    ("lines", "name", "expected"),
    [
        (["GET"], "EXEC", b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        (["SET a 1", "GET"], "EXEC", b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        (["GET", "SET a 1"], "EXEC", b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ([], "DISCARD", b"+OK\r\n"),
        (["SET a 1"], "DISCARD", b"+OK\r\n"),
        (["GET"], "DISCARD", b"+OK\r\n"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_end_without_the_primary(lines: list[str], name: str, expected: bytes, protocol: int) -> None:
    """A broken and a discarded transaction end in the proxy, and the client is free again."""
    state = session_in_multi(*lines)
    state.protocol = protocol

    assert expected == transaction_reply(state, name)
    assert state.transaction is None


def test_client_can_begin_again() -> None:
    """A broken transaction leaves no trace in the next one."""
    state = session_in_multi("GET")
    transaction_reply(state, "EXEC")

    assert transaction_reply(state, "MULTI") == b"+OK\r\n"
    assert Transaction() == state.transaction


# --- the wire ------------------------------------------------------------------------------------------


def test_wire_is_one_block_from_multi_to_exec() -> None:
    """The primary gets MULTI, the commands as the client sent them, and EXEC in one piece."""
    transaction = Transaction()
    queue(transaction, "SET a 1")
    queue(transaction, "get a")

    expected = (
        b"*1\r\n$5\r\nMULTI\r\n"
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
        b"*2\r\n$3\r\nget\r\n$1\r\na\r\n"
        b"*1\r\n$4\r\nEXEC\r\n"
    )
    assert expected == transaction.wire()


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=30), max_size=4), max_size=6))
def test_wire_reads_back_as_what_was_queued(arguments: list[list[bytes]]) -> None:
    """Whatever bytes a client uses, they cannot end the block or add to it."""
    transaction = Transaction()
    for words in arguments:
        queue_command(transaction, *planned("EVAL", b"x", b"0", *words))

    read = [request.args for request in RequestParser().feed(transaction.wire())]
    assert [(b"MULTI",), *((b"EVAL", b"x", b"0", *words) for words in arguments), (b"EXEC",)] == read
