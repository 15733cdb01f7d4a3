"""The composition root: builds everything, owns the nurseries, the signals and the drain.

Shutdown, in order: not ready → lame duck → no new clients → clients get their replies and are closed →
what has to be copied is copied → the secondary stream is drained → Sentry is flushed. Each wait has a
deadline; a second signal skips them all.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import attrs
import trio

from dualkv.admin.http import build_app, serve_http
from dualkv.config import ProxyConfig
from dualkv.errors import ConfigError
from dualkv.net.listener import accept_clients, open_listeners
from dualkv.net.selftest_runs import keep_testing
from dualkv.net.session import ClientSession
from dualkv.net.start_check import refuse_one_server
from dualkv.net.writer import DualWriter
from dualkv.observe.bar import ResyncBar
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter
from dualkv.resp.encode import TOO_MANY_CLIENTS

__all__ = ["ProxyServer", "ServerAddresses", "run_server"]

_SENTRY_FLUSH_SECONDS = 2.0
_BAR_SECONDS = 0.5
_INIT = 1
"""The id of the first process in a container."""

_log = logging.getLogger("dualkv.server")


@attrs.frozen
class ServerAddresses:
    """Where a running server listens."""

    clients: tuple[str, int]
    http: tuple[str, int] | None


class ProxyServer:
    """dualkv as a server: clients on one port, HTTP on another.

    Args:
        config: The settings.
        sentry: Where to report; from the settings if None.
    """

    def __init__(self, config: ProxyConfig, sentry: SentryReporter | None = None) -> None:
        self.config = config
        self.metrics = ProxyMetrics(config.primary_name, config.secondary_name)
        self.sentry = sentry or SentryReporter.start(
            config.sentry_dsn,
            time.monotonic,
            environment=config.sentry_env,
            sample_rate=config.sentry_sample,
        )
        self.writer = DualWriter(config, self.metrics, self.sentry)
        self._listeners: list[socket.socket] = []
        self._http_listeners: list[socket.socket] = []
        self._sessions: set[ClientSession] = set()
        self._next_client_id = 1
        self._stopping = trio.Event()
        self._is_hurried = False
        self._skippable: list[trio.CancelScope] = []

    @property
    def is_draining(self) -> bool:
        """Whether it is shutting down."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin the orderly shutdown; the second call skips its waits."""
        if self._stopping.is_set():
            self._is_hurried = True
            for scope in self._skippable:
                scope.cancel("stopped twice")
            self.writer.close(drain_seconds=0)
        self._stopping.set()

    def _make_skippable(self, scope: trio.CancelScope) -> trio.CancelScope:
        """Let a second `stop` cancel *scope*."""
        self._skippable.append(scope)
        if self._is_hurried:
            scope.cancel("stopped twice")
        return scope

    async def listen(self) -> None:
        """Open the ports, if that has not been done; `listen_and_serve` closes them.

        Raises:
            ConfigError: An address cannot be listened on, a file or directory not be used, or both stores are
                one server.
        """
        if not self._listeners:
            await refuse_one_server(self.config)
            self.writer.findings.open_log()
            self.writer.open_journal()
            self._listeners = await open_listeners(*self.config.listen)
        if not self._http_listeners and self.config.metrics is not None:
            try:
                self._http_listeners = await open_listeners(*self.config.metrics)
            except ConfigError:
                for listener in self._listeners:
                    listener.close()
                raise

    async def listen_and_serve(  # noqa: ASYNC128 - `_serve_clients` calls started()
        self, *, task_status: trio.TaskStatus[ServerAddresses] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stop` has been called and the shutdown is over.

        ``started()`` gets the addresses once clients can connect. Backends need not be reachable.

        Raises:
            ConfigError: An address cannot be listened on.
        """
        await self.listen()
        listeners, http_listeners = self._listeners, self._http_listeners
        try:
            addresses = ServerAddresses(
                _address(listeners), _address(http_listeners) if http_listeners else None
            )
            async with trio.open_nursery() as services:
                services.start_soon(self._show_resync)
                if http_listeners:
                    app = build_app(self.writer, lambda: self.is_draining)
                    await services.start(serve_http, app, http_listeners)
                async with trio.open_nursery() as engine:
                    await engine.start(self.writer.run)
                    await self._serve_clients(listeners, addresses, task_status)
                    with self._make_skippable(trio.move_on_after(self.config.drain_seconds)):
                        await self.writer.wait_copied()
                    self.writer.close(0 if self._is_hurried else self.config.drain_seconds)
                services.cancel_scope.cancel("stopped")
        finally:
            for listener in listeners + http_listeners:
                listener.close()
            with trio.move_on_after(_SENTRY_FLUSH_SECONDS, shield=True):
                await trio.to_thread.run_sync(
                    self.sentry.close, _SENTRY_FLUSH_SECONDS, abandon_on_cancel=True
                )
        ledger = self.metrics.total_ledger()
        left = {"dirty_keys": len(self.writer.dirty), "resync_required": self.writer.dirty.needs_resync}
        _log.info("stopped", extra={"ledger": attrs.asdict(ledger), **left})

    async def _show_resync(self) -> None:
        """Show a bar while a resync runs, where somebody sees it."""
        bar = ResyncBar(self.metrics.resync, self.writer.clock)
        try:
            while bar.is_wanted:
                bar.update()
                await trio.sleep(_BAR_SECONDS)
        finally:
            bar.close()

    async def _serve_clients(
        self,
        listeners: list[socket.socket],
        addresses: ServerAddresses,
        task_status: trio.TaskStatus[ServerAddresses],
    ) -> None:
        """Accept and serve clients; return when all are gone after `stop`."""
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as accepting:

                def start(sock: socket.socket) -> None:
                    self._start_session(sock, sessions)

                if self.config.selftest == "auto":
                    accepting.start_soon(keep_testing, self.writer)
                for listener in listeners:
                    accepting.start_soon(accept_clients, listener, start)
                task_status.started(addresses)
                _log.info("serving", extra={"mode": self.config.mode.value, **attrs.asdict(addresses)})
                await self._stopping.wait()
                _log.info("stopping")
                with self._make_skippable(trio.CancelScope()):
                    await trio.sleep(self.config.lame_duck_seconds)
                accepting.cancel_scope.cancel("stop accepting")
            for listener in listeners:
                listener.close()
            for session in self._sessions:
                session.drain()
            sessions.cancel_scope.deadline = trio.current_time() + self.config.drain_seconds
            self._make_skippable(sessions.cancel_scope)

    def _start_session(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        if len(self._sessions) >= self.config.max_clients:
            self.metrics.refused_connections += 1
            with sock:
                sock.send(TOO_MANY_CLIENTS)  # a new socket has room for it
            return
        session = ClientSession(sock, self.writer, self._next_client_id)
        self._next_client_id += 1
        nursery.start_soon(self._serve_client, session)

    async def _serve_client(self, session: ClientSession) -> None:
        """Run one client; no error but cancellation leaves this boundary."""
        self._sessions.add(session)
        self.metrics.active_connections += 1
        try:
            await session.run()
        except OSError:
            pass  # the client is gone: not our error
        except Exception as error:  # noqa: BLE001 - the boundary of a session
            _log.exception("session failed", extra={"client": session.state.client_id})
            self.sentry.capture_exception(error, "session")
        finally:
            self.metrics.active_connections -= 1
            self._sessions.discard(session)


def _address(listeners: list[socket.socket]) -> tuple[str, int]:
    host, port = listeners[0].getsockname()[:2]
    return host, port


async def run_server(server: ProxyServer) -> None:
    """Serve until SIGTERM or SIGINT; a second one skips the waits of the shutdown.

    Raises:
        ConfigError: An address cannot be listened on.
    """
    if os.getpid() == _INIT:
        _bury_orphans()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2) as signals:
        await server.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, server, signals)
            await server.listen_and_serve()
            nursery.cancel_scope.cancel("stopped")


def _bury_orphans() -> None:
    """Let nobody stay a zombie who became our child when its parent ended, as happens to the first process.

    There are no other children: nothing here waits for one.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel does it from now on
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # it had ended before


async def _stop_on_signal(server: ProxyServer, signals: AsyncIterator[int]) -> None:
    async for number in signals:
        _log.info("signal", extra={"signal": signal.Signals(number).name})
        if number != signal.SIGUSR2:
            server.stop()
        elif server.writer.resync is not None:
            server.writer.resync.request("SIGUSR2")
