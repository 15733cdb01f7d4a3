"""What dualkv says itself: replies to clients, commands to backends, and all error texts.

Error texts are Redis's own where Redis has one; what only a proxy can say begins with ``ERR dualkv``
so that a user sees who speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import hiredis

__all__ = [
    "array",
    "bulk",
    "command",
    "error",
    "integer",
    "mapping",
    "null",
    "pack",
]

OK: Final = b"+OK\r\n"
PONG: Final = b"+PONG\r\n"
QUEUED: Final = b"+QUEUED\r\n"
RESET: Final = b"+RESET\r\n"

PRIMARY_UNREACHABLE: Final = b"-ERR dualkv cannot reach the primary: nothing was executed\r\n"
OUTCOME_UNKNOWN: Final = (
    b"-ERR dualkv lost its connection to the primary: whether this command was executed is unknown\r\n"
)
TOO_MANY_CLIENTS: Final = b"-ERR max number of clients reached\r\n"
NOAUTH: Final = b"-NOAUTH Authentication required.\r\n"
WRONGPASS: Final = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NO_PASSWORD_SET: Final = (
    b"-ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?\r\n"
)
UNBLOCKED: Final = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
EXECABORT: Final = b"-EXECABORT Transaction discarded because of previous errors.\r\n"


pack: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment] # its stub
"""Return a request as bytes; hiredis's stub knows tuples of one element only."""


def command(*args: bytes | str | int) -> bytes:
    """Return a request: a RESP array of bulk strings."""
    return pack(args)


def bulk(value: bytes | str) -> bytes:
    """Return a bulk string."""
    if isinstance(value, str):
        value = value.encode()
    return b"$%d\r\n%b\r\n" % (len(value), value)


def integer(value: int) -> bytes:
    """Return an integer reply."""
    return b":%d\r\n" % value


def null(protocol: int) -> bytes:
    """Return nil as RESP *protocol* (2 or 3) writes it."""
    return b"_\r\n" if protocol == 3 else b"$-1\r\n"


def null_array(protocol: int) -> bytes:
    """Return the nil that stands for an array as RESP *protocol* (2 or 3) writes it."""
    return b"_\r\n" if protocol == 3 else b"*-1\r\n"


def array(frames: Iterable[bytes]) -> bytes:
    """Return an array of *frames* that are encoded already."""
    frames = list(frames)
    return b"*%d\r\n%b" % (len(frames), b"".join(frames))


def mapping(frames: Mapping[str, bytes], protocol: int) -> bytes:
    """Return a map of encoded *frames*: a RESP3 map, or RESP2's flat array."""
    body = b"".join(bulk(key) + frame for key, frame in frames.items())
    if protocol == 3:
        return b"%%%d\r\n%b" % (len(frames), body)
    return b"*%d\r\n%b" % (2 * len(frames), body)


def error(text: str | bytes) -> bytes:
    """Return an error reply; *text* begins with its code and has its line ends blanked."""
    if isinstance(text, str):
        text = text.encode()
    return b"-%b\r\n" % text.replace(b"\r", b" ").replace(b"\n", b" ")


def wrong_arity(full_name: str) -> bytes:
    """Return Redis's error for a wrong number of arguments (*full_name*: ``client|setname``)."""
    return error(f"ERR wrong number of arguments for '{full_name}' command")


def exec_aborted(refusal: bytes) -> bytes:
    """Return Redis's error for an ``EXEC`` that is refused itself."""
    reason = refusal[1:-2].removeprefix(b"ERR ")
    return error(b"EXECABORT Transaction discarded because of: %b" % reason)


def unknown_command(args: tuple[bytes, ...]) -> bytes:
    """Return Redis's error for a command that does not exist: 128 bytes of its words, up to a NUL."""
    shown = b""
    for argument in args[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % argument.partition(b"\0")[0][: 128 - len(shown)]
    name = args[0].partition(b"\0")[0][:128]
    return error(b"ERR unknown command '%b', with args beginning with: %b" % (name, shown))


def unknown_subcommand(args: tuple[bytes, ...]) -> bytes:
    """Return Redis's error for a sub-command that does not exist."""
    container = args[0].upper()
    return error(b"ERR unknown subcommand '%b'. Try %b HELP." % (args[1][:128], container))


def not_supported(what: str) -> bytes:
    """Return the error for what dualkv does not carry yet."""
    return error(f"ERR dualkv: {what} is not supported yet")


def not_listed(what: str) -> bytes:
    """Return the error for what lists keys, before a store that goes down of it."""
    return error(f"NOPERM dualkv refuses {what}: a node of this store goes down of it (allow_listing)")


def not_had(what: str, product: str, instead: str) -> bytes:
    """Return the error for what the store that answers has not."""
    return error(f"ERR dualkv: the store that answers ({product}) has no {what}: {instead}")


def one_database(db: int, own: int, product: str) -> bytes:
    """Return the error for another database than the one that is mirrored, where all are one."""
    return error(
        f"ERR dualkv: all databases of the store that answers ({product}) are one, and it holds the keys of "
        f"database {own}: those of database {db} are not here (SELECT {own})"
    )


def refused(what: str, args: tuple[bytes, ...]) -> bytes:
    """Return the error for what is not safe through a proxy; a replica hears that we do not know it."""
    if what in ("SYNC", "PSYNC", "REPLCONF"):
        return unknown_command(args)
    return error(f"NOPERM dualkv refuses {what}: it is not safe through a proxy")
