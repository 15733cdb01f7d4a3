"""The journal's format: nothing that was written is lost without a word, whatever happens to a file."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.journal import GAP_OFFSET, SALT_BYTES, Gap, Recovery, encode_head, encode_record

SALT = b"saltsalt"
RECORDS = [(0, [b"a"]), (3, [b"", b"\r\n$3\r\n", b"\0\0"]), (0, [b"k%d" % number for number in range(5)])]


def segment(records: Iterable[tuple[int, list[bytes]]] = RECORDS, gap: Gap = Gap.NONE) -> bytes:
    """Return a whole segment."""
    return encode_head(SALT, gap) + b"".join(encode_record(SALT, db, keys) for db, keys in records)


def read(*segments: bytes) -> Recovery:
    """Return what segments say."""
    recovery = Recovery()
    for number, data in enumerate(segments):
        recovery.read(f"s{number}", data)
    return recovery


def keys_of(records: Iterable[tuple[int, list[bytes]]]) -> set[tuple[int, bytes]]:
    """Return each key of *records* with its database."""
    return {(db, key) for db, keys in records for key in keys}


def whole_records(size: int) -> int:
    """Return how many of `RECORDS` the first *size* bytes of their segment hold."""
    return sum(size >= len(segment(RECORDS[:count])) for count in range(1, len(RECORDS) + 1))


def test_what_was_written_is_read() -> None:
    """Keys of all records and databases come back, whatever bytes they are made of."""
    assert read(segment()) == Recovery(keys_of(RECORDS))


def test_a_segment_without_records_says_nothing() -> None:
    """A process that was killed at once leaves nothing to do, not even a complaint."""
    assert read(segment([])) == Recovery()


def test_segments_add_up() -> None:
    """A key may stand in several."""
    assert read(segment(RECORDS[:2]), segment(RECORDS[1:])).keys == keys_of(RECORDS)


@pytest.mark.parametrize("gap", [gap for gap in Gap if gap is not Gap.NONE])
def test_a_gap_makes_every_key_dirty(gap: Gap) -> None:
    """The reason names the segment and what happened; the keys that are there are known all the same."""
    recovery = read(segment(gap=gap))

    assert (recovery.must_resync, recovery.reasons) == (True, [f"s0: {gap.reason}"])
    assert recovery.keys == keys_of(RECORDS)


def test_a_gap_is_marked_in_place() -> None:
    """One byte of a written segment says it."""
    data = bytearray(segment())
    data[GAP_OFFSET : GAP_OFFSET + 1] = Gap.FULL.value

    assert bytes(data) == segment(gap=Gap.FULL)


def test_a_tear_is_no_error_wherever_it_is() -> None:
    """Cut at every byte, a segment gives the records before the cut, and no alarm."""
    data = segment()
    for size in range(len(data) + 1):
        recovery = read(data[:size])

        if size <= GAP_OFFSET:
            assert recovery == Recovery(torn_bytes=size)
        else:
            count = whole_records(size)
            torn = size - len(segment(RECORDS[:count]))
            assert recovery == Recovery(keys_of(RECORDS[:count]), torn_bytes=torn)


def test_zeros_behind_a_tear_are_a_tear() -> None:
    """A file system that had made room but not written yet leaves zeros."""
    data = segment()
    for size in range(len(data) + 1):
        recovery = read(data[:size] + bytes(len(data) - size + 100))

        assert not recovery.must_resync
        assert recovery.keys == keys_of(RECORDS[: whole_records(size)])
        assert recovery.torn_bytes >= 100


@pytest.mark.parametrize("bits", [0x01, 0x04, 0x80, 0xFF])
def test_a_flipped_byte_is_noticed_wherever_it_is(bits: int) -> None:
    """Each byte counts: what is damaged makes a resync necessary, and the other records are still read."""
    data = segment()
    starts = [len(segment(RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= bits
        recovery = read(bytes(flipped))

        assert recovery.must_resync
        if position == GAP_OFFSET:
            assert recovery.keys == keys_of(RECORDS)
        elif position < starts[0]:
            assert recovery == Recovery(set(), ["s0: damaged"], damaged_bytes=len(data))
        else:
            damaged = next(number for number in range(len(RECORDS)) if position < starts[number + 1])
            others = RECORDS[:damaged] + RECORDS[damaged + 1 :]
            size = starts[damaged + 1] - starts[damaged]
            assert recovery == Recovery(keys_of(others), ["s0: damaged"], damaged_bytes=size)


@pytest.mark.parametrize("removed", range(len(RECORDS) - 1))
def test_bytes_that_vanished_in_the_middle_are_noticed(removed: int) -> None:
    """A record whose end is missing although another one follows is no tear."""
    start = len(segment(RECORDS[:removed]))
    end = len(segment(RECORDS[: removed + 1]))
    data = segment()
    for cut in range(start + 1, end):
        recovery = read(data[:cut] + data[end:])

        assert recovery == Recovery(
            keys_of(RECORDS[:removed] + RECORDS[removed + 1 :]), ["s0: damaged"], damaged_bytes=cut - start
        )


def test_damage_in_two_places_is_one_reason() -> None:
    """The operator is told once per segment; bytes are counted together."""
    data = bytearray(segment())
    data[len(segment([])) + 3] ^= 1
    data[-1] ^= 1
    recovery = read(bytes(data))

    assert recovery.keys == keys_of(RECORDS[1:2])
    assert recovery.reasons == ["s0: damaged"]


@pytest.mark.parametrize("data", [b"DUALKVJ9" + segment()[8:], b"something else, long enough to be a head"])
def test_a_file_that_is_no_segment_is_damage(data: bytes) -> None:
    """Another version's or another program's file cannot be understood: its keys are not known."""
    assert read(data) == Recovery(set(), ["s0: damaged"], damaged_bytes=len(data))


def test_a_key_that_looks_like_a_record_is_none() -> None:
    """Behind damage, a key with another segment's record in it is not taken for one of this segment."""
    forged = encode_record(b"guessed!", 0, [b"forged"])
    data = bytearray(segment([(0, [forged, b"x"])]))
    data[len(segment([]))] ^= 1

    assert read(bytes(data)).keys == set()


def test_a_record_of_another_segment_is_damage() -> None:
    """Each segment has its own salt: blocks that were mixed up are noticed."""
    data = segment() + encode_record(b"another!", 0, [b"k"])

    assert read(data).reasons == ["s0: damaged"]


keys = st.lists(st.binary(max_size=40), min_size=1, max_size=5)
records = st.lists(st.tuples(st.integers(0, 1_000_000), keys), max_size=5)
salts = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)


@settings(max_examples=200)
@given(salts, records)
def test_any_records_come_back(salt: bytes, written: list[tuple[int, list[bytes]]]) -> None:
    """Whatever the salt, the databases and the keys are."""
    data = encode_head(salt) + b"".join(encode_record(salt, db, keys) for db, keys in written)

    assert read(data) == Recovery(keys_of(written))


@settings(max_examples=200)
@given(salts, records, st.binary(min_size=1), records.filter(bool))
def test_junk_between_records_costs_none_of_them(
    salt: bytes, before: list[tuple[int, list[bytes]]], junk: bytes, behind: list[tuple[int, list[bytes]]]
) -> None:
    """Whatever stands there: all intact records are read, and that something was lost is known."""
    first, second = (
        b"".join(encode_record(salt, db, keys) for db, keys in part) for part in (before, behind)
    )

    assert read(encode_head(salt) + first + junk + second) == Recovery(
        keys_of(before + behind), ["s0: damaged"], damaged_bytes=len(junk)
    )
