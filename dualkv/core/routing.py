"""Where a request goes, and what of it is mirrored or compared.

The facts come from the command table; the policy is here. What is not named here goes by its kind: reads
and writes to the lane, administration is refused.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from dualkv.commands.classify import blocks
from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec, find_command
from dualkv.core.compare import CONDITIONAL, Reason, Rule, comparator_for, excuse_of, rule_of
from dualkv.core.effects import ASKING, CREATES, WRITES_INTO
from dualkv.core.ledger import Queue

__all__ = [
    "CREATED_ARGUMENT",
    "DERIVING",
    "LISTING",
    "ON_LANES",
    "ORDINARY",
    "RENAMING",
    "Plan",
    "Route",
    "plan_for",
    "plan_of",
]


class Route(enum.Enum):
    """Who takes a request."""

    LANE = "lane"
    """The primary, over the shared lane."""
    LOCAL = "local"
    """dualkv answers by itself."""
    SESSION = "session"
    """The client's session: what changes where, as whom, or whether its commands are answered."""
    CLIENTS = "clients"
    """dualkv answers, from what it knows of all its clients."""
    OWN = "own"
    """dualkv answers, about itself."""
    TRANSACTION = "transaction"
    """MULTI and what belongs to it."""
    SUBSCRIPTION = "subscription"
    """The connection to the primary that all subscribers share."""
    RECEIVERS = "receivers"
    """The lane; but the reply counts subscribers, and those who share a connection count as one there."""
    DELICATE = "delicate"
    """The lane; but a store may go down of it, or answer it late."""
    BLOCKING = "blocking"
    """A connection to the primary that the client has for itself meanwhile."""
    LEASED = "leased"
    """The same, for what has to overtake the lane."""
    WAIT = "wait"
    """The lane, asked again and again: it must not wait."""
    UNKNOWN = "unknown"
    """The primary is asked what it is."""
    REFUSED = "refused"
    """Not safe through a proxy: a clear error."""
    HANG_UP = "hang up"
    """An HTTP client that somebody tricked into talking to us: no answer, the connection is closed."""


ON_LANES: Final = frozenset({Route.LANE, Route.UNKNOWN, Route.RECEIVERS, Route.DELICATE})
"""What is answered on the lane, if it may be sent at all."""


@attrs.frozen(eq=False)
class Plan:
    """What is done with one command."""

    spec: CommandSpec
    route: Route
    queue: Queue | None
    """The queue that a successful request is mirrored through; None: it is not mirrored."""
    comparator: Rule | None
    """How its reply is compared with the secondary's; None: it is not shadowed."""
    index: int
    """`CommandSpec.index`, close at hand."""
    arity: int
    """`CommandSpec.arity`, close at hand."""
    depends_on_arguments: bool
    """Whether `plan_of` must look further than at the command's name."""
    is_set: bool
    """Whether it is SET: without options, the request is its own effect."""
    may_ask: bool
    """Whether its effect may depend on questions behind it."""


_LOCAL: Final = frozenset(
    {
        "PING", "ECHO", "QUIT", "READONLY", "READWRITE", "ASKING", "ACL WHOAMI",
        "CLIENT ID", "CLIENT GETNAME", "CLIENT SETNAME", "CLIENT SETINFO", "CLIENT NO-EVICT",
        "CLIENT NO-TOUCH", "CLIENT CAPA", "CLIENT GETREDIR", "CLIENT TRACKING", "CLIENT CACHING",
        "CLIENT TRACKINGINFO", "SCRIPT DEBUG",
    }
)  # fmt: skip

_SESSION: Final = frozenset({"HELLO", "AUTH", "SELECT", "RESET", "CLIENT REPLY"})

_CLIENTS: Final = frozenset({"CLIENT INFO", "CLIENT LIST", "CLIENT KILL", "CLIENT UNBLOCK"})

_OWN: Final = frozenset({"DUALKV", "DUALKV HELP", "DUALKV KEY", "DUALKV STATUS", "DUALKV WHOAMI"})

_RECEIVERS: Final = frozenset({"PUBLISH", "SPUBLISH", "PUBSUB NUMSUB", "PUBSUB SHARDNUMSUB"})

LISTING: Final = frozenset({"SCAN", "KEYS", "DBSIZE"})
"""They name all keys of a store, and a node of ElasticKV goes down of them."""

_LEASED: Final = frozenset({"SCRIPT KILL", "FUNCTION KILL"})

_LANE: Final = frozenset(
    {"CLIENT HELP", "PUBSUB CHANNELS", "PUBSUB SHARDCHANNELS", "PUBSUB NUMPAT", "PUBSUB HELP"}
)
"""As any command, though their kin is not."""

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
        "MIGRATE", "RESTORE-ASKING", "PFDEBUG", "TRIMSLOTS", "XIDMPRECORD", "CLUSTER FLUSHSLOT", "SFLUSH",
        # They would stop everybody.
        "CLIENT PAUSE", "CLIENT UNPAUSE", "CLIENT IMPORT-SOURCE",
        # A sub-command that nobody has heard of.
        "CLIENT",
        # Connection state that a shared lane must not have.
        "HIMPORT PREPARE", "HIMPORT DISCARD", "HIMPORT DISCARDALL", "HIMPORT SET",
    }
)  # fmt: skip

