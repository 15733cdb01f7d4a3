"""The bodies of scripts, for a secondary that has forgotten them.

``EVALSHA`` names a script by its hash. The primary knows it, the secondary may not: it was restarted, or the
write that carried the body was dropped. So the first mirrored ``EVALSHA`` of a script on each connection is
spelled out as ``EVAL``, which loads it there too; and the first compared ``EVALSHA_RO`` as ``EVAL_RO``.
"""

from __future__ import annotations

import hashlib
from typing import Final

from dualkv.core.mirror import StreamItem
from dualkv.core.routing import Plan
from dualkv.core.script_facts import OPAQUE, ScriptFacts, facts_of
from dualkv.core.transaction import Transaction
from dualkv.resp.encode import command
from dualkv.resp.requests import Request

__all__ = ["ScriptCache"]

_SPELLINGS: Final = {"EVALSHA": b"EVAL", "EVALSHA_RO": b"EVAL_RO"}
_MAX_SCRIPTS: Final = 512
_MAX_BYTES: Final = 4 * 1024 * 1024


class ScriptCache:
    """The newest scripts that were executed or loaded, bounded in number and bytes.

    ``SCRIPT FLUSH`` takes nothing out: what was executed before it may still wait to be sent, and a hash
    means the same script for ever.
    """

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}
        self._facts: dict[bytes, ScriptFacts] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def learn(self, name: str, args: tuple[bytes, ...]) -> None:
        """Take note of what an executed command says about scripts, in the order of execution."""
        match name:
            case "EVAL" | "EVAL_RO":
                self._remember(args[1])
            case "SCRIPT LOAD":
                self._remember(args[2])

    def facts(self, name: str, args: tuple[bytes, ...]) -> ScriptFacts:
        """Return what is known of the script that ``EVAL``, ``EVALSHA`` or ``FCALL`` runs."""
        if name == "EVAL":
            digest = _digest(args[1])
        elif name == "EVALSHA":
            digest = args[1].lower()
        else:
            return OPAQUE
        facts = self._facts.get(digest)
        if facts is None and digest in self._bodies:
            facts = self._facts[digest] = facts_of(self._bodies[digest])
        return facts or (facts_of(args[1]) if name == "EVAL" else OPAQUE)

    def names_its_keys(self, plan: Plan, request: Request) -> bool:
        """Return whether a script touches no keys but those that the request names."""
        return self.facts(plan.spec.name, request.args).names_its_keys

    def _remember(self, body: bytes) -> None:
        digest = _digest(body)
        if self._bodies.pop(digest, None) is None:
            self._bytes += len(body)
        self._bodies[digest] = body  # the newest is the last
        while len(self._bodies) > _MAX_SCRIPTS or (self._bytes > _MAX_BYTES and len(self._bodies) > 1):
            oldest = next(iter(self._bodies))
            self._bytes -= len(self._bodies.pop(oldest))
            self._facts.pop(oldest, None)

    def wire(self, item: StreamItem, known: set[bytes]) -> bytes:
        """Return the bytes of an item, with ``EVAL`` for an ``EVALSHA`` that a connection has not seen.

        Args:
            item: A mirrored write, or a shadow read.
            known: Hashes that the connection has seen; what is spelled out now is added.
        """
        if not item.parts:
            return self.spelled_out(item.plan, item.request, known).raw
        # A transaction that failed in the middle cannot be repeated: spell it out in any case.
        return Transaction(
            [(plan, self.spelled_out(plan, request, set())) for plan, request in item.parts]
        ).wire()

    def spelled_out(self, plan: Plan, request: Request, known: set[bytes]) -> Request:
        """Return a request, or ``EVAL`` instead of an ``EVALSHA`` whose body is at hand and not *known*.

        So it is with ``EVAL_RO`` for ``EVALSHA_RO``.
        """
        if plan.spec.name == "SCRIPT FLUSH":
            known.clear()
        spelling = _SPELLINGS.get(plan.spec.name)
        if spelling is None:
            return request
        digest = request.args[1].lower()
        body = self._bodies.get(digest)
        if body is None or digest in known:
            return request
        known.add(digest)
        args = (spelling, body, *request.args[2:])
        return Request(args, command(*args))

    @staticmethod
    def is_not_known(request: Request, known: set[bytes]) -> None:
        """Take note that the store behind a connection does not know the script of an ``EVALSHA_RO``."""
        known.discard(request.args[1].lower())


def _digest(body: bytes) -> bytes:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
