"""The journal: what it was told before the process was killed is known at the next start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from dualkv.core.journal import Gap, Recovery
from dualkv.errors import ConfigError
from dualkv.net import journal as module
from dualkv.net.journal import Fsync, Journal
from tests.net.building import Clock
from tests.support.disk import full_disk
from tests.support.proxy import wait_until

Key = tuple[int, bytes]


def new_journal(directory: Path, fsync: Fsync = "never", max_bytes: int = 1_000_000) -> Journal:
    """Return a journal with a clock that stands still."""
    return Journal(directory, fsync, max_bytes, Clock())


@contextmanager
def opened(directory: Path, fsync: Fsync = "never", max_bytes: int = 1_000_000) -> Iterator[Journal]:
    """Open a journal for the block; then leave everything as ``kill -9`` would."""
    journal = new_journal(directory, fsync, max_bytes)
    journal.open()
    try:
        yield journal
    finally:
        journal.close()


def recovered(directory: Path) -> Recovery:
    """Return what the next start would find, and leave it there."""
    journal = new_journal(directory)
    try:
        return journal.open()
    finally:
        journal.close()


def recovered_elsewhere(directory: Path) -> Recovery:
    """Return what the segments say while their process lives."""
    found = Recovery()
    for name in segments(directory):
        found.read(name, (directory / name).read_bytes())
    return found


def write(journal: Journal, *keys: bytes, db: int = 0) -> None:
    """Note keys of one round and write them."""
    journal.note(db, keys)
    journal.write()


def keys(*names: bytes, db: int = 0) -> set[Key]:
    """Return keys with their database."""
    return {(db, name) for name in names}


def segments(directory: Path) -> list[str]:
    """Return the segments that are there, the oldest first."""
    return sorted(path.name for path in directory.glob("*.keys"))


@attrs.define
class Proxy:
    """What the journal asks while it cleans."""

    dirty_keys: set[Key] | None = attrs.field(factory=set)
    may_settle: trio.Event = attrs.field(factory=trio.Event)
    asked: int = 0

    @classmethod
    def idle(cls, *dirty: bytes) -> Proxy:
        """Return one where everything is settled, with *dirty* keys."""
        proxy = cls(keys(*dirty))
        proxy.may_settle.set()
        return proxy

    async def settled(self) -> None:
        """Wait until the test allows it."""
        self.asked += 1
        await self.may_settle.wait()

    def dirty(self) -> set[Key] | None:
        """Return the dirty keys."""
        return self.dirty_keys


# --- what is written is found again


def test_keys_that_were_written_are_found_by_the_next_start(tmp_path: Path) -> None:
    """All databases, all rounds; what was only noted had not been sent yet."""
    with opened(tmp_path) as journal:
        journal.note(0, (b"a", b"b"))
        journal.note(3, [b"a", b"\0\r\n"])
        journal.note(0, ())
        journal.write()
        write(journal, b"c")
        journal.note(0, (b"never sent",))

    assert recovered(tmp_path) == Recovery(keys(b"a", b"b", b"c") | keys(b"a", b"\0\r\n", db=3))


def test_nothing_written_is_nothing_found(tmp_path: Path) -> None:
    """A first start, and a start after one that did nothing."""
    assert recovered(tmp_path / "new" / "directory") == Recovery()
    assert recovered(tmp_path / "new" / "directory") == Recovery()


def test_what_is_found_stays_until_it_is_cleaned(tmp_path: Path) -> None:
    """A process that is killed right after its start has lost nothing."""
    with opened(tmp_path) as journal:
        write(journal, b"a")
    with opened(tmp_path) as journal:
        write(journal, b"b")
        assert journal.statistics().recovered == 1

    assert recovered(tmp_path).keys == keys(b"a", b"b")


def test_a_key_is_written_once_per_segment(tmp_path: Path) -> None:
    """A hot key costs nothing more, in whichever database; a new segment needs it again."""
    with opened(tmp_path) as journal:
        write(journal, b"a", b"a", b"b")
        before = journal.statistics()
        write(journal, b"b", b"a")
        journal.write()
        assert journal.statistics() == before

        write(journal, b"a", db=1)
        assert journal.rotate()
        write(journal, b"a")
        assert journal.statistics().records == before.records + 2


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of long ago are forgotten, and written again."""
    monkeypatch.setattr(module, "_SEEN_BYTES", 200)
    with opened(tmp_path) as journal:
        write(journal, b"a")
        write(journal, b"x" * 300)
        write(journal, b"a")

        assert journal.statistics().records == 3


