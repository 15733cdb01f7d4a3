"""RESP2 replies raised to RESP3: byte for byte what real servers answer."""

from __future__ import annotations

import re
import shlex
from typing import Final

import pytest

from dualkv.commands.table import COMMANDS
from dualkv.core.raising import raised, raised_hello
from dualkv.core.routing import plan_of
from dualkv.resp.replies import ReplySplitter
from dualkv.servers import EmbeddedServer
from tests.core.elastickv_dialect import ELASTICKV
from tests.support.servers import Pair
from tests.support.wire import Wire

DATA: Final = r"""
SET s value
SET n 17
SET "odd\r\n$-1\r\n" "*-1\r\n$-1\r\n_\r\n"
PFADD hll a b c
RPUSH l c a b a
SADD set a b c d "" "x\r\ny"
SADD ints 1 2 3
HSET h f 1 g two "" ""
HSET hnull f "$-1\r\n" g "\r\n$-1\r\n"
ZADD z 1.1 a 2 b -inf c +inf d 1e300 e 1e20 f 0.1 g -0.5 h 3 i 100000 j 1e-7 k
ZADD y 3.25 a 17 zz
ZADD same 1 m 1 n 1 o
ZADD WITHSCORES 1 m 2 n
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
XADD x 1-1 f v g w
XADD x 2-5 f v
XADD other 1-1 only one
XGROUP CREATE x grp 0
XREADGROUP GROUP grp me COUNT 1 STREAMS x >
ACL SETUSER someone on >secret ~k* &c* +get
"""

LIBRARY: Final = (
    "#!lua name=lib\nredis.register_function{function_name='f',callback=redis.log,flags={'no-writes'}}"
)

