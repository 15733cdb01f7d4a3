"""SIGTERM to a real process under load: no acknowledged write is missing on the secondary afterwards."""

from __future__ import annotations

import signal
import time

import pytest
import trio

from dualkv.resp.replies import is_error
from tests.support.client import connect
from tests.support.process import serving
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.e2e

_PATIENCE_SECONDS = 30


async def _count_up(port: int, number: int, batch: int, acknowledged: dict[bytes, int]) -> None:
    """Push numbers to a list of one's own in pipelines until the connection ends."""
    key = f"list:{number}"
    sent = 0
    try:
        async with connect(port) as client:
            while True:
                await client.send(b"".join(_push(key, sent + offset) for offset in range(batch)))
                sent += batch
                for _ in range(batch):
                    (reply,) = await client.receive(1)
                    assert not is_error(reply)
                    acknowledged[key.encode()] = int(reply[1:])
    except (AssertionError, OSError, trio.BrokenResourceError):
        return  # closed by the shutdown: what was acknowledged counts


def _push(key: str, value: int) -> bytes:
    return b"*3\r\n$5\r\nRPUSH\r\n$%d\r\n%b\r\n$%d\r\n%d\r\n" % (
        len(key),
        key.encode(),
        len(str(value)),
        value,
    )


@pytest.mark.parametrize("batch", [1, 16], ids=["one by one", "pipelined"])
async def test_no_acknowledged_write_is_missing_after_sigterm(pair: Pair, batch: int) -> None:
    """20 clients write as fast as they can; the process ends with 0 and both stores hold the same lists."""
    acknowledged: dict[bytes, int] = {}
    async with (
        serving(pair, "--secondary-write-queue-size", "1000000") as process,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            nursery.start_soon(_count_up, process.port, number, batch, acknowledged)
        await trio.sleep(1)
        process.popen.send_signal(signal.SIGTERM)
        code, log = await process.wait()

    primary, secondary = contents(pair.primary), contents(pair.secondary)
    assert code == 0
    assert len(acknowledged) == 20
    for key, length in acknowledged.items():
        assert len(secondary[key][1]) >= length
    assert primary == secondary
    ledger = log[-1]["ledger"]
    assert isinstance(ledger, dict)
    assert (ledger["queued"], ledger["in_flight"], ledger["dropped"]) == (0, 0, {})
    assert ledger["offered"] == ledger["applied"]


async def test_idle_clients_are_closed_and_do_not_delay_the_end(pair: Pair) -> None:
    """A client that says nothing sees the connection close; the process ends at once."""
    async with serving(pair) as process, connect(process.port) as client:
        await client.call("SET", "k", 1)
        started = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert await client.receive_until_closed() == b""
        code, _ = await process.wait()

    assert code == 0
    assert time.monotonic() - started < 5


async def test_second_signal_skips_the_waits(pair: Pair) -> None:
    """With long waits configured and a secondary that hangs, the second SIGTERM ends it, accounted for."""
    async with (
        serving(pair, "--lame-duck", "1h", "--drain", "1h") as process,
        connect(process.port) as client,
    ):
        await client.call("SET", "k", 1)
        pair.secondary.pause()
        try:
            await client.pipeline([("SET", "k", number) for number in range(100)])
            process.popen.send_signal(signal.SIGTERM)
            await trio.sleep(0.2)
            assert process.popen.poll() is None
            process.popen.send_signal(signal.SIGTERM)
            code, log = await process.wait()
        finally:
            pair.secondary.resume()

    assert code == 0
    ledger = log[-1]["ledger"]
    assert isinstance(ledger, dict)
    assert (ledger["queued"], ledger["in_flight"]) == (0, 0)


async def test_drain_gives_up_after_its_time_and_counts_what_is_left(pair: Pair) -> None:
    """A secondary that hangs holds the process for the drain time only; the rest is dropped and counted."""
    async with serving(pair, "--drain", "500ms") as process, connect(process.port) as client:
        await client.call("SET", "k", 1)
        pair.secondary.pause()
        try:
            for _ in range(3):
                await client.pipeline([("SET", "k", number) for number in range(1000)])
                await trio.sleep(0.05)
            process.popen.send_signal(signal.SIGTERM)
            code, log = await process.wait()
        finally:
            pair.secondary.resume()

    assert code == 0
    ledger = log[-1]["ledger"]
    assert isinstance(ledger, dict)
    dropped = sum(ledger["dropped"].values())
    assert dropped + ledger["failed"] > 0
    assert ledger["offered"] == ledger["applied"] + ledger["failed"] + dropped
