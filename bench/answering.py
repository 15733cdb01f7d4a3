"""``python -m bench.answering``: how fast clients write while ElasticKV answers, with and without dualkv.

The store is the stand-in of the tests: 3 ms for a commit, many at once, 1.1 ms for each key one after the
other; the commands of one connection one after the other.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from contextlib import ExitStack

import attrs

from bench.load import cpu_seconds
from bench.targets import Target, serving
from dualkv.servers import EmbeddedServer, find_server_binary
from tests.fakes.elastickv import ClusterProcess

__all__ = ["Answering", "writing"]


@attrs.frozen
class Answering:
    """What one run showed."""

    ops_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of dualkv, user and system, per command."""


def writing(target: Target, requests: int, clients: int, keys: int, command: tuple[str, ...]) -> Answering:
    """Send *requests* commands to random keys, each client one at a time."""
    used = cpu_seconds(target.pid) if target.pid else 0.0
    finished = subprocess.run(
        [
            "redis-benchmark", "-p", str(target.port), "-c", str(clients), "-n", str(requests),
            "-r", str(keys), "--csv", *command,
        ],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    cpu = cpu_seconds(target.pid) - used if target.pid else 0.0
    row = next(row for row in csv.DictReader(io.StringIO(finished.stdout)) if row["rps"])
    return Answering(
        float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]), cpu / requests * 1e6
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.answering", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--keys", type=int, default=100_000, help="few make hot keys")
    parser.add_argument("--command", default="SET key:__rand_int__ value")
    parser.add_argument("--pace", default="parallel", help="of the stand-in: parallel, observed, prompt")
    parser.add_argument("--rounds", type=int, default=3)
    options, flags = parser.parse_known_args()
    command = tuple(options.command.split())
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedServer(find_server_binary()))
        cluster = stack.enter_context(ClusterProcess("--pace", options.pace))
        nodes = ",".join(cluster.addresses)
        targets = [Target("direct", int(cluster.addresses[0].rpartition(":")[2]), None)]
        for mode, more in (
            ("elastickv-only", ("--lanes", "1")), ("elastickv-only", ()), ("elastickv-primary", ())
        ):  # fmt: skip
            name = " ".join([mode, *more])
            targets.append(stack.enter_context(serving(name, mode, redis.address, nodes, *more, *flags)))
        for _ in range(options.rounds):
            direct = 0.0
            for target in targets:
                # One lane is slow: fewer commands take as long.
                requests = options.requests // (5 if "--lanes 1" in target.name else 1)
                seen = writing(target, requests, options.clients, options.keys, command)
                direct = direct or seen.ops_per_second
                print(f"{target.name:26} {seen.ops_per_second / direct:5.2f} of direct  {seen}", flush=True)


if __name__ == "__main__":
    main()
