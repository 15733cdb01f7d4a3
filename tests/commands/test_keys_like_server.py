"""Keys of requests, as dualkv finds them and as a live server does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dualkv.commands.table import COMMANDS
from tests.commands.writing import found_keys, request, spec_of

LINES = """
    APPEND k v
    BITFIELD k GET u8 0
    BITOP AND d a b
    BLMOVE a b LEFT RIGHT 0
    BLMPOP 0 2 a b LEFT COUNT 3
    BLPOP a b c 0
    BRPOPLPUSH a b 1
    BZMPOP 0 2 a b MAX COUNT 2
    BZPOPMIN a b 1
    COPY a b DB 1 REPLACE
    DEL a b a
    DUMP k
    EVAL return 2 a b x
    EVALSHA abc 1 a x y
    EVALSHA_RO abc 1 a x
    EVAL_RO return 2 a b x
    EXISTS a b a
    FCALL f 2 a b x
    FCALL_RO f 1 a x
    GEORADIUS k 1 1 1 m
    GEORADIUS k 1 1 1 m COUNT 1 STORE d
    GEORADIUS k 1 1 1 m STORE d1 STOREDIST d2
    GEORADIUS k 1 1 1 m STORE d
    GEORADIUS k 1 1 1 m STOREDIST d
    GEORADIUSBYMEMBER k m 1 m STORE d
    GEORADIUSBYMEMBER k store 1 m STOREDIST d
    GEORADIUSBYMEMBER_RO k m 1 m
    GEORADIUS_RO k 1 1 1 m
    GEOSEARCHSTORE d s FROMLONLAT 1 1 BYRADIUS 1 m
    GET k
    GETEX k EX 1
    HSET h f v
    HSETEX h EX 1 FIELDS 1 f v
    LCS a b
    LMOVE a b LEFT RIGHT
    LMPOP 2 a b LEFT COUNT 2
    MEMORY USAGE k SAMPLES 5
    MGET a b c
    MIGRATE h 1 '' 0 10 AUTH KEYS KEYS a b
    MIGRATE h 1 '' 0 10 AUTH2 u KEYS KEYS a b
    MIGRATE h 1 '' 0 10 COPY REPLACE AUTH pw KEYS a b
    MIGRATE h 1 '' 0 10 KEYS a b
    MIGRATE h 1 k 0 10 COPY
    MSET a 1 b 2
    MSETEX 2 a 1 b 2 EX 1
    MSETNX a 1 b 2
    OBJECT ENCODING k
    OBJECT FREQ k
    PFCOUNT a b
    PFMERGE d a b
    RENAME a b
    RESTORE k 0 v
    RPOPLPUSH a b
    SDIFF a b
    SET k v GET EX 10
    SINTERCARD 2 a b LIMIT 1
    SMOVE a b m
    SORT k
    SORT k ALPHA DESC STORE STORE
    SORT k BY nosort GET '#' STORE d
    SORT k BY STORE STORE d
    SORT k LIMIT 0 1 STORE d
    SORT k STORE d1 STORE d2
    SORT_RO k LIMIT 0 1
    SUNIONSTORE d a b
    TOUCH a b
    UNLINK a b
    WATCH a b
    XACK s g 1-1
    XADD s '*' f v
    XAUTOCLAIM s g c 0 0
    XGROUP CREATE s g $
    XINFO STREAM s
    XREAD COUNT 2 BLOCK 10 STREAMS a b 0 0
    XREAD COUNT 2 STREAMS STREAMS 0
    XREAD STREAMS a b 0 0
    XREADGROUP GROUP STREAMS STREAMS STREAMS a '>'
    XREADGROUP GROUP g c COUNT 1 BLOCK 0 NOACK STREAMS a b '>' '>'
    XREADGROUP GROUP g c NOACK COUNT 2 STREAMS a 0
    ZADD z 1 m
    ZDIFF 2 a b
    ZDIFFSTORE d 2 a b
    ZINTER 2 a b
    ZINTERCARD 2 a b LIMIT 1
    ZINTERSTORE d 2 a b AGGREGATE MAX
    ZMPOP 2 a b MIN
    ZRANGESTORE d s 0 -1
    ZUNION 2 a b WITHSCORES
    ZUNIONSTORE d 2 a b WEIGHTS 1 2
"""
REQUESTS = [line.strip() for line in LINES.strip().splitlines()]
"""At least one request of every movable-keys command that the server knows; see the last test."""


Ask = Callable[..., Any]
"""Sends a command, as its words, and returns the reply."""


@pytest.fixture(name="server", scope="module")
def _server(valkey_port: int) -> Iterator[Ask]:
    with redis.Redis(port=valkey_port, protocol=2, decode_responses=True) as client:
        ask: Ask = client.execute_command
        yield ask


@pytest.mark.parametrize("line", REQUESTS)
def test_keys_are_those_that_the_server_finds(server: Ask, line: str) -> None:
    """``COMMAND GETKEYS`` names the same keys in the same order; we leave out repetitions."""
    answer = server("COMMAND GETKEYS", *request(line))

    assert found_keys(line) == list(dict.fromkeys(answer))


def test_every_command_with_movable_keys_is_compared(server: Ask) -> None:
    """No command whose keys move about is missing above."""
    compared = {spec_of(line).name for line in REQUESTS}
    known = {name.upper() for name in server("COMMAND LIST")}

    movable = {spec.name for spec in COMMANDS if "movablekeys" in spec.flags}
    assert movable & known - compared == set()


def test_the_server_has_keys_where_dualkv_has_some(server: Ask) -> None:
    """Commands that dualkv thinks to be without keys have none for the server either."""
    for line in ("PING", "SUBSCRIBE c", "PUBLISH c m", "MULTI", "CLIENT SETNAME n", "CONFIG GET x"):
        with pytest.raises(redis.ResponseError, match="no key arguments"):
            server("COMMAND GETKEYS", *request(line))
        assert found_keys(line) == []


def test_the_table_knows_every_command_of_the_server(server: Ask) -> None:
    """What the server can do is not unknown to us, with the arity that it demands."""
    differing = {
        name: (int(facts["arity"]), spec_of(name).arity)
        for name, facts in server("COMMAND").items()
        if spec_of(name).arity != int(facts["arity"])
    }

    assert differing == {}
