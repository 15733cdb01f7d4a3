"""Whether ``SELECT`` separates anything in a store: a canary in one database must not be seen from another.

A store may say OK to each ``SELECT`` and keep all keys in one place; two databases would mix there. No list
of products knows every such store, so it is tried. The canary is removed in the same piece, and has seconds
to live if the connection breaks meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dualkv.core.effects.model import Args
from dualkv.resp.replies import is_error

__all__ = ["KEY_PREFIX", "canary", "is_back_home", "is_one_database"]

KEY_PREFIX: Final = b"dualkv:canary:"
_LIFE_MS: Final = b"10000"


def canary(own_db: int, token: bytes) -> tuple[Args, ...]:
    """Return what to ask on a connection that is set to *own_db*, and is again afterwards.

    Args:
        own_db: Where the canary is put.
        token: Makes its key one that nobody else uses.
    """
    key, other_db = KEY_PREFIX + token, 1 if own_db == 0 else 0
    return (
        (b"SET", key, b"1", b"PX", _LIFE_MS),
        (b"SELECT", b"%d" % other_db),
        (b"EXISTS", key),
        (b"SELECT", b"%d" % own_db),
        (b"DEL", key),
    )


def is_one_database(replies: Sequence[bytes]) -> bool:
    """Whether the raw replies to `canary` show that all databases are one.

    False as well where it could not be tried: who may not write, or has no other database, mixes none.
    """
    put, selected, seen = replies[:3]
    return not is_error(put) and not is_error(selected) and seen == b":1\r\n"


def is_back_home(replies: Sequence[bytes]) -> bool:
    """Whether the connection is set to its own database again."""
    _, left, _, returned, _ = replies
    return is_error(left) or not is_error(returned)