def test_a_write_that_may_touch_any_key_makes_a_resync_necessary(tmp_path: Path) -> None:
    """Keys of before are known all the same; those behind need not be written."""
    with opened(tmp_path) as journal:
        write(journal, b"a")
        journal.note_everything()
        journal.note_everything()
        write(journal, b"b")
        assert (journal.statistics().gap, journal.statistics().is_broken) == (Gap.ANY_KEY, False)

    found = recovered(tmp_path)
    assert found.keys == keys(b"a")
    assert found.reasons == [f"000000000001.keys: {Gap.ANY_KEY.reason}"]


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    """Keys can be secrets."""
    directory = tmp_path / "journal"
    with opened(directory) as journal:
        write(journal, b"a")

        assert [path.stat().st_mode & 0o077 for path in (directory, *directory.iterdir())] == [0, 0, 0]


def test_it_shows_its_state(tmp_path: Path) -> None:
    """For a log, or an assertion that fails."""
    with opened(tmp_path) as journal:
        assert repr(journal) == "<Journal bytes=21 segments=1 whole>"
        journal.note_everything()
        assert Gap.ANY_KEY.reason in repr(journal)


# --- kill -9

CHILD = """
import sys, time
from pathlib import Path
from dualkv.net.journal import Journal

journal = Journal(Path(sys.argv[1]), "never", 10_000_000, time.monotonic)
journal.open()
kept = []
for number in range(1_000_000):
    key = b"key:%d" % number
    journal.note(number % 3, [key])
    journal.write()
    print(number, flush=True)
    if number % 2:
        kept.append((number % 3, key))
    if number % 100 == 99:  # odd ones are dirty, even ones are settled
        journal.rotate()
        journal.carry_over(kept)
        journal.drop_before(journal._number)
"""


@pytest.mark.parametrize("lines", [1, 99, 730])
def test_whatever_was_written_survives_kill(tmp_path: Path, lines: int) -> None:
    """Each key that the process reported as written is found, unless it was settled and cleaned."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        written = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        written += [int(line) for line in child.stdout.read().splitlines()]
    found = recovered(tmp_path)

    numbers = {int(key.removeprefix(b"key:")) for _, key in found.keys}
    unsettled = {number for number in written if number % 2 or number >= len(written) // 100 * 100}
    assert not found.must_resync
    assert unsettled <= numbers
    assert numbers <= {*written, len(written)}  # the last one may not have been reported any more
    assert all(db == int(key.removeprefix(b"key:")) % 3 for db, key in found.keys)


def test_a_process_that_is_killed_gives_its_directory_back(tmp_path: Path) -> None:
    """While it lives nobody else gets it, and is told so in one line."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(
            ConfigError, match=f"^journal_dir: {tmp_path} cannot be used: another process has it$"
        ):
            new_journal(tmp_path).open()
        child.kill()
        child.wait()

    assert recovered(tmp_path).keys


# --- a disk that cannot be used at the start


def refusal(directory: Path) -> str:
    """Return why a directory is refused, without the part that every such text has."""
    with pytest.raises(ConfigError) as caught:
        new_journal(directory).open()
    beginning = f"journal_dir: {directory} cannot be used: "
    assert str(caught.value).startswith(beginning)
    return str(caught.value).removeprefix(beginning)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """Neither in the place of the directory nor above it."""
    (tmp_path / "file").touch()

    assert refusal(tmp_path / "file") == "File exists"
    assert refusal(tmp_path / "file" / "directory") == "Not a directory"


