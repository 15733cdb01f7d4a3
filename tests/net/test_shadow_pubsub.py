"""The shadow subscriber beside a secondary that does as it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.dialect import LEARNING, Dialect, learn
from dualkv.core.pubsub_matching import Doubt, PubSubTally
from dualkv.core.subscriptions import Kind
from dualkv.net.pubsub import SharedSubscriptions
from dualkv.net.shadow_pubsub import ShadowSubscriptions
from dualkv.net.writer import DualWriter
from dualkv.resp.encode import array, bulk, integer
from tests.support.fake_backend import Args, FakeBackend, running_fake
from tests.support.proxy import wait_until

WINDOW = 0.2
DIALECT = learn([b"-ERR\r\n"] * len(LEARNING))


def confirm(args: Args) -> bytes:
    """Answer as a server does."""
    return array([bulk(args[0]), bulk(args[1]), integer(1)]) if len(args) > 1 else b"+PONG\r\n"


@attrs.define
class Bench:
    """A shadow subscriber; the test plays the primary."""

    secondary: FakeBackend
    writer: DualWriter
    shadow: ShadowSubscriptions

    @property
    def tally(self) -> PubSubTally:
        """What became of the messages."""
        return self.writer.metrics.pubsub

    def source(self) -> SharedSubscriptions:
        """Return a connection to the primary that nobody opens."""
        return SharedSubscriptions(self.writer.primary, self.writer.hub, b"")

    def primary_delivers(self, source: SharedSubscriptions, payload: bytes) -> None:
        """Let a message come from the primary, on channel c."""
        elements = [bulk(b"message"), bulk(b"c"), bulk(payload)]
        self.shadow.heard(source, [(Kind.CHANNEL, b"c", elements)])

    async def secondary_delivers(self, payload: bytes) -> None:
        """Let a message come from the secondary, and be heard."""
        heard = self.tally.heard
        await self.secondary.last.send(array([bulk(b"message"), bulk(b"c"), bulk(payload)]))
        await wait_until(lambda: self.tally.heard > heard)

    async def begin(self, source: SharedSubscriptions) -> None:
        """Subscribe to channel c, and wait until that is certain."""
        self.shadow.began(source, Kind.CHANNEL, b"c")
        await wait_until(lambda: self.shadow.certain == 1)

    async def wait_judged(self) -> None:
        """Wait until no message waits."""
        await wait_until(lambda: "waiting=0" in repr(self.shadow))


@asynccontextmanager
async def running_shadow(
    dialect: Dialect | None = DIALECT, answer: Any = confirm, **settings: Any
) -> AsyncIterator[Bench]:
    """Run one for the block, with a secondary that is a *dialect*."""
    async with running_fake(answer) as secondary:
        writer = DualWriter(
            ProxyConfig(
                mode=ProxyMode.DUAL_WRITE_SHADOW,
                secondary=secondary.address,
                pubsub_compare_window_seconds=WINDOW,
                pubsub_sweep_seconds=WINDOW / 10,
                **settings,
            )
        )
        assert writer.stream is not None
        assert writer.comparing.subscriptions is not None
        writer.stream.dialect = dialect
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.comparing.subscriptions.run)
            yield Bench(secondary, writer, writer.comparing.subscriptions)
            nursery.cancel_scope.cancel("the test is over")
        tally = writer.metrics.pubsub
        accounted = 2 * tally.matched + tally.alone + tally.inconclusive.total() + tally.skipped
        assert tally.heard == accounted
        assert writer.metrics.backends["elastickv"].pool.connections.total() == 0


async def test_connections_of_several_users_count_once() -> None:
    """Each gets the message; it has one twin. If the one that counts goes, another one takes its place."""
    async with running_shadow() as bench:
        first, second = bench.source(), bench.source()
        await bench.begin(first)
        bench.shadow.began(second, Kind.CHANNEL, b"c")
        for source in (first, second):
            bench.primary_delivers(source, b"x")
        await bench.secondary_delivers(b"x")
        bench.shadow.ended(first, Kind.CHANNEL, b"c")
        await wait_until(lambda: bench.shadow.certain == 1)
        bench.primary_delivers(second, b"y")
        await bench.secondary_delivers(b"y")
        bench.shadow.ended(second, Kind.CHANNEL, b"c")
        await wait_until(lambda: len(bench.secondary.last.commands) == 2)

    assert (bench.tally.matched, bench.tally.heard) == (2, 4)
    assert bench.secondary.last.commands == [(b"subscribe", b"c"), (b"unsubscribe", b"c")]


async def test_lost_connection_of_the_primary_raises_no_alarm() -> None:
    """All its subscriptions have ended, and what waits for a twin waits in vain."""
    async with running_shadow() as bench:
        source = bench.source()
        await bench.begin(source)
        bench.primary_delivers(source, b"x")
        bench.shadow.lost(source)
        await bench.wait_judged()

    assert (bench.tally.inconclusive, bench.shadow.names) == ({Doubt.PRIMARY_LOST: 1}, 0)


async def test_one_connection_stays_whoever_comes_and_goes() -> None:
    """Some stores suffer from the end of a connection that was subscribed."""
    async with running_shadow() as bench:
        for _ in range(3):
            source = bench.source()
            await bench.begin(source)
            bench.shadow.ended(source, Kind.CHANNEL, b"c")

    assert len(bench.secondary.connections) == 1


async def test_lost_secondary_is_connected_to_again() -> None:
    """Meanwhile messages are inconclusive; then the subscription is made anew."""
    async with running_shadow() as bench:
        source = bench.source()
        await bench.begin(source)
        bench.primary_delivers(source, b"in flight")
        bench.secondary.last.reset()
        await wait_until(lambda: bench.shadow.certain == 0)
        bench.primary_delivers(source, b"meanwhile")
        await wait_until(lambda: bench.shadow.certain == 1)
        bench.primary_delivers(source, b"x")
        await bench.secondary_delivers(b"x")
        await bench.wait_judged()

    assert (bench.tally.matched, bench.tally.alone) == (1, 0)
    assert bench.tally.inconclusive == {Doubt.SECONDARY_LOST: 2}
    assert bench.writer.metrics.pubsub_errors == 1


async def test_refused_subscription_is_inconclusive() -> None:
    """The connection stays; it is counted as an error, once."""
    async with running_shadow(answer=lambda _: b"-NOPERM no\r\n") as bench:
        source = bench.source()
        bench.shadow.began(source, Kind.CHANNEL, b"c")
        await wait_until(lambda: bench.writer.metrics.pubsub_errors == 1)
        bench.primary_delivers(source, b"x")

    assert bench.tally.inconclusive == {Doubt.REFUSED: 1}
    assert len(bench.secondary.connections) == 1


@pytest.mark.parametrize(
    ("setting", "connections", "doubt"), [("auto", 0, Doubt.REFUSED), ("on", 1, Doubt.STARTING)]
)
async def test_fragile_store_is_left_alone_unless_the_settings_insist(
    setting: str, connections: int, doubt: Doubt
) -> None:
    """An ElasticKV goes down at the end of a connection that was subscribed."""
    fragile = attrs.evolve(DIALECT, product="ElasticKV")
    async with running_shadow(fragile, shadow_pubsub=setting) as bench:
        source = bench.source()
        bench.shadow.began(source, Kind.CHANNEL, b"c")
        await wait_until(lambda: len(bench.secondary.connections) == connections)
        await wait_all_tasks_blocked()
        bench.primary_delivers(source, b"x")

    assert len(bench.secondary.connections) == connections
    assert bench.tally.inconclusive == {doubt: 1}


async def test_unknown_store_is_not_asked_before_it_has_said_who_it_is() -> None:
    """The stream learns that; until then messages are inconclusive."""
    async with running_shadow(dialect=None) as bench:
        source = bench.source()
        bench.shadow.began(source, Kind.CHANNEL, b"c")
        await trio.sleep(WINDOW / 5)
        bench.primary_delivers(source, b"x")
        assert bench.secondary.connections == []
        assert bench.writer.stream is not None
        bench.writer.stream.dialect = DIALECT
        await wait_until(lambda: bench.shadow.certain == 1)

    assert bench.tally.inconclusive == {Doubt.SECONDARY_LOST: 1}


async def test_small_pool_belongs_to_the_stream() -> None:
    """Comparing takes no connection that mirroring needs."""
    async with running_shadow(secondary_pool_size=2) as bench:
        bench.shadow.began(bench.source(), Kind.CHANNEL, b"c")
        await wait_until(lambda: bench.writer.metrics.pubsub_errors > 0)

    assert bench.secondary.connections == []


async def test_bug_of_ours_is_reported_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever delivers messages gets no exception; comparing goes on."""
    async with running_shadow() as bench:
        reported: list[Exception] = []
        monkeypatch.setattr(bench.shadow, "_report_failure", reported.append)
        source = bench.source()
        await bench.begin(source)
        bench.shadow.heard(source, [(Kind.CHANNEL, b"c", [b"no frame"])])
        bench.primary_delivers(source, b"x")
        await bench.secondary_delivers(b"x")

    assert (len(reported), bench.writer.metrics.pubsub_errors, bench.tally.matched) == (1, 1, 1)
