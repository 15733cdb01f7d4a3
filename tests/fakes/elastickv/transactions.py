"""What a client has queued behind ``MULTI``."""

from __future__ import annotations

from dualkv.resp import encode
from tests.fakes.elastickv.commands import COMMANDS, IN_MULTI, Args, has_right_arity, name_of
from tests.fakes.elastickv.options import option_objection
from tests.fakes.elastickv.scripts import Refusal
from tests.fakes.elastickv.texts import unsupported, wrong_arity

__all__ = ["Transaction"]


class Transaction:
    """The queue of one client; open from ``MULTI`` on."""

    def __init__(self) -> None:
        self._queue: list[Args] | None = None

    @property
    def is_open(self) -> bool:
        """Whether commands are queued."""
        return self._queue is not None

    def begin(self) -> bytes:
        """Answer ``MULTI``."""
        if self._queue is not None:
            return encode.error("ERR MULTI calls can not be nested")
        self._queue = []
        return encode.OK

    def discard(self) -> bytes:
        """Answer ``DISCARD``."""
        if self._queue is None:
            return encode.error("ERR DISCARD without MULTI")
        self._queue = None
        return encode.OK

    def queue(self, args: Args) -> bytes:
        """Queue anything that is known; return the answer. An error here does not abort the transaction."""
        assert self._queue is not None
        name = name_of(args)
        if name not in COMMANDS:
            return encode.error(unsupported(args[0].decode(errors="replace")))
        if not has_right_arity(COMMANDS[name], args):
            return encode.error(wrong_arity(name))
        self._queue.append(args)
        return encode.QUEUED

    def take(self) -> list[Args]:
        """Return what ``EXEC`` has to do, and be closed.

        Raises:
            Refusal: It cannot do all of that, so nothing is done.
        """
        assert self._queue is not None
        queue, self._queue = self._queue, None
        for args in queue:
            name = name_of(args)
            if name not in IN_MULTI:
                raise Refusal(unsupported(args[0].decode(errors="replace")))
            refusal = option_objection(name, args)
            if refusal is not None:
                raise Refusal(refusal)
        return queue
