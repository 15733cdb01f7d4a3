"""From a client's command to commands for the real store, and from its replies to the client's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from dualkv.resp import encode
from dualkv.resp.replies import elements_of, is_error, value_of
from tests.fakes.elastickv.commands import COMMANDS, Args, keys_of, name_of
from tests.fakes.elastickv.numbers import take_nan, write_scores
from tests.fakes.elastickv.scripts import Ran, Script, understand

__all__ = ["Work", "plain_work", "read_work", "script_work", "transaction_work"]


@attrs.frozen
class Work:
    """Something to do on the real store in one step."""

    name: str
    requests: bytes
    """For the real store."""
    reply_count: int
    finish: Callable[[Sequence[bytes]], Ran]
    """Makes one reply of those of the real store."""
    is_write: bool
    keys: int = 0
    """How many it writes to, as far as that is known before."""
    elements: int = 0
    effects: int = 1
    size: int = 0
    """In bytes, as the client sent it."""


def _last(replies: Sequence[bytes]) -> Ran:
    return Ran(replies[-1])


def plain_work(args: Args) -> Work:
    """Return the work of one command that takes its options and its arity for right."""
    name = name_of(args)
    command = COMMANDS[name]
    is_write = command.flag == "write"
    request = _translate(name, args)
    return Work(
        name,
        encode.pack(request),
        1,
        lambda replies: Ran(_answer(name, args, replies[0])),
        is_write,
        keys=len(set(keys_of(command, args))) if is_write else 0,
        elements=max(len(args) - 2, 0) if is_write else 0,
        size=sum(map(len, args)),
    )


def _translate(name: str, args: Args) -> Args:
    """Return what the real store is told instead."""
    if name == "ELASTICKV.ZREMFAST":
        return (b"ZREM", *args[1:])
    if name == "PFADD":
        return (b"SADD", *args[1:])
    if name == "PFCOUNT":
        return (b"SUNION", *args[1:])
    if name == "FLUSHLEGACY":
        return (b"PING",)
    if name in ("XADD", "XTRIM") and args[2].upper() == b"MAXLEN" and args[3] == b"~":
        return (*args[:3], b"=", *args[4:])  # it trims exactly
    if name == "ZADD":
        return take_nan(args)
    return args


def _answer(name: str, args: Args, frame: bytes) -> bytes:
    """Return what ElasticKV says where the real store says *frame*."""
    if is_error(frame):
        return frame
    if name == "PFADD":
        return encode.integer(int(frame != b":0\r\n"))
    if name == "PFCOUNT":
        return encode.integer(len(value_of(frame)))
    if name == "FLUSHLEGACY":
        return encode.OK
    return write_scores(name, args, frame)


def read_work(args: Args, position: int) -> Work:
    """Return the work of an ``XREAD`` that does not block.

    Its reply is nothing (``b""``) if there is nothing to read and a stream is missing.

    Args:
        args: The command.
        position: Where ``STREAMS`` is in it.
    """
    keys = args[position + 1 : position + 1 + (len(args) - position - 1) // 2]
    all_exist = encode.integer(len(keys))

    def finish(replies: Sequence[bytes]) -> Ran:
        is_missing = replies[0] != all_exist and replies[1] == encode.null_array(2)
        return Ran(b"" if is_missing else replies[1])

    return Work("XREAD", encode.command("EXISTS", *keys) + encode.pack(args), 2, finish, is_write=False)


def transaction_work(queue: Sequence[Args]) -> Work:
    """Return the work of an ``EXEC``."""
    works = [plain_work(args) for args in queue]

    def finish(replies: Sequence[bytes]) -> Ran:
        if is_error(replies[-1]):
            return Ran(replies[-1])
        frames = elements_of(replies[-1])
        return Ran(
            encode.array(work.finish([frame]).reply for work, frame in zip(works, frames, strict=True))
        )

    return Work(
        "EXEC",
        encode.command("MULTI") + b"".join(work.requests for work in works) + encode.command("EXEC"),
        len(works) + 2,
        finish,
        any(work.is_write for work in works),
        keys=len({key for args in queue for key in _written(args)}),
        elements=sum(work.elements for work in works),
        effects=sum(work.is_write for work in works),
        size=sum(work.size for work in works),
    )


def _written(args: Args) -> Args:
    command = COMMANDS[name_of(args)]
    return keys_of(command, args) if command.flag == "write" else ()


def script_work(name: str, script: Script, most_effects: int) -> Work:
    """Return the work of a script; how much that is, it tells afterwards."""
    size = len(script.body) + sum(map(len, script.keys)) + sum(map(len, script.arguments))
    return Work(
        name,
        script.command(most_effects),
        1,
        lambda replies: understand(replies[0]),
        is_write=True,
        effects=0,
        size=size,
    )