def test_a_full_disk_is_an_error_at_the_start(tmp_path: Path) -> None:
    """It leaves no half segment behind, and works once there is room."""
    with full_disk(0):
        assert refusal(tmp_path) == "File too large"

    assert segments(tmp_path) == []
    assert recovered(tmp_path) == Recovery()


def test_a_segment_that_cannot_be_read_is_an_error_at_the_start(tmp_path: Path) -> None:
    """Going on without what it holds would lose it."""
    (tmp_path / "000000000001.keys").mkdir()

    assert refusal(tmp_path) == "Is a directory"


def test_one_process_cannot_open_a_directory_twice(tmp_path: Path) -> None:
    """The first one goes on as if nothing had happened."""
    with opened(tmp_path) as journal:
        assert refusal(tmp_path) == "another process has it"
        write(journal, b"a")

    assert recovered(tmp_path).keys == keys(b"a")


def test_a_segment_that_vanished_makes_a_resync_necessary(tmp_path: Path) -> None:
    """They are deleted oldest first: one that is missing in between was not deleted by us."""
    with opened(tmp_path) as journal:
        for key in (b"a", b"b", b"c"):
            write(journal, key)
            journal.rotate()
    (tmp_path / "000000000002.keys").unlink()
    found = recovered(tmp_path)

    assert found.keys == keys(b"a", b"c")
    assert found.reasons == ["000000000003.keys: the segment before it is missing"]


def test_damage_is_told_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is intact is found; files that are none of ours are left alone."""
    with opened(tmp_path) as journal:
        write(journal, b"a")
        write(journal, b"b")
    (tmp_path / "000000000007.keys~").write_text("mine")
    path = tmp_path / segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"$1\r\na", b"$1\r\nA"))
    found = recovered(tmp_path)

    assert (found.keys, found.reasons) == (keys(b"b"), ["000000000001.keys: damaged"])
    assert [vars(record)["must_resync"] for record in caplog.records if record.levelname == "WARNING"] == [
        found.reasons
    ]


# --- a disk that becomes full or broken


def test_a_full_disk_fails_nobody_and_is_known_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The half of a record that the disk took is taken back; one warning is enough."""
    with opened(tmp_path) as journal:
        write(journal, b"a")
        size = journal.statistics().bytes
        with full_disk(size + 30):
            write(journal, b"b" * 100)
            write(journal, b"c" * 100)
        assert (tmp_path / segments(tmp_path)[0]).stat().st_size == size
        state = journal.statistics()

    assert (state.is_broken, state.gap, state.failures, state.bytes) == (True, Gap.FAILED, 1, size)
    found = recovered(tmp_path)
    assert (found.keys, found.torn_bytes) == (keys(b"a"), 0)
    assert found.reasons == [f"000000000001.keys: {Gap.FAILED.reason}"]
    warning = "the journal cannot be written: keys of writes are lost if dualkv is killed now"
    assert caplog.messages.count(warning) == 1


async def test_a_disk_that_has_room_again_is_whole_after_a_cleaning(tmp_path: Path) -> None:
    """The proxy knew all the time what is dirty: no resync is necessary."""
    proxy = Proxy.idle(b"b")
    with opened(tmp_path) as journal:
        with full_disk(30):
            write(journal, b"a")
        with full_disk(0):  # not even a new segment
            await journal.clean(proxy.settled, proxy.dirty)
        assert (journal.statistics().failures, proxy.asked) == (2, 0)
        assert (journal.statistics().segments, journal.statistics().gap) == (1, Gap.FAILED)

        await journal.clean(proxy.settled, proxy.dirty)
        write(journal, b"c")
        assert (journal.statistics().is_broken, journal.statistics().gap) == (False, Gap.NONE)

    assert recovered(tmp_path) == Recovery(keys(b"b", b"c"))


def test_what_a_failure_left_behind_is_written_over(tmp_path: Path) -> None:
    """A segment that could neither be written nor deleted does not stop those behind it for ever."""
    with opened(tmp_path) as journal:
        (tmp_path / "000000000002.keys").write_bytes(b"DUAL")
        assert journal.rotate()
        write(journal, b"a")

    assert recovered(tmp_path) == Recovery(keys(b"a"))


