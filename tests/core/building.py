"""Requests, plans and reply frames in few words."""

from __future__ import annotations

from dualkv.core.routing import Plan, plan_of
from dualkv.resp import encode
from dualkv.resp.requests import Request

__all__ = ["ask", "bulks", "double", "flat", "mapping", "members", "pairs", "planned", "scored"]

Word = bytes | str | int
Value = bytes | str | int | None


def ask(*args: Word) -> Request:
    """Return a request as a parser makes it."""
    words = tuple(arg if isinstance(arg, bytes) else str(arg).encode() for arg in args)
    return Request(words, encode.pack(words))


def planned(*args: Word) -> tuple[Plan, Request]:
    """Return a request with its plan, as a transaction queues it."""
    request = ask(*args)
    return plan_of(request.args), request


def one(value: Value) -> bytes:
    """Return a bulk string, an integer, or nil as RESP2 writes it."""
    if value is None:
        return b"$-1\r\n"
    return encode.integer(value) if isinstance(value, int) else encode.bulk(value)


def flat(*values: Value) -> bytes:
    """Return an array of bulk strings, integers and RESP2 nils."""
    return encode.array(map(one, values))


def bulks(text: str) -> bytes:
    """Return an array of bulk strings, one for each word of *text*."""
    return flat(*text.split())


def members(text: str) -> bytes:
    """Return a RESP3 set of the words of *text*."""
    words = text.split()
    return b"~%d\r\n%b" % (len(words), b"".join(map(one, words)))


def mapping(text: str) -> bytes:
    """Return a RESP3 map: the words of *text* are keys and values in turn."""
    words = text.split()
    return b"%%%d\r\n%b" % (len(words) // 2, b"".join(map(one, words)))


def double(text: str) -> bytes:
    """Return a RESP3 double, written as *text*."""
    return b",%b\r\n" % text.encode()


def scored(text: str) -> bytes:
    """Return RESP3's array of [member, double]; *text* holds members and scores in turn."""
    words = iter(text.split())
    return encode.array(encode.array([one(member), double(next(words))]) for member in words)


def pairs(text: str) -> bytes:
    """Return an array of arrays of two bulk strings."""
    words = iter(text.split())
    return encode.array(flat(word, next(words)) for word in words)
