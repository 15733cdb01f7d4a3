"""What is measured: direct Redis, HAProxy, dualkv in each mode."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from dualkv.config import ProxyMode
from dualkv.servers import EmbeddedServer, find_server_binary, free_port

__all__ = ["Target", "serving", "start_targets"]


@attrs.frozen
class Target:
    """Something that speaks Redis on a port."""

    name: str
    port: int
    pid: int | None
    """The process between load and Redis; None for direct Redis."""
    metrics_port: int | None = None


@contextmanager
def start_targets(names: list[str]) -> Iterator[list[Target]]:
    """Start the named targets, each with the same primary; stop them at the end.

    Args:
        names: ``direct``, ``haproxy``, or modes of dualkv; a mode followed by ``+journal`` keeps a journal,
            by ``+dead`` has a secondary that does not answer.
    """
    redis = shutil.which("redis-server")
    binary = Path(redis) if redis else find_server_binary()
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedServer(binary))
        secondary = stack.enter_context(EmbeddedServer(binary))
        targets = []
        for name in names:
            if name == "direct":
                targets.append(Target(name, primary.port, None))
            elif name == "haproxy":
                targets.append(stack.enter_context(_haproxy(primary)))
            else:
                targets.append(stack.enter_context(_dualkv(name, primary, secondary)))
        yield targets


_HAPROXY_CONFIG = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen redis
    bind 127.0.0.1:{port}
    server primary {address}
"""


@contextmanager
def _haproxy(primary: EmbeddedServer) -> Iterator[Target]:
    binary = shutil.which("haproxy")
    if binary is None:
        raise FileNotFoundError("haproxy is not on the PATH (Debian: apt-get install haproxy)")
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(_HAPROXY_CONFIG.format(port=port, address=primary.address))
        config.flush()
        with _process([binary, "-f", config.name, "-db"], port) as pid:
            yield Target("haproxy", port, pid)


@contextmanager
def _dualkv(name: str, primary: EmbeddedServer, secondary: EmbeddedServer) -> Iterator[Target]:
    mode, *variants = name.split("+")
    first, second = primary.address, secondary.address
    if "dead" in variants:
        second = f"127.0.0.1:{free_port()}"
    # In elastickv-* modes the backends swap roles; the primary of the measurement stays the same server.
    if ProxyMode(mode).value.startswith("elastickv"):
        first, second = second, first
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        flags = ["--journal-dir", directory] if "journal" in variants else []
        with serving(name, mode, first, second, *flags) as target:
            yield target


@contextmanager
def serving(name: str, mode: str, primary: str, secondary: str, *flags: str) -> Iterator[Target]:
    """Run ``dualkv serve`` for the block.

    Args:
        name: What the target is called.
        mode: Of dualkv.
        primary: The address of the store that is called so in its settings.
        secondary: The other's.
        flags: More options.
    """
    port, metrics_port = free_port(), free_port()
    command = [
        sys.executable, "-m", "dualkv", "serve", "--mode", mode, "--log-level", "error",
        "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics_port}", "--admin", "off",
        "--primary", primary, "--secondary", secondary, *flags,
    ]  # fmt: skip
    with _process(command, port) as pid:
        yield Target(name, port, pid, metrics_port)


@contextmanager
def _process(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        _wait_until_listening(port, process)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
                sock.sendall(b"PING\r\n")
                if sock.recv(64):
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")
