"""The journal: keys of writes that are not settled, on disk before their commands leave.

A process that is killed forgets what was on its way to the secondary. The journal does not: what it holds at
the next start are dirty keys. It holds keys, not commands, so it needs no order, and a key need be there only
once.

    note(db, keys)          a write is about to be sent: collect
    write()                 just before the bytes of a round leave: one system call for all of them
    run(settled, dirty)     cleans up

Files are written with plain blocking calls on purpose: handing one round's keys to the page cache takes a
few microseconds, a tenth of what a thread would cost, and the commands must not leave before. The price: a
disk so slow that the system makes writers wait makes the proxy wait.

**Cleaning.** Keys go to the newest of several segments. Now and then a new one is begun. When everything
that was noted before has been settled, a key of the older segments is either equal on both stores or known
to be dirty: the dirty ones are carried over to the new segment, and the older ones are deleted.

**Bounds.** Keys that stand in the current segment already are not written again, so a secondary that is slow
for long costs space by keys, not by writes. At the limit, or when the disk takes no more, the segment gets a
mark that keys are missing in it (`Gap`); a start that finds it must copy everything. The mark goes with its
segment, at the next cleaning: as long as the process lives it knows what is dirty, and nothing is lost.

**What a failure of the machine costs** depends on the policy. ``always``: nothing, and each round waits for
the disk. ``interval``: the last second's keys may be missing. ``never``: any may be. The last two are noticed
at the next start (the machine's boot id is another one), and everything must be copied.

A disk that has become read-only altogether cannot even be marked: if the process is killed then, the next
start does not know about the gap. That is why the warning says so.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import attrs
import trio

from dualkv.core.journal import GAP_OFFSET, SALT_BYTES, Gap, Recovery, encode_head, encode_record
from dualkv.errors import ConfigError
from dualkv.net.disk import StateFiles, boot_id, sync_data, sync_directory, sync_files, write_at
from dualkv.observe.logs import RateLimit

__all__ = ["Fsync", "Journal", "JournalStatistics"]

Fsync = Literal["never", "interval", "always"]

_TURN_SECONDS: Final = 1.0
"""How often it is looked whether there is something to clean, or to bring to the disk."""
_TURN_SHARE: Final = 50
"""Cleaning may take one part in so many of the time: a million dirty keys are not copied each second."""
_SEEN_BYTES: Final = 2 * 1024 * 1024
"""Written bytes whose keys are remembered, so as not to be written again; forgetting them takes 0.3 ms."""
_CARRY_KEYS: Final = 1000
"""Keys that are carried over before others get a turn: half a millisecond."""
_LOG_SECONDS: Final = 10.0

_SEGMENT: Final = re.compile(r"(\d{12})\.keys")

_log = logging.getLogger("dualkv.journal")


@attrs.frozen
class JournalStatistics:
    """How a journal is doing."""

    bytes: int
    """What its segments take on disk."""
    segments: int
    records: int
    """Rounds whose keys were written since the start."""
    failures: int
    """Calls that the disk refused since the start."""
    is_broken: bool
    """Whether the disk refused something and has not been seen to work again."""
    gap: Gap
    """Why keys are missing in the current segment: after ``kill -9`` now, everything must be copied."""
    recovered: int
    """Dirty keys that were found at the start."""


class Journal:
    """The keys of writes on their way, in a directory that belongs to this process.

    Begin with `open`; end with `finish`, or with `close` to leave everything to the next start. All calls
    come from one thread. None but `run` and `clean` waits for anything other than the disk, and once it is
    open nothing raises because of the disk: what it refuses is counted, logged now and then, and seen in
    `statistics`.

    Args:
        directory: Made if it is missing.
        fsync: When what was written is forced to the disk.
        max_bytes: Most that it may take there.
        clock: Seconds, monotonic.
    """

    def __init__(self, directory: Path, fsync: Fsync, max_bytes: int, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._fsync = fsync
        self._max_bytes = max_bytes
        self._clock = clock
        self._states = StateFiles(directory)
        self._lock = -1
        self._sizes: dict[int, int] = {}  # of each segment, by number; the last one is written
        self._bytes = 0  # their sum
        self._number = 0
        self._file = -1
        self._salt = b""
        self._gap = Gap.NONE
        self._is_gap_saved = True
        self._noted: defaultdict[int, set[bytes]] = defaultdict(set)
        self._seen: defaultdict[int, set[bytes]] = defaultdict(set)
        self._seen_bytes = 0
        self._records = 0
        self._recovered = 0
        self._failures = 0
        self._is_broken = False
        self._is_unsynced = False
        self._next_turn_at = clock() + _TURN_SECONDS
        self._cleaned_bytes = 0  # what was left after the last cleaning
        self._log_limit = RateLimit(_LOG_SECONDS, clock)

    def __repr__(self) -> str:
        state = "broken" if self._is_broken else self._gap.reason or "whole"
        return f"<Journal bytes={self._bytes} segments={len(self._sizes)} {state}>"

    def statistics(self) -> JournalStatistics:
        """Return how it is doing."""
        return JournalStatistics(
            bytes=self._bytes,
            segments=len(self._sizes),
            records=self._records,
            failures=self._failures,
            is_broken=self._is_broken,
            gap=self._gap,
            recovered=self._recovered,
        )

    # --- the start

    def open(self) -> Recovery:
        """Take the directory for this process; return what an earlier one left in it.

        That stays on disk until the first cleaning, and must be among the dirty keys by then.

        Raises:
            ConfigError: The directory cannot be read or written, or another process has it.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            recovery = self._recover()
        except OSError as error:
            self.close()
            why = "another process has it" if isinstance(error, BlockingIOError) else _text_of(error)
            raise ConfigError(f"journal_dir: {self._directory} cannot be used: {why}") from None
        _log.log(
            logging.WARNING if recovery.must_resync else logging.INFO,
            "journal opened",
            extra={
                "keys": len(recovery.keys),
                "torn_bytes": recovery.torn_bytes,
                "must_resync": recovery.reasons,
            },
        )
        return recovery

    def _recover(self) -> Recovery:
        recovery = Recovery()
        found = map(_SEGMENT.fullmatch, [path.name for path in self._directory.iterdir()])
        for number in sorted(int(match[1]) for match in found if match):
            path = self._path(number)
            if self._sizes and number - 1 not in self._sizes:  # they are deleted oldest first
                recovery.reasons.append(f"{path.name}: the segment before it is missing")
            data = path.read_bytes()
            self._sizes[number] = len(data)
            recovery.read(path.name, data)
        self._number = max(self._sizes, default=0)
        self._bytes = sum(self._sizes.values())
        self._recovered = len(recovery.keys)

        # The lock file says under which boot something was written that is not forced to the disk.
        sync_files(map(self._path, self._sizes))
        boot = boot_id()
        has_lost_power = os.pread(self._lock, len(boot) + 1, 0) not in (b"", boot)
        if has_lost_power:
            recovery.reasons.append(Gap.POWER.reason)
        self._begin(Gap.POWER if has_lost_power else Gap.NONE)  # on the disk before the lock file forgets it
        os.ftruncate(self._lock, 0)
        if self._fsync != "always":
            os.pwrite(self._lock, boot, 0)
        os.fsync(self._lock)
        return recovery

    # --- the hot path

    def note(self, db: int, keys: Sequence[bytes]) -> None:
        """Take note that a write to *keys* is about to be sent; `write` must come before its bytes leave."""
        self._noted[db].update(keys)

    def note_everything(self) -> None:
        """Take note that a write is about to be sent which may touch any key."""
        if self._gap is Gap.NONE:
            self._leave_gap(Gap.ANY_KEY)

    def write(self) -> None:
        """Write what was noted since the last call. Call it just before the bytes of a round leave."""
        if not self._noted:
            return
        if self._gap is Gap.NONE:
            self._write_noted()
        elif not self._is_gap_saved:
            self._save_gap()
        # else: every key is dirty at the next start anyway
        self._noted.clear()

    def _write_noted(self) -> None:
        seen = self._seen
        fresh = {db: new for db, keys in self._noted.items() if (new := keys - seen[db])}
        if not fresh:
            return None
        data = b"".join([encode_record(self._salt, db, keys) for db, keys in fresh.items()])
        if self._bytes + len(data) > self._max_bytes:
            self._warn("the journal is full: a start after a crash will copy everything")
            return self._leave_gap(Gap.FULL)
        size = self._sizes[self._number]
        try:
            write_at(self._file, data, size)
            self._sync_if_always()
        except OSError as error:
            self._count_failure(error)
            with suppress(OSError):
                os.ftruncate(self._file, size)
            return self._leave_gap(Gap.FAILED)
        self._sizes[self._number] = size + len(data)
        self._bytes += len(data)
        self._records += 1
        self._is_unsynced = True
        self._seen_bytes += len(data)
        if self._seen_bytes > _SEEN_BYTES:
            self._forget_seen()
        for db, keys in fresh.items():
            seen[db] |= keys

    def _forget_seen(self) -> None:
        self._seen.clear()
        self._seen_bytes = 0

    def _leave_gap(self, gap: Gap) -> None:
        """Say in the segment's head that keys are missing."""
        self._gap = gap
        self._is_gap_saved = False
        self._forget_seen()
        self._save_gap()

    def _save_gap(self) -> None:
        try:
            os.pwrite(self._file, self._gap.value, GAP_OFFSET)
            self._sync_if_always()
        except OSError as error:
            self._count_failure(error)
        else:
            self._is_gap_saved = True
            self._is_unsynced = True

    def _sync_if_always(self) -> None:
        if self._fsync == "always":
            sync_data(self._file)

    def _count_failure(self, error: OSError) -> None:
        self._failures += 1
        self._is_broken = True
        self._warn("the journal cannot be written: keys of writes are lost if dualkv is killed now", error)

    def _warn(self, text: str, error: OSError | None = None) -> None:
        suppressed = self._log_limit.allow()
        if suppressed is not None:
            why = {"why": _text_of(error)} if error else {}
            _log.warning(text, extra={"directory": str(self._directory), "suppressed": suppressed, **why})

    # --- segments

    def _begin(self, gap: Gap) -> None:
        """Begin a new segment, or raise `OSError` and let the current one go on."""
        number = self._number + 1
        path = self._path(number)
        salt = os.urandom(SALT_BYTES)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        head = encode_head(salt, gap)
        try:
            write_at(file, head, 0)
            if self._fsync == "always" or self._file < 0:  # at the start, a full disk must show
                sync_data(file)
                sync_directory(self._directory)
        except OSError:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._salt = file, number, salt
        self._gap, self._is_gap_saved = gap, True
        self._sizes[number] = len(head)
        self._bytes += len(head)
        self._forget_seen()
        self._is_broken = False
        self._is_unsynced = True

    def rotate(self) -> bool:
        """Begin a new segment if the disk allows it; return whether it did."""
        try:
            self._begin(Gap.NONE if self._is_gap_saved else self._gap)
        except OSError as error:
            self._count_failure(error)
            return False
        return True

    def carry_over(self, keys: Iterable[tuple[int, bytes]] | None) -> None:
        """Write keys that are dirty into the current segment; None: any key may be."""
        if keys is None:
            return self.note_everything()
        for db, key in keys:
            self._noted[db].add(key)
        self.write()

    def drop_before(self, number: int) -> None:
        """Delete the segments with smaller numbers, the oldest first."""
        for old in [old for old in self._sizes if old < number]:
            try:
                self._path(old).unlink(missing_ok=True)
            except OSError as error:
                return self._count_failure(error)
            self._bytes -= self._sizes.pop(old)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}.keys"

    # --- cleaning

    async def run(
        self,
        settled: Callable[[], Awaitable[None]],
        dirty: Callable[[], Iterable[tuple[int, bytes]] | None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the journal small until cancelled.

        Args:
            settled: Returns once each write that was noted before the call is settled: it is on the
                secondary, or `dirty` returns its keys. A write that was not sent at all is settled, too.
            dirty: Returns the keys that are dirty or being repaired now, those recovered at the start
                included, and those of commands that may wait for long (``BLPOP``); None if every key may be
                dirty, and nothing but the journal knows.
            task_status: Told at once.
        """
        async with trio.open_nursery() as nursery:
            if self._fsync == "interval":
                nursery.start_soon(self._sync_again_and_again)
            task_status.started()
            while True:
                await trio.sleep(_TURN_SECONDS)
                if self._is_turn_due():
                    await self.clean(settled, dirty)

    def _is_turn_due(self) -> bool:
        has_something = self._bytes > GAP_OFFSET + 1 or self._gap is not Gap.NONE or self._is_broken
        has_grown = self._bytes - self._cleaned_bytes > self._max_bytes // 4
        return has_something and (has_grown or self._clock() >= self._next_turn_at)

    async def clean(
        self,
        settled: Callable[[], Awaitable[None]],
        dirty: Callable[[], Iterable[tuple[int, bytes]] | None],
    ) -> None:
        """Delete what is settled, once; arguments as for `run`."""
        if not self.rotate():
            return
        number = self._number
        await settled()
        began = self._clock()
        keys = dirty()
        if keys is None:
            self.note_everything()
        else:
            snapshot = list(keys)
            for start in range(0, len(snapshot), _CARRY_KEYS):
                self.carry_over(snapshot[start : start + _CARRY_KEYS])
                if self._gap is not Gap.NONE:
                    break  # it stands for all of them
                await trio.lowlevel.checkpoint()
        if self._is_gap_saved:
            self.drop_before(number)
        self._cleaned_bytes = self._bytes
        now = self._clock()
        self._next_turn_at = now + max(_TURN_SECONDS, (now - began) * _TURN_SHARE)

    async def _sync_again_and_again(self) -> None:
        while True:
            await trio.sleep(_TURN_SECONDS)
            if not self._is_unsynced:
                continue
            self._is_unsynced = False
            try:
                await trio.to_thread.run_sync(sync_files, [self._path(number) for number in self._sizes])
            except OSError as error:  # what was written may be gone, whatever a later call says
                self._count_failure(error)
                self._leave_gap(Gap.FAILED)

    # --- the end

    def finish(self, left: Iterable[tuple[int, bytes]] | None) -> None:
        """End in order: keep the keys that are *left*, and nothing else; then `close`.

        `run` must have ended, and nothing may be noted any more.

        Args:
            left: Keys that are dirty, and those of writes that are not settled; None if any key may be.
        """
        left = left if left is None else list(left)
        if left == []:
            self.drop_before(self._number + 1)
            self._forget_boot()
        elif self.rotate():
            self.carry_over(left)
            try:
                sync_data(self._file)
                sync_directory(self._directory)
            except OSError as error:
                self._count_failure(error)
            else:
                if self._is_gap_saved:
                    self.drop_before(self._number)
                    self._forget_boot()
        self.close()

    def _forget_boot(self) -> None:
        """From now on a failure of the machine costs nothing."""
        with suppress(OSError):
            os.ftruncate(self._lock, 0)

    def close(self) -> None:
        """Give the directory back and leave everything in it to the next start. Idempotent."""
        for file in (self._file, self._lock):
            if file >= 0:
                os.close(file)
        self._file = self._lock = -1

    # --- small states beside the keys

    def save_state(self, name: str, data: bytes) -> bool:
        """Keep *data* under a *name*, as `StateFiles.save` does; return whether the disk took it."""
        try:
            self._states.save(name, data)
        except OSError as error:
            self._count_failure(error)
            return False
        return True

    def load_state(self, name: str) -> bytes | None:
        """Return what was kept under a *name*: None if nothing, empty if it cannot be read."""
        try:
            return self._states.load(name)
        except OSError as error:
            self._count_failure(error)
            return b""

    def drop_state(self, name: str) -> bool:
        """Forget what was kept under a *name*; return whether the disk allowed it."""
        try:
            self._states.drop(name)
        except OSError as error:
            self._count_failure(error)
            return False
        return True


def _text_of(error: OSError) -> str:
    return error.strerror or str(error)