OF_ELASTICKV: Final = r"""
DEL s none; EXISTS s none; EXPIRE s 100; EXPIRE none 100; PEXPIRE s 100000; TTL s; TTL none; PTTL none
TYPE s; TYPE none; RENAME s t; RENAME none t; KEYS s; KEYS nothing*; SCAN 0 MATCH s COUNT 999
SCAN 0 MATCH nothing* COUNT 999; DBSIZE; GET s; GET none; GET l; GET "odd\r\n$-1\r\n"; SET s 1; SET s 1 NX
SET s 1 GET; SET none 1 GET; SET none 1 XX; SET s; SET s 1 FOO; SETEX s 10 v; SETNX s 1; SETNX none 1
GETDEL s; GETDEL none; INCR n; INCR s; HSET h f 9 new 1; HMSET h f 1; HGET h f; HGET h none; HGET none f
HMGET h f none g; HMGET none a b; HGETALL h; HGETALL none; HGETALL hnull; HGETALL s; HDEL h f none; HLEN h
HEXISTS h f; HINCRBY h f 2; LPUSH l a; RPUSH l a b; LPOP l; LPOP none; LPOP l 2; LPOP none 2; LPOP l 0
RPOP l; RPOP none; RPOP l 9; RPOP none 2; RPOPLPUSH l m; RPOPLPUSH none m; LREM l 1 a; LSET l 0 v
LSET l 99 v; LTRIM l 0 1; LLEN l; LINDEX l 0; LINDEX l 99; LINDEX none 0; LPOS l a; LPOS l none
LPOS l a COUNT 0; LPOS l none COUNT 0; LPOS none a COUNT 1; LRANGE l 0 -1; LRANGE none 0 -1; SADD set new
SREM set a; SCARD set; SISMEMBER set a; SMEMBERS set; SMEMBERS ints; SMEMBERS none; SMEMBERS s; ZADD z 1 new
ZADD z CH 5 a 6 b; ZADD z INCR 1.5 a; ZADD z XX INCR 1 none; ZADD z NX INCR 1 a; ZADD z NX INCR 1.1 new
ZADD z gt incr 0.25 b; ZADD z CH XX INCR +inf b; ZADD z INCR -inf d; ZADD z INCR x a; ZADD z INCR 1 a 2 b
ZADD z 5 INCR; ZADD z GT CH 3 a; ZADD fresh 1 INCR; ZREM z a; ZINCRBY z 0.1 a; ZINCRBY z 2 new
ZINCRBY z -inf d; ZINCRBY z inf b; ZINCRBY z x a; ZINCRBY s 1 a; ZPOPMIN z; ZPOPMIN none; ZPOPMIN z 3
ZPOPMIN z 1; ZPOPMIN none 3; ZPOPMIN z 0; ZPOPMIN s; ZPOPMIN z x; BZPOPMIN z 0; BZPOPMIN none y 1
BZPOPMIN none 0.01; BZPOPMIN s 0.01; ZCARD z; ZCOUNT z -inf +inf; ZSCORE z a; ZSCORE z b; ZSCORE z c
ZSCORE z d; ZSCORE z e; ZSCORE z f; ZSCORE z g; ZSCORE z h; ZSCORE z i; ZSCORE z j; ZSCORE z k
ZSCORE z none; ZSCORE none a; ZSCORE s a; ZRANGE z 0 -1; ZRANGE z 0 -1 WITHSCORES
ZRANGE z 0 -1 withscores rev; ZRANGE z 0 0 REV; ZRANGE none 0 -1 WITHSCORES; ZRANGE z (1 5 BYSCORE
ZRANGE z (1 5 BYSCORE WITHSCORES LIMIT 1 2; ZRANGE same [m [n BYLEX; ZRANGE z 0 1 FOO
ZRANGE z 0 -1 WITHSCORES BYLEX; ZRANGE WITHSCORES 0 -1; ZRANGE WITHSCORES 0 -1 WITHSCORES
ZRANGE s 0 -1 WITHSCORES; ZREVRANGE z 0 -1; ZREVRANGE z 0 -1 WITHSCORES; ZREVRANGE none 0 1 WITHSCORES
ZRANGEBYSCORE z -inf +inf; ZRANGEBYSCORE z -inf +inf WITHSCORES; ZRANGEBYSCORE z 1 9 WITHSCORES LIMIT 0 2
ZRANGEBYSCORE z 1 9 LIMIT 0 2; ZRANGEBYSCORE z 1 9 limit 0 2 withscores; ZRANGEBYSCORE z x 9 WITHSCORES
ZREVRANGEBYSCORE z +inf -inf; ZREVRANGEBYSCORE z +inf -inf WITHSCORES; ZREVRANGEBYSCORE none 1 0 WITHSCORES
ZREMRANGEBYRANK z 0 1; ZREMRANGEBYSCORE z 1 2; ELASTICKV.ZREMFAST z a; XADD x 9-1 f v
XADD none NOMKSTREAM 1-1 f v; XADD x 1-1 f v; XTRIM x MAXLEN 1; XLEN x; XRANGE x - +; XRANGE none - +
XRANGE x - + COUNT 1; XREVRANGE x + -; XREAD STREAMS x 0; XREAD COUNT 1 STREAMS x other 0 0
XREAD STREAMS x 9; XREAD STREAMS none 0; XREAD STREAMS x none other 1-1 0 0; XREAD BLOCK 10 STREAMS none 0
XREAD BLOCK 10 STREAMS x 0; XREAD STREAMS s 0; XREAD STREAMS x; PFADD hll new; PFADD hll a; PFCOUNT hll
PFCOUNT none; PUBLISH channel m; PUBSUB CHANNELS; PUBSUB NUMSUB; PUBSUB NUMSUB a b; PUBSUB NUMPAT
PUBSUB HELP; PUBSUB FOO; MULTI; EXEC; DISCARD; SELECT 0; SELECT x; PING; PING word; EVAL "return 1" 0
EVAL "return false" 0; EVAL "return nil" 0; EVAL "return {1,false,'x',{}}" 0; EVAL "return" 0
EVAL "return redis.call('HGETALL',KEYS[1])" 1 h; EVAL "return redis.call('SMEMBERS','set')" 1 set
EVAL "return redis.call('ZSCORE',KEYS[1],'b')" 1 z; EVAL "return redis.call('GET',KEYS[1])" 1 none
EVAL "return redis.call('HMGET',KEYS[1],'f','x')" 1 h; EVAL "return true" 0
EVAL "return {'$-1\\r\\n',false}" 0; EVAL "return redis.error_reply('ERR x')" 0
EVAL "return redis.status_reply('fine')" 0; EVAL "foo(" 0
EVAL "return {{false,{false}},redis.call('LPOP',KEYS[1])}" 1 none; EVALSHA abc 0; COMMAND; COMMAND COUNT
COMMAND INFO; COMMAND INFO get; COMMAND INFO none config zadd xgroup sort; COMMAND DOCS; COMMAND DOCS get
COMMAND DOCS none; COMMAND DOCS set client migrate geosearch; COMMAND LIST; COMMAND LIST FILTERBY PATTERN z*
COMMAND LIST FILTERBY ACLCAT hash; COMMAND GETKEYS MSET a b c d; COMMAND GETKEYSANDFLAGS MSET a b c d
COMMAND HELP; COMMAND FOO; INFO replication; INFO nothing; INFO cluster; CLIENT HELP; UNKNOWN a b
"""

