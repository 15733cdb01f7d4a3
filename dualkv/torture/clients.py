"""Clients that send generated traffic through dualkv and survive what happens to their connections."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.connection import Connection
from dualkv.net.transport import dial
from dualkv.resp.encode import OK, pack
from dualkv.resp.replies import elements_of, is_error, is_null
from dualkv.torture.generate import Args, Generator, Pipeline
from dualkv.torture.history import History, Operation
from dualkv.torture.words import Memory

__all__ = ["Client", "Tally"]

_PATIENCE_SECONDS: Final = 60.0
"""No reply comes later than this, whatever happens to the stores."""

_RECONNECT_SECONDS: Final = 0.05
_LEAVING_SHARE: Final = 0.004
"""How often a client hangs up instead of reading its replies."""


@attrs.define
class Tally:
    """What the clients of one run have seen, all together."""

    operations: int = 0
    """Replies that the primary gave."""
    errors: Counter[str] = attrs.field(factory=Counter)
    """Error replies by their first word; those of dualkv itself by their text."""
    disconnects: int = 0
    """Connections that the clients did not end."""
    hung_up: int = 0
    """Connections that they did."""
    stuck: int = 0
    """Replies that never came."""
    garbled: int = 0
    """Replies that are not RESP, or too many of them."""


@attrs.define
class Client:
    """One client.

    Args:
        number: Which one.
        options: How to reach dualkv.
        generator: What to send.
        rng: What is random beside that.
        memory: Takes what replies show.
        tally: Counts.
        history: Remembers.
        is_over: Whether to stop.
        wait_seconds: How long to wait before the next turn, to keep a pace.
        clock: Seconds from the beginning.
    """

    number: int
    options: BackendOptions
    generator: Generator
    rng: random.Random
    memory: Memory
    tally: Tally
    history: History
    is_over: Callable[[], bool]
    wait_seconds: Callable[[], float]
    clock: Callable[[], float]
    _db: int = 0

    async def run(self) -> None:
        """Send until it is over; connect again whenever that is needed."""
        while not self.is_over():
            try:
                sock, greeting = await dial(self.options, f"torture-{self.number}")
            except BackendUnavailable:
                await trio.sleep(_RECONNECT_SECONDS)
                continue
            connection = Connection(sock, greeting)
            self._db = 0
            try:
                await self._talk(connection)
            except ConnectionLost:
                self.tally.disconnects += 1
                await trio.sleep(_RECONNECT_SECONDS)
            except ReplyProtocolError:
                self.tally.garbled += 1
            except trio.TooSlowError:
                self.tally.stuck += 1
            finally:
                connection.close()

    async def _talk(self, connection: Connection) -> None:
        """Send on one connection until it is over, or this client feels like hanging up."""
        if self.rng.random() < 0.5:
            await connection.exchange(pack((b"HELLO", b"3")), 1)
        while not self.is_over():
            for pipeline in self.generator.turn():
                if self.rng.random() < _LEAVING_SHARE:
                    await self._leave(connection, pipeline)
                    return
                await self._exchange(connection, pipeline)
            await trio.sleep(self.wait_seconds())

    async def _leave(self, connection: Connection, pipeline: Pipeline) -> None:
        """Send, and do not read."""
        self.tally.hung_up += 1
        await connection.exchange(b"".join(map(pack, pipeline)), 0)
        now = self.clock()
        for args in pipeline:
            self.history.record(Operation(self.tally.operations, now, now, self.number, self._db, args, None))

    async def _exchange(self, connection: Connection, pipeline: Pipeline) -> None:
        sent_at = self.clock()
        try:
            with trio.fail_after(_PATIENCE_SECONDS):
                frames = await connection.exchange(b"".join(map(pack, pipeline)), len(pipeline))
        except BaseException:
            for args in pipeline:
                self._record(sent_at, args, None)
            raise
        self._note(pipeline, frames, sent_at)
        if any(frame.startswith(b"-ERR dualkv") for frame in frames):
            await trio.sleep(_RECONNECT_SECONDS)  # the primary is away: leave it some time

    def _note(self, pipeline: Pipeline, frames: list[bytes], sent_at: float) -> None:
        """Take note of replies."""
        queued: list[Args] | None = None
        for args, frame in zip(pipeline, frames, strict=True):
            name = args[0].upper()
            self._count(frame)
            if name == b"MULTI" and frame == OK:
                queued = []
            elif name == b"EXEC" and queued is not None:
                if not is_error(frame) and not is_null(frame):
                    for part, result in zip(queued, elements_of(frame), strict=True):
                        self._record(sent_at, part, result, "EXEC")
                queued = None
            elif name == b"DISCARD":
                queued = None
            elif queued is not None:
                if not is_error(frame):
                    queued.append(args)
            else:
                if name == b"SELECT" and frame == OK:
                    self._db = int(args[1])
                self._record(sent_at, args, frame)

    def _count(self, frame: bytes) -> None:
        if not frame.startswith(b"-ERR dualkv"):
            self.tally.operations += 1
        if is_error(frame):
            text = frame[1:-2].decode(errors="replace")
            self.tally.errors[text[:100] if "dualkv" in text else text.split(" ")[0]] += 1

    def _record(self, sent_at: float, args: Args, frame: bytes | None, within: str = "") -> None:
        if frame is not None:
            self.memory.learn(args, frame)
        reply = None if frame is None else frame[:200]
        self.history.record(
            Operation(
                self.tally.operations, sent_at, self.clock(), self.number, self._db, args, reply, within
            )
        )
