"""Notes of writes that are on their way: what they hold, and what the next process learns from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from dualkv.config import ProxyConfig
from dualkv.core.dirty import DirtyKeys, DirtyReason, Key
from dualkv.core.recent import RecentKeys
from dualkv.core.routing import plan_of
from dualkv.errors import ConfigError
from dualkv.net.notes import WriteNotes
from dualkv.net.resync import Resync
from dualkv.net.stream import SecondaryStream
from dualkv.resp.encode import command
from dualkv.resp.requests import Request


@attrs.define
class Told:
    """What stream and resync are told at the start; in place of both."""

    marked: set[Key] = attrs.field(factory=set)
    resumed: list[bytes | None] = attrs.field(factory=list)

    def mark_keys(self, keys: Iterable[Key], reason: DirtyReason) -> None:
        """Take note of what an earlier process left."""
        assert reason is DirtyReason.JOURNAL
        self.marked |= set(keys)

    def resume(self, data: bytes | None) -> None:
        """Take note of what a resync would go on with."""
        self.resumed.append(data)


@attrs.define
class Process:
    """One process of dualkv, as far as notes are concerned."""

    notes: WriteNotes
    dirty: DirtyKeys
    recent: RecentKeys
    told: Told = attrs.field(factory=Told)

    @classmethod
    def start(
        cls, directory: Path | None, answering: str = "one", clock: Callable[[], float] = lambda: 100.0
    ) -> Process:
        """Start it, with a journal if there is a *directory*."""
        config = ProxyConfig(journal_dir=str(directory or ""), primary_name="one", secondary_name="two")
        dirty, recent = DirtyKeys(1000, 1_000_000), RecentKeys(10)
        process = cls(WriteNotes(config, recent, dirty, clock), dirty, recent)
        told = cast("Any", process.told)
        process.notes.open(answering, cast("SecondaryStream", told), cast("Resync", told))
        return process

    def note(self, *commands: str, db: int = 0) -> None:
        """Commands are about to be sent, in one piece."""
        requests = [request_of(words) for words in commands]
        self.notes.note(db, [plan_of(request.args) for request in requests], requests)

    def kill(self) -> None:
        """End as ``kill -9`` does."""
        if self.notes.journal is not None:
            self.notes.journal.close()

    def recently(self) -> set[Key]:
        """Return the keys of the last seconds."""
        return set(self.recent.since_window(100.0)[0])


def request_of(words: str) -> Request:
    """Return a request."""
    args = tuple(word.encode() for word in words.split())
    return Request(args, command(*args))


def test_keys_of_writes_are_taken_down_when_their_commands_leave() -> None:
    """Those of every command that writes, each in its database; not those of reads."""
    process = Process.start(None)
    process.note("SET a 1")
    process.note("SET b 1", "GET c", "MSET d 1 e 2", db=3)
    assert process.recently() == set()

    process.notes.write()

    assert process.recently() == {(0, b"a"), (3, b"b"), (3, b"d"), (3, b"e")}
    assert process.notes.figures() == (0, 0, False)


@pytest.mark.parametrize(
    ("words", "is_any"),
    [("FLUSHALL", True), ("EVAL script 0", True), ("UNHEARD-OF x", True), ("PUBLISH c m", False)],
)
def test_a_write_that_may_touch_any_key_is_noted_as_such(tmp_path: Path, words: str, is_any: bool) -> None:
    """In memory and on disk: the next process must copy everything."""
    process = Process.start(tmp_path)
    process.note("SET a 1", words)
    process.notes.write()
    _, are_all = process.recent.since_window(100.0)
    process.kill()

    again = Process.start(tmp_path)

    assert (not are_all, again.dirty.needs_resync is not None) == (is_any, is_any)


def test_what_a_killed_process_noted_is_dirty_in_the_next(tmp_path: Path) -> None:
    """What was not written when it was killed had not left, either."""
    process = Process.start(tmp_path)
    process.note("SET a 1", "SET b 1")
    process.notes.write()
    process.note("SET c 1")
    assert process.notes.figures()[0] > 0
    process.kill()

    told = Process.start(tmp_path).told

    assert told.marked == {(0, b"a"), (0, b"b")}
    assert told.resumed == [None]


def test_what_ends_in_order_leaves_what_is_dirty_or_beside_the_lane(tmp_path: Path) -> None:
    """And nothing else; the keys of the last seconds are remembered, too, while the same store answers."""
    process = Process.start(tmp_path)
    process.note("SET a 1", "SET b 1")
    process.notes.write()
    process.dirty.mark((0, b"b"), DirtyReason.FAILED, 100.0)
    waiting = request_of("BLPOP l 0")
    process.notes.begin_beside(2, [(plan_of(waiting.args), waiting)])
    process.notes.close()

    again = Process.start(tmp_path)

    assert again.told.marked == {(0, b"b"), (2, b"l")}
    assert again.recently() == {(0, b"a"), (0, b"b"), (2, b"l")}


def test_keys_are_beside_the_lane_until_each_command_has_been_seen() -> None:
    """Two commands on one key are two."""
    notes = Process.start(None).notes
    waiting, reading = request_of("BLPOP l m 0"), request_of("GET x")
    commands = [(plan_of(request.args), request) for request in (waiting, reading)]
    first, second = notes.begin_beside(0, commands), notes.begin_beside(0, commands)

    assert sorted(first) == [(0, b"l"), (0, b"m")]
    notes.end_beside(first)
    assert notes.is_beside([(0, b"other"), (0, b"m")])
    assert not notes.is_beside([(1, b"m"), (0, b"x")])
    notes.end_beside(second)
    assert not notes.is_beside(first)


def test_keys_on_their_way_from_the_other_store_are_an_error_at_the_start(tmp_path: Path) -> None:
    """The mode was changed after a crash: their values would be overwritten. Nothing is taken or changed."""
    process = Process.start(tmp_path, answering="two")
    process.note("SET a 1")
    process.notes.write()
    process.kill()

    for _ in range(2):
        with pytest.raises(ConfigError, match="on their way from the other store"):
            Process.start(tmp_path, answering="one")
    assert Process.start(tmp_path, answering="two").told.marked == {(0, b"a")}


def test_the_other_direction_may_begin_when_nothing_is_left(tmp_path: Path) -> None:
    """What was written lately is another store's affair then."""
    process = Process.start(tmp_path, answering="two")
    process.note("SET a 1")
    process.notes.write()
    process.notes.close()

    again = Process.start(tmp_path, answering="one")

    assert (again.told.marked, again.recently()) == (set(), set())


