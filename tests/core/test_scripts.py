"""The bodies of scripts, kept for a secondary that has forgotten them."""

from __future__ import annotations

import hashlib

import pytest

from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, transaction_item
from dualkv.core.scripts import ScriptCache
from dualkv.resp import encode
from tests.core.building import planned

SHA = hashlib.sha1(b"body").hexdigest()


def item(*words: str) -> StreamItem:
    """Return what mirrors a request."""
    plan, request = planned(*words)
    return StreamItem(plan, Queue.SCRIPT, request, 0.0)


@pytest.mark.parametrize("source", [("EVAL", "body", "0"), ("script", "load", "body")])
def test_first_evalsha_on_a_connection_is_spelled_out(source: tuple[str, ...]) -> None:
    """What was executed or loaded is known by its hash, in any case of letters; later the hash is enough."""
    cache = ScriptCache()
    cache.learn(item(*source))
    known: set[bytes] = set()
    use = item("EVALSHA", SHA.upper(), "1", "k")

    assert cache.wire(use, known) == encode.command("EVAL", "body", "1", "k")
    assert cache.wire(use, known) == use.request.raw
    assert cache.wire(use, set()) == encode.command("EVAL", "body", "1", "k")


def test_flush_forgets() -> None:
    """SCRIPT FLUSH empties the cache, and what a connection was known to have."""
    cache = ScriptCache()
    known = {SHA.encode()}
    cache.learn(item("EVAL", "body", "0"))
    cache.learn(item("SCRIPT", "FLUSH"))
    cache.wire(item("SCRIPT", "FLUSH"), known)
    use = item("EVALSHA", SHA, "0")

    assert (len(cache), known) == (0, set())
    assert cache.wire(use, known) == use.request.raw


def test_transaction_is_always_spelled_out() -> None:
    """Inside MULTI each EVALSHA carries its body: what fails there cannot be repeated."""
    cache = ScriptCache()
    cache.learn(item("EVAL", "body", "0"))
    queued = [planned("SET", "a", 1), planned("EVALSHA", SHA, 0)]
    mirrored = transaction_item(planned("EXEC")[0], queued, [encode.OK, encode.OK], 0.0)
    assert mirrored is not None

    expected = b"".join(
        encode.command(*words) for words in (("MULTI",), ("SET", "a", 1), ("EVAL", "body", 0), ("EXEC",))
    )
    assert [expected] * 2 == [cache.wire(mirrored, {SHA.encode()}), cache.wire(mirrored, set())]


def test_cache_is_bounded_in_number_and_bytes() -> None:
    """The oldest go first; one that is too big alone stays until the next."""
    cache = ScriptCache()
    for number in range(600):
        cache.learn(item("EVAL", f"return {number}", "0"))
    assert len(cache) == 512
    for number in range(5):
        cache.learn(item("EVAL", f"{number}" + "x" * 1024 * 1024, "0"))
    assert len(cache) == 3
    cache.learn(item("EVAL", "y" * 5 * 1024 * 1024, "0"))
    assert len(cache) == 1
    cache.learn(item("EVAL", "body", "0"))
    assert len(cache) == 1
