"""A small ElasticKV cluster for tests: real sockets in front, one real Redis or Valkey behind.

It behaves as ``elastickv.md`` has observed it: what it takes, what it answers, how fast, how it breaks.

    async with open_cluster(nodes=3, pace=OBSERVED, seed=7) as cluster:
        cluster.faults.add(BUSY, probability=0.05)
        cluster.kill_leader()
        ...
        assert cluster.harmful == 0
        assert contents(cluster.server) == contents(primary)

From the inside out:

- `commands`, `options`: the 84 commands, and what each takes; all that is data
- `texts`: its error texts
- `numbers`: how it writes scores
- `replies`: what a node says of itself and of its commands
- `work`: from a client's command to commands for the real store behind, and back
- `scripts` and ``transaction.lua``: an ``EVAL`` as a transaction that rolls back
- `engine`: the real store, over one pipelined connection
- `pace`: what a commit costs
- `faults`: errors and cut connections on demand
- `transactions`: what ``MULTI`` has queued
- `session`, `node`, `leadership`, `channels`, `cluster`: sockets, who leads, Pub/Sub, counters
- `process`, ``__main__``: the same in a process of its own, for load tests
"""

from tests.fakes.elastickv.cluster import Cluster, open_cluster
from tests.fakes.elastickv.faults import Fault, Faults
from tests.fakes.elastickv.pace import OBSERVED, PARALLEL, PROMPT, Pace
from tests.fakes.elastickv.process import ClusterProcess

__all__ = [
    "OBSERVED",
    "PARALLEL",
    "PROMPT",
    "Cluster",
    "ClusterProcess",
    "Fault",
    "Faults",
    "Pace",
    "open_cluster",
]
