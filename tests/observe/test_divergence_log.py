"""The file of divergences: JSON lines or SQLite, bounded, and every record accounted for."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.errors import ConfigError
from dualkv.observe import divergence_log
from dualkv.observe.divergence_log import DivergenceLog, JsonLinesFile, SqliteFile, open_divergence_log
from tests.support.disk import full_disk


def record(number: int, padding: str = "") -> dict[str, Any]:
    """Return what a record must have at least."""
    return {
        "id": f"ab-{number:06d}", "time": "2023-11-14T22:13:20Z", "command": "get", "kind": "data_mismatch",
        "cause": "unknown", "db": 0, "key": f"k{number}", "padding": padding,
    }  # fmt: skip


def lines(path: Path) -> list[str]:
    """Return the ids in a file of JSON lines, and ``torn`` for what is none."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line)["id"])
        except ValueError:
            found.append("torn")
    return found


def rows(path: Path) -> list[str]:
    """Return the ids in a database; each must be that of its record."""
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT id, record FROM divergences ORDER BY number").fetchall()
    assert all(json.loads(text)["id"] == one for one, text in found)
    return [one for one, _ in found]


# --- JSON lines


def test_lines_are_added_behind_those_of_an_earlier_process(tmp_path: Path) -> None:
    """A restart loses nothing."""
    path = tmp_path / "d.jsonl"
    for numbers in ((1, 2), (3,)):
        file = JsonLinesFile(path, 1_000_000)
        file.check()
        file.append([record(number) for number in numbers])

    assert lines(path) == ["ab-000001", "ab-000002", "ab-000003"]


def test_a_line_that_was_torn_is_ended_before_the_next_one(tmp_path: Path) -> None:
    """A kill -9 in the middle of a write costs that line, and not the one behind it."""
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "ab-0')
    JsonLinesFile(path, 1_000_000).append([record(1)])

    assert lines(path) == ["torn", "ab-000001"]


def test_a_full_file_is_moved_away_and_two_are_kept(tmp_path: Path) -> None:
    """Together they take what is allowed; the newest line is always there."""
    path, before = tmp_path / "d.jsonl", tmp_path / "d.jsonl.1"
    file = JsonLinesFile(path, 10_000)
    for number in range(100):
        file.append([record(number, "x" * 500)])
        assert path.stat().st_size + (before.stat().st_size if before.exists() else 0) <= 10_000

    assert lines(path)[-1] == "ab-000099"
    assert (lines(before) + lines(path)) == [f"ab-{number:06d}" for number in range(100)][
        -len(lines(before) + lines(path)) :
    ]


def test_a_disk_that_becomes_full_says_so_and_later_lines_are_whole(tmp_path: Path) -> None:
    """A part of a line may be there; what comes when there is room again begins on a line of its own."""
    path = tmp_path / "d.jsonl"
    file = JsonLinesFile(path, 1_000_000)
    file.append([record(1)])
    with full_disk(path.stat().st_size + 30), pytest.raises(OSError, match="too large"):
        file.append([record(2)])
    file.append([record(3)])

    assert lines(path) == ["ab-000001", "torn", "ab-000003"]


# --- SQLite


def test_rows_are_added_behind_those_of_an_earlier_process(tmp_path: Path) -> None:
    """A restart loses nothing; columns can be asked for in SQL."""
    path = tmp_path / "d.sqlite"
    for numbers in ((1, 2), (3,)):
        file = SqliteFile(path, 1_000_000)
        file.check()
        file.append([record(number) for number in numbers])

    assert rows(path) == ["ab-000001", "ab-000002", "ab-000003"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT id FROM divergences WHERE key = 'k2'").fetchall() == [("ab-000002",)]


def test_a_database_keeps_its_size_by_forgetting_the_oldest(tmp_path: Path) -> None:
    """However much comes; the newest row is always there, and none is missing between."""
    path = tmp_path / "d.db"
    file = SqliteFile(path, 200_000)
    for number in range(0, 2000, 20):
        file.append([record(number + more, "x" * 500) for more in range(20)])

    kept = rows(path)
    assert path.stat().st_size < 300_000
    assert kept == [f"ab-{number:06d}" for number in range(2000 - len(kept), 2000)]
    assert len(kept) > 100


def test_a_batch_that_a_database_cannot_take_leaves_no_part(tmp_path: Path) -> None:
    """All of it or none; trouble is an `OSError` whoever makes it."""
    path = tmp_path / "d.sqlite"
    file = SqliteFile(path, 1_000_000)
    file.check()
    file.append([record(1)])
    with pytest.raises(OSError, match="NOT NULL"):
        file.append([record(2), {**record(3), "id": None}])
    file.append([record(4)])

    assert rows(path) == ["ab-000001", "ab-000004"]


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    """Whoever rotates files himself need not tell."""
    for file in (JsonLinesFile(tmp_path / "d.jsonl", 10_000), SqliteFile(tmp_path / "d.db", 100_000)):
        file.check()
        file.path.rename(tmp_path / "away")
        file.append([record(1)])
        assert file.path.exists()


# --- opening


@pytest.mark.parametrize("name", ["d.jsonl", "d.sqlite", "d.db"])
def test_a_file_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    """Said at the start, in one line that names it."""
    path = str(tmp_path / "no" / "such" / name)
    with pytest.raises(ConfigError) as caught:
        open_divergence_log(path, 1000, lambda _: {})

    assert str(caught.value).startswith(f"divergence_log: cannot write {path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_database_or_another_one_is_refused(tmp_path: Path) -> None:
    """Somebody else's file is not written into."""
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to be read as one " * 20)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE divergences (number INTEGER)")
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database:
        database.execute("PRAGMA user_version = 99")

    for name, why in (
        ("text", "file is not a database"),
        ("other", "no such column: id"),
        ("newer", "version (99)"),
    ):
        with pytest.raises(ConfigError) as caught:
            open_divergence_log(str(tmp_path / f"{name}.db"), 1000, lambda _: {})
        assert why in str(caught.value)


def test_without_a_path_there_is_no_log() -> None:
    """The default."""
    assert open_divergence_log("", 1000, lambda _: {}) is None


# --- the queue


def divergence(number: int) -> Divergence:
    """Return one with a number for its key."""
    return Divergence("get", DivergenceKind.DATA_MISMATCH, b"k%d" % number, b"", b"", id=f"ab-{number:06d}")


def test_what_finds_no_room_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes; what was taken out makes room again."""
    monkeypatch.setattr(divergence_log, "MAX_WAITING", 3)
    log = DivergenceLog(JsonLinesFile(tmp_path / "d.jsonl", 10_000), lambda found: record(int(found.key[1:])))
    for number in range(5):
        log.offer(divergence(number))
    assert (len(log), log.dropped) == (3, {"queue_full": 2})

    batch = log.take()
    log.write(batch)
    log.note_written(batch)
    monkeypatch.setattr(divergence_log, "MAX_WAITING_BYTES", 10)
    log.offer(divergence(6))

    assert lines(tmp_path / "d.jsonl") == ["ab-000000", "ab-000001", "ab-000002"]
    assert (len(log), log.written, log.dropped) == (0, 3, {"queue_full": 3})
