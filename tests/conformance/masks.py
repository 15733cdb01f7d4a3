"""Where the two sides may differ: every rule with its reason. All else is a failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from dualkv.resp.replies import elements_of, is_error

__all__ = ["KNOWN", "REFUSED", "RULES", "Rule", "is_known", "is_refusal", "masked", "masked_exec", "shape"]

_AGGREGATES: Final = b"*%~>|"
_NULLS: Final = frozenset({b"$-1\r\n", b"*-1\r\n", b"_\r\n"})


def shape(reply: bytes) -> bytes:
    """Return the kind of a reply: its type, what kinds its elements have; an error's code."""
    if is_error(reply):
        return reply.split()[0]
    if reply in _NULLS or reply[:1] == b"<":  # "<": what `talk` writes where there is no reply
        return reply
    if reply[0] not in _AGGREGATES:
        return reply[:1]
    return b"%b(%b)" % (reply[:1], b" ".join(sorted({shape(element) for element in elements_of(reply)})))


def _first_byte(reply: bytes) -> bytes:
    return reply[:1]


def _sorted(reply: bytes) -> bytes:
    if reply[0] not in _AGGREGATES:
        return reply
    elements = elements_of(reply)
    step = 2 if reply[:1] == b"%" else 1
    entries = [b"".join(elements[start : start + step]) for start in range(0, len(elements), step)]
    return reply[: reply.index(b"\r\n") + 2] + b"".join(sorted(entries))


def _sorted_pairs(reply: bytes) -> bytes:
    if reply[0] not in _AGGREGATES:
        return reply
    elements = elements_of(reply)
    return reply[:1] + b"".join(sorted(map(b"".join, zip(elements[::2], elements[1::2], strict=True))))


def _without(pattern: bytes) -> Callable[[bytes], bytes]:
    compiled = re.compile(pattern)
    return lambda reply: compiled.sub(b"*", reply)


@attrs.frozen
class Rule:
    """What of the replies to some commands is not compared."""

    names: frozenset[str]
    mask: Callable[[bytes], bytes]
    """From a reply to what is compared of it."""
    reason: str


def _rule(names: str, mask: Callable[[bytes], bytes], reason: str) -> Rule:
    return Rule(frozenset(names.split(", ")), mask, reason)


RULES: Final = (
    _rule("HELLO", _without(rb"(?<=\$2\r\nid\r\n):\d+"), "dualkv counts its clients itself"),
    _rule("CLIENT ID", shape, "dualkv counts its clients itself"),
    _rule("CLIENT INFO, CLIENT LIST", shape, "ids, addresses, ages and buffers"),
    _rule("TIME, LASTSAVE", shape, "the time of the answer"),
    _rule("INFO", shape, "a process's own figures: run id, memory, counters"),
    _rule("MEMORY STATS, MEMORY DOCTOR, MEMORY MALLOC-STATS", shape, "a process's own figures"),
    _rule("LATENCY HISTOGRAM, LATENCY HISTORY, LATENCY GRAPH", shape, "how fast a server happened to be"),
    _rule("SLOWLOG GET, SLOWLOG LEN", _first_byte, "how fast a server happened to be"),
    _rule("SMEMBERS, SINTER, SUNION, SDIFF, KEYS", _sorted, "each server's hash tables have their own order"),
    _rule("CONFIG GET", _sorted_pairs, "each server's hash tables have their own order"),
)  # fmt: skip
"""What is not compared. The replies of ``unstable.txt`` are compared by their `shape` only."""

_BY_NAME: Final = {name: rule for rule in RULES for name in rule.names}


def masked(name: str, reply: bytes) -> bytes:
    """Return what of the reply to the command *name* is compared."""
    rule = _BY_NAME.get(name)
    return reply if rule is None or reply[:1] == b"<" or is_error(reply) else rule.mask(reply)


