"""What can be seen in a script's text: whether running it elsewhere does the same, and which keys it touches.

A guess on the safe side: a script that is not plain is called neither.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

__all__ = ["OPAQUE", "ScriptFacts", "facts_of"]


@attrs.frozen
class ScriptFacts:
    """What is known of one script."""

    is_repeatable: bool
    """On equal data it does the same at another time, on another server."""
    names_its_keys: bool
    """It touches no keys but those that the caller names."""
    writes: bool = True


OPAQUE: Final = ScriptFacts(is_repeatable=False, names_its_keys=False)
"""A script whose text is not at hand, a function."""

_UNREPEATABLE: Final = re.compile(
    rb"""(?ix) ['"] (?: time | randomkey | [shz]?randmember | hrandfield | spop
        | p?expire | p?setex | getex | hp?expire | hsetex | hgetex | restore | xadd | xreadgroup | xautoclaim
        | xclaim | xgroup | [shz]?scan | keys | smembers | sunion | sinter | sdiff | hgetall | hkeys | hvals |
        info | ex | px | incrbyfloat | hincrbyfloat ) ['"] | math\s*\.\s*random |
        redis\s*\.\s*replicate_commands | os\s*\."""
)
"""Time, chance, relative expiry, generated ids, and orders that differ between servers."""

_CALL: Final = re.compile(rb"\b(?:redis|server)\s*\.\s*p?call\s*\(\s*(.*)")
_PLAIN_CALL: Final = re.compile(rb"""['"]\w+['"]\s*,\s*(?:KEYS\s*\[\s*(?:\d+|\w+)\s*\]|(\w+))\s*[,)]""")
_KEYS_ALIAS: Final = re.compile(
    rb"local\s+([\w\s,]+?)\s*=\s*(KEYS\s*\[\s*\w+\s*\](?:\s*,\s*KEYS\s*\[\s*\w+\s*\])*)"
)
_MANY_KEYS: Final = re.compile(
    rb"(?i)['\"](?:m?set|msetnx|mget|del|unlink|exists|touch|rename\w*|copy|s?move|\w+store|bitop|l?r?pop\w*push|lmove|sort)['\"]"
)


def facts_of(body: bytes) -> ScriptFacts:
    """Return what a script's text shows."""
    header = body.split(b"\n", 1)[0] if body.startswith(b"#!") else b""
    return ScriptFacts(
        is_repeatable=not _UNREPEATABLE.search(body),
        names_its_keys=_names_its_keys(body),
        writes=b"no-writes" not in header,
    )


def _names_its_keys(body: bytes) -> bool:
    aliases = {
        name.strip()
        for names, keys in _KEYS_ALIAS.findall(body)
        if names.count(b",") == keys.count(b"KEYS") - 1
        for name in names.split(b",")
    }
    calls = body.count(b"call")
    found = [call for call in _CALL.findall(body) if not _MANY_KEYS.match(call)]
    if len(found) != calls:  # a call on a line with another, through a variable, or of many keys
        return False
    return all(
        (plain := _PLAIN_CALL.match(call)) and (plain[1] is None or plain[1] in aliases) for call in found
    )
