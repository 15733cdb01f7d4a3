"""Commands that are not in the table: the primary is asked once."""

from __future__ import annotations

from dualkv.core.ledger import Queue
from dualkv.resp import encode
from tests.net.serving import sessions_with
from tests.support.fake_backend import Args, FakeBackend, running_fake
from tests.support.proxy import wait_until

FLAGS = {b"JSON.SET": b"write", b"JSON.GET": b"readonly", b"FT.ADMIN": b"admin"}


def as_with_modules(args: Args) -> bytes:
    """Answer as a server with a module does."""
    if args[:2] == (b"COMMAND", b"INFO"):
        flag = FLAGS.get(args[2].upper())
        if flag is None:
            return b"*1\r\n*-1\r\n"
        facts = [
            encode.bulk(args[2].lower()),
            b":-2\r\n",
            encode.array([b"+%b\r\n" % flag]),
            *[b":1\r\n"] * 3,
        ]
        return encode.array([encode.array(facts)])
    if args[0] == b"TYPE":
        return b"+ReJSON-RL\r\n"
    if args[:2] == (b"MEMORY", b"USAGE"):
        return b":100\r\n"
    if args[0] == b"EXEC":
        return b"*1\r\n+OK\r\n"
    return encode.OK if args[0].upper() in FLAGS else encode.unknown_command(args)


def words(fake: FakeBackend) -> list[bytes]:
    """Return what reached a server, behind its introduction."""
    return [b" ".join(args) for args in fake.last.commands]


async def test_modules_commands_pass_and_are_mirrored() -> None:
    """One question per command, remembered for all; the keys of writes are copied, admin is refused.

    A store without the module gets no value rather than an old one.
    """
    async with (
        running_fake(as_with_modules) as fake,
        running_fake() as secondary,
        sessions_with(fake, secondary) as bench,
        bench.client() as client,
        bench.client() as other,
    ):
        replies = await client.pipeline([("JSON.SET", "k", "$"), ("json.set", "l", "$"), ("JSON.GET", "k")])
        replies += await other.pipeline([("JSON.SET", "k", "1"), ("FT.ADMIN", "x")])
        await wait_until(lambda: bench.metrics.ledger(Queue.COPY).applied >= 2)

        assert replies[:4] == [encode.OK] * 4
        assert replies[4] == b"-NOPERM dualkv refuses FT.ADMIN: it is not safe through a proxy\r\n"
        assert [word for word in words(fake) if word.startswith(b"COMMAND")] == [
            b"COMMAND INFO JSON.SET", b"COMMAND INFO JSON.GET", b"COMMAND INFO FT.ADMIN",
        ]  # fmt: skip
        assert set(words(secondary)) == {b"DEL k", b"DEL l"}
        assert bench.metrics.not_holdable["ReJSON-RL"] >= 2


async def test_modules_commands_inside_a_transaction() -> None:
    """They are queued; a command that nobody knows breaks the transaction, as in Redis."""
    async with running_fake(as_with_modules) as fake, sessions_with(fake) as bench, bench.client() as client:
        good = await client.pipeline([("MULTI",), ("JSON.SET", "k", "$"), ("EXEC",)])
        bad = await client.pipeline([("MULTI",), ("NOSUCH", "a"), ("EXEC",)])

    assert good == [encode.OK, encode.QUEUED, b"*1\r\n+OK\r\n"]
    assert bad[1:] == [
        b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n", encode.EXECABORT,
    ]  # fmt: skip


async def test_command_that_nobody_knows_gets_the_primarys_error() -> None:
    """The words are the primary's, in their place in a pipeline; nothing is mirrored."""
    async with (
        running_fake(as_with_modules) as fake,
        running_fake() as secondary,
        sessions_with(fake, secondary) as bench,
        bench.client() as client,
    ):
        replies = await client.pipeline([("PING",), ("NOSUCH", "a"), ("PING",), ("NOSUCH", "b")])

        assert replies == [
            encode.PONG, b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n",
            encode.PONG, b"-ERR unknown command 'NOSUCH', with args beginning with: 'b' \r\n",
        ]  # fmt: skip
        assert bench.metrics.total_ledger().offered == 0
        assert words(fake) == [b"COMMAND INFO NOSUCH", b"NOSUCH a", b"NOSUCH b"]