async def test_a_cleaning_that_finds_no_room_deletes_nothing_without_a_mark(tmp_path: Path) -> None:
    """The keys that could not be carried over are among those that the mark stands for."""
    proxy = Proxy.idle(b"b" * 100)
    with opened(tmp_path) as journal:
        write(journal, b"a")
        with full_disk(30):
            await journal.clean(proxy.settled, proxy.dirty)

    assert recovered(tmp_path).reasons == [f"000000000002.keys: {Gap.FAILED.reason}"]


@contextmanager
def taking_nothing(journal: Journal) -> Iterator[None]:
    """Let the disk refuse every write to the current segment for the block, in place too."""
    file, kept = journal._file, os.dup(journal._file)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), file)
    try:
        yield
    finally:
        if journal._file == file:
            os.dup2(kept, file)
        os.close(kept)


async def test_a_gap_that_cannot_be_marked_goes_to_the_next_segment(tmp_path: Path) -> None:
    """Each round tries to make the mark; as long as it is nowhere, nothing is deleted."""
    proxy = Proxy.idle()
    with opened(tmp_path) as journal:
        write(journal, b"a")
        with taking_nothing(journal):
            write(journal, b"b")
            write(journal, b"c")
            assert (journal.statistics().failures, journal.statistics().gap) == (3, Gap.FAILED)

            journal.rotate()
        assert (journal.statistics().is_broken, journal.statistics().gap) == (False, Gap.FAILED)
        assert recovered_elsewhere(tmp_path).reasons == [f"000000000002.keys: {Gap.FAILED.reason}"]

        await journal.clean(proxy.settled, proxy.dirty)
        assert journal.statistics().gap is Gap.NONE

    assert recovered(tmp_path) == Recovery()


