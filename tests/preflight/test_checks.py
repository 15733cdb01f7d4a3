"""Facts → findings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dualkv.core.identity import Identity
from dualkv.preflight.checks import check_all
from dualkv.preflight.model import Level, Sample
from dualkv.preflight.words import counted, size, some
from tests.preflight.building import elastickv, facts, found, levels, redis

SECRET = "5ecret"
EVICTING = {"settings": {"maxmemory": "1073741824", "maxmemory-policy": "allkeys-lru"}}
EVENTS = ({"settings": {"notify-keyspace-events": "KEA"}}, {"settings": {"notify-keyspace-events": "AKE"}})


def identity(run_id: str, master: str = "") -> Identity:
    """Return who a store is."""
    return Identity(run_id, is_empty=False, logs_writes=True, master=master)


def test_two_good_stores_have_nothing_against_them() -> None:
    """No warning where nothing has to be known."""
    assert levels(facts()) == set()


@pytest.mark.parametrize(
    ("primary", "secondary", "expected"),
    [
        ({"error": "10.0.0.1:1: Connection refused"}, {}, {("reachable", "primary", "fail")}),
        ({}, {"info": {"loading": "1"}}, {("reachable", "secondary", "fail")}),
        ({}, {"error_since": "no answer"}, {("reachable", "secondary", "warn")}),
        ({"knows_commands": False}, {}, {("version", "primary", "warn")}),
        ({}, {"dialect": redis("5.0.1")}, {("version", "secondary", "warn")}),
        ({}, {"identity": identity("b", "10.0.0.7:6379")}, {("role", "secondary", "fail")}),
        ({"info": {"cluster_enabled": "1"}}, {}, {("role", "primary", "fail")}),
        ({}, {"user": "app", "denied": ("EVAL",)}, {("rights", "secondary", "fail")}),
        ({"user": "app", "rights_are_known": False}, {}, {("rights", "primary", "warn")}),
        ({"latency_seconds": 0.02}, {"latency_seconds": 0.02}, {("latency", "primary", "warn")}),
        ({}, {"latency_seconds": 0.08}, {("latency", "secondary", "warn")}),
        ({}, {"settings": {"maxclients": "100"}}, {("connections", "secondary", "warn")}),
        ({}, EVICTING, {("memory", "secondary", "warn")}),
        (EVICTING, {}, {("memory", "primary", "warn")}),
        ({}, {"settings": {"maxmemory": "1073741824"}}, set()),
        ({"info": {"used_memory": "9"}}, {"settings": {"maxmemory": "8"}}, {("memory", "both", "fail")}),
        ({}, {"info": {"db0": "keys=1,expires=0"}}, {("keys", "secondary", "warn")}),
        ({}, {"identity": identity("a")}, {("two stores", "both", "fail")}),
        ({"clock_offset_seconds": 0.15}, {"clock_offset_seconds": -0.1}, {("clocks", "both", "warn")}),
        ({"clock_offset_seconds": None}, {"clock_offset_seconds": -0.3}, {("clocks", "both", "warn")}),
        ({}, {"settings": {"proto-max-bulk-len": "1048576"}}, {("values", "both", "warn")}),
        ({"settings": {"notify-keyspace-events": "KEA"}}, {}, {("notifications", "both", "warn")}),
        (*EVENTS, set()),
        ({"info": {"db17": "keys=1,expires=0"}}, {}, {("databases", "both", "fail")}),
        ({"info": {"db3": "keys=1,expires=0"}}, {}, set()),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_found(
    primary: dict[str, Any], secondary: dict[str, Any], expected: set[tuple[str, str, str]]
) -> None:
    """Each fact alone, as a warning or a failure, and nothing else."""
    assert levels(facts(primary, secondary)) == expected


def test_unreachable_store_is_a_finding_and_the_other_one_is_looked_at() -> None:
    """Nothing is said of the pair then."""
    known = facts(secondary={"error": "10.0.0.2:6379: Connection refused", "dialect": None, "identity": None})

    assert {finding.store for finding in check_all(known)} == {"primary", "secondary"}
    assert "Connection refused" in found(known, "reachable", "secondary")[0].text


def test_refused_password_has_its_own_advice() -> None:
    """A store that does not want us is not one that is away."""
    (finding,) = found(
        facts(secondary={"error": "h:1: AUTH: WRONGPASS invalid", "dialect": None}), "reachable", "secondary"
    )

    assert "password" in finding.advice


def test_two_databases_of_one_server_are_a_warning() -> None:
    """It works, but FLUSHALL is for both."""
    assert levels(facts(secondary={"identity": identity("a")}, secondary_db=1)) == {
        ("two stores", "both", "warn")
    }


def test_one_server_is_a_warning_where_it_is_allowed() -> None:
    """Somebody has said that it does not matter."""
    known = facts(secondary={"identity": identity("a")}, allow_same_server=True)

    assert levels(known) == {("two stores", "both", "warn")}


def test_secrets_are_never_told() -> None:
    """Neither of settings nor of addresses."""
    known = facts(
        primary_password=SECRET, secondary=None, secondary_password=SECRET, sentry_dsn=f"https://{SECRET}@h/1"
    )

    assert SECRET not in repr(check_all(known))


def test_hazards_of_elastickv_are_told() -> None:
    """What harms it, what it does not have, and the limit that the pool must fit into."""
    known = facts(secondary={"dialect": elastickv(), "info": {"keyspace_hits": ""}, "settings": {}})
    texts = " ".join(finding.text for finding in found(known, "ElasticKV", "secondary"))

    assert all(word in texts for word in ("SCAN", "passwords", "databases", "MULTI", "Raft"))
    assert (
        "ELASTICKV_REDIS_PER_PEER_CONNECTIONS must exceed processes x secondary_pool_size (192) + 128"
        in texts
    )
    assert "enough for 1 process " in texts
    assert Level.FAIL not in {finding.level for finding in check_all(known)}


def test_pool_that_is_too_large_for_one_peer_is_a_warning() -> None:
    """The default limit is 512."""
    known = facts(secondary={"dialect": elastickv()}, secondary_pool_size=384)

    assert found(known, "ElasticKV", "secondary")[0].level is Level.WARN


def test_several_databases_fail_where_all_are_one() -> None:
    """Mirroring them would mix their keys."""
    known = facts({"info": {"db3": "keys=1,expires=0"}}, {"dialect": elastickv()})
    (finding,) = found(known, "databases", "both")

    assert finding.level is Level.FAIL
    assert "0 (12 keys), 3 (1 key)" in finding.text


def test_writes_are_told_by_the_form_in_which_they_arrive() -> None:
    """All names are in the details, the first ones in the sentence."""
    findings = found(facts(secondary={"dialect": elastickv()}), "write commands", "secondary")
    lost = findings[-1]

    assert [finding.level for finding in findings][-1] is Level.WARN
    assert "cannot be held" in lost.text
    assert {"XREADGROUP", "XACK"} <= set(lost.details)
    assert "SET" in findings[0].details


def test_copies_by_payload_need_a_store_that_reads_them() -> None:
    """Else keys are copied by type."""
    assert "DUMP and RESTORE" in found(facts(), "copies", "both")[0].text
    assert "by their type" in found(facts(secondary={"dialect": elastickv()}), "copies", "both")[0].text


# --- the sample


def sample(length: int = 100, unit: str = "bytes", **classes: int) -> Sample:
    """Return a sample with one largest key."""
    by_name = {name.replace("_", " "): count for name, count in classes.items()} or {"none": 1}
    return Sample(
        keys=sum(by_name.values()), ttl_classes=Counter(by_name), largest=[(length, unit, "string", b"k\xff")]
    )


@pytest.mark.parametrize(
    ("known", "level"),
    [
        (facts({"sample": sample()}), Level.OK),
        (facts({"sample": sample(40 * 1024 * 1024)}), Level.WARN),
        (facts({"sample": sample(100 * 1024 * 1024)}), Level.WARN),
        (facts({"sample": sample(2_000_000, "elements")}), Level.WARN),
        (facts({"sample": sample(20 * 1024 * 1024)}, {"dialect": elastickv()}), Level.WARN),
        (facts({"sample": sample(20 * 1024 * 1024)}), Level.OK),
    ],
)
def test_big_keys_are_judged_by_what_is_configured(known: Any, level: Level) -> None:
    """And by what the other store takes."""
    (finding,) = found(known, "big keys", "primary")

    assert finding.level is level
    assert "k\\xff" in finding.text


def test_expiry_tells_what_does_not_come_over_by_itself() -> None:
    """Keys that last have to be filled in."""
    (finding,) = found(facts({"sample": sample(none=3, longer=1)}), "expiry", "primary")
    (short,) = found(
        facts({"sample": Sample(keys=2, ttl_classes=Counter({"< 1 min": 2}))}), "expiry", "primary"
    )
    (empty,) = found(facts({"sample": Sample()}), "expiry", "primary")

    assert "none: 75%, longer: 25%" in finding.text
    assert "backfill" in finding.advice
    assert ("< 1 min: 100%" in short.text, short.advice) == (True, "")
    assert "no key" in empty.text


# --- words


def test_words_are_short_and_exact() -> None:
    """Sizes in their unit, long lists cut, plurals where they belong."""
    assert [size(count) for count in (0, 1023, 1536, 512 * 1024**2, 3 * 1024**3)] == [
        "0 B", "1023 B", "1.5 KiB", "512 MiB", "3.0 GiB",
    ]  # fmt: skip
    assert some("abc") == "a, b, c"
    assert some(map(str, range(10))) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert [counted(1, "key"), counted(1200, "key")] == ["1 key", "1,200 keys"]