_BY_NAME: Final = (
    (_LOCAL, Route.LOCAL),
    (_SESSION, Route.SESSION),
    (_CLIENTS, Route.CLIENTS),
    (_OWN, Route.OWN),
    (_RECEIVERS, Route.RECEIVERS),
    (LISTING | {"XREAD"}, Route.DELICATE),
    (_LEASED, Route.LEASED),
    (_REFUSED, Route.REFUSED),
    (frozenset({"WAIT", "WAITAOF"}), Route.WAIT),
    (_LANE, Route.LANE),
)
_BY_KIND: Final = {"txn": Route.TRANSACTION, "pubsub": Route.SUBSCRIPTION, "conn": Route.REFUSED}

_MIRRORED_THOUGH_NOT_WRITES: Final = frozenset({"SCRIPT LOAD", "SCRIPT FLUSH"})


def _route(spec: CommandSpec) -> Route:
    if spec is UNKNOWN:
        return Route.UNKNOWN
    for names, route in _BY_NAME:
        if spec.name in names:
            return route
    if spec.kind == "admin":
        return Route.LANE if spec.name in _READ_ONLY_ADMINISTRATION else Route.REFUSED
    return _BY_KIND.get(spec.kind, Route.LANE)


def _queue(spec: CommandSpec) -> Queue | None:
    if spec.kind == "script" or spec.name in _MIRRORED_THOUGH_NOT_WRITES:
        return Queue.SCRIPT
    if spec.kind in ("write", "publish", "unknown"):
        return Queue.WRITE
    return None


def _plan(spec: CommandSpec) -> Plan:
    route = _route(spec)
    on_lane = route in ON_LANES
    return Plan(
        spec=spec,
        route=route,
        queue=_queue(spec) if on_lane else None,
        comparator=comparator_for(spec) if on_lane else None,
        index=spec.index,
        arity=spec.arity,
        depends_on_arguments=(
            bool(spec.subcommands) or "blocking" in spec.flags or spec is UNKNOWN or spec.name in CONDITIONAL
        ),
        is_set=spec.name == "SET",
        may_ask=spec.name in _MAY_ASK,
    )


CREATED_ARGUMENT: Final = {**dict.fromkeys(CREATES, 1), **WRITES_INTO}
"""Which argument of a command may be created as a key, or written into, without setting its expiry."""

DERIVING: Final = frozenset(
    {
        "BITOP", "PFMERGE", "SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "GEOSEARCHSTORE", "ZRANGESTORE",
        "SDIFFSTORE", "SINTERSTORE", "SUNIONSTORE", "ZDIFFSTORE", "ZINTERSTORE", "ZUNIONSTORE", "COPY",
        "EVAL", "EVALSHA", "FCALL",
    }
)  # fmt: skip
"""What they write depends on other keys: if one of those is about to expire, it may be gone over there."""
RENAMING: Final = frozenset({"RENAME", "RENAMENX"})
"""What they write takes another key's expiry with it."""
_MAY_ASK: Final = (ASKING | CREATED_ARGUMENT.keys() | DERIVING | RENAMING) - {"SET"}

_PLANS: Final = tuple(map(_plan, COMMANDS))
_BLOCKING: Final = {
    plan.index: attrs.evolve(
        plan,
        route=Route.BLOCKING,
        queue=None if plan.spec.kind == "read" else Queue.BLOCKING,
        comparator=None,
    )
    for plan in _PLANS
    if "blocking" in plan.spec.flags
}

_COMPARED: Final = {
    plan.index: attrs.evolve(plan, queue=None, comparator=rule_of(plan.spec), may_ask=False)
    for plan in _PLANS
    if plan.spec.name in CONDITIONAL
}
"""What is compared with most arguments: ``SORT`` without ``STORE`` is a read."""
_NOT_COMPARED: Final = {index: attrs.evolve(plan, comparator=None) for index, plan in _COMPARED.items()}

_HTTP: Final = attrs.evolve(_PLANS[UNKNOWN.index], route=Route.HANG_UP, queue=None)
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
        if plan.route in ON_LANES and blocks(spec, args):
            return _BLOCKING[spec.index]
        compared = _COMPARED.get(spec.index)
        if compared is not None and compared.comparator is not None:
            excuse = excuse_of(compared.comparator, args)
            if excuse is None:
                return compared
            return plan if excuse is Reason.WRITES else _NOT_COMPARED[spec.index]
        if spec is UNKNOWN and args[0].upper() in _HTTP_WORDS:
            return _HTTP
    return plan
