"""Coverage: checks by prefix, bounded, and nothing lost."""

from __future__ import annotations

import pytest

from dualkv.commands.keys import keys_of
from dualkv.commands.table import COMMANDS, find_command
from dualkv.core.coverage import MESSAGES, OTHER, Coverage, Outcome, PrefixCoverage, covered_key, shown_prefix


def test_reads_are_counted_by_what_their_keys_begin_with() -> None:
    """Up to and with the first delimiter; keys without one are counted together."""
    coverage = Coverage()
    coverage.note_matches([b"user:1", b"user:2:name", b"cart:1", b"plain", b"", b":odd"])

    assert {prefix: counts.matched for prefix, counts in coverage.by_prefix().items()} == {
        b"user:": 2, b"cart:": 1, b"": 2, b":": 1,
    }  # fmt: skip


def test_each_outcome_has_a_count_of_its_own() -> None:
    """What could not be compared does not count as compared, nor does a write."""
    coverage = Coverage()
    for times, outcome in enumerate(Outcome, 1):
        coverage.note(outcome, [b"user:1"] * times)

    counts = coverage.by_prefix()[b"user:"]
    assert counts == PrefixCoverage(1, 2, 3, 4, 5, 6)
    assert counts.compared == 1 + 2 + 3
    assert coverage.total() == counts


def test_a_delimiter_may_be_long_or_none() -> None:
    """Keys of other makers are cut in other places; or not at all."""
    long = Coverage(b"::")
    long.note_matches([b"a:b::c", b"a:b"])
    assert set(long.by_prefix()) == {b"a:b::", b""}

    none = Coverage(b"")
    none.note_matches([b"a:b", b"c"])
    assert none.by_prefix() == {b"": PrefixCoverage(matched=2)}
    assert none.prefix_of(b"a:b") == b""


def test_prefixes_beyond_the_bound_are_counted_together() -> None:
    """The first ones are told apart; of the others none is lost."""
    coverage = Coverage(max_prefixes=3)
    for number in range(10):
        coverage.note_matches([b"%d:key" % number] * (number + 1))

    counted = {prefix: counts.matched for prefix, counts in coverage.by_prefix().items()}
    assert sum(counted.values()) == 55
    assert len(counted) == 4
    assert counted[b"0:"] == 1
    assert coverage.group_of(b"0:x") == b"0:"
    assert coverage.group_of(b"9:x") == OTHER


def test_a_key_that_is_all_prefix_takes_no_room() -> None:
    """Whoever puts a delimiter at the end of a megabyte does not fill the memory."""
    coverage = Coverage()
    coverage.note_matches([b"x" * 1_000_000 + b":"])

    assert coverage.by_prefix() == {OTHER: PrefixCoverage(matched=1)}


@pytest.mark.parametrize("batch", [1, 7, 511, 512, 513, 5000])
def test_nothing_is_lost_between_batches(batch: int) -> None:
    """However many keys come at once, the sum is right at every moment."""
    coverage = Coverage()
    given = 0
    while given < 3000:
        coverage.note_matches([b"a:1"] * batch)
        given += batch
        assert coverage.total().matched == given


def test_any_iterable_of_keys_will_do() -> None:
    """A caller needs no list of its own."""
    coverage = Coverage()
    coverage.note_matches(key for key in (b"a:1", b"a:2"))
    coverage.note(Outcome.GAP, (b"a:3",))

    assert coverage.total().compared == 3


@pytest.mark.parametrize(
    ("request_text", "key"),
    [
        ("GET a", "a"), ("MGET a b", "a"), ("HGETALL a", "a"), ("OBJECT ENCODING a", "a"),
        ("ZINTER 2 a b", "a"), ("SINTERCARD 2 a b LIMIT 1", "a"), ("EVAL_RO return 2 a b", "a"),
        ("XREAD COUNT 1 STREAMS a b 0 0", "a"), ("LCS a b", "a"), ("GEORADIUS_RO a 1 2 3 m", "a"),
        ("SORT_RO a", "a"), ("XINFO STREAM a", "a"), ("PING", ""), ("KEYS *", ""), ("DBSIZE", ""),
        ("GET", ""), ("EVAL_RO return 0", ""), ("NO.SUCH a", ""),
    ],
)  # fmt: skip
def test_a_request_counts_for_its_first_key(request_text: str, key: str) -> None:
    """Wherever the command has it; a request without one counts for none."""
    args = tuple(request_text.encode().split())
    spec = find_command(args[0], args[1] if len(args) > 1 else None)

    assert covered_key(spec, args) == key.encode()


def test_the_first_key_is_that_of_the_rules_for_every_command() -> None:
    """The short way finds what the long way finds."""
    args = (b"X", b"1", b"1", b"1", b"a", b"b", b"c", b"d")
    for spec in COMMANDS:
        if keys := keys_of(spec, args):
            assert covered_key(spec, args) == keys[0], spec.name


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        (b"user:", "user:"),
        (b"", "(none)"),
        (OTHER, "(other)"),
        (MESSAGES, "(messages)"),
        (b"\xff\x00\n\x1b:", "\\xff\\x00\\x0a\\x1b:"),
    ],
)
def test_a_prefix_is_shown_in_one_harmless_line(prefix: bytes, shown: str) -> None:
    """Keys are anybody's bytes; a terminal must not obey them."""
    assert shown_prefix(prefix) == shown
