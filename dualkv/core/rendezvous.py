"""Items that concern several shards of the stream, and what may overtake them.

Such an item is in the queue of every shard that one of its keys belongs to. Each shard arrives at it when all
that it has before it on its keys has been answered; the last one sends it, as any other item. Until that is
answered, the others keep back what touches its keys, and what touches the keys of that, and so on. All else
goes on: only the order on each key counts. Nobody waits in a circle, since all shards have the items in the
order in which they were offered, and what is kept back is so for the sake of something earlier.

What may touch any key stands between all before and all behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import attrs

from dualkv.core.mirror import StreamItem

__all__ = ["Entry", "Look", "Rendezvous", "item_of"]


@attrs.define(eq=False)
class Rendezvous:
    """One item in several shards."""

    item: StreamItem
    shards: Collection[int]
    """Whom it concerns."""
    missing: set[int] = attrs.field(init=False)
    """Those that have not arrived."""
    is_taken: bool = attrs.field(init=False, default=False)
    """Whether one of them sends it."""
    is_over: bool = attrs.field(init=False, default=False)
    """Whether it has been accounted for."""

    def __attrs_post_init__(self) -> None:
        self.missing = set(self.shards)


Entry = StreamItem | Rendezvous
"""What waits in a shard."""


def item_of(entry: Entry) -> StreamItem:
    """Return the item that an entry stands for."""
    return entry.item if isinstance(entry, Rendezvous) else entry


class Look:
    """One look at what waits in a shard, first to last: what may go out now.

    Args:
        shard: The shard's number.
        batch: What goes out before; it is looked at again whenever that matters.
        is_alone: Whether what concerns several shards goes out alone, so that it is answered soon.
    """

    def __init__(self, shard: int, batch: list[StreamItem], *, is_alone: bool) -> None:
        self._shard = shard
        self._batch = batch
        self._is_alone = is_alone
        self._has_met = False
        self._held: list[Entry] = []
        self._kept_back: set[bytes] = set()
        """Keys of what is held."""
        self._seen = 0  # how much of the batch is in the two below
        self._batch_keys: set[bytes] = set()
        self._batch_has_all = False

    def find(self, waiting: deque[Entry]) -> Entry | None:
        """Return the first entry that may go out with the batch, and leave it in its place.

        What is before it is taken out and kept for `put_back`; what is over is left out for good. At a
        rendezvous the shard arrives if it can.

        Args:
            waiting: What waits, in order.

        Returns:
            None: nothing more goes out with this batch.
        """
        while waiting and not (self._is_alone and self._has_met):
            entry = waiting[0]
            if isinstance(entry, Rendezvous) and entry.is_over:
                waiting.popleft()
                continue
            keys = item_of(entry).keys()
            if keys is None and self._held:
                return None
            if keys is None or self._kept_back.isdisjoint(keys):
                if not isinstance(entry, Rendezvous):
                    return entry
                is_behind = self._follows(keys)
                if self._meets(entry, is_behind=is_behind):
                    return None if self._is_alone and self._batch else entry
                if is_behind or keys is None:  # the sooner the batch is answered, the sooner the others go on
                    return None
            self._kept_back.update(keys or ())
            self._held.append(waiting.popleft())
        return None

    def take(self, rendezvous: Rendezvous) -> None:
        """What was found goes out with the batch."""
        rendezvous.is_taken = self._has_met = True

    def put_back(self, waiting: deque[Entry]) -> None:
        """Put what is kept back where it was."""
        waiting.extendleft(reversed(self._held))

    def _meets(self, rendezvous: Rendezvous, *, is_behind: bool) -> bool:
        """Arrive at a rendezvous; return whether this shard sends it.

        Args:
            rendezvous: Which.
            is_behind: Something that has to be answered before goes out with the batch.
        """
        if rendezvous.is_taken:
            return False
        if is_behind:  # it goes out behind that if all others are there; else it has not arrived
            return rendezvous.missing == {self._shard}
        rendezvous.missing.discard(self._shard)
        return not rendezvous.missing

    def _follows(self, keys: tuple[bytes, ...] | None) -> bool:
        """Whether anything in the batch touches one of *keys*; None: any."""
        if keys is None:
            return bool(self._batch)
        for item in self._batch[self._seen :]:
            found = item.keys()
            self._batch_has_all = self._batch_has_all or found is None
            self._batch_keys.update(found or ())
        self._seen = len(self._batch)
        return self._batch_has_all or not self._batch_keys.isdisjoint(keys)
