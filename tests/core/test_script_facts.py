"""What can be seen in a script's text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.script_facts import OPAQUE, ScriptFacts, facts_of


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "return redis.call('INCR', KEYS[1])",
        "redis.call('LPUSH', KEYS[1], 'x') return redis.call('LLEN', KEYS[1])",
        "return server.pcall('hset', KEYS[1], 'f', ARGV[1])",
        "return redis.call('EXPIREAT', KEYS[1], ARGV[1])",
        "return math.floor(1.5)",
        "return redis.call('SET', KEYS[1], ARGV[1], 'NX')",
        "local rcall = redis.call\nreturn rcall('HSET', KEYS[1], 'f', 'v')",
        "return redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])",
        "return 1",
    ],
)
def test_plain_script_does_the_same_elsewhere(body: str) -> None:
    """On equal data, at another time, on another server."""
    assert facts_of(body.encode()).is_repeatable


@pytest.mark.parametrize(
    "body",
    [
        "local t = redis.call('TIME') return redis.call('SET', KEYS[1], t[1])",
        'return redis.call("time")',
        "return redis.call('SPOP', KEYS[1])",
        "return redis.call('SRANDMEMBER', KEYS[1])",
        "return redis.call('HRANDFIELD', KEYS[1])",
        "return redis.call('RANDOMKEY')",
        "redis.call('EXPIRE', KEYS[1], 10)",
        "redis.call('PEXPIRE', KEYS[1], 10)",
        "redis.call('SETEX', KEYS[1], 10, 'x')",
        "redis.call('SET', KEYS[1], 'x', 'EX', 10)",
        "redis.call('set', KEYS[1], 'x', 'px', ARGV[1])",
        "redis.call('GETEX', KEYS[1], 'EX', 10)",
        "redis.call('XADD', KEYS[1], '*', 'f', 'v')",
        "redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', KEYS[1], '>')",
        "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) end",
        "for _, m in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('RPUSH', KEYS[2], m) end",
        "return redis.call('SET', KEYS[1], math.random())",
        "return redis.call('SET', KEYS[1], math . random(10))",
        "redis.replicate_commands() return 1",
        "return redis.call('SET', KEYS[1], os.clock())",
        "return redis.call('INCRBYFLOAT', KEYS[1], 0.1)",
        "return redis.call('INFO')",
        "return redis.call(ARGV[1], KEYS[1])",
        "return redis.call(unpack(ARGV))",
        "return redis.call([[TIME]])",
        "return redis.call('SET', KEYS[1], 'x', ARGV[1], ARGV[2])",
        "return redis.call('SET', KEYS[1], 'x', unpack(ARGV))",
    ],
)
def test_time_chance_and_order_are_not_repeatable(body: str) -> None:
    """Where the clock, chance, a generated id or an order that differs between servers may matter."""
    assert not facts_of(body.encode()).is_repeatable


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "return redis.call('SET',KEYS[ 2 ],ARGV[1])",
        "return redis.call('GET', KEYS[i])",
        "local k = KEYS[1]\nreturn redis.call('INCR', k)",
        "local a, b = KEYS[1], KEYS[2]\nredis.call('INCR', a)\nredis.call('INCR', b)",
        "return redis.pcall('HSET', KEYS[1], 'f', 'v')",
        "local current = redis.call('GET', KEYS[1])\nif current == ARGV[1] then return 1 end",
        "if #KEYS > 1 then return redis.call('INCR', KEYS[1]) end",
        "local key = KEYS[1]\nlocal n = redis.call('INCR', key)\nreturn n",
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
        "redis.call('SADD', KEYS[2], redis.call('SPOP', KEYS[1]))",
        "local t = redis.call('TIME') redis.call('SET', KEYS[1], t[1])",
        "return 1",
    ],
)
def test_script_that_names_its_keys(body: str) -> None:
    """Each call is of one key, which is one of KEYS, or a local name of one."""
    assert facts_of(body.encode()).names_its_keys


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call('SET', 'fixed', ARGV[1])",
        "return redis.call('SET', ARGV[1], 'x')",
        "return redis.call('SET', 'prefix:' .. KEYS[1], 'x')",
        "return redis.call('SET', KEYS[1] .. ':suffix', 'x')",
        "local k = KEYS[1] .. 'x'\nreturn redis.call('SET', k, 'x')",
        "local k = KEYS[1]\nk = 'other'\nreturn redis.call('SET', k, 'x')",
        "local k = KEYS[1]\n.. 'x'\nreturn redis.call('INCR', k)",
        "local k = KEYS[1]:upper()\nreturn redis.call('INCR', k)",
        "local k = KEYS[1] or 'other'\nreturn redis.call('INCR', k)",
        "local a, b = KEYS[1]\nreturn redis.call('SET', b, 'x')",
        "return redis.call('DEL', KEYS[1], 'other')",
        "if redis.call('get', KEYS[1]) then return redis.call('del', KEYS[1], 'other') end",
        "redis.call('SADD', KEYS[2], redis.call('SPOP', 'other'))",
        "local t = redis.call('TIME', redis.call('INCR', 'other'))",
        "return redis.call('MSET', KEYS[1], 'x', 'other', 'x')",
        "return redis.call('RENAME', KEYS[1], 'other')",
        "return redis.call('COPY', KEYS[1], 'other')",
        "return redis.call('SUNIONSTORE', KEYS[1], 'other')",
        "return redis.call('LMOVE', KEYS[1], 'other', 'LEFT', 'LEFT')",
        "return redis.call('RPOPLPUSH', KEYS[1], 'other')",
        "return redis.call('SMOVE', KEYS[1], 'other', 'm')",
        "return redis.call('GEOSEARCHSTORE', KEYS[1], 'other', 'FROMMEMBER', 'm')",
        "return redis.call('SORT', KEYS[1], 'STORE', 'other')",
        "return redis.call(ARGV[1], KEYS[1])",
        "return redis.call(unpack(ARGV))",
        "local f = redis.call\nreturn f('SET', 'other', 'x')",
        "redis.call('INCR', KEYS[1]) redis.call('SET', 'other', 'x')",
        "return redis['call']('SET', 'other', 'x')",
        "redis.call('FLUSHALL')",
        "redis.call('SWAPDB', 0, 1)",
        "redis.call('SELECT', 5)\nredis.call('SET', KEYS[1], 'x')",
        "redis.call('BITOP', 'NOT', 'other', KEYS[1])",
        "redis.call('GEORADIUS', KEYS[1], 1, 1, 1, 'm', 'STORE', 'other')",
        "redis.call('MOVE', KEYS[1], 1)",
        "redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', 'other', '>')",
        "redis.call('PFMERGE', KEYS[1], 'other')",
        "redis.call('EVAL', 'x', 0)",
        "local r = redis return r.call('SET', 'other', 'x')",
        "local c = redis['ca' .. 'll'] return c('SET', 'other', 'x')",
        "KEYS[1] = 'other'\nreturn redis.call('SET', KEYS[1], 'x')",
        "KEYS = {'other'}\nreturn redis.call('SET', KEYS[1], 'x')",
        "local t = KEYS\nt[1] = 'other'\nreturn redis.call('SET', KEYS[1], 'x')",
        "local k = KEYS[1]\nfor k in pairs({other = 1}) do redis.call('INCR', k) end",
        "local k = KEYS[1]\nlocal f = function(k)\nreturn redis.call('INCR', k) end\nf('other')",
        "local k = KEYS[1]\nlocal x, k = 1, 'other'\nreturn redis.call('INCR', k)",
        "return loadstring(ARGV[1])()",
        "return _G['redis']['call']('SET', 'other', 'x')",
        "return redis.call('BLPOP', KEYS[1], 'other', 0)",
        "table.insert(KEYS, 'other')\nreturn redis.call('SET', KEYS[2], 'x')",
    ],
)
def test_script_that_may_touch_other_keys(body: str) -> None:
    """A fixed name, a made one, one among many, or a call that cannot be read: all keys may be meant."""
    assert not facts_of(body.encode()).names_its_keys


def test_flag_says_that_nothing_is_written() -> None:
    """Only in the first line, where the server reads flags."""
    assert not facts_of(b"#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])").writes
    assert facts_of(b"#!lua\nreturn 'no-writes'").writes
    assert facts_of(b"return 'no-writes'").writes


@pytest.mark.parametrize(
    "body",
    [
        b"local" + b" " * 60_000,
        b"local " * 10_000,
        b"local k = KEYS[1] redis.call('GET', k) " + b"k " * 20_000,
        b"redis " * 10_000,
        b"redis" + b" " * 60_000,
        b"KEYS[" * 10_000,
        b"function k " * 5_000 + b"redis.call('GET', k)",
        b"math" + b" " * 60_000,
        b"x" * 1_000_000,
        b"local c = redis.call " * 3_000,
        b"local c = redis.call " + b"c( " * 15_000,
        b"redis.call('" + b"x" * 60_000,
        b"redis.call(" * 5_000,
    ],
    ids=lambda body: body[:20].decode(),
)
def test_hostile_text_does_not_hold_everybody(body: bytes) -> None:
    """Looking takes a moment, whatever a client has written."""
    began = time.process_time()
    facts_of(body)

    assert time.process_time() - began < 0.5


def test_long_script_is_not_looked_into() -> None:
    """It is taken for the worst."""
    assert not facts_of(b"return 1 --" + b"x" * 65_536).is_repeatable
    assert not facts_of(b"return 1 --" + b"x" * 65_536).names_its_keys
    assert not facts_of(b"return 1 --" + b"x" * 65_536).tells_its_calls


def test_unknown_script_is_taken_for_the_worst() -> None:
    """It writes, any keys, and never the same."""
    assert ScriptFacts(is_repeatable=False, names_its_keys=False, writes=True) == OPAQUE


@given(st.binary(max_size=80))
def test_no_text_is_too_strange(body: bytes) -> None:
    """Bodies are bytes: looking at them raises nothing."""
    assert isinstance(facts_of(body), ScriptFacts)


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("return redis.call('SET', KEYS[1], ARGV[1])", {"SET"}),
        ("local rcall = redis.call\nrcall( 'hset', 'k', 1, 2)\nredis.pcall(\"GET\", 'k')", {"HSET", "GET"}),
        ("return 1", set()),
    ],
)  # fmt: skip
def test_commands_that_a_script_calls_are_seen(body: str, calls: set[str]) -> None:
    """By whatever name ``redis.call`` goes."""
    assert facts_of(body.encode()).calls == calls


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "return server . pcall ( \"DBSIZE\" )",
        "local rcall = redis.call\nlocal t = rcall('KEYS', '*')\nif t[1] then rcall(\"DEL\", t[1]) end",
        "-- nothing to recall\nlocal c = redis.pcall; return c('INCR', KEYS[1])",
        "return redis.sha1hex(ARGV[1])",
        "return 1",
    ],
)  # fmt: skip
def test_script_that_tells_what_it_calls(body: str) -> None:
    """Each call is by ``redis.call``, or a local name of it, and a name in the text."""
    assert facts_of(body.encode()).tells_its_calls


@pytest.mark.parametrize(
    "body",
    [
        "return redis.call(ARGV[1])",
        "return redis.call('K' .. 'EYS', '*')",
        "return redis.call('KE\\89S', '*')",
        "return redis.call('GET\",' and 'KEYS', '*')",
        "return redis.call('GET' --[[, ]] .. 'KEYS')",
        "return redis.call[[KEYS]]",
        "return redis.call(unpack(ARGV))",
        "return redis.call{'KEYS'}",
        "return redis --[[ ]] .call('GET', KEYS[1])",
        "return redis.--[[ ]] call('GET', KEYS[1])",
        "return redis['call']('GET', KEYS[1])",
        "local r = redis return r.call('GET', KEYS[1])",
        "local c = redis.call; local d = c; return d('GET', KEYS[1])",
        "local c = redis.call; return c(ARGV[1])",
        "local c, d = redis.call, 1 return c('GET', KEYS[1])",
        "local c = redis.call; return pcall(c, 'GET', KEYS[1])",
        "for _, f in pairs(redis) do f('KEYS', '*') end",
        "return _G['redis']",
        "return loadstring(ARGV[1])()",
        "return package.loaded.x",
        "return require(ARGV[1])",
        "c = redis.call return c('GET', KEYS[1])",
        "".join(f"local c{number} = redis.call " for number in range(9)),
    ],
)
def test_script_that_may_call_what_it_does_not_tell(body: str) -> None:
    """A name that is made, another way to call, or one that cannot be followed."""
    assert not facts_of(body.encode()).tells_its_calls


def test_calls_through_a_local_name_are_seen() -> None:
    """Whatever the name is."""
    assert facts_of(b"local c = redis.call return c('keys', '*')").calls == {"KEYS"}
