"""The processes behind one address: starts them, starts them again when they die, ends them.

A worker that dies takes its clients with it; they connect again and reach another one. Its listening socket
stays open here, so that who has knocked meanwhile is served by its successor, which takes over its journal.
"""

from __future__ import annotations

import logging
import pickle
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from dualkv.admin.serving import serve_http
from dualkv.config import ProxyConfig
from dualkv.config.doors import UnixAddress
from dualkv.core.backoff import Backoff
from dualkv.net.admission import Admission
from dualkv.net.listener import close_listener, open_listeners, open_shared_listeners, open_unix_listener
from dualkv.net.start_check import check_tls_files
from dualkv.net.tls import http_context
from dualkv.observe.metrics import ProxyMetrics
from dualkv.workers.app import admin_app, public_app
from dualkv.workers.asking import Worker, WorkerSilent
from dualkv.workers.child import WRONG_SETTING
from dualkv.workers.order import WorkerOrder, config_of
from dualkv.workers.team import Team

__all__ = ["Supervisor", "run_supervisor"]

_LOOK_SECONDS: Final = 0.05
_END_SECONDS: Final = 10.0
"""How much longer than its settings say a worker may take to end."""

_log = logging.getLogger("dualkv.supervisor")


class Supervisor:
    """Runs workers.

    Args:
        config: The settings; ``workers`` says how many.
    """

    def __init__(self, config: ProxyConfig) -> None:
        self._config = config
        self._directory = tempfile.TemporaryDirectory(prefix="dualkv-workers-")
        paths = [str(Path(self._directory.name) / f"{number}.sock") for number in range(config.workers)]
        self.team = Team([Worker(number, path) for number, path in enumerate(paths)], config.mode)
        self._client_listeners: list[list[socket.socket]] = []
        self._control_listeners: list[socket.socket] = []
        self._http_listeners: list[socket.socket] = []
        self._admin_listeners: list[socket.socket] = []
        self._processes: dict[int, trio.Process] = {}
        self._admission = Admission(config, ProxyMetrics(config.primary_name, config.secondary_name))
        self._stopping = trio.Event()
        self.exit_code = 0
        """What the whole should end with."""

    def _tls(self, wanted: str) -> ssl.SSLContext | None:
        return http_context(self._admission.tls, wanted)

    async def listen(self) -> None:
        """Open all sockets, those of HTTP too; `run` closes them.

        Raises:
            ConfigError: An address cannot be listened on.
        """
        config = self._config
        check_tls_files(config)
        self._client_listeners = open_shared_listeners(config.listen, config.workers)
        self._control_listeners = [
            open_unix_listener(UnixAddress(worker.path, 0o600)) for worker in self.team.workers
        ]
        if config.metrics is not None:
            self._http_listeners = await open_listeners(*config.metrics)
        if config.admin is not None:
            self._admin_listeners = await open_listeners(*config.admin)

    def reload_tls(self) -> None:
        """Read the files of certificates again, here and in all workers."""
        if self._admission.tls is not None:
            self._admission.tls.reload()
        self.tell(signal.SIGHUP)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Let all workers end in order; the second time they skip their waits."""
        self._stopping.set()
        self.tell(number)

    def tell(self, number: int, workers: Sequence[int] | None = None) -> None:
        """Send a signal to some workers (None: to all)."""
        for worker, process in self._processes.items():
            if (workers is None or worker in workers) and process.returncode is None:
                process.send_signal(number)

    async def run(self) -> None:
        """Run the workers until `stop`, or one cannot start as it is set; return when all have ended."""
        try:
            async with trio.open_nursery() as services:
                await self._start_http(services)
                async with trio.open_nursery() as keeping:
                    for worker in self.team.workers:  # the first one alone: what is wrong is said once
                        await keeping.start(self._keep, worker)
                        if self._stopping.is_set():
                            break
                    else:
                        extra = {"workers": len(self.team.workers), "mode": self.team.mode.value}
                        _log.info("all workers serve", extra=extra)
                services.cancel_scope.cancel("stopped")
        finally:
            for listener in [
                *self._control_listeners, *self._http_listeners, *self._admin_listeners,
                *(one for listeners in self._client_listeners for one in listeners),
            ]:  # fmt: skip
                close_listener(listener)
            self._directory.cleanup()

    async def _start_http(self, services: trio.Nursery) -> None:
        config, seconds = self._config, self._config.tls_handshake_timeout_seconds
        if self._http_listeners:
            app = public_app(self.team, self._stopping.is_set)
            await services.start(
                serve_http, app, self._http_listeners, self._tls(config.metrics_tls), seconds
            )
        if self._admin_listeners:
            admin, tls = admin_app(self.team, config.admin_token, self.stop), self._tls(config.admin_tls)
            await services.start(serve_http, admin, self._admin_listeners, tls, seconds)

    # --- one worker

    async def _keep(
        self, worker: Worker, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run a worker, and another one in its place when it dies; ``started()`` when it serves."""
        backoff, has_served = Backoff(), False
        while not self._stopping.is_set():
            process = await self._start(worker)
            with trio.CancelScope() as looking:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait, process, looking)
                    await self._wait_serving(worker)
                    backoff.reset()
                    if not has_served:
                        has_served = True
                        task_status.started()
                    await trio.sleep_forever()
            if not has_served and process.returncode == WRONG_SETTING:  # it has said why
                self.exit_code = WRONG_SETTING
                self.stop()
            if not self._stopping.is_set():
                extra = {"number": worker.number, "exit_code": process.returncode}
                _log.error("a worker has died: another one takes its place", extra=extra)
                with trio.move_on_after(backoff.next_wait_seconds()):
                    await self._stopping.wait()
        if not has_served:
            task_status.started()

    async def _start(self, worker: Worker) -> trio.Process:
        own = config_of(self._config, worker.number, self.team.mode)
        clients = self._client_listeners[worker.number]
        control = self._control_listeners[worker.number]
        order = WorkerOrder(
            worker.number, own, tuple(one.fileno() for one in clients), control.fileno()
        )  # fmt: skip
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "dualkv.workers.child"],
            stdin=subprocess.PIPE,
            pass_fds=[*order.client_listeners, order.control_listener],
        )
        worker.kill = process.kill
        self._processes[worker.number] = process
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError):  # it has died already, as we shall see
            await process.stdin.send_all(pickle.dumps(order))  # it stays open as long as we live
        return process

    async def _wait(self, process: trio.Process, over: trio.CancelScope) -> None:
        """Cancel *over* when a process has ended, in time if it was told to."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_late, process)
            await process.wait()
            nursery.cancel_scope.cancel("it has ended")
        over.cancel("it has ended")

    async def _end_late(self, process: trio.Process) -> None:
        await self._stopping.wait()
        config = self._config
        await trio.sleep(config.lame_duck_seconds + 2 * config.drain_seconds + _END_SECONDS)
        _log.error("a worker does not end", extra={"pid": process.pid})
        process.kill()

    async def _wait_serving(self, worker: Worker) -> None:
        while True:
            try:
                if (await worker.ask("GET", "/healthz")).status == 200:
                    return
            except WorkerSilent:
                pass
            await trio.sleep(_LOOK_SECONDS)


async def run_supervisor(supervisor: Supervisor) -> int:
    """Run workers until SIGTERM or SIGINT; a second one skips the waits of their shutdown.

    SIGHUP goes to all of them, SIGUSR2 (a resync) to the first.

    Returns:
        The exit code.

    Raises:
        ConfigError: An address cannot be listened on.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP) as signals:
        await supervisor.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, supervisor, signals)
            await supervisor.run()
            nursery.cancel_scope.cancel("stopped")
    return supervisor.exit_code


async def _pass_on(supervisor: Supervisor, signals: AsyncIterator[int]) -> None:
    async for number in signals:
        _log.info("signal", extra={"signal": signal.Signals(number).name})
        if number == signal.SIGHUP:
            supervisor.reload_tls()
        elif number == signal.SIGUSR2:
            supervisor.tell(number, [0])
        else:
            supervisor.stop()
