"""Pairs of servers, of which the second understands what the first executes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dualkv.servers import EmbeddedServer
from tests.support.servers import Pair, available_binaries

_AT_HAND = available_binaries()
_WANTED = (("Valkey 9", "Valkey 9"), ("Redis 7", "Valkey 9"), ("Redis 6", "Valkey 9"), ("Redis 8", "Redis 8"))
PAIRS = [
    (one, other)
    for product, other_product in _WANTED
    for one in _AT_HAND
    for other in _AT_HAND
    if one.startswith(product) and other.startswith(other_product)
]


@pytest.fixture(name="servers", scope="module", params=PAIRS, ids=" to ".join)
def _servers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two servers that live as long as the tests of a module.

    The first one keeps few entries of a stream together, so that rough limits trim often.
    """
    one, other = request.param
    small_nodes = ("--stream-node-max-entries", "3")
    with EmbeddedServer(_AT_HAND[one], *small_nodes) as primary, EmbeddedServer(_AT_HAND[other]) as secondary:
        yield Pair(primary, secondary)
