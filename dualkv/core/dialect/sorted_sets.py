"""Reads of sorted sets by rank and by member, made of whole ranges: ElasticKV has neither."""

from __future__ import annotations

from collections.abc import Sequence

from dualkv.core.dialect.reading import Reading, bulks, from_values, same
from dualkv.core.effects.model import Args
from dualkv.resp.encode import array, bulk, integer, null, null_array

__all__ = ["by_lex", "by_options", "lex_count", "rank"]


def rank(args: Args) -> Reading:
    """Return how to make ``ZRANK`` or ``ZREVRANK``.

    Counted in the whole range: a count of what scores less would not tell equals apart.
    """
    key, member = args[1:3]
    order = b"ZREVRANGE" if args[0].upper() == b"ZREVRANK" else b"ZRANGE"
    has_score = len(args) > 3

    def build(words: Sequence[bytes]) -> bytes:
        members = words[::2] if has_score else words
        if member not in members:
            return null_array(2) if has_score else null(2)
        rank = members.index(member)
        return array((integer(rank), bulk(words[2 * rank + 1]))) if has_score else integer(rank)

    with_scores = (b"WITHSCORES",) if has_score else ()
    return Reading(((order, key, b"0", b"-1", *with_scores),), from_values(build))


def by_options(args: Args) -> Reading | None:
    """Return how to make a ``ZRANGE`` by score or by member; None: by rank."""
    options = [word.upper() for word in args[4:]]
    limit = options.index(b"LIMIT") if b"LIMIT" in options else None
    limited = args[4 + limit : 7 + limit] if limit is not None else ()
    is_reverse, has_scores = b"REV" in options, b"WITHSCORES" in options
    if b"BYSCORE" in options:
        name = b"ZREVRANGEBYSCORE" if is_reverse else b"ZRANGEBYSCORE"
        scores = (b"WITHSCORES",) if has_scores else ()
        return Reading(((name, *args[1:4], *scores, *limited),), same)
    if b"BYLEX" in options:
        return _lex_range(args[1:4], limited, is_reverse=is_reverse)
    return None


def by_lex(args: Args) -> Reading:
    """Return how to make ``ZRANGEBYLEX`` or ``ZREVRANGEBYLEX``."""
    return _lex_range(args[1:4], args[4:7], is_reverse=args[0].upper() == b"ZREVRANGEBYLEX")


def _lex_range(where: Args, limited: Args, *, is_reverse: bool) -> Reading:
    key, least, most = where if not is_reverse else (where[0], where[2], where[1])
    offset, count = (int(limited[1]), int(limited[2])) if limited else (0, -1)

    def build(members: Sequence[bytes]) -> bytes:
        found = [member for member in members if _is_between(member, least, most)]
        if is_reverse:
            found.reverse()
        if offset < 0:
            return bulks(())
        return bulks(found[offset:] if count < 0 else found[offset : offset + count])

    return Reading(((b"ZRANGE", key, b"0", b"-1"),), from_values(build))


def lex_count(args: Args) -> Reading:
    """Return how to make ``ZLEXCOUNT``."""
    key, least, most = args[1:4]
    return Reading(
        ((b"ZRANGE", key, b"0", b"-1"),),
        from_values(lambda found: integer(sum(_is_between(member, least, most) for member in found))),
    )


def _is_between(member: bytes, least: bytes, most: bytes) -> bool:
    return _is_behind(member, least) and _is_before(member, most)


def _is_behind(member: bytes, least: bytes) -> bool:
    if least in (b"-", b"+"):
        return least == b"-"
    return member > least[1:] or (least[:1] == b"[" and member == least[1:])


def _is_before(member: bytes, most: bytes) -> bool:
    if most in (b"-", b"+"):
        return most == b"+"
    return member < most[1:] or (most[:1] == b"[" and member == most[1:])
