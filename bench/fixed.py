"""Load that ``redis-benchmark`` cannot make: a block of commands whose replies always take the same bytes."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from dualkv.resp.encode import command

__all__ = ["TRANSACTION", "measure_blocks", "subscriber"]

TRANSACTION = b"".join(
    [
        command("MULTI"),
        *(command("SET", f"bench:{number}", "x" * 64) for number in range(10)),
        command("EXEC"),
    ]
)
_REPLY_BYTES = len(b"+OK\r\n" + b"+QUEUED\r\n" * 10 + b"*10\r\n" + b"+OK\r\n" * 10)


def measure_blocks(port: int, clients: int, blocks: int) -> tuple[float, list[float]]:
    """Send transactions from *clients* connections, each waiting for its reply.

    Returns:
        Blocks per second, and the latency of each in seconds.
    """
    selector = selectors.DefaultSelector()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
    by_descriptor = {sock.fileno(): sock for sock in connections}
    latencies: list[float] = []
    started = time.perf_counter()
    sent = 0
    try:
        for sock in connections:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(TRANSACTION)
            sent += 1
            selector.register(sock, selectors.EVENT_READ, [_REPLY_BYTES, time.perf_counter()])
        while len(latencies) < blocks:
            for key, _ in selector.select(10):
                progress = key.data
                sock = by_descriptor[key.fd]
                progress[0] -= len(sock.recv(65536))
                if progress[0]:
                    continue
                now = time.perf_counter()
                latencies.append(now - progress[1])
                if sent < blocks:
                    progress[:] = [_REPLY_BYTES, now]
                    sock.sendall(TRANSACTION)
                    sent += 1
        return blocks / (time.perf_counter() - started), latencies
    finally:
        selector.close()
        for sock in connections:
            sock.close()


@contextmanager
def subscriber(port: int, channel: str) -> Iterator[None]:
    """Have one client subscribed, and reading, for the block."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(command("SUBSCRIBE", channel))
        sock.recv(65536)
        thread = Thread(target=_drain, args=(sock,))
        thread.start()
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()


def _drain(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass
