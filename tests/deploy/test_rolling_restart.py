"""Two dualkv behind HAProxy, restarted one after the other under load: no error, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.deploy.behind import Counting, Instance, haproxy_before
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = [pytest.mark.e2e, pytest.mark.needs("haproxy")]


async def test_rolling_restart_under_load_shows_no_error_and_loses_nothing(
    pair: Pair, tmp_path: Path
) -> None:
    """Every increment that was answered is there, once; none that was not; and both stores are equal."""
    one, two = (Instance(pair, tmp_path / name) for name in ("one", "two"))
    clients = [Counting(f"count:{number}", batch=1 + 7 * (number % 2)) for number in range(20)]
    ends = []
    try:
        await one.start()
        await two.start()
        async with haproxy_before(one, two) as port:
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(client.run, port)
                await trio.sleep(1)
                for instance in (one, two):
                    ends.append(await instance.end())
                    await instance.start()
                    await trio.sleep(1.5)  # HAProxy sees it twice before it sends clients there
                for client in clients:
                    client.is_over = True
            ends += [await one.end(), await two.end()]
    finally:
        one.kill()
        two.kill()

    assert sum((client.errors for client in clients), Counter()) == {}
    assert {client.key: client.count for client in clients} == {
        key.decode(): int(value) for key, (_, value) in contents(pair.primary).items()
    }
    assert contents(pair.primary) == contents(pair.secondary)
    assert all(client.count > 100 for client in clients)
    assert sum(client.connections for client in clients) > len(clients)
    for code, last_words in ends:
        assert (code, last_words["message"], last_words["dirty_keys"]) == (0, "stopped", 0)
