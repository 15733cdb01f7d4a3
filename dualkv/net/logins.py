"""Clients' own logins at the primary (``auth = pass-through``).

A client's ``AUTH`` is tried on a connection beside the lane. Afterwards its commands run on the lane as that
user: the lane says ``AUTH`` before them, and sends nothing more until the primary has agreed.
"""

from __future__ import annotations

from dualkv.config import BackendOptions
from dualkv.resp.encode import command

__all__ = ["Logins"]


class Logins:
    """The passwords that the primary has accepted, by user.

    Args:
        service: Whom dualkv itself is.
    """

    def __init__(self, service: BackendOptions) -> None:
        name = (service.username or "default").encode()
        self._requests = {b"": command("AUTH", name, service.password or "")}

    def accept(self, user: bytes, password: bytes) -> None:
        """Remember what the primary has accepted; the newest password of a user counts."""
        self._requests[user] = command("AUTH", user, password)

    def adopt(self, others: Logins) -> None:
        """Remember what another store has accepted: clients are still who they were."""
        self._requests = others._requests | self._requests

    def request(self, user: bytes) -> bytes:
        """Return the request that makes a connection the user's."""
        return self._requests[user]
