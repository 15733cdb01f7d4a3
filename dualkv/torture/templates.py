"""Every write command, as templates (`dualkv.torture.grammar`), and some reads among them.

A line draws what mostly succeeds. Options that a server does not know cost an error, which is no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dualkv.torture.grammar import parse_templates

__all__ = ["HELD_WITH", "NOT_GENERATED", "TEMPLATES"]

TEMPLATES: Final = parse_templates("""
# strings
6 SET string value [||||EX long|PX short_ms|PX long_ms|PXAT soon|EXAT later_seconds|KEEPTTL|NX|XX|GET]
2 SET string value [NX GET|XX GET PX short_ms|NX PX short_ms|GET KEEPTTL|PXAT past]
0.5 SET string value [IFEQ value|GET IFEQ value]
SET [number|float] int [|PX short_ms]
2 SETEX string [1|long] value
2 PSETEX string [short_ms|long_ms] value
SETNX string value
2 SETRANGE string offset value
3 APPEND string value
GETSET string value
GETDEL string
3 GETEX string [|EX long|PX short_ms|PXAT soon|PXAT past|EXAT later_seconds|PERSIST]
2 MSET {string value}
MSETNX {string value}
0.5 MSETEX #{string value} [|NX|XX] [|EX long|PX short_ms|PXAT soon|KEEPTTL]
0.5 DELEX string [|IFEQ value|IFNE value]
0.5 DELIFEQ string value
6 INCR number
2 DECR number
2 INCRBY number int
DECRBY number int
3 INCRBYFLOAT [float|float|number] real
3 SETBIT bits offset [0|1]
3 BITFIELD bits {[SET int_type offset int|INCRBY int_type offset int|GET int_type offset]}
BITFIELD bits OVERFLOW [WRAP|SAT|FAIL] INCRBY int_type offset int INCRBY u3 offset int
BITOP [AND|OR|XOR] bits {[bits|string]}
BITOP NOT bits bits
4 PFADD hll {member}
2 PFMERGE hll {hll}

