"""Conversations that nobody thought of: random commands on few keys, right and wrong, in and out of MULTI."""

from __future__ import annotations

import shlex
from typing import Final

from hypothesis import strategies as st

from tests.conformance.corpus import Command, Conversation

__all__ = ["conversations"]

_KEYS: Final = {"STR": "s1 s2", "LIST": "l1 l2", "HASH": "h1 h2", "SET": "t1 t2", "ZSET": "z1 z2"}
_ALL_KEYS: Final = " ".join(_KEYS.values()).split()

_WORDS: Final = {
    # Now and then a key of any type: it may hold the wrong one.
    **{kind: tuple(own.split() * 8 + _ALL_KEYS) for kind, own in _KEYS.items()},
    "ANY": (*_ALL_KEYS, "missing"),
    "VALUE": ("v", "", "12", "-3", "text with blanks", "\r\n", "ü", "x" * 40, "3.5"),
    "NUMBER": ("0", "1", "2", "-1", "-2", "5", "100", "9223372036854775807", "1.5", "no"),
    "SCORE": ("0", "1", "-1", "2.5", "1e3", "inf", "-inf", "nan", "no"),
    "FIELD": ("f1", "f2", "f3", ""),
    "MEMBER": ("a", "b", "c", "1", "2", ""),
    "SIDE": ("LEFT", "RIGHT", "left", "MIDDLE"),
    "DB": ("0", "0", "1", "1", "99", "no"),
}
"""What a word of a template stands for, behind the command's name."""

_TEMPLATES: Final = """
SET STR VALUE|SET STR VALUE NX|SET STR VALUE XX GET|SET STR VALUE WHAT|GET STR|GETSET STR VALUE|GETDEL STR
SETNX STR VALUE|APPEND STR VALUE|STRLEN STR|GETRANGE STR NUMBER NUMBER|SETRANGE STR 3 VALUE|MGET STR ANY ANY
MSET STR VALUE STR VALUE|MSET STR VALUE STR|MSETNX STR VALUE STR VALUE|INCR STR|DECR STR|INCRBY STR NUMBER
INCRBYFLOAT STR SCORE|LCS STR STR|SETBIT STR 7 1|GETBIT STR 7|BITCOUNT STR
LPUSH LIST VALUE|RPUSH LIST VALUE VALUE|LPUSHX LIST VALUE|LPOP LIST|RPOP LIST 2|LPOP LIST NUMBER|LLEN LIST
LRANGE LIST 0 -1|LRANGE LIST NUMBER NUMBER|LINDEX LIST NUMBER|LSET LIST NUMBER VALUE|LTRIM LIST 0 3
LREM LIST NUMBER VALUE|LINSERT LIST BEFORE VALUE VALUE|LPOS LIST VALUE|LMOVE LIST LIST SIDE SIDE
RPOPLPUSH LIST LIST|LMPOP 2 LIST LIST SIDE|SORT LIST ALPHA
HSET HASH FIELD VALUE|HSET HASH FIELD VALUE FIELD VALUE|HSET HASH FIELD|HGET HASH FIELD|HMGET HASH FIELD FIELD
HDEL HASH FIELD|HGETALL HASH|HKEYS HASH|HVALS HASH|HLEN HASH|HEXISTS HASH FIELD|HINCRBY HASH FIELD NUMBER
HINCRBYFLOAT HASH FIELD SCORE|HSETNX HASH FIELD VALUE|HSTRLEN HASH FIELD
SADD SET MEMBER|SADD SET MEMBER MEMBER|SREM SET MEMBER|SISMEMBER SET MEMBER|SMISMEMBER SET MEMBER MEMBER
SCARD SET|SMEMBERS SET|SMOVE SET SET MEMBER|SINTER SET SET|SUNION SET SET|SDIFF SET SET|SINTERCARD 2 SET SET
SUNIONSTORE SET SET SET|SINTERSTORE SET SET SET|SDIFFSTORE SET SET SET
ZADD ZSET SCORE MEMBER|ZADD ZSET NX CH SCORE MEMBER|ZADD ZSET INCR SCORE MEMBER|ZINCRBY ZSET SCORE MEMBER
ZREM ZSET MEMBER|ZSCORE ZSET MEMBER|ZMSCORE ZSET MEMBER MEMBER|ZRANK ZSET MEMBER|ZCARD ZSET
ZRANGE ZSET 0 -1 WITHSCORES|ZRANGE ZSET NUMBER NUMBER|ZRANGEBYSCORE ZSET SCORE SCORE|ZCOUNT ZSET SCORE SCORE
ZPOPMIN ZSET|ZPOPMAX ZSET 2|ZUNION 2 ZSET SET WITHSCORES|ZUNIONSTORE ZSET 2 ZSET SET|ZDIFF 2 ZSET ZSET
DEL ANY|DEL ANY ANY|UNLINK ANY|EXISTS ANY ANY|TYPE ANY|RENAME ANY ANY|RENAMENX ANY ANY|COPY ANY ANY REPLACE
TTL ANY|PERSIST ANY|OBJECT ENCODING ANY|TOUCH ANY ANY|DBSIZE|KEYS *|KEYS s?|FLUSHDB|MOVE ANY DB
PING|PING VALUE|ECHO VALUE|SELECT 0|SELECT 1|UNWATCH|CLIENT GETNAME
EVAL "return redis.call('GET', KEYS[1])" 1 STR
EVAL "return redis.call('LPUSH', KEYS[1], ARGV[1])" 1 LIST VALUE
EVAL "return {1, {KEYS[1], false}}" 1 ANY|EVALSHA ffffffffffffffffffffffffffffffffffffffff 0
"""
_OUT_OF_PLACE: Final = """
NOSUCH|NOSUCH VALUE VALUE|GET|SET STR|HSET HASH|LPUSH|CONFIG|OBJECT WHAT ANY|CLIENT WHAT|PING a b c|SELECT DB
WATCH ANY|WATCH STR STR|MULTI|EXEC|DISCARD
"""
"""What is wrong anywhere, or at least inside of a transaction."""


