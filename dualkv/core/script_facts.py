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
    may_set_expiry: bool = True
    """A key may expire afterwards that did not before."""
    calls: frozenset[str] = frozenset()
    """The commands that it calls by names in the text; of a repeatable script, all."""
    tells_its_calls: bool = False
    """Those are all for certain: there is no other way to call in the text, not even a hidden one."""


OPAQUE: Final = ScriptFacts(is_repeatable=False, names_its_keys=False)
"""A script whose text is not at hand, a function."""

_UNREPEATABLE: Final = re.compile(
    rb"""(?ix) ['"] (?: time | randomkey | [shz]?randmember | hrandfield | spop
        | p?expire | p?setex | getex | hp?expire | hsetex | hgetex | restore | xadd | xreadgroup | xautoclaim
        | xclaim | xgroup | [shz]?scan | keys | smembers | sunion | sinter | sdiff | hgetall | hkeys | hvals |
        info | ex | px | incrbyfloat | hincrbyfloat ) ['"] | math\s{0,8}\.\s{0,8}random |
        redis\s{0,8}\.\s{0,8}replicate_commands | os\s{0,8}\.
        | call \s{0,8} \( \s{0,8} (?! ['"] [a-z]+ ['"] )
        | ['"]set['"] [^,\n]{0,200} , [^,\n]{0,200} , [^,\n]{0,200} ,
          (?! \s{0,8} ['"] (?: nx | xx | get | keepttl | pxat | exat ) ['"] )"""
)
"""Time, chance, relative expiry, generated ids, orders that differ between servers, and commands or options
that the text does not tell."""

_CALL: Final = re.compile(rb"\b(?:redis|server)\s{0,8}\.\s{0,8}p?call\s{0,8}\(\s{0,8}")
_CALLED: Final = re.compile(rb"""call\s{0,8}\(\s{0,8}['"](\w+)['"]""")
_PLAIN_CALL: Final = re.compile(
    rb"""['"]\w+['"]\s{0,8},\s{0,8}(?:KEYS\s{0,8}\[\s{0,8}(?:\d+|\w+)\s{0,8}\]|(\w+))\s{0,8}([,)])"""
)
_KEYLESS_CALL: Final = re.compile(rb"""(?i)['"]time['"]\s{0,8}\)""")
_KEYS_ALIAS: Final = re.compile(
    rb"\blocal\s{1,8}(\w+(?:\s{0,8},\s{0,8}\w+){0,15})\s{0,8}="
    rb"\s{0,8}(KEYS\s{0,8}\[\s{0,8}\w+\s{0,8}\](?:\s{0,8},\s{0,8}KEYS\s{0,8}\[\s{0,8}\w+\s{0,8}\])*)"
    rb"(?=\s{0,80}(?:;|\Z|(?:local|return|redis|server|if|for|while|repeat|do|end)\b))"
)
_MANY_KEYS: Final = re.compile(
    rb"""(?ix) ['"] (?: mset(?:nx|ex)? | mget | del | unlink | exists | touch | rename\w* | copy | s?move
        | \w+store | bitop | b?[lr]?pop\w*push | b?lmovem? | b[lrz]\w*pop\w* | sort\w* | georadius\w* | pf\w+
        | [sz]?(?:inter|union|diff)\w* | lcs | watch ) ['"]"""
)
"""Commands that take more keys than the first."""

_OBSCURE: Final = re.compile(
    rb"""(?x) \b (?: redis | server ) \b (?! \s{0,8} \. \s{0,8} \w ) | \b (?: _G | _ENV | load(?:string)?
        | getfenv | setfenv | rawget | rawset | setmetatable ) \b
        | (?<! \# ) (?<! pairs\( ) (?<! unpack\( ) \b KEYS \b (?! \s{0,8} \[ )
        | \b KEYS \s{0,8} \[ [^\]\n]{0,80} \] \s{0,8} = (?! = )"""
)
"""Other ways to call than by name, and lists of keys that do not stay as they were."""

