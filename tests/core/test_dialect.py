"""What backends say they can do, and effects in the words that they have."""

from __future__ import annotations

import pytest

from dualkv.core.dialect import (
    Dialect,
    holds_as_is,
    learn,
    lower,
    payload_version,
    reads_payload,
    reads_version,
)
from dualkv.core.effects.model import Command, Effects
from dualkv.resp import encode

REFUSED = b"-NOPERM this user has no permissions\r\n"

NEWER = frozenset(
    {"HSETEX", "HPEXPIREAT", "HPERSIST", "MSETEX", "XDELEX", "XACKDEL", "VADD", "EVAL_RO", "HPEXPIRETIME"}
)


def info(*lines: str) -> bytes:
    """Return a reply to INFO."""
    return encode.bulk("\r\n".join(("# Server", *lines, "")))


def row(name: str, *subcommands: str) -> bytes:
    """Return what COMMAND tells of one command, as Redis 7.0 and later do."""
    nested = [row(subcommand) for subcommand in subcommands]
    filling = [encode.integer(0)] * 8
    return encode.array([encode.bulk(name), *filling, encode.array(nested)])


def old_row(name: str) -> bytes:
    """Return what COMMAND tells of one command in Redis 6.2."""
    return encode.array([encode.bulk(name), *[encode.integer(0)] * 6])


def redis(version: str, *more: str, without: tuple[str, ...] = ()) -> Dialect:
    """Return the dialect of a Redis: all commands of 7.0, some *more*, and some not."""
    plain = learn((info(f"redis_version:{version}"), REFUSED))
    names = (plain.commands | set(more)) - set(without)
    return learn(
        (
            info(f"redis_version:{version}"),
            encode.array([row(name.lower().replace(" ", "|")) for name in sorted(names)]),
        )
    )


REDIS_6_2 = redis(
    "6.2.14", without=("FUNCTION LOAD", "FUNCTION", "FCALL", "PEXPIRETIME", "LMPOP", "SPUBLISH")
)
REDIS_7_0 = redis("7.0.15")
REDIS_8_2 = redis("8.2.3", *(NEWER - {"MSETEX"}))
SMALL = redis("7.2.0", without=("PEXPIREAT", "PERSIST", "UNLINK", "LMOVE", "XAUTOCLAIM", "COPY", "RESTORE"))
"""A store that claims a version which it does not reach."""


def said(dialect: Dialect, *words: str) -> tuple[list[str], list[bytes], tuple[str, ...]]:
    """Lower one command; return commands, keys to copy, and what cannot be held."""
    command = Command(tuple(word.encode() for word in words))
    lowered = lower(Effects((command,)), dialect)
    commands = [b" ".join(command.args).decode() for command in lowered.effects.commands]
    return commands, [key for _, key in lowered.effects.copies], lowered.unheld


# --- learning


@pytest.mark.parametrize(
    ("lines", "product", "version", "redis_version", "rdb_version"),
    [
        (("redis_version:6.2.14",), "Redis", (6, 2, 14), (6, 2, 14), 9),
        (("redis_version:7.0.15",), "Redis", (7, 0, 15), (7, 0, 15), 10),
        (("redis_version:7.4.1",), "Redis", (7, 4, 1), (7, 4, 1), 12),
        (("redis_version:7.2.4", "valkey_version:9.1.2"), "Valkey", (9, 1, 2), (7, 2, 4), 80),
        (("redis_version:7.2.4", "valkey_version:8.1.0"), "Valkey", (8, 1, 0), (7, 2, 4), 11),
        (("redis_version:7.4.0", "dragonfly_version:df-v1.30.0"), "Dragonfly", (1, 30, 0), (7, 4, 0), 9),
        (("redis_version:7.2.0", "raft_leader_redis:a:1"), "ElasticKV", (7, 2, 0), (7, 2, 0), 0),
        (("redis_version:255.255.255",), "Redis", (255, 255, 255), (255, 255, 255), 12),
        (("redis_version:unstable",), "Redis", (), (6, 2), 0),
        ((), "Redis", (), (6, 2), 0),
    ],
)
def test_products_and_versions_are_told_by_info(
    lines: tuple[str, ...],
    product: str,
    version: tuple[int, ...],
    redis_version: tuple[int, ...],
    rdb_version: int,
) -> None:
    """Who claims to be Redis may say elsewhere who it is; what it writes in dumps follows."""
    dialect = learn((info(*lines), REFUSED))

    assert (dialect.product, dialect.version) == (product, version)
    assert (dialect.redis_version, dialect.rdb_version) == (redis_version, rdb_version)


