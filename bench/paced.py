"""Load at a given rate, which ``redis-benchmark`` cannot make: it sends as fast as it is answered."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

__all__ = ["measure_paced"]

_OK = b"+OK\r\n"


def measure_paced(port: int, clients: int, requests: Sequence[bytes], per_second: float) -> list[float]:
    """Send each of *requests* when its time has come, whether the one before has been answered or not.

    Args:
        port: On loopback.
        clients: From how many connections, in turn.
        requests: Encoded; each is answered with ``OK``.
        per_second: Of all connections.

    Returns:
        Seconds from the time at which each should have left until its reply, sorted.
    """
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(clients)
        ]
        waiting: dict[int, deque[float]] = {sock.fileno(): deque() for sock in connections}
        unfinished = dict.fromkeys(waiting, b"")
        for sock in connections:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ)
        began, sent = time.perf_counter(), 0
        while len(latencies) < len(requests):
            now = time.perf_counter()
            while sent < len(requests) and (due := began + sent / per_second) <= now:
                sock = connections[sent % clients]
                waiting[sock.fileno()].append(due)
                sock.sendall(requests[sent])
                sent += 1
            next_due = began + sent / per_second if sent < len(requests) else now + 1
            for key, _ in selector.select(max(0.0, next_due - time.perf_counter())):
                received = key.fileobj.recv(65536)  # type: ignore[union-attr] # a socket
                now = time.perf_counter()
                replies = unfinished[key.fd] + received
                count = len(replies) // len(_OK)
                unfinished[key.fd] = replies[count * len(_OK) :]
                if not received or not replies.startswith(_OK * count):
                    raise ConnectionError(f"answered {replies!r}")
                due_times = waiting[key.fd]
                latencies += [now - due_times.popleft() for _ in range(count)]
    return sorted(latencies)
