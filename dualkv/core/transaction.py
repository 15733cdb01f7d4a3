"""MULTI … EXEC, queued in the proxy.

Commands between MULTI and EXEC wait here and go to the primary as one contiguous block, so that a
transaction needs no connection of its own. What Redis checks when it queues (existence, arity) is checked
here at once; what only the primary can refuse makes its EXEC answer EXECABORT.
"""

from __future__ import annotations

from typing import Final

import attrs

from dualkv.core.routing import Plan, Route
from dualkv.resp import encode
from dualkv.resp.requests import Request

__all__ = ["Transaction", "queue_command"]


@attrs.define
class Transaction:
    """What a client has said since MULTI."""

    queued: list[tuple[Plan, Request]] = attrs.field(factory=list)
    is_broken: bool = False
    """A command was refused while queueing: EXEC will discard everything."""

    def wire(self) -> bytes:
        """Return the whole transaction as one block."""
        return b"".join([_MULTI, *(request.raw for _, request in self.queued), _EXEC])


_MULTI: Final = encode.command("MULTI")
_EXEC: Final = encode.command("EXEC")


def queue_command(transaction: Transaction, plan: Plan, request: Request) -> bytes:
    """Queue one command, or refuse it.

    Returns:
        The reply: ``+QUEUED`` or an error.
    """
    refusal = _refusal(plan, request)
    if refusal is None:
        transaction.queued.append((plan, request))
        return encode.QUEUED
    transaction.is_broken = True
    return refusal


def _refusal(plan: Plan, request: Request) -> bytes | None:
    spec, args = plan.spec, request.args
    if spec.subcommands and len(args) > 1:
        return encode.unknown_subcommand(args)
    if not spec.takes(len(args)):
        return encode.wrong_arity(spec.label)
    if "no_multi" in spec.flags:
        return encode.error("ERR Command not allowed inside a transaction")
    if plan.route is Route.REFUSED:
        return encode.refused(spec.name)
    if plan.route is not Route.LANE:
        return encode.not_supported(f"{spec.name} inside a transaction")
    return None
