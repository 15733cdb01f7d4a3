"""Every case of ``observed.json``, on live servers: what follows the effects becomes equal.

A server that does not know a command answers an error, which has no effect; between them, the servers of
`available_binaries` know them all.
"""

from __future__ import annotations

import time
from typing import Final

import pytest

from dualkv.core.routing import Route, plan_for
from tests.core.effects.cases import CASES, DUMP, Case
from tests.core.effects.following import Followed, spec_of
from tests.support.servers import Pair

_SCRIPTS: Final = frozenset({b"EVAL", b"EVAL_RO", b"FCALL"})
"""There are no rules for them; nor for what the proxy refuses."""


@pytest.mark.parametrize("protocol", [2, 3])
def test_second_server_becomes_equal(servers: Pair, protocol: int) -> None:
    """By value, whatever the command, and it answers what it is expected to."""
    with Followed(servers.primary.port, servers.secondary.port, protocol) as followed:
        found = {str(case): differing for case in CASES if (differing := _differing(case, followed))}

    assert found == {}


def _differing(case: Case, followed: Followed) -> list[str]:
    """Return what differs after a case."""
    followed.empty()
    for args in case.setup:
        followed.on_both(args)
    for args in case.blocked:
        followed.block(args)
    for args in case.commands:
        _run(args, followed)
    for _ in case.blocked:
        followed.release()
    differing = followed.differences()
    return [*followed.said, *differing] if differing else []


def _run(args: tuple[bytes, ...], followed: Followed) -> None:
    if args[0] == b"sleep":
        time.sleep(min(float(args[1]), 0.1))
    elif args[0] == b"other:":
        followed.run_elsewhere(args[1:])
    elif args[0] not in _SCRIPTS and plan_for(spec_of(args)).route is not Route.REFUSED:
        payload = followed.payload_of(b"k") if DUMP in args else b""
        followed.run(tuple(payload if word == DUMP else word for word in args))