async def test_nothing_is_deleted_while_a_mark_cannot_be_made(tmp_path: Path) -> None:
    """The old segments know more than the new one then."""
    proxy = Proxy()
    with opened(tmp_path) as journal:
        write(journal, b"a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.clean, proxy.settled, proxy.dirty)
            await trio.testing.wait_all_tasks_blocked()
            with taking_nothing(journal):
                proxy.dirty_keys = keys(b"a")
                proxy.may_settle.set()
                await trio.testing.wait_all_tasks_blocked()
        assert journal.statistics().segments == 2

    assert recovered(tmp_path).keys == keys(b"a")


def test_a_mark_is_tried_again_until_it_is_made(tmp_path: Path) -> None:
    """A disk that takes nothing at all for a while is marked with the first round behind."""
    with opened(tmp_path) as journal:
        with taking_nothing(journal):
            write(journal, b"a")
        write(journal, b"b")

    assert recovered(tmp_path).reasons == [f"000000000001.keys: {Gap.FAILED.reason}"]


def test_a_segment_that_cannot_be_deleted_stays_with_those_behind_it(tmp_path: Path) -> None:
    """Deleting goes on where it stopped."""
    with opened(tmp_path) as journal:
        for _ in range(3):
            journal.rotate()
        (tmp_path / "000000000001.keys").unlink()
        (tmp_path / "000000000002.keys").unlink()
        (tmp_path / "000000000002.keys").mkdir()
        journal.drop_before(4)
        assert len(segments(tmp_path)) == 3
        assert (journal.statistics().failures, journal.statistics().segments) == (1, 3)

        (tmp_path / "000000000002.keys").rmdir()
        journal.drop_before(4)
        assert segments(tmp_path) == ["000000000004.keys"]
        assert journal.statistics().bytes == 21


# --- the limit


async def test_at_the_limit_keys_are_missing_until_the_next_cleaning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It never takes more; a process that lives on makes it whole again."""
    proxy = Proxy.idle(b"dirty")
    with opened(tmp_path, max_bytes=200) as journal:
        write(journal, b"a" * 60)
        write(journal, b"b" * 60)
        write(journal, b"c" * 1)
        assert journal.statistics().bytes <= 200
        assert (journal.statistics().gap, journal.statistics().is_broken) == (Gap.FULL, False)
        assert recovered_elsewhere(tmp_path).reasons == [f"000000000001.keys: {Gap.FULL.reason}"]

        await journal.clean(proxy.settled, proxy.dirty)
        write(journal, b"d")

    assert "the journal is full: a start after a crash will copy everything" in caplog.messages
    assert recovered(tmp_path) == Recovery(keys(b"dirty", b"d"))


async def test_more_dirty_keys_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then any key may be dirty: the mark stands for all of them, and the rest is not even tried."""
    monkeypatch.setattr(module, "_CARRY_KEYS", 10)
    proxy = Proxy.idle(*(b"dirty:%d" % number for number in range(100)))
    with opened(tmp_path, max_bytes=1000) as journal:
        await journal.clean(proxy.settled, proxy.dirty)

        assert journal.statistics().segments == 1
        assert 300 < journal.statistics().bytes <= 1000
    assert recovered(tmp_path).reasons == [f"000000000002.keys: {Gap.FULL.reason}"]


# --- cleaning


async def test_what_is_settled_goes_and_what_is_dirty_stays(tmp_path: Path) -> None:
    """Nothing is deleted before everything of before is settled; what comes meanwhile is kept."""
    proxy = Proxy()
    with opened(tmp_path) as journal:
        write(journal, b"settled", b"dirty")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(journal.clean, proxy.settled, proxy.dirty)
            await trio.testing.wait_all_tasks_blocked()
            write(journal, b"new")
            assert recovered_elsewhere(tmp_path).keys == keys(b"settled", b"dirty", b"new")

            proxy.dirty_keys = keys(b"dirty")
            proxy.may_settle.set()
        assert journal.statistics().segments == 1

    assert recovered(tmp_path) == Recovery(keys(b"dirty", b"new"))


async def test_a_cleaning_that_is_cancelled_has_lost_nothing(tmp_path: Path) -> None:
    """While it waits, and while it carries over."""
    proxy = Proxy()
    scope = trio.CancelScope()

    def dirty() -> set[Key]:
        scope.cancel()
        return keys(b"b")

    with opened(tmp_path) as journal:
        write(journal, b"a")
        with trio.move_on_after(0) as waiting:
            await journal.clean(proxy.settled, proxy.dirty)
        proxy.may_settle.set()
        with scope:
            await journal.clean(proxy.settled, dirty)

    assert (waiting.cancelled_caught, scope.cancelled_caught) == (True, True)
    assert recovered(tmp_path).keys == keys(b"a", b"b")


async def test_many_dirty_keys_are_carried_over_in_turns(tmp_path: Path) -> None:
    """Others run in between; the set may change meanwhile, and what becomes dirty then is written anyway."""
    proxy = Proxy.idle(*(b"%d" % number for number in range(2500)))
    expected = set(proxy.dirty_keys or ())
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1
            assert proxy.dirty_keys is not None
            proxy.dirty_keys.discard((0, b"%d" % turns))

    with opened(tmp_path) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            await journal.clean(proxy.settled, proxy.dirty)
            nursery.cancel_scope.cancel()

    assert turns >= 2
    assert recovered(tmp_path).keys == expected


async def test_a_proxy_that_does_not_know_its_dirty_keys_says_so(tmp_path: Path) -> None:
    """The need for a resync survives cleaning until the proxy knows again."""
    proxy = Proxy.idle()
    with opened(tmp_path) as journal:
        proxy.dirty_keys = None
        await journal.clean(proxy.settled, proxy.dirty)
        await journal.clean(proxy.settled, proxy.dirty)
        assert recovered_elsewhere(tmp_path).reasons == [f"000000000003.keys: {Gap.ANY_KEY.reason}"]

        proxy.dirty_keys = keys(b"a")
        await journal.clean(proxy.settled, proxy.dirty)

    assert recovered(tmp_path) == Recovery(keys(b"a"))


async def test_it_cleans_by_itself_and_rests_when_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written goes soon; an idle proxy writes nothing."""
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.001)
    proxy = Proxy.idle()
    journal = Journal(tmp_path, "interval", 1_000_000, trio.current_time)
    journal.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run, proxy.settled, proxy.dirty)
        write(journal, b"a")
        await wait_until(lambda: proxy.asked == 1 and journal.statistics().segments == 1)
        await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    journal.close()

    assert (proxy.asked, segments(tmp_path)) == (1, ["000000000002.keys"])
    assert recovered(tmp_path) == Recovery()


async def test_cleaning_takes_a_small_part_of_the_time(tmp_path: Path) -> None:
    """Many dirty keys are copied seldom, unless the journal grows meanwhile."""
    clock = Clock()
    proxy = Proxy.idle(b"a")
    journal = Journal(tmp_path, "never", 1000, clock)
    journal.open()

    def dirty() -> set[Key] | None:
        clock.now += 2.0
        return proxy.dirty()

    await journal.clean(proxy.settled, dirty)
    clock.now += 99.0
    assert not journal._is_turn_due()
    clock.now += 1.0
    assert journal._is_turn_due()

    await journal.clean(proxy.settled, dirty)
    write(journal, b"x" * 200)
    assert not journal._is_turn_due()
    write(journal, b"y" * 50)
    assert journal._is_turn_due()
    journal.close()


# --- forced to the disk, or not


class Syncs:
    """Counts calls that force something to the disk, and fails them on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.error: OSError | None = None
        monkeypatch.setattr(module, "sync_data", self)
        monkeypatch.setattr(module, "sync_files", self)

    def __call__(self, what: object) -> None:  # noqa: ARG002 - as the real ones
        """Take note."""
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(("fsync", "calls"), [("always", 1), ("interval", 0), ("never", 0)])
def test_a_round_waits_for_the_disk_only_if_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: Fsync, calls: int
) -> None:
    """Once per round, however many keys and databases; a mark counts as much as keys."""
    with opened(tmp_path, fsync) as journal:
        syncs = Syncs(monkeypatch)
        journal.note(0, (b"a", b"b"))
        write(journal, b"c", db=1)
        assert syncs.calls == calls
        write(journal, b"a")
        assert syncs.calls == calls
        journal.note_everything()
        assert syncs.calls == 2 * calls