def test_a_store_that_answers_errors_goes_as_an_old_redis() -> None:
    """Without INFO and COMMAND the commands of 7.0 are assumed, and the options of 6.2."""
    dialect = learn((REFUSED, b"-ERR unsupported command 'COMMAND'\r\n"))

    assert dialect.has("SET")
    assert dialect.has("XGROUP CREATE")
    assert dialect.has("SET PXAT")
    assert not dialect.has("XSETID ENTRIESADDED")
    assert dialect.rdb_version == 0


def test_info_as_a_verbatim_string_of_resp3_is_understood() -> None:
    """RESP3 sends INFO with a format in front."""
    text = b"txt:redis_version:7.0.15\r\n"

    assert learn((b"=%d\r\n%b\r\n" % (len(text), text), REFUSED)).version == (7, 0, 15)


def test_subcommands_are_listed_or_come_with_their_container() -> None:
    """Redis 7.0 lists them; of a store that does not, a container is believed to be whole."""
    listed = learn((info("redis_version:7.0.15"), encode.array([row("xgroup", "xgroup|create")])))
    unlisted = learn((info("redis_version:6.2.14"), encode.array([old_row("xgroup"), old_row("set")])))

    assert listed.commands == {"XGROUP", "XGROUP CREATE"}
    assert {"XGROUP", "XGROUP CREATE", "XGROUP CREATECONSUMER", "SET"} <= unlisted.commands
    assert "XINFO STREAM" not in unlisted.commands


@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        (REDIS_6_2, {"SET KEEPTTL", "SET PXAT", "LPOP COUNT", "XTRIM MINID"}),
        (
            REDIS_7_0,
            {
                "SET KEEPTTL", "SET PXAT", "LPOP COUNT", "XTRIM MINID", "XGROUP ENTRIESREAD",
                "XSETID ENTRIESADDED",
            },
        ),
        (
            REDIS_8_2,
            {
                "SET KEEPTTL", "SET PXAT", "LPOP COUNT", "XTRIM MINID", "XGROUP ENTRIESREAD",
                "XSETID ENTRIESADDED", "XTRIM DELREF", "BITOP DIFF",
            },
        ),
        (SMALL, {"XGROUP ENTRIESREAD", "XSETID ENTRIESADDED"}),
    ],
    ids=["Redis 6.2", "Redis 7.0", "Redis 8.2", "a small store"],
)  # fmt: skip
def test_options_follow_from_version_and_commands(dialect: Dialect, options: set[str]) -> None:
    """A version alone is not believed."""
    assert dialect.options == options


def test_a_store_without_restore_reads_no_dump() -> None:
    """Whatever its version says."""
    assert SMALL.rdb_version == 0
    assert not reads_version(SMALL, 0)


# --- payloads


@pytest.mark.parametrize(
    ("lines", "readable"),
    [
        (("redis_version:6.2.14",), {9}),
        (("redis_version:7.0.15",), {9, 10}),
        (("redis_version:8.2.3",), {9, 10, 11, 12}),
        (("redis_version:7.2.4", "valkey_version:8.1.1"), {9, 10, 11}),
        (("redis_version:7.2.4", "valkey_version:9.1.2"), {9, 10, 11, 80}),
    ],
)
def test_payloads_are_read_up_to_the_own_version(lines: tuple[str, ...], readable: set[int]) -> None:
    """And by Valkey none that only Redis writes."""
    dialect = learn((info(*lines), REFUSED))
    payloads = [b"\0\1x" + bytes((version, 0)) + bytes(8) for version in (9, 10, 11, 12, 13, 80, 81)]

    assert {payload_version(payload) for payload in payloads if reads_payload(dialect, payload)} == readable


