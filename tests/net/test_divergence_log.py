"""Writing divergences to their file: in batches, beside the loop, to the last one."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.net import divergence_log
from dualkv.net.divergence_log import DivergenceLogWriter
from dualkv.observe.divergence_log import DivergenceLog
from tests.support.proxy import wait_until


class FakeFile:
    """A file in memory that can be slow or refuse."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.error: Exception | None = None
        self.is_free = threading.Event()
        self.is_free.set()
        self.is_asked = threading.Event()

    def check(self) -> None:
        """It is always there."""

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Keep records, as soon as that is allowed."""
        self.is_asked.set()
        assert self.is_free.wait(60)
        if self.error is not None:
            raise self.error
        self.batches.append([record["key"] for record in records])

    @property
    def keys(self) -> list[str]:
        """All that is kept."""
        return [key for batch in self.batches for key in batch]


@pytest.fixture(name="file")
def _file() -> FakeFile:
    return FakeFile()


@pytest.fixture(name="log")
def _log(file: FakeFile, monkeypatch: pytest.MonkeyPatch) -> DivergenceLog:
    monkeypatch.setattr(divergence_log, "AFTER_FAILURE_SECONDS", 0.01)
    return DivergenceLog(file, lambda found: {"key": found.key.decode()})


def offer(log: DivergenceLog, *keys: str) -> None:
    """Let divergences of some keys be written."""
    for key in keys:
        log.offer(Divergence("get", DivergenceKind.DATA_MISMATCH, key.encode(), b"", b""))


@asynccontextmanager
async def writing(log: DivergenceLog) -> AsyncIterator[None]:
    """Run the writer for the block."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(DivergenceLogWriter(log, trio.current_time).run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def test_what_comes_together_is_written_together(file: FakeFile, log: DivergenceLog) -> None:
    """One call of the disk for a burst, and another one for what comes later."""
    async with writing(log):
        offer(log, "a", "b", "c")
        await wait_until(lambda: log.written == 3)
        offer(log, "d")
        await wait_until(lambda: log.written == 4)

    assert file.batches == [["a", "b", "c"], ["d"]]
    assert not log.dropped


async def test_what_was_offered_before_it_runs_is_written(file: FakeFile, log: DivergenceLog) -> None:
    """Nothing is overlooked because nobody was there to be woken."""
    offer(log, "early")
    async with writing(log):
        await wait_until(lambda: log.written == 1)

    assert file.keys == ["early"]


async def test_a_slow_disk_delays_nobody(file: FakeFile, log: DivergenceLog) -> None:
    """The loop goes on while the thread waits; what comes meanwhile is written behind it."""
    file.is_free.clear()
    async with writing(log):
        offer(log, "a")
        await wait_until(file.is_asked.is_set)
        offer(log, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert (log.written, len(log)) == (0, 1)
        file.is_free.set()
        await wait_until(lambda: log.written == 2)

    assert file.keys == ["a", "b"]


@pytest.mark.parametrize(("error", "reason"), [(OSError(28, "No space"), "disk"), (ValueError(), "fault")])
async def test_what_the_disk_refuses_is_counted_and_later_ones_are_written(
    file: FakeFile, log: DivergenceLog, error: Exception, reason: str
) -> None:
    """Trouble with the file is never trouble of the proxy."""
    file.error = error
    async with writing(log):
        offer(log, "a", "b")
        await wait_until(lambda: log.dropped[reason] == 2)
        file.error = None
        offer(log, "c")
        await wait_until(lambda: log.written == 1)

    assert file.keys == ["c"]


async def test_the_end_waits_for_what_is_left(file: FakeFile, log: DivergenceLog) -> None:
    """The last divergences before a shutdown are in the file."""
    async with writing(log):
        offer(log, "a", "b")

    assert file.keys == ["a", "b"]
    assert log.written == 2


async def test_a_disk_that_hangs_does_not_hold_up_the_end(
    file: FakeFile, log: DivergenceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a short time what is not written is counted as lost."""
    monkeypatch.setattr(divergence_log, "AT_END_SECONDS", 0.05)
    file.is_free.clear()
    try:
        with trio.fail_after(30):
            async with writing(log):
                offer(log, "a")
                await wait_until(file.is_asked.is_set)
                offer(log, "b", "c")
    finally:
        file.is_free.set()

    assert (log.written, log.dropped) == (0, {"shutdown": 3})
