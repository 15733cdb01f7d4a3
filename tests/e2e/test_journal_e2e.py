"""dualkv is killed with writes that have not arrived: with a journal the next process brings them."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.client import Args, connect
from tests.support.process import Process, serving
from tests.support.proxy import wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e


def unequal(pair: Pair) -> list[str]:
    """Return what differs between the stores in the databases that are used here."""
    return differences(state_of(pair.primary.port, (0, 3)), state_of(pair.secondary.port, (0, 3)))


async def convergence(process: Process) -> dict[str, Any]:
    """Return what ``/readyz`` says about convergence."""

    def fetch() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.http_port}/readyz", timeout=10) as response:
            found: dict[str, Any] = json.loads(response.read())["convergence"]
            return found

    return await trio.to_thread.run_sync(fetch)


async def write_many(process: Process, rounds: int) -> None:
    """Write keys of all types in two databases, in pipelines and in transactions."""
    async with connect(process.port) as client:
        for turn in range(rounds):
            commands: list[Args] = [
                ("INCR", "counter"),
                ("SET", f"s{turn}", turn),
                ("APPEND", f"s{turn % 10}", "x"),
                ("RPUSH", f"l{turn % 7}", turn),
                ("LPOP", f"l{(turn + 3) % 7}"),
                ("SADD", "set", turn),
                ("SPOP", "set"),
                ("HINCRBYFLOAT", f"h{turn % 5}", "f", "0.1"),
                ("XADD", "x", "*", "f", turn),
                ("EXPIRE", f"s{turn}", 1000),
                ("RENAME", f"s{turn}", f"t{turn}"),
                ("EVAL", "return redis.call('SET', KEYS[1], redis.call('TIME')[2])", 1, "clock"),
                ("MULTI",),
                ("INCR", "counter"),
                ("ZINCRBY", "z", 1, turn),
                ("EXEC",),
                ("SELECT", 3 if turn % 2 else 0),
            ]
            await client.pipeline(commands)


async def wait_equal(pair: Pair) -> None:
    """Wait until both stores hold the same."""
    await wait_until(lambda: unequal(pair) == [], 20)


@pytest.mark.parametrize("fsync", ["never", "always"])
async def test_writes_of_a_killed_process_arrive(pair: Pair, tmp_path: Path, fsync: str) -> None:
    """Killed twice while the secondary is stopped; the third process makes all equal."""
    flags = ("--journal-dir", str(tmp_path), "--journal-fsync", fsync)
    for rounds in (100, 50):
        async with serving(pair, *flags) as process:
            await write_many(process, 20)
            pair.secondary.pause()
            try:
                await write_many(process, rounds)
                process.popen.kill()
                await process.wait()
            finally:
                pair.secondary.resume()
    assert unequal(pair) != []

    async with serving(pair, *flags) as process:
        await write_many(process, 1)
        await wait_equal(pair)
        process.popen.send_signal(signal.SIGTERM)
        code, log = await process.wait()
    assert code == 0
    assert {"INFO", "WARNING"} >= {str(line["level"]).upper() for line in log}
    assert unequal(pair) == []


async def test_process_that_ended_well_leaves_nothing_to_do(pair: Pair, tmp_path: Path) -> None:
    """After SIGTERM everything has arrived: the next process has no dirty keys from the journal."""
    flags = ("--journal-dir", str(tmp_path))
    async with serving(pair, *flags) as process:
        await write_many(process, 50)
        process.popen.send_signal(signal.SIGTERM)
        code, _ = await process.wait()
    assert code == 0
    assert unequal(pair) == []

    async with serving(pair, *flags, "--repair", "off") as process:
        told = await convergence(process)
    assert (told["dirty_keys"], told["resync_required"]) == (0, None)


async def test_killed_process_does_not_lose_its_resync(pair: Pair, tmp_path: Path) -> None:
    """A backfill goes on where it was, and what was written meanwhile is right too."""
    flags = ("--journal-dir", str(tmp_path))
    async with connect(pair.primary.port) as client:
        for start in range(0, 20_000, 1000):
            await client.pipeline([("SET", f"old:{number}", number) for number in range(start, start + 1000)])
    async with serving(pair, *flags, "--backfill", "--repair-rate", "5000") as process:
        with trio.fail_after(20):
            while (await convergence(process))["resync"]["keys_done"] < 4000:  # noqa: ASYNC110 - another process
                await trio.sleep(0.05)
        await write_many(process, 20)
        process.popen.kill()
        await process.wait()
    assert unequal(pair) != []

    async with serving(pair, *flags) as process:
        await wait_equal(pair)
        process.popen.send_signal(signal.SIGTERM)
        _, log = await process.wait()
    (begun,) = [line for line in log if line["message"] == "resync begins"]
    assert begun["why"] == "backfill"


async def test_without_a_journal_the_keys_are_lost_with_the_process(pair: Pair) -> None:
    """That is what the journal is for; a resync finds them."""
    async with serving(pair) as process:
        pair.secondary.pause()
        try:
            await write_many(process, 50)
            process.popen.kill()
            await process.wait()
        finally:
            pair.secondary.resume()
    assert unequal(pair) != []

    async with serving(pair) as process:
        told = await convergence(process)
        assert told["dirty_keys"] == 0
        process.popen.send_signal(signal.SIGUSR2)
        await wait_until(lambda: unequal(pair) == [], 20)