OF_OTHERS: Final = r"""
SINTER set ints; SUNION set ints; SDIFF set ints; SDIFF none set; SPOP ints 9; SPOP none 9; SPOP none
SRANDMEMBER ints 9; SRANDMEMBER none 9; SRANDMEMBER none; SMISMEMBER set a none; SINTERCARD 2 set ints
ZMSCORE z a none d c; ZMSCORE none a; ZRANK z a; ZRANK z none; ZREVRANK z a; ZRANK z a WITHSCORE
ZRANK z none WITHSCORE; ZREVRANK z d WITHSCORE; ZPOPMAX z; ZPOPMAX z 2; ZPOPMAX none; BZPOPMAX z 0
BZPOPMAX none 0.01; ZMPOP 2 none z MIN; ZMPOP 1 z MAX COUNT 3; ZMPOP 1 none MIN; BZMPOP 0.01 1 z MIN
BZMPOP 0.01 1 none MIN; ZUNION 2 z y WITHSCORES; ZUNION 2 z y; ZINTER 2 z y WITHSCORES
ZDIFF 2 z y WITHSCORES; ZDIFF 1 WITHSCORES; ZDIFF 1 WITHSCORES WITHSCORES
ZUNION 2 z y WEIGHTS 2 3 AGGREGATE MAX WITHSCORES; ZRANDMEMBER none 2 WITHSCORES
ZRANDMEMBER z 99 WITHSCORES; ZRANDMEMBER z 99; ZRANDMEMBER none; ZSCAN z 0; ZINTERCARD 2 z y
ZLEXCOUNT same - +; ZRANGESTORE dst z 0 -1; ZRANGEBYLEX same - +; ZREVRANGEBYLEX same + -
HRANDFIELD h 99 WITHVALUES; HRANDFIELD h 99; HRANDFIELD none 2 WITHVALUES; HRANDFIELD none; HSCAN h 0
HKEYS h; HVALS h; HINCRBYFLOAT h f 0.5; INCRBYFLOAT n 0.5; MGET s none l; GETEX none; GETSET none v
LMPOP 1 none LEFT; LMPOP 1 l LEFT COUNT 2; LMOVE none l LEFT LEFT; BLPOP none 0.01; BLPOP l 0
BLMOVE none l LEFT LEFT 0.01; BRPOPLPUSH none l 0.01; SORT l BY none GET x-*; SSCAN ints 0
XREADGROUP GROUP grp me STREAMS x >; XREADGROUP GROUP grp me STREAMS x 0; XPENDING x grp
XREADGROUP GROUP grp me STREAMS other >; XINFO STREAM x; XINFO STREAM none; XINFO GROUPS x; XINFO HELP
XCLAIM x grp me 0 1-1; XAUTOCLAIM x grp me 0 0; XREADGROUP GROUP grp me BLOCK 1 STREAMS x 9
GEOPOS geo Palermo none; GEOPOS none a; GEODIST geo Palermo Catania; GEODIST geo Palermo none
GEOHASH geo Palermo none; GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD WITHDIST WITHHASH
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHCOORD
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST; GEORADIUS geo 15 37 200 km WITHCOORD ASC
GEORADIUSBYMEMBER geo Palermo 200 km WITHCOORD WITHDIST ASC; LCS s s; LCS s s IDX
LCS s s IDX WITHMATCHLEN MINMATCHLEN 1; CONFIG GET maxmemory*; CONFIG GET none; OBJECT ENCODING none
BITFIELD n OVERFLOW FAIL INCRBY u2 0 9; DUMP none; FUNCTION LIST; FUNCTION LIST WITHCODE; FUNCTION STATS
ACL GETUSER someone; ACL GETUSER none; ACL LIST; MODULE LIST; ROLE; WAIT 0 0; LASTSAVE; SCRIPT EXISTS abc
LOLWUT VERSION 5 1 1 1; SLOWLOG GET 0; LATENCY LATEST; LATENCY HISTORY command; ECHO word; MEMORY USAGE none
"""

