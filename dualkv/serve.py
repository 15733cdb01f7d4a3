"""The composition root: builds everything, owns the nurseries, the signals and the drain.

Shutdown, in order: not ready → lame duck → no new clients → clients get their replies and are closed →
what has to be copied is copied → the secondary stream is drained → Sentry is flushed. Each wait has a
deadline; a second signal skips them all.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress

import attrs
import trio
from starlette.types import ASGIApp

from dualkv.admin.admin_app import build_admin_app
from dualkv.admin.http import build_app
from dualkv.admin.sampler import Sampler
from dualkv.admin.serving import serve_http
from dualkv.config import ProxyConfig
from dualkv.config.admin import AdminToken
from dualkv.errors import ConfigError
from dualkv.net.admission import Admission, Admitted
from dualkv.net.control import Control
from dualkv.net.hub import ReadinessHub
from dualkv.net.idle import disconnect_idle
from dualkv.net.listener import accept_clients, close_listener, listen_at, open_listeners
from dualkv.net.session import ClientSession
from dualkv.net.start_check import check_tls_files, refuse_one_server
from dualkv.net.tls import forget_client_contexts, http_context
from dualkv.net.writer import DualWriter
from dualkv.observe.bar import ResyncBar
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter
from dualkv.resp.encode import TOO_MANY_CLIENTS
from dualkv.succession import Succession

__all__ = ["ProxyServer", "ServerAddresses", "run_server", "tame_garbage_collector"]

_SENTRY_FLUSH_SECONDS = 2.0
_BAR_SECONDS = 0.5
_INIT = 1
"""The id of the first process in a container."""

_log = logging.getLogger("dualkv.server")


@attrs.frozen
class ServerAddresses:
    """Where a running server listens."""

    clients: tuple[str, int]
    """Host and port; of a Unix socket its path and 0."""
    http: tuple[str, int] | None
    """Metrics, health, findings."""
    admin: tuple[str, int] | None = None
    """Control."""


class ProxyServer:
    """dualkv as a server: clients on one port, HTTP on another, control over HTTP on a third.

    Args:
        config: The settings.
        sentry: Where to report; from the settings if None.
        client_listeners: Listening sockets for clients that somebody has opened; closed here.
    """

    def __init__(
        self,
        config: ProxyConfig,
        sentry: SentryReporter | None = None,
        client_listeners: Sequence[socket.socket] = (),
    ) -> None:
        self.metrics = ProxyMetrics(config.primary_name, config.secondary_name)
        self.sentry = sentry or SentryReporter.start(
            config.sentry_dsn,
            time.monotonic,
            environment=config.sentry_env,
            sample_rate=config.sentry_sample,
        )
        self.hub = ReadinessHub()
        self._sessions: set[ClientSession] = set()
        self.modes = Succession(config, self.metrics, self.sentry, self.hub, lambda: self._sessions)
        """Who serves, and how the mode changes."""
        self.sampler = Sampler(lambda: self.writer, lambda: self.is_draining, lambda: self.modes.since)
        self.control = Control(self.modes, lambda: self.is_draining, self.stop)
        self.metrics.tell_status = self.sampler.status
        self.metrics.count_tasks = lambda: trio.lowlevel.current_statistics().tasks_living
        self._admission: Admission | None = None
        self._waiting = 0
        """Connections that may become clients."""
        self._given_listeners = list(client_listeners)
        self._listeners: list[socket.socket] = []
        self._http_listeners: list[socket.socket] = []
        self._admin_listeners: list[socket.socket] = []
        self._next_client_id = 1
        self._stopping = trio.Event()
        self._is_hurried = False
        self._skippable: list[trio.CancelScope] = []

    @property
    def writer(self) -> DualWriter:
        """Who serves now; a change of the mode replaces it."""
        return self.modes.writer

    @property
    def config(self) -> ProxyConfig:
        """The settings, with the mode of now."""
        return self.writer.config

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
            check_tls_files(self.config)
            self._admission = Admission(self.config, self.metrics)
            await refuse_one_server(self.config)
            self.writer.findings.open_log()
            self.writer.open_journal()
            self._listeners = self._given_listeners or await listen_at(self.config.listen)
            try:
                if self.config.metrics is not None:
                    self._http_listeners = await open_listeners(*self.config.metrics)
                if self.config.admin is not None:
                    self._admin_listeners = await open_listeners(*self.config.admin)
            except ConfigError:
                self._close_listeners()
                raise

    def _close_listeners(self) -> None:
        for listener in self._listeners + self._http_listeners + self._admin_listeners:
            close_listener(listener)

    def reload_tls(self) -> None:
        """Read the files of certificates again; who is connected is not touched."""
        forget_client_contexts()
        if self._admission is not None and self._admission.tls is not None:
            self._admission.tls.reload()

    def _http_tls(self, wanted: str) -> ssl.SSLContext | None:
        return http_context(self._admission.tls if self._admission is not None else None, wanted)

    async def listen_and_serve(  # noqa: ASYNC128 - `_serve_clients` calls started()
        self, *, task_status: trio.TaskStatus[ServerAddresses] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stop` has been called and the shutdown is over.

        ``started()`` gets the addresses once clients can connect. Backends need not be reachable.

        Raises:
            ConfigError: An address cannot be listened on.
        """
        await self.listen()
        try:
            addresses = ServerAddresses(
                _address(self._listeners),
                _address(self._http_listeners) if self._http_listeners else None,
                _address(self._admin_listeners) if self._admin_listeners else None,
            )
            async with trio.open_nursery() as services:
                services.start_soon(self._show_resync)
                services.start_soon(self.sampler.run)
                await self._start_http(services)
                await services.start(self.hub.run)
                async with trio.open_nursery() as engine:
                    await self.modes.begin(engine)
                    await self._serve_clients(addresses, task_status)
                    await self.modes.end()
                    with self._make_skippable(trio.move_on_after(self.config.drain_seconds)):
                        await self.writer.wait_copied()
                    self.writer.close(0 if self._is_hurried else self.config.drain_seconds)
                services.cancel_scope.cancel("stopped")
        finally:
            self.hub.close()
            self._close_listeners()
            with trio.move_on_after(_SENTRY_FLUSH_SECONDS, shield=True):
                await trio.to_thread.run_sync(
                    self.sentry.close, _SENTRY_FLUSH_SECONDS, abandon_on_cancel=True
                )
        ledger = self.metrics.total_ledger()
        left = {"dirty_keys": len(self.writer.dirty), "resync_required": self.writer.dirty.needs_resync}
        _log.info("stopped", extra={"ledger": attrs.asdict(ledger), **left})

    def public_app(self) -> ASGIApp:
        """Return what answers at the metrics address."""
        return build_app(lambda: self.writer, lambda: self.is_draining, self.sampler)

    def admin_app(self, tokens: Collection[AdminToken]) -> ASGIApp:
        """Return what answers at the admin address.

        Args:
            tokens: Any of these lets in; empty: nothing is asked for.
        """
        return build_admin_app(self.control, self.sampler, tokens)

    async def _start_http(self, services: trio.Nursery) -> None:
        """Serve HTTP at the addresses where that is wanted."""
        config, seconds = self.config, self.config.tls_handshake_timeout_seconds
        if self._http_listeners:
            tls = self._http_tls(config.metrics_tls)
            await services.start(serve_http, self.public_app(), self._http_listeners, tls, seconds)
        if self._admin_listeners:
            tls, admin = self._http_tls(config.admin_tls), self.admin_app(config.admin_token)
            await services.start(serve_http, admin, self._admin_listeners, tls, seconds)

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
        addresses: ServerAddresses,
        task_status: trio.TaskStatus[ServerAddresses],
    ) -> None:
        """Accept and serve clients; return when all are gone after `stop`."""
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as accepting:

                def start(sock: socket.socket) -> None:
                    self._start_session(sock, accepting, sessions)

                if self.config.selftest == "auto":
                    accepting.start_soon(self.modes.keep_testing)
                if timeout := self.config.client_idle_timeout_seconds:
                    accepting.start_soon(disconnect_idle, lambda: self._sessions, timeout, time.monotonic)
                config = self.config
                for listener in self._listeners:
                    accepting.start_soon(
                        accept_clients,
                        listener,
                        start,
                        config.tcp_keepalive_seconds,
                        config.tcp_user_timeout_seconds,
                    )
                task_status.started(addresses)
                _log.info("serving", extra={"mode": self.config.mode.value, **attrs.asdict(addresses)})
                await self._stopping.wait()
                _log.info("stopping")
                with self._make_skippable(trio.CancelScope()):
                    await trio.sleep(self.config.lame_duck_seconds)
                accepting.cancel_scope.cancel("stop accepting")
            for listener in self._listeners:
                close_listener(listener)
            for session in self._sessions:
                session.drain()
            sessions.cancel_scope.deadline = trio.current_time() + self.config.drain_seconds
            self._make_skippable(sessions.cancel_scope)

    def _start_session(self, sock: socket.socket, accepting: trio.Nursery, sessions: trio.Nursery) -> None:
        """Let a connection become a client in *sessions*, by way of *accepting* if that takes time."""
        admission = self._admission
        assert admission is not None
        if len(self._sessions) + self._waiting >= self.config.max_clients:
            self.metrics.refused_connections += 1
            with sock, contextlib.suppress(OSError):
                if admission.tls is None:  # else nobody would understand it, as with Redis
                    sock.send(TOO_MANY_CLIENTS)  # a new socket has room for it
        elif not admission.is_immediate:
            self._waiting += 1
            accepting.start_soon(self._admit_client, admission, sock, sessions)
        elif admitted := admission.admit_nowait(sock):
            self._begin_session(admitted, sessions)

    async def _admit_client(self, admission: Admission, sock: socket.socket, sessions: trio.Nursery) -> None:
        """Let one connection become a client, if it does what it must."""
        try:
            admitted = await admission.admit(sock)
        finally:
            self._waiting -= 1
        if admitted is not None:
            self._begin_session(admitted, sessions)

    def _begin_session(self, admitted: Admitted, sessions: trio.Nursery) -> None:
        session = ClientSession(admitted.sock, self.writer, self._next_client_id, admitted.address)
        self._next_client_id += 1
        self._sessions.add(session)
        if self.modes.is_pausing:
            session.pause()
        sessions.start_soon(self._serve_client, session)

    async def _serve_client(self, session: ClientSession) -> None:
        """Run one client; no error but cancellation leaves this boundary."""
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
    name = listeners[0].getsockname()
    return (name, 0) if isinstance(name, str) else (name[0], name[1])


def tame_garbage_collector() -> None:
    """Collect rarely: what a command allocates is freed by its reference counts.

    At the default threshold the collector walks over requests that are about to be freed anyway, which costs
    a sixth of the CPU time under load.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


async def run_server(server: ProxyServer) -> None:
    """Serve until SIGTERM or SIGINT; a second one skips the waits of the shutdown.

    SIGHUP reads certificates again, SIGUSR2 asks for a resync.

    Raises:
        ConfigError: An address cannot be listened on.
    """
    if os.getpid() == _INIT:
        _bury_orphans()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP) as signals:
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
        if number == signal.SIGHUP:
            server.reload_tls()
        elif number != signal.SIGUSR2:
            server.stop()
        elif server.writer.mirroring is not None:
            server.writer.mirroring.resync.request("SIGUSR2")
