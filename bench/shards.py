"""``python -m bench.shards``: what several shards get through to a store that takes 3 ms for each write.

The store is the stand-in of the tests, in a process of its own: many connections at once, each one command
after the other. A share of 1 is one write per shard and 3 ms. Without transactions that is the best there is.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from itertools import product
from typing import Final

import attrs
import trio

from tests.fakes.elastickv import ClusterProcess
from tests.net.streaming import StreamBench, stream_to
from tests.support.proxy import wait_until

__all__ = ["share_of_best"]

_COMMIT_SECONDS: Final = 0.003
_KEYS: Final = 10_000
_WAITING_PER_SHARD: Final = 32
_OFFERED_AT_ONCE: Final = 256


@attrs.frozen
class _Store:
    address: str


async def share_of_best(shards: int, two_keys: float, seconds: float, *, fuses: bool) -> float:
    """Return how many writes were applied, as a share of one per shard and commit.

    Args:
        shards: How many.
        two_keys: The share of commands that name two keys, 0 to 1.
        seconds: For how long to write.
        fuses: Whether many go in one transaction.
    """
    chance = random.Random(1)
    pace = json.dumps({"commit_seconds": _COMMIT_SECONDS})
    with ClusterProcess("--nodes", "1", "--set-pace", pace) as cluster:
        async with stream_to(
            _Store(cluster.addresses[0]), timeout_seconds=120.0, write_concurrency=shards,
            write_queue_size=8192,
        ) as bench:  # fmt: skip
            stream = bench.stream
            await wait_until(lambda: stream.is_connected and stream.dialect is not None)
            assert stream.dialect is not None
            stream.dialect = attrs.evolve(stream.dialect, fuses=fuses)
            most = 8192 if fuses else _WAITING_PER_SHARD * shards
            began = trio.current_time()
            while trio.current_time() < began + seconds:
                _fill(bench, chance, most, two_keys)
                await trio.sleep(0.001)
            applied = bench.ledger().applied / (trio.current_time() - began)
            assert bench.ledger().failed == 0
    return applied * _COMMIT_SECONDS / shards


def _fill(bench: StreamBench, chance: random.Random, most: int, two_keys: float) -> None:
    room = min(most - bench.ledger().queued, _OFFERED_AT_ONCE)
    if room > 0:
        bench.offer(*(_line(chance, two_keys) for _ in range(room)))


def _line(chance: random.Random, two_keys: float) -> str:
    one, other = chance.randrange(_KEYS), chance.randrange(_KEYS)
    if chance.random() < two_keys:
        return f"RPOPLPUSH list{one} list{other}"
    return f"SET key{one} {chance.random()}"


async def _main(arguments: argparse.Namespace) -> None:
    print("shards  two keys  transactions  share of one write per shard and 3 ms (median of rounds)")
    for fuses, shards, two_keys in product((False, True), (8, 16), (0.0, 0.1)):
        shares = [
            await share_of_best(shards, two_keys, arguments.seconds, fuses=fuses)
            for _ in range(arguments.rounds)
        ]
        median, told = statistics.median(shares), " ".join(f"{share:.2f}" for share in shares)
        print(f"{shards:6}  {two_keys:8.0%}  {'yes' if fuses else 'no':>12}  {median:.2f} ({told})")


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.shards", description=__doc__)
    _parser.add_argument("--rounds", type=int, default=3)
    _parser.add_argument("--seconds", type=float, default=3.0)
    trio.run(_main, _parser.parse_args())
