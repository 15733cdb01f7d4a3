"""Why connections do not become clients."""

from __future__ import annotations

import enum

__all__ = ["Rejection"]


class Rejection(enum.StrEnum):
    """Why a connection did not become a client."""

    NETWORK = "network"
    """Its address is in none of `allow_networks`."""
    HEADER = "header"
    """It did not begin with a right PROXY header."""
    HANDSHAKE = "handshake"
    """It spoke no TLS, too old a version, or had not the certificate it needs."""
    TOO_SLOW = "too_slow"
    """Header and handshake were not there in time."""
    GONE = "gone"
    """It was closed before."""
