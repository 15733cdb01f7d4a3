"""Starts the demo, and ends it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.demo.screen import Rates, draw, line
from dualkv.demo.traffic import run_client
from dualkv.serve import ProxyServer, ServerAddresses
from dualkv.servers import EmbeddedServer, find_server_binary, server_version

__all__ = ["run_demo"]

_CLIENTS = 20
_PAUSE_SECONDS = 0.05
_REFRESH_SECONDS = 0.25
_PLAIN_REFRESH_SECONDS = 2.0


def run_demo(*, server_binary: Path | None, mode: ProxyMode, port: int, seconds: float | None) -> None:
    """Run the demo until Ctrl-C, or for *seconds*.

    Args:
        server_binary: The server to start twice; found by itself if None.
        mode: dualkv's mode.
        port: Where dualkv listens; 0 for a free port.
        seconds: How long; None for until Ctrl-C.

    Raises:
        FileNotFoundError: There is no server to start.
    """
    binary = find_server_binary(server_binary)
    console = Console()
    console.print(f"starting two servers: {server_version(binary)}")
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedServer(binary))
        secondary = stack.enter_context(EmbeddedServer(binary))
        config = ProxyConfig(
            mode=mode,
            listen=("127.0.0.1", port),
            metrics=("127.0.0.1", 0),
            admin=("127.0.0.1", 0),
            primary=primary.address,
            primary_name="primary",
            secondary=secondary.address,
            secondary_name="secondary",
        )
        server = ProxyServer(config)
        rates = Rates()
        trio.run(_run, server, rates, console, seconds)
        # Everything has been drained: the last line tells where all of it went.
        console.print(f"ended: {line(server.writer, rates)}", soft_wrap=True)


async def _run(server: ProxyServer, rates: Rates, console: Console, seconds: float | None) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(server.listen_and_serve)
            async with trio.open_nursery() as playing:
                playing.start_soon(_cancel_on_signal, signals, playing.cancel_scope)
                if seconds is not None:
                    playing.cancel_scope.deadline = trio.current_time() + seconds
                for _ in range(_CLIENTS):
                    playing.start_soon(run_client, addresses.clients[1], _PAUSE_SECONDS)
                await _show(server, addresses, rates, console)
            server.stop()


async def _show(server: ProxyServer, addresses: ServerAddresses, rates: Rates, console: Console) -> None:
    """Draw the screen again and again, or print a line now and then if there is no terminal."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(draw(server.writer, addresses, rates), refresh=True)
                await trio.sleep(_REFRESH_SECONDS)
    http = f"http://127.0.0.1:{addresses.http[1]}/metrics" if addresses.http else ""
    console.print(f"connect: redis-cli -p {addresses.clients[1]}   metrics: {http}", soft_wrap=True)
    line(server.writer, rates)  # from here on rates are measured
    while True:
        await trio.sleep(_PLAIN_REFRESH_SECONDS)
        console.print(line(server.writer, rates), soft_wrap=True)


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel("signal")
