"""Which reads are compared: a share of the keys, and rules."""

from __future__ import annotations

from itertools import pairwise
from zlib import crc32

import pytest

from dualkv.commands.keys import keys_of
from dualkv.config.shadow_rules import parse_shadow_rules
from dualkv.core.compare import Tolerance
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.errors import ConfigError
from tests.core.building import Word, planned

KEYS = [f"user:{number}" for number in range(10_000)]


def rules(text: str, share: float = 1.0) -> ShadowFilter:
    """Return a filter with rules."""
    return ShadowFilter(share, parse_shadow_rules(text))


def admits(chosen: ShadowFilter, *args: Word) -> bool:
    """Return whether a read is compared."""
    plan, request = planned(*args)
    return chosen.admits(plan, request.args)


def tolerance(chosen: ShadowFilter, *args: Word) -> Tolerance:
    """Return what may differ in a read."""
    plan, request = planned(*args)
    return chosen.tolerance(plan, request.args)


def sampled(share: float) -> set[str]:
    """Return those of `KEYS` that are in a sample."""
    chosen = ShadowFilter(share)
    return {key for key in KEYS if admits(chosen, "GET", key)}


# --- the share


def test_without_anything_said_all_reads_are_compared_and_nobody_needs_to_ask() -> None:
    """The default costs nothing."""
    assert ShadowFilter().is_trivial
    assert not ShadowFilter(0.99).is_trivial
    assert not rules("a* GET ignore").is_trivial
    assert admits(ShadowFilter(), "GET", "key")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_of_the_keys_is_compared(share: float) -> None:
    """As many as was said, nearly."""
    assert len(sampled(share)) / len(KEYS) == pytest.approx(share, abs=0.015)


def test_all_or_nothing_is_exact() -> None:
    """The bounds of the share leave no key out, and let none in."""
    assert len(sampled(1.0)) == len(KEYS)
    assert not sampled(0.0)
    assert not admits(ShadowFilter(0.0), "GET", "")


def test_a_share_that_is_changed_counts_as_if_it_had_been_said_before() -> None:
    """Of rules too, unless they have a share of their own; what has been counted stays."""
    changed = rules("a* GET sample=100%; b* TTL tolerance=5s")
    assert all(admits(changed, "GET", f"c{number}") for number in range(100))
    changed.take_share(0.0)
    assert admits(changed, "GET", "a")
    assert not admits(changed, "TTL", "b")
    assert not admits(changed, "GET", "c")
    assert (changed.unsampled, sum(changed.reads_by_rule().values())) == (2, 2)
    changed.take_share(1.0)
    assert admits(changed, "TTL", "b")
    assert not changed.is_trivial

    plain = ShadowFilter(0.5)
    plain.take_share(1.0)
    assert plain.is_trivial


def test_a_share_that_grows_only_adds_keys() -> None:
    """What was compared yesterday goes on being compared."""
    samples = [sampled(share) for share in (0.01, 0.1, 0.5, 1.0)]

    assert all(smaller < larger for smaller, larger in pairwise(samples))


def test_a_key_is_always_or_never_in_the_sample_in_every_process() -> None:
    """The sample follows from the key's bytes alone: no state, no seed, no command."""
    chosen = ShadowFilter(0.5)
    for key in KEYS[:100]:
        expected = crc32(key.encode()) < 2**31
        for args in (("GET", key), ("TTL", key), ("MGET", key, "x"), ("XREAD", "STREAMS", key, "0")):
            assert admits(chosen, *args) is expected


def test_a_read_without_keys_goes_by_its_first_argument() -> None:
    """A script is always or never compared; what only looks like a key is none."""
    chosen = ShadowFilter(0.5)
    for number in range(100):
        script = f"return {number}"
        expected = crc32(script.encode()) < 2**31
        assert admits(chosen, "EVAL_RO", script, 0) is expected
        assert admits(chosen, "EVAL_RO", script, 0, "argument") is expected


def test_a_read_without_arguments_does_not_disturb() -> None:
    """A client may send anything; the primary has refused it."""
    assert admits(ShadowFilter(0.5), "GET")


def test_reads_out_of_the_sample_are_counted() -> None:
    """Silence does not look like success."""
    chosen = ShadowFilter(0.25)
    compared = sum(admits(chosen, "GET", key) for key in KEYS)

    assert chosen.unsampled == len(KEYS) - compared


# --- rules


def test_the_first_rule_that_fits_decides() -> None:
    """Order matters, not how exact a rule is."""
    chosen = rules("cache:hot:* * sample=1; cache:* * ignore; cache:cold:* GET sample=1")

    assert admits(chosen, "GET", "cache:hot:1")
    assert not admits(chosen, "GET", "cache:cold:1")
    assert admits(chosen, "GET", "user:1")
    assert chosen.reads_by_rule() == {
        "cache:hot:* * sample=1": 1, "cache:* * ignore": 1, "cache:cold:* GET sample=1": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "fits", "does_not_fit"),
    [
        ("* get ignore", ("GET", "a"), ("STRLEN", "a")),
        ("* XINFO|STREAM ignore", ("XINFO", "STREAM", "a"), ("XINFO", "GROUPS", "a")),
        ("* XINFO ignore", ("XINFO", "GROUPS", "a"), ("XLEN", "a")),
        ("* @read ignore", ("GET", "a"), ("EVAL_RO", "x", 0)),
        ("* @script_ro ignore", ("EVAL_RO", "x", 0), ("GET", "a")),
        ("* @write ignore", ("SORT", "a"), ("GET", "a")),
        ("user:* * ignore", ("MGET", "user:1", "a"), ("MGET", "a", "user:1")),
        ("user:* * ignore", ("XREAD", "STREAMS", "user:1", "0"), ("XREAD", "STREAMS", "a", "user:1")),
        ("user:* * ignore", ("ZUNION", 1, "user:1"), ("ZUNION", 1, "a")),
        ("user:* * ignore", ("EVAL_RO", "x", 1, "user:1"), ("EVAL_RO", "x", 0, "user:1")),
        ("* * ignore", ("EVAL_RO", "x", 0), ("PING",)),
        (r"\x20\xff\x2a* GET ignore", ("GET", b" \xff*1"), ("GET", r"\x20\xff\x2a")),
    ],
)
def test_a_rule_fits_commands_and_keys(
    rule: str, fits: tuple[Word, ...], does_not_fit: tuple[Word, ...]
) -> None:
    """By name, class or all; by the first key, whose odd bytes are written as dualkv shows them."""
    chosen = rules(rule)

    assert not admits(chosen, *fits)
    assert admits(chosen, *does_not_fit)


