"""The file of divergences, if there is to be one: JSON lines, or SQLite.

What is to be written waits in a bounded queue; a worker (`dualkv.net.divergence_log`) takes it in batches
and writes them in a thread. A batch that the disk does not take is counted and forgotten. Files are opened
for each batch: they may be moved away at any time.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from dualkv.config.values import DATABASE_SUFFIXES
from dualkv.core.divergence import Divergence
from dualkv.errors import ConfigError

__all__ = [
    "DROP_REASONS",
    "DivergenceFile",
    "DivergenceLog",
    "JsonLinesFile",
    "SqliteFile",
    "open_divergence_log",
]

MAX_WAITING: Final = 10_000
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
_BATCH: Final = 500

DROP_REASONS: Final = ("queue_full", "disk", "shutdown", "gap_limit", "fault")
"""Why a divergence is not in the file: the last one is a fault of dualkv's."""

_SQLITE_WAIT_SECONDS: Final = 5.0
"""How long a batch waits for somebody who reads."""
_SQLITE_VERSION: Final = 1
_SCHEMA: Final = """\
CREATE TABLE IF NOT EXISTS divergences (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL, time TEXT NOT NULL, command TEXT NOT NULL, kind TEXT NOT NULL, cause TEXT NOT NULL,
    db INTEGER NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL
)"""
_INSERT: Final = """\
INSERT INTO divergences (id, time, command, kind, cause, db, key, record)
VALUES (:id, :time, :command, :kind, :cause, :db, :key, :record)"""

Record = dict[str, Any]


class DivergenceFile(Protocol):
    """Where records are kept. Everything blocks and raises `OSError`."""

    def check(self) -> None:
        """Make the file if there is none, and make sure that it can be written."""

    def append(self, records: Sequence[Record]) -> None:
        """Add records at the end, the oldest ones making room."""


@attrs.frozen
class JsonLinesFile:
    """A JSON object per line. When half of the room is used, the file is moved to ``….1``.

    Args:
        path: The file.
        max_bytes: What both may take together.
    """

    path: Path
    max_bytes: int

    def check(self) -> None:
        """Make the file if there is none, and make sure that it can be written."""
        with self.path.open("ab"):
            pass

    def append(self, records: Sequence[Record]) -> None:
        """Add lines. A line that an earlier write has left unfinished is ended first."""
        data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        with suppress(FileNotFoundError):
            if self.path.stat().st_size + len(data) > self.max_bytes // 2:
                self.path.replace(f"{self.path}.1")
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data
            written = 0
            while written < len(data):  # a disk that becomes full may take a part, and then raises
                written += file.write(data[written:]) or 0


@attrs.frozen
class SqliteFile:
    """A database with one table, ``divergences``: what is asked for most, and the whole record as JSON.

    Args:
        path: The file.
        max_bytes: What it may take; a tenth of the records makes room.
    """

    path: Path
    max_bytes: int

    def check(self) -> None:
        """Make the table if there is none, and make sure that it can be written."""
        with self._connected() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SQLITE_VERSION):
                raise OSError(f"made by another version ({version})")
            database.execute("BEGIN IMMEDIATE")
            database.execute(_SCHEMA)
            database.execute(
                "SELECT number, id, time, command, kind, cause, db, key, record FROM divergences LIMIT 1"
            )
            database.execute(f"PRAGMA user_version = {_SQLITE_VERSION}")

    def append(self, records: Sequence[Record]) -> None:
        """Add rows, all of them or none."""
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_SCHEMA)  # it may have been moved away
            database.executemany(_INSERT, [{**record, "record": json.dumps(record)} for record in records])
            while self._used_bytes(database) > self.max_bytes:
                gone = database.execute(
                    "DELETE FROM divergences WHERE number <= "
                    "(SELECT min(number) + (max(number) - min(number)) / 10 FROM divergences)"
                )
                if not gone.rowcount:
                    break

    @staticmethod
    def _used_bytes(database: sqlite3.Connection) -> int:
        sizes = [
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        ]
        return int((sizes[0] - sizes[1]) * sizes[2])

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Connect for the block; what was done in it is committed, or none of it is."""
        try:
            with (
                closing(
                    sqlite3.connect(self.path, timeout=_SQLITE_WAIT_SECONDS, isolation_level=None)
                ) as database,
                database,
            ):
                yield database
        except sqlite3.Error as error:
            raise OSError(str(error)) from error


class DivergenceLog:
    """Divergences on their way to a file: bounded, and each accounted for.

    Args:
        file: Where they go.
        make_record: Makes plain data of one.
    """

    def __init__(self, file: DivergenceFile, make_record: Callable[[Divergence], Record]) -> None:
        self._file = file
        self._make_record = make_record
        self._waiting: deque[Divergence] = deque()
        self._waiting_bytes = 0
        self.written = 0
        self.dropped: Counter[str] = Counter()
        """What is not in the file, by reason."""
        self.on_waiting: Callable[[], None] = lambda: None
        """Called when there is something to write."""

    def __repr__(self) -> str:
        return f"<DivergenceLog {self._file!r} waiting={len(self._waiting)} written={self.written}>"

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def offer(self, divergence: Divergence) -> None:
        """Let a divergence wait to be written. Never blocks; what finds no room is counted."""
        size = divergence.size_bytes
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self.dropped["queue_full"] += 1
            return
        self._waiting.append(divergence)
        self._waiting_bytes += size
        self.on_waiting()

    def take(self) -> list[Divergence]:
        """Return the next batch; what becomes of it must be told to `note_written` or `note_dropped`."""
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        self._waiting_bytes -= sum(divergence.size_bytes for divergence in batch)
        return batch

    def write(self, batch: Sequence[Divergence]) -> None:
        """Write a batch. It blocks: call it in a thread, one at a time.

        Raises:
            OSError: The disk does not take it.
        """
        self._file.append([self._make_record(divergence) for divergence in batch])

    def note_written(self, batch: Sequence[Divergence]) -> None:
        """Take note that a batch is in the file."""
        self.written += len(batch)

    def note_dropped(self, batch: Sequence[Divergence], reason: str) -> None:
        """Take note that a batch, or a part of it, is not in the file."""
        self.dropped[reason] += len(batch)


def open_divergence_log(
    path: str, max_bytes: int, make_record: Callable[[Divergence], Record]
) -> DivergenceLog | None:
    """Return the log that writes to a file; None if there is to be none.

    Args:
        path: The file: ``.jsonl``, ``.sqlite`` or ``.db``; empty: none.
        max_bytes: What it may take.
        make_record: Makes plain data of a divergence.

    Raises:
        ConfigError: It cannot be written.
    """
    if not path:
        return None
    make_file = SqliteFile if path.endswith(DATABASE_SUFFIXES) else JsonLinesFile
    file = make_file(Path(path), max_bytes)
    try:
        file.check()
    except OSError as error:
        raise ConfigError(f"divergence_log: cannot write {path}: {error.strerror or error}") from None
    return DivergenceLog(file, make_record)