def test_what_is_no_payload_is_not_read() -> None:
    """A footer of ten bytes has to follow something."""
    assert not reads_payload(REDIS_7_0, b"\x09\x00" + bytes(8))
    assert not reads_payload(REDIS_7_0, b"")


# --- lowering


@pytest.mark.parametrize(
    ("dialect", "words", "commands"),
    [
        (SMALL, "SET k v", ["SET k v"]),
        (SMALL, "MSETEX 2 a 1 b 2", ["SET a 1", "SET b 2"]),
        (REDIS_7_0, "MSETEX 2 a 1 b 2 PXAT 5", ["SET a 1 PXAT 5", "SET b 2 PXAT 5"]),
        (REDIS_7_0, "HSETEX k KEEPTTL FIELDS 1 f v", ["HSET k f v"]),
        (REDIS_7_0, "HSETEX k FIELDS 2 f v g w", ["HSET k f v g w"]),
        (REDIS_7_0, "HPERSIST k FIELDS 1 f", []),
        (SMALL, "UNLINK a b", ["DEL a b"]),
        (SMALL, "LPOP k 3", ["LPOP k", "LPOP k", "LPOP k"]),
        (SMALL, "RPOP k", ["RPOP k"]),
        (REDIS_7_0, "XADD k KEEPREF MAXLEN = 3 1-1 f v", ["XADD k MAXLEN = 3 1-1 f v"]),
        (REDIS_7_0, "XADD k MINID ~ 0 LIMIT 5 KEEPREF 1-1 f v", ["XADD k MINID ~ 0 LIMIT 5 1-1 f v"]),
        (REDIS_7_0, "XADD k NOMKSTREAM KEEPREF 1-1 f v", ["XADD k NOMKSTREAM 1-1 f v"]),
        (REDIS_7_0, "XADD k 1-1 KEEPREF DELREF", ["XADD k 1-1 KEEPREF DELREF"]),
        (REDIS_7_0, "XTRIM k MAXLEN 5 KEEPREF", ["XTRIM k MAXLEN 5"]),
        (REDIS_6_2, "XGROUP CREATE k g 1-1 MKSTREAM ENTRIESREAD 3", ["XGROUP CREATE k g 1-1 MKSTREAM"]),
        (REDIS_6_2, "XGROUP SETID k g 1-1 ENTRIESREAD 3", ["XGROUP SETID k g 1-1"]),
        (REDIS_6_2, "XGROUP CREATE k ENTRIESREAD 1-1", ["XGROUP CREATE k ENTRIESREAD 1-1"]),
        (REDIS_6_2, "XSETID k 1-1 ENTRIESADDED 3 MAXDELETEDID 0-0", ["XSETID k 1-1"]),
        (REDIS_6_2, "XSETID k 1-1", ["XSETID k 1-1"]),
        (REDIS_7_0, "XDELEX k KEEPREF IDS 2 1-1 2-1", ["XDEL k 1-1 2-1"]),
        (REDIS_7_0, "XDELEX k IDS 1 1-1", ["XDEL k 1-1"]),
        (REDIS_7_0, "BITOP AND d a b", ["BITOP AND d a b"]),
        (REDIS_8_2, "BITOP DIFF d a b", ["BITOP DIFF d a b"]),
        (REDIS_8_2, "XADD k DELREF MAXLEN 5 1-1 f v", ["XADD k DELREF MAXLEN 5 1-1 f v"]),
        (REDIS_8_2, "HSETEX k PXAT 5 FIELDS 1 f v", ["HSETEX k PXAT 5 FIELDS 1 f v"]),
    ],
)  # fmt: skip
def test_old_forms_are_used_where_one_is_exact(dialect: Dialect, words: str, commands: list[str]) -> None:
    """Nothing is copied, and nothing is lost."""
    assert said(dialect, *words.split()) == (commands, [], ())