# keys
2 DEL {any}
UNLINK {any}
2 EXPIRE any [1|1|long] [|||NX|XX|GT|LT]
0.3 EXPIRE any [0|-1]
3 PEXPIRE any [short_ms|short_ms|long_ms] [|||NX|XX|GT|LT]
EXPIREAT any later_seconds [||NX|XX|GT|LT]
0.2 EXPIREAT any past_seconds
PEXPIREAT any [soon|later] [||NX|XX|GT|LT]
0.3 PEXPIREAT any past
3 PERSIST any
2 RENAME any like
RENAMENX any like
0.2 RENAME any any
3 COPY any like [|REPLACE|REPLACE|DB db|DB db REPLACE]
2 MOVE any db
2 RESTORE any 0 payload [|REPLACE|REPLACE]
RESTORE any [short_ms|long_ms] payload REPLACE [||IDLETIME 5|FREQ 3]
RESTORE any [soon|later|past] payload REPLACE ABSTTL
SORT numbers [|DESC] [|LIMIT 0 4] STORE numbers
SORT [list|set|zset] ALPHA [|DESC] [|LIMIT 1 5] STORE list
0.5 SORT set BY [NOSORT|n:*] GET n:* GET [#|s:*] STORE list

# lists
4 LPUSH list {element}
4 RPUSH list {element}
RPUSH numbers {int}
LPUSHX list {element}
RPUSHX list {element}
3 LPOP list [|count]
3 RPOP list [|count]
2 LMPOP #{list} side [|COUNT count]
2 LMOVE list list side side
RPOPLPUSH list list
2 LINSERT list [BEFORE|AFTER] element element
2 LREM list [0|1|-1|2|-2] element
2 LSET list index element
2 LTRIM list [0|1|-20] [-1|20|-2]
3 BLPOP {list} timeout
2 BRPOP {list} timeout
2 BLMOVE list list side side timeout
BRPOPLPUSH list list timeout
BLMPOP timeout #{list} side [|COUNT count]

# sets
5 SADD set {member}
2 SREM set {member}
3 SPOP set [|count]
2 SMOVE set set member
SINTERSTORE set {set}
SUNIONSTORE set {set}
SDIFFSTORE set {set}

# hashes
5 HSET hash {field value}
HMSET hash {field value}
HSETNX hash field value
2 HDEL hash {field}
3 HINCRBY hash number_field int
2 HINCRBYFLOAT hash number_field real
HEXPIRE hash [1|long] [|||NX|XX|GT|LT] FIELDS #{field}
2 HPEXPIRE hash [short_ms|long_ms] [|||NX|XX|GT|LT] FIELDS #{field}
HEXPIREAT hash [later_seconds|later_seconds|past_seconds] [||NX|XX|GT|LT] FIELDS #{field}
HPEXPIREAT hash [soon|later|past] [||NX|XX|GT|LT] FIELDS #{field}
HPERSIST hash FIELDS #{field}
2 HGETEX hash [|EX long|PX short_ms|PXAT soon|PXAT past|EXAT later_seconds|PERSIST] FIELDS #{field}
HGETDEL hash FIELDS #{field}
2 HSETEX hash [||FNX|FXX] [|EX long|PX short_ms|PXAT soon|KEEPTTL] FIELDS #{field value}

# sorted sets
5 ZADD zset [|||NX|XX|GT|LT|CH|XX GT CH] {real member}
ZADD zset [|XX|NX|GT] INCR real member
3 ZINCRBY zset real member
2 ZREM zset {member}
2 ZPOPMIN zset [|count]
2 ZPOPMAX zset [|count]
2 ZMPOP #{zset} [MIN|MAX] [|COUNT count]
2 BZPOPMIN {zset} timeout
BZPOPMAX {zset} timeout
BZMPOP timeout #{zset} [MIN|MAX] [|COUNT count]
ZREMRANGEBYRANK zset [0|-2] [0|1|-3]
ZREMRANGEBYSCORE zset real [real|+inf]
0.5 ZREMRANGEBYLEX zset [- (m1|(m3 (m4|(m5 +]
ZRANGESTORE zset zset [0 -1|0 5|-5 5 BYSCORE|0 9 REV|-inf +inf BYSCORE LIMIT 0 5]
ZUNIONSTORE zset #{zset} [|AGGREGATE SUM|AGGREGATE MIN|AGGREGATE MAX]
ZUNIONSTORE zset 2 zset zset WEIGHTS real real
ZINTERSTORE zset 2 zset [zset|set] [|WEIGHTS real real] [|AGGREGATE MAX]
ZDIFFSTORE zset #{zset}
4 GEOADD geo [||NX|XX|CH] {longitude latitude place}
GEORADIUS geo longitude latitude 300 KM [|COUNT 3 ANY] [STORE|STOREDIST] geo
GEORADIUSBYMEMBER geo place 300 KM [|COUNT 3] STORE geo
GEOSEARCHSTORE geo geo FROMLONLAT longitude latitude BYRADIUS 300 KM [ASC|DESC|COUNT 3 ANY]
GEOSEARCHSTORE geo geo FROMMEMBER place BYBOX 400 400 KM STOREDIST
0.5 VADD vset VALUES 3 unit_real unit_real unit_real member [|NOQUANT]
0.3 VREM vset member
0.2 VSETATTR vset member value

# streams
6 XADD stream [||NOMKSTREAM] [||MAXLEN length|MAXLEN ~ length|MINID id|MINID ~ id] * {field value}
XADD stream MAXLEN ~ length LIMIT 10 * field value
XADD stream [id|future_id|5-*] field value
0.3 XADD stream [KEEPREF|DELREF|ACKED] MAXLEN length * field value
XTRIM stream [MAXLEN|MAXLEN ~] length
XTRIM stream [MINID|MINID ~] id
2 XDEL stream {id}
3 XACK stream group {id}
0.5 XSETID stream [id|future_id] [|ENTRIESADDED 1000 MAXDELETEDID id]
3 XGROUP CREATE stream group [$|0|id] [|MKSTREAM]
XGROUP CREATE stream group id MKSTREAM ENTRIESREAD 3
XGROUP SETID stream group [$|0|id]
0.2 XGROUP DESTROY stream group
0.5 XGROUP CREATECONSUMER stream group consumer
0.3 XGROUP DELCONSUMER stream group consumer
6 XREADGROUP GROUP group consumer [|COUNT count] [||NOACK] [|BLOCK timeout_ms] STREAMS stream >
XREADGROUP GROUP group consumer COUNT count STREAMS stream stream > >
2 XREADGROUP GROUP group consumer [|COUNT count] STREAMS stream [0|id]
2 XCLAIM stream group consumer [0|0|100] {id} [||JUSTID|FORCE|IDLE 100|RETRYCOUNT 5|FORCE JUSTID|LASTID id]
2 XAUTOCLAIM stream group consumer [0|100] [0|id] [|COUNT count] [|JUSTID]
0.5 XACKDEL stream group [|KEEPREF|DELREF|ACKED] IDS #{id}
0.5 XDELEX stream [|KEEPREF|DELREF|ACKED] IDS #{id}

# scripts and functions
3 EVAL script:bump 1 number int
2 EVAL script:append 1 string value
2 EVAL script:clock 1 string
2 EVAL script:lease 2 string like value [short_ms|long_ms]
EVAL script:lease 1 string value [short_ms|long_ms]
2 EVAL script:spin 1 list
2 EVAL script:steal 2 set set
EVAL script:swap 2 string string
EVAL script:log 1 stream value
EVAL script:guard 1 any
EVAL script:fail 1 hash
EVAL script:peek 1 any
2 EVALSHA sha:bump 1 number int
EVALSHA sha:clock 1 string
EVALSHA sha:steal 2 set set
EVALSHA sha:spin 1 list
0.2 SCRIPT LOAD [script:bump|script:clock|script:spin]
0.02 SCRIPT FLUSH
0.3 FUNCTION LOAD [|REPLACE] [library:count|library:stamp]
0.1 FUNCTION DELETE [function:count|function:stamp]
0.02 FUNCTION FLUSH
0.1 FUNCTION RESTORE library_dump [FLUSH|REPLACE|APPEND]
FCALL function:count 1 number int
FCALL function:stamp 1 string

# everything at once
0.03 FLUSHDB [|SYNC|ASYNC]
0.01 FLUSHALL
0.03 SWAPDB db db

# reads, some of which later commands learn from
2 GET string
2 MGET {string}
2 HGETALL hash
2 LRANGE list 0 -1
SMEMBERS set
2 ZRANGE zset 0 -1 WITHSCORES
3 XRANGE stream - +
XPENDING stream group - + 10
4 DUMP any
PTTL any
PFCOUNT hll
0.1 FUNCTION DUMP
""")

NOT_GENERATED: Final[Mapping[str, str]] = {
    "MIGRATE": "dualkv refuses it",
    "PFDEBUG": "dualkv refuses it",
    "RESTORE-ASKING": "dualkv refuses it",
    "CLUSTER FLUSHSLOT": "dualkv refuses it",
    "SFLUSH": "dualkv refuses it",
    "TRIMSLOTS": "dualkv refuses it",
    "XIDMPRECORD": "dualkv refuses it",
    "HIMPORT SET": "dualkv refuses it",
    **dict.fromkeys(
        (
            "ARDEL", "ARDELRANGE", "ARINSERT", "ARMSET", "ARRING", "ARSEEK", "ARSET", "BLESS CLEAR",
            "BLESS SET", "BLMOVEM", "INCREX", "LMOVEM", "XCFGSET", "XNACK",
        ),
        "newer than Redis 8.2 and Valkey 9.1, which the templates were tried with",
    ),
}  # fmt: skip
"""The write commands that no template draws, and why."""

HELD_WITH: Final[Mapping[str, str]] = {
    **dict.fromkeys(("VADD", "VREM", "VSETATTR"), "VADD"),
    **dict.fromkeys(
        (
            "HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST", "HGETEX", "HGETDEL", "HSETEX",
        ),
        "HPEXPIREAT",
    ),
    **dict.fromkeys(
        ("FUNCTION LOAD", "FUNCTION DELETE", "FUNCTION FLUSH", "FUNCTION RESTORE", "FCALL"), "FUNCTION LOAD"
    ),
}  # fmt: skip
"""Commands that leave what not every store can hold, and the command that a store must have for it."""
