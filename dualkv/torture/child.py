"""dualkv as a process of its own, which can be killed."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable
from dualkv.net.transport import close_socket, dial
from dualkv.servers import free_port

__all__ = ["Child", "Samples", "has_converged", "unsettled"]

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 60.0
_SCRAPE_SECONDS: Final = 10.0
_SAMPLE: Final = re.compile(r"^((?:proxy|process)_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)

Samples = Mapping[tuple[str, str], float]
"""The figures of ``/metrics`` by name and labels."""


def has_converged(samples: Samples, *, repairs: bool = True) -> bool:
    """Whether dualkv says that nothing is on its way to the secondary, and nothing is left to repair."""
    return bool(samples) and not unsettled(samples, repairs=repairs)


def unsettled(samples: Samples, *, repairs: bool = True) -> list[str]:
    """Return the figures that say what is left to do.

    Args:
        samples: All figures.
        repairs: Whether it repairs dirty keys. If not, those stay whose copy is no effect of a command.
    """
    return [
        f"{name}{{{labels}}} = {value:g}"
        for (name, labels), value in samples.items()
        if value
        and (
            name in _MUST_BE_ZERO
            or (name == "proxy_dirty_keys" and (repairs or "not_replayable" in labels))
            or (name == "proxy_async_ledger" and ('"queued"' in labels or '"in_flight"' in labels))
        )
    ]


_MUST_BE_ZERO: Final = frozenset(
    {
        "proxy_active_connections",  # who has hung up is still being served
        "proxy_async_queue_depth",
        "proxy_dirty_functions",
        "proxy_resync_required",
        "proxy_repair_in_flight",
    }
)


class Child:
    """``dualkv serve``. Use it as a context manager: at its end the process is gone.

    Args:
        settings: By name, as in the settings' file.
        directory: Where its log goes.
    """

    def __init__(self, settings: Mapping[str, str], directory: Path) -> None:
        self.port, self.http_port = free_port(), free_port()
        self.options = BackendOptions("dualkv", "127.0.0.1", self.port)
        """How clients reach it, also after a restart."""
        self.log = directory / "dualkv.log"
        self._settings = {
            "auth": "none",
            "log_level": "warning",
            "selftest": "off",  # one that is killed leaves its canaries
            "listen": f"127.0.0.1:{self.port}",
            "metrics": f"127.0.0.1:{self.http_port}",
            "admin": "off",
            # Scripts are short here. A reply that never comes (garbage has swallowed it) is given up in time.
            "secondary_script_timeout": "20s",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._of_earlier_lives: Counter[str] = Counter()

    async def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            RuntimeError: It ends instead.
        """
        # Settings in the environment: no list of processes shows them.
        others = {name: value for name, value in os.environ.items() if not name.startswith("DUALKV_")}
        own = {f"DUALKV_{name.upper()}": value for name, value in self._settings.items()}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
                [sys.executable, "-m", "dualkv", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=others | own,
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        with trio.fail_after(_START_SECONDS):
            while not await self._serves():
                if self._process.poll() is not None:
                    raise RuntimeError(f"dualkv does not start: {self.log.read_text().strip()[-500:]}")
                await trio.sleep(0.02)

    async def _serves(self) -> bool:
        try:
            sock, _ = await dial(self.options, "torture-probe")
        except BackendUnavailable:
            return False
        close_socket(sock)
        return True

    async def terminate(self) -> int:
        """End it in the orderly way; return its exit code (negative: what killed it)."""
        assert self._process is not None
        await self.remember()
        self._process.send_signal(signal.SIGTERM)
        with trio.move_on_after(_STOP_SECONDS):  # noqa: ASYNC912 - it may have ended already
            while self._process.poll() is None:  # noqa: ASYNC110 - a child's end sets no event
                await trio.sleep(0.02)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def remember(self) -> None:
        """Add its counters to those of earlier lives: they go with the process."""
        for (name, _), value in (await self.scrape()).items():
            if name.endswith("_total"):
                self._of_earlier_lives[name] += int(value)

    def total(self, name: str) -> int:
        """Return what counters whose names begin so add up to, over all lives that have ended."""
        return sum(count for counter, count in self._of_earlier_lives.items() if counter.startswith(name))

    async def scrape(self) -> Samples:
        """Return its metrics; empty if it does not answer."""
        try:
            text = await trio.to_thread.run_sync(self._get, "/metrics")
        except (OSError, http.client.HTTPException):
            return {}
        return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=_SCRAPE_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def faults(self) -> list[str]:
        """Return what it logged that can only be a bug of its own: tracebacks, and errors."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if _is_fault(line)]

    def last_words(self, count: int) -> list[str]:
        """Return the newest lines of its log."""
        return self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _is_fault(line: str) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return "Error" in line or "Traceback" in line
    return isinstance(record, dict) and record.get("level") in ("error", "critical")
