"""MULTI … EXEC, queued in the proxy.

Commands between MULTI and EXEC wait here and go to the primary as one contiguous block, so that a
transaction needs no connection of its own. What Redis checks when it queues (existence, arity) is checked
here at once; what only the primary can refuse makes its EXEC answer EXECABORT.

What concerns the client's connection and not the data (``CLIENT SETNAME``) is not the primary's business: a
``PING`` keeps its place in the block, and dualkv puts its own answer there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from dualkv.commands.keys import keys_of
from dualkv.core.routing import Plan, Route, plan_for
from dualkv.resp import encode
from dualkv.resp.requests import Request

__all__ = ["Transaction", "is_local", "keys_of_all", "queue_command", "whole_transaction"]


@attrs.define
class Transaction:
    """What a client has said since MULTI."""

    queued: list[tuple[Plan, Request]] = attrs.field(factory=list)
    is_broken: bool = False
    """A command was refused while queueing: EXEC will discard everything."""

    def wire(self) -> bytes:
        """Return the whole transaction as one block."""
        body = [_PING if is_local(plan) else request.raw for plan, request in self.queued]
        return b"".join([_MULTI, *body, _EXEC])

    @property
    def changes_session(self) -> bool:
        """Whether it holds anything that concerns the client's connection."""
        return any(is_local(plan) or plan.spec.name == "SELECT" for plan, _ in self.queued)

    @property
    def selects(self) -> bool:
        """Whether it leaves its connection in another database."""
        return any(plan.spec.name == "SELECT" for plan, _ in self.queued)

    def keys(self) -> tuple[bytes, ...] | None:
        """Return all keys that it names; None if it may touch others."""
        return keys_of_all(self.queued)


def keys_of_all(commands: Iterable[tuple[Plan, Request]]) -> tuple[bytes, ...] | None:
    """Return all keys that several commands name, each once; None if they may touch others."""
    found: list[bytes] = []
    for plan, request in commands:
        keys = keys_of(plan.spec, request.args)
        if keys is None:
            return None
        found += keys
    return tuple(dict.fromkeys(found))


def whole_transaction(requests: list[Request], plans: list[Plan | None]) -> Transaction | None:
    """Return the transaction that *requests* are, from MULTI to EXEC; None if anything about it is unusual.

    Client libraries send a transaction in one piece. Then there is no need to look at it word by word.

    Args:
        requests: What a client has sent.
        plans: For each, its plan if it is an ordinary command.
    """
    if requests[0].args != _MULTI_ARGS or requests[-1].args != _EXEC_ARGS or len(requests) < 3:
        return None
    queued: list[tuple[Plan, Request]] = []
    for plan, request in zip(plans[1:-1], requests[1:-1], strict=True):
        if plan is None:
            return None
        count, arity = len(request.args), plan.arity
        if count != arity and not count >= -arity > 0:
            return None
        queued.append((plan, request))
    return Transaction(queued)


_MULTI_ARGS: Final = (b"MULTI",)
_EXEC_ARGS: Final = (b"EXEC",)
_MULTI: Final = encode.command("MULTI")
_EXEC: Final = encode.command("EXEC")
_PING: Final = encode.command("PING")

_SAME_ON_LANE: Final = frozenset({"PING", "ECHO"})
"""Any server answers them as dualkv does."""

_POSSIBLE: Final = frozenset(
    {
        Route.LANE,
        Route.LOCAL,
        Route.OWN,
        Route.RECEIVERS,
        Route.DELICATE,
        Route.BLOCKING,
        Route.LEASED,
        Route.WAIT,
    }
)


def is_local(plan: Plan) -> bool:
    """Return whether dualkv answers a queued command itself."""
    return plan.route is Route.OWN or (plan.route is Route.LOCAL and plan.spec.name not in _SAME_ON_LANE)


def queue_command(transaction: Transaction, plan: Plan, request: Request) -> bytes:
    """Queue one command, or refuse it.

    Returns:
        The reply: ``+QUEUED`` or an error.
    """
    refusal = _refusal(plan, request)
    if refusal is None:
        if plan.route is Route.BLOCKING:  # inside a transaction nothing blocks
            plan = plan_for(plan.spec)
        transaction.queued.append((plan, request))
        return encode.QUEUED
    transaction.is_broken = True
    return refusal


def _refusal(plan: Plan, request: Request) -> bytes | None:
    spec, args = plan.spec, request.args
    if plan.route is Route.UNKNOWN:
        return encode.unknown_command(args)
    if spec.subcommands and len(args) > 1:
        return encode.unknown_subcommand(args)
    if not spec.takes(len(args)):
        return encode.wrong_arity(spec.label)
    if "no_multi" in spec.flags or plan.route is Route.SUBSCRIPTION or spec.name in ("HELLO", "AUTH"):
        return encode.error("ERR Command not allowed inside a transaction")
    if plan.route is Route.REFUSED:
        return encode.refused(spec.name, args)
    if plan.route not in _POSSIBLE and spec.name not in ("UNWATCH", "SELECT"):
        return encode.not_supported(f"{spec.name} inside a transaction")
    return None
