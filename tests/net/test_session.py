"""A client's session: every request is answered at its place, whatever its form and whoever answers."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dualkv.core.ledger import Queue
from dualkv.resp import encode
from tests.net.serving import sessions_with
from tests.support.fake_backend import echo, running_fake
from tests.support.proxy import wait_until

PROTOCOL_ERROR = b"-ERR Protocol error: invalid multibulk length\r\n"
GARBAGE = b"*x\r\n"


def get(*keys: str) -> bytes:
    """Return a GET for each key, in one piece."""
    return b"".join(encode.command("GET", key) for key in keys)


def bulks(*values: str) -> list[bytes]:
    """Return bulk strings."""
    return [encode.bulk(value) for value in values]


# --- requests in any form -----------------------------------------------------------------------------


async def test_inline_and_multibulk_requests_reach_the_primary_alike() -> None:
    """What people type and what libraries send is the same request, in canonical form."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(b"GET a\r\n*2\r\n$3\r\nget\r\n$1\r\nb\r\n\r\nget 'c d'\n*0\r\n" + get("e"))

        assert await client.receive(4) == bulks("a", "b", "c d", "e")
        assert [args[1] for args in fake.last.commands] == [b"a", b"b", b"c d", b"e"]


async def test_request_cut_anywhere_is_put_together() -> None:
    """Requests arrive in pieces of any size; the replies come as each is complete."""
    data = get("a") + b"GET b\r\n" + get("c")
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        for position in range(0, len(data), 5):
            await client.send(data[position : position + 5])
            await trio.testing.wait_all_tasks_blocked()

        assert await client.receive(3) == bulks("a", "b", "c")


async def test_long_pipeline_is_answered_in_order() -> None:
    """Thousands of requests in one piece come back in order."""
    keys = [f"k{number}" for number in range(5000)]
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(get(*keys))

        assert await client.receive(5000) == bulks(*keys)


async def test_clients_share_the_lane_and_get_their_own_replies() -> None:
    """Several clients pipeline at once over one connection; nobody sees another's replies."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench:

        async def work(name: str) -> None:
            async with bench.client() as client:
                for number in range(20):
                    keys = [f"{name}-{number}-{position}" for position in range(7)]
                    await client.send(get(*keys))
                    assert await client.receive(7) == bulks(*keys)

        async with trio.open_nursery() as nursery:
            for name in "abcdefgh":
                nursery.start_soon(work, name)

        assert len(fake.connections) == 1


# --- local answers ------------------------------------------------------------------------------------


async def test_local_answers_keep_their_place() -> None:
    """An answer of our own waits for the primary's replies before it, and none goes before its turn."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.replies.shut()
        await client.send(b"PING 0\r\n" + get("1") + b"PING 2\r\nECHO 3\r\n" + get("4") + b"PING 5\r\n")
        assert await client.receive(1) == bulks("0")
        await wait_until(lambda: len(fake.last.commands) == 2)
        fake.replies.open()

        assert await client.receive(5) == bulks("1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("PING a b", b"-ERR wrong number of arguments for 'ping' command\r\n"),
        ("CLIENT", b"-ERR wrong number of arguments for 'client' command\r\n"),
        ("CLIENT NOSUCH", b"-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n"),
        ("SHUTDOWN", b"-NOPERM dualkv refuses SHUTDOWN: it is not safe through a proxy\r\n"),
        ("SYNC", b"-ERR unknown command 'SYNC', with args beginning with: \r\n"),
        ("CLIENT ID", b":1\r\n"),
    ],
)
async def test_what_we_answer_ourselves_does_not_reach_the_primary(line: str, answer: bytes) -> None:
    """Errors and answers of our own stand between the primary's replies."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(get("a") + line.encode() + b"\r\n" + get("b"))

        assert await client.receive(3) == [encode.bulk("a"), answer, encode.bulk("b")]
        assert [args[1] for args in fake.last.commands] == [b"a", b"b"]


async def test_transaction_goes_out_in_one_piece() -> None:
    """MULTI … EXEC is queued here; its block reaches the lane whole, and EXEC's reply alone the client.

    Questions follow the block directly; its effects are one block for the secondary.
    """
    async with running_fake() as fake, running_fake() as secondary, sessions_with(fake, secondary) as bench:
        answers = {
            b"EXEC": b"*2\r\n+OK\r\n:1\r\n",
            b"PEXPIRETIME": b":-1\r\n",
            b"TIME": b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n",
        }
        fake.answer = lambda args: answers.get(args[0], encode.QUEUED)
        async with bench.client() as client, bench.client() as other:
            assert await client.pipeline([("MULTI",), ("SET", "a", 1), ("SHUTDOWN",)]) == [
                encode.OK,
                encode.QUEUED,
                b"-NOPERM dualkv refuses SHUTDOWN: it is not safe through a proxy\r\n",
            ]
            assert await client.call("EXEC") == encode.EXECABORT
            await client.pipeline([("MULTI",), ("SET", "a", 1)])
            await other.call("GET", "x")
            assert await client.pipeline([("INCR", "b"), ("EXEC",), ("PING",)]) == [
                encode.QUEUED,
                b"*2\r\n+OK\r\n:1\r\n",
                encode.PONG,
            ]
        await wait_until(lambda: bench.metrics.ledger(Queue.WRITE).applied == 1)

        block = [(b"MULTI",), (b"SET", b"a", b"1"), (b"INCR", b"b"), (b"EXEC",), (b"PEXPIRETIME", b"b")]
        assert [args for args in fake.last.commands if args[0] != b"TIME"] == [(b"GET", b"x"), *block]
        assert [args for args in secondary.commands if args[0] != b"GET"] == [
            (b"MULTI",), (b"SET", b"a", b"1"), (b"SET", b"b", b"1", b"KEEPTTL"), (b"EXEC",),
        ]  # fmt: skip


# --- versions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("switch", "before", "behind"), [("HELLO 3", 2, 3), ("RESET", 3, 2)])
async def test_version_changes_when_nothing_is_outstanding(switch: str, before: int, behind: int) -> None:
    """What was sent before a change of version is answered in the old one, what follows in the new one."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.answer = lambda args: b"+%d%b\r\n" % (fake.last.protocol, args[1])
        await client.call("HELLO", before)
        fake.replies.shut()
        await client.send(get("a", "b") + switch.encode() + b"\r\n" + get("c") + b"CLIENT GETNAME\r\n")
        await wait_until(lambda: fake.last.commands[-1:] == [(b"GET", b"b")])
        await trio.testing.wait_all_tasks_blocked()
        assert fake.last.commands[-1] == (b"GET", b"b")
        fake.replies.open()
        replies = await client.receive(5)

        assert replies[:2] == [b"+%da\r\n" % before, b"+%db\r\n" % before]
        assert replies[3:] == [b"+%dc\r\n" % behind, encode.null(behind)]
        assert replies[2] == encode.RESET if switch == "RESET" else replies[2].startswith(b"%3\r\n")


