"""Where a request goes, and what of it is mirrored or compared.

The facts come from the command table; the policy is here. What is not named here goes by its kind: reads
and writes to the lane, administration is refused. An unknown command goes to the lane and is mirrored,
since it may be a write.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from dualkv.commands.classify import blocks
from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec, find_command
from dualkv.core.compare import Comparator, comparator_for
from dualkv.core.ledger import Queue

__all__ = ["ORDINARY", "Plan", "Route", "plan_for", "plan_of"]


class Route(enum.Enum):
    """Who takes a request."""

    LANE = "lane"
    """The primary, over the shared lane."""
    LOCAL = "local"
    """dualkv answers by itself."""
    TRANSACTION = "transaction"
    """MULTI and what belongs to it."""
    UNSUPPORTED = "unsupported"
    """Not carried yet: a clear error."""
    REFUSED = "refused"
    """Not safe through a proxy: a clear error."""
    HANG_UP = "hang up"
    """An HTTP client that somebody tricked into talking to us: no answer, the connection is closed."""


@attrs.frozen(eq=False)
class Plan:
    """What is done with one command."""

    spec: CommandSpec
    route: Route
    queue: Queue | None
    """The queue that a successful request is mirrored through; None: it is not mirrored."""
    comparator: Comparator | None
    """How its reply is compared with the secondary's; None: it is not shadowed."""
    index: int
    """`CommandSpec.index`, close at hand."""
    depends_on_arguments: bool
    """Whether `plan_of` must look further than at the command's name."""


_LOCAL: Final = frozenset(
    {
        "PING", "ECHO", "QUIT", "HELLO", "AUTH", "SELECT", "RESET", "READONLY", "READWRITE", "ASKING",
        "CLIENT ID", "CLIENT GETNAME", "CLIENT SETNAME", "CLIENT SETINFO", "CLIENT INFO", "CLIENT NO-EVICT",
        "CLIENT NO-TOUCH", "CLIENT GETREDIR",
    }
)  # fmt: skip

_READ_ONLY_ADMINISTRATION: Final = frozenset(
    {
        "ACL DRYRUN", "ACL GETUSER", "ACL LIST", "ACL LOG", "ACL USERS", "BACKUP LIST", "BACKUP STATUS",
        "CLUSTER COUNT-FAILURE-REPORTS", "CLUSTER REPLICAS", "CLUSTER SLAVES", "COMMANDLOG GET",
        "COMMANDLOG LEN", "CONFIG GET", "HOTKEYS GET", "LATENCY DOCTOR", "LATENCY GRAPH", "LATENCY HISTOGRAM",
        "LATENCY HISTORY", "LATENCY LATEST", "MODULE LIST", "SLOWLOG GET", "SLOWLOG LEN",
    }
)  # fmt: skip

_REFUSED: Final = frozenset(
    {
        # They would change or stop the shared lane, or the server under it.
        "MIGRATE", "RESTORE-ASKING", "PFDEBUG", "SCRIPT DEBUG", "SCRIPT KILL", "FUNCTION KILL", "TRIMSLOTS",
        "XIDMPRECORD", "CLUSTER FLUSHSLOT", "SFLUSH",
        # Connection state that a shared lane must not have.
        "HIMPORT PREPARE", "HIMPORT DISCARD", "HIMPORT DISCARDALL", "HIMPORT SET",
    }
)  # fmt: skip

_UNSUPPORTED: Final = frozenset({"WAIT", "WAITAOF", "WATCH"})

_MIRRORED_THOUGH_NOT_WRITES: Final = frozenset({"SCRIPT LOAD", "SCRIPT FLUSH"})


def _route(spec: CommandSpec) -> Route:
    name, kind = spec.name, spec.kind
    if name in _LOCAL:
        return Route.LOCAL
    if name in _UNSUPPORTED:
        return Route.UNSUPPORTED
    if name in _REFUSED:
        return Route.REFUSED
    if kind == "txn":
        return Route.TRANSACTION
    if kind == "pubsub":
        return Route.LANE if name.startswith("PUBSUB") else Route.UNSUPPORTED
    if kind == "conn" or name == "CLIENT":
        return Route.UNSUPPORTED
    if kind == "admin":
        return Route.LANE if name in _READ_ONLY_ADMINISTRATION else Route.REFUSED
    return Route.LANE


def _queue(spec: CommandSpec) -> Queue | None:
    if spec.kind == "script":
        return Queue.SCRIPT
    if spec.kind in ("write", "publish", "unknown") or spec.name in _MIRRORED_THOUGH_NOT_WRITES:
        return Queue.WRITE
    return None


def _plan(spec: CommandSpec) -> Plan:
    route = _route(spec)
    on_lane = route is Route.LANE
    return Plan(
        spec=spec,
        route=route,
        queue=_queue(spec) if on_lane else None,
        comparator=comparator_for(spec) if on_lane else None,
        index=spec.index,
        depends_on_arguments=bool(spec.subcommands) or "blocking" in spec.flags or spec is UNKNOWN,
    )


_PLANS: Final = tuple(map(_plan, COMMANDS))
_BLOCKING: Final = tuple(
    attrs.evolve(plan, route=Route.UNSUPPORTED, queue=None, comparator=None) for plan in _PLANS
)

_HTTP: Final = attrs.evolve(_plan(UNKNOWN), route=Route.HANG_UP, queue=None)
_HTTP_WORDS: Final = frozenset({b"POST", b"HOST:"})
"""Redis and Valkey close a connection that says them: they must not reach everybody's lane."""

ORDINARY: Final = {
    written: plan
    for plan in _PLANS
    if plan.route is Route.LANE and not plan.depends_on_arguments and plan.spec is not UNKNOWN
    if " " not in plan.spec.name
    for written in (plan.spec.name.encode(), plan.spec.name.lower().encode())
}
"""The plans of commands that go to the lane whatever their arguments, by name in the two ways that clients
write names: one look-up per command on the hot path.
"""


def plan_for(spec: CommandSpec) -> Plan:
    """Return the plan of a command, as far as it does not depend on arguments."""
    return _PLANS[spec.index]


def plan_of(args: tuple[bytes, ...]) -> Plan:
    """Return the plan of a request (name first, any case)."""
    plan = ORDINARY.get(args[0]) or _PLANS[find_command(args[0]).index]
    if plan.depends_on_arguments:
        spec = plan.spec
        if spec.subcommands and len(args) > 1:
            return _PLANS[find_command(args[0], args[1]).index]
        if blocks(spec, args):
            return _BLOCKING[spec.index]
        if spec is UNKNOWN and args[0].upper() in _HTTP_WORDS:
            return _HTTP
    return plan
