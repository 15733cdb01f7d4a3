"""Two dualkv of their own behind HAProxy with the example configuration, and clients that reconnect."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import attrs
import trio

from dualkv.resp.encode import command
from tests.deploy.programs import find_program
from tests.support.client import connect
from tests.support.servers import Pair

__all__ = ["DEPLOY", "Counting", "Instance", "fetch", "haproxy_before", "is_ready", "quiet_port"]

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
_PATIENCE_SECONDS = 30


def quiet_port() -> int:
    """Return a free port that no outgoing connection takes while its owner restarts."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(min(10_000, first_ephemeral // 2), first_ephemeral)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body of a page of this machine.

    Raises:
        OSError: Nobody is there.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_ready(http_port: int) -> bool:
    """Whether ``/readyz`` of a dualkv says 200."""
    try:
        return fetch(http_port, "/readyz")[0] == HTTPStatus.OK
    except OSError:
        return False


@attrs.define
class Instance:
    """One dualkv as a process, that can be restarted on its ports with its journal."""

    pair: Pair
    journal: Path
    port: int = attrs.field(factory=quiet_port)
    http_port: int = attrs.field(factory=quiet_port)
    _popen: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        self._popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
            [
                sys.executable, "-m", "dualkv", "serve", "--mode", "dual-write", "--selftest", "off",
                "--listen", f"127.0.0.1:{self.port}", "--metrics", f"127.0.0.1:{self.http_port}",
                "--admin", "off",
                "--primary", self.pair.primary.address, "--secondary", self.pair.secondary.address,
                "--journal-dir", str(self.journal), "--lame-duck", "1s",
            ],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        with trio.fail_after(_PATIENCE_SECONDS):
            while not await trio.to_thread.run_sync(is_ready, self.http_port):
                assert self._popen.poll() is None
                await trio.sleep(0.05)

    async def end(self) -> tuple[int, dict[str, object]]:
        """End it in the orderly way; return its exit code and its last words."""
        popen = self._popen
        assert popen is not None
        popen.send_signal(signal.SIGTERM)
        output, _ = await trio.to_thread.run_sync(lambda: popen.communicate(timeout=_PATIENCE_SECONDS))
        return popen.returncode, json.loads(output.splitlines()[-1])

    def kill(self) -> None:
        """Leave nothing behind."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.communicate()


@asynccontextmanager
async def haproxy_before(one: Instance, two: Instance) -> AsyncIterator[int]:
    """Run HAProxy before both, as the example says; yield the port for clients once it lets them through."""
    binary = find_program("haproxy")
    assert binary is not None, "Debian has it as a package: haproxy"
    front = quiet_port()
    addresses = {
        "DUALKV_FRONT": f"127.0.0.1:{front}",
        "DUALKV_ONE": f"127.0.0.1:{one.port}",
        "DUALKV_ONE_HTTP": str(one.http_port),
        "DUALKV_TWO": f"127.0.0.1:{two.port}",
        "DUALKV_TWO_HTTP": str(two.http_port),
    }
    popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
        [binary, "-q", "-f", DEPLOY / "haproxy" / "haproxy.cfg"], env=os.environ | addresses
    )
    try:
        with trio.fail_after(_PATIENCE_SECONDS):
            while True:
                assert popen.poll() is None
                try:
                    async with connect(front) as client:
                        await client.call("PING")
                        break
                except (OSError, AssertionError):
                    await trio.sleep(0.05)
        yield front
    finally:
        popen.kill()
        popen.wait()


@attrs.define
class Counting:
    """A client that counts up, and what it has seen."""

    key: str
    batch: int
    """Increments that are sent in one piece."""
    count: int = 0
    """What the last answer said."""
    connections: int = 0
    is_over: bool = False
    """Whether it should stop, after the answers to what it has sent."""
    errors: Counter[bytes] = attrs.field(factory=Counter)
    """Error replies, wrong counts, and connections that were no good from the start."""

    async def run(self, port: int) -> None:
        """Count until told to stop; connect again whenever disconnected.

        What was not answered was not executed, so it is asked again, and no number may be left out.
        """
        while not self.is_over:
            answered = 0
            try:
                async with connect(port) as connection:
                    self.connections += 1
                    while not self.is_over:
                        await connection.send(self.batch * command("INCR", self.key))
                        for _ in range(self.batch):
                            (reply,) = await connection.receive(1)
                            answered += 1
                            self._note(reply)
            except (AssertionError, OSError, trio.BrokenResourceError) as error:
                if not answered:
                    self.errors[repr(error).encode()] += 1
                    await trio.sleep(0.05)

    def _note(self, reply: bytes) -> None:
        self.count += 1
        if reply != b":%d\r\n" % self.count:
            self.errors[reply] += 1
