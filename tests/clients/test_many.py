"""Thousands of clients: blocked, and subscribed."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from dualkv.resp.encode import bulk, command
from tests.clients.stage import stage
from tests.support.client import connect
from tests.support.process import serving
from tests.support.proxy import wait_until
from tests.support.servers import Pair

BLOCKED = 1000
SUBSCRIBERS = 10_000
MESSAGES = 100
SPARE_DESCRIPTORS = 500
MAX_KIB_EACH = 20


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """As many open files as the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_thousand_blocked_clients_get_an_element_each(pair: Pair) -> None:
    """Each client that waits on BLPOP gets exactly one element, and each element goes to exactly one."""
    received: Counter[bytes] = Counter()

    async def take(port: int) -> None:
        async with connect(port) as client:
            received[await client.call("BLPOP", "queue", 0)] += 1

    async with stage(pair, primary_pool_size=BLOCKED + 50) as proxy, trio.open_nursery() as nursery:
        for _ in range(BLOCKED):
            nursery.start_soon(take, proxy.port)
        clients = proxy.server.writer.clients
        await wait_until(lambda: sum(one.state.is_blocked for one in clients.values()) == BLOCKED)
        async with connect(proxy.port) as giving:
            for number in range(BLOCKED):
                await giving.call("RPUSH", "queue", f"element {number}")

    elements = (b"*2\r\n$5\r\nqueue\r\n" + bulk(f"element {number}") for number in range(BLOCKED))
    assert received == Counter(elements)


class Subscribers:
    """Sockets that read, and count bytes."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._by_descriptor: dict[int, socket.socket] = {}
        with ExitStack() as stack:
            stack.callback(self.close)
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", port))
                self._sockets.append(sock)
                self._by_descriptor[sock.fileno()] = sock
                sock.sendall(command("SUBSCRIBE", "news"))
                self._selector.register(sock, selectors.EVENT_READ)
            stack.pop_all()

    def read(self, wanted: int, seconds: float) -> int:
        """Read until *wanted* bytes have come, or the time is over; return how many came."""
        received = 0
        deadline = time.monotonic() + seconds
        while received < wanted and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                data = self._by_descriptor[key.fd].recv(65536)
                assert data, "a subscriber was disconnected"
                received += len(data)
        return received

    def close(self) -> None:
        """Close all."""
        self._selector.close()
        for sock in self._sockets:
            sock.close()


@contextmanager
def subscribers(port: int, count: int) -> Iterator[Subscribers]:
    """Have *count* clients subscribed for the block."""
    found = Subscribers(port, count)
    try:
        confirmation = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
        assert found.read(len(confirmation) * count, 60) == len(confirmation) * count
        yield found
    finally:
        found.close()


def resident_kib(pid: int) -> int:
    """Return the memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def test_ten_thousand_subscribers_get_every_message(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    """All messages reach all subscribers, over one connection to the primary, at 20 KiB each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(SUBSCRIBERS, limit - SPARE_DESCRIPTORS)
    async with serving(pair, "--max-clients", str(count + 100)) as process:
        before = resident_kib(process.popen.pid)

        def publish_and_count() -> tuple[int, float]:
            with (
                subscribers(process.port, count) as reading,
                socket.create_connection(("127.0.0.1", process.port)) as sock,
            ):
                message = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n" + bulk("x" * 64)
                started = time.monotonic()
                received = 0
                for _ in range(MESSAGES):
                    sock.sendall(command("PUBLISH", "news", "x" * 64))
                    received += reading.read(len(message) * count, 30)
                    assert sock.recv(100) == b":%d\r\n" % count
                assert received == len(message) * count * MESSAGES
                return resident_kib(process.popen.pid), time.monotonic() - started

        after, seconds = await trio.to_thread.run_sync(publish_and_count)
    each = (after - before) / count
    with capsys.disabled():
        print(
            f"\n{count:,} subscribers: {before / 1024:.0f} MiB before, {after / 1024:.0f} MiB after, "
            f"{each:.1f} KiB each; {MESSAGES} messages to all in {seconds:.1f} s"
        )
    assert each < MAX_KIB_EACH
