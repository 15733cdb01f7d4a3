"""A primary, and a second server that gets the effects of everything that the primary executed.

As the proxy does it, but one command at a time: questions right behind a command, effects in order, copies
last.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final, Self

from dualkv.commands.table import CommandSpec, find_command
from dualkv.core.effects import Part, effects_of, questions_of, settled
from dualkv.core.effects.model import Args, Effects, Execution
from dualkv.core.mirror import keys_by_db
from dualkv.core.routing import plan_for, plan_of
from dualkv.resp.replies import elements_of, is_error, is_null, value_of
from tests.support.state import differences, state_of
from tests.support.wire import Wire

__all__ = ["Followed", "spec_of"]

_DATABASES: Final = (0, 1)
_LATE_CONSUMER: Final = re.compile(" consumer .*: None, but 0$")
_SCRIPTS: Final = frozenset({"EVAL", "EVALSHA", "FCALL"})


def spec_of(args: Sequence[bytes]) -> CommandSpec:
    """Return what is known of a request's command."""
    return find_command(args[0], args[1] if len(args) > 1 else None)


class Followed:
    """Two servers. Use it as a context manager: it has connections.

    Args:
        primary: The port of the one that gets commands.
        secondary: The port of the one that gets their effects.
        protocol: The RESP version that the primary answers in.
    """

    def __init__(self, primary: int, secondary: int, protocol: int) -> None:
        self._ports = primary, secondary
        self.primary = Wire(primary, protocol)
        self.secondary = Wire(secondary)
        self._reader = Wire(primary)
        # Before Redis 7.2, a consumer begins with its first entry.
        self._has_late_consumers = (
            self._reader.call("INFO", "server").split(b"\r\n")[2] < b"redis_version:7.2"
        )
        self._db = 0
        self._blocked: tuple[Args, Wire] | None = None
        self._queued: list[Args] | None = None
        self.trouble: list[str] = []
        """What the secondary answered otherwise than it should have."""
        self.said: list[str] = []
        """Requests, replies and effects, for a report."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in (self.primary, self.secondary, self._reader):
            wire.close()

    @property
    def is_in_transaction(self) -> bool:
        """Whether ``MULTI`` has been said, and no ``EXEC``."""
        return self._queued is not None

    def empty(self) -> None:
        """Remove everything from both."""
        for wire in (self.primary, self.secondary):
            wire.pipeline([("DISCARD",), ("SELECT", 0), ("FLUSHALL",), ("FUNCTION", "FLUSH")])
        self._db, self._queued, self.trouble, self.said = 0, None, [], []

    def on_both(self, args: Args) -> None:
        """Bring both into the same state before."""
        if not is_error(self.primary.call(*args)):
            self.secondary.call(*args)

    def run(self, args: Args) -> bytes:
        """Execute a request and what follows from it; return the primary's reply."""
        spec = spec_of(args)
        if self._queued is None:
            questions = _questions(args)
            reply, *answers = self.primary.pipeline([args, *questions])
            self.said.append(f"{_line(args)} -> {reply[:200]!r}")
            self._follow([(args, reply, answers)])
            if spec.name == "MULTI":
                self._queued = []
            return reply
        if spec.name == "EXEC":
            return self._execute(args)
        reply = self.primary.call(*args)
        if spec.name == "DISCARD":
            self._queued = None
        elif not is_error(reply):
            self._queued.append(args)
        return reply

    def payload_of(self, key: bytes) -> bytes:
        """Return what the primary writes with DUMP."""
        payload = self._reader.ask("DUMP", key)
        assert isinstance(payload, bytes)
        return payload

    def run_elsewhere(self, args: Args) -> None:
        """Execute a request on another connection to the primary."""
        reply = self._reader.call(*args)
        self._follow([(args, reply, [])])

    def block(self, args: Args) -> None:
        """Have another client wait for something."""
        self._blocked = args, Wire(self._ports[0])
        self._blocked[1].send(args)
        while b"blocked_clients:1" not in self._reader.call("INFO", "clients"):
            if self._blocked[1].is_answered():  # refused
                break

    def release(self) -> None:
        """Let the effects of what another client has got follow."""
        assert self._blocked is not None
        (args, wire), self._blocked = self._blocked, None
        (reply,) = wire.receive(1)
        wire.close()
        self.said.append(f"{_line(args)} -> {reply[:200]!r}")
        self._follow([(args, reply, self._reader.pipeline(questions_of(spec_of(args), args)))])

    def _execute(self, args: Args) -> bytes:
        """``EXEC``: the questions of all its commands stand behind it."""
        assert self._queued is not None
        queued, self._queued = self._queued, None
        questions = [_questions(one, in_transaction=True) for one in queued]
        reply, *answers = self.primary.pipeline([args, *(each for some in questions for each in some)])
        self.said.append(f"{queued} EXEC -> {reply!r}")
        if is_error(reply) or is_null(reply):
            return reply
        executed = []
        for one, result, some in zip(queued, elements_of(reply), questions, strict=True):
            executed.append((one, result, answers[: len(some)]))
            del answers[: len(some)]
        self._follow(executed)
        return reply

    def _follow(self, executed: Sequence[tuple[Args, bytes, list[bytes]]]) -> None:
        """Apply the effects of commands that were executed in one piece."""
        at_ms = time.time_ns() // 1_000_000
        parts: list[Part] = []
        db = self._db
        for args, reply, answers in executed:
            plan = plan_of(args)
            if is_error(reply):
                continue
            if plan.spec.name == "SELECT":
                db = int(args[1])
            elif _is_mirrored(plan.spec):
                effects = effects_of(Execution(plan.spec, args, reply, at_ms, answers))
                parts.append(Part(effects, db, keys_by_db(plan, args, db), bool(answers)))
        copies: dict[tuple[int, bytes], None] = {}
        for part, effects in zip(parts, settled(parts), strict=True):
            self._select(part.db)
            self._apply(effects)
            copies |= {(part.db if own is None else own, key): None for own, key in effects.copies}
        for place in copies:
            self._copy(*place)
        self._select(db)

    def _select(self, db: int) -> None:
        if db != self._db:
            self.secondary.call("SELECT", db)
            self._db = db

    def _apply(self, effects: Effects) -> None:
        replies = self.secondary.pipeline([command.args for command in effects.commands])
        for command, reply in zip(effects.commands, replies, strict=True):
            self.said.append(f"    {_line(command.args)} -> {reply[:200]!r}")
            if is_error(reply) or command.reply not in (None, reply):
                self.trouble.append(f"{_line(command.args)} answered {reply!r}, not {command.reply!r}")

    def _copy(self, db: int, key: bytes) -> None:
        self.said.append(f"    copy of {key!r} in {db}")
        frames = self._reader.pipeline([("SELECT", db), ("DUMP", key), ("PTTL", key)])
        payload, left_ms = map(value_of, frames[1:])
        write = ("DEL", key) if payload is None else ("RESTORE", key, max(left_ms, 0), payload, "REPLACE")
        _, reply, _ = self.secondary.pipeline([("SELECT", db), write, ("SELECT", self._db)])
        if is_error(reply):
            self.trouble.append(f"copy of {key!r} answered {reply!r}")

    def differences(self) -> list[str]:
        """Return what differs now, and what the secondary said that it should not have."""
        one, other = (state_of(port, _DATABASES) for port in self._ports)
        found = differences(one, other)
        if self._has_late_consumers:
            found = [line for line in found if not _LATE_CONSUMER.search(line)]
        return self.trouble + found


def _questions(args: Args, *, in_transaction: bool = False) -> tuple[Args, ...]:
    spec = spec_of(args)
    return questions_of(spec, args, in_transaction=in_transaction) if _is_mirrored(spec) else ()


def _is_mirrored(spec: CommandSpec) -> bool:
    return spec.name not in _SCRIPTS and (plan_for(spec).queue is not None or spec.kind == "write")


def _line(args: Args) -> str:
    return b" ".join(args)[:500].decode(errors="backslashreplace")