def test_a_round_that_does_not_reach_the_disk_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failed fsync leaves is unknown; a later one that works proves nothing."""
    with opened(tmp_path, "always") as journal:
        syncs = Syncs(monkeypatch)
        syncs.error = OSError(5, "Input/output error")
        write(journal, b"a")
        syncs.error = None
        write(journal, b"b")

    assert recovered(tmp_path).reasons == [f"000000000001.keys: {Gap.FAILED.reason}"]


async def test_each_second_what_was_written_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread, also while the secondary is slow; not if nothing was written; a failure is a gap."""
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.001)
    proxy = Proxy()
    journal = Journal(tmp_path, "interval", 1_000_000, trio.current_time)
    journal.open()
    syncs = Syncs(monkeypatch)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run, proxy.settled, proxy.dirty)
        write(journal, b"a")
        await wait_until(lambda: proxy.asked == 1 and not journal._is_unsynced)
        calls = -1
        with trio.fail_after(10):  # noqa: ASYNC912 - there has been one
            while calls != syncs.calls:  # a thread may still be at it
                calls = syncs.calls
                await trio.sleep(0.02)
        assert calls > 0

        syncs.error = OSError(5, "Input/output error")
        write(journal, b"b")
        await wait_until(lambda: journal.statistics().gap is Gap.FAILED)
        assert journal.statistics().is_broken
        nursery.cancel_scope.cancel()
    journal.close()


@pytest.mark.parametrize(("fsync", "must_resync"), [("always", False), ("interval", True), ("never", True)])
async def test_a_machine_that_went_down_may_have_lost_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: Fsync, must_resync: bool
) -> None:
    """Unless each round waited for the disk. What is necessary stays so until the first cleaning."""
    boots = iter([b"one", b"two", b"two", b"two"])
    monkeypatch.setattr(module, "boot_id", lambda: next(boots))
    with opened(tmp_path, fsync) as journal:
        write(journal, b"a")

    journal = new_journal(tmp_path, fsync)
    assert journal.open() == Recovery(keys(b"a"), [Gap.POWER.reason] if must_resync else [])
    journal.close()

    journal = new_journal(tmp_path, fsync)
    reason = f"000000000002.keys: {Gap.POWER.reason}"
    assert journal.open() == Recovery(keys(b"a"), [reason] if must_resync else [])
    proxy = Proxy.idle()
    await journal.clean(proxy.settled, proxy.dirty)
    journal.close()

    assert recovered(tmp_path) == Recovery()


