"""Rules that turn a frame of RESP2 into what RESP3 says instead: each takes a frame and returns one.

What does not look as a rule expects stays as it is, or raises `ValueError`, or `ReplyProtocolError`: then it
is not what Redis answers. Nil has one form only in RESP3, at any depth of any reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dualkv.resp import encode
from dualkv.resp.replies import elements_of, value_of

__all__ = [
    "Rule", "as_map", "as_set", "double", "each", "map_of_pairs", "number_or_map", "pairs", "parts", "plain",
    "plain_map", "record", "scores", "set_of", "verbatim",
]  # fmt: skip

Rule = Callable[[bytes], bytes]

_NIL: Final = b"_\r\n"
_ARRAY: Final = ord("*")
_BULK: Final = ord("$")


def plain(frame: bytes) -> bytes:
    """Nothing but nil differs."""
    if b"-1\r\n" not in frame:
        return frame
    pieces: list[bytes] = []
    done = position = 0
    while position < len(frame):
        end = frame.index(b"\r\n", position) + 2
        kind = frame[position]
        if kind in b"*$" and frame[position + 1 : end] == b"-1\r\n":
            pieces += [frame[done:position], _NIL]
            done = end
        elif kind in b"$=!":
            end += int(frame[position + 1 : end - 2]) + 2
        position = end
    return b"".join([*pieces, frame[done:]])


def _elements(frame: bytes) -> list[bytes] | None:
    """Return the elements of an array; None: it is none."""
    return elements_of(frame) if frame[0] == _ARRAY and frame != b"*-1\r\n" else None


def _map_of(words: list[bytes]) -> bytes:
    return b"%%%d\r\n%b" % (len(words) // 2, b"".join(words))


def _text(frame: bytes) -> bytes:
    return frame[frame.index(b"\r\n") + 2 : -2]


def _number(text: bytes) -> bytes:
    """Return a number as Redis writes it: other stores spell infinity otherwise. No number: `ValueError`."""
    float(text)
    return text if text[-1:].isdigit() else text.lower().lstrip(b"+")


def double(frame: bytes) -> bytes:
    """A string with a number."""
    if frame[0] != _BULK or frame == b"$-1\r\n":
        return plain(frame)
    try:
        return b",%b\r\n" % _number(_text(frame))
    except ValueError:
        return frame


def verbatim(frame: bytes) -> bytes:
    """A text for people."""
    if frame[0] != _BULK or frame == b"$-1\r\n":
        return plain(frame)
    text = _text(frame)
    return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)


def _headed(kind: bytes, size: int, frame: bytes) -> bytes:
    """An array with another head, whose parts consist of *size* elements; only nil differs in the body."""
    if frame[0] != _ARRAY or frame == b"*-1\r\n":
        return plain(frame)
    head, _, body = frame.partition(b"\r\n")
    count, rest = divmod(int(head[1:]), size)
    if rest:
        raise ValueError("a part is missing")
    return b"%b%d\r\n%b" % (kind, count, plain(body))


def as_set(frame: bytes) -> bytes:
    """Return an array as a set."""
    return _headed(b"~", 1, frame)


def plain_map(frame: bytes) -> bytes:
    """Return a flat array of names and values as a map; the values stay as they are."""
    return _headed(b"%", 2, frame)


def each(rule: Rule) -> Rule:
    """An array whose elements have a rule."""

    def raise_each(frame: bytes) -> bytes:
        elements = _elements(frame)
        return plain(frame) if elements is None else encode.array(map(rule, elements))

    return raise_each


def set_of(rule: Rule) -> Rule:
    """An array that becomes a set, and whose elements have a rule."""
    return lambda frame: as_set(each(rule)(frame))


def parts(*rules: Rule) -> Rule:
    """An array whose elements have a rule each; further ones have none."""

    def raise_tuple(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return plain(frame)
        ruled = [rule(one) for rule, one in zip(rules, elements, strict=False)]
        return encode.array([*ruled, *map(plain, elements[len(rules) :])])

    return raise_tuple


def pairs(rule: Rule) -> Rule:
    """A flat array of names and values that becomes an array of pairs."""

    def raise_pairs(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return plain(frame)
        both = zip(elements[::2], elements[1::2], strict=True)
        return encode.array(b"*2\r\n" + name + rule(value) for name, value in both)

    return raise_pairs


def scores(frame: bytes) -> bytes:
    """An array of members and scores that becomes an array of pairs: it may be long."""
    values = value_of(frame)
    if not isinstance(values, list) or any(type(value) is not bytes for value in values):
        return pairs(double)(frame)
    if encode.pack(tuple(values)) != frame:  # not all of them are bulk strings
        return pairs(double)(frame)
    both = zip(values[::2], values[1::2], strict=True)
    return encode.array(
        b"*2\r\n$%d\r\n%b\r\n,%b\r\n" % (len(one), one, _number(score)) for one, score in both
    )


def as_map(rule: Rule, fields: Mapping[str, Rule] | None = None) -> Rule:
    """A flat array of names and values that becomes a map; some *fields* may have other rules."""
    by_frame = {encode.bulk(name): one for name, one in (fields or {}).items()}

    def raise_map(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return plain(frame)
        words: list[bytes] = []
        for name, value in zip(elements[::2], elements[1::2], strict=True):
            words += [name, by_frame.get(name, rule)(value)]
        return _map_of(words)

    return raise_map


def record(**fields: Rule) -> Rule:
    """A map with rules by the names of its fields; a blank or a dash is an underscore here."""
    spelled = {name.replace("_", other): rule for name, rule in fields.items() for other in "_- "}
    return as_map(plain, spelled)


def map_of_pairs(frame: bytes) -> bytes:
    """An array of pairs that becomes a map."""
    elements = _elements(frame)
    if elements is None:
        return plain(frame)
    words = [plain(word) for pair in elements for word in elements_of(pair)]
    if len(words) != 2 * len(elements):
        raise ValueError("not pairs")
    return _map_of(words)


def number_or_map(frame: bytes) -> bytes:
    """A string with a number, or a flat array that becomes a map."""
    return plain_map(frame) if frame[0] == _ARRAY else double(frame)
