"""TLS on non-blocking sockets: a socket that behaves as a plain one, and contexts that follow their files.

1. `TlsSocket` reads and writes as a plain non-blocking socket does: `BlockingIOError` when nothing can be
   done now, ``b""`` at the end. So neither sessions nor lanes know of TLS, and plain sockets pay nothing.
2. The readiness hub's selector sees bytes in the kernel, not those that OpenSSL has decrypted already.
   OpenSSL reads one record at a time and `TlsSocket.recv` takes all of it, so nothing stays behind unseen.
3. A write that was refused must be repeated with the same bytes first (OpenSSL has encrypted them). All that
   send do so: what was not sent stays at the front of what is.
4. Files are looked at (`os.stat`) before each handshake: new certificates count from the next one on, and
   connections that are there are not touched. Files that are wrong or half written change nothing.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from dualkv.config.tls import TlsFiles
from dualkv.errors import ConfigError

__all__ = [
    "ReloadingContext",
    "TlsSocket",
    "client_context",
    "forget_client_contexts",
    "http_context",
    "server_context",
    "shake_hands",
    "why_refused",
]

_RECORD_BYTES: Final = 16384
"""The most that a record holds. After a full one, another is likely to be there."""
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for certificates of nobody who is believed."""

_log = logging.getLogger("dualkv.tls")


class TlsSocket(ssl.SSLSocket):
    """A non-blocking TLS socket that can stand where a plain one does.

    Contexts of this module make it (``wrap_socket``); `shake_hands` comes first. Whoever has it closes it.
    """

    def recv(self, buflen: int = _RECORD_BYTES, flags: int = 0) -> bytes:
        """Return what has arrived, ``b""`` at the end; perhaps more than *buflen* bytes.

        Raises:
            BlockingIOError: Nothing is there.
            OSError: The connection is broken.
        """
        try:
            data = super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        if len(data) < _RECORD_BYTES and not self.pending():
            return data
        pieces = [data]
        room = buflen - len(data)
        with contextlib.suppress(OSError):  # what is broken fails again, with nothing read before
            while data and (self.pending() or (room > 0 and len(data) == _RECORD_BYTES)):
                data = super().recv(max(room, self.pending()), flags)
                pieces.append(data)
                room -= len(data)
        return b"".join(pieces)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what there is room for; return how much.

        Raises:
            BlockingIOError: There is no room.
            OSError: The connection is broken.
        """
        try:
            sent = super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        if sent == len(data):
            return sent
        with memoryview(data) as view, contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        return sent

    def shutdown(self, how: int) -> None:
        """Shut one side or both, as of a plain socket; writing ends with TLS's own goodbye.

        With the reading side shut, what has arrived can still be read and replies be sent. With the writing
        side shut, what still comes is not decrypted any more.
        """
        if how == socket.SHUT_RD:
            socket.socket.shutdown(self, how)
            return
        with contextlib.suppress(OSError, ValueError):  # it was said, or nobody listens
            self.unwrap()
        super().shutdown(how)


async def shake_hands(sock: ssl.SSLSocket) -> None:
    """Do the TLS handshake. The caller sets the deadline, and closes *sock* if this raises.

    Raises:
        OSError: It has failed, as an `ssl.SSLError` where the reason is TLS's.
    """
    while True:  # noqa: ASYNC913 - each round ends the handshake or waits
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(sock)


def why_refused(error: OSError, ca_setting: str = "") -> str:
    """Return in plain words why a handshake has failed.

    Args:
        error: What `shake_hands` has raised.
        ca_setting: The setting that would help if the authority is unknown.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f" (the setting {ca_setting} names whom to believe)" if ca_setting else ""
        known = error.verify_code not in _UNKNOWN_ISSUER
        return f"certificate verify failed: {error.verify_message}{'' if known else hint}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return "closed during the TLS handshake"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    return str(error)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return how to answer handshakes: with a certificate, asking for one if authorities are named.

    Raises:
        ConfigError: A file is missing or wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load(context, files)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return how to begin handshakes with a back-end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not files.is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not files.ca:
        context.load_default_certs()
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.sslsocket_class = TlsSocket
    # Many Redis clients hang up without TLS's goodbye, and whoever half-closes wants replies all the same.
    # RESP tells its own lengths: what was cut off is noticed.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = _VERSIONS[files.min_version]
    if files.ca:
        try:
            context.load_verify_locations(files.ca)
        except OSError as error:
            raise ConfigError(f"{files.ca_setting}: {files.ca}: {_of_file(error)}") from None
    if files.cert:
        path = files.key or files.cert
        _check_readable(f"{files.setting}_cert", files.cert)
        _check_readable(f"{files.setting}_key", path)
        try:
            # A function: without one, OpenSSL would ask on the terminal.
            context.load_cert_chain(files.cert, files.key or None, lambda: files.key_password)
        except OSError as error:
            raise ConfigError(f"{files.setting}_key: {path}: {_of_file(error)}") from None


