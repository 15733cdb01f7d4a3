"""Which keys are in flight on which lane, where there are several.

A key that a command is in flight on belongs to that command's lane: what comes next for the key goes there,
too, so that the order of the lane is the key's. A key that nothing is in flight on belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from dualkv.commands.keys import keys_of
from dualkv.core.mirror import PUBLISHING
from dualkv.core.routing import Plan
from dualkv.resp.requests import Request

__all__ = ["KeysInFlight", "ordered_keys", "ordered_keys_of_all"]

Keys = Sequence[bytes] | None
"""None: any key."""
Lane = TypeVar("Lane")


class KeysInFlight(Generic[Lane]):
    """The keys in flight; each on one lane."""

    def __init__(self) -> None:
        self._by_key: dict[bytes | None, tuple[Lane, int]] = {}  # None: of commands that may touch any key

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def enter(self, keys: Keys, lane: Lane) -> None:
        """A command on *keys* leaves on a lane. None of them may be in flight on another one."""
        for key in _ANY if keys is None else keys:
            self._by_key[key] = (lane, self._by_key.get(key, (lane, 0))[1] + 1)

    def leave(self, keys: Keys) -> None:
        """A command on *keys* has been answered, or is lost."""
        for key in _ANY if keys is None else keys:
            lane, count = self._by_key[key]
            if count > 1:
                self._by_key[key] = (lane, count - 1)
            else:
                del self._by_key[key]

    def lanes(self, keys: Keys) -> set[Lane]:
        """Return the lanes that a command on *keys* has to follow something on."""
        by_key = self._by_key
        if keys is None:
            return {lane for lane, _ in by_key.values()}
        found = {by_key[key][0] for key in keys if key in by_key}
        if keys and None in by_key:
            found.add(by_key[None][0])
        return found


_ANY: Final = (None,)


def ordered_keys(plan: Plan, args: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """Return the keys whose order a command must keep with other commands; None: any key.

    What is neither mirrored nor compared and looks at all keys (``SCAN``, ``DBSIZE``) keeps no order with
    other clients' commands. Messages of one channel do.
    """
    if plan.spec.name in PUBLISHING:
        return args[1:2]
    keys = keys_of(plan.spec, args)
    return () if keys is None and plan.queue is None and plan.comparator is None else keys


def ordered_keys_of_all(commands: Iterable[tuple[Plan, Request]]) -> tuple[bytes, ...] | None:
    """Return `ordered_keys` of several commands, each once."""
    found: list[bytes] = []
    for plan, request in commands:
        keys = ordered_keys(plan, request.args)
        if keys is None:
            return None
        found += keys
    return tuple(dict.fromkeys(found))
