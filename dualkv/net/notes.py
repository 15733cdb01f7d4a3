"""What must not be forgotten: keys of writes that are on their way, noted before their commands leave.

    note(db, plans, requests)     commands are about to be sent: collect their keys
    write()                       just before the bytes of a round leave: take down what was collected
    begin_beside … end_beside     commands that are executed at no known position of the lane

The keys of the last seconds stay in memory: a store that comes back as another process may have lost them.
With a directory for it all keys that are not settled are in the journal too, so that the next process knows
them if this one is killed; so are facts that it needs to trust them: which store answered, and which
processes the stores were.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from dualkv.commands.keys import keys_of
from dualkv.config import ProxyConfig
from dualkv.core.dirty import DirtyKeys, DirtyReason, Key
from dualkv.core.journal import Gap
from dualkv.core.mirror import NOT_DATA, keys_by_db
from dualkv.core.recent import RecentKeys
from dualkv.core.routing import Plan
from dualkv.errors import ConfigError
from dualkv.net.journal import Fsync, Journal
from dualkv.net.lanes import Lanes
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.resync import Resync
    from dualkv.net.stream import SecondaryStream

__all__ = ["WriteNotes"]

_DIRECTION: Final = "direction"
"""Under this name the journal keeps who answered."""
_RECENT: Final = "recent"
"""Under this one the keys of the last writes: a store may lose them after the next start, too."""
_SETTLING_SECONDS: Final = 0.05
_MAX_ENDED: Final = 1000
"""Keys of which it is known when the last command beside the lane was seen."""


class WriteNotes:
    """The keys of writes that are on their way, in memory and on disk.

    It relies on being told of every write before its bytes leave, and on `write` being called between. What
    is dirty it does not decide: it adds what an earlier process left, and asks for the rest.

    Begin with `open`, if there is to be a journal; end with `close`. `note` and `write` are on the hot path.

    Args:
        config: The settings.
        recent: The keys of the last seconds.
        dirty: The keys that may differ.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, config: ProxyConfig, recent: RecentKeys, dirty: DirtyKeys, clock: Callable[[], float]
    ) -> None:
        self.journal: Journal | None = None
        """Where the keys are on disk; None until `open`, and without a directory."""
        self._config = config
        self._recent = recent
        self._dirty = dirty
        self._clock = clock
        self._noted: defaultdict[int, list[bytes]] = defaultdict(list)
        self._beside: Counter[Key] = Counter()
        """Keys of commands that are executed beside the lane now."""
        self._ended: dict[Key, float] = {}
        """When the last one on a key was seen, for the newest of them."""
        self._processes: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<WriteNotes beside={len(self._beside)} {self.journal!r}>"

    # --- before commands leave

    def note_keys(self, db: int, keys: list[bytes]) -> None:
        """Remember the keys of commands that each write one."""
        self._noted[db] += keys

    def note(self, db: int, plans: Sequence[Plan], requests: Sequence[Request]) -> None:
        """Remember the keys of writes that are about to be sent: the end of a process may lose them."""
        noted = self._noted[db]
        for plan, request in zip(plans, requests, strict=True):
            if plan.is_set:
                noted.append(request.args[1])
            elif plan.queue is not None:
                found = keys_of(plan.spec, request.args)
                if found is not None:
                    noted += found
                elif plan.spec.name not in NOT_DATA:
                    self._recent.note_everything(self._clock())
                    if self.journal is not None:
                        self.journal.note_everything()

    def write(self) -> None:
        """Take down what was noted, on disk if there is a journal: its commands are about to leave."""
        for db, keys in self._noted.items():
            if keys:
                self._recent.note(db, keys, self._clock())
                if self.journal is not None:
                    self.journal.note(db, keys)
                self._noted[db] = []
        if self.journal is not None:
            self.journal.write()

    # --- commands beside the lane

    def begin_beside(self, db: int, commands: Iterable[tuple[Plan, Request]]) -> list[Key]:
        """Commands are about to be executed on a connection beside the lane, at no known position of it.

        Args:
            db: Where they are executed.
            commands: Which.

        Returns:
            The keys that they may write, for `end_beside`: until then nothing that depends on them is exact.
        """
        keys = [
            key
            for plan, request in commands
            if plan.queue is not None
            for key in keys_by_db(plan, request.args, db) or ()
        ]
        self._beside.update(keys)
        for at, key in keys:  # a cleaning of the journal may have been since they were noted first
            self._noted[at].append(key)
        self.write()
        return keys

    def end_beside(self, keys: Iterable[Key]) -> None:
        """What was executed beside the lane has been seen, and all that the lane executed before."""
        self._beside.subtract(keys)
        for key in keys:
            if not self._beside[key]:
                del self._beside[key]
            self._ended.pop(key, None)
            self._ended[key] = self._clock()
        while len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def is_beside(self, keys: Iterable[Key]) -> bool:
        """Whether a command on one of *keys* is executed beside the lane now."""
        return bool(self._beside) and any(key in self._beside for key in keys)

    def was_beside(self, key: Key, since: float) -> bool:
        """Whether one is now, or was seen at a time or later; of what is long ago, nobody knows."""
        return key in self._beside or self._ended.get(key, float("-inf")) >= since

    # --- the journal

    def open(self, answering: str, stream: SecondaryStream, resync: Resync) -> None:
        """Take the journal's directory, if there is to be one; what an earlier process left is dirty.

        Args:
            answering: The name of the store that answers.
            stream: Told of the keys that were left.
            resync: Goes on where it was.

        Raises:
            ConfigError: The directory cannot be used.
        """
        if not self._config.journal_dir:
            return
        directory = Path(self._config.journal_dir)
        fsync: Fsync = self._config.journal_fsync  # type: ignore[assignment] # checked by the settings
        journal = Journal(directory, fsync, self._config.journal_bytes, self._clock)
        recovery = journal.open()
        before = journal.load_state(_DIRECTION)
        if (recovery.keys or recovery.must_resync) and before not in (None, answering.encode()):
            journal.close()
            raise ConfigError(
                f"journal_dir: {directory} holds keys of writes on their way from the other store: the "
                "values are there. Start once more in the mode before, and let it end in order"
            )
        self.journal = journal
        journal.save_state(_DIRECTION, answering.encode())
        if before == answering.encode():
            self._recent.load(journal.load_state(_RECENT) or b"", self._clock())
        journal.drop_state(_RECENT)
        stream.mark_keys(recovery.keys, DirtyReason.JOURNAL)
        for reason in recovery.reasons:
            self._dirty.require_resync(reason)
        if not recovery.must_resync:
            resync.resume(journal.load_state("resync"))

    def turn(self, answering: str) -> None:
        """Take note that another store answers from now on; nothing is on its way.

        Args:
            answering: Its name.
        """
        if self.journal is not None:
            self.journal.save_state(_DIRECTION, answering.encode())

    def remember_process(self, store: str, run_id: str) -> None:
        """Keep which process a store is: at the next start another one may have lost something.

        Args:
            store: The store's name.
            run_id: As the process tells it; empty if it does not.
        """
        if self.journal is None or not run_id or self._processes.get(store) == run_id:
            return
        name = f"process-{'primary' if store == self._config.primary_name else 'secondary'}"
        if store not in self._processes:  # the first time since the start
            before = self.journal.load_state(name)
            if before not in (None, run_id.encode()):
                self._dirty.require_resync(f"{store} was started anew while dualkv was not running")
        self._processes[store] = run_id
        self.journal.save_state(name, run_id.encode())

    def figures(self) -> tuple[int, int, bool]:
        """Return the journal's bytes, the disk's refusals, and whether keys are missing in it."""
        if self.journal is None:
            return 0, 0, False
        found = self.journal.statistics()
        return found.bytes, found.failures, found.is_broken or found.gap is not Gap.NONE

    async def run(self, lanes: Lanes, stream: SecondaryStream) -> None:
        """Keep the journal small until cancelled; return at once if there is none.

        Args:
            lanes: What was noted is executed there, or beside them.
            stream: What was executed goes through it.
        """
        if self.journal is not None:
            await self.journal.run(partial(self._settled, lanes, stream), self._left)

    async def _settled(self, lanes: Lanes, stream: SecondaryStream) -> None:
        """Return when all that was noted before is on the secondary, or its keys are dirty."""
        passed = trio.Event()
        lanes.when_settled(passed.set)
        await passed.wait()
        now = self._clock()
        while stream.oldest_unsettled() <= now:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(_SETTLING_SECONDS)

    def _left(self) -> list[Key] | None:
        """Return the keys that may differ now; None: nobody knows which."""
        if self._dirty.needs_resync is not None:
            return None
        return [*self._dirty, *self._beside]

    def close(self) -> None:
        """Leave what may differ to the next start, and give the directory back; nothing may be noted then."""
        if self.journal is not None:
            self.journal.save_state(_RECENT, self._recent.saved(self._clock()))
            self.journal.finish(self._left())
