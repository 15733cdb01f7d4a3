"""The bodies of scripts, kept for a secondary that has forgotten them."""

from __future__ import annotations

import hashlib

import pytest

from dualkv.core.context import START
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, in_one_piece
from dualkv.core.scripts import ScriptCache
from dualkv.resp import encode
from tests.core.building import planned

SHA = hashlib.sha1(b"body").hexdigest()


def item(*words: str) -> StreamItem:
    """Return what mirrors a request."""
    plan, request = planned(*words)
    return StreamItem(plan, Queue.SCRIPT, request, 0.0)


def learn(cache: ScriptCache, *words: str) -> None:
    """Have *cache* take note of an executed command."""
    plan, request = planned(*words)
    cache.learn(plan.spec.name, request.args)


@pytest.mark.parametrize("source", [("EVAL", "body", "0"), ("script", "load", "body")])
def test_first_evalsha_on_a_connection_is_spelled_out(source: tuple[str, ...]) -> None:
    """What was executed or loaded is known by its hash, in any case of letters; later the hash is enough."""
    cache = ScriptCache()
    learn(cache, *source)
    known: set[bytes] = set()
    use = item("EVALSHA", SHA.upper(), "1", "k")

    assert cache.wire(use, known) == encode.command("EVAL", "body", "1", "k")
    assert cache.wire(use, known) == use.request.raw
    assert cache.wire(use, set()) == encode.command("EVAL", "body", "1", "k")


@pytest.mark.parametrize("source", [("EVAL_RO", "body", "0"), ("EVAL", "body", "0")])
def test_first_evalsha_ro_on_a_connection_is_spelled_out(source: tuple[str, ...]) -> None:
    """As the read that it is; and again, once the store has said that it does not know the script."""
    cache = ScriptCache()
    learn(cache, *source)
    known: set[bytes] = set()
    use = item("EVALSHA_RO", SHA.upper(), "1", "k")

    assert cache.wire(use, known) == encode.command("EVAL_RO", "body", "1", "k")
    assert cache.wire(use, known) == use.request.raw
    cache.is_not_known(use.request, known)
    assert cache.wire(use, known) == encode.command("EVAL_RO", "body", "1", "k")


def test_a_function_is_never_spelled_out() -> None:
    """It has a name, and its library is mirrored."""
    use = item("FCALL_RO", "f", "1", "k")

    assert ScriptCache().wire(use, set()) == use.request.raw


def test_flush_forgets_what_a_connection_has() -> None:
    """Behind SCRIPT FLUSH the body is sent anew: what was executed before the flush may still be queued."""
    cache = ScriptCache()
    known = {SHA.encode()}
    learn(cache, "EVAL", "body", "0")
    learn(cache, "SCRIPT", "FLUSH")
    use = item("EVALSHA", SHA, "0")

    assert cache.wire(use, set()) == encode.command("EVAL", "body", "0")
    cache.wire(item("SCRIPT", "FLUSH"), known)
    assert known == set()
    assert cache.wire(use, known) == encode.command("EVAL", "body", "0")


def test_transaction_is_always_spelled_out() -> None:
    """Inside MULTI each EVALSHA carries its body: what fails there cannot be repeated."""
    cache = ScriptCache()
    learn(cache, "EVAL", "body", "0")
    queued = [planned("SET", "a", 1), planned("EVALSHA", SHA, 0)]
    mirrored = in_one_piece(planned("EXEC")[0], Queue.SCRIPT, queued, 0.0, START, (None, None))

    expected = b"".join(
        encode.command(*words) for words in (("MULTI",), ("SET", "a", 1), ("EVAL", "body", 0), ("EXEC",))
    )
    assert [expected] * 2 == [cache.wire(mirrored, {SHA.encode()}), cache.wire(mirrored, set())]


def test_cache_is_bounded_in_number_and_bytes() -> None:
    """The oldest go first; one that is too big alone stays until the next."""
    cache = ScriptCache()
    for number in range(600):
        learn(cache, "EVAL", f"return {number}", "0")
    assert len(cache) == 512
    for number in range(5):
        learn(cache, "EVAL", f"{number}" + "x" * 1024 * 1024, "0")
    assert len(cache) == 3
    learn(cache, "EVAL", "y" * 5 * 1024 * 1024, "0")
    assert len(cache) == 1
    learn(cache, "EVAL", "body", "0")
    assert len(cache) == 1