def _check_readable(setting: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {error.strerror}") from None


def _of_file(error: OSError) -> str:
    """Return what is wrong with a file, in plain words."""
    reason: str | None = getattr(error, "reason", None)
    if reason is None:
        is_silent = isinstance(error, ssl.SSLError)  # OpenSSL has not said anything
        return "not a PEM file, or its password is wrong" if is_silent else error.strerror or str(error)
    words = {
        "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
        "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
    }
    return words.get(reason, reason.replace("_", " ").lower())


class ReloadingContext:
    """A TLS context that follows its files.

    Args:
        files: Where they are.
        build: Makes a context of them, or raises `ConfigError`.
        on_reload: Called after each attempt to load them again, with whether it succeeded.

    Raises:
        ConfigError: The files cannot be used now. Later the newest ones that could are kept.
    """

    def __init__(
        self,
        files: TlsFiles,
        build: Callable[[TlsFiles], ssl.SSLContext],
        on_reload: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._files = files
        self._build = build
        self._on_reload = on_reload
        self._seen = _fingerprint(files)
        self._context = build(files)

    def __repr__(self) -> str:
        return f"<ReloadingContext {self._files.setting} {self._files.cert or self._files.ca}>"

    def current(self) -> ssl.SSLContext:
        """Return the context for a handshake that begins now."""
        if _fingerprint(self._files) != self._seen:
            self.reload()
        return self._context

    def reload(self) -> None:
        """Read the files again, changed or not. If they cannot be used, what was read before stays."""
        self._seen = _fingerprint(self._files)
        try:
            self._context = self._build(self._files)
        except ConfigError as error:
            _log.error("certificates not reloaded", extra={"why": str(error)})
            self._on_reload(False)
            return
        _log.info("certificates reloaded", extra={"settings": f"{self._files.setting}_*"})
        self._on_reload(True)


def _fingerprint(files: TlsFiles) -> tuple[object, ...]:
    """Return what changes when a file does."""
    ca = files.ca or (ssl.get_default_verify_paths().cafile if files.is_verified else None)
    return tuple(_identity(path) for path in (files.cert, files.key, ca) if path)


def _identity(path: str) -> tuple[object, ...]:
    try:
        status = Path(path).stat()
    except OSError:
        return (path,)
    return path, status.st_mtime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=64)
def _client_contexts(files: TlsFiles) -> ReloadingContext:
    return ReloadingContext(files, _client_context)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for a handshake with a back-end that begins now; made once, and when files change.

    Raises:
        ConfigError: The files have never been usable.
    """
    return _client_contexts(files).current()


def forget_client_contexts() -> None:
    """Read the files of all back-ends again, when they are needed next."""
    _client_contexts.cache_clear()


def http_context(clients: ReloadingContext | None, wanted: str) -> ssl.SSLContext | None:
    """Return a context for a server that keeps one: each handshake is done with the newest certificate.

    Args:
        clients: What tells the newest one; None: there is none.
        wanted: As a setting says it: ``off``, ``on``, ``mutual``: clients must show a certificate, too.

    Returns:
        None for plain HTTP.
    """
    if wanted == "off" or clients is None:
        return None
    base = clients.current()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = base.minimum_version
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if wanted == "mutual":
        context.verify_mode = ssl.CERT_REQUIRED

    def choose(ssl_object: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext) -> None:
        ssl_object.context = clients.current()

    context.sni_callback = choose
    return context
