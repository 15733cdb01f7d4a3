"""Run a cluster until standard input ends: ``python -m tests.fakes.elastickv --help``.

It prints where it listens as a line of JSON, then takes orders, one a line, as `ClusterProcess.ask` has them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from tests.fakes.elastickv.cluster import Cluster, open_cluster
from tests.fakes.elastickv.pace import OBSERVED, PARALLEL, PROMPT, Pace
from tests.fakes.elastickv.texts import BUSY

_PACES: Final = {"prompt": PROMPT, "observed": OBSERVED, "parallel": PARALLEL}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.elastickv", description=__doc__)
    parser.add_argument("--redis-binary", type=Path, help="the real store behind it")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", choices=_PACES, default="prompt")
    parser.add_argument("--set-pace", type=json.loads, default={}, help="changes of it, as a JSON object")
    parser.add_argument("--election-seconds", type=float, default=0.05)
    parser.add_argument("--move-leader-seconds", type=float, help="move the leader so often")
    parser.add_argument("--busy", type=float, default=0.0, help="probability of BUSY")
    parser.add_argument("--cut", type=float, default=0.0, help="probability of a cut behind a write")
    parser.add_argument("--no-panics", action="store_true", help="survive what is harmful")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> None:
    async with open_cluster(
        redis_binary=arguments.redis_binary,
        nodes=arguments.nodes,
        pace=attrs.evolve(_PACES[arguments.pace], **arguments.set_pace),
        seed=arguments.seed,
        election_seconds=arguments.election_seconds,
        panics=not arguments.no_panics,
    ) as cluster:
        if arguments.busy:
            cluster.faults.add(BUSY, probability=arguments.busy)
        if arguments.cut:
            cluster.faults.cut(probability=arguments.cut)
        async with trio.open_nursery() as nursery:
            if arguments.move_leader_seconds:
                nursery.start_soon(_move_leader, cluster, arguments.move_leader_seconds)
            _say({"addresses": cluster.addresses, "store_port": cluster.server.port})
            await _obey(cluster)
            nursery.cancel_scope.cancel("standard input has ended")


async def _move_leader(cluster: Cluster, seconds: float) -> None:
    while True:
        await trio.sleep(seconds)
        await cluster.move_leader()


async def _obey(cluster: Cluster) -> None:
    stdin = trio.wrap_file(sys.stdin)
    while line := await stdin.readline():
        order, _, text = line.strip().partition(" ")
        await _do(cluster, order, json.loads(text) if text else {})
        _say(_state(cluster))


async def _do(cluster: Cluster, order: str, options: dict[str, Any]) -> None:
    match order:
        case "move-leader":
            await cluster.move_leader(**options)
        case "kill-leader":
            cluster.kill_leader()
        case "step-down":
            cluster.step_down()
        case "elect":
            cluster.elect()
        case "revive":
            await cluster.revive()
        case "fault":
            cluster.faults.add(options.pop("text", None), **options)
        case "clear-faults":
            cluster.faults.clear()
        case "pace":
            cluster.pipeline.pace = Pace(**options)
    await trio.lowlevel.checkpoint()


def _state(cluster: Cluster) -> dict[str, Any]:
    return {
        "leader": cluster.leader.address if cluster.leader else None,
        "alive": [node.address for node in cluster.nodes if node.is_alive],
        "clients": [node.client_count for node in cluster.nodes],
        "elections": cluster.elections,
        "harms": cluster.harms,
        "received": dict(cluster.received),
        "committed": cluster.pipeline.committed,
        "peak": cluster.pipeline.peak,
        "refused": cluster.pipeline.refused,
    }


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_main, _arguments())
