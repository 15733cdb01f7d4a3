"""Lua for the generator: what only the primary can know the outcome of, and what is simple."""

from __future__ import annotations

from typing import Final

__all__ = ["LIBRARIES", "SCRIPTS"]

SCRIPTS: Final = {
    "bump": b"return redis.call('INCRBY', KEYS[1], ARGV[1])",
    "append": b"return redis.call('APPEND', KEYS[1], ARGV[1])",
    "clock": b"local t = redis.call('TIME') redis.call('SET', KEYS[1], t[1] .. '.' .. t[2]) return t[1]",
    "lease": b"redis.call('SET', KEYS[1], ARGV[1]) return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    "spin": b"redis.call('RPUSH', KEYS[1], math.random(1000000), redis.call('TIME')[2]) return 'ok'",
    "steal": b"local m = redis.call('SPOP', KEYS[1]) if m then redis.call('SADD', KEYS[2], m) end return m",
    "swap": (
        b"local a, b = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) "
        b"redis.call('SET', KEYS[1], b or 'none') redis.call('SET', KEYS[2], a or 'none') return 2"
    ),
    "log": b"return redis.call('XADD', KEYS[1], '*', 'field', ARGV[1])",
    "guard": b"if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('DEL', KEYS[1]) end return 0",
    "fail": b"redis.call('HINCRBY', KEYS[1], 'n0', 1) return redis.call('INCR', KEYS[1])",
    "peek": b"return redis.call('TYPE', KEYS[1])",
}
"""Scripts by name. They touch the keys that they are given and no others."""

LIBRARIES: Final = {
    "count": (
        b"#!lua name=count\n"
        b"redis.register_function('count', function(k, a) return redis.call('INCRBY', k[1], a[1]) end)"
    ),
    "stamp": (
        b"#!lua name=stamp\n"
        b"redis.register_function('stamp', function(k) return redis.call('SET', k[1], "
        b"redis.call('TIME')[2]) end)"
    ),
}
