"""When self-tests are made: at the start of a server, and on demand with a `DualWriter` of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from dualkv.config import ProxyConfig
from dualkv.core.selftest import Finding, SelfTestResult
from dualkv.errors import ConfigError
from dualkv.net.lane import LaneState
from dualkv.net.selftest import SelfTest
from dualkv.net.start_check import refuse_one_server
from dualkv.net.writer import DualWriter, open_writer

__all__ = ["keep_testing", "run_selftest"]

_LOOK_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 1.0

_log = logging.getLogger("dualkv.selftest")


async def keep_testing(writer: DualWriter) -> None:
    """Test as soon as it makes sense, and again every minute until it has passed; tell the metrics.

    Args:
        writer: What is tested; it must be running.
    """
    state, progress = writer.metrics.selftest, writer.metrics.resync
    if writer.stream is None:
        return None
    state.is_wanted = True
    while True:
        while obstacle := _obstacle(writer):
            state.waits_for = obstacle
            await trio.sleep(_LOOK_SECONDS)
        state.waits_for = ""
        completed = progress.completed
        try:
            result = await SelfTest(writer).run()
            obstacle = result.obstacle
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the server
            writer.report_failure(error)
            obstacle = "a fault of dualkv, see the log"
        if obstacle:
            state.waits_for = obstacle
            await trio.sleep(_RETRY_SECONDS)
            continue
        if not result.is_passed and (progress.is_running or progress.completed != completed):
            continue  # the canaries were copied
        state.result = result
        if result.is_passed:
            return _log.info("self-test passed", extra={"seconds": round(result.seconds, 3)})
        _log.error("self-test failed", extra={"why": result.why})
        await trio.sleep(_RETRY_SECONDS)


def _obstacle(writer: DualWriter) -> str:
    """Return what has to be waited for; empty if nothing has."""
    stream = writer.stream
    assert stream is not None
    if writer.lane.state is not LaneState.UP:
        return f"{writer.primary.name} cannot be reached"
    if not stream.is_connected:
        return f"{stream.backend.name} cannot be reached"
    if not stream.gate.is_open:
        return f"writes do not flow: {stream.gate.state.value}"
    return "all keys are being copied" if writer.metrics.resync.is_running else ""


# --- on demand


async def run_selftest(config: ProxyConfig, on_finding: Callable[[Finding], None]) -> SelfTestResult:
    """Test with a `DualWriter` of its own, and return what came out.

    Args:
        config: The settings of ``serve``; the journal, files and Sentry are left alone.
        on_finding: Called with what came out of each step, when it has.

    Raises:
        ConfigError: Nothing is mirrored in this mode, or both stores are one server.
    """
    own = attrs.evolve(
        config, journal_dir="", divergence_log="", sentry_dsn="", shadow_pubsub="off", backfill=False,
        resync="manual", drain_seconds=_DRAIN_SECONDS,
    )  # fmt: skip
    await refuse_one_server(own)
    async with open_writer(own) as writer:
        if writer.secondary is None:
            result = None
        else:
            result = await SelfTest(writer, on_finding=on_finding).run()
    if result is None:
        raise ConfigError(f"mode: nothing is mirrored in {config.mode.value}")
    return result