def test_the_same_boot_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a system that has no ids, or an orderly end before the machine went down."""
    boots = iter([b"", b"", b"one", b"one", b"two"])
    monkeypatch.setattr(module, "boot_id", lambda: next(boots))
    with opened(tmp_path, "interval") as journal:
        write(journal, b"a")
    for _ in range(2):
        assert not recovered(tmp_path).must_resync
    journal = new_journal(tmp_path, "interval")
    journal.open()
    journal.finish(keys(b"b"))

    assert recovered(tmp_path) == Recovery(keys(b"b"))


# --- the end


def test_an_orderly_end_leaves_nothing(tmp_path: Path) -> None:
    """Only the lock file, and no work for the next start."""
    with opened(tmp_path) as journal:
        write(journal, b"a")
        journal.rotate()
        journal.note_everything()
        journal.finish([])

    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert (tmp_path / "lock").read_bytes() == b""


def test_an_end_with_something_left_leaves_exactly_that(tmp_path: Path) -> None:
    """In one small segment, whatever was in the others."""
    with opened(tmp_path) as journal:
        write(journal, b"a", b"b")
        journal.note_everything()
        journal.finish(iter([(0, b"b"), (7, b"c")]))

    assert len(segments(tmp_path)) == 1
    assert recovered(tmp_path) == Recovery(keys(b"b") | keys(b"c", db=7))


def test_an_end_in_the_middle_of_a_resync_leaves_the_need_for_it(tmp_path: Path) -> None:
    """None stands for any key."""
    with opened(tmp_path) as journal:
        journal.finish(None)

    assert recovered(tmp_path).reasons == [f"000000000002.keys: {Gap.ANY_KEY.reason}"]


@pytest.mark.parametrize("trouble", ["full", "fsync"])
def test_an_end_on_a_broken_disk_leaves_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """More than necessary is known at the next start, never less."""
    with opened(tmp_path, "interval") as journal:
        write(journal, b"a", b"b")
        if trouble == "full":
            with full_disk(0):
                journal.finish(keys(b"b"))
        else:
            Syncs(monkeypatch).error = OSError(5, "Input/output error")
            journal.finish(keys(b"b"))
            monkeypatch.undo()
        assert journal.statistics().failures == 1

    assert recovered(tmp_path).keys == keys(b"a", b"b")
    assert (tmp_path / "lock").read_bytes()


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    """And what is written to a closed journal is a failure that is counted, not raised."""
    with opened(tmp_path) as journal:
        journal.close()
        write(journal, b"a")

        assert journal.statistics().failures == 2  # the keys, and the mark


# --- small states


def test_states_live_beside_the_keys(tmp_path: Path) -> None:
    """They survive an orderly end and are no segments."""
    with opened(tmp_path) as journal:
        assert journal.load_state("resync") is None
        assert journal.save_state("resync", b"half")
        journal.finish([])
    with opened(tmp_path) as journal:
        assert journal.load_state("resync") == b"half"
        assert journal.drop_state("resync")
        assert journal.load_state("resync") is None


def test_states_on_a_broken_disk_are_failures_that_are_counted(tmp_path: Path) -> None:
    """A state that cannot be read is empty: there was one."""
    with opened(tmp_path) as journal:
        with full_disk(0):
            assert not journal.save_state("resync", b"half")
        (tmp_path / "other.state").mkdir()
        assert journal.load_state("other") == b""
        assert not journal.drop_state("other")

        assert (journal.statistics().failures, journal.statistics().is_broken) == (3, True)
        assert re.search("broken", repr(journal))
