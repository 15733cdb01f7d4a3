"""``python -m bench.burst``: more writes than ElasticKV takes in ten seconds, and how soon it is equal.

The secondary is the stand-in of the tests: 3 ms for a commit, many at once, 1.1 ms for each key one after the
other, so that ten thousand keys take 11 s at best.
"""

from __future__ import annotations

import argparse
import random
import time
import urllib.request
from contextlib import ExitStack

import attrs

from bench.load import cpu_seconds
from bench.paced import measure_paced
from bench.targets import serving
from dualkv.resp.encode import command
from dualkv.servers import EmbeddedServer, find_server_binary
from tests.fakes.elastickv import ClusterProcess
from tests.support.wire import Wire

__all__ = ["Burst", "burst"]

_LONGEST_SECONDS = 90.0
_SHOWN = ("proxy_async_drops", "proxy_secondary_write_errors", "proxy_dirty")
_KEYS = [b"key:%012d" % number for number in range(10_000)]


@attrs.frozen
class Burst:
    """What one run showed."""

    seconds: float
    """How long the writing took."""
    p50_ms: float
    p99_ms: float
    equal_after_seconds: float | None
    """From the last write on; None: not within a minute and a half."""
    keys: int
    cpu_seconds: float
    """Of dualkv, user and system."""
    commits: int
    """Of the secondary."""
    harmful: int
    """What a real node would have died of."""


def burst(mode: str, requests: int, per_second: float, clients: int, pace: str, flags: list[str]) -> Burst:
    """Write *requests* values to random keys, and wait until both stores are equal.

    Args:
        mode: Of dualkv; ``redis-only`` writes to one store, for comparing.
        requests: How many ``SET``s.
        per_second: How many of them in a second.
        clients: From how many connections.
        pace: Of the stand-in.
        flags: More options of dualkv.
    """
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedServer(find_server_binary()))
        cluster = stack.enter_context(ClusterProcess("--pace", pace))
        target = stack.enter_context(serving(mode, mode, primary.address, cluster.addresses[0], *flags))
        started = time.monotonic()
        used = cpu_seconds(target.pid)
        latencies = measure_paced(target.port, clients, _requests(requests), per_second)
        over = time.monotonic()
        equal_at = None
        while mode != "redis-only" and time.monotonic() - over < _LONGEST_SECONDS:
            if _values(primary.port) == _values(cluster.store_port):
                equal_at = time.monotonic()
                break
            time.sleep(0.25)
        state = cluster.ask("state")
        if mode != "redis-only":
            _print_queues(target.metrics_port)
        return Burst(
            seconds=over - started,
            p50_ms=latencies[len(latencies) // 2] * 1000,
            p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
            equal_after_seconds=None if equal_at is None else equal_at - over,
            keys=sum(value != b"$-1\r\n" for value in _values(primary.port)),
            cpu_seconds=cpu_seconds(target.pid) - used,
            commits=state["committed"],
            harmful=len(state["harms"]),
        )


def _requests(count: int) -> list[bytes]:
    rng = random.Random(count)
    return [command("SET", rng.choice(_KEYS), rng.randrange(10**12)) for _ in range(count)]


def _values(port: int) -> list[bytes]:
    with Wire(port) as wire:
        return wire.pipeline([(b"GET", key) for key in _KEYS])


def _print_queues(port: int | None) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    for line in lines:
        if line.startswith(_SHOWN) and not line.endswith(" 0.0"):
            print("   ", line)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.burst", description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--per-second", type=float, default=20_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--pace", default="parallel", help="of the stand-in: parallel, observed, prompt")
    parser.add_argument("--modes", default="redis-only,dual-write")
    parser.add_argument("--rounds", type=int, default=1)
    options, flags = parser.parse_known_args()
    for _ in range(options.rounds):
        for mode in options.modes.split(","):
            print(
                mode, burst(mode, options.requests, options.per_second, options.clients, options.pace, flags)
            )


if __name__ == "__main__":
    main()
