"""How a backend's dialect is learnt: by two requests that harm nobody.

``COMMAND`` tells which commands there are, sub-commands included from Redis 7.0 on. Options it does not
tell: they follow from the version, and from commands that came with them, since a small store may claim any
version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from dualkv.commands.table import COMMANDS
from dualkv.core.dialect.elastickv import NOT_IN_SCRIPTS, SCRIPTED
from dualkv.core.dialect.model import ELASTICKV, Dialect
from dualkv.core.dialect.payloads import rdb_version_of
from dualkv.core.effects.model import Args
from dualkv.core.info import info_fields
from dualkv.resp.replies import is_error, value_of

__all__ = ["LEARNING", "learn"]

LEARNING: Final[tuple[Args, ...]] = ((b"INFO", b"server"), (b"COMMAND",))
"""What to ask at connect: 100 KB and 2 ms for a Redis 8.2."""

_OPTIONS: Final[dict[str, tuple[tuple[int, ...], tuple[str, ...]]]] = {
    "SET KEEPTTL": ((6, 0), ("SET", "PERSIST")),
    "SET PXAT": ((6, 2), ("SET", "PEXPIREAT", "GETEX")),
    "LPOP COUNT": ((6, 2), ("LPOP", "RPOP", "LMOVE")),
    "XTRIM MINID": ((6, 2), ("XTRIM", "XAUTOCLAIM")),
    "XGROUP ENTRIESREAD": ((7, 0), ("XGROUP CREATE", "XGROUP SETID")),
    "XSETID ENTRIESADDED": ((7, 0), ("XSETID",)),
    "XTRIM DELREF": ((8, 2), ("XTRIM", "XDELEX")),
    "BITOP DIFF": ((8, 2), ("BITOP",)),
}
"""Since which Redis, and which commands a store has that knows the option."""

_ASSUMED_VERSION: Final = (6, 2)
"""Of a store that does not tell: the oldest in wide use."""

_REDIS_7_0: Final = frozenset(spec.name for spec in COMMANDS if spec.in_redis_7_0 and spec.kind != "unknown")


def learn(replies: Sequence[bytes]) -> Dialect:
    """Return the dialect that follows from the raw *replies* to `LEARNING`; any of them may be an error."""
    info = info_fields(replies[0])
    commands = frozenset(_command_names(replies[1]))
    product, version = _product(info, commands)
    redis_version = _version(info.get("redis_version", "")) or _ASSUMED_VERSION
    if not commands:  # refused: what it has will show
        commands = _REDIS_7_0
    commands |= _unlisted_subcommands(commands)
    return Dialect(
        product=product,
        version=version,
        redis_version=redis_version,
        commands=commands,
        options=frozenset(
            option
            for option, (since, companions) in _OPTIONS.items()
            if redis_version >= since and commands.issuperset(companions)
        ),
        rdb_version=rdb_version_of(product, version) if "RESTORE" in commands else 0,
        fuses=product == ELASTICKV,
        is_enumerable=product != ELASTICKV,
        has_databases=_has_databases(product, commands),
        waits_for_streams=product == ELASTICKV,
        holds_hll=product != ELASTICKV,
        not_in_scripts=NOT_IN_SCRIPTS if product == ELASTICKV else frozenset(),
        scripted=SCRIPTED if product == ELASTICKV and "EVAL" in commands else frozenset(),
    )


def _command_names(frame: bytes) -> Iterator[str]:
    rows = None if is_error(frame) else value_of(frame)
    yield from _names_in(rows if isinstance(rows, list) else ())


def _names_in(rows: Iterable[Any]) -> Iterator[str]:
    for row in rows:
        if isinstance(row, list) and row and isinstance(row[0], bytes):
            yield row[0].decode(errors="replace").upper().replace("|", " ")
            if len(row) > 9 and isinstance(row[9], list):
                yield from _names_in(row[9])


def _product(info: dict[str, str], commands: frozenset[str]) -> tuple[str, tuple[int, ...]]:
    if "valkey_version" in info:
        return "Valkey", _version(info["valkey_version"])
    if "dragonfly_version" in info:
        return "Dragonfly", _version(info["dragonfly_version"].partition("-")[2])
    version = _version(info.get("redis_version", ""))
    if "raft_leader_redis" in info or any(name.startswith("ELASTICKV.") for name in commands):
        return ELASTICKV, version
    return "Redis", version


def _has_databases(product: str, commands: frozenset[str]) -> bool:
    """Whether ``SELECT`` may separate anything: a store where it does has a command between databases."""
    return product == "Dragonfly" or (product != ELASTICKV and not commands.isdisjoint(("SWAPDB", "MOVE")))


def _version(text: str) -> tuple[int, ...]:
    numbers = text.lstrip("v").split(".")
    return tuple(int(number) for number in numbers) if all(map(str.isdigit, numbers)) else ()


def _unlisted_subcommands(commands: frozenset[str]) -> frozenset[str]:
    """Return the sub-commands of containers that list none: they are as old as the container."""
    listed = {name.partition(" ")[0] for name in commands if " " in name}
    return frozenset(
        name
        for name in _REDIS_7_0
        for container, space, _ in [name.partition(" ")]
        if space and container in commands and container not in listed
    )
