"""Who may ask at the admin address, and how long and how much: before anything else looks at a request.

In this order:

1. *Host.* Without tokens whoever is on this machine may ask. A browser on it is led here by any page, if that
   page's name is made to point at 127.0.0.1: so the Host header must name this machine.
2. *Token.* ``Authorization: Bearer …``, compared in a time that tells nothing.
3. *Changes* must be declared as JSON, which no page of another site can do without asking first, and we
   never answer that (there is no CORS here); where a browser tells who asks (``Origin``), that must be us.
4. *Body.* At most `MAX_BODY_BYTES`, within `BODY_SECONDS`.

Who sends no request at all, or a header without end, is disconnected by Hypercorn after five seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlsplit

import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualkv.admin.operations import refusal
from dualkv.config.admin import AdminToken
from dualkv.observe.logs import AUDIT_LOGGER, RateLimit

__all__ = ["BODY_SECONDS", "MAX_BODY_BYTES", "SAID_TOKEN", "Guard"]

MAX_BODY_BYTES: Final = 16 * 1024
BODY_SECONDS: Final = 5.0
SAID_TOKEN: Final = "dualkv.token"  # noqa: S105 - a place, not a secret
"""In the scope of a request: the name of the token that was said; empty without one."""

_READ_ONLY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SWALLOWED_BYTES: Final = 1024 * 1024
"""So much of a body that is too long is read all the same: who is cut off while sending sees no answer."""
_LOG_SECONDS: Final = 5.0
_DEFAULT_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise."""

_log = logging.getLogger(AUDIT_LOGGER)


class Guard:
    """An ASGI application before another one.

    Args:
        app: What it guards.
        tokens: Any of these lets in; empty: whoever can connect may ask, which must be this machine only.
        public_paths: What may be read without a token.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Collection[AdminToken],
        public_paths: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tokens = [(token.name, _digest(token.secret)) for token in tokens]
        self._public_paths = frozenset(public_paths)
        self._log_limit = RateLimit(_LOG_SECONDS, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":  # its start and end
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in _DEFAULT_HEADERS.items():
                    answered.setdefault(name, value)
            await send(message)

        refused = self._refuse(scope, headers)
        if refused is None and scope["method"] not in _READ_ONLY:
            refused, receive = await _with_whole_body(receive)
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """Return why a request is refused, whatever its body says."""
        host = headers.get("host", "")
        if not self._tokens and not _is_this_machine(host):
            return refusal(403, "the Host header names another machine: ask for 127.0.0.1 or localhost")
        is_change = scope["method"] not in _READ_ONLY
        if is_change or scope["path"] not in self._public_paths:
            name = self._name_of(headers.get("authorization", ""))
            if name is None:
                return self._refuse_token(scope, headers)
            scope[SAID_TOKEN] = name
        if is_change:
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                return refusal(403, "a page of another site asks")
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return refusal(415, "a change must have Content-Type: application/json")
        return None

    def _name_of(self, authorization: str) -> str | None:
        """Return the name of the token that was said; None: it is none of ours."""
        if not self._tokens:
            return ""
        scheme, _, said = authorization.partition(" ")
        digest = _digest(said.strip())
        names = [name for name, known in self._tokens if hmac.compare_digest(known, digest)]
        return names[0] if names and scheme.lower() == "bearer" else None

    def _refuse_token(self, scope: Scope, headers: Headers) -> Response:
        has_said = "authorization" in headers
        suppressed = self._log_limit.allow()
        if suppressed is not None:
            extra = {"address": (scope.get("client") or ("",))[0], "path": scope["path"][:100]}
            _log.warning("refused without a right token", extra={**extra, "suppressed": suppressed})
        refused = refusal(401, "the token is wrong" if has_said else "a token is missing")
        error = ', error="invalid_token"' if has_said else ""
        refused.headers["WWW-Authenticate"] = f'Bearer realm="dualkv"{error}'
        return refused


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names an address of this machine that nobody else has."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _with_whole_body(receive: Receive) -> tuple[Response | None, Receive]:
    """Return why a body is refused, or nothing; and a function from which it can be read."""
    body = b""
    size = 0
    with trio.move_on_after(BODY_SECONDS) as reading:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break  # it is gone: nobody will read the answer
            size += len(message["body"])
            if size <= MAX_BODY_BYTES:
                body += message["body"]
            if not message.get("more_body") or size > _SWALLOWED_BYTES:
                break
    if reading.cancelled_caught:
        return refusal(408, f"the body did not come within {BODY_SECONDS:g} s"), receive
    if size > MAX_BODY_BYTES:
        return refusal(413, f"the body is longer than {MAX_BODY_BYTES} bytes"), receive
    is_read = False

    async def receive_again() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return None, receive_again
