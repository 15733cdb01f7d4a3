"""A divergence as a script of plain commands that makes it happen again, on two other servers.

The commands go to ``redis-cli`` on its standard input, where quoted arguments hold any bytes. What is not
known, or hidden, stands in the script as a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dualkv.core.printable import data_of, text_of

__all__ = ["script_of"]

_HEAD: Final = """\
#
# Needs two servers that may be written to, named by options of redis-cli:
#   PRIMARY='-h 127.0.0.1 -p 7001' SECONDARY='-h 127.0.0.1 -p 7002' sh SCRIPT
# Exit code 0: they answer the read differently, as was found. 1: alike.
set -eu
: "${PRIMARY:?options of redis-cli for the first server}" "${SECONDARY:?options for the second one}"
primary() { ${REDIS_CLI:-redis-cli} $PRIMARY -n @DB@; }
secondary() { ${REDIS_CLI:-redis-cli} $SECONDARY -n @DB@; }
both() { commands=$(cat); printf '%s\n' "$commands" | primary; printf '%s\n' "$commands" | secondary; }
"""

_TAIL: Final = """\
echo "primary:   $first"
echo "secondary: $second"
if [ "$first" = "$second" ]; then echo 'They answer alike: not reproduced.'; exit 1; fi
echo 'They differ: reproduced.'
"""


def script_of(record: dict[str, Any]) -> str:
    """Return the script.

    Args:
        record: The divergence as plain data, as HTTP and the file have it.
    """
    return "\n".join(
        [*_about(record), _HEAD.replace("@DB@", _database(record)), *_writes(record), *_read(record)]
    )


def _about(record: dict[str, Any]) -> Iterator[str]:
    def told(name: str) -> str:
        return _harmless(record.get(name, "?"))

    yield "#!/bin/sh"
    yield f"# Divergence {told('id')}: {told('kind')} of {told('command')}, key {told('key')}."
    yield f"# Found {told('time')}; suspected cause: {told('cause')}."
    if record.get("detail"):
        yield f"# {told('detail')}"
    yield f"# The primary answered:   {_value(record.get('expected'))}"
    yield f"# The secondary answered: {_value(record.get('actual'))}"


def _database(record: dict[str, Any]) -> str:
    db = record.get("db", 0)
    return str(db) if isinstance(db, int) else "0"


def _writes(record: dict[str, Any]) -> Iterator[str]:
    """Yield the writes of the key's history: what the secondary did not get goes to the primary only."""
    is_any_known = False
    for entry in _list(record.get("history")):
        if not isinstance(entry, dict):
            continue
        what = str(entry.get("what", "?"))
        detail = f": {_harmless(entry['detail'])}" if entry.get("detail") else ""
        yield f"# {_harmless(entry.get('seconds_ago'))} s before: {_harmless(what)}{detail}"
        args = _list(entry.get("args"))
        if _is_known(args):
            is_any_known = True
            is_lost = what.startswith(("dropped", "failed", "unsupported"))
            yield from _commands("primary" if is_lost else "both", [args])
        elif args:
            yield f"# (hidden: {' '.join(map(_argument, args))})"
    if not is_any_known:
        yield "# The key's writes are not known here: bring the servers into the state that you suspect."
    yield ""


def _read(record: dict[str, Any]) -> Iterator[str]:
    args = _list(record.get("args"))
    if str(record.get("command")).endswith("subscribe"):
        yield "# This is about a message: publish it to subscribers of both. What follows tells nothing."
    if not _is_known(args):
        hidden = f" ({' '.join(map(_argument, args))})" if args else ""
        yield f"# The read is not known here{hidden}: the key's type is asked for instead."
        args = ["TYPE", str(record.get("key", ""))]
    yield from _commands("first=$(primary", [args], end=")")
    yield from _commands("second=$(secondary", [args], end=")")
    yield _TAIL


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_known(args: list[Any]) -> bool:
    return bool(args) and all(isinstance(arg, str) for arg in args)


def _commands(where: str, commands: Iterable[list[str]], end: str = "") -> Iterator[str]:
    yield f"{where} <<'END'"
    for args in commands:
        yield " ".join(_quoted(data_of(arg)) for arg in args)
    yield "END"
    if end:
        yield end


def _quoted(data: bytes) -> str:
    """Return an argument as redis-cli reads it: nothing in it means anything, whatever the bytes are."""
    return '"' + "".join(_QUOTED[byte] for byte in data) + '"'


_QUOTED: Final = [
    chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}" for byte in range(256)
]


def _argument(arg: object) -> str:
    return _harmless(arg) if isinstance(arg, str) else f"<{_value(arg)}>"


def _value(value: object) -> str:
    if not isinstance(value, dict):
        return "?"
    shown = _harmless(value["text"]) if "text" in value else f"hash {_harmless(value.get('hash'))}"
    return f"{shown} ({_harmless(value.get('bytes'))} bytes)"


def _harmless(text: object) -> str:
    """Return a text that stays in its comment."""
    shown = str(text)
    return shown if shown.isprintable() else text_of(shown.encode(errors="backslashreplace"))