@pytest.mark.parametrize(
    ("before", "after", "is_new"),
    [("x", "x", False), ("x", "y", True), ("", "y", False), ("x", "", False)],
)
def test_a_store_that_was_started_anew_meanwhile_must_be_copied(
    tmp_path: Path, before: str, after: str, is_new: bool
) -> None:
    """As the processes tell who they are; one that does not is not suspected."""
    process = Process.start(tmp_path)
    process.notes.remember_process("two", before)
    process.notes.close()

    again = Process.start(tmp_path)
    again.notes.remember_process("one", "z")
    again.notes.remember_process("two", after)
    again.notes.remember_process("two", after)

    assert (again.dirty.needs_resync is not None) == is_new


def test_a_store_that_is_started_anew_later_is_others_business(tmp_path: Path) -> None:
    """Who sees it happen marks what was written lately; here it is only kept for the next start."""
    process = Process.start(tmp_path)
    process.notes.remember_process("two", "x")
    process.notes.remember_process("two", "y")
    assert process.dirty.needs_resync is None
    process.notes.close()

    again = Process.start(tmp_path)
    again.notes.remember_process("two", "y")
    assert again.dirty.needs_resync is None


def test_what_is_executed_beside_the_lane_is_remembered_for_a_while() -> None:
    """While it goes on, and for what came before its end; nobody knows of the oldest of very many."""
    now = [0.0]
    notes = Process.start(None, clock=lambda: now[0]).notes
    pop = Request((b"BLPOP", b"k", b"0"), b"")
    assert not notes.was_beside((0, b"k"), 0.0)
    keys = notes.begin_beside(0, [(plan_of(pop.args), pop)])
    now[0] = 5.0
    assert notes.was_beside((0, b"k"), 4.0)
    notes.end_beside(keys)

    assert notes.was_beside((0, b"k"), 5.0)
    assert not notes.was_beside((0, b"k"), 5.1)
    assert not notes.was_beside((1, b"k"), 4.0)
    notes.end_beside([(0, b"%d" % number) for number in range(1000)])
    assert not notes.was_beside((0, b"k"), 5.0)