def test_an_expiry_is_said_in_two_commands() -> None:
    """Before 6.2 SET takes no PXAT."""
    redis_6_0 = redis("6.0.16", without=("GETEX", "XAUTOCLAIM", "LMOVE", "COPY"))

    assert said(redis_6_0, "SET", "k", "v", "PXAT", "5") == (["SET k v", "PEXPIREAT k 5"], [], ())
    assert said(redis_6_0, "SET", "k", "v", "KEEPTTL") == (["SET k v KEEPTTL"], [], ())


def test_field_expiry_without_hsetex_goes_in_two_commands() -> None:
    """Redis 7.4 knows HPEXPIREAT, but no HSETEX; and HSET would take an expiry away."""
    redis_7_4 = redis("7.4.0", "HPEXPIREAT", "HPERSIST", "HPEXPIRETIME")

    assert said(redis_7_4, "HSETEX", "k", "PXAT", "5", "FIELDS", "2", "f", "v", "g", "w") == (
        ["HSET k f v g w", "HPEXPIREAT k 5 FIELDS 2 f g"],
        [],
        (),
    )
    assert said(redis_7_4, "HSETEX", "k", "KEEPTTL", "FIELDS", "1", "f", "v") == ([], [b"k"], ())


@pytest.mark.parametrize(
    ("dialect", "words", "keys"),
    [
        (SMALL, "SET k v KEEPTTL", [b"k"]),
        (SMALL, "PERSIST k", [b"k"]),
        (SMALL, "COPY a b REPLACE", [b"b"]),
        (SMALL, "RESTORE k 0 payload REPLACE", [b"k"]),
        (SMALL, "XTRIM k MINID 5", [b"k"]),
        (SMALL, "XADD k MINID = 5 1-1 f v", [b"k"]),
        (SMALL, "LMOVE a b LEFT RIGHT", [b"a", b"b"]),
        (REDIS_7_0, "XADD k MAXLEN 5 ACKED 1-1 f v", [b"k"]),
        (REDIS_7_0, "XTRIM k MAXLEN 5 DELREF", [b"k"]),
        (REDIS_7_0, "XDELEX k DELREF IDS 1 1-1", [b"k"]),
        (REDIS_7_0, "XACKDEL k g IDS 1 1-1", [b"k"]),
        (REDIS_7_0, "BITOP DIFF d a b", [b"d"]),
        (REDIS_6_2, "FCALL f 2 a b", [b"a", b"b"]),
    ],
)
def test_keys_are_copied_where_no_form_is_exact(dialect: Dialect, words: str, keys: list[bytes]) -> None:
    """Only what the command may have written, where the command tells it."""
    assert said(dialect, *words.split()) == ([], keys, ())


def test_a_copy_into_another_database_is_copied_there() -> None:
    """COPY names the database of the copy."""
    command = Command((b"COPY", b"a", b"b", b"DB", b"3", b"REPLACE"))

    assert lower(Effects((command,)), SMALL).effects == Effects(copies=((3, b"b"),))


