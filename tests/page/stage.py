"""What the status page is looked at with: dualkv between two stores, some traffic, and a browser."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import redis
from playwright.sync_api import Browser, Page, sync_playwright

from dualkv.servers import EmbeddedServer, find_server_binary, free_port

__all__ = ["DESKTOP", "PHONE", "Stage", "browsing", "opened", "staged", "wait_until"]

DESKTOP: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 360, "height": 740}

_PATIENCE_SECONDS: Final = 30.0


@attrs.frozen
class Stage:
    """A running dualkv and its stores."""

    primary: EmbeddedServer
    secondary: EmbeddedServer
    process: subprocess.Popen[bytes]
    port: int
    admin_port: int

    def stop(self) -> None:
        """Let dualkv end, in order."""
        self.process.terminate()
        self.process.wait(_PATIENCE_SECONDS)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.admin_port}/"

    def client(self) -> redis.Redis:
        """Return a client of dualkv; the caller closes it."""
        return redis.Redis(port=self.port)

    def let_differ(self, key: bytes, *, gap: bool = False) -> None:
        """Let both stores hold different values of a key, and read it through dualkv."""
        with self.client() as client, redis.Redis(port=self.secondary.port) as beside:
            client.set(key, b"<b>one</b>")
            wait_until(lambda: beside.get(key) == b"<b>one</b>")
            if gap:
                beside.delete(key)
            else:
                beside.set(key, b"<i>another</i>")
            client.get(key)

    @contextmanager
    def traffic(self, operations_per_second: float = 200.0) -> Iterator[None]:
        """Read and write a little for the block."""
        is_over = threading.Event()

        def work() -> None:
            with self.client() as client:
                number = 0
                while not is_over.wait(1 / operations_per_second):
                    number += 1
                    key = f"user:{number % 50}"
                    client.set(key, number)
                    client.get(key)
                    client.get(key)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


@contextmanager
def staged(*flags: str) -> Iterator[Stage]:
    """Run two stores and dualkv between them for the block, in a shadowing mode."""
    binary = find_server_binary()
    port, admin_port = free_port(), free_port()
    with EmbeddedServer(binary) as primary, EmbeddedServer(binary) as secondary:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "dualkv", "serve", "--mode", "dual-write-shadow", "--selftest", "off",
                "--listen", f"127.0.0.1:{port}", "--metrics", "off", "--admin", f"127.0.0.1:{admin_port}",
                "--primary", primary.address, "--secondary", secondary.address,
                "--confirm-after", "50ms", "--no-repair-divergences", "--drain", "1s", *flags,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        stage = Stage(primary, secondary, process, port, admin_port)
        try:
            wait_until(lambda: process.poll() is not None or (_listens(port) and _listens(admin_port)))
            assert process.poll() is None
            yield stage
        finally:
            stage.stop()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_until(condition: Callable[[], object], seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait until *condition* holds; fail if that takes longer than *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a headless Chromium for the block: the system's."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "there is no chromium: make test-page installs it"
    with sync_playwright() as playwright:
        # In a container it runs as root, and /dev/shm is small.
        browser = playwright.chromium.launch(
            executable_path=Path(program), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, tolerated: str = "$^", **options: Any) -> Iterator[Page]:
    """Open a page in a browser that knows nothing yet; whatever it complains about fails the test.

    Args:
        browser: Where.
        url: What.
        tolerated: A pattern of what it may complain about, beside refusals.
        options: Of the browser's context: size, colours.
    """
    complaints: list[str] = []
    expected = re.compile(rf"status of 401|status of 409|{tolerated}")
    context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    assert [one for one in complaints if not expected.search(one)] == []