VARYING: Final = r"""
XINFO STREAM x FULL; XINFO CONSUMERS x grp; XPENDING x grp - + 9; MEMORY STATS; MEMORY DOCTOR
LATENCY HISTOGRAM function|load acl|setuser; LATENCY HISTOGRAM none; LATENCY DOCTOR; ACL LOG; INFO server
TIME
"""
"""What tells the time, or counts: its numbers are not compared, only everything around them."""

CLEAN: Final = "FLUSHALL; FUNCTION FLUSH; ACL DELUSER someone; ACL LOG RESET; CONFIG RESETSTAT"

Words = tuple[str, ...]


def requests(lines: str) -> list[Words]:
    r"""Return the requests of a table; ``\r\n`` in quotes is a line end."""
    found = []
    for line in lines.strip().splitlines():
        for text in line.split("; "):
            words = shlex.split(text)
            found.append(tuple(word.replace(r"\r", "\r").replace(r"\n", "\n") for word in words))
    return found


def prepare(admin: Wire) -> None:
    """Put everything that is asked for in place, anew."""
    replies = admin.pipeline([*requests(CLEAN), *requests(DATA), ("FUNCTION", "LOAD", LIBRARY)])
    assert not [reply for reply in replies if reply.startswith(b"-")]
    admin.call("AUTH", "someone", "wrong")  # for ACL LOG


def in_both_versions(server: EmbeddedServer, words: Words) -> tuple[bytes, bytes]:
    """Return what a server answers to a request in RESP2 and in RESP3, on the same data."""
    with Wire(server.port) as admin, Wire(server.port) as two, Wire(server.port, protocol=3) as three:
        prepare(admin)
        before = two.call(*words)
        prepare(admin)
        behind = three.call(*words)
        admin.pipeline(requests(CLEAN))
        return before, behind


def without_numbers(frame: bytes) -> bytes:
    """Return a frame with all numbers alike."""
    return re.sub(rb"-?(nan|inf|[0-9][0-9.]*(e[+-]?[0-9]+)?)", b"N", frame)


def in_one_form(words: Words, frame: bytes) -> bytes:
    """Return a frame without what servers differ in: commands without sub-commands have none in two ways."""
    return frame.replace(b"~0\r\n", b"*0\r\n") if words[:2] in COMMAND_TABLES else frame


COMMAND_TABLES: Final = (("COMMAND",), ("COMMAND", "INFO"))


def raise_reply(words: Words, frame: bytes) -> bytes:
    """Return a reply raised by the rule of its command."""
    args = tuple(word.encode() for word in words)
    return raised(plan_of(args).spec, args, frame)


def lines(text: str) -> bytes:
    """Return a frame, whose line ends are written as bars."""
    return text.replace("|", "\r\n").encode() + b"\r\n"


@pytest.mark.parametrize("role", ["primary", "secondary"])
@pytest.mark.parametrize("table", [OF_ELASTICKV, OF_OTHERS], ids=["of ElasticKV", "others"])
def test_raised_reply_is_what_the_server_answers_in_resp3(pair: Pair, role: str, table: str) -> None:
    """Each command is asked in both versions of RESP, with many arguments: raising one gives the other."""
    server: EmbeddedServer = getattr(pair, role)
    with Wire(server.port) as admin:
        is_valkey = b"valkey_version" in admin.call("INFO", "server")
    for words in requests(table):
        two, three = in_both_versions(server, words)
        told = raise_reply(words, two)
        if is_valkey:
            told, three = in_one_form(words, told), in_one_form(words, three)
        assert told == three, words


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_reply_that_varies_is_raised_too(pair: Pair, role: str) -> None:
    """What tells the time or counts has the form of RESP3, whatever its numbers are."""
    for words in requests(VARYING):
        two, three = in_both_versions(getattr(pair, role), words)
        assert without_numbers(raise_reply(words, two)) == without_numbers(three), words


def test_all_commands_of_elastickv_are_tried() -> None:
    """The table above has each of the 84; what belongs to the connection is answered by dualkv itself."""
    tried = {words[0] for words in requests(OF_ELASTICKV)}
    known = {name.split()[0] for name in ELASTICKV.commands}
    assert known - tried == {
        "FLUSHALL",
        "FLUSHDB",
        "HELLO",
        "QUIT",
        "SUBSCRIBE",
    }