_ALIAS: Final = re.compile(
    rb"\blocal\s{1,8}(\w{1,80})\s{0,8}=\s{0,8}(?:redis|server)\s{0,8}\.\s{0,8}p?call\b(?!\s{0,8}\()"
)
"""``local rcall = redis.call``."""
_TOLD_CALL: Final = rb"""\b(?:%b)\s{0,8}\(\s{0,8}(['"])\w{1,80}\1\s{0,8}[,)]"""
_HIDES_CALLS: Final = re.compile(
    rb"""(?x) \b (?: redis | server ) \b (?! \s{0,8} \. \s{0,8} \w ) | \b (?: _G | _ENV | load(?:string)?
        | dofile | require | package | debug | [gs]etfenv ) \b"""
)
"""Other ways to ``redis.call`` than by that name."""
_MAX_ALIASES: Final = 8

_MAX_BYTES: Final = 64 * 1024
"""What is longer is not looked into. Patterns are bounded too: a client writes the text."""


_SETS_EXPIRY: Final = re.compile(
    rb"(?i)['\"](?:p?expireat|p?exat|pxat|rename|renamenx|copy|move|restore)['\"]"
)


def facts_of(body: bytes) -> ScriptFacts:
    """Return what a script's text shows."""
    header = body.split(b"\n", 1)[0] if body.startswith(b"#!") else b""
    is_short = len(body) <= _MAX_BYTES
    is_repeatable = is_short and not _UNREPEATABLE.search(body)
    return ScriptFacts(
        is_repeatable=is_repeatable,
        names_its_keys=is_short and _names_its_keys(body),
        writes=b"no-writes" not in header,
        may_set_expiry=not is_repeatable or bool(_SETS_EXPIRY.search(body)),
        calls=frozenset(name.decode().upper() for name in _called(body)) if is_short else frozenset(),
        tells_its_calls=is_short and _tells_its_calls(body),
    )


def _called(body: bytes) -> list[bytes]:
    aliases = b"|".join(_ALIAS.findall(body)[:_MAX_ALIASES])
    by_alias = rb"""\b(?:%b)\s{0,8}\(\s{0,8}['"](\w+)['"]""" % aliases
    return _CALLED.findall(body) + (re.findall(by_alias, body) if aliases else [])


def _tells_its_calls(body: bytes) -> bool:
    """Whether nothing is left that could call once all calls by a name in the text are taken out."""
    aliases = _ALIAS.findall(body)
    if _HIDES_CALLS.search(body) or len(aliases) > _MAX_ALIASES:
        return False
    callers = b"|".join([rb"(?:redis|server)\s{0,8}\.\s{0,8}p?call", *aliases])
    left = re.sub(_TOLD_CALL % callers, b" ", _ALIAS.sub(b" ", body))
    return not re.search(rb"\b(?:%b)\b" % callers, left)


def _names_its_keys(body: bytes) -> bool:
    if _OBSCURE.search(body):
        return False
    starts = [found.end() for found in _CALL.finditer(body)]
    if len(starts) != body.count(b"call"):  # a call through a variable
        return False
    variables: set[bytes] = set()
    for start in starts:
        if _KEYLESS_CALL.match(body, start):
            continue
        plain = _PLAIN_CALL.match(body, start)
        if plain is None or (_MANY_KEYS.match(body, start) and plain[2] != b")"):
            return False
        if plain[1]:
            variables.add(plain[1])
    return not variables or all(_is_alias(name, body) for name in variables)


def _is_alias(variable: bytes, body: bytes) -> bool:
    """Whether a variable is a local name of one of KEYS, and of nothing else anywhere."""
    word = re.escape(variable)
    given = re.findall(rb"\b%b\b[\w\s,]{0,200}(?:=(?!=)|\bin\b)" % word, body)
    if len(given) != 1 or re.search(rb"\bfunction\b[^)]{0,200}\b%b\b" % word, body):
        return False
    return any(
        variable in re.split(rb"\s*,\s*", names) and names.count(b",") == keys.count(b"KEYS") - 1
        for names, keys in _KEYS_ALIAS.findall(body)
    )
