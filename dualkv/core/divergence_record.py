"""A divergence as plain data: what HTTP, the file and the command line show.

Keys are shown, since an operator can do nothing without them. Values are shown only where that is asked for;
elsewhere a value is a keyed hash and a length: enough to see that two are equal, not what they are.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import attrs

from dualkv.commands.keys import keys_of
from dualkv.commands.table import find_command
from dualkv.core.divergence import Divergence
from dualkv.core.printable import text_of

__all__ = ["RecordMaker", "keys_among"]


def keys_among(args: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the keys that a request names, as far as that is known."""
    if not args:
        return ()
    spec = find_command(args[0], args[1] if len(args) > 1 else None)
    return keys_of(spec, args) or ()


@attrs.frozen
class RecordMaker:
    """Makes plain data of divergences.

    Args:
        show_values: Whether values are in it.
        hash_key: A secret of this process: without it nobody can find a short value by trying all.
    """

    show_values: bool
    hash_key: bytes = attrs.field(repr=False)

    def __call__(self, divergence: Divergence) -> dict[str, Any]:
        """Return a divergence as what JSON can say."""
        key = divergence.key
        moment = datetime.fromtimestamp(divergence.time_seconds, UTC)
        return {
            "id": divergence.id,
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "command": divergence.command,
            "kind": divergence.kind.value,
            "cause": divergence.cause.value,
            "db": divergence.db,
            "key": text_of(key),
            "pattern": text_of(divergence.pattern),
            "args": self._args(divergence.args, (key,)),
            "detail": divergence.detail,
            "expected": self._value(divergence.expected, divergence.expected_bytes),
            "actual": self._value(divergence.actual, divergence.actual_bytes),
            "readings": divergence.readings,
            "confirmed_over_seconds": round(divergence.confirmed_over_seconds, 3),
            "position": divergence.position,
            "stream_age_seconds": round(divergence.stream_age_seconds, 6),
            "history": [
                {
                    "seconds_ago": round(entry.seconds_ago, 6),
                    "what": entry.what,
                    "detail": entry.detail,
                    "args": self._args(entry.args, (key,)),
                }
                for entry in divergence.history
            ],
        }

    def _args(self, args: tuple[bytes, ...], keys: Collection[bytes]) -> list[Any]:
        """Return a request: texts for its name and its keys, what values are made of for the rest."""
        if self.show_values:
            return [text_of(arg) for arg in args]
        shown = {*keys, *keys_among(args)}
        names = 1 if len(args) < 2 else 1 + (" " in find_command(args[0], args[1]).name)
        return [
            text_of(arg) if place < names or arg in shown else self._hidden(arg, len(arg))
            for place, arg in enumerate(args)
        ]

    def _value(self, value: bytes, whole_bytes: int) -> dict[str, Any]:
        length = whole_bytes or len(value)
        if self.show_values:
            return {"bytes": length, "text": text_of(value)}
        return self._hidden(value, length)

    def _hidden(self, value: bytes, length: int) -> dict[str, Any]:
        return {"bytes": length, "hash": blake2b(value, digest_size=6, key=self.hash_key).hexdigest()}
