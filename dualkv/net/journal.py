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
from zlib import crc32

import attrs
import trio

from dualkv.core.journal import GAP_OFFSET, SALT_BYTES, Gap, Recovery, encode_head, encode_record
from dualkv.errors import ConfigError
from dualkv.observe.logs import RateLimit

__all__ = ["Fsync", "Journal", "JournalStatistics", "open_journal"]

Fsync = Literal["never", "interval", "always"]

_TURN_SECONDS: Final = 1.0
"""How often it is looked whether there is something to clean, or to bring to the disk."""
_TURN_SHARE: Final = 50
"""Cleaning may take one part in so many of the time: a million dirty keys are not copied each second."""
_SEEN_BYTES: Final = 1024 * 1024
"""Written bytes whose keys are remembered, so as not to be written again."""
_CARRY_KEYS: Final = 1000
"""Keys that are carried over before others get a turn: half a millisecond."""
_LOG_SECONDS: Final = 10.0

_SEGMENT: Final = re.compile(r"(\d{8,})\.keys")
_STATE_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger("dualkv.journal")

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the other


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


def open_journal(
    directory: Path, fsync: Fsync, max_bytes: int, clock: Callable[[], float]
) -> tuple[Journal, Recovery]:
    """Take a directory for this process; return the journal and what an earlier process left in it.

    What is recovered stays on disk until the first cleaning: it must be among the dirty keys by then.

    Args:
        directory: Made if it is missing. Nobody else may use it.
        fsync: When what was written is forced to the disk.
        max_bytes: Most that it may take there.
        clock: Seconds, monotonic.

    Returns:
        The journal, to be ended with `Journal.finish` or `Journal.close`.

    Raises:
        ConfigError: The directory cannot be written or read, or another process has it.
    """
    lock = -1
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        numbers, recovery = _read_all(directory)
        boot = _boot_id()
        before = os.pread(lock, len(boot) + 1, 0)
        has_lost_power = before not in (b"", boot)
        if has_lost_power:
            recovery.reasons.append(Gap.POWER.reason)
        journal = Journal(directory, lock, numbers, len(recovery.keys), fsync, max_bytes, clock)
        # The mark repeats what only the lock file knew, and must be there before that is overwritten.
        journal.begin(Gap.POWER if has_lost_power else Gap.NONE)
        os.ftruncate(lock, 0)
        if fsync != "always":
            os.pwrite(lock, boot, 0)
        os.fsync(lock)
        _sync_directory(directory)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(f"journal_dir: {directory} is in use by another process") from None
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        raise ConfigError(f"journal_dir: {directory} cannot be used: {error.strerror or error}") from None
    return journal, recovery


def _read_all(directory: Path) -> tuple[dict[int, int], Recovery]:
    """Return the size of each segment by its number, in order, and what all of them say."""
    found = [
        (int(match[1]), path) for path in directory.iterdir() if (match := _SEGMENT.fullmatch(path.name))
    ]
    sizes: dict[int, int] = {}
    recovery = Recovery()
    for number, path in sorted(found):
        if sizes and number - 1 not in sizes:  # they are deleted oldest first
            recovery.reasons.append(f"{path.name}: the segment before it is missing")
        data = path.read_bytes()
        sizes[number] = len(data)
        recovery.read(path.name, data)
    return sizes, recovery