@pytest.mark.parametrize(
    ("request_line", "reply", "expected"),
    [
        ("ZSCORE z a", "$4|+Inf", ",inf"),
        ("ZSCORE z a", "$4|-Inf", ",-inf"),
        ("ZSCORE z a", "$3|NaN", ",nan"),
        ("ZSCORE z a", "$21|100000000000000000000", ",100000000000000000000"),
        ("ZSCORE z a", "$3|1.1", ",1.1"),
        ("ZADD z INCR 1 a", "$-1", "_"),
        ("ZRANGE z 0 -1 WITHSCORES", "*2|$1|a|$4|+Inf", "*1|*2|$1|a|,inf"),
        ("ZRANGE z 0 -1 WITHSCORES", "*2|+a|$1|1", "*1|*2|+a|,1"),
    ],
)
def test_doubles_are_written_as_redis_does(request_line: str, reply: str, expected: str) -> None:
    """Other stores spell infinity otherwise; what is a number already stays as it is written."""
    assert lines(expected) == raise_reply(tuple(request_line.split()), lines(reply))


@pytest.mark.parametrize(
    ("request_line", "reply"),
    [
        ("HGETALL h", "*3|$1|a|$1|b|$1|c"),
        ("HGETALL h", "$2|OK"),
        ("HGETALL h", "-ERR x"),
        ("HGETALL h", "%1|$1|a|$1|b"),
        ("ZSCORE z a", "$3|one"),
        ("ZSCORE z a", "$0|"),
        ("ZSCORE z a", ",1.5"),
        ("ZRANGE z 0 -1 WITHSCORES", "*1|$1|a"),
        ("XREAD STREAMS x 0", "*2|$1|a|*0"),
        ("XREAD STREAMS x 0", "*1|*1|$1|a"),
        ("SMEMBERS s", ":1"),
        ("INFO", "*0"),
        ("COMMAND INFO get", "*1|$3|get"),
        ("COMMAND DOCS", "*1|*0"),
        ("GET k", "$5|*-1||"),
        ("ZUNION x a WITHSCORES", "*1|$1|a"),
        ("ZUNION", "-ERR wrong number of arguments for 'zunion' command"),
        ("PING", "_"),
    ],
)
def test_what_redis_does_not_answer_stays_as_it_is(request_line: str, reply: str) -> None:
    """Errors, what is RESP3 already, and what does not fit the command pass unchanged."""
    assert lines(reply) == raise_reply(tuple(request_line.split()), lines(reply))


@pytest.mark.parametrize("reply", ["*-1", "*0", "*1|*1|*1|*1|:1", "*2|*0|$-1", "*3|:1|+a|*-1", "$0|", "$-1"])
def test_no_reply_is_too_odd(reply: str) -> None:
    """Whatever a store answers to whichever command: it becomes some frame, and the lane lives on."""
    frame = lines(reply)
    for spec in COMMANDS:
        for words in ("", "INCR", "1 WITHSCORES WITHCOORD IDX WITHVALUES 1 WITHSCORES"):
            args = (*spec.name.encode().split(), *words.encode().split())
            assert ReplySplitter().feed(raised(spec, args, frame)), spec.name


def test_deep_reply_of_a_script_is_raised() -> None:
    """However deep a script nests its arrays, nil inside is found."""
    depth = 50_000
    deep = raise_reply(("EVAL", "x", "0"), b"*1\r\n" * depth + b"*-1\r\n")

    assert deep == b"*1\r\n" * depth + b"_\r\n"


def test_greeting_is_raised() -> None:
    """The fields stay, in their order; the version is ours, and modules are maps."""
    facts = {"server": b"$5\r\nredis\r\n", "proto": b":2\r\n", "id": b":7\r\n"}
    module = lines("*1|*4|$4|name|$1|m|$3|ver|:1")

    raised_facts = raised_hello({**facts, "modules": module})

    assert list(raised_facts) == ["server", "proto", "id", "modules"]
    assert raised_facts["proto"] == b":3\r\n"
    assert raised_facts["modules"] == lines("*1|%2|$4|name|$1|m|$3|ver|:1")
    assert raised_hello({}) == {"server": b"$5\r\nredis\r\n", "proto": b":3\r\n"}
