"""Effects on one key folded into fewer commands, and the replies to these unfolded again.

Inside a transaction nobody sees the states between its effects, but for these effects themselves. So a
command may join an earlier one on its key if no effect between them touches that key:

- ``RPUSH k a``, ``RPUSH k b`` → ``RPUSH k a b``. The length that it answers tells what each had to answer.
- ``SADD``, ``SREM``, ``HSET``, ``HDEL``, ``ZADD``, ``ZREM``: each element once, with its last value. What
  they answer (how many were new, or there) adds up; if the sum differs, the last one answers the difference.
- ``PEXPIREAT``: the last one. ``SET … KEEPTTL``: its value, with the expiry of the ``SET`` before.
- ``SET`` and ``DEL`` make whatever was done to the key before of no account: that is left out, and answers
  what it should have answered. Nothing is missed: had it met another state, that state is gone now.

What reads a key needs the state that it stands behind: nothing is folded across it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from dualkv.core.effects.model import Args, Command
from dualkv.resp import encode

__all__ = ["READS", "SEVERAL_KEYS", "WRITES", "Folded", "fold", "keys_in"]

MAX_WORDS: Final = 2002
"""In one command: a thousand elements of two words. A Lua stack takes 5,000 at least."""

WRITES: Final = frozenset(
    {
        b"APPEND", b"ELASTICKV.ZREMFAST", b"GETDEL", b"HDEL", b"HINCRBY", b"HMSET", b"HSET", b"INCR",
        b"LINSERT", b"LPOP", b"LPUSH", b"LREM", b"LSET", b"LTRIM", b"PERSIST", b"PEXPIRE", b"PEXPIREAT",
        b"RPOP", b"RPUSH", b"SADD", b"SET", b"SETBIT", b"SETEX", b"SETNX", b"SETRANGE", b"SREM", b"XADD",
        b"XDEL", b"XTRIM", b"ZADD", b"ZPOPMIN", b"ZREM", b"ZREMRANGEBYRANK", b"ZREMRANGEBYSCORE",
    }
)  # fmt: skip
"""Commands that write to the key that is their first argument, and to no other."""

READS: Final = frozenset(
    {
        b"EXISTS", b"GET", b"HLEN", b"HEXISTS", b"HGET", b"LLEN", b"LINDEX", b"SCARD", b"SISMEMBER",
        b"TYPE", b"XLEN", b"ZCARD", b"ZSCORE",
    }
)  # fmt: skip
"""Commands that change nothing, and are sent for their reply."""

SEVERAL_KEYS: Final[dict[bytes, slice]] = {
    b"DEL": slice(1, None), b"RENAME": slice(1, 3), b"RPOPLPUSH": slice(1, 3), b"EXISTS": slice(1, None),
}  # fmt: skip
"""Commands that may name several keys, and which arguments these are."""


class _Family(enum.Enum):
    """How commands of one name join."""

    LENGTH = enum.auto()
    """All elements, in order; the reply is the length."""
    MEMBERS = enum.auto()
    """Each element once; the reply counts."""
    PAIRS = enum.auto()
    """The same with a value behind each element."""
    SCORED = enum.auto()
    """The same with a score before each element."""
    STATUS = enum.auto()
    """As `PAIRS`; the reply is a status."""
    LAST = enum.auto()
    """The last one, as it is."""
    VALUE = enum.auto()
    """The last value; the rest as it is."""


_FAMILIES: Final = {
    b"RPUSH": _Family.LENGTH, b"LPUSH": _Family.LENGTH,
    b"SADD": _Family.MEMBERS, b"SREM": _Family.MEMBERS, b"HDEL": _Family.MEMBERS, b"ZREM": _Family.MEMBERS,
    b"HSET": _Family.PAIRS, b"ZADD": _Family.SCORED, b"HMSET": _Family.STATUS,
    b"PEXPIREAT": _Family.LAST, b"SET": _Family.VALUE,
}  # fmt: skip
_TOLD_BY_NUMBER: Final = frozenset({_Family.LENGTH, _Family.MEMBERS, _Family.PAIRS, _Family.SCORED})
_ZADD_OPTIONS: Final = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"})
_EXPIRIES: Final = frozenset({b"EX", b"PX", b"EXAT", b"PXAT"})


class _Source:
    """One of the effects that a command stands for."""

    __slots__ = ("check", "count", "index")

    def __init__(self, index: int, count: int, check: bytes | None) -> None:
        self.index = index
        self.count = count
        self.check = check


class _Entry:
    """A command to be sent, and the effects that it stands for."""

    __slots__ = ("args", "elements", "family", "is_sent", "name", "sources", "words")

    def __init__(self, name: bytes, command: Command, index: int, family: _Family | None) -> None:
        args = command.args
        self.name = name
        self.args = args
        self.family = family
        self.sources = [_Source(index, len(args) - 2, command.reply)]
        self.is_sent = True
        self.elements: dict[bytes, bytes] | None = None
        """Of several commands that were joined, with values or scores."""
        self.words: list[bytes] | None = None
        """The same where order counts."""

    # --- joining

    def takes(self, command: Command) -> bool:
        """Whether a command of the same name can join, so that the replies can be told apart."""
        if self.family in (_Family.LAST, _Family.VALUE):
            return True
        if len(self) + len(command.args) - 2 > MAX_WORDS:
            return False
        if self.family is _Family.STATUS:
            return True
        before, check = self.sources[-1].check, command.reply
        if (before is None) != (check is None):
            return False
        if before is None or check is None:
            return True
        if before[:1] != b":" or check[:1] != b":":
            return False
        if self.family is _Family.LENGTH:  # else something has happened in between
            return _number(check) - _number(before) == len(command.args) - 2
        return True

    def __len__(self) -> int:
        joined = self.words if self.elements is None else self.elements
        if joined is None:
            return len(self.args)
        return 2 + len(joined) * (1 if self.family in (_Family.LENGTH, _Family.MEMBERS) else 2)

    def join(self, command: Command, index: int) -> None:
        """Let it stand for another effect, too."""
        self.sources.append(_Source(index, len(command.args) - 2, command.reply))
        if self.family is _Family.LAST:
            self.args = command.args
        elif self.family is _Family.VALUE:
            self.args = (*self.args[:2], command.args[2], *self.args[3:])
        elif self.family is _Family.LENGTH:
            if self.words is None:
                self.words = list(self.args[2:])
            self.words += command.args[2:]
        else:
            if self.elements is None:
                self.elements = {}
                self._add(self.args[2:])
            self._add(command.args[2:])

    def _add(self, words: Args) -> None:
        assert self.elements is not None
        if self.family is _Family.MEMBERS:
            self.elements.update(dict.fromkeys(words, b""))
        elif self.family is _Family.SCORED:
            self.elements.update(zip(words[1::2], words[::2], strict=True))
        else:
            self.elements.update(zip(words[::2], words[1::2], strict=True))

    def wire_args(self) -> Args:
        """Return the command."""
        head = self.args[:2]
        if self.words is not None:
            return (*head, *self.words)
        if self.elements is None:
            return self.args
        if self.family is _Family.MEMBERS:
            return (*head, *self.elements)
        pairs = self.elements.items()
        if self.family is _Family.SCORED:
            return (*head, *(word for member, score in pairs for word in (score, member)))
        return (*head, *(word for pair in pairs for word in pair))

    # --- replies

    def unfold(self, frame: bytes, replies: list[bytes]) -> None:
        """Put the replies of its effects into their places."""
        sources = self.sources
        if len(sources) == 1 or self.family not in _TOLD_BY_NUMBER or frame[:1] != b":":
            for source in sources:
                replies[source.index] = frame
        elif self.family is _Family.LENGTH:
            length = _number(frame)
            for source in reversed(sources):
                replies[source.index] = encode.integer(length)
                length -= source.count
        else:
            left = _number(frame)
            for source in sources[:-1]:
                if source.check is None:
                    replies[source.index] = frame
                else:
                    replies[source.index] = source.check
                    left -= _number(source.check)
            replies[sources[-1].index] = encode.integer(left)

    def leave_out(self, replies: list[bytes]) -> None:
        """Answer what its effects should have answered: it is of no account any more."""
        self.is_sent = False
        for source in self.sources:
            replies[source.index] = source.check or encode.OK


def _number(frame: bytes) -> int:
    return int(frame[1:-2])


@attrs.frozen
class Folded:
    """Commands that do what more effects would do one after the other."""

    commands: list[Args]
    """What to execute, in this order."""
    keys: list[bytes]
    """The keys that they name, each once."""
    unfold: Callable[[Sequence[bytes]], list[bytes]]
    """From the raw replies to `commands` to those of the effects, one each."""


def keys_in(args: Args) -> Args:
    """Return the keys of a command that is among `WRITES`, `READS` or `SEVERAL_KEYS`."""
    several = SEVERAL_KEYS.get(args[0].upper())
    return args[1:2] if several is None else args[several]


def fold(effects: Sequence[Command]) -> Folded:
    """Return what does the same as *effects* one after the other, in a transaction.

    Args:
        effects: Commands among `WRITES`, `READS` and `SEVERAL_KEYS`, with the replies that are due.
    """
    entries: list[_Entry] = []
    by_key: dict[bytes, list[_Entry]] = {}  # what was done to a key since somebody looked at it
    replies = [b""] * len(effects)  # of what is left out
    for index, command in enumerate(effects):
        args = command.args
        name = args[0].upper()
        if name in READS or (name in SEVERAL_KEYS and not (name == b"DEL" and len(args) == 2)):
            for key in keys_in(args):
                by_key[key] = []
            entries.append(_Entry(name, command, index, None))
            continue
        chain = by_key.setdefault(args[1], [])
        family = _family_of(name, args)
        if _is_absolute(name, args):
            if chain and not _overrule(chain, command, index, replies):
                continue
        elif chain and family is not None:
            last = chain[-1]
            if last.name == name and last.family is family and last.takes(command):
                last.join(command, index)
                continue
        entry = _Entry(name, command, index, family)
        chain.append(entry)
        entries.append(entry)
    entries = [entry for entry in entries if entry.is_sent]

    def unfold(frames: Sequence[bytes]) -> list[bytes]:
        found = list(replies)
        for entry, frame in zip(entries, frames, strict=True):
            if not found[entry.sources[0].index]:
                entry.unfold(frame, found)
        return found

    return Folded([entry.wire_args() for entry in entries], list(by_key), unfold)


def _overrule(chain: list[_Entry], command: Command, index: int, replies: list[bytes]) -> bool:
    """Leave out what *command* makes of no account; return whether it has to be sent itself."""
    is_removal = command.args[0].upper() == b"DEL"
    is_removed_before = is_removal and chain[0].name == b"DEL"
    for entry in chain[is_removed_before:]:
        entry.leave_out(replies)
    del chain[is_removed_before:]
    if is_removal:  # what it should have removed may not be there without what was left out
        replies[index] = command.reply or encode.integer(0)
    return not is_removed_before


def _is_absolute(name: bytes, args: Args) -> bool:
    """Whether a command leaves nothing of what was at its key before, expiry included."""
    if name == b"SET":
        return len(args) == 3 or (len(args) == 5 and args[3].upper() in _EXPIRIES)
    return name in (b"DEL", b"SETEX")


def _family_of(name: bytes, args: Args) -> _Family | None:
    """Return how a command joins others of its name; None: it does not."""
    family = _FAMILIES.get(name)
    if family is _Family.VALUE:
        is_plain = _is_absolute(name, args) or (len(args) == 4 and args[3].upper() == b"KEEPTTL")
        return family if is_plain else None
    if family is _Family.SCORED and args[2].upper() in _ZADD_OPTIONS:
        return None
    if family in (_Family.PAIRS, _Family.SCORED, _Family.STATUS) and len(args) % 2:
        return None
    return None if family is _Family.LAST and len(args) > 3 else family