def _read(templates: str) -> list[tuple[str, ...]]:
    lines = templates.strip().splitlines()
    return [tuple(shlex.split(template)) for line in lines for template in line.split("|")]


_IN_PLACE_WORDS: Final = _read(_TEMPLATES)
_OUT_OF_PLACE_WORDS: Final = _read(_OUT_OF_PLACE)
_MOSTLY_IN_PLACE: Final = 20


@st.composite
def _commands(draw: st.DrawFn) -> Command:
    is_in_place = draw(st.integers(0, _MOSTLY_IN_PLACE)) < _MOSTLY_IN_PLACE
    words = draw(st.sampled_from(_IN_PLACE_WORDS if is_in_place else _OUT_OF_PLACE_WORDS))
    name, *rest = words
    return Command.of(
        name, *(draw(st.sampled_from(_WORDS[word])) if word in _WORDS else word for word in rest)
    )


@st.composite
def _transactions(draw: st.DrawFn) -> list[Command]:
    """Draw a transaction as applications have it: watched or not, executed as a rule."""
    watched = draw(st.sampled_from(["", "", "s1", "l1"]))
    before = [Command.of("WATCH", watched), *draw(st.lists(_commands(), max_size=2))] if watched else []
    end = Command.of(draw(st.sampled_from(["EXEC", "EXEC", "EXEC", "DISCARD"])))
    return [*before, Command.of("MULTI"), *draw(st.lists(_commands(), max_size=8)), end]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw a conversation."""
    one = _commands().map(lambda command: [command])
    pieces = draw(st.lists(st.one_of(one, one, one, _transactions()), min_size=8, max_size=30))
    return Conversation("generated", tuple(command for piece in pieces for command in piece))