class Journal:
    """An open journal. Made by `open_journal`; one process, one thread.

    No method but `run` and `clean` waits for anything other than the disk, and none but `begin` raises
    because of it: what the disk refuses is counted, logged now and then, and seen in `statistics`.
    """

    def __init__(
        self,
        directory: Path,
        lock: int,
        sizes: dict[int, int],
        recovered: int,
        fsync: Fsync,
        max_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._lock = lock
        self._sizes = sizes  # of each segment, by number; the last one is written
        self._bytes = sum(sizes.values())
        self._recovered = recovered
        self._fsync = fsync
        self._max_bytes = max_bytes
        self._clock = clock
        self._number = max(sizes, default=0)
        self._file = -1
        self._salt = b""
        self._gap = Gap.NONE
        self._is_gap_saved = True
        self._noted: defaultdict[int, set[bytes]] = defaultdict(set)
        self._seen: defaultdict[int, set[bytes]] = defaultdict(set)
        self._seen_bytes = 0
        self._records = 0
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
        data = b"".join(
            [
                encode_record(self._salt, db, fresh)
                for db, keys in self._noted.items()
                if (fresh := keys - seen[db])
            ]
        )
        if not data:
            return None
        if self._bytes + len(data) > self._max_bytes:
            self._warn("the journal is full: a start after a crash will copy everything")
            return self._leave_gap(Gap.FULL)
        size = self._sizes[self._number]
        try:
            _write_at(self._file, data, size)
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
        for db, keys in self._noted.items():
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
            _sync(self._file)

    def _count_failure(self, error: OSError) -> None:
        self._failures += 1
        self._is_broken = True
        self._warn("the journal cannot be written: keys of writes are lost if dualkv is killed now", error)

    def _warn(self, text: str, error: OSError | None = None) -> None:
        suppressed = self._log_limit.allow()
        if suppressed is not None:
            why = {"why": error.strerror or str(error)} if error else {}
            _log.warning(text, extra={"directory": str(self._directory), "suppressed": suppressed, **why})

    # --- segments

    def begin(self, gap: Gap = Gap.NONE) -> None:
        """Begin a new segment.

        Raises:
            OSError: It cannot be written. The current one, if any, goes on.
        """
        number = self._number + 1
        path = self._path(number)
        salt = os.urandom(SALT_BYTES)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        head = encode_head(salt, gap)
        try:
            _write_at(file, head, 0)
            if self._fsync == "always" or self._file < 0:  # at the start, a full disk must show
                _sync(file)
                _sync_directory(self._directory)
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
            self.begin(Gap.NONE if self._is_gap_saved else self._gap)
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
        return self._directory / f"{number:08d}.keys"

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
                secondary, or its keys are dirty. A write that was not sent at all is settled, too.
            dirty: Returns the keys that are dirty or being repaired now, those recovered at the start
                included; None if every key may be, and nothing but the journal knows.
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
        has_something = self._bytes > GAP_OFFSET + 1 or self._gap is not Gap.NONE
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
            file = os.dup(self._file)  # the original may be closed meanwhile, by a rotation
            try:
                await trio.to_thread.run_sync(_sync, file)
            except OSError as error:  # what was written may be gone, whatever a later call says
                self._count_failure(error)
                self._leave_gap(Gap.FAILED)
            finally:
                os.close(file)

    # --- the end

    def finish(self, left: Iterable[tuple[int, bytes]] | None) -> None:
        """End in order: keep the keys that are *left*, and nothing else; then `close`.

        `run` must have ended, and nothing may be noted any more.

        Args:
            left: Keys that are dirty, or of writes that are not settled; None if any key may be.
        """
        left = left if left is None else list(left)
        if left == []:
            self.drop_before(self._number + 1)
            self._forget_boot()
        elif self.rotate():
            self.carry_over(left)
            try:
                _sync(self._file)
                _sync_directory(self._directory)
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

    # --- something else that must survive

    def save_state(self, name: str, data: bytes) -> bool:
        """Keep a few bytes under a *name* (lower case letters, digits, dashes), atomically.

        It waits for the disk, whatever the policy: not for the hot path.

        Returns:
            Whether they are on disk. If not, what was there before still is.
        """
        path = self._state_path(name)
        fresh = path.with_suffix(".fresh")
        try:
            with fresh.open("wb") as file:
                file.write(crc32(data).to_bytes(4, "little") + data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync_directory(self._directory)
        except OSError as error:
            self._count_failure(error)
            return False
        return True

    def load_state(self, name: str) -> bytes | None:
        """Return what was kept under a *name*: None if nothing, empty if it cannot be read any more."""
        try:
            content = self._state_path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._count_failure(error)
            return b""
        check, data = content[:4], content[4:]
        return data if check == crc32(data).to_bytes(4, "little") else b""

    def drop_state(self, name: str) -> None:
        """Forget what was kept under a *name*."""
        try:
            self._state_path(name).unlink(missing_ok=True)
        except OSError as error:
            self._count_failure(error)

    def _state_path(self, name: str) -> Path:
        if not _STATE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a state")
        return self._directory / f"{name}.state"


def _write_at(file: int, data: bytes, position: int) -> None:
    """Write all of *data*; a disk that becomes full may take a part first."""
    written = os.pwrite(file, data, position)
    while written < len(data):
        written += os.pwrite(file, data[written:], position + written)


def _sync_directory(directory: Path) -> None:
    """Bring names of files to the disk."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _boot_id() -> bytes:
    """Return what is another one whenever the machine was started; empty where no one knows."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""
