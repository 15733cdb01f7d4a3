"""The composition root: builds everything, owns the nurseries, the signals and the drain.

Shutdown, in order: not ready → lame duck → no new clients → clients get their replies and are closed →
what has to be copied is copied → the secondary stream is drained → Sentry is flushed. Each wait has a
deadline; a second signal skips them all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import attrs
import trio

from dualkv.admin.admin_app import build_admin_app
from dualkv.admin.findings import readiness_of
from dualkv.admin.http import build_app, serve_http
from dualkv.admin.sampler import Sampler
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.gate import GateState
from dualkv.core.mode_change import ChangeFacts, ModeChange, ModeStep
from dualkv.errors import ConfigError, ModeChangeRefused
from dualkv.net.admission import Admission, Admitted
from dualkv.net.hub import ReadinessHub
from dualkv.net.idle import disconnect_idle
from dualkv.net.listener import accept_clients, close_listener, listen_at, open_listeners
from dualkv.net.selftest_runs import keep_testing
from dualkv.net.session import ClientSession
from dualkv.net.start_check import check_tls_files, refuse_one_server
from dualkv.net.takeover import Takeover
from dualkv.net.tls import forget_client_contexts, http_context
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
        self.hub = ReadinessHub()
        self.writer = DualWriter(config, self.metrics, self.sentry, hub=self.hub)
        """Who serves now; a change of the mode replaces it."""
        self.mode_since = time.time()
        """Since when the mode is what it is, as Unix time."""
        self._engine: trio.Nursery | None = None
        self._mode_lock = trio.Lock()
        self._takeover: Takeover | None = None
        self._testing = trio.CancelScope()
        self.sampler = Sampler(lambda: self.writer, lambda: self.is_draining, lambda: self.mode_since)
        self.metrics.tell_status = self.sampler.status
        self._admission: Admission | None = None
        self._waiting = 0
        """Connections that may become clients."""
        self._listeners: list[socket.socket] = []
        self._http_listeners: list[socket.socket] = []
        self._admin_listeners: list[socket.socket] = []
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
            check_tls_files(self.config)
            self._admission = Admission(self.config, self.metrics)
            await refuse_one_server(self.config)
            self.writer.findings.open_log()
            self.writer.open_journal()
            self._listeners = await listen_at(self.config.listen)
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
        """Return how HTTP speaks TLS, as a setting wants it: ``off``, ``on``, ``mutual``."""
        if wanted == "off" or self._admission is None or self._admission.tls is None:
            return None
        return http_context(self._admission.tls, is_mutual=wanted == "mutual")

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
                async with trio.open_nursery() as self._engine:
                    await self._engine.start(self.writer.run)
                    await self._serve_clients(addresses, task_status)
                    async with self._mode_lock:  # whoever is about to take over has done so, or not
                        pass
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

    async def _start_http(self, services: trio.Nursery) -> None:
        """Serve HTTP at the addresses where that is wanted."""
        config, seconds = self.config, self.config.tls_handshake_timeout_seconds
        if self._http_listeners:
            app = build_app(lambda: self.writer, lambda: self.is_draining, self.sampler)
            tls = self._http_tls(config.metrics_tls)
            await services.start(serve_http, app, self._http_listeners, tls, seconds)
        if self._admin_listeners:
            admin = build_admin_app(lambda: self.writer, self.sampler, config.admin_token)
            tls = self._http_tls(config.admin_tls)
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
                    accepting.start_soon(self._keep_testing)
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

    async def _keep_testing(self) -> None:
        """Test whoever serves, anew after each change of the mode."""
        while True:
            with trio.CancelScope() as self._testing:
                await keep_testing(self.writer)
                await trio.sleep_forever()
            async with self._mode_lock:
                pass

    # --- the mode

    async def change_mode(
        self,
        mode: ProxyMode,
        *,
        force: bool = False,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 2.0,
    ) -> ModeChange:
        """Let clients be served in another mode; nothing is lost, and they see at most a pause.

        Args:
            mode: Which.
            force: Do it although the other store has not proved itself.
            accept_loss: Do it although writes will be lost, too: after a disaster.
            dry_run: Only say what it would do.
            wait_seconds: How long clients' commands may wait while what is under way ends.

        Returns:
            What was done, and what the operator should know of it.

        Raises:
            ModeChangeRefused: It would lose something, or makes no sense; all is as before.
        """
        async with self._mode_lock:
            step = ModeStep(self.config.mode, mode)
            facts = self._change_facts(step)
            if (refusal := self._refusal(step)) is not None:
                raise ModeChangeRefused(refusal)
            losses, doubts = step.losses(facts), step.doubts(facts)
            speaks_against = (*(() if accept_loss else losses), *(() if force or accept_loss else doubts))
            if speaks_against:
                raise ModeChangeRefused("; ".join(speaks_against))
            change = ModeChange(
                step.before, mode, notes=losses + doubts + step.consequences(facts), is_done=False
            )
            if dry_run:
                return change
            self._testing.cancel("the mode changes")
            try:
                waited_seconds = await self._take_over(mode, wait_seconds, accepts_loss=accept_loss)
            except ModeChangeRefused as refused:
                _log.warning("mode not changed", extra={"mode": mode.value, "why": str(refused)})
                raise
        _log.warning(
            "mode changed",
            extra={
                "before": step.before.value, "after": mode.value, "waited_seconds": round(waited_seconds, 4),
                "notes": change.notes,
            },
        )  # fmt: skip
        return attrs.evolve(change, waited_seconds=waited_seconds, is_done=True)

    def _refusal(self, step: ModeStep) -> str | None:
        """Return why there can be no change now, whatever the operator accepts."""
        if step.before is step.after:
            return f"the mode is {step.after.value} already"
        if self._engine is None:
            return "dualkv is starting"
        return "dualkv is shutting down" if self.is_draining else None

    def _change_facts(self, step: ModeStep) -> ChangeFacts:
        writer, dirty = self.writer, self.writer.dirty
        return ChangeFacts(
            names=(self.config.primary_name, self.config.secondary_name),
            dirty_keys=len(dirty),
            has_dirty_functions=dirty.functions,
            needs_resync=dirty.needs_resync,
            is_resyncing=self.metrics.resync.is_running,
            gate=GateState.FLOWING if writer.stream is None else writer.stream.gate.state,
            unready=readiness_of(writer).reasons if step.asks_readiness else (),
        )

    async def _take_over(self, mode: ProxyMode, wait_seconds: float, *, accepts_loss: bool) -> float:
        """Let a new writer take over; return how long clients waited."""
        try:
            config = attrs.evolve(self.config, mode=mode)
            after = DualWriter(config, self.metrics, self.sentry, hub=self.hub, before=self.writer)
            if after.mirrors and not self.writer.mirrors:
                await refuse_one_server(config)
                after.open_journal()
        except ConfigError as error:
            raise ModeChangeRefused(str(error)) from None
        takeover = Takeover(self.writer, after, lambda: self._sessions, self.writer.clock)
        assert self._engine is not None
        await self._engine.start(after.run)
        try:
            await takeover.connect()
            await takeover.settle(wait_seconds)
            self._takeover = takeover
            await takeover.drain(wait_seconds, accepts_loss=accepts_loss)
            self.config, self.writer, self.mode_since = config, after, time.time()
            return await takeover.complete()
        except BaseException:
            if self.writer is not after:
                takeover.abandon()
            raise
        finally:
            self._takeover = None

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
        if self._takeover is not None:
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
        elif server.writer.resync is not None:
            server.writer.resync.request("SIGUSR2")
