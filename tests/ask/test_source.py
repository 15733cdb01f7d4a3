"""Where records come from: HTTP, JSON lines, SQLite; what is wrong there is one clear line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dualkv.ask.source import DatabaseSource, HttpSource, LinesSource, Source, Wanted, open_source
from dualkv.core.divergence import DivergenceKind
from dualkv.errors import ConfigError
from dualkv.observe.divergence_log import DivergenceFile, JsonLinesFile, SqliteFile
from tests.ask.records import record

GAP = DivergenceKind.MIGRATION_GAP


def ids(records: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of records."""
    return [int(found["id"].partition("-")[2]) for found in records]


# --- files


@pytest.fixture(name="kept", params=["d.jsonl", "d.sqlite"])
def _kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[DivergenceFile, Source]:
    """A file that somebody writes, and the same file as a source."""
    path = tmp_path / request.param
    file = JsonLinesFile(path, 1_000_000) if path.suffix == ".jsonl" else SqliteFile(path, 1_000_000)
    file.check()
    return file, open_source("", path)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), [1, 2, 3, 4]),
        (Wanted(command="hget"), [2]),
        (Wanted(kind="migration_gap"), [3]),
        (Wanted(key_prefix="cart:"), [4]),
        (Wanted(key_prefix="\\xff"), [3]),
        (Wanted(since_seconds=1_700_000_003.0), [3, 4]),
        (Wanted(kind="extra_data"), []),
    ],
)
def test_a_file_is_searched(kept: tuple[DivergenceFile, Source], wanted: Wanted, found: list[int]) -> None:
    """By what is asked of HTTP, too."""
    file, source = kept
    file.append(
        [record(1), record(2, command="hget"), record(3, kind=GAP, key=b"\xff:1"), record(4, key=b"cart:1")]
    )

    assert ids(source.find(wanted, 10)) == found
    assert ids(source.find(Wanted(), 2)) == [3, 4]


def test_what_comes_later_is_found_once(kept: tuple[DivergenceFile, Source]) -> None:
    """Following a file shows each record once."""
    file, source = kept
    file.append([record(1)])
    assert ids(source.find(Wanted(), 10)) == [1]
    assert source.later(Wanted()) == []

    file.append([record(2), record(3)])
    assert ids(source.later(Wanted())) == [2, 3]
    assert source.later(Wanted()) == []


def test_one_record_is_found_by_its_id(kept: tuple[DivergenceFile, Source]) -> None:
    """And none by another one."""
    file, source = kept
    file.append([record(number) for number in (1, 2, 3)])

    assert source.get(record(2)["id"]) == record(2)
    assert source.get("nothing") is None


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    """A torn line, somebody's note, a number: the records around them are found."""
    path = tmp_path / "d.jsonl"
    path.write_text(
        f'{{"id": "ab\n7\n{json.dumps(record(1))}\nhello\n{{"key": 3}}\n{json.dumps(record(2))}\n{{"id"'
    )

    assert ids(LinesSource(path).find(Wanted(), 10)) == [1, 2]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """Half a record is not lost."""
    path = tmp_path / "d.jsonl"
    line = json.dumps(record(1)) + "\n"
    path.write_text(line[:20])
    source = LinesSource(path)
    assert source.find(Wanted(), 10) == []

    path.write_text(line)
    assert ids(source.later(Wanted())) == [1]


def test_a_file_that_was_moved_away_is_followed(tmp_path: Path) -> None:
    """The old one is searched, too, and the new one is read from its beginning."""
    path = tmp_path / "d.jsonl"
    file = JsonLinesFile(path, 4000)
    source = LinesSource(path)
    file.append([record(1)])
    assert ids(source.find(Wanted(), 10)) == [1]
    while not (tmp_path / "d.jsonl.1").exists():
        file.append([record(2)])

    assert ids(source.later(Wanted())) == [2]
    assert ids(LinesSource(path).find(Wanted(), 100))[0] == 1


@pytest.mark.parametrize("name", ["d.jsonl", "d.db"])
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    """It names the file, and none is made."""
    with pytest.raises(ConfigError, match=r"cannot read .*/d\.\w+: "):
        open_source("", tmp_path / name).find(Wanted(), 10)

    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    """Whatever is in the file."""
    (tmp_path / "d.db").write_text("no database at all " * 100)
    with pytest.raises(ConfigError, match=r"cannot read .*/d\.db: file is not a database"):
        DatabaseSource(tmp_path / "d.db").find(Wanted(), 10)


# --- HTTP


class Stub(BaseHTTPRequestHandler):
    """Answers every request alike."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b"{}"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="stub")
def _stub() -> Iterator[tuple[type[Stub], HttpSource]]:
    """A server whose answers the test decides, and the source that asks it."""
    handler = type("Handler", (Stub,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield handler, HttpSource(f"http://127.0.0.1:{server.server_address[1]}/")
        finally:
            server.shutdown()
            thread.join()


def test_what_is_wanted_is_asked_for(stub: tuple[type[Stub], HttpSource]) -> None:
    """Only what was said; later, behind the last record."""
    handler, source = stub
    handler.body = json.dumps({"divergences": [record(7)]}).encode()
    assert ids(source.find(Wanted("get", "extra_data", "a b&\\xff", 5.0), 3)) == [7]
    source.later(Wanted())

    assert handler.asked == [
        "/divergences?command=get&kind=extra_data&key_prefix=a+b%26%5Cxff&since=5.0&limit=3",
        "/divergences?after=6553f100abcd-000007&limit=1000",
    ]


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (400, b'{"error": "limit: wrong"}', "limit: wrong"),
        (200, b"<html>", "not an answer of dualkv"),
        (200, b"[]", "not an answer of dualkv"),
        (404, b"Not Found", "not an answer of dualkv"),
        (500, b"7", "500"),
    ],
)
def test_an_answer_that_is_none_is_one_line(
    stub: tuple[type[Stub], HttpSource], status: int, body: bytes, complaint: str
) -> None:
    """Somebody else listens there, or does not like the question."""
    handler, source = stub
    handler.status, handler.body = status, body
    with pytest.raises(ConfigError) as caught:
        source.find(Wanted(), 10)

    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:1", "cannot reach dualkv at http://127.0.0.1:1: Connection refused"),
        ("127.0.0.1:9191", "--url 127.0.0.1:9191: not an address such as http://127.0.0.1:9191"),
        ("file:///etc", "--url file:///etc: not an address such as http://127.0.0.1:9191"),
        ("http://[::1", "--url http://[::1: not an address such as http://127.0.0.1:9191"),
        ("http://x:y", "--url http://x:y: not an address such as http://127.0.0.1:9191"),
    ],
)
def test_an_address_where_nobody_is_is_one_line(url: str, complaint: str) -> None:
    """Also what is no address."""
    with pytest.raises(ConfigError) as caught:
        HttpSource(url).find(Wanted(), 10)

    assert str(caught.value) == complaint
