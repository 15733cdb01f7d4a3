"""When self-tests are made: by a server, now and then, and on demand with a `DualWriter` of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from dualkv.config import ProxyConfig
from dualkv.core.selftest import Finding, SelfTestResult, SelfTestState
from dualkv.errors import ConfigError
from dualkv.net.lane import LaneState
from dualkv.net.selftest import SelfTest
from dualkv.net.start_check import refuse_one_server
from dualkv.net.writer import DualWriter, open_writer

__all__ = ["keep_testing", "run_selftest"]

_LOOK_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 60.0
_REPEAT_SECONDS: Final = 600.0
"""After one that has passed."""
_SETTLE_SECONDS: Final = 10.0
"""After one that has passed, if connections to a store are new: others may follow."""
_DRAIN_SECONDS: Final = 1.0

_log = logging.getLogger("dualkv.selftest")


async def keep_testing(writer: DualWriter) -> None:
    """Test as soon as it makes sense, and again and again; tell the metrics. It never ends by itself.

    After one that has passed the next is made in ten minutes, or once connections to a store are new: it may
    be another one, or another node of it. After one that has failed it is made again in a minute. A failure
    counts only if nothing has changed meanwhile; after one that had passed, only if it comes twice in a row.

    Args:
        writer: What is tested; it must be running.
    """
    state = writer.metrics.selftest
    if writer.stream is None:
        return
    state.is_wanted = True
    is_second_try = False
    while True:
        while obstacle := _obstacle(writer):
            state.waits_for = obstacle
            await trio.sleep(_LOOK_SECONDS)
        state.waits_for = ""
        before = _circumstances(writer)
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
        if not result.is_passed and (_obstacle(writer) or _circumstances(writer) != before):
            await trio.sleep(_LOOK_SECONDS)
            continue  # the canaries were copied, or did not get through
        if not result.is_passed and state.has_passed and not is_second_try:
            is_second_try = True
            await trio.sleep(_SETTLE_SECONDS)
            continue
        is_second_try = False
        _tell(state, result)
        if result.is_passed:
            await _wait_for_next(writer, before)
        else:
            await trio.sleep(_RETRY_SECONDS)


def _tell(state: SelfTestState, result: SelfTestResult) -> None:
    is_news = not state.has_passed
    state.result = result
    if not result.is_passed:
        _log.error("self-test failed", extra={"why": result.why})
    elif is_news:
        _log.info("self-test passed", extra={"seconds": round(result.seconds, 3)})


def _circumstances(writer: DualWriter) -> tuple[int, int, bool]:
    """Return what is another one when a test may have gone wrong for it, or is out of date."""
    progress = writer.metrics.resync
    return writer.connections_made, progress.completed, progress.is_running


async def _wait_for_next(writer: DualWriter, tested: tuple[int, int, bool]) -> None:
    """Return when it is time to test again, after a test under the circumstances *tested*."""
    await trio.sleep(_SETTLE_SECONDS)
    with trio.move_on_after(_REPEAT_SECONDS - _SETTLE_SECONDS):  # noqa: ASYNC912 - one has slept already
        while _circumstances(writer)[0] == tested[0]:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(_LOOK_SECONDS)


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
