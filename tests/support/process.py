"""dualkv as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from dualkv.servers import free_port
from tests.support.client import connect
from tests.support.servers import Pair

__all__ = ["Process", "serving"]

_PATIENCE_SECONDS = 30


@attrs.frozen
class Process:
    """``dualkv serve`` as its own process."""

    popen: subprocess.Popen[bytes]
    port: int
    http_port: int
    admin_port: int

    async def wait(self) -> tuple[int, list[dict[str, object]]]:
        """Return its exit code and what it logged."""
        output, _ = await trio.to_thread.run_sync(lambda: self.popen.communicate(timeout=_PATIENCE_SECONDS))
        return self.popen.returncode, [json.loads(line) for line in output.splitlines()]


@asynccontextmanager
async def serving(
    pair: Pair, *flags: str, program: Sequence[str] = (sys.executable, "-m", "dualkv")
) -> AsyncIterator[Process]:
    """Run ``dualkv serve`` between the two stores; kill it if it is still there at the end."""
    port, http_port, admin_port = free_port(), free_port(), free_port()
    popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
        [
            *program, "serve", "--mode", "dual-write",
            "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{http_port}",
            "--admin", f"127.0.0.1:{admin_port}", "--selftest", "off",
            "--primary", pair.primary.address, "--secondary", pair.secondary.address, *flags,
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    process = Process(popen, port, http_port, admin_port)
    try:
        await _wait_serving(process)
        yield process
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()


async def _wait_serving(process: Process) -> None:
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            assert process.popen.poll() is None
            try:
                async with connect(process.port) as client:
                    await client.call("PING")
                    return
            except OSError:
                await trio.sleep(0.02)
