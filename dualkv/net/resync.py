"""A resync beside live traffic: what only the secondary has is removed, all keys of the primary are copied.

It is also the back-fill of a new secondary. It runs when not even the keys are known that may differ, or when
somebody says so. Each key is copied at its own position of its lane, so nothing has to wait or to be locked.

The first walk asks the primary for each key of the secondary, on the lane: a key that is missing there at
that position is removed at that position. So a key that is created afterwards is created on both stores
alike, and does not meet what was left of an older one of its name. The second walk copies: ``SCAN`` returns
every key that is there from its beginning to its end; a key that comes meanwhile comes with its writes. What
expires on the primary before it is copied would stay there if its expiry had not got there: so the first walk
is made once more at the end.

A primary that cannot be asked for its keys (ElasticKV) is walked by the secondary's: the first walk copies
those, and there is no second one. What only such a primary has is found when it is read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.context import Context
from dualkv.core.effects.model import Command
from dualkv.core.ledger import Queue
from dualkv.core.mirror import commands_item
from dualkv.core.progress import Phase, ResyncProgress
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.calls import Call, PositionedCall, wait_all
from dualkv.net.connection import Connection
from dualkv.net.lane import LaneState
from dualkv.observe.logs import RateLimit
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error, value_of

if TYPE_CHECKING:
    from dualkv.net.copier import Copier
    from dualkv.net.stream import SecondaryStream
    from dualkv.net.writer import DualWriter

__all__ = ["Resync"]

_SCAN_COUNT: Final = 256
_COPIED_AT_ONCE: Final = 32
"""From a primary that cannot list its keys, where reading one costs a commit: 0.1 s."""
_STATE: Final = "resync"
_SAVE_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.2

_KEYSPACE: Final = re.compile(r"^db(\d+):keys=(\d+)", re.MULTILINE)

_log = logging.getLogger("dualkv.resync")


class Resync:
    """Runs resyncs, one at a time.

    Args:
        writer: Whose stores they are.
        stream: Where copies enter.
        copier: Who makes them.
        progress: Where it is told how far it is.
    """

    def __init__(
        self, writer: DualWriter, stream: SecondaryStream, copier: Copier, progress: ResyncProgress
    ) -> None:
        self._writer = writer
        self._stream = stream
        self._copier = copier
        self.progress = progress
        self._is_automatic = writer.config.resync == "auto" and writer.config.repair != "off"
        self._wanted: str | None = "backfill" if writer.config.backfill else None
        self._trouble_log = RateLimit(_LOG_SECONDS, writer.clock)
        self._told: str | None = None
        self._scope = trio.CancelScope()
        self._saved_at = 0.0
        self._logged_at = 0.0

    def take_over(self, *, is_automatic: bool) -> None:
        """Go on with what another writer of this process has begun; a back-fill it has begun, too.

        Args:
            is_automatic: Whether one begins by itself, if the settings say so: else somebody has to ask.
        """
        self._wanted = self.progress.why if self.progress.is_running else None
        self._is_automatic = self._is_automatic and is_automatic

    def request(self, why: str) -> None:
        """Begin one as soon as that is possible, and repair what is dirty."""
        self._wanted = self._wanted or why
        self._copier.repair_now()

    def resume(self, data: bytes | None) -> None:
        """Go on where an earlier process had to stop, if it had to."""
        found = ResyncProgress.loaded(data)
        if found is not None and found.is_running:
            mine = self.progress
            mine.phase, mine.db, mine.cursor, mine.run_id = found.phase, found.db, found.cursor, found.run_id
            mine.keys_done, mine.keys_removed = found.keys_done, found.keys_removed
            self.request(found.why)

    def stop(self) -> None:
        """Begin none, and do not go on with one."""
        self._scope.cancel("nobody wants it any more")

    async def run(self) -> None:
        """Run resyncs until cancelled or stopped."""
        with self._scope:
            await self._run()

    async def _run(self) -> None:
        dirty = self._writer.dirty
        while True:
            if dirty.needs_resync is not None and dirty.needs_resync != self._told:
                self._told = dirty.needs_resync
                _log.warning("resync required", extra={"why": self._told, "automatic": self._is_automatic})
            if self._wanted is None and self._is_automatic:
                self._wanted = dirty.needs_resync
            is_possible = self._writer.lane.state is LaneState.UP and not self._stream.gate.is_paused
            if self._wanted is None or not is_possible:
                await trio.sleep(_RETRY_SECONDS)
                continue
            why, self._wanted = self._wanted, None
            self.progress.begin(why, self._writer.clock())
            self._save(force=True)
            dirty.needs_resync = None  # what comes from now on makes the next one necessary
            dirty.functions = True
            self._copier.wake()
            self._stream.translator.contacts.clear()  # new keys may meet what was left of old ones
            await self._resync(why)

    async def _resync(self, why: str) -> None:
        progress, clock = self.progress, self._writer.clock
        while True:
            try:
                keys_in_db = await self._count_keys()
                break
            except ConnectionLost:
                await trio.sleep(_RETRY_SECONDS)
        progress.keys_total = sum(keys_in_db.values())
        _log.warning("resync begins", extra={"why": why, "keys": progress.keys_total})
        swaps = self._stream.doubtful.swaps
        is_copied = False
        while not is_copied:
            if progress.run_id != self._run_id():
                progress.begin_again(self._run_id())
            if progress.phase is Phase.CLEANING:
                await self._clean_all()
                progress.begin_copying(clock())
            is_copied = progress.phase is Phase.CHECKING or await self._copy_each(keys_in_db)
        if self._stream.doubtful.swaps != swaps:
            self._writer.dirty.require_resync("databases were exchanged during a resync")
        progress.begin_checking()
        await self._clean_all()
        seconds = clock() - progress.started_at
        _log.warning(
            "resync has ended",
            extra={
                "keys": progress.keys_done, "removed": progress.keys_removed, "seconds": round(seconds, 1)
            },
        )  # fmt: skip
        progress.end(clock())
        self._save(force=True)

    async def _ask(self, db: int, *requests: bytes) -> list[bytes]:
        call = Call(len(requests))
        self._copier.submit(db, b"".join(requests), call)
        return await call.wait()

    async def _count_keys(self) -> dict[int, int]:
        (reply,) = await self._ask(self._writer.primary.options.db, command("INFO", "keyspace"))
        found = _keys_in(reply)
        return (
            found
            if not self._writer.has_paired_dbs
            else dict.fromkeys([self._writer.primary.options.db], sum(found.values()))
        )

    # --- the primary's keys

    def _run_id(self) -> str:
        identity = self._writer.primary_identity
        return identity.run_id if identity is not None else ""

    async def _copy_each(self, dbs: Iterable[int]) -> bool:
        """Copy all databases; return whether the primary was the same process all the time."""
        if not self._lists_primary:
            _log.warning(
                "the primary's keys cannot be listed: those that only it has are found as they are read"
            )
            return True
        progress = self.progress
        for db in sorted(db for db in dbs if db >= progress.db):
            if not await self._copy_all(db):
                return False
        return True

    async def _copy_all(self, db: int) -> bool:
        """Copy a database; return whether the primary was the same process all the time."""
        progress = self.progress
        if progress.db != db:
            progress.db, progress.cursor = db, b"0"
        while True:
            try:
                (reply,) = await self._ask(db, command("SCAN", progress.cursor, "COUNT", _SCAN_COUNT))
                cursor, keys = _scanned(reply)
                progress.bytes_done += await self._copier.copy_found([(db, key) for key in keys])
            except ConnectionLost as error:
                self._tell_trouble(error)
                await trio.sleep(_RETRY_SECONDS)  # the same piece again
                continue
            if progress.run_id != self._run_id():
                return False
            progress.keys_done += len(keys)
            progress.cursor = cursor
            self._tell()
            if cursor == b"0":
                return True

    # --- the secondary's keys

    @property
    def _lists_primary(self) -> bool:
        """Whether the primary's keys can be listed; else the secondary's are copied."""
        return self._writer.primary_dialect.is_enumerable

    async def _is_enumerable(self) -> bool:
        """Whether the secondary's keys can be listed; waits until it has said what it is."""
        while (dialect := self._stream.dialect) is None:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(_RETRY_SECONDS)
        return dialect.has("SCAN") and dialect.is_enumerable

    async def _clean_all(self) -> None:
        """Walk the secondary, where that is possible, until it has been done without trouble.

        Where it is not, and it may have missed a flush, it is flushed now: all is copied behind that.
        """
        progress, dirty = self.progress, self._writer.dirty
        is_first = progress.phase is Phase.CLEANING
        if is_first and dirty.has_missed_flush and not await self._is_enumerable():
            flush = commands_item(
                Queue.COPY, [Command((b"FLUSHALL",))], self._writer.clock(), self._writer.own_context
            )
            dirty.has_missed_flush = False
            self._stream.offer([flush])
        while await self._is_enumerable():
            try:
                await self._clean()
                return
            except (ConnectionLost, ReplyProtocolError, BackendUnavailable, trio.TooSlowError) as error:
                self._tell_trouble(error)
                progress.cursor = b"0"
                await trio.sleep(_RETRY_SECONDS)

    async def _clean(self) -> None:
        """Walk the secondary on a connection of its own."""
        backend = self._stream.backend
        sock, greeting = await backend.open("resync")
        connection = Connection(sock, greeting)
        try:
            # Where one store's databases are one, only that one of the other store belongs to it.
            dialects = (self._writer.primary_dialect, self._stream.dialect)
            paired = self._writer.has_paired_dbs or not all(
                one is None or one.has_databases for one in dialects
            )
            (reply,) = await self._call(connection, command("INFO", "keyspace"))
            # Who does not tell has what the primary's clients use, as far as anybody knows.
            for db in sorted(_keys_in(reply) if not _is_refusal(reply) else self._writer.lane.dbs):
                if paired and db != backend.options.db:
                    continue
                own = self._writer.primary.options.db if paired else db
                await self._call(connection, command("SELECT", db))
                await self._clean_db(connection, own)
        finally:
            connection.close()
            backend.closed("resync", lost=False)

    async def _call(self, connection: Connection, wire: bytes) -> list[bytes]:
        with trio.fail_after(self._writer.config.read_timeout_seconds):
            return await connection.exchange(wire, 1)

    async def _clean_db(self, connection: Connection, db: int) -> None:
        progress = self.progress
        progress.db = db
        cursor = b"0"
        while True:
            while self._stream.gate.is_paused:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(_RETRY_SECONDS)
            (reply,) = await self._call(connection, command("SCAN", cursor, "COUNT", _SCAN_COUNT))
            if _is_refusal(reply):
                _log.error("the secondary's keys cannot be listed", extra={"why": _text(reply)})
                return
            cursor, keys = _scanned(reply)
            await self._make_equal(db, keys)
            self._tell()
            if cursor == b"0":
                return

    async def _make_equal(self, db: int, keys: Sequence[bytes]) -> None:
        """Remove those keys that only the secondary has; copy the others, if the primary cannot list them.

        Whenever the lane is lost it goes on where it was: a primary may lose it faster than all can be read.
        """
        progress = self.progress
        copies = not self._lists_primary and progress.phase is Phase.CLEANING
        at_once = _COPIED_AT_ONCE if copies else _SCAN_COUNT
        at = 0
        while at < len(keys):
            piece = keys[at : at + at_once]
            try:
                await self._remove_missing(db, piece)
                if copies:
                    progress.bytes_done += await self._copier.copy_found([(db, key) for key in piece])
                    progress.keys_done += len(piece)
            except ConnectionLost as error:
                self._tell_trouble(error)
                await trio.sleep(_RETRY_SECONDS)
                continue
            at += len(piece)

    async def _remove_missing(self, db: int, keys: Sequence[bytes]) -> None:
        """Remove those keys from the secondary that the primary has not, each at its position."""
        await self._writer.lanes.wait_free(keys)
        parts = self._writer.lanes.split(keys, lambda key: key)
        await wait_all([self._ask_for(db, part) for part in parts])

    def _ask_for(self, db: int, keys: Sequence[bytes]) -> Call:
        stream = self._stream

        def take(frames: list[bytes], now: float) -> None:
            for key, frame in zip(keys, frames, strict=True):
                if frame == b":0\r\n" and (db, key) not in self._writer.dirty:
                    self.progress.keys_removed += 1
                    stream.offer([commands_item(Queue.COPY, [Command((b"DEL", key))], now, Context(db=db))])

        call = PositionedCall(len(keys), take)
        self._copier.submit(db, b"".join(command("EXISTS", key) for key in keys), call, keys)
        return call

    # --- telling

    def _tell_trouble(self, error: Exception) -> None:
        suppressed = self._trouble_log.allow()
        if suppressed is not None:
            _log.warning("resync waits", extra={"why": str(error), "suppressed": suppressed})

    def _tell(self) -> None:
        now = self._writer.clock()
        if now - self._logged_at > _LOG_SECONDS:
            self._logged_at = now
            progress = self.progress
            eta = progress.eta_seconds(now)
            _log.info(
                "resync",
                extra={
                    "phase": progress.phase.value, "keys": progress.keys_done, "of": progress.keys_total,
                    "bytes": progress.bytes_done,
                    "per_second": round(progress.keys_per_second(now)),
                    "eta_seconds": None if eta is None else round(eta),
                },
            )  # fmt: skip
        self._save()

    def _save(self, *, force: bool = False) -> None:
        journal, now = self._writer.notes.journal, self._writer.clock()
        if journal is None or (now - self._saved_at < _SAVE_SECONDS and not force):
            return
        self._saved_at = now
        if self.progress.is_running:
            journal.save_state(_STATE, self.progress.saved())
        else:
            journal.drop_state(_STATE)


def _is_refusal(reply: bytes) -> bool:
    """Whether a store says no for good."""
    return reply.startswith((b"-ERR", b"-NOPERM"))


def _scanned(reply: bytes) -> tuple[bytes, list[bytes]]:
    """Return cursor and keys of a reply to ``SCAN``; an error is a reason to try again."""
    if is_error(reply):
        raise ConnectionLost(_text(reply))
    cursor, keys = value_of(reply)
    return cursor, keys


def _text(error: bytes) -> str:
    return error[1:].decode(errors="replace").strip()


def _keys_in(info: bytes) -> dict[int, int]:
    """Return how many keys each database has, by the reply to ``INFO keyspace``."""
    if is_error(info):
        raise ConnectionLost(_text(info))
    text = value_of(info)
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return {int(db): int(count) for db, count in _KEYSPACE.findall(text.replace("\r\n", "\n"))}
