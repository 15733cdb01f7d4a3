"""Folded effects do the same as effects one by one: on a real server, which has ``EVAL`` as well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.effects.model import Args, Command
from dualkv.core.fusing import call, fold, results
from dualkv.resp.replies import elements_of, is_error
from dualkv.resp.requests import RequestParser
from dualkv.servers import EmbeddedServer
from tests.support.state import differences, state_of
from tests.support.wire import Wire

FAR_MS = 4_000_000_000_000
KEYS = [b"a", b"b", b"c"]
WORDS = [b"x", b"y", b"z", b"1"]

keys, words = st.sampled_from(KEYS), st.sampled_from(WORDS)
numbers = st.sampled_from([b"1", b"2", b"3"])
times = st.sampled_from([b"%d" % FAR_MS, b"%d" % (FAR_MS + 10**6)])


def some(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[Args]:
    """Return one to three elements of the given parts."""
    return st.lists(st.tuples(*parts), min_size=1, max_size=3).map(lambda found: sum(found, ()))


def on_key(name: bytes, *tail: st.SearchStrategy[Args]) -> st.SearchStrategy[Args]:
    """Return a command on one key."""
    return st.tuples(keys, *tail).map(lambda found: (name, found[0], *sum(found[1:], ())))


commands = st.one_of(
    on_key(b"SET", st.tuples(words)),
    on_key(b"SET", st.tuples(words, st.just(b"PXAT"), times)),
    on_key(b"SET", st.tuples(words, st.just(b"KEEPTTL"))),
    on_key(b"DEL"),
    st.tuples(st.just(b"DEL"), keys, keys),
    st.tuples(st.just(b"RENAME"), keys, keys),
    on_key(b"PEXPIREAT", st.tuples(times)),
    on_key(b"RPUSH", some(words)), on_key(b"LPUSH", some(words)),
    on_key(b"LREM", st.tuples(st.just(b"1"), words)),
    on_key(b"SADD", some(words)), on_key(b"SREM", some(words)), on_key(b"SCARD"),
    on_key(b"HSET", some(words, words)), on_key(b"HDEL", some(words)),
    on_key(b"ZADD", some(numbers, words)), on_key(b"ZREM", some(words)),
    on_key(b"ZADD", st.tuples(st.just(b"NX"), numbers, words)),
    on_key(b"EXISTS"), on_key(b"APPEND", st.tuples(words)),
)  # fmt: skip


@pytest.fixture(name="port", scope="module")
def _port(server_binary: Path) -> Iterator[int]:
    """The port of a server of our own: two databases are two stores."""
    with EmbeddedServer(server_binary) as server:
        yield server.port


@settings(max_examples=200, deadline=None)
@given(st.lists(commands, max_size=6), st.lists(st.tuples(commands, st.booleans()), min_size=1, max_size=30))
def test_folded_effects_leave_what_they_leave_one_by_one(
    port: int, before: list[Args], written: list[tuple[Args, bool]]
) -> None:
    """Both stores end equal, and each effect that has a reply due gets it."""
    with Wire(port) as one, Wire(port) as other:
        one.call("FLUSHALL")
        other.call("SELECT", 1)
        effects: list[Command] = []
        for args in before:
            one.call(*args)
            other.call(*args)
        for args, is_checked in written:
            reply = one.call(*args)
            if not is_error(reply):  # what the primary refused has no effect
                effects.append(Command(args, reply if is_checked else None))
        folded = fold(effects)
        assert len(folded.commands) <= len(effects)
        if effects:
            (request,) = RequestParser().feed(call(folded.commands, int(time.time() * 1000)).wire)
            replies = folded.unfold(results(elements_of(other.call(*request.args))))

            assert [
                (effect.args, reply) for effect, reply in zip(effects, replies, strict=True) if effect.reply
            ] == [(effect.args, effect.reply) for effect in effects if effect.reply]
    states = state_of(port, [0, 1])
    primary, secondary = (
        {(0, key): state for (db, key), state in states.items() if db == wanted} for wanted in (0, 1)
    )
    assert differences(primary, secondary) == []
