"""Asks a store what it is: read-only, bounded, and only what it says that it has.

``COMMAND`` comes first: what is not in there is not tried, and a store that must not be enumerated is not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.core.dialect import LEARNING, Dialect, learn
from dualkv.core.effects.model import Args
from dualkv.core.identity import IDENTIFYING, identify
from dualkv.core.info import info_fields
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.connection import Connection
from dualkv.net.one_off import connected
from dualkv.preflight.model import StoreFacts
from dualkv.preflight.sampling import sample_keys
from dualkv.resp.encode import pack
from dualkv.resp.replies import is_error, value_of

__all__ = ["ask_store"]

_SETTINGS: Final = (
    "maxmemory", "maxmemory-policy", "proto-max-bulk-len", "notify-keyspace-events",
    "databases", "maxclients",
)  # fmt: skip
_PINGS: Final = 21
_CLOCK_READINGS: Final = 5

_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "primary": (
        "GET k", "SET k v", "TYPE k", "PTTL k", "STRLEN k", "HLEN k", "HSCAN k 0", "LRANGE k 0 1",
        "SSCAN k 0", "ZSCAN k 0", "XRANGE k - +", "DUMP k", "SCAN 0", "INFO", "COMMAND", "TIME",
        "SELECT 0", "MULTI", "EXEC", "PING", "CLIENT SETNAME n",
    ),
    "secondary": (
        "GET k", "SET k v", "DEL k", "EXISTS k", "PEXPIREAT k 1", "PERSIST k", "HSET k f v", "RPUSH k v",
        "SADD k m", "ZADD k 1 m", "XADD k 1-1 f v", "RESTORE k 0 v", "RENAME k k2", "FLUSHDB", "EVAL s 1 k",
        "SCAN 0", "INFO", "COMMAND", "SELECT 0", "MULTI", "EXEC", "PING", "CLIENT SETNAME n",
    ),
}  # fmt: skip
"""What dualkv itself needs of a store, as requests for ``ACL DRYRUN``, which executes nothing."""


async def ask_store(which: str, options: BackendOptions) -> StoreFacts:
    """Return what a store says of itself.

    Args:
        which: ``primary`` or ``secondary``; keys are sampled of the primary only.
        options: Where it is, who we are, and how long it may be silent.

    Returns:
        The facts; if it cannot be reached, why. Nothing is raised for a store that misbehaves.
    """
    facts = StoreFacts(which, options)
    try:
        async with connected(options, "preflight") as connection:
            asking = Asking(connection, options.read_timeout_seconds)
            return await _ask(attrs.evolve(facts, protocols=connection.greeting.protocols), asking)
    except BackendUnavailable as error:
        return attrs.evolve(facts, error=str(error))
    except (ConnectionLost, ReplyProtocolError) as error:
        return attrs.evolve(facts, error=f"{options.address}: {error}")


@attrs.frozen
class Asking:
    """Requests and replies on one connection, with a deadline each."""

    connection: Connection
    timeout_seconds: float

    async def ask(self, requests: Sequence[Args]) -> list[bytes]:
        """Return the raw replies to requests that leave together.

        Raises:
            ConnectionLost: The store does not answer in time, or hangs up.
            ReplyProtocolError: It answers something else than RESP.
        """
        if not requests:
            return []
        try:
            with trio.fail_after(self.timeout_seconds):
                return await self.connection.exchange(b"".join(map(pack, requests)), len(requests))
        except trio.TooSlowError:
            raise ConnectionLost(
                f"no answer to {requests[0][0].decode()} in {self.timeout_seconds:g} s"
            ) from None


async def _ask(facts: StoreFacts, asking: Asking) -> StoreFacts:
    learning = await asking.ask(LEARNING)
    dialect = learn(learning)
    replies = await asking.ask([*IDENTIFYING, (b"INFO",)])
    facts = attrs.evolve(
        facts,
        dialect=dialect,
        knows_commands=not is_error(learning[-1]),
        identity=identify(replies[: len(IDENTIFYING)]),
        info=info_fields(replies[-1]),
    )
    try:
        facts = attrs.evolve(facts, latency_seconds=await _latency(asking))
        if not facts.knows_commands:
            return facts  # it may be any store: nothing is tried
        if dialect.has("TIME"):
            facts = attrs.evolve(facts, clock_offset_seconds=await _clock_offset(asking))
        if dialect.has("CONFIG GET"):
            facts = attrs.evolve(facts, settings=await _settings(asking))
        facts = await _rights(facts, dialect, asking)
        if facts.which == "primary" and dialect.is_enumerable and facts.knows_commands:
            facts = attrs.evolve(facts, sample=await sample_keys(asking.ask, dialect))
    except ConnectionLost as error:  # what is known is worth telling
        return attrs.evolve(facts, error_since=str(error))
    return facts


async def _latency(asking: Asking) -> float:
    """Return the median of some PINGs, in seconds."""
    taken = []
    for _ in range(_PINGS):
        before = time.perf_counter()
        await asking.ask([(b"PING",)])
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)


async def _clock_offset(asking: Asking) -> float | None:
    """Return the store's clock minus ours, in seconds, by the quickest of some readings."""
    readings = []
    for _ in range(_CLOCK_READINGS):
        before, started = time.time(), time.perf_counter()
        (reply,) = await asking.ask([(b"TIME",)])
        taken = time.perf_counter() - started
        value = None if is_error(reply) else value_of(reply)
        if not isinstance(value, list) or len(value) != 2:
            return None
        readings.append((taken, int(value[0]) + int(value[1]) / 1e6 - (before + taken / 2)))
    return min(readings)[1]


async def _settings(asking: Asking) -> dict[str, str]:
    replies = await asking.ask([(b"CONFIG", b"GET", name.encode()) for name in _SETTINGS])
    found = {}
    for name, reply in zip(_SETTINGS, replies, strict=True):
        value = None if is_error(reply) else value_of(reply)
        if isinstance(value, list) and len(value) == 2:
            found[name] = value[1].decode(errors="replace")
    return found


async def _rights(facts: StoreFacts, dialect: Dialect, asking: Asking) -> StoreFacts:
    """Ask who we are, and try dry what we need."""
    if not dialect.has("ACL WHOAMI"):
        return facts
    (reply,) = await asking.ask([(b"ACL", b"WHOAMI")])
    user = None if is_error(reply) else value_of(reply)
    if not isinstance(user, bytes):
        return facts
    facts = attrs.evolve(facts, user=user.decode(errors="replace"))
    if not dialect.has("ACL DRYRUN"):
        return facts
    needed = [words.encode().split() for words in _NEEDED[facts.which] if dialect.has(words.split()[0])]
    replies = await asking.ask([(b"ACL", b"DRYRUN", user, *words) for words in needed])
    if any(map(is_error, replies)):
        return facts  # we may not even ask
    denied = [
        words[0].decode() for words, reply in zip(needed, replies, strict=True) if value_of(reply) != b"OK"
    ]
    return attrs.evolve(facts, rights_are_known=True, denied=tuple(denied))
