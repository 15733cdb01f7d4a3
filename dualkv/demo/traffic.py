"""Clients that behave like a small application: sessions, counters, queues, leaderboards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import trio

from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter

__all__ = ["run_client"]

Commands = Sequence[Sequence[str | int]]
_USERS = 500


def _visit(user: int) -> Commands:
    return (
        ("INCR", "demo:visits"),
        ("HSET", f"demo:user:{user}", "name", f"user {user}", "seen", random.randrange(10**6)),
        ("HGETALL", f"demo:user:{user}"),
        ("EXPIRE", f"demo:user:{user}", 3600),
    )


def _score(user: int) -> Commands:
    return (
        ("ZINCRBY", "demo:scores", random.randrange(1, 10), f"user {user}"),
        ("ZREVRANGE", "demo:scores", 0, 9, "WITHSCORES"),
    )


def _enqueue(user: int) -> Commands:
    return (
        ("LPUSH", "demo:jobs", f"job of {user}"),
        ("LTRIM", "demo:jobs", 0, 99),
        ("LLEN", "demo:jobs"),
        ("LRANGE", "demo:jobs", 0, 4),
    )


def _transfer(user: int) -> Commands:
    return (
        ("MULTI",),
        ("DECRBY", f"demo:credit:{user}", 5),
        ("INCRBY", f"demo:credit:{(user + 1) % _USERS}", 5),
        ("EXEC",),
        ("MGET", f"demo:credit:{user}", f"demo:credit:{(user + 1) % _USERS}"),
    )


def _tag(user: int) -> Commands:
    return (
        ("SADD", f"demo:tags:{user % 20}", user),
        ("SMEMBERS", f"demo:tags:{user % 20}"),
        ("SET", f"demo:page:{user}", "x" * random.randrange(10, 200)),
        ("GET", f"demo:page:{user}"),
    )


_ACTIONS: Sequence[Callable[[int], Commands]] = (_visit, _score, _enqueue, _transfer, _tag)


async def run_client(port: int, pause_seconds: float) -> None:
    """Send batches of commands to a loopback *port* until cancelled, or the server closes.

    Args:
        port: Where dualkv listens.
        pause_seconds: Mean pause between batches.
    """
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    splitter = ReplySplitter()
    async with stream:
        while True:
            commands = random.choice(_ACTIONS)(random.randrange(_USERS))
            await stream.send_all(b"".join(command(*args) for args in commands))
            missing = len(commands)
            while missing > 0:
                data = await stream.receive_some()
                if not data:
                    return
                missing -= len(splitter.feed(bytes(data)))
            await trio.sleep(random.expovariate(1 / pause_seconds))