@pytest.mark.parametrize(
    ("dialect", "words", "commands", "unheld"),
    [
        (REDIS_7_0, "HPEXPIREAT k 5 FIELDS 1 f", [], ("HPEXPIREAT",)),
        (REDIS_7_0, "HSETEX k PXAT 5 FIELDS 1 f v", ["HSET k f v"], ("HPEXPIREAT",)),
        (REDIS_7_0, "VADD k VALUES 2 1 1 e", [], ("VADD",)),
        (REDIS_7_0, "ARSET k 0 v", [], ("ARSET",)),
        (REDIS_7_0, "JSON.SET k $ 1", [], ("JSON.SET",)),
        (REDIS_6_2, "FUNCTION LOAD body", [], ("FUNCTION LOAD",)),
        (REDIS_6_2, "SPUBLISH channel message", [], ("SPUBLISH",)),
    ],
)
def test_what_cannot_be_held_is_named(
    dialect: Dialect, words: str, commands: list[str], unheld: tuple[str, ...]
) -> None:
    """A copy would not bring it either. What can be held of it, is."""
    assert said(dialect, *words.split()) == (commands, [], unheld)


def test_consumer_groups_are_not_held_by_a_store_without_them() -> None:
    """Copying the stream at each acknowledgement would bring nothing."""
    groups = ("XGROUP", "XGROUP CREATE", "XGROUP SETID", "XACK", "XCLAIM", "XSETID")
    store = redis("7.2.0", without=groups)

    for words in ("XGROUP CREATE k g 0", "XACK k g 1-1", "XCLAIM k g c 0 1-1 FORCE", "XSETID k 1-1"):
        commands, keys, unheld = said(store, *words.split())
        assert (commands, keys, len(unheld)) == ([], [], 1)


def test_effects_that_hold_as_they_are_stay_the_same_object() -> None:
    """The hot path builds nothing."""
    effects = Effects((Command((b"SET", b"k", b"v", b"PXAT", b"5")), Command((b"LREM", b"k", b"1", b"v"))))

    assert lower(effects, REDIS_7_0).effects is effects


def test_order_and_expected_replies_stay_as_they_are() -> None:
    """A command that is said otherwise changes nothing around it, whatever letters its name has."""
    effects = Effects(
        (
            Command((b"lpush", b"l", b"x"), b":1\r\n"),
            Command((b"hSetEx", b"h", b"PXAT", b"5", b"fields", b"1", b"f", b"v")),
            Command((b"SADD", b"s", b"x"), b":1\r\n"),
        ),
        copies=((None, b"c"),),
    )

    lowered = lower(effects, REDIS_7_0)

    assert lowered.effects.commands == (
        effects.commands[0],
        Command((b"HSET", b"h", b"f", b"v")),
        effects.commands[2],
    )
    assert lowered.effects.copies == ((None, b"c"),)
    assert lowered.unheld == ("HPEXPIREAT",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SET", (False, True, True)),
        ("LPUSH", (True, True, True)),
        ("UNLINK", (False, True, True)),
        ("XADD", (False, False, True)),
        ("XSETID", (True, True, True)),
        ("BITOP", (False, False, True)),
        ("RESTORE", (False, False, False)),
        ("HSETEX", (False, False, True)),
        ("XGROUP CREATE", (True, True, True)),
        ("JSON.SET", (False, False, False)),
    ],
)
def test_the_fast_path_is_for_commands_that_hold_whatever_their_arguments(
    name: str, expected: tuple[bool, ...]
) -> None:
    """In a small store, Redis 7.0, Redis 8.2."""
    assert tuple(holds_as_is(name, dialect) for dialect in (SMALL, REDIS_7_0, REDIS_8_2)) == expected


def test_elastickv_is_told_by_what_it_says_of_itself() -> None:
    """Its leader or its own command gives it away: it fuses, is never enumerated, and has one keyspace."""
    by_leader = learn((info("redis_version:7.2.0", "raft_leader_redis:"), REFUSED))
    by_command = learn((REFUSED, encode.array([row("get"), row("elastickv.zremfast")])))

    for dialect in (by_leader, by_command):
        assert dialect.product == "ElasticKV"
        assert (dialect.fuses, dialect.is_enumerable, dialect.has_databases) == (True, False, False)
    assert (REDIS_7_0.fuses, REDIS_7_0.is_enumerable, REDIS_7_0.has_databases) == (False, True, True)
