"""The error texts of ElasticKV."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALREADY_COMMITTED",
    "BUSY",
    "COMPACTED",
    "DEADLINE",
    "INVALID_REQUEST",
    "LEADER_NOT_FOUND",
    "LOCKED",
    "NOSCRIPT",
    "NOTLEADER",
    "NOT_LEADER",
    "RETRY_LIMIT",
    "SYNTAX",
    "TOO_LARGE",
    "WRITE_CONFLICT",
    "refused_connection",
    "reset_connection",
    "unsupported",
    "wrong_arity",
]

BUSY: Final = "BUSY server overloaded"
"""Not applied."""
COMPACTED: Final = "read timestamp has been compacted"
"""Not applied."""
INVALID_REQUEST: Final = "invalid request"
TOO_LARGE: Final = "marshaled request too large"
NOTLEADER: Final = "NOTLEADER leader not found"
"""What a node says that knows no leader."""
NOT_LEADER: Final = "not leader"
"""What a node says that was the leader; whether the write was applied is unknown."""
LEADER_NOT_FOUND: Final = "leader not found"
WRITE_CONFLICT: Final = "write conflict"
RETRY_LIMIT: Final = "redis txn retry limit exceeded: write conflict"
DEADLINE: Final = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
ALREADY_COMMITTED: Final = "txn already committed"
LOCKED: Final = "txn locked"

SYNTAX: Final = "ERR syntax error"
NOSCRIPT: Final = "NOSCRIPT No matching script. Please use EVAL."


def unsupported(name: str) -> str:
    """Return what it says to a command that it does not know."""
    return f"ERR unsupported command '{name}'"


def wrong_arity(name: str) -> str:
    """Return what it says to a wrong number of arguments."""
    return f"ERR wrong number of arguments for '{name.lower()}' command"


def refused_connection(address: str) -> str:
    """Return what a follower says whose leader, at *address*, is dead."""
    return f"dial tcp {address}: connect: connection refused"


def reset_connection(address: str) -> str:
    """Return what a follower says whose leader, at *address*, died while it worked."""
    return f"read tcp {address}: read: connection reset by peer"
