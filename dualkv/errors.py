"""Exceptions somebody catches, by whose fault they are.

RESP errors from a backend are *values* (raw ``-ERR …`` frames), never exceptions: the client is
owed their bytes. What is here stops something: a start, a connection, a request.
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "ConfigError",
    "ConnectionLost",
    "ControlRefused",
    "LoginRefused",
    "ModeChangeRefused",
    "PoolExhausted",
    "ReplyProtocolError",
    "RequestProtocolError",
]


class ConfigError(Exception):
    """The operator's fault: a setting is wrong. Its text is one line, fit for stderr."""


class RequestProtocolError(Exception):
    """The client's fault: its bytes are not RESP. The text is what Redis answers before it closes."""


class ReplyProtocolError(Exception):
    """The backend's fault: its bytes are not RESP, or a kind of RESP we do not take."""


class BackendUnavailable(Exception):
    """A backend could not be reached, or refused our handshake. Nothing was sent to it."""


class ConnectionLost(Exception):
    """A connection broke with requests in flight: whether they were applied is unknown."""


class LoginRefused(Exception):
    """The client's fault: the primary does not let it in any more. The argument is the raw reply."""


class ControlRefused(Exception):
    """What an operator wants makes no sense now; nothing was done. Its text says why."""


class ModeChangeRefused(Exception):
    """A change of the mode would lose something, or makes no sense; all is as before. Its text says why."""


class PoolExhausted(BackendUnavailable):
    """The pool's limit of connections to a backend is reached."""
