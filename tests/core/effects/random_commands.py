"""Random commands that write, of every kind, on a handful of keys.

A line of `_TEMPLATES` is a command. ``a|b|`` is one of them, or nothing; ``$k`` is a word of that kind; and
``(…)*`` stands once to three times. ``3*`` in front makes a command more frequent; what follows ``!`` would
block, and stands in transactions only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Final

from dualkv.core.effects.model import Args

__all__ = ["random_commands"]

_TEMPLATES: Final = """
2* SET $k $v
SET $k $v NX|XX| GET|
SET $k $v NX|XX| GET| EX $seconds
SET $k $v PX $ms GET|
SET $k $v EXAT|PXAT $past
SET $k $v PXAT $future
SET $k $v KEEPTTL
SET $k $v IFEQ $v GET|
SETEX $k $seconds $v
PSETEX $k $ms $v
SETNX $k $v
MSET ($k $v)*
MSETNX ($k $v)*
MSETEX 1 $k $v NX|XX|
MSETEX 2 $k $v $k $v EX $seconds
MSETEX 1 $k $v KEEPTTL
GETSET $k $v
GETDEL $k
GETEX $k
GETEX $k EX $seconds
GETEX $k PERSIST
GETEX $k PXAT $future
GETEX $k EXAT $past
DELIFEQ $k $v
DELEX $k IFEQ $v
INCR|DECR $n
INCRBY|DECRBY $n $int
INCRBYFLOAT $n $float
APPEND $k $v
APPEND $k <empty>
SETRANGE $k $small $v
SETRANGE $k $small <empty>
SETBIT $b $small $bit
BITFIELD $b SET u8 $small $small INCRBY i5 $small $int GET u4 0
BITFIELD $b OVERFLOW SAT|FAIL|WRAP INCRBY u4 $small $int SET u3 $small $int
BITFIELD $b GET u8 $small
BITOP AND|OR|XOR $b $b $b
BITOP NOT $b $b
BITOP DIFF|ONE $b $b $b
PFADD $p ($m)*
PFADD $p
PFMERGE $p $p $p
DEL $any
UNLINK $any
DEL $k $l $h
EXPIRE $any $seconds NX|XX|GT|LT|
PEXPIRE $any $ms
EXPIREAT $any 4000000000
PEXPIREAT $any $future
PEXPIREAT $any $past
EXPIRE $any -1 NX|XX|
PERSIST $any
RENAME $any $any
RENAMENX $any $any
COPY $any $any REPLACE|
COPY $any $any DB 1 REPLACE|
MOVE $any 1
SORT $l ALPHA ASC|DESC| STORE $l
SORT $e ALPHA LIMIT 0 2 STORE $l
SORT $e BY nosort STORE $l
SORT $l BY w_* GET # ALPHA STORE $l
SORT $l ALPHA
10* LPUSH|RPUSH $l ($v)*
LPUSHX|RPUSHX $l ($v)*
LPOP|RPOP $l
LPOP|RPOP $l $small
LINSERT $l BEFORE|AFTER $v $v
LREM $l $int $v
LSET $l $int $v
LTRIM $l $small $small
LTRIM $l 0 -1
LMOVE $l $l LEFT|RIGHT LEFT|RIGHT
RPOPLPUSH $l $l
LMPOP 2 $l $l LEFT|RIGHT COUNT 2
! BLPOP|BRPOP $l $l 0
! BLMOVE $l $l LEFT|RIGHT LEFT|RIGHT 0
! BRPOPLPUSH $l $l 0
! BLMPOP 0 2 $l $l LEFT|RIGHT COUNT 2
8* SADD $e ($m)*
SREM $e ($m)*
SPOP $e
SPOP $e $small
SMOVE $e $e $m
SINTERSTORE|SUNIONSTORE|SDIFFSTORE $e $e $e
3* HSET $h ($f $v)*
HMSET $h $f $v
HSETNX $h $f $v
HDEL $h ($f)*
HSET $h $f $int
HINCRBY $h $f $int
HINCRBYFLOAT $h $f $float
HEXPIRE $h $seconds NX|XX|GT|LT| FIELDS 2 $f $f
HPEXPIRE $h $ms FIELDS 1 $f
HPEXPIREAT $h $future FIELDS 1 $f
HEXPIREAT $h 1 FIELDS 1 $f
HEXPIRE $h 0 FIELDS 2 $f $f
HPERSIST $h FIELDS 2 $f $f
HGETEX $h FIELDS 1 $f
HGETEX $h EX $seconds FIELDS 2 $f $f
HGETEX $h PERSIST FIELDS 1 $f
HGETEX $h EXAT $past FIELDS 1 $f
HGETDEL $h FIELDS 2 $f $f
HSETEX $h FNX|FXX| EX $seconds FIELDS 2 $f $v $f $v
HSETEX $h KEEPTTL FIELDS 1 $f $v
HSETEX $h PXAT $past FIELDS 1 $f $v
HSETEX $h FIELDS 1 $f $v
3* ZADD $z ($float $m)*
ZADD $z NX|XX CH| ($float $m)*
ZADD $z XX| GT|LT CH| ($float $m)*
ZADD $z NX|XX|GT| INCR $float $m
ZINCRBY $z $float $m
ZREM $z ($m)*
ZPOPMIN|ZPOPMAX $z
ZPOPMIN|ZPOPMAX $z $small
! BZPOPMIN|BZPOPMAX $z $z 0
ZMPOP 2 $z $z MIN|MAX COUNT 2
! BZMPOP 0 1 $z MIN|MAX
ZREMRANGEBYRANK $z $int $int
ZREMRANGEBYSCORE $z $int $int
ZREMRANGEBYLEX $z [a [c
ZRANGESTORE $z $z 0 $int
ZUNIONSTORE|ZINTERSTORE $z 2 $z $z AGGREGATE SUM|MIN|MAX
ZUNIONSTORE $z 2 $z $e WEIGHTS 2 3
ZDIFFSTORE $z 2 $z $z
2* GEOADD $z $place $place $m
GEOADD $z NX|XX CH| $place $place $m
GEORADIUS $z 1 1 4000 km STORE $z
GEORADIUS $z 1 1 4000 km STOREDIST $z COUNT 2
GEORADIUSBYMEMBER $z $m 9000 km STORE $z
GEOSEARCHSTORE $z $z FROMLONLAT 1 1 BYRADIUS 9000 km COUNT 2 ANY
6* XADD $x * ($f $v)*
XADD $x $ms-* $f $v
XADD $x $small-$small $f $v
XADD $x NOMKSTREAM * $f $v
XADD $x MAXLEN|MINID $small * $f $v
XADD $x MAXLEN ~ $small * $f $v
XADD $x MINID ~ $ms LIMIT 100 * $f $v
XTRIM $x MAXLEN $small
XTRIM $x MAXLEN|MINID ~ $small
XTRIM $x MINID $small-1
XDEL $x ($small-$small)*
XDEL $x $last
XSETID $x 9999999999999-1
5* XGROUP CREATE $x $g $|0 MKSTREAM|
XGROUP CREATE $x $g $small
XGROUP SETID $x $g $|0
XGROUP CREATECONSUMER $x $g $c
XGROUP DELCONSUMER $x $g $c
XGROUP DESTROY $x $g
3* XREADGROUP GROUP $g $c COUNT 3 STREAMS $x >
3* XREADGROUP GROUP $g $c STREAMS $x >
XREADGROUP GROUP $g $c NOACK COUNT 2 STREAMS $x >
XREADGROUP GROUP $g $c COUNT 2 STREAMS $x 0
XREADGROUP GROUP $g $c STREAMS $x 0-$small
XREADGROUP GROUP $g $c COUNT 2 STREAMS x1 x2 > 0
! XREADGROUP GROUP $g $c COUNT 2 BLOCK 0 STREAMS $x >
XACK $x $g $last $last
XCLAIM $x $g $c 0 $last $last
XCLAIM $x $g $c 0 $last JUSTID
XCLAIM $x $g $c 0 $last FORCE IDLE 5000 RETRYCOUNT 7
XCLAIM $x $g $c 1000000 $last $last
XCLAIM $x $g $c 0 $last LASTID $last
XAUTOCLAIM $x $g $c 0 0 COUNT 2
XAUTOCLAIM $x $g $c 0 0 JUSTID
XAUTOCLAIM $x $g $c 1000000 -
XDELEX $x KEEPREF|DELREF|ACKED IDS 1 $last
XACKDEL $x $g KEEPREF|DELREF|ACKED IDS 2 $last $last
XADD $x DELREF|KEEPREF MAXLEN ~| $small * $f $v
XADD $x ACKED MAXLEN ~| $small * $f $v
XTRIM $x MAXLEN $small ACKED|DELREF
"""

_CHOICES: Final = {
    "k": ("k1", "k2", "k3", "n1"),
    "n": ("n1", "n2"),
    "b": ("b1", "b2", "k1"),
    "p": ("p1", "p2"),
    "l": ("l1", "l2", "l3"),
    "e": ("e1", "e2", "e3"),
    "h": ("h1", "h2", "h3"),
    "z": ("z1", "z2", "z3"),
    "x": ("x1", "x2"),
    "g": ("g1", "g2"),
    "c": ("c1", "c2"),
    "v": ("a", "b", "3", "10", "", "a b\r\n\xff", "x" * 70),
    "f": ("f", "g", "h"),
    "m": ("a", "b", "c", "d", "12"),
    "bit": ("0", "1"),
    "past": ("1", "1000"),
    "future": ("4000000000000", "3999999999999"),
    "seconds": ("1000", "50000"),
    "ms": ("1000000", "7000000"),
    "float": ("1.5", "-0.1", "3", "1e3", "0"),
}
_ANY: Final = tuple(f"{kind}{number}" for kind in "knbplehzx" for number in (1, 2))
_MIXED_SHARE: Final = 0.02
"""How often a key of another type is taken."""
_TRANSACTION_SHARE: Final = 0.05
_FLUSH_SHARE: Final = 0.001


def _templates() -> Iterator[tuple[str, bool]]:
    """Yield each template as often as it counts, and whether it blocks."""
    for line in _TEMPLATES.strip().splitlines():
        weight, is_weighted, rest = line.partition("* ")
        if is_weighted and weight.isdigit():
            yield from [(rest, False)] * int(weight)
        else:
            yield line.removeprefix("! "), line.startswith("! ")


_ALL: Final = tuple(line for line, _ in _templates())
_NOT_BLOCKING: Final = tuple(line for line, blocks in _templates() if not blocks)


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self._random = chance

    def command(self, templates: tuple[str, ...]) -> Args:
        line = self._random.choice(templates)
        line = re.sub(r"\(([^)]*)\)\*", lambda found: " ".join([found[1]] * self._random.randint(1, 3)), line)
        words = []
        for token in line.split(" "):
            chosen = self._random.choice(token.split("|"))
            if chosen:
                words.append(re.sub(r"\$([a-z]+)", lambda found: self._word(found[1]), chosen))
        return tuple(b"" if word == "<empty>" else word.encode("latin-1") for word in words)

    def _word(self, kind: str) -> str:
        if kind == "any" or (kind in "klehzx" and self._random.random() < _MIXED_SHARE):
            return self._random.choice(_ANY)
        if kind == "small":
            return str(self._random.randint(0, 9))
        if kind == "int":
            return str(self._random.randint(-4, 9))
        if kind == "place":
            return f"{self._random.uniform(-80, 80):.6f}"
        if kind == "last":
            return "$last"
        return self._random.choice(_CHOICES[kind])


def random_commands(seed: int, count: int, without: frozenset[str] = frozenset()) -> Iterator[Args]:
    """Yield *count* requests or a little more; those between ``MULTI`` and ``EXEC`` belong together.

    ``$last`` in them stands for the id of an entry that was added lately.

    Args:
        seed: The same seed gives the same requests.
        count: How many.
        without: Names of commands that are left out.
    """
    everything = tuple(line for line in _ALL if line.split()[0] not in without)
    not_blocking = tuple(line for line in _NOT_BLOCKING if line.split()[0] not in without)
    chance = random.Random(seed)
    writer = _Writer(chance)
    done = 0
    while done < count:
        kind = chance.random()
        if kind < _TRANSACTION_SHARE:
            inside = [writer.command(everything) for _ in range(chance.randint(1, 5))]
            yield (b"MULTI",)
            yield from inside
            yield (b"EXEC",)
            done += len(inside)
        elif kind > 1 - _FLUSH_SHARE:
            yield (b"FLUSHDB",)
        else:
            yield writer.command(not_blocking)
            done += 1
