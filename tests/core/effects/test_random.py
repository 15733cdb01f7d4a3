"""Random commands on one server, their effects on another: both stay equal."""

from __future__ import annotations

import random

import pytest

from dualkv.servers import server_version
from tests.core.effects.following import Followed
from tests.core.effects.random_commands import random_commands
from tests.support.servers import Pair

_COMMANDS = 4000
_COMPARED_EVERY = 50
_CLAIMING = frozenset({"XCLAIM", "XAUTOCLAIM"})
"""In Redis 6 they let consumers claim entries that were deleted, which no other server can be told."""


@pytest.mark.parametrize(("seed", "protocol"), [(1, 2), (2, 3)])
def test_second_server_stays_equal(servers: Pair, seed: int, protocol: int) -> None:
    """After thousands of commands of every kind, and all along."""
    is_old = server_version(servers.primary.binary).startswith("Redis 6")
    without = _CLAIMING if is_old else frozenset[str]()
    chance = random.Random(seed)
    ids = [b"1-1"]
    with Followed(servers.primary.port, servers.secondary.port, protocol) as followed:
        followed.empty()
        for number, args in enumerate(random_commands(seed, _COMMANDS, without)):
            reply = followed.run(
                tuple(chance.choice(ids[-8:]) if word == b"$last" else word for word in args)
            )
            if args[0] == b"XADD" and reply[:1] == b"$" and reply[1:2] != b"-":
                ids.append(reply.split(b"\r\n")[1])
            if number % _COMPARED_EVERY == 0 and not followed.is_in_transaction:
                assert followed.differences() == [], f"seed {seed}\n" + "\n".join(followed.said[-200:])
                followed.said.clear()
        assert followed.differences() == []
