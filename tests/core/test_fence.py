"""The key fence."""

from __future__ import annotations

from dualkv.core.fence import Claim, KeyFence


def claim(fence: KeyFence, *keys: bytes, log: list[str] | None = None, name: str = "") -> Claim:
    """Fence *keys* (none: all keys); write *name* down when they are had."""
    return fence.claim(keys or None, lambda _: log.append(name) if log is not None else None)


def test_fence_blocks_its_keys_only() -> None:
    """Keys that are fenced wait, others pass; who may touch any key waits for all."""
    fence = KeyFence()
    assert not fence.blocks((b"a",))
    raised = claim(fence, b"a", b"b")

    assert [fence.blocks(keys) for keys in ((b"a",), (b"c", b"b"), (b"c",), (), None)] == [
        True, True, False, False, True,
    ]  # fmt: skip
    fence.lower(raised)
    assert not fence.is_up
    assert not fence.blocks(None)


def test_fence_around_everything_blocks_all_but_what_has_no_keys() -> None:
    """A transaction that may touch any key lets only PING and the like through."""
    fence = KeyFence()
    raised = claim(fence)

    assert (fence.blocks((b"a",)), fence.blocks(()), fence.blocks(None)) == (True, False, True)
    fence.lower(raised)
    assert not fence.is_up


def test_claims_on_a_key_are_granted_one_after_the_other() -> None:
    """In the order of coming; disjoint ones stand side by side, who wants everything waits for all."""
    fence = KeyFence()
    log: list[str] = []
    first = claim(fence, b"a", log=log, name="a")
    both = claim(fence, b"a", b"b", log=log, name="ab")
    claim(fence, b"c", log=log, name="c")
    everything = claim(fence, log=log, name="all")
    last = claim(fence, b"d", log=log, name="d")
    assert log == ["a", "c"]

    fence.lower(first)
    assert log == ["a", "c", "ab"]
    fence.lower(everything)  # given up before it was granted
    assert log == ["a", "c", "ab", "d"]
    fence.lower(both)
    fence.lower(last)
    assert fence.blocks((b"c",))
    assert not fence.blocks((b"a", b"b", b"d"))


def test_who_has_given_up_is_not_granted() -> None:
    """A claim that was lowered while it waited never gets its keys."""
    fence = KeyFence()
    log: list[str] = []
    first = claim(fence, b"a", log=log, name="first")
    second = claim(fence, b"a", log=log, name="second")
    claim(fence, b"a", log=log, name="third")
    fence.lower(second)
    fence.lower(first)

    assert log == ["first", "third"]


def test_long_row_of_claims_is_granted_without_recursion() -> None:
    """Each is lowered as soon as it is granted, three thousand in a row."""
    fence = KeyFence()
    granted: list[Claim] = []

    def lower(claim: Claim) -> None:
        granted.append(claim)
        fence.lower(claim)

    first = claim(fence, b"a")
    for _ in range(3000):
        fence.claim((b"a",), lower)
    fence.lower(first)

    assert (len(granted), fence.is_up) == (3000, False)


def test_waiting_are_called_in_order_when_they_can_go_on() -> None:
    """First come, first served; who is still blocked, or blocked again by the first, goes on waiting."""
    fence = KeyFence()
    log: list[str] = []
    again: list[Claim] = []
    a, b = claim(fence, b"a"), claim(fence, b"b")

    def raise_again() -> None:
        log.append("first")
        again.append(claim(fence, b"a"))

    fence.when_free((b"a",), raise_again)
    fence.when_free((b"a",), lambda: log.append("second"))
    fence.when_free((b"b",), lambda: log.append("other"))
    fence.lower(a)
    assert log == ["first"]
    fence.lower(again.pop())
    fence.lower(b)

    assert log == ["first", "second", "other"]


def test_transaction_without_keys_needs_no_fence() -> None:
    """An empty set of keys is always free."""
    fence = KeyFence()
    log: list[str] = []
    claim(fence)
    nothing = fence.claim((), lambda _: log.append("granted"))

    assert log == ["granted"]
    fence.lower(nothing)
    assert fence.is_up
