"""Seeds of the torture with the ElasticKV stand-in on one side, as a test runs one and as many at once.

    python -m tests.torture.elastickv --side secondary --seeds 1-50 --operations 3000

dualkv gets the addresses of the cluster's nodes. Whatever enumerates (emptying, comparing) goes to the real
store behind them, since a node dies of it. All along the leader moves every second, 5 % of the writes are
answered ``BUSY``, and behind 1 % of them the connection is cut.
"""

from __future__ import annotations

import argparse
import enum
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

import attrs
import trio

from dualkv.core.dialect import HOLDINGS, Held
from dualkv.servers import EmbeddedServer, find_server_binary
from dualkv.torture.compare import Difference
from dualkv.torture.report import Result, details, line
from dualkv.torture.seed import Options, run_seed
from dualkv.torture.stores import own_stores
from dualkv.torture.templates import TEMPLATES
from tests.fakes.elastickv import ClusterProcess
from tests.fakes.elastickv.commands import COMMANDS, HARMFUL

__all__ = ["HELD", "KNOWN", "TROUBLE", "Side", "run_with_elastickv", "same_for_elastickv"]

TROUBLE: Final = ("--move-leader-seconds", "1", "--busy", "0.05", "--cut", "0.01")
"""What a cluster goes through, as options of its process."""

_TOLERANCE_MS: Final = 15_000
"""It tells and is told the time that is left: how late that arrives counts, also on a machine under load."""

_LEADERS: Final = 2
"""So many, at least, have led when a seed is over."""

_UNTOLD: Final = frozenset({"last id", "entries-added", "max-deleted-entry-id"})
"""What ElasticKV does not tell of a stream; its last id is that of the last entry."""

_HELD_IN_PART: Final = frozenset({"HSETEX", "HPERSIST", "PFADD", "XACKDEL", "FCALL"})
"""Fields do not expire there, a HyperLogLog is a set, and there are no groups and no functions."""

_NAMES: Final = frozenset(template.name for template in TEMPLATES)

HELD: Final = tuple(
    sorted(
        name
        for name in _NAMES - _HELD_IN_PART
        if not name.startswith("FUNCTION")
        if name not in HOLDINGS or HOLDINGS[name].held is not Held.LOST
    )
)
"""What clients send while Redis is the primary: what ElasticKV can hold, and reads."""

KNOWN: Final = tuple(sorted((_NAMES & COMMANDS.keys()) - _HELD_IN_PART - HARMFUL))
"""What clients send while ElasticKV is the primary. It refuses some options and most of ``MULTI``."""


class Side(enum.Enum):
    """On which side the stand-in is, and the mode of dualkv that makes it so."""

    SECONDARY = "dual-write-shadow"
    PRIMARY = "elastickv-primary"


async def run_with_elastickv(
    seed: int,
    side: Side,
    server: EmbeddedServer,
    *,
    operations: int,
    trouble: Collection[str] = TROUBLE,
    rate: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> Result:
    """Run one seed between a cluster of its own and *server*; harm to the cluster is a complaint.

    Args:
        seed: What is random comes from it.
        side: What the cluster is.
        server: The other store; it is emptied.
        operations: How many.
        trouble: What the cluster goes through, as options of its process.
        rate: Operations per second; 0: as fast as it goes.
        say: Called with what is going on.
    """
    options = ("--redis-binary", str(server.binary), "--seed", str(seed), *trouble)
    with ClusterProcess(*options) as cluster:
        behind = f"127.0.0.1:{cluster.store_port}"
        is_primary = side is Side.PRIMARY
        stores = own_stores(*((behind, server.address) if is_primary else (server.address, behind)))
        settings = {
            "mode": side.value, "primary": server.address, "secondary": ",".join(cluster.addresses),
        }  # fmt: skip
        only = (*KNOWN, "MULTI") if is_primary else (*HELD, "MULTI", "WATCH")
        options_of_run = Options(
            operations=operations, databases=1, only=only, rate=rate, settings=settings,
            tolerance_ms=_TOLERANCE_MS,
        )  # fmt: skip
        result = await run_seed(seed, stores, options_of_run, say)
        state = cluster.ask("state")
    if state["harms"]:
        result.complaints.append(f"the cluster was harmed by {', '.join(state['harms'])}")
    if "--move-leader-seconds" in trouble and state["elections"] < _LEADERS:
        result.complaints.append(f"there have been only {state['elections']} leaders")
    return same_for_elastickv(result)


def same_for_elastickv(result: Result) -> Result:
    """Return a result without the differences that are none to ElasticKV."""
    told = [(_told(difference), operations) for difference, operations in result.differences]
    return attrs.evolve(result, differences=[each for each in told if each[0].aspects])


def _told(difference: Difference) -> Difference:
    return attrs.evolve(difference, aspects=[row for row in difference.aspects if row[0] not in _UNTOLD])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.elastickv", description=__doc__)
    parser.add_argument("--side", choices=[side.name.lower() for side in Side], default="secondary")
    parser.add_argument("--seeds", default="1-50", help="the first and the last")
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--calm", action="store_true", help="nothing happens to the cluster")
    parser.add_argument("--redis-binary", type=Path, help="the servers to start")
    return parser.parse_args()


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


async def _main(arguments: argparse.Namespace, seeds: Iterable[int]) -> bool:
    good, count = 0, 0
    for seed in seeds:
        with EmbeddedServer(find_server_binary(arguments.redis_binary)) as server:
            result = await run_with_elastickv(
                seed,
                Side[arguments.side.upper()],
                server,
                operations=arguments.operations,
                trouble=() if arguments.calm else TROUBLE,
                rate=arguments.rate,
            )
        good, count = good + result.is_good, count + 1
        _say([line(result), *details(result)])
    _say([f"{good} of {count} good"])
    return good == count


if __name__ == "__main__":
    _given = _arguments()
    _first, _, _last = _given.seeds.partition("-")
    sys.exit(not trio.run(_main, _given, range(int(_first), int(_last or _first) + 1)))
