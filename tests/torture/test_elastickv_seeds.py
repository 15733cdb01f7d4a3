"""With the ElasticKV stand-in on either side, whatever it goes through, both stores end equal: a selection.

``python -m tests.torture.elastickv`` runs as many seeds as one likes.
"""

from __future__ import annotations

import pytest

from dualkv.torture.report import details, line
from tests.support.servers import Pair
from tests.torture.elastickv import Side, run_with_elastickv

pytestmark = pytest.mark.e2e

_OPERATIONS = 1500
_RATE = 600
"""A second: so the leader moves several times meanwhile."""


@pytest.mark.parametrize(("side", "seed"), [(Side.SECONDARY, 1), (Side.SECONDARY, 2), (Side.PRIMARY, 3)])
async def test_elastickv_and_the_other_store_end_equal(running_pair: Pair, side: Side, seed: int) -> None:
    """The leader moves every second, is overloaded, and cuts connections behind what it has applied."""
    result = await run_with_elastickv(seed, side, running_pair.primary, operations=_OPERATIONS, rate=_RATE)

    assert result.is_good, "\n".join([line(result), *details(result)])
    assert result.operations >= _OPERATIONS
    assert result.keys
    if side is Side.PRIMARY:  # what happened to it reached the clients
        assert result.errors["BUSY"]
        assert any("lost its connection" in text for text in result.errors)
