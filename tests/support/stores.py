"""Looking into the two stores directly, past dualkv."""

from __future__ import annotations

from typing import Any

import redis

from dualkv.servers import EmbeddedServer

__all__ = ["contents", "flush", "open_store"]


def open_store(server: EmbeddedServer) -> redis.Redis:
    """Return a client of *server*; the caller closes it."""
    return redis.Redis(port=server.port, protocol=2)


def flush(server: EmbeddedServer) -> None:
    """Remove everything from *server*."""
    with open_store(server) as store:
        store.flushall()
        store.script_flush()


def contents(server: EmbeddedServer) -> dict[bytes, tuple[bytes, Any]]:
    """Return every key with its type and value, in a form that compares."""
    with open_store(server) as store:
        found: dict[bytes, tuple[bytes, Any]] = {}
        for key in store.scan_iter(count=1000):
            kind = store.type(key)
            found[key] = (kind, _value(store, key, kind))
        return found


def _value(store: redis.Redis, key: bytes, kind: bytes) -> Any:
    if kind == b"string":
        return store.get(key)
    if kind == b"list":
        return store.lrange(key, 0, -1)
    if kind == b"set":
        return store.smembers(key)
    if kind == b"hash":
        return store.hgetall(key)
    if kind == b"zset":
        return store.zrange(key, 0, -1, withscores=True)
    if kind == b"stream":
        return store.xrange(key)
    return None
