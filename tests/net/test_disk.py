"""Files survive crashes and full disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualkv.net import disk
from dualkv.net.disk import StateFiles, boot_id, sync_files, write_at
from tests.support.disk import full_disk


def test_a_state_is_kept_until_it_is_replaced_or_dropped(tmp_path: Path) -> None:
    """Names are independent of each other."""
    states = StateFiles(tmp_path)
    assert states.load("resync") is None

    states.save("resync", b"half")
    states.save("resync", b"")
    states.save("other", bytes(range(256)))
    assert (StateFiles(tmp_path).load("resync"), states.load("other")) == (b"", bytes(range(256)))

    states.drop("resync")
    states.drop("resync")
    assert (states.load("resync"), states.load("other")) == (None, bytes(range(256)))


def test_a_damaged_state_is_empty_and_not_none(tmp_path: Path) -> None:
    """Whoever asks must know that there was one: cut or changed anywhere."""
    states = StateFiles(tmp_path)
    states.save("resync", b"cursor 17")
    path = tmp_path / "resync.state"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position])
        assert states.load("resync") == b""
        path.write_bytes(content[:position] + b"\xff" + content[position + 1 :])
        assert states.load("resync") == b""


def test_a_state_that_cannot_be_saved_leaves_the_one_before(tmp_path: Path) -> None:
    """A full disk does not cost what is there."""
    states = StateFiles(tmp_path)
    states.save("resync", b"before")
    with full_disk(3), pytest.raises(OSError, match="File too large"):
        states.save("resync", b"behind")

    assert states.load("resync") == b"before"


@pytest.mark.parametrize("name", ["", "../lock", "a.b", "A", "-a", "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing outside the directory can be named, nor a file of another kind."""
    states = StateFiles(tmp_path)
    for use in (states.load, states.drop, lambda name: states.save(name, b"")):
        with pytest.raises(ValueError, match="is no name"):
            use(name)


def test_everything_is_written_or_an_error_is_raised(tmp_path: Path) -> None:
    """A disk that takes a part is asked to take the rest, and says then that it is full."""
    path = tmp_path / "file"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    write_at(file, b"0123456789", 2)
    with full_disk(7), pytest.raises(OSError, match="File too large"):
        write_at(file, b"abcdefghij", 2)
    os.close(file)

    assert path.read_bytes() == b"\0\0abcde56789"


def test_files_that_are_gone_need_no_sync(tmp_path: Path) -> None:
    """A segment may be deleted while others are brought to the disk."""
    (tmp_path / "there").touch()

    sync_files([tmp_path / "gone", tmp_path / "there"])


def test_a_boot_has_an_id_where_the_system_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is the same one as long as the machine is up; a system without one gives an empty one."""
    assert boot_id() == boot_id()

    monkeypatch.setattr(disk, "_BOOT_ID", tmp_path / "none")
    assert boot_id() == b""
