"""Whatever happens, the secondary ends up equal: a selection of seeds; `make torture` runs many more."""

from __future__ import annotations

import pytest

from dualkv.torture.faults import FAULTS, LIMITS, choose_faults
from dualkv.torture.report import details, line
from dualkv.torture.seed import Options, run_seed
from dualkv.torture.stores import throw_away_stores
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

OPERATIONS = 3000


async def assert_converges(pair: Pair, seed: int, faults: str, **settings: str) -> None:
    """Run one seed with servers like those of *pair*, and assert that they end equal."""
    names = choose_faults(faults, [*FAULTS, *LIMITS])
    options = Options(
        operations=OPERATIONS, faults=names, longest_fault_seconds=3, rate=2000 if names else 0,
        settings=settings, converge_seconds=40,
    )  # fmt: skip
    persistent = any("-kill" in name for name in names)
    with throw_away_stores(pair.primary.binary, pair.secondary.binary, persistent=persistent) as stores:
        result = await run_seed(seed, stores, options, lambda _: None)

    assert result.is_good, "\n".join([line(result), *details(result)])
    assert result.operations >= OPERATIONS


@pytest.mark.parametrize("seed", range(1, 4))
async def test_without_any_fault(running_pair: Pair, seed: int) -> None:
    """All write commands, from many clients at once."""
    await assert_converges(running_pair, seed, "none")


@pytest.mark.parametrize("seed", range(11, 13))
async def test_without_any_fault_and_without_repair(running_pair: Pair, seed: int) -> None:
    """Order and effects alone."""
    await assert_converges(running_pair, seed, "none", repair="off")


@pytest.mark.parametrize("seed", range(21, 26))
async def test_faults_of_the_secondary(running_pair: Pair, seed: int) -> None:
    """It stops, dies, forgets, is cut off, slow or wrong."""
    await assert_converges(running_pair, seed, "secondary")


@pytest.mark.parametrize("seed", range(31, 34))
async def test_faults_of_the_primary(running_pair: Pair, seed: int) -> None:
    """It stops, dies, forgets, is cut off or slow."""
    await assert_converges(running_pair, seed, "primary")


@pytest.mark.parametrize("seed", range(41, 43))
async def test_faults_of_dualkv(running_pair: Pair, seed: int) -> None:
    """It is ended in the orderly way, or killed."""
    await assert_converges(running_pair, seed, "proxy")


@pytest.mark.parametrize("limit", LIMITS)
async def test_tiny_limits(running_pair: Pair, limit: str) -> None:
    """Queues are full, deadlines pass, dirty keys find no room, while the secondary misbehaves."""
    await assert_converges(running_pair, 51, f"{limit},secondary-slow,secondary-stop")


@pytest.mark.parametrize("seed", range(61, 65))
async def test_everything_at_once(running_pair: Pair, seed: int) -> None:
    """Faults of all kinds, mixed."""
    await assert_converges(running_pair, seed, "all")
