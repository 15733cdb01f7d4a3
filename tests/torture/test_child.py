"""dualkv as a child process."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from dualkv.torture.child import Child, has_converged, unsettled
from dualkv.torture.stores import Stores, open_store


def settings(stores: Stores) -> dict[str, str]:
    """Return what dualkv needs to know."""
    return {"primary": stores.primary.address, "secondary": stores.secondary.address}


@pytest.mark.parametrize(
    ("name", "labels", "is_settled"),
    [
        ("proxy_async_queue_depth", 'queue="write"', False),
        ("proxy_dirty_keys", "", False),
        ("proxy_resync_required", "", False),
        ("proxy_repair_in_flight", "", False),
        ("proxy_active_connections", "", False),
        ("proxy_async_ledger", 'account="in_flight",queue="script"', False),
        ("proxy_async_ledger", 'account="applied",queue="script"', True),
        ("proxy_command_total", "", True),
    ],
)
def test_it_has_converged_when_nothing_is_left_to_do(name: str, labels: str, is_settled: bool) -> None:
    """Nothing queued, in flight, dirty, or to be resynced, and no client."""
    assert has_converged({(name, labels): 1.0}) is is_settled
    assert has_converged({(name, labels): 0.0})


def test_what_is_left_to_do_is_told() -> None:
    """With the figures, as they stand in the metrics."""
    samples = {("proxy_dirty_keys", 'reason="failed"'): 2.0, ("proxy_resync_required", ""): 0.0}

    assert unsettled(samples) == ['proxy_dirty_keys{reason="failed"} = 2']
    assert not unsettled(samples, repairs=False)
    assert unsettled({("proxy_dirty_keys", 'reason="not_replayable"'): 1.0}, repairs=False)


def test_silence_does_not_mean_convergence() -> None:
    """A process that does not answer has nothing to say."""
    assert not has_converged({})


async def test_it_serves_and_ends(stores: Stores, tmp_path: Path) -> None:
    """Twice at the same address; counters are remembered over its lives."""
    with Child(settings(stores), tmp_path) as child:
        for _ in range(2):
            await child.start()
            async with open_store(child.options) as store:
                await store.call("SET", "k", "v")
            assert ("proxy_active_connections", "") in await child.scrape()
            assert await child.terminate() == 0
        assert child.total("proxy_command_total") >= 4
        assert child.faults() == []
        assert await child.scrape() == {}


async def test_it_can_be_killed(stores: Stores, tmp_path: Path) -> None:
    """As by a crash; doing it twice does no harm."""
    with Child(settings(stores), tmp_path) as child:
        await child.start()
        child.kill()
        child.kill()
        assert await child.scrape() == {}
        await child.start()


async def test_one_that_does_not_start_says_why(stores: Stores, tmp_path: Path) -> None:
    """Its last words are in the error."""
    with Child({"mode": "nonsense"}, tmp_path) as child, pytest.raises(RuntimeError, match="is not a mode"):
        await child.start()


def test_what_only_a_bug_writes_into_the_log_is_a_fault(tmp_path: Path) -> None:
    """Errors and tracebacks; warnings are part of the game."""
    child = Child({}, tmp_path)
    assert child.faults() == []
    child.log.write_text(
        '{"level": "warning", "message": "secondary unreachable"}\n'
        '{"level": "error", "message": "session failed"}\n'
        "Traceback (most recent call last):\nValueError: no\n"
    )

    assert len(child.faults()) == 3


def test_secrets_are_not_among_the_arguments(tmp_path: Path) -> None:
    """Settings travel in the environment."""

    async def main() -> None:
        with Child({"primary_password": "hunter2", "primary": "127.0.0.1:1"}, tmp_path) as child:
            await child.start()
            assert child._process is not None
            arguments = await trio.Path(f"/proc/{child._process.pid}/cmdline").read_bytes()
            assert b"hunter2" not in arguments

    trio.run(main)