def masked_exec(names: Sequence[str], reply: bytes) -> bytes:
    """Return what of the reply to an ``EXEC`` of the commands *names* is compared."""
    if reply[:1] != b"*" or reply in _NULLS:
        return reply
    elements = elements_of(reply)
    if len(elements) != len(names):
        return reply
    return b"*%d\r\n" % len(elements) + b"".join(map(masked, names, elements))


def _refused() -> dict[str, str]:
    groups = {
        "changes the server for everybody, and nobody could tell whose change it was": (
            "ACL DELUSER, ACL LOAD, ACL SAVE, ACL SETUSER, CONFIG RESETSTAT, CONFIG REWRITE, CONFIG SET, "
            "LATENCY RESET, MODULE LOAD, MODULE LOADEX, MODULE UNLOAD, SLOWLOG RESET"
        ),
        "stops the server or holds it up": (
            "BGREWRITEAOF, BGSAVE, CLIENT PAUSE, CLIENT UNPAUSE, DEBUG, PFDEBUG, PFSELFTEST, SAVE, SHUTDOWN"
        ),
        "shows what all others do": "MONITOR",
        "moves data past dualkv": "MIGRATE, RESTORE-ASKING",
        "is for replicas, or makes one": "FAILOVER, PSYNC, REPLCONF, REPLICAOF, SLAVEOF, SYNC",
        "changes or shows a cluster": (
            "CLUSTER ADDSLOTS, CLUSTER ADDSLOTSRANGE, CLUSTER BUMPEPOCH, CLUSTER DELSLOTS, "
            "CLUSTER DELSLOTSRANGE, CLUSTER FAILOVER, CLUSTER FLUSHSLOTS, CLUSTER FORGET, CLUSTER MEET, "
            "CLUSTER REPLICATE, CLUSTER RESET, CLUSTER SAVECONFIG, CLUSTER SET-CONFIG-EPOCH, CLUSTER SETSLOT"
        ),
    }
    return {name: reason for reason, names in groups.items() for name in names.split(", ")}


REFUSED: Final = _refused()
"""The commands of Redis 7.0 that dualkv refuses to pass on, with the reason.

Where dualkv has refused one, the harness gives it to the server behind, so that what follows can be compared.
"""


@attrs.frozen
class KnownDifference:
    """Commands of one conversation that dualkv answers in its own way."""

    conversation: str
    words: str
    """Part of the commands' texts; empty: all commands of the conversation."""
    reason: str


KNOWN: Final = (
    KnownDifference("CLIENT TRACKING", "", "no client has a connection of its own that could be tracked"),
    KnownDifference("ACL: a user that comes and goes", "", "dualkv has users of its own"),
    KnownDifference(
        "AUTH nobody secret", "ACL LOG", "the primary does not see a wrong password of dualkv's users"
    ),
    KnownDifference("SCRIPT and EVALSHA", "SCRIPT DEBUG", "debugging is refused, in a pipeline or not"),
    KnownDifference("what is refused meanwhile", "UNSUBSCRIBE", "subscribing inside MULTI is refused"),
    KnownDifference("in a transaction", "SUBSCRIBE", "subscribing inside MULTI is refused"),
    KnownDifference("in a transaction", "EXEC", "subscribing inside MULTI is refused"),
    KnownDifference(
        "COMMAND GETKEYS", "COMMAND GETKEYS", "its arity differs between versions: MULTI checks the newest's"
    ),
)
"""Where dualkv is not as Redis, on purpose."""


def is_known(conversation: str, command: str) -> bool:
    """Whether a difference in the replies to *command* (as text) is a known one."""
    return any(known.conversation == conversation and known.words in command for known in KNOWN)


_REFUSAL: Final = b"-NOPERM dualkv refuses "


def is_refusal(name: str, reply: bytes) -> bool:
    """Whether *reply* is dualkv's refusal of a command that it may refuse."""
    return name in REFUSED and reply.startswith(_REFUSAL)
