"""What a running dualkv takes in memory, before clients and per idle client."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench.targets import Target

__all__ = ["Memory", "measure_memory"]

_FILES_BESIDE_CLIENTS = 200


@attrs.frozen
class Memory:
    """Resident memory of a target."""

    target: str
    before_mib: float
    """With no client having connected yet."""
    clients: int
    per_client_kib: float
    """Added by each client that has said one PING and is idle."""


def measure_memory(target: Target, clients: int) -> Memory:
    """Connect *clients* (as far as the limit of open files allows), let each speak once, and look.

    Call it before any load: memory that load has taken would hide what clients take.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, clients + _FILES_BESIDE_CLIENTS)), hard))
    clients = min(clients, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_BESIDE_CLIENTS)
    before = _rss_bytes(target)
    with ExitStack() as connections:
        for _ in range(clients):
            sock = connections.enter_context(socket.create_connection(("127.0.0.1", target.port)))
            sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            assert sock.recv(64)
        time.sleep(0.2)
        after = _rss_bytes(target)
    return Memory(target.name, before / 2**20, clients, (after - before) / clients / 1024)


def _rss_bytes(target: Target) -> int:
    status = Path(f"/proc/{target.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
