"""What keeps the store that follows equal to the one that answers.

A command is seen three times: before it leaves, to put questions directly behind it that its effect needs
(`ask`); at the position of its reply, where its effect enters the stream or the state of its keys is copied
(`executed`); or, without a reply, when its connection broke (`lost`). The copier and the resync run beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.context import Context
from dualkv.core.dialect import Dialect
from dualkv.core.dirty import DirtyReason, Key
from dualkv.core.first_contact import FirstContacts
from dualkv.core.identity import Forgotten, Identity
from dualkv.core.ledger import Queue
from dualkv.core.mirror import NOT_DATA, PUBLISHING, StreamItem, keys_by_db
from dualkv.core.routing import Plan
from dualkv.core.translator import NOT_ASKED, Asked, Translation, Translator
from dualkv.net.backend import RedisBackend
from dualkv.net.copier import Copier
from dualkv.net.resync import Resync
from dualkv.net.stream import SecondaryStream
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Mirroring"]

_SETTLING_SECONDS: Final = 0.05
_LATE_SECONDS: Final = 1.0
"""So long after a connection broke the primary may still execute what it had received."""


class Mirroring:
    """One writer's: what its commands become for the other store.

    `run` must be running from when the writer has begun.

    Args:
        writer: Whose commands.
        secondary: The store that follows.
    """

    def __init__(self, writer: DualWriter, secondary: RedisBackend) -> None:
        config, metrics, judge = writer.config, writer.metrics, writer.comparing.judge
        self._writer = writer
        self._clock = writer.clock
        self._dirty = writer.dirty
        self._notes = writer.notes
        self._progress = metrics.resync
        self.translator = Translator(writer.time, config.secondary_timeout_seconds, self._is_uncertain)
        self.translator.contacts = FirstContacts(self._is_seeded)
        self.translator.scripts = writer.scripts
        self.stream = SecondaryStream(
            secondary, config, metrics, writer.clock, judge.compare, judge.inconclusive,
            writer.hub.at_end_of_round, writer.report_failure, self.translator, writer.dirty, writer.recent,
        )  # fmt: skip
        self.stream.on_identified = writer.secondary_identified
        self.stream.doubtful.was_beside = writer.notes.was_beside
        self.copier = Copier(writer, self.stream)
        self.resync = Resync(writer, self.stream, self.copier, metrics.resync)

    def __repr__(self) -> str:
        return f"<Mirroring {self.stream!r}>"

    def _is_seeded(self) -> bool:
        """Whether the other store has been given all keys."""
        progress = self._progress
        return progress.completed > 0 and not progress.is_running and self._dirty.needs_resync is None

    def _is_uncertain(self, keys: Iterable[Key]) -> bool:
        """Whether what one of *keys* holds on the secondary may not be what it held on the primary."""
        if self._dirty.needs_resync is not None or self._progress.is_running:
            return True
        return self._notes.is_beside(keys)

    # --- before a command leaves

    def ask(self, plan: Plan, request: Request, context: Context) -> Asked:
        """Return what to ask behind a command."""
        if not plan.may_ask or not self.stream.gate.is_open:
            return NOT_ASKED
        return self.translator.ask(plan, request.args, context.db, self._clock())

    def ask_transaction(self, queued: Sequence[tuple[Plan, Request]], context: Context) -> Asked:
        """Take note of what a transaction will write; return what to ask behind its EXEC."""
        self._notes.note(context.db, [plan for plan, _ in queued], [request for _, request in queued])
        if not self.stream.gate.is_open or not any(plan.may_ask for plan, _ in queued):
            return NOT_ASKED
        return self.translator.ask_transaction(queued, context.db, self._clock())

    # --- at the position of its reply

    def executed(
        self,
        plan: Plan,
        request: Request,
        frame: bytes,
        now: float,
        context: Context,
        asked: Asked = NOT_ASKED,
        answers: Sequence[bytes] = (),
    ) -> None:
        """Let a command that the primary has executed enter the stream."""
        assert plan.queue is not None
        if not self.stream.gate.is_open and plan.queue is not Queue.SCRIPT:
            self.translator.forget(plan, request.args, context.db)
            self.stream.offer([StreamItem(plan, plan.queue, request, now, context)])
        else:
            self.enter(self.translator.translate(plan, request, frame, now, context, asked, answers))

    def enter(self, translation: Translation) -> None:
        """Let enter what was executed at this position."""
        if translation.item is not None:
            self.stream.offer([translation.item])
            self.stream.follow_swaps(translation.item)
        if translation.copies:
            self.stream.copy_now(translation.copies)

    # --- without a reply

    def lost(self, context: Context, commands: Iterable[tuple[Plan, Request]]) -> None:
        """Take note of commands whose outcome nobody knows."""
        dbs = [context.db]
        for plan, request in commands:
            if plan.spec.name == "SELECT":  # inside a transaction; it may have been refused
                dbs += [int(word) for word in request.args[1:] if word.isdigit()]
            elif plan.queue is not None:
                for db in dbs:
                    self._lost_one(plan, request, db)

    def _lost_one(self, plan: Plan, request: Request, db: int) -> None:
        if plan.spec.name.startswith("FUNCTION"):
            self._dirty.functions = True
        if plan.spec.name in PUBLISHING or plan.queue is Queue.SCRIPT:
            self.stream.unsent_messages += 1
        if plan.spec.name in NOT_DATA:
            return
        self.translator.forget(plan, request.args, db)
        keys = keys_by_db(plan, request.args, db)
        self.stream.mark_keys(keys, DirtyReason.AMBIGUOUS, unordered_for_seconds=_LATE_SECONDS)

    # --- the stores

    def primary_connected(self, dialect: Dialect, identity: Identity, forgotten: Forgotten) -> None:
        """Take note that a connection to the primary is new.

        Args:
            dialect: What it understands.
            identity: Which process it is.
            forgotten: What it may have lost.
        """
        name = self._writer.primary.name
        self.translator.expiry.clear()
        self.translator.has_pexpiretime = dialect.has("PEXPIRETIME")
        self.stream.stores.is_allowed(answers=identity)
        self.stream.came_back(name, forgotten)
        self._notes.remember_process(name, identity.run_id)
        self.stream.wake_copier()

    # --- life

    async def run(self) -> None:
        """Copy and remember until cancelled; the stream has a life of its own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.copier.run)
            nursery.start_soon(self.resync.run)
            nursery.start_soon(self._notes.run, self._writer.lanes, self.stream)

    async def wait_copied(self) -> None:
        """Return when no key is dirty that can be copied now: the stream holds all there is to say."""
        while self.copier.is_at_work:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(_SETTLING_SECONDS)
