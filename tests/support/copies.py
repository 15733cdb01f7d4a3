"""Copying keys between two real servers as dualkv does it, and what they hold then."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import hiredis

from dualkv.core.copying import KeyCopy
from dualkv.core.dialect import LEARNING, Dialect, learn
from dualkv.core.effects.model import Args, Command
from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter, elements_of, is_error, value_of

__all__ = ["Store", "copy_key", "execute", "state_of_key"]

_PATIENCE_SECONDS: Final = 20.0
_UNDER_A_SECOND: Final = 2000
"""Times told in relation to now are this much apart at most, in milliseconds."""


class Store:
    """A connection to a server on this machine, and its dialect. Use it as a context manager."""

    def __init__(self, port: int, protocol: int = 2) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        self._splitter = ReplySplitter()
        self.call("HELLO", protocol)
        self.dialect: Dialect = learn(self.pipeline(LEARNING))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def pipeline(self, requests: Sequence[Sequence[bytes | str | int | float]]) -> list[bytes]:
        """Send requests; return their raw replies."""
        self._socket.sendall(b"".join(command(*map(_word, words)) for words in requests))
        frames: list[bytes] = []
        while len(frames) < len(requests):
            data = self._socket.recv(1024 * 1024)
            assert data, "closed"
            frames += self._splitter.feed(data)
        return frames

    def call(self, *words: bytes | str | float) -> bytes:
        """Send one request; return its raw reply."""
        return self.pipeline([words])[0]

    def ask(self, *words: bytes | str | float) -> Any:
        """Send one request that must not fail; return the value of its reply."""
        value = value_of(self.call(*words))
        assert not isinstance(value, hiredis.ReplyError), f"{words}: {value}"
        return value

    def piece(self, requests: Sequence[Args]) -> list[bytes]:
        """Send requests in a transaction; return their raw replies."""
        return elements_of(self.pipeline([(b"MULTI",), *requests, (b"EXEC",)])[-1])

    def now_ms(self) -> int:
        """Return the server's time."""
        seconds, microseconds = self.ask("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000


def _word(word: bytes | str | float) -> bytes | str | int:
    return repr(word) if isinstance(word, float) else word


def execute(target: Store, commands: Sequence[Command], *, is_checked: bool = True) -> None:
    """Execute *commands* in one piece; they must succeed, and answer what they are expected to."""
    if not commands:
        return
    for one, frame in zip(commands, target.piece([one.args for one in commands]), strict=True):
        assert not is_error(frame), (one.args[:8], frame)
        if is_checked and one.reply is not None:
            assert frame == one.reply, (one.args[:8], frame, one.reply)


def copy_key(source: Store, target: Store, key: bytes, *, with_dump: bool = True) -> set[str]:
    """Copy a key whichever way is right for it; return what was lost."""
    copy = KeyCopy(key, source.dialect, target.dialect, with_dump=with_dump)
    lost: set[str] = set()
    while not copy.is_over:
        copied = copy.on_replies(source.piece(copy.next_read()), source.now_ms())
        execute(target, copied.commands)
        lost |= set(copied.lost)
    return lost


# --- what a key is


def state_of_key(store: Store, key: bytes, other: Dialect) -> dict[str, Any]:
    """Return a key's type, value and expiry, as far as both *store* and the *other* one can tell them."""
    kind = store.ask("TYPE", key)
    if kind == b"none":
        return {}
    exact = store.dialect.has("PEXPIRETIME") and other.has("PEXPIRETIME")
    left_ms = store.ask("PEXPIRETIME" if exact else "PTTL", key)
    expires = left_ms if exact or left_ms < 0 else (store.now_ms() + left_ms) // _UNDER_A_SECOND
    return {"type": kind, "expires": expires, **_READERS[kind](store, key, other)}


def _string(store: Store, key: bytes, _: Dialect) -> dict[str, Any]:
    return {"value": store.ask("GET", key)}


def _list(store: Store, key: bytes, _: Dialect) -> dict[str, Any]:
    return {"elements": store.ask("LRANGE", key, 0, -1)}


def _set(store: Store, key: bytes, _: Dialect) -> dict[str, Any]:
    return {"members": set(store.ask("SMEMBERS", key))}


def _zset(store: Store, key: bytes, _: Dialect) -> dict[str, Any]:
    words = store.ask("ZRANGE", key, 0, -1, "WITHSCORES")
    pairs = words if isinstance(words[0], list) else zip(words[::2], words[1::2], strict=True)
    return {"members": [(member, float(score)) for member, score in pairs]}


def _hash(store: Store, key: bytes, other: Dialect) -> dict[str, Any]:
    words = store.ask("HGETALL", key)
    fields = words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))
    times = []
    if store.dialect.has("HPEXPIRETIME") and other.has("HPEXPIRETIME"):
        names = sorted(fields)
        times = list(zip(names, store.ask("HPEXPIRETIME", key, "FIELDS", len(names), *names), strict=True))
    return {"fields": fields, "expire": times}


_OF_THE_SERVER: Final = frozenset(
    {b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time", b"lag"}
)
"""Not copied, or worked out from the rest: servers differ on the lag in a stream that is empty."""
_SINCE_7_0: Final = frozenset(
    {b"entries-added", b"max-deleted-entry-id", b"recorded-first-entry-id", b"entries-read"}
)


def _stream(store: Store, key: bytes, other: Dialect) -> dict[str, Any]:
    both_count = all(dialect.has("XSETID ENTRIESADDED") for dialect in (store.dialect, other))
    hidden = _OF_THE_SERVER if both_count else _OF_THE_SERVER | _SINCE_7_0
    stream = _named(store.ask("XINFO", "STREAM", key, "FULL", "COUNT", 0))
    stream[b"groups"] = [_named(group) for group in stream[b"groups"]]
    for group in stream[b"groups"]:
        group[b"consumers"] = [_shown(_named(consumer), hidden) for consumer in group[b"consumers"]]
    stream[b"groups"] = [_shown(group, hidden) for group in stream[b"groups"]]
    return {"stream": _shown(stream, hidden)}


def _shown(names: dict[bytes, Any], hidden: frozenset[bytes]) -> dict[bytes, Any]:
    return {name: value for name, value in names.items() if name not in hidden}


def _named(words: Any) -> dict[bytes, Any]:
    return words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))


_READERS: Final = {
    b"string": _string,
    b"list": _list,
    b"set": _set,
    b"zset": _zset,
    b"hash": _hash,
    b"stream": _stream,
}
