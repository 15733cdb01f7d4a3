"""Which keys a request names.

Most commands say it with key specifications in the table. A few cannot be described so (``SORT``,
``MIGRATE``) or would be read wrongly where an option's argument looks like the keyword (``XREAD``,
``GEORADIUS``): those have a function here. Source of the rules: the servers' ``…GetKeys`` functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dualkv.commands.table import CommandSpec, KeySpec

__all__ = ["keys_of", "written_keys_of"]

Args = tuple[bytes, ...]


def keys_of(spec: CommandSpec, args: Args) -> tuple[bytes, ...] | None:
    """Return the keys that a request reads or writes, in the order it names them.

    Args:
        spec: The command's facts.
        args: The request, name first. It need not be valid.

    Returns:
        The keys, without duplicates; empty for a request that has none. None if it may touch keys
        that it does not name: ``FLUSHALL``, ``SORT … BY pattern``, a script without declared keys, an
        unknown command.
    """
    if spec.name in _TOUCHES_ANYTHING:
        return None
    extract = _SPECIAL.get(spec.name)
    if extract is not None:
        found = extract(args)
        if found is None:
            return None
    else:
        found = [key for key_spec in spec.key_specs for key in _named_by(key_spec, args)]
        if not found and spec.kind in ("script", "script_ro"):
            return None
    return tuple(dict.fromkeys(found))


def written_keys_of(spec: CommandSpec, args: Args) -> tuple[bytes, ...] | None:
    """Return those of `keys_of` that a request may write; None if it may touch keys that it does not name.

    Args:
        spec: The command's facts.
        args: The request, name first.
    """
    keys = keys_of(spec, args)
    if keys is None or len(keys) < 2:
        return keys
    if spec.name in _STORE_LAST:
        return keys[-1:]
    written = {
        key for key_spec in spec.key_specs if key_spec.access == "W" for key in _named_by(key_spec, args)
    }
    return tuple(key for key in keys if key in written) or keys


_STORE_LAST: Final = frozenset({"SORT", "GEORADIUS", "GEORADIUSBYMEMBER"})
"""Their second key is where the result goes."""

_TOUCHES_ANYTHING: Final = frozenset(
    {
        "OTHER", "FLUSHALL", "FLUSHDB", "SWAPDB", "KEYS", "SCAN", "DBSIZE", "RANDOMKEY",
        "SCRIPT LOAD", "SCRIPT FLUSH", "FUNCTION LOAD", "FUNCTION DELETE", "FUNCTION FLUSH",
        "FUNCTION RESTORE", "SFLUSH", "CLUSTER FLUSHSLOT", "TRIMSLOTS", "CLUSTERSCAN", "MOVE",
    }
)  # fmt: skip


def _named_by(key_spec: KeySpec, args: Args) -> tuple[bytes, ...]:
    """Return the keys that one key specification finds."""
    begin = key_spec.begin
    if not isinstance(begin, int):
        position = _find_keyword(args, *begin)
        if position is None:
            return ()
        begin = position + 1
    how, first, second, third = key_spec.find
    if how == "range":
        last, step, limit = first, second, third
        if last >= 0:
            end = begin + last
        elif limit < 2:
            end = len(args) + last
        else:
            end = begin + (len(args) - begin) // limit + last
        return args[begin : end + 1 : step]
    try:
        count = int(args[begin + first])
    except (IndexError, ValueError):
        return ()
    begin, step = begin + second, third
    return args[begin : begin + max(count, 0) * step : step]


def _find_keyword(args: Args, keyword: str, start: int) -> int | None:
    wanted = keyword.encode()
    positions = range(start, len(args)) if start > 0 else range(len(args) + start, 0, -1)
    return next((position for position in positions if args[position].upper() == wanted), None)


def _stream_keys(args: Args) -> list[bytes]:
    """``XREAD``, ``XREADGROUP``: the first half of what follows STREAMS."""
    position = 4 if args[0].upper() == b"XREADGROUP" else 1
    while position < len(args):
        option = args[position].upper()
        if option == b"STREAMS":
            names = args[position + 1 :]
            return list(names[: len(names) // 2])
        position += 1 if option == b"NOACK" else 2
    return []


def _sort_keys(args: Args) -> list[bytes] | None:
    """``SORT``: the source, and the last STORE. BY and GET patterns read keys by their values."""
    keys = list(args[1:2])
    stored: list[bytes] = []
    position = 2
    while position < len(args):
        option = args[position].upper()
        argument = args[position + 1] if position + 1 < len(args) else b""
        if option == b"STORE":
            stored = [argument]
        elif option in (b"BY", b"GET") and b"*" in argument:
            return None
        position += {b"LIMIT": 3, b"BY": 2, b"GET": 2, b"STORE": 2}.get(option, 1)
    return keys + stored


def _georadius_keys(args: Args) -> list[bytes]:
    """``GEORADIUS``, ``GEORADIUSBYMEMBER``: the source, and the last STORE or STOREDIST."""
    first_option = 5 if args[0].upper() == b"GEORADIUSBYMEMBER" else 6
    stored = [
        args[position + 1]
        for position in range(first_option, len(args) - 1)
        if args[position].upper() in (b"STORE", b"STOREDIST")
    ]
    return [*args[1:2], *stored[-1:]]


def _migrate_keys(args: Args) -> list[bytes]:
    """``MIGRATE``: the single key, or with an empty one everything behind KEYS."""
    if args[3:4] != (b"",):
        return list(args[3:4])
    position = 6
    while position < len(args):
        option = args[position].upper()
        if option == b"KEYS":
            return list(args[position + 1 :])
        position += {b"AUTH": 2, b"AUTH2": 3}.get(option, 1)
    return []


_SPECIAL: Final[dict[str, Callable[[Args], list[bytes] | None]]] = {
    "GEORADIUS": _georadius_keys,
    "GEORADIUSBYMEMBER": _georadius_keys,
    "MIGRATE": _migrate_keys,
    "SORT": _sort_keys,
    "SORT_RO": _sort_keys,
    "XREAD": _stream_keys,
    "XREADGROUP": _stream_keys,
}
