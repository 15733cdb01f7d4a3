"""One key from one store to another: a look at it, then whichever way is right for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dualkv.core.copying.by_type import KINDS, reads, writes
from dualkv.core.copying.chunks import SCANNED, ChunkedCopy
from dualkv.core.copying.dump import dump_reads, dump_writes
from dualkv.core.copying.model import Copied, said, values_of
from dualkv.core.dialect import Dialect, reads_version
from dualkv.core.effects.model import Args, Command

__all__ = ["BIG_BYTES", "KeyCopy", "can_chunk"]

BIG_BYTES: Final = 1024 * 1024
"""Bigger hashes, sets and sorted sets go in chunks. A megabyte takes a server a millisecond or two; cloud
operators call a collection big from 1 to 10 MB on."""


def can_chunk(kind: bytes) -> bool:
    """Whether keys of a type, as ``TYPE`` answers it, can be copied in chunks."""
    return kind in SCANNED


_Step = Callable[[Sequence[bytes], int], Copied]


class KeyCopy:
    """A key on its way: send `next_read` to the primary, give the replies to `on_replies`, until `is_over`.

    It knows nothing of positions and connections: `dualkv.core.copying.chunks` says what its user must see to
    while `is_under_way`.

    Args:
        key: The key.
        source: What the primary can do.
        target: What the other store can do.
        with_dump: Whether ``DUMP`` may be used; not again after a refused ``RESTORE``.
    """

    def __init__(self, key: bytes, source: Dialect, target: Dialect, *, with_dump: bool = True) -> None:
        self.key = key
        self.is_over = False
        self._source, self._target = source, target
        self._with_dump = with_dump
        self._chunks: ChunkedCopy | None = None
        self._reads: tuple[Args, ...] = ()
        self._step: _Step = self._on_look
        self.restart()

    def __repr__(self) -> str:
        return f"<KeyCopy {self.key!r}{' over' if self.is_over else ''}>"

    @property
    def is_under_way(self) -> bool:
        """Whether a part of the key has been sent, and another part has not."""
        return self._chunks is not None and self._chunks.is_under_way

    @property
    def progress(self) -> tuple[int, int]:
        """Elements sent, and elements in all; (0, 0) for a key that is copied at once."""
        return (self._chunks.done, self._chunks.total) if self._chunks else (0, 0)

    def restart(self) -> None:
        """Begin again: the next read looks at the key anew."""
        self.is_over = False
        self._chunks = None
        self._step = self._on_look
        look: tuple[Args, ...] = ((b"TYPE", self.key),)
        if self._source.has("MEMORY USAGE"):
            look += ((b"MEMORY", b"USAGE", self.key),)
        self._reads = look

    def next_read(self) -> tuple[Args, ...]:
        """Return what to read next, in one piece (MULTI … EXEC)."""
        return self._chunks.next_read() if self._chunks else self._reads

    def on_replies(self, replies: Sequence[bytes], now_ms: int) -> Copied:
        """Return what to write, at the position of the replies; often nothing yet.

        Args:
            replies: Raw frames, one for each command of `next_read`.
            now_ms: The primary's clock when it answered.

        Raises:
            CopyFailed: The primary answered an error.
        """
        return self._step(replies, now_ms)

    def _on_look(self, replies: Sequence[bytes], _: int) -> Copied:
        kind, *sizes = values_of(self.key, replies)
        size = sizes[0] if sizes and sizes[0] else 0
        if kind == b"none":
            return self._end(said([Command((b"DEL", self.key))], self._target))
        if can_chunk(kind) and size > BIG_BYTES:
            self._chunks = ChunkedCopy(kind, self.key, self._source, self._target)
            self._step = self._on_chunk
        elif (
            self._with_dump
            and self._source.has("DUMP")
            and reads_version(self._target, self._source.rdb_version)
        ):
            self._reads = dump_reads(self.key, self._source)
            self._step = lambda replies, now_ms: self._on_dump(kind, replies, now_ms)
        else:
            return self._go_by_type(kind)
        return Copied()

    def _on_dump(self, kind: bytes, replies: Sequence[bytes], now_ms: int) -> Copied:
        copied = dump_writes(self.key, replies, now_ms, self._source, self._target)
        return self._go_by_type(kind) if copied is None else self._end(copied)

    def _go_by_type(self, kind: bytes) -> Copied:
        if kind not in KINDS:  # a module's: rather no value than one from before
            return self._end(
                said([Command((b"DEL", self.key))], self._target, (kind.decode(errors="replace"),))
            )
        self._reads = reads(kind, self.key, self._source)
        self._step = lambda replies, now_ms: self._on_type(kind, replies, now_ms)
        return Copied()

    def _on_type(self, kind: bytes, replies: Sequence[bytes], now_ms: int) -> Copied:
        copied = writes(kind, self.key, replies, now_ms, self._source, self._target)
        if copied is None:
            self.restart()
            return Copied()
        return self._end(copied)

    def _on_chunk(self, replies: Sequence[bytes], now_ms: int) -> Copied:
        assert self._chunks is not None
        copied = self._chunks.on_replies(replies, now_ms)
        if self._chunks.is_disturbed:
            self.restart()
            return copied
        self.is_over = self._chunks.is_over
        return copied

    def _end(self, copied: Copied) -> Copied:
        self.is_over = True
        return copied
