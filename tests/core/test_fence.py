"""The key fence."""

from __future__ import annotations

from dualkv.core.fence import KeyFence


def test_fence_blocks_its_keys_only() -> None:
    """Keys that are fenced wait, others pass; who may touch any key waits for all."""
    fence = KeyFence()
    assert not fence.blocks((b"a",))
    assert fence.try_raise((b"a", b"b"))

    assert [fence.blocks(keys) for keys in ((b"a",), (b"c", b"b"), (b"c",), (), None)] == [
        True, True, False, False, True,
    ]  # fmt: skip
    fence.lower((b"a", b"b"))
    assert not fence.is_up
    assert not fence.blocks(None)


def test_fence_around_everything_blocks_all_but_what_has_no_keys() -> None:
    """A transaction that may touch any key lets only PING and the like through."""
    fence = KeyFence()
    assert fence.try_raise(None)

    assert (fence.blocks((b"a",)), fence.blocks(()), fence.blocks(None)) == (True, False, True)
    fence.lower(None)
    assert not fence.is_up


def test_fence_is_not_raised_twice_around_a_key() -> None:
    """The second waits; disjoint fences stand side by side."""
    fence = KeyFence()
    assert fence.try_raise((b"a",))
    assert not fence.try_raise((b"a", b"b"))
    assert not fence.blocks((b"b",))
    assert fence.try_raise((b"b",))
    fence.lower((b"a",))

    assert (fence.is_up, fence.blocks((b"a",)), fence.blocks((b"b",))) == (True, False, True)


def test_waiting_are_called_in_order_when_they_can_go_on() -> None:
    """First come, first served; who is still blocked, or blocked again by the first, goes on waiting."""
    fence = KeyFence()
    log: list[str] = []
    fence.try_raise((b"a",))
    fence.try_raise((b"b",))

    def raise_again() -> None:
        log.append("first")
        assert fence.try_raise((b"a",))

    fence.when_free((b"a",), raise_again)
    fence.when_free((b"a",), lambda: log.append("second"))
    fence.when_free((b"b",), lambda: log.append("other"))
    fence.lower((b"a",))
    assert log == ["first"]
    fence.lower((b"a",))
    fence.lower((b"b",))

    assert log == ["first", "second", "other"]


def test_transaction_without_keys_needs_no_fence() -> None:
    """An empty set of keys is always free."""
    fence = KeyFence()
    fence.try_raise(None)

    assert fence.try_raise(())
    fence.lower(())
    assert fence.is_up
