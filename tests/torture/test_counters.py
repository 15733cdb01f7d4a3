"""Counters through hundreds of cut connections: exact, as the primary has them."""

from __future__ import annotations

import random
from pathlib import Path

import attrs
import pytest
import trio

from dualkv.torture.child import Child, has_converged
from dualkv.torture.links import Link
from dualkv.torture.stores import Store, Stores
from tests.support.client import PATIENCE_SECONDS, connect
from tests.torture.conftest import Twins

pytestmark = pytest.mark.e2e

COUNTERS = [f"n{number}" for number in range(10)]


@attrs.define
class Clients:
    """Clients that count, each its own counter, until told to stop."""

    child: Child
    is_over: bool = False
    acknowledged: dict[str, int] = attrs.field(factory=dict)
    """The highest number that the clients have been told, by counter."""

    async def count(self, counter: str) -> None:
        """Count in pipelines; connect again whenever that is needed."""
        while not self.is_over:
            async with connect(self.child.port) as client:
                while not self.is_over:
                    replies = await client.pipeline([("INCR", counter)] * 20)
                    told = [int(reply[1:]) for reply in replies if reply[:1] == b":"]
                    self.acknowledged[counter] = max([self.acknowledged.get(counter, 0), *told])
                    await trio.sleep(0.002)


async def wait_settled(child: Child) -> None:
    """Wait until dualkv says that nothing is left to do, and says it again."""
    agreeing = 0
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            await trio.sleep(0.05)
            agreeing = agreeing + 1 if has_converged(await child.scrape()) else 0
            if agreeing == 3:
                return


async def counted(store: Store) -> dict[str, int]:
    """Return the counters of a store."""
    values = await store.call("MGET", *COUNTERS)
    return {counter: int(value or 0) for counter, value in zip(COUNTERS, values, strict=True)}


@pytest.mark.parametrize(("which", "cuts"), [("secondary", 500), ("primary", 200)])
async def test_counters_are_exact_through_cut_connections(
    stores: Stores, twins: Twins, tmp_path: Path, which: str, cuts: int
) -> None:
    """What was acknowledged is there; both stores agree, although nobody knows what each cut had executed."""
    target = getattr(stores, which)
    link = Link(target.host, target.port, random.Random(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        settings = {"primary": stores.primary.address, "secondary": stores.secondary.address}
        settings[which] = f"127.0.0.1:{link.port}"
        with Child(settings, tmp_path) as child:
            await child.start()
            clients = Clients(child)
            async with trio.open_nursery() as counting:
                for counter in COUNTERS:
                    counting.start_soon(clients.count, counter)
                done = 0
                while done < cuts:
                    done += link.cut(min_replies=20)
                    await trio.sleep(0.005)
                clients.is_over = True
            await wait_settled(child)
            assert child.faults() == []
        nursery.cancel_scope.cancel()
    at_primary = await counted(twins.primary)
    assert await counted(twins.secondary) == at_primary
    assert all(at_primary[counter] >= clients.acknowledged[counter] for counter in COUNTERS)
    assert sum(at_primary.values()) > 1000