async def test_hello_is_the_primarys_with_our_id() -> None:
    """The greeting tells of the primary, and the client's own number."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        assert await client.call("HELLO", 2) == encode.array(
            [*bulks("server", "fake", "proto"), b":2\r\n", encode.bulk("id"), b":1\r\n"]
        )


@pytest.mark.parametrize("speaks", [(2,), ()], ids=["refuses HELLO 3", "knows no HELLO"])
async def test_version_that_the_primary_does_not_speak_is_made_of_resp2(speaks: tuple[int, ...]) -> None:
    """A RESP2-only primary never hears of RESP3; what it answers is raised for whoever asked for that."""
    async with (
        running_fake(lambda _: b"$-1\r\n", speaks=speaks) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
    ):
        assert b"$5\r\nproto\r\n:3\r\n" in await client.call("HELLO", 3)
        assert await client.call("GET", "a") == b"_\r\n"
        assert await client.call("HELLO", 4) == b"-NOPROTO unsupported protocol version\r\n"
        await client.call("HELLO", 2)
        assert await client.call("GET", "a") == b"$-1\r\n"
        assert fake.last.commands == [(b"GET", b"a"), (b"GET", b"a")]


# --- the end ------------------------------------------------------------------------------------------


async def test_protocol_error_is_answered_behind_everything_else() -> None:
    """Bytes that are not RESP end the session, once all before them is answered."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.replies.shut()
        await client.send(get("a") + b"PING\r\n" + get("b") + GARBAGE + get("c"))
        await wait_until(lambda: len(fake.last.commands) == 2)
        fake.replies.open()

        replies = b"".join([encode.bulk("a"), encode.PONG, encode.bulk("b"), PROTOCOL_ERROR])
        assert await client.receive_until_closed() == replies
        assert len(fake.last.commands) == 2


async def test_protocol_error_alone_is_answered() -> None:
    """A client that speaks no RESP at all is told so, and the connection is closed."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(GARBAGE)

        assert await client.receive_until_closed() == PROTOCOL_ERROR


async def test_quit_answers_what_came_before_and_nothing_behind() -> None:
    """QUIT in a pipeline: earlier requests are answered, later ones never executed."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(get("a") + b"QUIT\r\n" + get("b"))

        assert await client.receive_until_closed() == encode.bulk("a") + encode.OK
        assert fake.last.commands == [(b"GET", b"a")]


async def test_nothing_behind_quit_is_looked_at() -> None:
    """Even bytes that are not RESP do not matter behind QUIT."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(b"QUIT\r\n" + GARBAGE)

        assert await client.receive_until_closed() == encode.OK


async def test_half_closed_client_is_answered() -> None:
    """A client that has said all it had to say, and closed its side, gets its replies."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.replies.shut()
        await client.send(get("a", "b") + b"*2\r\n$3\r\nGE")
        await client.stream.send_eof()
        await wait_until(lambda: len(fake.last.commands) == 2)
        fake.replies.open()

        assert await client.receive_until_closed() == b"".join(bulks("a", "b"))
        await bench.wait_ended()


async def test_http_is_hung_up_on() -> None:
    """A browser that was tricked into talking to us gets no answer, and nothing of it reaches the primary."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n")

        assert await client.receive_until_closed() == b""
        assert fake.last.commands == []


async def test_drain_answers_what_was_sent() -> None:
    """A drained session answers all that the client has sent, then closes; an idle one closes at once."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        async with bench.client() as idle:
            await wait_until(lambda: len(bench.sessions) == 2)
            fake.replies.shut()
            await client.send(get("a") + b"PING\r\n" + get("b"))
            await wait_until(lambda: len(fake.last.commands) == 2)
            for session in bench.sessions:
                session.drain()
            assert await idle.receive_until_closed() == b""
        await bench.wait_ended(1)
        fake.replies.open()

        replies = b"".join([encode.bulk("a"), encode.PONG, encode.bulk("b")])
        assert await client.receive_until_closed() == replies


async def test_bug_in_a_session_ends_that_session_only() -> None:
    """An error of ours in serving one client is handed to the session's boundary; the others go on."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench:
        async with bench.client() as client, bench.client() as other:
            await client.call("PING")
            await other.call("PING")
            error = RuntimeError("a bug")
            bench.sessions[0].on_failure(error)
            assert await client.receive_until_closed() == b""

            assert bench.errors == [error]
            assert bench.metrics.client_disconnects == {"internal error": 1}
            assert await other.call("GET", "a") == encode.bulk("a")
        bench.errors.clear()
