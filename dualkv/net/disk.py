"""What dualkv keeps in files: the system calls for it, and small states that survive a crash.

All of it blocks, for microseconds where nothing is forced to the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

__all__ = ["StateFiles", "boot_id", "sync_data", "sync_directory", "sync_files", "write_at"]

_STATE_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

sync_data = getattr(os, "fdatasync", os.fsync)
"""Force what was written to a file to the disk (macOS has only the stronger call)."""


def write_at(file: int, data: bytes, position: int) -> None:
    """Write all of *data*; a disk that becomes full may take a part first, and then raises."""
    written = os.pwrite(file, data, position)
    while written < len(data):
        written += os.pwrite(file, data[written:], position + written)


def sync_files(paths: Iterable[Path]) -> None:
    """Force what was written to files to the disk, whoever wrote it; those that are gone are passed over."""
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as file:
            sync_data(file.fileno())


def sync_directory(directory: Path) -> None:
    """Force the names of files to the disk."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def boot_id() -> bytes:
    """Return what is another one each time the machine is started; empty where nobody knows."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""


class StateFiles:
    """A few bytes by name (lower case letters, digits and dashes), each in a file of its own.

    Args:
        directory: Where; it exists, and belongs to this process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, name: str, data: bytes) -> None:
        """Keep *data*; afterwards it is on the disk, whatever happens.

        Raises:
            OSError: It is not. What was there before still is.
        """
        path = self._path(name)
        fresh = path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            file.write(crc32(data).to_bytes(4, "little") + data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(self._directory)

    def load(self, name: str) -> bytes | None:
        """Return what was kept: None if nothing was, empty if it is damaged.

        Raises:
            OSError: The disk does not give it.
        """
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        check, data = content[:4], content[4:]
        return data if check == crc32(data).to_bytes(4, "little") else b""

    def drop(self, name: str) -> None:
        """Forget what was kept, if anything was.

        Raises:
            OSError: The disk does not allow it.
        """
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _STATE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a state")
        return self._directory / f"{name}.state"
