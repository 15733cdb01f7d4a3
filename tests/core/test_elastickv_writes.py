"""Every write command in the words of ElasticKV: what is sent, and the class that the documentation names."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest

from dualkv.commands.table import COMMANDS
from dualkv.core.context import Context
from dualkv.core.dialect import said_now, speak
from dualkv.core.dialect.holding import HOLDINGS, Held
from dualkv.core.dialect.scripts import LIBRARY
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.primary_time import PrimaryTime
from dualkv.core.routing import plan_for
from dualkv.core.scripts import ScriptCache
from dualkv.core.spoken import effects_in, spoken_item
from dualkv.core.translator import Translator
from dualkv.resp import encode
from dualkv.resp.encode import pack
from dualkv.resp.requests import RequestParser
from tests.core.building import bulks, flat, planned
from tests.core.effects.telling import NIL, OK, number, word
from tests.core.elastickv_dialect import ELASTICKV

NOW: Final = 1000.0
NOW_MS: Final = 1_000_000
NO_EXPIRY: Final = number(-1)
ENTRY: Final = encode.array([word("5-1"), flat("f", "v")])
FIRST: Final = encode.array([ENTRY])
POPPED: Final = encode.array([word("k"), bulks("a b")])
SCORED: Final = encode.array([word("k"), encode.array([flat("a", "1")])])
STREAMS: Final = encode.array([encode.array([word("s"), encode.array([ENTRY])])])
GROUPS: Final = encode.array([flat("name", "g", "last-delivered-id", "5-1")])
PENDING: Final = encode.array([flat("5-1", "c", 0, 1)])
LIBRARIES: Final = encode.array([flat("library_name", "l", "library_code", "code")])
LATER: Final = NOW_MS + 10_000

EXAMPLES: Final = (
    # request, reply, answers to questions, what is sent
    ("DEL a b", number(2), (), "DEL a b"),
    ("UNLINK a b", number(2), (), "DEL a b"),
    ("GETDEL k", word("v"), (), "DEL k"),
    ("DELEX k IFEQ v", number(1), (), "DEL k"),
    ("DELIFEQ k v", number(1), (), "DEL k"),
    ("EXPIRE k 10", number(1), (), "PEXPIRE k 10000"),
    ("PEXPIRE k 10 XX", number(1), (), "PEXPIRE k 10"),
    ("EXPIREAT k 1010", number(1), (), "PEXPIRE k 10000"),
    ("PEXPIREAT k 1000010", number(1), (), "PEXPIRE k 10"),
    ("EXPIRE k -1", number(1), (), "DEL k"),
    ("PERSIST k", number(1), (), "library: PERSIST k"),
    ("RENAME a b", OK, (NO_EXPIRY,), "RENAME a b"),
    ("RENAMENX a b", number(1), (NO_EXPIRY,), "RENAME a b"),
    ("COPY a b", number(1), (NO_EXPIRY, NO_EXPIRY), "copy b"),
    ("MOVE a 1", number(1), (), "copy a; lost SELECT"),
    ("RESTORE k 0 payload", OK, (), "copy k"),
    ("SORT k STORE d", number(3), (NO_EXPIRY, NO_EXPIRY), "copy d"),
    ("FLUSHALL ASYNC", OK, (), "FLUSHALL"),
    ("FLUSHDB", OK, (), "FLUSHALL"),
    ("SWAPDB 0 1", OK, (), "FLUSHALL; lost SWAPDB"),
    # strings
    ("SET k v", OK, (), "SET k v"),
    ("SET k v EX 10", OK, (), "SET k v PX 10000"),
    ("SET k v KEEPTTL", OK, (NO_EXPIRY,), "SET k v"),
    ("SET k v KEEPTTL", OK, (number(LATER),), "SET k v PX 10000"),
    ("SET k v NX GET", NIL, (), "SET k v"),
    ("SETEX k 10 v", OK, (), "SET k v PX 10000"),
    ("PSETEX k 10 v", OK, (), "SET k v PX 10"),
    ("SETNX k v", number(1), (), "SET k v"),
    ("GETSET k v", NIL, (), "SET k v"),
    ("MSET a 1 b 2", OK, (), "run: SET a 1; SET b 2"),
    ("MSETNX a 1 b 2", number(1), (), "run: SET a 1; SET b 2"),
    ("MSETEX 1 a 1 EX 10", number(1), (), "SET a 1 PX 10000"),
    ("GETEX k EX 10", word("v"), (), "PEXPIRE k 10000"),
    ("INCR k", number(5), (NO_EXPIRY,), "SET k 5"),
    ("DECR k", number(5), (number(LATER),), "SET k 5 PX 10000"),
    ("INCRBY k 2", number(5), (NO_EXPIRY,), "SET k 5"),
    ("DECRBY k 2", number(5), (NO_EXPIRY,), "SET k 5"),
    ("INCRBYFLOAT k 0.1", word("0.1"), (NO_EXPIRY,), "SET k 0.1"),
    ("INCREX k", number(5), (), "copy k"),
    ("APPEND k xyz", number(5), (NO_EXPIRY,), "library: SETRANGE k 2 xyz"),
    ("APPEND k xyz", number(3), (NO_EXPIRY,), "SET k xyz"),
    ("SETRANGE k 2 xyz", number(5), (NO_EXPIRY,), "library: SETRANGE k 2 xyz"),
    ("SETBIT k 7 1", number(0), (NO_EXPIRY,), "library: SETBIT k 7 1"),
    ("BITFIELD k SET u8 0 1", flat(0), (NO_EXPIRY,), "copy k"),
    ("BITOP AND d a b", number(1), (word("1"), word("1"), *[NO_EXPIRY] * 3), "copy d"),
    ("PFADD k a", number(1), (NO_EXPIRY,), "PFADD k a"),
    ("PFADD k", number(1), (NO_EXPIRY,), ""),
    ("PFMERGE d a", OK, (NO_EXPIRY, NO_EXPIRY), "lost PFMERGE"),
    # lists
    ("LPUSH k a", number(1), (NO_EXPIRY,), "run: DEL k; LPUSH k a"),
    ("RPUSH k a", number(2), (NO_EXPIRY,), "RPUSH k a"),
    ("RPUSH k a", number(2), (number(LATER),), "run: RPUSH k a; PEXPIRE k 10000"),
    ("LPUSHX k a", number(2), (), "LPUSH k a"),
    ("RPUSHX k a", number(2), (), "RPUSH k a"),
    ("LINSERT k BEFORE a b", number(2), (), "library: LINSERT k BEFORE a b"),
    ("LREM k 0 a", number(2), (), "LREM k 0 a"),
    ("LSET k 0 a", OK, (), "LSET k 0 a"),
    ("LTRIM k 0 1", OK, (), "LTRIM k 0 1"),
    ("LPOP k", word("a"), (), "LREM k 1 a"),
    ("RPOP k 1", flat("a"), (), "LREM k -1 a"),
    ("LPOP k 2000", bulks("a " * 1001), (), "LTRIM k 1001 -1"),
    ("RPOP k 2000", bulks("a " * 1001), (), "LTRIM k 0 -1002"),
    ("LMPOP 1 k LEFT COUNT 2", POPPED, (), "run: LREM k 1 a; LREM k 1 b"),
    ("BLMPOP 0 1 k LEFT", POPPED, (), "run: LREM k 1 a; LREM k 1 b"),
    ("BLPOP k 0", flat("k", "a"), (), "LREM k 1 a"),
    ("BRPOP k 0", flat("k", "a"), (), "LREM k -1 a"),
    ("LMOVE k l LEFT RIGHT", word("a"), (NO_EXPIRY,), "run: RPUSH l a; LREM k 1 a"),
    ("BLMOVE k l LEFT RIGHT 0", word("a"), (NO_EXPIRY,), "run: RPUSH l a; LREM k 1 a"),
    ("RPOPLPUSH k l", word("a"), (NO_EXPIRY,), "run: LPUSH l a; LREM k -1 a"),
    ("BRPOPLPUSH k l 0", word("a"), (NO_EXPIRY,), "run: LPUSH l a; LREM k -1 a"),
    ("LMOVEM k l LEFT RIGHT", bulks("a"), (), "copy k; copy l"),
    ("BLMOVEM k l LEFT RIGHT 0", bulks("a"), (), "copy k; copy l"),
    # hashes
    ("HSET k f v", number(1), (NO_EXPIRY,), "HSET k f v"),
    ("HMSET k f v", OK, (NO_EXPIRY,), "HMSET k f v"),
    ("HSETNX k f v", number(1), (NO_EXPIRY,), "HSET k f v"),
    ("HDEL k f", number(1), (), "HDEL k f"),
    ("HGETDEL k FIELDS 1 f", flat("v"), (), "HDEL k f"),
    ("HINCRBY k f 1", number(5), (NO_EXPIRY,), "HSET k f 5"),
    ("HINCRBYFLOAT k f 0.5", word("5.5"), (NO_EXPIRY,), "HSET k f 5.5"),
    ("HSETEX k FIELDS 1 f v", number(1), (NO_EXPIRY,), "HSET k f v"),
    ("HSETEX k EX 10 FIELDS 1 f v", number(1), (NO_EXPIRY,), "HSET k f v; lost HPEXPIREAT"),
    ("HEXPIRE k 10 FIELDS 1 f", flat(1), (), "lost HPEXPIREAT"),
    ("HPEXPIRE k 10 FIELDS 1 f", flat(1), (), "lost HPEXPIREAT"),
    ("HEXPIREAT k 1010 FIELDS 1 f", flat(1), (), "lost HPEXPIREAT"),
    ("HPEXPIREAT k 1000010 FIELDS 1 f", flat(1), (), "lost HPEXPIREAT"),
    ("HGETEX k EX 10 FIELDS 1 f", flat("v"), (), "lost HPEXPIREAT"),
    ("HPERSIST k FIELDS 1 f", flat(1), (), ""),
    # sets
    ("SADD k a", number(1), (NO_EXPIRY,), "SADD k a"),
    ("SREM k a", number(1), (), "SREM k a"),
    ("SPOP k", word("a"), (), "SREM k a"),
    ("SMOVE k l a", number(1), (NO_EXPIRY,), "run: SREM k a; SADD l a"),
    ("SINTERSTORE d a b", number(1), (NO_EXPIRY,) * 3, "copy d"),
    ("SUNIONSTORE d a b", number(1), (NO_EXPIRY,) * 3, "copy d"),
    ("SDIFFSTORE d a b", number(1), (NO_EXPIRY,) * 3, "copy d"),
    # sorted sets and places
    ("ZADD k 1 a", number(1), (NO_EXPIRY,), "ZADD k 1 a"),
    ("ZADD k CH 1 a", number(1), (NO_EXPIRY,), "ZADD k 1 a"),
    ("ZADD k GT CH 1 a", number(1), (word("2"), NO_EXPIRY), "ZADD k 2 a"),
    ("ZADD k INCR 1 a", word("3"), (NO_EXPIRY,), "ZADD k 3 a"),
    ("ZINCRBY k 1 a", word("3"), (NO_EXPIRY,), "ZADD k 3 a"),
    ("ZREM k a", number(1), (), "ZREM k a"),
    ("ZREMRANGEBYRANK k 0 1", number(2), (), "ZREMRANGEBYRANK k 0 1"),
    ("ZREMRANGEBYSCORE k 0 1", number(2), (), "ZREMRANGEBYSCORE k 0 1"),
    ("ZREMRANGEBYLEX k - +", number(2), (), "copy k"),
    ("ZPOPMIN k", bulks("a 1"), (), "ZREM k a"),
    ("ZPOPMAX k 2", bulks("a 1 b 2"), (), "ZREM k a b"),
    ("BZPOPMIN k 0", bulks("k a 1"), (), "ZREM k a"),
    ("BZPOPMAX k 0", bulks("k a 1"), (), "ZREM k a"),
    ("ZMPOP 1 k MIN", SCORED, (), "ZREM k a"),
    ("BZMPOP 0 1 k MIN", SCORED, (), "ZREM k a"),
    ("ZRANGESTORE d k 0 1", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("ZINTERSTORE d 1 k", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("ZUNIONSTORE d 1 k", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("ZDIFFSTORE d 1 k", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("GEOADD k 13.361389 38.115556 Palermo", number(1), (NO_EXPIRY,), "ZADD k 3479099956230698 Palermo"),
    ("GEOADD k CH 15.087269 37.502669 Catania", number(1), (NO_EXPIRY,), "ZADD k 3479447370796909 Catania"),
    ("GEORADIUS k 15 37 9 km STORE d", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("GEORADIUSBYMEMBER k a 9 km STORE d", number(1), (NO_EXPIRY,) * 2, "copy d"),
    ("GEOSEARCHSTORE d k FROMMEMBER a BYRADIUS 9 km", number(1), (NO_EXPIRY,) * 2, "copy d"),
    # streams
    ("XADD s * f v", word("5-1"), (NO_EXPIRY,), "XADD s 5-1 f v"),
    ("XADD s MAXLEN = 9 * f v", word("5-1"), (NO_EXPIRY,), "XADD s MAXLEN 9 5-1 f v"),
    (
        "XADD s MAXLEN ~ 9 * f v", word("6-1"), (FIRST, NO_EXPIRY),
        "library: XADD s 6-1 f v; XTRIM s MINID 5-1",
    ),
    ("XADD s MAXLEN = 9 DELREF * f v", word("5-1"), (NO_EXPIRY,), "copy s"),
    ("XTRIM s MAXLEN 9", number(1), (), "XTRIM s MAXLEN 9"),
    ("XTRIM s MAXLEN ~ 9", number(1), (FIRST,), "library: XTRIM s MINID 5-1"),
    ("XTRIM s MAXLEN = 9 DELREF", number(1), (), "copy s"),
    ("XDEL s 5 6-1", number(1), (), "library: XDEL s 5-0 6-1"),
    ("XDELEX s IDS 1 5-1", flat(1), (), "library: XDEL s 5-1"),
    ("XDELEX s ACKED IDS 1 5-1", flat(1), (), "copy s"),
    ("XACKDEL s g IDS 1 5-1", flat(1), (), "copy s"),
    ("XSETID s 9-1", OK, (), "copy s"),
    ("XCFGSET s IDMP-DURATION 9", OK, (), "lost XCFGSET"),
    ("XGROUP CREATE s g 0", OK, (), "lost XGROUP CREATE"),
    ("XGROUP CREATECONSUMER s g c", number(1), (), "lost XGROUP CREATECONSUMER"),
    ("XGROUP DELCONSUMER s g c", number(1), (), "lost XGROUP DELCONSUMER"),
    ("XGROUP DESTROY s g", number(1), (), "lost XGROUP DESTROY"),
    ("XGROUP SETID s g 0", OK, (), "lost XGROUP SETID"),
    ("XREADGROUP GROUP g c STREAMS s >", STREAMS, (GROUPS,), "lost XCLAIM; lost XGROUP SETID"),
    ("XACK s g 5-1", number(1), (), "lost XACK"),
    ("XCLAIM s g c 0 5-1", encode.array([ENTRY]), (PENDING,), "lost XCLAIM"),
    # the rest
    ("PUBLISH c m", number(1), (), "PUBLISH c m"),
    ("SPUBLISH c m", number(1), (), "lost SPUBLISH"),
    ("SCRIPT LOAD text", word("e0"), (), ""),
    ("SCRIPT FLUSH", OK, (), ""),
    ("FUNCTION LOAD code", word("l"), (), "lost FUNCTION LOAD"),
    ("FUNCTION DELETE l", OK, (), "lost FUNCTION DELETE"),
    ("FUNCTION FLUSH", OK, (), "lost FUNCTION FLUSH"),
    ("FUNCTION RESTORE payload", OK, (LIBRARIES,), "lost FUNCTION FLUSH; lost FUNCTION LOAD"),
    ("FCALL f 1 k", OK, (NO_EXPIRY,), "copy k"),
    ("VADD k VALUES 1 1 a", number(1), (NO_EXPIRY,), "lost VADD"),
    ("VREM k a", number(1), (), "lost VREM"),
    ("VSETATTR k a {}", number(1), (), "lost VSETATTR"),
    ("ARSET k 0 v", number(1), (NO_EXPIRY,), "lost ARSET"),
    ("ARMSET k 0 v", number(1), (NO_EXPIRY,), "lost ARMSET"),
    ("ARDEL k 0", number(1), (), "lost ARDEL"),
    ("ARDELRANGE k 0 1", number(1), (), "lost ARDELRANGE"),
    ("ARSEEK k 0", number(1), (NO_EXPIRY,), "lost ARSEEK"),
    ("ARINSERT k v", number(1), (NO_EXPIRY,), "lost ARINSERT"),
    ("ARRING k 9 v", number(1), (NO_EXPIRY,), "lost ARRING"),
    ("BLESS SET k", OK, (), "copy k"),
    ("BLESS CLEAR k", OK, (), "copy k"),
)  # fmt: skip


def sent(line: str, reply: bytes, answers: tuple[bytes, ...]) -> str:
    """Return what the store gets for a request, what is copied, and what is counted as lost."""
    translator = Translator(PrimaryTime(0.0), lag_seconds=1)
    translator.speak(ELASTICKV)
    translator.is_mirrored = lambda db: db == 0
    plan, request = planned(*line.split())
    asked = translator.ask(plan, request.args, 0, NOW)
    assert len(asked.wires) == len(answers), asked
    item, copies = translator.translate(plan, request, reply, NOW, Context(), asked, answers)
    said = [f"copy {key.decode()}" for _, key in copies]
    said += [f"lost {name}" for name in sorted(translator.not_holdable)]
    if item is not None:
        commands = effects_in(item, translator.scripts)
        wire = speak(commands, NOW_MS).wire
        (first, *_) = RequestParser().feed(wire)
        script = "" if first.args[0] != b"EVAL" else "library: " if first.args[1] == LIBRARY else "run: "
        lines = [b" ".join(said_now(one, NOW_MS)).decode() for one in commands]
        assert script or wire == b"".join(pack(said_now(one, NOW_MS)) for one in commands)
        said = [script + "; ".join(lines), *said]
    return "; ".join(said)


@pytest.mark.parametrize(
    ("line", "reply", "answers", "expected"), EXAMPLES, ids=[f"{one[0][:40]}" for one in EXAMPLES]
)
def test_a_write_is_said_in_what_the_store_has(
    line: str, reply: bytes, answers: tuple[bytes, ...], expected: str
) -> None:
    """By its own commands, by a script, by a copy, or not at all, and then it is counted."""
    assert sent(line, reply, answers) == expected


def test_every_mirrored_command_has_a_class() -> None:
    """And no other one has."""
    assert {spec.name for spec in COMMANDS if plan_for(spec).queue is not None} == HOLDINGS.keys()


UNTRIED: Final = {"EVAL", "EVALSHA", "OTHER", "XAUTOCLAIM", "XNACK"}
"""They have tests of their own, or are as their kin."""


def test_the_class_of_a_command_is_what_its_first_example_shows() -> None:
    """Nothing is documented otherwise than it is."""
    shown: dict[str, Held] = {}
    for line, _, _, expected in EXAMPLES:
        plan, _ = planned(*line.split())
        held = Held.EXACT
        if expected.startswith("library"):
            held = Held.SCRIPT
        elif "copy" in expected:
            held = Held.COPY
        elif "lost" in expected:
            held = Held.LOST
        shown.setdefault(plan.spec.name, held)

    assert HOLDINGS.keys() - shown.keys() == UNTRIED
    assert {name: held for name, held in shown.items() if HOLDINGS[name].held is not held} == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("redis.call('SET',KEYS[1],ARGV[1])", "as it is"),
        ("redis.call('APPEND',KEYS[1],ARGV[1])", "copy k"),
        ("redis.call('ZINCRBY',KEYS[1],1,ARGV[1])", "copy k"),
        ("redis.call('SPOP',KEYS[1])", "copy k"),
    ],
)
def test_a_script_is_replayed_if_the_store_can_run_it(body: str, expected: str) -> None:
    """If it calls what there is not, or not in scripts, its keys are copied, without a try."""
    translator = Translator(PrimaryTime(0.0), lag_seconds=1)
    translator.speak(ELASTICKV)
    plan, request = planned("EVAL", body, 1, "k", "v")

    asked = translator.ask(plan, request.args, 0, NOW)
    item, copies = translator.translate(plan, request, OK, NOW, Context(), asked, [NO_EXPIRY])

    assert (item is not None, copies) == ((True, ()) if expected == "as it is" else (False, ((0, b"k"),)))


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call('DBSIZE')",
        "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) end",
        "redis.call('SELECT', 1) redis.call('SET', KEYS[1], 'x')",
        "redis.pcall('SUBSCRIBE', 'c') redis.call('SET', 'other', 'x')",
        "local c = redis.call return c('D' .. 'BSIZE')",
        "return redis.call(ARGV[1])",
        "redis.call('SET', 'other', 'x') redis.call('APPEND', 'other', 'x')",
    ],
)
@pytest.mark.parametrize("is_queued", [False, True])
def test_a_script_that_may_harm_the_store_is_not_sent(body: str, is_queued: bool) -> None:
    """Alone or in a transaction; its keys are copied, and it is counted if it may have written others."""
    translator = Translator(PrimaryTime(0.0), lag_seconds=1)
    translator.speak(ELASTICKV)
    translator.is_mirrored = lambda db: db == 0
    plan, request = planned("EVAL", body, 1, "k", "v")

    for db in (0, 1):
        if is_queued:
            item, copies = translator.translate_transaction(
                planned("EXEC")[0], [(plan, request)], [OK], NOW, Context(db=db)
            )
        else:
            item, copies = translator.translate(plan, request, OK, NOW, Context(db=db))
        assert (item, copies) == (None, ((0, b"k"),) if db == 0 else ())

    assert translator.not_holdable["EVAL"] == 1


def test_a_script_that_calls_what_the_store_runs_is_sent_beside_the_copies() -> None:
    """What it writes under names of its own, only the script itself can bring."""
    translator = Translator(PrimaryTime(0.0), lag_seconds=1)
    translator.speak(ELASTICKV)
    body = "local rcall = redis.call rcall('SET', 'other', math.random()) return rcall('LPOP', KEYS[1])"
    plan, request = planned("EVAL", body, 1, "k")

    asked = translator.ask(plan, request.args, 0, NOW)
    item, copies = translator.translate(plan, request, OK, NOW, Context(), asked, [NO_EXPIRY])

    assert item is not None
    assert item.request.args == request.args
    assert copies == ((0, b"k"),)
    assert not translator.not_holdable


@pytest.mark.parametrize(("name", "is_known"), [("EVAL", True), ("EVALSHA", True), ("EVALSHA", False)])
def test_a_script_from_before_the_store_was_known_is_not_sent_either(name: str, is_known: bool) -> None:
    """Nothing is said of it, and its outcome is an error: its keys are copied."""
    scripts = ScriptCache()
    body = b"return redis.call('DBSIZE')"
    if is_known:
        scripts.learn("EVAL", (b"EVAL", body))
    script = body if name == "EVAL" else hashlib.sha1(body).hexdigest().encode()
    plan, request = planned(name, script, 1, "k")

    spoken = spoken_item(StreamItem(plan, Queue.SCRIPT, request, NOW), ELASTICKV, NOW_MS, scripts)

    assert (spoken.wire, spoken.reply_count) == (b"", 0)
    assert spoken.fold([], NOW_MS).startswith(b"-ERR unsupported command")
