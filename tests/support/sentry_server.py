"""A Sentry on this machine: it speaks the ingestion protocol over HTTP, and can be as bad as a real one."""

from __future__ import annotations

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import attrs

__all__ = ["Envelope", "SentryServer", "parse_envelope"]

_KEY = "0123456789abcdef"
_PROJECT = 42
_PATIENCE_SECONDS = 10.0
_MAX_HELD_SECONDS = 30.0


@attrs.frozen
class Envelope:
    """What one request brought."""

    header: dict[str, Any]
    items: list[tuple[dict[str, Any], dict[str, Any]]]
    """Header and payload of each."""
    is_compressed: bool
    text: str
    """All of it, as it came, headers of the request included."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in it; what else there is are reports about events that were lost."""
        return [payload for header, payload in self.items if header["type"] == "event"]


def parse_envelope(body: bytes) -> tuple[dict[str, Any], list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Return an envelope's header and its items.

    Raises:
        ValueError: It is not well-formed.
    """
    line, _, rest = body.partition(b"\n")
    header = json.loads(line)
    items = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        item = json.loads(line)
        length = item["length"] if "length" in item else rest.find(b"\n") % (len(rest) + 1)
        payload, rest = rest[:length], rest[length:]
        if len(payload) != length or rest[:1] not in (b"", b"\n"):
            raise ValueError(f"an item of {length} bytes does not end there")
        items.append((item, json.loads(payload)))
        rest = rest[1:]
    return header, items


class SentryServer:
    """Listens on a loopback port while it is used as a context manager.

    Set the attributes to make it a bad one.
    """

    def __init__(self) -> None:
        self.status = 200
        """What it answers."""
        self.headers: dict[str, str] = {}
        """More headers of its answers."""
        self.delay_seconds = 0.0
        """How long each answer takes."""
        self.answers = threading.Event()
        """Cleared: it takes requests and does not answer."""
        self.answers.set()
        self.requests = 0
        """How many have come, well-formed or not."""
        self.envelopes: list[Envelope] = []
        self.complaints: list[str] = []
        """What was wrong with requests."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def dsn(self) -> str:
        """Where to report."""
        return f"http://{_KEY}@127.0.0.1:{self._server.server_port}/{_PROJECT}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that have come, in order."""
        return [event for envelope in list(self.envelopes) for event in envelope.events]

    def wait_requests(self, count: int) -> None:
        """Return when so many requests have come."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.requests < count:
            assert time.monotonic() < deadline, f"{self.requests} of {count} requests came"
            time.sleep(0.002)

    def _take(self, request: BaseHTTPRequestHandler) -> int:
        """Take a request; return the status to answer."""
        self.requests += 1
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if not self.answers.is_set():
            self.answers.wait(_MAX_HELD_SECONDS)
        time.sleep(self.delay_seconds)
        if self.status != 200:
            return self.status
        if request.path != f"/api/{_PROJECT}/envelope/":
            return self._complain(404, f"no such endpoint: {request.path}")
        auth = request.headers.get("X-Sentry-Auth", "")
        if f"sentry_key={_KEY}" not in auth or "sentry_version=7" not in auth:
            return self._complain(403, f"no such key: {auth}")
        if request.headers.get("Content-Type") != "application/x-sentry-envelope":
            return self._complain(415, f"not an envelope: {request.headers.get('Content-Type')}")
        is_compressed = request.headers.get("Content-Encoding") == "gzip"
        try:
            body = gzip.decompress(body) if is_compressed else body
            header, items = parse_envelope(body)
        except (ValueError, OSError, EOFError, KeyError) as error:
            return self._complain(400, f"{error}: {body!r}")
        text = f"{request.headers}\n{body.decode()}"
        self.envelopes.append(Envelope(header, items, is_compressed, text))
        return 200

    def _complain(self, status: int, complaint: str) -> int:
        self.complaints.append(complaint)
        return status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = server._take(self)
                try:
                    self.send_response(status)
                    for name, value in {**server.headers, "Content-Length": "2"}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    pass  # whoever asked has gone

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
                """Say nothing."""

        return Handler
