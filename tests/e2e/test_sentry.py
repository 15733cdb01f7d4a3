"""``dualkv serve`` with a Sentry: it is told of divergences, and can do no harm."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.client import connect
from tests.support.process import Process, serving
from tests.support.proxy import wait_until
from tests.support.sentry_server import SentryServer
from tests.support.servers import Pair
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e

_SHADOWING = ("--mode", "dual-write-shadow", "--lame-duck", "0s")


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[SentryServer]:
    """A Sentry that is well, so far."""
    with SentryServer() as sentry:
        yield sentry
        assert sentry.complaints == []


async def _make_diverge(process: Process, pair: Pair, keys: int = 1) -> None:
    """Read keys that somebody has changed on the secondary, which it does not hold against anybody."""
    async with connect(process.port) as client:
        await client.pipeline([("SET", f"user:{number}", "blue") for number in range(keys)])
        with open_store(pair.secondary) as store:
            await wait_until(lambda: len(store.keys("user:*")) == keys)
            for number in range(keys):
                store.set(f"user:{number}", "red")
        await client.pipeline([("GET", f"user:{number}") for number in range(keys)])


async def test_a_divergence_is_reported(pair: Pair, sentry: SentryServer) -> None:
    """With the settings' environment, once for a kind and a command, before the process has ended."""
    flags = (*_SHADOWING, "--sentry-dsn", sentry.dsn, "--sentry-env", "staging")
    async with serving(pair, *flags) as process:
        await _make_diverge(process, pair, keys=3)
        await wait_until(lambda: sentry.requests > 0)
        process.popen.send_signal(signal.SIGTERM)
        code, _ = await process.wait()

    (event,) = sentry.events
    assert code == 0
    assert (event["environment"], event["level"]) == ("staging", "warning")
    assert event["tags"] == {"kind": "data_mismatch", "command": "get"}
    context = event["contexts"]["divergence"]
    assert context["key"] in {"user:0", "user:1", "user:2"}
    assert ("blue" in context["primary"], "red" in context["secondary"]) == (True, True)


async def test_a_sentry_that_hangs_costs_two_seconds_at_the_end(pair: Pair, sentry: SentryServer) -> None:
    """No client waits for it, and what could not be told does not keep the process."""
    sentry.answers.clear()
    async with serving(pair, *_SHADOWING, "--sentry-dsn", sentry.dsn) as process:
        await _make_diverge(process, pair)
        await wait_until(lambda: sentry.requests > 0)
        async with connect(process.port) as client:
            began = time.monotonic()
            for number in range(100):
                assert await client.call("SET", "k", number) == b"+OK\r\n"
            assert time.monotonic() - began < 1

        began = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        code, log = await process.wait()

    assert code == 0
    assert 1.9 < time.monotonic() - began < 4
    assert log[-1]["message"] == "stopped"