def test_a_rule_has_a_sample_of_its_own() -> None:
    """It replaces the general one, for more and for less."""
    chosen = rules("user:* GET sample=100%; user:* TTL sample=0", share=0.25)
    of_rest = sampled(0.25)

    assert all(admits(chosen, "GET", key) for key in KEYS)
    assert not any(admits(chosen, "TTL", key) for key in KEYS)
    assert {key for key in KEYS if admits(chosen, "STRLEN", key)} == of_rest
    assert chosen.unsampled == len(KEYS) + len(KEYS) - len(of_rest)


def test_a_rule_about_tolerance_leaves_the_sample_as_it_is() -> None:
    """What a rule does not say is as without it."""
    chosen = rules("user:* * tolerance=5s", share=0.25)

    assert {key for key in KEYS if admits(chosen, "TTL", key)} == sampled(0.25)


def test_what_is_ignored_is_not_counted_as_out_of_the_sample() -> None:
    """Each read that is not compared is counted once, under its reason."""
    chosen = rules("user:* * ignore")
    assert not any(admits(chosen, "GET", key) for key in KEYS)

    assert chosen.unsampled == 0
    assert chosen.reads_by_rule() == {"user:* * ignore": len(KEYS)}


@pytest.mark.parametrize(
    ("rule", "args", "expected"),
    [
        ("s:* TTL tolerance=5s", ("TTL", "s:1"), Tolerance(ttl_milliseconds=5000)),
        ("s:* * tolerance=0", ("PTTL", "s:1"), Tolerance(ttl_milliseconds=0)),
        ("* PFCOUNT counts=10%", ("PFCOUNT", "a"), Tolerance(count_share=0.1)),
        ("* ZRANGE ties=set", ("ZRANGE", "a", 0, -1), Tolerance(are_ties_ordered=False)),
        ("* XRANGE trimming=approximate", ("XRANGE", "a", "-", "+"), Tolerance(is_trimming_exact=False)),
        ("* XPENDING deliveries=ignored", ("XPENDING", "a", "g"), Tolerance(are_deliveries_counted=False)),
        ("s:* TTL tolerance=5s", ("TTL", "t:1"), Tolerance()),
        ("s:* TTL tolerance=5s", ("PTTL", "s:1"), Tolerance()),
        ("s:* TTL sample=1; * TTL tolerance=5s", ("TTL", "s:1"), Tolerance()),
    ],
)
def test_a_rule_says_how_strictly_is_compared(rule: str, args: tuple[Word, ...], expected: Tolerance) -> None:
    """Every tolerance can be set where it is needed; elsewhere the default holds."""
    chosen = rules(rule)

    assert tolerance(chosen, *args) == expected
    assert set(chosen.reads_by_rule().values()) == {0}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("a* TLL ignore", "there is no command TLL"),
        ("a* OTHER ignore", "there is no command OTHER"),
        ("a* GET|X ignore", "there is no command GET|X"),
        ("a* XINFO|X ignore", "there is no command XINFO|X"),
        ("a* SET ignore", "SET is never compared"),
        ("a* KEYS ignore", "KEYS is never compared"),
        ("a* CONFIG ignore", "CONFIG is never compared"),
        ("a* @fast ignore", "there is no class @fast (@read, @script_ro, @write)"),
        ("a* GET tolerance=5s", "tolerance means nothing for GET"),
        ("a* TTL counts=5%", "counts means nothing for TTL"),
        ("a* LRANGE ties=set", "ties means nothing for LRANGE"),
        ("a* TTL tolerance=5s deliveries=ignored", "deliveries means nothing for TTL"),
        ("a* GET trimming=approximate", "trimming means nothing for GET"),
    ],
)
def test_a_rule_that_can_never_fit_is_an_error_at_start(rule: str, complaint: str) -> None:
    """A typing error does not become a rule that silently does nothing."""
    with pytest.raises(ConfigError) as caught:
        rules(f"b* GET ignore; {rule}")

    assert str(caught.value) == f"shadow_rules: {rule!r}: {complaint}"


def test_a_filter_shows_what_it_is() -> None:
    """As a status line."""
    assert repr(rules("a* GET ignore", share=0.25)) == "<ShadowFilter share=0.25 rules=1>"


def test_what_is_hashed_is_the_first_key_of_every_command() -> None:
    """The short way to a key finds what the long way does."""
    for args in (("LCS", "a", "b"), ("XINFO", "STREAM", "a"), ("SORT", "a"), ("SINTERCARD", 2, "a", "b")):
        plan, request = planned(*args)
        keys = keys_of(plan.spec, request.args)
        assert keys is not None
        assert admits(ShadowFilter(0.5), *args) is (crc32(keys[0]) < 2**31)
