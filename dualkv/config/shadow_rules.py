"""Rules about reads that are compared: which ones, how many, how strictly.

A rule is a short text, ``PREFIX* COMMAND ACTION …``::

    cache:* * ignore
    session:* TTL tolerance=5s
    * LRANGE sample=10%
    rank:* ZRANGE ties=set sample=50%

What a command is, is not known here: `dualkv.core.shadow_filter` looks at that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import attrs

from dualkv.config.values import duration, fraction
from dualkv.errors import ConfigError

__all__ = ["ShadowRule", "parse_shadow_rules"]


@attrs.frozen
class ShadowRule:
    """What is done with reads of some commands on keys that begin alike."""

    text: str
    """As it was written, but for blanks."""
    prefix: str
    r"""What the keys begin with, ``\x20`` for a byte that cannot be written; empty: all keys, and reads
    without keys.
    """
    command: str
    """Upper case: a command's name or label, ``@`` and a class of the command table, or ``*``."""
    is_ignored: bool = False
    """Whether they are not compared."""
    share: float | None = None
    """The share of keys whose reads are compared, 0 to 1; None: as without the rule."""
    ttl_milliseconds: int | None = None
    """How much times to live may differ; None: as without the rule."""
    count_share: float | None = None
    """By which share estimated counts may differ; None: as without the rule."""
    are_ties_ordered: bool = True
    is_trimming_exact: bool = True
    are_deliveries_counted: bool = True

    def __str__(self) -> str:
        return self.text


def parse_shadow_rules(text: str) -> tuple[ShadowRule, ...]:
    """Return the rules in *text*, which are separated by ``;`` or ends of lines.

    Raises:
        ConfigError: One is wrong; it is named.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("not UTF-8") from None
    texts = [" ".join(part.split()) for part in re.split(r"[;\n]", text)]
    found: dict[str, ShadowRule] = {}
    for one in filter(None, texts):
        if one in found:
            raise ConfigError(f"{one!r} is there twice")
        try:
            found[one] = _rule(one)
        except ConfigError as error:
            raise ConfigError(f"{one!r}: {error}") from None
    return tuple(found.values())


def _rule(text: str) -> ShadowRule:
    words = text.split()
    if len(words) < 3:
        raise ConfigError("a rule is PREFIX* COMMAND ACTION, such as session:* TTL tolerance=5s")
    pattern, command, *actions = words
    if not pattern.endswith("*") or set("*?[]") & set(pattern[:-1]):
        raise ConfigError(f"{pattern!r} is not what keys begin with, and one * behind it")
    fields: dict[str, Any] = {}
    for action in actions:
        field, value = _action(action)
        if field in fields:
            raise ConfigError(f"{action.partition('=')[0]} is there twice")
        fields[field] = value
    if "is_ignored" in fields and len(fields) > 1:
        raise ConfigError("what is ignored needs no other action")
    return ShadowRule(text, pattern[:-1], command.upper(), **fields)


def _action(text: str) -> tuple[str, Any]:
    """Return which field of a rule an action sets, and its value."""
    if text in _WORDS:
        return _WORDS[text]
    name, equals, value = text.partition("=")
    if not equals or name not in _VALUES:
        known = [*_WORDS, *(f"{name}=" for name in _VALUES)]
        raise ConfigError(f"{text!r} is no action ({', '.join(known)})")
    field, parse = _VALUES[name]
    try:
        return field, parse(value)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _milliseconds(text: str) -> int:
    return round(duration(text) * 1000)


_WORDS: Final[dict[str, tuple[str, bool]]] = {
    "ignore": ("is_ignored", True),
    "ties=set": ("are_ties_ordered", False),
    "trimming=approximate": ("is_trimming_exact", False),
    "deliveries=ignored": ("are_deliveries_counted", False),
}
_VALUES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "sample": ("share", fraction),
    "tolerance": ("ttl_milliseconds", _milliseconds),
    "counts": ("count_share", fraction),
}
