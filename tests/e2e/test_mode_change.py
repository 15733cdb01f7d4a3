"""The mode changes while clients are served: no error, nothing lost, everybody goes on as before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from dualkv import open_writer
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.errors import ModeChangeRefused
from dualkv.net.takeover import Takeover
from dualkv.servers import free_port
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.stores import open_store
from tests.support.workload import under_load

pytestmark = pytest.mark.e2e

REDIS_ONLY, DUAL_WRITE, SHADOW, SWAPPED, OTHER_ONLY = ProxyMode
FORTH = (DUAL_WRITE, SHADOW, SWAPPED, OTHER_ONLY)
BACK = (SWAPPED, SHADOW, DUAL_WRITE, REDIS_ONLY)


async def change(proxy: Proxy, *modes: ProxyMode) -> None:
    """Change the mode again and again, whatever readiness says; each time both stores must be equal first."""
    for mode in modes:
        if proxy.server.writer.mirrors:
            await proxy.wait_repaired()
        await proxy.server.modes.change_mode(mode, force=True)


async def test_all_modes_forth_and_back_lose_nothing_under_load(pair: Pair) -> None:
    """Clients under full load see no error, their counters are exact, and both stores are equal."""
    async with running_proxy(pair.primary.address, pair.secondary.address, REDIS_ONLY) as proxy:
        async with under_load(proxy.port, 20) as load:
            for mode in (*FORTH, *BACK, DUAL_WRITE):
                await trio.sleep(0.2)
                await wait_until(lambda: _may_change(proxy), 60)
                await proxy.server.modes.change_mode(mode, force=True)
        assert not load.errors
        assert load.slowest_seconds < 2.5
        await proxy.wait_repaired()
        async with connect(proxy.port) as client:
            for key, count in load.acknowledged.items():
                reply = await client.call("GET", key)
                number = int(reply.split(b"\r\n")[1])
                assert count <= number <= count + 1
        await proxy.wait_drained()
        assert not differences(state_of(pair.primary.port), state_of(pair.secondary.port))


def _may_change(proxy: Proxy) -> bool:
    """Whether the other store holds all keys, but for what is on its way."""
    writer = proxy.server.writer
    return writer.dirty.needs_resync is None and not proxy.metrics.resync.is_running


@pytest.mark.parametrize("modes", [(SWAPPED,), (REDIS_ONLY, DUAL_WRITE), (SHADOW,)], ids=str)
async def test_client_stays_who_it_was(pair: Pair, modes: Sequence[ProxyMode]) -> None:
    """Database, RESP version, name, and what is queued in a transaction go along."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        async with connect(proxy.port) as client:
            await client.pipeline([("HELLO", 3), ("SELECT", 2), ("CLIENT", "SETNAME", "me")])
            await client.pipeline([("HSET", "h", "f", "v"), ("MULTI",), ("SET", "k", "v")])
            await change(proxy, *modes)
            assert await client.call("EXEC") == b"*1\r\n+OK\r\n"
            assert await client.call("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
            assert await client.call("HGETALL", "h") == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
        await proxy.wait_repaired()
    state = state_of(pair.primary.port, (0, 2))
    assert (2, b"k") in state
    assert not differences(state, state_of(pair.secondary.port, (0, 2)))


@pytest.mark.parametrize("mode", [SWAPPED, SHADOW])
async def test_database_that_is_selected_first_while_the_mode_changes_goes_along(
    pair: Pair, mode: ProxyMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new connections were made before, so nobody had asked whether it is there."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        settle = Takeover.settle

        async def select_and_settle(takeover: Takeover, wait_seconds: float) -> None:
            await client.pipeline([("SELECT", 5), ("SET", "k", "v")])
            await settle(takeover, wait_seconds)

        monkeypatch.setattr(Takeover, "settle", select_and_settle)
        await change(proxy, mode)
        assert await client.call("GET", "k") == b"$1\r\nv\r\n"


async def test_who_watches_keys_has_seen_them_change(pair: Pair) -> None:
    """A transaction whose keys were watched at the other store is not executed; the next one is."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("WATCH", "k"), ("GET", "k")])
        await change(proxy, SWAPPED)
        assert (await client.pipeline([("MULTI",), ("SET", "k", "v"), ("EXEC",)]))[-1] == b"*-1\r\n"
        assert (await client.pipeline([("MULTI",), ("SET", "k", "v"), ("EXEC",)]))[-1] == b"*1\r\n+OK\r\n"


@pytest.mark.parametrize("mode", [SWAPPED, SHADOW, REDIS_ONLY])
async def test_who_waits_for_an_element_gets_it_at_the_other_store(pair: Pair, mode: ProxyMode) -> None:
    """``BLPOP`` waits on after the change, and takes each element once."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as other,
    ):
        await waiting.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n")
        await _wait_blocked(proxy)
        await change(proxy, mode)
        await _wait_blocked(proxy)
        assert await other.pipeline([("RPUSH", "q", "one", "two")]) == [b":2\r\n"]
        assert await waiting.receive(1) == [b"*2\r\n$1\r\nq\r\n$3\r\none\r\n"]
        assert await other.call("LRANGE", "q", 0, -1) == b"*1\r\n$3\r\ntwo\r\n"


async def test_who_waits_for_an_element_waits_no_longer_than_asked(pair: Pair) -> None:
    """The time before the change counts."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        started = trio.current_time()
        await client.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n2\r\n")
        await _wait_blocked(proxy)
        await trio.sleep(1)
        await change(proxy, SWAPPED)
        assert await client.receive(1) == [b"*-1\r\n"]
        assert 1.9 < trio.current_time() - started < 2.9


async def _wait_blocked(proxy: Proxy) -> None:
    """Wait until a client's command waits on a connection of its own."""
    clients = proxy.server.writer.clients
    await wait_until(lambda: any(one.state.is_blocked for one in clients.values()))
    pool = proxy.server.writer.answering.pool
    await wait_until(lambda: pool.connections["leased"] > 0)


@pytest.mark.parametrize("mode", [SWAPPED, SHADOW, REDIS_ONLY])
async def test_subscribers_stay_subscribed_and_hear_each_message_once(pair: Pair, mode: ProxyMode) -> None:
    """What is published through dualkv is delivered before the change and after it, in order."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as subscriber,
        connect(proxy.port) as publisher,
    ):
        await subscriber.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$2\r\nch\r\n")
        await subscriber.receive(1)
        await subscriber.send(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$2\r\nx*\r\n")
        await subscriber.receive(1)
        await publisher.pipeline([("PUBLISH", "ch", number) for number in range(50)])
        await change(proxy, mode)
        assert await publisher.call("PUBLISH", "x1", "pattern") == b":1\r\n"
        await publisher.pipeline([("PUBLISH", "ch", number) for number in range(50, 100)])
        heard = [frame for frame in await subscriber.receive(101) if b"pmessage" not in frame]
        assert [int(frame.split(b"\r\n")[-2]) for frame in heard] == list(range(100))


async def test_stores_that_are_not_equal_do_not_swap(pair: Pair) -> None:
    """While the secondary stands still, the change is refused in time, and clients go on where they were."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        with open_store(pair.secondary) as store:
            store.execute_command("CLIENT", "PAUSE", 5000, "WRITE")
            assert await client.call("SET", "k", "v") == b"+OK\r\n"
            with pytest.raises(ModeChangeRefused, match="still"):
                await proxy.server.modes.change_mode(SWAPPED, force=True, wait_seconds=0.3)
            assert await client.call("GET", "k") == b"$1\r\nv\r\n"
            assert proxy.server.config.mode is DUAL_WRITE
            store.execute_command("CLIENT", "UNPAUSE")
        await client.call("SET", "k", "w")
        await proxy.wait_repaired()
        await proxy.server.modes.change_mode(SWAPPED, force=True)
        assert await client.call("GET", "k") == b"$1\r\nw\r\n"


async def test_store_that_has_not_proved_itself_does_not_answer(pair: Pair) -> None:
    """Without ``force`` readiness is asked for; with ``dry_run`` nothing happens at all."""
    async with running_proxy(pair.primary.address, pair.secondary.address, SHADOW) as proxy:
        with pytest.raises(ModeChangeRefused, match="not ready"):
            await proxy.server.modes.change_mode(SWAPPED)
        change = await proxy.server.modes.change_mode(SWAPPED, force=True, dry_run=True)
        assert not change.is_done
        assert any("not ready" in note for note in change.notes)
        assert proxy.server.config.mode is SHADOW
        with pytest.raises(ModeChangeRefused, match="already"):
            await proxy.server.modes.change_mode(SHADOW)


async def test_store_that_was_not_mirrored_to_answers_only_if_loss_is_accepted(pair: Pair) -> None:
    """From a mode that does not mirror, the other store has other values; one may insist."""
    async with running_proxy(pair.primary.address, pair.secondary.address, REDIS_ONLY) as proxy:
        with pytest.raises(ModeChangeRefused, match="not mirrored"):
            await proxy.server.modes.change_mode(OTHER_ONLY, force=True)
        change = await proxy.server.modes.change_mode(OTHER_ONLY, accept_loss=True)
        assert change.is_done


async def test_store_that_is_gone_does_not_answer_and_gives_way(pair: Pair) -> None:
    """One that cannot be reached does not become the one that answers; from one that is gone one may go."""
    gone = f"127.0.0.1:{free_port()}"
    async with running_proxy(pair.primary.address, gone, DUAL_WRITE) as proxy:
        with pytest.raises(ModeChangeRefused, match="cannot be reached"):
            await proxy.server.modes.change_mode(SWAPPED, accept_loss=True)
        async with connect(proxy.port) as client:
            assert await client.call("SET", "k", "v") == b"+OK\r\n"
    async with (
        running_proxy(gone, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        assert (await client.call("SET", "k", "v")).startswith(b"-")
        await proxy.server.modes.change_mode(OTHER_ONLY, accept_loss=True)
        assert await client.call("SET", "k", "v") == b"+OK\r\n"


async def test_journal_goes_along(pair: Pair, tmp_path: Path) -> None:
    """After changes of the mode the journal still knows what is on its way, and in which direction."""
    primary, secondary, journal_dir = pair.primary.address, pair.secondary.address, str(tmp_path)
    async with (
        running_proxy(primary, secondary, DUAL_WRITE, journal_dir=journal_dir) as proxy,
        connect(proxy.port) as client,
    ):
        await change(proxy, SHADOW, SWAPPED)
        await client.call("SET", "k", "v")
        journal = proxy.server.writer.notes.journal
        assert journal is not None
        assert journal.load_state("direction") == b"elastickv"
        await proxy.wait_repaired()
        await change(proxy, OTHER_ONLY)
        assert proxy.server.writer.notes.journal is None
    config = ProxyConfig(mode=SWAPPED, primary=primary, secondary=secondary, journal_dir=journal_dir)
    async with open_writer(config) as writer:
        assert writer.dirty.needs_resync is not None
