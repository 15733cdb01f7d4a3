"""What is special about the words of ElasticKV, the store with 84 commands (``elastickv.md``).

What it knows it says itself (``COMMAND``); which options it takes, what a script can do in its place, and
what no copy of a key would bring, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dualkv.core.dialect.scripts import OWN_COMMANDS
from dualkv.core.effects.model import NOTHING, Command, Effects

__all__ = ["FORMS", "NOT_HELD", "NOT_IN_SCRIPTS", "SCRIPTED", "Form", "geo_score"]

Form = Callable[[Command], Effects | None]
"""What to say instead of a command; None: it stays as it is."""

SCRIPTED: Final = OWN_COMMANDS | {"PEXPIREAT", "SET PXAT", "SET KEEPTTL", "XTRIM MINID"}
"""What can be done there without such a command or option: `dualkv.core.dialect.speaking` says how."""

NOT_IN_SCRIPTS: Final = frozenset(
    {
        "EXPIRE", "TTL", "ZINCRBY", "PFADD", "PFCOUNT", "PUBLISH",
        # Of these a node goes down, or they do not answer, or they are about a connection.
        "SCAN", "KEYS", "DBSIZE", "SUBSCRIBE", "PUBSUB", "XREAD", "BZPOPMIN", "SELECT", "HELLO", "CLIENT",
        "COMMAND", "INFO", "PING", "QUIT", "MULTI", "EXEC", "DISCARD", "EVAL", "EVALSHA",
    }
)  # fmt: skip
"""What scripts there cannot call, or must not."""

NOT_HELD: Final = frozenset({"PFMERGE", "SWAPDB", "SPUBLISH"})
"""What cannot be brought there in any way, beside what every store lacks that has not the commands for it."""

_POLICIES: Final = frozenset({b"DELREF", b"ACKED"})
"""What a trim does with pending entries; which go with it depends on groups that are not there."""

_ZADD_FLAGS: Final = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH"})


def _say(*commands: Command) -> Effects:
    return Effects(commands)


def _same(words: tuple[bytes, ...], command: Command) -> Effects | None:
    """Return the command in other *words*, with the same reply."""
    return None if words == command.args else _say(Command(words, command.reply))


def _copy(key: bytes) -> Effects:
    return Effects(copies=((None, key),))


def _mset(command: Command) -> Effects:
    pairs = command.args[1:]
    return _say(*(Command((b"SET", *pairs[at : at + 2])) for at in range(0, len(pairs), 2)))


def _pushx(command: Command) -> Effects:
    """The list was there, and the reply tells if it is not there as well."""
    return _say(command._replace(args=(command.args[0].upper()[:5], *command.args[1:])))


def _pop(command: Command) -> Effects | None:
    if len(command.args) < 3:
        return None
    name, key, count = command.args
    kept = (count, b"-1") if name.upper() == b"LPOP" else (b"0", b"-%d" % (int(count) + 1))
    return _say(Command((b"LTRIM", key, *kept)))


def _zadd(command: Command) -> Effects | None:
    """Without ``CH``, which it refuses; then the reply counts something else."""
    args, behind = command.args, 2
    while args[behind].upper() in _ZADD_FLAGS:
        behind += 1
    flags = tuple(flag for flag in args[2:behind] if flag.upper() != b"CH")
    if len(flags) == behind - 2:
        return None
    return _say(Command((b"ZADD", args[1], *flags, *args[behind:])))


def _geoadd(command: Command) -> Effects:
    """Places are members whose score is the interleaved position."""
    args, behind = command.args, 2
    while args[behind].upper() in _ZADD_FLAGS:
        behind += 1
    words = args[behind:]
    scored: list[bytes] = []
    for at in range(0, len(words), 3):
        scored += (b"%d" % geo_score(float(words[at]), float(words[at + 1])), words[at + 2])
    return _say(Command((b"ZADD", args[1], *args[2:behind], *scored), command.reply))


_LONGITUDE: Final = (-180.0, 180.0)
_LATITUDE: Final = (-85.05112878, 85.05112878)
_STEPS: Final = 26


def geo_score(longitude: float, latitude: float) -> int:
    """Return the score of a place, as Redis computes it (``geohashEncode`` with 26 steps, 52 bits).

    Args:
        longitude: In degrees, -180 to 180.
        latitude: In degrees, -85.05112878 to 85.05112878.
    """
    return _spread(_share(latitude, *_LATITUDE)) | _spread(_share(longitude, *_LONGITUDE)) << 1


def _share(degrees: float, least: float, most: float) -> int:
    return int((degrees - least) / (most - least) * (1 << _STEPS)) & 0xFFFFFFFF


def _spread(number: int) -> int:
    """Put the bits of *number* at the even places."""
    return sum((number >> bit & 1) << 2 * bit for bit in range(_STEPS + 1))


def _xadd(command: Command) -> Effects | None:
    """``MAXLEN`` without its sign; a ``MINID`` is trimmed behind."""
    args = command.args
    option = args[2].upper()
    if option not in (b"MAXLEN", b"MINID"):
        return None
    behind = 5 if args[3] in (b"=", b"~") else 4
    limit, entry = args[behind - 1], (*args[:2], *args[behind:])
    if args[behind].upper() in _POLICIES:
        return _copy(args[1])
    if option == b"MAXLEN":
        return _same((*args[:2], b"MAXLEN", limit, *args[behind:]), command)
    return _say(Command(entry, command.reply), Command((b"XTRIM", args[1], b"MINID", limit)))


def _xtrim(command: Command) -> Effects | None:
    args = command.args
    if args[-1].upper() in _POLICIES:
        return _copy(args[1])
    limit = args[4] if args[3] in (b"=", b"~") else args[3]
    return _same((*args[:3], limit), command)


def _xdel(command: Command) -> Effects | None:
    """With whole ids, as entries have them."""
    ids = (word if b"-" in word else word + b"-0" for word in command.args[2:])
    return _same((*command.args[:2], *ids), command)


def _pfadd(command: Command) -> Effects | None:
    """Without elements it is an error there: an empty HyperLogLog is none."""
    return NOTHING if len(command.args) == 2 else None


def _flush(command: Command) -> Effects | None:
    return _same((b"FLUSHALL",), command)


def _move(command: Command) -> Effects:
    """Between databases of which at most one is here: both keys are looked at."""
    key, db = command.args[1:]
    return Effects(copies=((None, key), (int(db), key)))


def _script(_: Command) -> Effects:
    """Bodies come with each call, or not at all."""
    return NOTHING


FORMS: Final[Mapping[str, Form]] = {
    "MSET": _mset,
    "LPUSHX": _pushx,
    "RPUSHX": _pushx,
    "LPOP": _pop,
    "RPOP": _pop,
    "ZADD": _zadd,
    "GEOADD": _geoadd,
    "XADD": _xadd,
    "XTRIM": _xtrim,
    "XDEL": _xdel,
    "PFADD": _pfadd,
    "FLUSHALL": _flush,
    "FLUSHDB": _flush,
    "MOVE": _move,
    "SCRIPT LOAD": _script,
    "SCRIPT FLUSH": _script,
}
"""By command. They go before the forms that are common to all stores."""
